import t from 'tap'
import { frameSamples, type SampleRateHz } from '../../src/core/units.js'
import { BLOCK_SAMPLES, ResamplerBank, type StreamResampler } from '../../src/media/resample/resampler.js'
import { loadMediaAssets } from '../../src/workers/shared/media-assets.js'
import type { PolyphaseRows } from '../../src/media/resample/polyphase.js'
import { createSincMedium, firKernel } from '../support/media-modules.js'
import {
  concatenate,
  seededRandom,
  silence,
  speechLike,
  sweep,
  tone,
  toneLevelDb,
  whiteNoise,
  sameSamples,
} from '../support/tones.js'

const { rows } = await loadMediaAssets()
const kernel = firKernel()
const bank = new ResamplerBank({ rows, kernel })
const plain = new ResamplerBank({ rows, kernel: null })

function whole(stream: StreamResampler, input: Int16Array): Int16Array {
  const output = new Int16Array(stream.outputSamplesMax(input.length))
  return output.slice(0, stream.process(input, output))
}

function convert(from: SampleRateHz, to: SampleRateHz, input: Int16Array): Int16Array {
  const stream = bank.open(from, to)
  const output = whole(stream, input)
  stream.release()
  return output
}

function rowsOf(from: SampleRateHz, to: SampleRateHz): PolyphaseRows {
  const found = rows.find((r) => r.inRateHz === from && r.outRateHz === to)
  if (found === undefined) throw new Error('no such rows')
  return found
}

const CORPUS: readonly (readonly [string, (rateHz: number) => Int16Array])[] = [
  ['a sweep', (sampleRateHz) => sweep(0.49 * sampleRateHz, { sampleRateHz, ms: 1000, amplitude: 20_000 })],
  ['noise', (sampleRateHz) => whiteNoise({ sampleRateHz, ms: 1000, amplitude: 6000 }, 7)],
  ['something like speech', (sampleRateHz) => speechLike({ sampleRateHz, ms: 1000, amplitude: 20_000 }, 7)],
]

for (const { inRateHz: from, outRateHz: to } of rows) {
  t.test(`${from} to ${to} Hz matches libsamplerate within one LSB`, async (t) => {
    for (const [name, make] of CORPUS) {
      const input = make(from)
      const converter = await createSincMedium(from, to)
      const expected = converter.full(Float32Array.from(input, (v) => v / 32768)).slice()
      converter.destroy()
      const got = convert(from, to, input)
      const { delaySamples, upBy, downBy } = rowsOf(from, to)
      const shift = (delaySamples * upBy) / downBy
      let worst = 0
      const end = Math.min(expected.length, got.length - shift)
      for (let i = 0; i < end; i++) {
        const ideal = Math.max(-32768, Math.min(32767, (expected[i] as number) * 32768))
        worst = Math.max(worst, Math.abs(ideal - (got[i + shift] as number)))
      }
      t.ok(end > to * 0.95, `${name} was compared nearly whole`)
      t.ok(worst <= 1, `${name}: ${worst.toFixed(3)} LSB apart at most`)
    }
  })

  t.test(`${from} to ${to} Hz: frames keep their 20 ms`, (t) => {
    const stream = bank.open(from, to)
    const output = new Int16Array(stream.outputSamplesMax(frameSamples(from)))
    for (let i = 0; i < 5; i++) t.equal(stream.process(silence(from, 20), output), frameSamples(to))
    stream.release()
    t.end()
  })

  t.test(`${from} to ${to} Hz: chunk lengths change nothing`, (t) => {
    const input = speechLike({ sampleRateHz: from, ms: 400, amplitude: 25_000 }, 3)
    const expected = convert(from, to, input)
    const random = seededRandom(from + to)
    for (let round = 0; round < 8; round++) {
      const stream = bank.open(from, to)
      const parts: Int16Array[] = []
      for (let at = 0; at < input.length;) {
        const length = 1 + Math.floor(random() * (round < 4 ? 9 : 2500))
        parts.push(whole(stream, input.subarray(at, at + length)))
        at += length
      }
      stream.release()
      t.ok(sameSamples(concatenate(...parts), expected))
    }
    t.end()
  })

  t.test(`${from} to ${to} Hz: WebAssembly and JavaScript agree`, (t) => {
    const random = seededRandom(from - to)
    for (const [name, make] of loudest(rowsOf(from, to), random)) {
      const inWasm = bank.open(from, to)
      const inJs = plain.open(from, to)
      const lengths = [
        frameSamples(from),
        1,
        BLOCK_SAMPLES,
        3 * BLOCK_SAMPLES - 7,
        ...Array.from({ length: 30 }, () => 1 + Math.floor(random() ** 2 * 960)),
      ]
      const inputs = lengths.map(make)
      const got = concatenate(...inputs.map((input) => whole(inWasm, input)))
      const expected = concatenate(...inputs.map((input) => whole(inJs, input)))
      t.equal(got.length, expected.length)
      t.equal(
        got.findIndex((v, i) => v !== expected[i]),
        -1,
        `${name}: no sample differs`,
      )
      inWasm.release()
      inJs.release()
    }
    t.end()
  })
}

/**
 * Makers of signals that fill every bit: noise, full scale by chance, and for each row the signs of its own taps, which
 * sum up highest.
 */
function loudest(
  { upBy, tapsPerRow, coefficients }: PolyphaseRows,
  random: () => number,
): readonly (readonly [string, (length: number) => Int16Array])[] {
  const fullScale = (up: boolean): number => (up ? 32767 : -32768)
  const ofRow =
    (row: number) =>
    (length: number): Int16Array =>
      Int16Array.from({ length }, (_, i) =>
        fullScale((coefficients[row * tapsPerRow + (i % tapsPerRow)] as number) >= 0),
      )
  return [
    ['noise', (length) => Int16Array.from({ length }, () => Math.floor(random() * 65536) - 32768)],
    ['extremes', (length) => Int16Array.from({ length }, () => fullScale(random() < 0.5))],
    ['the lowest value', (length) => new Int16Array(length).fill(-32768)],
    ...Array.from({ length: upBy }, (_, row) => [`signs of row ${row}`, ofRow(row)] as const),
  ]
}

t.test('the telephone band stays flat within 0.1 dB', (t) => {
  for (const { inRateHz: from, outRateHz: to } of rows) {
    for (const hz of [100, 300, 1000, 2000, 3000, 3400]) {
      const input = tone([hz], { sampleRateHz: from, ms: 600, amplitude: 16_000 })
      const output = convert(from, to, input).slice(to / 10)
      const change = toneLevelDb(output, hz, to) - toneLevelDb(input, hz, from)
      t.ok(Math.abs(change) < 0.1, `${from} to ${to}, ${hz} Hz: ${change.toFixed(3)} dB`)
    }
  }
  t.end()
})

t.test('aliases and images are below -80 dB', (t) => {
  for (const [from, to, hz] of [
    [24000, 16000, 9000],
    [24000, 8000, 5000],
    [16000, 8000, 5000],
    [24000, 16000, 11000],
  ] as const) {
    const input = tone([hz], { sampleRateHz: from, ms: 600, amplitude: 30_000 })
    const alias = toneLevelDb(convert(from, to, input).slice(to / 10), to - hz, to)
    t.ok(alias < -80, `${from} to ${to}: ${hz} Hz comes back as ${to - hz} Hz at ${alias.toFixed(0)} dB`)
  }
  for (const [from, to, hz] of [
    [8000, 16000, 3400],
    [8000, 24000, 3400],
    [16000, 24000, 7000],
  ] as const) {
    const input = tone([hz], { sampleRateHz: from, ms: 600, amplitude: 30_000 })
    const image = toneLevelDb(convert(from, to, input).slice(to / 10), from - hz, to)
    t.ok(image < -80, `${from} to ${to}: image of ${hz} Hz at ${image.toFixed(0)} dB`)
  }
  t.end()
})

t.test('a full-scale square wave clips without wrapping', (t) => {
  const square = Int16Array.from({ length: 4800 }, (_, i) => (i % 48 < 24 ? 32767 : -32768))
  const output = convert(24000, 16000, square)
  t.equal(Math.max(...output), 32767)
  t.equal(Math.min(...output), -32768)
  // Around the middle of each half period the sign must be that of the square.
  for (let i = 328; i < 3000; i += 32) t.ok((output[i + 8] as number) * (output[i + 24] as number) < 0)
  t.end()
})

t.test('a reused slot keeps no audio of the previous call', (t) => {
  const own = new ResamplerBank({ rows, kernel })
  for (const { inRateHz: from, outRateHz: to } of rows) {
    const first = own.open(from, to)
    whole(first, whiteNoise({ sampleRateHz: from, ms: 60, amplitude: 10_000 }, 5).subarray(0, 777))
    first.release()
    const slotsBefore = own.slots
    const second = own.open(from, to)
    t.equal(own.slots, slotsBefore, 'the slot was reused')
    t.ok(whole(second, silence(from, 100)).every((v) => v === 0))
    whole(second, whiteNoise({ sampleRateHz: from, ms: 20, amplitude: 10_000 }, 6))
    second.reset()
    const speech = speechLike({ sampleRateHz: from, ms: 100, amplitude: 9000 }, 2)
    t.ok(sameSamples(whole(second, speech), convert(from, to, speech)), 'a reset stream equals a new one')
    second.release()
  }
  t.equal(own.openStreams, 0)
  t.end()
})

t.test('two calls on one bank stay independent while memory grows', (t) => {
  const own = new ResamplerBank({ rows, kernel })
  const speech = [1, 2].map((seed) => speechLike({ sampleRateHz: 16000, ms: 400, amplitude: 9000 }, seed))
  const streams = speech.map(() => own.open(16000, 24000))
  const got: Int16Array[][] = [[], []]
  for (let at = 0; at < 6400; at += 320) {
    for (let s = 0; s < 2; s++) {
      got[s]?.push(whole(streams[s] as StreamResampler, (speech[s] as Int16Array).subarray(at, at + 320)))
    }
    for (let i = 0; i < 60; i++) own.open(24000, 8000)
  }
  for (let s = 0; s < 2; s++) {
    t.ok(sameSamples(concatenate(...(got[s] as Int16Array[])), convert(16000, 24000, speech[s] as Int16Array)))
  }
  t.end()
})

t.test('frames converted one by one equal the whole conversion', (t) => {
  for (const { inRateHz: from, outRateHz: to } of rows) {
    const streams = [1, 2].map((seed) => ({
      stream: bank.open(from, to),
      speech: speechLike({ sampleRateHz: from, ms: 400, amplitude: 9000 }, seed),
      out: [] as Int16Array[],
    }))
    for (let at = 0; at < (streams[0]?.speech.length ?? 0); at += frameSamples(from)) {
      const frames = streams.map(({ stream, speech }) => stream.convert(speech.subarray(at, at + frameSamples(from))))
      streams.forEach(({ out }, i) => out.push((frames[i] as Int16Array).slice()))
    }
    for (const { stream, speech, out } of streams) {
      t.ok(sameSamples(concatenate(...out), convert(from, to, speech)), `${from} to ${to}`)
      stream.release()
    }
  }
  t.end()
})

t.test('conversion to the same rate copies the input', (t) => {
  const input = speechLike({ sampleRateHz: 16000, ms: 40, amplitude: 9000 }, 1)
  t.same(convert(16000, 16000, input), input)
  t.end()
})

t.test('wrong rates, sizes and use after release throw', (t) => {
  t.throws(() => new ResamplerBank({ rows: [], kernel: null }).open(8000, 16000), /no polyphase rows for 8000 to 16000/)
  const stream = bank.open(8000, 16000)
  t.throws(() => stream.process(new Int16Array(160), new Int16Array(319)), /too short/)
  t.throws(() => stream.convert(new Int16Array(159)), /frames of 20 ms/)
  stream.release()
  stream.release()
  t.throws(() => stream.process(new Int16Array(1), new Int16Array(2)), /after its release/)
  t.end()
})

t.test('rows can be cloned for a worker and stay small', (t) => {
  t.same(structuredClone(rows), rows)
  for (const r of rows)
    t.ok(r.historySamples * 4 < 2048, `${r.inRateHz} to ${r.outRateHz}: ${r.historySamples * 4} bytes a stream`)
  t.end()
})
