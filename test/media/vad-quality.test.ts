import t from 'tap'
import { measureQuality, meanF1 } from '../../bench/vad/quality.js'
import { FvadBank } from '../../src/media/vad.js'
import { loadFvad } from '../support/media-modules.js'

// The whole corpus is measured by bench/vad; this is a third of it.
t.setTimeout(180_000)

const STEADY = ['white', 'pink', 'car'] as const
const quality = await measureQuality({
  vadBank: new FvadBank(await loadFvad()), rates: [8000, 16000], utterances: 18, noises: [...STEADY, 'babble'], snrsDb: [10, 5], nonSpeechMs: 20_000,
})

for (const rateHz of [8000, 16000]) {
  const speech = quality.speech.filter((row) => row.rateHz === rateHz)
  const nonSpeech = quality.nonSpeech.filter((row) => row.rateHz === rateHz)

  t.test(`${rateHz} Hz: a caller is told from the noise around him`, (t) => {
    for (const [snrDb, least] of [[10, 0.93], [5, 0.9]] as const) {
      const f1 = meanF1(speech, snrDb, STEADY)
      t.ok(f1 >= least, `F1 ${f1.toFixed(3)} at ${snrDb} dB`)
    }
    for (const row of speech) {
      if (row.snrDb !== 5) t.equal(row.segmentsMissed, 0, `${row.noise}: nothing he says is missed`)
      if (row.snrDb !== 5) t.ok(row.onsetMedianMs <= 60, `${row.noise}: begins after ${row.onsetMedianMs} ms`)
      t.ok(row.falseShare < 0.25, `${row.noise} ${row.snrDb} dB: ${(100 * row.falseShare).toFixed(0)} % of the silence, hang-over included`)
    }
    t.ok((speech.find((row) => row.noise === 'none')?.recall ?? 0) > 0.97)
    t.end()
  })

  t.test(`${rateHz} Hz: among other people he is still heard`, (t) => {
    const [at10, at5] = [10, 5].map((snrDb) => meanF1(speech, snrDb, ['babble'])) as [number, number]
    t.ok(at10 > 0.8, `F1 ${at10.toFixed(3)} at 10 dB`)
    t.ok(at5 > 0.65, `F1 ${at5.toFixed(3)} at 5 dB`)
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

  t.test(`${rateHz} Hz: nor is the agent out of the caller's loudspeaker`, (t) => {
    const echoes = nonSpeech.filter((row) => row.name.includes('echo'))
    t.equal(echoes.length, 3)
    for (const row of echoes) t.ok(row.share < 0.1, `${row.name}: ${(100 * row.share).toFixed(1)} %, ${row.onsets} onsets`)
    t.end()
  })
}
