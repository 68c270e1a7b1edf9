import { z } from 'zod'
import { SOCKET_OR_HTTP, apiKey, define, modelName, oneOf, optional } from '../../core/setting.js'
import { selfHosted } from '../self-hosted/facts.js'
import { realtimeOptions } from '../self-hosted/options.js'
import { context, model, vocabulary } from '../common-options.js'
import { keyed, realtime, vendor } from '../vendor.js'
import type { FirstSeen, ListedEnd, ListedExport, ListedPrice, ValuesOf } from '../vendor.js'
import { LIVE_VOICES, liveOptions } from './options.js'
import type { OpenAiLiveOptions } from './options.js'

const page = (model: string): Pick<ListedPrice, 'source' | 'readOn'> => ({
  source: `https://developers.openai.com/api/docs/models/${model}`,
  readOn: '2026-11-21',
})

/** Second-hand dates: public pages copied these rows from the vendor's page, which could not be read completely. */
const end = (endsOn: string, successor: string | null): ListedEnd => ({
  ...{ endsOn, successor },
  source: 'https://developers.openai.com/api/docs/deprecations',
  readOn: '2026-11-29',
})

/** Release date from the name of the model's first snapshot, as listed in the vendor's own client. */
const released = (on: string): FirstSeen => ({
  on,
  source: 'https://openai.github.io/openai-agents-js/openai/agents-realtime/type-aliases/openairealtimemodels',
})

/** Export of October 2025, a file in a public repository. */
const EXPORT: Pick<ListedExport, 'source' | 'readOn'> = {
  source: 'https://github.com/xavierjflanagan/Guardian',
  readOn: '2026-11-29',
}

/** The large realtime models. */
const REALTIME = {
  inputPerMillionTokens: 4,
  cachedPerMillionTokens: 0.4,
  outputPerMillionTokens: 24,
  inputAudioPerMillionTokens: 32,
  cachedAudioPerMillionTokens: 0.4,
  outputAudioPerMillionTokens: 64,
}
const REALTIME_MINI = {
  inputPerMillionTokens: 0.6,
  cachedPerMillionTokens: 0.06,
  outputPerMillionTokens: 2.4,
  inputAudioPerMillionTokens: 10,
  cachedAudioPerMillionTokens: 0.3,
  outputAudioPerMillionTokens: 20,
}

const settings = {
  openaiApiKey: optional({
    kind: apiKey,
    help: 'The API key for OpenAI, which the backends openai and openai-live need.',
  }),
  openaiBaseUrl: optional({
    kind: SOCKET_OR_HTTP,
    help: "The address of OpenAI's API. If unset, it is the public address.",
  }),
  openaiModel: define({
    kind: modelName,
    fallback: 'gpt-realtime-2.1',
    help: 'The realtime model of the backend openai.',
  }),
  openaiTurns: define<'server_vad' | 'semantic_vad' | 'gateway'>({
    kind: oneOf('server_vad', 'semantic_vad', 'gateway'),
    fallback: 'server_vad',
    help: "The detector of the end of the caller's turn on the backend openai, if the agent names none: one of the two detectors of OpenAI, or the gateway.",
  }),
  openaiLiveUrl: optional({
    kind: SOCKET_OR_HTTP,
    help: "The address of OpenAI's live API, such as https://api.openai.com/v1, or https://RESOURCE.openai.azure.com/openai/v1 for Azure, which gets the key as `api-key`. If unset, it is OPENAI_BASE_URL, or the public address.",
  }),
  openaiLiveModel: define({
    kind: modelName,
    fallback: 'gpt-live-1.1',
    help: 'The model of the backend openai-live. At Azure: the name of its deployment.',
  }),
  openaiLiveDelegate: define<'responses' | 'client'>({
    kind: oneOf('responses', 'client'),
    fallback: 'responses',
    help: 'The model that uses the tools for the backend openai-live, if the agent names none: a model that OpenAI runs beside the live model (`responses`), or the model at LLM_URL (`client`).',
  }),
  openaiLiveDelegateModel: define({
    kind: modelName,
    fallback: 'gpt-5.4-mini',
    help: 'The model that OpenAI runs beside the live model when OPENAI_LIVE_DELEGATE is `responses`.',
  }),
}

type Values = ValuesOf<typeof settings>
const PUBLIC_URL = 'https://api.openai.com/v1'

const realtimeService = realtime({
  about:
    "its own detection of turns (`server_vad`, `semantic_vad`) or the gateway's; an interrupted answer is cut at the millisecond that was heard",
  needs: 'OPENAI_API_KEY',
  asks: ['OPENAI_API_KEY', 'OPENAI_MODEL'],
  automatic: true,
  options: realtimeOptions,
  settings: ({ openaiApiKey: apiKey, openaiBaseUrl, openaiModel: model, openaiTurns: turns }: Values) =>
    apiKey === null ? null : { apiKey, baseUrl: openaiBaseUrl ?? PUBLIC_URL, model, turns },
  detectsTurns: ({ turns }, own) => (own.turns?.by ?? turns) !== 'gateway',
  usesLegRate: ({ audio }) => audio !== 'pcm',
  models: ({ model }, own) => [{ model: own.model ?? model }],
})

/** Delegates that can do the live model's tasks. */
export type LiveDelegate =
  /** A model that the service runs beside the live model. This model calls the gateway's tools. */
  | (Extract<OwnDelegate, { readonly by: 'responses' }> & { readonly model: string })
  /** A language model at the operator's address, on `/v1/chat/completions`. */
  | { readonly by: 'client'; readonly llm: Llm & Partial<Omit<Extract<OwnDelegate, { readonly by: 'client' }>, 'by'>> }
type OwnDelegate = NonNullable<OpenAiLiveOptions['delegate']>
/**
 * The language model of the cascade, at LLM_URL. A type, not an interface: the generated declarations of the list of
 * vendors cannot refer to an interface.
 */
type Llm = Readonly<Record<'baseUrl' | 'model', string>> & { readonly apiKey: string | null }

/**
 * @returns the delegate that uses the tools for a live model; null if the delegate is a language model that is not set
 * up
 */
export function liveDelegate(
  {
    delegate,
    delegateModel,
    llm,
  }: { readonly delegate: 'responses' | 'client'; readonly delegateModel: string; readonly llm: Llm | null },
  own: OpenAiLiveOptions,
): LiveDelegate | null {
  const usual: { readonly by: 'responses' } | { readonly by: 'client' } = { by: delegate }
  const wanted = own.delegate ?? usual
  if (wanted.by === 'responses') return { model: delegateModel, ...wanted }
  const { by, ...changed } = wanted
  return llm === null ? null : { by, llm: { ...llm, ...changed } }
}

const liveService = realtime({
  about:
    'hears and speaks at once and decides itself when; the gateway times the turns, and tells the model what was heard of an interrupted answer',
  needs: 'OPENAI_API_KEY',
  asks: ['OPENAI_API_KEY', 'OPENAI_LIVE_MODEL'],
  options: liveOptions,
  voice: z.enum(LIVE_VOICES).exactOptional().describe('Voice of openai-live. Default: marin.'),
  settings: ({
    openaiApiKey: apiKey,
    openaiLiveUrl,
    openaiBaseUrl,
    openaiLiveModel: model,
    openaiLiveDelegate: delegate,
    openaiLiveDelegateModel: delegateModel,
    ...rest
  }: Values & ValuesOf<typeof selfHosted.settings>) =>
    apiKey === null
      ? null
      : {
          apiKey,
          baseUrl: openaiLiveUrl ?? openaiBaseUrl ?? PUBLIC_URL,
          model,
          delegate,
          delegateModel,
          llm: selfHosted.services.llm.chat.settings(rest) as Llm | null,
        },
  missing: (set, own) => (liveDelegate(set, own) === null ? 'LLM_URL' : null),
  // The service detects turns but does not report them, so the gateway measures the turns.
  detectsTurns: () => false,
  usesLegRate: ({ audio }) => audio !== 'pcm16k' && audio !== 'pcm24k',
  models: (set, own) => {
    const delegate = liveDelegate(set, own)
    const live = { model: own.model ?? set.model }
    if (delegate === null) return [live]
    return [live, delegate.by === 'client' ? delegate.llm : { model: delegate.model }]
  },
})

export const openAi = vendor({
  folder: 'openai',
  title: 'OpenAI',
  settings,
  services: {
    stt: {
      openai: {
        about: "a stream: OpenAI's realtime transcription",
        changes: 'numbers, capitals and punctuation in written form',
        needs: 'OPENAI_API_KEY',
        lacks: 'does not report the language of the caller',
        own: { baseUrl: PUBLIC_URL, model: 'gpt-live-transcribe' },
        options: { model, terms: vocabulary, context },
        settings: ({ openaiApiKey, openaiBaseUrl }) => keyed(openaiApiKey, openaiBaseUrl),
      },
    },
  },
  backends: { openai: realtimeService, 'openai-live': liveService },
  hosts: /^api\.openai\.com$/,
  prices: {
    'gpt-realtime-2.1': { ...REALTIME, ...page('gpt-realtime-2.1') },
    'gpt-realtime-2': { ...REALTIME, ...page('gpt-realtime-2') },
    'gpt-realtime-1.5': { ...REALTIME, outputPerMillionTokens: 16, ...page('gpt-realtime-1.5') },
    'gpt-realtime-2.1-mini': { ...REALTIME_MINI, ...page('gpt-realtime-2.1-mini') },
    'gpt-live-1': { perMinute: 0.05, ...page('gpt-live-1') },
    'gpt-live-1.1': { perMinute: 0.05, ...page('gpt-live-1.1') },
    // GPT-Live's default delegate. The price is second-hand: public projects quoted it in June 2026 from OpenAI's page,
    // which was not read. PRICES_FILE overrides it.
    'gpt-5.4-mini': {
      inputPerMillionTokens: 0.75,
      cachedPerMillionTokens: 0.075,
      outputPerMillionTokens: 4.5,
      source: 'https://developers.openai.com/api/docs/pricing',
      readOn: '2026-06-30',
    },
    'gpt-transcribe': { perMinute: 0.0045, ...page('gpt-transcribe') },
    'whisper-1': { perMinute: 0.006, ...page('whisper-1') },
    'gpt-live-transcribe': { perMinute: 0.017, ...page('gpt-live-transcribe') },
    'tts-1': { perMillionCharacters: 15, ...page('tts-1') },
    'tts-1-hd': { perMillionCharacters: 30, ...page('tts-1') },
  },
  released: {
    'gpt-4o-realtime-preview': released('2024-10-01'),
    'gpt-4o-mini-realtime-preview': released('2024-12-17'),
    'gpt-realtime': released('2025-08-28'),
    'gpt-realtime-mini': released('2025-10-06'),
  },
  exports: {
    'openai-usage': {
      ...EXPORT,
      marks: ['start_time_iso', 'input_tokens', 'input_audio_tokens', 'model'],
      map: {
        day: 'start_time_iso',
        model: 'model',
        units: {
          inputTokens: 'input_tokens',
          outputTokens: 'output_tokens',
          inputCachedTokens: 'input_cached_tokens',
          inputAudioTokens: 'input_audio_tokens',
          outputAudioTokens: 'output_audio_tokens',
        },
      },
    },
    'openai-costs': {
      ...EXPORT,
      marks: ['start_time_iso', 'amount_value', 'amount_currency', 'line_item'],
      map: {
        day: 'start_time_iso',
        model: 'line_item',
        amount: 'amount_value',
        currency: { column: 'amount_currency' },
      },
    },
  },
  changedDefaults: [
    {
      until: '0.1.0',
      setting: 'OPENAI_LIVE_MODEL',
      backend: 'openai-live',
      was: 'gpt-live-1',
      now: 'gpt-live-1.1',
      rewrite: 'openaiLiveModel: gpt-live-1 keeps the old model',
    },
  ],
  ends: {
    'gpt-realtime': end('2027-01-20', 'gpt-realtime-2.1'),
    'gpt-realtime-mini': end('2027-01-20', 'gpt-realtime-2.1-mini'),
    'gpt-4o-realtime': end('2027-01-20', 'gpt-realtime-2.1'),
    'gpt-4o-realtime-preview': end('2026-05-07', 'gpt-realtime-2.1'),
    'gpt-4o-mini-realtime-preview': end('2026-05-07', 'gpt-realtime-2.1-mini'),
    'whisper-1': end('2027-02-26', 'gpt-transcribe'),
    'gpt-4o-transcribe': end('2027-02-26', 'gpt-transcribe'),
    'gpt-4o-mini-transcribe': end('2027-02-26', 'gpt-transcribe'),
    'tts-1': end('2027-01-06', null),
    'tts-1-hd': end('2027-01-06', null),
    'gpt-4o-mini-tts': end('2027-01-06', null),
    'gpt-4o': end('2027-01-14', 'gpt-6-luna'),
    'gpt-4o-mini': end('2027-01-14', 'gpt-6-luna'),
    'gpt-4.1': end('2027-01-14', 'gpt-6-luna'),
    'gpt-4.1-mini': end('2027-01-14', 'gpt-6-luna'),
    'gpt-5': end('2026-12-11', 'gpt-6.1-sol'),
    'gpt-5-mini': end('2026-12-11', 'gpt-6.1-terra'),
    'gpt-5-nano': end('2026-12-11', null),
    'gpt-5.1': end('2027-04-01', null),
    'gpt-5.4-nano': end('2027-04-01', null),
  },
  doubles: {
    openai: {
      what: 'OpenAI Realtime',
      port: 7701,
      backend: 'openai',
      key: 'OPENAI_API_KEY',
      faults: ['deaf', 'empty-answers'],
    },
    'openai-live': {
      what: 'OpenAI GPT-Live, with the delegate that the service runs',
      port: 7702,
      backend: 'openai-live',
      key: 'OPENAI_API_KEY',
      faults: ['delegate-hangs'],
    },
    'openai-transcription': {
      what: "OpenAI's realtime transcription, and vLLM's",
      port: 7731,
      key: 'OPENAI_API_KEY',
      parts: ['STT'],
    },
  },
})
