import { readFileSync } from 'node:fs'
import type { z } from 'zod'
import { parseYaml } from '../agents/file/yaml-source.js'
import { GatewayError } from '../core/errors.js'

interface YamlFile<S extends z.ZodType> {
  /** Name of the setting that contains the path of the file. */
  readonly setting: string
  /** Kind of the file, such as a price list. */
  readonly noun: string
  /** Document that explains the file. */
  readonly manual: string
  readonly schema: S
}

/**
 * Reads a YAML or JSON file that a setting names.
 * @throws GatewayError CONFIG_INVALID with the file, the line and the allowed values
 */
export function readYamlFile<S extends z.ZodType>(path: string, file: YamlFile<S>): z.output<S> {
  const { setting, noun, manual, schema } = file
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (thrown) {
    const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'unknown'
    throw invalid(`${setting} is '${path}', which cannot be read (${code}); allowed: ${noun} (${manual})`)
  }
  const source = parseYaml(text, { noun, manual })
  if (!('value' in source)) throw invalid(source.map(({ line, what }) => `${path}:${line} ${what}`).join('\n'))
  const parsed = schema.safeParse(source.value)
  if (parsed.success) return parsed.data
  const faults = parsed.error.issues.map((issue) => {
    const at = [...issue.path, ...(issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [])]
    return `${path}:${source.locate(at, true).line} ${at.join('.')}: ${issue.message} (${manual})`
  })
  throw invalid(faults.join('\n'))
}

function invalid(message: string): GatewayError {
  return new GatewayError('CONFIG_INVALID', message)
}
