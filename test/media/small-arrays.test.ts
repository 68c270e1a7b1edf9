import fc from 'fast-check'
import t from 'tap'
import { smallArray } from '../../src/core/small-arrays.js'

const KINDS = [Float64Array, Float32Array, Int32Array, Uint16Array, Uint8Array] as const

t.test('arrays that share a piece of memory begin as zeros and never overlap', async () => {
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

t.test('the small arrays of a call lie in one piece of memory, a long one in its own', async (t) => {
  const arrays = Array.from({ length: 40 }, () => smallArray(Float32Array, 100))
  t.equal(new Set(arrays.map(({ buffer }) => buffer)).size <= 2, true)
  const long = smallArray(Float32Array, 1000)
  t.equal(long.buffer.byteLength, long.byteLength)
})
