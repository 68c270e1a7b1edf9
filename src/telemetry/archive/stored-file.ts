import { stat } from 'node:fs/promises'

/** A file as it was found. What is sent of it ends there, also where it has grown since. */
export interface StoredFile {
  readonly path: string
  readonly bytes: number
}

/** Null when there is no file of that name. @throws what else the file system throws */
export async function findFile(path: string): Promise<StoredFile | null> {
  try {
    return { path, bytes: (await stat(path)).size }
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw thrown
  }
}
