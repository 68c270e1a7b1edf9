import { z } from 'zod'
import type { Handoff } from '../call/documents/handoff.js'
import { CALL_OUTCOMES } from '../call/documents/record.js'

/** What is told to receivers, and when. */
const MESSAGE_TYPES = {
  'call.ended': 'a call is over; `data` is its record',
  'handoff.requested': 'a human is wanted for a caller; `data` is the handoff packet',
  'handoff.settled': 'the caller reached a human, or every attempt failed; `data` is the handoff packet',
  'callback.requested': 'a caller was promised a call back; `data` is the handoff packet',
  'recording.ready': "the carrier's data on an ended call have come; `data` is the record with them",
} as const
export type MessageType = keyof typeof MESSAGE_TYPES
const TYPES = Object.keys(MESSAGE_TYPES)

/** Something that receivers are told. */
export interface Message {
  /** The same with every try, and after a restart: a receiver drops what it has had. */
  readonly id: string
  readonly type: MessageType
  readonly callSid: string
  /** ISO 8601, UTC. */
  readonly time: string
  readonly agent: string
  /** Null before the end of the call. */
  readonly outcome: string | null
  /** A document of the call: its record or its handoff packet. */
  readonly data: object
}

/** Receivers of one gateway: each has a queue of its own. */
const RECEIVERS_MAX = 32
/** Secrets of one receiver: two while one is replaced. */
const SECRETS_MAX = 4

/** One event of an escalation. */
export interface HandoffNews {
  readonly kind: 'handoff.requested' | 'handoff.settled' | 'callback.requested'
  /** Unique for each event. */
  readonly id: string
  /** The agent's own webhook; null for HANDOFF_URL. */
  readonly url: string | null
  readonly handoff: Handoff
}

/** `handoff.*` stands for all events that begin so. */
const eventPattern = z.string().refine((pattern) => TYPES.some((type) => covers(pattern, type)), {
  error: `allowed: ${TYPES.join(', ')}, or the beginning of one and .*, such as handoff.*`,
})

const receiverSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z][a-z0-9-]{0,31}$/, 'allowed: up to 32 small letters, digits and hyphens, a letter first')
      .describe('In metrics and lists.'),
    url: z.url({ protocol: /^https?$/, error: 'allowed: an http or https URL' }).describe('Where the POSTs go.'),
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
    outcomes: z
      .array(z.enum(CALL_OUTCOMES))
      .min(1)
      .optional()
      .describe('Only calls that ended so; what is told before the end always is. Default: all.'),
  })
  .refine(({ secrets, unsigned }) => (secrets === undefined) !== (unsigned === undefined), {
    error: 'needs `secrets`, or `unsigned: true`, and not both',
  })

/** The file of MESSAGES_FILE. */
export const messagesSchema = z
  .strictObject({ receivers: z.array(receiverSchema).min(1).max(RECEIVERS_MAX) })
  .refine(({ receivers }) => new Set(receivers.map(({ name }) => name)).size === receivers.length, {
    error: 'two receivers have the same name',
    path: ['receivers'],
  })

/** A receiver as the file has it, with the values of its secrets. */
export interface Receiver extends Omit<z.output<typeof receiverSchema>, 'secrets' | 'unsigned'> {
  /** `whsec_…`; none: unsigned. */
  readonly secrets: readonly string[]
}

export function wants(receiver: Receiver, message: Message): boolean {
  const { events, agents, outcomes } = receiver
  return (
    events.some((pattern) => covers(pattern, message.type)) &&
    agents?.includes(message.agent) !== false &&
    (message.outcome === null || outcomes?.some((outcome) => outcome === message.outcome) !== false)
  )
}

function covers(pattern: string, type: string): boolean {
  return pattern === '*' || pattern === type || (pattern.endsWith('.*') && type.startsWith(pattern.slice(0, -1)))
}
