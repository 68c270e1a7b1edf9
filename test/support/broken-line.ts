import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { Test } from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { loadConfig } from '../../src/config/load-config.js'
import { startGateway } from '../../src/gateway/gateway.js'
import type { Gateway } from '../../src/gateway/gateway.js'
import { resetConnection } from '../../src/carrier/audio-fork.js'
import type { AfterStream } from '../../src/carrier/choices.js'
import type { CallerScript } from '../../src/simulator/caller-script.js'
import { simulatedPerson } from '../../src/simulator/caller.js'
import type { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { startCall } from '../../src/carrier/carrier-call.js'
import type { LiveSimulatedCall } from '../../src/carrier/carrier-call.js'
import { createLog } from '../../src/telemetry/log.js'
import {
  API_KEY,
  CARRIER,
  OUR_NUMBER,
  SILENT,
  WEBHOOK_SECRET,
  agentFile,
  person,
  startCarrier,
  writeBackends,
} from './fleet.js'
import { until } from './until.js'
import { portOf } from './port-of.js'

/**
 * One gateway behind a balancer, and the simulator's carrier with its REST API. The balancer's connections break as if
 * the balancer were killed: without a close frame or other message. It accepts new connections at once, as after a
 * restart.
 */

const asksForStream = (head: Buffer): boolean => head.toString('latin1').startsWith('GET /audio')

/** Starts a balancer that passes bytes on. */
async function startBalancer(
  t: Test,
  to: () => number,
): Promise<{
  readonly origin: string
  readonly breaks: () => void
  readonly vanishes: () => void
  readonly refuses: (sockets: number) => void
}> {
  const sockets = new Set<Socket>()
  const streams = new Set<Socket>()
  const clients = new Set<Socket>()
  let vanished = false
  let refused = 0
  const join = (client: Socket, head: Buffer): void => {
    const gateway = connect(to(), '127.0.0.1')
    gateway.write(head)
    clients.add(client)
    const isStream = asksForStream(head)
    for (const [socket, other] of [
      [client, gateway],
      [gateway, client],
    ] as const) {
      sockets.add(socket)
      if (isStream) streams.add(socket)
      socket.pipe(other)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        streams.delete(socket)
        clients.delete(socket)
        if (!vanished) other.destroy()
      })
    }
  }
  const server = createServer((client) => {
    client.once('error', () => undefined)
    client.once('data', (head: Buffer) => {
      if (refused === 0 || !asksForStream(head)) return join(client, head)
      refused--
      client.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    })
  })
  const port = await portOf(t, server)
  // Breaks connections for webhooks first. Otherwise a carrier that notices the end of its stream first would ask on a
  // webhook connection how the call continues. It would then lose that connection and end the call.
  const breaks = (): void => {
    for (const socket of sockets) if (!streams.has(socket)) resetConnection(socket)
    setImmediate(() => {
      for (const socket of streams) resetConnection(socket)
    })
  }
  const vanishes = (): void => {
    vanished = true
    for (const client of clients) resetConnection(client)
  }
  t.teardown(breaks)
  const refuses = (sockets: number): void => {
    refused = sockets
  }
  return { origin: `http://127.0.0.1:${port}`, breaks, vanishes, refuses }
}

interface Line {
  readonly carrier: Awaited<ReturnType<typeof startCarrier>>
  readonly breaks: () => void
  /** Breaks connections like `breaks`, but without notice to the gateway. */
  readonly vanishes: () => void
  /** Answers this number of the next audio sockets with 503. */
  readonly refuses: (sockets: number) => void
  readonly gateway: Gateway
  readonly records: readonly CallRecord[]
  readonly recordOf: (callSid: string) => Promise<CallRecord>
  readonly call: (afterStream: AfterStream) => LiveSimulatedCall & {
    readonly streams: () => number
    /** Returns the number of closed streams that the carrier has reported to the gateway, or tried to report. */
    readonly told: () => number
    /** Verbs that the carrier has begun. */
    readonly verbs: readonly string[]
  }
}

/**
 * @param more  the agent's file, with a module, and the behaviour of people whom the gateway rings. By default the
 * agent speaks a tone, and people say "Hello?" and stay
 */
export async function startLine(
  t: Test,
  speech: CallerSpeech,
  env: Readonly<Record<string, string>>,
  more: {
    readonly agent?: Readonly<Record<string, unknown>>
    readonly callee?: CallerScript
    /** Module of the agent's tools: a file that is copied to `tools/`. */
    readonly module?: string
  } = {},
): Promise<Line> {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-balancer-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const agentsDir = join(folder, 'agents')
  await mkdir(agentsDir)
  writeBackends(agentsDir)
  await writeFile(join(agentsDir, 'fleet.yaml'), JSON.stringify(more.agent ?? agentFile({ recovery: 'callback' })))
  if (more.module !== undefined) {
    await mkdir(join(agentsDir, 'tools'))
    await copyFile(more.module, join(agentsDir, 'tools', basename(more.module)))
  }
  const carrier = await startCarrier(speech, more.callee)
  t.teardown(() => carrier.rest.close())
  // Some of the people who were rung may not have answered when the test hung up.
  t.teardown(() => {
    for (const { leg } of carrier.rest.workspace.calls()) leg.hangUp()
  })
  let port = 0
  const { origin, breaks, vanishes, refuses } = await startBalancer(t, () => port)
  const settings = {
    PUBLIC_URL: origin,
    SAUTIKIT_API_URL: carrier.rest.origin,
    SAUTIKIT_API_KEY: API_KEY,
    SAUTIKIT_WEBHOOK_SECRETS: WEBHOOK_SECRET,
    SHOP_API_URL: 'http://127.0.0.1:9',
    MEDIA_WORKERS: '1',
    SPEECH_WORKERS: '1',
    ...env,
  }
  const gateway = await startGateway({
    config: {
      ...loadConfig(settings, null),
      agentsDir,
      dataDir: join(folder, 'data'),
      port: 0,
      opsPort: 0,
      host: '127.0.0.1',
    },
    env: settings,
    log: createLog({ level: (process.env['TEST_LOG'] ?? 'silent') as 'silent' }),
  })
  port = gateway.publicPort
  const records: CallRecord[] = []
  gateway.onRecord((record) => records.push(record))
  t.teardown(() => gateway.stop(0))
  let last = 0
  return {
    carrier,
    gateway,
    breaks,
    vanishes,
    refuses,
    records,
    recordOf: async (callSid) => {
      const found = (): CallRecord | undefined => records.find((record) => record.callSid === callSid)
      await until(() => found() !== undefined, 10_000, 'the record')
      return found() as CallRecord
    },
    call: (afterStream) => {
      let streams = 0
      let told = 0
      const verbs: string[] = []
      const placed = startCall({
        ...CARRIER,
        voiceUrl: `${origin}/voice/fleet`,
        eventsUrl: `${origin}/events`,
        from: `+2547000${String(++last).padStart(3, '0')}01`,
        to: OUR_NUMBER,
        afterStream,
        giveUpMs: 30_000,
        workspace: carrier.rest.workspace,
        caller: simulatedPerson({ ...person(speech), script: SILENT, files: new Map() }),
        onEvent: (event) => {
          if (event.type === 'stream-opened') streams++
          if (event.type === 'verb') verbs.push(event.name)
          if (event.type === 'webhook' && event.state === 'StreamStopped') told++
        },
      })
      t.teardown(() => placed.hangUp())
      return { ...placed, streams: () => streams, told: () => told, verbs }
    },
  }
}

/** Idempotency keys of the POSTs that the gateway has sent to the carrier. */
export const asked = ({ carrier }: Line, path: RegExp): string[] =>
  carrier.rest.seen
    .filter((seen) => seen.method === 'POST' && path.test(seen.path))
    .map((seen) => seen.idempotencyKey ?? '')
