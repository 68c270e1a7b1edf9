import t from 'tap'
import type { WebSocket } from 'ws'
import { loadFlite } from '../../src/speech/flite.js'
import { COMMON_STATUSES } from '../../src/simulator/vocabulary.js'
import { orderCaller } from '../../src/simulator/personas.js'
import { simulateCalls, type SimulateOptions } from '../../src/simulator/simulate.js'
import { convertRate } from '../../src/simulator/line.js'
import { GatewayDouble, sendPaced } from './support/gateway-double.js'

const GREETING = 'What is your order number?'
const READ_BACK = '4, 1, 2, 7. Is that right?'
const STATUS = 'Order 4 1 2 7 is out for delivery. It should arrive today between 4 and 6 PM.'
const GOODBYE = 'Thank you for calling. Goodbye.'

/** A minimal agent: speaks its lines one after the other, each 600 ms after the caller has stopped. */
function scriptedAgent(lines: readonly Int16Array[]): (socket: WebSocket) => void {
  return (socket) => {
    let line = 0
    let voicedFrames = 0
    let silentFrames = 0
    let speaking = true
    const speak = (): void => {
      const pcm = lines[line++]
      if (pcm === undefined) return
      speaking = true
      const withTail = new Int16Array(pcm.length + 3200)
      withTail.set(pcm)
      void sendPaced(socket, withTail, 16000).then(() => {
        speaking = false
      })
    }
    speak()
    socket.on('message', (data: Buffer, isBinary) => {
      if (!isBinary || speaking) return
      let peak = 0
      for (let at = 0; at + 1 < data.length; at += 2) peak = Math.max(peak, Math.abs(data.readInt16LE(at)))
      if (peak > 1000) {
        voicedFrames++
        silentFrames = 0
      } else if (++silentFrames >= 30 && voicedFrames > 10) {
        voicedFrames = 0
        silentFrames = 0
        speak()
      }
    })
  }
}

function optionsFor(double: GatewayDouble, order: string): SimulateOptions {
  return {
    calls: [
      {
        callSid: 'HD_000000000001',
        from: '+254700000001',
        to: '+254700000000',
        voice: 'rms',
        line: { sampleRateHz: 8000 },
        script: orderCaller({ order, interrupt: false }),
      },
    ],
    vocabulary: {
      sentences: [GREETING, '{order}. Is that right?', 'Order {order} is {status}. It should arrive {eta}.', GOODBYE],
      orders: ['4127', '5903'],
      statuses: COMMON_STATUSES,
      etas: [],
      others: [],
    },
    files: new Map(),
    carrier: { voiceUrl: `${double.origin}/voice`, eventsUrl: `${double.origin}/events` },
    record: true,
    timeoutMs: 60_000,
    staggerMs: 0,
  }
}

void t.test('a caller who knows the number talks with an agent and hears the status', async (t) => {
  const flite = await loadFlite()
  const lines = [GREETING, READ_BACK, STATUS, GOODBYE].map((text) => {
    const speech = flite.speak(text, 'slt')
    return convertRate(speech.pcm, speech.sampleRateHz, 16000)
  })
  const double = await GatewayDouble.start({
    answer: (post, self) =>
      post.fields['callSessionState'] === 'Ringing' ? self.streamDocument() : '<Response></Response>',
    onSocket: scriptedAgent(lines),
  })
  t.teardown(() => {
    double.close()
  })
  const [result] = await simulateCalls(optionsFor(double, '4127'), {})
  t.match(result?.heard, { order: '4127', status: 'out_for_delivery', eta: 'today between four and six p m' })
  t.same(
    result?.said.map((said) => said.text),
    ['4127', 'Yes, that is right.', 'No, thank you.'],
  )
  t.equal(result?.ended.by, 'caller', 'hangs up after the goodbye')
  t.same(result?.complaints, [])
  t.equal(result?.callerHeard.turns.length, 3)
  for (const turn of result?.callerHeard.turns ?? []) {
    t.ok(
      turn.firstSoundMs !== null && turn.firstSoundMs > 500 && turn.firstSoundMs < 1500,
      `answered after ${turn.firstSoundMs} ms`,
    )
  }
  t.ok((result?.audio?.heard.length ?? 0) > 8000 * 10, 'the call was recorded')
  t.same(double.postsOf('/voice'), ['Ringing', 'StreamStarted', 'Completed'])
  t.same(double.postsOf('/stream-status'), ['stream-started', 'stream-stopped'])
  t.same(double.postsOf('/events'), ['StreamStopped', 'Completed'])
})
