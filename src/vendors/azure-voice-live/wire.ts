import type { BackendSession } from '../../backends/backend.js'
import { functionTool } from '../self-hosted/realtime/session-config.js'
import { termsOf } from '../../backends/vocabulary.js'
import type { Wishes } from '../../backends/wishes.js'
import { codeOf } from '../../call/spoken/localized-text.js'
import { AZURE_SPEECH, LOCALES_MAX, USUAL_TURNS } from './options.js'
import type { AzureVoiceLiveOptions } from './options.js'

// The session of Azure Voice Live, in the vendor's field names; the events are OpenAI's beta events.
// test/vendors/azure-voice-live.test.ts compares it with the session that the vendor's own client sends.

/** Version of the protocol; @azure/ai-voicelive 1.1.0, DEFAULT_API_VERSION. */
export const API_VERSION = '2026-07-15'
export const SOCKET_PATH = '/voice-live/realtime'

/** Default voices by language. For other languages the service chooses its own default. */
const USUAL_VOICES: Readonly<Record<string, string>> = { sw: 'sw-KE-ZuriNeural', en: 'en-KE-AsiliaNeural' }
/** Default regions by language, for a tag without a region: the locales of most callers. */
const USUAL_REGIONS: Readonly<Record<string, string>> = { sw: 'KE', en: 'KE' }

/** Models that process and produce audio directly; they refuse a list of phrases. */
export const NATIVE_MODEL = /realtime/
/** The model that has Azure's native voices. */
const AZURE_NATIVE_MODEL = /^azure-realtime/

/** Types of turn detection by meaning. Each has its own model that decides if a sentence is finished. */
const SEMANTIC_TURNS = {
  azure_semantic_vad: 'semantic_detection_v1',
  azure_semantic_vad_en: 'semantic_detection_v1_en',
  azure_semantic_vad_multilingual: 'semantic_detection_v1_multilingual',
} as const

/** Rates of pcm16, in Hz, each with the service's name for the output format. */
const PCM_OUTPUT = { 8000: 'pcm16_8000hz', 16000: 'pcm16_16000hz', 24000: 'pcm16' } as const

/** Options of a session, besides the agent's instructions and tools. */
interface AzureSessionOptions extends Omit<AzureVoiceLiveOptions, 'model'> {
  readonly model: string
  /** Rate of pcm in both directions, in Hz. */
  readonly rateHz: keyof typeof PCM_OUTPUT
}

/** `session` of the first `session.update`. */
export function azureSession(options: AzureSessionOptions, session: BackendSession, wishes: Wishes) {
  const { audio = 'pcm', rateHz, noiseReduction, echoCancellation, maxOutputTokens, temperature } = options
  const g711 = audio === 'pcm' ? null : audio === 'pcmu' ? 'g711_ulaw' : 'g711_alaw'
  const voice = voiceOf(options, session, wishes)
  const transcription = transcriptionOf(options, session, wishes)
  return {
    modalities: ['text', 'audio'],
    instructions: session.instructions,
    ...(voice === null ? {} : { voice }),
    input_audio_sampling_rate: g711 === null ? rateHz : 8000,
    input_audio_format: g711 ?? 'pcm16',
    output_audio_format: g711 ?? PCM_OUTPUT[rateHz],
    turn_detection: turnDetection(session, wishes, options.turns),
    ...wishes.of({
      input_audio_noise_reduction: noiseReduction && { type: noiseReduction },
      input_audio_echo_cancellation: echoCancellation === true ? { type: 'server_echo_cancellation' } : undefined,
    }),
    ...(transcription === null ? {} : { input_audio_transcription: transcription }),
    tools: session.tools.map(functionTool),
    tool_choice: 'auto',
    ...wishes.of({
      temperature,
      max_response_output_tokens: maxOutputTokens,
      reasoning_effort: options.reasoningEffort,
    }),
  }
}

/** Locale at the beginning of a voice's full name in Azure Speech. */
const OF_AZURE_SPEECH = /^([a-z]{2,3}-(?:[A-Za-z]{4}-)?[A-Z]{2})-/

function voiceOf({ model, speed, style }: AzureSessionOptions, session: BackendSession, wishes: Wishes): object | null {
  const name = session.voice ?? USUAL_VOICES[codeOf(session.language)] ?? null
  if (name === null) return null
  const locale = OF_AZURE_SPEECH.exec(name)?.[1]
  if (locale === undefined) return { type: AZURE_NATIVE_MODEL.test(model) ? 'azure-realtime-native' : 'openai', name }
  const wished = wishes.of({ style, rate: speed === undefined ? undefined : String(speed) })
  return { type: 'azure-standard', name, locale, ...wished }
}

type Turns = NonNullable<AzureVoiceLiveOptions['turns']>

function turnDetection(session: BackendSession, wishes: Wishes, turns: Turns = { by: USUAL_TURNS }): object | null {
  if (turns.by === 'gateway') return null
  const { threshold, prefixPaddingMs, silenceMs, interruptResponse } = turns
  const heard = {
    ...wishes.of({ threshold, prefix_padding_ms: prefixPaddingMs, silence_duration_ms: silenceMs }),
    create_response: true,
    interrupt_response: interruptResponse !== false,
  }
  if (turns.by === 'server_vad') return { type: turns.by, ...heard }
  const { speechMs, endOfUtterance } = turns
  return {
    type: turns.by,
    ...heard,
    ...wishes.of({
      speech_duration_ms: speechMs,
      // Transcribes the caller's words as spoken, with filler words.
      remove_filler_words: false,
      languages: turns.by === 'azure_semantic_vad_en' ? undefined : codesOf(session),
      end_of_utterance_detection: endOfUtterance && {
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

function transcriptionOf(options: AzureSessionOptions, session: BackendSession, wishes: Wishes): object | null {
  const { transcription: model = AZURE_SPEECH } = options
  if (model === null) return null
  if (model !== AZURE_SPEECH) {
    const [language, ...others] = codesOf(session)
    return { model, ...wishes.of({ language: others.length > 0 ? undefined : language }) }
  }
  const language = localesOf(options, session).join(',')
  const phrases = phrasesOf(options, session)
  return {
    model,
    ...(language === '' ? {} : { language }),
    ...wishes.of({ phrase_list: phrases.length === 0 ? undefined : phrases }),
  }
}

/** @returns the words that the recogniser should expect */
export function phrasesOf(
  { transcription = AZURE_SPEECH, model, phrases }: AzureSessionOptions,
  session: BackendSession,
): string[] {
  return transcription === AZURE_SPEECH && !NATIVE_MODEL.test(model) ? termsOf(phrases, session.vocabulary) : []
}
