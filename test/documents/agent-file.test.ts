import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { agentKeys } from './agent-keys.js'

const keys = agentKeys()
const [explained = '', listed = ''] = readFileSync(join(packageRoot(), 'docs/AGENT-FILE.md'), 'utf8').split(
  '\n## All keys\n',
)

t.test('an author finds each key of an agent file in docs/AGENT-FILE.md, with its meaning', async (t) => {
  t.ok(keys.length > 400, `${keys.length} keys`)
  for (const { path, schema, section } of keys) {
    t.ok(listed.includes(`\n| \`${path}\` | `), `docs/AGENT-FILE.md lists ${path}`)
    if (!section) t.match(schema.description, /^\S.{5,}/, `the schema says what ${path} means`)
  }
})

t.test('the tables that explain keys say the same defaults and ranges as the schema', async (t) => {
  let compared = 0
  for (const [, path = '', fallback = '', range = ''] of explained.matchAll(
    /^\| `([\w.]+)` \| `?(\d+|true|false)`? \|(?: (\d+-\d+)\b[^|]*\|)?/gm,
  )) {
    const schema = keys.find((key) => key.path === path)?.schema
    if (schema === undefined) continue // of a table whose keys are those of a tool or an account
    compared++
    t.equal(JSON.stringify(schema.default), fallback, `${path}: its default`)
    const [least, most] = range.split('-').map(Number)
    const { minimum, maximum } = [schema, ...(schema.anyOf ?? [])].find((one) => one.maximum !== undefined) ?? schema
    if (range !== '') t.same([minimum, maximum], [least, most], `${path}: its range`)
  }
  t.ok(compared > 40, `${compared} keys`)
})
