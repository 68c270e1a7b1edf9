import { closeSync, fdatasyncSync, mkdirSync, openSync, renameSync, writeFileSync } from 'node:fs'
import { open, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * Puts a file in another's place, so that there is always a whole one; makes its folder.
 * @param sync  true: waits until it is on disk
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

/** The same on a thread that must not wait, into a folder that is there. @throws what the file system throws */
export async function writeWhole(path: string, text: string): Promise<void> {
  await writeFile(`${path}.part`, text, { mode: 0o600 })
  await rename(`${path}.part`, path)
}

/**
 * Appends lines, all of them or none: what a full disk took of them would spoil the next one.
 * @param sync  true: waits until they are on disk
 * @throws what the file system throws
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
