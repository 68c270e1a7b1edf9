import t from 'tap'
import { type Material, readRecording, recordings } from '../../bench/material.js'
import { atSpeechLevel } from '../../src/simulator/line.js'
import { TestLine, callerSays, sid, startHost, until } from '../support/host.js'
import { hasMaterial } from '../support/material.js'

// Calls of three quarters of a minute, in real time and side by side.
t.setTimeout(150_000)

const RATE_HZ = 16_000
const HOLD_MS = 32_000
/** Between two sentences of an announcer. */
const GAP_MS = 300
const samplesIn = (ms: number): number => (RATE_HZ * ms) / 1000

/** What plays while we are on hold: an announcer in another language, or music. */
async function programme(material: Material): Promise<Int16Array> {
  const pieces: Int16Array[] = []
  let samples = 0
  for (const name of recordings(material)) {
    if (/tone|beep|silence|digits|letters|phonetic/.test(name)) continue
    const pcm = await readRecording(material, name, RATE_HZ)
    if (pcm.length < samplesIn(1500)) continue
    pieces.push(atSpeechLevel(pcm, RATE_HZ), new Int16Array(samplesIn(GAP_MS)))
    samples += pcm.length
    if (samples > samplesIn(HOLD_MS)) break
  }
  const all = new Int16Array(samplesIn(HOLD_MS))
  let at = 0
  for (const piece of pieces) {
    all.set(piece.subarray(0, Math.max(0, all.length - at)), Math.min(at, all.length))
    at += piece.length
  }
  return all
}

t.test('a caller who puts the agent on hold and comes back is served; nobody is rung meanwhile', async (t) => {
  if (!hasMaterial(t, 'june', 'music')) return
  const test = await startHost()
  t.teardown(() => test.close())
  const back = await callerSays('My order number is 4 1 2 7.')
  const held = async (material: Material, callSid: string): Promise<void> => {
    const call = test.host.prepare({
      callSid: sid(callSid),
      agent: 'order-status',
      from: '+254700000009',
      to: '+254709000000',
      direction: 'inbound',
    })
    const line = new TestLine(call)
    const sound = await programme(material)
    line.start()
    t.teardown(() => line.stop())
    await line.agentQuiet(700)
    const heldAtMs = performance.now()
    line.say(sound)
    line.say(new Int16Array(samplesIn(1500)))
    line.say(back)
    await until(() => performance.now() - heldAtMs > HOLD_MS, HOLD_MS + 5000, 'the end of the hold')
    const backAtMs = performance.now()
    await line.agentQuiet(700, 30_000).catch((fault: unknown) => {
      t.comment(material, JSON.stringify(call.timeline().timeline))
      throw fault
    })
    const { timeline } = call.timeline()
    call.hangup('operator-hangup', 'the test is over', false)
    const record = await test.recordOf(call.callSid)
    const said = record.transcript.filter(({ role }) => role === 'agent').map(({ text }) => text)
    t.equal(record.escalation, null, `${material}: nobody is rung`)
    t.match(said.at(-1), /Order 4127/, `${material}: the caller is served: ${said.join(' | ')}`)
    t.same(
      record.bargeIns.filter(({ committed }) => committed).length,
      0,
      `${material}: nothing was interrupted: ${JSON.stringify(record.bargeIns)}`,
    )
    if (material === 'music') return
    const onHold = timeline.filter(({ name }) => name === 'put-on-hold')
    t.equal(onHold.length, 1, 'the agent knows that it waits')
    t.match(onHold[0]?.detail, /\d+ ms of voice without words, 8000 needed/)
    const waitedFromMs = onHold[0]?.atMs ?? Infinity
    const words = timeline.find(({ name }) => name === 'put-on-hold-over')
    const sounds = timeline.filter(({ name, atMs }) => name === 'agent-sound' && atMs > waitedFromMs)
    t.ok(
      sounds.every(({ atMs }) => atMs > (words?.atMs ?? Infinity)),
      'it asks nothing while it waits',
    )
    t.equal(said.length, 3, 'the greeting, one question, and the answer')
    t.ok(performance.now() - backAtMs < 30_000)
  }
  await Promise.all([held('june', 'HD_putonhold00001'), held('music', 'HD_putonhold00002')])
})
