const BYTES_MAX = 64
/**
 * Indexes of the words in memory. VALUE: the frame's time in µs. VERSION: a count that is odd while the call's name is
 * being written. LENGTH: the length of the name, which follows.
 */
const VALUE = 0
const VERSION = 1
const LENGTH = 2
const HEAD_BYTES = 16

export const SLOWEST_FRAME_BYTES = HEAD_BYTES + BYTES_MAX

/**
 * Slowest frame since the last read, with its call. A worker offers each frame's time and call. Each second, the main
 * thread takes the slowest frame for an exemplar. A frame that is not the slowest costs one comparison.
 */
export class SlowestFrame {
  readonly #words: Int32Array
  readonly #name: Uint8Array

  /** @param memory  `SLOWEST_FRAME_BYTES` zeroed bytes, shared by both threads */
  constructor(memory: ArrayBufferLike = new ArrayBuffer(SLOWEST_FRAME_BYTES)) {
    this.#words = new Int32Array(memory, 0, HEAD_BYTES / Int32Array.BYTES_PER_ELEMENT)
    this.#name = new Uint8Array(memory, HEAD_BYTES, BYTES_MAX)
  }

  /**
   * Offers a value. Call it only from one thread.
   * @param callSid  ASCII, like all SIDs
   */
  offer(ms: number, callSid: string): void {
    const us = Math.min(ms * 1000, 0x7fffffff) | 0
    const words = this.#words
    if (us <= (words[VALUE] as number)) return
    Atomics.add(words, VERSION, 1)
    const length = Math.min(callSid.length, BYTES_MAX)
    for (let i = 0; i < length; i++) this.#name[i] = callSid.charCodeAt(i)
    Atomics.store(words, LENGTH, length)
    Atomics.store(words, VALUE, us)
    Atomics.add(words, VERSION, 1)
  }

  /** Takes the slowest frame since the last read; null if there is none, or if it is being written now. */
  take(): { readonly callSid: string; readonly ms: number } | null {
    const words = this.#words
    const version = Atomics.load(words, VERSION)
    if ((version & 1) === 1) return null
    const us = Atomics.load(words, VALUE)
    if (us === 0) return null
    const callSid = String.fromCharCode(...this.#name.subarray(0, Atomics.load(words, LENGTH)))
    if (Atomics.load(words, VERSION) !== version) return null
    // A value that comes between the read and this store is lost, which is acceptable for an exemplar.
    Atomics.store(words, VALUE, 0)
    return { callSid, ms: us / 1000 }
  }
}
