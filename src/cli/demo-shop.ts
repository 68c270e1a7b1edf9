import { existsSync } from 'node:fs'
import { GatewayError } from '../core/errors.js'

/** The demo's orders API, running. */
export interface DemoShop {
  readonly url: string
  close(): Promise<void>
}

/**
 * Starts `examples/shop-api` on a free loopback port. It is an example and no part of the gateway, so it is loaded by
 * path.
 */
export async function startDemoShop(): Promise<DemoShop> {
  const compiled = new URL('../../examples/shop-api/server.js', import.meta.url)
  if (!existsSync(compiled)) {
    throw new GatewayError('CONFIG_INVALID', 'the demo shop is not built; run `npm run build`, or set SHOP_API_URL')
  }
  const shop = (await import(compiled.href)) as {
    startShopApi(options: { port: number; host: string }): Promise<DemoShop>
  }
  return shop.startShopApi({ port: 0, host: '127.0.0.1' })
}
