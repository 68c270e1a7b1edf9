import { RE2JS } from 're2js'
import { forgetOldest } from '../../core/forget-oldest.js'
import { spendSteps } from './steps.js'

/** Patterns of all schemas that a thread keeps compiled; the oldest goes. */
const PATTERNS_KEPT = 256
/** Characters of one pattern. */
const PATTERN_CHARS_MAX = 1000
/** Instructions of one compiled pattern: `\p{L}{1,400}` has 800. */
const PATTERN_INSTRUCTIONS_MAX = 2000
/** Steps that one instruction costs: when it is compiled, and each time it looks at a character. */
const STEPS_TO_COMPILE = 3
const INSTRUCTIONS_PER_STEP = 10

/** `\s` of ECMAScript, and what its `.` does not match, in a class. */
const SPACE = '\\t\\n\\v\\f\\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff'
const LINE_END = '\\n\\r\u2028\u2029'
const ANYTHING = '(?s:.)'
const NOTHING = '[^\\x00-\\x{10FFFF}]'

/** A pattern of a schema. */
export interface Pattern {
  readonly source: string
  /** True if a text has a match; ajv calls it by this name. @throws TooManySteps within `withinSteps` */
  readonly test: (text: string) => boolean
  readonly toString: () => string
}

const kept = new Map<string, Pattern | PatternFault>()

interface PatternFault {
  readonly fault: string
  /** It is a regular expression, for which no bound on its time is certain. */
  readonly open: boolean
}

/**
 * A pattern as ECMAScript reads it, in a time that grows with the text and no faster: `(a+)+$` holds a thread of V8's own
 * engine for hours at 40 characters, and the texts are callers' words. Such an engine has no look-around (`(?=`, `(?!`, `(?<=`)
 * and no back-references (`\1`).
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

/** As unicode mode reads it, or as the older mode does, which allows needless backslashes. */
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

/** The same pattern for RE2, where the two read it differently. */
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
      // Letters to ECMAScript's older mode, and commands to RE2.
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
