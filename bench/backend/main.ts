import type { WebSocket } from 'uWebSockets.js'
import { App, SSLApp, us_socket_local_port } from 'uWebSockets.js'
import { DELTA_EVERY_MS, DELTA_MS, END_OF_TURN_MS, THINK_MS, modelAnswer } from '../generator/conversation.js'
import { G711 } from '../../src/media/pcm.js'
import { endWithParent, optionsFromEnvironment } from '../kit/process.js'
import type { BackendOptions, Coding } from '../protocol.js'
import { StandInFacts } from './stand-in.js'
import { TurnListener } from './turn-listener.js'

/**
 * Stand-in for a realtime model, in a separate process. It uses OpenAI's Realtime protocol (JSON and base64 over a
 * WebSocket). It sends back the audio that it receives, message by message, each message `answerAfterMs` after its
 * arrival. It decodes only the data that it needs, so that it uses little of the machine; its cost is still measured
 * separately.
 *
 * A response continues from the first audio to a `response.cancel`. The next response begins `thinkMs` later. In a
 * conversation, the stand-in sends no audio back. It then detects turns and answers them, in pieces that come faster
 * than real time.
 */
const options = optionsFromEnvironment<BackendOptions>('BENCH_BACKEND')
endWithParent()

interface Session {
  /** Number of the running response; 0 if there is none. */
  response: number
  responses: number
  /** Time before which a new response may not begin, and a paused response may not continue. */
  quietUntilMs: number
  paused: boolean
  /** Audio format that the client requested. */
  coding: Coding
  prefix: string
  /** Turn detector of a conversation, from the first message on; null otherwise. */
  listener: TurnListener | null
  /** Number of the run in which the caller's turn began. */
  turnOfRun: number
}

/** Message that will be sent back. */
interface Heard {
  readonly ws: Socket
  readonly session: Session
  /** Audio in base64. */
  readonly audio: string
  readonly dueMs: number
}

interface Data {
  readonly session: Session
}
type Socket = WebSocket<Data>

const APPEND = '{"type":"input_audio_buffer.append"'
const AUDIO = '"audio":"'
const BYTES_PER_MS = { pcm: 48, pcmu: 8, pcma: 8 } as const
const SETTLE_MS = 200
/** Maximum number of sessions in one bench. */
const SESSIONS_MAX = 20_000

const standIn = new StandInFacts()
const { counts: facts } = standIn

function send(ws: Socket, message: unknown): void {
  ws.send(JSON.stringify(message), false, false)
}

/** @param firstMs  duration in ms of the message that begins the response */
function begin(ws: Socket, session: Session, firstMs: number): void {
  session.response = ++session.responses
  const id = `resp_${session.response}`
  const item = {
    id: `item_${session.response}`,
    object: 'realtime.item',
    type: 'message',
    status: 'in_progress',
    role: 'assistant',
    content: [],
  }
  send(ws, {
    type: 'response.created',
    event_id: `event_c${session.response}`,
    response: { id, object: 'realtime.response', status: 'in_progress', output: [] },
  })
  send(ws, {
    type: 'response.output_item.added',
    event_id: `event_i${session.response}`,
    response_id: id,
    output_index: 0,
    item,
  })
  session.prefix =
    `{"type":"response.output_audio.delta","event_id":"event_a","response_id":"${id}","item_id":"${item.id}",` +
    '"output_index":0,"content_index":0,"delta":"'
  if (!options.conversation) lead(ws, session, firstMs)
}

/** Silence before the first audio of a response, as PCM of 24 kHz. */
function lead(ws: Socket, session: Session, firstMs: number): void {
  const ms = options.cushionMs + Math.max(0, options.messageMsMax - Math.round(firstMs))
  if (session.coding === 'pcm' && ms > 0) ws.send(`${session.prefix}${cushion(ms).toString('base64')}"}`, false, false)
}

function endResponse(ws: Socket, session: Session, status: 'cancelled' | 'completed'): void {
  if (session.response === 0) return
  const details = status === 'cancelled' ? { status_details: { type: 'cancelled', reason: 'client_cancelled' } } : {}
  const ids = { response_id: `resp_${session.response}`, item_id: `item_${session.response}` }
  const response = { id: ids.response_id, object: 'realtime.response', status, ...details, output: [] }
  send(ws, { type: 'response.output_audio.done', event_id: 'event_e', ...ids, output_index: 0, content_index: 0 })
  session.response = 0
  session.quietUntilMs = performance.now() + options.thinkMs
  send(ws, { type: 'response.done', event_id: 'event_d', response })
}

/** Duration in ms of audio from its number of base64 characters. */
function msOfChars(chars: number, coding: Coding): number {
  return (chars * 3) / 4 / BYTES_PER_MS[coding]
}

function hear(ws: Socket, session: Session, text: string): void {
  const from = text.indexOf(AUDIO) + AUDIO.length
  const to = text.indexOf('"', from)
  const ms = msOfChars(to - from, session.coding)
  const nowMs = performance.now()
  standIn.append(ms)
  if (options.conversation) return converse(ws, session, text.slice(from, to))
  // Audio that waited for the connection is dropped, because it comes all at once: sending it back would delay all
  // later audio.
  if (session.responses === 0 && session.quietUntilMs === Infinity) session.quietUntilMs = nowMs + SETTLE_MS
  if (session.response === 0 && nowMs < session.quietUntilMs) return
  const audio = text.slice(from, to)
  if (options.answerAfterMs === 0) return sayBack(ws, session, audio)
  heard.push({ ws, session, audio, dueMs: nowMs + options.answerAfterMs })
  if (heard.length === 1) setTimeout(sayDue, options.answerAfterMs)
}

const scratch = new Int16Array(64 * 1024)
/** Pieces of an answer in base64, for each audio format. */
const answers = options.conversation
  ? { pcm: await answerPieces('pcm'), pcmu: await answerPieces('pcmu'), pcma: await answerPieces('pcma') }
  : { pcm: [], pcmu: [], pcma: [] }

async function answerPieces(coding: Coding): Promise<readonly string[]> {
  const bytes = await modelAnswer(coding)
  const each = DELTA_MS * BYTES_PER_MS[coding]
  return Array.from({ length: Math.ceil(bytes.length / each) }, (_, i) =>
    Buffer.from(bytes.subarray(i * each, (i + 1) * each)).toString('base64'),
  )
}

function converse(ws: Socket, session: Session, audio: string): void {
  const { coding } = session
  session.listener ??= new TurnListener(END_OF_TURN_MS, coding === 'pcm' ? 24_000 : 8000)
  const bytes = Buffer.from(audio, 'base64')
  const samples = coding === 'pcm' ? bytes.length >> 1 : G711[coding].decode(bytes, scratch)
  if (coding === 'pcm') new Uint8Array(scratch.buffer).set(bytes)
  const turn = session.listener.hear(scratch.subarray(0, samples))
  if (turn === null) return
  if (turn === 'began') {
    session.turnOfRun = standIn.run
    return send(ws, {
      type: 'input_audio_buffer.speech_started',
      event_id: 'event_v',
      audio_start_ms: 0,
      item_id: 'item_c',
    })
  }
  // Callers may connect in the middle of their turn. So the expected duration of a turn is known only if the turn began
  // in this run.
  if (session.turnOfRun === standIn.run) standIn.turn(turn.turnMs)
  send(ws, { type: 'input_audio_buffer.speech_stopped', event_id: 'event_w', audio_end_ms: 0, item_id: 'item_c' })
  send(ws, { type: 'input_audio_buffer.committed', event_id: 'event_x', item_id: 'item_c', previous_item_id: null })
  setTimeout(() => answer(ws, session, answers[coding]), THINK_MS - turn.surplusMs)
}

function answer(ws: Socket, session: Session, pieces: readonly string[]): void {
  if (!sockets.has(ws) || session.response !== 0) return
  begin(ws, session, options.messageMsMax)
  const { response } = session
  const say = (index: number): void => {
    if (!sockets.has(ws) || session.response !== response) return
    const piece = pieces[index]
    if (piece === undefined) return endResponse(ws, session, 'completed')
    ws.send(`${session.prefix}${piece}"}`, false, false)
    setTimeout(() => say(index + 1), DELTA_EVERY_MS)
  }
  say(0)
}

/** Audio of all calls that waits `answerAfterMs` before it is sent back, oldest first. */
const heard: Heard[] = []

function sayDue(): void {
  const nowMs = performance.now()
  const due = heard.findIndex(({ dueMs }) => dueMs > nowMs)
  for (const { ws, session, audio } of heard.splice(0, due < 0 ? heard.length : due))
    if (sockets.has(ws)) sayBack(ws, session, audio)
  const next = heard[0]
  if (next !== undefined) setTimeout(sayDue, Math.max(1, next.dueMs - nowMs))
}

function sayBack(ws: Socket, session: Session, audio: string): void {
  const ms = msOfChars(audio.length, session.coding)
  if (session.response === 0) {
    if (performance.now() < session.quietUntilMs) return
    begin(ws, session, ms)
  } else if (session.paused) {
    if (performance.now() < session.quietUntilMs) return
    session.paused = false
    lead(ws, session, ms)
  }
  ws.send(`${session.prefix}${audio}"}`, false, false)
}

interface SessionUpdate {
  readonly session?: {
    readonly audio?: { readonly output?: { readonly format?: { readonly type?: string } | string } }
  }
}

function control(ws: Socket, session: Session, message: { readonly type?: string } & SessionUpdate): void {
  switch (message.type) {
    case 'session.update': {
      const format = message.session?.audio?.output?.format
      const type = typeof format === 'string' ? format : format?.type
      if (type !== undefined) session.coding = /pcmu|ulaw/.test(type) ? 'pcmu' : type.includes('pcma') ? 'pcma' : 'pcm'
      return send(ws, {
        type: 'session.updated',
        event_id: 'event_u',
        session: { id: 'sess_bench', object: 'realtime.session', ...message.session },
      })
    }
    case 'response.cancel':
      facts.cancels++
      return endResponse(ws, session, 'cancelled')
    case 'conversation.item.truncate':
      facts.truncates++
      return send(ws, {
        type: 'conversation.item.truncated',
        event_id: 'event_t',
        item_id: 'item',
        content_index: 0,
        audio_end_ms: 0,
      })
    case 'input_audio_buffer.clear':
      return send(ws, { type: 'input_audio_buffer.cleared', event_id: 'event_b' })
    // The response begins with the first audio, not with its request, because there is no earlier audio to send back.
    case 'response.create':
    case 'input_audio_buffer.append':
    case 'input_audio_buffer.commit':
    case 'conversation.item.create':
      return
    default:
      facts.unknown++
  }
}

const sockets = new Set<Socket>()
const app =
  options.tls === null ? App() : SSLApp({ key_file_name: options.tls.keyFile, cert_file_name: options.tls.certFile })
app
  .ws<Data>('/*', {
    maxPayloadLength: 1024 * 1024,
    maxBackpressure: 4 * 1024 * 1024,
    idleTimeout: 0,
    upgrade: (res, req, context) => {
      if (sockets.size >= SESSIONS_MAX) {
        res.writeStatus('503 Service Unavailable').end()
        return
      }
      const session: Session = {
        response: 0,
        responses: 0,
        quietUntilMs: Infinity,
        paused: false,
        coding: 'pcm',
        prefix: '',
        listener: null,
        turnOfRun: -1,
      }
      // The peers offer subprotocols that carry the key; any of them works, so the first is chosen.
      const offered = req.getHeader('sec-websocket-protocol').split(',')[0] ?? ''
      res.upgrade<Data>({ session }, req.getHeader('sec-websocket-key'), offered, '', context)
    },
    open: (ws) => {
      sockets.add(ws)
      facts.sessions++
      send(ws, {
        type: 'session.created',
        event_id: 'event_s',
        session: { id: `sess_${facts.sessions}`, object: 'realtime.session', type: 'realtime' },
      })
    },
    message: (ws, message) => {
      const { session } = ws.getUserData()
      const text = Buffer.from(message).toString('latin1')
      if (text.startsWith(APPEND) && text.includes(AUDIO)) hear(ws, session, text)
      else control(ws, session, JSON.parse(Buffer.from(message).toString('utf8')) as { type?: string })
    },
    close: (ws) => {
      sockets.delete(ws)
    },
  })
  .listen('127.0.0.1', 0, (listener) => {
    if (listener === false) throw new Error('the stand-in backend cannot listen on loopback')
    standIn.serve(us_socket_local_port(listener), restart)
  })

function restart(): void {
  if (options.conversation) return
  for (const ws of sockets) {
    const { session } = ws.getUserData()
    if (options.oneResponse) {
      session.paused = session.response !== 0
      session.quietUntilMs = performance.now() + options.thinkMs
    } else {
      endResponse(ws, session, 'completed')
    }
  }
}

/** Silence at 24 kHz with one sample that is not zero: the gateway does not play zeros alone as an answer. */
function cushion(ms: number): Buffer {
  const silence = Buffer.alloc(ms * 48)
  if (silence.length > 0) silence.writeInt16LE(40, 0)
  return silence
}
