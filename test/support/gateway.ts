import { startShopApi } from '../../examples/shop-api/server.js'
import { startGateway } from '../../src/cli/gateway.js'
import type { Gateway } from '../../src/cli/gateway.js'
import { loadConfig } from '../../src/config/load-config.js'
import { createLog } from '../../src/telemetry/log.js'

export interface WholeGateway {
  readonly gateway: Gateway
  readonly at: { readonly port: number; readonly opsPort: number; readonly shopUrl: string }
  readonly close: () => Promise<void>
}

/** A whole gateway on free ports, with the demo shop behind it. */
export async function whole(env: Readonly<Record<string, string>> = {}): Promise<WholeGateway> {
  const shop = await startShopApi({ port: 0, host: '127.0.0.1' })
  const config = { ...loadConfig(env, null), port: 0, opsPort: 0, host: '127.0.0.1', shopApiUrl: shop.url }
  const gateway = await startGateway({ config, env: { SHOP_API_URL: shop.url }, log: createLog({ level: 'silent' }) })
  return {
    gateway,
    at: { port: gateway.publicPort, opsPort: gateway.opsPort, shopUrl: shop.url },
    close: async () => {
      await gateway.stop(0)
      await shop.close()
    },
  }
}
