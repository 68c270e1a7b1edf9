// A node of a fleet that does nothing but its campaigns: node dialling-node.js REDIS_URL CARRIER_ORIGIN NAME. It is killed.
import { Campaigns } from '../../src/campaigns/campaigns.js'
import { RedisDoNotCall, RedisQueue } from '../../src/campaigns/redis-queue.js'
import { unrefTimer } from '../../src/core/clock.js'
import { parseCallSid } from '../../src/core/ids.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { parseRedisUrl } from '../../src/fleet/store/redis-url.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { SautikitClient } from '../../src/sautikit-api/client.js'
import { CarrierHttp } from '../../src/sautikit-api/http.js'
import { createLog } from '../../src/telemetry/log.js'
import { OutboundCalls } from '../../src/workers/main/outbound-calls.js'
import { UNBOUND } from './appointments.js'

const [url = '', carrier = '', name = ''] = process.argv.slice(2)
const address = parseRedisUrl(url)
if (address === undefined) throw new Error('no Redis')
/** How long a called number rings before it is busy. */
const RING_MS = 20

const secrets = ['token-secret-of-a-test']
const log = createLog({ level: 'error' })
const client = new SautikitClient(new CarrierHttp({ baseUrl: carrier, apiKey: 'tsk_0123456789' }))
const store = await connectRedis({ url, prefix: 'mkondo:', secrets, log }).catch(() => new MemoryStore(Date.now))
const outbound: OutboundCalls = new OutboundCalls({
  carrier: {
    createCall: async (call) => {
      const created = await client.createCall(call)
      // The carrier's webhook: the number is busy.
      unrefTimer(RING_MS, () =>
        outbound.state(parseCallSid(created.callSid ?? 'HD_none'), call.clientRequestId, 'busy'),
      )
      return created
    },
    hangup: () => Promise.resolve(),
    getCall: () => Promise.resolve({ status: 'busy', answeredAt: null }),
  },
  agent: () => ({ from: '+254700000000', ringMs: 1000 }),
  agentNames: () => ['appointments'],
  voiceUrl: () => 'http://127.0.0.1:9/voice/appointments',
  free: () => 1000,
  draining: () => false,
  agentFull: () => false,
  perMinute: 100_000,
  recoveryPerMinute: 0,
  prefixes: [],
  clock: () => performance.now(),
  wallClock: Date.now,
  log,
  onUnreached: (record) => {
    campaigns.ended(record)
    return Promise.resolve('ok')
  },
})
const queue = new RedisQueue({ address, prefix: 'mkondo:', secrets, log })
const campaigns: Campaigns = new Campaigns({
  ...UNBOUND,
  queue,
  doNotCall: new RedisDoNotCall(queue, { secrets }),
  place: (order) => outbound.place(order),
  claims: store,
  log,
})
await campaigns.look()
process.stdout.write(`${name} dials\n`)
