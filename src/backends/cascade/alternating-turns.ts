import type { ChatMessage } from './service.js'

// Requests for services whose conversations alternate between two speakers. The user has the first and the last turn;
// tool results are in the user's turns.

interface Turn<Part> {
  readonly role: 'user' | 'agent'
  readonly parts: Part[]
}

const BEGINS = '[The call begins.]'
const GOES_ON = '[Go on.]'

/**
 * Splits messages into the instructions (the first message) and the conversation after them. A later note of the
 * gateway becomes a text of the user in brackets.
 * @param partsOf returns the content of a message; an empty result omits the message
 * @param textPart makes a text of the user
 */
export function alternatingTurns<Part>(
  messages: readonly ChatMessage[],
  partsOf: (message: ChatMessage) => readonly Part[],
  textPart: (text: string) => Part,
): { readonly instructions: string; readonly turns: readonly Turn<Part>[] } {
  const turns: Turn<Part>[] = []
  const add = (role: Turn<Part>['role'], parts: readonly Part[]): void => {
    const last = turns.at(-1)
    if (parts.length === 0) return
    if (last?.role === role) last.parts.push(...parts)
    else turns.push({ role, parts: [...parts] })
  }
  const [first] = messages
  const instructions = first?.role === 'system' ? first.content : ''
  for (const message of first?.role === 'system' ? messages.slice(1) : messages) {
    const role = message.role === 'assistant' ? 'agent' : 'user'
    if (turns.length === 0 && role === 'agent') add('user', [textPart(BEGINS)])
    add(role, partsOf(message.role === 'system' ? { ...message, content: `[${message.content}]` } : message))
  }
  if (turns.at(-1)?.role !== 'user') add('user', [textPart(turns.length === 0 ? BEGINS : GOES_ON)])
  return { instructions, turns }
}

/**
 * Maximum number of tool calls for which the service's data is stored. The conversation itself has fewer tool calls. If
 * a tool call's data is no longer stored, the tool call is sent without data.
 */
export const KEPT_WITH_CALLS_MAX = 1000
