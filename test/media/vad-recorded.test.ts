import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { recordedUtterances } from '../../bench/vad/recorded.js'
import { writeWav } from '../../src/media/wav.js'
import { silence, speechLike, tone } from '../support/tones.js'

const sentence = (ms: number, seed: number) => speechLike({ sampleRateHz: 8000, ms, amplitude: 9000 }, seed)

t.test(
  'of a folder of prompts only the sentences are taken, spread over all and in the order of their names',
  async (t) => {
    const folder = t.testdir({ 'README.txt': 'prompts', 'broken.wav': 'RIFF' })
    const keep = async (name: string, samples: Int16Array): Promise<void> => {
      await mkdir(join(folder, name, '..'), { recursive: true })
      await writeFile(join(folder, name), writeWav({ sampleRateHz: 8000, channels: 1, samples }))
    }
    for (const i of [0, 1, 2, 3]) await keep(`voice/${i}.WAV`, sentence(1000 + 200 * i, i))
    await keep('digits/word.wav', sentence(500, 7))
    await keep('demo/instructions.wav', sentence(9000, 8))
    await keep('silence/2.wav', silence(8000, 2000))
    await keep('beep.wav', tone([1000], { sampleRateHz: 8000, ms: 1500, amplitude: 8000 }))

    const all = await recordedUtterances(folder, 8000, 4)
    t.same(
      all.voices.map((voice) => Math.round(voice.length / 80) / 100),
      [1, 1.2, 1.4, 1.6],
    )
    const [first, third] = (await recordedUtterances(folder, 16000, 2)).voices as [Float64Array, Float64Array]
    t.same(
      [first, third].map((voice) => Math.round(voice.length / 160) / 100),
      [1, 1.4],
      'at the rate of the leg',
    )
    await t.rejects(recordedUtterances(folder, 8000, 5), /5 sentences .* has 4/)
    await t.rejects(recordedUtterances(join(folder, 'nowhere'), 8000, 1), /ENOENT/)
    t.end()
  },
)
