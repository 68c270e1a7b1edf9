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

/** Facts of one business beside those that this file names, and entries of a list of them. */
const FACTS_MAX = 60
const LIST_MAX = 50
/** Names that recognisers get. */
const VOCABULARY_MAX = 40
const VOCABULARY_CHARS_MAX = 40
/** Services of one business with hours of their own. */
const SERVICES_MAX = 12
const FACT_CHARS_MAX = 2000

const fact = z.string().trim().min(1).max(FACT_CHARS_MAX)
const list = z.array(z.string().trim().min(1).max(200)).min(1).max(LIST_MAX)

/** Facts of a business, for the agents that answer its numbers. */
const factsSchema = z
  .object({
    name: fact.describe('Name of the business, as it is said.'),
    hours: hoursSchema.optional().describe('When the business is open; also the default of escalation.hours.'),
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
      .describe('Services with hours of their own: restaurant, reception. Read as openNow_NAME and nextOpening_NAME.'),
    location: fact.optional(),
    services: list.optional(),
    team: list.optional(),
    languages: list
      .optional()
      .describe(
        "By name or code, the first one first: of the agent's languages a call begins in the one that comes first here.",
      ),
    humans: z
      .array(calledNumber)
      .min(1)
      .max(ESCALATION_NUMBERS_MAX)
      .optional()
      .describe('Numbers of humans, in their order.'),
    voice: z.string().min(1).max(60).optional().describe("The carrier's voice, for say.voice."),
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

/** Made from `hours`, or those of a service, each time that they are read. */
const COMPUTED = /^(?:openNow|nextOpening)(?:_(\w+))?$/

/** Cost limit of a number's calls on one day, and the service that they get when little or nothing of it is left. */
const dayBudgetSchema = z.strictObject({
  perDay: z
    .number()
    .positive()
    .max(1_000_000_000)
    .describe(
      'Limit for all ended calls of one day in the zone of facts.hours, in CURRENCY. Beyond it callers leave messages.',
    ),
  cheaper: z
    .strictObject({
      fromPercent: z.int().min(1).max(99).default(80).describe('Share of perDay.'),
      backend: z.string().min(1).describe('Backend of new calls from then on, in place of that of the agent.'),
    })
    .exactOptional(),
})

/** The entry of one number: `numbers` of a numbers file, by the number. */
export const businessSchema = z.strictObject({
  agent: z
    .string()
    .refine(isAgentName, { error: 'must be the name of an agent' })
    .describe('The agent that answers this number, whatever agent the URL names.'),
  facts: factsSchema.describe('Read as {{business.NAME}}.'),
  opsToken: z
    .string()
    .regex(/^\{\{env\.[A-Za-z_][A-Za-z0-9_]*\}\}$/, { error: 'must be {{env.NAME}}, a variable that holds the token' })
    .optional()
    .describe('A bearer token of the ops port that sees and commands the calls of this number.'),
  budget: dayBudgetSchema.exactOptional(),
  messages: numberReceiversSchema
    .optional()
    .describe('Receivers of messages about the calls of this number (docs/MESSAGES.md).'),
})

type Entry = z.output<typeof businessSchema>

/** A number with its business. Plain data: it crosses threads by structured clone. */
export interface Business extends Pick<Entry, 'agent' | 'facts' | 'budget'> {
  /** Our own number, E.164. */
  readonly number: string
}

/** Which facts an agent reads: {{business.NAME}} in its words, its tools and its escalation. */
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

/** Facts that an agent reads and a business lacks. Where it reads a computed one, the hours of the business. */
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
 * Values of a business for templates: texts, with lists joined by commas.
 * @param language  language of the computed values: Swahili, or English for any other
 * @param wallMs calendar time
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

/** Opening state now, one sentence each, for a model: `Hoteli Baraka is open now, until 22:00.` */
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
 * Names that callers are likely to say: those whose pronunciation is known, and those of the business, its team, services
 * and places. The first ones, because recognisers take few.
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

/** `at 08:00`, `tomorrow at 08:00`, `on Thursday, 26 November at 08:00`: figures, which each voice reads in its way. */
function momentText(timeZone: string, atMs: number, wallMs: number, words: typeof ENGLISH): string {
  const { date: day, minute } = localTime(timeZone, atMs)
  const today = localTime(timeZone, wallMs).date
  const at = `${words.at}${dateFormat('en-GB', { timeZone, hour: '2-digit', minute: '2-digit' }).format(atMs)}`
  if (day === today) return at
  // The hour before its midnight is on the day before, also where clocks change.
  const isTomorrow = localTime(timeZone, atMs - minute * 60_000 - 12 * 3_600_000).date === today
  const named = { timeZone, weekday: 'long', day: 'numeric', month: 'long' } as const
  const date = isTomorrow ? words.tomorrow : `${words.on}${dateFormat(words.locale, named).format(atMs)}`
  return `${date} ${at}`
}

/** `mon-fri 08:00-17:00; sat 09:00-13:00; 12-24 08:00-12:00; closed on 12-25`. */
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
 * An agent as it answers for one business: its facts are in every word, and its hours and humans in the escalation. Only
 * `instructions` are left: `withBusiness` fills them whenever they are sent. Tools keep their templates, and read the facts
 * when they run.
 * @param wallMs calendar time of the call
 */
export function agentFor(agent: AgentDefinition, business: Business, wallMs: number): AgentDefinition {
  const { facts } = business
  const languages = orderedLanguages(agent.languages, facts.languages ?? [])
  const codes = languages.map(codeOf)
  const values = new Map(codes.map((code) => [code, businessValues(business, code, wallMs)]))
  const { tools, instructions, verification, escalation, ...words } = agent
  const first = codeOf(agent.languages[0] ?? '')
  const said = filled(words, values, first)
  // `say.language` gives the carrier the first language of the file.
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

/** The languages of an agent, those that are named first, in that order. @param named  by name or code */
export function orderedLanguages(languages: readonly string[], named: readonly string[]): string[] {
  const order = named.map((name) => name.toLowerCase())
  const placeOf = (language: string): number => {
    const place = order.findIndex((name) => namesOf(codeOf(language)).includes(name) || name === language.toLowerCase())
    return place < 0 ? order.length : place
  }
  return [...languages].sort((a, b) => placeOf(a) - placeOf(b))
}

/** How a language may be named, in small letters: its code, its name in English and its own. */
function namesOf(code: string): readonly string[] {
  const names = ['en', code].map((locale) => new Intl.DisplayNames([locale], { type: 'language' }).of(code) ?? code)
  return [code, ...names.map((name) => name.toLowerCase())]
}

/** A copy of plain data with the facts in its texts. @param values  by language @param language  of a text that names none */
function filled<T>(value: T, values: ReadonlyMap<string, BusinessValues>, language: string): T {
  if (typeof value === 'string') return withBusiness(value, values.get(language) ?? {}) as T
  if (Array.isArray(value)) return value.map((entry: unknown) => filled(entry, values, language)) as T
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    // A phrase may have one text a language.
    Object.entries(value).map(([key, entry]) => [
      key,
      filled(entry as unknown, values, values.has(key) ? key : language),
    ]),
  ) as T
}
