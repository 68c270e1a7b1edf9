import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import type { BackendSession } from '../../../src/backends/backend.js'
import { conformanceSession, Recorder } from '../../../src/backends/conformance.js'
import { WebSocket } from 'ws'
import { XaiDouble } from '../../../src/vendors/xai/double.js'
import { realtimeOnDouble } from '../../backends/realtime-doubles.js'
import { KEY } from '../../backends/service-doubles.js'

const { make } = await realtimeOnDouble('xai')

/** Our backend on the double, at 16 kHz. */
async function connected(t: Test, options: object = {}, session: Partial<BackendSession> = {}) {
  const double = await XaiDouble.start({ key: KEY })
  const recorder = new Recorder()
  const backend = make(recorder, double.baseUrl, options)
  t.teardown(async () => {
    await backend.close('the test is over')
    await double.close()
  })
  await backend.connect(conformanceSession(session), new AbortController().signal)
  return { double, backend, recorder }
}

t.test('voice and turns are set beside the audio', async (t) => {
  const { double } = await connected(t, { keywords: ['M-Pesa', 'x'.repeat(51)] }, { voice: 'ara', languages: ['sw'] })
  t.match(double.session.given, {
    voice: 'ara',
    turn_detection: null,
    audio: {
      input: {
        format: { type: 'audio/pcm', rate: 16_000 },
        transcription: { language_hint: 'sw', keyterms: ['M-Pesa'] },
      },
      output: { format: { type: 'audio/pcm', rate: 16_000 } },
    },
  })
})

t.test('with several languages the service detects the language', async (t) => {
  const { double } = await connected(t, {}, { languages: ['sw', 'en'] })
  t.notMatch(JSON.stringify(double.session.given), /language_hint/)
})

t.test('a partial transcript is ignored', async (t) => {
  const { double, recorder } = await connected(t)
  double.session.send({
    ...{ type: 'conversation.item.input_audio_transcription.completed', item_id: 'i', content_index: 0 },
    ...{ transcript: 'where is my order', usage: { type: 'duration', seconds: 1 } },
  })
  await recorder.next('transcript')
  t.match(recorder.all('transcript'), [{ role: 'caller', text: 'where is my order' }])
})

t.test('pings and conversation events are known', async (t) => {
  const { backend } = await connected(t)
  t.match(backend.counters?.(), { unknownEvents: 0 })
})

t.test('the double refuses a field unknown to public clients', async (t) => {
  const double = await XaiDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const socket = new WebSocket(`${double.baseUrl}/realtime?model=grok-voice-think-fast-2.0`, {
    headers: { authorization: `Bearer ${KEY}` },
  })
  await once(socket, 'open')
  socket.send(JSON.stringify({ type: 'session.update', session: { type: 'realtime' } }))
  const refused = await new Promise<string>((resolve) =>
    socket.on('message', (data: Buffer) => {
      if (data.includes('"error"')) resolve(data.toString())
    }),
  )
  socket.close()
  t.match(refused, /invalid_value.*Unrecognized key/)
})
