import { fork } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { KEEP_EVERY_MS } from '../../src/fleet/call-keeper.js'
import type { FromProcess, ProcessReady, ToProcess } from '../../src/fleet/supervisor.js'
import { processPlans } from '../../src/gateway/process-plan.js'
import type { ProcessPlan } from '../../src/gateway/process-plan.js'
import { loadConfig } from '../../src/config/load-config.js'
import type { SimulatedCallResult } from '../../src/carrier/call-options.js'
import { freePorts } from '../support/free-ports.js'
import { until } from '../support/until.js'
import { SECRET, lastStart, silentCall, startTwo, streaming } from './two-processes.js'
import type { SilentCall, Two } from './two-processes.js'

/**
 * `mkondo serve --processes 2`, as it is started by an operator, with the simulator as the carrier. Each webhook comes
 * on a connection of its own, which the kernel gives to either process.
 */

// One start for both tests, which also covers processes that have carried a dozen calls.
const whole = t
let started: Two | null = null

t.test('twelve calls on two processes end at their owners', async (t) => {
  const two = (started = await startTwo(whole))
  const { port } = two
  t.match(
    two.run.logged('taking calls'),
    [{ port, processes: 2, audio_ports: [port + 1, port + 2], max_calls: 40 }],
    'the ready line says all ports',
  )
  const calls = Array.from({ length: 12 }, (_, i) =>
    silentCall(two.url, i % 2 === 1 && i < 8 ? 'reposts' : 'continues'),
  )
  const owners = await Promise.all(calls.map((call) => streaming(two, call)))
  for (const [i, call] of calls.entries()) {
    if (i >= 10) call.hangUp()
    else t.equal(await two.command(owners[i] ?? 0, call.callSid, i < 8 ? 'escalate' : 'hangup'), 202)
  }
  const results: SimulatedCallResult[] = await Promise.all(calls.map(({ done }) => done))
  for (const [i, result] of results.entries()) {
    t.same(result.complaints, [], `${i}: nothing to complain about`)
    t.same(
      result.webhooks.filter(({ status }) => status === null || status >= 300),
      [],
      `${i}: every webhook was answered`,
    )
    if (i < 8)
      t.match(result.dials, [{ outcome: 'answered' }], `${i}: the human after the stream (${result.ended.why})`)
    else t.same(result.dials, [])
  }
  const outcome = (i: number): string => (i < 8 ? 'escalated' : i < 10 ? 'operator-hangup' : 'caller-hung-up')
  for (const [i, call] of calls.entries()) {
    await t.test(`call ${i}`, async (t) => {
      let record: Record<string, unknown> = {}
      await until(
        () => {
          void two.get(owners[i] ?? 0, `/api/calls/${call.callSid}`).then((found) => {
            record = found
          })
          return record['outcome'] !== undefined
        },
        60_000,
        'the record',
      )
      t.equal(i < 8 ? record['outcome'] : record['endReason'], outcome(i))
      const other = await fetch(`http://127.0.0.1:${two.opsPorts[1 - (owners[i] ?? 0)] ?? 0}/api/calls/${call.callSid}`)
      t.equal(other.status, 200, 'the other process answers too')
    })
  }
  t.same([...new Set(owners)].sort(), [0, 1], 'both had calls')
  const forwarded = await Promise.all(
    [0, 1].map((index) => two.metric(index, 'mkondo_webhooks_routed_total{result="forwarded"}')),
  )
  t.ok(
    forwarded.every((count) => count > 0),
    `webhooks that came to the wrong process: ${forwarded.join(' and ')}`,
  )
})

t.test('a dead process is restarted and its calls move [1]', async (t) => {
  const two = started ?? (await startTwo(whole))
  // As many as it takes to have one on each.
  const calls: [SilentCall | undefined, SilentCall | undefined] = [undefined, undefined]
  const surplus: SilentCall[] = []
  while (calls[0] === undefined || calls[1] === undefined) {
    const call = silentCall(two.url, 'continues')
    const owner = (await streaming(two, call)) as 0 | 1
    if (calls[owner] === undefined) calls[owner] = call
    else surplus.push(call)
  }
  for (const call of surplus) call.hangUp()
  const [bystander, victim] = calls as [SilentCall, SilentCall]
  // A call goes on from what its process has kept, and of the youngest nothing is kept yet.
  await sleep(2 * KEEP_EVERY_MS)
  process.kill(lastStart(two.run, 1)['pid'] as number, 'SIGKILL')
  await until(() => victim.streams() === 2, 60_000, 'the call of the dead process to move').catch(
    async (late: unknown) => {
      victim.hangUp()
      const { verbs, webhooks } = await victim.done
      t.comment(verbs.join(' '), webhooks.map(({ url, state, status }) => `${url} ${state} ${status ?? 0}`).join(', '))
      t.comment(two.run.lines.filter((line) => line.includes(victim.callSid)).join('\n'))
      throw late
    },
  )
  t.match(await two.get(0, `/api/calls/${bystander.callSid}`), { state: 'streaming' }, 'the other call is still live')
  victim.hangUp()
  const dead = await victim.done
  t.same(
    dead.complaints.filter((complaint) => !/stream|socket|closed/i.test(complaint)),
    [],
    'the remaining process answers the carrier',
  )
  t.ok(
    dead.webhooks.some(({ url, verbs }) => url === 'redirect' && verbs.includes('Stream')),
    'the answer has a new stream',
  )
  t.ok(
    dead.webhooks.every(({ status }) => status !== null && status < 300),
    dead.webhooks.map(({ url, state, status }) => `${url} ${state} ${status ?? 0}`).join(', '),
  )
  t.notOk(
    dead.webhooks.some(({ state, verbs }) => state === 'Completed' && verbs.includes('Stream')),
    'its Completed webhook opens no new call',
  )
  await until(() => two.run.logged('a process accepts calls again').length === 1, 60_000, 'the restart')
  // Two processes write: the new one's line may come after the supervisor's.
  const starts = (): number => two.run.logged('process takes calls').filter((line) => line['process'] === 1).length
  await until(() => starts() === 2, 60_000, 'the line of the new process')
  t.match(two.run.logged('a process died and is started again'), [
    { process: 1, reason: 'it ended by SIGKILL', restarts: 1 },
  ])
  t.match(
    await (await fetch(`http://127.0.0.1:${lastStart(two.run, 1)['ops_port'] as number}/metrics`)).text(),
    /^mkondo_process_restarts_total 1/m,
  )

  two.run.child.kill('SIGTERM')
  await until(() => two.run.logged('stopping: no new calls are accepted').length === 2, 30_000, 'both to drain')
  t.match(await two.get(0, `/api/calls/${bystander.callSid}`), { state: 'streaming' }, 'the call is still live')
  t.equal(await two.command(0, bystander.callSid, 'escalate'), 202)
  t.match((await bystander.done).dials, [{ outcome: 'answered' }], 'the human is dialled after the stream')
  t.equal(await two.run.exit, 0)
  t.notMatch(two.run.lines.join('\n'), new RegExp(`${SECRET}|254700000001`), 'neither secrets nor numbers in the log')
})

t.test('a process without its supervisor finishes calls and exits [2]', async (t) => {
  const folder = t.testdir()
  const config = {
    ...loadConfig(
      {
        SPEECH_DECODERS: '1',
        PORT: String(await freePorts(4)),
        HOST: '127.0.0.1',
        OPS_PORT: '0',
        DATA_DIR: folder,
        TOKEN_SECRET: SECRET,
      },
      null,
    ),
    shopApiUrl: 'http://127.0.0.1:1',
  }
  const [, plan] = processPlans(config, 2)
  const child = fork(fileURLToPath(new URL('../../src/cli/serve/serve-process.js', import.meta.url)), [], {
    serialization: 'advanced',
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout?.on('data', (text: Buffer) => {
    output += text.toString()
  })
  const said: FromProcess[] = []
  child.on('message', (message: FromProcess) => said.push(message))
  const exit = new Promise<number | null>((resolve) =>
    // After `disconnect` Node's `close` does not come.
    child.once('exit', (code) => {
      resolve(code)
    }),
  )
  child.send({
    type: 'start',
    plan: plan as ProcessPlan,
    restarts: 3,
  } satisfies ToProcess<ProcessPlan>)
  await until(() => said.some(({ type }) => type === 'ready'), 60_000, 'the process to take calls')
  // One call that has a stream, over the port that the document names.
  const call = silentCall(`http://127.0.0.1:${config.port}`, 'continues', null)
  const opsPort = (said.find(({ type }) => type === 'ready') as ProcessReady).opsPort
  const view = async (): Promise<unknown> =>
    ((await (await fetch(`http://127.0.0.1:${opsPort}/api/calls/${call.callSid}`)).json()) as { state?: unknown }).state
  let state: unknown
  await until(
    () => {
      void view().then(
        (found) => {
          state = found
        },
        () => undefined,
      )
      return state === 'streaming'
    },
    60_000,
    'the stream',
  )
  child.disconnect() // all that a process sees of its supervisor's end
  await until(() => output.includes('stopping: no new calls are accepted'), 30_000, 'the drain')
  t.equal(await view(), 'streaming', 'the call is still live')
  call.hangUp()
  t.same(
    (await call.done).webhooks.filter(({ status }) => status === null || status >= 300),
    [],
  )
  t.equal(await exit, 0)
  t.match(output, /the supervisor has ended: this process ends after its calls/)
})
