import { createWriteStream } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { messageOf } from '../core/errors.js'
import { CARRIER_RECORDING_BYTES_MAX, CARRIER_RECORDING_TIMEOUT_MS } from '../core/limits.js'
import { CarrierApiError } from './carrier-error.js'

export interface RecordingFileOptions {
  readonly folder: string
  /** True only where the API itself is reached without TLS, as on loopback. */
  readonly allowHttp: boolean
  readonly bytesMax?: number
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

const EXTENSIONS: Readonly<Record<string, string>> = {
  'audio/wav': 'wav', 'audio/x-wav': 'wav', 'audio/wave': 'wav', 'audio/mpeg': 'mp3', 'audio/mp3': 'mp3', 'audio/ogg': 'ogg',
}

/**
 * Streams a recording to `folder`, never more than one chunk of it in memory. The file has its name only when it is whole.
 * @param url  presigned: fetched without the key, and without following another redirect
 * @returns the file's name and size
 * @throws CarrierApiError; nothing is left behind then
 */
export async function saveRecording(
  url: string, callSid: string, options: RecordingFileOptions,
): Promise<{ readonly file: string; readonly bytes: number }> {
  const { folder, allowHttp, bytesMax = CARRIER_RECORDING_BYTES_MAX, timeoutMs = CARRIER_RECORDING_TIMEOUT_MS } = options
  const protocol = URL.canParse(url) ? new URL(url).protocol : ''
  if (protocol !== 'https:' && !(allowHttp && protocol === 'http:')) {
    throw new CarrierApiError('recording: its address is not https', {})
  }
  const timeout = AbortSignal.timeout(timeoutMs)
  const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout])
  const part = join(folder, `${callSid}.part`)
  try {
    const response = await fetch(url, { redirect: 'error', signal })
    if (!response.ok || response.body === null) {
      await response.body?.cancel()
      throw new CarrierApiError(`recording: answered ${response.status}`, { status: response.status, retryable: response.status >= 500 })
    }
    const type = (response.headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
    const extension = EXTENSIONS[type]
    if (extension === undefined) {
      await response.body.cancel()
      throw new CarrierApiError('recording: the answer is no audio', { status: response.status })
    }
    await mkdir(folder, { recursive: true })
    let bytes = 0
    const bound = new Transform({
      transform(chunk: Buffer, _encoding, done): void {
        bytes += chunk.byteLength
        if (bytes > bytesMax) done(new CarrierApiError(`recording: larger than ${bytesMax} bytes`, {}))
        else done(null, chunk)
      },
    })
    await pipeline(Readable.from(response.body as unknown as AsyncIterable<Uint8Array>), bound, createWriteStream(part, { mode: 0o600 }), { signal })
    const file = `${callSid}.${extension}`
    await rename(part, join(folder, file))
    return { file, bytes }
  } catch (thrown) {
    await rm(part, { force: true })
    if (thrown instanceof CarrierApiError) throw thrown
    const why = timeout.aborted ? `not whole in ${timeoutMs} ms` : messageOf(thrown)
    throw new CarrierApiError(`recording: ${why}`, { network: true, retryable: true, cause: thrown })
  }
}
