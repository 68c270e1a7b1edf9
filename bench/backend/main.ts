import type { WebSocket } from 'uWebSockets.js'
import { App, SSLApp, us_socket_local_port } from 'uWebSockets.js'
import { DELTA_EVERY_MS, DELTA_MS, END_OF_TURN_MS, THINK_MS, modelAnswer } from '../generator/conversation.js'
import { G711 } from '../../src/media/pcm.js'
import { endWithParent, optionsFromEnvironment } from '../kit/process.js'
import type { BackendOptions, Coding } from '../protocol.js'
import { StandInFacts } from './stand-in.js'
import { TurnListener } from './turn-listener.js'

/**
 * A stand-in for a realtime model, in a process of its own: speaks OpenAI's Realtime protocol (JSON and base64 over a
 * WebSocket) and says back what it hears, message by message, each `answerAfterMs` after it came. It decodes nothing that it need not look at, so that its share of the machine is small; what it
 * costs is still measured apart.
 *
 * A response runs from the first audio to a `response.cancel`; the next one begins `thinkMs` later.
 *
 * In a conversation it says nothing back. It detects turns by itself and answers them, in pieces that come faster than
 * real time.
 */
const options = optionsFromEnvironment<BackendOptions>('BENCH_BACKEND')
endWithParent()

interface Session {
  /** Number of the response that runs; 0 for none. */
  response: number
  responses: number
  /** Not before this may a new response begin, or one that is paused go on. */
  quietUntilMs: number
  paused: boolean
  /** Coding that the client asked for. */
  coding: Coding
  prefix: string
  /** In a conversation, from the first message on. */
  listener: TurnListener | null
  /** The run in which the caller's turn began. */
  turnOfRun: number
}

/** A message that is to be said back. */
interface Heard {
  readonly ws: Socket
  readonly session: Session
  /** In base64. */
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
/** Sessions that one bench may open. */
const SESSIONS_MAX = 20_000

const standIn = new StandInFacts()
const { counts: facts } = standIn

function send(ws: Socket, message: unknown): void {
  ws.send(JSON.stringify(message), false, false)
}

/** @param firstMs  length of the message that begins it */
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

/** Silence before the first audio of a response, as 24 kHz PCM. */
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

/** Audio in as many characters of base64. */
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
  // The audio that waited for the connection comes in a heap; said back, it would stand in the way of all that follows.
  if (session.responses === 0 && session.quietUntilMs === Infinity) session.quietUntilMs = nowMs + SETTLE_MS
  if (session.response === 0 && nowMs < session.quietUntilMs) return
  const audio = text.slice(from, to)
  if (options.answerAfterMs === 0) return sayBack(ws, session, audio)
  heard.push({ ws, session, audio, dueMs: nowMs + options.answerAfterMs })
  if (heard.length === 1) setTimeout(sayDue, options.answerAfterMs)
}

const scratch = new Int16Array(64 * 1024)
/** The pieces of an answer in base64, for each format. */
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
  // Callers connect in the middle of their turns: of what began before the run, nobody knows how long it should be.
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

/** Audio that is not said back yet, oldest first: `answerAfterMs` of all calls. */
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
    // The response begins with the first audio, not when it is asked for: there is nothing to say back before.
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
      // The peers offer subprotocols that carry the key; the first offered is as good as any.
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

/** Silence of 24 kHz, but for one sample: zeros alone are no answer to the gateway, which would not play them. */
function cushion(ms: number): Buffer {
  const silence = Buffer.alloc(ms * 48)
  if (silence.length > 0) silence.writeInt16LE(40, 0)
  return silence
}
