import { SETTINGS } from './settings.js'
import { defaultOf } from '../core/setting.js'
import type { Setting } from '../core/setting.js'

/** Longest line of a comment. */
const COLUMNS = 118

/**
 * An environment file of settings, none of them set: each with what it means and its default.
 * @param names  variables, in this order; null: all settings
 */
export function envExample(names: readonly string[] | null): string {
  const all = Object.values(SETTINGS) as readonly Setting<unknown>[]
  const chosen = names === null ? all : names.flatMap((name) => all.find(({ env }) => env === name) ?? [])
  const head = '# Settings of mkondo. Copy to .env, set what you need, and start with: mkondo serve --env-file .env\n'
  return `${head}${chosen.map(entry).join('')}`
}

function entry(setting: Setting<unknown>): string {
  const { env, help, kind, secret } = setting
  const fallback = defaultOf(setting)
  const isValue = fallback !== null && secret !== true && kind.parse(fallback) !== undefined
  const inWords = fallback === null || isValue ? '' : ` Default: ${fallback}.`
  const about = wrapped(`${help} Allowed: ${kind.allowed}.${inWords}`).map((line) => `# ${line}\n`)
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
