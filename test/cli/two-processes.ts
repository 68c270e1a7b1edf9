import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import type { AfterStream } from '../../src/carrier/choices.js'
import { startCall } from '../../src/carrier/carrier-call.js'
import type { LiveSimulatedCall } from '../../src/carrier/carrier-call.js'
import { silentCaller } from '../support/simulated.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { comesUp, until } from '../support/until.js'
import { type Run, endsWith, mkondo } from './mkondo-process.js'
import { freePorts } from '../support/free-ports.js'
import { SAME_CALLER } from '../support/same-caller.js'
import { portOf } from '../support/port-of.js'

/**
 * `mkondo serve --processes 2`, as it is started by an operator, with the simulator as the carrier. Each webhook comes
 * on a connection of its own, which the kernel gives to either process.
 */

interface Logged extends Run {
  logged(msg: string): Record<string, unknown>[]
}

function launched(t: Test, args: readonly string[], env: Readonly<Record<string, string>>): Logged {
  const run = mkondo(args, env)
  endsWith(t, run, 'SIGQUIT')
  return {
    ...run,
    logged: (msg) =>
      run.lines
        .filter((line) => line.includes(`"msg":"${msg}"`))
        .map((line) => JSON.parse(line) as Record<string, unknown>),
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
  // On a busy machine the default of 5 s ends between a webhook and the next, and resets the second.
  server.keepAliveTimeout = 60_000
  return `http://127.0.0.1:${await portOf(t, server)}`
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

export interface Two {
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

export async function startTwo(
  t: Test,
  more: { readonly args?: readonly string[]; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Two> {
  const port = await freePorts(4)
  const folder = agentsFolder()
  const run = launched(t, ['serve', '--with-shop', '--processes', '2', ...(more.args ?? [])], {
    PORT: String(port),
    OPS_PORT: '0',
    HOST: '127.0.0.1',
    AGENTS_DIR: folder,
    DATA_DIR: join(folder, 'data'),
    MAX_CALLS: '40',
    SAUTIKIT_AFTER_STREAM: 'continues',
    SAUTIKIT_WEBHOOK_SECRETS: SECRET,
    ...SAME_CALLER,
    ...more.env,
  })
  t.teardown(async () => {
    run.child.kill('SIGQUIT')
    await run.exit
    rmSync(folder, { recursive: true, force: true })
  })
  await comesUp(
    run.child,
    // Three processes write to one log, each in its own time.
    () => run.logged('taking calls').length === 1 && run.logged('process takes calls').length === 2,
    60_000,
    'a gateway of two processes',
    () => run.lines.join('\n'),
  )
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
      const { live, ended } = (await get(0, '/api/fleet/calls?limit=500')) as {
        readonly [of in 'live' | 'ended']: readonly { readonly callSid: string; readonly node: string }[]
      }
      const call = [...live, ...ended].find((each) => each.callSid === callSid)
      if (call === undefined) throw new Error(`no process has ${callSid}`)
      return Number(call.node.slice(call.node.lastIndexOf('-') + 1))
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

export const SECRET = 'whsec_of_two_processes'
const speech = await CallerSpeech.start(null)
t.teardown(() => speech.close())

export interface SilentCall extends LiveSimulatedCall {
  /** Streams that it has had. */
  readonly streams: () => number
}

/** A caller who says nothing. */
export function silentCall(url: string, afterStream: AfterStream, secret: string | null = SECRET): SilentCall {
  let streams = 0
  const call = startCall({
    voiceUrl: `${url}/voice/order-status`,
    eventsUrl: `${url}/events`,
    from: '+254700000001',
    to: '+254711000000',
    afterStream,
    secret,
    human: { outcome: 'answered', ringMs: 200, talkMs: 300, greeting: null },
    giveUpMs: 12_000,
    caller: silentCaller(speech),
    onEvent: ({ type }) => {
      if (type === 'stream-opened') streams++
    },
  })
  return { ...call, streams: () => streams }
}

export async function streaming(two: Two, call: LiveSimulatedCall): Promise<number> {
  let owner = -1
  let over = 'it goes on'
  void call.done.then(({ verbs, webhooks }) => {
    over = `it ended after ${verbs.join(' ')}; ${webhooks.map(({ state, status }) => `${state} ${status}`).join(', ')}`
  })
  const streams = async (): Promise<boolean> => {
    owner = await two.ownerOf(call.callSid).catch(() => -1)
    return owner >= 0 && (await two.get(owner, `/api/calls/${call.callSid}`))['state'] === 'streaming'
  }
  await until(streams, 60_000, `the stream of ${call.callSid}`).catch((error: unknown) => {
    throw new Error(`${String(error)}, of process ${owner}: ${over}`)
  })
  return owner
}

/** The log line of process `index` when it last began to take calls. */
export function lastStart(run: Logged, index: number): Record<string, unknown> {
  return (
    run
      .logged('process takes calls')
      .filter((line) => line['process'] === index)
      .at(-1) ?? {}
  )
}
