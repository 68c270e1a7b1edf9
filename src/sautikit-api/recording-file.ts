import { createWriteStream } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { CARRIER_RECORDING_BYTES_MAX, CARRIER_RECORDING_TIMEOUT_MS } from '../core/limits.js'
import { HttpClient, discard, headerOf, networkReason } from '../http/http-client.js'
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
  const client = new HttpClient()
  const part = join(folder, `${callSid}.part`)
  try {
    const response = await client.send({ url: new URL(url), method: 'GET', headers: {}, body: null, policy: 'as-written', signal })
    const { statusCode: status, body } = response
    if (status < 200 || status > 299) {
      discard(response)
      if (status >= 300 && status < 400) throw new Error('redirected')
      throw new CarrierApiError(`recording: answered ${status}`, { status, retryable: status >= 500 })
    }
    const type = (headerOf(response, 'content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
    const extension = EXTENSIONS[type]
    if (extension === undefined) {
      discard(response)
      throw new CarrierApiError('recording: the answer is no audio', { status })
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
    await pipeline(body, bound, createWriteStream(part, { mode: 0o600 }), { signal })
    const file = `${callSid}.${extension}`
    await rename(part, join(folder, file))
    return { file, bytes }
  } catch (thrown) {
    await rm(part, { force: true })
    if (thrown instanceof CarrierApiError) throw thrown
    const why = timeout.aborted ? `not whole in ${timeoutMs} ms` : networkReason(thrown)
    throw new CarrierApiError(`recording: ${why}`, { network: true, retryable: true, cause: thrown })
  } finally {
    client.close()
  }
}
