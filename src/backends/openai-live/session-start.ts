import { functionParameters } from '../tool-schema.js'
import type { Clock } from '../../core/clock.js'
import type { LegRateHz, SampleRateHz } from '../../core/units.js'
import { G711 } from '../../media/pcm.js'
import type { BackendSession, ToolSpec } from '../backend.js'
import type { ChatOptions } from '../cascade/chat-requests.js'
import { OPENAI_BASE_URL } from '../openai-realtime/session-config.js'
import { pricedModel } from '../prices.js'
import { recentHistory, recentTools } from '../prompts.js'
import { replyText } from '../tool-text.js'
import type {
  DelegateItem,
  HostedDelegate,
  InitialItem,
  LiveAudioFormat,
  LiveFunction,
  LiveSessionConfig,
} from './wire.js'

/** Who does what the live model delegates. */
export type DelegateOptions =
  /** A model that the service runs beside the live one; it calls our tools. */
  | {
      readonly by: 'responses'
      readonly model: string
      readonly reasoningEffort?: 'none' | 'minimal' | 'low' | 'medium' | 'high' | 'xhigh'
      readonly maxOutputTokens?: number
    }
  /** A language model of our own, on `/v1/chat/completions`. */
  | { readonly by: 'client'; readonly llm: ChatOptions }

/** The delegate's model, as it is priced. */
export function delegateModel(delegate: DelegateOptions): string {
  return delegate.by === 'client' ? pricedModel(delegate.llm.model, delegate.llm.baseUrl) : delegate.model
}

/** Plain data except for the clock. */
export interface OpenAiLiveOptions {
  /** Null sends no `Authorization` header, for a service of one's own. Never logged. */
  readonly apiKey: string | null
  readonly model: string
  /** `https://api.openai.com/v1` when not given; http(s) and ws(s) alike, with or without `/live/sessions` at its end. */
  readonly baseUrl?: string
  /** More headers, such as `OpenAI-Organization`. Values are treated as secrets. */
  readonly headers?: Readonly<Record<string, string>>
  /** In metrics and records; `openai-live` when not given. */
  readonly name?: string
  /** For agents that name no voice; `marin` when not given, as at the service. */
  readonly voice?: string
  /** Sound in both directions. `pcm16k` when not given: what a 16 kHz leg has, without resampling. */
  readonly audio?: LiveAudio
  readonly delegate: DelegateOptions
  /** Wait before the model says by itself that it is working on something; the service has 0. */
  readonly acknowledgementMs?: number
  /** A delegate that shows no sign of life for this long is given up; 20 s when not given. */
  readonly delegateTimeoutMs?: number
  /** Caller audio in one message, 20 to 100 ms; 20 when not given, because the service waits for every frame. */
  readonly messageMs?: number
  readonly connectTimeoutMs?: number
  readonly pingMs?: number
  /** Two hours when not given; the service may name an earlier end. */
  readonly maxSessionMs?: number
  /** How long before the end of the session `expiring` is emitted; 5 minutes when not given. */
  readonly expiringLeadMs?: number
  /** `performance.now` when not given. */
  readonly nowMs?: Clock
}

type LiveAudio = 'pcm16k' | 'pcm24k' | 'pcmu' | 'pcma'

/** openai 7.55.0, SessionConfig.audio.output.voice. */
const VOICE_DEFAULT = 'marin'
export const LIVE_SESSION_MS = 2 * 60 * 60_000
export const LIVE_EXPIRING_LEAD_MS = 5 * 60_000
export const LIVE_DELEGATE_MS = 20_000
/** openai 7.55.0, SessionConfig.input: messages of the history at the start, and tokens of them together. */
const INPUT_MESSAGES_MAX = 128
const INPUT_TOKENS_MAX = 8192
/** openai 7.55.0, CommentaryAppendEvent and its siblings: tokens of one text. */
const CONTEXT_TOKENS_MAX = 500
/** The most parts into which a longer text is cut: a model that gets 2,000 tokens in mid-call has enough. */
const CONTEXT_PARTS_MAX = 4
/** Characters of a tool's description that the live model gets, to know what it may delegate. */
const TOOL_DESCRIPTION_CHARS_MAX = 200

function formatOf(audio: LiveAudio): LiveAudioFormat {
  switch (audio) {
    case 'pcm16k':
      return { type: 'audio/pcm', rate: 16_000 }
    case 'pcm24k':
      return { type: 'audio/pcm', rate: 24_000 }
    default:
      return { type: `audio/${audio}`, rate: 8000 }
  }
}

export function rateOf(audio: LiveAudio): SampleRateHz {
  return audio === 'pcm24k' ? 24_000 : audio === 'pcm16k' ? 16_000 : 8000
}

/** The coding of a session's audio; null for samples as they are. */
export function lawOf(audio: LiveAudio): (typeof G711)[keyof typeof G711] | null {
  return audio === 'pcmu' || audio === 'pcma' ? G711[audio] : null
}

/** The sound that a leg has, so that nothing is resampled; A-law, which most telephone networks have. */
export function audioOfLeg(legRateHz: LegRateHz): LiveAudio {
  return legRateHz === 8000 ? 'pcma' : 'pcm16k'
}

/** Address and headers of a session; the headers hold the key. */
export function targetOf({ apiKey, baseUrl = OPENAI_BASE_URL, headers = {} }: OpenAiLiveOptions): {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
} {
  const url = new URL(baseUrl)
  url.protocol = url.protocol.replace('http', 'ws')
  url.pathname = url.pathname.replace(/\/+$/, '')
  if (!url.pathname.endsWith('/live/sessions')) url.pathname += '/live/sessions'
  return {
    url: url.toString(),
    headers: { ...(apiKey === null ? {} : { Authorization: `Bearer ${apiKey}` }), ...headers },
  }
}

/** `session` of `session.start`. */
export function sessionConfig(options: OpenAiLiveOptions, session: BackendSession): LiveSessionConfig {
  const { delegate, acknowledgementMs } = options
  const delay = acknowledgementMs === undefined ? {} : { acknowledgement_delay_ms: acknowledgementMs }
  const input = inputOf(session)
  return {
    model: options.model,
    instructions: liveInstructions(session),
    audio: {
      format: formatOf(options.audio ?? 'pcm16k'),
      output: { voice: session.voice ?? options.voice ?? VOICE_DEFAULT },
    },
    delegation:
      delegate.by === 'client'
        ? { type: 'client', ...delay }
        : { type: 'responses', responses: hostedDelegate(delegate, session), ...delay },
    ...(input.length === 0 ? {} : { input }),
  }
}

function hostedDelegate(
  delegate: Extract<DelegateOptions, { readonly by: 'responses' }>,
  session: BackendSession,
): HostedDelegate {
  return {
    model: delegate.model,
    instructions: delegateInstructions(session.instructions),
    tools: session.tools.map(functionTool),
    ...(delegate.reasoningEffort === undefined ? {} : { reasoning: { effort: delegate.reasoningEffort } }),
    ...(delegate.maxOutputTokens === undefined ? {} : { max_output_tokens: delegate.maxOutputTokens }),
  }
}

export function functionTool({ name, description, parameters }: ToolSpec): LiveFunction {
  return { type: 'function', name, description, parameters: functionParameters(parameters).schema }
}

/** The live model has no tools: it must know what it can have done, and by whom. */
function liveInstructions({ instructions, tools }: BackendSession): string {
  if (tools.length === 0) return instructions
  const list = tools.map(({ name, description }) => `- ${name}: ${description.slice(0, TOOL_DESCRIPTION_CHARS_MAX)}`)
  return [
    instructions,
    '',
    'You cannot use tools yourself. Delegate every request that needs one of these, and state nothing about its result',
    'before the result is there:',
    ...list,
  ].join('\n')
}

export function delegateInstructions(instructions: string): string {
  return [
    instructions,
    '',
    'You work behind a voice on the phone: another model speaks your words to the caller. Write what the caller should',
    'hear, in short sentences without Markdown.',
  ].join('\n')
}

/** The newest of what was said before, as messages. */
function inputOf(session: BackendSession): InitialItem[] {
  const items: InitialItem[] = []
  let tokens = 0
  for (const { role, text } of recentHistory(session.history).toReversed()) {
    tokens += tokensOf(text)
    if (tokens > INPUT_TOKENS_MAX || items.length === INPUT_MESSAGES_MAX) break
    items.push(
      role === 'caller'
        ? { type: 'message', role: 'user', content: [{ type: 'input_text', text }] }
        : { type: 'message', role: 'assistant', content: [{ type: 'output_text', text }] },
    )
  }
  return items.reverse()
}

/** Ids that the service accepts for calls. Those of another backend may be longer. */
const CALL_ID = /^[\w-]{1,32}$/

/** What was done before, for the hosted delegate, which then does not do it again. */
export function doneItems(session: BackendSession): DelegateItem[] {
  return recentTools(session.toolLedger).flatMap(({ callId, name, args, ok, result }, i): DelegateItem[] => {
    const call_id = CALL_ID.test(callId) ? callId : `replayed-${i + 1}`
    return [
      { type: 'function_call', call_id, name, arguments: JSON.stringify(args) },
      { type: 'function_call_output', call_id, output: replyText({ ok, value: result }) },
    ]
  })
}

/**
 * Tokens of a text, rather too many than too few: a Latin letter is about a third of one in the languages that callers
 * speak here, a sign of any other script a whole one.
 */
function tokensOf(text: string): number {
  let ascii = 0
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 0x250) ascii++
  return Math.ceil(ascii / 2.5) + (text.length - ascii)
}

/**
 * Cuts a text into parts that the service takes, at the end of a sentence or a word where there is one.
 * @returns the parts in order, and whether something of the text was left out
 */
export function contextParts(text: string): { readonly parts: readonly string[]; readonly cut: boolean } {
  const parts: string[] = []
  let rest = text.trim()
  while (rest !== '' && parts.length < CONTEXT_PARTS_MAX) {
    if (tokensOf(rest) <= CONTEXT_TOKENS_MAX) {
      parts.push(rest)
      rest = ''
      break
    }
    let length = Math.min(rest.length, CONTEXT_TOKENS_MAX * 2.5)
    while (tokensOf(rest.slice(0, length)) > CONTEXT_TOKENS_MAX) length = Math.floor(length * 0.9)
    const head = rest.slice(0, length)
    const sentence = Math.max(
      head.lastIndexOf('. '),
      head.lastIndexOf('? '),
      head.lastIndexOf('! '),
      head.lastIndexOf('\n'),
    )
    const word = head.lastIndexOf(' ')
    const end = sentence > length / 2 ? sentence + 1 : word > length / 2 ? word : length
    parts.push(rest.slice(0, end).trim())
    rest = rest.slice(end).trim()
  }
  return { parts, cut: rest !== '' }
}
