import { CALLER_SOURCE } from '../../call/caller-data.js'
import type { AgentDefinition } from '../file/definition.js'

/** Returns the caller's fields that an agent reads in its words, its dialogue, its facts and its stages. */
export function fieldsReadOfCaller(agent: AgentDefinition): readonly string[] {
  const { caller, stages } = agent
  const named = pathsOfCaller(agent)
  const ways = Object.values(stages ?? {}).flatMap(({ next }) => Object.values(next))
  const wanted = ways.flatMap(({ on }) => (on?.tool === CALLER_SOURCE ? Object.keys(on.result ?? {}) : []))
  return [
    ...new Set([
      ...named,
      ...wanted,
      ...(caller?.personal ?? []),
      ...(caller?.language === undefined ? [] : [caller.language]),
    ]),
  ]
}

/** Returns the fields of all paths that begin with `caller.`, in one part of an agent. */
export function pathsOfCaller(part: unknown): string[] {
  return [...JSON.stringify(part).matchAll(/\bcaller\.([A-Za-z_][A-Za-z0-9_]*)/g)].map(([, name = '']) => name)
}
