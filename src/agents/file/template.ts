import { assertNever } from '../../core/assert.js'
import { GatewayError } from '../../core/errors.js'
import { jsonText } from '../../core/json.js'

/**
 * Environment variables that a file may read. For agents these are the variables that AGENT_ENV lists; a value is
 * undefined if the variable is not set.
 */
export type Environment = Readonly<Record<string, string | undefined>>

/**
 * A source in a template of an HTTP tool: `{{args.name}}` is an argument of the model, `{{call.from}}` a fact of the
 * call. `{{env.NAME}}` or `${NAME}` is a variable of the operator. A template is parsed once, when the agent is loaded.
 * Templates cannot contain expressions, so code cannot be injected.
 */
export type TemplateSource =
  | { readonly scope: 'args'; readonly name: string }
  | { readonly scope: 'call'; readonly name: CallFact }
  /** A variable of an outbound call. */
  | { readonly scope: 'variables'; readonly name: string }
  | { readonly scope: 'env'; readonly name: string }
  /** A field of the verified identity; missing until the caller is verified. */
  | { readonly scope: 'identity'; readonly name: string }
  /** A fact of the business whose number was called (docs/NUMBERS.md). */
  | { readonly scope: 'business'; readonly name: string }
  /** Address that receives the outcome of a pending tool (docs/WAITING.md). */
  | { readonly scope: 'continue'; readonly name: 'url' }
  /** Id that a pending tool's API gave to the pending result. */
  | { readonly scope: 'pending'; readonly name: 'id' }

type TemplatePart = { readonly literal: string } | TemplateSource
export type Template = readonly TemplatePart[]

/** Names of facts of the call that a template may read. */
const CALL_FACTS = ['from', 'to', 'sid', 'agent', 'language'] as const
type CallFact = (typeof CALL_FACTS)[number]

/** Values for the sources of a template when it is filled. */
export interface TemplateValues {
  readonly args: Readonly<Record<string, unknown>>
  readonly call: Readonly<Record<CallFact, string>>
  /** Variables of the call; absent if the call has no variables. */
  readonly variables?: CallVariables | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  /** Verified identity; null if the caller is not verified. */
  readonly identity: Readonly<Record<string, unknown>> | null
  /** Facts of the business; absent if the called number does not belong to a business. */
  readonly business?: BusinessValues | undefined
  /** Address for the outcome; absent if the tool does not wait. */
  readonly continueUrl?: string | undefined
  readonly pendingId?: string | undefined
}

/** Values by name, from the order for an outbound call. */
export type CallVariables = Readonly<Record<string, string>>

/** The facts of one business, as values for templates. */
export type BusinessValues = Readonly<Record<string, string | number | boolean>>

const PLACEHOLDER = /\{\{([^{}]*)\}\}|\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g
/** Matches the values of a pending tool: `continue.url` in its request, `pending.id` in its polling requests. */
const WAITING = /^\s*(?:(continue)\.url|(pending)\.id)\s*$/
/** Matches any reference. An argument may have any name without spaces and braces (`ARGUMENT_NAME`). */
const REFERENCE =
  /^\s*(?:(args)\.([^\s{}]+)|(call\.variables|call|env|identity|business)\.([A-Za-z_][A-Za-z0-9_]*))\s*$/

/** Parses a template. @throws SyntaxError with the unknown placeholder and the allowed placeholders */
export function parseTemplate(text: string): Template {
  const parts: TemplatePart[] = []
  let end = 0
  for (const match of text.matchAll(PLACEHOLDER)) {
    if (match.index > end) parts.push({ literal: text.slice(end, match.index) })
    parts.push(match[2] === undefined ? parseReference(match[0], match[1] ?? '') : { scope: 'env', name: match[2] })
    end = match.index + match[0].length
  }
  if (end < text.length) parts.push({ literal: text.slice(end) })
  for (const part of parts) {
    if ('literal' in part && (part.literal.includes('{{') || part.literal.includes('}}'))) {
      throw new SyntaxError('has {{ without }}, or }} without {{')
    }
  }
  return parts
}

function parseReference(placeholder: string, inner: string): TemplateSource {
  const waiting = WAITING.exec(inner)
  if (waiting !== null)
    return waiting[1] === undefined ? { scope: 'pending', name: 'id' } : { scope: 'continue', name: 'url' }
  const match = REFERENCE.exec(inner)
  const name = match?.[2] ?? match?.[4]
  const scope = match?.[1] ?? match?.[3]
  switch (scope) {
    case 'args':
    case 'env':
    case 'identity':
    case 'business':
      if (name !== undefined) return { scope, name }
      break
    case 'call.variables':
      if (name !== undefined) return { scope: 'variables', name }
      break
    case 'call': {
      const fact = CALL_FACTS.find((known) => known === name)
      if (fact !== undefined) return { scope: 'call', name: fact }
      break
    }
    default:
  }
  const facts = CALL_FACTS.map((fact) => `{{call.${fact}}}`).join(', ')
  throw new SyntaxError(
    `has ${placeholder}; allowed are {{args.NAME}}, {{env.NAME}}, {{identity.NAME}}, {{business.NAME}}, {{call.variables.NAME}}, ${facts}, and in a tool that waits {{continue.url}} and {{pending.id}}`,
  )
}

/** Returns the sources that a template reads, in order, without literals. */
export function sourcesOf(template: Template): readonly TemplateSource[] {
  return template.filter((part): part is TemplateSource => 'scope' in part)
}

/**
 * Returns the value of one source; undefined if it is missing. An empty or blank text counts as missing. Otherwise a
 * withheld number would be sent as `?phone=`.
 */
export function valueOf(source: TemplateSource, values: TemplateValues): unknown {
  const value = lookUp(source, values)
  return value === null || (typeof value === 'string' && value.trim() === '') ? undefined : value
}

/** Returns the sources of a template that do not have a value. */
export function missingSources(template: Template, values: TemplateValues): readonly TemplateSource[] {
  return sourcesOf(template).filter((source) => valueOf(source, values) === undefined)
}

/**
 * Advice for the model if the caller's number is withheld. A number that the caller says is no proof, so it cannot
 * limit a request to the caller's own data.
 */
const ASK_NUMBER = ', ask for a number by which they can be reached or for a reference that another tool takes'

/**
 * Refuses a tool call if a value is missing, because the value limits the tool to the caller's own data. Without this
 * value the request must not be sent. Returns null if no such value is missing.
 * @param sources  sources whose value is missing; values of the model (`args`) and of the operator (`env`) are ignored
 */
export function unbound(sources: readonly TemplateSource[], values: TemplateValues): GatewayError | null {
  const why = unboundReason(sources, values)
  if (why === null) return null
  const ask = sources.some(({ scope, name }) => scope === 'call' && name === 'from') ? ASK_NUMBER : ''
  return new GatewayError(
    'TOOL_UNBOUND',
    `${why}: this cannot be used in this call. Tell the caller${ask}, and offer to connect them to a colleague.`,
  )
}

/** Returns the reason why values of the gateway are missing, such as `The number of this call is withheld`. */
export function unboundReason(sources: readonly TemplateSource[], values: TemplateValues): string | null {
  const reasons = sources.flatMap((source) => {
    if (source.scope === 'call')
      return [source.name === 'from' ? 'the number of this call is withheld' : `the call has no ${source.name}`]
    if (source.scope === 'variables') return [`the call has no variable ${source.name}`]
    if (source.scope === 'business') return [`the business of this call has no ${source.name}`]
    if (source.scope !== 'identity') return []
    return [values.identity === null ? 'the caller is not verified' : `the caller's account has no ${source.name}`]
  })
  const text = [...new Set(reasons)].join(' and ')
  return text === '' ? null : text.charAt(0).toUpperCase() + text.slice(1)
}

function lookUp(source: TemplateSource, values: TemplateValues): unknown {
  switch (source.scope) {
    case 'args':
      return Object.hasOwn(values.args, source.name) ? values.args[source.name] : undefined
    case 'call':
      return values.call[source.name]
    case 'variables':
      return values.variables !== undefined && Object.hasOwn(values.variables, source.name)
        ? values.variables[source.name]
        : undefined
    case 'env':
      return Object.hasOwn(values.env, source.name) ? values.env[source.name] : undefined
    case 'identity':
      return values.identity !== null && Object.hasOwn(values.identity, source.name)
        ? values.identity[source.name]
        : undefined
    case 'continue':
      return values.continueUrl
    case 'pending':
      return values.pendingId
    case 'business':
      return values.business !== undefined && Object.hasOwn(values.business, source.name)
        ? values.business[source.name]
        : undefined
    default:
      return assertNever(source)
  }
}

/** Matches `{{business.NAME}}` in plain words. Other text in braces does not change. */
const BUSINESS = /\{\{\s*business\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}/g

/** Returns the facts of a business that a text reads. */
export function businessFactsIn(text: string): string[] {
  return [...text.matchAll(BUSINESS)].map(([, name = '']) => name)
}

/** Inserts the facts of a business into a text. A missing fact is left out. */
export function withBusiness(text: string, values: BusinessValues): string {
  return text.replace(BUSINESS, (_, name: string) => (Object.hasOwn(values, name) ? String(values[name]) : ''))
}

/** Matches `{{call.variables.NAME}}` in words, with the space before it. */
const VARIABLE = /[ \t]*\{\{\s*call\.variables\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}/g

/** Returns the variables of an outbound call that a text reads. */
export function variablesIn(text: string): string[] {
  return [...text.matchAll(VARIABLE)].map(([, name = '']) => name)
}

/** Inserts the variables of a call into a text. A placeholder without a value is removed, with the space before it. */
export function withVariables(text: string, values: CallVariables): string {
  return text.replace(VARIABLE, (whole: string, name: string) =>
    Object.hasOwn(values, name) ? `${/^[ \t]*/.exec(whole)?.[0] ?? ''}${values[name] ?? ''}` : '',
  )
}

/**
 * Returns the filled text of a template; undefined if a source is missing.
 * @param escape  function that is applied to each inserted value, but not to the author's text
 */
export function fillTemplate(
  template: Template,
  values: TemplateValues,
  escape: (text: string, source: TemplateSource) => string = (text) => text,
): string | undefined {
  let filled = ''
  for (const part of template) {
    if ('literal' in part) {
      filled += part.literal
      continue
    }
    const value = valueOf(part, values)
    if (value === undefined) return undefined
    filled += escape(typeof value === 'string' ? value : jsonText(value), part)
  }
  return filled
}
