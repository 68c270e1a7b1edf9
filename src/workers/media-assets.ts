import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type LibSampleRate from '@alexanderolsen/libsamplerate-js'
import { derivePolyphaseRows } from '../media/resample/polyphase.js'
import type { PolyphaseRows } from '../media/resample/polyphase.js'
import type { VadBank } from '../media/vad/vad.js'
import { VoiceBank } from '../media/vad/voice-detector.js'
import { VOICE_MODELS } from '../media/vad/voice-model.js'

/**
 * What every media worker needs and is expensive to make: the main thread makes it once, and each worker gets a clone.
 */
export interface MediaAssets {
  readonly rows: readonly PolyphaseRows[]
  readonly firKernel: WebAssembly.Module
  readonly callerKernel: WebAssembly.Module
}

/**
 * Takes the filter rows from libsamplerate, and compiles the kernels of the resampler and of the caller's path.
 */
export async function loadMediaAssets(): Promise<MediaAssets> {
  const { create, ConverterType } = loadLibsamplerate()
  const [rows, firKernel, callerKernel] = await Promise.all([
    derivePolyphaseRows((inRateHz, outRateHz) =>
      create(1, inRateHz, outRateHz, { converterType: ConverterType.SRC_SINC_MEDIUM_QUALITY }),
    ),
    compiled('resample/fir-kernel'),
    compiled('vad/caller-kernel'),
  ])
  return { rows, firKernel, callerKernel }
}

/**
 * The library takes 12 MB in each thread that loads it. So it is not a static import, which would load it in every media
 * worker, and it is forgotten at once, so that a collection gives its memory back: an imported module stays for ever.
 */
function loadLibsamplerate(): typeof LibSampleRate {
  const require = createRequire(import.meta.url)
  const name = '@alexanderolsen/libsamplerate-js'
  const library = require(name) as typeof LibSampleRate
  delete require.cache[require.resolve(name)]
  return library
}

/** The voice detectors for all calls of a thread. */
export function voiceDetectors(callerKernel: WebAssembly.Module): VadBank {
  return new VoiceBank({ models: VOICE_MODELS, kernel: callerKernel })
}

/** The same for a thread that needs no other media assets. */
export async function loadVoiceDetectors(): Promise<VadBank> {
  return voiceDetectors(await compiled('vad/caller-kernel'))
}

async function compiled(kernel: string): Promise<WebAssembly.Module> {
  return WebAssembly.compile(await readFile(new URL(`../media/${kernel}.wasm`, import.meta.url)))
}
