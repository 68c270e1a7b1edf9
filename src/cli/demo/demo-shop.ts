import { existsSync } from 'node:fs'
import type { Config } from '../../config/settings.js'
import { GatewayError } from '../../core/errors.js'

/** The demo's orders API, running. */
export interface DemoShop {
  readonly url: string
  close(): Promise<void>
}

/**
 * True if the demo's orders API takes the place of SHOP_API_URL: where that is asked for, and where the shipped agents
 * are tried out, which need one. A gateway that a carrier reaches never gets it unasked: its callers would hear of
 * orders that do not exist.
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

/** Starts `examples/pay-api` with a double of Daraja. @param pinMs  from the prompt to the PIN */
export async function startDemoPay(pinMs: number): Promise<DemoShop & { readonly prompts: readonly string[] }> {
  const pay = (await example('pay-api/demo.js')) as {
    startPayDemo(options: { pinMs: number }): ReturnType<typeof startDemoPay>
  }
  return pay.startPayDemo({ pinMs })
}

/** An example is no part of the gateway, so it is loaded by path. */
function example(path: string): Promise<unknown> {
  const compiled = new URL(`../../../examples/${path}`, import.meta.url)
  if (existsSync(compiled)) return import(compiled.href)
  throw new GatewayError('CONFIG_INVALID', 'the demo APIs are not built; run `npm run build`, or set SHOP_API_URL')
}
