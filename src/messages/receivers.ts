import { Webhook } from 'standardwebhooks'
import { z } from 'zod'
import { CALL_OUTCOMES } from '../call/documents/record.js'
import { GatewayError } from '../core/errors.js'
import { BODIES, bodyFault, envNamesIn, hasValue, neededValue, withEnv } from './bodies.js'
import type { BodyShape } from './bodies.js'
import { MESSAGE_TYPES } from './message.js'
import type { Message } from './message.js'

const TYPES = Object.keys(MESSAGE_TYPES)

/** Receivers of one gateway: each has a queue of its own. */
const RECEIVERS_MAX = 32
/** Receivers of one number of NUMBERS_FILE. */
const NUMBER_RECEIVERS_MAX = 4
/** Secrets of one receiver: two while one is replaced. */
const SECRETS_MAX = 4
const HEADERS_MAX = 16

/** The receiver that HANDOFF_URL, or an agent's `escalation.webhook`, is. */
export const HANDOFF_RECEIVER = 'handoff'
/** All receivers of numbers together, in metrics: there may be thousands. */
export const NUMBERS_LABEL = 'numbers'

/** `escalation.*` stands for all events that begin so. */
const eventPattern = z.string().refine((pattern) => TYPES.some((type) => covers(pattern, type)), {
  error: `allowed: ${TYPES.join(', ')}, or the beginning of one and .*, such as escalation.*`,
})

const receiverSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z][a-z0-9-]{0,31}$/, 'allowed: up to 32 small letters, digits and hyphens, a letter first')
      .refine((name) => name !== HANDOFF_RECEIVER && name !== NUMBERS_LABEL, {
        error: `allowed: any name but ${HANDOFF_RECEIVER} and ${NUMBERS_LABEL}, which metrics have for others`,
      })
      .describe('In metrics and lists.'),
    url: z
      .string()
      .refine((url) => /^\{\{env\.[A-Z][A-Z0-9_]{0,63}\}\}$/.test(url) || isHttpUrl(url), {
        error: 'allowed: an http or https URL, or {{env.NAME}} where the URL is a secret',
      })
      .describe('Where the POSTs go. `{{env.NAME}}`: the URL is a secret.'),
    secrets: z
      .array(z.string().regex(/^[A-Z][A-Z0-9_]{0,63}$/, 'allowed: the name of an environment variable'))
      .min(1)
      .max(SECRETS_MAX)
      .optional()
      .describe(
        'Environment variables with `whsec_` secrets that sign. Two while one is replaced: both signatures are sent.',
      ),
    unsigned: z
      .literal(true)
      .optional()
      .describe('Says that nobody checks a signature, as behind a catch hook whose URL is secret.'),
    events: z.array(eventPattern).min(1).default(['*']).describe('Which events. Default: all.'),
    agents: z.array(z.string()).min(1).optional().describe('Only calls of these agents. Default: all.'),
    numbers: z
      .array(z.string().regex(/^\+[1-9][0-9]{6,14}$/, 'allowed: our own numbers in E.164 form, in quotes'))
      .min(1)
      .optional()
      .describe('Only calls at these numbers of NUMBERS_FILE. Default: all.'),
    outcomes: z
      .array(z.enum(CALL_OUTCOMES))
      .min(1)
      .optional()
      .describe('Only calls that ended so; messages before the end are always sent. Default: all.'),
    needs: z
      .array(neededValue)
      .min(1)
      .optional()
      .describe('Only messages that have these values, such as `data.from`: a withheld or masked number is none.'),
    headers: z
      .record(
        z.string().regex(/^[A-Za-z][A-Za-z0-9-]{0,63}$/, 'allowed: the name of a header'),
        z.string().regex(/^[ -~]{1,1000}$/, 'allowed: up to 1000 characters of ASCII'),
      )
      .refine((headers) => Object.keys(headers).length <= HEADERS_MAX, { error: `allowed: at most ${HEADERS_MAX}` })
      .refine((headers) => Object.keys(headers).every((name) => !/^(webhook-|content-|host$)/i.test(name)), {
        error: 'allowed: any header but webhook-*, content-* and host, which the gateway sets',
      })
      .refine(
        (headers) => Object.values(headers).every((value) => !/\{\{(?!env\.[A-Z][A-Z0-9_]{0,63}\}\})/.test(value)),
        {
          error: 'allowed in a value: {{env.NAME}} and no other placeholder',
        },
      )
      .optional()
      .describe('More headers. `{{env.NAME}}` in a value is an environment variable: secrets are nowhere else.'),
    ...BODIES,
  })
  .refine(({ secrets, unsigned }) => (secrets === undefined) !== (unsigned === undefined), {
    error: 'needs `secrets`, or `unsigned: true`, and not both',
  })
  .superRefine((receiver, context) => {
    const fault = bodyFault(receiver)
    if (fault !== null) context.addIssue({ code: 'custom', path: fault.path, message: fault.message })
  })

function receiverList(max: number) {
  return z
    .array(receiverSchema)
    .min(1)
    .max(max)
    .refine((receivers) => new Set(receivers.map(({ name }) => name)).size === receivers.length, {
      error: 'two receivers have the same name',
    })
}

/** The file of MESSAGES_FILE. */
export const messagesSchema = z.strictObject({ receivers: receiverList(RECEIVERS_MAX) })

/** `messages` of a number in NUMBERS_FILE. */
export const numberReceiversSchema = receiverList(NUMBER_RECEIVERS_MAX)

/** A receiver with the values of its secrets. */
export interface Receiver
  extends
    Pick<
      z.output<typeof receiverSchema>,
      'name' | 'url' | 'events' | 'agents' | 'numbers' | 'outcomes' | 'needs' | 'headers'
    >,
    BodyShape {
  /** `whsec_…`; none: unsigned. */
  readonly secrets: readonly string[]
}

/**
 * A receiver as a file names it, with what the environment has for it.
 * @throws GatewayError CONFIG_INVALID that names what is missing; never a secret
 */
export function receiverOf(
  { secrets = [], unsigned: _, headers, url, ...receiver }: z.output<typeof receiverSchema>,
  env: Readonly<Record<string, string | undefined>>,
): Receiver {
  const invalid = (what: string): GatewayError =>
    new GatewayError('CONFIG_INVALID', `the receiver ${receiver.name}: ${what} (docs/MESSAGES.md)`)
  for (const text of [url, ...Object.values(headers ?? {})])
    for (const name of envNamesIn(text))
      if (!/^[\x20-\x7e]{1,4096}$/.test(env[name] ?? ''))
        throw invalid(`{{env.${name}}} is ${env[name] === undefined ? 'not set' : 'no text of ASCII'}`)
  const whole = withEnv(url, env)
  if (!isHttpUrl(whole)) throw invalid(`${url} is no URL; allowed: an http or https URL`)
  return {
    ...receiver,
    url: whole,
    headers: Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name, withEnv(value, env)])),
    secrets: secrets.map((name) => {
      const secret = env[name]
      if (secret === undefined || !isSecret(secret))
        throw invalid(
          `its secret ${name} is ${secret === undefined ? 'not set' : 'no secret of a webhook'}; ` +
            'allowed: whsec_ and 24 to 64 bytes in base64, in the environment',
        )
      return secret
    }),
  }
}

function isSecret(secret: string): boolean {
  if (!/^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/.test(secret)) return false
  try {
    return new Webhook(secret) instanceof Webhook
  } catch {
    return false
  }
}

function isHttpUrl(text: string): boolean {
  return /^https?:\/\//.test(text) && URL.canParse(text)
}

export function wants(receiver: Receiver, message: Message): boolean {
  const { events, agents, numbers, outcomes, needs = [] } = receiver
  // It goes to all of its receivers: nobody here knows any more which of them had messages of these calls.
  if (message.type === 'caller.erased') return events.some((pattern) => covers(pattern, message.type))
  return (
    events.some((pattern) => covers(pattern, message.type)) &&
    agents?.includes(message.agent) !== false &&
    (numbers === undefined || (message.number !== null && numbers.includes(message.number))) &&
    (message.outcome === null || outcomes?.some((outcome) => outcome === message.outcome) !== false) &&
    needs.every((path) => hasValue(message, path))
  )
}

function covers(pattern: string, type: string): boolean {
  return pattern === '*' || pattern === type || (pattern.endsWith('.*') && type.startsWith(pattern.slice(0, -1)))
}
