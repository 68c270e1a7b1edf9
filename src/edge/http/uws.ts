import { isMainThread } from 'node:worker_threads'
import type * as Uws from 'uWebSockets.js'
import type { TemplatedApp, us_listen_socket } from 'uWebSockets.js'
import { assert } from '../../core/assert.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { portFault, whyNotFree } from '../../http/port-use.js'

/** Largest block of request headers: `headerMetadata` may travel there; uWebSockets.js stops at 4 KiB by default. */
const HTTP_HEADERS_BYTES_MAX = 16 * 1024
/** uWebSockets.js itself: its releases are on GitHub only; this one has Node 22, 24 and 26. */
const UPSTREAM = 'uNetworking/uWebSockets.js#v20.67.0'
/** Package of npm, for Node 24 and 25 where glibc is 2.38 or later. */
const REPACKED = '@btc-vision/uwebsockets.js@20.57.0'
/** Certificates of the public port of which connections are still open; those of an older one are closed. */
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

// A worker thread that dies with such sockets takes the whole process with it (SIGABRT, every call of every thread).
assert(isMainThread, 'uWebSockets.js is loaded on the main thread only')

// The native module reads this once, when it is loaded, and would refuse headers over 4 KiB with a bare 431.
process.env['UWS_HTTP_MAX_HEADERS_SIZE'] = String(HTTP_HEADERS_BYTES_MAX)
const uws = await loadUws()

/** Value of `WebSocketBehavior.compression`: audio does not compress, and the carrier never offers it. */
export const NO_COMPRESSION = 0

/** The files of a certificate with its chain and of its key; PEM. */
export interface TlsFiles {
  readonly certFile: string
  readonly keyFile: string
}

/** Listening with a host and options at once works in the native module and is missing from its types. */
type ListenWithOptions = (
  host: string,
  port: number,
  options: number,
  done: (listener: Listener | false) => void,
) => void

/** `LIBUS_LISTEN_DEFAULT` and `LIBUS_LISTEN_EXCLUSIVE_PORT`. */
const LISTEN_SHARED = 0
const LISTEN_EXCLUSIVE = 1

/**
 * The listeners of the public port, which can be closed and opened again at the ports that they had, and the app behind
 * them. A certificate belongs to an app for good, so a new one takes another app; the connections of the old one go on.
 */
export class PublicListeners {
  readonly #makeApp: () => TemplatedApp
  /** The newest one accepts connections. */
  readonly #apps: TemplatedApp[]
  readonly #ports: ListenOptions[]
  #listeners: Listener[] = []
  /** Closed for good. */
  #ended = false

  /**
   * @param makeApp  with all its routes
   * @param ports  the first one is the public port
   * @throws what `makeApp` throws
   */
  constructor(makeApp: () => TemplatedApp, ports: readonly ListenOptions[]) {
    this.#makeApp = makeApp
    this.#apps = [makeApp()]
    this.#ports = [...ports]
  }

  /** The public port, once it was opened. */
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
        // The system chooses a port only once, so that a port is the same when it is opened again. uWebSockets.js sets
        // SO_REUSEADDR only for an explicit port; without it a port that still has connections cannot be opened.
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
   * Makes a new app, which accepts the connections from now on. A connection between the closing of the port and its
   * opening, within one turn of the event loop, is refused.
   * @throws what `makeApp` throws, and GatewayError as `open`
   */
  async renew(): Promise<void> {
    if (this.#ended) return
    const listening = this.#listeners.length > 0
    this.#apps.push(this.#makeApp())
    // Its connections are as old as the certificates since.
    if (this.#apps.length > PUBLIC_APPS_MAX) this.#apps.shift()?.close()
    this.close()
    if (listening) await this.open()
  }

  get #app(): TemplatedApp {
    return this.#apps.at(-1) as TemplatedApp // there is one from the beginning
  }

  async #freePort(options: ListenOptions): Promise<number> {
    const listener = await listen(this.#app, options)
    const port = portOf(listener)
    closeListener(listener)
    return port
  }

  /** Accepts no more connections; open ones continue. */
  close(): void {
    this.#listeners.splice(0).forEach(closeListener)
  }

  /** As `close`; nothing is opened again. */
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
  /** 0 lets the system choose. */
  readonly port: number
  /** True lets other processes listen on the same port; the kernel spreads connections over them. */
  readonly shared: boolean
  /** The name of the port's setting, for errors. */
  readonly setting: string
}

/**
 * uWebSockets.js from the first package that has a binary for this Node and this C library. `uWebSockets.js` is upstream's
 * own where somebody has installed it, and `uws-pack` in a clone; an installed release has a package with one binary of
 * `uws-pack`. The image brings the last one. Their functions are the same
 * (docs/adr/0023-two-packages-of-uwebsockets.md).
 * @throws GatewayError CONFIG_INVALID when none loads
 */
async function loadUws(): Promise<typeof Uws> {
  const { platform, arch, versions } = process
  const major = versions.node.split('.')[0] ?? ''
  const released = `mkondo-uws-${platform}-${arch}-node${major}` // scripts/release.mjs
  const why: string[] = []
  for (const name of ['uWebSockets.js', released, 'uws-pack', '@btc-vision/uwebsockets.js']) {
    try {
      return (await import(name)) as typeof Uws
    } catch (error) {
      const message = messageOf(error)
      why.push(`${name}: ${/^.*(?:Cannot find|GLIBC).*$/m.exec(message)?.[0] ?? message}`)
    }
  }
  const glibc = glibcVersion()
  const repacked = ['24', '25'].includes(major) && glibc !== null && isFrom(glibc, 38)
  const install =
    ['20', '22'].includes(major) && glibc !== null && isFrom(glibc, 27)
      ? 'npm install --include=optional'
      : `npm install ${repacked ? REPACKED : UPSTREAM}`
  throw new GatewayError(
    'CONFIG_INVALID',
    `no uWebSockets.js for Node ${versions.node} and ${glibc === null ? 'a system without glibc' : `glibc ${glibc}`}; type: ${install} (${why.join('; ')})`,
  )
}

/** Version of the system's glibc; null where there is none: musl, macOS, Windows. */
function glibcVersion(): string | null {
  const { header } = process.report.getReport() as { readonly header: { readonly glibcVersionRuntime?: string } }
  return header.glibcVersionRuntime ?? null
}

/** True if it is 2.`minor` or later. */
function isFrom(glibc: string, minor: number): boolean {
  const [major = 0, own = 0] = glibc.split('.').map(Number)
  return major > 2 || own >= minor
}

/** @throws Error when the files do not fit; the native module does not say why */
export function createApp(tls: TlsFiles | null = null): TemplatedApp {
  if (tls === null) return uws.App()
  return uws.SSLApp({
    cert_file_name: tls.certFile,
    key_file_name: tls.keyFile,
    // Frames are small and come every 20 ms: record buffers that are kept for each connection would be most of its memory.
    ssl_prefer_low_memory_usage: true,
  })
}

/**
 * Starts to accept connections. Exclusively unless `shared`: otherwise uWebSockets.js would silently share a port with
 * another gateway, and each would get half of the calls.
 * @throws GatewayError PORT_IN_USE, or CONFIG_INVALID when the address itself is wrong.
 */
export async function listen(app: TemplatedApp, options: ListenOptions): Promise<Listener> {
  const { host, port, shared } = options
  const listener = await new Promise<Listener | false>((resolve) => {
    const native = app.listen.bind(app) as unknown as ListenWithOptions
    native(host, port, shared ? LISTEN_SHARED : LISTEN_EXCLUSIVE, resolve)
  })
  if (listener !== false) return listener
  // The native module reports only that it failed; Node's own listener tells why.
  throw portFault(options, await whyNotFree(options))
}

export function portOf(listener: Listener): number {
  return uws.us_socket_local_port(listener)
}

/** Accepts no more connections; open ones continue. */
function closeListener(listener: Listener): void {
  uws.us_listen_socket_close(listener)
}
