import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GatewayError, messageOf } from '../core/errors.js'
import { loadConfig } from '../config/load-config.js'
import { runCallCommand } from '../simulator/call-command.js'
import { createLog } from '../telemetry/log.js'
import { startDemoShop } from './demo-shop.js'
import { failoverDemo } from './failover-demo.js'
import { startGateway } from '../gateway/gateway.js'
import { shadowDemo } from './shadow-demo.js'
import type { CallTimelineView } from '../workers/live-call.js'
import { HELP_OPTION, commandOptions } from './arguments.js'
import { waterfall } from './calls-timeline.js'
import { supportDemo } from './support-demo.js'

const HELP = `mkondo demo [--agent order-status|support] [--failover | --shadow] [--timeline] [--record FILE] [--json FILE|-]
  Starts the gateway and the demo's orders API, places three spoken calls through webhook, XML and audio socket, prints
  each conversation as it happens, and exits with 0 only if every caller heard the right status of the right order.
  --json FILE    write what happened as JSON, - for standard output (the conversation then goes to standard error)
  --agent NAME   order-status (default), or support: one caller with a question, an account and a fault, who ends with a human
  --failover     instead: one call whose model (a local double) is killed in mid-sentence, and another takes over
  --shadow       instead: one call that a second backend (a local double) listens to, and what that one would have done
  --timeline     and draw each call as a waterfall: what happened when, and what took how long
  --record FILE  with --failover and support: keep the recording, caller left, what the caller heard right`

/** One caller of the demo and what `mkondo call` is told of them. */
interface DemoCaller {
  readonly name: string
  readonly args: readonly string[]
}

// The demo shop: +254700000001 has exactly one open order, 4127; +254700000002 has several.
const CALLERS: readonly DemoCaller[] = [
  { name: 'knows the number', args: ['--from', '+254700000009', '--order', '4127', '--voice', 'rms'] },
  { name: 'relies on caller id', args: ['--from', '+254700000001', '--voice', 'awb'] },
  { name: 'interrupts', args: ['--from', '+254700000001', '--order', '4127', '--interrupt', '--voice', 'rms'] },
]

const COLOURS = ['\u001b[36m', '\u001b[33m', '\u001b[35m']
const RESET = '\u001b[0m'

/** `mkondo demo`. */
export async function demo(argv: readonly string[]): Promise<number> {
  const values = commandOptions('demo', argv, {
    json: { type: 'string' }, agent: { type: 'string', default: 'order-status' }, failover: { type: 'boolean', default: false }, shadow: { type: 'boolean', default: false },
    timeline: { type: 'boolean', default: false }, record: { type: 'string' }, help: HELP_OPTION,
  })
  if (values.help) {
    console.log(HELP)
    return 0
  }
  const screen = values.json === '-' ? process.stderr : process.stdout
  if (values.agent !== 'order-status' && values.agent !== 'support') {
    throw new GatewayError('CONFIG_INVALID', `demo: --agent is '${values.agent.slice(0, 40)}'; allowed: order-status, support`)
  }
  if (values.agent === 'support') return supportDemo({ json: values.json, record: values.record ?? null, screen })
  if (values.failover) return failoverDemo({ json: values.json, record: values.record ?? null, screen })
  if (values.shadow) return shadowDemo({ json: values.json, screen })
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-demo-'))
  const startedMs = performance.now()
  const shop = await startDemoShop()
  try {
    const config = {
      ...loadConfig({}, null), port: 0, opsPort: 0, host: '127.0.0.1', shopApiUrl: shop.url, dataDir: folder,
    }
    const log = createLog({ level: 'error' })
    const gateway = await startGateway({ config, env: { SHOP_API_URL: shop.url }, log })
    screen.write(`The gateway takes calls after ${seconds(performance.now() - startedMs)}. Three people call the order line.\n\n`)
    try {
      const codes = await Promise.all(CALLERS.map((caller, index) =>
        runCallCommand([
          '--url', `http://127.0.0.1:${gateway.publicPort}`, '--ops-url', `http://127.0.0.1:${gateway.opsPort}`,
          '--shop-url', shop.url, '--agent', 'order-status', '--json', join(folder, `${index}.json`), ...caller.args,
        ], {
          out: labelled(screen, caller.name, index), err: labelled(screen, caller.name, index), env: {},
        })))
      const calls = await reports(folder)
      if (values.json === '-') process.stdout.write(`${JSON.stringify({ calls }, null, 2)}\n`)
      else if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify({ calls }, null, 2)}\n`)
      if (values.timeline) await drawTimelines(calls, gateway.opsPort, screen)
      const reached = codes.filter((code) => code === 0).length
      screen.write(`\n${reached} of ${codes.length} callers heard the right status of the right order `
        + `(${seconds(performance.now() - startedMs)} in all).\n`)
      return reached === codes.length ? 0 : 1
    } finally {
      await gateway.stop(2000)
    }
  } finally {
    await shop.close()
    await rm(folder, { recursive: true, force: true })
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}

/** Puts the caller's name before each line, in a colour of its own on a terminal. */
function labelled(screen: NodeJS.WriteStream, name: string, index: number): (text: string) => void {
  const label = name.padEnd(Math.max(...CALLERS.map((caller) => caller.name.length)))
  const begin = screen.isTTY ? `${COLOURS[index % COLOURS.length] ?? ''}${label}${RESET}` : label
  let rest = ''
  return (text) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) screen.write(line === '' ? '\n' : `${begin} | ${line}\n`)
  }
}

/** Asked of the ops port, as `mkondo calls timeline` does. */
async function drawTimelines(calls: readonly unknown[], opsPort: number, screen: NodeJS.WriteStream): Promise<void> {
  for (const call of calls as readonly { readonly callSid?: string }[]) {
    if (call.callSid === undefined) continue
    const answer = await fetch(`http://127.0.0.1:${opsPort}/api/calls/${call.callSid}/timeline`)
    if (answer.ok) screen.write(`\n${waterfall(await answer.json() as CallTimelineView, screen.columns ?? 120)}`)
  }
}

async function reports(folder: string): Promise<unknown[]> {
  const calls: unknown[] = []
  for (const index of CALLERS.keys()) {
    try {
      const report = JSON.parse(await readFile(join(folder, `${index}.json`), 'utf8')) as { calls: unknown[] }
      calls.push(...report.calls)
    } catch (thrown) {
      // A call that never came to a report has said why on the screen already.
      calls.push({ error: messageOf(thrown) })
    }
  }
  return calls
}
