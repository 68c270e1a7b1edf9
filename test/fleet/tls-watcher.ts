// A node whose Redis is reached over TLS prints how the store is whenever that changes, and each row that it calls: node tls-watcher.js URL
// How long it lasts is up to the test that has started it.
// eslint-disable-next-line no-restricted-syntax
import { setTimeout as sleep } from 'node:timers/promises'
import { RedisQueue } from '../../src/campaigns/redis-queue.js'
import { messageOf } from '../../src/core/errors.js'
import { parseRedisUrl } from '../../src/fleet/store/redis-url.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { createLog } from '../../src/telemetry/log.js'
import { NEW_ROW } from '../campaigns/appointments.js'
import { SECRETS } from './store-homes.js'

const LOOK_MS = 50
const url = process.argv[2] ?? ''
const address = parseRedisUrl(url)
if (address === undefined) throw new Error('no URL of Redis')
const log = createLog({ level: 'silent' })
const store = await connectRedis({ url, prefix: 'fleet:', secrets: SECRETS, log })
const queue = new RedisQueue({ address, prefix: 'fleet:', secrets: SECRETS, log })
const print = (line: string): void => void process.stdout.write(`${line}\n`)
await queue.serve('reminders', { atOnce: 1, perMinute: 6000 }, (row) => {
  print(`row ${row.id}`)
  return Promise.resolve({ next: 'done', row: { ...row, result: 'expired' } })
})
let last = ''
let works = 0
for (;;) {
  const now = await store.read('nobody').then(() => 'works', messageOf)
  if (now !== last) {
    print((last = now))
    if (now === 'works')
      void queue.add('reminders', [{ ...NEW_ROW, id: `r${++works}`, campaign: 'reminders', to: '+254711000001' }])
  }
  await sleep(LOOK_MS)
}
