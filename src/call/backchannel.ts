/**
 * Whether words are only backchannels, such as "okay, yes". Marks and case do not count.
 * @param backchannels  words or phrases; empty: nothing is one
 */
export function isBackchannel(words: string, backchannels: readonly string[]): boolean {
  if (backchannels.length === 0) return false
  let rest = ` ${plainWords(words)} `
  if (rest.trim() === '') return false
  for (const phrase of backchannels.map(plainWords).toSorted((a, b) => b.length - a.length))
    while (phrase !== '' && rest.includes(` ${phrase} `)) rest = rest.replace(` ${phrase} `, ' ')
  return rest.trim() === ''
}

function plainWords(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim()
}
