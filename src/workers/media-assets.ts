import { readFile } from 'node:fs/promises'
import libsamplerate from '@alexanderolsen/libsamplerate-js'
import { derivePolyphaseRows } from '../media/resample/polyphase.js'
import type { PolyphaseRows } from '../media/resample/polyphase.js'
import type { ResamplerBank } from '../media/resample/resampler.js'
import type { VadBank } from '../media/vad/vad.js'
import { VoiceBank } from '../media/vad/voice-detector.js'
import { VOICE_MODEL } from '../media/vad/voice-model.js'
import type { Clock } from '../core/clock.js'
import type { FrameHistogram } from '../telemetry/frame-histogram.js'
import type { SlowestFrame } from '../telemetry/slowest-frame.js'

/** What every media worker needs and what is expensive to make: made once by the main thread, then cloned. */
export interface MediaAssets {
  readonly rows: readonly PolyphaseRows[]
  readonly firKernel: WebAssembly.Module
  readonly callerKernel: WebAssembly.Module
}

/**
 * Takes the filter rows from libsamplerate and compiles the kernels of resampler and caller's frames.
 * The package is CommonJS without static names, so it is imported whole.
 */
export async function loadMediaAssets(): Promise<MediaAssets> {
  const { create, ConverterType } = libsamplerate
  const [rows, firKernel, callerKernel] = await Promise.all([
    derivePolyphaseRows((inRateHz, outRateHz) =>
      create(1, inRateHz, outRateHz, { converterType: ConverterType.SRC_SINC_MEDIUM_QUALITY })),
    compiled('resample/fir-kernel'),
    compiled('vad/caller-kernel'),
  ])
  return { rows, firKernel, callerKernel }
}

/** What the calls of one media worker share. */
export interface WorkerContext {
  readonly clock: Clock
  readonly resamplers: ResamplerBank
  readonly vads: VadBank
  /** From the carrier's socket to the backend, for each frame. */
  readonly latencyIn: FrameHistogram
  /** The call of the slowest of those frames. */
  readonly slowestIn?: SlowestFrame
  /** From the backend's first sample to the carrier's socket, for each item. */
  readonly latencyOut: FrameHistogram
}

/** The gateway's own voice detector, for all calls of a thread. */
export function voiceDetectors(callerKernel: WebAssembly.Module): VadBank {
  return new VoiceBank({ model: VOICE_MODEL, kernel: callerKernel })
}

/** The same for a thread that needs no other media assets. */
export async function loadVoiceDetectors(): Promise<VadBank> {
  return voiceDetectors(await compiled('vad/caller-kernel'))
}

async function compiled(kernel: string): Promise<WebAssembly.Module> {
  return WebAssembly.compile(await readFile(new URL(`../media/${kernel}.wasm`, import.meta.url)))
}
