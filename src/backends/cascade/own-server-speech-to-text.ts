import { pricedModel } from '../prices.js'
import { vendorFault } from '../transport/vendor-fault.js'
import { numberIn, wordIn } from './recogniser-turns.js'
import type { Piece } from './recogniser-turns.js'
import type { SpeechToText, StageContext, StageFactory } from './stage.js'
import { StreamedRecogniser } from './streamed-recogniser.js'
import type { RecogniserWire } from './streamed-recogniser.js'

interface OwnServerOptions {
  /** `ws://10.0.0.5:2700`; http(s) and ws(s) alike. */
  readonly baseUrl: string
  readonly connectTimeoutMs?: number
}

/** The server recognises with the model that it was started with; this is its name in prices. */
const VOSK_MODEL = 'vosk'
const SHERPA_MODEL = 'sherpa-onnx'
/** What sherpa-onnx' server takes unless it was started with another `--input-sample-rate`. */
const SHERPA_RATE_HZ = 16_000
/** vosk answers each message. */
const MESSAGE_MS = 100
/** The rest of a turn is there when a processor is. */
const FINALIZE_MS = 700
const ANSWER_MS = 3000
/** The server compares the text, with this spacing. */
const EOF = '{"eof" : 1}'

/** vosk-server: a connection for each turn, because `eof` ends it. */
export function voskSpeechToText({ baseUrl, connectTimeoutMs }: OwnServerOptions): StageFactory<SpeechToText> {
  const model = pricedModel(VOSK_MODEL, baseUrl)
  const wire = (context: StageContext): RecogniserWire => ({
    ...common('vosk', model, baseUrl, connectTimeoutMs, context),
    audio: 'pcm16',
    messageMs: MESSAGE_MS,
    hello: [{ config: { sample_rate: context.inputRateHz, words: true } }],
    finalize: () => [EOF],
    read: ({ partial, text, result }, turns) => {
      const turn = turns.oldest
      if (turn === null) return
      if (typeof partial === 'string') turns.told(turn, [...turn.stable], [{ text: ` ${partial}` }])
      // After a pause of the caller too; the one that answers `eof` is followed by a close.
      if (typeof text === 'string') turns.told(turn, [...turn.stable, ...piecesOf(text, result)])
    },
  })
  return { service: 'vosk', model, make: (context) => new StreamedRecogniser(() => wire(context), context) }
}

/** The online WebSocket server of sherpa-onnx: after `Done` it sends the rest, and then `Done!`. */
export function sherpaSpeechToText({ baseUrl, connectTimeoutMs }: OwnServerOptions): StageFactory<SpeechToText> {
  const model = pricedModel(SHERPA_MODEL, baseUrl)
  const wire = (context: StageContext): RecogniserWire => {
    /** By number; a segment ends where the caller pauses. */
    const segments = new Map<number, string>()
    return {
      ...common('sherpa', model, baseUrl, connectTimeoutMs, context),
      audio: 'float32',
      hello: [],
      finalize: () => ['Done'],
      read: ({ text, segment, unparsed }, turns) => {
        const turn = turns.oldest
        if (turn === null) return
        if (unparsed === 'Done!') return turns.answered(turn)
        if (typeof text !== 'string') return context.malformed()
        segments.set(numberIn(segment) ?? 0, text)
        turns.told(
          turn,
          [...segments.values()].map((words) => ({ text: ` ${words}` })),
        )
      },
    }
  }
  return {
    service: 'sherpa',
    model,
    rates: [SHERPA_RATE_HZ],
    make: (context) => new StreamedRecogniser(() => wire(context), context),
  }
}

function common(
  service: string,
  model: string,
  baseUrl: string,
  connectTimeoutMs: number | undefined,
  { name }: StageContext,
) {
  const what = `${name}: stt ${service}`
  return {
    service,
    model,
    socket: {
      url: baseUrl.replace(/^http/, 'ws'),
      apiKey: null,
      connectTimeoutMs,
      faultOf: () => null,
      closeFault: (code: number) =>
        code === 1000 ? null : vendorFault('internal', `${what} closed the connection with ${code}`, false),
    },
    keepalive: null,
    abandon: [],
    finalizes: 'acknowledged',
    finalizeMs: FINALIZE_MS,
    answerMs: ANSWER_MS,
    oneTurn: true,
    sessionMs: null,
    charges: 'audio',
  } as const
}

function piecesOf(text: string, result: unknown): readonly Piece[] {
  if (!Array.isArray(result) || result.length === 0) return [{ text: ` ${text}` }]
  return (result as readonly Readonly<Record<string, unknown>>[]).flatMap(({ word, start, end, conf }) => {
    const [spoken, from, to, confidence] = [wordIn(word), numberIn(start), numberIn(end), numberIn(conf)]
    if (spoken === undefined) return []
    return {
      text: ` ${spoken}`,
      ...(from === undefined ? {} : { fromMs: from * 1000 }),
      ...(to === undefined ? {} : { toMs: to * 1000 }),
      ...(confidence === undefined ? {} : { confidence }),
    }
  })
}
