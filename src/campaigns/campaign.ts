import { z } from 'zod'
import { callVariablesSchema } from '../agents/tools/call-variables.js'
import { isAgentName } from '../core/ids.js'
import { isTimeZone } from '../core/local-time.js'
import { SPAN, WEEKDAYS } from '../escalation/hunt-group.js'
import type { OpeningHours, Weekday } from '../escalation/hunt-group.js'

/** Rows of one campaign. */
export const ROWS_MAX = 10_000
/** Calls of one campaign at once, and in a minute. */
const AT_ONCE_MAX = 1000
const PER_MINUTE_MAX = 6000
/** Tries of one row. */
const TRIES_MAX = 5
const NAME_CHARS_MAX = 60
const WINDOWS_MAX = 7

/** The id of the one that has the promised call backs of all agents. */
export const CALL_BACKS = 'call-backs'

/** The row of the call back that a call has promised. */
export function callBackId(callSid: string): string {
  return `back-${callSid}`
}

/** Outcome of one try: as in a call's record, and `uncertain`, where nobody can say whether it rang. */
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

/** Outcome of a row: the result of its last try, or why it is not called (any more). */
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
  /** The label of the call at the carrier. */
  label: z.string(),
  atMs: z.number(),
  callSid: z.string().nullable(),
  /** Null: it is being called. */
  result: z.enum(TRY_RESULTS).nullable(),
  durationMs: z.number(),
  /** A human was rung first, to be put through to them. */
  human: z.boolean().default(false),
})
export type Try = z.output<typeof trySchema>

/** One number to call. Plain JSON; has the number and what is said of the person. */
export const rowSchema = z.object({
  id: z.string(),
  campaign: z.string(),
  agent: z.string(),
  /** E.164. */
  to: z.string(),
  /** Null: the agent's `outbound.from`. */
  from: z.string().nullable(),
  variables: callVariablesSchema,
  externalId: z.string().nullable(),
  /** IANA zone of this number; null: the campaign's. */
  timeZone: z.string().nullable(),
  /** Calendar time before which it is not called. */
  dueMs: z.number(),
  tries: z.array(trySchema),
  /** Null: it is not over. */
  result: z.enum(ROW_RESULTS).nullable(),
  /** Since when no agent could be found that makes the call; null: one was. */
  agentLostMs: z.number().nullable().default(null),
  /** The human who is rung first did not take it: the agent calls. */
  withoutHuman: z.boolean().default(false),
  /** A call back: who wanted it (`partyKey`, empty: withheld), and when. Null: a row of a campaign. */
  asked: z.object({ by: z.string(), atMs: z.number() }).nullable().default(null),
  /** The call that is gone on with (`KeptState`); null: none. */
  recovers: z.unknown().default(null),
})
export type Row = z.output<typeof rowSchema>

const weekdayNames = WEEKDAYS.map((day) => `${day.charAt(0).toUpperCase()}${day.slice(1)}`)
const WINDOW = /^(?:([a-z]{3})(?:-([a-z]{3}))? )?(\S+)$/i

/**
 * Reads `Mon-Sat 09:00-18:00`, `09:00-18:00` (each day), or several of them with commas.
 * @returns the spans by weekday, or what is wrong
 */
export function readWindow(text: string): OpeningHours['week'] | string {
  const week: Partial<Record<Weekday, string[]>> = {}
  const parts = text.split(',').map((part) => part.trim())
  const fault = `'${text}' is no window; allowed: such as Mon-Sat 09:00-18:00, or several with commas; days: ${weekdayNames.join(', ')}`
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

/** Definition of a campaign, beside its rows. */
export const campaignOrderSchema = z.strictObject({
  name: z
    .string()
    .trim()
    .min(1)
    .max(NAME_CHARS_MAX)
    .regex(/^[\p{L}\p{N} ._-]+$/u, { error: 'allowed: letters, digits, spaces, dots, _ and -' }),
  agent: z.string().refine(isAgentName, { error: 'allowed: the name of an agent' }),
  from: z.string().optional(),
  /** `Mon-Sat 09:00-18:00`. */
  window: z.string(),
  timeZone: zone,
  startAt: instant.optional(),
  endAt: instant.optional(),
  atOnce: z.int().min(1).max(AT_ONCE_MAX).default(10),
  perMinute: z.int().min(1).max(PER_MINUTE_MAX).default(30),
  tries: z.int().min(1).max(TRIES_MAX).default(3),
  /** Minutes before the second and every later try; the last counts for all that follow. */
  retryBusyMinutes: pauses.default([30, 120]),
  retryNoAnswerMinutes: pauses.default([120, 1080]),
  voicemail: z.enum(['message', 'later', 'done']).default('done'),
  /** Percent of failed calls, of the last ERRORS_OF, at which it pauses itself. */
  errorPercent: z.int().min(1).max(100).default(30),
  /** In minor units of the carrier's currency. */
  walletBelowMinor: z.int().min(0).default(10_000),
  /** Percent of the call slots of a node that stay free for calls that come in. */
  keepFreePercent: z.int().min(0).max(99).default(20),
})
export type CampaignOrder = z.output<typeof campaignOrderSchema>

/** `lost`: Redis came back without its rows, so nobody knows who was called. */
const CAMPAIGN_STATES = ['draft', 'running', 'paused', 'stopped', 'lost'] as const
export type CampaignState = (typeof CAMPAIGN_STATES)[number]

/** As it is kept: not strict, because a newer node may have written more keys. */
export const campaignSchema = z.object({
  ...campaignOrderSchema.shape,
  version: z.literal(1),
  id: z.string(),
  state: z.enum(CAMPAIGN_STATES),
  /** Why it paused itself, or what is lost of it; null: neither. */
  why: z.string().nullable(),
  createdAt: z.iso.datetime(),
  /** How many rows it was made with. */
  rows: z.int(),
  /** When it was first seen that nothing of it is left to do; null: something is. */
  endedAt: z.iso.datetime().nullable().default(null),
})
export type Campaign = z.output<typeof campaignSchema>

/** A campaign whose rows are gone. It is never begun again by itself. */
export function lostCampaign(campaign: Campaign): Campaign {
  return { ...campaign, state: 'lost', why: `Redis came back without its ${campaign.rows} rows` }
}

/** Operators' commands for a campaign. */
export const CAMPAIGN_COMMANDS = ['start', 'pause', 'resume', 'stop'] as const
export type CampaignCommand = (typeof CAMPAIGN_COMMANDS)[number]

/** A campaign as it stands. */
export interface CampaignView extends Campaign {
  /** `done`: no row waits any more. */
  readonly stands: CampaignState | 'done'
  readonly waiting: number
  readonly calling: number
  /** Rows that are over, by result. */
  readonly results: Readonly<Partial<Record<RowResult, number>>>
}

/** How rows are called: of a campaign, or of an agent's call backs. */
export interface Policy {
  readonly state: CampaignState
  readonly hours: OpeningHours
  /** Calendar times. */
  readonly startAtMs: number
  readonly endAtMs: number | null
  readonly tries: number
  /** Minutes, by what became of a try; none: it is not tried again. */
  readonly retryMinutes: Readonly<Partial<Record<TryResult, readonly number[]>>>
  readonly walletBelowMinor: number
  readonly keepFreePercent: number
  /** True if an answering machine gets the agent's `outbound.amd.message`. */
  readonly leaveMessage: boolean
}

export function policyOf(campaign: Campaign): Policy {
  const { state, window, timeZone, startAt, endAt, tries, voicemail, walletBelowMinor, keepFreePercent } = campaign
  const week = readWindow(window)
  const { retryBusyMinutes, retryNoAnswerMinutes } = campaign
  return {
    state,
    // One that cannot be read is never open.
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
