import type { ChatMessage, ModelRequest } from './service.js'

/** In place of what a tool had answered long ago. */
const LEFT_OUT = '{"status":"left out here, because the conversation is long"}'

/** Characters of a conversation, as it is sent. */
export function charsOf(messages: readonly ChatMessage[]): number {
  return messages.reduce((sum, message) => sum + JSON.stringify(message).length, 0)
}

/**
 * The request with half of its conversation: the oldest results of tools are left out first, then the oldest messages. The
 * instructions stay, and so does what followed the caller's last words.
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
    // A call and its results go together: the service refuses one without the other.
    do chars -= charsOf(rest.slice(gone, gone + 1))
    while (rest[++gone]?.role === 'tool' && gone < last)
  }
  return { ...request, messages: [...instructions, ...rest.slice(gone)] }
}
