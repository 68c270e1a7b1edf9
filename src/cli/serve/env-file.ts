import { readFileSync } from 'node:fs'
import { GatewayError, messageOf } from '../../core/errors.js'

/**
 * Sets variables in an environment file (NAME=value lines) and keeps all other lines. A commented line such as `#
 * NAME=`, which `mkondo init` writes, is replaced by the variable's line.
 */
export function withVariables(text: string, variables: Readonly<Record<string, string>>): string {
  const lines = text === '' ? [] : text.replace(/\n$/, '').split('\n')
  for (const [name, value] of Object.entries(variables)) {
    const line = `${name}=${value}`
    const set = lines.findIndex((one) => new RegExp(`^\\s*(?:export\\s+)?${name}=`).test(one))
    const at = set >= 0 ? set : lines.findIndex((one) => new RegExp(`^#\\s*${name}=`).test(one))
    if (at >= 0) lines[at] = line
    else lines.push(line)
  }
  return `${lines.join('\n')}\n`
}

/**
 * Text of a file. Some editors write UTF-16 or a byte order mark. The mark is removed, because it would become part of
 * a name.
 */
export function readText(path: string): string {
  const bytes = readFileSync(path)
  const wide = bytes[0] === 0xff && bytes[1] === 0xfe
  return new TextDecoder(wide ? 'utf-16le' : 'utf-8').decode(bytes)
}

/**
 * Text of an environment file; empty if the file does not exist.
 * @throws GatewayError CONFIG_INVALID
 */
export function readEnvFile(path: string): string {
  try {
    return readText(path)
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw new GatewayError('CONFIG_INVALID', `'${path}' cannot be read: ${messageOf(thrown)}`)
  }
}
