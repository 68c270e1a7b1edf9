import { z } from 'zod'
import { valueAt } from '../core/json.js'
import type { Message } from './message.js'

/** Entries of one template, and how deep it goes. */
const TEMPLATE_ENTRIES_MAX = 200
const TEMPLATE_DEPTH_MAX = 10
const TEXT_CHARS_MAX = 4000

/** `{{data.from}}`, `{{data.direction | upper}}`. */
const PLACEHOLDER = /\{\{\s*([a-zA-Z][\w.-]*?)\s*(?:\|\s*(\w+)\s*)?\}\}/g
/** Longest text block of Slack, which refuses longer ones; longest parameter of a WhatsApp template. */
const SLACK_CHARS_MAX = 3000
const WHATSAPP_CHARS_MAX = 1024
const SLACK_ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' }

const FILTERS: Readonly<Record<string, (text: string) => string>> = {
  upper: (text) => text.toUpperCase(),
  /** A number without its plus, as some services want it. */
  digits: (text) => text.replace(/\D/g, ''),
  /** For subjects, parameters and cells. */
  line: oneLine,
  /** Nothing in it is a link or a mention, and it is not longer than a block's text. */
  slack: (text) =>
    shortened(
      [...text].map((character) => SLACK_ENTITIES[character] ?? character),
      SLACK_CHARS_MAX,
    ),
  /** One line, never empty, and not longer than a template's body. */
  whatsapp: (text) => shortened([...oneLine(text)], WHATSAPP_CHARS_MAX) || '-',
}

function oneLine(text: string): string {
  return text.replace(/[\s\p{Zl}\p{Zp}\p{Cc}]+/gu, ' ').trim()
}

/** The first pieces that fit, with a mark where some are left out. */
function shortened(pieces: readonly string[], charsMax: number): string {
  if (pieces.reduce((sum, { length }) => sum + length, 0) <= charsMax) return pieces.join('')
  let text = ''
  for (const piece of pieces) {
    if (text.length + piece.length >= charsMax) break
    text += piece
  }
  return `${text}…`
}

/** Scopes with which a placeholder may begin. */
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

/** A value of YAML with placeholders in its texts. */
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

/** The form of a body; without any of these keys it is a CloudEvent in JSON. */
export interface BodyShape {
  readonly json?: Template | undefined
  readonly form?: Readonly<Record<string, string>> | undefined
  readonly flat?: true | undefined
}

/** The keys of a receiver that say what its bodies look like. */
export const BODIES = {
  json: templateSchema
    .optional()
    .describe('The body in JSON, with `{{data.from}}`, `{{type}}` and so on in its texts. Default: a CloudEvent.'),
  form: z
    .record(z.string(), z.string().max(TEXT_CHARS_MAX))
    .optional()
    .describe('The body as a form (application/x-www-form-urlencoded), with the same in its texts.'),
  flat: z
    .literal(true)
    .optional()
    .describe('The event as one flat JSON object, for sheets and catch hooks: `data_from`, `data_outcome`, …'),
}

/** A value of a message that a receiver cannot do without. */
export const neededValue = z.string().refine((path) => isKnown(path), {
  error: 'allowed: a value that a body may have, such as data.from',
})

/** True if a message has a value: a withheld or masked number is none. */
export function hasValue(message: Message, path: string): boolean {
  const value = valueAt(valuesOf(message), path.split('.')) ?? ''
  return value !== '' && !(typeof value === 'string' && MASKED.test(value))
}

/** As `maskNumber` leaves a number. */
const MASKED = /^\+?\d{0,4}…\d{0,2}$/

function isKnown(path: string): boolean {
  const [scope] = path.split('.')
  return SCOPES.some((known) => known === scope) && (scope === 'data') === (scope !== path)
}

/** Fault of the body that a receiver asks for; null for none. */
export function bodyFault(shape: BodyShape): { readonly path: string[]; readonly message: string } | null {
  const named = (['json', 'form', 'flat'] as const).filter((key) => shape[key] !== undefined)
  const [key] = named
  if (key === undefined) return null
  if (named.length > 1) return { path: [key], message: 'only one of json, form and flat says what the body is' }
  const texts = textsIn(shape[key] ?? null)
  if (texts === null)
    return {
      path: [key],
      message: `allowed: at most ${TEMPLATE_ENTRIES_MAX} entries, and ${TEMPLATE_DEPTH_MAX} levels of them`,
    }
  for (const text of texts) {
    if (text.includes('{{env.'))
      return { path: [key], message: 'secrets are in headers alone: a body is kept on the disk until it is taken' }
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

/** A body and what it is. @param source  which gateway speaks */
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
    // A text that is one placeholder has the value itself: a number stays a number.
    const [whole] = template.matchAll(PLACEHOLDER)
    if (whole?.[0] === template && whole[2] === undefined) return valueAt(values, (whole[1] ?? '').split('.')) ?? null
    return filledText(template, values)
  }
  if (Array.isArray(template)) return template.map((entry: Template) => filled(entry, values))
  if (typeof template !== 'object' || template === null) return template
  return Object.fromEntries(Object.entries(template).map(([key, entry]) => [key, filled(entry, values)]))
}

/** A value that is missing leaves nothing. */
function filledText(text: string, values: Values): string {
  return text.replace(PLACEHOLDER, (_, path: string, filter: string | undefined) => {
    const value = valueAt(values, path.split('.')) ?? ''
    const shown = typeof value === 'string' ? value : JSON.stringify(value)
    return FILTERS[filter ?? '']?.(shown) ?? shown
  })
}

/** One level: `data_carrier_status`. A list of texts is joined by commas; what is a list of more is left out. */
function flattened(value: unknown, name: string): Record<string, unknown> {
  if (Array.isArray(value)) return value.every((entry) => typeof entry !== 'object') ? { [name]: value.join(', ') } : {}
  if (typeof value !== 'object' || value === null) return { [name]: value }
  return Object.assign(
    {},
    ...Object.entries(value).map(([key, entry]) => flattened(entry, `${name}_${key}`)),
  ) as Record<string, unknown>
}

/** The texts of a template; null where it is too large. */
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

/** The environment variables that a header, or a URL, reads. */
export function envNamesIn(text: string): string[] {
  return [...text.matchAll(ENV)].map(([, name = '']) => name)
}

export function withEnv(text: string, env: Readonly<Record<string, string | undefined>>): string {
  return text.replace(ENV, (_, name: string) => env[name] ?? '')
}
