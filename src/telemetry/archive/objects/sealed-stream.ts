import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import type { DecipherGCM } from 'node:crypto'
import { GatewayError } from '../../../core/errors.js'

const ALGORITHM = 'aes-256-gcm'
const MAGIC = Buffer.from('MKO1')
export const IV_BYTES = 12
const TAG_BYTES = 16
export const KEY_BYTES = 32
/** Number of bytes that encryption adds to an object. */
export const SEALED_MORE_BYTES = MAGIC.length + IV_BYTES + TAG_BYTES

/**
 * Encrypts: `MKO1`, 12 bytes IV, AES-256-GCM, 16 bytes tag (docs/FORMATS.md, "Stored object").
 * @param name  the object's name. It is bound to the content, so that one object cannot replace another
 */
export async function* sealed(
  source: AsyncIterable<Uint8Array>,
  { key, iv, name }: { key: Uint8Array; iv: Uint8Array; name: string },
): AsyncGenerator<Uint8Array> {
  const cipher = createCipheriv(ALGORITHM, key, iv).setAAD(Buffer.from(name))
  yield Buffer.concat([MAGIC, iv])
  for await (const chunk of source) yield cipher.update(chunk)
  yield Buffer.concat([cipher.final(), cipher.getAuthTag()])
}

/**
 * Decrypts. Use the bytes only after the generator has ended without an error, because only then they are proven.
 * @throws GatewayError STORAGE if the bytes were not stored under this name and with this key
 */
export async function* opened(
  source: AsyncIterable<Uint8Array>,
  { key, name }: { key: Uint8Array; name: string },
): AsyncGenerator<Uint8Array> {
  let decipher: DecipherGCM | null = null
  // The newest 16 bytes are held back, because they may be the tag.
  let held = Buffer.alloc(0)
  for await (const chunk of source) {
    held = Buffer.concat([held, chunk])
    if (decipher === null) {
      if (held.length < MAGIC.length + IV_BYTES) continue
      if (!held.subarray(0, MAGIC.length).equals(MAGIC)) break
      const iv = held.subarray(MAGIC.length, MAGIC.length + IV_BYTES)
      decipher = createDecipheriv(ALGORITHM, key, iv, { authTagLength: TAG_BYTES })
      decipher.setAAD(Buffer.from(name))
      held = held.subarray(MAGIC.length + IV_BYTES)
    }
    if (held.length <= TAG_BYTES) continue
    yield decipher.update(held.subarray(0, -TAG_BYTES))
    held = Buffer.from(held.subarray(-TAG_BYTES))
  }
  try {
    if (decipher === null) throw new Error('no header')
    decipher.setAuthTag(held)
    decipher.final()
  } catch (thrown) {
    throw new GatewayError('STORAGE', `${name} is not what was stored`, { cause: thrown })
  }
}

/** Encrypts a small secret in one piece, with the format of `sealed`. */
export function sealedBytes(secret: Uint8Array, key: Uint8Array, name: string): Buffer {
  const iv = randomBytes(IV_BYTES)
  const cipher = createCipheriv(ALGORITHM, key, iv).setAAD(Buffer.from(name))
  return Buffer.concat([MAGIC, iv, cipher.update(secret), cipher.final(), cipher.getAuthTag()])
}

/** @throws as `opened` */
export function openedBytes(bytes: Uint8Array, key: Uint8Array, name: string): Buffer {
  const from = MAGIC.length + IV_BYTES
  try {
    const decipher = createDecipheriv(ALGORITHM, key, bytes.subarray(MAGIC.length, from), { authTagLength: TAG_BYTES })
    decipher.setAAD(Buffer.from(name)).setAuthTag(bytes.subarray(-TAG_BYTES))
    return Buffer.concat([decipher.update(bytes.subarray(from, -TAG_BYTES)), decipher.final()])
  } catch (thrown) {
    throw new GatewayError('STORAGE', `${name} is not what was stored`, { cause: thrown })
  }
}
