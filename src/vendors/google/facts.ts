import { createPrivateKey } from 'node:crypto'
import { z } from 'zod'
import { omitNullish } from '../../core/omit-nullish.js'
import { HTTP, apiKey, optional, text } from '../../core/setting.js'
import { locales, model, speed, timeoutMs, vocabulary, voice } from '../common-options.js'
import { vendor } from '../vendor.js'

const NEEDS = 'GOOGLE_SPEECH_API_KEY (or GOOGLE_SPEECH_CREDENTIALS)'

/** Second-hand prices: several public projects quote Google's pages. The recogniser's price excludes data logging. */
const RECOGNISER = {
  perMinute: 0.024,
  source: 'https://cloud.google.com/speech-to-text/pricing',
  readOn: '2026-11-28',
}

/** A key of a Google Cloud service account. */
export interface ServiceAccount {
  readonly email: string
  readonly keyId: string
  /** PEM. Never logged. */
  readonly privateKey: string
}

/** Credentials for the services of a Google Cloud project. An account overrides the API key. */
export interface GoogleKeys {
  readonly apiKey: string | null
  readonly account?: ServiceAccount
}

/** The used fields of an account's key file. */
const accountFile = z
  .object({
    type: z.literal('service_account', { error: 'must be service_account' }),
    client_email: z.email({ error: 'must be the address of the account' }),
    private_key_id: z.string().min(1).max(200),
    private_key: z.string().refine(isRsaKey, { error: 'must be an RSA key as PEM without a passphrase' }),
  })
  .transform((file): ServiceAccount => ({
    email: file.client_email,
    keyId: file.private_key_id,
    privateKey: file.private_key,
  }))

function isRsaKey(pem: string): boolean {
  try {
    return createPrivateKey(pem).asymmetricKeyType === 'rsa'
  } catch {
    return false
  }
}

function withKeys(apiKey: string | null, baseUrl: string | null, files: Readonly<Record<string, unknown>>) {
  const account = files['googleSpeechCredentials'] as ServiceAccount | undefined
  const keys: GoogleKeys = { apiKey, ...omitNullish({ account }) }
  return apiKey === null && account === undefined ? null : { ...keys, ...omitNullish({ baseUrl }) }
}

export const google = vendor({
  folder: 'google',
  title: 'Google Cloud',
  settings: {
    googleSpeechApiKey: optional({
      kind: apiKey,
      help: 'An API key of a Google Cloud project for Speech-to-Text and Text-to-Speech, a recogniser and a voice of the backend cascade.',
    }),
    googleSpeechCredentials: optional({
      kind: text('the path of a file'),
      help: 'The file with the JSON key of a Google Cloud service account, in place of GOOGLE_SPEECH_API_KEY. If both are set, this file is used.',
    }),
    googleSttUrl: optional({
      kind: HTTP,
      help: "The address of Google Cloud's Speech-to-Text, such as https://eu-speech.googleapis.com. If unset, it is the global address.",
    }),
    googleTtsUrl: optional({
      kind: HTTP,
      help: "The address of Google Cloud's Text-to-Speech, such as https://eu-texttospeech.googleapis.com. If unset, it is the global address.",
    }),
  },
  services: {
    // The recogniser is the last in the list of recognisers, because the key may be meant only for the voice.
    stt: {
      google: {
        about:
          'a stream for each turn (gRPC): words while the caller speaks, the language of each part; Swahili of Kenya and Tanzania, English of Kenya',
        changes: 'masks nothing (`profanityFilter` is false). Numbers, capitals and punctuation in written form',
        needs: NEEDS,
        // One language, plus three `alternativeLanguageCodes`.
        languagesMax: 4,
        // Default name for prices; the agent may name a model.
        own: { baseUrl: 'https://speech.googleapis.com', model: 'google-speech-to-text' },
        options: { model, terms: vocabulary, locales },
        grpc: true,
        settings: ({ googleSpeechApiKey, googleSttUrl }, files) => withKeys(googleSpeechApiKey, googleSttUrl, files),
      },
    },
    tts: {
      google: {
        about:
          "Google Cloud's Chirp 3 HD voices, a request for each sentence, whose sound comes as a whole; Swahili of Kenya, no English of Kenya",
        needs: NEEDS,
        lacks: 'does not tell when a word sounds: what an interrupted caller heard is estimated',
        own: { baseUrl: 'https://texttospeech.googleapis.com', model: 'chirp3-hd' },
        options: { timeoutMs, voice, speed },
        speeds: [0.25, 2],
        settings: ({ googleSpeechApiKey, googleTtsUrl }, files) => withKeys(googleSpeechApiKey, googleTtsUrl, files),
      },
    },
  },
  files: {
    googleSpeechCredentials: {
      noun: 'the JSON key of a Google Cloud service account',
      manual: 'src/vendors/google/README.md',
      schema: accountFile,
    },
  },
  // Global and regional hosts.
  hosts: /^(?:[a-z0-9-]+-)?(?:texttospeech|speech)\.googleapis\.com$/,
  prices: {
    'google-speech-to-text': RECOGNISER,
    command_and_search: RECOGNISER,
    latest_long: RECOGNISER,
    latest_short: RECOGNISER,
    telephony: RECOGNISER,
    'chirp3-hd': {
      perMillionCharacters: 30,
      source: 'https://cloud.google.com/text-to-speech/pricing',
      readOn: '2026-11-27',
    },
  },
  doubles: {
    google: {
      what: 'recogniser and voice of Google Cloud',
      port: 7791,
      key: 'GOOGLE_SPEECH_API_KEY',
      parts: ['STT', 'TTS'],
    },
  },
})
