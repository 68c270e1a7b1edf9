import { createServer } from 'node:http'
import t from 'tap'
import { FRAME_BOUNDS } from '../../src/telemetry/metrics.js'
import { callerSays } from '../support/caller-says.js'
import { inbound, TestLine } from '../support/host.js'
import { portOf } from '../support/port-of.js'
import { REAL_TIME, startThreads } from '../support/threads.js'
import { until } from '../support/until.js'

const TOOL_MS = 2000
const LAST_BOUND_S = String(FRAME_BOUNDS.at(-1))
const ORDER = '{"orderNumber":"4127","status":"out_for_delivery","eta":"today","courier":null,"items":[]}'

/** Frames of callers: those that were taken within the last bound of their latency, and all. */
function framesOf(page: string): { readonly inTime: number; readonly all: number } {
  const bucket = (le: string): number =>
    Number(
      page
        .split('\n')
        .find(
          (line) => /^mkondo_frame_latency_seconds_bucket\{.*direction="in"/.test(line) && line.includes(`le="${le}"`),
        )
        ?.match(/\} (\d+)/)?.[1] ?? 0,
    )
  return { inTime: bucket(LAST_BOUND_S), all: bucket('+Inf') }
}

t.test('a slow tool delays neither frames nor interruptions', async (t) => {
  let answeredAtMs = Infinity
  const shop = createServer((_request, response) => {
    setTimeout(() => {
      answeredAtMs = Math.min(answeredAtMs, performance.now())
      response.writeHead(200, { 'content-type': 'application/json' }).end(ORDER)
    }, TOOL_MS)
  })
  const test = await startThreads({ env: { SHOP_API_URL: `http://127.0.0.1:${await portOf(t, shop)}` } })
  t.teardown(() => test.close())
  const call = test.host.prepare(inbound('HD_slowtool00001', { from: '' }))
  const line = new TestLine(call, REAL_TIME)
  line.start()
  t.teardown(() => line.stop())
  await line.agentQuiet(600)
  const quiet = framesOf(await test.metrics.render())

  // DTMF digits need no read-back: the look-up begins at once.
  const interruption = await callerSays('Hello? Are you still there?')
  call.text([...'4127#'].map((digit) => ({ type: 'dtmf' as const, digit })))
  const askedAtMs = performance.now()
  await until(() => line.soundSince(askedAtMs), 10_000, 'a filler')
  const fillerAfterMs = performance.now() - askedAtMs
  line.say(interruption)
  await until(() => call.timeline().bargeIns.some(({ committed }) => committed), 10_000, 'the interruption')
  const talkedOver = framesOf(await test.metrics.render())
  await line.agentQuiet(1500)
  line.stop()
  call.detach(1000)

  const record = await test.recordOf(call.callSid)
  const [lookup] = record.toolCalls.filter(({ name }) => name === 'lookup_order')
  t.ok(lookup !== undefined && lookup.ok && lookup.ms >= TOOL_MS, JSON.stringify(lookup))
  t.ok(fillerAfterMs > 600, `a filler after ${fillerAfterMs.toFixed(0)} ms`)
  t.ok(askedAtMs + fillerAfterMs < answeredAtMs, 'and before the tool answered')
  t.ok(
    record.bargeIns.some(({ committed }) => committed),
    'the caller was let speak while the tool ran',
  )
  const said = record.transcript.filter(({ role }) => role === 'agent').map(({ text }) => text)
  t.match(said.join(' '), /4127.*out for delivery/i, 'and was answered')
  // Had ticks waited for the tool, most frames of these two seconds would be later than the last bound.
  const frames = talkedOver.all - quiet.all
  const late = frames - (talkedOver.inTime - quiet.inTime)
  t.ok(frames > 50, `${frames} frames`)
  t.ok(late < frames / 4, `no frame waited for the tool: ${late} of ${frames} were later than ${LAST_BOUND_S} s`)
})
