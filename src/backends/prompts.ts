import { withoutNoValues } from '../call/tools/value-fault.js'
import type { BackendSession, HistoryEntry, ToolLedgerEntry, ToolReply } from './backend.js'
import { replyText } from './tool-text.js'

/**
 * Maximum number of characters of conversation history for a new session. If the history is longer, its newest part is
 * used.
 */
const BACKEND_HISTORY_CHARS_MAX = 32 * 1024

/** Texts of the gateway for a model, not for callers. A text is used only if the agent's file does not have its own. */

/** @returns the text that replaces an empty system text, with which the gateway asks the backend to begin */
export function openingText(session: BackendSession): string {
  if (session.history.length > 0)
    return "The line had a short gap. Go on from the caller's last words; do not greet again."
  if (session.greeting === null || session.greeting === '')
    return 'The caller is on the line now. Greet them in one short sentence and ask what they need.'
  return `The caller is on the line now. Greet them with exactly these words, and nothing else: ${session.greeting}`
}

/**
 * Makes a text that contains words which the gateway spoke to the caller. Used if the service does not accept words of
 * the agent.
 */
export function saidText(words: string): string {
  return `You have just said to the caller: ${words}`
}

/** Makes a text with new instructions. Used if the service accepts new instructions only as a text. */
export function newInstructions(instructions: string): string {
  return `From here on these instructions apply: ${instructions}`
}

/** Text for a model after a tool has reported a new speaking speed, but the voice does not support this speed. */
export const SPEED_REFUSED =
  'The voice has refused to change its speed. Tell the caller in a few words that you cannot speak slower or faster. From now ' +
  'on use shorter sentences, and say one thing at a time.'

const KEYS_PRESSED = 'The caller pressed these keys on the phone: '

export function keysText(keys: string): string {
  return `${KEYS_PRESSED}${keys}`
}

/** @returns the DTMF digits in a text about pressed keys; null for any other text */
export function keysIn(text: string): string | null {
  return text.startsWith(KEYS_PRESSED) ? text.slice(KEYS_PRESSED.length) : null
}

/** @returns the newest items, oldest first. Together they have at most BACKEND_HISTORY_CHARS_MAX characters */
function newest<Item>(items: readonly Item[], charsOf: (item: Item) => number): readonly Item[] {
  let chars = 0
  const tooMuch = items.findLastIndex((item) => (chars += charsOf(item)) > BACKEND_HISTORY_CHARS_MAX)
  return items.slice(tooMuch + 1)
}

/** @returns the newest part of the history */
export function recentHistory(history: readonly HistoryEntry[]): readonly HistoryEntry[] {
  return newest(history, ({ text }) => text.length).filter(({ text }) => text !== '')
}

/**
 * @returns the newest tool calls with results, in the form that a model gets. An empty value becomes null, as in the
 * tool's first answer.
 */
export function recentTools(ledger: readonly ToolLedgerEntry[]): readonly ToolLedgerEntry[] {
  const read = ledger.map((entry) => ({ ...entry, result: withoutNoValues(entry.result) }))
  return newest(read, ({ args, ok, result }) => JSON.stringify(args).length + replyText({ ok, value: result }).length)
}

/**
 * Makes a text with the call's words and tool results, for a session that was connected before the takeover, such as a
 * standby.
 */
export function recapText(history: readonly HistoryEntry[], ledger: readonly ToolLedgerEntry[]): string {
  const said = recentHistory(history).map(({ role, text }) => `${role === 'caller' ? 'Caller' : 'You'}: ${text}`)
  const done = recentTools(ledger).map(
    ({ name, args, ok, result }) => `${name}(${JSON.stringify(args)}) gave ${replyText({ ok, value: result })}`,
  )
  const lines = ['You take over this call now. Do not greet again and do not repeat what was said.']
  if (said.length > 0) lines.push('What was said so far:', ...said)
  if (done.length > 0)
    lines.push('Tools that were called so far; do not call them again for the same purpose:', ...done)
  return lines.join('\n')
}

/** Makes a text with a tool's result, if an earlier session called the tool. */
export function lateToolText(name: string, reply: ToolReply): string {
  return `The tool ${name}, which was called before, has answered: ${replyText(reply)}`
}
