import t from 'tap'
import { HELD_OUT, placeEchoCall } from '../../bench/echo/cases.js'
import { measureQuality } from '../../bench/vad/quality.js'
import { NOISES } from '../../bench/vad/sounds.js'
import { hasMaterial } from '../support/material.js'
import { loadVads } from '../support/media-modules.js'

// The detector is frozen: a part of what bench/vad measures, enough to see that it is what it was.

const bank = await loadVads()

const quality = await measureQuality({
  vadBank: bank,
  rates: [8000, 16000],
  utterances: 18,
  snrsDb: [5],
  nonSpeechMs: 20_000,
})

for (const rateHz of [8000, 16000]) {
  const speech = quality.speech.filter((row) => row.rateHz === rateHz)
  const nonSpeech = quality.nonSpeech.filter((row) => row.rateHz === rateHz)

  t.test(`${rateHz} Hz: a caller is distinguished from background noise`, (t) => {
    t.equal(speech.length, 1 + NOISES.length)
    for (const { noise, snrDb, f1, segmentsMissed, onsetMedianMs } of speech) {
      // A horn and an engine are more like a voice than steady noise is: bench/vad/README.md.
      const least = (snrDb === null ? 0.93 : 0.9) - (noise === 'street' ? 0.03 : 0)
      t.ok(f1 >= least, `${noise} ${snrDb ?? ''} dB: F1 ${f1.toFixed(3)}`)
      t.equal(segmentsMissed, 0, `${noise}: nothing he says is missed`)
      t.ok(onsetMedianMs <= (snrDb === null ? 60 : 80), `${noise} ${snrDb ?? ''} dB: begins after ${onsetMedianMs} ms`)
    }
    t.end()
  })

  t.test(`${rateHz} Hz: offset and hum hide no caller`, (t) => {
    const clean = speech.find(({ noise }) => noise === 'none')
    for (const { line, recall, f1 } of quality.lines.filter((row) => row.rateHz === rateHz)) {
      t.ok(recall >= 0.9, `${line}: recall ${recall.toFixed(3)}`)
      t.ok(f1 >= (clean?.f1 ?? 1) - 0.05, `${line}: F1 ${f1.toFixed(3)}`)
    }
    t.end()
  })

  t.test(`${rateHz} Hz: keys and line signals are not voice`, (t) => {
    for (const row of nonSpeech) {
      if (!row.signal) continue
      t.ok(row.share < 0.02, `${row.name}: ${(100 * row.share).toFixed(1)} %`)
      t.equal(row.onsets, 0, row.name)
    }
    t.end()
  })

  t.test(`${rateHz} Hz: music and knocks are seldom voice`, (t) => {
    const rows = nonSpeech.filter(({ name }) => name.includes('music') || name === 'knocks')
    t.equal(rows.length, 3)
    for (const row of rows)
      t.ok(row.share < 0.05, `${row.name}: ${(100 * row.share).toFixed(1)} %, ${row.onsets} onsets`)
    t.end()
  })

  t.test(`${rateHz} Hz: loudspeaker echo does not interrupt the agent`, (t) => {
    const echoes = nonSpeech.filter((row) => row.name.includes('echo'))
    t.equal(echoes.length, 6, 'three delays, on either track')
    for (const row of echoes)
      t.ok(row.onsets === 0, `${row.name}: ${(100 * row.share).toFixed(1)} %, ${row.onsets} onsets`)
    t.end()
  })
}

for (const phone of ['plain', 'speakerphone'] as const)
  t.test(`on a ${phone} phone only the caller takes a turn`, async (t) => {
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
          bank,
        )
        const early = commitsAtMs.filter((ms) => !(ms > callerAtMs))
        t.same(early, [], `${delayMs} ms: nothing of the echo`)
        if (callerOverEchoDb === null) continue
        const tookMs = (commitsAtMs.find((ms) => ms > callerAtMs) ?? Infinity) - callerAtMs
        t.ok(tookMs < 3000, `${delayMs} ms: ${tookMs.toFixed(0)} ms`)
      }
  })
