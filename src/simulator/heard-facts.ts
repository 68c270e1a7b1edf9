import { COMMON_STATUSES, type EarVocabulary } from './ear-vocabulary.js'
import { digitOf, spokenWords } from './spoken-words.js'

/** What an order line told its caller; null where nothing of the kind was heard. */
export interface HeardFacts {
  readonly order: string | null
  /** The status by its name in the shop's API, such as `out_for_delivery`. */
  readonly status: string | null
  /** The time as heard, such as `today between four and six p m`. */
  readonly eta: string | null
}

/** Fewer digits in a row are a time or a count. */
const ORDER_DIGITS_MIN = 3

const CLOCK = "(?:noon|midnight|\\w+(?: (?:thirty|fifteen|forty five|o'clock))?(?: (?:[ap] m|in the (?:morning|afternoon|evening)))?)"
const SPAN = `(?:between ${CLOCK} and ${CLOCK}|from ${CLOCK} to ${CLOCK}|(?:by|at|before|after|around) ${CLOCK})`
const DAY = '(?:today|tomorrow|tonight|yesterday|this (?:morning|afternoon|evening)|(?:next )?(?:mon|tues|wednes|thurs|fri|satur|sun)day|next week|the day after tomorrow)'
const ETA = new RegExp(`\\b(?:(?:on |by |before )?${DAY}(?: ${SPAN})?|between ${CLOCK} and ${CLOCK}(?: ${DAY})?|(?:with)?in \\w+ (?:days|hours|minutes))\\b`)

/** Reads the facts out of one turn's words. */
export function factsIn(text: string, vocabulary: Pick<EarVocabulary, 'statuses'>): HeardFacts {
  const words = spokenWords(text)
  const spoken = words.join(' ')
  return { order: orderIn(words), status: statusIn(spoken, vocabulary.statuses), eta: ETA.exec(spoken)?.[0] ?? null }
}

/** The last run of digits: an agent that corrects itself says the right one last. */
export function orderIn(words: readonly string[]): string | null {
  let run = ''
  let found: string | null = null
  for (const word of [...words, '']) {
    const digit = digitOf(word)
    if (digit !== null) {
      run += digit
      continue
    }
    if (run.length >= ORDER_DIGITS_MIN) found = run
    run = ''
  }
  return found
}

/** The longest matching phrase wins: `on its way back` is not `on its way`. */
function statusIn(spoken: string, statuses: EarVocabulary['statuses']): string | null {
  let best: { readonly name: string; readonly chars: number } | null = null
  for (const [name, phrases] of Object.entries({ ...COMMON_STATUSES, ...statuses })) {
    for (const phrase of phrases) {
      const words = spokenWords(phrase).join(' ')
      if (words === '' || !` ${spoken} `.includes(` ${words} `)) continue
      if (best === null || words.length > best.chars) best = { name, chars: words.length }
    }
  }
  return best?.name ?? null
}
