import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { configurationPage } from '../../src/config/configuration-page.js'
import { envExample } from '../../src/config/env-example.js'
import { loadConfig } from '../../src/config/load-config.js'
import { packageRoot } from '../../src/config/package-root.js'
import { SETTINGS } from '../../src/config/settings.js'
import type { Setting } from '../../src/config/settings.js'

const all = Object.values(SETTINGS) as readonly Setting<unknown>[]

t.test('.env.example has every setting, as the table has it, and its defaults are the defaults', async (t) => {
  const file = readFileSync(join(packageRoot(), '.env.example'), 'utf8')
  t.ok(file === envExample(null), 'it is current: npm run documents')
  for (const { env } of all) t.match(file, new RegExp(`^# ${env}=`, 'm'))
  const written = Object.fromEntries(
    [...file.matchAll(/^# ([A-Z_]+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]),
  )
  t.same(loadConfig(written, null), loadConfig({}, null))
})

t.test('docs/CONFIGURATION.md has every setting in one row', async (t) => {
  const page = readFileSync(join(packageRoot(), 'docs/CONFIGURATION.md'), 'utf8')
  t.ok(page === configurationPage(), 'it is current: npm run documents')
  const rows = page.split('\n').filter((line) => line.startsWith('| `'))
  t.same(
    rows.map((row) => /^\| `(\w+)`/.exec(row)?.[1]),
    all.map(({ env }) => env),
  )
  for (const line of rows) t.equal(line.replaceAll('\\|', '').split('|').length, 7, line)
})

t.test('what is generated is the same on every machine', async (t) => {
  for (const { env, fallback, defaultText } of [
    SETTINGS.nodeName,
    SETTINGS.mediaWorkers,
  ] as readonly Setting<unknown>[])
    t.ok(defaultText !== undefined && defaultText !== String(fallback), env)
})

t.test('each setting is explained in full sentences that stand alone', async (t) => {
  for (const { env, help } of all) {
    t.match(help, /^[A-Z][^]*\.\)?$/, `${env}: a sentence`)
    t.ok(help.split(' ').length >= 5, `${env}: more than a name`)
    t.notMatch(help, /\b(?:the same$|its key|its model\b|as above|see above|beside it)/i, env)
  }
})
