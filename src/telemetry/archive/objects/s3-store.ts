import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'

/** A bucket, and how it is reached. Plain data. */
export interface BucketSettings {
  readonly bucket: string
  /** Null: that of AWS for the region. */
  readonly endpoint: string | null
  readonly region: string
  /** Null: where the SDK looks for them, in AWS_ACCESS_KEY_ID and so on, or the role of the machine. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | null
}

const CONNECT_MS = 5000
/** A connection on which nothing moves. */
const STALLED_MS = 30_000
/** An upload may take as long as it needs at this rate, and this long at least. */
const BYTES_PER_MS_MIN = 16
const REQUEST_MS = 30_000

const SILENT = { debug: ignore, info: ignore, warn: ignore, error: ignore }

function ignore(): void {
  // said by whoever catches it
}

/** The objects of one bucket: S3, or what speaks its protocol. Methods throw what the SDK throws; nothing is tried twice. */
export class S3Store {
  readonly #client: S3Client
  readonly #bucket: string

  constructor({ bucket, endpoint, region, credentials }: BucketSettings) {
    this.#bucket = bucket
    this.#client = new S3Client({
      region,
      // Names of buckets are names of hosts at AWS alone.
      ...(endpoint === null ? {} : { endpoint, forcePathStyle: true }),
      ...(credentials === null ? {} : { credentials }),
      maxAttempts: 1,
      // Other servers know Content-MD5, and not the checksums that the SDK adds of itself.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      // The SDK would write errors to the console that every caller of these methods gets.
      logger: SILENT,
      requestHandler: { connectionTimeout: CONNECT_MS, socketTimeout: STALLED_MS },
    })
  }

  /** Resolves when the bucket has all of it. @param md5  base64, checked by the bucket */
  async put(name: string, body: Readable, bytes: number, md5: string, signal: AbortSignal): Promise<void> {
    const time = AbortSignal.timeout(REQUEST_MS + Math.ceil(bytes / BYTES_PER_MS_MIN))
    const options = { Bucket: this.#bucket, Key: name, Body: body, ContentLength: bytes, ContentMD5: md5 }
    await this.#client.send(new PutObjectCommand(options), { abortSignal: AbortSignal.any([signal, time]) })
  }

  /** Null where there is none of that name. */
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

  /** Checks that the bucket takes an object, gives it back and deletes it. @throws when it does not */
  async probe(name: string, signal: AbortSignal): Promise<void> {
    const bytes = Buffer.from('mkondo check')
    const md5 = createHash('md5').update(bytes).digest('base64')
    await this.put(name, Readable.from([bytes], { objectMode: false }), bytes.length, md5, signal)
    const got = await this.get(name, signal)
    got?.body.resume()
    if (got?.bytes !== bytes.length) throw new Error('an object is not given back as it was')
    await this.delete(name, signal)
  }

  close(): void {
    this.#client.destroy()
  }
}
