import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { daysOf, keptFolder } from './kept-files.js'
import type { KeptFile } from './kept-files.js'

/** A file as it was found. What is sent of it ends there, also where it has grown since. */
export interface StoredFile {
  readonly path: string
  readonly bytes: number
}

/** Null when there is no file of that name. @throws what else the file system throws */
async function findFile(path: string): Promise<StoredFile | null> {
  try {
    return { path, bytes: (await stat(path)).size }
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw thrown
  }
}

/**
 * A file of a call, under whichever retention it is kept: the first of `names` that there is.
 * @returns null when there is none @throws what the file system throws
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
