import { LineCounter, parseDocument, type Document } from 'yaml'
import { z } from 'zod'
import { GatewayError } from '../core/errors.js'
import {
  PATIENCE_MS,
  REACTION_MS,
  type CallerAct,
  type CallerRule,
  type CallerScript,
  type CallerStep,
} from './caller-script.js'
import { areDtmfDigits } from './line.js'

/** Version of the script format; docs/SIMULATOR.md explains every key. */
const SCRIPT_VERSION = 1

const phrase = z.string().trim().min(1).max(300)
const phrases = z.union([phrase, z.array(phrase).min(1).max(20)])
const dtmfDigits = z.string().max(40).refine(areDtmfDigits, { error: 'must be keys: 0-9 * # A-D, in quotes' })

const acts = {
  say: phrase.optional(),
  press: dtmfDigits.optional(),
  play: z.string().min(1).optional(),
  hold: z
    .int()
    .min(1000)
    .max(600_000)
    .optional()
    .describe('Puts the agent on hold: for so many milliseconds an announcer is heard who never pauses.'),
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
    heard: phrases.optional(),
    interruptAfterMs: z.int().min(0).max(60_000).optional(),
    pauseMs: z.int().min(0).max(60_000).optional(),
  })
  .refine(exactlyOneAct, ONE_ACT)

const ruleSchema = z
  .strictObject({
    ...acts,
    heard: phrases.optional(),
    about: z.enum(['read-back', 'status']).optional(),
    times: z.int().min(1).max(100).default(3),
  })
  .refine(exactlyOneAct, ONE_ACT)
  .refine((rule) => (rule.heard === undefined) !== (rule.about === undefined), { error: 'needs one of heard, about' })

/** The keys that describe what a caller does. Scripts and scenarios share them. */
export const scriptKeys = {
  order: z
    .string()
    .regex(/^\d{3,12}$/, { error: 'must be 3 to 12 digits, in quotes' })
    .optional(),
  reactionMs: z.int().min(0).max(10_000).default(REACTION_MS),
  patienceMs: z.int().min(500).max(120_000).default(PATIENCE_MS),
  rules: z.array(ruleSchema).max(100).default([]),
  steps: z.array(stepSchema).max(500).default([]),
}

const scriptSchema = z
  .strictObject({
    version: z.literal(SCRIPT_VERSION, { error: `must be ${SCRIPT_VERSION}` }),
    name: z.string().max(100).default('script'),
    ...scriptKeys,
  })
  .refine((script) => script.rules.length + script.steps.length > 0, { error: 'has neither steps nor rules' })

type ActFields = Omit<z.output<typeof stepSchema>, 'heard' | 'interruptAfterMs' | 'pauseMs'>

/**
 * Reads a caller script.
 * @param file  its name, for messages
 * @throws GatewayError SCRIPT_INVALID with file, line and what is allowed
 */
export function parseScript(text: string, file: string): CallerScript {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const [fault] = document.errors
  if (fault !== undefined) {
    throw new GatewayError(
      'SCRIPT_INVALID',
      `${file}:${lines.linePos(fault.pos[0]).line}: ${fault.message.split('\n')[0] ?? ''}`,
    )
  }
  const parsed = scriptSchema.safeParse(document.toJS())
  if (parsed.success) return scriptOf(parsed.data)
  const [issue] = parsed.error.issues
  const path = (issue?.path ?? []).map(String)
  const where = path.length > 0 ? `${path.join('.')} ` : ''
  throw new GatewayError(
    'SCRIPT_INVALID',
    `${file}:${lineOf(document, lines, issue?.path ?? [])}: ${where}${issue?.message ?? 'is wrong'}`,
  )
}

function lineOf(document: Document, lines: LineCounter, path: readonly PropertyKey[]): number {
  for (let depth = path.length; depth >= 0; depth--) {
    const node = document.getIn(path.slice(0, depth), true)
    const range = (node as { range?: readonly number[] | null } | undefined)?.range
    if (range?.[0] !== undefined) return lines.linePos(range[0]).line
  }
  return 1
}

/** Turns the checked keys of a file into a script. */
export function scriptOf(file: Omit<z.output<typeof scriptSchema>, 'version'>): CallerScript {
  return {
    name: file.name,
    order: file.order ?? null,
    reactionMs: file.reactionMs,
    patienceMs: file.patienceMs,
    rules: file.rules.map((rule): CallerRule => ({
      heard: rule.about ?? listOf(rule.heard),
      act: actOf(rule),
      timesMax: rule.times,
    })),
    steps: file.steps.map((step): CallerStep => ({
      act: actOf(step),
      heard: listOf(step.heard),
      interruptAfterMs: step.interruptAfterMs ?? null,
      ...(step.pauseMs === undefined ? {} : { pauseMs: step.pauseMs }),
    })),
  }
}

function listOf(heard: string | readonly string[] | undefined): readonly string[] {
  if (heard === undefined) return []
  return typeof heard === 'string' ? [heard] : heard
}

function actOf(fields: ActFields): CallerAct {
  if (fields.say !== undefined) return { type: 'say', text: fields.say }
  if (fields.press !== undefined) return { type: 'press', keys: fields.press }
  if (fields.play !== undefined) return { type: 'play', file: fields.play }
  if (fields.hold !== undefined) return { type: 'hold', ms: fields.hold }
  if (fields.answer !== undefined) return { type: 'answer', ...fields.answer }
  if (fields.wait !== undefined) return { type: 'wait', ms: fields.wait }
  if (fields.repeat !== undefined) return { type: 'repeat' }
  return { type: 'hangup' }
}
