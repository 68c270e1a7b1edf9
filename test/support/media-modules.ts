import { readFileSync } from 'node:fs'
import libsamplerate from '@alexanderolsen/libsamplerate-js'
import type { CreateConverter } from '../../src/media/resample/polyphase.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { loadVoiceDetectors } from '../../src/workers/media-assets.js'

/** What the composition root loads for the pure media room, loaded for tests. */

/** The library that the rows come from and that our output is judged by. */
export const createSincMedium: CreateConverter = async (inRateHz, outRateHz) => {
  const { create, ConverterType } = libsamplerate
  return create(1, inRateHz, outRateHz, { converterType: ConverterType.SRC_SINC_MEDIUM_QUALITY })
}

/** The kernel as the build assembled it, beside the compiled media room. */
export function firKernel(): WebAssembly.Module {
  return new WebAssembly.Module(readFileSync(new URL('../../src/media/resample/fir-kernel.wasm', import.meta.url)))
}

/** The detectors that calls have. */
export function loadVads(): Promise<VadBank> {
  return loadVoiceDetectors()
}
