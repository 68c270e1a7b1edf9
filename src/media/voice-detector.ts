import { assert } from '../core/assert.js'
import { frameSamples, type LegRateHz } from '../core/units.js'
import type { Vad, VadBank } from './vad.js'
import { VoiceFeatures } from './voice-features.js'
import type { VoiceKernel } from './voice-kernel.js'

/**
 * The default: what is known of a frame (`voice-features.ts`) is weighed by 32 units whose numbers were derived from speech in
 * noise (`voice-model.ts`). A voice begins when it is likely and ends when it is unlikely, so that a decision does not flutter.
 */
export class VoiceBank implements VadBank {
  readonly #kernel: VoiceKernel

  constructor(kernel: VoiceKernel) {
    this.#kernel = kernel
  }

  open(sampleRateHz: LegRateHz): Vad {
    return new VoiceStream(this.#kernel, sampleRateHz)
  }
}

class VoiceStream implements Vad {
  readonly #kernel: VoiceKernel
  readonly #sampleRateHz: LegRateHz
  #features: VoiceFeatures
  #speaking = false
  #released = false

  constructor(kernel: VoiceKernel, sampleRateHz: LegRateHz) {
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

// Logarithms of odds: 0.7 begins a voice, under 0.6 ends it (docs/VAD.md).
const ODDS_BEGIN = Math.log(0.7 / 0.3)
const ODDS_ON = Math.log(0.6 / 0.4)
