import { randomUUID } from 'node:crypto'
import type { RungOutcome } from '../carrier/choices.js'
import { messageOf } from '../core/errors.js'
import type { Log } from '../telemetry/log.js'
import { CONNECTION, LEG_CONTEXT, optionsOfLeg } from './dialplan.js'
import { CAUSE, type MediaLeg } from './media-leg.js'
import type { MediaServer } from './media-server.js'

const REQUEST_TIMEOUT_MS = 5000
const PING_MS = 2000
/** Number of consecutive failed pings after which one line is logged. */
const FAILURES_SAID = 3
const PJSIP = /^PJSIP\//i
/** Maximum time in ms until a phone's media socket opens, before the phone rings. */
const MEDIA_WITHIN_MS = 10_000
/** Maximum wait in ms for Asterisk's report of the end, after the ringing time is over. */
const REPORT_WITHIN_MS = 5000
/** Maximum number of phones that ring at once. */
export const RINGING_MAX = 200

export interface AriOptions {
  /** Asterisk's HTTP server, such as `http://127.0.0.1:8088`. */
  readonly url: string
  readonly user: string
  readonly password: string
}

/** Data about the call for a phone that rings. */
export interface PhoneSees {
  /** Number that the phone shows; '' for none. */
  readonly callerId: string
  /** SID of the call for the header `X-Mkondo-Call`; '' for none. */
  readonly callSid: string
  /** Note for the header `X-Mkondo-Note`, one line; '' for none. */
  readonly note: string
}

/** A phone that is ringing; when it is answered, it can be connected. */
export interface RungPhone {
  /** Resolves with the outcome; never rejects. The leg is null unless the phone was answered. */
  readonly answered: Promise<{ readonly outcome: RungOutcome; readonly leg: MediaLeg | null }>
  /** Stops the ringing. To hang up an answered phone, close its leg. */
  cancel(): void
}

/**
 * Rings phones through Asterisk. Its REST interface opens a media socket to the exchange, and the dialplan dials the
 * phone for this socket. So the exchange hears the phone's sound from the first packet, and the ringing stops when the
 * socket ends.
 */
export class Asterisk {
  /** Number of phones that could not be rung. */
  readonly counters = { dialsFailed: 0 }
  readonly #options: AriOptions
  readonly #media: MediaServer
  readonly #log: Log
  readonly #ringing = new Set<string>()
  #pings: NodeJS.Timeout | null = null
  #failures = 0
  #isConnected = false

  constructor(options: AriOptions, media: MediaServer, log: Log) {
    this.#options = options
    this.#media = media
    this.#log = log
  }

  /** True if the interface answered the last ping. */
  get isConnected(): boolean {
    return this.#isConnected
  }

  /** Pings the interface every two seconds. */
  start(): void {
    void this.#ping()
    this.#pings = setInterval(() => void this.#ping(), PING_MS)
    this.#pings.unref()
  }

  /** Ends the pings. Phones stop ringing with their media sockets. */
  stop(): void {
    if (this.#pings !== null) clearInterval(this.#pings)
  }

  /**
   * Rings a phone.
   * @param endpoint  such as `PJSIP/200`
   * @param onSound  called with the leg at the first sound before the answer
   */
  ring(endpoint: string, timeoutMs: number, sees: PhoneSees, onSound?: (leg: MediaLeg) => void): RungPhone {
    const id = `mkondo-${randomUUID()}`
    let cancel = (): void => undefined
    const answered = new Promise<Awaited<RungPhone['answered']>>((resolve) => {
      if (this.#ringing.size >= RINGING_MAX) {
        this.counters.dialsFailed++
        resolve({ outcome: 'failed', leg: null })
        return
      }
      let leg: MediaLeg | null = null
      const settle = (outcome: RungOutcome): void => {
        if (!this.#ringing.delete(id)) return
        clearTimeout(tooLate)
        unexpect()
        if (outcome === 'failed') this.counters.dialsFailed++
        if (outcome === 'answered') leg?.connected()
        else leg?.drop('not answered')
        resolve({ outcome, leg: outcome === 'answered' ? leg : null })
      }
      let tooLate = setTimeout(() => settle('failed'), MEDIA_WITHIN_MS)
      const unexpect = this.#media.expect(id, {
        opened: (opened) => {
          leg = opened
          if (onSound !== undefined) opened.onSound = () => onSound(opened)
          clearTimeout(tooLate)
          tooLate = setTimeout(() => settle('no-answer'), timeoutMs + REPORT_WITHIN_MS)
        },
        reported: (status, cause) => settle(leg === null ? 'failed' : outcomeOf(status, cause)),
        closed: () => settle('failed'),
      })
      this.#ringing.add(id)
      this.#originate(id, endpoint, timeoutMs, sees).catch((thrown: unknown) => {
        this.#log.warn({ reason: messageOf(thrown) }, 'a phone was not rung by Asterisk')
        settle('failed')
      })
      // Asterisk may still open the socket. The server then refuses the socket, because it does not expect it any more.
      cancel = () => settle('no-answer')
    })
    return { answered, cancel: () => cancel() }
  }

  async #originate(id: string, endpoint: string, timeoutMs: number, sees: PhoneSees): Promise<void> {
    // Asterisk accepts these headers only for PJSIP. For other technologies it would write an error to its log.
    const { callSid, note } = PJSIP.test(endpoint) ? sees : { callSid: '', note: '' }
    const query = new URLSearchParams({
      endpoint: `WebSocket/${CONNECTION}/${optionsOfLeg([`leg=${id}`, 'rung=1'])}`,
      ...{ context: LEG_CONTEXT, extension: 's', priority: '1' },
      timeout: String(MEDIA_WITHIN_MS / 1000),
    })
    await this.#request('POST', `/channels?${query.toString()}`, {
      // Variables with `__` reach the phone's channel.
      variables: {
        ...{ __MKONDO_LEG: id, MKONDO_ENDPOINT: endpoint, MKONDO_RING_S: String(Math.ceil(timeoutMs / 1000)) },
        ...{ MKONDO_FROM: sees.callerId, __MKONDO_CALL: callSid, __MKONDO_NOTE: note },
      },
    })
  }

  async #ping(): Promise<void> {
    try {
      await this.#request('GET', '/asterisk/ping')
      if (!this.#isConnected) this.#log.info({}, 'connected to Asterisk')
      this.#isConnected = true
      this.#failures = 0
    } catch (thrown) {
      this.#isConnected = false
      // This is logged once, and not while Asterisk is starting.
      if (++this.#failures === FAILURES_SAID)
        this.#log.warn({ reason: messageOf(thrown) }, 'no connection to Asterisk; trying again')
    }
  }

  async #request(method: string, path: string, body?: unknown): Promise<void> {
    const { url, user, password } = this.#options
    const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
    const response = await fetch(`${url}/ari${path}`, {
      ...{ method, signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) },
      headers: { authorization, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    await response.text()
    // The answer's text is not quoted, because it may contain the number.
    if (!response.ok) throw new Error(`Asterisk answered ${method} with ${response.status}`)
  }
}

/** Determines a phone's outcome from the dialplan's DIALSTATUS and HANGUPCAUSE. */
function outcomeOf(status: string, cause: number): RungOutcome {
  if (status === 'ANSWER') return 'answered'
  if (status === 'BUSY' || cause === CAUSE.busy) return 'busy'
  if (cause === CAUSE.rejected) return 'declined'
  return status === 'NOANSWER' || status === 'CANCEL' ? 'no-answer' : 'failed'
}
