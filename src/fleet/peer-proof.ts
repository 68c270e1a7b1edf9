import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { assert } from '../core/assert.js'
import { derivedKey } from './secrets.js'

/** One run of one node: the sender or the receiver of a request. */
export interface PeerName {
  readonly node: string
  /** Random id that is new at each start of the node: 1 to 64 of `A-Z a-z 0-9 _ -`. */
  readonly incarnation: string
}

/** Claims of a request between nodes whose MAC was verified. */
export interface PeerClaims {
  /** Calendar time at the sender. */
  readonly timeMs: number
  readonly nonce: string
  readonly from: PeerName
  readonly to: PeerName
  /** SHA-256 of the body, base64url. */
  readonly bodyHash: string
}

/** Header of an answer. A request uses `Authorization` instead. */
export const ANSWER_HEADER = 'mkondo-answer'

/**
 * First field under the MAC. Requests and answers have different values, so that a request's MAC is never valid for an
 * answer.
 */
const REQUEST_DOMAIN = 'mkondo peer request 1'
const ANSWER_DOMAIN = 'mkondo peer answer 1'

// time . nonce . sender . receiver . SHA-256 of the body . MAC over all these fields, method and path
const REQUEST =
  /^Mkondo-1 (\d{13}) ([\w-]{22}) ([\w.-]{1,63}) ([\w-]{1,64}) ([\w.-]{1,63}) ([\w-]{1,64}) ([\w-]{43}) ([\w-]{43})$/
// the answering node . MAC over this node, status, body and the request's nonce
const ANSWER = /^Mkondo-1 ([\w.-]{1,63}) ([\w-]{1,64}) ([\w-]{43})$/

interface Answer {
  readonly status: number
  readonly body: Uint8Array
  /** Nonce of the request. */
  readonly nonce: string
}

/**
 * Proof of requests between nodes and of their answers. It is an HMAC-SHA256 with keys derived from TOKEN_SECRET. A
 * request's MAC covers a hash of the body, so that the head is enough to refuse a stranger. If TOKEN_SECRET has two
 * values, the first signs requests, and both can verify. An answer is signed with the key of its request.
 */
export class PeerProof {
  readonly #keys: readonly Buffer[]

  constructor(secrets: readonly string[]) {
    assert(secrets.length > 0, 'a token secret is set')
    this.#keys = secrets.map((secret) => derivedKey(secret, 'peers'))
  }

  /** @returns the `Authorization` header of a request, and the request's nonce, which the proof of the answer needs */
  signRequest(
    method: string,
    path: string,
    body: Uint8Array,
    claims: Pick<PeerClaims, 'timeMs' | 'from' | 'to'>,
  ): { readonly authorization: string; readonly nonce: string } {
    const { timeMs, from, to } = claims
    const nonce = randomBytes(16).toString('base64url')
    const said = `Mkondo-1 ${timeMs} ${nonce} ${from.node} ${from.incarnation} ${to.node} ${to.incarnation} ${hashOf(body)}`
    const [key] = this.#keys
    assert(key !== undefined, 'there is a key')
    const authorization = `${said} ${mac(key, [REQUEST_DOMAIN, method, path, said])}`
    assert(REQUEST.test(authorization), 'the names of nodes are within their alphabets')
    return { authorization, nonce }
  }

  /** @returns the request's claims and the key that signed the request; if the request is not valid, its fault */
  readRequest(
    method: string,
    path: string,
    authorization: string | undefined,
  ): { readonly claims: PeerClaims; readonly key: Buffer } | 'unsigned' | 'signature' {
    const parts = REQUEST.exec(authorization ?? '')
    if (authorization === undefined || parts === null) return 'unsigned'
    const [, time = '', nonce = '', node = '', incarnation = '', toNode = '', toIncarnation = '', bodyHash = ''] = parts
    const given = parts[8] ?? ''
    const said = authorization.slice(0, -given.length - 1)
    const key = this.#keyOf([REQUEST_DOMAIN, method, path, said], given)
    if (key === undefined) return 'signature'
    const from = { node, incarnation }
    const to = { node: toNode, incarnation: toIncarnation }
    return { claims: { timeMs: Number(time), nonce, from, to, bodyHash }, key }
  }

  /**
   * Header of an answer.
   * @param key  key that signed the request
   */
  signAnswer(key: Buffer, self: PeerName, answer: Answer): string {
    const said = `Mkondo-1 ${self.node} ${self.incarnation}`
    return `${said} ${mac(key, answerText(said, answer))}`
  }

  /** Node that gave an answer; null if the answer is not signed with the secret or belongs to another request. */
  readAnswer(header: string | null, answer: Answer): PeerName | null {
    const [, node = '', incarnation = '', given = ''] = ANSWER.exec(header ?? '') ?? []
    if (given === '') return null
    const said = `Mkondo-1 ${node} ${incarnation}`
    return this.#keyOf(answerText(said, answer), given) === undefined ? null : { node, incarnation }
  }

  /** All keys are always tried, so that the duration does not reveal the matching key. */
  #keyOf(text: readonly string[], given: string): Buffer | undefined {
    const [fitting] = this.#keys.filter((key) => timingSafeEqual(Buffer.from(mac(key, text)), Buffer.from(given)))
    return fitting
  }
}

/** SHA-256 as base64url, 43 characters. */
export function hashOf(body: Uint8Array): string {
  return createHash('sha256').update(body).digest('base64url')
}

function answerText(said: string, { status, body, nonce }: Answer): readonly string[] {
  return [ANSWER_DOMAIN, String(status), nonce, hashOf(body), said]
}

/** MAC over several texts. The join is unambiguous, because no text contains a newline. */
function mac(key: Buffer, text: readonly string[]): string {
  return createHmac('sha256', key).update(text.join('\n')).digest('base64url')
}
