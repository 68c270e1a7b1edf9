import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, mkdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { Readable } from 'node:stream'
import { GatewayError, messageOf } from '../../../core/errors.js'
import { forgetOldest } from '../../../core/forget-oldest.js'
import type { DocumentKind } from '../archive-messages.js'
import { keptFolder, keptNames } from '../kept-files.js'
import { ObjectKeys, forgetKeys } from './object-keys.js'
import type { KeyKind } from './object-keys.js'
import type { S3Store } from './s3-store.js'
import { IV_BYTES, SEALED_MORE_BYTES, opened, sealed } from './sealed-stream.js'
import type { StoredFile } from '../stored-file.js'
import { waitingIn } from './uploads.js'
import type { ObjectFolder, WaitingFile } from './uploads.js'

/**
 * Maximum number of simultaneous uploads. Files that wait for their upload are on the disk, where RECORDINGS_KEEP_MB
 * and RECORDS_KEEP_MB limit their size.
 */
const UPLOADS_MAX = 4
/** Number of successive failures after which the storage counts as down. */
const FAILURES_MAX = 3
/** Pauses in ms between tries while the storage is down: the first pause, the second pause, and so on. */
const PAUSES_MS: readonly number[] = [5000, 30_000, 60_000, 300_000]
/** Pause in ms before another try of an object that failed while other objects succeeded. */
const RETRY_MS = 60_000
/** Time in ms between two counts of the waiting files during a pause. */
const COUNT_MS = 10_000
/** Maximum number of files that are read back at the same time. */
const FETCHES_MAX = 4
/** Time in ms for which a file that was read back stays after its last reader. */
const FETCHED_KEEP_MS = 10 * 60_000
/** Maximum number of bytes of all files that were read back. */
const FETCHED_BYTES_MAX = 2 * 1024 ** 3
const FETCH_MS = 300_000
/**
 * Time limit in ms for an erasure to delete objects. Objects that remain are unreadable, because their keys are erased.
 */
const ERASE_MS = 10_000
const DELETE_TRIES = 3
/** Maximum number of erased calls that are remembered, so that they are not uploaded any more. */
const ERASED_MAX = 100_000

const KEYS: Readonly<Record<ObjectFolder, KeyKind>> = {
  recordings: 'recordingKeys',
  'carrier-recordings': 'recordingKeys',
  records: 'recordKeys',
  handoffs: 'recordKeys',
}
const KEY_KINDS = ['recordKeys', 'recordingKeys'] as const

/**
 * Recordings, records and handoff packets that are uploaded to a bucket and read back. Complete files wait on the disk.
 * A file is encrypted with its call's key and uploaded. It is deleted here only after the upload. So a crash or an
 * outage does not lose files, unless the disk is full.
 */
export class StoredObjects {
  readonly state: StorageState = { ...NO_STATE }
  readonly #options: StoredObjectsOptions
  readonly #keys: ObjectKeys
  readonly #closing = new AbortController()
  readonly #erased = new Set<string>()
  /** Calendar time of the next try of each failed upload, by the path of its file. */
  #retryAt = new Map<string, number>()
  readonly #uploads = new Map<WaitingFile, AbortController>()
  readonly #fetches = new Map<string, Promise<StoredFile | null>>()
  #failures = 0
  #pauses = 0
  #pausedUntilMs = -Infinity
  #countedAtMs = -Infinity
  #passing: Promise<void> | null = null

  constructor(options: StoredObjectsOptions) {
    this.#options = options
    this.#keys = new ObjectKeys(options.masters)
  }

  /**
   * Encrypts the keys that an older master key encrypts with the first master key.
   * @returns the number of keys
   * @throws as `ObjectKeys`
   */
  renewKeys(): number {
    const { folders } = this.#options
    return folders
      .flatMap((folder) => KEY_KINDS.map((kind) => this.#keys.renew(folder, kind)))
      .reduce((a, b) => a + b, 0)
  }

  /** Uploads the waiting files once. Called repeatedly. Never rejects. */
  pass(): Promise<void> {
    this.#passing ??= this.#pass()
      .catch((thrown: unknown) => this.#failed(messageOf(thrown)))
      .finally(() => {
        this.#passing = null
      })
    return this.#passing
  }

  async #pass(): Promise<void> {
    const { folders, wallClock } = this.#options
    const nowMs = wallClock()
    const paused = nowMs < this.#pausedUntilMs
    if (this.#closing.signal.aborted || (paused && nowMs - this.#countedAtMs < COUNT_MS)) return
    this.#countedAtMs = nowMs
    this.#sweepFetched(nowMs)
    const waiting = folders
      .flatMap((folder) => waitingIn(folder).map((files) => ({ folder, files, newest: files.at(-1) as WaitingFile })))
      .sort((a, b) => a.newest.atMs - b.newest.atMs)
    this.#count(waiting.map(({ newest }) => newest))
    const paths = new Set(waiting.map(({ newest }) => newest.path))
    this.#retryAt = new Map([...this.#retryAt].filter(([path]) => paths.has(path)))
    if (paused) return
    // Objects that failed before come last. Otherwise their failures could end each pass before new objects are tried.
    const due = waiting
      .filter(({ newest }) => (this.#retryAt.get(newest.path) ?? 0) <= nowMs)
      .sort((a, b) => Number(this.#retryAt.has(a.newest.path)) - Number(this.#retryAt.has(b.newest.path)))
    const worker = async (): Promise<void> => {
      for (let next = due.shift(); next !== undefined; next = due.shift()) {
        if (this.#closing.signal.aborted || this.#options.wallClock() < this.#pausedUntilMs) return
        await this.#try(next.folder, next.files, next.newest)
      }
    }
    await Promise.all(Array.from({ length: UPLOADS_MAX }, worker))
    this.#count(folders.flatMap((folder) => waitingIn(folder).map((files) => files.at(-1) as WaitingFile)))
  }

  async #try(dataFolder: string, files: readonly WaitingFile[], newest: WaitingFile): Promise<void> {
    if (this.#erased.has(newest.callSid)) return // the erasure deletes the call's files
    const abort = new AbortController()
    this.#uploads.set(newest, abort)
    try {
      await this.#upload(dataFolder, newest, AbortSignal.any([abort.signal, this.#closing.signal]))
      if (this.#erased.has(newest.callSid)) return
      for (const { path } of files) rmSync(path, { force: true })
      this.state.stored++
      this.#retryAt.delete(newest.path)
      if (this.#retryAt.size === 0) this.state.fault = null
      this.#failures = 0
      this.#pauses = 0
    } catch (thrown) {
      // The upload did not fail: the file was deleted by retention or an erasure, or the process is ending.
      if (abort.signal.aborted || this.#closing.signal.aborted || isGone(thrown)) return
      this.#retryAt.set(newest.path, this.#options.wallClock() + RETRY_MS)
      this.#failed(reasonOf(thrown))
    } finally {
      this.#uploads.delete(newest)
    }
  }

  #failed(reason: string): void {
    this.state.failed++
    this.state.fault = reason
    if (++this.#failures < FAILURES_MAX) return
    this.#failures = 0
    this.#pausedUntilMs = this.#options.wallClock() + (PAUSES_MS[Math.min(this.#pauses++, PAUSES_MS.length - 1)] ?? 0)
  }

  async #upload(dataFolder: string, file: WaitingFile, signal: AbortSignal): Promise<void> {
    const { path, folder, callSid } = file
    const kind = KEYS[folder]
    const { days, prefix, store } = this.#options
    const kept = file.days ?? (kind === 'recordKeys' ? days.records : days.recordings)
    const name = `${prefix}${folder}/${kept}d/${file.object}`
    const key = this.#keys.of(dataFolder, kind, file.days, callSid, name)
    const iv = randomBytes(IV_BYTES)
    const bytes = (): AsyncGenerator<Uint8Array> => sealed(createReadStream(path), { key, iv, name })
    // The bucket checks this hash, because the file here is deleted after the upload.
    const md5 = createHash('md5')
    for await (const chunk of bytes()) md5.update(chunk)
    const body = Readable.from(bytes(), { objectMode: false })
    await store.put(name, body, file.bytes + SEALED_MORE_BYTES, md5.digest('base64'), signal)
  }

  /**
   * Reads a call's recording into a decrypted file, which stays for some minutes.
   * @param names  allowed names, best first
   * @returns null if no recording is stored, or its key was erased
   * @throws GatewayError STORAGE if the storage fails or has different bytes, or if too many files are being read
   */
  async recording(
    folder: 'recordings' | 'carrier-recordings',
    callSid: string,
    names: readonly string[],
  ): Promise<StoredFile | null> {
    const found = this.#find(folder, callSid, names)
    if (found === null) return null
    const to = join(
      keptFolder(this.#options.folders[0] ?? '', 'fetched'),
      `${callSid}.${folder}.${basename(found.name)}`,
    )
    const known = this.#fetches.get(to)
    if (known !== undefined) return known
    if (this.#fetches.size >= FETCHES_MAX)
      throw new GatewayError('STORAGE', `${FETCHES_MAX} recordings are read from the object storage already`, {
        retryable: true,
      })
    const fetching = this.#fetch(found, to)
      .then((file) => {
        if (!this.#erased.has(callSid)) return file
        rmSync(to, { force: true }) // erased since
        return null
      })
      .finally(() => this.#fetches.delete(to))
    this.#fetches.set(to, fetching)
    return fetching
  }

  /**
   * Reads a record or a handoff packet; undefined if it is not stored, or its key was erased.
   * @throws as `recording`
   */
  async document(kind: DocumentKind, callSid: string): Promise<unknown> {
    const found = this.#find(kind === 'record' ? 'records' : 'handoffs', callSid, [`${callSid}.json`])
    if (found === null) return undefined
    const parts: Uint8Array[] = []
    const whole = await this.#read(found, async (bytes) => {
      for await (const part of bytes) parts.push(part)
    })
    return whole ? (JSON.parse(Buffer.concat(parts).toString()) as unknown) : undefined
  }

  #find(folder: ObjectFolder, callSid: string, names: readonly string[]): { name: string; key: Buffer } | null {
    for (const dataFolder of this.#options.folders) {
      const stored = this.#keys.find(dataFolder, KEYS[folder], callSid)
      for (const wanted of names) {
        const name = stored?.objects.find((each) => each.endsWith(`/${wanted}`) && each.split('/').at(-3) === folder)
        if (stored !== null && name !== undefined) return { name, key: stored.key }
      }
    }
    return null
  }

  async #fetch(found: { name: string; key: Buffer }, to: string): Promise<StoredFile | null> {
    const nowS = this.#options.wallClock() / 1000
    const known = statSync(to, { throwIfNoEntry: false })
    if (known !== undefined) {
      utimesSync(to, nowS, nowS)
      return { path: to, bytes: known.size }
    }
    mkdirSync(join(to, '..'), { recursive: true, mode: 0o700 })
    try {
      const whole = await this.#read(found, async (bytes) => {
        const file = await open(`${to}.part`, 'w', 0o600)
        try {
          for await (const part of bytes) await file.writeFile(part)
        } finally {
          await file.close()
        }
      })
      if (!whole) return null
      renameSync(`${to}.part`, to)
      return { path: to, bytes: statSync(to).size }
    } finally {
      rmSync(`${to}.part`, { force: true })
    }
  }

  /** @returns false if the bucket does not have the object any more */
  async #read(
    { name, key }: { name: string; key: Buffer },
    take: (bytes: AsyncGenerator<Uint8Array>) => Promise<void>,
  ): Promise<boolean> {
    const signal = AbortSignal.any([AbortSignal.timeout(FETCH_MS), this.#closing.signal])
    try {
      const got = await this.#options.store.get(name, signal)
      if (got === null) return false
      this.#makeRoom(got.bytes)
      await take(opened(got.body, { key, name }))
      this.state.fetched++
      return true
    } catch (thrown) {
      if (thrown instanceof GatewayError) throw thrown
      throw new GatewayError('STORAGE', `the object storage does not answer: ${reasonOf(thrown)}`, {
        retryable: true,
        cause: thrown,
      })
    }
  }

  /**
   * Erases the keys of calls, and deletes the calls' objects if the bucket can be reached. Waiting files of these calls
   * are not uploaded any more.
   * @returns the number of erased objects, and how many of them could not be deleted
   */
  async erase(callSids: readonly string[]): Promise<{ readonly erased: number; readonly left: number }> {
    for (const callSid of callSids) {
      this.#erased.add(callSid)
      forgetOldest(this.#erased, ERASED_MAX)
    }
    for (const [{ callSid }, abort] of this.#uploads) if (this.#erased.has(callSid)) abort.abort()
    const names = callSids.flatMap((callSid) =>
      this.#options.folders.flatMap((folder) => KEY_KINDS.flatMap((kind) => forgetKeys(folder, kind, callSid))),
    )
    const { length: erased } = names
    const signal = AbortSignal.any([AbortSignal.timeout(ERASE_MS), this.#closing.signal])
    let left = 0
    const worker = async (): Promise<void> => {
      for (let name = names.shift(); name !== undefined; name = names.shift())
        if (!(await this.#deleted(name, signal))) left++
    }
    await Promise.all(Array.from({ length: UPLOADS_MAX }, worker))
    this.state.erased += erased
    this.state.left += left
    return { erased, left }
  }

  async #deleted(name: string, signal: AbortSignal): Promise<boolean> {
    for (let tries = 0; tries < DELETE_TRIES && !signal.aborted; tries++) {
      try {
        await this.#options.store.delete(name, signal)
        return true
      } catch {
        // The bucket may only be too busy, so the deletion is tried again. Objects that remain are counted.
      }
    }
    return false
  }

  /**
   * Ends all work. Remaining uploads wait for the next start.
   * @param waitMs  time in ms in which running uploads may finish
   */
  async close(waitMs: number): Promise<void> {
    const timer = setTimeout(() => this.#closing.abort(), waitMs)
    await this.#passing
    clearTimeout(timer)
    this.#closing.abort()
    await Promise.allSettled(this.#fetches.values())
    this.#options.store.close()
  }

  #count(waiting: readonly WaitingFile[]): void {
    const oldest = waiting.reduce((min, { atMs }) => Math.min(min, atMs), Infinity)
    this.state.waiting = waiting.length
    this.state.oldestMs = waiting.length === 0 ? 0 : Math.max(0, this.#options.wallClock() - oldest)
  }

  #sweepFetched(nowMs: number): void {
    for (const { path, atMs } of this.#fetchedFiles()) if (nowMs - atMs > FETCHED_KEEP_MS) rmSync(path, { force: true })
  }

  /**
   * Deletes the oldest files until there is enough space for `bytes`. A reader that has opened a deleted file can still
   * read it.
   */
  #makeRoom(bytes: number): void {
    const whole = this.#fetchedFiles().filter(({ path }) => !path.endsWith('.part'))
    const files = whole.sort((a, b) => a.atMs - b.atMs)
    let sum = files.reduce((all, each) => all + each.bytes, bytes)
    for (const { path, bytes: size } of files) {
      if (sum <= FETCHED_BYTES_MAX) return
      rmSync(path, { force: true })
      sum -= size
    }
  }

  #fetchedFiles(): { readonly path: string; readonly atMs: number; readonly bytes: number }[] {
    const [folder = ''] = this.#options.folders
    return keptNames(folder, 'fetched').flatMap((name) => {
      const path = join(keptFolder(folder, 'fetched'), name)
      const stat = statSync(path, { throwIfNoEntry: false })
      return stat === undefined ? [] : [{ path, atMs: stat.mtimeMs, bytes: stat.size }]
    })
  }
}

export interface StoredObjectsOptions {
  readonly store: Pick<S3Store, 'put' | 'get' | 'delete' | 'close'>
  /** Data folders: this process's own folder first, then folders whose process no longer runs. */
  readonly folders: readonly string[]
  /** Prefix of all object names, which ends with `/`; may be empty. */
  readonly prefix: string
  /**
   * Retention of the settings in days. Objects with different retentions have different folders, so that the bucket's
   * rules can delete them.
   */
  readonly days: { readonly records: number; readonly recordings: number }
  /** Master keys in base64. The first encrypts new keys. */
  readonly masters: readonly string[]
  /** Calendar time. */
  readonly wallClock: () => number
}

/** Counts since the start, and the current number of waiting objects. */
export interface StorageState {
  stored: number
  /** Tries that failed. */
  failed: number
  fetched: number
  /** Number of objects that an erasure made unreadable. */
  erased: number
  /** Number of unreadable objects that could not be deleted. */
  left: number
  /** Waiting objects. */
  waiting: number
  /** Age in ms of the oldest waiting object; 0 if none waits. */
  oldestMs: number
  /** Reason of a failed try; null if no waiting object has failed. */
  fault: string | null
}

export const NO_STATE: Readonly<StorageState> = {
  stored: 0,
  failed: 0,
  fetched: 0,
  erased: 0,
  left: 0,
  waiting: 0,
  oldestMs: 0,
  fault: null,
}

function isGone(thrown: unknown): boolean {
  return (thrown as NodeJS.ErrnoException).code === 'ENOENT'
}

/** Reason in the SDK's error, without the request: `NoSuchBucket`, `connect ECONNREFUSED 10.0.0.1:9000`. */
function reasonOf(thrown: unknown): string {
  const { name, message } = thrown as Error
  return message === '' || message === 'UnknownError' ? name : `${name}: ${message}`.slice(0, 200)
}
