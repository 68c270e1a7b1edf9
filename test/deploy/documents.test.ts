import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { SETTINGS } from '../../src/config/settings.js'
import { repositoryFile } from './deploy-files.js'

const root = packageRoot()

/** Titles of a test file's tests, as they stand in its source; a `${…}` in one matches anything. */
function titlesOf(path: string): string[] {
  const source = readFileSync(join(root, path), 'utf8')
  return [...source.matchAll(/\bt\.test\(\s*(['"`])((?:\\.|(?!\1).)+)\1/gs)].map(([, , title = '']) =>
    title.replace(/\\(.)/g, '$1'),
  )
}

t.test('each row of the closures names tests that are there', async (t) => {
  const rows = repositoryFile('docs/CLOSURES.md')
    .split('\n')
    .filter((line, i, lines) => /^\| /.test(line) && !/^\|---/.test(lines[i + 1] ?? ''))
  t.ok(rows.length >= 30, `${rows.length} rows`)
  for (const row of rows) {
    const [what = '', ...cells] = row
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim())
      .filter((cell) => cell !== '')
    const named = [...(cells.at(-1) ?? '').matchAll(/`([\w/.-]+\.test\.ts)`((?:,? "[^"]+")*)/g)]
    t.ok(named.length > 0, `${what}: has a test`)
    for (const [, file = '', quotes = ''] of named) {
      const path = `test/${file}`
      if (!t.ok(existsSync(join(root, path)), `${what}: ${path}`)) continue
      const titles = titlesOf(path)
      for (const [, quote = ''] of quotes.matchAll(/"([^"]+)"/g)) {
        const begin = quote.replace(/ ?…$/, '')
        t.ok(
          titles.some((title) => title.startsWith(begin)),
          `${what}: ${path} has "${begin}"`,
        )
      }
    }
  }
})

t.test('each file and folder that the documents name is there', async (t) => {
  const documents = ['README.md', 'CONTRIBUTING.md', 'deploy/README.md', 'docs/ARCHITECTURE.md', 'docs/CLOSURES.md']
  // Paths are given from the repository, from src/, or from the folder of the document.
  const bases = ['', 'src', 'docs', 'deploy', 'src/backends', 'test']
  for (const document of documents) {
    const source = repositoryFile(document)
    const named = [
      ...source.matchAll(
        /`((?:\.\.\/)?[\w.-]+(?:\/[\w.-]+)*(?:\/|\.(?:ts|md|json|yaml|cfg|conf|cjs|service|example)))`/g,
      ),
      ...source.matchAll(/\]\((?!https?:)([^)#]+)/g),
    ]
    t.ok(named.length > 3, document)
    for (const [, path = ''] of named) {
      const file = path.replace(/^\.\.\//, '')
      t.ok(
        bases.some((base) => existsSync(join(root, base, file))),
        `${document} names ${path}`,
      )
    }
  }
})

t.test('the layers of the architecture are the folders of src/, in the order that the linter holds', async (t) => {
  const layers = [
    ...repositoryFile('docs/ARCHITECTURE.md').matchAll(/^\| (`src\/[\w-]+`(?:, `src\/[\w-]+`)*)/gm),
  ].flatMap(([, names = '']) => names.split(', ').map((name) => name.replace(/`|src\//g, '')))
  const linted = /const layers = \[([^\]]+)\]/.exec(repositoryFile('.dependency-cruiser.cjs'))?.[1] ?? ''
  t.same(
    layers,
    [...linted.matchAll(/'([\w-]+)'/g)].map(([, layer]) => layer),
  )
  const folders = readdirSync(join(root, 'src'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
  for (const folder of folders) t.ok(layers.includes(folder), `${folder} has its row`)
})

t.test('each setting that the documents name is one', async (t) => {
  const known = new Set<string>(Object.values(SETTINGS).map(({ env }) => env))
  // Named to say that they are not served, or belonging to others.
  const others = new Set([
    'NODE_URL',
    'REDIS_URL',
    'POD_NAME',
    'NAMESPACE',
    'NAME',
    'BASE',
    'FILE',
    'SPECIFIER',
    'SIGTERM',
    'YAML',
    'OTEL_EXPORTER_OTLP_HEADERS',
    'NO_COLOR',
    'HEAD',
    'UV_THREADPOOL_SIZE',
    'GRAFANA_PASSWORD',
    'REDIS_PASSWORD',
  ])
  for (const document of [
    'README.md',
    'CHANGELOG.md',
    'deploy/README.md',
    'docs/ARCHITECTURE.md',
    'docs/CLOSURES.md',
  ]) {
    for (const [, name = ''] of repositoryFile(document).matchAll(/`([A-Z][A-Z_]{3,})(?:=[^`]*)?`/g)) {
      // Error codes of tools are no settings.
      t.ok(known.has(name) || others.has(name) || name.startsWith('TOOL_'), `${document} names ${name}`)
    }
  }
})
