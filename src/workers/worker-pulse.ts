/** Int32 words of a pulse. */
const RUNNING = 0
const HEAVIEST = 1
/** Float64 numbers of a pulse, behind the words. */
const BEAT_AT_MS = 0
const BUFFER_BYTES = 1

const WORDS_BYTES = 8

export const WORKER_PULSE_BYTES = WORDS_BYTES + 2 * Float64Array.BYTES_PER_ELEMENT

/** The number of no call. */
export const NO_CALL = 0

/**
 * What a media worker says of itself without a message, so that the main thread knows it of a worker that answers no more.
 * The worker writes; the main thread reads, and clears the memory for the next worker once this one is gone.
 */
export class WorkerPulse {
  readonly #words: Int32Array
  readonly #numbers: Float64Array

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, WORDS_BYTES / Int32Array.BYTES_PER_ELEMENT)
    this.#numbers = new Float64Array(memory, WORDS_BYTES)
  }

  /** Number of the call whose code runs now, `NO_CALL` for none. Plain stores: this is written several times a tick for each call. */
  get running(): number {
    return this.#words[RUNNING] as number
  }

  set running(call: number) {
    this.#words[RUNNING] = call
  }

  /** Number of the call whose code took most memory while the worker was short of it; `NO_CALL` where it is not, or nobody stands out. */
  get heaviest(): number {
    return this.#words[HEAVIEST] as number
  }

  set heaviest(call: number) {
    this.#words[HEAVIEST] = call
  }

  /** Common-clock time of the last beat; 0 before the first. */
  get beatAtMs(): number {
    return this.#numbers[BEAT_AT_MS] as number
  }

  /** Bytes that the worker's code holds outside of the heap, at the last beat. */
  get bufferBytes(): number {
    return this.#numbers[BUFFER_BYTES] as number
  }

  beat(nowMs: number, bufferBytes: number): void {
    this.#numbers[BUFFER_BYTES] = bufferBytes
    this.#numbers[BEAT_AT_MS] = nowMs
  }

  clear(): void {
    this.#words.fill(0)
    this.#numbers.fill(0)
  }
}
