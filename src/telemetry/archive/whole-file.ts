import { closeSync, fdatasyncSync, mkdirSync, openSync, renameSync, writeFileSync } from 'node:fs'
import { open, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * Replaces a file so that a reader always finds a complete file. Creates the file's folder if necessary.
 * @param sync true: waits until the file is on the disk
 */
export function replaceFile(path: string, content: Uint8Array | string, sync: boolean): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const beside = `${path}.part`
  const handle = openSync(beside, 'w', 0o600)
  try {
    writeFileSync(handle, content)
    if (sync) fdatasyncSync(handle)
  } finally {
    closeSync(handle)
  }
  renameSync(beside, path)
}

/**
 * Replaces a file in an existing folder without blocking.
 * @param mode  mode of the file; by default, only the owner may read it
 * @throws errors of the file system
 */
export async function writeWhole(path: string, text: string, mode = 0o600): Promise<void> {
  await writeFile(`${path}.part`, text, { mode })
  await rename(`${path}.part`, path)
}

/**
 * Appends all lines or none. If a write fails, its part is removed, because a partial line would damage the next line.
 * @param sync true: waits until the lines are on the disk
 * @throws errors of the file system
 */
export async function appendWhole(path: string, lines: string, sync = false): Promise<void> {
  const file = await open(path, 'a', 0o600)
  try {
    const { size } = await file.stat()
    try {
      await file.appendFile(lines)
      if (sync) await file.datasync()
    } catch (thrown) {
      await file.truncate(size)
      throw thrown
    }
  } finally {
    await file.close()
  }
}
