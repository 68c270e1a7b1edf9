import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { faultsText, readAgents } from '../../src/agents/file/loader.js'
import type { Environment } from '../../src/agents/file/template.js'

/**
 * Loads an agent file `a.yaml` with this text.
 * @param folder  folder with the files that the agent names, which is kept; null for a temporary folder
 * @returns its definition, or its faults as an operator reads them
 */
export async function loadText(
  text: string,
  env: Environment,
  folder: string | null = null,
): Promise<AgentDefinition | string[]> {
  const dir = folder ?? (await mkdtemp(join(tmpdir(), 'mkondo-agent-')))
  try {
    await writeFile(join(dir, 'a.yaml'), text)
    const [read] = await readAgents(dir, env)
    if (read === undefined) throw new Error('no file was read')
    return read.ok ? read.agent : faultsText(read.faults).replaceAll(join(dir, 'a.yaml'), 'a.yaml').split('\n')
  } finally {
    if (folder === null) await rm(dir, { recursive: true })
  }
}
