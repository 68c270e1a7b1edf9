// Form of a setting, and kinds of values. A setting is an environment variable that also has a key in mkondo.yaml.

/** Converts a setting's text to its value. Returns undefined if the text is not allowed; never throws. */
export interface Kind<T> {
  readonly allowed: string
  /**
   * Text about the allowed values for documents, if they list the values in another place; absent if it equals
   * `allowed`.
   */
  readonly allowedInDocuments?: string
  readonly parse: (text: string) => T | undefined
  readonly secret?: true
}

/** One setting: its environment variable, its key in mkondo.yaml, its allowed values and its default. */
export interface Setting<T> {
  readonly env: string
  readonly key: string
  readonly kind: Kind<T>
  readonly fallback: T
  /** True if the value is never shown, even if it is invalid. */
  readonly secret?: true
  /** Description of the default, for a value that depends on the machine or is hard to read. */
  readonly defaultText?: string
  /** Purpose of the setting, in full sentences. */
  readonly help: string
}

/** Returns the default of a setting in readable form; null without a default. */
export function defaultOf({ fallback, defaultText }: Setting<unknown>): string | null {
  if (defaultText !== undefined) return defaultText
  return typeof fallback === 'number' || typeof fallback === 'boolean' || typeof fallback === 'string'
    ? String(fallback)
    : null
}

export const text = (allowed = 'any text', pattern = /./su): Kind<string> => ({
  allowed,
  parse: (value) => (pattern.test(value) ? value : undefined),
})

export const secret = <T>(kind: Kind<T>): Kind<T> => ({ ...kind, secret: true })

export const integer = (min: number, max: number): Kind<number> => ({
  allowed: `a whole number from ${min} to ${max}`,
  parse: (value) => {
    if (!/^\d{1,9}$/.test(value)) return undefined
    const number = Number(value)
    return number >= min && number <= max ? number : undefined
  },
})

export const oneOf = <T extends string>(...names: readonly T[]): Kind<T> => ({
  allowed: `one of ${names.join(', ')}`,
  parse: (value) => names.find((name) => name === value),
})

export const url = (...protocols: readonly string[]): Kind<string> => ({
  allowed: `a URL that begins with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`,
  parse: (value) => {
    if (!URL.canParse(value)) return undefined
    const parsed = new URL(value)
    return protocols.includes(parsed.protocol) && parsed.hostname !== '' ? value.replace(/\/+$/, '') : undefined
  },
})

/** Kinds of addresses of services: HTTP, WebSocket, or both. */
export const SOCKET_OR_HTTP = url('https:', 'http:', 'wss:', 'ws:')
export const HTTP = url('https:', 'http:')

export const apiKey = secret(text('an API key in ASCII without spaces', /^[\x21-\x7e]{8,4096}$/))
export const modelName = text('the name of a model without spaces', /^\S{1,200}$/)

/** Definition of a setting without the properties that follow from its position in `SETTINGS` and from its kind. */
export type Given<T> = Omit<Setting<T>, 'env' | 'key' | 'secret'> & Partial<Pick<Setting<T>, 'env' | 'key'>>

export const define = <T>(setting: Given<T>): Given<T> => setting
export const optional = <T>(setting: Omit<Given<T>, 'fallback'>): Given<T | null> => ({ ...setting, fallback: null })

/**
 * Adds names to settings. `agentsDir` has the variable AGENTS_DIR, unless `env` names another variable. The key in
 * mkondo.yaml follows from the variable.
 */
export function named<T extends object>(settings: { readonly [K in keyof T]: Given<T[K]> }) {
  const entries = Object.entries<Given<unknown>>(settings).map(([name, setting]) => {
    const env = setting.env ?? name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()
    const key = setting.key ?? env.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase())
    return [name, { ...setting, env, key, ...(setting.kind.secret && { secret: true }) }]
  })
  return Object.fromEntries(entries) as { readonly [K in keyof T]: Setting<T[K]> }
}
