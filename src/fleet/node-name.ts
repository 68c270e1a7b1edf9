/** Longest name of a node. */
export const NODE_NAME_CHARS_MAX = 63

/** A node's name, as in the store, in requests between nodes and in URLs. */
export const NODE_NAME = /^[A-Za-z0-9._-]{1,63}$/

/** Longest number of a process, with its dash, behind the name of its box. */
const PROCESS_CHARS_MAX = 3

/** The name of a host made to fit, with room for the number of a process: what is not allowed becomes a dash. */
export function nodeNameOf(hostname: string): string {
  return hostname.replace(/[^A-Za-z0-9._-]/g, '-').slice(0, NODE_NAME_CHARS_MAX - PROCESS_CHARS_MAX) || 'node'
}
