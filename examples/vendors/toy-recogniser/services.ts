import type { ServiceContext, ServiceFactory, SpeechToText } from '../../backends/cascade/service.js'
import { overSocket, socketUrl } from '../../backends/cascade/service-socket.js'
import { StreamedRecogniser } from '../../backends/cascade/streamed-recogniser.js'
import type {
  RecogniserOptions,
  RecogniserService,
  RecogniserWire,
} from '../../backends/cascade/streamed-recogniser.js'
import { vendorFault } from '../../backends/transport/vendor-fault.js'
import { toyRecogniser } from './facts.js'

/** After this time in ms without further words, the words so far are the text. */
const FINALIZE_MS = 700
/** Time in ms until the first words. Your own server may need to wait for a free processor. */
const ANSWER_MS = 5000

function toySpeechToText(options: RecogniserOptions): ServiceFactory<SpeechToText> {
  const { own } = toyRecogniser.services.stt['toy-recogniser']
  return overSocket('stt', 'toy-recogniser', own, options, StreamedRecogniser, wireOf)
}

function wireOf(service: RecogniserService, { inputRateHz, malformed }: ServiceContext): RecogniserWire {
  const { apiKey, baseUrl, model, what } = service
  return {
    socket: {
      url: socketUrl(baseUrl, 'words'),
      headers: { authorization: `Bearer ${apiKey}` },
      faultOf: ({ error }) =>
        typeof error === 'string' ? vendorFault('internal', `${what} reports an error`, false) : null,
      closeFault: (code) =>
        code === 1000 ? null : vendorFault('internal', `${what} closed the connection with ${code}`, false),
    },
    audio: 'pcm16',
    hello: { model, rateHz: inputRateHz },
    finalize: () => ({ end: true }),
    finalizeMs: FINALIZE_MS,
    answerMs: ANSWER_MS,
    // The service closes the connection after the end of a turn.
    oneTurn: true,
    read: ({ text, over }, turns) => {
      const turn = turns.oldest
      if (turn === null) return
      if (typeof text !== 'string') return malformed()
      const words = text.split(' ').filter((word) => word !== '')
      turns.told(
        turn,
        words.map((word) => ({ text: ` ${word}` })),
      )
      if (over === true) turns.answered(turn)
    },
  }
}

export const services = { stt: { 'toy-recogniser': toySpeechToText } }
