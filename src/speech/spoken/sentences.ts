/** Finds ends of sentences by the rules of Unicode for all scripts (UAX 29); the expressions below exclude false ends. */
const SEGMENTER = new Intl.Segmenter('en', { granularity: 'sentence' })
/** End of a text whose full stop does not end a sentence: a title, a currency, or a short form before another word. */
const SHORT_FORM =
  /(?:^|[\s(])(?:mr|mrs|ms|dr|prof|eng|hon|rev|bw|dkt|st|no|nos|na|nr|vs|e\.g|i\.e|k\.m|approx|opp|tel|ext|kshs?|kes|shs?|tshs?|ushs?|ugx|tzs|fig|p\.o)\.\s*$/i
/** Short forms such as "9 a.m.", which end a sentence only before a capital letter. */
const MAYBE_SHORT = /(?:^|[\s\d(])(?:[ap]\.m|p\.a|etc|n\.k|ltd|co|hrs|mins?)\.\s*$/i
/** Number of a list item at the end of a text. It belongs to the item's sentence. */
const ITEM_NUMBER = /(?:^|\n)\s*\d{1,3}[.)]\s*$/
/** End of a sentence that later text cannot change. */
const CLOSED = /[.!?…。！？।։؟።][\p{Pe}\p{Pf}"']*\s+$|\n\s*$/u
/**
 * Maximum length of a sentence of `sentencesOf` in characters. A longer sentence is cut, so that a job does not block a
 * speech worker for long.
 */
const SENTENCE_CHARS_MAX = 160

/**
 * @returns the end of the first whole sentence in a growing text, with the space after it; 0 while the sentence may
 * continue
 */
export function sentenceEnd(text: string): number {
  for (const { segment, index } of SEGMENTER.segment(text)) {
    const end = index + segment.length
    const head = text.slice(0, end)
    if (SHORT_FORM.test(head) || ITEM_NUMBER.test(head)) continue
    const next = text.charAt(end)
    if (next === '') return CLOSED.test(head) && !MAYBE_SHORT.test(head) ? end : 0
    if (MAYBE_SHORT.test(head) && !/\p{Lu}/u.test(next)) continue
    // Some scripts have their own end mark and may be written without spaces.
    if (/\s$|[。！？।։؟።]$/u.test(head)) return end
  }
  return 0
}

/**
 * Divides a whole text into sentences without spaces around them. Each has a letter or a digit, and at most about 160
 * characters.
 */
export function sentencesOf(text: string): string[] {
  const sentences: string[] = []
  let rest = text
  for (let end = sentenceEnd(rest); end > 0; end = sentenceEnd(rest)) {
    pushSentence(sentences, rest.slice(0, end))
    rest = rest.slice(end)
  }
  pushSentence(sentences, rest)
  return sentences
}

function pushSentence(sentences: string[], raw: string): void {
  let rest = raw.trim().replace(/\s+/g, ' ')
  while (rest.length > SENTENCE_CHARS_MAX) {
    const head = rest.slice(0, SENTENCE_CHARS_MAX)
    const comma = Math.max(head.lastIndexOf(', '), head.lastIndexOf('; '))
    const space = head.lastIndexOf(' ')
    // If a single word has more than 160 letters, it is cut inside the word.
    const cut = comma > SENTENCE_CHARS_MAX / 3 ? comma + 1 : space > 0 ? space : SENTENCE_CHARS_MAX
    sentences.push(rest.slice(0, cut).trim())
    rest = rest.slice(cut).trim()
  }
  if (isSpeakable(rest)) sentences.push(rest)
}

/** True if the text has a letter or digit that a voice can speak. False for "😊", "…" or "---". */
export function isSpeakable(text: string): boolean {
  return /[\p{L}\p{N}]/u.test(text)
}
