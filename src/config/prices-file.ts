import { pricesSchema } from '../agents/prices.js'
import type { Prices } from '../agents/prices.js'
import { readYamlFile } from './yaml-file.js'

/** Reads the price list of PRICES_FILE. @throws GatewayError CONFIG_INVALID: `readYamlFile` */
export function readPrices(path: string): Prices {
  return readYamlFile(path, {
    setting: 'PRICES_FILE',
    noun: 'a price list',
    manual: 'docs/BACKENDS.md',
    schema: pricesSchema,
  })
}
