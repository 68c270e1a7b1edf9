import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { loadVoiceModels } from '../../src/workers/shared/media-assets.js'
import { type Crowd, missingAlbums, missingCrowds, missingMaterial } from '../material.js'
import { fit, fitMemory } from './fit.js'
import { missingInstruments } from './rendered.js'
import { TRAINING_ALBUMS, TRAINING_CROWDS } from './scenes.js'
import { secondExamples } from './second-training.js'
import { type Models, firstExamples, modelBytes, rounded } from './training.js'

const HELP = `node dist/bench/vad/train.js FILE: derives the numbers of src/media/vad/voice-model.f32 and writes them to FILE

  --check     derives them and compares them with those that were built; nothing is written, 1 when one differs
  --second    derives those of the second stage alone; the others are taken as they were built

Takes about three quarters of an hour of one core and 3 GB, most of it for the second stage; the same numbers come out each time. bench/vad/README.md says what they are made from.`

const FIRST = { utterances: 132, soundMs: 45_000 }
const FIRST_FIT = { epochs: 8, seed: 3 }
const SECOND = { utterances: 60, calls: 4, soundMs: 20_000, pieces: 32, excerpts: 2 }
const SECOND_FIT = { epochs: 12, seeds: [5, 10] }

async function main(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: { check: { type: 'boolean' }, second: { type: 'boolean' }, help: { type: 'boolean' } },
  })
  const [file] = positionals
  const check = values.check === true
  if (values.help === true || check === (file !== undefined)) {
    console.log(HELP)
    return values.help === true ? 0 : 2
  }
  const missing = [
    missingMaterial('allison', 'june', 'music'),
    missingAlbums(...TRAINING_ALBUMS),
    missingCrowds(...(Object.keys(TRAINING_CROWDS) as Crowd[])),
    missingInstruments(),
  ].filter((packages) => packages !== null)
  if (missing.length > 0) {
    console.error(`what the numbers are derived from is not here: apt-get install ${missing.join(' ')}`)
    return 2
  }
  const built = await loadVoiceModels()
  // The second stage learns from frames that are likely speech for the first stage. For this, the first stage uses its
  // rounded numbers.
  const first = values.second === true ? rounded(built.first) : rounded(fit(await firstExamples(FIRST), FIRST_FIT))
  const second = rounded(fitMemory(await secondExamples(SECOND, first), SECOND_FIT))
  const models = { first, second }
  if (check) return compare(models, built)
  const bytes = modelBytes(models)
  writeFileSync(file as string, bytes)
  console.log(
    `VOICE_MODEL_SHA256 (src/workers/shared/media-assets.ts): ${createHash('sha256').update(bytes).digest('hex')}`,
  )
  return 0
}

function compare(derived: Models, built: Models): number {
  const [numbers, kept] = [derived, built].map(({ first, second }) => [...rounded(first), ...rounded(second)]) as [
    number[],
    number[],
  ]
  const length = Math.max(numbers.length, kept.length)
  const differing = Array.from({ length }, (_, i) => i).filter((i) => numbers[i] !== kept[i])
  const [at] = differing
  console.log(
    at === undefined
      ? `all ${length} numbers are those of src/media/vad/voice-model.f32`
      : `${differing.length} of ${length} numbers differ; the first is number ${at}: derived ${numbers[at]}, built ${kept[at]}`,
  )
  return at === undefined ? 0 : 1
}

process.exitCode = await main(process.argv.slice(2))
