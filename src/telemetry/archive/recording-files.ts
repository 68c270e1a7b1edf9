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
/** A call that went on after its node was lost has several parts: `SID.wav`, `SID.2.wav`. */
const UNFINISHED = /^[A-Za-z0-9_-]{1,64}(?:\.\d)?\.wav\.(?:part|held)$/
/** `held`: the caller has not been informed yet. */
type Suffix = '' | '.part' | '.held'

/**
 * Stereo recordings that are being written: `SID.wav.part`, with a header without length, until the
 * call is over; then the header is filled in and the file is renamed. Until the caller has been informed the file is
 * `SID.wav.held`. After a crash `recover` finishes the first and deletes the second.
 *
 * Synchronous, for a thread that has nothing else to do. Methods throw what the file system throws.
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

  /** @param days  how long it is kept; null: as long as the settings say */
  begin(callSid: string, rateHz: number, announced = true, days: number | null = null): void {
    const suffix = announced ? '.part' : '.held'
    const folder = days === null ? this.#folder : join(this.#folder, `${days}d`)
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    if (existsSync(pathOf(folder, callSid, ''))) throw new Error('there is a recording of that call already')
    const handle = openSync(pathOf(folder, callSid, suffix), 'wx', 0o600)
    this.#open.set(callSid, { folder, handle, rateHz, bytes: 0, suffix })
    writeSync(handle, wavHeader({ sampleRateHz: rateHz, channels: 2, dataBytes: 0 }))
  }

  /** The caller has been informed: the recording may be kept. */
  announced(callSid: string): void {
    const file = this.#open.get(callSid)
    if (file?.suffix !== '.held') return
    renameSync(pathOf(file.folder, callSid, '.held'), pathOf(file.folder, callSid, '.part'))
    file.suffix = '.part'
  }

  /**
   * @param at  the first row's place: rows that were dropped before it leave a hole, which reads as silence
   * @returns false when that call has no recording, because it could not be started
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

  /** @returns false when that call has no recording. */
  finish(callSid: string): boolean {
    const file = this.#open.get(callSid)
    if (file === undefined) return false
    this.#open.delete(callSid)
    finishFile(file.handle, file.rateHz, file.bytes)
    renameSync(pathOf(file.folder, callSid, file.suffix), pathOf(file.folder, callSid, ''))
    return true
  }

  /** Deletes it. */
  discard(callSid: string): void {
    const file = this.#open.get(callSid)
    this.#open.delete(callSid)
    if (file === undefined) return
    closeSync(file.handle)
    rmSync(pathOf(file.folder, callSid, file.suffix), { force: true })
  }

  /**
   * Finishes the files of dead processes. @param untouchedMs  for how long they were not written to @returns how many
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
      utimesSync(path, mtime, mtime) // it is as old as it was
      renameSync(path, path.replace(/\.part$/, ''))
      recovered++
    }
    return recovered
  }

  /** Finishes all open files, except those whose callers have not been informed. */
  closeAll(): void {
    for (const [callSid, { suffix }] of [...this.#open]) {
      if (suffix === '.held') this.discard(callSid)
      else this.finish(callSid)
    }
  }

  /** Below the folder, under every retention. */
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

/** Fills in the header; cuts off half a row at the end. */
function finishFile(handle: number, rateHz: number, bytes: number): void {
  try {
    const dataBytes = bytes - (bytes % ROW_BYTES)
    ftruncateSync(handle, HEADER_BYTES + dataBytes)
    writeSync(handle, wavHeader({ sampleRateHz: rateHz, channels: 2, dataBytes }), 0, HEADER_BYTES, 0)
  } finally {
    closeSync(handle)
  }
}
