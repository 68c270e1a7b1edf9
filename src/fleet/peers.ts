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
import { PEER_ANSWERS } from './peer-requests.js'
import type { PeerRequest } from './peer-requests.js'

/** Maximum time in ms to connect to another node. */
export const PEER_CONNECT_MS = 200
/** Maximum number of requests of this node to other nodes that may wait for their answers at the same time. */
const PEER_REQUESTS_MAX = 1000

/** Addressee of a request: a run of a node, and its origin. */
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
 * - `answered`: the addressed run of the node answered.
 * - `refused`: evidence that this run is dead. The address has no listener, the host is gone, or another run or node
 * proves that it is at this address now.
 * - `silent`: no answer came. The node may have processed the request.
 * - `failed`: a fault on this node or between the nodes (TLS, secrets, clocks, a foreign server). `unknown-request`:
 * the other node has an older version.
 */
export type PeerResult =
  | { readonly result: 'answered'; readonly answer: unknown }
  | {
      readonly result: 'refused'
      readonly reason: (typeof PEER_REFUSED)[number]
      /** Run of the node that is at this address now; null if no run answers. */
      readonly answeredBy: string | null
    }
  | { readonly result: 'silent'; readonly reason: (typeof PEER_SILENT)[number] }
  | { readonly result: 'failed'; readonly reason: (typeof PEER_FAILED)[number] }

export const PEER_OUTCOMES = ['answered', ...PEER_REFUSED, ...PEER_SILENT, ...PEER_FAILED] as const
type PeerOutcome = (typeof PEER_OUTCOMES)[number]

/** Fault that prevented the request, or made its answer unusable. The fault's message is for the log. */
class Failure extends Error {
  readonly reason: (typeof PEER_FAILED)[number]

  constructor(reason: (typeof PEER_FAILED)[number], message: string) {
    super(message)
    this.reason = reason
  }
}

interface PeersOptions {
  readonly self: PeerName
  /** Values of TOKEN_SECRET, at least one. The first signs; each may verify. */
  readonly secrets: readonly string[]
  /** Null if the nodes do not use certificates. */
  readonly tls: PeerTls | null
  readonly clock: Clock
  readonly wallClock: WallClock
  readonly log: Log
  /** @defaultValue `PEER_CONNECT_MS` */
  readonly connectMs?: number
}

const TIMED_OUT: PeerResult = { result: 'silent', reason: 'timeout' }

/**
 * Sends requests to the internal listeners of other nodes, with the gateway's HTTP client. Private addresses are
 * allowed, but addresses of cloud credentials are not. No request is sent twice.
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
   * Sends `POST /internal/{name}`. Never rejects.
   * @param body JSON of at most PEER_BODY_BYTES_MAX
   * @param answerMs time limit in ms; the connection may take at most PEER_CONNECT_MS of it
   */
  ask(peer: PeerAddress, name: string, body: unknown, answerMs = PEER_ANSWER_MS): Promise<PeerResult> {
    return this.#send(peer, 'POST', name, JSON.stringify(body ?? null), answerMs)
  }

  /** Checks whether this run of the node answers. Never rejects. */
  ping(peer: PeerAddress, answerMs = PEER_ANSWER_MS): Promise<PeerResult> {
    return this.#send(peer, 'GET', 'ping', null, answerMs)
  }

  /** Closes all connections. Running requests fail. */
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
    // An answer that is not proven does not show whether the node is alive. Perhaps this node's own secret is wrong.
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
    return { result: 'answered', answer: formed(name, jsonOf(read)) }
  }

  #counted(peer: PeerAddress, name: string, result: PeerResult, why: string): PeerResult {
    this.#counts[result.result === 'answered' ? 'answered' : result.reason]++
    if (result.result === 'failed')
      this.#lines.note(result.reason, { peer: peer.node, request: name, why }, this.#options.clock())
    return result
  }
}

/** @param name name of the request; the answer to a ping is not checked */
function formed(name: string, answer: unknown): unknown {
  const read = name in PEER_ANSWERS ? PEER_ANSWERS[name as PeerRequest].safeParse(answer) : null
  if (read?.success === false) {
    const paths = read.error.issues.map(({ path }) => path.map(String).join('.'))
    throw new Failure('answer-malformed', `the answer has another form: ${paths.join(', ')}`)
  }
  return answer
}

/** Error codes which prove that the node is not at this address. */
const GONE: Readonly<Record<string, (typeof PEER_REFUSED)[number]>> = {
  ECONNREFUSED: 'connection-refused',
  ENOTFOUND: 'host-unknown',
}

/** Error codes which mean that no answer came. Faults of this node (ENETUNREACH, EMFILE, DNS) are not in this list. */
const NO_ANSWER: Readonly<Record<string, (typeof PEER_SILENT)[number]>> = {
  ETIMEDOUT: 'timeout',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  EHOSTUNREACH: 'unreachable',
  EHOSTDOWN: 'unreachable',
}

function failureOf(thrown: unknown): PeerResult {
  if (thrown instanceof Failure) return { result: 'failed', reason: thrown.reason }
  // A host with several addresses is gone only if all addresses refuse. If one does not refuse, it may only be slow.
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

/** Reason of a listener's refusal. Other texts are dropped, because a foreign server may send any text. */
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
