/** Size of one piece of memory: the small arrays of two or three calls. */
const PIECE_BYTES = 32 * 1024
/** V8 keeps the numbers of a shorter array in the array itself. */
const SMALL_BYTES_MIN = 65
/** A longer array gets memory of its own, so that little is left over at the end of a piece. */
const SMALL_BYTES_MAX = 2048
/** The largest element: each array begins at a multiple of it. */
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
 * An array of zeros for something that lives as long as a call. Arrays that are made one after the other lie side by side
 * in a piece of memory that they share, because memory of its own costs an array some 260 B besides its numbers
 * (docs/LATENCY.md). The piece is freed when none of its arrays is left.
 *
 * Neither transfer its `buffer` nor post the array: a copy would take the whole piece along.
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
