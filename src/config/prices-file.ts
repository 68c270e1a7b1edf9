import { readFileSync } from 'node:fs'
import { pricesSchema } from '../agents/prices.js'
import type { Prices } from '../agents/prices.js'
import { parseYaml } from '../agents/yaml-source.js'
import { GatewayError } from '../core/errors.js'

const KIND = { noun: 'a price list', manual: 'docs/BACKENDS.md' }

/**
 * Reads the price list of PRICES_FILE: YAML or JSON.
 * @throws GatewayError CONFIG_INVALID that names the file, the line and what is allowed there
 */
export function readPrices(path: string): Prices {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (thrown) {
    const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'unknown'
    throw invalid(`PRICES_FILE is '${path}', which cannot be read (${code}); allowed: a price list (docs/BACKENDS.md)`)
  }
  const source = parseYaml(text, KIND)
  if (!('value' in source)) throw invalid(source.map(({ line, what }) => `${path}:${line} ${what}`).join('\n'))
  const parsed = pricesSchema.safeParse(source.value)
  if (parsed.success) return parsed.data
  const faults = parsed.error.issues.map((issue) => {
    const at = [...issue.path, ...(issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [])]
    return `${path}:${source.locate(at, true).line} ${at.join('.')}: ${issue.message} (docs/BACKENDS.md)`
  })
  throw invalid(faults.join('\n'))
}

function invalid(message: string): GatewayError {
  return new GatewayError('CONFIG_INVALID', message)
}
