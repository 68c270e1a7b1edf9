import { noUsage } from '../../call/usage.js'
import type { UsageSums } from '../../call/usage.js'
import { VENDORS } from '../../vendors/list.js'
import type { ModelPrice } from '../../vendors/model-price.js'

/** CALLER_SHARE: share of a call in which the caller speaks. AGENT_SHARE: share in which the agent speaks. */
export const CALLER_SHARE = 0.35
export const AGENT_SHARE = 0.45
/** Number of the agent's answers per minute. */
export const TURNS_PER_MINUTE = 4
/** Characters per second of a person who speaks at normal speed. */
export const CHARACTERS_PER_SECOND = 15
/** Characters per token of English text. Other languages have fewer characters per token. */
export const CHARACTERS_PER_TOKEN = 4
/**
 * Tokens per second of audio, if the vendor does not publish figures: one token per 100 ms of input, one per 50 ms of
 * output.
 */
const AUDIO_TOKENS_PER_SECOND = { in: 10, out: 20 }
/** Tokens of an analysis after a call: its fields and instructions, and its answer. */
const ANALYSIS_TOKENS = { in: 400, out: 200 }

const MINUTE_S = 60

/** Figures of an expected call. */
export interface ExpectedCall {
  readonly minutes: number
  /** Number of tokens of the instructions and tools. The model receives them for every answer. */
  readonly promptTokens: number
}

/**
 * Assumed usage of one call, for a model without call records, in the units of the model's price. With token prices,
 * each answer costs tokens for the whole earlier conversation. So the cost grows faster than the call's duration.
 */
export function expectedUsage(model: string, price: ModelPrice, { minutes, promptTokens }: ExpectedCall): UsageSums {
  const usage = noUsage()
  const seconds = minutes * MINUTE_S
  usage.audioInMs = seconds * 1000
  usage.audioOutMs = seconds * 1000 * AGENT_SHARE
  if (price.perMinute !== undefined) usage.sessionSeconds = seconds
  if (price.perMillionCharacters !== undefined) usage.speechCharacters = seconds * AGENT_SHARE * CHARACTERS_PER_SECOND
  if (price.inputPerMillionTokens === undefined) return usage
  const turns = Math.max(1, Math.round(minutes * TURNS_PER_MINUTE))
  // For each answer, the model receives the prompt and the earlier conversation: on average half of the call.
  const earlier = (perCall: number): number => (perCall * (turns + 1)) / 2
  const textTokens = (share: number): number => (seconds * share * CHARACTERS_PER_SECOND) / CHARACTERS_PER_TOKEN
  if (price.inputAudioPerMillionTokens === undefined) {
    usage.inputTokens = turns * promptTokens + earlier(textTokens(CALLER_SHARE) + textTokens(AGENT_SHARE))
    usage.outputTokens = textTokens(AGENT_SHARE)
    return usage
  }
  const own = VENDORS.find(({ audioTokens }) => audioTokens?.models.test(model) === true)
  const rate = own?.audioTokens ?? AUDIO_TOKENS_PER_SECOND
  const heard = seconds * CALLER_SHARE * rate.in
  const spoken = seconds * AGENT_SHARE * rate.out
  const audio = earlier(heard + spoken)
  const text = turns * promptTokens
  usage.inputTokens = audio + text
  usage.inputAudioTokens = audio
  usage.inputTextTokens = text
  usage.outputAudioTokens = spoken
  usage.outputTextTokens = textTokens(AGENT_SHARE)
  usage.outputTokens = usage.outputAudioTokens + usage.outputTextTokens
  // For each answer, only the caller's new words are not in the cache. The prompt is in the cache after its first use.
  if (price.cachedPerMillionTokens !== undefined) {
    usage.inputCachedAudioTokens = Math.max(0, audio - heard)
    usage.inputCachedTokens = usage.inputCachedAudioTokens + Math.max(0, text - promptTokens)
  }
  return usage
}

/** Usage of the language model that analyses one call after its end. */
export function expectedAnalysis(minutes: number): UsageSums {
  const said = minutes * MINUTE_S * (CALLER_SHARE + AGENT_SHARE) * CHARACTERS_PER_SECOND
  return {
    ...noUsage(),
    inputTokens: ANALYSIS_TOKENS.in + said / CHARACTERS_PER_TOKEN,
    outputTokens: ANALYSIS_TOKENS.out,
  }
}

/** Text of the assumptions. */
export const ASSUMPTIONS = `the caller speaks for ${100 * CALLER_SHARE} % of the call and the agent for ${100 * AGENT_SHARE} %, at ${CHARACTERS_PER_SECOND} characters a second, with ${TURNS_PER_MINUTE} answers a minute; ${CHARACTERS_PER_TOKEN} characters are a token; each answer gets the prompt and all that was said before`
