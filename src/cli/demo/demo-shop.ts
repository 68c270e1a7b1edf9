import { existsSync } from 'node:fs'
import type { Config } from '../../config/settings.js'
import { GatewayError } from '../../core/errors.js'

/** Running orders API of the demo. */
export interface DemoShop {
  readonly url: string
  close(): Promise<void>
}

/**
 * True if the demo's orders API replaces SHOP_API_URL: on request, or in a trial of the shipped agents, which need an
 * orders API. A gateway that a carrier reaches uses the demo's API only on request, because its callers would hear
 * about orders that do not exist.
 */
export function needsDemoShop(config: Config, asked: boolean): boolean {
  return config.shopApiUrl === null && (asked || (config.agentsDir === null && config.publicUrl === null))
}

/** Starts `examples/shop-api` on a free loopback port. */
export async function startDemoShop(): Promise<DemoShop> {
  const shop = (await example('shop-api/server.js')) as {
    startShopApi(options: { port: number; host: string }): Promise<DemoShop>
  }
  return shop.startShopApi({ port: 0, host: '127.0.0.1' })
}

/**
 * Starts `examples/pay-api` with a double of Daraja.
 * @param pinMs  time in ms between the payment prompt and the caller's PIN
 */
export async function startDemoPay(pinMs: number): Promise<DemoShop & { readonly prompts: readonly string[] }> {
  const pay = (await example('pay-api/demo.js')) as {
    startPayDemo(options: { pinMs: number }): ReturnType<typeof startDemoPay>
  }
  return pay.startPayDemo({ pinMs })
}

/** Loads an example by its path, because examples are not part of the gateway's code. */
function example(path: string): Promise<unknown> {
  const compiled = new URL(`../../../examples/${path}`, import.meta.url)
  if (existsSync(compiled)) return import(compiled.href)
  throw new GatewayError('CONFIG_INVALID', 'the demo APIs are not built; run `npm run build`, or set SHOP_API_URL')
}
