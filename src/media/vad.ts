import type { LegRateHz } from '../core/units.js'

/** Says of each 20 ms frame whether it sounds like speech. One object a stream; frames in order. */
export interface Vad {
  isSpeech(frame: Int16Array): boolean
  reset(): void
  release(): void
}

/** All detectors of one thread. A deployer's neural detector implements these two. */
export interface VadBank {
  open(sampleRateHz: LegRateHz): Vad
}

/** What is used of the instantiated `@echogarden/fvad-wasm`. */
export interface FvadModule {
  HEAP16: Int16Array
  _malloc(bytes: number): number
  _free(pointer: number): void
  _fvad_new(): number
  _fvad_free(state: number): void
  _fvad_reset(state: number): void
  _fvad_set_mode(state: number, mode: number): number
  _fvad_set_sample_rate(state: number, sampleRateHz: number): number
  _fvad_process(state: number, samples: number, length: number): number
}

/** The default: WebRTC's detector, mode 2, in one shared heap. */
export declare class FvadBank implements VadBank {
  constructor(module: FvadModule)
  open(sampleRateHz: LegRateHz): Vad
}
