import { z } from 'zod'
import { callVariablesSchema } from '../agents/tools/call-variables.js'
import { isAgentName } from '../core/ids.js'
import { isTimeZone } from '../core/local-time.js'
import { SPAN, WEEKDAYS } from '../escalation/hunt-group.js'
import type { OpeningHours, Weekday } from '../escalation/hunt-group.js'

/** Maximum number of rows in one campaign. */
export const ROWS_MAX = 10_000
/** Maximum number of concurrent calls of one campaign. */
const AT_ONCE_MAX = 1000
/** Maximum number of calls of one campaign per minute. */
const PER_MINUTE_MAX = 6000
/** Maximum number of tries of one row. */
const TRIES_MAX = 5
const NAME_CHARS_MAX = 60
const WINDOWS_MAX = 7

/** Id of the campaign that contains the promised call backs of all agents. */
export const CALL_BACKS = 'call-backs'

/** Returns the row id of the call back that a call has promised. */
export function callBackId(callSid: string): string {
  return `back-${callSid}`
}

/** Outcome of one try, as in the call's record. `uncertain`: it is unknown if the phone rang. */
export const TRY_RESULTS = [
  'person',
  'machine',
  'silence',
  'busy',
  'no-answer',
  'refused',
  'failed',
  'uncertain',
] as const
export type TryResult = (typeof TRY_RESULTS)[number]

/** Outcome of a row: the result of its last try, or the reason why the row is not called. */
export const ROW_RESULTS = [
  ...TRY_RESULTS,
  'expired',
  'do-not-call',
  'not-allowed',
  'stopped',
  'invalid-zone',
  'erased',
] as const
export type RowResult = (typeof ROW_RESULTS)[number]

const trySchema = z.object({
  /** Label of the call at the carrier. */
  label: z.string(),
  atMs: z.number(),
  callSid: z.string().nullable(),
  /** Result of the try; null while the call is in progress. */
  result: z.enum(TRY_RESULTS).nullable(),
  durationMs: z.number(),
  /** True if this try called a human first, to connect the human to the person. */
  human: z.boolean().default(false),
})
export type Try = z.output<typeof trySchema>

/** One phone number to call, as plain JSON. A row contains the phone number and data about the person. */
export const rowSchema = z.object({
  id: z.string(),
  campaign: z.string(),
  agent: z.string(),
  /** Number in E.164 form. */
  to: z.string(),
  /** Phone number from which the gateway calls; null for the agent's `outbound.from`. */
  from: z.string().nullable(),
  variables: callVariablesSchema,
  externalId: z.string().nullable(),
  /** IANA time zone of the called phone number; null for the campaign's zone. */
  timeZone: z.string().nullable(),
  /** Calendar time before which the row is not called. */
  dueMs: z.number(),
  tries: z.array(trySchema),
  /** Result of the row; null until it is over. */
  result: z.enum(ROW_RESULTS).nullable(),
  /** Time since which the agent of the call cannot be found; null if the agent can be found. */
  agentLostMs: z.number().nullable().default(null),
  /** True if the human who was called first did not answer; the agent then calls alone. */
  withoutHuman: z.boolean().default(false),
  /**
   * For a call back: its caller (`partyKey`, empty if withheld) and the time of the request. Null for a row of a
   * campaign.
   */
  asked: z.object({ by: z.string(), atMs: z.number() }).nullable().default(null),
  /** Earlier call that the new call continues (`KeptState`); null without such a call. */
  recovers: z.unknown().default(null),
})
export type Row = z.output<typeof rowSchema>

const weekdayNames = WEEKDAYS.map((day) => `${day.charAt(0).toUpperCase()}${day.slice(1)}`)
const WINDOW = /^(?:([a-z]{3})(?:-([a-z]{3}))? )?(\S+)$/i

/**
 * Reads `Mon-Sat 09:00-18:00`, `09:00-18:00` (every day), or several such spans, separated by commas.
 * @returns the spans by weekday, or the fault
 */
export function readWindow(text: string): OpeningHours['week'] | string {
  const week: Partial<Record<Weekday, string[]>> = {}
  const parts = text.split(',').map((part) => part.trim())
  const fault = `'${text}' is not a time window; allowed: such as Mon-Sat 09:00-18:00, or several with commas; days: ${weekdayNames.join(', ')}`
  if (parts.length > WINDOWS_MAX) return `has ${parts.length} parts; allowed: at most ${WINDOWS_MAX}`
  for (const part of parts) {
    const [, first = 'mon', last = part.includes(' ') ? first : 'sun', span = ''] = WINDOW.exec(part) ?? []
    const [from, to] = [first, last].map((day) => WEEKDAYS.indexOf(day.toLowerCase() as Weekday))
    if (from === undefined || to === undefined || from < 0 || to < 0 || !SPAN.test(span)) return fault
    for (let day = from; ; day = (day + 1) % 7) {
      const name = WEEKDAYS[day]
      if (name !== undefined) (week[name] ??= []).push(span)
      if (day === to) break
    }
  }
  return week
}

const zone = z.string().refine(isTimeZone, { error: 'allowed: an IANA zone, such as Africa/Nairobi' })
const instant = z.iso.datetime({
  offset: true,
  error: 'allowed: a time with its offset, such as 2026-11-27T09:00:00+03:00',
})
const pauses = z.array(z.int().min(1).max(10_080)).min(1).max(TRIES_MAX)

/** Definition of a campaign, without its rows. */
export const campaignOrderSchema = z.strictObject({
  name: z
    .string()
    .trim()
    .min(1)
    .max(NAME_CHARS_MAX)
    .regex(/^[\p{L}\p{N} ._-]+$/u, { error: 'allowed: letters, digits, spaces, dots, _ and -' })
    .describe('Name of letters, digits, spaces, dots, _ and -. The id is made from the name.'),
  agent: z.string().refine(isAgentName, { error: 'allowed: the name of an agent' }),
  from: z.string().optional().describe("Our number, E.164. Default: the agent's `outbound.from`."),
  window: z.string().describe('Times at which people are called, such as Mon-Sat 09:00-18:00.'),
  timeZone: zone.describe('IANA zone of the window.'),
  startAt: instant.optional(),
  endAt: instant.optional(),
  atOnce: z.int().min(1).max(AT_ONCE_MAX).default(10),
  perMinute: z.int().min(1).max(PER_MINUTE_MAX).default(30),
  tries: z.int().min(1).max(TRIES_MAX).default(3),
  retryBusyMinutes: pauses
    .default([30, 120])
    .describe('Minutes before the second and each later try. The last value of the list applies to all further tries.'),
  retryNoAnswerMinutes: pauses.default([120, 1080]),
  voicemail: z.enum(['message', 'later', 'done']).default('done'),
  /** Maximum share of errors among the last ERRORS_OF calls, in percent. */
  errorPercent: z
    .int()
    .min(1)
    .max(100)
    .default(30)
    .describe('Percentage of failed calls at which the campaign pauses automatically.'),
  walletBelowMinor: z
    .int()
    .min(0)
    .default(10_000)
    .describe("Minimum balance for new calls, in minor units of the carrier's currency."),
  keepFreePercent: z
    .int()
    .min(0)
    .max(99)
    .default(20)
    .describe('Percentage of the call slots of a node that stays free for inbound calls.'),
})
export type CampaignOrder = z.output<typeof campaignOrderSchema>

/** Body of `POST /api/campaigns`. */
export const campaignFileSchema = campaignOrderSchema.extend({
  csv: z.string().describe('The rows with a header. The body has 8 MB at most.'),
  dryRun: z.boolean().default(false).describe('Check the file, and create nothing.'),
  /** Refuses the name of an existing campaign. Otherwise new rows of a running campaign would be called at once. */
  onlyNew: z.boolean().default(false).describe('Refuse the name of a campaign that exists.'),
})

/** State of a campaign. `lost`: Redis has lost the campaign's rows, so it is unknown which numbers were called. */
const CAMPAIGN_STATES = ['draft', 'running', 'paused', 'stopped', 'lost'] as const
export type CampaignState = (typeof CAMPAIGN_STATES)[number]

/** A campaign in stored form. The schema is not strict, because a newer node may have written more properties. */
export const campaignSchema = z.object({
  ...campaignOrderSchema.shape,
  version: z.literal(1),
  id: z.string(),
  state: z.enum(CAMPAIGN_STATES),
  why: z
    .string()
    .nullable()
    .describe('Reason of an automatic pause or of the loss of the campaign; null if there is none.'),
  createdAt: z.iso.datetime(),
  rows: z.int().describe('Number of rows of the campaign.'),
  endedAt: z.iso
    .datetime()
    .nullable()
    .default(null)
    .describe(
      'Time at which the last row was finished; null while rows are left. The campaign is deleted RECORDS_KEEP_DAYS later.',
    ),
})
export type Campaign = z.output<typeof campaignSchema>

/** Marks a campaign as lost, because its rows are lost. A lost campaign never starts again by itself. */
export function lostCampaign(campaign: Campaign): Campaign {
  return { ...campaign, state: 'lost', why: `Redis came back without its ${campaign.rows} rows` }
}

/** Operators' commands for a campaign. */
export const CAMPAIGN_COMMANDS = ['start', 'pause', 'resume', 'stop'] as const
export type CampaignCommand = (typeof CAMPAIGN_COMMANDS)[number]

/** A row of a file, shown to an operator before a campaign is created from the file. */
export interface RowPreview {
  /** Masked number. */
  readonly number: string
  readonly externalId: string | null
  /** IANA time zone of the row; null for the campaign's zone. */
  readonly timeZone: string | null
  /** First words of the agent, with the values of the row; null if the agent's model chooses them. */
  readonly says: string | null
}

/** `POST /api/campaigns`. */
export interface CampaignMade {
  /** The campaign; null if a campaign was not created. */
  readonly campaign: CampaignView | null
  /** Number of new rows; with `dryRun`, number of rows that can be called. */
  readonly added: number
  /** Mistakes in the file, by line; they do not contain words of the file. */
  readonly faults: readonly string[]
  /** First rows that can be called, at most PREVIEW_ROWS. */
  readonly preview: readonly RowPreview[]
}

/** A campaign and its progress. */
export interface CampaignView extends Campaign {
  /** State of the campaign; `done` if all its rows are over. */
  readonly stands: CampaignState | 'done'
  readonly waiting: number
  readonly calling: number
  /** Number of rows that are over, by result. */
  readonly results: Readonly<Partial<Record<RowResult, number>>>
}

/** Rules for calling the rows of a campaign, or of an agent's call backs. */
export interface Policy {
  readonly state: CampaignState
  readonly hours: OpeningHours
  /** Calendar times. */
  readonly startAtMs: number
  readonly endAtMs: number | null
  readonly tries: number
  /**
   * Minutes until the next try, by the result of the last try. After a result without an entry, the row is not tried
   * again.
   */
  readonly retryMinutes: Readonly<Partial<Record<TryResult, readonly number[]>>>
  readonly walletBelowMinor: number
  readonly keepFreePercent: number
  /** True if the agent should leave `outbound.amd.message` on an answering machine. */
  readonly leaveMessage: boolean
}

export function policyOf(campaign: Campaign): Policy {
  const { state, window, timeZone, startAt, endAt, tries, voicemail, walletBelowMinor, keepFreePercent } = campaign
  const week = readWindow(window)
  const { retryBusyMinutes, retryNoAnswerMinutes } = campaign
  return {
    state,
    // A time window that cannot be read is never open.
    hours: { timeZone, week: typeof week === 'string' ? {} : week, holidays: [] },
    startAtMs: startAt === undefined ? 0 : Date.parse(startAt),
    endAtMs: endAt === undefined ? null : Date.parse(endAt),
    tries,
    retryMinutes: {
      busy: retryBusyMinutes,
      'no-answer': retryNoAnswerMinutes,
      silence: retryNoAnswerMinutes,
      ...(voicemail === 'later' ? { machine: retryNoAnswerMinutes } : {}),
    },
    walletBelowMinor,
    keepFreePercent,
    leaveMessage: voicemail === 'message',
  }
}
