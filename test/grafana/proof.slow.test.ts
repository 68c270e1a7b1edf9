import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parse } from 'yaml'
import t from 'tap'
import { startPayDemo } from '../../examples/pay-api/demo.js'
import { packageRoot } from '../../src/config/package-root.js'
import { createLog } from '../../src/telemetry/log.js'
import { post } from '../edge/gateway.js'
import { KEY, OUR_NUMBER, simulatedApi } from '../support/carrier-api.js'
import { callerSays } from '../support/caller-says.js'
import { until } from '../support/until.js'
import { LightCaller, tickAll } from './light-callers.js'
import { lightGateway } from './light-gateway.js'
import type { AgentParts } from './light-gateway.js'
import { boards, filled } from './panels.js'
import { Prometheus, installed } from './prometheus.js'

const CALLS = 20
/** How far back range queries look: the whole test and more. */
const RANGE_S = 90
const RULES = ['recording.rules.yml', 'alerts.rules.yml'].map((file) =>
  join(packageRoot(), 'deploy', 'prometheus', file),
)

/** One number, called once, at any hour. */
const REMINDERS = {
  name: 'reminders',
  agent: 'paying',
  window: '00:00-24:00',
  timeZone: 'Africa/Nairobi',
  tries: 1,
  csv: 'to\n+254700000099\n',
}

// The protocol's own server for clients to be tried with.
const EVERYTHING = join(packageRoot(), 'node_modules/@modelcontextprotocol/server-everything/dist/index.js')

/** Takes payments by a tool that waits, in two stages, has a tool of an MCP server, and places calls. */
const payingAgent = (payUrl: string): AgentParts => ({
  outbound: { from: OUR_NUMBER },
  stages: {
    pay: { instructions: 'Take the payment.', next: { paid: { on: { tool: 'request_payment' } } } },
    paid: { instructions: 'Say thank you.', final: true },
  },
  mcp: [{ name: 'every', command: [process.execPath, EVERYTHING, 'stdio'], tools: ['echo'] }],
  tools: [
    {
      name: 'request_payment',
      description: 'Sends a payment prompt to the caller.',
      parameters: { properties: { order: { type: 'string' } } },
      http: {
        method: 'POST',
        url: `${payUrl}/payments`,
        body: { order: '{{args.order}}', phone: '{{call.from}}', callback: '{{continue.url}}' },
      },
      waits: { for: '30s' },
    },
  ],
})

const sidOf = (index: number): string => `HD_${(0xab0000000000 + index).toString(16)}`
/** Roles of the scripted backend: a tool, a human wanted, a death, a long answer, a payment; the rest is plain. */
const ROLES = ['01', '02', '03', '04', '05', '06', '02', '04']
const PAYS = '06'
/** From the prompt on the payer's phone to the PIN. */
const PIN_MS = 1000

/** Counters that such a run must have moved; underruns and drops only happen when something is wrong. */
const FED = [
  'mkondo_calls_total',
  'mkondo_calls_refused_total',
  'mkondo_call_capacity_remaining',
  'mkondo_frame_latency_seconds_count{direction="in"}',
  'mkondo_frame_latency_seconds_count{direction="out"}',
  'mkondo_turn_response_seconds_count',
  'mkondo_turn_answer_seconds_count',
  'mkondo_turn_response_ear_seconds_count',
  'mkondo_turn_answer_ear_seconds_count',
  'mkondo_barge_ins_total',
  'mkondo_agent_turns_total{heard="yes"}',
  'mkondo_agent_speech_heard_seconds_total',
  'mkondo_barge_in_stop_seconds_count',
  'mkondo_tick_lateness_seconds_count{worker="0"}',
  'mkondo_tick_lateness_seconds_count{worker="main"}',
  'mkondo_tick_seconds_count{worker="0"}',
  'mkondo_backend_connect_seconds_count',
  'mkondo_backend_errors_total',
  'mkondo_backend_failovers_total',
  'mkondo_tool_seconds_count{outcome="ok"}',
  'mkondo_tool_wait_seconds_count{outcome="succeeded"}',
  'mkondo_stage_ends_total{stage="paid"}',
  'mkondo_carrier_api_requests_total{result="sent"}',
  'mkondo_carrier_wallet_minor',
  'mkondo_outbound_calls_total{result="placed"}',
  'mkondo_campaign_tries_total{result="busy"}',
  'mkondo_claims_total{verdict="done"}',
  'mkondo_claims_total{verdict="not-called"}',
  'mkondo_escalations_total',
  'mkondo_webhook_seconds_count',
  'mkondo_webhook_rejected_total',
  'mkondo_stream_setup_seconds_count',
  'mkondo_greeting_seconds_count',
  'mkondo_carrier_frames_total{direction="in"}',
  'mkondo_carrier_frames_total{direction="out"}',
  'mkondo_sockets_closed_total',
  'mkondo_workers',
  'mkondo_scrapes_total',
  'nodejs_eventloop_lag_p99_seconds',
  'nodejs_gc_duration_seconds_count',
  'process_cpu_seconds_total',
]

/** Counters that such a run must not move. */
const IDLE = [
  'mkondo_tool_wait_seconds_count{outcome="expired"}',
  'mkondo_campaign_tries_total{result="failed"}',
  'mkondo_campaigns_paused_total',
  'mkondo_store_lost_total',
]

t.test(
  'promtool accepts the configuration and fires every alert',
  {
    skip: installed('promtool') ? false : "NOT CHECKED: Debian's package prometheus is not installed",
  },
  async (t) => {
    const folder = join(packageRoot(), 'deploy', 'prometheus')
    for (const args of [
      ['check', 'config', '--syntax-only', 'prometheus.yml'],
      ['check', 'rules', 'recording.rules.yml', 'alerts.rules.yml'],
      ['test', 'rules', 'alerts.test.yml'],
    ]) {
      const run = spawnSync('promtool', args, { cwd: folder, encoding: 'utf8' })
      t.equal(run.status, 0, `promtool ${args.join(' ')}\n${run.stdout}${run.stderr}`)
    }
  },
)

t.test(
  'every panel and every rule has data',
  {
    skip: installed('prometheus') ? false : "NOT PROVEN: Debian's package prometheus is not installed",
  },
  async (t) => {
    const pay = await startPayDemo({ pinMs: PIN_MS, payer: () => 'pays' })
    t.teardown(() => pay.close())
    // Whoever the gateway calls is on the phone.
    const carrier = await simulatedApi(t, {
      place: ({ from, to, voiceUrl }) => {
        const callSid = sidOf(100)
        const form = { sessionId: callSid, callerNumber: from, destinationNumber: to, callSessionState: 'Busy' }
        setTimeout(() => void post(voiceUrl, { form: { ...form, direction: 'outbound' } }), 100)
        return callSid
      },
    })
    const gateway = await lightGateway(
      { MAX_CALLS: String(CALLS), SAUTIKIT_API_URL: carrier.server.origin, SAUTIKIT_API_KEY: KEY },
      createLog({ level: 'silent' }),
      { paying: payingAgent(pay.url) },
    )
    t.teardown(() => gateway.close())
    const prometheus = await Prometheus.start(gateway.opsPort, RULES)
    t.teardown(() => prometheus.stop())
    const words = await callerSays('Where is my order please?')
    // Series that begin at nothing are scraped before anything happens; Prometheus finds its targets seconds after its
    // start.
    const scrapes = async (): Promise<number> =>
      (await prometheus.query('min(sum_over_time(up[1h]))', null))[0]?.values[0] ?? 0 // those that failed are zeros
    /** Waits until all events so far are in two samples of Prometheus. */
    const scraped = async (): Promise<void> => {
      const before = await scrapes()
      await until(async () => (await scrapes()) >= before + 2, 60_000, 'two scrapes')
    }
    await scraped()

    const campaigns = `http://127.0.0.1:${gateway.opsPort}/api/campaigns`
    const made = await post(campaigns, { json: REMINDERS })
    t.equal(made.status, 201, made.text)
    t.equal((await post(`${campaigns}/reminders/start`, { json: {} })).status, 200)
    const stands = async (): Promise<unknown> => (await fetch(`${campaigns}/reminders`)).json()
    await until(async () => ((await stands()) as { stands: string }).stands === 'done', 20_000, 'the campaign')
    t.match(await stands(), { results: { busy: 1 } })

    const callers: LightCaller[] = []
    const stopTicking = tickAll(callers)
    t.teardown(stopTicking)
    for (let i = 0; i < CALLS; i++) {
      const stereo = i >= CALLS - 4
      const role = stereo ? '01' : (ROLES[i % ROLES.length] ?? '01')
      if (i === CALLS / 2) await scraped() // what happens between two scrapes only is no rate
      callers.push(
        await LightCaller.ring({
          url: gateway.url,
          agent: stereo ? 'stereo' : role === PAYS ? 'paying' : 'light',
          callSid: sidOf(i),
          stereo,
          from: `+2547000000${role}`,
        }),
      )
    }
    // Refusals: no remaining capacity, a false token, a webhook that is malformed.
    const refused = { url: gateway.url, agent: 'light', callSid: sidOf(99), from: '+254700000001', stereo: false }
    await t.rejects(LightCaller.ring(refused), 'no capacity remains for one more call')
    await post(`${gateway.url}/voice/light`, { body: 'not a webhook', headers: { 'content-type': 'text/plain' } })
    await until(() => callers.every((caller) => caller.heardSamples > 4000), 20_000, 'every caller to be greeted')

    const live = new Set(callers.map((caller) => caller.callSid))
    for (let turn = 0; turn < 3; turn++) {
      // Half of them begin a turn later: what happens to all in one second is no rate.
      for (const [index, caller] of callers.entries()) if (turn > 0 || index >= CALLS / 2) caller.say(words)
      await sleep(words.length / 16 + 1700)
    }
    const barged = [...gateway.calls.live()].filter((call) => call.timeline().bargeIns.some((made) => made.committed))
    t.ok(barged.length > 0, 'somebody spoke over the agent')
    await scraped()

    const variables = {
      datasource: 'prometheus',
      node: '.*',
      agent: '.*',
      __rate_interval: '15s',
      __range: `${RANGE_S}s`,
      // The first live one: plain, answered in every turn.
      call_sid: [...gateway.calls.live()].find((call) => call.timeline().bargeIns.length > 0)?.callSid ?? sidOf(0),
      ops_url: `http://127.0.0.1:${gateway.opsPort}`,
      logs_url: 'http://127.0.0.1/logs?q=',
    }
    const pages = await prometheus.targets()
    t.equal(pages.length, 2)
    // A busy machine may be late with one scrape.
    const unread = pages.filter(({ health, lastError }) => health !== 'up' && !/deadline exceeded/.test(lastError))
    t.same(unread, [], 'both pages are what Prometheus reads')

    await t.test('exemplars name live calls', async (t) => {
      for (const { file, board } of boards) {
        for (const panel of board.panels) {
          for (const target of panel.targets ?? []) {
            if (target.exemplar !== true) continue
            const found = await prometheus.exemplars(filled(target.expr, variables), RANGE_S)
            t.ok(found.length > 0, `${file}: ${panel.title} has exemplars`)
            t.same(
              found.filter(({ labels }) => !live.has(labels['call_sid'] ?? '')),
              [],
              `${file}: ${panel.title} names live calls`,
            )
          }
        }
      }
    })

    for (const caller of callers.slice(CALLS / 2)) caller.hangUp()
    await scraped()
    for (const caller of callers) caller.hangUp()
    await until(() => gateway.calls.free === CALLS, 15_000, 'all calls to end')
    await scraped()

    await t.test('every metric of the contract has values', async (t) => {
      for (const name of FED) {
        const [total] = await prometheus.query(`sum(${name})`, null)
        t.ok((total?.values[0] ?? 0) > 0, name)
      }
    })

    await t.test('a counter without events is exported as 0', async (t) => {
      for (const name of IDLE) t.equal((await prometheus.query(`sum(${name})`, null))[0]?.values[0], 0, name)
    })

    await t.test('every panel has data', async (t) => {
      for (const { file, board } of boards) {
        for (const panel of board.panels) {
          for (const target of panel.targets ?? []) {
            const series = await prometheus.query(
              filled(target.expr, variables),
              target.instant === true ? null : RANGE_S,
            )
            const withData = series.filter(({ values }) => values.length > 0)
            if (withData.length === 0)
              t.fail(`${file}: ${panel.title} (${target.refId}) shows nothing`, { expr: target.expr })
            else t.pass(`${file}: ${panel.title} (${target.refId})`)
          }
        }
      }
    })

    await t.test('every rule is healthy and has data', async (t) => {
      const rules = await prometheus.rules()
      t.same(
        rules.filter((rule) => rule.health !== 'ok'),
        [],
        'Prometheus could evaluate every rule',
      )
      for (const path of RULES) {
        const { groups } = parse(readFileSync(path, 'utf8')) as {
          groups: { rules: { alert?: string; record?: string; expr: string }[] }[]
        }
        for (const rule of groups.flatMap((group) => group.rules)) {
          const name = rule.alert ?? rule.record ?? ''
          const series = await prometheus.query(judged(rule.expr), RANGE_S)
          if (series.some(({ values }) => values.length > 0)) t.pass(name)
          else t.fail(`${name} looks at nothing`, { expr: judged(rule.expr) })
        }
      }
    })
  },
)

/**
 * An alert's expression with its comparisons answered by 0 and 1 in place of being kept silent: it has data where what
 * it looks at has. What `absent` asks for must be there.
 */
function judged(expr: string): string {
  return expr
    .replace(/absent\(([^)]*)\)/g, '$1')
    .replace(/(\{[^}]*\})|(==|!=|>=|<=|>|<)/g, (whole, braces: string | undefined) =>
      braces === undefined ? `${whole} bool` : whole,
    )
}
