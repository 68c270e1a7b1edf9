import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { FromCall, ToCall } from '../shared/call-messages.js'

/** Leads from a call's main thread half to its half in a worker, while there is one. */
export class WorkerPort {
  readonly #receive: (message: FromCall) => void
  #port: MessagePort | null = null

  constructor(receive: (message: FromCall) => void) {
    this.#receive = receive
  }

  /** @returns the end for the new worker's half */
  open(): MessagePort {
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    port1.on('message', this.#receive)
    port1.unref()
    return port2
  }

  /** Does nothing where there is no worker's half. */
  send(message: ToCall, transfer: readonly MessagePort[] = []): void {
    this.#port?.postMessage(message, transfer)
  }

  /** Messages of the worker's half that were sent before now. */
  takeWaiting(): void {
    const port = this.#port
    if (port === null) return
    for (let last = receiveMessageOnPort(port); last !== undefined; last = receiveMessageOnPort(port)) {
      const message = last.message as FromCall
      // A tool that waits for its answer will not run: its intent must not be stored.
      if (message.type !== 'tool-intent') this.#receive(message)
    }
  }

  /**
   * The task's result does not come through the port, so messages may still wait there: they are read before it is
   * closed.
   */
  close(): void {
    this.takeWaiting()
    this.#port?.close()
    this.#port = null
  }
}
