import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ShadowReport } from '../backends/shadow.js'
import { loadConfig } from '../config/load-config.js'
import { packageRoot } from '../config/package-root.js'
import { GatewayError } from '../core/errors.js'
import { runCallCommand } from '../simulator/call-command.js'
import { OpenAiDouble } from '../simulator/vendors/openai-realtime-double.js'
import { Script } from '../simulator/vendors/double.js'
import { createLog } from '../telemetry/log.js'
import { startDemoShop } from './demo-shop.js'
import { startGateway } from '../gateway/gateway.js'
import { shadowReportText } from './shadow-report.js'

const KEY = 'key-of-the-demo'

export interface ShadowDemoOptions {
  readonly json: string | undefined
  readonly screen: NodeJS.WriteStream
}

/**
 * One call that the offline agent answers while a model (a local double) listens along, and what the model would have done.
 * @returns 0 when the caller was served and the report has the turns
 */
export async function shadowDemo({ json, screen }: ShadowDemoOptions): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-demo-'))
  const [double, shop] = await Promise.all([
    OpenAiDouble.start({ key: KEY, script: new Script([
      { say: 'Hello, this is the order line.' },
      { calls: [{ callId: 'call_1', name: 'lookup_order', args: { orderNumber: '4127' } }] },
      { say: 'Your order is out for delivery.' },
    ], ['4127', 'no thank you']) }),
    startDemoShop(),
  ])
  const yaml = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
  const changed = yaml.replace(/^backend: .*$/m, 'backend: embedded\nshadow: openai')
  if (changed === yaml) throw new GatewayError('AGENT_INVALID', 'agents/order-status.yaml has no line `backend: …` to change')
  await writeFile(join(folder, 'order-status.yaml'), changed)
  const gateway = await startGateway({
    config: {
      ...loadConfig({ OPENAI_API_KEY: KEY, OPENAI_BASE_URL: double.baseUrl }, null),
      port: 0, opsPort: 0, host: '127.0.0.1', shopApiUrl: shop.url, dataDir: folder, agentsDir: folder,
    },
    env: { SHOP_API_URL: shop.url },
    log: createLog({ level: 'error' }),
  })
  try {
    const write = (text: string): boolean => screen.write(text)
    const calls = join(folder, 'call.json')
    const code = await runCallCommand([
      '--url', `http://127.0.0.1:${gateway.publicPort}`, '--ops-url', `http://127.0.0.1:${gateway.opsPort}`,
      '--shop-url', shop.url, '--agent', 'order-status', '--order', '4127', '--from', '+254700000009', '--json', calls,
    ], { out: write, err: write, env: {} })
    const { calls: [placed] } = JSON.parse(await readFile(calls, 'utf8')) as { calls: { callSid: string }[] }
    const shadow = gateway.calls.record(placed?.callSid ?? '')?.shadow ?? null
    if (shadow === null) {
      screen.write('\nno report: the call has no record\n')
      return 1
    }
    // The record keeps it as plain data; the shape is the shadow's own.
    const report = shadow as unknown as ShadowReport
    screen.write(`\nWhat ${report.second} would have done on this call (the record's \`shadow\`):\n\n${shadowReportText(report)}\n`)
    if (json === '-') process.stdout.write(`${JSON.stringify(report, null, 2)}\n`)
    else if (json !== undefined) await writeFile(json, `${JSON.stringify(report, null, 2)}\n`)
    return report.turns.length > 0 ? code : 1
  } finally {
    await gateway.stop(0)
    await Promise.all([double.close(), shop.close()])
    await rm(folder, { recursive: true, force: true })
  }
}
