import { assert } from '../../core/assert.js'
import { FRAME_MS, frameSamples, type LegRateHz } from '../../core/units.js'

/**
 * Says of each 20 ms frame whether somebody speaks. One object a stream, frames in order. Keys, pure tones, echo and silence
 * are `CallerPath`'s business: it asks about frames that are none of our own speech, and overrules the answer for the others.
 */
export interface Vad {
  isSpeech(frame: Int16Array): boolean
  /** Forget the stream so far. */
  reset(): void
  /** Gives the memory back; the object must not be used afterwards. */
  release(): void
}

/** What is said of each frame of a caller that leaves the jitter buffer: frames in order, but for our own echo and made-up ones. */
export interface FrameJudge {
  /** The caller's voice was in the frame that was judged last: neither a key nor a tone nor silence. No hang-over. */
  readonly voiced: boolean
  /** The key (0-9, *, #, A-D) that was recognised in it; each press once. */
  readonly digit: string | null
  judge(frame: Int16Array, levelDbfs: number): void
  /** `levelDbfs` of pcm.ts for any frame of 20 ms; neither hears nor changes the stream. */
  levelDbfs(frame: Int16Array): number
  /** Gives the memory back; the object must not be used afterwards. */
  release(): void
}

/**
 * All detectors of one thread. Whatever implements `Vad` and `open` is plugged in: `VoiceBank` is the default, `FvadBank` another,
 * and docs/VAD.md has one that asks a neural network.
 */
export interface VadBank {
  open(sampleRateHz: LegRateHz): Vad
  /**
   * For a bank that finds keys and tones along the way, cheaper than apart. Where it is left out they are found beside the voice that
   * `open` hears (`ComposedJudge`).
   */
  openJudge?(sampleRateHz: LegRateHz): FrameJudge
}

/** What is used of the instantiated `@echogarden/fvad-wasm` (libfvad, WebRTC's detector). */
export interface FvadModule {
  /** A view of the module's whole memory; another object after the memory has grown. */
  readonly HEAP16: Int16Array
  _malloc(bytes: number): number
  _fvad_new(): number
  /** Back to the state of a new one: also mode 0 and 8 kHz. */
  _fvad_reset(state: number): void
  /** 0 lets most through, 3 least. Below 0: no such mode. */
  _fvad_set_mode(state: number, mode: number): number
  _fvad_set_sample_rate(state: number, sampleRateHz: number): number
  /** 1 speech, 0 none, -1 when `length` is not 10, 20 or 30 ms. */
  _fvad_process(state: number, samples: number, length: number): number
}

// Hears 98 % of clean speech and is calmer in noise than 0 and 1.
const FVAD_MODE = 2

/**
 * WebRTC's detector for every stream of a thread in one heap, 744 bytes each. States are kept on a free list and never freed: a
 * call that ends leaves its state to the next. Not the default: it takes music and any steady tone for speech.
 */
export class FvadBank implements VadBank {
  /** States that exist; the most that were open at once. */
  states = 0
  readonly #module: FvadModule
  readonly #samplesAt: number
  readonly #free: number[] = []

  constructor(module: FvadModule) {
    this.#module = module
    this.#samplesAt = module._malloc((16000 * FRAME_MS * 2) / 1000)
    assert(this.#samplesAt !== 0, 'the VAD module has no memory')
  }

  open(sampleRateHz: LegRateHz): Vad {
    let state = this.#free.pop()
    if (state === undefined) {
      state = this.#module._fvad_new()
      assert(state !== 0, 'the VAD module has no memory')
      this.states++
    }
    return new FvadStream(this.#module, state, this.#samplesAt, sampleRateHz, this.#free)
  }
}

class FvadStream implements Vad {
  readonly #module: FvadModule
  readonly #state: number
  readonly #samplesAt: number
  readonly #sampleRateHz: LegRateHz
  readonly #frame: number
  readonly #free: number[]
  #released = false

  constructor(module: FvadModule, state: number, samplesAt: number, sampleRateHz: LegRateHz, free: number[]) {
    this.#module = module
    this.#state = state
    this.#samplesAt = samplesAt
    this.#sampleRateHz = sampleRateHz
    this.#frame = frameSamples(sampleRateHz)
    this.#free = free
    this.reset()
  }

  isSpeech(frame: Int16Array): boolean {
    assert(!this.#released, 'VAD used after its release')
    assert(frame.length === this.#frame, 'the VAD takes frames of 20 ms')
    // Read anew each time: the view is replaced when the heap grows.
    this.#module.HEAP16.set(frame, this.#samplesAt >> 1)
    return this.#module._fvad_process(this.#state, this.#samplesAt, frame.length) === 1
  }

  reset(): void {
    this.#module._fvad_reset(this.#state)
    this.#module._fvad_set_mode(this.#state, FVAD_MODE)
    this.#module._fvad_set_sample_rate(this.#state, this.#sampleRateHz)
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    this.#free.push(this.#state)
  }
}
