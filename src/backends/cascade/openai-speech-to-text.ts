import { omitNullish } from '../../core/omit-nullish.js'
import { HINTED } from '../../agents/file/backend-options.js'
import { OPENAI_SESSION_MS } from '../openai-realtime/session-config.js'
import { transcriptionUsage } from '../openai-realtime/usage.js'
import { closeFault, isRace, wireFault } from '../openai-realtime/wire.js'
import type { WireTranscription } from '../openai-realtime/wire.js'
import { vendorWord } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { wordIn } from './recogniser-turns.js'
import type { RecogniserTurns, SessionTurn } from './recogniser-turns.js'
import { overSocket, serviceRefusal, socketUrl } from './service-socket.js'
import type { ServiceMessage } from './service-socket.js'
import { termsOf } from '../vocabulary.js'
import type { SpeechToText, ServiceContext, ServiceFactory } from './service.js'
import { StreamedRecogniser } from './streamed-recogniser.js'
import type { RecogniserOptions, RecogniserService, RecogniserWire } from './streamed-recogniser.js'

export interface OpenAiOptions extends RecogniserOptions {
  /** It may have `/realtime` at its end. */
  readonly baseUrl: string
  readonly model: string
  /** `vllm`: vLLM's own messages at the same path. `openai` when not given. */
  readonly dialect?: 'openai' | 'vllm'
  /** In faults and counters; `openai` when not given. */
  readonly service?: string
}

const PCM_RATE_HZ = 24_000
const VLLM_RATE_HZ = 16_000
/** A commit is acknowledged; then the words so far are the text when no more come for this long. */
const FINALIZE_MS = 700
/** Models that begin with the commit need longer for their first word. */
const ANSWER_MS = 3000
const APPEND = { before: '{"type":"input_audio_buffer.append","audio":"', after: '"}' }

/** The session of a transcription; the vendor's names. Checked against its types by test/backends/cascade-wire.test.ts. */
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
  // A model of the vendor's own server is priced by its name alone.
  const own = priced !== model
  const session: TranscriptionSession = {
    type: 'transcription',
    audio: {
      input: {
        format: mulaw ? { type: 'audio/pcmu' } : { type: 'audio/pcm', rate: PCM_RATE_HZ },
        transcription: {
          model,
          ...(hinted && languages.length > 0 ? { languages: [...languages] } : {}),
          ...(!hinted && language !== undefined && others.length === 0 ? { language } : {}),
          ...(hinted && terms.length > 0 ? { keywords: terms } : {}),
          ...(about === '' ? {} : { prompt: about }),
        },
        turn_detection: null,
      },
    },
  }
  const items = new Map<string, SessionTurn>()
  /** Items come in the order of the turns, each of which is committed once. */
  const turnOf = (item: unknown, turns: RecogniserTurns): SessionTurn | null => {
    const id = wordIn(item)
    if (id === undefined) return null
    const known = items.get(id) ?? turns.all.find((turn) => !turn.answered && ![...items.values()].includes(turn))
    if (known !== undefined) items.set(id, known)
    return known ?? null
  }
  return {
    // Some servers take the model in the address only.
    ...common(service, { intent: 'transcription', ...(own ? { model } : {}) }),
    audio: { ...APPEND, law: mulaw ? 'mulaw' : 'pcm16' },
    hello: { type: 'session.update', session },
    finalize: () => ({ type: 'input_audio_buffer.commit' }),
    ...(own ? {} : { sessionMs: OPENAI_SESSION_MS }),
    charges: own ? 'audio' : 'reported',
    read: (message, turns) => {
      const { type, item_id: item, delta, transcript, usage } = message
      if (type === 'error') {
        // Too little audio for an item: there is nothing in it.
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

/** vLLM: a first commit begins a transcription, a last one ends it. What came between two of them would be lost. */
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
      headers: apiKey === null ? {} : { Authorization: `Bearer ${apiKey}` },
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

/** OpenAI's `error` is an object, vLLM's a text beside its code. */
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
