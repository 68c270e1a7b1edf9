import t from 'tap'
import { HELD_OUT, placeEchoCall } from '../../bench/echo/cases.js'
import { measureNobody } from '../../bench/vad/nobody.js'
import { measureQuality } from '../../bench/vad/quality.js'
import { NOISES } from '../../bench/vad/sounds.js'
import { hasMaterial } from '../support/material.js'
import { loadVads } from '../support/media-modules.js'

// The detector is frozen: a part of what bench/vad measures, enough to see that it is what it was.
t.setTimeout(500_000)

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

  t.test(`${rateHz} Hz: a caller is told from the noise around him`, (t) => {
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

  t.test(`${rateHz} Hz: keys and the signals of a line are no voice and interrupt nobody`, (t) => {
    for (const row of nonSpeech) {
      if (!row.signal) continue
      t.ok(row.share < 0.02, `${row.name}: ${(100 * row.share).toFixed(1)} %`)
      t.equal(row.onsets, 0, row.name)
    }
    t.end()
  })

  t.test(`${rateHz} Hz: music and knocks seldom are`, (t) => {
    const rows = nonSpeech.filter(({ name }) => name.includes('music') || name === 'knocks')
    t.equal(rows.length, 3)
    for (const row of rows)
      t.ok(row.share < 0.05, `${row.name}: ${(100 * row.share).toFixed(1)} %, ${row.onsets} onsets`)
    t.end()
  })

  t.test(`${rateHz} Hz: nor is the agent out of the caller's loudspeaker`, (t) => {
    const echoes = nonSpeech.filter((row) => row.name.includes('echo'))
    t.equal(echoes.length, 6, 'three delays, on either track')
    for (const row of echoes)
      t.ok(row.onsets === 0, `${row.name}: ${(100 * row.share).toFixed(1)} %, ${row.onsets} onsets`)
    t.end()
  })
}

// Twenty seconds of each sound and a fourth of the pieces: `node dist/bench/vad/main.js --nobody` hears two minutes of all,
// and bench/vad/README.md has its table.
const MS = 20_000
const EVERY_NTH_PIECE = 4

type Figures = readonly [voicedPerMille: number, pausesPerMin: number, commitsPerMin: number]
const NOTHING: Figures = [0, 0, 0]
/**
 * As measured, on 8 kHz, 16 kHz and 8 kHz mu-law on a leg of 16 kHz. The detector is frozen: another decoder of the
 * recordings may change a frame or two, and what one of them sets off.
 */
const MEASURED: Readonly<Record<string, readonly [Figures, Figures, Figures]>> = {
  'white noise': [NOTHING, NOTHING, NOTHING],
  'pink noise': [NOTHING, NOTHING, NOTHING],
  'brown noise': [NOTHING, NOTHING, NOTHING],
  car: [NOTHING, NOTHING, NOTHING],
  hum: [NOTHING, NOTHING, NOTHING],
  street: [
    [13.7, 3, 0],
    [1.1, 0, 0],
    [15.8, 3, 0],
  ],
  'comfort noise, 7 to 15 dB steps': [
    [2.1, 0, 0],
    [0, 0, 0],
    [3.2, 0, 0],
  ],
  'macroform-cold_day': [
    [3.2, 3, 0],
    [1.1, 3, 0],
    [3.2, 3, 0],
  ],
  'macroform-robot_dity': [
    [107.4, 3, 3],
    [252.6, 3, 3],
    [93.8, 3, 3],
  ],
  'macroform-the_simplicity': [
    [172.6, 27, 6],
    [353.7, 9, 6],
    [168.6, 27, 3],
  ],
  'manolo_camp-morning_coffee': [
    [6.3, 3, 0],
    [46.3, 3, 0],
    [6.3, 3, 0],
  ],
  'reno_project-system': [NOTHING, [1.1, 0, 0], NOTHING],
  'pingus, mean of 4 pieces': [
    [76.5, 0.5, 0.3],
    [72.3, 0.5, 0.3],
    [76.1, 0.5, 0.3],
  ],
  'singularity, mean of 4 pieces': [
    [10.4, 0.8, 0.3],
    [105.4, 1.3, 0.5],
    [0.1, 0, 0],
  ],
  'rendered piece 1': [NOTHING, NOTHING, NOTHING],
  'rendered piece 5': [
    [7.3, 0, 0],
    [6.8, 0, 0],
    [3.6, 0, 0],
  ],
}
const LINES = ['8 kHz', '16 kHz', 'tel'] as const
const VOICED_PER_MILLE_MORE_MAX = 2
/** One in these seconds; none where there was none. */
const PER_MIN_MORE_MAX = 60_000 / MS + 0.1

t.test('noise and music pass for a voice no more than they did, and interrupt the agent no more', async (t) => {
  const { rows, missing } = await measureNobody(bank, MS, EVERY_NTH_PIECE)
  if (missing.length === 0)
    t.same([...new Set(rows.map(({ name }) => name))].toSorted(), Object.keys(MEASURED).toSorted())
  else console.error(`SKIPPED: recorded music: apt-get install --no-install-recommends ${missing.join(' ')}`)
  for (const { name, line, voicedShare, pausesPerMin, commitsPerMin } of rows) {
    const measured = MEASURED[name]?.[LINES.indexOf(line)]
    if (measured === undefined) {
      t.fail(`${name}, ${line} was never measured`)
      continue
    }
    const [voicedPerMille, pauses, commits] = measured
    const sound = `${name}, ${line}`
    t.ok(
      1000 * voicedShare <= voicedPerMille + VOICED_PER_MILLE_MORE_MAX,
      `${sound}: ${(1000 * voicedShare).toFixed(1)} per mille of the frames, ${voicedPerMille} before`,
    )
    t.ok(
      pausesPerMin <= (pauses && pauses + PER_MIN_MORE_MAX),
      `${sound}: ${pausesPerMin} pauses a minute, ${pauses} before`,
    )
    t.ok(
      commitsPerMin <= (commits && commits + PER_MIN_MORE_MAX),
      `${sound}: ${commitsPerMin} turns a minute, ${commits} before`,
    )
  }
  t.end()
})

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
          bank,
        )
        const early = commitsAtMs.filter((ms) => !(ms > callerAtMs))
        t.same(early, [], `${delayMs} ms: nothing of the echo`)
        if (callerOverEchoDb === null) continue
        const tookMs = (commitsAtMs.find((ms) => ms > callerAtMs) ?? Infinity) - callerAtMs
        t.ok(tookMs < 3000, `${delayMs} ms: ${tookMs.toFixed(0)} ms`)
      }
  })
