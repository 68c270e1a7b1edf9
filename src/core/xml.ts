/** An element of a document that `xmlDocument` writes. */
export interface XmlElement {
  /** A name of the program's own: it is written as it is. */
  readonly name: string
  /** Attributes that are undefined are left out. */
  readonly attributes?: Readonly<Record<string, string | number | boolean | undefined>>
  /** Its text, or the elements in it; nothing when not given. */
  readonly content?: string | readonly XmlElement[]
}

/**
 * Writes a document as XML 1.0. Whatever is in a text or an attribute, a parser reads it back as it was, except for what
 * XML 1.0 cannot hold, which is left out (`xmlText`).
 * @param layout  `lines` puts every element on a line of its own, for files that people read
 */
export function xmlDocument(root: XmlElement, layout: 'compact' | 'lines' = 'compact'): string {
  const lineEnd = layout === 'lines' ? '\n' : ''
  return `<?xml version="1.0" encoding="UTF-8"?>${lineEnd}${elementText(root, lineEnd)}${lineEnd}`
}

/** @param lineEnd  what goes before the next line of the same depth: '' or a line end with its indentation */
function elementText({ name, attributes = {}, content = [] }: XmlElement, lineEnd: string): string {
  const start = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([attribute, value]) => ` ${attribute}="${escaped(String(value), SPECIAL_IN_ATTRIBUTE)}"`)
    .join('')
  if (content.length === 0) return `<${name}${start}/>`
  if (typeof content === 'string') return `<${name}${start}>${escaped(content, SPECIAL_IN_TEXT)}</${name}>`
  const inner = lineEnd === '' ? '' : `${lineEnd}  `
  return `<${name}${start}>${content.map((child) => inner + elementText(child, inner)).join('')}${lineEnd}</${name}>`
}

/** `text` without what XML 1.0 cannot hold: control characters, lone surrogates, U+FFFE and U+FFFF. */
export function xmlText(text: string): string {
  return text.replace(FORBIDDEN, '')
}

// With the `u` flag \p{Cs} matches a surrogate only where it has no partner.
const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Cs}/gu

const REFERENCES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
// A parser reads a bare carriage return as a line feed, and in an attribute a line end or tab as a space (XML 1.0, 2.11
// and 3.3.3).
const SPECIAL_IN_TEXT = /[&<>\r]/g
const SPECIAL_IN_ATTRIBUTE = /[&<>"\t\n\r]/g

function escaped(text: string, special: RegExp): string {
  return xmlText(text).replace(special, (char) => REFERENCES[char] ?? `&#${char.charCodeAt(0)};`)
}
