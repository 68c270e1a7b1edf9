import { createHash } from 'node:crypto'
import { lstatSync, readFileSync, readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { z } from 'zod'
import { handoffSchema } from '../../call/documents/handoff.js'
import { callRecordSchema } from '../../call/documents/record.js'
import { campaignSchema, rowSchema } from '../../campaigns/campaign.js'
import { doNotCallEntrySchema } from '../../campaigns/do-not-call.js'
import { whereThere } from '../../core/errors.js'
import { jsonOrNull } from '../../core/json.js'
import { dailyBudgetsSchema } from '../../gateway/daily-budgets.js'
import { entrySchema } from '../../messages/entry.js'
import { dataFolders } from '../../gateway/process-plan.js'

/** A form of documents in a data folder. */
interface StoredForm {
  readonly noun: string
  /** Path below a data folder. */
  readonly path: RegExp
  /** `line`: one document on each line. `file`: one document in the file. */
  readonly each: 'line' | 'file'
  readonly schema: z.ZodType
  /** Pattern of lines that have another form and are not checked. */
  readonly besides?: RegExp
}

/**
 * Forms of documents that this build reads at its start and later. Kept calls, recordings and journals have separate
 * readers. Sealed files are not opened.
 */
const FORMS: readonly StoredForm[] = [
  { noun: 'call record', path: /^records\/(?:\d+d\/)?calls-.*\.jsonl$/, each: 'line', schema: callRecordSchema },
  { noun: 'handoff packet', path: /^records\/(?:\d+d\/)?handoffs-.*\.jsonl$/, each: 'line', schema: handoffSchema },
  { noun: 'campaign', path: /^campaigns\/[^/]+\.json$/, each: 'file', schema: campaignSchema },
  { noun: 'row of a campaign', path: /^campaigns\/[^/]+\.rows\.jsonl$/, each: 'line', schema: rowSchema },
  {
    ...{ noun: 'entry of the do-not-call list', path: /^do-not-call\.jsonl$/, each: 'line' },
    ...{ schema: doNotCallEntrySchema, besides: /^\{"synced":/ },
  },
  { noun: 'daily budget', path: /^daily-budgets\.json$/, each: 'file', schema: dailyBudgetsSchema },
  { noun: 'message', path: /^outbox\/.*\.json$/, each: 'file', schema: entrySchema },
]

/**
 * FILES_MAX: maximum number of files that are checked in a data folder. BYTES_MAX: maximum number of bytes read of one
 * file.
 */
const FILES_MAX = 500_000
const BYTES_MAX = 256 * 1024 * 1024
/** Maximum number of faults that are listed for one form. */
const FAULTS_SHOWN_MAX = 20

/** Documents of one form. */
export interface FoundForm {
  readonly noun: string
  count: number
  /** Documents that this build cannot read, as `FILE:LINE field: why`. */
  readonly faults: string[]
  faulty: number
}

/**
 * Reads all stored documents of a data folder with this build's schemas; writes nothing.
 * @throws the error of the file system
 */
export function readStoredForms(dataDir: string): readonly FoundForm[] {
  const found = new Map<string, FoundForm>()
  for (const folder of dataFolders(dataDir))
    for (const file of filesBelow(folder)) {
      const path = relative(folder, file).replaceAll('\\', '/')
      const form = FORMS.find((one) => one.path.test(path))
      if (form === undefined) continue
      const sum = found.get(form.noun) ?? { noun: form.noun, count: 0, faults: [], faulty: 0 }
      found.set(form.noun, sum)
      readInto(sum, form, file)
    }
  return [...found.values()]
}

function readInto(sum: FoundForm, form: StoredForm, file: string): void {
  const size = lstatSync(file, { throwIfNoEntry: false })?.size ?? 0 // a gateway may have removed the file after it was listed
  if (size > BYTES_MAX) return addFault(sum, file, `has ${size} bytes; at most ${BYTES_MAX} are read`)
  const text = whereThere(() => readFileSync(file, 'utf8'), '')
  const documents = form.each === 'file' ? [text] : text.split('\n')
  for (const [at, document] of documents.entries()) {
    // Blank lines were erased. An incomplete line, whose process died, cannot be read by any version.
    if (document.trim() === '' || form.besides?.test(document) === true) continue
    const value = jsonOrNull(document)
    if (value === null) continue
    sum.count++
    const fault = faultOf(form.schema, value)
    if (fault !== null) addFault(sum, form.each === 'file' ? file : `${file}:${at + 1}`, fault)
  }
}

/** Counts a document that this build cannot read. Keeps the first FAULTS_SHOWN_MAX faults. */
export function addFault(sum: FoundForm, place: string, why: string): void {
  sum.faulty++
  if (sum.faults.length < FAULTS_SHOWN_MAX) sum.faults.push(`${place} ${why}`)
}

/**
 * Fault of a document, null if the document is valid. Only its first wrong field is named, because values are callers'
 * data.
 */
export function faultOf(schema: z.ZodType, value: unknown): string | null {
  const read = schema.safeParse(value)
  if (read.success) return null
  const field = read.error.issues[0]?.path.join('.') ?? ''
  return `${field === '' ? 'its form' : field} is not what this version reads`
}

/**
 * Paths of all files below a folder, without following links; empty for a missing folder.
 * @throws Error above FILES_MAX
 */
export function filesBelow(folder: string): string[] {
  const found: string[] = []
  const walk = (at: string): void => {
    for (const entry of whereThere(() => readdirSync(at, { withFileTypes: true }), [])) {
      const path = join(at, entry.name)
      if (entry.isDirectory()) walk(path)
      else if (entry.isFile()) found.push(path)
      if (found.length > FILES_MAX) throw new Error(`${folder} has more than ${FILES_MAX} files`)
    }
  }
  walk(folder)
  return found.sort()
}

/**
 * Hash of a folder: each file's path, size, mode and time of change, and contents up to 1 MiB. If the hash is the same
 * later, nothing was written to the folder.
 */
export function folderHash(folder: string): string {
  const hash = createHash('sha256')
  for (const path of filesBelow(folder)) {
    const stat = lstatSync(path, { throwIfNoEntry: false })
    if (stat === undefined) continue // the file was just removed, which changes the hash
    const { size, mode, mtimeMs } = stat
    hash.update(JSON.stringify([relative(folder, path), size, mode, mtimeMs]))
    if (size <= 1024 * 1024) hash.update(whereThere(() => readFileSync(path), ''))
  }
  return hash.digest('hex')
}
