import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { WebSocket } from 'ws'
import { mkondo } from '../../test/cli/mkondo-process.js'
import type { Run } from '../../test/cli/mkondo-process.js'
import { attribute, openSocket, post, ringing } from '../../test/edge/gateway.js'
import { reexport } from '../../test/support/module-beside.js'
import { signBody } from '../../test/support/sign-body.js'
import { until } from '../../test/support/until.js'
import { judged } from '../kit/command.js'
import { Child } from '../kit/process.js'
import { columns } from '../terminal.js'
import type { FloodKind, FloodOptions, FloodReport } from './flooder.js'

const HELP = `npm run bench -- --flood [--calls N] [--seconds S] [--flood-kind TEXT] [--json FILE]
  Strangers flood a gateway with live calls, at 4, 10 and 40 Mbit/s, from one loopback address that is not the carrier's: the frames
  that callers still get, the longest time without one, signed webhooks, and new calls. Each flood has a run without it before it, at
  the same gateway. About 4 minutes.
  --calls N          live calls (default 8)
  --seconds S        of each run (default 5)
  --flood-kind TEXT  only floods whose name has one of these texts, by commas
  --json FILE        where results go (default bench/results/)`

const TONE = new URL('../../test/support/tone-backend.js', import.meta.url).href
const SECRET = 'whsec_of_the_bench'
const OPS_TOKEN = 'ops-token-of-the-bench'
const STRANGER = '127.0.0.2'
const CARRIER = '127.0.0.1'
const FRAME_MS = 20
const WEBHOOK_EVERY_MS = 100
const NEW_CALL_EVERY_MS = 500
const GREETING_WAIT_MS = 10_000
/** Level of a sample above which a frame is not silent. */
const LOUD = 200
/** Time in ms between the start of a flood and the measurement, and after the end of the flood. */
const SETTLE_MS = 500
/** Targets of floods that come from a separate address. */
const FRAMES_KEPT_MIN = 0.99
const GAP_MS_MAX = 60
const WEBHOOK_MS_MAX = 250
/** Maximum number of file descriptors in the flood of incomplete request heads. */
const OPEN_FILES = 2048

interface Flood {
  readonly name: string
  readonly kind: FloodKind
  readonly from: string
  readonly mbits: readonly number[]
  readonly openFiles?: number
  /** True if the run has targets; false if its figures are only shown. */
  readonly judged: boolean
}

const RATES = [4, 10, 40]
const FLOODS: readonly Flood[] = [
  { name: 'refused GETs, pipelined', kind: 'gets', from: STRANGER, mbits: RATES, judged: true },
  { name: 'POSTs with a wrong signature', kind: 'posts', from: STRANGER, mbits: RATES, judged: true },
  { name: 'bodies of 16 KB, 200 connections', kind: 'bodies', from: STRANGER, mbits: RATES, judged: true },
  {
    name: 'half-open heads, 2,200 connections',
    kind: 'heads',
    from: STRANGER,
    mbits: [0],
    openFiles: OPEN_FILES,
    judged: true,
  },
  { name: "GETs from the carrier's address", kind: 'gets', from: CARRIER, mbits: RATES, judged: false },
  { name: "POSTs from the carrier's address", kind: 'posts', from: CARRIER, mbits: RATES, judged: false },
  { name: 'ops port, pipelined, never read', kind: 'ops', from: STRANGER, mbits: RATES, judged: false },
]

interface Row {
  readonly flood: string
  readonly mbit: number
  /** Mbit that the flooder was able to write, and number of connections that it needed for this. */
  readonly sentMbit: number
  readonly connections: number
  /** Share of the frames in the run's time that callers received. */
  readonly framesKept: number
  readonly gapMs: number
  readonly webhooks: { readonly count: number; readonly failed: number; readonly p50Ms: number; readonly p99Ms: number }
  /** Number of calls that rang during the run, and number of these whose audio socket opened. */
  readonly newCalls: { readonly rung: number; readonly opened: number }
  readonly rssMb: number
  readonly missed: readonly string[]
}

/** Bench of live calls during floods. */
export const floodBench = judged(
  'flood',
  HELP,
  { 'flood-kind': { type: 'string', default: '' } },
  { calls: [8, 1, 100], seconds: [5, 2, 60] },
  async ({ calls, seconds, 'flood-kind': kinds }, { say, show }) => {
    const rows: Row[] = []
    const add = (row: Row): void => {
      rows.push(row)
      say(`${row.flood}, ${row.mbit} Mbit/s: ${(row.framesKept * 100).toFixed(1)} %, gap ${row.gapMs.toFixed(0)} ms`)
    }
    const wanted = kinds.split(',')
    for (const flood of FLOODS.filter(({ name }) => wanted.some((text) => name.includes(text)))) {
      show(flood.name)
      const target = await Target.start(flood.openFiles)
      try {
        await target.ring(calls)
        add(await run(target, { ...flood, name: `none, before ${flood.kind}` }, 0, seconds))
        for (const mbit of flood.mbits) add(await run(target, flood, mbit, seconds))
      } finally {
        await target.stop()
      }
    }
    const lines = [
      `\n${calls} live calls whose agents speak all the time, ${seconds} s a run`,
      ...tableOf(rows),
      ...rows.flatMap(({ flood, mbit, missed }) => missed.map((what) => `NOT MET ${flood}, ${mbit} Mbit/s: ${what}`)),
    ]
    return { ok: rows.every(({ missed }) => missed.length === 0), lines, results: { calls, seconds, rows } }
  },
)

/** Makes one run. It has a flood, or no flood (`mbit` 0 for a flood with a rate). */
async function run(target: Target, flood: Flood, mbit: number, seconds: number): Promise<Row> {
  const none = flood.name.startsWith('none')
  const port = flood.kind === 'ops' ? target.opsPort : target.port
  const options: FloodOptions = { kind: flood.kind, port, from: flood.from, mbit, seconds: seconds + SETTLE_MS / 1000 }
  const child = none
    ? null
    : new Child<never, FloodReport>({
        name: 'flooder',
        file: fileURLToPath(new URL('./flooder.js', import.meta.url)),
        variable: 'BENCH_FLOOD',
        options,
      })
  const flooded = child?.next('flooded', (seconds + 30) * 1000)
  await sleep(SETTLE_MS)
  const measured = await target.measure(seconds)
  const report = await flooded
  await child?.stop(null)
  await sleep(SETTLE_MS)
  const missed = none || !flood.judged ? [] : missesOf(measured)
  return {
    flood: flood.name,
    mbit,
    sentMbit: report?.mbit ?? 0,
    connections: report?.connections ?? 0,
    ...measured,
    missed,
  }
}

export type Measured = Pick<Row, 'framesKept' | 'gapMs' | 'webhooks' | 'newCalls' | 'rssMb'>

function missesOf({ framesKept, gapMs, webhooks, newCalls }: Measured): readonly string[] {
  return [
    ...(framesKept < FRAMES_KEPT_MIN ? [`${(framesKept * 100).toFixed(1)} % of frames`] : []),
    ...(gapMs > GAP_MS_MAX ? [`a gap of ${gapMs.toFixed(0)} ms`] : []),
    ...(webhooks.failed > 0 ? [`${webhooks.failed} of ${webhooks.count} signed webhooks failed`] : []),
    ...(webhooks.p99Ms > WEBHOOK_MS_MAX ? [`a signed webhook took ${webhooks.p99Ms.toFixed(0)} ms`] : []),
    ...(newCalls.opened < newCalls.rung
      ? [`${newCalls.rung - newCalls.opened} of ${newCalls.rung} new calls got no stream`]
      : []),
  ]
}

/** Caller's end of an audio socket. It sends silence, and records the arrival times of frames. */
interface Caller {
  readonly socket: WebSocket
  frames: number
  lastMs: number
  gapMs: number
}

/** Gateway in the form of `mkondo serve`, and its calls. */
export class Target {
  readonly port: number
  readonly opsPort: number
  readonly #gateway: Run
  readonly #folder: string
  readonly #callers: Caller[] = []
  readonly #speaks: NodeJS.Timeout
  #sids = 0

  private constructor(gateway: Run, folder: string, ports: { readonly port: number; readonly ops_port: number }) {
    this.#gateway = gateway
    this.#folder = folder
    this.port = ports.port
    this.opsPort = ports.ops_port
    const frame = new Uint8Array(640)
    this.#speaks = setInterval(() => {
      for (const { socket } of this.#callers) socket.send(frame)
    }, FRAME_MS)
  }

  /**
   * @param more  additional settings, besides the settings of the flood
   * @param agents  additional agents besides `tone`, by name. All of them speak a tone; the values are further fields of
   * their files
   */
  static async start(
    openFiles: number | undefined,
    more: Readonly<Record<string, string>> = {},
    agents: Readonly<Record<string, string>> = {},
  ): Promise<Target> {
    const folder = mkdtempSync(join(tmpdir(), 'mkondo-flood-'))
    writeFileSync(join(folder, 'tone.mjs'), reexport(TONE))
    for (const [name, text] of Object.entries({ tone: '', ...agents }))
      writeFileSync(
        join(folder, `${name}.yaml`),
        `version: 1\nname: ${name}\ninstructions: Speak.\nbackend: module:./tone.mjs\n${text}`,
      )
    const gateway = mkondo(
      ['serve', '--with-shop'],
      {
        PORT: '0',
        OPS_PORT: '0',
        HOST: CARRIER,
        AGENTS_DIR: folder,
        DATA_DIR: join(folder, 'data'),
        KEEP_CALLS: 'false',
        MEDIA_WORKERS: '1',
        SAUTIKIT_WEBHOOK_SECRETS: SECRET,
        OPS_TOKEN,
        LOG_LEVEL: 'info',
        ...more,
      },
      openFiles,
    )
    const started = (): string | undefined => gateway.lines.find((line) => line.includes('taking calls'))
    await until(() => started() !== undefined || gateway.child.exitCode !== null, 60_000, 'the gateway to start')
    const line = started()
    if (line === undefined) throw new Error(`the gateway did not start: ${gateway.lines.slice(-3).join('\n')}`)
    return new Target(gateway, folder, JSON.parse(line) as { port: number; ops_port: number })
  }

  /** Rings calls, and waits until the agents of all of them are heard. */
  async ring(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const socket = await this.#call()
      if (socket === null) throw new Error('a call got no stream before the flood')
      const caller: Caller = { socket, frames: 0, lastMs: 0, gapMs: 0 }
      socket.on('message', (_data, isBinary) => {
        if (!isBinary) return
        const nowMs = performance.now()
        caller.gapMs = Math.max(caller.gapMs, nowMs - caller.lastMs)
        caller.lastMs = nowMs
        caller.frames++
      })
      this.#callers.push(caller)
    }
    await until(() => this.#callers.every(({ frames }) => frames > 50), 30_000, 'the agents to be heard')
  }

  /**
   * @param endsEachMs  if not null: in each interval of this length in ms, one call begins and then ends with the
   * carrier's event
   */
  async measure(seconds: number, endsEachMs: number | null = null): Promise<Measured> {
    const fromMs = performance.now()
    for (const caller of this.#callers) Object.assign(caller, { frames: 0, lastMs: fromMs, gapMs: 0 })
    const times: number[] = []
    let failed = 0
    let rung = 0
    let opened = 0
    const waiting: Promise<unknown>[] = []
    const webhooks = setInterval(() => {
      const atMs = performance.now()
      const asked = this.#event().then(
        (status) => {
          if (status === 204) times.push(performance.now() - atMs)
          else failed++
        },
        () => failed++,
      )
      waiting.push(asked)
    }, WEBHOOK_EVERY_MS)
    const newCalls = setInterval(() => {
      rung++
      const sid = this.#newSid()
      const called = this.#call(sid).then(async (socket) => {
        if (socket !== null) opened++
        socket?.close()
        if (endsEachMs !== null) await this.#event(sid)
      })
      waiting.push(called.catch(() => undefined))
    }, endsEachMs ?? NEW_CALL_EVERY_MS)
    await sleep(seconds * 1000)
    const toMs = performance.now()
    clearInterval(webhooks)
    clearInterval(newCalls)
    const expected = (this.#callers.length * (toMs - fromMs)) / FRAME_MS
    const frames = this.#callers.reduce((sum, caller) => sum + caller.frames, 0)
    const gapMs = Math.max(...this.#callers.map((caller) => Math.max(caller.gapMs, toMs - caller.lastMs)))
    await Promise.all(waiting)
    times.sort((a, b) => a - b)
    const at = (share: number): number => times[Math.max(0, Math.ceil(times.length * share) - 1)] ?? 0
    return {
      framesKept: frames / expected,
      gapMs,
      webhooks: { count: times.length + failed, failed, p50Ms: at(0.5), p99Ms: at(0.99) },
      newCalls: { rung, opened },
      rssMb: rssMb(this.#gateway.child.pid ?? 0),
    }
  }

  /**
   * Rings `agent`, and hangs up when the agent is heard.
   * @returns the time in ms from the webhook to the first loud frame
   */
  async greetingMs(agent: string): Promise<number> {
    const sid = this.#newSid()
    const atMs = performance.now()
    const socket = await this.#call(sid, agent)
    if (socket === null) throw new Error(`a call to ${agent} got no stream`)
    try {
      return await new Promise<number>((resolve, reject) => {
        const late = setTimeout(
          () => reject(new Error(`${agent} was silent for ${GREETING_WAIT_MS} ms`)),
          GREETING_WAIT_MS,
        )
        socket.on('message', (data: Buffer, isBinary) => {
          if (!isBinary || !isLoud(data)) return
          clearTimeout(late)
          resolve(performance.now() - atMs)
        })
      })
    } finally {
      socket.terminate()
      await this.#event(sid)
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#speaks)
    for (const { socket } of this.#callers) socket.terminate()
    this.#gateway.child.kill('SIGKILL')
    await this.#gateway.exit
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /**
   * Sends a signed event on its own connection.
   * @returns the status of the answer
   */
  #event(sid = this.#newSid()): Promise<number> {
    const body = JSON.stringify({ ...ringing(sid), callSessionState: 'Completed' })
    return new Promise((resolve, reject) => {
      const asked = request(
        {
          port: this.port,
          host: CARRIER,
          localAddress: CARRIER,
          path: '/events',
          method: 'POST',
          agent: new Agent({ keepAlive: false }),
          timeout: 15_000,
          headers: {
            'content-type': 'application/json',
            'x-sautikit-signature': signBody({
              body: Buffer.from(body),
              secret: SECRET,
              timestampS: Math.floor(Date.now() / 1000),
            }),
          },
        },
        (response) => {
          response.resume()
          resolve(response.statusCode ?? 0)
        },
      )
      asked.on('timeout', () => asked.destroy(new Error('no answer')))
      asked.on('error', reject)
      asked.end(body)
    })
  }

  /** Rings a call and opens its audio socket; null if one of these failed. */
  async #call(sid = this.#newSid(), agent = 'tone'): Promise<WebSocket | null> {
    try {
      const url = `http://${CARRIER}:${this.port}/voice/${agent}`
      // Each caller has its own number, because a number may have only a few calls.
      const form = { ...ringing(sid), callerNumber: `+2547${String(this.#sids).padStart(8, '0')}` }
      const answer = await post(url, { form, sign: { secret: SECRET } })
      return answer.status === 200 ? await openSocket(attribute(answer.text, 'url')) : null
    } catch {
      return null
    }
  }

  #newSid(): string {
    return `HD_${(++this.#sids).toString(16).padStart(12, '0')}`
  }
}

function isLoud(frame: Buffer): boolean {
  for (let at = 0; at + 1 < frame.length; at += 2) if (Math.abs(frame.readInt16LE(at)) > LOUD) return true
  return false
}

function rssMb(pid: number): number {
  const kb = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]
  return Math.round(Number(kb ?? 0) / 1024)
}

function tableOf(rows: readonly Row[]): string[] {
  return columns(
    rows,
    ['flood', ({ flood }) => flood],
    ['Mbit/s', ({ mbit }) => mbit],
    ['sent', ({ sentMbit }) => sentMbit.toFixed(1)],
    ['connections', ({ connections }) => connections],
    ...measuredColumns(),
    ['new calls', ({ newCalls }) => newCalls.rung],
    ['opened', ({ newCalls }) => newCalls.opened],
    ['RSS MB', ({ rssMb: mb }) => mb],
  )
}

/** Results as callers and the carrier experienced them. */
export function measuredColumns() {
  return [
    ['frames kept', ({ framesKept }: Measured) => `${(framesKept * 100).toFixed(1)} %`],
    ['gap ms', ({ gapMs }: Measured) => gapMs.toFixed(0)],
    ['webhooks', ({ webhooks }: Measured) => webhooks.count],
    ['failed', ({ webhooks }: Measured) => webhooks.failed],
    ['p50 ms', ({ webhooks }: Measured) => webhooks.p50Ms.toFixed(1)],
    ['p99 ms', ({ webhooks }: Measured) => webhooks.p99Ms.toFixed(1)],
  ] as const
}
