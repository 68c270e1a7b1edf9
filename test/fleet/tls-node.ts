// A node that uses Redis at each URL, for calls and for campaigns, and says with which it came through: node tls-node.js URL…
import { RedisQueue } from '../../src/campaigns/redis-queue.js'
import { parseRedisUrl } from '../../src/fleet/store/redis-url.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { createLog } from '../../src/telemetry/log.js'
import { NEW_ROW } from '../campaigns/appointments.js'
import { until } from '../support/until.js'
import { SECRETS } from './store-homes.js'

/** The machine may be busy. */
const WAIT_MS = 60_000
const log = createLog({ level: 'silent' })

async function calls(url: string): Promise<void> {
  const store = await connectRedis({ url, prefix: 'fleet:', secrets: SECRETS, log })
  const isWritten = (): Promise<boolean> =>
    store.once('key', 'over TLS', 60_000).then(
      () => true,
      () => false,
    )
  await until(isWritten, WAIT_MS, 'the store to be reached')
  await store.close()
}

async function campaigns(url: string): Promise<void> {
  const address = parseRedisUrl(url)
  if (address === undefined) throw new Error('no URL of Redis')
  const queue = new RedisQueue({ address, prefix: 'fleet:', secrets: SECRETS, log })
  await queue.add('reminders', [{ ...NEW_ROW, id: 'r1', campaign: 'reminders', to: '+254711000001' }])
  await queue.serve('reminders', { atOnce: 1, perMinute: 6000 }, (row) =>
    Promise.resolve({ next: 'done', row: { ...row, result: 'expired' } }),
  )
  await until(async () => (await queue.counts('reminders')).results.expired === 1, WAIT_MS, 'the row to be over')
  await queue.close(1000)
}

const over = process.argv.slice(2).flatMap((url) =>
  Object.entries({ calls, campaigns }).map(async ([name, use]) => {
    await use(url)
    process.stdout.write(`${new URL(url).protocol} ${name}\n`)
  }),
)
await Promise.all(over)
