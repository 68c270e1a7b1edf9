import t from 'tap'
import type { KeptWait } from '../../src/call/documents/kept-call.js'
import type { Test } from 'tap'
import { agentSchema } from '../../src/agents/file/definition.js'
import type { AgentInput } from '../../src/agents/file/definition.js'
import { WAIT_GRACE_MS } from '../../src/core/limits.js'
import { HttpClient } from '../../src/http/http-client.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import type { MainThings } from '../../src/workers/main/call/main-part.js'
import { CallWaits } from '../../src/workers/main/call/parts/call-waits.js'
import type { WaitUnheard } from '../../src/workers/main/wait-status.js'
import { Waits } from '../../src/workers/main/waits.js'
import type { ToCall } from '../../src/workers/shared/call-messages.js'
import { api, json } from '../agents/tool-rig.js'
import { keptCall } from '../support/kept-call.js'
import { until } from '../support/until.js'

type ToolInput = NonNullable<AgentInput['tools']>[number]

const INTENT = { type: 'tool-intent', key: 'k', tool: 'pay', callId: 't1', args: {} } as const

/** The waits of a call whose agent has one tool, `pay`, on a clock that the test moves. */
function rig(
  t: Test,
  tool: Partial<ToolInput> = {},
  saved: () => Promise<boolean> = () => Promise.resolve(true),
  kept: readonly KeptWait[] = [],
): {
  waits: CallWaits
  shared: Waits
  clock: { ms: number }
  toSession: unknown[]
  settled: unknown[]
  unheard: WaitUnheard[]
  /** The tool is asked. @returns what its URL ends with */
  open: () => string
  /** And says that its outcome comes later. */
  pending: () => void
  id: () => string
  /** The call is handed over to an agent with another tool of that name. */
  handOver: (tool: Partial<ToolInput>) => void
} {
  const agentWith = (tool: Partial<ToolInput>) =>
    agentSchema.parse({
      version: 1,
      name: 'shop',
      instructions: 'x',
      tools: [
        {
          name: 'pay',
          description: 'x',
          http: { method: 'POST', url: 'https://pay.example/p', body: { to: '{{continue.url}}' } },
          waits: { for: '90s' },
          ...tool,
        },
      ],
    })
  const had = [agentWith(tool)]
  const agent = had.at(-1) as ReturnType<typeof agentWith>
  const client = new HttpClient()
  t.teardown(() => client.close())
  const unheard: WaitUnheard[] = []
  const metrics = new Metrics({ version: '0', processMetrics: false })
  const shared = new Waits({ client, env: {}, metrics, unheard: (news) => unheard.push(news) })
  const clock = { ms: 1_790_000_000_000 }
  const toSession: unknown[] = []
  const settled: unknown[] = []
  const waits = new CallWaits(
    {
      mark: () => undefined,
      changed: () => undefined,
      send: (message) => {
        if (message.type === 'tool-intent') return void toSession.push(message.answer)
        const { callId, status, value } = message as Extract<ToCall, { type: 'tool-outcome' }>
        toSession.push({ callId, status, value })
      },
    },
    {
      call: { callSid: 'HD_000000000001', continueUrl: (id: string) => id },
      origin: { call: {}, number: '+254700000001', ours: '+254700000002', before: { kept: { waits: kept } } },
      agent: {
        ...{ definition: agent, business: null },
        get place() {
          return had.length - 1
        },
        toolOf: (name: string, place = had.length - 1) => had[place]?.tools.find((one) => one.name === name),
      },
      session: { language: 'sw', identity: null },
      effects: {
        intend: () => Promise.resolve({ type: 'run' }),
        settle: (key: string, outcome: unknown) => settled.push({ key, outcome }),
      },
      context: { waits: shared, wallClock: () => clock.ms, keeper: { saved } },
    } as unknown as MainThings,
  )
  const open = (): string => {
    waits.begun(null)
    return waits.open(INTENT, (id) => id)?.continueUrl ?? ''
  }
  return {
    ...{ waits, shared, clock, toSession, settled, unheard },
    open,
    pending: () => {
      open()
      waits.pending({ type: 'tool-pending', key: 'k', waitMs: 90_000, id: 'ws_1' })
    },
    id: () => waits.kept()[0]?.id ?? '',
    handOver: (tool) => had.push(agentWith(tool)),
  }
}

const PAID = { status: 'succeeded', result: { receipt: 'QX1' } } as const

t.test('an outcome is taken once, a different one refused [2]', async (t) => {
  const { waits, shared, clock, toSession, settled, pending, id } = rig(t)
  pending()
  t.ok(waits.active)
  t.equal(shared.pending, 1)
  clock.ms += 18_000
  t.equal(await waits.news(id(), PAID), 'taken')
  t.equal(await waits.news(id(), PAID), 'repeated')
  t.equal(await waits.news(id(), { status: 'failed', result: 1032 }), 'conflict')
  t.equal(await waits.news('another', PAID), 'late')
  t.same(toSession, [{ callId: 't1', status: 'succeeded', value: { receipt: 'QX1' } }])
  t.same(settled, [{ key: 'k', outcome: { ok: true, value: { receipt: 'QX1' } } }])
  t.notOk(waits.active)
  t.equal(shared.pending, 0)
  waits.session({ type: 'wait', callId: 't1', state: 'told' })
  t.match(waits.inRecord().waits, [{ tool: 'pay', status: 'succeeded', ms: 18_000, late: false, told: true }])
})

t.test('an outcome is filtered by the agent whose tool waits', async (t) => {
  const one = rig(t, { result: { fields: { receipt: 'receipt' } } })
  one.pending()
  one.handOver({ result: { fields: { amount: 'amount' } } })
  t.equal(await one.waits.news(one.id(), { status: 'succeeded', result: { receipt: 'QX1', amount: 5 } }), 'taken')
  t.match(one.toSession, [{ value: { receipt: 'QX1' } }])
  t.equal(one.waits.kept()[0]?.askedBy, 0, 'and at the next node')
})

t.test('an outcome that arrives early waits for the response [1]', async (t) => {
  const { waits, toSession, open } = rig(t)
  const continueUrl = open()
  t.equal(await waits.news(continueUrl, PAID), 'taken')
  t.same(toSession, [], 'the session does not know of a wait yet')
  waits.pending({ type: 'tool-pending', key: 'k', waitMs: 90_000, id: '' })
  t.match(toSession, [{ status: 'succeeded' }])
})

t.test('a tool that answers immediately does not wait', async (t) => {
  const { waits, open } = rig(t)
  const continueUrl = open()
  waits.answered('k')
  t.equal(await waits.news(continueUrl, PAID), 'late')
  t.same(waits.inRecord().waits, [])
  t.same(
    waits.open({ ...INTENT, tool: 'look_up' }, (id) => id),
    null,
    'and another tool gets no URL',
  )
})

t.test('a wait is stored before its request is sent [6]', async (t) => {
  const kept: unknown[] = []
  const { waits, toSession } = rig(t, {}, () => {
    kept.push({ phases: waits.kept().map(({ phase }) => phase), sent: toSession.length })
    return Promise.resolve(false)
  })
  waits.begun(null)
  await waits.intended({ ...INTENT, tool: 'look_up' })
  t.same(kept, [], 'a tool that does not wait needs no write')
  await waits.intended(INTENT)
  t.same(kept, [{ phases: ['asked'], sent: 1 }])
  t.match(toSession, [{ type: 'run' }, { type: 'run', continueUrl: /./ }], 'also where it could not be kept')
})

t.test('after a hang-up the outcome becomes a message [3]', async (t) => {
  const { waits, clock, toSession, unheard, pending, id } = rig(t)
  pending()
  clock.ms += 5000
  waits.ended()
  t.ok(waits.active, 'the call is not over')
  t.same(unheard, [])
  clock.ms += 13_000
  await waits.news(id(), PAID)
  t.same(toSession, [])
  t.match(unheard, [
    { tool: 'pay', status: 'succeeded', result: { receipt: 'QX1' }, from: '+254700000001', agent: 'shop', ms: 18_000 },
  ])
  t.match(waits.inRecord().waits, [{ status: 'succeeded', told: false }])
})

t.test('an outcome not spoken before the end is sent', async (t) => {
  const one = rig(t)
  one.pending()
  await one.waits.news(one.id(), PAID)
  one.waits.ended()
  one.waits.ended()
  t.equal(one.unheard.length, 1)
  const other = rig(t)
  other.pending()
  await other.waits.news(other.id(), PAID)
  other.waits.session({ type: 'wait', callId: 't1', state: 'told' })
  other.waits.ended()
  t.same(other.unheard, [])
})

t.test('an expired wait has its own outcome', async (t) => {
  const { waits, clock, unheard, pending, id } = rig(t)
  pending()
  clock.ms += 90_000
  waits.wake()
  t.ok(waits.active, 'the conversation waits no more, and an outcome still counts')
  clock.ms += WAIT_GRACE_MS + 1
  waits.wake()
  t.notOk(waits.active)
  t.equal(await waits.news(id(), PAID), 'late')
  waits.ended()
  t.match(unheard, [{ status: 'expired', result: null }])
})

t.test('an outcome is acknowledged only when stored [7]', async (t) => {
  const asked: ((kept: boolean) => void)[] = []
  const { waits, clock, toSession, unheard, pending, id } = rig(t, {}, () => new Promise((tell) => asked.push(tell)))
  pending()
  const first = waits.news(id(), PAID)
  t.match(toSession, [{ status: 'succeeded' }], 'the session has it at once')
  asked.shift()?.(false)
  t.equal(await first, 'unkept', 'the store is down')
  t.equal(await waits.news(id(), { status: 'failed', result: 1 }), 'conflict')
  const again = waits.news(id(), PAID)
  waits.ended()
  t.ok(waits.active, 'the caller has left, and the call is not over before its outcome is kept')
  t.same(unheard, [])
  asked.shift()?.(true)
  t.equal(await again, 'repeated')
  t.equal(unheard.length, 1, 'the message follows')
  t.notOk(waits.active)
  clock.ms += 60_000
  waits.wake()
  t.same(asked, [], 'and nothing more is to be kept')
})

t.test('a repeated post at the next node sends one message', async (t) => {
  const first = rig(t, {}, () => Promise.resolve(false))
  first.pending()
  t.equal(await first.waits.news(first.id(), PAID), 'unkept', 'the store has it all the same')
  const second = rig(t, {}, () => Promise.resolve(true), first.waits.kept())
  t.equal(await second.waits.news(first.id(), PAID), 'repeated')
  second.waits.ended()
  t.equal(await second.waits.news(first.id(), PAID), 'repeated')
  t.equal(second.unheard.length, 1)
  t.same(first.unheard, [])
})

t.test('an unstored outcome is stored later or sent [8]', async (t) => {
  let down = true
  let asked = 0
  const saved = (): Promise<boolean> => Promise.resolve((asked++, !down))
  const one = rig(t, {}, saved)
  const other = rig(t, {}, saved)
  for (const { waits, pending, id } of [one, other]) {
    pending()
    waits.ended()
    t.equal(await waits.news(id(), PAID), 'unkept')
    waits.wake()
  }
  t.equal(asked, 2, 'the store has a second')
  one.clock.ms += 1001
  down = false
  one.waits.wake()
  await until(() => one.unheard.length === 1, 5000, 'the message')
  t.notOk(one.waits.active)
  down = true
  other.clock.ms += 90_000 + WAIT_GRACE_MS + 1
  other.waits.wake()
  t.match(other.unheard, [{ status: 'succeeded' }], 'the store did not come back')
  t.notOk(other.waits.active)
})

t.test('a repeated post after the call gets the same answer', async (t) => {
  const { waits, shared, pending, id } = rig(t, { result: { fields: { receipt: 'receipt' } } })
  pending()
  const waitId = id()
  await waits.news(waitId, PAID)
  waits.release()
  t.equal(shared.late(waitId, { status: 'succeeded', result: { receipt: 'QX1', at: 2 } }), 'repeated')
  t.equal(shared.late(waitId, { status: 'failed', result: 1032 }), 'conflict')
  t.equal(shared.late('another', PAID), 'late')
})

t.test("a dead worker's pending request becomes a wait [4]", async (t) => {
  const { waits, toSession, clock, open } = rig(t)
  const continueUrl = open()
  t.notOk(waits.active)
  clock.ms += 2000
  const running = { callId: 't1', name: 'pay', args: {}, startMs: 5000 }
  const other = { callId: 't2', name: 'look_up', args: {}, startMs: 6000 }
  const { session } = keptCall()
  if (session === null) throw new Error('no session')
  const { toolsRunning, waits: waiting } = waits.begun({ ...session, toolsRunning: [running, other] })
  t.same(toolsRunning, [other], 'it is not lost')
  t.same(waiting, [{ ...running, untilMs: 95_000, state: 'waiting' }], 'but waits')
  t.equal(await waits.news(continueUrl, PAID), 'taken')
  t.match(toSession, [{ callId: 't1', status: 'succeeded' }])
})

t.test('an outcome is sent after an early hang-up [5]', async (t) => {
  const { waits, unheard, open } = rig(t)
  const continueUrl = open()
  waits.ended()
  t.ok(waits.active)
  t.equal(await waits.news(continueUrl, PAID), 'taken')
  t.match(unheard, [{ tool: 'pay', status: 'succeeded' }])
})

t.test('progress posts are limited and keep the URL valid', async (t) => {
  const { waits, toSession, pending, id } = rig(t)
  pending()
  for (let post = 0; post < 30; post++) t.equal(await waits.news(id(), { status: 'progress', result: post }), 'taken')
  t.equal(toSession.length, 20)
  t.equal(await waits.news(id(), PAID), 'taken')
})

t.test('an API that cannot post outcomes is polled', async (t) => {
  const answers: readonly (readonly [unknown, number])[] = [
    [{ error: 'not yet' }, 404],
    [{ status: 'progress' }, 200],
    [{ status: 'failed', result: { code: 1032, secret: 'x' } }, 200],
  ]
  let asked = 0
  const server = await api(t, (_, response) => {
    const [body, status] = answers[asked++] ?? [{}, 500]
    json(response, body, status)
  })
  const { waits, clock, toSession, pending } = rig(t, {
    http: { method: 'POST', url: `${server.url}/p`, headers: { authorization: 'Bearer b' } },
    waits: { for: '90s', poll: { url: `${server.url}/p/{{pending.id}}/{{call.language}}`, everyS: 10 } },
    result: { fields: { code: 'code' } },
  })
  pending()
  waits.wake()
  t.equal(asked, 0, 'not before its time')
  for (let poll = 1; poll <= 3; poll++) {
    clock.ms += 10_001
    await until(
      () => {
        waits.wake() // as soon as the poll before has ended
        return asked === poll
      },
      5000,
      `poll ${poll}`,
    )
  }
  await until(() => toSession.length > 0, 5000, 'the outcome')
  t.same(toSession, [{ callId: 't1', status: 'failed', value: { code: 1032 } }], 'as result.fields has it')
  t.match(server.requests[0], { method: 'GET', url: '/p/ws_1/sw', headers: { authorization: 'Bearer b' } })
  clock.ms += 60_000
  waits.wake()
  t.equal(asked, 3, 'and no more')
})

t.test('a call ended by force reports its waits as expired', async (t) => {
  const { waits, shared, unheard, pending } = rig(t)
  pending()
  waits.abandon(true)
  t.match(unheard, [{ status: 'expired' }])
  t.equal(shared.pending, 0)
  const taken = rig(t)
  taken.pending()
  taken.waits.abandon(false)
  t.same(taken.unheard, [], 'another node has the call')
})
