import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'

/** What fails the build of docs/site, seen without its packages, which the root does not install. */

const root = packageRoot()

interface Pages {
  readonly addresses: ReadonlyMap<string, string>
  readonly titleOf: (file: string) => string
}
interface Links {
  readonly slugify: (heading: string) => string
}
const siteModule = async (name: string): Promise<unknown> =>
  import(pathToFileURL(join(root, 'docs/site', name)).href) as Promise<unknown>
const { addresses, titleOf } = (await siteModule('pages.mjs')) as Pages
const { slugify } = (await siteModule('links.mjs')) as Links

/** A document without its code, in which nothing is a link. */
const proseOf = (file: string): string =>
  readFileSync(join(root, file), 'utf8')
    .replace(/^( *)```.*?^ *```$/gms, '')
    .replace(/`[^`\n]*`/g, 'code')

const headingsOf = (file: string): readonly string[] =>
  [
    ...readFileSync(join(root, file), 'utf8')
      .replace(/^( *)```.*?^ *```$/gms, '')
      .matchAll(/^#+ (.+)$/gm),
  ].map(([, heading = '']) => slugify(heading.replaceAll('`', '')))

t.test('each Markdown file in a folder of the site is one of its pages, and has a title', async (t) => {
  const folders = new Set([...addresses.keys()].map((file) => (file.includes('/') ? (file.split('/')[0] ?? '') : '')))
  const found = [...folders].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: folder !== '' })
      .map((name) => join(folder, String(name)))
      .filter((file) => file.endsWith('.md') && !/node_modules|(^|\/)\.|^docs\/site\/|\/results\//.test(file)),
  )
  t.ok(found.length > 40, `${found.length} files`)
  for (const file of found) {
    t.ok(addresses.has(file), `docs/site/pages.mjs has ${file}`)
    if (addresses.has(file)) t.not(titleOf(file), '', file)
  }
})

t.test('each link of the documents leads to a file and a heading that are there', async (t) => {
  let links = 0
  const pages = [...addresses.keys()].filter((file) => !file.startsWith('docs/site/'))
  for (const page of pages) {
    for (const [, href = ''] of proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z][a-z+.-]*:/i.test(href)) continue
      links++
      const [path = '', anchor] = href.split('#')
      const file = path === '' ? page : normalize(join(dirname(page), decodeURIComponent(path)))
      if (!t.ok(!file.startsWith('..') && existsSync(join(root, file)), `${page}: ${href}`) || anchor === undefined)
        continue
      const target = statSync(join(root, file)).isDirectory() ? join(file, 'README.md') : file
      t.ok(headingsOf(target).includes(decodeURIComponent(anchor)), `${page}: ${href} (heading)`)
    }
  }
  t.ok(links > 40, `${links} links`)
})
