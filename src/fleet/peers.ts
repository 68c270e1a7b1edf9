import type { Clock, WallClock } from '../core/clock.js'
import { PEER_ANSWER_MS, PEER_BODY_BYTES_MAX } from '../core/limits.js'
import { messageOf } from '../core/errors.js'
import { awakeTimeout } from '../http/awake-timeout.js'
import { HttpClient, headerOf, networkReason, readAtMost } from '../http/http-client.js'
import { LimitedLog } from '../telemetry/limited-log.js'
import type { Log } from '../telemetry/log.js'
import { ANSWER_HEADER, PeerProof } from './peer-proof.js'
import type { PeerName } from './peer-proof.js'
import type { PeerTls } from './peer-listener.js'

/** Connecting to another node. */
export const PEER_CONNECT_MS = 200
/** Requests of one node to others that wait for their answers at once. */
const PEER_REQUESTS_MAX = 1000

/** The node that is asked: this run of it, at this origin. */
export interface PeerAddress extends PeerName {
  readonly url: string
}

const PEER_REFUSED = ['connection-refused', 'host-unknown', 'another-node', 'another-incarnation'] as const
const PEER_SILENT = ['timeout', 'reset', 'unreachable'] as const
const PEER_FAILED = [
  'busy',
  'tls',
  'turned-away',
  'unknown-request',
  'fault',
  'answer-not-proven',
  'answer-malformed',
  'too-large',
  'network',
] as const

/**
 * Outcome of a request.
 * - `answered`: by the node that was asked, in the run that was asked.
 * - `refused`: that run does not answer there any more: nothing listens, the host is gone, or another run or another
 *   node says so and proves it. Evidence that it is dead.
 * - `silent`: no answer came; whether the node carried it out is not known.
 * - `failed`: neither: something is wrong here or between the nodes (TLS, secrets, clocks, a foreign server), or, as
 *   `unknown-request`, the node is of a version before that request.
 */
export type PeerResult =
  | { readonly result: 'answered'; readonly answer: unknown }
  | {
      readonly result: 'refused'
      readonly reason: (typeof PEER_REFUSED)[number]
      /** The run of the node that answers now; null where none does. */
      readonly answeredBy: string | null
    }
  | { readonly result: 'silent'; readonly reason: (typeof PEER_SILENT)[number] }
  | { readonly result: 'failed'; readonly reason: (typeof PEER_FAILED)[number] }

export const PEER_OUTCOMES = ['answered', ...PEER_REFUSED, ...PEER_SILENT, ...PEER_FAILED] as const
type PeerOutcome = (typeof PEER_OUTCOMES)[number]

/** The request was not sent, or its answer is of no use. Its message is for the log. */
class Failure extends Error {
  readonly reason: (typeof PEER_FAILED)[number]

  constructor(reason: (typeof PEER_FAILED)[number], message: string) {
    super(message)
    this.reason = reason
  }
}

interface PeersOptions {
  readonly self: PeerName
  /** At least one: the first signs, each may have signed. */
  readonly secrets: readonly string[]
  /** Null where the nodes have no certificates. */
  readonly tls: PeerTls | null
  readonly clock: Clock
  readonly wallClock: WallClock
  readonly log: Log
  /** @defaultValue `PEER_CONNECT_MS` */
  readonly connectMs?: number
}

const TIMED_OUT: PeerResult = { result: 'silent', reason: 'timeout' }

/**
 * Asks other nodes over their internal listeners. It uses the gateway's one HTTP client with the policy for addresses
 * of the operator: nodes live at private addresses, and never where a cloud keeps credentials. Nothing is sent twice.
 */
export class Peers {
  readonly counters: Readonly<Record<PeerOutcome, number>>
  readonly #counts: Record<PeerOutcome, number>
  readonly #options: PeersOptions
  readonly #proof: PeerProof
  readonly #client: HttpClient
  readonly #lines: LimitedLog<(typeof PEER_FAILED)[number]>
  #waiting = 0

  constructor(options: PeersOptions) {
    this.#options = options
    this.#proof = new PeerProof(options.secrets)
    this.#client = new HttpClient({
      connectMs: options.connectMs ?? PEER_CONNECT_MS,
      ...(options.tls === null ? {} : { tls: options.tls }),
    })
    this.#counts = Object.fromEntries(PEER_OUTCOMES.map((outcome) => [outcome, 0])) as Record<PeerOutcome, number>
    this.counters = this.#counts
    this.#lines = new LimitedLog(
      options.log,
      'A request to another node failed',
      'More requests to other nodes failed for the same reason',
    )
  }

  /**
   * `POST /internal/{name}`. Does not reject.
   * @param body  JSON of at most PEER_BODY_BYTES_MAX
   * @param answerMs  the whole request, of which connecting may take PEER_CONNECT_MS
   */
  ask(peer: PeerAddress, name: string, body: unknown, answerMs = PEER_ANSWER_MS): Promise<PeerResult> {
    return this.#send(peer, 'POST', name, JSON.stringify(body ?? null), answerMs)
  }

  /** Says whether this run of the node answers. Does not reject. */
  ping(peer: PeerAddress, answerMs = PEER_ANSWER_MS): Promise<PeerResult> {
    return this.#send(peer, 'GET', 'ping', null, answerMs)
  }

  /** Closes every connection; requests under way fail. */
  close(): void {
    this.#client.close()
  }

  async #send(
    peer: PeerAddress,
    method: 'GET' | 'POST',
    name: string,
    body: string | null,
    answerMs: number,
  ): Promise<PeerResult> {
    const ended = new AbortController()
    const cancel = awakeTimeout(answerMs, () => {
      ended.abort()
    })
    this.#waiting++
    try {
      if (this.#waiting > PEER_REQUESTS_MAX)
        throw new Failure('busy', `more than ${PEER_REQUESTS_MAX} requests wait for other nodes`)
      return this.#counted(peer, name, await this.#exchange(peer, method, name, body, ended.signal), '')
    } catch (thrown) {
      return this.#counted(peer, name, ended.signal.aborted ? TIMED_OUT : failureOf(thrown), whyOf(thrown))
    } finally {
      this.#waiting--
      cancel()
    }
  }

  async #exchange(
    peer: PeerAddress,
    method: 'GET' | 'POST',
    name: string,
    body: string | null,
    signal: AbortSignal,
  ): Promise<PeerResult> {
    const { self, tls, wallClock } = this.#options
    const bytes = Buffer.from(body ?? '')
    if (bytes.length > PEER_BODY_BYTES_MAX)
      throw new Failure('too-large', `a request of ${bytes.length} bytes is larger than ${PEER_BODY_BYTES_MAX}`)
    const url = new URL(`/internal/${name}`, peer.url)
    if ((url.protocol === 'https:') !== (tls !== null))
      throw new Failure(
        'tls',
        `the node is at ${url.protocol}//, and INTERNAL_TLS_CERT is ${tls === null ? 'not set' : 'set'} here`,
      )
    const { authorization, nonce } = this.#proof.signRequest(method, url.pathname, bytes, {
      timeMs: wallClock(),
      from: self,
      to: { node: peer.node, incarnation: peer.incarnation },
    })
    const response = await this.#client.send({
      url,
      method,
      headers: { authorization, ...(body === null ? {} : { 'content-type': 'application/json' }) },
      body,
      policy: 'as-written',
      signal,
    })
    const { statusCode: status } = response
    const read = await readAtMost(response, PEER_BODY_BYTES_MAX)
    if (read === null) throw new Failure('answer-malformed', `the answer is larger than ${PEER_BODY_BYTES_MAX} bytes`)
    const from = this.#proof.readAnswer(headerOf(response, ANSWER_HEADER), { status, body: read, nonce })
    // A refusal without proof is shown as it came: our own secret may be the wrong one.
    if (from === null) {
      if (status === 401) throw new Failure('turned-away', `status 401: ${refusalOf(read)}`)
      throw new Failure('answer-not-proven', `an answer with status ${status} that no node with our secret signed`)
    }
    if (from.node !== peer.node) return { result: 'refused', reason: 'another-node', answeredBy: null }
    if (from.incarnation !== peer.incarnation)
      return { result: 'refused', reason: 'another-incarnation', answeredBy: from.incarnation }
    if (status === 500) throw new Failure('fault', 'the node failed to answer')
    if (status === 404) throw new Failure('unknown-request', `status 404: ${refusalOf(read)}`)
    if (status !== 200) throw new Failure('turned-away', `status ${status}: ${refusalOf(read)}`)
    return { result: 'answered', answer: jsonOf(read) }
  }

  #counted(peer: PeerAddress, name: string, result: PeerResult, why: string): PeerResult {
    this.#counts[result.result === 'answered' ? 'answered' : result.reason]++
    if (result.result === 'failed')
      this.#lines.note(result.reason, { peer: peer.node, request: name, why }, this.#options.clock())
    return result
  }
}

/** Codes that say that nothing of the node is there. */
const GONE: Readonly<Record<string, (typeof PEER_REFUSED)[number]>> = {
  ECONNREFUSED: 'connection-refused',
  ENOTFOUND: 'host-unknown',
}

/** Codes that say that no answer came from there; what is wrong on this side (ENETUNREACH, EMFILE, DNS) is not here. */
const NO_ANSWER: Readonly<Record<string, (typeof PEER_SILENT)[number]>> = {
  ETIMEDOUT: 'timeout',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  EHOSTUNREACH: 'unreachable',
  EHOSTDOWN: 'unreachable',
}

function failureOf(thrown: unknown): PeerResult {
  if (thrown instanceof Failure) return { result: 'failed', reason: thrown.reason }
  // A host of several addresses is gone when all of them are; otherwise one of them may only be slow.
  const codes = thrown instanceof AggregateError ? thrown.errors.map(networkReason) : [networkReason(thrown)]
  const gone = codes.map((code) => GONE[code])
  const [first] = gone
  if (first !== undefined && !gone.includes(undefined)) return { result: 'refused', reason: first, answeredBy: null }
  const silent = codes.map((code) => NO_ANSWER[code]).find((reason) => reason !== undefined)
  return silent === undefined ? { result: 'failed', reason: 'network' } : { result: 'silent', reason: silent }
}

function whyOf(thrown: unknown): string {
  return thrown instanceof Failure ? thrown.message : networkReason(thrown)
}

/** Reason of a listener's refusal; a foreign server may say anything, and nothing of it is passed on. */
function refusalOf(body: Buffer): string {
  try {
    const { reason } = JSON.parse(body.toString()) as { readonly reason?: unknown }
    return typeof reason === 'string' && /^[a-z-]{1,40}$/.test(reason) ? reason : 'no reason'
  } catch {
    return 'no reason'
  }
}

function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString()) as unknown
  } catch (thrown) {
    throw new Failure('answer-malformed', `the answer is no JSON: ${messageOf(thrown)}`)
  }
}
