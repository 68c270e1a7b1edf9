import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { startShopApi } from '../../examples/shop-api/server.js'
import { TestLine, callerSays, sid, startHost, until } from '../support/host.js'

// Calls are spoken in real time.
t.setTimeout(60_000)

const TOOL_MS = 2000

/** The demo shop behind a line that takes two seconds. */
async function slowShop(): Promise<{ readonly url: string; readonly close: () => Promise<unknown> }> {
  const shop = await startShopApi({ port: 0, host: '127.0.0.1' })
  const server = createServer((request, response) => {
    setTimeout(() => {
      fetch(`${shop.url}${request.url ?? ''}`).then(
        async (answer) => response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text()),
        () => response.writeHead(502).end(),
      )
    }, TOOL_MS)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const close = () => Promise.all([shop.close(), new Promise((resolve) => {
    server.close(resolve)
    server.closeAllConnections()
  })])
  return { url: `http://127.0.0.1:${port}`, close }
}

/** Frames by their added latency on the way in, in order of the buckets' bounds. */
function latencies(page: string): ReadonlyMap<number, number> {
  const found = [...page.matchAll(/mkondo_frame_latency_seconds_bucket\{[^}]*le="([\d.]+)"[^}]*direction="in"[^}]*\} (\d+)|mkondo_frame_latency_seconds_bucket\{[^}]*direction="in"[^}]*le="([\d.]+)"[^}]*\} (\d+)/g)]
  return new Map(found.map(([, a, b, c, d]) => [Number(a ?? c), Number(b ?? d)]))
}

/** The bucket that 99 % of the frames between two pages are within; milliseconds. */
function p99Ms(before: ReadonlyMap<number, number>, after: ReadonlyMap<number, number>): number {
  const counts = [...after].map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)] as const)
  const all = Math.max(...counts.map(([, count]) => count))
  return 1000 * (counts.find(([, count]) => count >= 0.99 * all)?.[0] ?? Infinity)
}

t.test('a tool that takes two seconds holds up neither frames nor an interruption, and the caller hears words meanwhile', async (t) => {
  const shop = await slowShop()
  t.teardown(() => shop.close())
  const test = await startHost({ env: { SHOP_API_URL: shop.url } })
  t.teardown(() => test.close())
  const call = test.host.prepare({
    callSid: sid('HD_slowtool00001'), agent: 'order-status', from: '', to: '+254709000000', direction: 'inbound',
  })
  const line = new TestLine(call)
  line.start()
  t.teardown(() => line.stop())
  await line.agentQuiet(600)
  const quiet = latencies(await test.metrics.render())

  // Keys need no read-back: the look-up begins at once.
  const interruption = await callerSays('Hello? Are you still there?')
  call.text([...'4127#'].map((digit) => ({ type: 'dtmf' as const, digit })))
  const askedAtMs = performance.now()
  await until(() => line.soundSince(askedAtMs), 10_000, 'a filler')
  const fillerAfterMs = performance.now() - askedAtMs
  line.say(interruption)
  await until(() => call.timeline().bargeIns.some(({ committed }) => committed), 10_000, 'the interruption')
  const talkedOver = latencies(await test.metrics.render())
  await line.agentQuiet(1500)
  const end = latencies(await test.metrics.render())
  line.stop()
  call.detach(1000)

  const record = await test.recordOf(call.callSid)
  const [lookup] = record.toolCalls.filter(({ name }) => name === 'lookup_order')
  t.ok(lookup !== undefined && lookup.ok && lookup.ms >= TOOL_MS, JSON.stringify(lookup))
  t.ok(fillerAfterMs > 600 && fillerAfterMs < 1900, `a filler after ${fillerAfterMs.toFixed(0)} ms: before the tool answered`)
  t.ok(record.bargeIns.some(({ committed }) => committed), 'the caller was let speak while the tool ran')
  const said = record.transcript.filter(({ role }) => role === 'agent').map(({ text }) => text).join(' ')
  t.match(said, /4127.*out for delivery/i, 'and was answered')
  const figures = [p99Ms(new Map(), quiet), p99Ms(quiet, talkedOver), p99Ms(talkedOver, end)].map((ms) => ms.toFixed(0))
  t.comment(`frames within, p99: ${figures[0] ?? ''} ms before, ${figures[1] ?? ''} ms while the tool ran, ${figures[2] ?? ''} ms after`)
  // A tick that waited for the tool would show as hundreds of milliseconds.
  t.ok(p99Ms(quiet, talkedOver) <= 250, 'no frame waited for the tool')
})
