import fc from 'fast-check'
import t from 'tap'
import { Reframer } from '../../src/media/reframer.js'
import { bytesOf, concatenate, speechLike } from '../support/tones.js'

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

  t.test(`${sampleRateHz} Hz: packets of any size are the same audio`, (t) => {
    fc.assert(
      fc.property(lengths, fc.integer({ min: 0, max: samples.length * 2 }), (cuts, total) => {
        const reframer = new Reframer({ sampleRateHz, channels: 1 })
        const got = send(reframer, bytesOf(samples).slice(0, total), cuts)
        t.strictSame(got.left, samples.slice(0, wholeFrames(Math.floor(total / 2))))
        if (reframer.bytesIn !== total || reframer.bytesDropped !== 0) throw new Error('bytes do not add up')
      }),
      { numRuns: 60 },
    )
    t.end()
  })

  t.test(`${sampleRateHz} Hz: stereo in packets of any size falls into its two channels`, (t) => {
    const half = samples.length / 2
    const pairs = Int16Array.from(
      { length: half * 2 },
      (_, i) => (i % 2 === 0 ? samples[i >> 1] : -(samples[i >> 1] as number)) as number,
    )
    fc.assert(
      fc.property(lengths, (cuts) => {
        const got = send(new Reframer({ sampleRateHz, channels: 2 }), bytesOf(pairs), cuts, true)
        t.strictSame(got.left, samples.slice(0, wholeFrames(half)))
        t.strictSame(
          got.right,
          samples.slice(0, wholeFrames(half)).map((v) => -v),
        )
      }),
      { numRuns: 40 },
    )
    t.end()
  })
}

t.test('a burst of 2 s and one frame of 128 KiB come out whole', (t) => {
  for (const bytes of [64_000, 128 * 1024]) {
    const samples = Int16Array.from({ length: bytes / 2 }, (_, i) => (i % 60_000) - 30_000)
    const reframer = new Reframer({ sampleRateHz: 16000, channels: 1 })
    reframer.push(new Uint8Array([1]))
    t.equal(drain(reframer).left.length, 0)
    const shifted = concatenate(new Int16Array([1]), samples)
    reframer.push(bytesOf(shifted).subarray(1))
    t.same(
      drain(reframer).left,
      shifted.slice(0, Math.floor(shifted.length / 320) * 320),
      `${bytes} bytes after an odd one`,
    )
  }
  t.end()
})

t.test('memory at an odd address is read right', (t) => {
  const samples = speechLike({ sampleRateHz: 16000, ms: 20, amplitude: 20_000 }, 1)
  const memory = new Uint8Array(641)
  memory.set(bytesOf(samples), 1)
  const reframer = new Reframer({ sampleRateHz: 16000, channels: 1 })
  reframer.push(memory.subarray(1))
  t.same(drain(reframer).left, samples)
  t.end()
})

t.test('frames that were not taken before the next packet are counted', (t) => {
  const reframer = new Reframer({ sampleRateHz: 16000, channels: 1 })
  reframer.push(new Uint8Array(1280))
  reframer.push(new Uint8Array(640))
  t.equal(reframer.bytesDropped, 1280)
  t.equal(drain(reframer).left.length, 320)
  t.end()
})

t.test('a change to stereo in mid-stream keeps left left', (t) => {
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

t.test('a packet that is one frame is one frame, also when a sample waits before it', (t) => {
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
