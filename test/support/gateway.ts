import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DestinationStream } from 'pino'
import { packageRoot } from '../../src/config/package-root.js'
import { startShopApi } from '../../examples/shop-api/server.js'
import { startGateway } from '../../src/gateway/gateway.js'
import type { Gateway } from '../../src/gateway/gateway.js'
import { loadConfig } from '../../src/config/load-config.js'
import { createLog } from '../../src/telemetry/log.js'
import { LoadGate } from '../../src/workers/main/load-gate.js'
import { SAME_CALLER } from './same-caller.js'

// load-gate.test.ts tests that an overloaded gateway refuses calls. Here other tests may use the processors.
LoadGate.prototype.handle = () => undefined

export interface WholeGateway {
  readonly gateway: Gateway
  readonly at: { readonly port: number; readonly opsPort: number; readonly shopUrl: string }
  readonly close: () => Promise<void>
}

/** Changed copy of the shipped order line's file, in a separate folder. */
async function changedAgents(change: (yaml: string) => string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-agents-'))
  const yaml = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
  await writeFile(join(folder, 'order-status.yaml'), change(yaml))
  return folder
}

/**
 * Starts a whole gateway on free ports, with the demo shop. It recognises one caller at a time unless `SPEECH_DECODERS`
 * says more.
 */
export async function whole(
  env: Readonly<Record<string, string>> = {},
  change: ((yaml: string) => string) | null = null,
  logTo: DestinationStream | null = null,
  agents: string | null = null,
): Promise<WholeGateway> {
  const shop = await startShopApi({ port: 0, host: '127.0.0.1' })
  const changed = change === null ? null : await changedAgents(change)
  // Each gateway needs its own data folder.
  const dataDir = env['DATA_DIR'] ?? (await mkdtemp(join(tmpdir(), 'mkondo-data-')))
  const config = {
    ...loadConfig({ SPEECH_DECODERS: '1', ...SAME_CALLER, ...env }, null),
    agentsDir: agents ?? changed,
    dataDir,
    port: 0,
    opsPort: 0,
    host: '127.0.0.1',
    shopApiUrl: shop.url,
  }
  const gateway = await startGateway({
    config,
    env: { SHOP_API_URL: shop.url },
    log: createLog(logTo === null ? { level: 'silent' } : { destination: logTo }),
  })
  return {
    gateway,
    at: { port: gateway.publicPort, opsPort: gateway.opsPort, shopUrl: shop.url },
    close: async () => {
      await gateway.stop(0)
      await shop.close()
      if (changed !== null) await rm(changed, { recursive: true, force: true })
      if (env['DATA_DIR'] === undefined) await rm(dataDir, { recursive: true, force: true })
    },
  }
}
