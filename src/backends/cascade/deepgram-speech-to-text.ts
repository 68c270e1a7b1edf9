import { vendorFault } from '../transport/vendor-fault.js'
import { pricedModel } from '../prices.js'
import { deepgramFault } from './deepgram-fault.js'
import { numberIn, wordIn } from './recogniser-turns.js'
import type { Piece, RecogniserTurns, SessionTurn } from './recogniser-turns.js'
import { socketUrl } from './stage-socket.js'
import type { StageMessage } from './stage-socket.js'
import { termsOf } from '../vocabulary.js'
import type { SpeechToText, StageContext, StageFactory } from './stage.js'
import { StreamedRecogniser } from './streamed-recogniser.js'
import type { RecogniserWire } from './streamed-recogniser.js'

interface DeepgramSttOptions {
  /** `wss://api.deepgram.com` when not given; http(s) and ws(s) alike. */
  readonly baseUrl?: string
  /** Never logged. */
  readonly apiKey: string
  /** `nova-3` when not given. Models whose name begins with `flux` are used at `/v2/listen`, others at `/v1/listen`. */
  readonly model?: string
  /** Words and names that callers are likely to say. */
  readonly terms?: readonly string[]
  readonly connectTimeoutMs?: number
}

type Options = DeepgramSttOptions & { readonly model: string; readonly baseUrl: string }

const BASE_URL = 'wss://api.deepgram.com'
const MODEL = 'nova-3'
/** The service closes a connection that gets nothing for 10 s. */
const KEEPALIVE_MS = 4000
/** With little audio `Finalize` is answered by nothing (deepgram-js-sdk#343). */
const FINALIZE_MS = 400
/** And where it has told no word yet: without words nobody would be answered. */
const ANSWER_MS = 1000
/** The end of a turn that was forced is acknowledged, unless the service heard no speech. */
const FORCE_END_MS = 700
/** @deepgram/sdk 5.13.0, ListenV2EotThreshold and ListenV2EotTimeoutMs: the service ends no turn by itself, or the latest. */
const END_OF_TURN = { eot_threshold: 1, eot_timeout_ms: 60_000 }
/** Flux tells the words of each 80 ms. */
const FLUX_MESSAGE_MS = 80

// The parts of Deepgram's messages that are used. Field names are the vendor's. Checked against the vendor's published
// types by test/backends/cascade-wire.test.ts.

interface DeepgramWord {
  readonly word?: unknown
  readonly punctuated_word?: unknown
  readonly start?: unknown
  readonly end?: unknown
  readonly confidence?: unknown
  readonly language?: unknown
}

export interface DeepgramResults {
  readonly is_final?: boolean | undefined
  readonly from_finalize?: boolean | undefined
  readonly start?: number
  readonly duration?: number
  readonly channel?: { readonly alternatives?: readonly { readonly words?: readonly DeepgramWord[] }[] }
}

export interface DeepgramTurnInfo {
  readonly event?: string
  readonly turn_index?: number
  readonly words?: readonly DeepgramWord[]
  readonly languages?: readonly string[] | undefined
  readonly trigger?: string | undefined
}

/** Deepgram's recognisers: Nova (`/v1/listen`) and Flux (`/v2/listen`). */
export function deepgramSpeechToText(options: DeepgramSttOptions): StageFactory<SpeechToText> {
  const { model = MODEL, baseUrl = BASE_URL } = options
  const wireOf = model.startsWith('flux') ? flux : nova
  return {
    service: 'deepgram',
    model: pricedModel(model, baseUrl),
    make: (context) => new StreamedRecogniser(() => wireOf({ ...options, model, baseUrl }, context), context),
  }
}

function nova(options: Options, context: StageContext): RecogniserWire {
  const { model } = options
  const { languages } = context
  return {
    ...common(options, context, 'v1/listen', {
      model,
      language: languages.length > 1 ? 'multi' : (languages[0] ?? 'en'),
      interim_results: true,
      smart_format: true,
      // The service would wait for the rest of a number, which smart_format writes as one.
      no_delay: true,
      endpointing: false,
      keyterm: termsOf(options.terms, context.vocabulary),
    }),
    keepalive: { everyMs: KEEPALIVE_MS, message: { type: 'KeepAlive' } },
    finalize: () => [{ type: 'Finalize' }],
    abandon: [{ type: 'Finalize' }],
    finalizes: 'unsure',
    finalizeMs: FINALIZE_MS,
    answerMs: ANSWER_MS,
    read: (message, turns) => {
      if (message['type'] !== 'Results') return
      const { is_final, from_finalize, start, duration, channel } = message as DeepgramResults
      const pieces = piecesOf(channel?.alternatives?.[0]?.words, context)
      // A final result settles its range of the audio; a turn has several.
      if (is_final === true) turns.heard(pieces, [], true)
      else turns.heard([], pieces)
      if (from_finalize !== true) return
      const turn = turns.at((numberIn(start) ?? 0) * 1000 + (numberIn(duration) ?? 0) * 1000 - 1)
      if (turn !== null) turns.answered(turn)
    },
  }
}

/** Flux tells the whole of its own turns, which are not always those of the gateway: it may have missed the end of one. */
function flux(options: Options, context: StageContext): RecogniserWire {
  const { model } = options
  const { languages } = context
  /** Words of the service's own turns that are over, of the gateway's turn that is open. */
  let settled: { readonly turn: SessionTurn; readonly pieces: readonly Piece[] } | null = null
  return {
    ...common(options, context, 'v2/listen', {
      model,
      ...END_OF_TURN,
      language_hint: model.endsWith('-multi') ? languages : [],
      keyterm: termsOf(options.terms, context.vocabulary),
    }),
    messageMs: FLUX_MESSAGE_MS,
    // It knows no KeepAlive.
    keepalive: { everyMs: KEEPALIVE_MS, message: null },
    finalize: () => [{ type: 'ForceEndTurn' }],
    abandon: [{ type: 'ForceEndTurn' }],
    finalizes: 'unsure',
    finalizeMs: FORCE_END_MS,
    read: (message, turns) => {
      if (message['type'] !== 'TurnInfo') return
      const { event, words, languages: spoken, trigger } = message as DeepgramTurnInfo
      const told = byTurn(piecesOf(words, context, wordIn(spoken?.[0])), turns)
      for (const [turn, own] of told) {
        const pieces = [...(settled?.turn === turn ? settled.pieces : []), ...own]
        turns.told(turn, pieces)
        if (event === 'EndOfTurn') settled = { turn, pieces }
      }
      const ended = told.at(-1)?.[0] ?? turns.oldest
      if (event === 'EndOfTurn' && trigger === 'manual' && ended !== null) turns.answered(ended)
    },
  }
}

/** The words of each turn; those without a time are of the oldest turn that has not got all of its words. */
function byTurn(pieces: readonly Piece[], turns: RecogniserTurns): (readonly [SessionTurn, readonly Piece[]])[] {
  const found = new Map<SessionTurn, Piece[]>()
  for (const piece of pieces) {
    const turn = piece.fromMs === undefined ? turns.oldest : turns.at(piece.fromMs)
    if (turn !== null) found.set(turn, [...(found.get(turn) ?? []), piece])
  }
  return [...found]
}

function common(
  { baseUrl, apiKey, model, connectTimeoutMs }: Options,
  { name, inputRateHz }: StageContext,
  path: string,
  query: Readonly<Record<string, string | number | boolean | readonly string[]>>,
) {
  const what = `${name}: stt deepgram`
  // G.711 has all that an 8 kHz leg carries.
  const mulaw = inputRateHz === 8000
  return {
    service: 'deepgram',
    model: pricedModel(model, baseUrl),
    socket: {
      url: socketUrl(baseUrl, path, { ...query, encoding: mulaw ? 'mulaw' : 'linear16', sample_rate: inputRateHz }),
      headers: { Authorization: `Token ${apiKey}` },
      apiKey,
      connectTimeoutMs,
      faultOf: (message: StageMessage) => deepgramFault(message, what, apiKey),
      closeFault: (code: number, words: string) => {
        // NET-0001: nothing came for too long.
        if (words.includes('NET-0001') || code === 1000) return null
        const text = `${what} closed the session with ${code}${words === '' ? '' : `: ${words}`}`
        return vendorFault(code === 1008 ? 'bad_request' : 'internal', text, false)
      },
    },
    audio: mulaw ? 'mulaw' : 'pcm16',
    hello: [],
    sessionMs: null,
    charges: 'audio',
  } as const
}

function piecesOf(words: unknown, { malformed }: StageContext, spoken?: string): Piece[] {
  const pieces: Piece[] = []
  for (const entry of (Array.isArray(words) ? words : []) as readonly (DeepgramWord | null)[]) {
    const text = wordIn(entry?.punctuated_word) ?? wordIn(entry?.word)
    if (entry === null || text === undefined) {
      malformed()
      continue
    }
    const [start, end, confidence] = [numberIn(entry.start), numberIn(entry.end), numberIn(entry.confidence)]
    const language = wordIn(entry.language) ?? spoken
    pieces.push({
      text: ` ${text}`,
      ...(start === undefined ? {} : { fromMs: start * 1000 }),
      ...(end === undefined ? {} : { toMs: end * 1000 }),
      ...(confidence === undefined ? {} : { confidence }),
      ...(language === undefined ? {} : { language }),
    })
  }
  return pieces
}
