import { statSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { DocumentKind } from '../archive-messages.js'
import { daysOf, keptFolder, keptNames } from '../kept-files.js'
import type { KeptFile } from '../kept-files.js'
import { replaceFile } from '../whole-file.js'

/** Folders of the object storage. */
export type ObjectFolder = 'recordings' | 'carrier-recordings' | 'records' | 'handoffs'

/** A complete file that must be uploaded to the object storage. */
export interface WaitingFile {
  readonly path: string
  readonly folder: ObjectFolder
  /** Days of the agent's own retention; null for the default of the settings. */
  readonly days: number | null
  readonly callSid: string
  /** Name of the object, such as `SID.wav`. All versions of a document have the same name. */
  readonly object: string
  readonly bytes: number
  readonly atMs: number
}

const SID = '([A-Za-z0-9_-]{1,64})'
const COMPLETE: readonly { readonly kind: KeptFile; readonly name: RegExp; readonly folder: ObjectFolder | null }[] = [
  { kind: 'recordings', name: new RegExp(`^${SID}(?:\\.\\d)?\\.wav$`), folder: 'recordings' },
  { kind: 'carrierRecordings', name: new RegExp(`^${SID}\\.(?:wav|mp3|ogg)$`), folder: 'carrier-recordings' },
  { kind: 'uploads', name: new RegExp(`^${SID}\\.\\d+\\.(record|handoff)\\.json$`), folder: null },
]
const DOCUMENT_FOLDERS: Readonly<Record<DocumentKind, ObjectFolder>> = { record: 'records', handoff: 'handoffs' }

let lastStamp = 0

/**
 * Writes a document to a file of its own. The file's name sorts after the names of earlier files.
 * @throws errors of the file system
 */
export function writeUpload(
  dataFolder: string,
  { kind, callSid, days, json }: { kind: DocumentKind; callSid: string; days: number | null; json: string },
  nowMs: number,
): void {
  lastStamp = Math.max(nowMs, lastStamp + 1)
  const path = join(keptFolder(dataFolder, 'uploads', days), `${callSid}.${lastStamp}.${kind}.json`)
  replaceFile(path, json, false)
}

/**
 * Waiting objects in a data folder. Each object is listed once as a list of its files, the newest file last.
 * @throws as `writeUpload`
 */
export function waitingIn(dataFolder: string): WaitingFile[][] {
  const objects = new Map<string, WaitingFile[]>()
  for (const { kind, name: pattern, folder } of COMPLETE)
    for (const name of keptNames(dataFolder, kind).sort()) {
      const [file, callSid, document] = pattern.exec(basename(name)) ?? []
      if (file === undefined || callSid === undefined) continue
      const path = join(keptFolder(dataFolder, kind), name)
      const stat = statSync(path, { throwIfNoEntry: false }) // retention may have deleted the file
      if (stat === undefined) continue
      const to = folder ?? DOCUMENT_FOLDERS[document as DocumentKind]
      const object = folder === null ? `${callSid}.json` : file
      const waiting = { path, folder: to, days: daysOf(name), callSid, object, bytes: stat.size, atMs: stat.mtimeMs }
      const key = `${to}/${waiting.days ?? ''}/${object}`
      const known = objects.get(key)
      if (known === undefined) objects.set(key, [waiting])
      else known.push(waiting)
    }
  return [...objects.values()]
}
