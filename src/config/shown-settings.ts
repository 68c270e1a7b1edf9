import { maskText } from '../telemetry/redact.js'
import { SETTINGS } from './settings.js'
import type { Config } from './settings.js'
import type { Setting } from '../core/setting.js'

/** Settings by their variables, as an operator may see them: of a secret only whether it is set. */
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

/** A URL may carry a password, and any text a key that was put in the wrong place. */
function shown(value: unknown): unknown {
  if (typeof value === 'string') return maskText(value)
  return Array.isArray(value) ? value.map(shown) : value
}
