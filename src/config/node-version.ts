/**
 * The first version of each major of Node that distrusts the eight intermediate CA keys which became recoverable on
 * 20 October 2026 (Node's releases of that month).
 */
const SAFE_FROM: Readonly<Record<number, readonly [minor: number, patch: number]>> = {
  22: [23, 4],
  24: [22, 1],
  26: [12, 1],
}
/** Majors before the newest that Node no longer maintains are those that are not above. */
const NEWEST = 26

/** Recommended versions of Node. */
const RECOMMENDED_NODE = Object.entries(SAFE_FROM)
  .map(([major, [minor, patch]]) => `${major}.${minor}.${patch}`)
  .join(', ')
  .replace(/, (?=[^,]*$)/, ' or ')

/**
 * Why this Node is not one to take calls with; null where nothing is known against it.
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
