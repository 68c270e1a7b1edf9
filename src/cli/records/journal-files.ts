import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { GatewayError, messageOf } from '../../core/errors.js'
import { keptFolder, keptNames } from '../../telemetry/archive/kept-files.js'

/** Maximum size in bytes of a journal that is read: four hours of a call with its audio. */
const JOURNAL_FILE_BYTES_MAX = 1024 * 1024 * 1024

/** Journal of a data folder. */
interface JournalFile {
  readonly path: string
  /** Name below the folder of journals; see `keptNames`. */
  readonly name: string
  /** Time of the last change, in epoch milliseconds. */
  readonly atMs: number
}

/** @returns the journals of data folders, newest first */
export function keptJournals(folders: readonly string[]): readonly JournalFile[] {
  return folders
    .flatMap((folder) =>
      keptNames(folder, 'journals').flatMap((name): JournalFile[] => {
        const path = join(keptFolder(folder, 'journals'), name)
        // Retention may delete a journal after it was listed.
        const stat = statSync(path, { throwIfNoEntry: false })
        return stat === undefined ? [] : [{ path, name, atMs: stat.mtimeMs }]
      }),
    )
    .toSorted((a, b) => b.atMs - a.atMs)
}

/**
 * Reads a journal, also a packed journal.
 * @param bytesMax  maximum size in bytes of the file, and of its unpacked text
 * @returns its lines; the last line of a live call's journal may be incomplete
 * @throws GatewayError JOURNAL_INVALID, if the journal cannot be read or is larger
 */
export function journalLines(path: string, bytesMax = JOURNAL_FILE_BYTES_MAX): readonly string[] {
  return inJournal(path, () => {
    if (statSync(path).size > bytesMax) throw new Error(`is longer than ${bytesMax} bytes`)
    const bytes = readFileSync(path)
    const text = path.endsWith('.gz') ? gunzipSync(bytes, { maxOutputLength: bytesMax }) : bytes
    return text.toString('utf8').split('\n')
  })
}

/** Does `work` with a journal. @throws GatewayError JOURNAL_INVALID, which names the journal, if `work` throws */
export function inJournal<T>(path: string, work: () => T): T {
  try {
    return work()
  } catch (thrown) {
    throw new GatewayError('JOURNAL_INVALID', `${path}: ${messageOf(thrown)}`, { cause: thrown })
  }
}
