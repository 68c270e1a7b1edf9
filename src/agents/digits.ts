import { z } from 'zod'
import { COLLECTED_DIGITS_MAX, COLLECTION_RETRIES_MAX } from '../call/digit-collection.js'
import type { Collection } from '../call/digit-collection.js'
import { COLLECT_TOOL } from '../call/gateway-tools.js'
import type { GatewayTool } from '../call/gateway-tools.js'
import { spokenSchema as spoken, textsOf } from '../call/localized-text.js'
import type { LocalizedText } from '../call/localized-text.js'
import type { ToolParameters } from './json-schema.js'

/** Entries that one agent may ask for. */
const COLLECTIONS_MAX = 12

const count = z.int().min(1).max(COLLECTED_DIGITS_MAX)

const CONFIRM: LocalizedText = {
  en: 'I have {{digits}}. Press 1 if that is right, or 2 to enter it again.',
  sw: 'Nimepata {{digits}}. Bonyeza moja kama ni sahihi, au mbili kuingiza tena.',
}

/** Values that an agent takes from its callers digit by digit, with the tool `collect_digits`. */
export const digitsSchema = z
  .array(
    z
      .strictObject({
        name: z
          .string()
          .regex(/^[a-z][A-Za-z0-9_-]{0,39}$/, {
            error: 'must be 1 to 40 of a-z A-Z 0-9 _ -, beginning with a small letter',
          })
          .describe('By which the model asks for it.'),
        description: z.string().min(1).max(1000).describe('When the model asks for it.'),
        say: spoken.describe('The question to the caller. The gateway says it, so that the model need not.'),
        again: spoken
          .default({ en: 'I did not get all the digits.', sw: 'Sijapata tarakimu zote.' })
          .describe('Said before `say` when the digits were too few, or none came.'),
        length: z
          .union(
            [count, z.strictObject({ min: count.describe('Fewest digits.'), max: count.describe('Most digits.') })],
            {
              error: `must be a number of 1 to ${COLLECTED_DIGITS_MAX}, or { min, max }`,
            },
          )
          .describe('How many digits it has. An entry of `max` digits ends by itself.'),
        terminator: z.enum(['#', '*']).default('#').describe('Ends an entry; the other one of # and * clears it.'),
        firstS: z.number().min(2).max(60).default(10).describe('Silence after the question, before it is asked again.'),
        betweenS: z.number().min(1).max(20).default(4).describe('Silence after a digit that ends the entry.'),
        retries: z.int().min(0).max(COLLECTION_RETRIES_MAX).default(2).describe('How often the caller is asked again.'),
        confirm: z
          .union([z.literal(true).transform(() => CONFIRM), z.literal(false).transform(() => null), spoken])
          .default(null)
          .describe('Reads the digits back. true: in a sentence of the gateway; a text of yours has {{digits}} in it.'),
        speech: z.boolean().optional().describe('Lets the caller say the digits too. Default: unless it is sensitive.'),
        maskAllBut: z
          .int()
          .min(0)
          .max(4)
          .nullable()
          .default(null)
          .describe("How many digits at the end the call's record shows. Default: all."),
        sensitive: z
          .boolean()
          .default(false)
          .describe('Neither model, transcript, log, journal nor recording gets the digits; `tool` alone does.'),
        tool: z.string().optional().describe('The tool that gets sensitive digits. The model cannot call it itself.'),
        argument: z.string().optional().describe('Its argument for the digits.'),
      })
      .superRefine((entry, context) => {
        const fault = (key: string, message: string): void => context.addIssue({ code: 'custom', path: [key], message })
        const { length, sensitive, confirm } = entry
        if (typeof length !== 'number' && length.min > length.max) fault('length', 'has a min above its max')
        for (const key of ['tool', 'argument'] as const) {
          if (sensitive && entry[key] === undefined) fault(key, 'is missing: nothing else may get sensitive digits')
          if (!sensitive && entry[key] !== undefined) fault(key, 'is for sensitive digits; set sensitive: true')
        }
        if (sensitive && entry.speech === true) fault('speech', 'is not possible: what is said goes to the model')
        if (sensitive && confirm !== null) fault('confirm', 'is not possible: what is said goes to the transcript')
        if (sensitive && entry.maskAllBut !== null)
          fault('maskAllBut', 'is not possible: no record has sensitive digits')
        if (confirm !== null && textsOf(confirm).some((text) => !text.includes('{{digits}}')))
          fault('confirm', 'must have {{digits}} in it')
      }),
  )
  .max(COLLECTIONS_MAX)
  .superRefine((entries, context) => {
    entries.forEach(({ name }, index) => {
      if (entries.findIndex((other) => other.name === name) < index)
        context.addIssue({ code: 'custom', path: [index, 'name'], message: `${name} is the name of an earlier entry` })
    })
  })

type DigitEntry = z.output<typeof digitsSchema>[number]

/** For the session. */
export function collectionOf(entry: DigitEntry): Collection {
  const { length, tool, argument, firstS, betweenS, sensitive, ...rest } = entry
  const { min, max } = typeof length === 'number' ? { min: length, max: length } : length
  return {
    name: rest.name,
    say: rest.say,
    again: rest.again,
    confirm: rest.confirm,
    min,
    max,
    terminator: rest.terminator,
    firstMs: firstS * 1000,
    betweenMs: betweenS * 1000,
    retries: rest.retries,
    speech: rest.speech ?? !sensitive,
    maskAllBut: rest.maskAllBut,
    secretFor: tool === undefined || argument === undefined ? null : { tool, argument },
  }
}

interface DigitFault {
  readonly path: readonly [index: number, key: 'tool' | 'argument']
  readonly what: string
}

/** @returns what is wrong with the tools that get sensitive digits, by the entry's index and key */
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

/** A tool that may get digits. */
interface DigitTool {
  readonly name: string
  readonly parameters: ToolParameters
  readonly bind: Readonly<Record<string, string>>
}

/** `collect_digits` as a model is offered it. @param tools  those that get sensitive digits */
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
    // Else a model that waits for its calls would drop this one at any sound of the caller.
    once: true,
  }
}
