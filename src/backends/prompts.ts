import { withoutNoValues } from '../call/tools/value-fault.js'
import type { BackendSession, HistoryEntry, ToolLedgerEntry, ToolReply } from './backend.js'
import { replyText } from './tool-text.js'

/** Characters of conversation history that a new session gets, newest first. */
const BACKEND_HISTORY_CHARS_MAX = 32 * 1024

/**
 * The gateway's own texts for a model, not for callers; used only where the agent's definition has no text of its own.
 */

/** The text that replaces the empty system text with which a call asks its backend to begin. */
export function openingText(session: BackendSession): string {
  if (session.history.length > 0)
    return "The line had a short gap. Go on from the caller's last words; do not greet again."
  if (session.greeting === null || session.greeting === '')
    return 'The caller is on the line now. Greet them in one short sentence and ask what they need.'
  return `The caller is on the line now. Greet them with exactly these words, and nothing else: ${session.greeting}`
}

/** Words of the gateway that the caller heard, for a service to which the agent's words cannot be given as such. */
export function saidText(words: string): string {
  return `You have just said to the caller: ${words}`
}

/** New instructions, for a service that takes them as a text only. */
export function newInstructions(instructions: string): string {
  return `From here on these instructions apply: ${instructions}`
}

const KEYS_PRESSED = 'The caller pressed these keys on the phone: '

export function keysText(keys: string): string {
  return `${KEYS_PRESSED}${keys}`
}

/** The keys in such a text; null in any other. */
export function keysIn(text: string): string | null {
  return text.startsWith(KEYS_PRESSED) ? text.slice(KEYS_PRESSED.length) : null
}

/** The newest items, oldest first, that have at most BACKEND_HISTORY_CHARS_MAX characters together. */
function newest<Item>(items: readonly Item[], charsOf: (item: Item) => number): readonly Item[] {
  let chars = 0
  const tooMuch = items.findLastIndex((item) => (chars += charsOf(item)) > BACKEND_HISTORY_CHARS_MAX)
  return items.slice(tooMuch + 1)
}

/** The newest part of the history. */
export function recentHistory(history: readonly HistoryEntry[]): readonly HistoryEntry[] {
  return newest(history, ({ text }) => text.length).filter(({ text }) => text !== '')
}

/** The newest tool calls with results, as a model has them: a value that says nothing is null, as in the first answer. */
export function recentTools(ledger: readonly ToolLedgerEntry[]): readonly ToolLedgerEntry[] {
  const read = ledger.map((entry) => ({ ...entry, result: withoutNoValues(entry.result) }))
  return newest(read, ({ args, ok, result }) => JSON.stringify(args).length + replyText({ ok, value: result }).length)
}

/** Summary of the call before a takeover, for a session that was connected earlier, such as a standby. */
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

/** The result of a tool that an earlier session called. */
export function lateToolText(name: string, reply: ToolReply): string {
  return `The tool ${name}, which was called before, has answered: ${replyText(reply)}`
}
