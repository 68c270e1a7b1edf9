import type { HistoryEntry, ToolLedgerEntry, ToolReply } from '../backend.js'
import { recentHistory, recentTools } from '../prompts.js'
import { replyText } from '../tool-text.js'

/** The gateway's own words to a model that takes a call over. They are written for models, not for callers. */

/** What was said and done while a session stood by, for one that can be told nothing else any more. */
export function recapText(history: readonly HistoryEntry[], ledger: readonly ToolLedgerEntry[]): string {
  const said = recentHistory(history).map(({ role, text }) => `${role === 'caller' ? 'Caller' : 'You'}: ${text}`)
  const done = recentTools(ledger).map(({ name, args, ok, result }) => (
    `${name}(${JSON.stringify(args)}) gave ${replyText({ ok, value: result })}`))
  const lines = ['You take over this call now. Do not greet again and do not repeat what was said.']
  if (said.length > 0) lines.push('What was said so far:', ...said)
  if (done.length > 0) lines.push('Tools that were called so far; do not call them again for the same purpose:', ...done)
  return lines.join('\n')
}

/** A tool that an earlier session asked for has come back. */
export function lateToolText(name: string, reply: ToolReply): string {
  return `The tool ${name}, which was called before, has answered: ${replyText(reply)}`
}
