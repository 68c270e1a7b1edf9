import type { AgentDefinition } from '../../agents/file/definition.js'
import type { CallRecord } from '../../call/documents/record.js'

/** Stages of an agent, and transitions between stages, that no call of the run reached. */
interface StageCover {
  readonly agent: string
  readonly stages: { readonly all: number; readonly missed: readonly string[] }
  /** Transitions, such as `verify to help`. */
  readonly ways: { readonly all: number; readonly missed: readonly string[] }
}

/** @param records  records of all calls; calls of agents without stages are ignored */
export function stageCover(
  agents: readonly Pick<AgentDefinition, 'name' | 'stages'>[],
  records: readonly Pick<CallRecord, 'agent' | 'stages'>[],
): StageCover[] {
  return agents.flatMap(({ name, stages }) => {
    const calls = records.filter(({ agent }) => agent === name)
    if (stages === null || calls.length === 0) return []
    const taken = calls.flatMap((call) => call.stages)
    const been = new Set(taken.map(({ stage }) => stage))
    const gone = new Set(taken.map(({ from, stage }) => way(from ?? '', stage)))
    const names = Object.keys(stages)
    const ways = Object.entries(stages).flatMap(([from, { next }]) => Object.keys(next).map((to) => way(from, to)))
    return [
      {
        agent: name,
        stages: { all: names.length, missed: names.filter((stage) => !been.has(stage)) },
        ways: { all: ways.length, missed: ways.filter((one) => !gone.has(one)) },
      },
    ]
  })
}

function way(from: string, to: string): string {
  return `${from} to ${to}`
}

/** @returns a line for each agent; lines for its missed stages and its missed transitions */
export function coverText(covers: readonly StageCover[]): string {
  return covers
    .flatMap(({ agent, stages, ways }) => [
      `\n${agent}: ${stages.all - stages.missed.length} of ${stages.all} stages, ${ways.all - ways.missed.length} of ${ways.all} ways between them\n`,
      ...(stages.missed.length === 0 ? [] : [`  stages that no call was in: ${stages.missed.join(', ')}\n`]),
      ...(ways.missed.length === 0 ? [] : [`  ways that no call took: ${ways.missed.join(', ')}\n`]),
    ])
    .join('')
}
