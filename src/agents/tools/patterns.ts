import { RE2JS } from 're2js'
import { forgetOldest } from '../../core/forget-oldest.js'
import { spendSteps } from './steps.js'

/** Maximum number of compiled patterns that a thread stores. If there are more, the oldest pattern is dropped. */
const PATTERNS_KEPT = 256
/** Maximum length of a pattern, in characters. */
const PATTERN_CHARS_MAX = 1000
/** Maximum size of a compiled pattern, in instructions. For example, `\p{L}{1,400}` has 800 instructions. */
const PATTERN_INSTRUCTIONS_MAX = 2000
/**
 * Number of steps for one instruction. The steps count once when the pattern is compiled, and each time the instruction
 * examines a character.
 */
const STEPS_TO_COMPILE = 3
const INSTRUCTIONS_PER_STEP = 10

/** Character class of ECMAScript's `\s`, and of the characters that ECMAScript's `.` does not match. */
const SPACE = '\\t\\n\\v\\f\\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff'
const LINE_END = '\\n\\r\u2028\u2029'
const ANYTHING = '(?s:.)'
const NOTHING = '[^\\x00-\\x{10FFFF}]'

/** A pattern of a schema. */
export interface Pattern {
  readonly source: string
  /**
   * True if a text contains a match. The name is required by ajv.
   * @throws TooManySteps within `withinSteps`
   */
  readonly test: (text: string) => boolean
  readonly toString: () => string
}

const kept = new Map<string, Pattern | PatternFault>()

interface PatternFault {
  readonly fault: string
  /** True for a regular expression whose run time may be unlimited. */
  readonly open: boolean
}

/**
 * Compiles a pattern. It matches like an ECMAScript pattern, but its run time grows linearly with the text. This
 * matters because the texts are callers' words: V8's own engine would need hours for `(a+)+$` and 40 characters. This
 * engine does not support look-around (`(?=`, `(?!`, `(?<=`) and back-references (`\1`).
 * @throws TooManySteps within `withinSteps`
 */
export function patternOf(source: string): Pattern | PatternFault {
  const known = kept.get(source)
  if (known !== undefined) return known
  const made = compiledPattern(source)
  kept.set(source, made)
  forgetOldest(kept, PATTERNS_KEPT)
  return made
}

function compiledPattern(source: string): Pattern | PatternFault {
  if (source.length > PATTERN_CHARS_MAX) return { fault: `has more than ${PATTERN_CHARS_MAX} characters`, open: true }
  if (!isExpression(source)) return { fault: 'is not a regular expression (ECMAScript)', open: false }
  const unbound = 'has no certain bound on its time: look-around such as (?= or (?!, back-references such as \\1'
  let compiled: RE2JS
  try {
    compiled = RE2JS.compile(RE2JS.translateRegExp(translated(source)))
  } catch {
    return { fault: `${unbound} and repetitions over 1000 are not allowed`, open: true }
  }
  const instructions = compiled.programSize()
  spendSteps(instructions * STEPS_TO_COMPILE)
  if (instructions > PATTERN_INSTRUCTIONS_MAX)
    return { fault: `is too large: ${instructions} instructions, at most ${PATTERN_INSTRUCTIONS_MAX}`, open: true }
  return {
    source,
    test: (text) => {
      spendSteps((instructions * (text.length + 1)) / INSTRUCTIONS_PER_STEP)
      return compiled.test(text)
    },
    toString: () => source,
  }
}

/**
 * True if the text is a valid expression, in unicode mode or in the older mode. The older mode allows unnecessary
 * backslashes.
 */
function isExpression(source: string): boolean {
  return ['u', ''].some((flags) => {
    try {
      return new RegExp(source, flags) instanceof RegExp
    } catch {
      return false
    }
  })
}

const DIFFERENT =
  /\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|\\p\{(?:Script|sc)=|\\[^]|\[\^?\]|\[\^?|[\].]/g

/** Translates the parts of a pattern that would have another meaning in RE2. */
function translated(source: string): string {
  let inClass = false
  return source.replace(DIFFERENT, (part) => {
    if (part.startsWith('\\u')) return part.length > 2 ? (JSON.parse(`"${part}"`) as string) : part
    if (part.startsWith('\\p{')) return '\\p{'
    if (part.startsWith('[') && inClass) {
      inClass = !part.endsWith(']')
      return `\\${part}`
    }
    switch (part) {
      case '[]':
        return NOTHING
      case '[^]':
        return ANYTHING
      case '[':
      case '[^':
        inClass = true
        return part
      case ']':
        inClass = false
        return part
      case '.':
        return inClass ? part : `[^${LINE_END}]`
      case '\\s':
        return inClass ? SPACE : `[${SPACE}]`
      case '\\S':
        return inClass ? part : `[^${SPACE}]`
      case '\\b':
        return inClass ? '\\x08' : part
      // In ECMAScript's older mode these escapes mean letters, but in RE2 they mean commands.
      case '\\A':
      case '\\C':
      case '\\E':
      case '\\Q':
      case '\\a':
      case '\\z':
        return part.slice(1)
      default:
        return part
    }
  })
}
