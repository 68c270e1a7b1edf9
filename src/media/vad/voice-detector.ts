import { assert } from '../../core/assert.js'
import { frameSamples, type LegRateHz } from '../../core/units.js'
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
  readonly #kernel: CallerKernel | JsVoiceKernel

  constructor({ model, kernel }: VoiceBankOptions) {
    this.#kernel = kernel === null ? new JsVoiceKernel(model) : new CallerKernel(kernel, model)
  }

  open(sampleRateHz: LegRateHz): Vad {
    const kernel = this.#kernel
    return kernel instanceof CallerKernel ? new KernelVad(kernel, sampleRateHz) : new VoiceStream(kernel, sampleRateHz)
  }

  openJudge(sampleRateHz: LegRateHz): FrameJudge {
    const kernel = this.#kernel
    if (kernel instanceof CallerKernel) return new KernelJudge(kernel, sampleRateHz)
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

  constructor(kernel: JsVoiceKernel, sampleRateHz: LegRateHz) {
    this.#kernel = kernel
    this.#sampleRateHz = sampleRateHz
    this.#features = new VoiceFeatures({ sampleRateHz, kernel })
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
