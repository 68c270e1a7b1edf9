import fc from 'fast-check'
import t from 'tap'
import { FRAME, Line, settled } from './failover/line.js'
import { ScriptedService } from './failover/scripted.js'

type Step = 'quiet' | 'speak' | 'answer' | 'half-answer' | 'die' | 'die and wait' | 'stop waiting' | 'expire'

const step = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Step>('quiet') },
  { weight: 4, arbitrary: fc.constant<Step>('speak') },
  { weight: 3, arbitrary: fc.constantFrom<Step>('answer', 'half-answer') },
  { weight: 2, arbitrary: fc.constantFrom<Step>('die', 'die and wait') },
  { weight: 2, arbitrary: fc.constant<Step>('stop waiting') },
  { weight: 1, arbitrary: fc.constant<Step>('expire') },
)

/**
 * Whenever backends die, connect and are rotated: each session gets one unbroken piece of the caller's audio, and the
 * last one gets everything from the first sample without an answer at its takeover.
 */
t.test('in any order of events, no caller audio without an answer is lost', async (t) => {
  let takeovers = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 40 }), fc.boolean(), async (steps, serverVad) => {
      const [a, b] = [
        new ScriptedService('a', ['ready'], { serverVad }),
        new ScriptedService('b', ['ready'], { serverVad }),
      ]
      const line = new Line(t, [a, b], { failoversMax: 1000, connectMs: 60_000, stallMs: 3_600_000 })
      const begins = new Map<object, number>()
      const active = () => [...a.sessions, ...b.sessions].find((one) => one.closedWith === null)
      let unanswered: number | null = null
      let generation = 0
      await line.connect()
      for (const one of steps) {
        const now = active()
        if (one === 'quiet') await line.frames(200, false)
        else if (one === 'speak') {
          unanswered ??= line.said.length
          await line.frames(40)
          line.backend.speechStart(line.timers.now - 40)
          await line.frames(200)
          line.backend.speechEnd(line.timers.now)
        } else if (one === 'answer' || one === 'half-answer') {
          if (now === undefined || line.backend.snapshot() === null) continue
          generation += 1
          now.speak(generation, 'Yes.', 100)
          if (one === 'answer') {
            now.finish(generation)
            unanswered = null
          }
        } else if (one === 'expire') now?.emit({ type: 'expiring', inMs: 30_000 })
        else if (one === 'stop waiting') {
          for (const waiting of [...a.sessions, ...b.sessions]) waiting.becomeReady()
          await settled()
        } else {
          for (const service of [a, b])
            service.connects.splice(0, service.connects.length, one === 'die' ? 'ready' : 'later')
          if (line.backend.snapshot() !== null) now?.die()
          await settled()
        }
        // At its takeover a session must get all audio from here on.
        const serving = active()
        if (serving !== undefined && line.backend.snapshot() !== null && !begins.has(serving))
          begins.set(serving, unanswered ?? line.said.length)
      }
      for (const waiting of [...a.sessions, ...b.sessions]) waiting.becomeReady()
      await settled()
      await line.frames(100)
      for (const [i, session] of [...a.sessions, ...b.sessions].entries()) {
        const { samples } = session
        const [first] = samples
        if (first === undefined) continue
        // Sample values repeat after 65,536 samples: find the position where all fit.
        const from = first + 32_768
        let at = from
        while (at < line.said.length && !samples.every((sample, k) => sample === line.said[at + k])) at += 65_536
        if (at >= line.said.length) throw new Error(`session ${i} did not get one unbroken piece`)
        const expectedFrom = begins.get(session)
        if (expectedFrom !== undefined && at > expectedFrom)
          throw new Error(`session ${i} begins at ${at}, ${at - expectedFrom} samples too late`)
        if (session === active() && at + samples.length !== line.said.length)
          throw new Error('the last words are missing')
        if (at % FRAME !== 0) throw new Error('frames are cut')
      }
      if (line.backend.stats.lostSamples !== 0) throw new Error(`${line.backend.stats.lostSamples} samples lost`)
      takeovers += line.backend.stats.failovers + line.backend.stats.rotations
      await line.backend.close('over')
    }),
    { numRuns: 150 },
  )
  t.ok(takeovers > 100, `${takeovers} takeovers`)
})
