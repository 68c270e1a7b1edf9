import { hkdfSync } from 'node:crypto'
import { GatewayError } from '../../core/errors.js'
import { derivedKey, openedWith, sealedWith } from '../secrets.js'

const FORMAT = 1

/** Which of a call's values: one never opens as the other. */
type SealedKind = 'state' | 'log' | 'message'

/**
 * Encrypts what the store holds of a call: AES-256-GCM with the call's SID and the kind as associated data, so that a
 * value opens only for the call that it was sealed for. Each call has a key of its own, because a key may not be used
 * with more than 2^32 random nonces (NIST SP 800-38D, 8.3), which a fleet writes in weeks.
 *
 *     1 byte format | 12 bytes nonce | 16 bytes tag | ciphertext
 */
export class SealedCall {
  readonly #callSid: string
  readonly #keys: readonly Buffer[]

  /** @param secrets  of TOKEN_SECRET: the first seals, each opens */
  constructor(callSid: string, secrets: readonly string[]) {
    this.#callSid = callSid
    this.#keys = secrets.map((secret) =>
      Buffer.from(hkdfSync('sha256', derivedKey(secret, 'stored-calls'), '', callSid, 32)),
    )
  }

  seal(kind: SealedKind, text: string): Uint8Array {
    return Buffer.concat([Buffer.of(FORMAT), sealedWith(this.#keys[0] as Buffer, this.#about(kind), text)])
  }

  /** @throws GatewayError KEPT_CALL_INVALID when it was sealed otherwise, or changed since */
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
