import { App, SSLApp, us_socket_local_port } from 'uWebSockets.js'
import type { HttpRequest, HttpResponse, WebSocket, us_socket_context_t } from 'uWebSockets.js'
import {
  ANSWER_MS,
  ANSWER_WORDS,
  DELTA_EVERY_MS,
  DELTA_MS,
  SERVICES_MS,
  voiceAnswer,
} from '../generator/conversation.js'
import type { LegRateHz } from '../../src/core/units.js'
import { bytesOfSamples, samplesOf } from '../../src/media/pcm.js'
import { endWithParent, optionsFromEnvironment } from '../kit/process.js'
import type { BackendOptions } from '../protocol.js'
import { StandInFacts } from './stand-in.js'
import { TurnListener } from './turn-listener.js'

/**
 * Stand-ins for the services of a cascade: a recogniser (Deepgram's `/v1/listen`), a chat model, and a voice
 * (ElevenLabs' `multi-stream-input`). They run in one separate process, which is small enough for hundreds of calls.
 * They implement only the parts of the protocols that the gateway uses; complete doubles are in
 * `src/simulator/vendors`. In each turn, the caller asks the same question. The model has one answer, and the voice
 * speaks it from a recording.
 */
const { tls } = optionsFromEnvironment<BackendOptions>('BENCH_BACKEND')
endWithParent()

/**
 * Words of a caller in a turn of 2 s. After each piece of the turn there is one more word. The last word comes before
 * the turn's end.
 */
const QUESTION = 'Hello, where is my order?'.split(' ')
const WORD_MS = 350
/** Time in ms between two words of the language model. */
const TOKEN_EVERY_MS = 10
/** Maximum number of connections of each kind in one bench. */
const SOCKETS_MAX = 20_000
const REQUEST_BYTES_MAX = 1024 * 1024

interface Recogniser {
  readonly rateHz: number
  readonly listener: TurnListener
  heardMs: number
  /** Time at which the audio of the next final result begins. */
  rangeFromMs: number
  /** Current turn; null while the caller is silent. */
  turn: HeardWords | null
}

interface HeardWords {
  /** Time at which the turn began. */
  readonly fromMs: number
  /** Number of words of the turn that were reported. */
  told: number
  readonly run: number
}

/** Utterance of a voice. */
interface Context {
  readonly run: number
  text: string
  /** Index of the next piece of sound. The utterance does not start while it has no text. */
  next: number
  /** True if all text of the utterance has come. */
  flushed: boolean
}

interface Voice {
  readonly pieces: readonly string[]
  readonly contexts: Map<string, Context>
}

const standIn = new StandInFacts()
const recognisers = new Set<WebSocket<Recogniser>>()
const voices = new Set<WebSocket<Voice>>()

// The recogniser.

function hear(ws: WebSocket<Recogniser>, bytes: Buffer): void {
  const session = ws.getUserData()
  const pcm = samplesOf(bytes)
  const ms = (pcm.length * 1000) / session.rateHz
  standIn.append(ms)
  if (session.listener.hear(pcm) === 'began') session.turn = { fromMs: session.heardMs, told: 0, run: standIn.run }
  session.heardMs += ms
  const { turn } = session
  if (turn === null) return
  const due = Math.min(QUESTION.length, Math.floor((session.heardMs - turn.fromMs) / WORD_MS))
  if (due <= turn.told) return
  turn.told = due
  tell(ws, session.rangeFromMs, session.heardMs, turn, false)
}

/** The client has ended the turn. */
function finalize(ws: WebSocket<Recogniser>): void {
  const session = ws.getUserData()
  const { turn, rangeFromMs, heardMs } = session
  const turnMs = session.listener.end()
  if (turnMs !== null && turn?.run === standIn.run) standIn.turn(turnMs)
  session.rangeFromMs = heardMs
  session.turn = null
  setTimeout(() => {
    if (recognisers.has(ws)) tell(ws, rangeFromMs, heardMs, turn, true)
  }, SERVICES_MS.stt)
}

function tell(
  ws: WebSocket<Recogniser>,
  fromMs: number,
  toMs: number,
  turn: HeardWords | null,
  isFinal: boolean,
): void {
  const words = turn === null ? [] : QUESTION.slice(0, turn.told)
  const result = {
    type: 'Results',
    channel_index: [0, 1],
    start: fromMs / 1000,
    duration: (toMs - fromMs) / 1000,
    is_final: isFinal,
    speech_final: false,
    from_finalize: isFinal,
    channel: {
      alternatives: [
        {
          transcript: words.join(' '),
          confidence: words.length === 0 ? 0 : 0.98,
          words: words.map((word, i) => ({
            word: word.toLowerCase(),
            punctuated_word: word,
            start: ((turn?.fromMs ?? 0) + i * WORD_MS) / 1000,
            end: ((turn?.fromMs ?? 0) + (i + 1) * WORD_MS) / 1000,
            confidence: 0.98,
          })),
        },
      ],
    },
    metadata: { request_id: 'bench', model_info: { name: 'bench', version: '1', arch: 'bench' } },
  }
  ws.send(JSON.stringify(result), false, false)
}

// The language model.

/** Events of a whole answer: one event for each word, then the usage. */
const EVENTS = [
  ...[{ role: 'assistant', content: '' }, ...ANSWER_WORDS.split(/(?= )/).map((content) => ({ content }))].map((delta) =>
    event({ choices: [{ index: 0, delta, finish_reason: null, logprobs: null }] }),
  ),
  event({ choices: [{ index: 0, delta: {}, finish_reason: 'stop', logprobs: null }] }),
  `${event({ choices: [], usage: { prompt_tokens: 400, completion_tokens: 20, total_tokens: 420 } })}data: [DONE]\n\n`,
]

function event(fields: object): string {
  const chunk = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'bench', ...fields }
  return `data: ${JSON.stringify(chunk)}\n\n`
}

function chat(res: HttpResponse): void {
  let over = false
  res.onAborted(() => {
    over = true
  })
  let bytes = 0
  res.onData((chunk, last) => {
    bytes += chunk.byteLength
    if (bytes > REQUEST_BYTES_MAX) return void (over || res.close())
    if (last) setTimeout(() => say(0), SERVICES_MS.llm)
  })
  const say = (index: number): void => {
    if (over) return
    const last = index === EVENTS.length - 1
    res.cork(() => {
      if (index === 0) res.writeHeader('content-type', 'text/event-stream')
      if (last) res.end(EVENTS[index])
      else res.write(EVENTS[index] as string)
    })
    if (!last) setTimeout(() => say(index + 1), TOKEN_EVERY_MS)
  }
}

// The voice.

const PIECES_IN_ANSWER = ANSWER_MS / DELTA_MS

/** Messages of a whole answer without their ends. The end of a message contains the name of its context. */
async function voiceMessages(rateHz: LegRateHz): Promise<readonly string[]> {
  const bytes = bytesOfSamples(await voiceAnswer(rateHz))
  const each = (DELTA_MS * rateHz * 2) / 1000
  const charsEach = Math.ceil(ANSWER_WORDS.length / PIECES_IN_ANSWER)
  return Array.from({ length: PIECES_IN_ANSWER }, (_, i) => {
    const chars = [...ANSWER_WORDS.slice(i * charsEach, (i + 1) * charsEach)]
    const msEach = DELTA_MS / Math.max(1, chars.length)
    const alignment = {
      chars,
      charStartTimesMs: chars.map((_char, at) => Math.round(at * msEach)),
      charDurationsMs: chars.map(() => Math.floor(msEach)),
    }
    const audio = Buffer.from(bytes.subarray(i * each, (i + 1) * each)).toString('base64')
    return JSON.stringify({ audio, alignment, normalizedAlignment: alignment }).replace(/}$/, ',"contextId":')
  })
}

const PIECES = { pcm_8000: await voiceMessages(8000), pcm_16000: await voiceMessages(16_000) }

interface VoiceMessage {
  readonly context_id?: string
  readonly text?: string
  readonly flush?: boolean
  readonly close_context?: boolean
}

function speak(ws: WebSocket<Voice>, { context_id: id = '', text = '', ...message }: VoiceMessage): void {
  const { contexts } = ws.getUserData()
  let context = contexts.get(id)
  if (message.close_context === true) {
    // If the text of an utterance is complete, the utterance is spoken to its end.
    if (context !== undefined && !context.flushed) {
      standIn.counts.cancels++
      end(ws, id)
    }
    return
  }
  if (context === undefined) contexts.set(id, (context = { run: standIn.run, text: '', next: 0, flushed: false }))
  const begins = context.text === '' && text.trim() !== ''
  if (text.trim() !== '') context.text += text
  if (begins) setTimeout(() => piece(ws, id), SERVICES_MS.tts)
  if (message.flush !== true) return
  context.flushed = true
  if (context.run === standIn.run && context.text.trim().replace(/\s+/g, ' ') !== ANSWER_WORDS)
    standIn.counts.answersWrong++
  if (context.text === '' || context.next === PIECES_IN_ANSWER) end(ws, id)
}

function piece(ws: WebSocket<Voice>, id: string): void {
  if (!voices.has(ws)) return
  const { pieces, contexts } = ws.getUserData()
  const context = contexts.get(id)
  if (context === undefined) return
  ws.send(`${pieces[context.next++]}${JSON.stringify(id)}}`, false, false)
  if (context.next < PIECES_IN_ANSWER) setTimeout(() => piece(ws, id), DELTA_EVERY_MS)
  else if (context.flushed) end(ws, id)
}

function end(ws: WebSocket<Voice>, id: string): void {
  ws.getUserData().contexts.delete(id)
  ws.send(JSON.stringify({ isFinal: true, contextId: id }), false, false)
}

// The services.

const sockets = { maxPayloadLength: 1024 * 1024, maxBackpressure: 4 * 1024 * 1024, idleTimeout: 0 }
const app = tls === null ? App() : SSLApp({ key_file_name: tls.keyFile, cert_file_name: tls.certFile })
app
  .ws<Recogniser>('/v1/listen', {
    ...sockets,
    upgrade: (res, req, context) => {
      const rateHz = Number(req.getQuery('sample_rate'))
      if (recognisers.size >= SOCKETS_MAX || req.getQuery('encoding') !== 'linear16') {
        res.writeStatus('400 Bad Request').end()
        return
      }
      const session = { rateHz, listener: new TurnListener(Infinity, rateHz), heardMs: 0, rangeFromMs: 0, turn: null }
      upgrade<Recogniser>(res, req, context, session)
    },
    open: (ws) => {
      recognisers.add(ws)
      standIn.counts.sessions++
    },
    message: (ws, message, binary) => {
      if (binary) return hear(ws, Buffer.from(message))
      const { type } = JSON.parse(Buffer.from(message).toString()) as { readonly type?: string }
      if (type === 'Finalize') finalize(ws)
      else if (type !== 'KeepAlive' && type !== 'CloseStream') standIn.counts.unknown++
    },
    close: (ws) => void recognisers.delete(ws),
  })
  .ws<Voice>('/v1/text-to-speech/:voice/multi-stream-input', {
    ...sockets,
    upgrade: (res, req, context) => {
      const format = req.getQuery('output_format')
      if (voices.size >= SOCKETS_MAX || (format !== 'pcm_8000' && format !== 'pcm_16000')) {
        res.writeStatus('400 Bad Request').end()
        return
      }
      upgrade<Voice>(res, req, context, { pieces: PIECES[format], contexts: new Map() })
    },
    open: (ws) => void voices.add(ws),
    message: (ws, message) => speak(ws, JSON.parse(Buffer.from(message).toString()) as VoiceMessage),
    close: (ws) => void voices.delete(ws),
  })
  .post('/v1/chat/completions', chat)
  .get(
    '/v1/models',
    (res) => void res.writeHeader('content-type', 'application/json').end('{"object":"list","data":[]}'),
  )
  // Request of the gateway for a new connection.
  .options('/*', (res) => void res.writeStatus('204 No Content').end())
  .listen('127.0.0.1', 0, (listener) => {
    if (listener === false) throw new Error('the stand-in services cannot listen on loopback')
    standIn.serve(us_socket_local_port(listener), () => undefined)
  })

function upgrade<Data>(res: HttpResponse, req: HttpRequest, context: us_socket_context_t, session: Data): void {
  const [key, protocols] = [req.getHeader('sec-websocket-key'), req.getHeader('sec-websocket-protocol')]
  res.upgrade<Data>(session, key, protocols, req.getHeader('sec-websocket-extensions'), context)
}
