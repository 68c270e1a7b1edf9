import { HINTED } from '../../agents/backend-options.js'
import { OPENAI_BASE_URL, OPENAI_SESSION_MS } from '../openai-realtime/session-config.js'
import { transcriptionUsage } from '../openai-realtime/usage.js'
import { closeFault, isRace, wireFault } from '../openai-realtime/wire.js'
import type { WireTranscription } from '../openai-realtime/wire.js'
import { pricedModel } from '../prices.js'
import { vendorWord } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { wordIn } from './recogniser-turns.js'
import type { RecogniserTurns, SessionTurn } from './recogniser-turns.js'
import { serviceFault, socketUrl } from './stage-socket.js'
import type { StageMessage } from './stage-socket.js'
import { termsOf } from '../vocabulary.js'
import type { SpeechToText, StageContext, StageFactory } from './stage.js'
import { StreamedRecogniser } from './streamed-recogniser.js'
import type { RecogniserWire } from './streamed-recogniser.js'

interface OpenAiSttOptions {
  /** `https://api.openai.com/v1` when not given; http(s) and ws(s) alike, with or without `/realtime` at its end. */
  readonly baseUrl?: string
  /** Null: no `Authorization` header. Never logged. */
  readonly apiKey: string | null
  /** `gpt-live-transcribe` when not given. */
  readonly model?: string
  /** Words and names that callers are likely to say. */
  readonly terms?: readonly string[]
  /** What the calls are about. */
  readonly context?: string
  /** `vllm`: vLLM's own messages at the same path. `openai` when not given. */
  readonly dialect?: 'openai' | 'vllm'
  /** In faults and counters; `openai` when not given. */
  readonly service?: string
  readonly connectTimeoutMs?: number
}

type Options = OpenAiSttOptions & { readonly model: string; readonly baseUrl: string; readonly service: string }

const MODEL = 'gpt-live-transcribe'
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
export function openAiSpeechToText(options: OpenAiSttOptions): StageFactory<SpeechToText> {
  const { model = MODEL, baseUrl = OPENAI_BASE_URL, service = 'openai', dialect } = options
  const wireOf = dialect === 'vllm' ? vllm : openAi
  return {
    service,
    model: pricedModel(model, baseUrl),
    rates: dialect === 'vllm' ? [VLLM_RATE_HZ] : [8000, PCM_RATE_HZ],
    make: (context) => new StreamedRecogniser(() => wireOf({ ...options, model, baseUrl, service }, context), context),
  }
}

function openAi(options: Options, context: StageContext): RecogniserWire {
  const { baseUrl, model, context: about = '' } = options
  const terms = termsOf(options.terms, context.vocabulary)
  const { languages, inputRateHz } = context
  const [language, ...others] = languages
  const hinted = HINTED.includes(model)
  const mulaw = inputRateHz === 8000
  const own = new URL(baseUrl).host !== new URL(OPENAI_BASE_URL).host
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
  const priced = pricedModel(model, baseUrl)
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
    ...common(options, context, { intent: 'transcription', ...(own ? { model } : {}) }),
    audio: { ...APPEND, law: mulaw ? 'mulaw' : 'pcm16' },
    hello: [{ type: 'session.update', session }],
    finalize: () => [{ type: 'input_audio_buffer.commit' }],
    abandon: [{ type: 'input_audio_buffer.commit' }],
    sessionMs: own ? null : OPENAI_SESSION_MS,
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
function vllm(options: Options, context: StageContext): RecogniserWire {
  const { model } = options
  return {
    ...common(options, context, {}),
    audio: { ...APPEND, law: 'pcm16' },
    hello: [{ type: 'session.update', model }],
    begin: [{ type: 'input_audio_buffer.commit', final: false }],
    finalize: () => [{ type: 'input_audio_buffer.commit', final: true }],
    abandon: [],
    oneTurn: true,
    sessionMs: null,
    charges: 'audio',
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

function common(
  { apiKey, baseUrl, model, service, connectTimeoutMs }: Options,
  { name }: StageContext,
  query: Readonly<Record<string, string>>,
) {
  const what = `${name}: stt ${service}`
  let configured = false
  return {
    service,
    model: pricedModel(model, baseUrl),
    socket: {
      url: socketUrl(baseUrl.replace(/\/realtime\/*$/, ''), 'realtime', query),
      headers: apiKey === null ? {} : { Authorization: `Bearer ${apiKey}` },
      apiKey,
      connectTimeoutMs,
      faultOf: (message: StageMessage): VendorFault | null => {
        if (message['type'] === 'session.updated') configured = true
        if (message['type'] !== 'error' || isRace(errorOf(message))) return null
        return serviceFault(wireFault(what, errorOf(message), configured, [apiKey]))
      },
      closeFault: (code: number, words: string) => (code === 1000 ? null : serviceFault(closeFault(what, code, words))),
    },
    keepalive: null,
    finalizes: 'acknowledged',
    finalizeMs: FINALIZE_MS,
    answerMs: ANSWER_MS,
  } as const
}

/** OpenAI's `error` is an object, vLLM's a text beside its code. */
function errorOf({ error, code }: StageMessage): {
  readonly code?: string
  readonly type?: string
  readonly message?: string
} {
  const given = (typeof error === 'object' && error !== null ? error : { message: error, code }) as Record<
    string,
    unknown
  >
  const { code: word, type, message } = given
  return {
    ...(vendorWord(word) === '' ? {} : { code: vendorWord(word) }),
    ...(vendorWord(type) === '' ? {} : { type: vendorWord(type) }),
    ...(typeof message === 'string' ? { message } : {}),
  }
}
