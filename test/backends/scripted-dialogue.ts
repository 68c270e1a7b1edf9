import type { ScriptedReply } from '../../src/backends/conformance.js'
import type { ToolLedgerEntry } from '../../src/backends/backend.js'

/** Names of the states that are answers. */
export const REPLY_STATE = /^reply-/
const OUT_OF_REPLIES = 'reply-yes'
const ANSWER = /^answer-/

type Step = Readonly<Record<string, unknown>>

/**
 * A script as an `offline:` block. Whatever the caller says of `phrases` leads to the next reply, and so does the last
 * answer to tools that a reply asked for; with no reply left it says `Yes.`
 *
 *     start -> listening (or, with a greeting, -> next)
 *     next -> the first reply that was not given -> waiting, while a tool is unanswered -> next
 *                                                -> listening
 */
export function dialogueOf(
  replies: readonly ScriptedReply[],
  phrases: readonly string[],
  ledger: readonly ToolLedgerEntry[],
): Readonly<Record<string, unknown>> {
  const calls = replies.flatMap((reply) => reply.calls ?? [])
  const saved = calls.map((_, i) => `answer-${i}`)
  const anyOpen = {
    any: saved.map((name) => ({ all: [{ exists: `asked-${name}` }, { not: { exists: `had-${name}` } }] })),
  }
  const states: Record<string, { readonly steps: readonly Step[] }> = {
    start: { steps: [{ goto: 'next', when: { exists: 'greeting' } }, { goto: 'listening' }] },
    // Asks for what was asked for before; the answers are there already.
    'take-over': {
      steps: [
        ...ledger.map(({ name, args }, i) => ({ call: { tool: name, args, save: `answer-before-${i}` } })),
        { goto: 'next' },
      ],
    },
    next: {
      steps: [
        ...replies.map((_, i) => ({ goto: `reply-${i}`, when: { not: { exists: `visits.reply-${i}` } } })),
        { goto: OUT_OF_REPLIES },
      ],
    },
    [OUT_OF_REPLIES]: { steps: [{ say: 'Yes.' }, { goto: 'listening' }] },
    listening: { steps: [{ listen: { slots: ['number'], on: { number: 'next' } } }] },
    waiting: {
      steps: [
        ...saved.flatMap((name) => [
          { await: name },
          { set: { [`had-${name}`]: true }, when: { exists: `asked-${name}` } },
        ]),
        { goto: 'next' },
      ],
    },
  }
  let asked = 0
  for (const [i, reply] of replies.entries()) {
    const steps: Step[] = reply.say === undefined ? [] : [{ say: reply.say.trim() }]
    for (const { name, args } of reply.calls ?? []) {
      const save = saved[asked++] ?? ''
      steps.push({ set: { [`asked-${save}`]: true } }, { start: { tool: name, args, save } })
    }
    if (asked > 0) steps.push({ goto: 'waiting', when: anyOpen })
    states[`reply-${i}`] = { steps: [...steps, { goto: 'listening' }] }
  }
  const intents = Object.fromEntries(phrases.map((phrase, i) => [`said-${i}`, { phrases: [grammarOf(phrase)] }]))
  return {
    version: 1,
    intents,
    slots: { number: { type: 'digits', min: 1, max: 20 } },
    on: Object.fromEntries(Object.keys(intents).map((intent) => [intent, 'next'])),
    start: 'start',
    takeover: 'take-over',
    missed: 'next',
    misses: 2,
    states,
  }
}

/** Answers of tools, as far as the dialogue kept it. */
export function toolValuesIn(
  values: Readonly<Record<string, unknown>>,
): { readonly callId: string; readonly text: string }[] {
  return Object.entries(values).flatMap(([name, value]) =>
    ANSWER.test(name) ? [{ callId: name, text: JSON.stringify(value) }] : [],
  )
}

function grammarOf(phrase: string): string {
  return phrase.toLowerCase().replace(/[^a-z' ]/g, '')
}
