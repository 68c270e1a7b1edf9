import { CALLER_SOURCE } from '../../call/caller-data.js'
import { COLLECT_TOOL, VERIFY_TOOL } from '../../call/tools/gateway-tools.js'
import type { GatewayTool } from '../../call/tools/gateway-tools.js'
import { VERIFIED_FACT } from '../../call/stage-definition.js'
import { offersTool } from '../../call/stages.js'
import type { AgentDefinition } from './definition.js'
import { allowedNames, pathText } from './faults.js'
import type { Fault } from './faults.js'
import { mcpToolNames } from '../tools/mcp-definition.js'
import { getsDigits } from '../tools/offered-tools.js'
import { sharesOf } from './own-backends.js'

/**
 * Finds faults of stages that the schema cannot detect:
 * - names of tools, facts and stages that do not exist
 * - stages that no call can enter or leave
 * - needs that cannot be fulfilled in this stage or in an earlier stage
 * @param offered  tools that may be offered to the agent's model
 */
export function stageFaults(agent: AgentDefinition, offered: readonly GatewayTool[]): Fault[] {
  const { facts, stages } = agent
  const faults: Fault[] = []
  const fault = (path: readonly PropertyKey[], what: string, key = false): void => {
    faults.push({ path, key, what: `${pathText(path)} ${what}` })
  }
  const tools = [...offered.map(({ name }) => name), ...mcpToolNames(agent.mcp)]
  /** Facts from the look-up of the caller are available in every stage. */
  const isCaller = (name: string): boolean => name === CALLER_SOURCE && agent.caller !== null
  /**
   * Returns the tools through which a tool can be called. `collect_digits` calls a tool that receives secret digits;
   * `verify_caller` may be called by `collect_digits` and also directly.
   */
  const calledBy = (tool: string): string[] => [
    ...(agent.digits.some((one) => one.tool === tool) ? [COLLECT_TOOL] : []),
    ...(getsDigits(agent, tool) ? [] : [tool]),
  ]
  const known = [...(agent.verification === null ? [] : [VERIFIED_FACT]), ...Object.keys(facts)]
  const isTool = (path: readonly PropertyKey[], name: string): void => {
    if (!calledBy(name).some((one) => tools.includes(one)))
      fault(path, `is ${name}, which is not a tool of this agent; ${allowedNames(name, tools)}`)
  }
  const isFact = (path: readonly PropertyKey[], name: string): void => {
    if (known.includes(name)) return
    const none = name === VERIFIED_FACT ? 'which needs a verification section' : 'which is not a fact of this agent'
    fault(path, `is ${name}, ${none}; ${allowedNames(name, known)}`)
  }

  for (const [name, { from = [] }] of Object.entries(facts))
    from.forEach((source, i) => {
      const [tool = ''] = source.split('.')
      if (!isCaller(tool)) isTool(['facts', name, 'from', i], tool)
    })
  const names = Object.keys(stages ?? {})
  for (const [state, { stage }] of Object.entries(agent.offline?.states ?? {}))
    if (stage !== undefined && !names.includes(stage))
      fault(
        ['offline', 'states', state, 'stage'],
        `is ${stage}, which is not a stage of this agent; ${allowedNames(stage, names)}`,
      )
  if (stages === null) {
    if (Object.keys(facts).length > 0) fault(['facts'], 'are for stages, and this agent has none')
    return faults
  }

  const backends = [...new Set(sharesOf(agent.backend).flatMap(({ use }) => use))]
  /**
   * True if the agent may use this backend. `auto` counts as every backend, because the gateway's settings decide its
   * meaning.
   */
  const hasBackend = (name: string): boolean => backends.includes(name) || backends.includes('auto')
  for (const [name, stage] of Object.entries(stages)) {
    const at = ['stages', name]
    stage.tools?.forEach((tool, i) => isTool([...at, 'tools', i], tool))
    stage.needs.forEach((need, i) => isFact([...at, 'needs', i], need))
    if (stage.language !== undefined && !agent.languages.includes(stage.language))
      fault([...at, 'language'], `is ${stage.language}; ${allowedNames(stage.language, agent.languages)}`)
    if (stage.voice !== undefined && !Object.keys(stage.voice).some(hasBackend))
      fault(
        [...at, 'voice'],
        `has no effect: it names none of the backends of this agent (${backends.join(', ')}); allowed: cascade, embedded`,
      )
    if (stage.escalate !== undefined && agent.escalation === null)
      fault([...at, 'escalate'], 'needs a human, but the agent has no escalation section')
    for (const [to, next] of Object.entries(stage.next)) {
      const way = [...at, 'next', to]
      if (!names.includes(to))
        fault(way, `leads to a stage that this agent does not have; ${allowedNames(to, names)}`, true)
      if (to === name) fault(way, 'leads to its own stage', true)
      if (next.when === undefined && next.on === undefined)
        fault(way, 'needs when, for the model, or on, for the gateway')
      next.needs?.forEach((need, i) => isFact([...way, 'needs', i], need))
      next.on?.facts?.forEach((need, i) => isFact([...way, 'on', 'facts', i], need))
      if (next.on?.tool !== undefined && !isCaller(next.on.tool)) isTool([...way, 'on', 'tool'], next.on.tool)
    }
    if (stage.handoverTo === agent.name) fault([...at, 'handoverTo'], 'is the agent itself')
    const ends = stage.final || stage.escalate !== undefined || stage.handoverTo !== undefined
    if (!ends && Object.keys(stage.next).length === 0)
      fault(at, 'has no way out: it needs next, or escalate, handoverTo or final: true', true)
  }
  if (faults.length > 0) return faults

  const digitTools = agent.digits.flatMap(({ tool }) => tool ?? [])
  agent.digits.forEach(({ tool }, i) => {
    const asks = tool === undefined ? digitTools : [tool]
    if (Object.values(stages).some((stage) => offersTool(stage, COLLECT_TOOL, asks))) return
    const ways = [COLLECT_TOOL, ...(tool === undefined ? [] : [tool])].join(' or ')
    fault(['digits', i], `is never asked for: no stage has ${ways} among its tools`)
  })
  for (const [state, { stage: name, steps }] of Object.entries(agent.offline?.states ?? {})) {
    const stage = name === undefined ? undefined : stages[name]
    if (stage === undefined) continue
    steps.forEach((step, i) => {
      const kind = 'call' in step ? 'call' : 'start'
      const tool = 'call' in step ? step.call.tool : 'start' in step ? step.start.tool : null
      // The gateway's tools are offered in every stage. Unknown tools are reported by the dialogue's check.
      if (tool === null || !tools.includes(tool) || offersTool(stage, tool, digitTools)) return
      const what = `is ${tool}, which the stage ${name} of this state does not offer; ${allowedNames(tool, stage.tools ?? [])}`
      fault(['offline', 'states', state, 'steps', i, kind, 'tool'], what)
    })
  }

  /** Stages from which a stage can be reached, including the stage itself, by the reached stage. */
  const before = new Map(names.map((name) => [name, new Set(reaching(stages, name))]))
  const [first = ''] = names
  for (const [name, stage] of Object.entries(stages)) {
    const earlier = before.get(name) ?? new Set()
    if (!earlier.has(first)) fault(['stages', name], 'is reached from no stage before it', true)
    /** True if the model can ask the caller for the fact in any stage, or if a tool that sets the fact is offered. */
    const given = (fact: string): boolean => {
      const { from = [], ask } = facts[fact] ?? {}
      const sources = fact === VERIFIED_FACT ? [VERIFY_TOOL] : from.map((source) => source.split('.')[0] ?? '')
      return (
        ask !== undefined ||
        sources.some(isCaller) ||
        [...earlier].some((one) => {
          const stage = stages[one]
          return sources.some((tool) =>
            calledBy(tool).some(
              (by) =>
                stage !== undefined &&
                offersTool(
                  stage,
                  by,
                  digitTools.filter((name) => name === tool),
                ),
            ),
          )
        })
      )
    }
    const check = (path: readonly PropertyKey[], needs: readonly string[] | undefined): void =>
      needs?.forEach((need, i) => {
        if (!given(need))
          fault([...path, i], `is ${need}, which is not a result of a tool of this stage or an earlier stage`)
      })
    check(['stages', name, 'needs'], stage.needs)
    for (const [to, next] of Object.entries(stage.next)) {
      check(['stages', name, 'next', to, 'needs'], next.needs)
      check(['stages', name, 'next', to, 'on', 'facts'], next.on?.facts)
    }
  }
  return faults
}

/** Returns the stages from which `name` can be reached, including `name`. */
function reaching(stages: NonNullable<AgentDefinition['stages']>, name: string): readonly string[] {
  const found = [name]
  for (const one of found)
    for (const [from, { next }] of Object.entries(stages))
      if (Object.hasOwn(next, one) && !found.includes(from)) found.push(from)
  return found
}
