import { CALLER_SOURCE, callerFieldsIn, earlierFields } from '../../call/caller-data.js'
import type { AgentAssets } from '../file/assets.js'
import { pathsOfCaller } from './caller-fields.js'
import type { AgentDefinition } from '../file/definition.js'
import { allowedNames, pathText } from '../file/faults.js'
import type { Fault } from '../file/faults.js'
import { getsDigits, hasEffect } from '../tools/offered-tools.js'

/** Keys whose texts are said or written with `{{caller.NAME}}` filled in. */
const READ_IN: readonly string[] = [
  'greeting',
  'instructions',
  'context.facts',
  'outbound.greeting',
  'outbound.instructions',
  'callbacks.greeting',
  'stages',
  'goodbye',
  'recovery.callbackGreeting',
  'offline',
]

/** The fields of a caller that the agent's words can read; null: any, because nothing says which there are. */
export function callerFields({ caller, facts, tools }: AgentDefinition, assets: AgentAssets): readonly string[] | null {
  if (caller === null) return []
  const earlier = caller.memory ? earlierFields(Object.keys(facts)) : []
  if (caller.file !== undefined) return [...(assets.callers?.fields ?? []), ...earlier]
  if (caller.tool === undefined) return earlier
  const fields = tools.find(({ name }) => name === caller.tool)?.result.fields
  const known = caller.fields ?? (fields === undefined ? null : Object.keys(fields))
  return known === null ? null : [...known, ...earlier]
}

/** Faults in how an agent knows its callers: its tool, the fields, and the texts that read them. */
export function callerFaults(agent: AgentDefinition, assets: AgentAssets): Fault[] {
  const { caller } = agent
  const fields = callerFields(agent, assets)
  const fault = (path: readonly PropertyKey[], what: string): Fault => ({ path, what: `${pathText(path)} ${what}` })
  // A file that has lost a column, or that nobody can read, costs what is known of callers, and no call.
  const spared = caller?.file === undefined ? {} : { spared: true }
  const known = (path: readonly PropertyKey[], name: string, verb = `is ${name}`): Fault[] => {
    if (fields === null || fields.includes(name) || (caller?.file !== undefined && assets.callers === null)) return []
    const allowed = allowedNames(name, fields)
    return [{ ...fault(path, `${verb}, which is no field of the caller; ${allowed}`), ...spared }]
  }
  const read = textsIn(agent, []).flatMap(({ path, text }) =>
    callerFieldsIn(text).flatMap((name) => {
      const place = pathText(path)
      if (!READ_IN.some((one) => place === one || place.startsWith(`${one}.`) || place.startsWith(`${one}[`)))
        return [fault(path, `reads {{caller.${name}}}; it is filled in in ${READ_IN.join(', ')} only`)]
      // Checked with the dialogue, which reads more of a caller.
      if (place.startsWith('offline')) return []
      if (caller === null) return [fault(path, `reads {{caller.${name}}}, but the agent has no caller section`)]
      return known(path, name, `reads {{caller.${name}}}`)
    }),
  )
  if (caller === null) return read
  const inDialogue = caller.file === undefined ? [] : new Set(pathsOfCaller(agent.offline ?? null))
  return [
    ...read,
    ...[...inDialogue].flatMap((name) => (name === 'number' ? [] : known(['offline'], name, `reads caller.${name}`))),
    ...toolFaults(agent, assets).map((what) => fault(['caller', 'tool'], what)),
    ...caller.personal.flatMap((name, i) => known(['caller', 'personal', i], name)),
    ...(caller.language === undefined ? [] : known(['caller', 'language'], caller.language)),
    ...(caller.personal.length > 0 && agent.verification === null
      ? [fault(['caller', 'personal'], 'needs a verification section, or nobody ever hears them')]
      : []),
  ]
}

/** Why a tool cannot be called by the gateway, for every caller, before anybody has spoken. */
function toolFaults(agent: AgentDefinition, assets: AgentAssets): string[] {
  const name = agent.caller?.tool
  if (name === undefined) return []
  if (name === CALLER_SOURCE) return [`is ${CALLER_SOURCE}, a name that stages use; give the tool another`]
  const http = agent.tools.find((tool) => tool.name === name)
  const tool = http ?? assets.codeTools.find((one) => one.name === name)
  if (tool === undefined) {
    const names = [...agent.tools, ...assets.codeTools].map((one) => one.name)
    return [`is ${name}, which is not a tool of this agent; ${allowedNames(name, names)}`]
  }
  const missing = tool.parameters.required.filter((one) => !Object.hasOwn(tool.bind, one))
  const effect = http === undefined ? 'idempotent' in tool && !tool.idempotent : hasEffect(http)
  return [
    ...(effect ? [`is ${name}, which changes something; a look-up only reads`] : []),
    ...(tool.requires === 'verified'
      ? [`is ${name}, which requires a verified caller; list its fields in personal`]
      : []),
    ...(getsDigits(agent, name) ? [`is ${name}, which gets what a caller keys in`] : []),
    ...(missing.length > 0 ? [`is ${name}, which needs ${missing.join(', ')}: bind it, as to {{call.from}}`] : []),
  ]
}

function textsIn(
  value: unknown,
  path: readonly PropertyKey[],
): { readonly path: readonly PropertyKey[]; readonly text: string }[] {
  if (typeof value === 'string') return value.includes('{{') ? [{ path, text: value }] : []
  if (typeof value !== 'object' || value === null) return []
  const entries = Array.isArray(value) ? value.map((one: unknown, i) => [i, one] as const) : Object.entries(value)
  return entries.flatMap(([key, one]) => textsIn(one, [...path, key]))
}
