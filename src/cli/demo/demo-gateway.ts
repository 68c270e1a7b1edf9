import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Environment } from '../../agents/file/template.js'
import { loadConfig } from '../../config/load-config.js'
import { packageRoot } from '../../config/package-root.js'
import { GatewayError } from '../../core/errors.js'
import { FRAME_MS } from '../../core/units.js'
import { startGateway } from '../../gateway/gateway.js'
import type { Gateway } from '../../gateway/gateway.js'
import { placeCalls, type CallOptions } from '../../simulator/call-command.js'
import type { CallReport } from '../../simulator/call-report.js'
import { CALL_DEFAULTS } from '../../simulator/choices.js'
import { AgentModels } from '../../simulator/vendors/agent-models.js'
import { CascadeDouble } from '../../simulator/vendors/cascade-double.js'
import { createLog } from '../../telemetry/log.js'
import { conversation } from '../conversation.js'
import { startDemoShop } from './demo-shop.js'
import type { DemoShop } from './demo-shop.js'
import { json as jsonText } from '../terminal.js'
import type { Terminal } from '../terminal.js'

export const KEY = 'key-of-the-demo'
/** Between pieces of 100 ms: a tenth faster than speech, so that what speaks dies before its answer is complete. */
export const PACE_MS = 90

/** The options of `mkondo demo`. */
export interface DemoOptions {
  readonly agent: 'order-status' | 'support'
  readonly failover?: true
  readonly cascade?: true
  readonly after?: true
  readonly pay?: true
  readonly languages?: true
  readonly knownCaller?: true
  readonly timeline?: true
  /** Where the recording of the call is kept. */
  readonly record?: string
  /** Where the result is written as JSON: a file, or `-` for standard output; null: nowhere. */
  readonly json: string | null
}

/** Gateway and shop of a demo. */
export interface DemoGateway {
  readonly gateway: Gateway
  readonly shop: DemoShop
  /** Removed at the end. */
  readonly folder: string
  /** Since the start, as text: `3.2 s`. */
  readonly elapsed: () => string
  /** Prints for people: on standard output, unless the JSON goes there. */
  readonly print: (text: string) => unknown
}

/** Result of a demo. */
interface Shown {
  readonly ok: boolean
  /** The result as JSON. */
  readonly result: object
  /** Final sentence about it; empty: it was printed already. */
  readonly verdict: string
}

interface Setting {
  /** Settings of the gateway. */
  readonly env?: Environment
  /** The lines that take the place of `backend:` in the shipped order line's file. Absent: the shipped agents as they are. */
  readonly backend?: string
  /** A line that is added to that agent's `voice:`. */
  readonly voice?: string
  /** Folder of other agents than the shipped ones. */
  readonly agentsDir?: string
  /** Writes what the gateway reads at its start. @returns more settings */
  readonly prepare?: (folder: string) => Promise<Environment>
  /** Closed at the end. */
  readonly services?: readonly { close(): Promise<unknown> }[]
}

/**
 * Runs a demo on a gateway of its own, with the demo's orders API, and frees everything at the end.
 * @returns the exit code: 0 when it has shown what it should
 */
export async function withDemoGateway(
  { json }: DemoOptions,
  terminal: Terminal,
  { backend, voice, agentsDir, prepare, services = [], ...setting }: Setting,
  run: (demo: DemoGateway) => Promise<Shown>,
): Promise<number> {
  const startedMs = performance.now()
  const print = json === '-' ? terminal.err : terminal.out
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-demo-'))
  const open: { close(): Promise<unknown> }[] = [
    ...services,
    { close: () => rm(folder, { recursive: true, force: true }) },
  ]
  try {
    const env = { ...setting.env, ...(await prepare?.(folder)) }
    const agents = backend === undefined ? agentsDir : await orderAgent(folder, backend, voice)
    const shop = await startDemoShop()
    open.push(shop)
    const gateway = await startGateway({
      config: {
        ...loadConfig(env, null),
        port: 0,
        opsPort: 0,
        host: '127.0.0.1',
        tlsCert: null,
        tlsKey: null,
        shopApiUrl: shop.url,
        dataDir: folder,
        agentsWatch: false,
        ...(agents === undefined ? {} : { agentsDir: agents }),
      },
      env: { ...env, SHOP_API_URL: shop.url },
      // Not on standard output: the JSON may go there.
      log: createLog({ level: 'error', destination: { write: (line) => terminal.err(line) } }),
    })
    open.push({ close: () => gateway.stop(2000) })
    const elapsed = (): string => `${((performance.now() - startedMs) / 1000).toFixed(1)} s`
    const { ok, result, verdict } = await run({ gateway, shop, folder, elapsed, print })
    if (json === '-') terminal.out(jsonText(result))
    else if (json !== null) await writeFile(json, jsonText(result))
    print(verdict)
    return ok ? 0 : 1
  } finally {
    // The gateway first: it uses the others, which are closed even where one before them cannot be.
    await open.reduceRight<Promise<unknown>>((before, one) => before.finally(() => one.close()), Promise.resolve())
  }
}

/** @returns the folder of the shipped order line's agent, changed so */
async function orderAgent(folder: string, backend: string, voice?: string): Promise<string> {
  const yaml = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
  const changed = yaml
    .replace(/^backend: .*$/m, backend)
    .replace(/^voice:$/m, voice === undefined ? 'voice:' : `voice:\n  ${voice}`)
  if (changed === yaml)
    throw new GatewayError('AGENT_INVALID', 'agents/order-status.yaml has no line `backend: …` to change')
  const agents = join(folder, 'agents')
  await mkdir(agents)
  await writeFile(join(agents, 'order-status.yaml'), changed)
  return agents
}

/** Looks again and again until it has happened, and then does what is to be done. @returns what ends that */
export function once(happened: () => boolean, then: () => void): () => void {
  const watch = setInterval(() => {
    if (!happened()) return
    clearInterval(watch)
    then()
  }, FRAME_MS)
  return () => clearInterval(watch)
}

/** The language model of a cascade, and what else it needs, that answers as the order line's agent does. */
export async function orderModels() {
  const agentsDir = join(packageRoot(), 'agents')
  const models = await AgentModels.load({ agentsDir, names: ['order-status'], env: {}, thinkMs: 0 })
  return { models, services: await CascadeDouble.start({ key: KEY, models: models.cascade() }) }
}

/** Somebody calls a line, alone, and what is said is printed. */
export function callsAlone(
  demo: DemoGateway,
  line: string,
  call: Partial<CallOptions>,
  terminal: Terminal,
): Promise<CallReport> {
  demo.print(`The gateway takes calls after ${demo.elapsed()}. Somebody calls the ${line} line.\n\n`)
  return placeCall(demo, call, conversation(demo.print, terminal))
}

/** Places one spoken call. */
export async function placeCall(
  { gateway, shop }: DemoGateway,
  call: Partial<CallOptions>,
  write: (text: string) => unknown,
): Promise<CallReport> {
  const [report] = await placeCalls(
    {
      ...CALL_DEFAULTS,
      url: `http://127.0.0.1:${gateway.publicPort}`,
      opsUrl: `http://127.0.0.1:${gateway.opsPort}`,
      shopUrl: shop.url,
      json: null,
      ...call,
    },
    { out: write, err: write, env: {}, signal: null },
  )
  if (report === undefined) throw new GatewayError('CALL_FAULT', 'the call has no report')
  return report
}

export function verdictOf(
  missing: readonly string[],
  done: string,
  elapsed: () => string,
): Pick<Shown, 'ok' | 'verdict'> {
  const ok = missing.length === 0
  return { ok, verdict: `\n${ok ? `${done} ` : `Missing: ${missing.join('; ')} `}(${elapsed()} in all).\n` }
}
