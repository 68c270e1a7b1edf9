import { mkdirSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, relative } from 'node:path'
import type { Test } from 'tap'

interface Server {
  run(): Promise<{ readonly address: string; readonly port: number }>
  close(): Promise<void>
}

// Set as in the thread of the object storage.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true'

// The package has no types.
const S3rver = createRequire(import.meta.url)('s3rver') as new (options: object) => Server

/** Real S3 server on loopback with one bucket, and access to its files. */
interface S3 {
  readonly url: string
  /** Names of the objects, and their bytes. */
  objects(): Map<string, Buffer>
  /** Stops the server: it cannot be reached any more. */
  stop(): Promise<void>
  /** Starts the server again at the same address, with the same objects. */
  start(): Promise<void>
}

export const S3_BUCKET = 'calls'
/** Credentials that the server accepts. */
export const S3_CREDENTIALS = { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' }

/** @param folder  folder for the server's objects */
export async function startS3(t: Test, folder: string): Promise<S3> {
  mkdirSync(join(folder, S3_BUCKET), { recursive: true })
  let port = 0
  let server: Server | null = null
  const start = async (): Promise<void> => {
    server = new S3rver({ address: '127.0.0.1', port, silent: true, directory: folder })
    port = (await server.run()).port
  }
  const stop = async (): Promise<void> => {
    await server?.close()
    server = null
  }
  await start()
  t.teardown(stop)
  return {
    url: `http://127.0.0.1:${port}`,
    objects: () => {
      const root = join(folder, S3_BUCKET)
      const names = readdirSync(root, { recursive: true }) as string[]
      const files = names.map((name) => join(root, name)).filter((path) => path.endsWith('._S3rver_object'))
      return new Map(
        files
          .filter((path) => statSync(path).isFile())
          .map((path) => [relative(root, path).replace('._S3rver_object', ''), readFileSync(path)]),
      )
    },
    stop,
    start,
  }
}
