import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { PolyphaseRows } from '../../media/resample/polyphase.js'
import type { VadBank } from '../../media/vad/vad.js'
import { CallerKernel, FIRST_NUMBERS, VoiceBank, type VoiceModels } from '../../media/vad/voice-detector.js'

/**
 * Assets that every media worker needs and that take long to make. The main thread makes them once, and each worker
 * gets a copy.
 */
export interface MediaAssets {
  readonly rows: readonly PolyphaseRows[]
  readonly firKernel: WebAssembly.Module
  readonly callerKernel: WebAssembly.Module
  readonly voiceModels: VoiceModels
}

/** Hash of `voice-model.f32`, as bench/vad/train.ts writes it. */
const VOICE_MODEL_SHA256 = '1aa2053b03aa1426a3598bdedc67fc062b54a137a576d0a1fc4b6a7d406b5810'

/**
 * Reads the filter rows and the weights of the voice detector. Compiles the kernels of the resampler and of the
 * caller's path.
 */
export async function loadMediaAssets(): Promise<MediaAssets> {
  const [rows, firKernel, callerKernel, voiceModels] = await Promise.all([
    builtRows(),
    compiled('resample/fir-kernel'),
    compiled('vad/caller-kernel'),
    loadVoiceModels(),
  ])
  return { rows, firKernel, callerKernel, voiceModels }
}

/** Reads the filter rows that the build made (scripts/polyphase-rows.mjs). Their coefficients are bytes in base64. */
async function builtRows(): Promise<readonly PolyphaseRows[]> {
  const text = await readFile(new URL('../../media/resample/polyphase-rows.json', import.meta.url), 'utf8')
  const rows = JSON.parse(text) as (Omit<PolyphaseRows, 'coefficients'> & { readonly coefficients: string })[]
  return rows.map((row) => {
    const bytes = Uint8Array.from(Buffer.from(row.coefficients, 'base64'))
    return { ...row, coefficients: new Float32Array(bytes.buffer) }
  })
}

/** The voice detectors for all calls of a thread. */
export function voiceDetectors({
  callerKernel,
  voiceModels,
}: Pick<MediaAssets, 'callerKernel' | 'voiceModels'>): VadBank {
  return new VoiceBank(new CallerKernel(callerKernel, voiceModels))
}

/** Loads the voice detectors, for a thread that does not need the other media assets. */
export async function loadVoiceDetectors(): Promise<VadBank> {
  const [callerKernel, voiceModels] = await Promise.all([compiled('vad/caller-kernel'), loadVoiceModels()])
  return voiceDetectors({ callerKernel, voiceModels })
}

/** @throws Error if the file belongs to another version of the detector, or is damaged */
export async function loadVoiceModels(): Promise<VoiceModels> {
  const file = new URL('../../media/vad/voice-model.f32', import.meta.url)
  const bytes = await readFile(file)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  if (sha256 !== VOICE_MODEL_SHA256) {
    throw new Error(`${file.pathname} is damaged: its SHA-256 is ${sha256}, not ${VOICE_MODEL_SHA256}; install again`)
  }
  // The bytes are copied, because a small file's bytes may begin at an address that a Float32Array cannot use.
  const numbers = new Float32Array(Uint8Array.from(bytes).buffer)
  return { first: numbers.subarray(0, FIRST_NUMBERS), second: numbers.subarray(FIRST_NUMBERS) }
}

async function compiled(kernel: string): Promise<WebAssembly.Module> {
  return WebAssembly.compile(await readFile(new URL(`../../media/${kernel}.wasm`, import.meta.url)))
}
