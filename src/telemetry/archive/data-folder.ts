import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  rmdirSync,
  statSync,
} from 'node:fs'
import { connect, createServer } from 'node:net'
import type { Server } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { GatewayError, systemCodeOf } from '../../core/errors.js'

/**
 * Attempts to take DATA_DIR when several gateways start at once: each failed one means that another process got
 * further.
 */
const DATA_FOLDER_LOCK_ATTEMPTS_MAX = 20

/** A folder that only this gateway writes to until `release`. */
export interface DataFolder {
  /** False where the file system has no sockets or links: another gateway on the folder is not noticed. */
  readonly locked: boolean
  /**
   * Makes it readable by this user alone, where it was empty or a gateway's, is this user's, and is no public one such as /tmp.
   * @returns what it did: nothing, because it is `closed` already; it `closes` it; or it stays `open` to other users
   */
  close(): 'closed' | 'closes' | 'open'
  release(): void
  /** As `release`, and deletes the folders that were created for it, if they are empty. */
  undo(): void
}

/** Longest path of a unix socket that every system takes, in bytes. */
const SOCKET_PATH_BYTES_MAX = 100
/**
 * Errors of a file system without sockets or hard links; a folder that may not be written answers otherwise, or fails
 * the probe.
 */
const WITHOUT_SOCKETS: ReadonlySet<string> = new Set([
  'EOPNOTSUPP',
  'ENOTSUP',
  'ENOSYS',
  'EPERM',
  'EINVAL',
  'ENAMETOOLONG',
  'EMLINK',
])
/** Bits of a mode: what the group and others may do, and that of /tmp. */
const FOR_OTHERS = 0o077
const STICKY = 0o1000
const LOCK = /^gateway-(\d{1,15})\.lock$/
const OWN = /^\.gateway-[0-9a-f]{16}$/

/**
 * Makes the folder where it is missing and takes it for this process. The lock is a unix socket in the folder on which
 * its owner listens: the kernel ends it with its owner, however that dies, and it is seen by every process that sees
 * the folder, in whichever container of the same host. A folder that several hosts mount is not protected.
 *
 * The socket is linked to `gateway-N.lock`, where N is one more than the newest, and only when nobody listens on the
 * newest. Linking fails when the name exists, older names are deleted only when a newer one exists, and the newest is
 * never deleted; so of two processes that start at once exactly one finds after its link that it has the newest name.
 *
 * @throws GatewayError CONFIG_INVALID when the folder cannot be made or written, or another gateway holds it
 */
export async function holdDataFolder(path: string): Promise<DataFolder> {
  const folder = resolve(path)
  const made: string[] = []
  attempt(path, () => makeFolder(folder, made))
  const ours = isOurs(folder)
  const close = (): 'closed' | 'closes' | 'open' => closeToOthers(folder, ours)
  const own = `.gateway-${randomBytes(8).toString('hex')}`
  let server: Server | null = null
  try {
    server = await listen(folder, own)
    await take(path, folder, own)
  } catch (thrown) {
    server?.close()
    if (thrown instanceof GatewayError) throw thrown
    if (!WITHOUT_SOCKETS.has(systemCodeOf(thrown))) throw unusable(path, thrown)
    attempt(path, () => probe(folder))
    return {
      locked: false,
      close,
      release: () => undefined,
      undo: () => {
        removeMade(made)
      },
    }
  } finally {
    try {
      rmSync(join(folder, own), { force: true })
    } catch {
      // A folder that this user may not read: reported already.
    }
  }
  const held = server
  const release = (): void => {
    held.close()
  }
  return {
    locked: true,
    close,
    release,
    undo: () => {
      release()
      removeMade(made)
    },
  }
}

/** True if a folder is empty, as a new volume is, or has a gateway's lock: nobody else keeps files in it. */
function isOurs(folder: string): boolean {
  try {
    const names = readdirSync(folder).filter((name) => name !== 'lost+found')
    return names.length === 0 || names.some((name) => LOCK.test(name))
  } catch {
    // One that cannot be read is reported by `take`.
    return false
  }
}

function closeToOthers(folder: string, ours: boolean): 'closed' | 'closes' | 'open' {
  const { mode, uid } = statSync(folder)
  if ((mode & FOR_OTHERS) === 0) return 'closed'
  if (!ours || uid !== process.getuid?.() || (mode & STICKY) !== 0) return 'open'
  try {
    chmodSync(folder, mode & ~FOR_OTHERS & 0o777)
    return (statSync(folder).mode & FOR_OTHERS) === 0 ? 'closes' : 'open'
  } catch {
    return 'open'
  }
}

/** @param made  outermost first; the innermost has the lock */
function removeMade(made: readonly string[]): void {
  try {
    for (const name of made.length > 0 ? readdirSync(made.at(-1) as string) : []) {
      if (LOCK.test(name)) rmSync(join(made.at(-1) as string, name))
    }
    for (const folder of [...made].reverse()) rmdirSync(folder)
  } catch {
    // Another process uses it.
  }
}

/** Resolves when this process has the newest lock of the folder. */
async function take(path: string, folder: string, own: string): Promise<void> {
  for (let attempts = 0; attempts < DATA_FOLDER_LOCK_ATTEMPTS_MAX; attempts++) {
    const newest = newestLock(folder)
    if (newest > 0 && (await listensAt(folder, lockName(newest)))) break
    try {
      linkSync(join(folder, own), join(folder, lockName(newest + 1)))
    } catch (thrown) {
      // Another process was faster, or owns the folder and has deleted our name.
      if (['EEXIST', 'ENOENT'].includes(systemCodeOf(thrown))) continue
      throw thrown
    }
    if (newestLock(folder) !== newest + 1) continue // the name was free because a newer one exists
    for (const name of readdirSync(folder)) {
      // A process may have died between `listen` and here; one that is just starting must be refused.
      if (Number(LOCK.exec(name)?.[1] ?? Infinity) <= newest || (OWN.test(name) && name !== own))
        rmSync(join(folder, name), { force: true })
    }
    return
  }
  throw new GatewayError(
    'CONFIG_INVALID',
    `DATA_DIR is '${path}', which another gateway is using; allowed: a folder of its own for each gateway`,
  )
}

function newestLock(folder: string): number {
  return Math.max(0, ...readdirSync(folder).map((name) => Number(LOCK.exec(name)?.[1] ?? 0)))
}

function lockName(generation: number): string {
  return `gateway-${generation}.lock`
}

/**
 * As `mkdir -p`, readable by this user alone. `mkdirSync(…, { recursive: true })` never returns below a folder such as
 * /proc, which answers ENOENT however often its parent is made.
 * @throws what the file system throws
 */
function makeFolder(path: string, made: string[]): void {
  try {
    if (statSync(path).isDirectory()) return
    throw Object.assign(new Error(`${path} is not a folder`), { code: 'ENOTDIR' })
  } catch (thrown) {
    if (systemCodeOf(thrown) !== 'ENOENT' || dirname(path) === path) throw thrown
  }
  makeFolder(dirname(path), made)
  try {
    mkdirSync(path, { mode: 0o700 })
    made.push(path)
  } catch (thrown) {
    // Another process of this gateway creates the same parent at the same time.
    if (systemCodeOf(thrown) !== 'EEXIST') throw thrown
  }
}

/** @throws what the file system throws where no file can be made */
function probe(folder: string): void {
  const file = join(folder, `.gateway-${randomBytes(8).toString('hex')}`)
  closeSync(openSync(file, 'wx', 0o600))
  rmSync(file)
}

async function listen(folder: string, name: string): Promise<Server> {
  // A connection only checks that the owner is alive.
  const server = createServer((socket) => socket.destroy())
  await atShortPath(
    folder,
    name,
    (path) =>
      new Promise<void>((taken, failed) => {
        server.once('error', failed)
        server.listen(path, () => {
          server.off('error', failed)
          server.on('error', () => undefined)
          taken()
        })
      }),
  )
  server.unref()
  return server
}

/** Only a refusal or a missing file means that nobody listens: a busy owner is still the owner. */
async function listensAt(folder: string, name: string): Promise<boolean> {
  return atShortPath(
    folder,
    name,
    (path) =>
      new Promise<boolean>((answer) => {
        const socket = connect(path)
        socket.once('connect', () => {
          socket.destroy()
          answer(true)
        })
        socket.once('error', (error) => answer(!['ECONNREFUSED', 'ENOENT'].includes(systemCodeOf(error))))
      }),
  )
}

/**
 * A path in the folder that fits a socket's address: through a descriptor of the folder where its own is too long
 * (Linux).
 */
async function atShortPath<T>(folder: string, name: string, use: (path: string) => Promise<T>): Promise<T> {
  const path = join(folder, name)
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX || !existsSync('/proc/self/fd')) return use(path)
  const handle = openSync(folder, 'r')
  try {
    return await use(`/proc/self/fd/${handle}/${name}`)
  } finally {
    closeSync(handle)
  }
}

function attempt(path: string, work: () => void): void {
  try {
    work()
  } catch (thrown) {
    throw unusable(path, thrown)
  }
}

function unusable(path: string, thrown: unknown): GatewayError {
  return new GatewayError(
    'CONFIG_INVALID',
    `DATA_DIR is '${path}', which cannot be made or written (${systemCodeOf(thrown)}); ` +
      'allowed: a folder that this user may make and write, or none, with KEEP_CALLS=false',
    { cause: thrown },
  )
}
