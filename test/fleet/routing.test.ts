import { once } from 'node:events'
import t from 'tap'
import { ownersByHash } from '../../src/fleet/node-channel.js'
import { fleet, sidOf } from './nodes.js'
import type { Fleet } from './nodes.js'
import {
  SECRET,
  attribute,
  newSid,
  openSocket,
  post,
  rawRequest,
  redirectUrl,
  ringing,
  upgradeStatus,
} from '../edge/gateway.js'
import type { Gateway, Posted } from '../edge/gateway.js'

const at = ({ gateways }: Fleet, index: number): Gateway => gateways[index] as Gateway
const voice = (gateway: Gateway, form: Readonly<Record<string, string>>, more = {}): Promise<Posted> =>
  post(`${gateway.url}/voice/order-status`, { form, ...more })

t.test(
  'each SID has an order of all nodes, owners are spread evenly, and the calls of one that is gone over all others',
  async (t) => {
    for (const count of [2, 3, 8, 64]) {
      const sids = Array.from({ length: 400 * count }, () => newSid())
      const owners = new Array<number>(count).fill(0)
      const seconds = new Array<number>(count).fill(0)
      for (const sid of sids) {
        const order = ownersByHash(sid, count)
        if (new Set(order).size !== count || ownersByHash(sid, count).join() !== order.join())
          t.fail(`${sid}: ${order.join(' ')}`)
        owners[order[0] as number]!++
        if (order[0] === 0) seconds[order[1] as number]!++
      }
      // 400 each on average, with a standard deviation of 20: five of them.
      t.ok(
        owners.every((calls) => Math.abs(calls - 400) < 100),
        `${count}: ${owners.join(' ')}`,
      )
      if (count > 2 && count < 64)
        t.ok(
          seconds.slice(1).every((calls) => calls > (0.4 * (owners[0] as number)) / (count - 1)),
          `${count}: ${seconds.join(' ')}`,
        )
    }
  },
)

t.test('whichever node a webhook comes to, the owner of the call answers it', async (t) => {
  const three = await fleet(t, 3, { webhookSecrets: [SECRET] })
  const sign = { sign: { secret: SECRET } }
  for (let round = 0; round < 6; round++) {
    const sid = newSid()
    const [first, second, third] = [round % 3, (round + 1) % 3, (round + 2) % 3].map((index) => at(three, index)) as [
      Gateway,
      Gateway,
      Gateway,
    ]
    const document = await voice(first, ringing(sid), sign)
    t.equal(three.ownerOf(sid), ownersByHash(sid, 3)[0], 'the owner by its hash has it')
    t.match(
      await voice(second, ringing(sid), sign),
      { status: 200, text: document.text },
      'asked again elsewhere: the same document, no second call',
    )
    t.equal(three.gateways.filter(({ calls }) => calls.find(sid) !== undefined).length, 1)
    const call = three.call(sid)

    await voice(third, { ...ringing(sid), callSessionState: 'Active' }, sign)
    await post(`${second.url}/events`, {
      json: { kind: 'call.answered', event_id: `evt_${sid}`, data: { call_id: sid } },
      ...sign,
    })
    await post(`${third.url}/events`, {
      json: { kind: 'call.answered', event_id: `evt_${sid}`, data: { call_id: sid } },
      ...sign,
    })
    const status = new URL(attribute(document.text, 'statusCallback'))
    await post(`${third.url}${status.pathname}${status.search}`, {
      form: { streamEvent: 'stream-started', streamSid: 'MZ_1', sessionId: sid },
    })
    t.same(
      call.states.slice(-3),
      ['answered', 'answered', 'stream-started'],
      'the state, the event and the stream, each once',
    )

    call.next = [{ verb: 'dial', numbers: ['+254700000003'] }]
    const after = new URL(redirectUrl(document.text))
    t.match((await post(`${second.url}${after.pathname}${after.search}`, { form: ringing(sid) })).text, /<Dial/)
    t.same(call.askers, ['after-stream'])
  }
  t.match(await voice(at(three, 0), ringing(newSid())), { status: 401 }, 'nothing that is unsigned goes anywhere')
  const before = await Promise.all(
    three.gateways.map(({ metric }) => metric('mkondo_sibling_webhooks_total{result="forwarded"}')),
  )
  t.ok(before.reduce((sum, value) => sum + value) > 6)
  await post(`${at(three, 1).url}/events`, {
    json: { kind: 'call.answered', event_id: 'e', data: { call_id: newSid() } },
  })
  t.same(
    await Promise.all(three.gateways.map(({ metric }) => metric('mkondo_sibling_webhooks_total{result="forwarded"}'))),
    before,
  )
})

t.test('a webhook is proven and parsed where it arrives, once: its owner could do neither', async (t) => {
  // Two secrets: the owner would refuse the signature, and the token is forwarded to nobody.
  const two = await fleet(t, 2, (index) => ({
    webhookSecrets: [index === 0 ? SECRET : 'whsec_of_another'],
    publicUrl: 'https://voice.example.com',
    nodeUrl: `https://voice.example.com/p/${index}`,
  }))
  const sign = { sign: { secret: SECRET } }
  const sid = sidOf(1, 2)
  const document = await voice(at(two, 0), ringing(sid), sign)
  t.match(document.text, /<Stream/)
  t.equal(two.ownerOf(sid), 1)
  t.match(
    await voice(at(two, 1), ringing(sid), sign),
    { status: 403 },
    'at the owner itself the same signature is worth nothing',
  )
  const sent: string[] = []
  const forward = two.links[0]!.forward.bind(two.links[0])
  two.links[0]!.forward = (index, webhook) => {
    sent.push(JSON.stringify(webhook))
    return forward(index, webhook)
  }
  await post(`${at(two, 0).url}/events`, {
    json: { kind: 'call.answered', event_id: 'evt_1', data: { call_id: sid } },
    ...sign,
  })
  const after = new URL(redirectUrl(document.text))
  t.equal(
    (
      await post(`${at(two, 0).url}${after.pathname}${after.search}`, {
        form: { ...ringing(sid), callSessionState: 'Completed' },
      })
    ).status,
    200,
  )
  t.same(two.call(sid).states.slice(-2), ['answered', 'completed'])
  t.equal(sent.length, 2)
  for (const webhook of sent) t.notMatch(webhook, /signature|v1=|[?&]t=/, 'neither signature nor token travels')
})

t.test(
  'a full or draining node passes a new call on, and its webhooks find it there; with all of them full the caller hears the fallback',
  async (t) => {
    const two = await fleet(t, 2)
    at(two, 0).calls.fill()
    const sid = sidOf(0, 2)
    const document = await voice(at(two, 0), ringing(sid))
    t.match(document.text, /<Stream/)
    t.equal(two.ownerOf(sid), 1)
    await voice(at(two, 0), { ...ringing(sid), callSessionState: 'Active' })
    t.ok(two.call(sid).states.includes('answered'), two.call(sid).states.join(' '))
    t.equal(two.links[0]?.ownersOf(sid, null)[0], 1)

    void at(two, 1).calls.drain()
    for (const gateway of two.gateways) {
      const refused = await voice(gateway, ringing(newSid()))
      t.match(refused.text, /All lines are busy/)
      t.notMatch(refused.text, /<Stream/)
    }
  },
)

t.test("a node that is gone or stands still leaves its new calls to the next, and keeps the others'", async (t) => {
  const two = await fleet(t, 2)
  two.switchboard.closed(1)
  const sid = sidOf(1, 2)
  t.match((await voice(at(two, 0), ringing(sid))).text, /<Stream/)
  t.equal(two.ownerOf(sid), 0)
  await two.settled()
  t.same(two.switchboard.started(1).announced, [[sid, 0]], 'it learns at its start which node owns what')
  two.switchboard.opened(1)
  // It is back: what the other took meanwhile stays there.
  await voice(at(two, 0), { ...ringing(sid), callSessionState: 'Active' })
  t.ok(two.call(sid).states.includes('answered'))

  two.frozen.add(1)
  const startedMs = performance.now()
  const other = sidOf(1, 2)
  t.match((await voice(at(two, 0), ringing(other))).text, /<Stream/)
  t.equal(two.ownerOf(other), 0)
  t.ok(performance.now() - startedMs < 4000, 'well within what the carrier waits')
  t.ok((await at(two, 0).metric('mkondo_sibling_webhooks_total{result="unanswered"}')) >= 2)
})

t.test('a call of a node that died is not taken for a new one', async (t) => {
  const two = await fleet(t, 2, { webhookSecrets: [SECRET] })
  const sign = { sign: { secret: SECRET } }
  const sid = sidOf(1, 2)
  const document = await voice(at(two, 0), ringing(sid), sign)
  t.equal(two.ownerOf(sid), 1)
  two.switchboard.closed(1)
  const after = new URL(redirectUrl(document.text))
  t.match(
    (await post(`${at(two, 0).url}${after.pathname}${after.search}`, { form: ringing(sid) })).text,
    /Goodbye\./,
    'its caller is told goodbye by whoever is there',
  )
  const completed = await voice(at(two, 0), { ...ringing(sid), callSessionState: 'Completed' }, sign)
  t.notMatch(completed.text, /<Stream/)
  t.equal(at(two, 0).calls.find(sid), undefined)
})

t.test('a call that a node placed comes back to it', async (t) => {
  const two = await fleet(t, 2)
  two.links[1]?.own('mkondo-order-1', true)
  const sid = sidOf(0, 2)
  await two.settled()
  t.match((await voice(at(two, 0), { ...ringing(sid), clientRequestId: 'mkondo-order-1' })).text, /<Stream/)
  t.equal(two.ownerOf(sid), 1)
})

t.test('audio leads to the owner of the call, and to no other node', async (t) => {
  const two = await fleet(t, 2, {
    nodeUrl: 'https://voice.example.com/p/7',
    publicUrl: 'https://voice.example.com',
    webhookSecrets: [SECRET],
  })
  const sid = sidOf(1, 2)
  const document = (await voice(at(two, 0), ringing(sid), { sign: { secret: SECRET } })).text
  const audio = new URL(attribute(document, 'url'))
  t.equal(audio.origin + audio.pathname, 'wss://voice.example.com/p/7/audio')
  t.match(redirectUrl(document), /^https:\/\/voice\.example\.com\/after-stream/, 'webhooks may come to any')
  t.equal(await upgradeStatus(`${at(two, 0).url.replace('http', 'ws')}/audio${audio.search}`), 403)
  t.match(at(two, 0).logged().at(-1), { reason: 'call-unknown' })
  t.match(
    JSON.stringify(await (await fetch(`${at(two, 0).opsUrl}/api/refusals`)).json()),
    /process 1 has it and not 0: see NODE_URL/,
  )
  const socket = await openSocket(`${at(two, 1).url.replace('http', 'ws')}/audio${audio.search}`)
  socket.terminate()
})

t.test(
  'an answer without a body says nothing of its length, here or forwarded, and the connection goes on',
  async (t) => {
    const two = await fleet(t, 2)
    const body = (sid: string): string =>
      JSON.stringify({ kind: 'call.answered', event_id: `evt ${sid}`, data: { call_id: sid } })
    const head = (text: string, more: string): string =>
      `POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n${more}\r\n${text}`
    const [here, there] = [body(sidOf(0, 2)), body(sidOf(1, 2))]
    const { socket, answer } = rawRequest(at(two, 0).edge.publicPort, head(here, ''))
    await once(socket, 'data')
    socket.write(head(there, ''))
    await once(socket, 'data')
    socket.end()
    const text = await answer
    t.equal(text.match(/HTTP\/1\.1 204/g)?.length, 2, text)
    t.notMatch(text, /content-length/i)
  },
)
