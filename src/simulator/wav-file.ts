import { readFile, stat, writeFile } from 'node:fs/promises'
import { GatewayError, messageOf } from '../core/errors.js'
import { channelOf, parseWav, writeWav } from '../media/wav.js'
import type { CallerFile } from './caller.js'
import type { LegRecording } from './caller-leg.js'

/** Ten minutes at 16 kHz stereo: more is no utterance. */
const FILE_BYTES_MAX = 40 * 1024 * 1024

/**
 * Reads the left channel of a WAV file.
 * @throws GatewayError WAV_INVALID with the file's name and what is allowed
 */
export async function readWavFile(file: string): Promise<CallerFile> {
  const bytes = await readBytes(file)
  try {
    const audio = parseWav(bytes)
    if (audio.sampleRateHz !== 8000 && audio.sampleRateHz !== 16000) {
      throw new GatewayError('WAV_INVALID', `it has ${audio.sampleRateHz} Hz; a caller plays 8000 or 16000 Hz`)
    }
    return { sampleRateHz: audio.sampleRateHz, pcm: channelOf(audio, 0) }
  } catch (cause) {
    throw new GatewayError('WAV_INVALID', `${file}: ${messageOf(cause)}`, { cause })
  }
}

async function readBytes(file: string): Promise<Buffer> {
  try {
    const { size } = await stat(file)
    if (size <= FILE_BYTES_MAX) return await readFile(file)
  } catch (cause) {
    throw new GatewayError('WAV_INVALID', `${file} cannot be read`, { cause })
  }
  throw new GatewayError('WAV_INVALID', `${file} has more than ${FILE_BYTES_MAX} bytes`)
}

/** Writes a call as stereo: the caller left, what the caller heard right. */
export async function writeCallWav(file: string, recording: LegRecording): Promise<void> {
  await writeFile(file, callWav(recording))
}

/** The same as bytes. */
export function callWav(recording: LegRecording): Uint8Array {
  const { caller, heard, sampleRateHz } = recording
  const samples = new Int16Array(2 * Math.max(caller.length, heard.length))
  for (let i = 0; i < samples.length / 2; i++) {
    samples[2 * i] = caller[i] ?? 0
    samples[2 * i + 1] = heard[i] ?? 0
  }
  return writeWav({ sampleRateHz, channels: 2, samples })
}
