import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { daysOf, keptFolder } from './kept-files.js'
import type { KeptFile } from './kept-files.js'

/**
 * File and its size at the time when it was found. A reader gets this number of bytes, even if the file has grown
 * since.
 */
export interface StoredFile {
  readonly path: string
  readonly bytes: number
}

/**
 * Finds a file; null if the file does not exist.
 * @throws other errors of the file system
 */
async function findFile(path: string): Promise<StoredFile | null> {
  try {
    return { path, bytes: (await stat(path)).size }
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw thrown
  }
}

/**
 * Finds a file of a call, in the folders of all retentions. The names are tried in their order.
 * @returns null if no file exists
 * @throws errors of the file system
 */
export async function findKept(
  dataFolder: string,
  kind: KeptFile,
  names: readonly string[],
): Promise<StoredFile | null> {
  const folder = keptFolder(dataFolder, kind)
  const below = await readdir(folder).catch(() => [])
  for (const name of names)
    for (const own of ['', ...below.filter((each) => daysOf(each) !== null)]) {
      const file = await findFile(join(folder, own, name))
      if (file !== null) return file
    }
  return null
}
