import { createHmac, hkdfSync } from 'node:crypto'
import { assert } from '../core/assert.js'

/** What a key is for; each purpose has keys of its own. */
type KeyPurpose = 'peers' | 'stored-calls' | 'effects' | 'callers' | 'verification' | 'node-records' | 'do-not-call'

const KEY_BYTES = 32

/**
 * A key of 32 bytes from a secret of TOKEN_SECRET, by HKDF-SHA256 (RFC 5869). The purpose is its info string, so that a
 * MAC or a ciphertext of one purpose says nothing about the keys of another, nor about the tokens in URLs.
 */
export function derivedKey(secret: string, purpose: KeyPurpose): Buffer {
  assert(secret !== '', 'a token secret is set')
  return Buffer.from(hkdfSync('sha256', secret, '', `mkondo ${purpose} 1`, KEY_BYTES))
}

/**
 * Names for callers in heartbeats. Phone numbers are few enough to be tried one by one, so a plain hash would show them.
 * @returns a function from `partyKey` to 16 characters
 */
export function callerTags(secret: string): (caller: string) => string {
  const key = derivedKey(secret, 'callers')
  return (caller) => createHmac('sha256', key).update(caller).digest('base64url').slice(0, 16)
}
