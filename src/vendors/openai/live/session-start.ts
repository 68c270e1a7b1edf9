import type { OpenAiLiveOptions as OwnOptions } from '../options.js'
import type { LegRateHz } from '../../../core/units.js'
import type { BackendSession } from '../../../backends/backend.js'
import { functionTool } from '../../self-hosted/realtime/session-config.js'
import type { RealtimeOptions } from '../../../backends/transport/realtime-backend.js'
import { recentHistory } from '../../../backends/prompts.js'
import type { Wishes } from '../../../backends/wishes.js'
import type { LiveDelegate } from '../facts.js'
import { livePrompt } from './prompt.js'
import type { HostedDelegate, InitialItem, LiveAudioFormat, LiveSessionConfig } from './wire.js'

/**
 * Defaults: `audio` is `pcm16k`, the format of a 16 kHz leg; `messageMs` is 20, because the service waits for every
 * frame; `delegateTimeoutMs` is LIVE_DELEGATE_MS.
 */
export type OpenAiLiveOptions = RealtimeOptions &
  Omit<OwnOptions, 'model' | 'delegate'> & {
    readonly baseUrl: string
    readonly delegate: LiveDelegate
    /** Maximum duration of a session in ms. Default: two hours; the service may set an earlier end. */
    readonly maxSessionMs?: number
  }

type LiveAudio = NonNullable<OwnOptions['audio']>

/** Default of openai 7.55.0, SessionConfig.audio.output.voice. */
const VOICE_DEFAULT = 'marin'
export const LIVE_SESSION_MS = 2 * 60 * 60_000
export const LIVE_DELEGATE_MS = 20_000
/**
 * Maximum number of history messages at the start, and maximum total of their tokens (openai 7.55.0,
 * SessionConfig.input).
 */
const INPUT_MESSAGES_MAX = 128
const INPUT_TOKENS_MAX = 8192
/** Maximum number of tokens of one text (openai 7.55.0, CommentaryAppendEvent and its siblings). */
const CONTEXT_TOKENS_MAX = 500
/** Maximum number of parts of a longer text: 2,000 tokens are enough during a call. */
const CONTEXT_PARTS_MAX = 4

export const LIVE_FORMATS = {
  pcm16k: { type: 'audio/pcm', rate: 16_000 },
  pcm24k: { type: 'audio/pcm', rate: 24_000 },
  pcmu: { type: 'audio/pcmu', rate: 8000 },
  pcma: { type: 'audio/pcma', rate: 8000 },
} as const satisfies Readonly<Record<LiveAudio, LiveAudioFormat>>

/**
 * @returns the leg's audio format, so that no audio is resampled; A-law for 8 kHz, because most telephone networks use
 * A-law
 */
export function audioOfLeg(legRateHz: LegRateHz): LiveAudio {
  return legRateHz === 8000 ? 'pcma' : 'pcm16k'
}

/** `session` of `session.start`. */
export function sessionConfig(options: OpenAiLiveOptions, session: BackendSession, wishes: Wishes): LiveSessionConfig {
  const { delegate, acknowledgementMs } = options
  const delay = wishes.of({ acknowledgement_delay_ms: acknowledgementMs })
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
        : { type: 'responses', responses: hostedDelegate(delegate, session, wishes), ...delay },
    ...(input.length === 0 ? {} : { input }),
  }
}

function hostedDelegate(
  delegate: Extract<LiveDelegate, { readonly by: 'responses' }>,
  session: BackendSession,
  wishes: Wishes,
): HostedDelegate {
  return {
    model: delegate.model,
    instructions: delegateInstructions(session.instructions),
    tools: session.tools.map(functionTool),
    ...wishes.of({
      reasoning: delegate.reasoningEffort && { effort: delegate.reasoningEffort },
      max_output_tokens: delegate.maxOutputTokens,
    }),
  }
}

/**
 * @returns the agent's instructions, which only the delegate gets, and a description of the delegate's role in the call
 */
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

/** @returns the newest messages of the history */
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
 * Estimates the number of tokens of a text, rather too high. A Latin letter is about a third of a token, a letter of
 * another script a whole token.
 */
function tokensOf(text: string): number {
  let ascii = 0
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 0x250) ascii++
  return Math.ceil(ascii / 2.5) + (text.length - ascii)
}

/**
 * Cuts a text into parts that the service accepts, if possible after a sentence or a word.
 * @returns the parts; `cut` is true if the end was dropped
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
