import { isMainThread } from 'node:worker_threads'
import type { TemplatedApp, us_listen_socket } from 'uWebSockets.js'
import { assert } from '../core/assert.js'
import { HTTP_HEADERS_BYTES_MAX } from '../core/limits.js'
import { portFault, whyNotFree } from './port-use.js'

export type {
  HttpRequest,
  HttpResponse,
  TemplatedApp,
  WebSocket,
  WebSocketBehavior,
  us_socket_context_t as UpgradeContext,
} from 'uWebSockets.js'

/** A socket that takes connections; `closeListener` ends that and leaves the connections alone. */
export type Listener = us_listen_socket

// A worker thread that dies with such sockets takes the whole process with it (SIGABRT, every call of every thread).
assert(isMainThread, 'uWebSockets.js is loaded on the main thread only')

// The native module reads this once, when it is loaded, and would refuse headers over 4 KiB with a bare 431.
process.env['UWS_HTTP_MAX_HEADERS_SIZE'] = String(HTTP_HEADERS_BYTES_MAX)
const uws = await import('uWebSockets.js')

/** Value of `WebSocketBehavior.compression`: audio does not compress, and the carrier never offers it. */
export const NO_COMPRESSION = 0

export interface ListenOptions {
  readonly host: string
  /** 0 lets the system choose. */
  readonly port: number
  /** True lets other processes listen on the same port; the kernel deals connections out among them. */
  readonly shared: boolean
  /** How the port is called in an error: the name of its setting. */
  readonly setting: string
}

export function createApp(): TemplatedApp {
  return uws.App()
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
 * Starts to take connections. Exclusively unless `shared`: uWebSockets.js would otherwise share a port that
 * another gateway has, in silence, and each would get half of the calls.
 * @throws GatewayError PORT_IN_USE, or CONFIG_INVALID when the address itself is wrong.
 */
export async function listen(app: TemplatedApp, options: ListenOptions): Promise<Listener> {
  const { host, port, shared } = options
  const listener = await new Promise<Listener | false>(resolve => {
    const native = app.listen.bind(app) as unknown as ListenWithOptions
    native(host, port, shared ? LISTEN_SHARED : LISTEN_EXCLUSIVE, resolve)
  })
  if (listener !== false) return listener
  // The native module says only that it failed; Node's own listener says why.
  throw portFault(options, await whyNotFree(options))
}

export function portOf(listener: Listener): number {
  return uws.us_socket_local_port(listener)
}

/** Takes no more connections; those that are open go on. */
export function closeListener(listener: Listener): void {
  uws.us_listen_socket_close(listener)
}
