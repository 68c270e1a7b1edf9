/** An element of a document that `xmlDocument` writes. */
export interface XmlElement {
  /** Name of the element. It comes from the program and is written unchanged. */
  readonly name: string
  /** Attributes that are undefined are left out. */
  readonly attributes?: Readonly<Record<string, string | number | boolean | undefined>>
  /** Text, or child elements; absent if the element is empty. */
  readonly content?: string | readonly XmlElement[]
}

/**
 * Writes a document as XML 1.0. A parser reads each text and attribute back unchanged, without the characters that XML
 * 1.0 cannot hold (`xmlText`).
 * @param layout `lines` puts every element on a line of its own, for files that people read
 */
export function xmlDocument(root: XmlElement, layout: 'compact' | 'lines' = 'compact'): string {
  const lineEnd = layout === 'lines' ? '\n' : ''
  return `<?xml version="1.0" encoding="UTF-8"?>${lineEnd}${elementText(root, lineEnd)}${lineEnd}`
}

/** @param lineEnd  text before the next line at this depth: '' or a line end with indentation */
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

/**
 * Returns `text` without the characters that XML 1.0 cannot hold: control characters, lone surrogates, U+FFFE and
 * U+FFFF.
 */
export function xmlText(text: string): string {
  return text.replace(FORBIDDEN, '')
}

// With the `u` flag, \p{Cs} matches only lone surrogates.
const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Cs}/gu

const REFERENCES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
// A parser reads a bare carriage return as a line feed. In an attribute, it reads a line end or tab as a space (XML
// 1.0, 2.11 and 3.3.3).
const SPECIAL_IN_TEXT = /[&<>\r]/g
const SPECIAL_IN_ATTRIBUTE = /[&<>"\t\n\r]/g

function escaped(text: string, special: RegExp): string {
  return xmlText(text).replace(special, (char) => REFERENCES[char] ?? `&#${char.charCodeAt(0)};`)
}
