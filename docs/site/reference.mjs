/** Writes reference/: the API of agents and backends in code (typedoc), and the routes of the ops port (OpenAPI). */
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Application } from 'typedoc'
import { parse } from 'yaml'
import { slugify } from './links.mjs'

const repository = fileURLToPath(new URL('../..', import.meta.url))
const out = fileURLToPath(new URL('reference', import.meta.url))
rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })

const app = await Application.bootstrapWithPlugins({
  plugin: ['typedoc-plugin-markdown'],
  entryPoints: [
    'src/index.ts',
    'src/backends/backend.ts',
    'src/backends/transport.ts',
    'src/backends/load-backend.ts',
    'src/backends/conformance.ts',
  ].map((file) => join(repository, file)),
  tsconfig: join(repository, 'tsconfig.json'),
  name: 'API in code',
  readme: 'none',
  disableSources: true,
  excludePrivate: true,
  // One page for each module.
  router: 'module',
  outputs: [{ name: 'markdown', path: join(out, 'api') }],
  // The root's `npm run typecheck` does that.
  skipErrorChecking: true,
  fileExtension: '.md',
  entryFileName: 'overview.md',
  hidePageHeader: true,
  hideBreadcrumbs: true,
  // Internal types are named but not exported; `npm run typecheck` holds the rest.
  validation: { notExported: false, invalidLink: false },
  logLevel: 'Warn',
})
const project = await app.convert()
if (project === undefined || app.logger.hasErrors()) process.exit(1)
await app.generateOutputs(project)
// The plugin numbers the anchor of a type also where its page has the heading once.
for (const name of readdirSync(join(out, 'api'), { recursive: true }).filter((file) => file.endsWith('.md'))) {
  const file = join(out, 'api', name)
  const page = readFileSync(file, 'utf8')
  const once = (slug) =>
    page.match(/^#+ .*$/gm).filter((line) => slugify(line.replace(/^#+ /, '')) === slug).length === 1
  const links = page.replace(/\(#([\w-]+)-\d+\)/g, (link, slug) => (once(slug) ? `(#${slug})` : link))
  // A module is known by the name that it is imported by.
  const titled = links.replace(/^# index$/m, '# API: mkondo').replace(/^# backends\//m, '# API: mkondo/')
  writeFileSync(file, titled)
}

const { info, paths, components } = parse(readFileSync(join(repository, 'schema/ops-api.openapi.yaml'), 'utf8'))
/** The part itself, also where the file only refers to it. */
const part = (given) =>
  given.$ref === undefined
    ? given
    : given.$ref
        .split('/')
        .slice(2)
        .reduce((at, key) => at[key], components)
const cell = (text) =>
  text
    .trim()
    .replaceAll('|', '\\|')
    .replace(/\s*\n\s*/g, ' ')
const lines = [`# ${info.title}`, '', info.description.trim(), '', 'Written from `schema/ops-api.openapi.yaml`.']
for (const [path, methods] of Object.entries(paths)) {
  const shared = methods.parameters ?? []
  for (const [method, route] of Object.entries(methods)) {
    if (method === 'parameters') continue
    lines.push('', `## \`${method.toUpperCase()} ${path}\``, '', `${route.summary}.`)
    if (route.description !== undefined) lines.push('', route.description.trim())
    const parameters = [...shared, ...(route.parameters ?? [])].map(part)
    if (parameters.length > 0) {
      lines.push('', '| parameter | in | meaning |', '|---|---|---|')
      for (const { name, in: where, required, description = '' } of parameters)
        lines.push(`| \`${name}\` | ${where}${required === true ? ', required' : ''} | ${cell(description)} |`)
    }
    lines.push('', '| answer | meaning |', '|---|---|')
    for (const [status, answer] of Object.entries(route.responses))
      lines.push(`| ${status} | ${cell(part(answer).description)} |`)
  }
}
writeFileSync(join(out, 'ops-api.md'), `${lines.join('\n')}\n`)
