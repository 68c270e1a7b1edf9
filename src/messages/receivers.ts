import { Webhook } from 'standardwebhooks'
import { z } from 'zod'
import { CALL_OUTCOMES } from '../call/documents/record.js'
import { GatewayError } from '../core/errors.js'
import { BODIES, bodyFault, envNamesIn, hasValue, neededValue, withEnv } from './bodies.js'
import type { BodyShape } from './bodies.js'
import { MESSAGE_TYPES } from './message.js'
import type { Message } from './message.js'

const TYPES = Object.keys(MESSAGE_TYPES)

/** Maximum number of receivers of one gateway. Each receiver has its own queue. */
const RECEIVERS_MAX = 32
/** Maximum number of receivers of one number of NUMBERS_FILE. */
const NUMBER_RECEIVERS_MAX = 4
/** Maximum number of secrets of one receiver. Several are needed while a new secret replaces an old one. */
const SECRETS_MAX = 4
const HEADERS_MAX = 16

/** Name of the receiver at HANDOFF_URL, or at an agent's `escalation.webhook`. */
export const HANDOFF_RECEIVER = 'handoff'
/** Common label of all receivers of numbers in metrics, because a gateway may have thousands of such receivers. */
export const NUMBERS_LABEL = 'numbers'

/** Pattern of events; `escalation.*` means all events that begin with `escalation.`. */
const eventPattern = z.string().refine((pattern) => TYPES.some((type) => covers(pattern, type)), {
  error: `allowed: ${TYPES.join(', ')}, or the beginning of a type with .* after it, such as escalation.*`,
})

const receiverSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z][a-z0-9-]{0,31}$/, 'allowed: up to 32 small letters, digits and hyphens, a letter first')
      .refine((name) => name !== HANDOFF_RECEIVER && name !== NUMBERS_LABEL, {
        error: `allowed: any name but ${HANDOFF_RECEIVER} and ${NUMBERS_LABEL}, which metrics use for other receivers`,
      })
      .describe('Name of the receiver in metrics and lists.'),
    url: z
      .string()
      .refine((url) => /^\{\{env\.[A-Z][A-Z0-9_]{0,63}\}\}$/.test(url) || isHttpUrl(url), {
        error: 'allowed: an http or https URL, or {{env.NAME}} where the URL is a secret',
      })
      .describe('URL of the POSTs. If the URL is a secret, use `{{env.NAME}}`.'),
    secrets: z
      .array(z.string().regex(/^[A-Z][A-Z0-9_]{0,63}$/, 'allowed: the name of an environment variable'))
      .min(1)
      .max(SECRETS_MAX)
      .optional()
      .describe(
        'Names of environment variables with the `whsec_` secrets for signatures. Use two to replace a secret: both signatures are sent.',
      ),
    unsigned: z
      .literal(true)
      .optional()
      .describe('True: messages have no signature, for example for a catch hook with a secret URL.'),
    events: z.array(eventPattern).min(1).default(['*']).describe('Events that are sent. Default: all.'),
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
      .describe(
        'Only calls with one of these outcomes. Messages before the end of a call are always sent. Default: all.',
      ),
    needs: z
      .array(neededValue)
      .min(1)
      .optional()
      .describe(
        'Only messages that have a value in each of these fields, such as `data.from`. A withheld or masked number does not count as a value.',
      ),
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
      .describe(
        'Further headers. `{{env.NAME}}` in a value is an environment variable. Secrets are allowed only in environment variables.',
      ),
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

/** Form of MESSAGES_FILE. */
export const messagesSchema = z.strictObject({ receivers: receiverList(RECEIVERS_MAX) })

/** Schema of `messages` of a number in NUMBERS_FILE. */
export const numberReceiversSchema = receiverList(NUMBER_RECEIVERS_MAX)

/** A receiver with the values of its secrets. */
export interface Receiver
  extends
    Pick<
      z.output<typeof receiverSchema>,
      'name' | 'url' | 'events' | 'agents' | 'numbers' | 'outcomes' | 'needs' | 'headers'
    >,
    BodyShape {
  /** Secrets `whsec_…`; empty if messages are not signed. */
  readonly secrets: readonly string[]
}

/**
 * Creates a receiver from an entry of a file and the environment.
 * @throws GatewayError CONFIG_INVALID with the name of the missing value, but without secrets
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
  // An erasure is reported to all receivers, because it is not known any more which of them got messages about the
  // erased calls.
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
