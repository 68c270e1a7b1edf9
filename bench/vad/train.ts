import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { INPUTS } from '../../src/media/vad/voice-features.js'
import { VOICE_MODEL } from '../../src/media/vad/voice-model.js'
import { fit } from './fit.js'
import { modelSource, rounded, trainingExamples } from './training.js'

const HELP = `node dist/bench/vad/train.js FILE: derives the numbers of src/media/vad/voice-model.ts and writes them to FILE

  --check     derives them and compares them with those that were built; nothing is written, 1 when one differs

Takes about eight minutes of one core and 1.5 GB; the same numbers come out each time. docs/VAD.md says what they are made from.`

const UTTERANCES = 132
const SOUND_MS = 45_000
const EPOCHS = 8
const SEED = 3

async function main(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: { check: { type: 'boolean' }, help: { type: 'boolean' } },
  })
  const [file] = positionals
  const check = values.check === true
  if (values.help === true || check === (file !== undefined)) {
    console.log(HELP)
    return values.help === true ? 0 : 2
  }
  const examples = await trainingExamples({ utterances: UTTERANCES, soundMs: SOUND_MS })
  console.log(`${examples.speech.length} frames of ${INPUTS} numbers`)
  const model = fit(examples, { epochs: EPOCHS, seed: SEED })
  if (file !== undefined) writeFileSync(file, modelSource(model))
  return check ? compare(rounded(model)) : 0
}

function compare(derived: readonly number[]): number {
  const length = Math.max(derived.length, VOICE_MODEL.length)
  const differing = Array.from({ length }, (_, i) => i).filter((i) => derived[i] !== VOICE_MODEL[i])
  const [first] = differing
  console.log(
    first === undefined
      ? `all ${length} numbers are those of src/media/vad/voice-model.ts`
      : `${differing.length} of ${length} numbers differ; the first is number ${first}: derived ${derived[first]}, built ${VOICE_MODEL[first]}`,
  )
  return first === undefined ? 0 : 1
}

process.exitCode = await main(process.argv.slice(2))
