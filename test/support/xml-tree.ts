import { SaxesParser } from 'saxes'

/** Element in an independent parser's form; `text` is all text directly inside it. */
export interface XmlTree {
  readonly name: string
  readonly attributes: Readonly<Record<string, string>>
  readonly children: readonly XmlTree[]
  readonly text: string
}

/** Parses with a strict, independent parser. @throws Error if the document is not well-formed. */
export function parseXml(xml: string): XmlTree {
  interface Open {
    name: string
    attributes: Record<string, string>
    children: Open[]
    text: string
  }
  const root: Open = { name: '', attributes: {}, children: [], text: '' }
  const stack: Open[] = [root]
  const top = (): Open => stack[stack.length - 1] ?? root
  const parser = new SaxesParser()
  parser.on('error', (error) => {
    throw error
  })
  parser.on('opentag', (tag) => {
    const open: Open = {
      name: tag.name,
      attributes: { ...(tag.attributes as Record<string, string>) },
      children: [],
      text: '',
    }
    top().children.push(open)
    stack.push(open)
  })
  parser.on('text', (text) => {
    top().text += text
  })
  parser.on('cdata', () => {
    throw new Error('no CDATA expected')
  })
  parser.on('closetag', () => {
    stack.pop()
  })
  parser.write(xml).close()
  const [document, ...others] = root.children
  if (document === undefined || others.length > 0) throw new Error('expected one root')
  return document
}
