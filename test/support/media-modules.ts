import { readFileSync } from 'node:fs'
import libsamplerate from '@alexanderolsen/libsamplerate-js'
import { ResamplerBank } from '../../src/media/resample/resampler.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { loadMediaAssets, loadVoiceDetectors } from '../../src/workers/shared/media-assets.js'

// Modules of the pure `media` layer, loaded for tests.

/** Library from which the resampler's rows come; the resampler's output is compared with it. */
export function createSincMedium(inRateHz: number, outRateHz: number) {
  const { create, ConverterType } = libsamplerate
  return create(1, inRateHz, outRateHz, { converterType: ConverterType.SRC_SINC_MEDIUM_QUALITY })
}

/** Kernel as the build compiled it, beside the compiled `media` layer. */
export function firKernel(): WebAssembly.Module {
  return new WebAssembly.Module(readFileSync(new URL('../../src/media/resample/fir-kernel.wasm', import.meta.url)))
}

/** Voice detectors as in production calls. */
export function loadVads(): Promise<VadBank> {
  return loadVoiceDetectors()
}

/** Resamplers as in production calls. */
export async function loadResamplers(): Promise<ResamplerBank> {
  const { rows, firKernel: kernel } = await loadMediaAssets()
  return new ResamplerBank({ rows, kernel })
}
