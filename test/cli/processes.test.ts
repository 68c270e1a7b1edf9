import { fork } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Test } from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import type { FromProcess, ProcessReady, ToProcess } from '../../src/fleet/supervisor.js'
import { processPlans } from '../../src/gateway/process-plan.js'
import type { ProcessPlan } from '../../src/gateway/process-plan.js'
import { loadConfig } from '../../src/config/load-config.js'
import type { AfterStream, SimulatedCallResult } from '../../src/simulator/call-options.js'
import { startCall } from '../../src/simulator/carrier.js'
import type { LiveSimulatedCall } from '../../src/simulator/carrier.js'
import { COMMON_STATUSES } from '../../src/simulator/vocabulary.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { until } from '../support/host.js'
import { mkondo, type Run } from './mkondo-process.js'

/**
 * `mkondo serve --processes 2`, as it is started by an operator, with the simulator as the carrier. Each webhook comes
 * on a connection of its own, which the kernel gives to either process.
 */

// Calls are in real time, and each start loads two gateways.
t.setTimeout(120_000)

interface Logged extends Run {
  logged(msg: string): Record<string, unknown>[]
}

function launched(t: Test, args: readonly string[], env: Readonly<Record<string, string>>): Logged {
  const run = mkondo(args, env)
  t.teardown(() => run.child.kill('SIGQUIT'))
  return {
    ...run,
    logged: (msg) =>
      run.lines
        .filter((line) => line.includes(`"msg":"${msg}"`))
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  }
}

/** The first of `count` ports in a row that were free a moment ago. */
async function freePorts(count: number): Promise<number> {
  for (;;) {
    const probe = createTcpServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => probe.once('listening', resolve))
    const { port } = probe.address() as AddressInfo
    await new Promise((resolve) => probe.close(resolve))
    const free = await Promise.all(
      Array.from(
        { length: count },
        (_, i) =>
          new Promise<boolean>((resolve) => {
            const other = createTcpServer().once('error', () => {
              resolve(false)
            })
            other.listen(port + i, '127.0.0.1', () =>
              other.close(() => {
                resolve(true)
              }),
            )
          }),
      ),
    )
    if (free.every(Boolean)) return port
  }
}

/**
 * Passes webhooks on, each over a connection of its own; the Host header stays, as behind many a balancer. A connection
 * that is reset without an answer is made once more: it was the kernel's queue for a process that has just died
 * (deploy/sysctl.conf).
 */
async function freshConnections(t: Test, port: number): Promise<string> {
  const server = createServer((incoming, outgoing) => {
    const parts: Buffer[] = []
    incoming.on('data', (part: Buffer) => parts.push(part))
    const forward = (attempts: number): void => {
      const { method, url: path, headers } = incoming
      const forwarded = request({ host: '127.0.0.1', port, method, path, headers, agent: false }, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(outgoing)
      })
      forwarded.on('error', () => {
        if (attempts > 1) forward(attempts - 1)
        else outgoing.writeHead(502).end()
      })
      forwarded.end(Buffer.concat(parts))
    }
    incoming.on('end', () => {
      forward(2)
    })
  })
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** The shipped order line, which goes on with a Dial after the stream. */
function agentsFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-processes-'))
  const yaml = readFileSync(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
  writeFileSync(
    join(folder, 'order-status.yaml'),
    yaml.replace(/strategies: .*/, 'strategies: [after-stream-dial]').replace(/announce: .*/, 'announce: One moment.'),
  )
  return folder
}

interface Two {
  readonly run: Logged
  /** Where the carrier posts. */
  readonly url: string
  /** The public port. */
  readonly port: number
  readonly opsPorts: readonly number[]
  /** JSON of a process's ops port. */
  get(index: number, path: string): Promise<Record<string, unknown>>
  /** An operator's command for a call; the status of the answer. */
  command(index: number, callSid: string, command: 'escalate' | 'hangup'): Promise<number>
  /** The process that has a call. */
  ownerOf(callSid: string): Promise<number>
  metric(index: number, line: string): Promise<number>
}

async function startTwo(t: Test): Promise<Two> {
  const port = await freePorts(3)
  const folder = agentsFolder()
  const run = launched(t, ['serve', '--with-shop', '--processes', '2'], {
    PORT: String(port),
    OPS_PORT: '0',
    HOST: '127.0.0.1',
    AGENTS_DIR: folder,
    DATA_DIR: join(folder, 'data'),
    MAX_CALLS: '40',
    SAUTIKIT_AFTER_STREAM: 'continues',
    SAUTIKIT_WEBHOOK_SECRETS: SECRET,
  })
  t.teardown(async () => {
    run.child.kill('SIGQUIT')
    await run.exit
    rmSync(folder, { recursive: true, force: true })
  })
  await Promise.race([
    until(() => run.logged('taking calls').length === 1, 60_000, 'the gateway to start'),
    run.exit.then((code) => {
      throw new Error(`the gateway ended with ${code ?? 'a signal'}: ${run.lines.join(' / ')}`)
    }),
  ])
  const { ops_ports: opsPorts } = run.logged('taking calls')[0] as { ops_ports: readonly number[] }
  const get = async (index: number, path: string): Promise<Record<string, unknown>> =>
    (await (await fetch(`http://127.0.0.1:${opsPorts[index] ?? 0}${path}`)).json()) as Record<string, unknown>
  return {
    run,
    port,
    opsPorts,
    get,
    url: await freshConnections(t, port),
    command: async (index, callSid, command) =>
      (
        await fetch(`http://127.0.0.1:${opsPorts[index] ?? 0}/api/calls/${callSid}/${command}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
        })
      ).status,
    ownerOf: async (callSid) => {
      for (const index of opsPorts.keys()) {
        if ((await fetch(`http://127.0.0.1:${opsPorts[index] ?? 0}/api/calls/${callSid}`)).status === 200) return index
      }
      throw new Error(`no process has ${callSid}`)
    },
    metric: async (index, line) => {
      const page = await (await fetch(`http://127.0.0.1:${opsPorts[index] ?? 0}/metrics`)).text()
      return Number(
        page
          .split('\n')
          .find((candidate) => candidate.startsWith(`${line} `))
          ?.slice(line.length + 1)
          .split(' ')[0] ?? 0,
      )
    },
  }
}

const SECRET = 'whsec_of_two_processes'
const speech = await CallerSpeech.start(null)
t.teardown(() => speech.close())

/** A caller who says nothing. */
function silentCall(url: string, afterStream: AfterStream, secret: string | null = SECRET): LiveSimulatedCall {
  return startCall({
    voiceUrl: `${url}/voice/order-status`,
    eventsUrl: `${url}/events`,
    from: '+254700000001',
    to: '+254711000000',
    afterStream,
    secret,
    human: { outcome: 'answered', ringMs: 200, talkMs: 300, greeting: null },
    giveUpMs: 12_000,
    caller: {
      script: { name: 'silent', rules: [], steps: [], reactionMs: 0, patienceMs: 25_000, order: null },
      voice: 'rms',
      line: { sampleRateHz: 8000 },
      speech,
      files: new Map(),
      record: false,
      timeoutMs: 30_000,
      vocabulary: { sentences: [], orders: [], etas: [], others: [], statuses: COMMON_STATUSES },
    },
  })
}

async function streaming(two: Two, call: LiveSimulatedCall): Promise<number> {
  let owner = -1
  const untilMs = performance.now() + 20_000
  for (;;) {
    owner = await two.ownerOf(call.callSid).catch(() => -1)
    if (owner >= 0 && (await two.get(owner, `/api/calls/${call.callSid}`))['state'] === 'streaming') return owner
    if (performance.now() > untilMs) throw new Error(`${call.callSid} has no stream`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** The log line of process `index` when it last began to take calls. */
function lastStart(run: Logged, index: number): Record<string, unknown> {
  return (
    run
      .logged('process takes calls')
      .filter((line) => line['process'] === index)
      .at(-1) ?? {}
  )
}

t.test('a wrong combination stops the start with one line and code 2', async (t) => {
  const port = await freePorts(3)
  const taken = createTcpServer().listen(port + 2, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  t.teardown(() => taken.close())
  const quiet = { HOST: '127.0.0.1', OPS_PORT: '0', LOG_LEVEL: 'error' }
  const cases: readonly (readonly [string, Record<string, string>, RegExp])[] = [
    ['65', {}, /^mkondo: --processes is '65'; allowed: a whole number from 1 to 64$/],
    [
      '2',
      { PUBLIC_URL: 'https://voice.example.com' },
      /^mkondo: NODE_URL is not set, and PUBLIC_URL is; allowed with --processes 2: /,
    ],
    ['2', { ...quiet, PORT: String(port) }, new RegExp(`^mkondo: PORT \\+ 2: port ${port + 2} on 127.0.0.1 is in use`)],
    [
      '2',
      { ...quiet, PORT: String(await freePorts(3)), DEFAULT_AGENT: 'nobody' },
      /^mkondo: DEFAULT_AGENT is 'nobody'; allowed: order-status, support$/,
    ],
  ]
  const folder = t.testdir()
  await Promise.all(
    cases.map(async ([count, env, line], i) => {
      const run = launched(t, ['serve', '--with-shop', '--processes', count], {
        ...env,
        DATA_DIR: join(folder, String(i)),
      })
      t.equal(await run.exit, 2, run.lines.join(' / '))
      t.match(run.lines, [line])
      t.equal(run.lines.length, 1)
    }),
  )
  const check = launched(t, ['check', '--processes', '2', '--with-shop'], {
    ...quiet,
    PORT: String(port),
    DATA_DIR: join(folder, 'check'),
  })
  t.equal(await check.exit, 2)
  t.match(check.lines.join('\n'), new RegExp(`NOT OK  PORT \\+ 2 127.0.0.1:${port + 2}: EADDRINUSE`))
})

// One start for both tests, which also covers processes that have carried a dozen calls.
const whole = t
let started: Two | null = null

t.test('twelve calls over two processes all end as they should, each in the process that has it', async (t) => {
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
        15_000,
        'the record',
      )
      t.equal(i < 8 ? record['outcome'] : record['endReason'], outcome(i))
      const other = await fetch(`http://127.0.0.1:${two.opsPorts[1 - (owners[i] ?? 0)] ?? 0}/api/calls/${call.callSid}`)
      t.equal(other.status, 404, 'and the other process knows nothing of it')
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
  t.same(
    await Promise.all([0, 1].map((index) => two.metric(index, 'mkondo_webhooks_routed_total{result="unanswered"}'))),
    [0, 0],
  )
})

t.test(
  'a process that dies is started again, its calls go on at another, and a drain lets the rest finish',
  async (t) => {
    const two = started ?? (await startTwo(whole))
    // As many as it takes to have one on each.
    const calls: [LiveSimulatedCall | undefined, LiveSimulatedCall | undefined] = [undefined, undefined]
    const surplus: LiveSimulatedCall[] = []
    while (calls[0] === undefined || calls[1] === undefined) {
      const call = silentCall(two.url, 'continues')
      const owner = (await streaming(two, call)) as 0 | 1
      if (calls[owner] === undefined) calls[owner] = call
      else surplus.push(call)
    }
    for (const call of surplus) call.hangUp()
    const [bystander, victim] = calls as [LiveSimulatedCall, LiveSimulatedCall]
    process.kill(lastStart(two.run, 1)['pid'] as number, 'SIGKILL')
    let resumed: unknown
    await until(
      async () => {
        resumed = (await two.get(0, `/api/calls/${victim.callSid}`))['state']
        return resumed === 'streaming'
      },
      10_000,
      'the call of the dead process to go on at the other',
    )
    victim.hangUp()
    const dead = await victim.done
    t.same(
      dead.complaints.filter((complaint) => !/stream|socket|closed/i.test(complaint)),
      [],
      'whoever is left answers what the carrier asks',
    )
    t.ok(
      dead.webhooks.some(({ url, verbs }) => url === 'redirect' && verbs.includes('Stream')),
      'with a new stream',
    )
    t.ok(
      dead.webhooks.every(({ status }) => status !== null && status < 300),
      dead.webhooks.map(({ url, state, status }) => `${url} ${state} ${status ?? 0}`).join(', '),
    )
    t.notOk(
      dead.webhooks.some(({ state, verbs }) => state === 'Completed' && verbs.includes('Stream')),
      'its end is not taken for a new call',
    )
    t.match(await two.get(0, `/api/calls/${bystander.callSid}`), { state: 'streaming' }, 'the other call goes on')

    await until(() => two.run.logged('a process takes calls again').length === 1, 60_000, 'the restart')
    t.match(two.run.logged('a process died, its calls with it, and is started again'), [
      { process: 1, reason: 'it ended by SIGKILL', restarts: 1 },
    ])
    t.match(
      await (await fetch(`http://127.0.0.1:${lastStart(two.run, 1)['ops_port'] as number}/metrics`)).text(),
      /^mkondo_process_restarts_total 1/m,
    )

    two.run.child.kill('SIGTERM')
    await until(() => two.run.logged('stopping: no more calls are taken').length === 2, 5000, 'both to drain')
    t.match(await two.get(0, `/api/calls/${bystander.callSid}`), { state: 'streaming' }, 'which still goes on')
    t.equal(await two.command(0, bystander.callSid, 'escalate'), 202)
    t.match((await bystander.done).dials, [{ outcome: 'answered' }], 'and has its human after the stream')
    t.equal(await two.run.exit, 0)
    t.notMatch(two.run.lines.join('\n'), new RegExp(`${SECRET}|254700000001`), 'neither secrets nor numbers in the log')
  },
)

t.test('a supervisor that is killed leaves a process that finishes its calls and ends', async (t) => {
  const folder = t.testdir()
  const config = {
    ...loadConfig(
      {
        SPEECH_DECODERS: '1',
        PORT: String(await freePorts(3)),
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
  const child = fork(fileURLToPath(new URL('../../src/cli/serve-process.js', import.meta.url)), [], {
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
    20_000,
    'the stream',
  )
  child.disconnect() // all that a process sees of its supervisor's end
  await until(() => output.includes('stopping: no more calls are taken'), 5000, 'the drain')
  t.equal(await view(), 'streaming', 'the call goes on')
  call.hangUp()
  t.same(
    (await call.done).webhooks.filter(({ status }) => status === null || status >= 300),
    [],
  )
  t.equal(await exit, 0)
  t.match(output, /the supervisor is gone: calls finish, and this process ends/)
})
