import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { jsonObject } from '../../core/json.js'
import { keptFolder, keptNames } from './kept-files.js'
import { linesOf } from './line-log.js'

/**
 * Records or handoff packets of ended calls in a data folder. They can be read even while a gateway writes to the
 * folder. Erased and unreadable documents are skipped. Synchronous: do not use it on a thread that carries calls.
 * @throws errors of the file system
 */
export function* keptDocuments(
  dataFolder: string,
  kind: 'records' | 'handoffs',
): Generator<Readonly<Record<string, unknown>>, void, undefined> {
  for (const name of keptNames(dataFolder, kind))
    for (const { line } of linesOf(readFileSync(join(keptFolder(dataFolder, kind), name)))) {
      const document = jsonObject(line)
      if (document !== null) yield document
    }
}
