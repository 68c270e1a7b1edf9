import { createRequire, syncBuiltinESMExports } from 'node:module'
import { EventEmitter } from 'node:events'
import type { MessagePort } from 'node:worker_threads'
import { HttpClient } from '../../../src/http/http-client.js'
import type { HttpRequest } from '../../../src/http/http-client.js'
import { PeerListener } from '../../../src/fleet/peer-listener.js'
import { Peers } from '../../../src/fleet/peers.js'
import type { PeerResult } from '../../../src/fleet/peers.js'
import { CallMemoryPool } from '../../../src/workers/shared/call-memory.js'
import { LoadWatch } from '../../../src/workers/main/load-watch.js'
import type { VirtualTime } from './virtual-time.js'

const require = createRequire(import.meta.url)

type PeerHandler = (body: unknown, from: { readonly node: string; readonly incarnation: string }) => unknown

/** Doubles at the ends of the real code, in place of sockets, threads and the disk. */
interface Seams {
  /** A node listens for others. */
  readonly listens: (listener: object) => string
  readonly ask: (url: string, to: string, name: string | null, body: unknown, answerMs: number) => Promise<PeerResult>
  /** A request over HTTP, of this process. @throws what the network throws */
  readonly send: (request: HttpRequest) => Promise<{ readonly statusCode: number }>
}

/** By listener. */
export const handlersOf = new WeakMap<object, Map<string, PeerHandler>>()

type Patched = Record<string, unknown>

function patched(target: object, changes: Patched): () => void {
  const before = Object.fromEntries(Object.keys(changes).map((key) => [key, (target as Patched)[key]]))
  Object.assign(target, changes)
  return () => void Object.assign(target, before)
}

/**
 * The classes and modules of Node through which the gateway reaches other nodes, receivers of messages and its media
 * workers, led to the model for as long as the simulation runs. @returns a function that ends that
 */
export function installSeams(time: VirtualTime, { listens, ask, send }: Seams): () => void {
  const restore = [
    patched(PeerListener.prototype, {
      listen(this: object) {
        return Promise.resolve(listens(this))
      },
      handle(this: object, name: string, handler: PeerHandler) {
        const handlers = handlersOf.get(this) ?? new Map<string, PeerHandler>()
        handlersOf.set(this, handlers.set(name, handler))
      },
      close: () => Promise.resolve(),
    }),
    patched(Peers.prototype, {
      ask: (
        to: { readonly url: string; readonly incarnation: string },
        name: string,
        body: unknown,
        answerMs: number,
      ) => ask(to.url, to.incarnation, name, body, answerMs),
      ping: (to: { readonly url: string; readonly incarnation: string }) =>
        ask(to.url, to.incarnation, null, null, 500),
      close: () => undefined,
    }),
    patched(HttpClient.prototype, {
      send: async (request: HttpRequest) => {
        const body = { on: () => body, destroy: () => undefined }
        return { headers: {}, body, ...(await send(request)) }
      },
    }),
    patched(require('node:worker_threads') as object, {
      MessageChannel: class {
        readonly port1 = new Port(time)
        readonly port2 = new Port(time)
        constructor() {
          this.port1.other = this.port2
          this.port2.other = this.port1
        }
      },
      receiveMessageOnPort: (port: Port) => port.takeFirst(),
    }),
    patched(require('node:fs/promises') as object, disk()),
    neverOverloaded(),
  ]
  syncBuiltinESMExports()
  return () => {
    for (const one of restore) one()
    syncBuiltinESMExports()
  }
}

/** How busy this machine is is nothing of the simulated one. */
function neverOverloaded(): () => void {
  const before = Object.getOwnPropertyDescriptor(LoadWatch.prototype, 'overload') as PropertyDescriptor
  Object.defineProperty(LoadWatch.prototype, 'overload', { configurable: true, get: () => null })
  return () => void Object.defineProperty(LoadWatch.prototype, 'overload', before)
}

const memory = new CallMemoryPool()

/** The calls of all nodes share the memory of their sound, which nobody fills. @returns a function that ends that */
export function oneMemory(): () => void {
  const pool = CallMemoryPool.prototype
  const take = pool.take.bind(memory)
  const give = pool.give.bind(memory)
  return patched(pool, { take, give })
}

/** Files that outlive a process: all of them, of all nodes. */
function disk(): Patched {
  const files = new Map<string, string>()
  const find = (path: string): string => {
    const found = files.get(path)
    if (found === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' })
    return found
  }
  return {
    mkdir: () => Promise.resolve(),
    readdir: (folder: string) =>
      Promise.resolve(
        [...files.keys()].filter((path) => path.startsWith(`${folder}/`)).map((path) => path.slice(folder.length + 1)),
      ),
    readFile: async (path: string) => find(path),
    writeFile: async (path: string, text: string) => void files.set(path, text),
    rename: async (from: string, to: string) => {
      files.set(to, find(from))
      files.delete(from)
    },
    unlink: async (path: string) => {
      find(path)
      files.delete(path)
    },
  }
}

/** A `MessagePort` whose messages come with the next event of its process. */
class Port extends EventEmitter implements Pick<MessagePort, 'postMessage' | 'close' | 'ref' | 'unref' | 'start'> {
  other: Port | null = null
  readonly #time: VirtualTime
  readonly #waiting: unknown[] = []
  #closed = false

  constructor(time: VirtualTime) {
    super()
    this.#time = time
  }

  postMessage(message: unknown): void {
    const { other } = this
    if (other === null || other.#closed) return
    other.#waiting.push(message)
    this.#time.after(0, this.#time.current, () => {
      if (other.#closed || other.listenerCount('message') === 0) return
      const first = other.takeFirst()
      if (first !== undefined) other.emit('message', first.message)
    })
  }

  takeFirst(): { readonly message: unknown } | undefined {
    return this.#waiting.length === 0 ? undefined : { message: this.#waiting.shift() }
  }

  close(): void {
    this.#closed = true
  }

  start(): void {
    // Its messages flow from the first listener on.
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }
}
