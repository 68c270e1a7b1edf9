import type { BackendUsage } from '../../../call/backend-events.js'
import { usageNumber } from '../../../backends/watch.js'

type ModalityCounts = readonly { readonly modality?: string; readonly tokenCount?: number }[]

/** `usageMetadata` of a turn. */
export interface WireUsage {
  readonly promptTokenCount?: number
  readonly responseTokenCount?: number
  readonly toolUsePromptTokenCount?: number
  readonly thoughtsTokenCount?: number
  readonly cachedContentTokenCount?: number
  readonly promptTokensDetails?: ModalityCounts
  readonly responseTokensDetails?: ModalityCounts
  readonly cacheTokensDetails?: ModalityCounts
}

/** The model's reasoning is charged as output, but the response's token count does not include it. */
export function tokensOf(usage: WireUsage): Omit<BackendUsage, 'audioInMs' | 'audioOutMs'> {
  const { promptTokensDetails, responseTokensDetails, cacheTokensDetails, cachedContentTokenCount } = usage
  return {
    inputTokens: usageNumber(usage.promptTokenCount) + usageNumber(usage.toolUsePromptTokenCount),
    outputTokens: usageNumber(usage.responseTokenCount) + usageNumber(usage.thoughtsTokenCount),
    ...(Array.isArray(promptTokensDetails) ? { inputAudioTokens: audioIn(promptTokensDetails) } : {}),
    ...(Array.isArray(responseTokensDetails) ? { outputAudioTokens: audioIn(responseTokensDetails) } : {}),
    ...(cachedContentTokenCount === undefined ? {} : { inputCachedTokens: usageNumber(cachedContentTokenCount) }),
    ...(Array.isArray(cacheTokensDetails) ? { inputCachedAudioTokens: audioIn(cacheTokensDetails) } : {}),
  }
}

function audioIn(counts: ModalityCounts): number {
  return counts.reduce((sum, one) => sum + (one?.modality === 'AUDIO' ? usageNumber(one.tokenCount) : 0), 0)
}
