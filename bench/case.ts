import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { messageOf } from '../src/core/errors.js'
import { FRAME_MS } from '../src/core/units.js'
import { Child, cpuBetween, type CpuShare, cpuTime, freePort, machineMs } from './kit/process.js'
import { encode, merge, percentilesMs } from './kit/histogram.js'
import { FOLLOWING_MESSAGE_MS_MAX, collectionsBy, hasBackend, isConversation, isProduction } from './protocol.js'
import type {
  BackendFacts,
  BackendOptions,
  FromBackend,
  FromGenerator,
  FromServer,
  GeneratorOptions,
  GeneratorResult,
  ServerMemory,
  ServerOptions,
  ServerPauses,
  ToBackend,
  ToGenerator,
  ToServer,
} from './protocol.js'
import type { CaseOptions, CaseResult, MemoryOfCase, MemoryPoint, Speed } from './results.js'
import type { Subject } from './subjects.js'
import { selfSigned } from './kit/self-signed.js'
import { recordPerf } from './where/samples.js'
import { addTruth, framesInMessage, stoodStill, untruths } from './truth.js'

/**
 * Maximum lateness of the generator in ms. Above it a run is void, because the generator itself causes the latencies.
 * It is a quarter of a frame, far below the 20 ms target. A Node timer on a machine with two busy cores can be this
 * exact (1 to 2 ms if idle).
 */
export const LATENESS_P99_MS_MAX = 5
const SETTLE_MS = 1500
/**
 * Option that switches off V8's memory reducer. Each forced collection would start the reducer, which collects twice 8
 * s later, during the measurement. findings/v8-memory-reducer-has-the-flag-of-external-memory.sh
 */
const NO_REDUCER = '--no-memory-reducer'
/**
 * Delay in ms after which the model sends back audio at L2-prod-repeat. A caller talks for two seconds in five. With
 * this delay, that speech comes back while the caller is silent, as in a conversation. So the gateway finds no echo on
 * the lines.
 */
const ANSWER_AFTER_MS = 2500
const WARM_UP_MS = 2500
/**
 * Warm-up in ms if callers talk. After a restart, the first marker comes after the caller's two seconds of talk, and
 * only then the cost of the restart is known.
 */
const TALK_WARM_UP_MS = 3000
/**
 * Warm-up in ms with ten calls. V8 is still compiling after half a minute; in the first ten seconds this is a third of
 * the calls' CPU time.
 */
const STEADY_WARM_UP_MS = 40_000
/** Time in ms for starting, opening and settling, in addition to the measurement. */
const OVERHEAD_MS = 90_000
const OPEN_TIMEOUT_MS = 60_000

type Server = Child<ToServer, FromServer>
type Generator = Child<ToGenerator, FromGenerator>
type Backend = Child<ToBackend, FromBackend>

/**
 * Runs one subject at one level with one number of calls. It never throws because of the subject: a failure is part of
 * the result.
 */
export async function runCase(subject: Subject, options: CaseOptions): Promise<CaseResult> {
  const children: (() => Promise<void>)[] = []
  const seen = { callsOpen: 0 }
  try {
    return await measure(subject, options, children, seen)
  } catch (thrown) {
    return {
      options,
      verdict: 'failed',
      reasons: [messageOf(thrown)],
      callsOpen: seen.callsOpen,
      speed: null,
      memory: null,
      truth: null,
      backend: null,
      pauses: null,
      lateness: null,
    }
  } finally {
    await Promise.all(children.toReversed().map((stop) => stop()))
  }
}

async function measure(
  subject: Subject,
  options: CaseOptions,
  children: (() => Promise<void>)[],
  seen: { callsOpen: number },
): Promise<CaseResult> {
  const tls = isProduction(options.level) ? writeCertificate(children) : null
  const edgeTls = options.edgeTls ? (tls ?? writeCertificate(children)) : null
  const backend = hasBackend(options.level) ? startBackend(subject, options, tls, children) : null
  const backendUrl =
    backend === null ? null : `${tls === null ? 'ws' : 'wss'}://127.0.0.1:${(await backend.next('ready')).port}`
  const { servers, port } = await startServers(subject, options, { backendUrl, tls, edgeTls }, children)
  const generators = startGenerators(subject, options, port, children)

  const points: MemoryPoint[] = []
  const openCalls = async (calls: number): Promise<void> => {
    const shares = share(calls, generators.length)
    const opened = await Promise.all(
      generators.map((generator, i) => {
        generator.tell({ type: 'open', calls: shares[i] as number })
        return generator.next('opened', OPEN_TIMEOUT_MS)
      }),
    )
    seen.callsOpen = opened.reduce((sum, answer) => sum + answer.calls, 0)
    const failure = opened.flatMap((answer) => answer.failures)[0]
    if (failure !== undefined) throw new Error(`${seen.callsOpen} of ${calls} calls could be opened: ${failure}`)
    await sleep(SETTLE_MS)
  }
  const weigh = async (calls: number): Promise<void> => {
    const { rssBytes, heapUsedBytes } = await memoryNow(servers)
    points.push({ calls, rssBytes, heapUsedBytes })
  }
  if (options.memory) {
    await weigh(0)
    await openCalls(Math.max(generators.length, Math.ceil(options.calls / 4)))
    await weigh(Math.max(generators.length, Math.ceil(options.calls / 4)))
  }
  await openCalls(options.calls)
  if (options.memory) await weigh(options.calls)

  const processes = [
    ...servers.map((server) => server.pid),
    ...generators.map((generator) => generator.pid),
    ...(backend === null ? [] : [backend.pid]),
  ]
  const heapBefore = await memoryNow(servers)
  if (options.steady) await sleep(STEADY_WARM_UP_MS)
  backend?.tell({ type: 'restart' })
  await sleep(WARM_UP_MS + (isProduction(options.level) ? TALK_WARM_UP_MS : 0) + answerAfterMs(options))
  for (const generator of generators) generator.tell({ type: 'measure' })
  const from = processes.map(cpuTime)
  const fromMs = machineMs()
  const perfFile = options.where?.perfFile ?? null
  const [pid] = processes
  if (perfFile !== null && pid !== undefined) await recordPerf(pid, options.seconds, perfFile)
  else await sleep(options.seconds * 1000)
  const toMs = machineMs()
  const to = processes.map(cpuTime)
  for (const generator of generators) generator.tell({ type: 'finish' })
  const results = (await Promise.all(generators.map((generator) => generator.next('result')))).map(
    (message) => message.result,
  )
  const heapAfter = await memoryNow(servers)
  const facts = backend === null ? null : await factsOf(backend)

  const shares = processes.map((pid, i) =>
    cpuBetween(pid, from[i] as (typeof from)[number], to[i] as (typeof to)[number]),
  )
  const lateness = percentilesMs(merge(results.map((result) => result.latenessUs)))
  const wrong = untruths(subject, options, results, facts, stoodStill(heapAfter.pauses, lateness))
  const late = lateness === null || lateness.p99 > options.latenessMsMax
  const verdict = late ? 'void' : wrong.length > 0 ? 'untrue' : 'held'
  const tooLate = `the generator was late by ${lateness === null ? 'all' : `${lateness.p99.toFixed(1)} ms at p99`}, at most ${options.latenessMsMax} ms are allowed`
  const noise = servers.map((server) => server.stderr.trim().split('\n')[0] ?? '').find((words) => words !== '') ?? ''
  const speed =
    verdict === 'held'
      ? speedOf(options, results, shares, servers.length, generators.length, heapBefore, heapAfter)
      : null
  return {
    options,
    verdict,
    reasons: [
      ...(late ? [tooLate] : []),
      ...wrong,
      ...(wrong.length > 0 ? pausesIn(heapAfter.pauses) : []),
      ...(wrong.length > 0 && noise !== '' ? [`the server says: ${noise.slice(0, 200)}`] : []),
    ],
    callsOpen: seen.callsOpen,
    speed,
    memory: memoryOf(points),
    truth: addTruth(results),
    backend: facts,
    pauses: heapAfter.pauses,
    lateness,
    ...(options.where === undefined || pid === undefined ? {} : { window: { pid, fromMs, toMs } }),
  }
}

/** Number of calls of each part, if `calls` are divided into `parts`. */
function share(calls: number, parts: number): readonly number[] {
  return Array.from({ length: parts }, (_, i) => Math.floor(calls / parts) + (i < calls % parts ? 1 : 0))
}

type Tls = BackendOptions['tls']

/** Certificate of the stand-in backend, in files that exist only while the case is running. */
function writeCertificate(children: (() => Promise<void>)[]): NonNullable<Tls> {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-bench-'))
  children.push(async () => rmSync(folder, { recursive: true, force: true }))
  const { key, cert } = selfSigned()
  const files = { keyFile: join(folder, 'key.pem'), certFile: join(folder, 'cert.pem') }
  writeFileSync(files.keyFile, key, { mode: 0o600 })
  writeFileSync(files.certFile, cert)
  return files
}

function startBackend(subject: Subject, options: CaseOptions, tls: Tls, children: (() => Promise<void>)[]): Backend {
  const frames = framesInMessage(subject, options)
  const backendOptions: BackendOptions = {
    cushionMs: 20,
    messageMsMax: frames === null ? FOLLOWING_MESSAGE_MS_MAX : frames * FRAME_MS,
    thinkMs: 600,
    tls,
    oneResponse: options.level === 'L2-prod-repeat',
    answerAfterMs: answerAfterMs(options),
    conversation: isConversation(options.level),
  }
  const backend: Backend = new Child({
    name: 'the stand-in backend',
    file: fileURLToPath(
      new URL(options.level === 'L2-cascade' ? './backend/cascade.js' : './backend/main.js', import.meta.url),
    ),
    variable: 'BENCH_BACKEND',
    options: backendOptions,
    cpus: options.pin ? '1' : null,
  })
  children.push(() => backend.stop({ type: 'stop' }))
  return backend
}

function answerAfterMs({ level }: CaseOptions): number {
  return level === 'L2-prod-repeat' ? ANSWER_AFTER_MS : 0
}

/**
 * Starts one server process, or several that share a port. If there are several, each also has its own port, for the
 * sockets of its calls.
 */
async function startServers(
  subject: Subject,
  options: CaseOptions,
  backend: Pick<ServerOptions, 'backendUrl' | 'edgeTls'> & { readonly tls: Tls },
  children: (() => Promise<void>)[],
): Promise<{ readonly servers: readonly Server[]; readonly port: number }> {
  const servers: Server[] = []
  // If the system has chosen the port for uWebSockets.js, the port cannot be shared.
  let port = options.processes === 1 ? 0 : await freePort()
  for (let i = 0; i < options.processes; i++) {
    const nodePort = options.processes === 1 ? null : await freePort()
    const server = startServer(subject, options, { ...backend, port, nodePort }, children)
    servers.push(server)
    port = (await server.next('ready')).port
  }
  return { servers, port }
}

/** Memory of all servers together. The pauses are the pauses of the worst server. */
async function memoryNow(servers: readonly Server[]): Promise<ServerMemory> {
  const all = await Promise.all(
    servers.map((server) => {
      server.tell({ type: 'memory' })
      return server.next('memory')
    }),
  )
  const sum = (pick: (memory: ServerMemory) => number): number => all.reduce((total, memory) => total + pick(memory), 0)
  const pauses = all.flatMap((memory) => (memory.pauses === null ? [] : [memory.pauses]))
  const counted = all.every((memory) => memory.allocatedBytes !== null)
  return {
    rssBytes: sum((memory) => memory.rssBytes),
    heapUsedBytes: sum((memory) => memory.heapUsedBytes),
    allocatedBytes: counted
      ? {
          main: sum((memory) => memory.allocatedBytes?.main ?? 0),
          workers: sum((memory) => memory.allocatedBytes?.workers ?? 0),
        }
      : null,
    pauses:
      pauses.length === 0
        ? null
        : {
            gcMaxMs: Math.max(...pauses.map(({ gcMaxMs }) => gcMaxMs)),
            gcMs: pauses.reduce((total, { gcMs }) => total + gcMs, 0),
            loopMaxMs: Math.max(...pauses.map(({ loopMaxMs }) => loopMaxMs)),
            collections: collectionsBy((reason) => pauses.reduce((total, one) => total + one.collections[reason], 0)),
            stops: pauses.flatMap(({ stops }) => stops),
          },
  }
}

function startServer(
  subject: Subject,
  options: CaseOptions,
  { tls, ...where }: Pick<ServerOptions, 'backendUrl' | 'edgeTls' | 'port' | 'nodePort'> & { readonly tls: Tls },
  children: (() => Promise<void>)[],
): Server {
  const { legRateHz, coding } = subject
  const serverOptions: ServerOptions = { ...options, legRateHz, coding, ...where }
  const server: Server = new Child({
    name: subject.name,
    file: subject.file(options.level),
    variable: 'BENCH_SERVER',
    options: serverOptions,
    cpus: options.pin ? '0' : null,
    nodeOptions: [NO_REDUCER, ...(options.where?.nodeOptions ?? [])],
    environment: {
      ...(options.profileDir === null ? {} : { BENCH_PROFILE_DIR: options.profileDir }),
      ...(options.steady ? { BENCH_UNWATCHED: '1' } : {}),
      ...(options.where === undefined ? {} : { BENCH_STOPS: '1' }),
      ...(tls === null ? {} : { NODE_EXTRA_CA_CERTS: tls.certFile }),
    },
  })
  children.push(() => server.stop({ type: 'stop' }))
  return server
}

function startGenerators(
  subject: Subject,
  options: CaseOptions,
  port: number,
  children: (() => Promise<void>)[],
): readonly Generator[] {
  const shares = share(options.calls, Math.min(options.generators, options.calls))
  const { opening, legRateHz, coding } = subject
  let firstCall = 0
  return shares.map((calls, i) => {
    const generatorOptions: GeneratorOptions = {
      ...options,
      ...{ opening, legRateHz, coding, port, calls, firstCall },
      tls: options.edgeTls,
      messageFrames: framesInMessage(subject, options),
      answerAfterMs: answerAfterMs(options),
      freshWebhooks: options.processes > 1,
      lifeMs: options.seconds * 1000 + OVERHEAD_MS + (options.steady ? STEADY_WARM_UP_MS : 0),
    }
    firstCall += calls
    const generator: Generator = new Child({
      name: `generator ${i + 1}`,
      file: fileURLToPath(new URL('./generator/main.js', import.meta.url)),
      variable: 'BENCH_GENERATOR',
      options: generatorOptions,
      cpus: options.pin ? '1' : null,
    })
    children.push(() => generator.stop(null))
    return generator
  })
}

async function factsOf(backend: Backend): Promise<BackendFacts> {
  backend.tell({ type: 'facts' })
  const { type: _type, ...facts } = await backend.next('facts')
  return facts
}

function speedOf(
  options: CaseOptions,
  results: readonly GeneratorResult[],
  shares: readonly CpuShare[],
  servers: number,
  generators: number,
  before: ServerMemory,
  after: ServerMemory,
): Speed {
  const server = addShares(shares.slice(0, servers))
  const frames = results.reduce((sum, result) => sum + result.framesReceived, 0)
  const added = merge(results.map((result) => result.addedUs))
  const stops = merge(results.map((result) => result.stopUs))
  const allocated =
    before.allocatedBytes === null || after.allocatedBytes === null || frames === 0
      ? null
      : {
          main: (after.allocatedBytes.main - before.allocatedBytes.main) / frames,
          workers: (after.allocatedBytes.workers - before.allocatedBytes.workers) / frames,
        }
  const count = (pick: (result: GeneratorResult) => number): number =>
    results.reduce((sum, result) => sum + pick(result), 0)
  return {
    server,
    generatorCores: shares.slice(servers, servers + generators).reduce((sum, { cores }) => sum + cores, 0),
    backendCores: shares[servers + generators]?.cores ?? 0,
    cpuMsPerCallSecond: (server.cores * 1000) / options.calls,
    mainMsPerCallSecond: (server.mainCores * servers * 1000) / options.calls,
    cpuUsPerFrame: (server.cores * options.seconds * 1e6) / Math.max(1, frames),
    framesPerSecond: frames / options.seconds,
    addedMs: percentilesMs(added),
    wholeMs: percentilesMs(merge(results.map((result) => result.wholeUs))),
    addedHdr: encode(added),
    gapMs: percentilesMs(merge(results.map((result) => result.gapUs))),
    stopMs: percentilesMs(stops),
    stopHdr: encode(stops),
    heldMs: percentilesMs(merge(results.map((result) => result.heldUs))),
    bargeIns: {
      tried: count((result) => result.bargeIns.tried),
      stopped: count((result) => result.bargeIns.stopped),
      cleared: count((result) => result.bargeIns.cleared),
      resumed: count((result) => result.bargeIns.resumed),
    },
    heapBytesPerFrame: allocated,
  }
}

/** Sum of the shares of several processes. `mainCores` is the share of the busiest main thread. */
function addShares(shares: readonly CpuShare[]): CpuShare {
  return {
    cores: shares.reduce((sum, { cores }) => sum + cores, 0),
    mainCores: Math.max(...shares.map(({ mainCores }) => mainCores)),
    otherCores: shares.flatMap(({ otherCores }) => otherCores).toSorted((a, b) => b - a),
  }
}

/** Text about pauses that may explain a stall. */
function pausesIn(pauses: ServerPauses | null): readonly string[] {
  if (pauses === null) return []
  return [
    `the server stood still for ${pauses.loopMaxMs.toFixed(0)} ms at most, ${pauses.gcMaxMs.toFixed(0)} ms of it for garbage`,
  ]
}

function memoryOf(points: readonly MemoryPoint[]): MemoryOfCase | null {
  if (points.length === 0) return null
  const few = points[1]
  const many = points.at(-1)
  const slope =
    few === undefined || many === undefined || many.calls <= few.calls
      ? null
      : (many.rssBytes - few.rssBytes) / (many.calls - few.calls)
  return { points, bytesPerCall: slope }
}
