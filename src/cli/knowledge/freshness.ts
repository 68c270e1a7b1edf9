import { readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { AgentDefinition } from '../../agents/file/definition.js'
import { parseKnowledge } from '../../agents/file/knowledge-file.js'
import type { PassageSource } from '../../agents/file/knowledge-file.js'
import { DAY_MS } from '../../core/units.js'
import { lookAt } from '../terminal.js'
import type { Finding } from '../terminal.js'
import { shortHash } from './import.js'

/**
 * Imported passages that are older than their agent's `knowledgeMaxDays`, or whose source changed after the import.
 * Remote sources and unreadable files are not reported.
 * @param dir  the agents folder
 */
export async function freshnessFindings(
  dir: string,
  definitions: readonly AgentDefinition[],
  nowMs: number,
): Promise<Finding[]> {
  const found: string[] = []
  for (const { name, knowledge, knowledgeMaxDays, languages } of definitions)
    for (const file of knowledge) {
      const path = join(dir, file)
      const sources = await sourcesOf(path, languages)
      const old = sources.filter(
        ({ date }) => knowledgeMaxDays !== undefined && nowMs - Date.parse(date) > knowledgeMaxDays * DAY_MS,
      )
      if (old.length > 0) {
        const dates = old.map(({ date }) => date).toSorted()
        found.push(
          `${name}: ${old.length} passages of ${file} are older than knowledgeMaxDays (${knowledgeMaxDays ?? ''}): imported on ${dates[0] ?? ''}`,
        )
      }
      const hashes = new Map(sources.flatMap(({ file: source, sha256 }) => (sha256 === null ? [] : [[source, sha256]])))
      for (const [source, sha256] of hashes) {
        const bytes = await readFile(resolve(dirname(path), source)).catch(() => null)
        if (bytes !== null && shortHash(bytes) !== sha256)
          found.push(`${name}: ${source} has changed since ${file} was imported from it: mkondo knowledge import`)
      }
    }
  // A file that several agents or a canary use is reported once.
  return [...new Set(found)].map(lookAt)
}

async function sourcesOf(path: string, languages: readonly string[]): Promise<PassageSource[]> {
  if (!path.endsWith('.md')) return []
  try {
    const passages = parseKnowledge(await readFile(path, 'utf8'), 'markdown', languages)
    return passages.flatMap(({ source }) => source ?? [])
  } catch {
    return [] // the loader reports the unreadable file
  }
}
