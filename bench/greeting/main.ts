import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Target } from '../flood/main.js'
import { judged } from '../kit/command.js'
import { columns } from '../terminal.js'

const HELP = `npm run bench -- --greeting [--calls N] [--json FILE]
  The time from the webhook to the first sound of the greeting, of an agent that looks its callers up beside the same agent without
  it, in turn at one gateway: the API answers at once, after 40 ms, with an error, or too late. The stream opens at once, so that all
  of a look-up shows. About 2 minutes.
  --calls N    of each agent (default 200)
  --json FILE  where results go (default bench/results/)`

const WITHIN_MS = 300
/**
 * Maximum delay in ms of a greeting, at p50 and p99. It counts from the control's greeting, or from the answer of the
 * look-up's API if that is later.
 */
const MORE_MS_MAX = 20

interface Api {
  readonly agent: string
  readonly what: string
  readonly afterMs: number
  readonly status: number
}
const CONTROL: Api = { agent: 'tone', what: 'no look-up', afterMs: 0, status: 0 }
const APIS: readonly Api[] = [
  { agent: 'at-once', what: 'answers at once', afterMs: 0, status: 200 },
  { agent: 'soon', what: 'answers after 40 ms', afterMs: 40, status: 200 },
  { agent: 'broken', what: 'answers 500', afterMs: 0, status: 500 },
  { agent: 'late', what: `answers after 3 s, withinMs ${WITHIN_MS}`, afterMs: 3000, status: 200 },
]

interface Row extends Api {
  readonly p50Ms: number
  readonly p99Ms: number
}

/** Compares greetings of agents that look up their callers with the greeting of an agent that does not. */
export const greetingBench = judged('greeting', HELP, {}, { calls: [200, 10, 5000] }, async ({ calls }, { show }) => {
  const api = createServer((request, response) => {
    const its = APIS.find(({ agent }) => request.url?.startsWith(`/${agent}`) === true)
    void sleep(its?.afterMs ?? 0).then(() => {
      response.writeHead(its?.status ?? 404, { 'content-type': 'application/json' }).end('{"name":"Amina"}')
    })
  })
  await new Promise<void>((listening) => api.listen(0, '127.0.0.1', listening))
  const base = `http://127.0.0.1:${(api.address() as AddressInfo).port}`
  const agents = Object.fromEntries(APIS.map(({ agent }) => [agent, knows(`${base}/${agent}`)]))
  const target = await Target.start(undefined, { MAX_CALLS: '400' }, agents)
  const times = new Map([CONTROL, ...APIS].map(({ agent }) => [agent, [] as number[]]))
  try {
    for (let call = 0; call < calls; call++) {
      show(`call ${call + 1} of ${calls} to each of ${times.size} agents`)
      for (const [agent, its] of times) its.push(await target.greetingMs(agent))
    }
  } finally {
    await target.stop()
    api.closeAllConnections()
    api.close()
  }
  const rows = [CONTROL, ...APIS].map((one): Row => {
    const its = (times.get(one.agent) ?? []).toSorted((a, b) => a - b)
    const at = (share: number): number => its[Math.max(0, Math.ceil(its.length * share) - 1)] ?? 0
    return { ...one, p50Ms: at(0.5), p99Ms: at(0.99) }
  })
  const [control, ...known] = rows as [Row, ...Row[]]
  const missed = known.flatMap(({ what, afterMs, p50Ms, p99Ms }) => {
    const more = Math.max(p50Ms - control.p50Ms, p99Ms - control.p99Ms)
    const allowed = Math.max(0, Math.min(afterMs, WITHIN_MS) - control.p50Ms) + MORE_MS_MAX
    return more > allowed ? [`NOT MET: ${what}: ${more.toFixed(0)} ms more (at most ${allowed.toFixed(0)})`] : []
  })
  const table = columns(
    rows,
    ['API', ({ what }) => what],
    ['p50 ms', ({ p50Ms }) => p50Ms.toFixed(1)],
    ['p99 ms', ({ p99Ms }) => p99Ms.toFixed(1)],
  )
  const head = `\nwebhook to the first sound of the greeting, ${calls} calls each, in turn`
  return { ok: missed.length === 0, lines: [head, ...table, ...missed], results: { calls, rows } }
})

/** Part of an agent's file that looks up the agent's callers. */
function knows(url: string): string {
  return `greeting: "Hello {{caller.name}}."
caller: { tool: lookup_customer, withinMs: ${WITHIN_MS} }
tools:
  - name: lookup_customer
    description: The customer whose number this is.
    parameters: { required: [phone], properties: { phone: { type: string } } }
    bind: { phone: '{{call.from}}' }
    http: { url: '${url}', query: { phone: '{{args.phone}}' }, timeoutMs: 2000, allowPrivate: true }
    result: { fields: { name: name } }
`
}
