import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { GatewayError } from '../core/errors.js'
import { derivedKey } from './secrets.js'

const FORMAT = 1
const NONCE_BYTES = 12
const TAG_BYTES = 16
const HEAD_BYTES = 1 + NONCE_BYTES + TAG_BYTES

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
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv('aes-256-gcm', this.#keys[0] as Buffer, nonce)
    cipher.setAAD(this.#associated(kind))
    const ciphertext = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
    return Buffer.concat([Buffer.of(FORMAT), nonce, cipher.getAuthTag(), ciphertext])
  }

  /** @throws GatewayError KEPT_CALL_INVALID when it was sealed otherwise, or changed since */
  open(kind: SealedKind, bytes: Uint8Array): string {
    if (bytes.length < HEAD_BYTES || bytes[0] !== FORMAT)
      throw new GatewayError('KEPT_CALL_INVALID', `a stored ${kind} of ${bytes.length} bytes has not format ${FORMAT}`)
    for (const key of this.#keys) {
      const text = this.#openWith(key, kind, bytes)
      if (text !== null) return text
    }
    throw new GatewayError(
      'KEPT_CALL_INVALID',
      `a stored ${kind} does not open: it is of another call, was changed, or was written with another TOKEN_SECRET`,
    )
  }

  #openWith(key: Buffer, kind: SealedKind, bytes: Uint8Array): string | null {
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(1, 1 + NONCE_BYTES))
    decipher.setAAD(this.#associated(kind))
    decipher.setAuthTag(bytes.subarray(1 + NONCE_BYTES, HEAD_BYTES))
    try {
      return decipher.update(bytes.subarray(HEAD_BYTES), undefined, 'utf8') + decipher.final('utf8')
    } catch {
      return null
    }
  }

  #associated(kind: SealedKind): Buffer {
    return Buffer.from(`${kind} ${this.#callSid}`)
  }
}
