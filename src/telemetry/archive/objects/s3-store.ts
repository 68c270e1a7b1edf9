import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'

/** A bucket and the data for access to it. Plain data. */
export interface BucketSettings {
  readonly bucket: string
  /** URL of the server; null to use the endpoint of AWS for the region. */
  readonly endpoint: string | null
  readonly region: string
  /**
   * Credentials. If null, the SDK searches for credentials: in AWS_ACCESS_KEY_ID and similar variables, or in the role
   * of the machine.
   */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | null
}

const CONNECT_MS = 5000
/** Time in ms after which a connection without traffic is closed. */
const STALLED_MS = 30_000
/** Minimum rate of an upload, in bytes per ms. A slower upload is stopped. */
const BYTES_PER_MS_MIN = 16
/** Minimum time limit in ms of an upload. It also applies to small files. */
const REQUEST_MS = 30_000

const SILENT = { debug: ignore, info: ignore, warn: ignore, error: ignore }

function ignore(): void {
  // the code that catches the error reports it
}

/**
 * Objects of one bucket, on S3 or on another server with the S3 protocol. Methods throw the SDK's errors. Requests are
 * not repeated.
 */
export class S3Store {
  readonly #client: S3Client
  readonly #bucket: string

  constructor({ bucket, endpoint, region, credentials }: BucketSettings) {
    this.#bucket = bucket
    this.#client = new S3Client({
      region,
      // Only AWS uses bucket names as host names.
      ...(endpoint === null ? {} : { endpoint, forcePathStyle: true }),
      ...(credentials === null ? {} : { credentials }),
      maxAttempts: 1,
      // Other servers support Content-MD5, but not the checksums that the SDK adds by default.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      // The SDK must not write errors to the console, because the methods throw them.
      logger: SILENT,
      requestHandler: { connectionTimeout: CONNECT_MS, socketTimeout: STALLED_MS },
    })
  }

  /**
   * Resolves when the bucket has the complete object.
   * @param md5  base64; the bucket checks it
   */
  async put(name: string, body: Readable, bytes: number, md5: string, signal: AbortSignal): Promise<void> {
    const time = AbortSignal.timeout(REQUEST_MS + Math.ceil(bytes / BYTES_PER_MS_MIN))
    const options = { Bucket: this.#bucket, Key: name, Body: body, ContentLength: bytes, ContentMD5: md5 }
    await this.#client.send(new PutObjectCommand(options), { abortSignal: AbortSignal.any([signal, time]) })
  }

  /** Reads an object; null if there is no object of this name. */
  async get(name: string, signal: AbortSignal): Promise<{ readonly body: Readable; readonly bytes: number } | null> {
    try {
      const command = new GetObjectCommand({ Bucket: this.#bucket, Key: name })
      const { Body, ContentLength = 0 } = await this.#client.send(command, { abortSignal: signal })
      return Body === undefined ? null : { body: Body as Readable, bytes: ContentLength }
    } catch (thrown) {
      if ((thrown as Error).name === 'NoSuchKey') return null
      throw thrown
    }
  }

  async delete(name: string, signal: AbortSignal): Promise<void> {
    await this.#client.send(new DeleteObjectCommand({ Bucket: this.#bucket, Key: name }), { abortSignal: signal })
  }

  /**
   * Checks that the bucket stores an object, returns it and deletes it.
   * @throws if one of these steps fails
   */
  async probe(name: string, signal: AbortSignal): Promise<void> {
    const bytes = Buffer.from('mkondo check')
    const md5 = createHash('md5').update(bytes).digest('base64')
    await this.put(name, Readable.from([bytes], { objectMode: false }), bytes.length, md5, signal)
    const got = await this.get(name, signal)
    got?.body.resume()
    if (got?.bytes !== bytes.length) throw new Error('an object was returned with another content')
    await this.delete(name, signal)
  }

  close(): void {
    this.#client.destroy()
  }
}
