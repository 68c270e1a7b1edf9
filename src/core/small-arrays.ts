/** Size of one shared block of memory. It holds the small arrays of two or three calls. */
const PIECE_BYTES = 32 * 1024
/** Minimum size of an array in a shared block. V8 stores the numbers of a smaller array in the array object itself. */
const SMALL_BYTES_MIN = 65
/**
 * Maximum size of an array in a shared block. A larger array gets its own memory, so that only a small part of a block
 * stays unused.
 */
const SMALL_BYTES_MAX = 2048
/** Alignment of arrays: the size of the largest element. */
const ALIGNMENT_BYTES = 8

type Numbers = Float64Array | Float32Array | Int32Array | Uint32Array | Int16Array | Uint16Array | Uint8Array

interface Kind<T extends Numbers> {
  readonly BYTES_PER_ELEMENT: number
  new (length: number): T
  new (buffer: ArrayBuffer, byteOffset: number, length: number): T
}

let piece = new ArrayBuffer(0)
let used = 0

/**
 * Returns an array of zeros for an object that lives as long as a call. Arrays that are created one after another share
 * a block of memory, because separate memory costs some 260 B per array (docs/LATENCY.md). A block is freed when all
 * its arrays are free.
 *
 * Do not transfer the array's `buffer` and do not post the array, because the receiver would get the whole block.
 */
export function smallArray<T extends Numbers>(kind: Kind<T>, length: number): T {
  const bytes = length * kind.BYTES_PER_ELEMENT
  if (bytes < SMALL_BYTES_MIN || bytes > SMALL_BYTES_MAX) return new kind(length)
  if (used + bytes > piece.byteLength) {
    piece = new ArrayBuffer(PIECE_BYTES)
    used = 0
  }
  const array = new kind(piece, used, length)
  used += Math.ceil(bytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES
  return array
}
