import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto'
import { assert } from '../core/assert.js'

/** Purpose of a key. Each purpose has its own keys. */
type KeyPurpose =
  | 'peers'
  | 'stored-calls'
  | 'effects'
  | 'callers'
  | 'caller-memory'
  | 'verification'
  | 'node-records'
  | 'do-not-call'
  | 'call-backs'
  | 'lines'

const KEY_BYTES = 32

/**
 * Derives a key of 32 bytes from a secret of TOKEN_SECRET, by HKDF-SHA256 (RFC 5869). A key reveals nothing about keys
 * of other purposes or about the tokens in URLs.
 */
export function derivedKey(secret: string, purpose: KeyPurpose): Buffer {
  assert(secret !== '', 'a token secret is set')
  return Buffer.from(hkdfSync('sha256', secret, '', `mkondo ${purpose} 1`, KEY_BYTES))
}

const NONCE_BYTES = 12
const TAG_BYTES = 16
const HEAD_BYTES = NONCE_BYTES + TAG_BYTES

/**
 * Seals a text with AES-256-GCM: `12 bytes nonce | 16 bytes tag | ciphertext`.
 * @param about  associated data; the text can be opened only with an equal value
 */
export function sealedWith(key: Buffer, about: string, text: string): Buffer {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(about))
  const ciphertext = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
  return Buffer.concat([nonce, cipher.getAuthTag(), ciphertext])
}

/** Opens a sealed text; null if it was sealed with another key or `about`, or was changed. */
export function openedWith(key: Buffer, about: string, bytes: Uint8Array): string | null {
  if (bytes.byteLength < HEAD_BYTES) return null
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE_BYTES)).setAAD(Buffer.from(about))
  decipher.setAuthTag(bytes.subarray(NONCE_BYTES, HEAD_BYTES))
  try {
    return decipher.update(bytes.subarray(HEAD_BYTES), undefined, 'utf8') + decipher.final('utf8')
  } catch {
    return null
  }
}

/**
 * Makes the tags of callers in heartbeats: hashes with a key, because anyone could try all phone numbers on a plain
 * hash.
 * @returns a function from `partyKey` to 16 characters
 */
export function callerTags(secret: string): (caller: string) => string {
  const key = derivedKey(secret, 'callers')
  return (caller) => createHmac('sha256', key).update(caller).digest('base64url').slice(0, 16)
}
