import type { ChatMessage } from './stage.js'

// Services whose conversations are turns of two speakers, the user's first and last, with tool results among the user's.

interface Turn<Part> {
  readonly role: 'user' | 'agent'
  readonly parts: Part[]
}

const BEGINS = '[The call begins.]'
const GOES_ON = '[Go on.]'

/**
 * The conversation after its instructions.
 * @param partsOf  what a message contains; nothing for one that is left out
 * @param textPart  a text of the user's
 */
export function alternatingTurns<Part>(
  messages: readonly ChatMessage[],
  partsOf: (message: ChatMessage) => readonly Part[],
  textPart: (text: string) => Part,
): Turn<Part>[] {
  const turns: Turn<Part>[] = []
  const add = (role: Turn<Part>['role'], parts: readonly Part[]): void => {
    const last = turns.at(-1)
    if (parts.length === 0) return
    if (last?.role === role) last.parts.push(...parts)
    else turns.push({ role, parts: [...parts] })
  }
  for (const message of messages) {
    const role = message.role === 'assistant' ? 'agent' : 'user'
    if (turns.length === 0 && role === 'agent') add('user', [textPart(BEGINS)])
    add(role, partsOf(message))
  }
  if (turns.at(-1)?.role !== 'user') add('user', [textPart(turns.length === 0 ? BEGINS : GOES_ON)])
  return turns
}

/** Splits off the instructions, the first message. A later note of the gateway's is a text of the user's in brackets. */
export function splitInstructions(messages: readonly ChatMessage[]): {
  readonly instructions: string
  readonly rest: ChatMessage[]
} {
  const [first] = messages
  const instructions = first?.role === 'system' ? first.content : ''
  const rest = messages
    .slice(first?.role === 'system' ? 1 : 0)
    .map((message) => (message.role === 'system' ? { ...message, content: `[${message.content}]` } : message))
  return { instructions, rest }
}

/** Calls of one conversation of which something is kept; the conversation itself has fewer. */
const KEPT_MAX = 1000

/** What a service wants back with a tool call and the conversation has no place for, by the call's id. */
export class KeptWithCalls<Kept> {
  readonly #kept = new Map<string, Kept>()

  /** Beyond KEPT_MAX the oldest is forgotten; the service then gets the call without it. */
  set(callId: string, kept: Kept): void {
    this.#kept.set(callId, kept)
    const [oldest] = this.#kept.keys()
    if (this.#kept.size > KEPT_MAX && oldest !== undefined) this.#kept.delete(oldest)
  }

  get(callId: string): Kept | undefined {
    return this.#kept.get(callId)
  }
}
