const QUOTE = 0x22
const COMMA = 0x2c
const ZERO = 0x30
const NINE = 0x39
const COLON = 0x3a
const BACKSLASH = 0x5c
const OPEN = 0x7b
const CLOSE = 0x7d
const NOT_ASCII = 0x80
/** Keys, ids and the like are shorter; only audio is longer. */
const TEXT_CHARS_MAX = 128
/** Of a number; more are no index. */
const DIGITS_MAX = 6

const NAME = 'response.output_audio.delta'
const BETA_NAME = 'response.audio.delta'

const SEEN = { type: 1, delta: 2, item: 4, response: 8, index: 16 } as const
const NEEDED = SEEN.type | SEEN.delta | SEEN.item

/**
 * Reads the one event that comes all the time, a piece of the agent's voice, without the parser: a flat object of strings and small
 * numbers, whose ids are mostly those of the piece before. What is written in any other way is the parser's.
 * Reading the same ids again allocates nothing.
 */
export class AudioDelta {
  /** Overwritten by the next one. The audio is not in it but in the message. */
  readonly event: {
    readonly type: typeof NAME; response_id: string | undefined; item_id: string; content_index: number; readonly delta: ''
  } = { type: NAME, response_id: undefined, item_id: '', content_index: 0, delta: '' }

  /** Where its base64 lies in the message. */
  from = 0
  to = 0
  #responseId = ''

  /** @returns false when the message is something else, or written so that it is to be parsed */
  read(message: Buffer): boolean {
    let seen = 0
    let at = afterBlanks(message, 0)
    if (message[at] !== OPEN) return false
    this.event.content_index = 0
    do {
      const key = afterBlanks(message, at + 1)
      const keyEnd = endOfText(message, key)
      at = afterBlanks(message, keyEnd + 1)
      if (keyEnd < 0 || message[at] !== COLON) return false
      at = afterBlanks(message, at + 1)
      const member = memberOf(message, key + 1, keyEnd)
      if ((seen & member) !== 0) return false
      seen |= member
      const end = message[at] === QUOTE ? this.#text(member, message, at) : this.#number(member, message, at)
      if (end < 0) return false
      at = afterBlanks(message, end)
    } while (message[at] === COMMA)
    if (message[at] !== CLOSE || (at + 1 < message.length && afterBlanks(message, at + 1) < message.length)) return false
    this.event.response_id = (seen & SEEN.response) === 0 ? undefined : this.#responseId
    return (seen & NEEDED) === NEEDED
  }

  /** @returns where it ends, -1 when this is not to be read here */
  #text(member: number, message: Buffer, at: number): number {
    const from = at + 1
    const to = member === SEEN.delta ? endOfAudio(message, from) : endOfText(message, at)
    if (to < 0) return -1
    switch (member) {
      case SEEN.type:
        if (!isText(NAME, message, from, to) && !isText(BETA_NAME, message, from, to)) return -1
        break
      case SEEN.delta:
        this.from = from
        this.to = to
        break
      case SEEN.item:
        if (!isText(this.event.item_id, message, from, to)) this.event.item_id = message.toString('utf8', from, to)
        break
      case SEEN.response:
        if (!isText(this.#responseId, message, from, to)) this.#responseId = message.toString('utf8', from, to)
        break
      case SEEN.index: return -1
      default:
    }
    return to + 1
  }

  #number(member: number, message: Buffer, at: number): number {
    if (member !== 0 && member !== SEEN.index) return -1
    let value = 0
    let end = at
    for (let byte = message[end] as number; byte >= ZERO && byte <= NINE && end < message.length - 1; byte = message[++end] as number) {
      value = value * 10 + byte - ZERO
    }
    // No digit, too many of them, or a number that JSON does not know.
    if (end === at || end - at > DIGITS_MAX || (end - at > 1 && message[at] === ZERO)) return -1
    if (member === SEEN.index) this.event.content_index = value
    return end
  }
}

function memberOf(message: Buffer, from: number, to: number): number {
  switch (to - from) {
    case 4: return isText('type', message, from, to) ? SEEN.type : 0
    case 5: return isText('delta', message, from, to) ? SEEN.delta : 0
    case 7: return isText('item_id', message, from, to) ? SEEN.item : 0
    case 11: return isText('response_id', message, from, to) ? SEEN.response : 0
    case 13: return isText('content_index', message, from, to) ? SEEN.index : 0
    default: return 0
  }
}

/** The bytes `from` to `to` are this text, and ASCII. */
function isText(text: string, message: Buffer, from: number, to: number): boolean {
  if (text.length !== to - from) return false
  for (let i = 0; i < text.length; i++) {
    const byte = message[from + i] as number
    if (byte !== text.charCodeAt(i) || byte >= NOT_ASCII) return false
  }
  return true
}

/** The quote that ends the string whose first quote is at `at`; -1 when none begins there, or it is long or has escapes. */
function endOfText(message: Buffer, at: number): number {
  if (message[at] !== QUOTE) return -1
  const max = Math.min(message.length, at + TEXT_CHARS_MAX)
  for (let end = at + 1; end < max; end++) {
    const byte = message[end] as number
    if (byte === QUOTE) return end
    if (byte === BACKSLASH || byte < 0x20) return -1
  }
  return -1
}

/** The same for a long string, by Node's search. */
function endOfAudio(message: Buffer, from: number): number {
  const end = message.indexOf(QUOTE, from)
  // Some writers escape the slashes of base64.
  const escape = message.indexOf(BACKSLASH, from)
  return escape >= 0 && escape < end ? -1 : end
}

function afterBlanks(message: Buffer, from: number): number {
  let at = from
  while (at < message.length) {
    const byte = message[at]
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break
    at++
  }
  return at
}
