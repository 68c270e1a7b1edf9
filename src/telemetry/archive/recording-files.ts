import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { whereThere } from '../../core/errors.js'
import { wavHeader } from '../../media/wav.js'
import { ABANDONED_AFTER_MS, daysOf } from './kept-files.js'

const HEADER_BYTES = 44
const ROW_BYTES = 4
/**
 * Names of unfinished files. If a call continued after the loss of its node, it has several parts: `SID.wav`,
 * `SID.2.wav`.
 */
const UNFINISHED = /^[A-Za-z0-9_-]{1,64}(?:\.\d)?\.wav\.(?:part|held)$/
/** `held`: the caller has not been informed yet. `part`: the call is not over yet. */
type Suffix = '' | '.part' | '.held'

/**
 * Stereo recordings that are being written. Until the caller has been informed, the file is `SID.wav.held`. Then, until
 * the call is over, it is `SID.wav.part`. At the end, the length is written to the header, and the file is renamed.
 * After a crash, `recover` finishes `.part` files and deletes `.held` files.
 *
 * Synchronous, for a thread without other work. Methods throw errors of the file system.
 */
export class RecordingFiles {
  readonly #folder: string
  readonly #open = new Map<
    string,
    { readonly folder: string; readonly handle: number; readonly rateHz: number; bytes: number; suffix: Suffix }
  >()

  constructor(folder: string) {
    this.#folder = folder
  }

  /** @param days time in days for which the recording is stored; null for the default of the settings */
  begin(callSid: string, rateHz: number, announced = true, days: number | null = null): void {
    const suffix = announced ? '.part' : '.held'
    const folder = days === null ? this.#folder : join(this.#folder, `${days}d`)
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    if (existsSync(pathOf(folder, callSid, ''))) throw new Error('there is a recording of that call already')
    const handle = openSync(pathOf(folder, callSid, suffix), 'wx', 0o600)
    this.#open.set(callSid, { folder, handle, rateHz, bytes: 0, suffix })
    writeSync(handle, wavHeader({ sampleRateHz: rateHz, channels: 2, dataBytes: 0 }))
  }

  /** Notes that the caller has been informed. From now on the recording may be stored. */
  announced(callSid: string): void {
    const file = this.#open.get(callSid)
    if (file?.suffix !== '.held') return
    renameSync(pathOf(file.folder, callSid, '.held'), pathOf(file.folder, callSid, '.part'))
    file.suffix = '.part'
  }

  /**
   * @param at  index of the first row; rows that were dropped before it become silence
   * @returns false if the call is not recorded, because the recording could not be started
   */
  write(callSid: string, at: number, bytes: Uint8Array): boolean {
    const file = this.#open.get(callSid)
    if (file === undefined) return false
    for (let from = 0; from < bytes.length;) {
      const place = HEADER_BYTES + at * ROW_BYTES + from
      from += writeSync(file.handle, bytes, from, bytes.length - from, place)
      file.bytes = Math.max(file.bytes, at * ROW_BYTES + from)
    }
    return true
  }

  /** @returns false if the call is not recorded */
  finish(callSid: string): boolean {
    const file = this.#open.get(callSid)
    if (file === undefined) return false
    this.#open.delete(callSid)
    finishFile(file.handle, file.rateHz, file.bytes)
    renameSync(pathOf(file.folder, callSid, file.suffix), pathOf(file.folder, callSid, ''))
    return true
  }

  /** Deletes the recording. */
  discard(callSid: string): void {
    const file = this.#open.get(callSid)
    this.#open.delete(callSid)
    if (file === undefined) return
    closeSync(file.handle)
    rmSync(pathOf(file.folder, callSid, file.suffix), { force: true })
  }

  /**
   * Finishes the files of dead processes.
   * @param untouchedMs  minimum time in ms since the last write of a file
   * @returns the number of finished files
   */
  recover(nowMs: number, untouchedMs = ABANDONED_AFTER_MS): number {
    let recovered = 0
    for (const name of this.#unfinished()) {
      const path = join(this.#folder, name)
      const { mtimeMs, mtime, size } = statSync(path)
      if (nowMs - mtimeMs < untouchedMs || this.#open.has(basename(name).replace(/\.wav\..*$/, ''))) continue
      if (size < HEADER_BYTES || name.endsWith('.held')) {
        unlinkSync(path)
        continue
      }
      const handle = openSync(path, 'r+')
      const rate = Buffer.alloc(4)
      readSync(handle, rate, 0, 4, 24)
      finishFile(handle, rate.readUInt32LE(0), size - HEADER_BYTES)
      utimesSync(path, mtime, mtime) // keeps the file's age
      renameSync(path, path.replace(/\.part$/, ''))
      recovered++
    }
    return recovered
  }

  /** Finishes all open files, except files of calls whose caller has not been informed. */
  closeAll(): void {
    for (const [callSid, { suffix }] of [...this.#open]) {
      if (suffix === '.held') this.discard(callSid)
      else this.finish(callSid)
    }
  }

  /** Unfinished files below the folder, for all retentions. */
  #unfinished(): string[] {
    return whereThere(() => {
      const below = readdirSync(this.#folder)
      const own = below.filter((name) => daysOf(name) !== null)
      const inOwn = own.flatMap((days) => readdirSync(join(this.#folder, days)).map((name) => join(days, name)))
      return [...below, ...inOwn].filter((name) => UNFINISHED.test(basename(name)))
    }, [])
  }
}

function pathOf(folder: string, callSid: string, suffix: Suffix): string {
  return join(folder, `${callSid}.wav${suffix}`)
}

/** Writes the length to the header, and cuts off an incomplete row at the end. */
function finishFile(handle: number, rateHz: number, bytes: number): void {
  try {
    const dataBytes = bytes - (bytes % ROW_BYTES)
    ftruncateSync(handle, HEADER_BYTES + dataBytes)
    writeSync(handle, wavHeader({ sampleRateHz: rateHz, channels: 2, dataBytes }), 0, HEADER_BYTES, 0)
  } finally {
    closeSync(handle)
  }
}
