/** A plugin of markdown-it: links between files of the repository become links of the site, and each of them is checked. */
import { existsSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { addresses, repository } from './pages.mjs'

/** The anchor of a heading as code hosts make it, so that a link works there and here. */
export function slugify(heading) {
  return heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
    .replaceAll(' ', '-')
}

/**
 * @param sourceUrl begins the address of a file that is not on the site, as `https://HOST/OWNER/mkondo/blob/main/`; without
 *   it such a link is plain text. The file has to be there in either case.
 */
export function repositoryLinks(sourceUrl) {
  /** Anchors that each page has, by file. */
  const anchors = new Map()
  /** `[from, href, file, anchor]` of each link to an anchor. */
  const toAnchors = []
  const broken = new Set()

  /** The new href, or undefined where there is nothing to link to. */
  function resolve(from, href) {
    const [, path, anchor] = /^([^#]*)(?:#(.*))?$/.exec(href)
    const file = path === '' ? from : normalize(join(dirname(from), decodeURIComponent(path)))
    const page = [file, join(file, 'README.md')].find((name) => addresses.has(name))
    if (page !== undefined) {
      if (anchor !== undefined) toAnchors.push([from, href, page, decodeURIComponent(anchor)])
      return `/${addresses.get(page)}${anchor === undefined ? '' : `#${anchor}`}`
    }
    if (file.startsWith('..') || !existsSync(join(repository, file))) broken.add(`${from}: ${href}`)
    return sourceUrl === undefined ? undefined : `${sourceUrl}${file}`
  }

  /** The tokens of a paragraph with their links resolved. */
  function rewritten(from, tokens, Token) {
    const out = []
    /** Of each open link, whether it stays one. */
    const open = []
    for (const token of tokens) {
      if (token.type === 'link_open') {
        const href = token.attrGet('href')
        // A heading's own link, and addresses elsewhere.
        const stays = token.attrGet('class') === 'header-anchor' || /^[a-z][a-z+.-]*:/i.test(href)
        const to = stays ? href : resolve(from, href)
        open.push(to !== undefined)
        if (to === undefined) continue
        token.attrSet('href', to)
      } else if (token.type === 'link_close') {
        if (open.pop() === false) continue
      } else if (token.type === 'code_inline' && open.length === 0 && token.content.endsWith('.md')) {
        // Documents name each other as code, `docs/METRICS.md`: on the site that is a link.
        const page = [token.content, normalize(join(dirname(from), token.content))].find((name) => addresses.has(name))
        if (page !== undefined && page !== from) {
          const link = new Token('link_open', 'a', 1)
          link.attrSet('href', `/${addresses.get(page)}`)
          out.push(link, token, new Token('link_close', 'a', -1))
          continue
        }
      }
      out.push(token)
    }
    return out
  }

  return {
    plugin(md) {
      md.core.ruler.push('repository-links', (state) => {
        const path = state.env.realPath ?? state.env.path
        if (path === undefined) return
        const from = relative(repository, path)
        const ids = new Set()
        for (const token of state.tokens) {
          if (token.type === 'heading_open') ids.add(token.attrGet('id'))
          if (token.children !== null) token.children = rewritten(from, token.children, state.Token)
        }
        anchors.set(from, ids)
      })
      // Vue would read the templates of the documents, `{{call.from}}`, as its own.
      const { text, code_inline } = md.renderer.rules
      md.renderer.rules.text = (...args) => text(...args).replaceAll('{{', '&#123;&#123;')
      md.renderer.rules.code_inline = (...args) => code_inline(...args).replace('<code', '<code v-pre')
    },
    /** Throws with every link that leads nowhere. For after the pages were rendered. */
    check() {
      for (const [from, href, file, anchor] of toAnchors)
        if (!anchors.get(file)?.has(anchor)) broken.add(`${from}: ${href} (no such heading)`)
      if (broken.size > 0) throw new Error(`links that lead nowhere:\n${[...broken].sort().join('\n')}`)
    },
  }
}
