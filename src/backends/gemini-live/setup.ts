import type { BackendSession, ToolSpec } from '../backend.js'
import { recentHistory, recentTools } from '../prompts.js'
import { replyText } from '../tool-text.js'
import type { GeminiLiveOptions } from './options.js'
import type { WireContent, WireFunction, WireSetup } from './wire.js'

/** The first message of a session. `handle`: of the session that this one goes on from. */
export function setupOf(options: GeminiLiveOptions, session: BackendSession, handle: string | null, history: boolean): WireSetup {
  const voice = session.voice ?? options.voice
  const { turns = { by: 'gateway' } } = options
  return {
    model: options.model.includes('/') ? options.model : `models/${options.model}`,
    generationConfig: {
      responseModalities: ['AUDIO'],
      ...(voice === undefined ? {} : { speechConfig: { voiceConfig: { prebuiltVoiceConfig: { voiceName: voice } } } }),
      ...(options.maxOutputTokens === undefined ? {} : { maxOutputTokens: options.maxOutputTokens }),
      ...(options.temperature === undefined ? {} : { temperature: options.temperature }),
    },
    systemInstruction: { parts: [{ text: session.instructions }] },
    ...(session.tools.length === 0 ? {} : { tools: [{ functionDeclarations: session.tools.map(functionOf) }] }),
    realtimeInputConfig: {
      automaticActivityDetection: turns.by === 'gateway' ? { disabled: true } : {
        ...(turns.silenceMs === undefined ? {} : { silenceDurationMs: turns.silenceMs }),
        ...(turns.prefixPaddingMs === undefined ? {} : { prefixPaddingMs: turns.prefixPaddingMs }),
      },
    },
    sessionResumption: handle === null ? {} : { handle },
    ...(options.compressContext === false ? {} : { contextWindowCompression: { slidingWindow: {} } }),
    inputAudioTranscription: {},
    outputAudioTranscription: {},
    ...(history ? { historyConfig: { initialHistoryInClientContent: true } } : {}),
  }
}

export function functionOf(tool: ToolSpec): WireFunction {
  return { name: tool.name, description: tool.description, parametersJsonSchema: tool.parameters }
}

/**
 * What was said and done before, as content. Tool calls become notes: ids of calls that this service never made have
 * no meaning to it.
 */
export function historyOf(session: BackendSession): WireContent[] {
  const turns: WireContent[] = []
  const notes = recentTools(session.toolLedger).map((entry) => (
    `[${entry.name} was already called with ${JSON.stringify(entry.args)} and answered: ${replyText({ ok: entry.ok, value: entry.result })}]`))
  if (notes.length > 0) turns.push({ role: 'user', parts: notes.map((text) => ({ text })) })
  for (const { role, text } of recentHistory(session.history)) {
    turns.push({ role: role === 'caller' ? 'user' : 'model', parts: [{ text }] })
  }
  return turns
}
