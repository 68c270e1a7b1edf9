import { CALLER_SOURCE } from '../../call/caller-data.js'
import type { AgentDefinition } from '../file/definition.js'

/** The fields of its caller that an agent reads anywhere: in words, its dialogue, facts and stages. */
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

/** The fields in all paths of a part of an agent that begin with `caller.`. */
export function pathsOfCaller(part: unknown): string[] {
  return [...JSON.stringify(part).matchAll(/\bcaller\.([A-Za-z_][A-Za-z0-9_]*)/g)].map(([, name = '']) => name)
}
