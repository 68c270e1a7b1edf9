import { omitNullish } from '../../../core/omit-nullish.js'
import { HINTED } from '../options.js'
import { OPENAI_SESSION_MS } from './session-config.js'
import { transcriptionUsage } from './usage.js'
import { closeFault, isRace, wireFault } from './wire.js'
import type { WireTranscription } from './wire.js'
import { keyHeaders } from '../key-headers.js'
import { vendorWord } from '../../../backends/transport/vendor-fault.js'
import type { VendorFault } from '../../../backends/transport/vendor-fault.js'
import { wordIn } from '../../../backends/cascade/recogniser-turns.js'
import type { RecogniserTurns, SessionTurn } from '../../../backends/cascade/recogniser-turns.js'
import { overSocket, serviceRefusal, socketUrl } from '../../../backends/cascade/service-socket.js'
import type { ServiceMessage } from '../../../backends/cascade/service-socket.js'
import { termsOf } from '../../../backends/vocabulary.js'
import type { SpeechToText, ServiceContext, ServiceFactory } from '../../../backends/cascade/service.js'
import { StreamedRecogniser } from '../../../backends/cascade/streamed-recogniser.js'
import type {
  RecogniserOptions,
  RecogniserService,
  RecogniserWire,
} from '../../../backends/cascade/streamed-recogniser.js'

export interface OpenAiOptions extends RecogniserOptions {
  /** Address, with or without a final `/realtime`. */
  readonly baseUrl: string
  readonly model: string
  /** `vllm`: vLLM's own messages at OpenAI's path. Default: `openai`. */
  readonly dialect?: 'openai' | 'vllm'
  /** Name in faults and counters. Default: `openai`. */
  readonly service?: string
}

const PCM_RATE_HZ = 24_000
const VLLM_RATE_HZ = 16_000
/** Time in ms without new words after an acknowledged commit, until the words so far become the final text. */
const FINALIZE_MS = 700
/** Time in ms to wait for the first words. Longer than usual, because some models begin only at the commit. */
const ANSWER_MS = 3000
const APPEND = { before: '{"type":"input_audio_buffer.append","audio":"', after: '"}' }

/**
 * The session of a transcription, in the vendor's names. test/backends/cascade-wire.test.ts checks it against the
 * vendor's types.
 */
export interface TranscriptionSession {
  readonly type: 'transcription'
  readonly audio: {
    readonly input: {
      readonly format:
        { readonly type: 'audio/pcmu' } | { readonly type: 'audio/pcm'; readonly rate: typeof PCM_RATE_HZ }
      readonly transcription: WireTranscription
      readonly turn_detection: null
    }
  }
}

/** OpenAI's realtime transcription, servers with its protocol (speaches), and vLLM. */
export function openAiSpeechToText({
  dialect,
  service: name = 'openai',
  ...options
}: OpenAiOptions): ServiceFactory<SpeechToText> {
  return {
    ...overSocket('stt', name, options, options, StreamedRecogniser, dialect === 'vllm' ? vllm : openAi),
    rates: dialect === 'vllm' ? [VLLM_RATE_HZ] : [8000, PCM_RATE_HZ],
  }
}

function openAi(service: RecogniserService, context: ServiceContext): RecogniserWire {
  const { model, priced, context: about = '' } = service
  const terms = termsOf(service.terms, context.vocabulary)
  const { languages, inputRateHz } = context
  const [language, ...others] = languages
  const hinted = HINTED.includes(model)
  const mulaw = inputRateHz === 8000
  // On the vendor's own server a model's price depends only on its name.
  const own = priced !== model
  const session: TranscriptionSession = {
    type: 'transcription',
    audio: {
      input: {
        format: mulaw ? { type: 'audio/pcmu' } : { type: 'audio/pcm', rate: PCM_RATE_HZ },
        transcription: {
          model,
          ...context.wishes.of({
            languages: hinted && languages.length > 0 ? [...languages] : undefined,
            language: !hinted && others.length === 0 ? language : undefined,
            keywords: hinted && terms.length > 0 ? terms : undefined,
            prompt: about === '' ? undefined : about,
          }),
        },
        turn_detection: null,
      },
    },
  }
  const items = new Map<string, SessionTurn>()
  /** Items arrive in the order of the turns. Each turn is committed once. */
  const turnOf = (item: unknown, turns: RecogniserTurns): SessionTurn | null => {
    const id = wordIn(item)
    if (id === undefined) return null
    const known = items.get(id) ?? turns.all.find((turn) => !turn.answered && ![...items.values()].includes(turn))
    if (known !== undefined) items.set(id, known)
    return known ?? null
  }
  return {
    // Some servers accept the model only in the address.
    ...common(service, { intent: 'transcription', ...(own ? { model } : {}) }),
    audio: { ...APPEND, law: mulaw ? 'mulaw' : 'pcm16' },
    hello: { type: 'session.update', session },
    finalize: () => ({ type: 'input_audio_buffer.commit' }),
    ...(own ? {} : { sessionMs: OPENAI_SESSION_MS }),
    charges: own ? 'audio' : 'reported',
    read: (message, turns) => {
      const { type, item_id: item, delta, transcript, usage } = message
      if (type === 'error') {
        // The audio is too short for an item, so the turn is empty.
        const empty = turns.all.find((turn) => !Number.isNaN(turn.askedAtMs) && !turn.answered)
        if (empty !== undefined) turns.answered(empty)
        return
      }
      const kind = String(type).replace('conversation.item.input_audio_transcription.', '')
      if (kind !== 'input_audio_buffer.committed' && kind === type) return
      const turn = turnOf(item, turns)
      if (turn === null) return
      if (kind === 'delta' && typeof delta === 'string') turns.told(turn, [...turn.stable, { text: delta }])
      if (kind === 'failed') turns.failed(turn, `transcription failed: ${errorOf(message).code ?? 'no reason given'}`)
      if (kind !== 'completed') return
      if (typeof usage === 'object' && usage !== null && !own) context.used(transcriptionUsage(priced, usage))
      if (typeof transcript === 'string' && transcript.trim() !== '') turns.told(turn, [{ text: transcript }])
      turns.answered(turn)
    },
  }
}

/**
 * vLLM: the first commit begins a transcription, and the last commit ends the transcription. Audio between two
 * transcriptions would be lost.
 */
function vllm(service: RecogniserService): RecogniserWire {
  return {
    ...common(service, {}),
    audio: { ...APPEND, law: 'pcm16' },
    hello: { type: 'session.update', model: service.model },
    begin: [{ type: 'input_audio_buffer.commit', final: false }],
    finalize: () => ({ type: 'input_audio_buffer.commit', final: true }),
    oneTurn: true,
    read: ({ type, delta, text }, turns) => {
      const turn = turns.oldest
      if (turn === null) return
      if (type === 'transcription.delta' && typeof delta === 'string')
        turns.told(turn, [...turn.stable, { text: delta }])
      if (type !== 'transcription.done') return
      if (typeof text === 'string' && text.trim() !== '') turns.told(turn, [{ text }])
      turns.answered(turn)
    },
  }
}

function common({ apiKey, baseUrl, what }: RecogniserService, query: Readonly<Record<string, string>>) {
  let configured = false
  return {
    socket: {
      url: socketUrl(baseUrl.replace(/\/realtime\/*$/, ''), 'realtime', query),
      headers: keyHeaders(apiKey, baseUrl),
      faultOf: (message: ServiceMessage): VendorFault | null => {
        if (message['type'] === 'session.updated') configured = true
        if (message['type'] !== 'error' || isRace(errorOf(message))) return null
        return serviceRefusal(wireFault(what, errorOf(message), configured, [apiKey]))
      },
      closeFault: (code: number, words: string) =>
        code === 1000 ? null : serviceRefusal(closeFault(what, code, words)),
    },
    finalizeMs: FINALIZE_MS,
    answerMs: ANSWER_MS,
  }
}

/** OpenAI's `error` is an object; vLLM's `error` is a text beside its code. */
function errorOf({ error, code }: ServiceMessage): {
  readonly code?: string
  readonly type?: string
  readonly message?: string
} {
  const told: object = typeof error === 'object' && error !== null ? error : { message: error, code }
  const { code: word, type, message } = told as Readonly<Record<string, unknown>>
  return omitNullish({
    code: vendorWord(word) || null,
    type: vendorWord(type) || null,
    message: typeof message === 'string' ? message : null,
  })
}
