import fc from 'fast-check'
import t from 'tap'
import { TRANSCRIPT_ENTRIES_MAX } from '../../src/core/limits.js'
import { callStep, play } from './random-call.js'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { escalation, options, Rig } from './rig.js'

const { bargeIn } = DEFAULT_CALL_OPTIONS
import { CALL_OUTPUTS_QUEUED_MAX } from '../../src/call/call-core.js'
import { CallSession } from '../../src/call/call-session.js'
import { PlayoutLedger } from '../../src/call/turns/playout-ledger.js'

t.test('a random call ends once, shortly after its stream', async () => {
  fc.assert(
    fc.property(
      fc.array(callStep, { maxLength: 80 }),
      fc.boolean(),
      fc.boolean(),
      fc.boolean(),
      fc.constantFrom(null, 'Welcome.'),
      (steps, serverVad, weighsSpeech, escalates, greeting) => {
        const rig = new Rig({ serverVad, weighsSpeech, bargeIn, greeting, escalation: escalates ? escalation : null })
        rig.open()
        for (const step of steps) {
          play(rig, step)
          const wake = rig.session.nextWake()
          if (wake !== null && wake.atMs < rig.nowMs - 40) {
            throw new Error(`${wake.reason} is ${rig.nowMs - wake.atMs} ms overdue`)
          }
        }
        rig.in({ type: 'stream-closed', code: 1006 })
        rig.run(100)
        if (rig.session.state !== 'ended') throw new Error(`still ${rig.session.state}`)
        if (rig.session.nextWake() !== null) throw new Error('wants to be woken after its end')
        if (rig.all('ended').length !== 1) throw new Error(`${rig.all('ended').length} ends`)
        if (rig.all('end-stream').length > 1) throw new Error('stream ended twice')
        if (rig.all('backend-close').length !== 1) {
          throw new Error(`backend closed ${rig.all('backend-close').length} times`)
        }
        const runs = rig
          .all('run-tool')
          .map(({ name, args, occurrence }) => `${name} ${JSON.stringify(args)} ${occurrence}`)
        if (new Set(runs).size !== runs.length) throw new Error('a tool ran twice under one key')
        // Nothing speaks or acts after the end.
        const last = rig.log.at(-1)?.output.type
        if (last !== 'ended') throw new Error(`${last} after the end`)
      },
    ),
    { numRuns: 400 },
  )
})

t.test('a random call ends by itself without further events', async () => {
  fc.assert(
    fc.property(fc.array(callStep, { maxLength: 40 }), (steps) => {
      const rig = new Rig({ escalation, duration: { maxMs: 120_000, text: 'Time is up.' } })
      rig.open()
      for (const step of steps) play(rig, step)
      // Long enough for the time limit, a hold, an escalation without an answer and two goodbyes.
      rig.run(300_000)
      const { state } = rig.session
      // With a human on the line, the humans end the call.
      if (state !== 'ended' && state !== 'bridged') throw new Error(`still ${state}`)
    }),
    { numRuns: 60 },
  )
})

t.test('an undrained session drops notices, never actions', async (t) => {
  const session = new CallSession(options(), new PlayoutLedger({ sampleRateHz: 16000 }))
  session.handle({ type: 'stream-opened', sampleRateHz: 16000 }, 1000)
  for (let i = 0; i < 3000; i++) session.handle({ type: 'stream-metadata', matches: true }, 1000 + i)
  session.handle({ type: 'stream-closed', code: 1000 }, 5000)
  const outputs = []
  for (let output = session.pollOutput(); output !== null; output = session.pollOutput()) outputs.push(output.type)
  t.ok(outputs.length < CALL_OUTPUTS_QUEUED_MAX + 10)
  t.equal(outputs.at(-1), 'ended')
  t.ok(session.counters.outputsDropped > 0)
})

t.test('the log of a long call is bounded', async (t) => {
  const rig = Rig.talking({ answerTimeoutMs: 10_000_000 })
  for (let i = 0; i < TRANSCRIPT_ENTRIES_MAX + 50; i++) rig.heardWords(`word ${i}`, `c${i}`)
  t.equal(rig.session.log.transcript.length, TRANSCRIPT_ENTRIES_MAX)
  t.equal(rig.session.log.transcript.at(-1)?.text, `word ${TRANSCRIPT_ENTRIES_MAX + 49}`)
  t.equal(rig.session.log.dropped.transcript, 51)
  rig.heardWords('x'.repeat(10_000), 'long')
  t.equal(rig.session.log.transcript.at(-1)?.text.length, 4000)
})

t.test('a frame without news causes no output or wake-up', async (t) => {
  const rig = Rig.talking()
  rig.run(200)
  const wake = rig.session.nextWake()
  const before = rig.log.length
  rig.run(2000)
  t.equal(rig.log.length, before)
  t.equal(rig.session.nextWake(), wake, 'the very same object')
})
