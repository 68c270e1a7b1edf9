import { msToSamples } from '../../core/units.js'
import { decodeALaw, encodeALaw } from '../../media/pcm.js'

/** The size of the pieces in which caller audio is kept. */
const INPUT_REPLAY_CHUNK_MS = 100
/** Chunks that are made at once, because one with memory of its own takes some 350 B more. */
const INPUT_REPLAY_SLAB_CHUNKS = 16
/** Free chunks that one worker keeps for its calls: 0.8 MB at 16 kHz. */
const INPUT_REPLAY_SPARE_CHUNKS_MAX = 256

/** A-law at 8 kHz, where a telephone line has no more than that; samples at other rates. */
type Chunk = Int16Array | Uint8Array

/** Free chunks of this thread, by their length in samples, which tells the rate. */
const spare = new Map<number, Chunk[]>()

function spareOf(samples: number): Chunk[] {
  let pool = spare.get(samples)
  if (pool === undefined) {
    pool = []
    spare.set(samples, pool)
  }
  return pool
}

/**
 * The newest audio of a caller, by sample position since the beginning of the call, for a backend that takes over. It
 * holds memory only for what is kept, in chunks of INPUT_REPLAY_CHUNK_MS, and at 8 kHz in A-law.
 */
export class CallerAudio {
  /** Samples pushed so far, which is the position of the next one. */
  written = 0
  readonly #chunkSamples: number
  readonly #chunksMax: number
  readonly #isALaw: boolean
  readonly #chunks: Chunk[] = []
  /** Position of the first sample of the first chunk, and of the oldest sample that is kept. */
  #chunksFrom = 0
  #oldest = 0

  /** @param keepMsMax  the most that is kept; older samples are dropped */
  constructor(sampleRateHz: number, keepMsMax: number) {
    this.#chunkSamples = msToSamples(INPUT_REPLAY_CHUNK_MS, sampleRateHz)
    this.#isALaw = sampleRateHz === 8000
    // One chunk more, because the oldest one is dropped as a whole.
    this.#chunksMax = Math.ceil(msToSamples(keepMsMax, sampleRateHz) / this.#chunkSamples) + 1
  }

  /** The oldest position that can be read. */
  get oldest(): number {
    return this.#oldest
  }

  get bytes(): number {
    return this.#chunks.length * this.#chunkSamples * (this.#isALaw ? 1 : 2)
  }

  /** Copies the samples. */
  push(pcm: Int16Array): void {
    let from = 0
    while (from < pcm.length) {
      const at = this.written - this.#chunksFrom
      const chunk = this.#chunks[Math.floor(at / this.#chunkSamples)] ?? this.#append()
      const offset = (this.written - this.#chunksFrom) % this.#chunkSamples
      const samples = Math.min(pcm.length - from, this.#chunkSamples - offset)
      const piece = samples === pcm.length ? pcm : pcm.subarray(from, from + samples)
      if (chunk instanceof Uint8Array) encodeALaw(piece, chunk, offset)
      else chunk.set(piece, offset)
      from += samples
      this.written += samples
    }
  }

  /** Drops the samples before `position`. */
  forget(position: number): void {
    this.#oldest = Math.min(this.written, Math.max(this.#oldest, position))
    while (this.#chunks.length > 0 && this.#chunksFrom + this.#chunkSamples <= this.#oldest) this.#dropFirst()
  }

  /**
   * Copies samples from `position` on, no older than `oldest`.
   * @returns how many were written to `out`: fewer than its length only at the newest end
   */
  read(position: number, out: Int16Array): number {
    const wanted = Math.min(out.length, this.written - position)
    let done = 0
    while (done < wanted) {
      const at = position + done - this.#chunksFrom
      const chunk = this.#chunks[Math.floor(at / this.#chunkSamples)]
      if (chunk === undefined) break
      const offset = at % this.#chunkSamples
      const samples = Math.min(wanted - done, this.#chunkSamples - offset)
      if (chunk instanceof Uint8Array) decodeALaw(chunk.subarray(offset, offset + samples), out.subarray(done))
      else out.set(chunk.subarray(offset, offset + samples), done)
      done += samples
    }
    return done
  }

  /** Gives the memory back; nothing can be read afterwards. */
  release(): void {
    while (this.#chunks.length > 0) this.#dropFirst()
    this.#oldest = this.written
  }

  #append(): Chunk {
    if (this.#chunks.length === 0) this.#chunksFrom = this.written
    while (this.#chunks.length >= this.#chunksMax) {
      const lostTo = this.#chunksFrom + this.#chunkSamples
      this.#oldest = Math.max(this.#oldest, lostTo)
      this.#dropFirst()
    }
    const pool = spareOf(this.#chunkSamples)
    if (pool.length === 0) {
      const length = INPUT_REPLAY_SLAB_CHUNKS * this.#chunkSamples
      const slab = this.#isALaw ? new Uint8Array(length) : new Int16Array(length)
      for (let at = 0; at < slab.length; at += this.#chunkSamples) pool.push(slab.subarray(at, at + this.#chunkSamples))
    }
    const chunk = pool.pop() as Chunk
    this.#chunks.push(chunk)
    return chunk
  }

  #dropFirst(): void {
    const chunk = this.#chunks.shift()
    this.#chunksFrom += this.#chunkSamples
    if (chunk === undefined) return
    const pool = spareOf(chunk.length)
    // The next call that uses this chunk must not be able to read this call's audio.
    chunk.fill(0)
    if (pool.length < INPUT_REPLAY_SPARE_CHUNKS_MAX) pool.push(chunk)
  }
}
