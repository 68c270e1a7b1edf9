/** From written text to the words that are said, and how an unknown word sounds. */
const DIGITS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'] as const
const TEENS = ['ten', 'eleven', 'twelve', 'thirteen', 'fourteen', 'fifteen', 'sixteen', 'seventeen', 'eighteen', 'nineteen'] as const
const TENS = ['', '', 'twenty', 'thirty', 'forty', 'fifty', 'sixty', 'seventy', 'eighty', 'ninety'] as const

/** `4127` as `four one two seven`. */
export function digitWords(digits: string): string {
  return [...digits].map((digit) => DIGITS[Number(digit)] ?? digit).join(' ')
}

/** Numbers under a hundred as a voice says them, longer ones digit by digit. */
export function numberWords(digits: string): string {
  const value = Number(digits)
  if (digits.length > 2 || (digits.length === 2 && digits.startsWith('0'))) return digitWords(digits)
  if (value < 10) return DIGITS[value] as string
  if (value < 20) return TEENS[value - 10] as string
  const rest = value % 10
  return rest === 0 ? TENS[value / 10] as string : `${TENS[(value - rest) / 10] as string} ${DIGITS[rest] as string}`
}

/** Lower-case words as spoken: no punctuation, numbers in words, `PM` as two letters. */
export function spokenWords(text: string): string[] {
  return text
    .replace(/[‘’]/g, "'")
    // "4 AM" but never the "am" of "I am".
    .replace(/(\d\s*|\b(?=[Pp]|A\.?M\b))([AaPp])\.?[Mm]\b\.?/g, '$1 $2 m ')
    .toLowerCase()
    .replace(/\d+/g, (digits) => ` ${numberWords(digits)} `)
    .replace(/[^a-z']+/g, ' ')
    .split(' ')
    .map((word) => word.replace(/^'+|'+$/g, ''))
    .filter((word) => word !== '')
}

const DIGIT_OF = new Map<string, string>([...DIGITS.map((word, digit) => [word, String(digit)] as const), ['oh', '0']])

/** The digit that a word means, or null. */
export function digitOf(word: string): string | null {
  return DIGIT_OF.get(word) ?? null
}

/** Longest spellings first. English reads names of this region nearly letter by letter. */
const SOUNDS: readonly (readonly [string, string])[] = [
  ['sch', 'SH'], ['tch', 'CH'], ['ch', 'CH'], ['sh', 'SH'], ['th', 'TH'], ['ph', 'F'], ['ng', 'NG'], ['ck', 'K'], ['qu', 'K W'],
  ['ee', 'IY'], ['oo', 'UW'], ['ou', 'AW'], ['ow', 'OW'], ['ai', 'EY'], ['ay', 'EY'], ['ea', 'IY'], ['oi', 'OY'], ['au', 'AO'],
  ['a', 'AA'], ['b', 'B'], ['c', 'K'], ['d', 'D'], ['e', 'EH'], ['f', 'F'], ['g', 'G'], ['h', 'HH'], ['i', 'IY'], ['j', 'JH'],
  ['k', 'K'], ['l', 'L'], ['m', 'M'], ['n', 'N'], ['o', 'OW'], ['p', 'P'], ['r', 'R'], ['s', 'S'], ['t', 'T'], ['u', 'UW'],
  ['v', 'V'], ['w', 'W'], ['x', 'K S'], ['y', 'Y'], ['z', 'Z'],
]

/** A guess at the phones (CMU set) of a word that no dictionary has. Empty for a word without letters. */
export function guessPhones(word: string): string {
  const phones: string[] = []
  let at = 0
  while (at < word.length) {
    const sound = SOUNDS.find(([letters]) => word.startsWith(letters, at))
    if (sound !== undefined && phones.at(-1) !== sound[1]) phones.push(sound[1])
    at += sound?.[0].length ?? 1
  }
  return phones.join(' ')
}
