import { codeOf } from '../../call/spoken/localized-text.js'
import { dateFormat } from '../../core/date-format.js'
import { localTime, machineZone } from '../../core/local-time.js'
import { isOpen } from '../../escalation/hunt-group.js'
import { subscriberNumber } from '../../sautikit/phone.js'
import { openingSentences } from '../file/business.js'
import type { Business } from '../file/business.js'
import type { AgentDefinition } from '../file/definition.js'

/** The call for which the context is written. */
interface ContextCall {
  readonly agent: Pick<AgentDefinition, 'context' | 'escalation' | 'languages'> &
    Partial<Pick<AgentDefinition, 'pronunciations'>>
  /** Backends of the call, in order. If absent: the gateway writes figures in words for all backends. */
  readonly backends?: readonly string[]
  /** Business of the gateway's number; absent or null if the number does not have a business. */
  readonly business?: Business | null
  /** Phone number of the caller or the called person; empty if withheld. */
  readonly from: string
}

/**
 * Returns a text with facts that a model cannot know. The text is added at the end of the model's instructions. The
 * text contains:
 * - local day and time of the callers
 * - the language
 * - the presence of human colleagues
 * - known facts of the caller
 * - the agent's own facts
 *
 * The text does not contain a phone number.
 * @param wallMs  calendar time
 */
export function callContext({ agent, business, from, backends = [] }: ContextCall, wallMs: number): string {
  const zone = contextZone(agent)
  const format = (options: Intl.DateTimeFormatOptions, atMs = wallMs): string =>
    dateFormat('en-GB', { timeZone: zone, ...options }).format(atMs)
  const day = { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' } as const
  const hours = agent.escalation?.hours
  // The time 24 hours after today's noon is always on the next day, even when clocks change.
  const { minute } = localTime(zone, wallMs)
  const noonMs = wallMs - minute * 60_000 + 12 * 3_600_000
  return [
    'Facts of this call, from the system:',
    `- Today is ${format(day)}. Tomorrow is ${format(day, noonMs + 24 * 3_600_000)}.`,
    `- This began at ${format({ hour: 'numeric', minute: '2-digit', hourCycle: 'h12' })} (${format({ hour: '2-digit', minute: '2-digit' })}), ` +
      `${dayPart(minute)}, in the time zone ${zone} (${format({ timeZoneName: 'longOffset' }).split(', ')[1] ?? 'GMT'}).`,
    agent.languages.length === 1
      ? `- The language of the line is ${nameOf(agent.languages[0] ?? '')}.`
      : `- The languages of the line are ${agent.languages.map(nameOf).join(', ')}; it begins in the first. Answer in the ` +
        "language of the caller's last whole sentence; a borrowed word changes nothing, and where they mix, go on in the " +
        'one that you speak. Call set_language when it changes.',
    ...(agent.languages.some(isSwahili) ? [SHENG] : []),
    ...(hasSwahiliClock(agent.languages, zone) ? [SWAHILI_CLOCK] : []),
    ...(backends.some((name) => !SPOKEN_FOR.includes(name)) ? spokenRules(agent) : []),
    ...(business == null ? [] : openingSentences(business, wallMs).map((sentence) => `- ${sentence}`)),
    ...(hours == null ? [] : [`- The human colleagues are ${isOpen(hours, wallMs) ? 'there' : 'not there'} now.`]),
    subscriberNumber(from) === null
      ? "- The caller's number is withheld. Where a number is needed, ask the caller for one."
      : "- The caller's number is known to the system, and tools that need it use it by themselves.",
    ...(agent.context.facts.length === 0 ? [] : agent.context.facts.map((fact) => `- ${fact}`)),
  ].join('\n')
}

const LANGUAGES = new Intl.DisplayNames('en', { type: 'language' })

/** Returns a language's English name: `Swahili` for `sw`. */
function nameOf(language: string): string {
  return LANGUAGES.of(language) ?? language
}

/** Time zones whose callers mix Swahili with other languages, and mix the Swahili clock with the usual clock. */
const SWAHILI_ZONES = ['Africa/Nairobi', 'Africa/Dar_es_Salaam', 'Africa/Kampala']
const SHENG = '- Sheng is Swahili here: understand it, and answer in plain Swahili without slang.'
const SWAHILI_CLOCK =
  '- Swahili hours are six off: "saa nne asubuhi" is 10:00, "saa kumi jioni" is 16:00; "10 AM" is 10:00. Read a time back in both ' +
  'clocks before you use it ("saa nne asubuhi, ten in the morning?"), and where the half of the day is open, ask. A tool takes ' +
  "times, dates and numbers in the caller's own words too."

/** Names of backends for which the gateway converts a text to spoken words before the voice receives the text. */
const SPOKEN_FOR: readonly string[] = ['cascade', 'embedded']
/**
 * Maximum number of names whose pronunciation a model receives. Instructions are sent with each turn, so only the first
 * names are included.
 */
const NAMES_TOLD_MAX = 50
/** Rules for spoken figures, as in `speech/spoken`, for a model that itself produces the speech. */
const SPOKEN =
  '- How you say figures: order, account, paybill and till numbers, codes and plates one digit or letter at a time; phone numbers too, ' +
  'in groups of four, three and three, beginning with zero (+254 712 345 678 is zero seven one two, three four five, six seven eight); ' +
  'amounts in whole words with their cents, never rounded (KES 1,450.50 is one thousand four hundred and fifty shillings and fifty cents); ' +
  'dates with the day first; ranges with "to"; short forms in full (Rd, Ave, Est.). Marks only in addresses: info at shop dot co dot K E.'
const SPOKEN_SWAHILI =
  '- In Swahili the noun comes first: shilingi elfu moja, mia nne na hamsini, na senti hamsini; asilimia kumi na tano; tarehe ishirini na ' +
  'tano Novemba; the first of a month is tarehe mosi. 18:00 is saa kumi na mbili jioni, 09:45 saa nne kasoro robo asubuhi. 10,005 is elfu kumi, na tano.'

/** Returns `Moo-in-dee (English)`. */
function sayings(say: Readonly<Record<string, string>>): string {
  return Object.entries(say)
    .map(([code, said]) => `${said} (${nameOf(code)})`)
    .join(', ')
}

function spokenRules({ languages, pronunciations = [] }: ContextCall['agent']): string[] {
  const names = pronunciations
    .slice(0, NAMES_TOLD_MAX)
    .map(({ match, say }) => `${match}: ${typeof say === 'string' ? say : sayings(say)}`)
  return [
    SPOKEN,
    ...(languages.some(isSwahili) ? [SPOKEN_SWAHILI] : []),
    ...(names.length === 0 ? [] : [`- How names sound: ${names.join('; ')}.`]),
  ]
}

function hasSwahiliClock(languages: readonly string[], zone: string): boolean {
  return languages.some(isSwahili) || SWAHILI_ZONES.includes(zone)
}

function isSwahili(language: string): boolean {
  return codeOf(language) === 'sw'
}

/** Returns the callers' time zone: the agent's zone, or the zone of its opening hours, or the zone of this machine. */
export function contextZone({ context, escalation }: Pick<AgentDefinition, 'context' | 'escalation'>): string {
  return context.timeZone ?? escalation?.hours?.timeZone ?? machineZone().timeZone
}

/**
 * Returns the time until the next day begins in a time zone, in milliseconds. On a day on which clocks change, the
 * result is wrong by an hour.
 */
export function untilMidnightMs(zone: string, wallMs: number): number {
  return 24 * 3_600_000 - localTime(zone, wallMs).minute * 60_000 - (wallMs % 60_000)
}

function dayPart(minute: number): string {
  const hour = minute / 60
  if (hour < 5 || hour >= 22) return 'at night'
  return hour < 12 ? 'in the morning' : hour < 17 ? 'in the afternoon' : 'in the evening'
}
