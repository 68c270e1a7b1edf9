import fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../src/core/errors.js'
import { encodeMuLaw } from '../../src/media/pcm.js'
import { channelOf, parseWav, wavHeader, writeWav } from '../../src/media/wav.js'
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

t.test('what was written is read again, mono and stereo', (t) => {
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

t.test('the header is the one that every player knows', (t) => {
  t.equal(
    Buffer.from(wavHeader({ sampleRateHz: 16000, channels: 1, dataBytes: 640 })).toString('hex'),
    '52494646a402000057415645666d74201000000001000100803e0000007d0000020010006461746180020000',
  )
  t.end()
})

t.test('other chunks, odd sizes, and the extensible form are passed over or understood', (t) => {
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

t.test('a file at an odd place in memory is read', (t) => {
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

t.test('a recording that was cut off gives what is there', (t) => {
  const whole = writeWav({ sampleRateHz: 8000, channels: 2, samples: concatenate(sound, sound) })
  t.equal(parseWav(whole.subarray(0, 44 + 401)).samples.length, 200, 'whole pairs only')
  const unfinished = whole.slice()
  unfinished.set([0xff, 0xff, 0xff, 0xff], 40)
  t.equal(parseWav(unfinished).samples.length, sound.length * 2)
  t.end()
})

t.test('one channel of two', (t) => {
  const audio = { sampleRateHz: 8000 as const, channels: 2 as const, samples: Int16Array.from([1, 2, 3, 4]) }
  t.same(channelOf(audio, 0), Int16Array.from([1, 3]))
  t.same(channelOf(audio, 1), Int16Array.from([2, 4]))
  t.equal(channelOf({ ...audio, channels: 1 }, 1), audio.samples)
  t.end()
})

t.test('a file that cannot be used is refused with what was found and what is allowed', (t) => {
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

t.test('no bytes at all make it throw anything else', (t) => {
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
