import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { FRAME_BOUNDS } from '../../src/telemetry/metrics.js'
import { startShopApi } from '../../examples/shop-api/server.js'
import { callerSays } from '../support/caller-says.js'
import { inbound, TestLine } from '../support/host.js'
import { REAL_TIME, startThreads } from '../support/threads.js'
import { until } from '../support/until.js'

// Calls are spoken in real time.
t.setTimeout(150_000)

const TOOL_MS = 2000
const LAST_BOUND_S = FRAME_BOUNDS.at(-1) as number

/** The demo shop behind a line that takes two seconds. */
async function slowShop(): Promise<{
  readonly url: string
  readonly answeredAtMs: () => number
  readonly close: () => Promise<unknown>
}> {
  const shop = await startShopApi({ port: 0, host: '127.0.0.1' })
  let answeredAtMs = Infinity
  const server = createServer((request, response) => {
    setTimeout(() => {
      answeredAtMs = Math.min(answeredAtMs, performance.now())
      fetch(`${shop.url}${request.url ?? ''}`).then(
        async (answer) =>
          response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text()),
        () => response.writeHead(502).end(),
      )
    }, TOOL_MS)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const close = () =>
    Promise.all([
      shop.close(),
      new Promise((resolve) => {
        server.close(resolve)
        server.closeAllConnections()
      }),
    ])
  return { url: `http://127.0.0.1:${port}`, answeredAtMs: () => answeredAtMs, close }
}

/** Frames by their added latency on the way in, in order of the buckets' bounds. */
function latencies(page: string): ReadonlyMap<number, number> {
  const buckets = page
    .split('\n')
    .filter((line) => line.startsWith('mkondo_frame_latency_seconds_bucket{') && line.includes('direction="in"'))
  return new Map(
    buckets.map((line) => [
      Number(/le="([^"]+)"/.exec(line)?.[1]?.replace('+Inf', 'Infinity')),
      Number(/\} (\d+)/.exec(line)?.[1]),
    ]),
  )
}

/** The bucket that 99 % of the frames between two pages are within; milliseconds. */
function p99Ms(before: ReadonlyMap<number, number>, after: ReadonlyMap<number, number>): number {
  const counts = [...after].map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)] as const)
  const all = Math.max(...counts.map(([, count]) => count))
  return 1000 * (counts.find(([, count]) => count >= 0.99 * all)?.[0] ?? Infinity)
}

t.test(
  'a tool that takes two seconds holds up neither frames nor an interruption, and the caller hears words meanwhile',
  async (t) => {
    const shop = await slowShop()
    t.teardown(() => shop.close())
    const test = await startThreads({ env: { SHOP_API_URL: shop.url } })
    t.teardown(() => test.close())
    const call = test.host.prepare(inbound('HD_slowtool00001', { from: '' }))
    const line = new TestLine(call, REAL_TIME)
    line.start()
    t.teardown(() => line.stop())
    await line.agentQuiet(600)
    const quiet = latencies(await test.metrics.render())

    // DTMF digits need no read-back: the look-up begins at once.
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
    t.ok(fillerAfterMs > 600, `a filler after ${fillerAfterMs.toFixed(0)} ms`)
    t.ok(askedAtMs + fillerAfterMs < shop.answeredAtMs(), 'and before the tool answered')
    t.ok(
      record.bargeIns.some(({ committed }) => committed),
      'the caller was let speak while the tool ran',
    )
    const said = record.transcript
      .filter(({ role }) => role === 'agent')
      .map(({ text }) => text)
      .join(' ')
    t.match(said, /4127.*out for delivery/i, 'and was answered')
    const figures = [p99Ms(new Map(), quiet), p99Ms(quiet, talkedOver), p99Ms(talkedOver, end)].map((ms) =>
      ms.toFixed(0),
    )
    t.comment(
      `frames within, p99: ${figures[0] ?? ''} ms before, ${figures[1] ?? ''} ms while the tool ran, ${figures[2] ?? ''} ms after`,
    )
    // Had ticks waited for the tool, most frames of these two seconds would be later than the last bound.
    const between = (bound: number): number => (talkedOver.get(bound) ?? 0) - (quiet.get(bound) ?? 0)
    const late = between(Infinity) - between(LAST_BOUND_S)
    t.ok(between(Infinity) > 50, `${between(Infinity)} frames`)
    t.ok(
      late < between(Infinity) / 4,
      `no frame waited for the tool: ${late} of ${between(Infinity)} were later than ${1000 * LAST_BOUND_S} ms`,
    )
  },
)
