import t from 'tap'
import { measureQuality } from '../../bench/vad/quality.js'
import { NOISES } from '../../bench/vad/sounds.js'
import { loadVads } from '../support/media-modules.js'

// The whole corpus is measured by bench/vad (docs/VAD.md has its tables); this is a third of it, so with a margin for chance.
t.setTimeout(300_000)

const MARGIN = 0.01
const quality = await measureQuality({
  vadBank: await loadVads(), rates: [8000, 16000], utterances: 18, snrsDb: [10, 5], nonSpeechMs: 20_000,
})

for (const rateHz of [8000, 16000]) {
  const speech = quality.speech.filter((row) => row.rateHz === rateHz)
  const nonSpeech = quality.nonSpeech.filter((row) => row.rateHz === rateHz)

  t.test(`${rateHz} Hz: a caller is told from the noise around him`, (t) => {
    t.equal(speech.length, 1 + 2 * NOISES.length)
    for (const { noise, snrDb, f1, segmentsMissed, onsetMedianMs } of speech) {
      const least = snrDb === 5 ? 0.9 : 0.93
      t.ok(f1 >= least - MARGIN, `${noise} ${snrDb ?? ''} dB: F1 ${f1.toFixed(3)}`)
      t.equal(segmentsMissed, 0, `${noise}: nothing he says is missed`)
      t.ok(onsetMedianMs <= (snrDb === 5 ? 100 : 80), `${noise} ${snrDb ?? ''} dB: begins after ${onsetMedianMs} ms`)
    }
    const onsets = speech.filter(({ snrDb }) => snrDb === 10).map((row) => row.onsetMedianMs).sort((a, b) => a - b)
    t.ok((onsets[onsets.length >> 1] ?? Infinity) <= 60, `at 10 dB: ${onsets.join(', ')} ms`)
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
    const shareOf = (part: string): number => {
      const rows = nonSpeech.filter(({ name }) => name.includes(part))
      return rows.reduce((sum, row) => sum + row.share, 0) / rows.length
    }
    // One piece in some is taken for a singer for seconds: docs/VAD.md.
    t.ok(shareOf('hold music') < 0.12, `music: ${(100 * shareOf('hold music')).toFixed(1)} %`)
    t.ok(shareOf('knocks') < 0.08, `knocks: ${(100 * shareOf('knocks')).toFixed(1)} %`)
    t.end()
  })

  t.test(`${rateHz} Hz: nor is the agent out of the caller's loudspeaker`, (t) => {
    const echoes = nonSpeech.filter((row) => row.name.includes('echo'))
    t.equal(echoes.length, 6, 'three delays, on either track')
    for (const row of echoes) t.ok(row.onsets === 0, `${row.name}: ${(100 * row.share).toFixed(1)} %, ${row.onsets} onsets`)
    t.end()
  })
}
