import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { channelOf, parseWav } from '../../src/media/wav.js'
import { readWavFile } from '../../src/simulator/caller-leg.js'
import { sweep } from '../support/tones.js'
import { wavFile } from './wav-file.js'

// Recordings that people have: `mkondo call --wav FILE`.

const SOUND = sweep(3000, { sampleRateHz: 16_000, ms: 300, amplitude: 9000 })
const PCM = { encoding: 'integer', bits: 16, rateHz: 16_000 } as const

t.test('every common way to write samples is read', async (t) => {
  for (const encoding of ['integer', 'float', 'pcma', 'pcmu'] as const) {
    for (const bits of { integer: [8, 16, 24, 32], float: [32, 64], pcma: [8], pcmu: [8] }[encoding]) {
      for (const channels of [1, 2, 6]) {
        const { samples, sampleRateHz } = parseWav(wavFile({ encoding, bits, rateHz: 16_000, channels }, SOUND))
        const worst = Math.max(
          ...SOUND.map((sample, i) => Math.abs(sample - (samples[channels === 2 ? 2 * i : i] ?? 0))),
        )
        t.ok(sampleRateHz === 16_000 && worst <= (bits === 8 ? 300 : 1), `${encoding} ${bits} x ${channels}: ${worst}`)
      }
    }
  }
})

t.test('every rate is converted to the next one of the gateway, and keeps its length', async (t) => {
  for (const [rateHz, playedHz] of [
    [6000, 8000],
    [11_025, 16_000],
    [12_000, 16_000],
    [22_050, 24_000],
    [32_000, 24_000],
    [44_100, 24_000],
    [48_000, 24_000],
    [96_000, 24_000],
  ] as const) {
    for (const channels of [1, 2]) {
      const audio = parseWav(wavFile({ ...PCM, rateHz, channels }, SOUND))
      t.equal(audio.sampleRateHz, playedHz)
      t.equal(channelOf(audio, 0).length, Math.round((SOUND.length * playedHz) / rateHz), `${rateHz} Hz x ${channels}`)
    }
  }
})

t.test('sizes that a dead recorder left, long files and sloppy chunks are understood', async (t) => {
  const list = (bytes: number, pad: number): Uint8Array => {
    const chunk = new Uint8Array(8 + bytes + pad)
    chunk.set(new TextEncoder().encode('LIST'))
    new DataView(chunk.buffer).setUint32(4, bytes, true)
    return chunk
  }
  for (const [name, file] of [
    ['no size', wavFile({ ...PCM, dataBytes: 0 }, SOUND)],
    ['size unknown', wavFile({ ...PCM, dataBytes: 0xffffffff }, SOUND)],
    ['a size too long', wavFile({ ...PCM, dataBytes: 0x7ffffff0 }, SOUND)],
    ['RF64', wavFile({ ...PCM, id: 'RF64', after: list(4, 0) }, SOUND)],
    ['BW64', wavFile({ ...PCM, id: 'BW64' }, SOUND)],
    ['an odd chunk, padded', wavFile({ ...PCM, between: list(7, 1) }, SOUND)],
    ['an odd chunk without its padding', wavFile({ ...PCM, between: list(7, 0) }, SOUND)],
    ['chunks behind the sound', wavFile({ ...PCM, after: list(10, 0) }, SOUND)],
  ] as const)
    t.same(parseWav(file).samples, SOUND, name)
  t.equal(
    parseWav(wavFile({ ...PCM, after: list(10, 0) }, new Int16Array(0))).samples.length,
    0,
    'no sound is no sound',
  )
})

t.test('a caller plays any of them, and what cannot be played is refused with what to do', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'recordings-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const at = join(folder, 'caller.wav')
  for (const rateHz of [8000, 16_000, 24_000, 44_100]) {
    await writeFile(at, wavFile({ encoding: 'float', bits: 32, rateHz, channels: 2 }, SOUND))
    const { pcm, sampleRateHz } = await readWavFile(at)
    t.equal(sampleRateHz, rateHz === 8000 ? 8000 : 16_000)
    t.ok(Math.abs(pcm.length / sampleRateHz - SOUND.length / rateHz) < 0.002, `${rateHz} Hz`)
  }
  for (const [bytes, reason] of [
    [wavFile(PCM, new Int16Array(0)), /has no sound/],
    [Buffer.from('ID3 an MP3, by its first letters'), /not a RIFF WAVE file.*ffmpeg -i/],
    [Buffer.alloc(0), /not a RIFF WAVE file.*ffmpeg/],
  ] as const) {
    await writeFile(at, bytes)
    await t.rejects(readWavFile(at), { code: 'WAV_INVALID', message: reason })
  }
})
