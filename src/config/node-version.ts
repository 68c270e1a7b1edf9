/**
 * First safe version of each major version of Node. Safe versions do not trust the eight intermediate CA keys that
 * became recoverable on 20 October 2026.
 */
const SAFE_FROM: Readonly<Record<number, readonly [minor: number, patch: number]>> = {
  22: [23, 4],
  24: [22, 1],
  26: [12, 1],
}
/** Newest known major version of Node. An older major version that SAFE_FROM does not list is no longer maintained. */
const NEWEST = 26

/** Recommended versions of Node, as text. */
const RECOMMENDED_NODE = Object.entries(SAFE_FROM)
  .map(([major, [minor, patch]]) => `${major}.${minor}.${patch}`)
  .join(', ')
  .replace(/, (?=[^,]*$)/, ' or ')

/**
 * Returns the reason why this version of Node must not take calls; null without a known reason.
 * @param version  such as `22.23.3`
 */
export function nodeFault(version: string): string | null {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map((part) => Number.parseInt(part, 10))
  const safe = SAFE_FROM[major]
  if (safe === undefined)
    return major > NEWEST ? null : `Node ${version} gets no security fixes any more; use ${RECOMMENDED_NODE}, or later`
  if (minor > safe[0] || (minor === safe[0] && patch >= safe[1])) return null
  return `Node ${version} trusts certificates of eight CA keys that became recoverable on 20 October 2026; use ${major}.${safe.join('.')} or later`
}
