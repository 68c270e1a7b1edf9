import { assert } from '../core/assert.js'
import { frameSamples, type LegRateHz } from '../core/units.js'
import { CallerKernel, KernelJudge, KernelVad } from './caller-kernel.js'
import { ComposedJudge } from './frame-judge.js'
import { ODDS_BEGIN, ODDS_ON } from './judge-limits.js'
import type { FrameJudge, Vad, VadBank } from './vad.js'
import { VoiceFeatures } from './voice-features.js'
import { JsVoiceKernel } from './voice-kernel.js'

export interface VoiceBankOptions {
  /** The numbers of the units, of voice-model.ts. */
  readonly model: readonly number[]
  /** The compiled caller-kernel.wasm; null decides the same in TypeScript, at several times the cost. */
  readonly kernel: WebAssembly.Module | null
}

/**
 * The default: what is known of a frame (`voice-features.ts`) is weighed by 32 units whose numbers were derived from speech in
 * noise (`voice-model.ts`). A voice begins when it is likely and ends when it is unlikely, so that a decision does not flutter.
 */
export class VoiceBank implements VadBank {
  readonly #model: readonly number[]
  readonly #kernel: CallerKernel | null

  constructor(options: VoiceBankOptions) {
    this.#model = options.model
    this.#kernel = options.kernel === null ? null : new CallerKernel(options.kernel, options.model)
  }

  open(sampleRateHz: LegRateHz): Vad {
    return this.#kernel === null ? new VoiceStream(this.#model, sampleRateHz) : new KernelVad(this.#kernel, sampleRateHz)
  }

  openJudge(sampleRateHz: LegRateHz): FrameJudge {
    if (this.#kernel !== null) return new KernelJudge(this.#kernel, sampleRateHz)
    return new ComposedJudge({ sampleRateHz, vad: this.open(sampleRateHz) })
  }
}

/** The twin of the kernel: what it is derived with, and what it is held against. */
class VoiceStream implements Vad {
  readonly #kernel: JsVoiceKernel
  readonly #sampleRateHz: LegRateHz
  #features: VoiceFeatures
  #speaking = false
  #released = false

  constructor(model: readonly number[], sampleRateHz: LegRateHz) {
    this.#kernel = new JsVoiceKernel(model)
    this.#sampleRateHz = sampleRateHz
    this.#features = new VoiceFeatures({ sampleRateHz, kernel: this.#kernel })
  }

  isSpeech(frame: Int16Array): boolean {
    assert(!this.#released, 'VAD used after its release')
    assert(frame.length === frameSamples(this.#sampleRateHz), 'the VAD takes frames of 20 ms')
    this.#features.take(frame)
    this.#speaking = this.#kernel.judge() > (this.#speaking ? ODDS_ON : ODDS_BEGIN)
    return this.#speaking
  }

  reset(): void {
    this.#features = new VoiceFeatures({ sampleRateHz: this.#sampleRateHz, kernel: this.#kernel })
    this.#speaking = false
  }

  release(): void {
    this.#released = true
  }
}
