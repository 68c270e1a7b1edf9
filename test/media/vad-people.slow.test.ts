import t from 'tap'
import { readRecording } from '../../bench/material.js'
import { type Utterances, joined, makeCalls, powerOf, throughLine, truthOf } from '../../bench/vad/corpus.js'
import { promptUtterances } from '../../bench/vad/recorded.js'
import { decisionsOf, scoreOf, smoothed } from '../../bench/vad/score.js'
import { pinkNoise } from '../../bench/vad/sounds.js'
import { FRAME_MS, type LegRateHz } from '../../src/core/units.js'
import { loadMediaAssets, voiceDetectors } from '../../src/workers/media-assets.js'
import { loadVads } from '../support/media-modules.js'
import { hasMaterial } from '../support/material.js'

t.setTimeout(300_000)

// Nothing was fitted to this speaker, nor to these pieces.
const SPEAKER = 'carlo'
const PIECES = ['macroform-the_simplicity', 'manolo_camp-morning_coffee', 'reno_project-system'] as const

const bank = await loadVads()
const { callerKernel, voiceModels } = await loadMediaAssets()
/** Its second stage finds everything to be a voice. */
const acceptsAll = new Float32Array(voiceModels.second.length).with(-1, 100)
const firstSight = voiceDetectors({ callerKernel, voiceModels: { ...voiceModels, second: acceptsAll } })

for (const rateHz of [8000, 16_000] as const) {
  const telephone = rateHz === 8000

  t.test(`${rateHz} Hz: what knows music costs a caller no more than .003 of F1, whatever is around him`, async (t) => {
    if (!hasMaterial(t, SPEAKER, 'music')) return
    const utterances: Utterances = {
      ...(await promptUtterances(SPEAKER, rateHz, 12, 'validation')),
      pieces: await pieces(rateHz),
    }
    for (const noise of ['pink', 'street', 'babble', 'music'] as const) {
      const calls = makeCalls({ utterances, noise, snrDb: 5, seed: 2, telephone })
      const [both, first] = [bank, firstSight].map((vads) =>
        scoreOf(calls, ({ samples }) => smoothed(decisionsOf(samples, rateHz, vads))),
      ) as [ReturnType<typeof scoreOf>, ReturnType<typeof scoreOf>]
      t.ok(
        both.f1 > first.f1 - 0.003,
        `${noise}: F1 ${both.f1.toFixed(3)}, by the first stage alone ${first.f1.toFixed(3)}`,
      )
      t.equal(both.segmentsMissed, first.segmentsMissed, `${noise}: nothing more is missed`)
    }
    t.end()
  })

  t.test(`${rateHz} Hz: who talks on with hardly a pause is not taken for music`, async (t) => {
    if (!hasMaterial(t, SPEAKER)) return
    const { voices } = await promptUtterances(SPEAKER, rateHz, 12, 'validation')
    const pause = new Float64Array(0.06 * rateHz)
    const clean = joined([new Float64Array(rateHz), ...voices.flatMap((voice) => [voice, pause])])
    const noise = pinkNoise({ rateHz, ms: (clean.length * 1000) / rateHz, seed: 5 })
    const speech = truthOf(clean, rateHz)
    for (const snrDb of [Infinity, 20, 10]) {
      const gain = Math.sqrt(powerOf(clean) / powerOf(noise)) * 10 ** (-snrDb / 20)
      const samples = throughLine(
        clean.map((value, i) => value + gain * (noise[i] ?? 0)),
        rateHz,
        telephone,
      )
      const [both, first] = [bank, firstSight].map((vads) =>
        scoreOf([{ samples, speech }], (call) => smoothed(decisionsOf(call.samples, rateHz, vads))),
      ) as [ReturnType<typeof scoreOf>, ReturnType<typeof scoreOf>]
      t.ok(both.recall > first.recall - 0.005, `${snrDb} dB: ${both.recall.toFixed(3)} of ${first.recall.toFixed(3)}`)
    }
    t.end()
  })

  t.test(`${rateHz} Hz: who comes back to the line after music is heard`, async (t) => {
    if (!hasMaterial(t, SPEAKER, 'music')) return
    const { voices } = await promptUtterances(SPEAKER, rateHz, 12, 'validation')
    const music = await pieces(rateHz)
    for (const pauseMs of [200, 500]) {
      const lateMs = voices.map((voice, i) => {
        const piece = music[i % music.length] as Float64Array
        const from = (7 + 13 * i) * rateHz
        const before = piece.slice(from, from + 12 * rateHz)
        const gain = 10 ** (-4 / 20) * Math.sqrt(powerOf(voice) / powerOf(before))
        const pause = new Float64Array((rateHz * pauseMs) / 1000)
        const line = throughLine(joined([before.map((value) => gain * value), pause, voice]), rateHz, telephone)
        const begins = (before.length + pause.length) / (rateHz / 50) + truthOf(voice, rateHz).indexOf(true)
        const at = smoothed(decisionsOf(line, rateHz, bank)).indexOf(true, begins)
        return at < 0 ? Infinity : FRAME_MS * (at - begins + 1)
      })
      lateMs.sort((a, b) => a - b)
      t.ok((lateMs[6] as number) <= 120, `after ${pauseMs} ms: the median begins after ${lateMs[6]} ms`)
      t.ok((lateMs[11] as number) <= 600, `the last after ${lateMs[11]} ms`)
    }
    t.end()
  })
}

function pieces(rateHz: LegRateHz): Promise<Float64Array[]> {
  return Promise.all(PIECES.map(async (name) => Float64Array.from(await readRecording('music', name, rateHz))))
}
