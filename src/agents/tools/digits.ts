import type { DigitEntry } from '../../call/tools/digit-collection.js'
import { COLLECT_TOOL } from '../../call/tools/gateway-tools.js'
import type { GatewayTool } from '../../call/tools/gateway-tools.js'
import type { ToolParameters } from './json-schema.js'

interface DigitFault {
  readonly path: readonly [index: number, key: 'tool' | 'argument']
  readonly what: string
}

/** Checks the tools that receive secret digits. @returns faults, by index and key of the entry in `digits` */
export function digitFaults(
  entries: readonly DigitEntry[],
  tools: ReadonlyMap<string, { readonly arguments: readonly string[] | null }>,
): DigitFault[] {
  return entries.flatMap(({ tool, argument }, index): DigitFault[] => {
    if (tool === undefined || argument === undefined) return []
    const known = tools.get(tool)
    const missing = (what: string, all: readonly string[]): string => `${what}; allowed: ${all.join(', ') || '(none)'}`
    if (known === undefined)
      return [{ path: [index, 'tool'], what: missing(`${tool}, which is not a tool of this agent`, [...tools.keys()]) }]
    if (known.arguments === null || known.arguments.includes(argument)) return []
    return [
      { path: [index, 'argument'], what: missing(`${argument}, which is not an argument of ${tool}`, known.arguments) },
    ]
  })
}

/** A tool that may receive digits. */
interface DigitTool {
  readonly name: string
  readonly parameters: ToolParameters
  readonly bind: Readonly<Record<string, string>>
}

/**
 * Returns the tool `collect_digits` for a model.
 * @param tools  tools that receive secret digits
 */
export function collectToolSpec(entries: readonly DigitEntry[], tools: readonly DigitTool[]): GatewayTool {
  const others = entries.flatMap(({ tool: name, argument }) => {
    const tool = tools.find((one) => one.name === name)
    const names = Object.keys(tool?.parameters.properties ?? {})
    return names
      .filter((one) => one !== argument && !Object.hasOwn(tool?.bind ?? {}, one))
      .map((one) => [one, tool?.parameters.properties[one]] as const)
  })
  const about = entries.map(({ name, description, sensitive, tool }) =>
    sensitive
      ? `${name}: ${description} You get the answer of ${tool ?? ''}, never the digits.`
      : `${name}: ${description}`,
  )
  return {
    name: COLLECT_TOOL,
    description:
      'Takes digits from the caller on the keypad. The system asks the caller itself and answers when it has them; ' +
      `say nothing before and meanwhile. ${about.join(' ')}`,
    parameters: {
      type: 'object',
      additionalProperties: false,
      required: ['name'],
      properties: {
        name: { type: 'string', enum: entries.map(({ name }) => name), description: 'What the caller is to enter.' },
        ...(others.length === 0
          ? {}
          : {
              with: {
                type: 'object',
                description: 'What else the tool needs that gets the digits.',
                properties: Object.fromEntries(others),
              },
            }),
      },
    },
    // The model does not wait for this tool call, because it would then cancel the tool call at the first sound of the
    // caller.
    once: true,
  }
}
