import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { AS_USER, hasRedis } from '../support/redis.js'

// The commands that nodes send are those of the user in deploy/redis.conf: what the fleet keeps in Redis is tested under it.

const RUN_MS_MAX = 600_000

for (const [file, titles] of [
  ['fleet/call-store', 'Redis'],
  ['fleet/effects', ''],
  ['messages/fleet-outbox', ''],
  ['campaigns/campaigns', 'Redis|of a fleet|a removal that'],
] as const)
  t.test(`test/${file} passes as the user of deploy/redis.conf`, (t) => {
    t.plan(hasRedis(t) ? 1 : 0)
    const path = fileURLToPath(new URL(`../${file}.test.js`, import.meta.url))
    const env = { ...process.env, [AS_USER]: '1', TAP_GREP: titles, TAP_TIMEOUT: '0' }
    const run = spawnSync(process.execPath, [path], { env, encoding: 'utf8', maxBuffer: 1 << 28, timeout: RUN_MS_MAX })
    const failed = run.stdout.split('\n').filter((text) => /^ *not ok|NOPERM/.test(text))
    t.equal(run.status, 0, failed.slice(0, 10).join('\n'))
  })
