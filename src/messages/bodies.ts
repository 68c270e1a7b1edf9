import { z } from 'zod'
import { valueAt } from '../core/json.js'
import type { Message } from './message.js'

/** Maximum number of entries of one template. */
const TEMPLATE_ENTRIES_MAX = 200
/** Maximum depth of one template. */
const TEMPLATE_DEPTH_MAX = 10
const TEXT_CHARS_MAX = 4000

/** `{{data.from}}`, `{{data.direction | upper}}`. */
const PLACEHOLDER = /\{\{\s*([a-zA-Z][\w.-]*?)\s*(?:\|\s*(\w+)\s*)?\}\}/g
/** Maximum length of a Slack text block, in characters; Slack refuses a longer block. */
const SLACK_CHARS_MAX = 3000
/** Maximum length of a parameter of a WhatsApp template, in characters. */
const WHATSAPP_CHARS_MAX = 1024
const SLACK_ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' }

const FILTERS: Readonly<Record<string, (text: string) => string>> = {
  upper: (text) => text.toUpperCase(),
  /** Returns a phone number without its plus sign, because some services require this. */
  digits: (text) => text.replace(/\D/g, ''),
  /** Joins a text into one line, for subjects, parameters and cells. */
  line: oneLine,
  /** Returns a text without links or mentions, limited to the length of a block. */
  slack: (text) =>
    shortened(
      [...text].map((character) => SLACK_ENTITIES[character] ?? character),
      SLACK_CHARS_MAX,
    ),
  /** Joins a text into one line that is never empty, limited to the length of a template's parameter. */
  whatsapp: (text) => shortened([...oneLine(text)], WHATSAPP_CHARS_MAX) || '-',
}

function oneLine(text: string): string {
  return text.replace(/[\s\p{Zl}\p{Zp}\p{Cc}]+/gu, ' ').trim()
}

/** Returns the first pieces that fit, with a mark if pieces were left out. */
function shortened(pieces: readonly string[], charsMax: number): string {
  if (pieces.reduce((sum, { length }) => sum + length, 0) <= charsMax) return pieces.join('')
  let text = ''
  for (const piece of pieces) {
    if (text.length + piece.length >= charsMax) break
    text += piece
  }
  return `${text}…`
}

/** Scopes: allowed first parts of a placeholder. */
const SCOPES = [
  'id',
  'type',
  'time',
  'subject',
  'agent',
  'number',
  'outcome',
  'transcript',
  'durationS',
  'data',
] as const

/** YAML value whose texts may contain placeholders. */
type Template = string | number | boolean | null | readonly Template[] | { readonly [key: string]: Template }

const templateSchema: z.ZodType<Template> = z.lazy(() =>
  z.union([
    z.string().max(TEXT_CHARS_MAX),
    z.number(),
    z.boolean(),
    z.null(),
    z.array(templateSchema),
    z.record(z.string(), templateSchema),
  ]),
)

/** Form of a body. Without one of these keys the body is a CloudEvent in JSON. */
export interface BodyShape {
  readonly json?: Template | undefined
  readonly form?: Readonly<Record<string, string>> | undefined
  readonly flat?: true | undefined
}

/** Keys of a receiver that define the form of its bodies. */
export const BODIES = {
  json: templateSchema
    .optional()
    .describe('The body in JSON, with `{{data.from}}`, `{{type}}` and so on in its texts. Default: a CloudEvent.'),
  form: z
    .record(z.string(), z.string().max(TEXT_CHARS_MAX))
    .optional()
    .describe('The body as a form (application/x-www-form-urlencoded). Its texts may have the same placeholders.'),
  flat: z
    .literal(true)
    .optional()
    .describe('The event as one flat JSON object, for sheets and catch hooks: `data_from`, `data_outcome`, …'),
}

/** Path of a value that a receiver needs. Messages without this value are not sent to the receiver. */
export const neededValue = z.string().refine((path) => isKnown(path), {
  error: 'allowed: a value that a body may have, such as data.from',
})

/** True if a message has a value. A withheld or masked number does not count as a value. */
export function hasValue(message: Message, path: string): boolean {
  const value = valueAt(valuesOf(message), path.split('.')) ?? ''
  return value !== '' && !(typeof value === 'string' && MASKED.test(value))
}

/** Matches a number that `maskNumber` has masked. */
const MASKED = /^\+?\d{0,4}…\d{0,2}$/

function isKnown(path: string): boolean {
  const [scope] = path.split('.')
  return SCOPES.some((known) => known === scope) && (scope === 'data') === (scope !== path)
}

/** Returns the fault in the form of a receiver's body; null if the form is valid. */
export function bodyFault(shape: BodyShape): { readonly path: string[]; readonly message: string } | null {
  const named = (['json', 'form', 'flat'] as const).filter((key) => shape[key] !== undefined)
  const [key] = named
  if (key === undefined) return null
  if (named.length > 1) return { path: [key], message: 'allowed: only one of json, form and flat' }
  const texts = textsIn(shape[key] ?? null)
  if (texts === null)
    return {
      path: [key],
      message: `allowed: at most ${TEMPLATE_ENTRIES_MAX} entries, and ${TEMPLATE_DEPTH_MAX} levels of them`,
    }
  for (const text of texts) {
    if (text.includes('{{env.'))
      return {
        path: [key],
        message: 'secrets are allowed only in headers: a body is kept on the disk until the receiver accepts it',
      }
    for (const [placeholder, path = '', filter] of text.matchAll(PLACEHOLDER)) {
      if (!isKnown(path))
        return {
          path: [key],
          message: `has ${placeholder}; allowed: {{data.KEY}}, ${SCOPES.slice(0, -1)
            .map((known) => `{{${known}}}`)
            .join(', ')}`,
        }
      if (filter !== undefined && !Object.hasOwn(FILTERS, filter))
        return { path: [key], message: `has ${placeholder}; allowed after |: ${Object.keys(FILTERS).join(', ')}` }
    }
    if (/\{\{|\}\}/.test(text.replace(PLACEHOLDER, '')))
      return { path: [key], message: 'has {{ or }} that is no placeholder such as {{data.from}}' }
  }
  return null
}

/** Returns a body and its media type. @param source  the gateway's name */
export function bodyOf(shape: BodyShape, message: Message, source: string): { type: string; body: string } {
  if (shape.json !== undefined)
    return { type: 'application/json', body: JSON.stringify(filled(shape.json, valuesOf(message))) }
  if (shape.form !== undefined) {
    const values = valuesOf(message)
    const fields = Object.entries(shape.form).map(([name, text]): [string, string] => [name, filledText(text, values)])
    return { type: 'application/x-www-form-urlencoded', body: new URLSearchParams(fields).toString() }
  }
  if (shape.flat === true) {
    const { data, ...rest } = valuesOf(message)
    return { type: 'application/json', body: JSON.stringify({ ...rest, ...flattened(data, 'data') }) }
  }
  const { id, type, callSid, time, data } = message
  const event = { specversion: '1.0', id, source, type, subject: callSid, time, datacontenttype: 'application/json' }
  return { type: 'application/cloudevents+json', body: JSON.stringify({ ...event, data }) }
}

type Values = Readonly<Record<(typeof SCOPES)[number], unknown>>

function valuesOf({ id, type, time, callSid, agent, number, outcome, data }: Message): Values {
  const { transcript, durationMs } = data as Readonly<Record<string, unknown>>
  return {
    id,
    type,
    time,
    subject: callSid,
    agent,
    number,
    outcome,
    transcript: Array.isArray(transcript) ? transcriptText(transcript as readonly Line[]) : null,
    durationS: typeof durationMs === 'number' ? Math.round(durationMs / 1000) : null,
    data,
  }
}

interface Line {
  readonly role?: unknown
  readonly text?: unknown
}

function transcriptText(lines: readonly Line[]): string {
  return lines.map(({ role, text }) => `${String(role)}: ${String(text)}`).join('\n')
}

function filled(template: Template, values: Values): unknown {
  if (typeof template === 'string') {
    // A text that is a single placeholder is replaced by the value itself, so that a number stays a number.
    const [whole] = template.matchAll(PLACEHOLDER)
    if (whole?.[0] === template && whole[2] === undefined) return valueAt(values, (whole[1] ?? '').split('.')) ?? null
    return filledText(template, values)
  }
  if (Array.isArray(template)) return template.map((entry: Template) => filled(entry, values))
  if (typeof template !== 'object' || template === null) return template
  return Object.fromEntries(Object.entries(template).map(([key, entry]) => [key, filled(entry, values)]))
}

/** Replaces placeholders by values; a missing value becomes an empty text. */
function filledText(text: string, values: Values): string {
  return text.replace(PLACEHOLDER, (_, path: string, filter: string | undefined) => {
    const value = valueAt(values, path.split('.')) ?? ''
    const shown = typeof value === 'string' ? value : JSON.stringify(value)
    return FILTERS[filter ?? '']?.(shown) ?? shown
  })
}

/**
 * Moves nested values to one level: `data_carrier_status`. A list of texts is joined with commas. Every other list is
 * left out.
 */
function flattened(value: unknown, name: string): Record<string, unknown> {
  if (Array.isArray(value)) return value.every((entry) => typeof entry !== 'object') ? { [name]: value.join(', ') } : {}
  if (typeof value !== 'object' || value === null) return { [name]: value }
  return Object.assign(
    {},
    ...Object.entries(value).map(([key, entry]) => flattened(entry, `${name}_${key}`)),
  ) as Record<string, unknown>
}

/** Returns the texts of a template; null if the template is too large. */
function textsIn(template: Template | true): readonly string[] | null {
  const texts: string[] = []
  let entries = 0
  const walk = (value: Template, depth: number): boolean => {
    if (++entries > TEMPLATE_ENTRIES_MAX || depth > TEMPLATE_DEPTH_MAX) return false
    if (typeof value === 'string') texts.push(value)
    return typeof value !== 'object' || value === null || Object.values(value).every((entry) => walk(entry, depth + 1))
  }
  return walk(template, 1) ? texts : null
}

const ENV = /\{\{env\.([A-Z][A-Z0-9_]{0,63})\}\}/g

/** Returns the environment variables that a header or a URL names. */
export function envNamesIn(text: string): string[] {
  return [...text.matchAll(ENV)].map(([, name = '']) => name)
}

export function withEnv(text: string, env: Readonly<Record<string, string | undefined>>): string {
  return text.replace(ENV, (_, name: string) => env[name] ?? '')
}
