/** A node's name, as it stands in the store, in requests between nodes and in URLs. */
export const NODE_NAME = /^[A-Za-z0-9._-]{1,63}$/

/** The name of a host made to fit: what is not allowed becomes a dash, and at most `charsMax` are kept. */
export function nodeNameOf(hostname: string, charsMax: number): string {
  return hostname.replace(/[^A-Za-z0-9._-]/g, '-').slice(0, charsMax) || 'node'
}
