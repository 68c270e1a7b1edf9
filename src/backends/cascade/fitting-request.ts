import type { ChatMessage, ModelRequest } from './service.js'

/** Text that replaces an old result of a tool. */
const LEFT_OUT = '{"status":"left out here, because the conversation is long"}'

/** @returns the number of characters that a conversation has when it is sent */
export function charsOf(messages: readonly ChatMessage[]): number {
  return messages.reduce((sum, message) => sum + JSON.stringify(message).length, 0)
}

/**
 * @returns the request without the oldest half of its conversation. First old tool results are removed, then old
 * messages. The instructions, the caller's last words and all later messages stay
 */
export function withoutOldestHalf(request: ModelRequest): ModelRequest {
  const [first] = request.messages
  const instructions = first?.role === 'system' ? [first] : []
  const rest = request.messages.slice(instructions.length)
  let chars = charsOf(rest)
  const charsMax = chars / 2
  for (let i = 0; i < rest.length - 1 && chars > charsMax; i++) {
    const message = rest[i]
    if (message?.role !== 'tool' || message.content.length <= LEFT_OUT.length) continue
    rest[i] = { ...message, content: LEFT_OUT }
    chars -= charsOf([message]) - charsOf(rest.slice(i, i + 1))
  }
  const last = rest.findLastIndex(({ role }) => role === 'user')
  let gone = 0
  while (gone < last && chars > charsMax) {
    // A tool call and its result are removed together, because the service refuses one of them without the other.
    do chars -= charsOf(rest.slice(gone, gone + 1))
    while (rest[++gone]?.role === 'tool' && gone < last)
  }
  return { ...request, messages: [...instructions, ...rest.slice(gone)] }
}
