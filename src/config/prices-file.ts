import { priceFileSchema } from '../agents/file/prices.js'
import type { PriceFile } from '../agents/file/prices.js'
import { readYamlFile } from './yaml-file.js'

/** Reads the price list of PRICES_FILE. @throws GatewayError CONFIG_INVALID, like `readYamlFile` */
export function readPrices(path: string): PriceFile {
  return readYamlFile(path, {
    setting: 'PRICES_FILE',
    noun: 'a price list',
    manual: 'docs/COST.md',
    schema: priceFileSchema,
  })
}
