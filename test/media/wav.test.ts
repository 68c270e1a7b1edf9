import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../src/core/errors.js'
import { encodeMuLaw } from '../../src/media/pcm.js'
import { channelOf, parseWav, wavHeader, writeWav } from '../../src/media/wav.js'
import { readWavFile } from '../../src/carrier/caller-leg.js'
import { wavFile } from '../inputs/wav-file.js'
import { bytesOf, concatenate, sweep } from '../support/tones.js'

const sound = sweep(3400, { sampleRateHz: 16000, ms: 50, amplitude: 9000 })

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((p) => [...p]))
}

function chunk(id: string, content: Uint8Array): Uint8Array {
  const size = new Uint8Array(new Uint32Array([content.length]).buffer)
  return joined(new TextEncoder().encode(id), size, content, new Uint8Array(content.length % 2))
}

function riff(...chunks: readonly Uint8Array[]): Uint8Array {
  return chunk('RIFF', joined(new TextEncoder().encode('WAVE'), ...chunks))
}

function format(
  tag: number,
  channels: number,
  rateHz: number,
  bits: number,
  extra: readonly number[] = [],
): Uint8Array {
  const view = new DataView(new ArrayBuffer(16))
  view.setUint16(0, tag, true)
  view.setUint16(2, channels, true)
  view.setUint32(4, rateHz, true)
  view.setUint16(14, bits, true)
  return chunk('fmt ', joined(new Uint8Array(view.buffer), Uint8Array.from(extra)))
}

t.test('written WAV files are read back, mono and stereo', (t) => {
  fc.assert(
    fc.property(
      fc.int16Array({ maxLength: 500 }),
      fc.constantFrom(1 as const, 2 as const),
      fc.constantFrom(8000, 16000, 24000),
      (any, channels, sampleRateHz) => {
        const samples = any.slice(0, any.length - (any.length % channels))
        const read = parseWav(writeWav({ sampleRateHz, channels, samples }))
        t.strictSame(read, { sampleRateHz, channels, samples })
      },
    ),
    { numRuns: 50 },
  )
  t.end()
})

t.test('the header is a standard 44-byte WAV header', (t) => {
  t.equal(
    Buffer.from(wavHeader({ sampleRateHz: 16000, channels: 1, dataBytes: 640 })).toString('hex'),
    '52494646a402000057415645666d74201000000001000100803e0000007d0000020010006461746180020000',
  )
  t.end()
})

t.test('extra chunks and the extensible format are accepted', (t) => {
  const odd = chunk('LIST', Uint8Array.from([1, 2, 3]))
  const after = chunk('id3 ', new Uint8Array(7))
  t.same(parseWav(riff(odd, format(1, 1, 16000, 16, [0, 0]), odd, chunk('data', bytesOf(sound)), after)).samples, sound)
  const guid = [1, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]
  t.same(
    parseWav(riff(format(0xfffe, 1, 16000, 16, [22, 0, 16, 0, 4, 0, 0, 0, ...guid]), chunk('data', bytesOf(sound))))
      .samples,
    sound,
  )
  t.end()
})

t.test('a file at an unaligned address is read', (t) => {
  const memory = joined(new Uint8Array(1), writeWav({ sampleRateHz: 16000, channels: 1, samples: sound }))
  t.same(parseWav(memory.subarray(1)).samples, sound)
  t.end()
})

t.test('8-bit mu-law at 8 kHz is read', (t) => {
  const coded = new Uint8Array(sound.length)
  encodeMuLaw(sound, coded)
  const read = parseWav(riff(format(7, 1, 8000, 8), chunk('data', coded)))
  t.equal(read.sampleRateHz, 8000)
  t.ok(read.samples.every((v, i) => Math.abs(v - (sound[i] as number)) <= 256))
  t.end()
})

t.test('a truncated recording gives the samples that it has', (t) => {
  const whole = writeWav({ sampleRateHz: 8000, channels: 2, samples: concatenate(sound, sound) })
  t.equal(parseWav(whole.subarray(0, 44 + 401)).samples.length, 200, 'whole pairs only')
  const unfinished = whole.slice()
  unfinished.set([0xff, 0xff, 0xff, 0xff], 40)
  t.equal(parseWav(unfinished).samples.length, sound.length * 2)
  t.end()
})

t.test('channelOf takes one channel of two', (t) => {
  const audio = { sampleRateHz: 8000 as const, channels: 2 as const, samples: Int16Array.from([1, 2, 3, 4]) }
  t.same(channelOf(audio, 0), Int16Array.from([1, 3]))
  t.same(channelOf(audio, 1), Int16Array.from([2, 4]))
  t.equal(channelOf({ ...audio, channels: 1 }, 1), audio.samples)
  t.end()
})

t.test('an unusable file is refused with the formats allowed', (t) => {
  const data = chunk('data', bytesOf(sound))
  const refused: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ['an MP3', new TextEncoder().encode('ID3 and so on, long enough'), /not a RIFF WAVE file \(26 bytes\)/],
    ['nothing', new Uint8Array(0), /not a RIFF WAVE file \(0 bytes\)/],
    ['ADPCM', riff(format(2, 1, 16000, 4), data), /format 2, 4 bits, 16000 Hz, 1 channels/],
    ['MP3 in WAV', riff(format(0x55, 1, 44100, 0), data), /format 85/],
    ['12 bits', riff(format(1, 1, 16000, 12), data), /12 bits/],
    ['twelve channels', riff(format(1, 12, 16000, 16), data), /12 channels/],
    ['two samples a second', riff(format(1, 1, 2, 16), data), /2 Hz/],
    ['no sound', riff(format(1, 1, 16000, 16)), /no sound/],
    ['no format', riff(data), /before its format/],
    ['nothing inside', riff(), /no format/],
    ['half a format', riff(chunk('fmt ', new Uint8Array(9)), data), /9 bytes/],
  ]
  for (const [name, bytes, message] of refused) {
    try {
      parseWav(bytes)
      t.fail(`${name} was read`)
    } catch (thrown) {
      t.ok(thrown instanceof GatewayError && thrown.code === 'WAV_INVALID', name)
      t.match((thrown as Error).message, message)
      t.match((thrown as Error).message, /allowed are PCM of 8 to 32 bits/)
    }
  }
  t.end()
})

t.test('damaged files throw only a GatewayError', (t) => {
  const base = writeWav({ sampleRateHz: 16000, channels: 1, samples: sound.slice(0, 40) })
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { maxLength: 8 }),
      fc.nat(base.length),
      (edits, length) => {
        const bytes = base.slice(0, length)
        for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value
        try {
          parseWav(bytes)
        } catch (thrown) {
          if (!(thrown instanceof GatewayError)) throw thrown
        }
      },
    ),
    { numRuns: 500 },
  )
  t.pass('500 broken files')
  t.end()
})

// Recordings that people have: `mkondo call --wav FILE`.

const SOUND = sweep(3000, { sampleRateHz: 16_000, ms: 300, amplitude: 9000 })
const PCM = { encoding: 'integer', bits: 16, rateHz: 16_000 } as const

t.test('every common sample format is read', async (t) => {
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

t.test('every rate is converted to a gateway rate', async (t) => {
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

t.test('wrong sizes, RF64 files and unpadded chunks are accepted', async (t) => {
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
    'an empty file has no samples',
  )
})

t.test('readWavFile reads any format and refuses unplayable files', async (t) => {
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
