/** Maximum length of a node's name in characters. */
export const NODE_NAME_CHARS_MAX = 63

/** Form of a node's name. Names are used in the store, in requests between nodes and in URLs. */
export const NODE_NAME = /^[A-Za-z0-9._-]{1,63}$/

/** Maximum length of a suffix: a dash and the number of a process. */
const PROCESS_CHARS_MAX = 3

/**
 * Makes a node's name from a host's name. Leaves space for the number of a process. Characters that are not allowed
 * become dashes.
 */
export function nodeNameOf(hostname: string): string {
  return hostname.replace(/[^A-Za-z0-9._-]/g, '-').slice(0, NODE_NAME_CHARS_MAX - PROCESS_CHARS_MAX) || 'node'
}
