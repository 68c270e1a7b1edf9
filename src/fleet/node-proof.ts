import { createHmac, timingSafeEqual } from 'node:crypto'
import { assert } from '../core/assert.js'
import { derivedKey } from './secrets.js'

/** Signed JSON: its last field is the MAC. */
const PROVEN = /^(\{.*),"mac":"([\w-]{43})"\}$/s

/**
 * Proof that a heartbeat comes from a node of this fleet, because other programs may write to the store. It is the
 * HMAC-SHA256 of the heartbeat's JSON, with a key derived from TOKEN_SECRET. If TOKEN_SECRET has two values, the first
 * signs, and both can verify.
 */
export class NodeProof {
  readonly #keys: readonly Buffer[]

  constructor(secrets: readonly string[]) {
    assert(secrets.length > 0, 'a token secret is set')
    this.#keys = secrets.map((secret) => derivedKey(secret, 'node-records'))
  }

  /** JSON of `record`, with its proof. */
  sign(record: object): string {
    const [key] = this.#keys
    assert(key !== undefined, 'there is a key')
    const said = JSON.stringify(record).slice(0, -1)
    return `${said},"mac":"${mac(key, said)}"}`
  }

  /** @returns the record if it was signed with one of the secrets; null otherwise */
  read(text: string): unknown {
    const [, said, given] = PROVEN.exec(text) ?? []
    if (said === undefined || given === undefined) return null
    // All keys are always tried, so that the duration does not reveal the matching key.
    const fits = this.#keys.filter((key) => timingSafeEqual(Buffer.from(mac(key, said)), Buffer.from(given)))
    return fits.length > 0 ? (JSON.parse(`${said}}`) as unknown) : null
  }
}

function mac(key: Buffer, said: string): string {
  return createHmac('sha256', key).update(said).digest('base64url')
}
