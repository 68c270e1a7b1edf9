/**
 * The small language in which an agent says what its callers may say: words, `[optional]`, `(one | other)` and
 * `<slot>`. It is both what a grammar for the recogniser is made of and what recognised or typed text is matched
 * against.
 */
export type Phrase =
  | { readonly type: 'word'; readonly word: string }
  | { readonly type: 'slot'; readonly slot: string }
  | { readonly type: 'all'; readonly parts: readonly Phrase[] }
  | { readonly type: 'any'; readonly choices: readonly Phrase[] }
  | { readonly type: 'maybe'; readonly part: Phrase }

const TOKEN = /\s*(\[|\]|\(|\)|\||<([a-z][a-z0-9-]*)>|([a-z][a-z'-]*))/iy
const DEPTH_MAX = 8

/** @throws SyntaxError that says what is wrong and where; words are letters, apostrophes and hyphens only. */
export function parsePhrase(source: string): Phrase {
  const tokens = tokensOf(source)
  let at = 0

  function any(depth: number): Phrase {
    if (depth > DEPTH_MAX) throw new SyntaxError(`brackets in ${JSON.stringify(source)} are nested deeper than ${DEPTH_MAX}`)
    const choices = [all(depth)]
    while (tokens[at] === '|') {
      at++
      choices.push(all(depth))
    }
    const [only] = choices
    return choices.length === 1 && only !== undefined ? only : { type: 'any', choices }
  }

  function all(depth: number): Phrase {
    const parts: Phrase[] = []
    for (let token = tokens[at]; token !== undefined && token !== ')' && token !== ']' && token !== '|'; token = tokens[at]) {
      at++
      if (token === '(') {
        parts.push(any(depth + 1))
        expect(')')
      } else if (token === '[') {
        parts.push({ type: 'maybe', part: any(depth + 1) })
        expect(']')
      } else if (token.startsWith('<')) {
        parts.push({ type: 'slot', slot: token.slice(1, -1) })
      } else {
        parts.push({ type: 'word', word: token })
      }
    }
    if (parts.length === 0) throw new SyntaxError(`an empty choice in ${JSON.stringify(source)}`)
    const [only] = parts
    return parts.length === 1 && only !== undefined ? only : { type: 'all', parts }
  }

  function expect(token: string): void {
    if (tokens[at] !== token) throw new SyntaxError(`a missing ${token} in ${JSON.stringify(source)}`)
    at++
  }

  const phrase = any(0)
  if (at < tokens.length) throw new SyntaxError(`a ${tokens[at]} too many in ${JSON.stringify(source)}`)
  if (canBeEmpty(phrase)) throw new SyntaxError(`${JSON.stringify(source)} may be nothing at all`)
  return phrase
}

function tokensOf(source: string): string[] {
  const tokens: string[] = []
  TOKEN.lastIndex = 0
  let end = 0
  for (let found = TOKEN.exec(source); found !== null; found = TOKEN.exec(source)) {
    end = TOKEN.lastIndex
    tokens.push((found[1] ?? '').toLowerCase())
  }
  const rest = source.slice(end).trim()
  if (rest !== '') throw new SyntaxError(`${JSON.stringify(rest)} in ${JSON.stringify(source)}: digits and signs must be written as words`)
  return tokens
}

function canBeEmpty(phrase: Phrase): boolean {
  switch (phrase.type) {
    case 'word':
    case 'slot':
      return false
    case 'maybe':
      return true
    case 'all':
      return phrase.parts.every(canBeEmpty)
    case 'any':
      return phrase.choices.some(canBeEmpty)
  }
}

/** The slots that a phrase names. */
export function slotsOf(phrase: Phrase): string[] {
  switch (phrase.type) {
    case 'word':
      return []
    case 'slot':
      return [phrase.slot]
    case 'maybe':
      return slotsOf(phrase.part)
    case 'all':
      return phrase.parts.flatMap(slotsOf)
    case 'any':
      return phrase.choices.flatMap(slotsOf)
  }
}

/** The words that a phrase may be made of, its slots aside. */
export function wordsOf(phrase: Phrase): string[] {
  switch (phrase.type) {
    case 'word':
      return [phrase.word]
    case 'slot':
      return []
    case 'maybe':
      return wordsOf(phrase.part)
    case 'all':
      return phrase.parts.flatMap(wordsOf)
    case 'any':
      return phrase.choices.flatMap(wordsOf)
  }
}
