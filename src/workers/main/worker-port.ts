import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { FromCall, ToCall } from '../shared/call-messages.js'

/** Connects the main thread's half of a call with its half in a worker, while the worker's half exists. */
export class WorkerPort {
  readonly #receive: (message: FromCall) => void
  #port: MessagePort | null = null

  constructor(receive: (message: FromCall) => void) {
    this.#receive = receive
  }

  /** @returns the port for the new worker's half */
  open(): MessagePort {
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    port1.on('message', this.#receive)
    port1.unref()
    return port2
  }

  /** Sends nothing if the worker's half does not exist. */
  send(message: ToCall, transfer: readonly MessagePort[] = []): void {
    this.#port?.postMessage(message, transfer)
  }

  /** Reads messages that the worker's half sent before now. */
  takeWaiting(): void {
    const port = this.#port
    if (port === null) return
    for (let last = receiveMessageOnPort(port); last !== undefined; last = receiveMessageOnPort(port)) {
      const message = last.message as FromCall
      // The worker no longer runs a tool whose intent waits here, so the intent must not be stored.
      if (message.type !== 'tool-intent') this.#receive(message)
    }
  }

  /** Reads waiting messages, then closes the port. The result of the task comes another way, from the pool. */
  close(): void {
    this.takeWaiting()
    this.#port?.close()
    this.#port = null
  }
}
