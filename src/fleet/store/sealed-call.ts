import { hkdfSync } from 'node:crypto'
import { GatewayError } from '../../core/errors.js'
import { derivedKey, openedWith, sealedWith } from '../secrets.js'

const FORMAT = 1

/** Kind of a sealed value. A value never opens as another kind. */
type SealedKind = 'state' | 'log' | 'message'

/**
 * Encryption of a call's data in the store: AES-256-GCM with the call's SID and the kind as associated data. So a value
 * can be opened only for its own call. Each call has its own key, because a key may be used with at most 2^32 random
 * nonces (NIST SP 800-38D, 8.3), and a fleet writes this number of values within weeks.
 *
 *     1 byte format | 12 bytes nonce | 16 bytes tag | ciphertext
 */
export class SealedCall {
  readonly #callSid: string
  readonly #keys: readonly Buffer[]

  /** @param secrets values of TOKEN_SECRET. The first seals; each of them can open */
  constructor(callSid: string, secrets: readonly string[]) {
    this.#callSid = callSid
    this.#keys = secrets.map((secret) =>
      Buffer.from(hkdfSync('sha256', derivedKey(secret, 'stored-calls'), '', callSid, 32)),
    )
  }

  seal(kind: SealedKind, text: string): Uint8Array {
    return Buffer.concat([Buffer.of(FORMAT), sealedWith(this.#keys[0] as Buffer, this.#about(kind), text)])
  }

  /** @throws GatewayError KEPT_CALL_INVALID if the value was sealed with another key, SID or kind, or was changed */
  open(kind: SealedKind, bytes: Uint8Array): string {
    if (bytes[0] !== FORMAT)
      throw new GatewayError('KEPT_CALL_INVALID', `a stored ${kind} of ${bytes.length} bytes has not format ${FORMAT}`)
    for (const key of this.#keys) {
      const text = openedWith(key, this.#about(kind), bytes.subarray(1))
      if (text !== null) return text
    }
    throw new GatewayError(
      'KEPT_CALL_INVALID',
      `a stored ${kind} does not open: it is of another call, was changed, or was written with another TOKEN_SECRET`,
    )
  }

  #about(kind: SealedKind): string {
    return `${kind} ${this.#callSid}`
  }
}
