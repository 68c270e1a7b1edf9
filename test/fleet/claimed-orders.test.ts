import t from 'tap'
import { claimedOrders } from '../../src/fleet/routing.js'
import type { OutboundCarrier } from '../../src/workers/outbound-calls.js'

t.test('the other nodes learn of an order before the carrier, and of its call as soon as that has an id', async (t) => {
  const happened: string[] = []
  const carrier = (callSid: string | null): OutboundCarrier => ({
    createCall: async ({ clientRequestId }) => {
      happened.push(`carrier ${clientRequestId}`)
      return { callSid, callId: null, status: 'queued' }
    },
    hangup: async (sid) => {
      happened.push(`hangup ${sid}`)
    },
    getCall: async () => ({ status: 'ringing', answeredAt: null }),
  })
  const node = {
    reserve: (key: string) => {
      happened.push(`reserve ${key}`)
      return Promise.resolve()
    },
  }
  const call = {
    from: '+254700000001',
    to: '+254700000002',
    voiceCallbackUrl: 'https://voice.example.com/voice/support',
    clientRequestId: 'order-1',
  }
  const orders = claimedOrders(carrier('HD_000000000001'), node)
  t.match(await orders.createCall(call), { callSid: 'HD_000000000001' })
  await orders.hangup('HD_000000000001')
  t.match(await orders.getCall('HD_000000000001'), { status: 'ringing' })
  t.same(happened.splice(0), [
    'reserve order-1',
    'carrier order-1',
    'reserve HD_000000000001',
    'hangup HD_000000000001',
  ])
  // Some carriers say it with the first webhook only, which names the order.
  await claimedOrders(carrier(null), node).createCall({ ...call, clientRequestId: 'order-2' })
  t.same(happened, ['reserve order-2', 'carrier order-2'])
})
