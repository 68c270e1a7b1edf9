import { jsonObject } from '../../core/json.js'
import { GatewayError } from '../../core/errors.js'
import { isAgentName } from '../../core/ids.js'
import { SOCKET_IDLE_S } from '../../core/limits.js'
import type { Log } from '../../telemetry/log.js'
import type { Audit, Operator } from './ops-audit.js'
import type { HttpStatus } from '../http/reply.js'
import { NO_COMPRESSION } from '../http/uws.js'
import type { HttpRequest, HttpResponse, TemplatedApp, WebSocket } from '../http/uws.js'

/** Maximum number of calls from browsers at the same time. */
const SOFTPHONE_CALLS_MAX = 8
/** Maximum size in bytes of a browser's message. 100 ms of audio has 3,200 bytes, and a typed sentence has fewer. */
const SOFTPHONE_MESSAGE_BYTES_MAX = 8 * 1024
/** Maximum number of unsent audio bytes of one browser, 2 s; further frames are dropped. */
const SOFTPHONE_BACKLOG_BYTES_MAX = 64 * 1024
/** Maximum number of characters of one typed sentence. */
const SOFTPHONE_TEXT_CHARS_MAX = 300

/**
 * Places calls from browsers as a carrier does: webhook, document and audio socket. The composition root provides it.
 */
export interface Softphone {
  /**
   * Begins a call. If the call cannot be placed, its events report the end.
   * @throws GatewayError AGENT_UNKNOWN if the draft no longer exists
   */
  place(order: SoftphoneOrder, events: SoftphoneEvents): SoftphoneCall
}

interface SoftphoneEvents {
  /** Called with actions of the carrier, as plain JSON with a `type`; `ended` is the last. */
  readonly news: (news: Readonly<Record<string, unknown>>) => void
  /**
   * Called with 20 ms of sound for the caller, s16le at 16 kHz; the bytes are valid only until the function returns.
   */
  readonly heard: (bytes: Uint8Array) => void
  readonly over: () => void
}

interface PhoneData {
  readonly operator: Operator
  call: SoftphoneCall | null
  /** Number of frames that were dropped because the browser did not read. */
  framesDropped: number
}

const NUMBER = /^\+?[0-9]{3,15}$/
const KEYS = /^[0-9*#A-D]{1,16}$/
const DRAFT = /^[0-9a-f-]{36}$/

/**
 * `GET /api/phone` (upgrade): the softphone of the console, one call at a time on each socket. Binary messages are
 * audio in both directions. Text messages are JSON: `call`, `press`, `say` and `hang-up` from the browser, and actions
 * of the carrier to the browser.
 */
export class PhoneSockets {
  readonly #options: PhoneOptions
  readonly #open = new Set<WebSocket<PhoneData>>()
  readonly #utf8 = new TextDecoder()

  constructor(options: PhoneOptions) {
    this.#options = options
  }

  routes(app: TemplatedApp): void {
    app.ws<PhoneData>('/api/phone', {
      maxPayloadLength: SOFTPHONE_MESSAGE_BYTES_MAX,
      compression: NO_COMPRESSION,
      idleTimeout: SOCKET_IDLE_S,
      sendPingsAutomatically: true,
      upgrade: (res, req, context) => {
        const operator = this.#options.admit(res, req)
        if (operator === null) return
        res.upgrade<PhoneData>(
          { operator, call: null, framesDropped: 0 },
          req.getHeader('sec-websocket-key'),
          '',
          req.getHeader('sec-websocket-extensions'),
          context,
        )
      },
      open: (ws) => {
        this.#open.add(ws)
      },
      message: (ws, message, isBinary) => {
        if (isBinary) ws.getUserData().call?.audio(new Uint8Array(message))
        else this.#command(ws, this.#utf8.decode(message))
      },
      close: (ws) => {
        this.#open.delete(ws)
        const data = ws.getUserData()
        data.call?.hangUp()
        data.call = null
      },
    })
  }

  /** Number of calls in progress. */
  get calls(): number {
    return [...this.#open].filter((ws) => ws.getUserData().call !== null).length
  }

  closeAll(): void {
    for (const ws of [...this.#open]) ws.end(1001)
  }

  #command(ws: WebSocket<PhoneData>, text: string): void {
    const order = jsonObject(text)
    const data = ws.getUserData()
    switch (order?.['type']) {
      case 'call':
        return this.#call(ws, order)
      case 'press':
        if (typeof order['keys'] === 'string' && KEYS.test(order['keys'])) return data.call?.press(order['keys'])
        return refuse(ws, 'the keys are not valid; allowed: 1 to 16 of 0-9 * # A-D')
      case 'say':
        if (isSentence(order['text'])) return data.call?.say(order['text'].trim())
        return refuse(ws, `the text is not valid; allowed: 1 to ${SOFTPHONE_TEXT_CHARS_MAX} characters`)
      case 'hang-up':
        return data.call?.hangUp()
      default:
        refuse(ws, 'the message is not valid; allowed: a JSON object with the type call, press, say or hang-up')
    }
  }

  #call(ws: WebSocket<PhoneData>, { agent, from, draft = null }: Readonly<Record<string, unknown>>): void {
    const { phone, log, audit } = this.#options
    const data = ws.getUserData()
    if (!isAgentName(agent)) return refuse(ws, 'agent is not valid; allowed: the name of an agent')
    const tries = draft === null ? {} : { tries: 'draft' as const }
    const note = (command: 'softphone' | 'softphone-over', status: HttpStatus, sid: string | null): void => {
      audit({ command, call_sid: sid, agent, ...tries }, { status }, data.operator)
    }
    const refused = (status: HttpStatus, message: string): void => {
      note('softphone', status, null)
      refuse(ws, message)
    }
    if (phone === null) return refused(409, 'this gateway does not accept calls from the browser')
    if (typeof from !== 'string' || !NUMBER.test(from))
      return refuse(ws, 'the caller number is not valid; allowed: 3 to 15 digits, such as +254700000001')
    if (draft !== null && (typeof draft !== 'string' || !DRAFT.test(draft)))
      return refuse(ws, 'draft is not valid; allowed: the id of a draft')
    if (data.call !== null) return refused(409, 'this page has a call already')
    if (this.calls >= SOFTPHONE_CALLS_MAX)
      return refused(503, `${SOFTPHONE_CALLS_MAX} browsers have a call already; wait until one ends`)
    let sid: string | null = null
    try {
      data.call = phone.place(
        { agent, draft, from },
        {
          news: (news) => void this.#send(ws, JSON.stringify(news)),
          heard: (bytes) => {
            if (!this.#open.has(ws)) return
            if (ws.getBufferedAmount() > SOFTPHONE_BACKLOG_BYTES_MAX) data.framesDropped++
            else ws.send(bytes, true)
          },
          over: () => {
            note('softphone-over', 200, sid)
            data.call = null
          },
        },
      )
      sid = data.call.callSid
      note('softphone', 201, sid)
      this.#send(ws, JSON.stringify({ type: 'placed', callSid: data.call.callSid }))
    } catch (thrown) {
      if (thrown instanceof GatewayError && thrown.code === 'AGENT_UNKNOWN') return refused(404, thrown.message)
      log.error({ err: thrown }, 'a call from the console could not be placed')
      refused(500, thrown instanceof GatewayError ? thrown.message : 'the call could not be placed; see the log')
    }
  }

  #send(ws: WebSocket<PhoneData>, text: string): void {
    if (this.#open.has(ws)) ws.send(text)
  }
}

interface SoftphoneOrder {
  readonly agent: string
  /** Id of a draft of the agent that the call tries; null for the version that other calls get. */
  readonly draft: string | null
  /** E.164. Never logged. */
  readonly from: string
}

interface SoftphoneCall {
  readonly callSid: string
  /** Takes sound of the microphone, s16le at 16 kHz, of any length; the bytes are copied. */
  audio(bytes: Uint8Array): void
  press(keys: string): void
  /** Speaks a text for a caller without a microphone. */
  say(text: string): void
  hangUp(): void
}

interface PhoneOptions {
  /** Places calls; null if no call can be placed. */
  readonly phone: Softphone | null
  readonly log: Log
  /** Admits a request; null if it may not act. The refused request is then answered. */
  readonly admit: (res: HttpResponse, req: HttpRequest) => Operator | null
  readonly audit: Audit
}

function refuse(ws: WebSocket<PhoneData>, message: string): void {
  ws.send(JSON.stringify({ type: 'refused', message }))
}

function isSentence(text: unknown): text is string {
  return typeof text === 'string' && text.trim() !== '' && text.length <= SOFTPHONE_TEXT_CHARS_MAX
}
