import type { CallTimelineView } from '../../src/call/documents/call-view.js'
import { subscribe } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { createLog } from '../../src/telemetry/log.js'
import { callRecordSchema } from '../../src/call/documents/record.js'
import { timelineSchema } from '../../src/call/documents/call-view.js'
import { startCollector } from '../support/collector.js'
import { callerSays } from '../support/caller-says.js'
import { until } from '../support/until.js'
import { LightCaller, tickAll } from './light-callers.js'
import { lightGateway } from './light-gateway.js'

const SID = 'HD_0000000071ee'

/** Trace contexts that the orders API was given, on this process's own HTTP server. */
const parents: unknown[] = []
subscribe('http.server.request.start', (message) => {
  const { request } = message as { readonly request: IncomingMessage }
  if (request.url?.startsWith('/api/orders') === true) parents.push(request.headers['traceparent'])
})

t.test('a call is found in record, log, exemplars and trace', async (t) => {
  const collector = await startCollector()
  t.teardown(collector.close)
  const lines: string[] = []
  const log = createLog({
    level: 'info',
    components: { workers: 'debug' },
    destination: { write: (line) => void lines.push(line) },
  })
  const gateway = await lightGateway({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }, log)
  t.teardown(() => gateway.close())
  const ops = `http://127.0.0.1:${gateway.opsPort}`
  const words = await callerSays('Where is my order please?')

  const caller = await LightCaller.ring({
    url: gateway.url,
    agent: 'stereo',
    callSid: SID,
    from: '+254700000002',
    stereo: true,
  })
  t.teardown(tickAll([caller]))
  await until(() => caller.heardSamples > 4000, 15_000, 'the greeting')
  await until(() => caller.silent, 15_000, 'its end')
  caller.say(words)
  const timeline = async (): Promise<CallTimelineView> =>
    (await (await fetch(`${ops}/api/calls/${SID}/timeline`)).json()) as CallTimelineView
  let live = await timeline()
  const heard = async (): Promise<boolean> => {
    live = await timeline()
    return live.turns.some((turn) => turn.ear !== undefined)
  }
  await until(heard, 15_000, 'the answer at the ear')

  t.equal(live.live, true)
  timelineSchema.parse(live)
  const names = live.timeline.map((mark) => mark.name)
  const inOrder = [
    'webhook',
    'webhook-answered',
    'socket',
    'first-frame',
    'caller-speech',
    'caller-speech-end',
    'tool-start',
    'tool-end',
    'agent-audio',
    'agent-sound',
  ]
  let from = 0
  for (const name of inOrder) {
    const at = names.indexOf(name, from)
    t.ok(at >= from, `${name} comes when it should: ${names.slice(from).join(' ')}`)
    from = Math.max(from, at)
  }
  for (const name of ['backend-connect', 'backend-ready', 'stream-opened', 'backend-response', 'greeting'])
    t.ok(names.includes(name), name)
  const turn = live.turns.find((made) => made.ear !== undefined)
  t.ok((turn?.ear?.answerMs ?? 0) > (turn?.answerMs ?? Infinity), 'the ear hears it later than it was sent')
  t.ok((turn?.ear?.answerMs ?? Infinity) < (turn?.answerMs ?? 0) + 1500)
  t.match(live.tools, [{ name: 'lookup_order', ok: true }])

  const page = await (await fetch(`${ops}/metrics`)).text()
  const exemplar = page
    .split('\n')
    .find((line) => line.startsWith('mkondo_turn_answer_seconds_bucket') && line.includes(' # '))
  t.ok(exemplar?.includes(`call_sid="${SID}",trace_id="${live.traceId ?? ''}"`), exemplar ?? 'no exemplar')
  t.match(page, /mkondo_turn_answer_ear_seconds_count\{agent="stereo",backend="scripted"\} [1-9]\n/)

  const documented = readFileSync(join(packageRoot(), 'docs', 'METRICS.md'), 'utf8')
  const named = new Set([...documented.matchAll(/`(?:mkondo_)?([a-z0-9_]+)`/g)].map(([, name]) => name))
  for (const [, name = '', kind] of page.matchAll(/^# TYPE mkondo_([a-z0-9_]+) (\w+)$/gm)) {
    t.ok(
      named.has(kind === 'counter' ? `${name}_total`.replace(/_total_total$/, '_total') : name),
      `docs/METRICS.md names ${name}`,
    )
  }

  caller.hangUp()
  await until(() => gateway.calls.record(SID) !== undefined, 10_000, 'the record')
  const ended = await timeline()
  t.equal(ended.live, false)
  t.equal(ended.traceId, live.traceId)
  t.ok(
    ended.timeline.some((mark) => mark.name === 'ended'),
    'the end is in it',
  )
  const record = gateway.calls.record(SID)
  callRecordSchema.parse(JSON.parse(JSON.stringify(record)))
  t.match(record?.wholeCost, { currency: 'USD', amount: null, carrier: { by: 'rates', unknown: /KES to USD/ } })
  // A page of metrics is kept for a moment.
  await until(
    async () =>
      (await (await fetch(`${ops}/metrics`)).text()).includes(
        'mkondo_call_cost_unknown_total{agent="stereo",part="carrier"} 1',
      ),
    10_000,
    'the call to be counted',
  )
  t.match(
    record?.stops.find((stop) => stop.mark === 'ended'),
    { kind: 'hang-up', why: /^caller-hung-up: .*; \d+ ms of stream, [1-9] of [1-9] turns answered/ },
  )

  const ofCall = lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((line) => line['call_sid'] === SID && line['component'] === 'workers')
  t.ok(
    ofCall.length >= 3 && ofCall.every((line) => line['trace_id'] === live.traceId),
    'every line of the call names its trace',
  )
  t.match(
    ofCall.find((line) => line['msg'] === 'call ended'),
    { reason: 'caller-hung-up', turns: Number, tools: 1, answer_p50_ms: Number },
  )
  const isTraced = (name: string): boolean => collector.spans.some((span) => span.name === name)
  for (const name of ['call', 'set-up', 'greeting', 'execute_tool lookup_order', 'turn'])
    await until(() => isTraced(name), 10_000, `the span of ${name}`)
  t.ok(collector.spans.every((span) => span.traceId === live.traceId))
  const tool = collector.spans.find((span) => span.name === 'execute_tool lookup_order')
  t.same(parents, [`00-${live.traceId ?? ''}-${tool?.spanId ?? ''}-01`], "the API's spans are below that of the tool")
})
