import type { Dirent } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError, messageOf } from '../../core/errors.js'
import { SCENARIOS_MAX, SCENARIO_FILE_BYTES_MAX } from '../../core/limits.js'
import { parseScenario } from './scenario-file.js'
import type { Scenario } from './scenario.js'

/**
 * Reads every scenario of the given files and folders (with what lies below them), in the order of their names.
 * @throws GatewayError SCRIPT_INVALID with every fault of every file, one a line
 */
export async function findScenarios(paths: readonly string[]): Promise<Scenario[]> {
  const files = [...new Set((await Promise.all(paths.map(filesAt))).flat())]
  if (files.length > SCENARIOS_MAX) throw new GatewayError('SCRIPT_INVALID', `${files.length} scenario files; at most ${SCENARIOS_MAX} are run at once`)
  const scenarios: Scenario[] = []
  const faults: string[] = []
  for (const file of files) {
    try {
      scenarios.push(parseScenario(await textOf(file), file))
    } catch (thrown) {
      faults.push(messageOf(thrown))
    }
  }
  if (faults.length > 0) throw new GatewayError('SCRIPT_INVALID', faults.join('\n'))
  const names = new Map<string, string>()
  for (const { name, agent, file } of scenarios) {
    const earlier = names.get(`${agent} ${name}`)
    if (earlier !== undefined) throw new GatewayError('SCRIPT_INVALID', `${file}: the name "${name}" is already taken by ${earlier}; each scenario of an agent needs its own`)
    names.set(`${agent} ${name}`, file)
  }
  return scenarios
}

async function filesAt(path: string): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path]
    const entries: Dirent[] = await readdir(path, { recursive: true, withFileTypes: true })
    const found = entries.filter((entry) => entry.isFile() && /\.ya?ml$/.test(entry.name) && !entry.name.startsWith('.'))
      .map((entry) => join(entry.parentPath, entry.name)).sort()
    if (found.length > 0) return found
  } catch (cause) {
    throw new GatewayError('SCRIPT_INVALID', `${path} cannot be read: ${messageOf(cause)}`, { cause })
  }
  throw new GatewayError('SCRIPT_INVALID', `${path} has no scenario; put a .yaml file there (docs/SIMULATOR.md)`)
}

async function textOf(file: string): Promise<string> {
  const { size } = await stat(file)
  if (size > SCENARIO_FILE_BYTES_MAX) throw new GatewayError('SCRIPT_INVALID', `${file}: has ${size} bytes; at most ${SCENARIO_FILE_BYTES_MAX} are allowed`)
  return readFile(file, 'utf8')
}
