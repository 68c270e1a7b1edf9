import type { AzureVoiceLiveOptions } from '../../agents/file/backend-options.js'
import type { BackendSession } from '../../backends/backend.js'
import { functionTool } from '../../backends/openai-realtime/session-config.js'
import { termsOf } from '../../backends/vocabulary.js'
import { codeOf } from '../../call/spoken/localized-text.js'
import {
  AZURE_NATIVE_MODEL,
  AZURE_SPEECH,
  LOCALES_MAX,
  NATIVE_MODEL,
  PCM_OUTPUT,
  SEMANTIC_TURNS,
  USUAL_REGIONS,
  USUAL_TURNS,
  USUAL_VOICES,
} from './facts.js'

// The session of Azure Voice Live; its events are those of OpenAI's beta. Field names are the vendor's.
// test/vendors/azure-voice-live.test.ts compares it with what the vendor's own client sends.

/** Options of a session, besides the agent's instructions and tools. */
interface AzureSessionOptions extends Omit<AzureVoiceLiveOptions, 'model'> {
  readonly model: string
  /** Rate of pcm, in Hz, both ways. */
  readonly rateHz: keyof typeof PCM_OUTPUT
}

/** `session` of the first `session.update`. */
export function azureSession(options: AzureSessionOptions, session: BackendSession) {
  const { audio = 'pcm', rateHz, noiseReduction, echoCancellation, maxOutputTokens, temperature } = options
  const g711 = audio === 'pcm' ? null : audio === 'pcmu' ? 'g711_ulaw' : 'g711_alaw'
  const voice = voiceOf(options, session)
  const transcription = transcriptionOf(options, session)
  return {
    modalities: ['text', 'audio'],
    instructions: session.instructions,
    ...(voice === null ? {} : { voice }),
    input_audio_sampling_rate: g711 === null ? rateHz : 8000,
    input_audio_format: g711 ?? 'pcm16',
    output_audio_format: g711 ?? PCM_OUTPUT[rateHz],
    turn_detection: turnDetection(session, options.turns),
    ...(noiseReduction === undefined ? {} : { input_audio_noise_reduction: { type: noiseReduction } }),
    ...(echoCancellation === true ? { input_audio_echo_cancellation: { type: 'server_echo_cancellation' } } : {}),
    ...(transcription === null ? {} : { input_audio_transcription: transcription }),
    tools: session.tools.map(functionTool),
    tool_choice: 'auto',
    ...(temperature === undefined ? {} : { temperature }),
    ...(maxOutputTokens === undefined ? {} : { max_response_output_tokens: maxOutputTokens }),
    ...(options.reasoningEffort === undefined ? {} : { reasoning_effort: options.reasoningEffort }),
  }
}

/** A voice's whole name in Azure Speech begins with its locale. */
const OF_AZURE_SPEECH = /^([a-z]{2,3}-(?:[A-Za-z]{4}-)?[A-Z]{2})-/

function voiceOf({ model, speed, style }: AzureSessionOptions, session: BackendSession): object | null {
  const name = session.voice ?? USUAL_VOICES[codeOf(session.language)] ?? null
  if (name === null) return null
  const locale = OF_AZURE_SPEECH.exec(name)?.[1]
  if (locale === undefined) return { type: AZURE_NATIVE_MODEL.test(model) ? 'azure-realtime-native' : 'openai', name }
  return {
    ...{ type: 'azure-standard', name, locale },
    ...(style === undefined ? {} : { style }),
    ...(speed === undefined ? {} : { rate: String(speed) }),
  }
}

type Turns = NonNullable<AzureVoiceLiveOptions['turns']>

function turnDetection(session: BackendSession, turns: Turns = { by: USUAL_TURNS }): object | null {
  if (turns.by === 'gateway') return null
  const { threshold, prefixPaddingMs, silenceMs, interruptResponse } = turns
  const heard = {
    ...(threshold === undefined ? {} : { threshold }),
    ...(prefixPaddingMs === undefined ? {} : { prefix_padding_ms: prefixPaddingMs }),
    ...(silenceMs === undefined ? {} : { silence_duration_ms: silenceMs }),
    create_response: true,
    interrupt_response: interruptResponse !== false,
  }
  if (turns.by === 'server_vad') return { type: turns.by, ...heard }
  const { speechMs, endOfUtterance } = turns
  return {
    type: turns.by,
    ...heard,
    ...(speechMs === undefined ? {} : { speech_duration_ms: speechMs }),
    // The caller's words stay as they were said.
    remove_filler_words: false,
    ...(turns.by === 'azure_semantic_vad_en' ? {} : { languages: codesOf(session) }),
    ...(endOfUtterance === undefined
      ? {}
      : {
          end_of_utterance_detection: {
            model: SEMANTIC_TURNS[turns.by],
            ...(endOfUtterance.level === undefined ? {} : { threshold_level: endOfUtterance.level }),
            ...(endOfUtterance.timeoutMs === undefined ? {} : { timeout_ms: endOfUtterance.timeoutMs }),
          },
        }),
  }
}

function codesOf({ languages }: BackendSession): string[] {
  return [...new Set(languages.map(codeOf).filter((code) => code !== ''))].slice(0, LOCALES_MAX)
}

function localesOf({ locales }: AzureSessionOptions, { languages }: BackendSession): string[] {
  const all = languages.map((tag) => {
    const code = codeOf(tag)
    const region = new Intl.Locale(tag).region ?? USUAL_REGIONS[code]
    return region === undefined ? code : `${code}-${region}`
  })
  return [...new Set(locales ?? all)].slice(0, LOCALES_MAX)
}

function transcriptionOf(options: AzureSessionOptions, session: BackendSession): object | null {
  const { transcription: model = AZURE_SPEECH } = options
  if (model === null) return null
  if (model !== AZURE_SPEECH) {
    const [language, ...others] = codesOf(session)
    return { model, ...(language === undefined || others.length > 0 ? {} : { language }) }
  }
  const language = localesOf(options, session).join(',')
  const phrases = phrasesOf(options, session)
  return { model, ...(language === '' ? {} : { language }), ...(phrases.length === 0 ? {} : { phrase_list: phrases }) }
}

/** Words that the recogniser is given in advance. */
export function phrasesOf(
  { transcription = AZURE_SPEECH, model, phrases }: AzureSessionOptions,
  session: BackendSession,
): string[] {
  return transcription === AZURE_SPEECH && !NATIVE_MODEL.test(model) ? termsOf(phrases, session.vocabulary) : []
}
