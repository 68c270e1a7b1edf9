import { maskText } from '../telemetry/redact.js'
import { SETTINGS } from './settings.js'
import type { Config } from './settings.js'
import type { Setting } from '../core/setting.js'

/**
 * Returns the settings by variable, as an operator may see them. Of a secret only the words "set" or "unset" are shown.
 */
export function shownSettings(config: Config): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(SETTINGS).map(([name, setting]: [string, Setting<unknown>]) => {
      const value = config[name as keyof Config] as unknown
      if (setting.secret !== true) return [setting.env, shown(value)]
      const isSet = Array.isArray(value) ? value.length > 0 : value !== null
      return [setting.env, isSet ? '[set]' : '[not set]']
    }),
  )
}

/** Masks a value: a URL may contain a password, and any text may contain a key by mistake. */
function shown(value: unknown): unknown {
  if (typeof value === 'string') return maskText(value)
  return Array.isArray(value) ? value.map(shown) : value
}
