import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { parse } from 'yaml'
import { packageRoot } from '../../src/config/package-root.js'
import type { CallerScript } from '../../src/simulator/caller-script.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { asked, startLine } from '../support/broken-line.js'
import { hasProgram } from '../deploy/deploy-files.js'
import { OUR_NUMBER, startFleet } from '../support/fleet.js'
import type { Fleet, FleetCall } from '../support/fleet.js'
import { hasRedis } from '../support/redis.js'
import { until } from '../support/until.js'
import { portOf } from '../support/port-of.js'

t.jobs = 2

const speech = await CallerSpeech.start(null)
t.teardown(() => speech.close())
const AMINA = '+254700000001'

// --- a campaign ----------------------------------------------------------------------------------------------------

void t.test('a person who refuses further calls is not called again', { buffered: true }, async (t) => {
  const template = join(packageRoot(), 'templates/appointments')
  const agent = {
    ...(parse(readFileSync(join(template, 'agent.yaml'), 'utf8')) as Record<string, unknown>),
    name: 'fleet',
    backend: 'embedded',
    modules: ['tools/tools.mjs'],
  }
  const callee: CallerScript = {
    name: 'wants-no-calls',
    rules: [],
    order: null,
    reactionMs: 700,
    patienceMs: 20_000,
    steps: [
      { act: { type: 'say', text: 'Hello?' }, heard: [], interruptAfterMs: null },
      { act: { type: 'say', text: 'Do not call me again.' }, heard: [], interruptAfterMs: null },
    ],
  }
  const line = await startLine(
    t,
    speech,
    { SAUTIKIT_AFTER_STREAM: 'holds' },
    { agent, callee, module: join(template, 'tools.mjs') },
  )
  const api = async (path: string, body?: unknown): Promise<Record<string, unknown>> => {
    const answer = await fetch(`http://127.0.0.1:${line.gateway.opsPort}/api/campaigns${path}`, {
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      headers: { 'content-type': 'application/json' },
    })
    return (await answer.json()) as Record<string, unknown>
  }
  const called = async (name: string): Promise<unknown> => {
    await api('', {
      name,
      agent: 'fleet',
      from: OUR_NUMBER,
      window: 'Mon-Sun 00:00-24:00',
      timeZone: 'Africa/Nairobi',
      csv: `phone,name,when\n${AMINA},Amina,on Thursday at ten\n`,
    })
    await api(`/${name}/start`, {})
    let view: Record<string, unknown> = {}
    await until(async () => (view = await api(`/${name}`))['stands'] === 'done', 90_000, `the end of ${name}`)
    return view['results']
  }
  t.same(await called('reminders'), { person: 1 })
  const said = line.records[0]?.transcript.map(({ role, text }) => `${role}: ${text}`) ?? []
  t.match(
    said.join('\n'),
    /agent: Hello Amina, [^]*Will you come\?\n[^]*caller: do not call me again\n[^]*You will get no more calls from us/i,
    said.join(' / '),
  )
  t.same(await called('again'), { 'do-not-call': 1 })
  t.equal(asked(line, /calls$/).length, 1, 'their telephone has rung once')
})

// --- a human first, over two nodes ---------------------------------------------------------------------------------

const HUMAN = '+254709000001'
const ASKER = '+254700000104'

/** A human who says that they take it, and again where they are asked again. */
const TAKES_IT: CallerScript = {
  name: 'human',
  rules: [],
  order: null,
  reactionMs: 700,
  patienceMs: 60_000,
  steps: [
    { act: { type: 'say', text: 'Hello?' }, heard: [], interruptAfterMs: null },
    { act: { type: 'press', keys: '1' }, heard: [], interruptAfterMs: null },
    { act: { type: 'press', keys: '1' }, heard: [], interruptAfterMs: null },
    { act: { type: 'press', keys: '1' }, heard: [], interruptAfterMs: null },
  ],
}

interface Told {
  readonly type: string
  readonly subject: string
  readonly data: {
    readonly result?: string
    readonly tries?: readonly { readonly human: boolean; readonly result: string }[]
  }
}

/** Two nodes, one receiver, and a caller who is promised a call back and leaves. The promised call rings. */
async function promised(
  t: Test,
): Promise<{ readonly fleet: Fleet; readonly told: readonly Told[]; readonly owner: () => string }> {
  const told = new Map<string, Told>()
  const receiver = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      told.set(String(request.headers['webhook-id']), JSON.parse(body) as Told)
      response.writeHead(204).end()
    })
  })
  const port = await portOf(t, receiver)
  const messages = join(t.testdir(), 'messages.yaml')
  writeFileSync(messages, `receivers: [{ name: crm, url: 'http://127.0.0.1:${port}/', unsigned: true }]`)
  const fleet = await startFleet({
    env: { MESSAGES_FILE: messages, SAUTIKIT_AFTER_STREAM: 'continues' },
    callee: TAKES_IT,
    agent: {
      outbound: { from: OUR_NUMBER },
      escalation: { numbers: [HUMAN], strategies: ['supervision', 'callback'], announce: null },
      callbacks: {
        humanFirst: true,
        hours: { timeZone: 'Africa/Nairobi', week: Object.fromEntries(DAYS.map((day) => [day, ['00:00-24:00']])) },
      },
    },
  })
  t.teardown(() => fleet.close())
  const isPromised = (): boolean => [...told.values()].some(({ type }) => type === 'callback.requested')
  const ring = (): FleetCall & { over: boolean } => {
    const call = Object.assign(fleet.call({ from: ASKER }), { over: false })
    void call.done.then(() => (call.over = true))
    return call
  }
  let call = ring()
  // Whoever hears that all lines are busy, as on a busy machine, rings again.
  const looks = (): boolean => {
    if (!isPromised() && call.over) call = ring()
    return isPromised()
  }
  await until(looks, 120_000, 'the promise')
  call.hangUp()
  await call.done
  const opened = () => fleet.placedEvents.flatMap((event) => (event.type === 'stream-opened' ? [event.path] : []))
  await until(() => opened().length > 0, 60_000, 'the human to be asked')
  return {
    fleet,
    get told() {
      return [...told.values()]
    },
    owner: () => opened().at(-1)?.split('/')[2] ?? '',
  }
}

const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']

/** The human and the caller are each rung once, whatever happens, and receivers hear of one call back and no escalation. */
async function keptOnce(t: Test, it: Awaited<ReturnType<typeof promised>>): Promise<void> {
  const { fleet } = it
  const row = (): Told | undefined => it.told.find(({ type }) => type === 'campaign.row')
  await until(() => row() !== undefined, 120_000, 'the end of the call back')
  t.match(row()?.data, { result: 'person', tries: [{ human: true, result: 'person' }] })
  t.equal(row()?.data.tries?.length, 1)
  await until(() => fleet.placed.length > 0, 30_000, 'the end of the call to the human')
  t.same(
    fleet.placed.map(({ dials }) => dials.map(({ numbers, outcome }) => [...numbers, outcome])),
    [[[ASKER, 'answered']]],
    'one human is rung once, and put through to the caller once',
  )
  const types = it.told.map(({ type }) => type)
  t.equal(types.filter((type) => type === 'callback.requested').length, 1)
  t.same(
    types.filter((type) => type.startsWith('escalation.')),
    [],
    'nobody is told of an escalation',
  )
}

/** The caller has answered, and a node knows it. */
const talks = ({ placedEvents }: Fleet): boolean =>
  placedEvents.some((event) => event.type === 'webhook' && event.state === 'call.supervision.joined')

for (const [when, dies] of [
  ['that asks the human', 'asks'],
  ['while both talk', 'talks'],
] as const)
  void t.test(`a promised call back survives its node's death ${when}`, { buffered: true }, async (t) => {
    if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy')) return
    const it = await promised(t)
    const { fleet } = it
    const kill = (): Promise<void> | undefined => fleet.nodes.find(({ name }) => name === it.owner())?.kill()
    if (dies === 'asks') {
      const asked = async (): Promise<boolean> => {
        const owner = fleet.nodes.find(({ name }) => name === it.owner())
        const callSid = fleet.placedEvents[0]?.callSid ?? ''
        return /connect you/.test((await (await owner?.ops(`/api/calls/${callSid}/transcript`))?.text()) ?? '')
      }
      await until(asked, 20_000, 'the question')
      await kill()
    }
    await until(() => talks(fleet), 60_000, 'the human to be put through')
    // The log of every second shows that they talk.
    await sleep(2500)
    if (dies === 'talks') await kill()
    await sleep(1000)
    for (const { leg } of fleet.carrier.workspace.calls()) leg.hangUp()
    await keptOnce(t, it)
  })
