import type { OpenAiLiveOptions as OwnOptions } from '../../agents/file/backend-options.js'
import type { LegRateHz } from '../../core/units.js'
import type { BackendSession } from '../backend.js'
import type { ChatOptions } from '../cascade/chat-requests.js'
import { functionTool } from '../openai-realtime/session-config.js'
import type { RealtimeOptions } from '../transport/realtime-backend.js'
import { pricedModel } from '../prices.js'
import { recentHistory } from '../prompts.js'
import { livePrompt } from './live-prompt.js'
import type { HostedDelegate, InitialItem, LiveAudioFormat, LiveSessionConfig } from './wire.js'

type OwnDelegate = NonNullable<OwnOptions['delegate']>

/** Who does what the live model delegates. */
export type DelegateOptions =
  /** A model that the service runs beside the live one; it calls our tools. */
  | (Extract<OwnDelegate, { readonly by: 'responses' }> & { readonly model: string })
  /** A language model of our own, on `/v1/chat/completions`. */
  | { readonly by: 'client'; readonly llm: ChatOptions }

/** The delegate's model, as it is priced. */
export function delegateModel(delegate: DelegateOptions): string {
  return delegate.by === 'client' ? pricedModel(delegate.llm.model, delegate.llm.baseUrl) : delegate.model
}

/**
 * `audio`: `pcm16k` when not given, which a 16 kHz leg has. `messageMs`: 20, because the service waits for every frame.
 * `delegateTimeoutMs`: LIVE_DELEGATE_MS.
 */
export type OpenAiLiveOptions = RealtimeOptions &
  Omit<OwnOptions, 'model' | 'delegate'> & {
    readonly delegate: DelegateOptions
    /** Two hours when not given; the service may name an earlier end. */
    readonly maxSessionMs?: number
  }

type LiveAudio = NonNullable<OwnOptions['audio']>

/** openai 7.55.0, SessionConfig.audio.output.voice. */
const VOICE_DEFAULT = 'marin'
export const LIVE_SESSION_MS = 2 * 60 * 60_000
export const LIVE_DELEGATE_MS = 20_000
/** openai 7.55.0, SessionConfig.input: messages of the history at the start, and tokens of them together. */
const INPUT_MESSAGES_MAX = 128
const INPUT_TOKENS_MAX = 8192
/** openai 7.55.0, CommentaryAppendEvent and its siblings: tokens of one text. */
const CONTEXT_TOKENS_MAX = 500
/** The most parts into which a longer text is cut: a model that gets 2,000 tokens in mid-call has enough. */
const CONTEXT_PARTS_MAX = 4

export const LIVE_FORMATS = {
  pcm16k: { type: 'audio/pcm', rate: 16_000 },
  pcm24k: { type: 'audio/pcm', rate: 24_000 },
  pcmu: { type: 'audio/pcmu', rate: 8000 },
  pcma: { type: 'audio/pcma', rate: 8000 },
} as const satisfies Readonly<Record<LiveAudio, LiveAudioFormat>>

/** The sound that a leg has, so that nothing is resampled; A-law, which most telephone networks have. */
export function audioOfLeg(legRateHz: LegRateHz): LiveAudio {
  return legRateHz === 8000 ? 'pcma' : 'pcm16k'
}

/** `session` of `session.start`. */
export function sessionConfig(options: OpenAiLiveOptions, session: BackendSession): LiveSessionConfig {
  const { delegate, acknowledgementMs } = options
  const delay = acknowledgementMs === undefined ? {} : { acknowledgement_delay_ms: acknowledgementMs }
  const input = inputOf(session)
  return {
    model: options.model,
    instructions: livePrompt(session, options.model, options.live),
    audio: {
      format: LIVE_FORMATS[options.audio ?? 'pcm16k'],
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

/** The agent's instructions, which only the delegate gets, and its place in the call. */
export function delegateInstructions(instructions: string): string {
  return [
    instructions,
    '',
    'You work behind a voice on the phone: another model speaks your words to the caller. Write what the caller should',
    'hear, in short sentences without Markdown. The voice does not know these instructions and has no tools.',
    'You read the call as a transcript, which may have mistakes, unfinished sentences and later corrections: go by the',
    'newest words, and ask for what stays unclear.',
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
