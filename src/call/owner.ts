import { createHash } from 'node:crypto'

/** Fields of an account whose owner a caller has proved to be. */
export type Identity = Readonly<Record<string, unknown>>

/** Name of an identity, by which the same identity is recognised in another call. It does not show the identity. */
export function ownerOf(identity: Identity): string {
  const fields = Object.entries(identity).sort(([a], [b]) => (a < b ? -1 : 1))
  return createHash('sha256').update(JSON.stringify(fields)).digest('base64url').slice(0, 22)
}
