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
import { CascadeDouble } from '../../vendors/self-hosted/cascade-double.js'
import { createLog } from '../../telemetry/log.js'
import { conversation } from '../conversation.js'
import { startDemoShop } from './demo-shop.js'
import type { DemoShop } from './demo-shop.js'
import { json as jsonText } from '../terminal.js'
import type { Terminal } from '../terminal.js'

export const KEY = 'key-of-the-demo'
/**
 * Time in ms after which the double sends the next 100 ms of sound. It is a tenth faster than speech. The service must
 * die before its answer is complete.
 */
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
  /** File for the recording of the call. */
  readonly record?: string
  /** File for the result as JSON, or `-` for standard output; null for no JSON. */
  readonly json: string | null
}

/** Gateway and shop of one demo. */
export interface DemoGateway {
  readonly gateway: Gateway
  readonly shop: DemoShop
  /** Folder that is removed at the end. */
  readonly folder: string
  /** Time since the start, as text: `3.2 s`. */
  readonly elapsed: () => string
  /** Prints for people: on standard output, or on standard error if the JSON is written to standard output. */
  readonly print: (text: string) => unknown
}

/** Result of a demo. */
interface Shown {
  readonly ok: boolean
  /** The result as JSON. */
  readonly result: object
  /** Final sentence about the result; empty if the demo has printed the result itself. */
  readonly verdict: string
}

interface Setting {
  /** Additional settings of the gateway. */
  readonly env?: Environment
  /** Lines that replace `backend:` in the order line's agent file. If absent, the shipped agents are unchanged. */
  readonly backend?: string
  /** Line that is added to the order agent's `voice:`. */
  readonly voice?: string
  /** Folder of custom agents; the shipped agents if absent. */
  readonly agentsDir?: string
  /**
   * Writes the files that the gateway reads at its start.
   * @returns the additional settings
   */
  readonly prepare?: (folder: string) => Promise<Environment>
  /** Services that are closed at the end. */
  readonly services?: readonly { close(): Promise<unknown> }[]
}

/**
 * Runs a demo on its own gateway, with the demo's orders API. Frees all resources at the end.
 * @returns the exit code: 0 if the demo succeeded
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
      // Logged to standard error, because the JSON may be written to standard output.
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
    // The gateway closes first, because it uses all other services. If closing one of them fails, the next one is
    // closed.
    await open.reduceRight<Promise<unknown>>((before, one) => before.finally(() => one.close()), Promise.resolve())
  }
}

/** @returns the folder of the shipped order line's agent, with this backend and voice */
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

/**
 * Polls until `happened` is true, and then calls `then`.
 * @returns a function that stops the polling
 */
export function once(happened: () => boolean, then: () => void): () => void {
  const watch = setInterval(() => {
    if (!happened()) return
    clearInterval(watch)
    then()
  }, FRAME_MS)
  return () => clearInterval(watch)
}

/** Models of a cascade. The language model answers like the order line's agent. */
export async function orderModels() {
  const agentsDir = join(packageRoot(), 'agents')
  const models = await AgentModels.load({ agentsDir, names: ['order-status'], env: {}, thinkMs: 0 })
  return { models, services: await CascadeDouble.start({ key: KEY, models: models.cascade() }) }
}

/** Places one call to a line, and prints the conversation. */
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
