import { closeListener, listen, portOf } from './uws.js'
import type { ListenOptions, Listener, TemplatedApp } from './uws.js'

/** The listeners of the public app, which can be closed and opened again at the ports that they had. */
export class PublicListeners {
  readonly #app: TemplatedApp
  readonly #ports: ListenOptions[]
  #listeners: Listener[] = []
  /** Closed for good. */
  #ended = false

  /** @param ports  the first one is the public port */
  constructor(app: TemplatedApp, ports: readonly ListenOptions[]) {
    this.#app = app
    this.#ports = [...ports]
  }

  /** The public port, once it was opened. */
  get port(): number {
    return this.#ports[0]?.port ?? 0
  }

  /**
   * Opens all that are not open; all or none.
   * @throws GatewayError as `listen`
   */
  async open(): Promise<void> {
    if (this.#ended || this.#listeners.length > 0) return
    const opened: Listener[] = []
    try {
      for (const [index, options] of this.#ports.entries()) {
        // The system chooses once: whoever was told of the port comes back to it. And uWebSockets.js sets SO_REUSEADDR at a port that
        // it is given only; without that, none can be opened at a port that still has connections.
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

  async #freePort(options: ListenOptions): Promise<number> {
    const listener = await listen(this.#app, options)
    const port = portOf(listener)
    closeListener(listener)
    return port
  }

  /** Takes no more connections; those that are open go on. */
  close(): void {
    this.#listeners.splice(0).forEach(closeListener)
  }

  /** The same for good. */
  end(): void {
    this.#ended = true
    this.close()
  }
}
