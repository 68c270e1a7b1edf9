import fc from 'fast-check'
import t from 'tap'
import { FRAME_HISTOGRAM_BYTES, FrameHistogram } from '../../src/telemetry/frame-histogram.js'

t.test('a quantile is never below the exact one and at most a sixteenth above it', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 16_000, noNaN: true }), { minLength: 1, maxLength: 300 }),
      fc.constantFrom(0.5, 0.9, 0.99, 1),
      (values, q) => {
        const histogram = new FrameHistogram()
        for (const value of values) histogram.observeMs(value)
        const exact = values.toSorted((a, b) => a - b)[Math.max(1, Math.ceil(q * values.length)) - 1] as number
        const found = histogram.quantileMs(q)
        t.ok(found >= exact - 0.001 && found <= exact * 1.0625 + 0.002, `${found} for ${exact}`)
      },
    ),
    { numRuns: 300 },
  )
  t.end()
})

t.test('strange values are counted and break nothing', (t) => {
  const histogram = new FrameHistogram()
  for (const value of [0, -5, 1e9, Infinity, -Infinity, NaN, 16_777.215, 3_000_000, 2_147_484])
    histogram.observeMs(value)
  t.equal(histogram.count(), 9)
  t.equal(histogram.quantileMs(1), 16_777.215)
  t.ok(Number.isNaN(new FrameHistogram().quantileMs(0.5)))
  t.end()
})

t.test('readers get what is new, in shared memory and when a word wraps', (t) => {
  const { histogram, memory } = FrameHistogram.shared()
  t.equal(memory.byteLength, FRAME_HISTOGRAM_BYTES)
  const main = new FrameHistogram(memory).reader()
  const news = () => {
    let count = 0
    const us = main.take((_, added) => {
      count += added
    })
    return { count, us }
  }
  t.same(news(), { count: 0, us: 0 })
  histogram.observeMs(0.01)
  histogram.observeMs(2)
  t.same(news(), { count: 2, us: 2010 })
  t.same(news(), { count: 0, us: 0 })
  // Bucket of 10 µs and the sum, both about to wrap: as after 4 billion frames.
  const words = new Uint32Array(memory)
  words[10] = 0xffff_ffff
  words[words.length - 1] = 0xffff_fffa
  news()
  histogram.observeMs(0.01)
  t.same(news(), { count: 1, us: 10 })
  t.end()
})

t.test('merging adds up', (t) => {
  fc.assert(
    fc.property(fc.array(fc.nat(100_000)), fc.array(fc.nat(100_000)), (a, b) => {
      const one = new FrameHistogram()
      const other = new FrameHistogram()
      const both = new FrameHistogram()
      for (const us of a) {
        one.observeMs(us / 1000)
        both.observeMs(us / 1000)
      }
      for (const us of b) {
        other.observeMs(us / 1000)
        both.observeMs(us / 1000)
      }
      one.merge(other)
      t.equal(one.count(), a.length + b.length)
      for (const q of [0.1, 0.5, 0.99]) t.ok(Object.is(one.quantileMs(q), both.quantileMs(q)))
    }),
    { numRuns: 50 },
  )
  t.end()
})
