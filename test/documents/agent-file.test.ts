import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { agentKeys, vendorsOf } from './agent-keys.js'

const keys = agentKeys()

/** A file of the repository. */
const page = (file: string): string => readFileSync(join(packageRoot(), file), 'utf8')
/** Number of rows of a page about a key. */
const rowsOf = (text: string, path: string): number => text.split(`\n| \`${path}\` | `).length - 1

t.test('each key of an agent file is documented once', async (t) => {
  t.ok(keys.length > 400, `${keys.length} keys`)
  const file = page('docs/AGENT-FILE.md')
  for (const { path, schema } of keys) {
    const pages = vendorsOf(path)?.map(({ folder }) => [folder, page(`src/vendors/${folder}/README.md`)] as const) ?? [
      ['AGENT-FILE', file],
    ]
    for (const [name, text] of pages) t.equal(rowsOf(text, path), 1, `${name} lists ${path} once`)
    t.match(schema.description, /^\S.{5,}/, `the schema says what ${path} means`)
  }
})

t.test('the guides refer to AGENT-FILE.md for the keys', async (t) => {
  for (const name of ['AGENTS', 'ANALYSIS', 'CALLERS', 'KEYPAD', 'MCP', 'STAGES', 'WAITING']) {
    const guide = page(`docs/${name}.md`)
    t.notMatch(guide, /^\| key\b/m, `${name} has no table of keys`)
    t.match(guide, '(AGENT-FILE.md#', `${name} leads to the keys`)
    for (const { path } of keys) if (rowsOf(guide, path) > 0) t.fail(`${name} describes ${path} again`)
  }
})
