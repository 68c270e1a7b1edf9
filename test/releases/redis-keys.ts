import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/config/package-root.js'

/**
 * The families of keys in Redis, as docs/FORMATS.md has them ("Keys in Redis"), each with the rest of its keys after REDIS_PREFIX.
 * `{campaigns}` has the prefix within its braces.
 */
export const KEY_FAMILIES: Readonly<Record<string, RegExp>> = {
  'call:': /^.+$/,
  'calls-of:': /^[\w.-]+$/,
  nodes: /^$/,
  'once:agent-texts': /^$/,
  'once:analysed:': /^.+$/,
  'once:attempt:': /^.+$/,
  'once:caller:': /^.+$/,
  'once:canary-cost:': /^.+$/,
  'once:effect:': /^.+$/,
  'once:erased:': /^.+$/,
  'once:line:': /^.+$/,
  'once:recover:': /^.+$/,
  'once:try:': /^.+$/,
  'tally:canary:': /^.+$/,
  'tally:canary-stopped:': /^.+$/,
  'tally:spent:': /^.+$/,
  '{outbox}': /^(:ids|:added|:of:.+)?$/,
  '{analyses}': /^(:ids|:added|:of:.+)?$/,
  '{campaigns}:all': /^$/,
  '{campaigns}:call-backs': /^(-[a-z]+:.+|:.+)$/,
  '{campaigns}:counts:': /^.+$/,
  '{campaigns}:counted:': /^.+$/,
  '{campaigns}:do-not-call': /^(:changes)?$/,
  '{campaigns}:ID:': /^.+$/,
}

/** Families that a key with this prefix belongs to. */
export function familiesOf(key: string, prefix: string): readonly string[] {
  const campaigns = `{${prefix}campaigns}`
  const name = key.startsWith(campaigns)
    ? `{campaigns}${key.slice(campaigns.length)}`
    : key.startsWith(prefix)
      ? key.slice(prefix.length)
      : ''
  const found = Object.entries(KEY_FAMILIES).filter(
    ([family, rest]) => name.startsWith(family) && rest.test(name.slice(family.length)),
  )
  const ofCampaign = /^\{campaigns\}:[^:]+:.+$/.test(name) && found.length === 0
  return ofCampaign ? ['{campaigns}:ID:'] : found.map(([family]) => family)
}

/** Names that sources give to values of the store: in files that know `CallStore`, what stands before the first colon. */
export function valueNames(): readonly string[] {
  const folder = join(packageRoot(), 'src')
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.includes('redis-store') && !path.includes('redis-scripts'))
    .map((path) => readFileSync(join(folder, path), 'utf8'))
    .filter((source) => /from '.*\/call-store\.js'/.test(source))
    .flatMap((source) => [...source.matchAll(/`([a-z-]+:)\$\{|^const KEY = '([a-z-]+)'/gm)])
    .map(([, before, whole]) => before ?? whole ?? '')
  return [...new Set(names)]
}
