import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { defineConfig } from 'vitepress'
import { repositoryLinks, slugify } from '../links.mjs'
import { addresses, groups, repository, titleOf } from '../pages.mjs'

/** Where the site is served, as `/mkondo/`. */
const base = process.env.SITE_BASE ?? '/'
/** Begins the address of a file of the repository, as `https://HOST/OWNER/mkondo/blob/main/`. */
const sourceUrl = process.env.SOURCE_URL
const { description } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'))
const links = repositoryLinks(sourceUrl)

const pageFolders = new Set([...addresses.keys()].map((file) => (file.includes('/') ? file.split('/')[0] : '')))
/** Every other folder of the repository, so that no build output and no test's Markdown becomes a page. */
const otherFolders = readdirSync(repository, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !pageFolders.has(entry.name))
  .map(({ name }) => `${name}/**`)

/** The index for programs that read documentation (llmstxt.org), and the Markdown itself beside each page. */
function writeForPrograms(outDir) {
  const lines = ['# Mkondo', '', `> ${description}`]
  for (const [title, files] of groups()) {
    lines.push('', `## ${title}`, '')
    for (const file of files) {
      const address = addresses.get(file)
      lines.push(`- [${titleOf(file)}](${base}${address})`)
      mkdirSync(join(outDir, dirname(address)), { recursive: true })
      copyFileSync(join(repository, file), join(outDir, address))
    }
  }
  const api = 'ops-api.openapi.yaml'
  copyFileSync(join(repository, 'schema', api), join(outDir, api))
  lines.push('', '## Machine-readable', '', `- [The ops API, OpenAPI 3.1](${base}${api})`)
  writeFileSync(join(outDir, 'llms.txt'), `${lines.join('\n')}\n`)
}

/** The pages lie outside this package, which alone has Vue. Vite finds it for the browser, but not for the pages' HTML. */
const vueOfThisPackage = {
  name: 'vue-of-this-package',
  enforce: 'pre',
  resolveId: (id, _importer, { ssr }) => (ssr && /^vue(\/|$)/.test(id) ? { id, external: true } : null),
}

export default defineConfig({
  title: 'Mkondo',
  description,
  lang: 'en',
  base,
  srcDir: repository,
  srcExclude: [
    ...otherFolders,
    'docs/site/*.md',
    'bench/**/results/**',
    'examples/**/node_modules/**',
    'examples/vendors/*/**',
    'src/!(vendors)/**',
  ],
  rewrites: Object.fromEntries(addresses),
  markdown: {
    // The documents hold no HTML: `<name>` in one is a text.
    html: false,
    anchor: { slugify },
    config: (md) => md.use(links.plugin),
  },
  vite: { plugins: [vueOfThisPackage] },
  themeConfig: {
    nav: [
      { text: 'Start', link: '/' },
      { text: 'Agents', link: '/AGENTS' },
      { text: 'Operations', link: '/OPERATIONS' },
      { text: 'Runbooks', link: '/runbooks/' },
    ],
    sidebar: groups().map(([text, files]) => ({
      text,
      collapsed: ['Vendors', 'Runbooks', 'Decisions', 'Reference'].includes(text),
      items: files.map((file) => ({
        text: titleOf(file),
        link: `/${addresses.get(file).replace(/(index)?\.md$/, '')}`,
      })),
    })),
    outline: [2, 3],
    search: { provider: 'local' },
  },
  buildEnd({ outDir, pages }) {
    const unlisted = pages.filter((page) => !addresses.has(page))
    if (unlisted.length > 0) throw new Error(`not in pages.mjs: ${unlisted.join(', ')}`)
    links.check()
    writeForPrograms(outDir)
  },
})
