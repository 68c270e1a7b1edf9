import fc from 'fast-check'
import t from 'tap'
import { smallArray } from '../../src/core/small-arrays.js'
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
import { Reframer } from '../../src/media/reframer.js'
import { bytesOf, concatenate, sameSamples, silence, speechLike, tone } from '../support/tones.js'

t.test('samples and bytes share memory if aligned, else are copied', (t) => {
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

t.test('levels are in dBFS', (t) => {
  t.equal(levelDbfs(silence(8000, 20)), -96)
  t.equal(levelDbfs(new Int16Array(0)), -96)
  t.equal(levelDbfs(new Int16Array(160).fill(-32768)), 0)
  t.ok(Math.abs(levelDbfs(tone([1000], { sampleRateHz: 8000, ms: 20, amplitude: 3276.8 })) + 23.01) < 0.02)
  t.equal(peakOf(Int16Array.from([3, -32768, 32767])), 32768)
  t.equal(peakOf(new Int16Array(0)), 0)
  t.end()
})

t.test('fades change only their own range', (t) => {
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

t.test('gain above 1 clips and an empty ramp changes nothing', (t) => {
  const samples = Int16Array.from([30_000, -30_000, 100])
  rampGain(samples, 0, 3, 2, 2)
  t.same([...samples], [32_767, -32_768, 200])
  rampGain(samples, 1, 1, 0, 0)
  t.same([...samples], [32_767, -32_768, 200])
  t.end()
})

t.test('mu-law follows G.711', (t) => {
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
    'every code but the second zero survives a round trip',
  )
  t.end()
})

t.test('A-law follows G.711', (t) => {
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

t.test('A-law error stays below a twenty-fifth of any sample', (t) => {
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

t.test('mu-law error stays below a twenty-fifth of any sample', (t) => {
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

const KINDS = [Float64Array, Float32Array, Int32Array, Uint16Array, Uint8Array] as const

t.test('arrays in shared memory start as zeros and never overlap', async () => {
  const wanted = fc.record({ kind: fc.nat(KINDS.length - 1), length: fc.integer({ min: 1, max: 1500 }) })
  fc.assert(
    fc.property(fc.array(wanted, { maxLength: 80 }), (list) => {
      const arrays = list.map(({ kind, length }, i) => {
        const array = smallArray<Float64Array | Float32Array | Int32Array | Uint16Array | Uint8Array>(
          KINDS[kind] as typeof Float64Array,
          length,
        )
        if (array.length !== length || array.some((value) => value !== 0)) throw new Error(`array ${i} is not new`)
        return array.fill(i + 1)
      })
      arrays.forEach((array, i) => {
        if (array.some((value) => value !== i + 1)) throw new Error(`array ${i} was written over`)
      })
    }),
  )
})

t.test('small arrays of a call share one buffer', async (t) => {
  const arrays = Array.from({ length: 40 }, () => smallArray(Float32Array, 100))
  t.equal(new Set(arrays.map(({ buffer }) => buffer)).size <= 2, true)
  const long = smallArray(Float32Array, 1000)
  t.equal(long.buffer.byteLength, long.byteLength)
})

function drain(reframer: Reframer, stereo = false): { left: Int16Array; right: Int16Array } {
  const left: Int16Array[] = []
  const right: Int16Array[] = []
  const l = new Int16Array(reframer.frameSamples)
  const r = new Int16Array(reframer.frameSamples)
  while (reframer.next(l, stereo ? r : null)) {
    left.push(l.slice())
    right.push(r.slice())
  }
  return { left: concatenate(...left), right: concatenate(...right) }
}

/** Sends `bytes` in packets of the given lengths (the rest in one), each in memory that is then overwritten. */
function send(reframer: Reframer, bytes: Uint8Array, lengths: readonly number[], stereo = false) {
  const left: Int16Array[] = []
  const right: Int16Array[] = []
  let at = 0
  for (const length of [...lengths, bytes.length]) {
    const packet = bytes.slice(at, at + length)
    at += packet.length
    reframer.push(packet)
    const got = drain(reframer, stereo)
    packet.fill(0xaa)
    left.push(got.left)
    right.push(got.right)
  }
  return { left: concatenate(...left), right: concatenate(...right) }
}

const lengths = fc.array(fc.oneof(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 0, max: 3000 })), { maxLength: 40 })

for (const sampleRateHz of [8000, 16000] as const) {
  const samples = speechLike({ sampleRateHz, ms: 400, amplitude: 20_000 }, 1)
  const wholeFrames = (n: number) => Math.floor(n / (sampleRateHz / 50)) * (sampleRateHz / 50)

  t.test(`${sampleRateHz} Hz: packets of any size give the same audio`, (t) => {
    fc.assert(
      fc.property(lengths, fc.integer({ min: 0, max: samples.length * 2 }), (cuts, total) => {
        const reframer = new Reframer({ sampleRateHz, channels: 1 })
        const got = send(reframer, bytesOf(samples).slice(0, total), cuts)
        t.ok(sameSamples(got.left, samples.slice(0, wholeFrames(Math.floor(total / 2)))))
        if (reframer.bytesIn !== total || reframer.bytesDropped !== 0) throw new Error('bytes do not add up')
      }),
      { numRuns: 60 },
    )
    t.end()
  })

  t.test(`${sampleRateHz} Hz: stereo packets of any size are split`, (t) => {
    const half = samples.length / 2
    const pairs = Int16Array.from(
      { length: half * 2 },
      (_, i) => (i % 2 === 0 ? samples[i >> 1] : -(samples[i >> 1] as number)) as number,
    )
    fc.assert(
      fc.property(lengths, (cuts) => {
        const got = send(new Reframer({ sampleRateHz, channels: 2 }), bytesOf(pairs), cuts, true)
        const left = samples.slice(0, wholeFrames(half))
        t.ok(sameSamples(got.left, left))
        t.ok(
          sameSamples(
            got.right,
            left.map((v) => -v),
          ),
        )
      }),
      { numRuns: 40 },
    )
    t.end()
  })
}

t.test('long bursts and 128 KiB frames stay complete', (t) => {
  for (const bytes of [64_000, 128 * 1024]) {
    const samples = Int16Array.from({ length: bytes / 2 }, (_, i) => (i % 60_000) - 30_000)
    const reframer = new Reframer({ sampleRateHz: 16000, channels: 1 })
    reframer.push(new Uint8Array([1]))
    t.equal(drain(reframer).left.length, 0)
    const shifted = concatenate(new Int16Array([1]), samples)
    reframer.push(bytesOf(shifted).subarray(1))
    t.ok(
      sameSamples(drain(reframer).left, shifted.slice(0, Math.floor(shifted.length / 320) * 320)),
      `${bytes} bytes after an odd one`,
    )
  }
  t.end()
})

t.test('unaligned memory is read correctly', (t) => {
  const samples = speechLike({ sampleRateHz: 16000, ms: 20, amplitude: 20_000 }, 1)
  const memory = new Uint8Array(641)
  memory.set(bytesOf(samples), 1)
  const reframer = new Reframer({ sampleRateHz: 16000, channels: 1 })
  reframer.push(memory.subarray(1))
  t.same(drain(reframer).left, samples)
  t.end()
})

t.test('frames not read before the next packet are counted', (t) => {
  const reframer = new Reframer({ sampleRateHz: 16000, channels: 1 })
  reframer.push(new Uint8Array(1280))
  reframer.push(new Uint8Array(640))
  t.equal(reframer.bytesDropped, 1280)
  t.equal(drain(reframer).left.length, 320)
  t.end()
})

t.test('switching to stereo mid-stream does not swap channels', (t) => {
  for (const oddSamples of [0, 1, 2, 3]) {
    const pairs = Int16Array.from({ length: 6400 }, (_, i) => (i % 2 === 0 ? 1 : 2) * 100 + (i % 7))
    const reframer = new Reframer({ sampleRateHz: 16000, channels: 1 })
    const before = 2 * (320 * 3 + oddSamples)
    reframer.push(bytesOf(pairs).subarray(0, before))
    drain(reframer)
    reframer.setChannels(2)
    reframer.push(bytesOf(pairs).subarray(before))
    const { left, right } = drain(reframer, true)
    t.ok(left.length >= 320 * 7)
    t.ok(left.every((v) => v < 200) && right.every((v) => v >= 200), `${oddSamples} samples past a frame`)
  }
  t.end()
})

t.test('a one-frame packet gives one frame despite a leftover sample', (t) => {
  const reframer = new Reframer({ sampleRateHz: 8000, channels: 1 })
  const samples = speechLike({ sampleRateHz: 8000, ms: 60, amplitude: 20_000 }, 2)
  t.same(send(reframer, bytesOf(samples.subarray(0, 160)), []).left, samples.slice(0, 160))
  t.same(send(reframer, bytesOf(samples.subarray(160, 321)), [2, 320]).left, samples.slice(160, 320))
  t.equal(reframer.bytesDropped, 0)
  t.same(
    send(new Reframer({ sampleRateHz: 8000, channels: 2 }), bytesOf(samples.subarray(0, 160)), [], true).left,
    new Int16Array(0),
    'half a frame of two channels',
  )
  t.end()
})
