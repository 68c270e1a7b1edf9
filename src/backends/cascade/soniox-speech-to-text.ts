import { pricedModel } from '../prices.js'
import { numberIn, wordIn } from './recogniser-turns.js'
import type { Piece } from './recogniser-turns.js'
import { sonioxFault } from './soniox-fault.js'
import { socketUrl } from './stage-socket.js'
import { termsOf } from '../vocabulary.js'
import type { SpeechToText, StageContext, StageFactory } from './stage.js'
import { StreamedRecogniser } from './streamed-recogniser.js'
import type { RecogniserWire } from './streamed-recogniser.js'

interface SonioxSttOptions {
  /** `wss://stt-rt.soniox.com` when not given; http(s) and ws(s) alike. */
  readonly baseUrl?: string
  /** Never logged. */
  readonly apiKey: string
  readonly model?: string
  /** Words and names that callers are likely to say. */
  readonly terms?: readonly string[]
  /** What the calls are about, in a sentence or two. */
  readonly context?: string
  readonly connectTimeoutMs?: number
  /** 300 minutes when not given: the service's limit. */
  readonly sessionMs?: number
}

const BASE_URL = 'wss://stt-rt.soniox.com'
const SONIOX_STT_MODEL = 'stt-rt-v4'
/** The service closes a session that gets nothing for 20 s. */
const KEEPALIVE_MS = 10_000
/** The service acknowledges `finalize`; this long at most its words are waited for. */
const FINALIZE_MS = 700
/** A session's fixed limit. */
const SESSION_MS = 300 * 60_000

/** A token of the service: a piece of a word with its own leading space. */
interface Token {
  readonly text?: unknown
  readonly start_ms?: unknown
  readonly end_ms?: unknown
  readonly confidence?: unknown
  readonly is_final?: unknown
  readonly language?: unknown
}

/** Soniox's recogniser. */
export function sonioxSpeechToText(options: SonioxSttOptions): StageFactory<SpeechToText> {
  const { model = SONIOX_STT_MODEL, baseUrl = BASE_URL } = options
  return {
    service: 'soniox',
    model: pricedModel(model, baseUrl),
    make: (context) => new StreamedRecogniser(() => wireOf({ ...options, model, baseUrl }, context), context),
  }
}

function wireOf(
  options: SonioxSttOptions & { readonly model: string; readonly baseUrl: string },
  context: StageContext,
): RecogniserWire {
  const { baseUrl, apiKey, model, context: about = '', connectTimeoutMs, sessionMs = SESSION_MS } = options
  const terms = termsOf(options.terms, context.vocabulary)
  const { languages, inputRateHz, name, malformed } = context
  // G.711 has all that an 8 kHz leg carries.
  const mulaw = inputRateHz === 8000
  return {
    service: 'soniox',
    model: pricedModel(model, baseUrl),
    socket: {
      url: socketUrl(baseUrl, 'transcribe-websocket'),
      apiKey,
      connectTimeoutMs,
      faultOf: (message) => sonioxFault(message, { what: `${name}: stt soniox`, apiKey }),
    },
    audio: mulaw ? 'mulaw' : 'pcm16',
    hello: [
      {
        api_key: apiKey,
        model,
        audio_format: mulaw ? 'mulaw' : 'pcm_s16le',
        sample_rate: inputRateHz,
        num_channels: 1,
        enable_language_identification: true,
        enable_endpoint_detection: false,
        ...(languages.length === 0 ? {} : { language_hints: languages }),
        ...(terms.length === 0 && about === ''
          ? {}
          : { context: { ...(about === '' ? {} : { text: about }), ...(terms.length === 0 ? {} : { terms }) } }),
      },
    ],
    keepalive: { everyMs: KEEPALIVE_MS, message: { type: 'keepalive' } },
    finalize: (silenceMs) => [{ type: 'finalize', ...(silenceMs > 0 ? { trailing_silence_ms: silenceMs } : {}) }],
    abandon: [{ type: 'finalize' }],
    finalizes: 'acknowledged',
    finalizeMs: FINALIZE_MS,
    sessionMs,
    charges: 'session',
    read: ({ tokens }, turns) => {
      const stable: Piece[] = []
      const tentative: Piece[] = []
      let finalized = 0
      for (const token of (Array.isArray(tokens) ? tokens : []) as readonly (Token | null)[]) {
        if (typeof token?.text !== 'string') malformed()
        else if (!/^<\w+>$/.test(token.text))
          (token.is_final === true ? stable : tentative).push(pieceOf(token, token.text))
        else if (token.text === '<fin>' && token.is_final === true) finalized++
      }
      turns.heard(stable, tentative)
      for (; finalized > 0 && turns.oldest !== null; finalized--) turns.answered(turns.oldest)
    },
  }
}

function pieceOf({ start_ms, end_ms, confidence, language }: Token, text: string): Piece {
  const [fromMs, toMs, sure, spoken] = [numberIn(start_ms), numberIn(end_ms), numberIn(confidence), wordIn(language)]
  return {
    text,
    ...(fromMs === undefined ? {} : { fromMs }),
    ...(toMs === undefined ? {} : { toMs }),
    ...(sure === undefined ? {} : { confidence: sure }),
    ...(spoken === undefined ? {} : { language: spoken }),
  }
}
