import t from 'tap'
import { DISTURBED } from '../../bench/echo/agent-call.js'
import { samplesToMs } from '../../src/core/units.js'
import { call, disturbedLine, says } from '../support/agent-line.js'
import { concatenate, silence } from '../support/tones.js'

for (const rate of [8000, 16000] as const) {
  for (const gainDb of [0, -10, -20, -30]) {
    t.test(`${rate} Hz, ${gainDb} dB: an agent on a mixed line does not interrupt himself, whatever the delay`, (t) => {
      for (const [i, delaysMs] of [
        [20, 20, 20, 20, 20],
        [400, 400, 400, 400],
        [20, 60, 40, 80, 50],
        [20, 400, 20, 200, 380],
      ].entries()) {
        t.same(
          call({ track: 'both_tracks', rate, gainDb, delaysMs, seed: 10 + i }).onsetsAtMs,
          [],
          `delays ${delaysMs.join(', ')} ms`,
        )
      }
      t.end()
    })
  }

  t.test(`${rate} Hz: nor after he was held silent in mid-word and went on`, (t) => {
    for (let seed = 1; seed <= 4; seed++) {
      const outcome = call({
        track: 'both_tracks',
        rate,
        gainDb: 0,
        delaysMs: [100, 120],
        seed,
        pauseAtMs: 2000 + 110 * seed,
      })
      t.same(outcome.onsetsAtMs, [])
      t.ok(outcome.heard.length > 0)
    }
    t.end()
  })

  t.test(`${rate} Hz: nor where audio waits or is lost on its way, and a caller is still heard`, (t) => {
    // Over what is left of the agent a voice is doubtful at first, and takes the turn later for it.
    const interruption = says('No, wait a moment please, that is the wrong order. I want another one.', rate, 'rms')
    for (const what of DISTURBED) {
      for (const ms of what === 'waits' ? [60, 120, 200] : [60, 120]) {
        const line = disturbedLine({ track: 'both_tracks', rate, gainDb: 0 }, what, ms)
        const { onsetsAtMs, commitsAtMs } = call(line)
        t.same([onsetsAtMs, commitsAtMs], [[], []], `${what}, ${ms} ms`)
        const over = call({ ...line, caller: concatenate(silence(rate, 27_000), interruption) })
        t.ok((over.commitsAtMs[0] ?? Infinity) < 29_800, `${what}, ${ms} ms: taken at ${over.commitsAtMs[0]} ms`)
      }
    }
    t.end()
  })

  t.test(`${rate} Hz: a caller as loud as the agent interrupts him within 300 ms`, (t) => {
    const interruption = says('No, wait a moment please, that is the wrong order.', rate, 'rms')
    // A voice rises slowly: from its first breath on.
    const startsAt = interruption.findIndex((v) => Math.abs(v) > 300)
    for (const [i, delayMs] of [20, 150, 400].entries()) {
      const atMs = 8400 + 170 * i
      const caller = concatenate(silence(rate, atMs), interruption)
      const { onsetsAtMs } = call({
        track: 'both_tracks',
        rate,
        gainDb: 0,
        delaysMs: [delayMs, delayMs],
        seed: 20 + i,
        caller,
      })
      const tookMs = (onsetsAtMs[0] ?? Infinity) - atMs - samplesToMs(startsAt, rate)
      // Within a frame: the carrier's tick and the voice's beginning fall where they fall.
      t.ok(tookMs > -20 && tookMs <= 300, `${tookMs.toFixed(0)} ms at a delay of ${delayMs} ms`)
    }
    t.end()
  })
}

t.test('of the mixed line the backend hears the caller alone', (t) => {
  const { heard, onsetsAtMs } = call({ track: 'both_tracks', rate: 16000, gainDb: 0, delaysMs: [60, 60], seed: 5 })
  t.same(onsetsAtMs, [])
  // From the second sentence on: the first 100 ms of a call are spent on finding our own speech in it.
  const rest = heard.subarray(16 * 7000, 16 * 11_000)
  const rms = Math.sqrt(rest.reduce((sum, v) => sum + v * v, 0) / rest.length)
  t.ok(rms < 100, `${rms.toFixed(0)} rms of an agent at about 4000`)
  t.end()
})
