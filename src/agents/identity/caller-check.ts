import { CALLER_SOURCE, callerFieldsIn, earlierFields } from '../../call/caller-data.js'
import type { AgentAssets } from '../file/assets.js'
import { pathsOfCaller } from './caller-fields.js'
import type { AgentDefinition } from '../file/definition.js'
import { allowedNames, pathText } from '../file/faults.js'
import type { Fault } from '../file/faults.js'
import { getsDigits, hasEffect } from '../tools/offered-tools.js'

/** Keys whose texts may contain `{{caller.NAME}}`, which is replaced by a value. */
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

/** Returns the fields of a caller that the agent's words can read; null if the fields are not limited by a list. */
export function callerFields({ caller, facts, tools }: AgentDefinition, assets: AgentAssets): readonly string[] | null {
  if (caller === null) return []
  const earlier = caller.memory ? earlierFields(Object.keys(facts)) : []
  if (caller.file !== undefined) return [...(assets.callers?.fields ?? []), ...earlier]
  if (caller.tool === undefined) return earlier
  const fields = tools.find(({ name }) => name === caller.tool)?.result.fields
  const known = caller.fields ?? (fields === undefined ? null : Object.keys(fields))
  return known === null ? null : [...known, ...earlier]
}

/** Finds faults in the `caller` section: its tool, its fields, and the texts that read these fields. */
export function callerFaults(agent: AgentDefinition, assets: AgentAssets): Fault[] {
  const { caller } = agent
  const fields = callerFields(agent, assets)
  const fault = (path: readonly PropertyKey[], what: string): Fault => ({ path, what: `${pathText(path)} ${what}` })
  // The fault is `spared`: without this file, callers are unknown to the agent, but calls work.
  const spared = caller?.file === undefined ? {} : { spared: true }
  const known = (path: readonly PropertyKey[], name: string, verb = `is ${name}`): Fault[] => {
    if (fields === null || fields.includes(name) || (caller?.file !== undefined && assets.callers === null)) return []
    const allowed = allowedNames(name, fields)
    return [{ ...fault(path, `${verb}, which is not a field of the caller; ${allowed}`), ...spared }]
  }
  const read = textsIn(agent, []).flatMap(({ path, text }) =>
    callerFieldsIn(text).flatMap((name) => {
      const place = pathText(path)
      if (!READ_IN.some((one) => place === one || place.startsWith(`${one}.`) || place.startsWith(`${one}[`)))
        return [fault(path, `reads {{caller.${name}}}, which has a value only in ${READ_IN.join(', ')}`)]
      // The dialogue's texts are not checked here. The check of the dialogue examines them, because a dialogue can read
      // more fields of a caller.
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
      ? [fault(['caller', 'personal'], 'needs a verification section; without it no caller hears these fields')]
      : []),
  ]
}

/** Returns the reasons why the gateway cannot call a tool before the conversation with every caller. */
function toolFaults(agent: AgentDefinition, assets: AgentAssets): string[] {
  const name = agent.caller?.tool
  if (name === undefined) return []
  if (name === CALLER_SOURCE) return [`is ${CALLER_SOURCE}, a name that stages use; give the tool another name`]
  const http = agent.tools.find((tool) => tool.name === name)
  const tool = http ?? assets.codeTools.find((one) => one.name === name)
  if (tool === undefined) {
    const names = [...agent.tools, ...assets.codeTools].map((one) => one.name)
    return [`is ${name}, which is not a tool of this agent; ${allowedNames(name, names)}`]
  }
  const missing = tool.parameters.required.filter((one) => !Object.hasOwn(tool.bind, one))
  const effect = http === undefined ? 'idempotent' in tool && !tool.idempotent : hasEffect(http)
  return [
    ...(effect ? [`is ${name}, which may change data; a look-up must only read`] : []),
    ...(tool.requires === 'verified'
      ? [`is ${name}, which requires a verified caller; list its fields in personal`]
      : []),
    ...(getsDigits(agent, name) ? [`is ${name}, which gets digits that a caller enters`] : []),
    ...(missing.length > 0
      ? [`is ${name}, which needs ${missing.join(', ')}: bind it, for example to {{call.from}}`]
      : []),
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
