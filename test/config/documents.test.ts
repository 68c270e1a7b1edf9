import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { envExample } from '../../src/config/env-example.js'
import { packageRoot } from '../../src/config/package-root.js'
import { SETTINGS } from '../../src/config/settings.js'

t.test('.env.example has every setting, as the table has it', async (t) => {
  const file = readFileSync(join(packageRoot(), '.env.example'), 'utf8')
  t.ok(file === envExample(null), 'it is current: npm run documents')
  for (const { env } of Object.values(SETTINGS)) t.match(file, new RegExp(`^# ${env}=`, 'm'))
})
