import type { BackendUsage } from './backend-events.js'

/** Sums of `BackendUsage`. */
export type UsageSums = { -readonly [K in keyof BackendUsage]: BackendUsage[K] }

export function noUsage(): UsageSums {
  return { inputTokens: 0, outputTokens: 0, audioInMs: 0, audioOutMs: 0 }
}

/** The figures that not every service reports. */
const DETAILS = [
  'inputTextTokens',
  'inputAudioTokens',
  'inputCachedTokens',
  'inputCachedAudioTokens',
  'inputCacheWriteTokens',
  'outputTextTokens',
  'outputAudioTokens',
  'sessionSeconds',
  'speechCharacters',
] as const

/** A detail of the sums is absent until a service reports it, so that "not reported" is never taken for 0. */
export function addUsage(sums: UsageSums, usage: BackendUsage): void {
  sums.inputTokens += usage.inputTokens
  sums.outputTokens += usage.outputTokens
  sums.audioInMs += usage.audioInMs
  sums.audioOutMs += usage.audioOutMs
  for (const detail of DETAILS) {
    const added = usage[detail]
    if (added !== undefined) sums[detail] = (sums[detail] ?? 0) + added
  }
}
