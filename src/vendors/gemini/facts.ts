import { z } from 'zod'
import { SOCKET_OR_HTTP, apiKey, define, modelName, oneOf, optional } from '../../core/setting.js'
import { maxOutputTokens, model, temperature, timeoutMs } from '../common-options.js'
import { keyed, realtime, vendor } from '../vendor.js'
import type { FirstSeen, ListedEnd, ValuesOf } from '../vendor.js'
import { liveOptions } from './options.js'

/**
 * Second-hand prices of the paid tier: several public projects quote the page in `source`, read on the day in `readOn`.
 */
const PRICES = { source: 'https://ai.google.dev/gemini-api/docs/pricing', readOn: '2026-09-28' }

const end = (endsOn: string, successor: string): ListedEnd => ({
  ...{ endsOn, successor },
  source: 'https://ai.google.dev/gemini-api/docs/deprecations',
  readOn: '2026-11-29',
})

/** Release date of a model, from the column of release dates on the page in `source`. */
const released = (on: string): FirstSeen => ({ on, source: 'https://ai.google.dev/gemini-api/docs/deprecations' })

const LIVE = {
  inputPerMillionTokens: 0.75,
  outputPerMillionTokens: 4.5,
  inputAudioPerMillionTokens: 3,
  outputAudioPerMillionTokens: 12,
}

const settings = {
  geminiApiKey: optional({
    kind: apiKey,
    help: 'The API key for Gemini, which the backend gemini needs; a cascade uses it for its language model.',
  }),
  geminiBaseUrl: optional({
    kind: SOCKET_OR_HTTP,
    help: "The address of Gemini's API, such as https://us-central1-aiplatform.googleapis.com for Gemini Live on Vertex AI with an API key. If unset, it is the public address.",
  }),
  geminiModel: define({
    kind: modelName,
    fallback: 'gemini-3.8-live',
    help: 'The live model of the backend gemini.',
  }),
  geminiTextModel: define({
    kind: modelName,
    fallback: 'gemini-3.8-flash',
    help: "Gemini's language model for a cascade, if the agent names none.",
  }),
  geminiTurns: define<'gateway' | 'server'>({
    kind: oneOf('gateway', 'server'),
    fallback: 'gateway',
    help: "The detector of the end of the caller's turn on the backend gemini, if the agent names none: the gateway, or Gemini itself (`server`).",
  }),
}

const PUBLIC_URL = 'https://generativelanguage.googleapis.com'

/**
 * True for Vertex AI, which has its own sessions and prices. Vertex AI is recognised by its host, or by the form of the
 * model's name.
 */
export function isVertex(model: string, baseUrl: string = PUBLIC_URL): boolean {
  return (
    /^(projects|publishers)\//.test(model) || /(^|[.-])aiplatform\.googleapis\.com$/.test(new URL(baseUrl).hostname)
  )
}

const live = realtime({
  about: "the gateway's detection of turns or its own; the service cuts an interrupted answer",
  needs: 'GEMINI_API_KEY',
  asks: ['GEMINI_API_KEY', 'GEMINI_MODEL'],
  automatic: true,
  options: liveOptions,
  settings: ({
    geminiApiKey: apiKey,
    geminiBaseUrl,
    geminiModel: model,
    geminiTurns: turns,
  }: ValuesOf<typeof settings>) =>
    apiKey === null ? null : { apiKey, baseUrl: geminiBaseUrl ?? PUBLIC_URL, model, turns },
  detectsTurns: ({ turns }, own) => (own.turns?.by ?? turns) !== 'gateway',
  models: ({ model: usual, baseUrl }, { model = usual }) => [
    { model, ...(isVertex(model, baseUrl) ? { baseUrl } : {}) },
  ],
})

export const gemini = vendor({
  folder: 'gemini',
  title: 'Gemini',
  settings,
  services: {
    llm: {
      gemini: {
        about: '`generateContent`, streamed, with tools; the service caches what requests have in common',
        needs: 'GEMINI_API_KEY',
        own: { baseUrl: PUBLIC_URL },
        options: {
          model,
          timeoutMs,
          temperature,
          maxTokens: maxOutputTokens,
          thinkingLevel: z
            .enum(['low', 'medium', 'high'])
            .exactOptional()
            .describe('Effort of thinking before the answer. Default: the default of the model.'),
        },
        // Vertex AI uses another address and protocol for text. The cascade does not support Gemini models on Vertex
        // AI.
        settings: ({ geminiApiKey, geminiBaseUrl, geminiTextModel: model }) =>
          isVertex(model, geminiBaseUrl ?? PUBLIC_URL) ? null : keyed(geminiApiKey, geminiBaseUrl, { model }),
      },
    },
  },
  backends: { gemini: live },
  hosts: /^generativelanguage\.googleapis\.com$/,
  prices: {
    // These prices are valid until the end of 2026. The source has no price for cached tokens, so cached tokens are
    // charged in full.
    'gemini-3.8-flash': {
      inputPerMillionTokens: 0.75,
      outputPerMillionTokens: 3.75,
      ...PRICES,
      readOn: '2026-09-03',
    },
    'gemini-3.8-live': { ...LIVE, ...PRICES },
    'gemini-3.1-flash-live-preview': { ...LIVE, ...PRICES },
    'gemini-2.5-flash-native-audio-preview-12-2025': {
      inputPerMillionTokens: 0.5,
      outputPerMillionTokens: 2,
      inputAudioPerMillionTokens: 3,
      outputAudioPerMillionTokens: 12,
      ...PRICES,
      readOn: '2026-07-04',
    },
  },
  audioTokens: { models: /gemini/i, in: 25, out: 25 },
  released: {
    'gemini-2.0-flash': released('2025-02-05'),
    'gemini-2.0-flash-live-001': released('2025-04-09'),
    'gemini-2.5-flash': released('2025-06-17'),
    'gemini-2.5-pro': released('2025-06-17'),
    'gemini-live-2.5-flash-preview': released('2025-06-17'),
  },
  ends: {
    'gemini-2.0-flash-live-001': end('2025-12-09', 'gemini-3.8-live'),
    'gemini-live-2.5-flash-preview': end('2025-12-09', 'gemini-3.8-live'),
    'gemini-2.5-flash-native-audio-preview-12-2025': end('2026-11-17', 'gemini-3.8-live'),
    'gemini-3.1-flash-live-preview': end('2026-11-17', 'gemini-3.8-live'),
    'gemini-2.0-flash': end('2026-06-01', 'gemini-3.8-flash'),
    'gemini-2.5-pro': end('2026-12-01', 'gemini-3.8-flash'),
    'gemini-2.5-flash': end('2026-12-01', 'gemini-3.5-flash-lite'),
    'gemini-3.1-flash-lite': end('2027-05-07', 'gemini-3.5-flash-lite'),
  },
  doubles: {
    gemini: {
      what: 'Gemini Live',
      port: 7703,
      backend: 'gemini',
      key: 'GEMINI_API_KEY',
      faults: ['deaf', 'empty-answers'],
    },
    'gemini-text': { what: "Gemini's language models", port: 7821, key: 'GEMINI_API_KEY', parts: ['LLM'] },
  },
})
