import { objectsIn } from '../../core/json.js'
import { vendorFault } from '../../backends/transport/vendor-fault.js'
import { numberIn, wordIn } from '../../backends/cascade/recogniser-turns.js'
import type { Piece } from '../../backends/cascade/recogniser-turns.js'
import { ownRecognisers } from './facts.js'
import type { SpeechToText, ServiceContext, ServiceFactory } from '../../backends/cascade/service.js'
import { overSocket } from '../../backends/cascade/service-socket.js'
import { StreamedRecogniser } from '../../backends/cascade/streamed-recogniser.js'
import type { RecogniserService, RecogniserWire } from '../../backends/cascade/streamed-recogniser.js'

interface OwnServerOptions {
  /** Address such as `ws://10.0.0.5:2700`; http(s) or ws(s). */
  readonly baseUrl: string
}

/** Default rate of sherpa-onnx' server, unless it was started with another `--input-sample-rate`. */
const SHERPA_RATE_HZ = 16_000
/** Duration of audio in a message in ms. Longer than usual, because vosk answers each message. */
const MESSAGE_MS = 100
/** Time in ms to wait for the end of a turn, which the server sends when its processor is free. */
const FINALIZE_MS = 700
const ANSWER_MS = 3000
/** The server compares this text literally, spaces included. */
const EOF = '{"eof" : 1}'

/** vosk-server. Each turn has its own connection, because `eof` ends the connection. */
export function voskSpeechToText({ baseUrl }: OwnServerOptions): ServiceFactory<SpeechToText> {
  return overSocket(
    'stt',
    'vosk',
    { ...ownRecognisers.services.stt.vosk.own, baseUrl },
    { apiKey: null },
    StreamedRecogniser,
    vosk,
  )
}

function vosk(service: RecogniserService, { inputRateHz }: ServiceContext): RecogniserWire {
  return {
    ...common(service),
    audio: 'pcm16',
    messageMs: MESSAGE_MS,
    hello: { config: { sample_rate: inputRateHz, words: true } },
    finalize: () => EOF,
    read: ({ partial, text, result }, turns) => {
      const turn = turns.oldest
      if (turn === null) return
      if (typeof partial === 'string') turns.told(turn, [...turn.stable], [{ text: ` ${partial}` }])
      // A `text` also arrives after a pause of the caller. After the `text` that answers `eof`, the server closes.
      if (typeof text === 'string') turns.told(turn, [...turn.stable, ...piecesOf(text, result)])
    },
  }
}

/** The online WebSocket server of sherpa-onnx. It answers `Done` with the remaining words, then `Done!`. */
export function sherpaSpeechToText({ baseUrl }: OwnServerOptions): ServiceFactory<SpeechToText> {
  const own = { ...ownRecognisers.services.stt.sherpa.own, baseUrl }
  const factory = overSocket('stt', 'sherpa', own, { apiKey: null }, StreamedRecogniser, sherpa)
  return { ...factory, rates: [SHERPA_RATE_HZ] }
}

function sherpa(service: RecogniserService, { malformed }: ServiceContext): RecogniserWire {
  /** Texts of segments by segment number. A segment ends at a pause of the caller. */
  const segments = new Map<number, string>()
  return {
    ...common(service),
    audio: 'float32',
    finalize: () => 'Done',
    read: ({ text, segment, unparsed }, turns) => {
      const turn = turns.oldest
      if (turn === null) return
      if (unparsed === 'Done!') return turns.answered(turn)
      if (typeof text !== 'string') return malformed()
      segments.set(numberIn(segment) ?? 0, text)
      turns.told(
        turn,
        [...segments.values()].map((words) => ({ text: ` ${words}` })),
      )
    },
  }
}

function common({ baseUrl, what }: RecogniserService) {
  return {
    socket: {
      url: baseUrl.replace(/^http/, 'ws'),
      faultOf: () => null,
      closeFault: (code: number) =>
        code === 1000 ? null : vendorFault('internal', `${what} closed the connection with ${code}`, false),
    },
    finalizeMs: FINALIZE_MS,
    answerMs: ANSWER_MS,
    oneTurn: true,
  } as const
}

function piecesOf(text: string, result: unknown): readonly Piece[] {
  const words = objectsIn(result)
  if (words.length === 0) return [{ text: ` ${text}` }]
  return words.flatMap(({ word, start }) => {
    const spoken = wordIn(word)
    return spoken === undefined ? [] : { text: ` ${spoken}`, fromMs: numberIn(start, 1000) }
  })
}

export const services = { stt: { vosk: voskSpeechToText, sherpa: sherpaSpeechToText } }
