import type { BackendSession, ToolSpec } from '../backend.js'
import { recentHistory, recentTools } from '../prompts.js'
import { replyText } from '../tool-text.js'
import { OPENAI_PCM_RATE_HZ, OPENAI_TRANSCRIPTION } from './options.js'
import type { OpenAiRealtimeOptions, TurnTaking } from './options.js'
import type { AudioFormat, BetaSessionConfig, FunctionTool, NewItem, SessionConfig, TurnDetection } from './wire.js'

/** The call ids of another backend may be longer than this service takes. */
const CALL_ID = /^[\w-]{1,32}$/

/** The session as it is asked for when it begins. */
export function sessionConfig(options: OpenAiRealtimeOptions, session: BackendSession): SessionConfig {
  const voice = session.voice ?? options.voice
  return {
    type: 'realtime',
    output_modalities: ['audio'],
    instructions: session.instructions,
    audio: {
      input: {
        format: audioFormat(options, options.inputRateHz),
        turn_detection: turnDetection(options.turns),
        ...transcription(options, session),
        ...(options.noiseReduction === undefined ? {} : { noise_reduction: { type: options.noiseReduction } }),
      },
      output: {
        format: audioFormat(options, options.outputRateHz),
        ...(voice === undefined ? {} : { voice }),
        ...(options.speed === undefined ? {} : { speed: options.speed }),
      },
    },
    tools: session.tools.map(functionTool),
    tool_choice: 'auto',
    ...(options.parallelToolCalls === undefined ? {} : { parallel_tool_calls: options.parallelToolCalls }),
    ...(options.reasoningEffort === undefined ? {} : { reasoning: { effort: options.reasoningEffort } }),
    ...(options.retentionRatio === undefined
      ? {} : { truncation: { type: 'retention_ratio', retention_ratio: options.retentionRatio } }),
    ...(options.maxOutputTokens === undefined ? {} : { max_output_tokens: options.maxOutputTokens }),
  }
}

export function betaSessionConfig(options: OpenAiRealtimeOptions, session: BackendSession): BetaSessionConfig {
  const voice = session.voice ?? options.voice
  const format = options.audio === 'pcmu' ? 'g711_ulaw' : 'pcm16'
  const heard = transcription(options, session).transcription
  return {
    modalities: ['audio', 'text'],
    instructions: session.instructions,
    ...(voice === undefined ? {} : { voice }),
    input_audio_format: format,
    output_audio_format: format,
    ...(heard === undefined ? {} : { input_audio_transcription: heard }),
    turn_detection: turnDetection(options.turns),
    tools: session.tools.map(functionTool),
    tool_choice: 'auto',
    ...(options.maxOutputTokens === undefined ? {} : { max_response_output_tokens: options.maxOutputTokens }),
    ...(options.temperature === undefined ? {} : { temperature: options.temperature }),
  }
}

export function functionTool(tool: ToolSpec): FunctionTool {
  return { type: 'function', name: tool.name, description: tool.description, parameters: tool.parameters }
}

/**
 * What was said and done before this session, as items: first the tools' answers, then the words, because the last
 * item is what a model goes on from.
 */
export function replayItems(session: BackendSession): NewItem[] {
  const items: NewItem[] = []
  for (const [i, entry] of recentTools(session.toolLedger).entries()) {
    const callId = CALL_ID.test(entry.callId) ? entry.callId : `replayed-${i + 1}`
    items.push({ type: 'function_call', call_id: callId, name: entry.name, arguments: JSON.stringify(entry.args) })
    items.push({ type: 'function_call_output', call_id: callId, output: replyText({ ok: entry.ok, value: entry.result }) })
  }
  for (const { role, text } of recentHistory(session.history)) {
    items.push(role === 'caller'
      ? { type: 'message', role: 'user', content: [{ type: 'input_text', text }] }
      : { type: 'message', role: 'assistant', content: [{ type: 'output_text', text }] })
  }
  return items
}

function audioFormat(options: OpenAiRealtimeOptions, rateHz: number | undefined): AudioFormat {
  return options.audio === 'pcmu' ? { type: 'audio/pcmu' } : { type: 'audio/pcm', rate: rateHz ?? OPENAI_PCM_RATE_HZ }
}

function turnDetection(turns: TurnTaking = { by: 'server_vad' }): TurnDetection | null {
  const answers = { create_response: true, interrupt_response: true } as const
  if (turns.by === 'gateway') return null
  if (turns.by === 'semantic_vad') {
    return { type: 'semantic_vad', ...(turns.eagerness === undefined ? {} : { eagerness: turns.eagerness }), ...answers }
  }
  return {
    type: 'server_vad',
    ...(turns.threshold === undefined ? {} : { threshold: turns.threshold }),
    ...(turns.prefixPaddingMs === undefined ? {} : { prefix_padding_ms: turns.prefixPaddingMs }),
    ...(turns.silenceMs === undefined ? {} : { silence_duration_ms: turns.silenceMs }),
    ...(turns.idleTimeoutMs === undefined ? {} : { idle_timeout_ms: turns.idleTimeoutMs }),
    ...answers,
  }
}

function transcription(
  options: OpenAiRealtimeOptions, session: BackendSession,
): { readonly transcription?: { readonly model: string; readonly language?: string } } {
  if (options.transcription === null) return {}
  // The service wants the language alone, not `en-KE`.
  const [language] = session.language.toLowerCase().split('-')
  return {
    transcription: {
      model: options.transcription ?? OPENAI_TRANSCRIPTION,
      ...(language === undefined || language === '' ? {} : { language }),
    },
  }
}
