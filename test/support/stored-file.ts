import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { ArchiveLimits } from '../../src/telemetry/archive/archive-messages.js'
import type { StoredFile } from '../../src/telemetry/archive/stored-file.js'

/** Makes a file with these bytes, which is deleted when the test ends. */
export function storedFile(t: Test, bytes: Uint8Array): StoredFile {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-file-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'file')
  writeFileSync(path, bytes)
  return { path, bytes: bytes.length }
}

/** Content of the file; empty if there is no file. */
export function bytesOf(file: StoredFile | null): Uint8Array {
  return file === null ? new Uint8Array(0) : readFileSync(file.path)
}

/** Limits of an archive that no file of a test reaches. */
export function archiveLimits(folder: string, changes: Partial<ArchiveLimits> = {}): ArchiveLimits {
  return {
    folder,
    fsync: 'never',
    fileBytes: 1e6,
    recordsKeepDays: 30,
    recordsKeepBytes: 1e7,
    recordingsKeepDays: 30,
    recordingsKeepBytes: 1e8,
    ...changes,
  }
}
