import { createHmac, timingSafeEqual } from 'node:crypto'
import { assert } from '../core/assert.js'
import { derivedKey } from './secrets.js'

/** The MAC is the last field of the JSON. */
const PROVEN = /^(\{.*),"mac":"([\w-]{43})"\}$/s

/**
 * Proves a node's heartbeat in a store that others may write to: HMAC-SHA256 over its JSON, with a key derived from
 * TOKEN_SECRET for this alone. Of two secrets the first one signs, and each may have signed.
 */
export class NodeProof {
  readonly #keys: readonly Buffer[]

  constructor(secrets: readonly string[]) {
    assert(secrets.length > 0, 'a token secret is set')
    this.#keys = secrets.map((secret) => derivedKey(secret, 'node-records'))
  }

  /** The JSON of `record` with its proof. */
  sign(record: object): string {
    const [key] = this.#keys
    assert(key !== undefined, 'there is a key')
    const said = JSON.stringify(record).slice(0, -1)
    return `${said},"mac":"${mac(key, said)}"}`
  }

  /** @returns what was signed; null when nobody with the secret signed it */
  read(text: string): unknown {
    const [, said, given] = PROVEN.exec(text) ?? []
    if (said === undefined || given === undefined) return null
    // All keys are always tried, so that the time does not tell which one fits.
    const fits = this.#keys.filter((key) => timingSafeEqual(Buffer.from(mac(key, said)), Buffer.from(given)))
    return fits.length > 0 ? (JSON.parse(`${said}}`) as unknown) : null
  }
}

function mac(key: Buffer, said: string): string {
  return createHmac('sha256', key).update(said).digest('base64url')
}
