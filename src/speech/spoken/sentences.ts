/** Where sentences end: by the rules of Unicode for all scripts (UAX 29), less what only looks like an end. */
const SEGMENTER = new Intl.Segmenter('en', { granularity: 'sentence' })
/** A full stop after these ends no sentence: titles, currencies, short forms of what follows. */
const SHORT_FORM =
  /(?:^|[\s(])(?:mr|mrs|ms|dr|prof|eng|hon|rev|bw|dkt|st|no|nos|na|nr|vs|e\.g|i\.e|k\.m|approx|opp|tel|ext|kshs?|kes|shs?|tshs?|ushs?|ugx|tzs|fig|p\.o)\.\s*$/i
/** "9 a.m." ends one only before a capital letter. */
const MAYBE_SHORT = /(?:^|[\s\d(])(?:[ap]\.m|p\.a|etc|n\.k|ltd|co|hrs|mins?)\.\s*$/i
/** The number of an item belongs to it. */
const ITEM_NUMBER = /(?:^|\n)\s*\d{1,3}[.)]\s*$/
/** An end that nothing that follows can take back. */
const CLOSED = /[.!?…。！？।։؟።][\p{Pe}\p{Pf}"']*\s+$|\n\s*$/u
/** A longer sentence of `sentencesOf` is cut, so that one job does not block a speech worker for long. */
const SENTENCE_CHARS_MAX = 160

/**
 * Where the first whole sentence of a growing text ends, with the space behind it.
 * @returns 0 while it may go on
 */
export function sentenceEnd(text: string): number {
  for (const { segment, index } of SEGMENTER.segment(text)) {
    const end = index + segment.length
    const head = text.slice(0, end)
    if (SHORT_FORM.test(head) || ITEM_NUMBER.test(head)) continue
    const next = text.charAt(end)
    if (next === '') return CLOSED.test(head) && !MAYBE_SHORT.test(head) ? end : 0
    if (MAYBE_SHORT.test(head) && !/\p{Lu}/u.test(next)) continue
    // A script that ends its sentences with a mark of its own may be written without spaces.
    if (/\s$|[。！？।։؟።]$/u.test(head)) return end
  }
  return 0
}

/** The sentences of a whole text, trimmed, none empty, none without a letter or a digit, and none longer than about 160 characters. */
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
    // A single word of more than 160 letters is cut inside the word.
    const cut = comma > SENTENCE_CHARS_MAX / 3 ? comma + 1 : space > 0 ? space : SENTENCE_CHARS_MAX
    sentences.push(rest.slice(0, cut).trim())
    rest = rest.slice(cut).trim()
  }
  if (isSpeakable(rest)) sentences.push(rest)
}

/** True if there is anything in it that a voice could say: no "😊", "…" or "---". */
export function isSpeakable(text: string): boolean {
  return /[\p{L}\p{N}]/u.test(text)
}
