/** Characters that control a terminal, or that change the order of the text. */
const OBEYED = /(?![\n\t]|\r\n)[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu
const MARK = `\0${crypto.randomUUID().replaceAll('-', '')}`
const OWN = new RegExp(`${MARK}([0-9a-f]+);`, 'g')

/**
 * Puts a mark before one of the gateway's own control sequences, such as a colour. `terminalText` keeps marked
 * sequences. The mark is random in each process, so text from outside cannot contain it.
 */
export function ownSequence(sequence: string): string {
  return `${MARK}${Buffer.from(sequence).toString('hex')};`
}

/**
 * Makes a text safe for a terminal. Everything that a command prints passes through this function. Characters that
 * control a terminal are written as in JSON (`\u001b`), so that printed JSON stays correct. New lines, tabs and the
 * gateway's own sequences do not change.
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
