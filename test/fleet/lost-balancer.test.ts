import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { CallRecord } from '../../src/call/record.js'
import { loadConfig } from '../../src/config/load-config.js'
import { startGateway } from '../../src/gateway/gateway.js'
import type { AfterStream } from '../../src/simulator/call-options.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { startCall } from '../../src/simulator/carrier.js'
import type { LiveSimulatedCall } from '../../src/simulator/carrier.js'
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
} from '../support/fleet.js'
import { until } from '../support/until.js'

/**
 * One gateway behind a balancer, and the simulator's carrier with its REST API. The balancer's connections break as they
 * do when it is killed: no close frame, nothing said. It takes new ones at once, as after a restart.
 */

t.setTimeout(60_000)
t.jobs = 2

const speech = await CallerSpeech.start(null)
t.teardown(() => speech.close())

/** Passes bytes on. */
async function startBalancer(
  t: Test,
  to: () => number,
): Promise<{ readonly origin: string; readonly breaks: () => void; readonly vanishes: () => void }> {
  const sockets = new Set<Socket>()
  const clients = new Set<Socket>()
  let vanished = false
  const server = createServer((client) => {
    const gateway = connect(to(), '127.0.0.1')
    clients.add(client)
    for (const [socket, other] of [
      [client, gateway],
      [gateway, client],
    ] as const) {
      sockets.add(socket)
      socket.pipe(other)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        clients.delete(socket)
        if (!vanished) other.destroy()
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const breaks = (): void => {
    for (const socket of sockets) socket.resetAndDestroy()
  }
  const vanishes = (): void => {
    vanished = true
    for (const client of clients) client.resetAndDestroy()
  }
  t.teardown(() => {
    server.close()
    breaks()
  })
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, breaks, vanishes }
}

interface Line {
  readonly carrier: Awaited<ReturnType<typeof startCarrier>>
  readonly breaks: () => void
  /** As `breaks`, but the gateway learns nothing of it. */
  readonly vanishes: () => void
  readonly records: readonly CallRecord[]
  readonly recordOf: (callSid: string) => Promise<CallRecord>
  readonly call: (afterStream: AfterStream, from?: string) => LiveSimulatedCall & { readonly streams: () => number }
}

async function startLine(t: Test, env: Readonly<Record<string, string>>): Promise<Line> {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-balancer-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const agentsDir = join(folder, 'agents')
  await mkdir(agentsDir)
  await writeFile(join(agentsDir, 'fleet.yaml'), JSON.stringify(agentFile({ recovery: 'callback' })))
  const carrier = await startCarrier(speech)
  t.teardown(() => carrier.rest.close())
  let port = 0
  const { origin, breaks, vanishes } = await startBalancer(t, () => port)
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
    breaks,
    vanishes,
    records,
    recordOf: async (callSid) => {
      const found = (): CallRecord | undefined => records.find((record) => record.callSid === callSid)
      await until(() => found() !== undefined, 10_000, 'the record')
      return found() as CallRecord
    },
    call: (afterStream, from) => {
      let streams = 0
      const placed = startCall({
        ...CARRIER,
        voiceUrl: `${origin}/voice/fleet`,
        eventsUrl: `${origin}/events`,
        from: from ?? `+2547000${String(++last).padStart(3, '0')}01`,
        to: OUR_NUMBER,
        afterStream,
        giveUpMs: 30_000,
        workspace: carrier.rest.workspace,
        caller: { ...person(speech), script: SILENT, files: new Map() },
        onEvent: (event) => {
          if (event.type === 'stream-opened') streams++
        },
      })
      t.teardown(() => placed.hangUp())
      return { ...placed, streams: () => streams }
    },
  }
}

const asked = ({ carrier }: Line, path: RegExp): string[] =>
  carrier.rest.seen
    .filter((seen) => seen.method === 'POST' && path.test(seen.path))
    .map((seen) => seen.idempotencyKey ?? '')

await Promise.all([
  t.test('a balancer is killed, and the carrier asks how the calls go on: they do, with new streams', async (t) => {
    const line = await startLine(t, { SAUTIKIT_AFTER_STREAM: 'continues' })
    const calls = [line.call('continues'), line.call('reposts')]
    await until(() => calls.every(({ streams }) => streams() === 1), 10_000, 'streams')
    await until(() => false, 800, '').catch(() => undefined)
    line.breaks()
    await until(() => calls.every(({ streams }) => streams() === 2), 5000, 'new streams')
    await until(() => false, 500, '').catch(() => undefined)
    for (const call of calls) call.hangUp()
    for (const call of calls) {
      const { callSid } = await call.done
      t.match(
        await line.recordOf(callSid),
        { endReason: 'caller-hung-up', resumed: [{ recording: null }], recoveredFrom: null, rootSid: callSid },
        'one record, of both streams',
      )
    }
    t.equal(line.records.length, 2)
    t.same(asked(line, /hangup|calls$/), [], 'nobody is hung up or rung')
  }),
  t.test('a balancer is lost with its network: the carrier asks while the socket still looks open here', async (t) => {
    const line = await startLine(t, { SAUTIKIT_AFTER_STREAM: 'continues' })
    const call = line.call('continues')
    await until(() => call.streams() === 1, 10_000, 'the stream')
    await until(() => false, 500, '').catch(() => undefined)
    line.vanishes()
    await until(() => call.streams() === 2, 5000, 'a new stream')
    await until(() => false, 300, '').catch(() => undefined)
    call.hangUp()
    const { callSid } = await call.done
    t.match(await line.recordOf(callSid), { endReason: 'caller-hung-up', resumed: [{ recording: null }] })
  }),
  t.test(
    'a balancer is killed, and the carrier holds the caller in silence: who is not there is rung back',
    async (t) => {
      const line = await startLine(t, { SAUTIKIT_AFTER_STREAM: 'holds' })
      const [held, words, left] = [line.call('holds'), line.call('continues'), line.call('holds')]
      await until(() => [held, words, left].every(({ streams }) => streams() === 1), 10_000, 'streams')
      await until(() => false, 800, '').catch(() => undefined)
      line.breaks()
      left.hangUp()
      t.match(await line.recordOf((await left.done).callSid), { endReason: 'caller-hung-up', resumed: [] })
      t.match(await line.recordOf(words.callSid), { endReason: 'socket-lost' })
      await until(() => asked(line, /calls$/).length > 0, 10_000, 'the caller to be rung')
      t.same(asked(line, /calls$/), [`recover-${held.callSid}`])
      t.same(asked(line, /hangup$/), [`${held.callSid}:lost`])
      t.match(await line.recordOf(held.callSid), { endReason: 'socket-lost', recoveredFrom: null })
      words.hangUp()
      const said = (await words.done).verbs
      t.same(said.slice(0, 2), ['Stream', 'Redirect'])
      t.notOk(said.includes('Stream', 2), 'where it is not known that a stream works, words')
      t.ok(said.length > 2)
      const greeted = (): boolean => line.records.some(({ direction }) => direction === 'outbound')
      await until(() => false, 1500, '').catch(() => undefined)
      for (const { leg } of line.carrier.rest.workspace.calls()) leg.hangUp()
      await until(greeted, 5000, 'the record of the call back')
      const record = line.records.find(({ direction }) => direction === 'outbound') as CallRecord
      t.match(record, {
        direction: 'outbound',
        recoveredFrom: held.callSid,
        rootSid: held.callSid,
        outbound: { clientRequestId: `recover-${held.callSid}` },
      })
      t.ok(record.timeline.some(({ name }) => name === 'call-back'))
      t.ok(record.timeline.some(({ name }) => name === 'screening'))
    },
  ),
])
