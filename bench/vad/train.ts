import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { INPUTS } from '../../src/media/voice-kernel.js'
import { fit } from './fit.js'
import { trainingExamples } from './training.js'

const HELP = `node dist/bench/vad/train.js FILE: derives the numbers of src/media/voice-model.ts and writes them to FILE

Takes about four minutes; the same numbers come out each time. docs/VAD.md says what they are made from.`

const UTTERANCES = 60
const SOUND_MS = 45_000
const EPOCHS = 8
const SEED = 2
/** More would say nothing: the last digit changes F1 in its fourth. */
const DIGITS = 4

const { values, positionals } = parseArgs({ allowPositionals: true, options: { help: { type: 'boolean' } } })
const [file] = positionals
if (values.help === true || file === undefined) {
  console.log(HELP)
  process.exitCode = values.help === true ? 0 : 2
} else {
  const examples = await trainingExamples({ utterances: UTTERANCES, soundMs: SOUND_MS })
  console.log(`${examples.speech.length} frames of ${INPUTS} numbers`)
  const model = fit(examples, { epochs: EPOCHS, seed: SEED })
  const lines: string[] = []
  let line = ''
  for (const number of model) {
    const text = `${Number(number.toPrecision(DIGITS))}, `
    if (line.length + text.length > 118) {
      lines.push(line.trimEnd())
      line = ''
    }
    line += text
  }
  lines.push(line.trimEnd())
  writeFileSync(file, `// Written by bench/vad/train.ts: docs/VAD.md says how, and what they are derived from.

/** The numbers of the voice detector's units, in the order of \`voice-kernel.ts\`. */
export const VOICE_MODEL: readonly number[] = [
${lines.map((numbers) => `  ${numbers}`).join('\n')}
]
`)
}
