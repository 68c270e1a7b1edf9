/** Characters that a terminal obeys, or that turn the order of what is read. */
const OBEYED = /(?![\n\t]|\r\n)[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu
const MARK = `\0${crypto.randomUUID().replaceAll('-', '')}`
const OWN = new RegExp(`${MARK}([0-9a-f]+);`, 'g')

/**
 * A control sequence of our own, such as a colour, marked so that `terminalText` lets it through. The mark is another in each
 * process: no text from outside can contain it.
 */
export function ownSequence(sequence: string): string {
  return `${MARK}${Buffer.from(sequence).toString('hex')};`
}

/**
 * A text as a terminal may get it: all that a command prints passes here. What a terminal would obey is shown as JSON
 * writes it (`\u001b`), so that JSON stays the same JSON; new lines, tabs and our own sequences stay.
 */
export function terminalText(text: string): string {
  return text
    .split(OWN)
    .map((part, index) => (index % 2 === 1 ? Buffer.from(part, 'hex').toString() : part.replace(OBEYED, escaped)))
    .join('')
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
