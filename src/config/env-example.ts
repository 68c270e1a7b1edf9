import { SETTINGS } from './settings.js'
import { defaultOf } from '../core/setting.js'
import type { Setting } from '../core/setting.js'
import { VENDORS, VENDOR_SETTINGS } from '../vendors/list.js'

/** Maximum length of a comment line. */
const COLUMNS = 118

const HEAD = '# Settings of mkondo. Copy to .env, set what you need, and start with: mkondo serve --env-file .env\n'
/**
 * Returns an environment file in which every setting is unset and has a comment with its meaning and its default.
 * @param names variables, in this order; null for all variables, first the gateway's own variables, then each vendor's
 */
export function envExample(names: readonly string[] | null): string {
  const all = Object.entries(SETTINGS) as readonly (readonly [string, Setting<unknown>])[]
  if (names === null) {
    const own = all.flatMap(([name, setting]) => (name in VENDOR_SETTINGS ? [] : [entry(setting)]))
    const ofVendors = VENDORS.flatMap(({ title, folder, settings }) => [
      `\n# --- ${title}: src/vendors/${folder}/README.md ---\n`,
      ...all.flatMap(([name, setting]) => (name in settings ? [entry(setting)] : [])),
    ])
    return [HEAD, ...own, ...ofVendors].join('')
  }
  const chosen = names.flatMap((name) => all.find(([, { env }]) => env === name)?.[1] ?? [])
  return `${HEAD}${chosen.map(entry).join('')}`
}

function entry(setting: Setting<unknown>): string {
  const { env, help, kind, secret } = setting
  const fallback = defaultOf(setting)
  const isValue = fallback !== null && secret !== true && kind.parse(fallback) !== undefined
  const inWords = fallback === null || isValue ? '' : ` Default: ${fallback}.`
  const about = wrapped(`${help} Allowed: ${kind.allowedInDocuments ?? kind.allowed}.${inWords}`).map(
    (line) => `# ${line}\n`,
  )
  return `\n${about.join('')}# ${env}=${isValue ? fallback : ''}\n`
}

function wrapped(text: string): string[] {
  const lines = ['']
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? ''
    if (line !== '' && line.length + word.length > COLUMNS) lines.push(word)
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`
  }
  return lines
}
