import { readFile } from 'node:fs/promises'
import { rowsFromJson } from '../media/resample/polyphase.js'
import type { PolyphaseRows } from '../media/resample/polyphase.js'
import type { VadBank } from '../media/vad/vad.js'
import { VoiceBank } from '../media/vad/voice-detector.js'
import { VOICE_MODEL } from '../media/vad/voice-model.js'

/**
 * What every media worker needs and is expensive to make: the main thread makes it once, and each worker gets a clone.
 */
export interface MediaAssets {
  readonly rows: readonly PolyphaseRows[]
  readonly firKernel: WebAssembly.Module
  readonly callerKernel: WebAssembly.Module
}

/** Reads the filter rows that the build took from libsamplerate, and compiles the kernels of the resampler and of the caller's path. */
export async function loadMediaAssets(): Promise<MediaAssets> {
  const [rows, firKernel, callerKernel] = await Promise.all([
    readFile(new URL('../media/resample/polyphase-rows.json', import.meta.url), 'utf8').then(rowsFromJson),
    compiled('resample/fir-kernel'),
    compiled('vad/caller-kernel'),
  ])
  return { rows, firKernel, callerKernel }
}

/** The voice detectors for all calls of a thread. */
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
