import t from 'tap'
import { HELD_OUT, placeEchoCall } from '../../bench/echo/cases.js'
import { hasMaterial } from '../support/material.js'
import { loadVads } from '../support/media-modules.js'

// Forty recordings of each voice are read first.
t.setTimeout(300_000)
const vadBank = await loadVads()

for (const phone of ['plain', 'speakerphone'] as const)
  t.test(`recorded people on a ${phone} phone: its echo commits nothing, and a caller over it does`, async (t) => {
    if (!hasMaterial(t, 'allison', 'carlo')) return
    const over = phone === 'plain' ? 0 : 6
    for (const [i, delayMs] of [120, 250].entries())
      for (const callerOverEchoDb of [null, over]) {
        const { commitsAtMs, callerAtMs } = await placeEchoCall(
          {
            leg: '8',
            track: 'inbound_track',
            phone,
            echoDb: -20,
            delayMs,
            callerOverEchoDb,
            voices: HELD_OUT[i] as (typeof HELD_OUT)[number],
            seed: 40 + i,
          },
          vadBank,
        )
        const early = commitsAtMs.filter((ms) => !(ms > callerAtMs))
        t.same(early, [], `${delayMs} ms: nothing of the echo`)
        if (callerOverEchoDb === null) continue
        const tookMs = (commitsAtMs.find((ms) => ms > callerAtMs) ?? Infinity) - callerAtMs
        t.ok(tookMs < 3000, `${delayMs} ms: ${tookMs.toFixed(0)} ms`)
      }
  })
