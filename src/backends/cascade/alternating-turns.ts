import type { ChatMessage } from './service.js'

// Services whose conversations are turns of two speakers, the user's first and last, with tool results among the user's.

interface Turn<Part> {
  readonly role: 'user' | 'agent'
  readonly parts: Part[]
}

const BEGINS = '[The call begins.]'
const GOES_ON = '[Go on.]'

/**
 * The instructions, which are the first message, and the conversation after them. A later note of the gateway's is a text of
 * the user's in brackets.
 * @param partsOf  what a message contains; nothing for one that is left out
 * @param textPart  a text of the user's
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
 * Calls of one conversation for which something is kept that the service wants back with them, and the conversation has no
 * place for. The conversation itself has fewer calls; without it the service gets the call alone.
 */
export const KEPT_WITH_CALLS_MAX = 1000
