import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import { packageRoot } from '../../src/config/package-root.js'
import { CARRIER_FRAME_BYTES_MAX } from '../../src/core/limits.js'
import { createLog } from '../../src/telemetry/log.js'
import { attribute, get, openSocket, post, ringing } from '../edge/gateway.js'
import { lightGateway } from '../grafana/light-gateway.js'
import { reexport } from '../support/module-beside.js'
import { until } from '../support/until.js'
import { endsWith, mkondo, takesCalls } from './mkondo-process.js'

/** It speaks a tone for as long as the call lasts. */
const TONE = new URL('../workers/poison-backend.js', import.meta.url).href
const LIMIT = 350
const STRANGERS = 600
/** A process that spins takes all of a core; one call and the health checks a few hundredths. */
const CORES_MAX = 0.5

t.test(
  'a gateway without file descriptors keeps its call',
  { skip: process.platform === 'linux' ? false : 'there is a /proc to look at on Linux only' },
  async (t) => {
    const agents = t.testdir({
      'order-status.yaml': readFileSync(join(packageRoot(), 'agents/order-status.yaml'), 'utf8'),
      'tone.yaml': `version: 1\nname: tone\ninstructions: Speak.\nbackend: module:./tone.mjs\n`,
      'tone.mjs': reexport(TONE),
    })
    const run = mkondo(
      ['serve', '--with-shop'],
      {
        PORT: '0',
        OPS_PORT: '0',
        HOST: '127.0.0.1',
        AGENTS_DIR: agents,
        DATA_DIR: `${agents}/data`,
        KEEP_CALLS: 'false',
        MEDIA_WORKERS: '1',
      },
      LIMIT,
    )
    const { child, lines } = run
    endsWith(t, run)
    const said = (words: string): number => lines.filter((line) => line.includes(words)).length
    const { port, ops_port: opsPort } = await takesCalls(run)
    const ops = `http://127.0.0.1:${opsPort}`

    // The thread of its voice reads its code with the first call, from many files at once.
    const warmUp = await post(`http://127.0.0.1:${port}/voice/order-status`, { form: ringing('HD_warmup') })
    const greeted = await openSocket(attribute(warmUp.text, 'url'))
    let greeting = 0
    greeted.on('message', (_data, isBinary) => {
      if (isBinary) greeting++
    })
    await until(() => greeting > 0, 30_000, 'the greeting')
    greeted.terminate()

    const answer = await post(`http://127.0.0.1:${port}/voice/tone`, { form: ringing('HD_fine') })
    const audio = await openSocket(attribute(answer.text, 'url'))
    t.teardown(() => {
      audio.terminate()
    })
    let frames = 0
    let closed = false
    audio.on('message', (_data, isBinary) => {
      if (isBinary) frames++
    })
    audio.on('close', () => {
      closed = true
    })
    const speaks = setInterval(() => {
      audio.send(new Uint8Array(640))
    }, 20)
    t.teardown(() => {
      clearInterval(speaks)
    })
    await until(() => frames > 20, 20_000, 'the agent to be heard')

    const strangers: Socket[] = []
    t.teardown(() => {
      for (const stranger of strangers) stranger.destroy()
    })
    let refused = 0
    for (let i = 0; i < STRANGERS; i++) {
      const stranger = connect(port, '127.0.0.1')
      stranger.on('error', () => {
        refused++
      })
      strangers.push(stranger)
    }
    await until(() => said('file descriptors run out') > 0, 20_000, 'the gateway to say so')
    const ready = await get(`${ops}/readyz`)
    t.equal(ready.status, 503)
    t.match(JSON.parse(ready.text), { ready: false, reason: 'file-descriptors' })
    t.match((await get(`${ops}/metrics`)).text, /^mkondo_descriptors_low 1$/m, 'the operator still sees it')
    // A gateway that spins does so all the time; one that has just started compiles for some seconds.
    let cores = Infinity
    for (let i = 0; i < 3 && cores >= CORES_MAX; i++) {
      const before = { cpuMs: cpuMs(child.pid ?? 0), atMs: performance.now(), frames }
      await until(() => frames > before.frames + 100, 20_000, 'two seconds of the agent')
      cores = (cpuMs(child.pid ?? 0) - before.cpuMs) / (performance.now() - before.atMs)
    }
    t.ok(cores < CORES_MAX, `it does not spin (${cores.toFixed(2)} cores)`)
    t.ok(refused > 0, 'further connections are refused by the kernel')
    t.equal(said('file descriptors run out'), 1)
    t.same(
      lines.filter((line) => line.includes('EMFILE')),
      [],
    )

    for (const stranger of strangers.splice(0)) stranger.destroy()
    await until(() => said('available again') > 0, 20_000, 'the gateway to take connections again')
    t.equal((await get(`${ops}/readyz`)).status, 200)
    t.match((await get(`${ops}/metrics`)).text, /^mkondo_descriptor_pauses_total 1$/m)
    t.equal(
      (await post(`http://127.0.0.1:${port}/voice/tone`, { form: ringing('HD_fine2') })).status,
      200,
      'a new call is taken at the same port',
    )
    t.equal(closed, false)
    t.equal(said('run out'), 1)
  },
)

/**
 * CPU time of all threads of a process; proc(5): utime and stime are its 14th and 15th field, the second is in
 * brackets. Ticks are 10 ms.
 */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/** How a socket is ended, and what the call's record, the log and the metrics make of it. */
const ENDS: readonly (readonly [
  sid: string,
  end: (socket: WebSocket, sending: NodeJS.Timeout) => void,
  reason: string,
  outcome: string,
  detail: RegExp,
])[] = [
  ['HD_end000000001', (socket) => socket.close(1000), 'caller-hung-up', 'abandoned', /^in live$/],
  ['HD_end000000002', (socket) => socket.close(1011), 'carrier-error', 'failed', /closed with code 1011$/],
  [
    'HD_end000000003',
    (socket) => socket.send(Buffer.alloc(CARRIER_FRAME_BYTES_MAX + 1)),
    'carrier-protocol',
    'failed',
    /more than 131072 bytes$/,
  ],
  ['HD_end000000004', (socket) => socket.terminate(), 'socket-lost', 'abandoned', /without a close frame$/],
  [
    'HD_end000000005',
    (socket) => {
      for (let i = 0; i < 12; i++) socket.send(Buffer.alloc(64_000))
    },
    'carrier-abuse',
    'failed',
    /twice real time/,
  ],
  ['HD_end000000006', (_, sending) => clearInterval(sending), 'caller-hung-up', 'abandoned', /./],
]

t.test('each socket end has its reason in record, log, metrics', async (t) => {
  const lines: string[] = []
  const gateway = await lightGateway(
    // A carrier that could still ask is waited for when its connection broke.
    { SAUTIKIT_AFTER_STREAM: 'holds' },
    createLog({ level: 'info', destination: { write: (line) => void lines.push(line) } }),
  )
  t.teardown(() => gateway.close())
  for (const [sid, end, reason, outcome, detail] of ENDS) {
    const answer = await post(`${gateway.url}/voice/light`, { form: ringing(sid) })
    const socket = await openSocket(attribute(answer.text, 'url'))
    socket.on('error', () => undefined)
    const sending = setInterval(() => socket.readyState === WebSocket.OPEN && socket.send(Buffer.alloc(640)), 20)
    const closed = once(socket, 'close')
    await once(socket, 'message') // the greeting
    end(socket, sending)
    await closed
    clearInterval(sending)
    await until(() => gateway.calls.record(sid) !== undefined, 10_000, `the record of ${reason}`)
    t.match(gateway.calls.record(sid), { endReason: reason, outcome, endDetail: detail }, reason)
    t.match(
      lines
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .find((line) => line['msg'] === 'call ended' && line['call_sid'] === sid),
      { reason },
    )
  }
  const page = await (await fetch(`http://127.0.0.1:${gateway.opsPort}/metrics`)).text()
  for (const [, , reason] of ENDS) {
    const calls = ENDS.filter((end) => end[2] === reason).length
    t.match(page, new RegExp(`mkondo_call_ends_total\\{[^}]*reason="${reason}"\\} ${calls}\\b`))
  }
  t.match(page, /mkondo_call_ends_total\{[^}]*reason="process-died"\} 0/, 'unused reasons are exported as 0')
})
