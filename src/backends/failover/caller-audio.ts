import { msToSamples } from '../../core/units.js'
import { decodeALaw, encodeALaw } from '../../media/pcm.js'

/** Duration in ms of the chunks in which caller audio is stored. */
const INPUT_REPLAY_CHUNK_MS = 100
/** Number of chunks that are allocated together. Each chunk with its own memory would need about 350 bytes more. */
const INPUT_REPLAY_SLAB_CHUNKS = 16
/** Maximum number of free chunks that one worker keeps for its calls: 0.4 MB at 16 kHz. */
const INPUT_REPLAY_SPARE_CHUNKS_MAX = 256

/** Free chunks of this thread, by the chunk's length in samples. The length depends on the sample rate. */
const spare = new Map<number, Uint8Array[]>()

function spareOf(samples: number): Uint8Array[] {
  let pool = spare.get(samples)
  if (pool === undefined) {
    pool = []
    spare.set(samples, pool)
  }
  return pool
}

/**
 * The newest audio of a caller, for a backend that takes over. Positions are samples since the beginning of the call.
 * The audio is stored in chunks of INPUT_REPLAY_CHUNK_MS, in A-law, and uses memory only for stored audio. A-law has
 * half the size of 16-bit samples. On a G.711 line, A-law loses no information. For wideband speech, A-law adds noise
 * 38 dB below the voice (ITU-T G.711).
 */
export class CallerAudio {
  /** Number of samples pushed so far: the position of the next sample. */
  written = 0
  readonly #chunkSamples: number
  readonly #chunksMax: number
  readonly #chunks: Uint8Array[] = []
  /** Position of the first sample of the first chunk, and position of the oldest stored sample. */
  #chunksFrom = 0
  #oldest = 0

  /** @param keepMsMax  maximum duration of stored audio in ms; older samples are dropped */
  constructor(sampleRateHz: number, keepMsMax: number) {
    this.#chunkSamples = msToSamples(INPUT_REPLAY_CHUNK_MS, sampleRateHz)
    // One chunk more than needed, because the oldest chunk is dropped as a whole.
    this.#chunksMax = Math.ceil(msToSamples(keepMsMax, sampleRateHz) / this.#chunkSamples) + 1
  }

  /** The oldest position that can be read. */
  get oldest(): number {
    return this.#oldest
  }

  get bytes(): number {
    return this.#chunks.length * this.#chunkSamples
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
      encodeALaw(piece, chunk, offset)
      from += samples
      this.written += samples
    }
  }

  /** Drops all samples before `position`. */
  forget(position: number): void {
    this.#oldest = Math.min(this.written, Math.max(this.#oldest, position))
    while (this.#chunks.length > 0 && this.#chunksFrom + this.#chunkSamples <= this.#oldest) this.#dropFirst()
  }

  /**
   * Copies samples from `position`, which is not older than `oldest`.
   * @returns the number of samples written to `out`; less than its length only if the newest audio is reached
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
      decodeALaw(chunk.subarray(offset, offset + samples), out.subarray(done))
      done += samples
    }
    return done
  }

  /** Releases the memory. After this, no audio can be read. */
  release(): void {
    while (this.#chunks.length > 0) this.#dropFirst()
    this.#oldest = this.written
  }

  #append(): Uint8Array {
    if (this.#chunks.length === 0) this.#chunksFrom = this.written
    while (this.#chunks.length >= this.#chunksMax) {
      const lostTo = this.#chunksFrom + this.#chunkSamples
      this.#oldest = Math.max(this.#oldest, lostTo)
      this.#dropFirst()
    }
    const pool = spareOf(this.#chunkSamples)
    if (pool.length === 0) {
      const slab = new Uint8Array(INPUT_REPLAY_SLAB_CHUNKS * this.#chunkSamples)
      for (let at = 0; at < slab.length; at += this.#chunkSamples) pool.push(slab.subarray(at, at + this.#chunkSamples))
    }
    const chunk = pool.pop() as Uint8Array
    this.#chunks.push(chunk)
    return chunk
  }

  #dropFirst(): void {
    const chunk = this.#chunks.shift()
    this.#chunksFrom += this.#chunkSamples
    if (chunk === undefined) return
    const pool = spareOf(chunk.length)
    // The chunk is cleared, so that another call with this chunk cannot read this call's audio.
    chunk.fill(0)
    if (pool.length < INPUT_REPLAY_SPARE_CHUNKS_MAX) pool.push(chunk)
  }
}
