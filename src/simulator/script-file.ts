import { z } from 'zod'
import { cutFaults, faultsOf } from '../agents/file/faults.js'
import { parseYaml } from '../agents/file/yaml-source.js'
import { GatewayError } from '../core/errors.js'
import { type CallerAct, type CallerRule, type CallerScript, type CallerStep } from './caller-script.js'
import { PATIENCE_MS, REACTION_MS } from './caller-model.js'
import { areDtmfDigits } from '../carrier/line.js'

/** Version of the script format; docs/SIMULATOR.md explains every key. */
const SCRIPT_VERSION = 1
const FAULTS_SHOWN_MAX = 20

/** One value or a list of values, as a list; empty if the key is absent. */
export function listOf<T extends z.ZodType>(one: T, most: number, error?: string) {
  const either = z.union([one, z.array(one).min(1).max(most)], error)
  return either.optional().transform((given) => (given === undefined ? [] : [given].flat()) as z.output<T>[])
}

const phrase = z.string().trim().min(1).max(300)
const phrases = listOf(phrase, 20)
const dtmfDigits = z.string().max(40).refine(areDtmfDigits, { error: 'must be keys: 0-9 * # A-D, in quotes' })

const acts = {
  say: phrase.optional(),
  press: dtmfDigits.optional(),
  play: z.string().min(1).optional(),
  beep: z.literal(true).optional().describe('A mailbox has said its greeting, and records.'),
  hold: z
    .int()
    .min(1000)
    .max(600_000)
    .optional()
    .describe('Puts the agent on hold: for this number of milliseconds an announcer is heard who never pauses.'),
  answer: z.strictObject({ yes: phrase.default('Yes.'), no: phrase.default('No.') }).optional(),
  wait: z.int().min(0).max(600_000).optional(),
  repeat: z.literal(true).optional(),
  hangup: z.literal(true).optional(),
}
const ACT_NAMES = Object.keys(acts)

const exactlyOneAct = (value: Readonly<Record<string, unknown>>): boolean =>
  ACT_NAMES.filter((name) => value[name] !== undefined).length === 1
const ONE_ACT = { error: `needs exactly one of ${ACT_NAMES.join(', ')}` }

const stepSchema = z
  .strictObject({
    ...acts,
    heard: phrases,
    interruptAfterMs: z.int().min(0).max(60_000).optional(),
    pauseMs: z.int().min(0).max(60_000).optional(),
  })
  .refine(exactlyOneAct, ONE_ACT)
  .transform(({ heard, interruptAfterMs = null, pauseMs, ...act }): CallerStep => ({
    act: actOf(act),
    heard,
    interruptAfterMs,
    ...(pauseMs === undefined ? {} : { pauseMs }),
  }))

const ruleSchema = z
  .strictObject({
    ...acts,
    heard: phrases,
    about: z.enum(['read-back', 'status']).optional(),
    times: z.int().min(1).max(100).default(3),
  })
  .refine(exactlyOneAct, ONE_ACT)
  .refine((rule) => (rule.heard.length === 0) !== (rule.about === undefined), { error: 'needs one of heard, about' })
  .transform(({ heard, about, times, ...act }): CallerRule => ({
    heard: about ?? heard,
    act: actOf(act),
    timesMax: times,
  }))

/** The keys that describe the caller's behaviour. Scripts and scenarios share them. */
export const scriptKeys = {
  order: z
    .string()
    .regex(/^\d{3,12}$/, { error: 'must be 3 to 12 digits, in quotes' })
    .optional()
    .transform((order) => order ?? null),
  reactionMs: z.int().min(0).max(10_000).default(REACTION_MS),
  patienceMs: z.int().min(500).max(120_000).default(PATIENCE_MS),
  rules: z.array(ruleSchema).max(100).prefault([]),
  steps: z.array(stepSchema).max(500).prefault([]),
}

const scriptSchema = z
  .strictObject({
    version: z.literal(SCRIPT_VERSION, { error: `must be ${SCRIPT_VERSION}` }),
    name: z.string().max(100).default('script'),
    ...scriptKeys,
  })
  .refine((script) => script.rules.length + script.steps.length > 0, { error: 'has neither steps nor rules' })

/**
 * Reads a caller script.
 * @param file  its name, for messages
 * @throws GatewayError SCRIPT_INVALID as `parseChecked`
 */
export function parseScript(text: string, file: string): CallerScript {
  return parseChecked(scriptSchema, text, file, 'a script')
}

/**
 * Reads a YAML file whose keys a schema checks.
 * @param file  its name
 * @param noun  the kind of file
 * @throws GatewayError SCRIPT_INVALID with one line for each fault: `file:line:col: what`
 */
export function parseChecked<S extends z.ZodType>(schema: S, text: string, file: string, noun: string): z.output<S> {
  const source = parseYaml(text, { noun, manual: 'docs/SIMULATOR.md' })
  if (!('value' in source)) throw invalid(file, source)
  const parsed = schema.safeParse(source.value)
  const jsonSchema = (): Record<string, unknown> => z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
  const cuts = cutFaults(source, jsonSchema)
  if (cuts.length > 0) throw invalid(file, cuts)
  if (parsed.success) return parsed.data
  throw invalid(
    file,
    faultsOf(parsed.error.issues, jsonSchema(), source.value, noun).map(({ path, key, what }) => ({
      ...source.locate(path, key),
      what,
    })),
  )
}

function invalid(
  file: string,
  faults: readonly { readonly line: number; readonly col: number; readonly what: string }[],
): GatewayError {
  const lines = [...faults]
    .sort((a, b) => a.line - b.line || a.col - b.col)
    .slice(0, FAULTS_SHOWN_MAX)
    .map(({ line, col, what }) => `${file}:${line}:${col}: ${what}`)
  if (faults.length > FAULTS_SHOWN_MAX) lines.push(`and ${faults.length - FAULTS_SHOWN_MAX} more`)
  return new GatewayError('SCRIPT_INVALID', lines.join('\n'))
}

function actOf(fields: z.output<z.ZodObject<typeof acts>>): CallerAct {
  if (fields.say !== undefined) return { type: 'say', text: fields.say }
  if (fields.press !== undefined) return { type: 'press', keys: fields.press }
  if (fields.play !== undefined) return { type: 'play', file: fields.play }
  if (fields.beep !== undefined) return { type: 'beep' }
  if (fields.hold !== undefined) return { type: 'hold', ms: fields.hold }
  if (fields.answer !== undefined) return { type: 'answer', ...fields.answer }
  if (fields.wait !== undefined) return { type: 'wait', ms: fields.wait }
  if (fields.repeat !== undefined) return { type: 'repeat' }
  return { type: 'hangup' }
}
