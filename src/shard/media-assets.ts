import { readFile } from 'node:fs/promises'
import libsamplerate from '@alexanderolsen/libsamplerate-js'
import { derivePolyphaseRows } from '../media/polyphase.js'
import type { PolyphaseRows } from '../media/polyphase.js'

/** What every media worker needs and what is dear to make: made once by the main thread, then cloned. */
export interface MediaAssets {
  readonly rows: readonly PolyphaseRows[]
  readonly firKernel: WebAssembly.Module
}

/**
 * Takes the filter rows from libsamplerate and compiles the kernel that runs them.
 * The package is CommonJS without static names, so it is imported whole.
 */
export async function loadMediaAssets(): Promise<MediaAssets> {
  const { create, ConverterType } = libsamplerate
  const [rows, kernel] = await Promise.all([
    derivePolyphaseRows((inRateHz, outRateHz) =>
      create(1, inRateHz, outRateHz, { converterType: ConverterType.SRC_SINC_MEDIUM_QUALITY })),
    readFile(new URL('../media/fir-kernel.wasm', import.meta.url)),
  ])
  return { rows, firKernel: await WebAssembly.compile(kernel) }
}
