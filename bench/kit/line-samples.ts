import { decodeALaw } from '../../src/media/pcm.js'

/** The sample of each byte of A-law. */
const A_LAW = new Int16Array(256)
decodeALaw(
  Uint8Array.from({ length: 256 }, (_, byte) => byte),
  A_LAW,
)

/**
 * Sample number `i` of a caller on an A-law line. Audio that is kept for a takeover contains it unchanged. All
 * stretches of the length of a frame differ, so each stretch shows its position.
 */
export function lineSample(i: number): number {
  const mixed = Math.imul(i ^ (i >>> 7), 0x9e3779b1)
  return A_LAW[Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b) >>> 24] as number
}
