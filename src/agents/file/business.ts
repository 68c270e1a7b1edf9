import { dateFormat } from '../../core/date-format.js'
import { z } from 'zod'
import { localTime } from '../../core/local-time.js'
import { openingOf } from '../../escalation/hunt-group.js'
import type { OpeningHours } from '../../escalation/hunt-group.js'
import { codeOf } from '../../call/spoken/localized-text.js'
import { isAgentName } from '../../core/ids.js'
import { ESCALATION_NUMBERS_MAX } from '../../core/limits.js'
import { numberReceiversSchema } from '../../messages/receivers.js'
import { BUSINESS_HUMANS, calledNumber, hoursSchema } from './definition.js'
import type { AgentDefinition } from './definition.js'
import { businessFactsIn, sourcesOf, withBusiness } from './template.js'
import type { BusinessValues } from './template.js'
import { templatesOf } from '../tools/tool-definition.js'
import { faultIn } from './faults.js'

/** Maximum number of facts that one business may define. */
const FACTS_MAX = 60
/** Maximum number of entries in a fact that is a list. */
const LIST_MAX = 50
/** Maximum number of names that a recogniser gets from a business. */
const VOCABULARY_MAX = 40
const VOCABULARY_CHARS_MAX = 40
/** Maximum number of services with opening hours of their own in one business. */
const SERVICES_MAX = 12
const FACT_CHARS_MAX = 2000

const fact = z.string().trim().min(1).max(FACT_CHARS_MAX)
const list = z.array(z.string().trim().min(1).max(200)).min(1).max(LIST_MAX)

/** Facts of a business, for the agents that answer its numbers. */
const factsSchema = z
  .object({
    name: fact.describe('Name of the business, as the agent says it.'),
    hours: hoursSchema
      .optional()
      .describe('Opening hours of the business. They are also the default of escalation.hours.'),
    serviceHours: z
      .record(
        z.string().regex(/^[A-Za-z][A-Za-z0-9_]{0,29}$/, {
          error: 'a name is a letter, then letters, digits or _, 30 at most',
        }),
        hoursSchema,
      )
      .refine((services) => Object.keys(services).length <= SERVICES_MAX, {
        error: `has more than ${SERVICES_MAX} services`,
      })
      .optional()
      .describe(
        'Services with hours of their own, such as restaurant or reception. Agents read the hours as openNow_NAME and nextOpening_NAME.',
      ),
    location: fact.optional(),
    services: list.optional(),
    team: list.optional(),
    languages: list
      .optional()
      .describe(
        'Languages by name or code, in order of preference. A call begins in the first of them that the agent speaks.',
      ),
    humans: z
      .array(calledNumber)
      .min(1)
      .max(ESCALATION_NUMBERS_MAX)
      .optional()
      .describe('Numbers of humans, in the order of the attempts.'),
    voice: z.string().min(1).max(60).optional().describe('Voice of the carrier, for say.voice.'),
  })
  .catchall(
    z.union([fact, z.number(), z.boolean()], {
      error: `must be a text of at most ${FACT_CHARS_MAX} characters, a number, or true or false`,
    }),
  )
  .superRefine((facts, context) => {
    const fault = faultIn(context)
    const names = Object.keys(facts)
    if (names.length > FACTS_MAX) fault([], `has ${names.length} facts; at most ${FACTS_MAX} are allowed`)
    for (const name of names) {
      if (COMPUTED.test(name)) fault([name], 'is computed from hours; leave it out')
      else if (!/^[A-Za-z_][A-Za-z0-9_]{0,39}$/.test(name))
        fault([name], 'is no name; a name is a letter or _, then letters, digits or _, 40 at most')
    }
  })

/**
 * Matches the names of computed facts. Such a fact is computed from the `hours` of the business or of a service, each
 * time it is read.
 */
const COMPUTED = /^(?:openNow|nextOpening)(?:_(\w+))?$/

/**
 * Maximum cost of a number's calls in one day, and handling of callers when this budget is nearly or completely used.
 */
const dayBudgetSchema = z.strictObject({
  perDay: z
    .number()
    .positive()
    .max(1_000_000_000)
    .describe(
      'Limit for the cost of all ended calls of one day, in CURRENCY. The day is in the zone of facts.hours. Above the limit callers can leave messages.',
    ),
  cheaper: z
    .strictObject({
      fromPercent: z
        .int()
        .min(1)
        .max(99)
        .default(80)
        .describe('Share of perDay, in percent, from which new calls get another backend.'),
      backend: z.string().min(1).describe("Backend of new calls above that share, in place of the agent's backend."),
    })
    .exactOptional(),
})

/** Entry of one phone number in the map `numbers` of a numbers file. */
export const businessSchema = z.strictObject({
  agent: z
    .string()
    .refine(isAgentName, { error: 'must be the name of an agent' })
    .describe('Agent that answers this number, even if the URL names another agent.'),
  facts: factsSchema.describe('Facts of the business. Agents read them as {{business.NAME}}.'),
  opsToken: z
    .string()
    .regex(/^\{\{env\.[A-Za-z_][A-Za-z0-9_]*\}\}$/, { error: 'must be {{env.NAME}}, a variable that holds the token' })
    .optional()
    .describe('Bearer token of the ops port that can see and command the calls of this number.'),
  budget: dayBudgetSchema.exactOptional(),
  messages: numberReceiversSchema
    .optional()
    .describe('Receivers of messages about the calls of this number (docs/MESSAGES.md).'),
})

type Entry = z.output<typeof businessSchema>

/** A phone number with its business, as plain data that can be sent between threads. */
export interface Business extends Pick<Entry, 'agent' | 'facts' | 'budget'> {
  /** The gateway's phone number, in E.164 form. */
  readonly number: string
}

/** Returns the names of the facts that an agent reads as {{business.NAME}}, in its words, tools and escalation. */
export function factsReadBy(agent: AgentDefinition): ReadonlySet<string> {
  const { tools, verification, ...words } = agent
  const requests = [...tools, ...(verification === null ? [] : [verification.account])]
  return new Set([
    ...businessFactsIn(JSON.stringify({ ...words, questions: verification?.questions })),
    ...requests
      .flatMap((request) => templatesOf(request).flatMap(({ template }) => sourcesOf(template)))
      .flatMap(({ scope, name }) => (scope === 'business' ? [name] : [])),
  ])
}

/**
 * Returns the facts that an agent reads but the business does not define. A computed fact needs the opening hours of
 * the business.
 */
export function missingFacts(reads: ReadonlySet<string>, { facts }: Business): string[] {
  const missing = [...reads].flatMap((name) => {
    const computed = COMPUTED.exec(name)
    if (computed === null) return name === 'number' || facts[name] !== undefined ? [] : [name]
    const [, service] = computed
    const hours = service === undefined ? facts.hours : facts.serviceHours?.[service]
    return hours !== undefined ? [] : [service === undefined ? 'hours' : `serviceHours.${service}`]
  })
  return [...new Set(missing)]
}

/**
 * Returns the values of a business for templates, as texts; a list is joined with commas.
 * @param language  language of the texts: Swahili, or English for all other languages
 * @param wallMs  calendar time
 */
export function businessValues(business: Business, language: string, wallMs: number): BusinessValues {
  const values: Record<string, string | number | boolean> = { number: business.number }
  for (const [name, value] of Object.entries(business.facts)) {
    if (name === 'hours') Object.assign(values, { hours: hoursText(value as OpeningHours) })
    else if (name === 'serviceHours')
      values[name] = Object.entries(value as Readonly<Record<string, OpeningHours>>)
        .map(([service, hours]) => `${service}: ${hoursText(hours)}`)
        .join('; ')
    else if (Array.isArray(value)) values[name] = value.join(', ')
    else if (typeof value !== 'object' && value !== undefined) values[name] = value
  }
  const { hours, serviceHours = {} } = business.facts
  const words = /^sw\b/i.test(language) ? SWAHILI : ENGLISH
  const kinds = [...(hours === undefined ? [] : [['', hours] as const]), ...Object.entries(serviceHours)]
  for (const [service, of] of kinds) {
    const { open, changesAtMs } = openingOf(of, wallMs)
    const change = changesAtMs === null ? null : momentText(of.timeZone, changesAtMs, wallMs, words)
    const end = service === '' ? '' : `_${service}`
    values[`openNow${end}`] =
      change === null ? words[open ? 'open' : 'closed'] : words[open ? 'openUntil' : 'closedUntil'](change)
    values[`nextOpening${end}`] = open ? words.open : (change ?? words.unknown)
  }
  return values
}

/**
 * Returns one sentence for each service about its opening hours now, for a model: `Hoteli Baraka is open now, until
 * 22:00.`
 */
export function openingSentences(business: Business, wallMs: number): string[] {
  const values = businessValues(business, 'en', wallMs)
  const { name, hours, serviceHours = {} } = business.facts
  return [
    ...(hours === undefined ? [] : [`${name} is ${String(values['openNow'])}.`]),
    ...Object.keys(serviceHours).map(
      (service) => `${name}, ${service.replaceAll('_', ' ')}: ${String(values[`openNow_${service}`])}.`,
    ),
  ]
}

/**
 * Returns names that callers are likely to say. Names with a known pronunciation are first. Then follow the names of
 * the business, its team, its services and its places. There are at most VOCABULARY_MAX names, because recognisers
 * accept only a few.
 */
export function vocabularyOf(
  { pronunciations }: Pick<AgentDefinition, 'pronunciations'>,
  business: Business | null | undefined,
): string[] {
  const { name, team = [], services = [], location = '' } = business?.facts ?? {}
  const names = [name ?? '', ...pronunciations.map(({ match }) => match), ...team, ...services, ...location.split(',')]
  const short = names.map((one) => one.trim()).filter((one) => one !== '' && one.length <= VOCABULARY_CHARS_MAX)
  return [...new Set(short)].slice(0, VOCABULARY_MAX)
}

const ENGLISH = {
  locale: 'en-GB',
  open: 'open now',
  closed: 'closed now',
  unknown: 'at a time that is not known',
  openUntil: (moment: string) => `open now, until ${moment.replace(/^at /, '')}`,
  closedUntil: (moment: string) => `closed now, and open again ${moment}`,
  tomorrow: 'tomorrow',
  on: 'on ',
  at: 'at ',
}

const SWAHILI: typeof ENGLISH = {
  locale: 'sw-KE',
  open: 'wazi sasa',
  closed: 'imefungwa sasa',
  unknown: 'wakati usiojulikana',
  openUntil: (moment) => `wazi sasa, hadi ${moment}`,
  closedUntil: (moment) => `imefungwa sasa, itafunguliwa ${moment}`,
  tomorrow: 'kesho',
  on: '',
  at: '',
}

/**
 * Returns `at 08:00`, `tomorrow at 08:00` or `on Thursday, 26 November at 08:00`. The voice later converts the figures
 * to words.
 */
function momentText(timeZone: string, atMs: number, wallMs: number, words: typeof ENGLISH): string {
  const { date: day, minute } = localTime(timeZone, atMs)
  const today = localTime(timeZone, wallMs).date
  const at = `${words.at}${dateFormat('en-GB', { timeZone, hour: '2-digit', minute: '2-digit' }).format(atMs)}`
  if (day === today) return at
  // Half a day before midnight is always on the previous day, even when clocks change.
  const isTomorrow = localTime(timeZone, atMs - minute * 60_000 - 12 * 3_600_000).date === today
  const named = { timeZone, weekday: 'long', day: 'numeric', month: 'long' } as const
  const date = isTomorrow ? words.tomorrow : `${words.on}${dateFormat(words.locale, named).format(atMs)}`
  return `${date} ${at}`
}

/**
 * Returns opening hours as a text, such as `mon-fri 08:00-17:00; sat 09:00-13:00; 12-24 08:00-12:00; closed on 12-25`.
 */
function hoursText({ week, holidays, exceptions = {} }: OpeningHours): string {
  const days = Object.entries(week).filter(([, spans]) => (spans?.length ?? 0) > 0)
  const closed = holidays.filter((day) => exceptions[day] === undefined)
  return [
    ...days.map(([day, spans]) => `${day} ${spans?.join(' and ') ?? ''}`),
    ...Object.entries(exceptions).map(([day, spans]) => `${day} ${spans.join(' and ') || 'closed'}`),
    ...(closed.length === 0 ? [] : [`closed on ${closed.join(', ')}`]),
  ].join('; ')
}

/**
 * Returns the agent for one business. Its texts contain the business's facts, and its escalation has the business's
 * hours and humans. `instructions` remain templates, because `withBusiness` fills them each time they are sent. Tools
 * also remain templates, and read the facts when they run.
 * @param wallMs  calendar time of the call
 */
export function agentFor(agent: AgentDefinition, business: Business, wallMs: number): AgentDefinition {
  const { facts } = business
  const languages = orderedLanguages(agent.languages, facts.languages ?? [])
  const codes = languages.map(codeOf)
  const values = new Map(codes.map((code) => [code, businessValues(business, code, wallMs)]))
  const { tools, instructions, verification, escalation, ...words } = agent
  const first = codeOf(agent.languages[0] ?? '')
  const said = filled(words, values, first)
  // `say.language` is the first language of the file, which would be wrong for this business, so it is left out.
  const { language: _ofFile, ...say } = said.say
  return {
    ...said,
    languages,
    say: languages[0] === agent.languages[0] ? said.say : say,
    tools,
    instructions,
    verification:
      verification === null ? null : { ...verification, questions: filled(verification.questions, values, first) },
    escalation:
      escalation === null
        ? null
        : {
            ...filled(escalation, values, first),
            numbers: escalation.numbers
              .flatMap((human) => (human === BUSINESS_HUMANS ? (facts.humans ?? []) : [human]))
              .slice(0, ESCALATION_NUMBERS_MAX),
            hours: escalation.hours ?? facts.hours ?? null,
          },
    context: { ...said.context, timeZone: said.context.timeZone ?? facts.hours?.timeZone },
  }
}

/**
 * Returns the languages of an agent. The languages in `named` are first, in their order.
 * @param named  languages by name or code
 */
export function orderedLanguages(languages: readonly string[], named: readonly string[]): string[] {
  const order = named.map((name) => name.toLowerCase())
  const placeOf = (language: string): number => {
    const place = order.findIndex((name) => namesOf(codeOf(language)).includes(name) || name === language.toLowerCase())
    return place < 0 ? order.length : place
  }
  return [...languages].sort((a, b) => placeOf(a) - placeOf(b))
}

/**
 * Returns the names of a language in small letters: its code, its English name, and its name in the language itself.
 */
function namesOf(code: string): readonly string[] {
  const names = ['en', code].map((locale) => new Intl.DisplayNames([locale], { type: 'language' }).of(code) ?? code)
  return [code, ...names.map((name) => name.toLowerCase())]
}

/**
 * Returns a copy of plain data with the facts inserted into its texts.
 * @param values  facts by language
 * @param language  language of a text without a language code
 */
function filled<T>(value: T, values: ReadonlyMap<string, BusinessValues>, language: string): T {
  if (typeof value === 'string') return withBusiness(value, values.get(language) ?? {}) as T
  if (Array.isArray(value)) return value.map((entry: unknown) => filled(entry, values, language)) as T
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    // The value is a phrase with one text for each language.
    Object.entries(value).map(([key, entry]) => [
      key,
      filled(entry as unknown, values, values.has(key) ? key : language),
    ]),
  ) as T
}
