import { z } from 'zod'
import { orderedLanguages } from '../file/business.js'
import type { AgentDefinition } from '../file/definition.js'
import { sourcesOf, variablesIn, withVariables } from '../file/template.js'
import type { CallVariables } from '../file/template.js'
import { templatesOf } from './tool-definition.js'

/** Maximum number of variables of one call. */
const VARIABLES_MAX = 50
/** Maximum number of characters in each variable. */
const VARIABLE_CHARS_MAX = 1000

/** Matches a name that `{{call.variables.NAME}}` can read. */
const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,39}$/

/** Variables of an outbound call, as in `POST /api/calls` and in the rows of a campaign. */
export const callVariablesSchema = z
  .record(
    z.string().regex(VARIABLE_NAME, { error: 'a name is a letter or _, then letters, digits or _, 40 at most' }),
    z.string().max(VARIABLE_CHARS_MAX, { error: `at most ${VARIABLE_CHARS_MAX} characters` }),
  )
  .refine((values) => Object.keys(values).length <= VARIABLES_MAX, { error: `at most ${VARIABLES_MAX} variables` })

const readBy = new WeakMap<AgentDefinition, ReadonlySet<string>>()

/** Returns the names of the variables that an agent reads in its words and its tools. */
export function variablesReadBy(agent: AgentDefinition): ReadonlySet<string> {
  const known = readBy.get(agent)
  if (known !== undefined) return known
  // The texts in `callbacks` are left out, because a call back always has their variables.
  const { tools, verification, callbacks: _, ...words } = agent
  const requests = [...tools, ...(verification === null ? [] : [verification.account])]
  const names = new Set([
    ...variablesIn(JSON.stringify({ ...words, questions: verification?.questions })),
    ...requests
      .flatMap((request) => templatesOf(request).flatMap(({ template }) => sourcesOf(template)))
      .flatMap(({ scope, name }) => (scope === 'variables' ? [name] : [])),
  ])
  readBy.set(agent, names)
  return names
}

/**
 * Returns the agent for one call, with the call's variables inserted into all words. Tools remain templates, and read
 * the variables when they run.
 * @param begins  true if the called person does not expect the call. The first words are then taken from `outbound`, in
 * the language that the variable `language` names
 */
export function agentWith(agent: AgentDefinition, variables: CallVariables, begins = false): AgentDefinition {
  const own = begins ? beginning(agent, variables['language'] ?? null) : agent
  if (variablesReadBy(agent).size === 0 && agent.callbacks === null) return own
  const { tools, verification, ...words } = own
  return {
    ...filled(words, variables),
    tools,
    verification:
      verification === null ? null : { ...verification, questions: filled(verification.questions, variables) },
  }
}

function beginning(agent: AgentDefinition, language: string | null): AgentDefinition {
  const { offline, languages } = agent
  const { greeting, instructions } = agent.outbound
  const start = offline?.outbound
  if ([greeting, instructions, start].every((own) => own === undefined) && language === null) return agent
  return {
    ...agent,
    languages: language === null ? languages : orderedLanguages(languages, [language]),
    greeting: greeting ?? agent.greeting,
    instructions: [agent.instructions, ...(instructions === undefined ? [] : [instructions])].join('\n\n'),
    offline: offline === null || start === undefined ? offline : { ...offline, start },
  }
}

/** Returns a copy of plain data with the variables inserted into its texts. */
function filled<T>(value: T, variables: CallVariables): T {
  if (typeof value === 'string') return withVariables(value, variables) as T
  if (Array.isArray(value)) return value.map((entry: unknown) => filled(entry, variables)) as T
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [key, filled(entry as unknown, variables)]),
  ) as T
}
