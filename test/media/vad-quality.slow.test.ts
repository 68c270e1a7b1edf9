import t from 'tap'
import { measureQuality } from '../../bench/vad/quality.js'
import { NOISES } from '../../bench/vad/sounds.js'
import { loadVads } from '../support/media-modules.js'

// The whole corpus is measured by bench/vad (bench/vad/README.md has its tables); this is a third of it.
t.setTimeout(500_000)

const quality = await measureQuality({
  vadBank: await loadVads(),
  rates: [8000, 16000],
  utterances: 18,
  snrsDb: [10, 5],
  nonSpeechMs: 20_000,
})

for (const rateHz of [8000, 16000]) {
  const speech = quality.speech.filter((row) => row.rateHz === rateHz)
  const nonSpeech = quality.nonSpeech.filter((row) => row.rateHz === rateHz)

  t.test(`${rateHz} Hz: a caller is told from the noise around him`, (t) => {
    t.equal(speech.length, 1 + 2 * NOISES.length)
    for (const { noise, snrDb, f1, segmentsMissed, onsetMedianMs } of speech) {
      // A horn and an engine are more like a voice than steady noise is: bench/vad/README.md.
      const least = (snrDb === 5 ? 0.9 : 0.93) - (noise === 'street' ? 0.03 : 0)
      t.ok(f1 >= least, `${noise} ${snrDb ?? ''} dB: F1 ${f1.toFixed(3)}`)
      t.equal(segmentsMissed, 0, `${noise}: nothing he says is missed`)
      // Among other people on a telephone line he is heard a frame later: bench/vad/README.md.
      const late = snrDb === 5 || (noise === 'babble' && rateHz === 8000)
      t.ok(onsetMedianMs <= (late ? 80 : 60), `${noise} ${snrDb ?? ''} dB: begins after ${onsetMedianMs} ms`)
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
