import { wordsOf } from '../../call/words/languages.js'

/**
 * Possible beginnings of text that is not speech. A name with an opening bracket after it begins a tool call that a
 * model wrote as text.
 */
const SUSPECT =
  /[<◁[{(*【`]|(?<![\p{L}\p{N}_])_|!\[|(?:\b(?:functions|default_api)\.\w+|\b[a-z]\w*_\w*|\bprint)\(|(?:(?<=\n)|\bassistant)(?:analysis|commentary)(?=[A-Z])|(?<=\n[ \t]*)(?:Thought|Action(?: Input)?|Observation|Final Answer|Assistant|Agent|AI):/u
/** End of a text that may match SUSPECT when the next characters arrive. */
const MAY_GO_ON = /[\w.]+$|!$|[\ud800-\udbff]$/
/** Labels at the start of a line. The words after a label are spoken only if the label matches `LABEL_OF_SPEECH`. */
const LABELS = ['Thought:', 'Action:', 'Action Input:', 'Observation:', 'Final Answer:', 'Assistant:', 'Agent:', 'AI:']
const LABEL_OF_SPEECH = /^(?:Final|Assistant|Agent|AI)/

/** Names of tags. Text between such tags is not spoken: reasoning, tool calls, and other text that is not speech. */
const UNSPOKEN_TAG =
  /^(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratch_?pad|(?:inner_?)?monologue|tool.*|function.*|invoke|parameters?|arg.*|script|style|unused94)$/
/** Names of tags that separate lines or words. */
const APART_TAG = /^(?:br|p|div|li|ul|ol|h\d|t[rdh]|table|hr|break|s|sentence)$/
/** End marker that never occurs, so that all later text is dropped. */
const NEVER = /(?!)/
/** Maximum length in characters of the marker that ends dropped text. The marker may arrive in parts. */
const END_CHARS_MAX = 64
const TAG_CHARS_MAX = 300
const BRACKET_CHARS_MAX = 200
const DIRECTION_CHARS_MAX = 80
const FENCE_CHARS_MAX = 60

const PICTURES = /[\p{Extended_Pictographic}\u{fe0f}\u{200d}\u{1f3fb}-\u{1f3ff}♪♫]/gu
/** Directions as for an actor, such as "laughs", "clears throat", "in a warm tone". */
const DIRECTION = new RegExp(
  `^\\s*(?:(?:${wordsOf('stageDirections').join('|')})(?!\\p{L})[^\\d]*|in an? [^\\d]*(?:tone|voice))\\s*$`,
  'iu',
)

/**
 * Decision about the beginning of the text: `drop` characters are removed or replaced by `say`. The text after them may
 * also be dropped, up to an end marker.
 */
interface Verdict {
  readonly drop: number
  readonly say?: string
  /** End marker. All text up to the end of its first match is dropped. Absent if no more text is dropped. */
  readonly until?: RegExp
  /** If true, everything up to the bracket that closes the first bracket is dropped. */
  readonly brackets?: true
}

/**
 * Removes text that is not speech from a growing text: reasoning, tool calls in any model's form, tags, code, stage
 * directions, references, pictures. A text that may be the beginning of such a part is held until the following text
 * decides this.
 *
 *     speech   --the text may begin a part that is not speech--> held
 *     held     --the decision--> speech or dropping
 *     dropping --the end marker, or the end of the text--> speech
 */
export class UnspokenText {
  #held = ''
  #until: RegExp | null = null
  /** Open brackets of code that is being dropped; null if no code is being dropped. */
  #brackets: { depth: number; quoted: boolean; escaped: boolean } | null = null
  /** The last character, which shows if the next text begins a line or a word. */
  #before = '\n'

  /** @returns the text that is certainly spoken */
  push(text: string): string {
    this.#held += text
    return this.#pass(false)
  }

  /** Ends the text. @returns the remaining text that is spoken */
  flush(): string {
    return this.#pass(true)
  }

  /** The text that `flush` would return now. */
  get rest(): string {
    const copy = new UnspokenText()
    copy.#held = this.#held
    copy.#until = this.#until
    copy.#brackets = this.#brackets === null ? null : { ...this.#brackets }
    copy.#before = this.#before
    return copy.flush()
  }

  #pass(final: boolean): string {
    let out = ''
    const say = (text: string): void => {
      out += text
      this.#before = text.at(-1) ?? this.#before
    }
    for (;;) {
      if (!this.#dropped(final)) return out
      const at = this.#suspectAt()
      const end = at < 0 ? this.#speechEnd(final) : at
      say(this.#held.slice(0, end).replace(PICTURES, ''))
      this.#held = this.#held.slice(end)
      if (at < 0) return out
      const verdict = verdictOn(this.#held, this.#before, final)
      if (verdict === null) {
        if (!final) return out
        // An incomplete tag or tool call is dropped.
        this.#held = ''
        return out
      }
      this.#held = this.#held.slice(verdict.drop)
      if (verdict.say !== undefined) say(verdict.say)
      this.#until = verdict.until ?? null
      if (verdict.brackets === true) this.#brackets = { depth: 0, quoted: false, escaped: false }
    }
  }

  #suspectAt(): number {
    const found = SUSPECT.exec(`${this.#before}${this.#held}`)
    return found === null ? -1 : found.index - this.#before.length
  }

  /** @returns the number of characters that are certainly speech, if SUSPECT does not match the text */
  #speechEnd(final: boolean): number {
    if (final) return this.#held.length
    const line = /\n[ \t]*([A-Z][a-zA-Z ]*)$/.exec(`${this.#before}${this.#held}`)?.[1]
    const label = line !== undefined && LABELS.some((one) => one.startsWith(line)) ? line.length : 0
    return this.#held.length - Math.max(label, MAY_GO_ON.exec(this.#held)?.[0].length ?? 0)
  }

  /** Removes text that is being dropped. @returns false if more text to drop may follow */
  #dropped(final: boolean): boolean {
    if (this.#until !== null) {
      const end = this.#until.exec(this.#held)
      this.#held = end === null ? this.#held.slice(-END_CHARS_MAX) : this.#held.slice(end.index + end[0].length)
      if (end === null) {
        if (final) this.#held = ''
        return false
      }
      this.#until = null
    }
    if (this.#brackets === null) return true
    const open = this.#brackets
    for (const [i, char] of [...this.#held].entries()) {
      if (open.escaped) open.escaped = false
      else if (char === '\\') open.escaped = true
      else if (char === '"') open.quoted = !open.quoted
      else if (!open.quoted && '([{'.includes(char)) open.depth++
      else if (!open.quoted && ')]}'.includes(char) && --open.depth <= 0) {
        this.#brackets = null
        this.#held = [...this.#held].slice(i + 1).join('')
        return true
      }
    }
    this.#held = ''
    return false
  }
}

/** @returns the decision; null if more text is needed for it */
function verdictOn(text: string, before: string, final: boolean): Verdict | null {
  const inWord = /[\p{L}\p{N}]/u.test(before)
  switch (text.charAt(0)) {
    case '<':
    case '◁':
      return onTag(text, final)
    case '!':
    case '[':
      return onBracket(text, final)
    case '{':
      return { drop: 0, brackets: true }
    case '【':
      return { drop: 1, until: /】/ }
    case '(':
      return onDirection(text, ')', final)
    case '*':
    case '_': {
      const [mark = ''] = /^[*_]+/.exec(text) ?? []
      if (mark.length === text.length && !final) return null
      if (mark.length > 1 || inWord || !/^.\p{L}/u.test(text)) return { drop: mark.length, say: mark }
      return onDirection(text, mark, final)
    }
    case '`':
      return onFence(text, final)
    default: {
      const [label] = /^[A-Z][A-Za-z ]+:/.exec(text) ?? []
      if (label !== undefined)
        return LABEL_OF_SPEECH.test(label) ? { drop: label.length } : { drop: label.length, until: /\n/ }
      const [name = ''] = /^[\w.]+(?=\()/.exec(text) ?? []
      return name === '' ? { drop: 0, until: /assistantfinal/ } : { drop: name.length, brackets: true }
    }
  }
}

function onTag(text: string, final: boolean): Verdict | null {
  if (text.length === 1 && !final) return null
  if (text.startsWith('<!--')) return { drop: 4, until: /-->/ }
  if (!/^[<◁][\p{L}/|｜!]/u.test(text)) return { drop: 1, say: text.charAt(0) }
  const end = text.search(/[>▷]/)
  if (end < 0) return text.length > TAG_CHARS_MAX ? { drop: 1, say: text.charAt(0) } : null
  const drop = end + 1
  const inner = text.slice(1, end)
  if (/@|:\/\//.test(inner)) return { drop, say: inner }
  if (/^[|｜]/.test(inner)) return onToken(text, inner.replace(/[|｜]/g, '').replaceAll('▁', '_').toLowerCase(), drop)
  const [, closes = '', named = ''] = /^(\/?)(?:\w+:)?([\p{L}][\w-]*)/u.exec(inner) ?? []
  const name = named.toLowerCase()
  if (closes === '' && !inner.endsWith('/') && UNSPOKEN_TAG.test(name))
    return { drop, until: name === 'unused94' ? /<unused95>/ : new RegExp(`[<◁]/(?:\\w+:)?${named}\\s*[>▷]`, 'i') }
  return { drop, ...(APART_TAG.test(name) ? { say: ' ' } : {}) }
}

/**
 * Handles a model's own control tokens, which a server should have removed: `<|channel|>`, `<|python_tag|>`,
 * `<｜tool▁calls▁begin｜>`.
 */
function onToken(text: string, name: string, drop: number): Verdict | null {
  if (name === 'channel') {
    const header = /^<\|channel\|>[^<]*<\|message\|>/.exec(text)?.[0]
    if (header === undefined) return text.length > TAG_CHARS_MAX ? { drop } : null
    if (/final/.test(header)) return { drop: header.length }
    return { drop: header.length, until: /<\|(?:end|call|return)\|>|(?=<\|(?:start|channel)\|>)/ }
  }
  if (name === 'start') return { drop, until: /<\|message\|>|(?=<\|channel\|>)/ }
  if (name === 'im_start') return { drop, until: /\n/ }
  if (/end|^\/|sep/.test(name) || !/tool|function|python|think/.test(name)) return { drop }
  const ends = name.endsWith('begin')
    ? name.replace(/begin$/, 'end').replaceAll('_', '[_▁]')
    : `/${name}|eo[mt]_id|im_end|end`
  return { drop, until: new RegExp(`<[|｜](?:${ends})[|｜]>`, 'i') }
}

function onBracket(text: string, final: boolean): Verdict | null {
  const picture = text.startsWith('!')
  const from = picture ? 2 : 1
  if (/^\[THINK\]/.test(text)) return { drop: 7, until: /\[\/THINK\]/ }
  if (/^\[TOOL_REQUEST\]/.test(text)) return { drop: 14, until: /\[END_TOOL_REQUEST\]/ }
  if (/^\[TOOL_CALLS?\]/.test(text)) return { drop: text.indexOf(']') + 1, until: NEVER }
  if (/^\[\s*[{["]/.test(text)) return { drop: 0, brackets: true }
  const end = text.indexOf(']')
  if (end < 0) return text.length > BRACKET_CHARS_MAX ? { drop: from, say: text.slice(0, from) } : null
  if (end + 1 === text.length && !final) return null
  const words = text.slice(from, end)
  if (text.charAt(end + 1) !== '(') return { drop: end + 1 }
  const close = text.indexOf(')', end)
  if (close < 0 && text.length <= TAG_CHARS_MAX) return final && !picture ? { drop: text.length, say: words } : null
  return { drop: close < 0 ? end + 1 : close + 1, ...(picture ? {} : { say: words }) }
}

function onDirection(text: string, close: string, final: boolean): Verdict | null {
  const line = text.slice(1, DIRECTION_CHARS_MAX).split('\n', 1)[0] ?? ''
  const end = line.indexOf(close)
  if (end < 0 && !final && line.length + 1 === text.length && line.length < DIRECTION_CHARS_MAX - 1) return null
  return end >= 0 && DIRECTION.test(line.slice(0, end)) ? { drop: end + 2 } : { drop: 1, say: text.charAt(0) }
}

/** Handles a code fence. Code in a fence is not spoken, but a plain answer in a fence is spoken. */
function onFence(text: string, final: boolean): Verdict | null {
  if (!text.startsWith('```')) return /^``?$/.test(text) && !final ? null : { drop: 1 }
  const [fence, info = ''] = /^```[ \t]*([\w+-]*)[ \t]*(?:\n|$)/.exec(text) ?? []
  if (fence === undefined) return { drop: 3 }
  if (!fence.endsWith('\n') && !final && text.length < FENCE_CHARS_MAX) return null
  const plain = /^(?:|text|txt|plain|plaintext|markdown|md)$/i.test(info)
  return { drop: fence.length, say: '\n', ...(plain ? {} : { until: /```/ }) }
}
