import fc from 'fast-check'
import t from 'tap'
import {
  bytesOfSamples,
  decodeALaw,
  decodeMuLaw,
  encodeALaw,
  encodeMuLaw,
  fadeIn,
  fadeOut,
  levelDbfs,
  peakOf,
  rampGain,
  readSamples,
  samplesOf,
} from '../../src/media/pcm.js'
import { silence, tone } from '../support/tones.js'

t.test('samples and bytes are the same memory where that can be, and the same values always', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(3), (bytes, offset) => {
      const memory = new Uint8Array(offset + bytes.length)
      memory.set(bytes, offset)
      const view = memory.subarray(offset)
      const samples = samplesOf(view)
      const expected = Int16Array.from({ length: bytes.length >> 1 }, (_, i) =>
        new DataView(view.buffer, view.byteOffset).getInt16(2 * i, true),
      )
      t.strictSame(samples.slice(), expected)
      t.strictSame(bytesOfSamples(samples).slice(), bytes.slice(0, expected.length * 2))
      const read = new Int16Array(expected.length + 1)
      readSamples(view, 0, read, 1, expected.length)
      t.strictSame(read.slice(1), expected)
    }),
    { numRuns: 60 },
  )
  const even = new Uint8Array(8)
  samplesOf(even)[1] = 0x0102
  t.same([...even], [0, 0, 2, 1, 0, 0, 0, 0], 'a view, not a copy')
  t.end()
})

t.test('levels are in dB against full scale', (t) => {
  t.equal(levelDbfs(silence(8000, 20)), -96)
  t.equal(levelDbfs(new Int16Array(0)), -96)
  t.equal(levelDbfs(new Int16Array(160).fill(-32768)), 0)
  t.ok(Math.abs(levelDbfs(tone([1000], { sampleRateHz: 8000, ms: 20, amplitude: 3276.8 })) + 23.01) < 0.02)
  t.equal(peakOf(Int16Array.from([3, -32768, 32767])), 32768)
  t.equal(peakOf(new Int16Array(0)), 0)
  t.end()
})

t.test('fades begin and end where they should and leave the rest alone', (t) => {
  const samples = new Int16Array(100).fill(1000)
  fadeIn(samples, 10, 50)
  t.same(samples.slice(0, 10), new Int16Array(10).fill(1000))
  t.equal(samples[10], 0)
  t.equal(samples[30], 500)
  t.equal(samples[50], 1000)
  fadeOut(samples, 60, 100)
  t.equal(samples[60], 1000)
  t.equal(samples[80], 500)
  t.ok((samples[99] as number) <= 25)
  t.end()
})

t.test('a gain above 1 clips, and a ramp over nothing does nothing', (t) => {
  const samples = Int16Array.from([30_000, -30_000, 100])
  rampGain(samples, 0, 3, 2, 2)
  t.same([...samples], [32_767, -32_768, 200])
  rampGain(samples, 1, 1, 0, 0)
  t.same([...samples], [32_767, -32_768, 200])
  t.end()
})

t.test('mu-law is that of G.711', (t) => {
  const code = (sample: number) => {
    const out = new Uint8Array(1)
    encodeMuLaw(Int16Array.of(sample), out)
    return out[0]
  }
  // Code words of ITU-T G.711 table 2a, with 16-bit samples four times its 14-bit values.
  t.equal(code(0), 0xff)
  t.equal(code(-1), 0x7f)
  t.equal(code(32_767), 0x80)
  t.equal(code(-32_768), 0x00)
  t.equal(code(4 * 31), 0xef)
  t.equal(code(-4 * 31), 0x6f)
  const all = Uint8Array.from({ length: 256 }, (_, i) => i)
  const samples = new Int16Array(256)
  const again = new Uint8Array(256)
  t.equal(decodeMuLaw(all, samples), 256)
  t.equal(samples[0x00], -32_124)
  t.equal(samples[0x80], 32_124)
  t.equal(samples[0xff], 0)
  encodeMuLaw(samples, again)
  t.same(
    [...again].filter((v, i) => v !== i),
    [0xff],
    'every code comes back, but for the second zero',
  )
  t.end()
})

t.test('A-law is that of G.711', (t) => {
  const code = (sample: number) => {
    const out = new Uint8Array(1)
    encodeALaw(Int16Array.of(sample), out)
    return out[0]
  }
  // Code words of ITU-T G.711 table 1a with even bits inverted, and 16-bit samples eight times its 13-bit values.
  t.equal(code(0), 0xd5)
  t.equal(code(-1), 0x55)
  t.equal(code(32_767), 0xaa)
  t.equal(code(-32_768), 0x2a)
  t.equal(code(8 * 64), 0xf5)
  t.equal(code(8 * 128), 0xe5)
  const all = Uint8Array.from({ length: 256 }, (_, i) => i)
  const samples = new Int16Array(256)
  const again = new Uint8Array(256)
  t.equal(decodeALaw(all, samples), 256)
  t.equal(samples[0xaa], 32_256)
  t.equal(samples[0x2a], -32_256)
  t.equal(samples[0xd5], 8)
  encodeALaw(samples, again)
  t.same(again, all, 'every code comes back: a line that was A-law before loses nothing more')
  t.end()
})

t.test('A-law loses less than a twenty-fifth of any sample', (t) => {
  for (let sample = -32_768; sample <= 32_767; sample += 7) {
    const out = new Uint8Array(1)
    const back = new Int16Array(1)
    encodeALaw(Int16Array.of(sample), out)
    decodeALaw(out, back)
    const error = Math.abs((back[0] as number) - sample)
    if (error > Math.max(9, Math.abs(sample) / 25)) t.fail(`${sample} came back as ${back[0]}`)
  }
  t.pass('all of them')
  t.end()
})

t.test('mu-law loses less than a twenty-fifth of any sample', (t) => {
  for (let sample = -32_768; sample <= 32_767; sample += 7) {
    const out = new Uint8Array(1)
    const back = new Int16Array(1)
    encodeMuLaw(Int16Array.of(sample), out)
    decodeMuLaw(out, back)
    const error = Math.abs((back[0] as number) - sample)
    if (error > Math.max(8, Math.abs(sample) / 25)) t.fail(`${sample} came back as ${back[0]}`)
  }
  t.pass('all of them')
  t.end()
})
