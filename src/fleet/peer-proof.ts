import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { assert } from '../core/assert.js'
import { derivedKey } from './secrets.js'

/** One run of one node: what a request says of its sender and of its receiver. */
export interface PeerName {
  readonly node: string
  /** Random, new at each start of the node; 1 to 64 of `A-Z a-z 0-9 _ -`. */
  readonly incarnation: string
}

/** Claims of a request between nodes, once its MAC is verified. */
export interface PeerClaims {
  /** Calendar time of the sender. */
  readonly timeMs: number
  readonly nonce: string
  readonly from: PeerName
  readonly to: PeerName
  /** SHA-256 of the body, base64url. */
  readonly bodyHash: string
}

/** The header of an answer; that of a request is `Authorization`. */
export const ANSWER_HEADER = 'mkondo-answer'

/** Domain separation: a request cannot pass for an answer. */
const REQUEST_DOMAIN = 'mkondo peer request 1'
const ANSWER_DOMAIN = 'mkondo peer answer 1'

// time . nonce . sender . receiver . SHA-256 of the body . MAC over all of it, method and path
const REQUEST =
  /^Mkondo-1 (\d{13}) ([\w-]{22}) ([\w.-]{1,63}) ([\w-]{1,64}) ([\w.-]{1,63}) ([\w-]{1,64}) ([\w-]{43}) ([\w-]{43})$/
// the node that answers . MAC over it, status, body and the request's nonce
const ANSWER = /^Mkondo-1 ([\w.-]{1,63}) ([\w-]{1,64}) ([\w-]{43})$/

interface Answer {
  readonly status: number
  readonly body: Uint8Array
  /** Nonce of the request. */
  readonly nonce: string
}

/**
 * Proves requests between nodes, and their answers, by HMAC-SHA256 with keys derived from TOKEN_SECRET. The MAC of a
 * request covers a hash of its body, so that a stranger is refused by the head alone. Of two secrets the first one signs
 * requests, each may have signed, and an answer is signed with the key of its request, which its sender certainly has.
 */
export class PeerProof {
  readonly #keys: readonly Buffer[]

  constructor(secrets: readonly string[]) {
    assert(secrets.length > 0, 'a token secret is set')
    this.#keys = secrets.map((secret) => derivedKey(secret, 'peers'))
  }

  /** @returns the `Authorization` of a request, and its nonce, which the answer proves */
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

  /** @returns what the request says, and the key that signed it; a word for what is wrong with it otherwise */
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

  /** The header of an answer. @param key  of the request */
  signAnswer(key: Buffer, self: PeerName, answer: Answer): string {
    const said = `Mkondo-1 ${self.node} ${self.incarnation}`
    return `${said} ${mac(key, answerText(said, answer))}`
  }

  /** Who gave an answer; null when nobody with the secret did, or not to this request. */
  readAnswer(header: string | null, answer: Answer): PeerName | null {
    const [, node = '', incarnation = '', given = ''] = ANSWER.exec(header ?? '') ?? []
    if (given === '') return null
    const said = `Mkondo-1 ${node} ${incarnation}`
    return this.#keyOf(answerText(said, answer), given) === undefined ? null : { node, incarnation }
  }

  /** All keys are always tried, so that the time does not tell which one fits. */
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

/** No part holds a newline. */
function mac(key: Buffer, text: readonly string[]): string {
  return createHmac('sha256', key).update(text.join('\n')).digest('base64url')
}
