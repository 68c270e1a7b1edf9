import { isMainThread } from 'node:worker_threads'
import type * as Uws from 'uWebSockets.js'
import type { TemplatedApp, us_listen_socket } from 'uWebSockets.js'
import { assert } from '../../core/assert.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { portFault, whyNotFree } from '../../http/port-use.js'

/**
 * Maximum size in bytes of all request headers together. `headerMetadata` may be in them; uWebSockets.js's default
 * limit is 4 KiB.
 */
const HTTP_HEADERS_BYTES_MAX = 16 * 1024
/** Upstream uWebSockets.js. Its releases are on GitHub only; this release supports Node 22, 24 and 26. */
const UPSTREAM = 'uNetworking/uWebSockets.js#v20.67.0'
/**
 * Package on npm for Node 24 and 25 with glibc 2.38 or later. `npm ci` on these versions of Node installs it in a
 * clone.
 */
const REPACKED = '@btc-vision/uwebsockets.js@20.57.0'
/**
 * Command that starts a clone on Node 22, because each clone has a binary for Node 22. npm's package `node` contains
 * Node.
 */
const ON_NODE_22 = 'npx -y -p node@22 npm start'
/**
 * Maximum number of certificates of the public port with open connections; connections of older certificates are
 * closed.
 */
const PUBLIC_APPS_MAX = 4

export type {
  HttpRequest,
  HttpResponse,
  TemplatedApp,
  WebSocket,
  us_socket_context_t as UpgradeContext,
} from 'uWebSockets.js'

/** A listening socket. `closeListener` closes it and leaves its connections open. */
type Listener = us_listen_socket

// A worker thread that dies with such sockets ends the whole process (SIGABRT, every call of every thread).
assert(isMainThread, 'uWebSockets.js is loaded on the main thread only')

// The native module reads this variable once, when it is loaded. Without it, the module would refuse headers over 4 KiB
// with a bare 431.
process.env['UWS_HTTP_MAX_HEADERS_SIZE'] = String(HTTP_HEADERS_BYTES_MAX)
const uws = await loadUws()

/** Value of `WebSocketBehavior.compression`: audio cannot be compressed, and the carrier never offers compression. */
export const NO_COMPRESSION = 0

/** The files of a certificate with its chain, and of its key; PEM. */
export interface TlsFiles {
  readonly certFile: string
  readonly keyFile: string
}

/** `listen` with a host and options. It works in the native module and is missing from the module's types. */
type ListenWithOptions = (
  host: string,
  port: number,
  options: number,
  done: (listener: Listener | false) => void,
) => void

/** Values of `LIBUS_LISTEN_DEFAULT` and `LIBUS_LISTEN_EXCLUSIVE_PORT`. */
const LISTEN_SHARED = 0
const LISTEN_EXCLUSIVE = 1

/**
 * Listeners of the public port and their app. They can be closed and opened again at their old ports. An app cannot
 * change its certificate, so a new certificate needs a new app; connections of the old app stay open.
 */
export class PublicListeners {
  readonly #makeApp: () => TemplatedApp
  /** Apps, oldest first; the newest app accepts connections. */
  readonly #apps: TemplatedApp[]
  readonly #ports: ListenOptions[]
  #listeners: Listener[] = []
  /** True if the port is closed for ever. */
  #ended = false

  /**
   * @param makeApp  creates an app with all its routes
   * @param ports  the first one is the public port
   * @throws the error of `makeApp`
   */
  constructor(makeApp: () => TemplatedApp, ports: readonly ListenOptions[]) {
    this.#makeApp = makeApp
    this.#apps = [makeApp()]
    this.#ports = [...ports]
  }

  /** Number of the public port, after it has been opened. */
  get port(): number {
    return this.#ports[0]?.port ?? 0
  }

  /**
   * Opens all ports, or none.
   * @throws GatewayError as `listen`
   */
  async open(): Promise<void> {
    if (this.#ended || this.#listeners.length > 0) return
    const opened: Listener[] = []
    try {
      for (const [index, options] of this.#ports.entries()) {
        // A port that the system has chosen is kept. uWebSockets.js sets SO_REUSEADDR only for an explicit port.
        // Without SO_REUSEADDR, a port with open connections cannot be opened again.
        const port = options.port === 0 ? await this.#freePort(options) : options.port
        this.#ports[index] = { ...options, port }
        opened.push(await listen(this.#app, { ...options, port }))
      }
    } catch (error) {
      opened.forEach(closeListener)
      throw error
    }
    this.#listeners = opened
    if (this.#ended) this.close()
  }

  /**
   * Creates a new app for all later connections. The port closes and opens within one turn; connections in between are
   * refused.
   * @throws the error of `makeApp`, and GatewayError as `open`
   */
  async renew(): Promise<void> {
    if (this.#ended) return
    const listening = this.#listeners.length > 0
    this.#apps.push(this.#makeApp())
    // Closing the oldest app also closes its connections, which are older than all later certificates.
    if (this.#apps.length > PUBLIC_APPS_MAX) this.#apps.shift()?.close()
    this.close()
    if (listening) await this.open()
  }

  get #app(): TemplatedApp {
    return this.#apps.at(-1) as TemplatedApp // there has been an app from the beginning
  }

  async #freePort(options: ListenOptions): Promise<number> {
    const listener = await listen(this.#app, options)
    const port = portOf(listener)
    closeListener(listener)
    return port
  }

  /** Stops accepting connections; open connections continue. */
  close(): void {
    this.#listeners.splice(0).forEach(closeListener)
  }

  /** Closes like `close`; the port is never opened again. */
  end(): void {
    this.#ended = true
    this.close()
  }

  /** Closes all connections. */
  cut(): void {
    for (const app of this.#apps) app.close()
  }
}

interface ListenOptions {
  readonly host: string
  /** Port number; 0 lets the system choose. */
  readonly port: number
  /** True lets other processes listen on this port; the kernel spreads connections over the processes. */
  readonly shared: boolean
  /** The name of the port's setting, for errors. */
  readonly setting: string
}

/**
 * Loads uWebSockets.js from the first package that has a binary for this Node and this C library.
 * - `uWebSockets.js` is `uws-pack` in a clone, or upstream's package if an operator has installed it.
 * - An installed release has a package with one binary of `uws-pack`. The image may have `uws-pack` under its own name.
 * - `@btc-vision/uwebsockets.js` supports Node 24.
 *
 * Their functions are equal (docs/adr/0023-two-packages-of-uwebsockets.md).
 * @throws GatewayError CONFIG_INVALID if no package loads
 */
async function loadUws(): Promise<typeof Uws> {
  const { platform, arch, versions } = process
  const major = versions.node.split('.')[0] ?? ''
  const released = `mkondo-uws-${platform}-${arch}-node${major}` // scripts/release.mjs
  const faults = new Map<string, unknown>()
  for (const name of ['uWebSockets.js', released, 'uws-pack', '@btc-vision/uwebsockets.js']) {
    try {
      return (await import(name)) as typeof Uws
    } catch (error) {
      faults.set(name, error)
    }
  }
  // `npm ci` of a clone installs `uws-pack` under this name for every Node.
  const isClone = !isNotInstalled(faults.get('uWebSockets.js'))
  const glibc = glibcVersion()
  const system = glibc === null ? (platform === 'linux' ? 'a Linux without glibc' : platform) : `glibc ${glibc}`
  const has = (minor: number): boolean => (glibc === null ? platform !== 'linux' : isFrom(glibc, minor))
  const isPacked = ['20', '22'].includes(major) && has(27)
  const isRepacked = ['24', '25'].includes(major) && has(38)
  if (isPacked || isRepacked) {
    const inRelease = isPacked ? 'npm install --include=optional' : `npm install ${REPACKED}`
    const fault = messageOf(
      faults.get(isRepacked ? '@btc-vision/uwebsockets.js' : isClone ? 'uWebSockets.js' : released),
    )
    throw new GatewayError(
      'CONFIG_INVALID',
      `calls need uWebSockets.js, and no uWebSockets.js for Node ${versions.node} and ${system} loads; type: ${isClone ? 'npm ci --include=optional' : inRelease} (${/^.*(?:Cannot find|GLIBC).*$/m.exec(fault)?.[0] ?? fault})`,
    )
  }
  throw new GatewayError(
    'CONFIG_INVALID',
    `calls need uWebSockets.js, and npm has no uWebSockets.js for Node ${versions.node} and ${system}; type: ${isClone && has(28) ? ON_NODE_22 : `npm install ${UPSTREAM}`}`,
  )
}

/** True if the package is missing. False if the package is installed and its binary does not load. */
function isNotInstalled(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND'
}

/** Version of the system's glibc; null without glibc: musl, macOS, Windows. */
function glibcVersion(): string | null {
  const { header } = process.report.getReport() as { readonly header: { readonly glibcVersionRuntime?: string } }
  return header.glibcVersionRuntime ?? null
}

/** True if this version is 2.`minor` or later. */
function isFrom(glibc: string, minor: number): boolean {
  const [major = 0, own = 0] = glibc.split('.').map(Number)
  return major > 2 || own >= minor
}

/** @throws Error if certificate and key do not fit each other; the native module does not give the reason */
export function createApp(tls: TlsFiles | null = null): TemplatedApp {
  if (tls === null) return uws.App()
  return uws.SSLApp({
    cert_file_name: tls.certFile,
    key_file_name: tls.keyFile,
    // Frames are small and come every 20 ms. If each connection kept its own record buffers, they would need most of
    // the connection's memory.
    ssl_prefer_low_memory_usage: true,
  })
}

/**
 * Starts to accept connections. The port is exclusive unless `shared` is set. Otherwise uWebSockets.js would silently
 * share a port with another gateway, and each gateway would get half of the calls.
 * @throws GatewayError PORT_IN_USE, or CONFIG_INVALID if the address is wrong
 */
export async function listen(app: TemplatedApp, options: ListenOptions): Promise<Listener> {
  const { host, port, shared } = options
  const listener = await new Promise<Listener | false>((resolve) => {
    const native = app.listen.bind(app) as unknown as ListenWithOptions
    native(host, port, shared ? LISTEN_SHARED : LISTEN_EXCLUSIVE, resolve)
  })
  if (listener !== false) return listener
  // The native module reports only that `listen` failed; Node's own listener gives the reason.
  throw portFault(options, await whyNotFree(options))
}

export function portOf(listener: Listener): number {
  return uws.us_socket_local_port(listener)
}

/** Stops accepting connections; open connections continue. */
function closeListener(listener: Listener): void {
  uws.us_listen_socket_close(listener)
}
