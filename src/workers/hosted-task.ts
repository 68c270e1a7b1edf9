import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import type { MessagePort, TransferListItem } from 'node:worker_threads'
import type { CallCheckpoint } from '../call/checkpoint.js'
import { messageOf } from '../core/errors.js'
import { REHOMES_MAX, SUSPICIONS_MAX } from '../core/limits.js'
import type { CallEnd, CallResult, CallStart, FromCall, ToCall } from './call-messages.js'
import { WorkerLostError } from './worker-watchdog.js'

/** What stays the same of a call's start when another worker goes on with it. */
export type TaskStart = Omit<CallStart, 'port' | 'speech' | 'resume' | 'streamOpen' | 'rehomes'>

/** What a task says to its owner; the rest it says to `HostedTask`. */
export type TaskNews = Exclude<FromCall, { type: 'checkpoint' | 'speech-lost' }>

/** The half of a call that outlives its task. */
export interface TaskOwner {
  /** The audio socket is open now. */
  readonly streamOpen: boolean
  /** Starts a task on the least loaded worker, or on one that carries nothing else. */
  run(start: CallStart, transfer: readonly TransferListItem[], alone: boolean): Promise<CallEnd>
  /** A way to a speech worker; null when there is none to be had. */
  openSpeech(): MessagePort | null
  /** What the task says, in its order. */
  heard(message: TaskNews): void
  /** The worker died, or the call failed by a fault of ours. @returns whether another worker is to go on with it */
  lost(thrown: unknown): boolean
  /** Another worker has it. */
  moved(): void
  /** The last that is heard of the task. Exactly one of the two is null. */
  ended(result: CallResult | null, fault: string | null): void
}

/**
 * A call's task as seen from the main thread: the messages to and from its worker, the last checkpoint, and the move to
 * another worker when that one is lost. A call that may have ended its worker goes on alone, and ends with the second one, so
 * that it does not walk through all of them.
 */
export class HostedTask {
  /** Moves to another worker so far. */
  rehomes = 0
  /** How often it was suspected of the death of its worker, or failed by a fault of its own. */
  suspicions = 0
  /** From `begin` until the owner has heard of the end. */
  running = false
  readonly #start: TaskStart
  readonly #owner: TaskOwner
  #port: MessagePort | null = null
  #checkpoint: CallCheckpoint | null = null
  #backendState: unknown = null

  constructor(start: TaskStart, owner: TaskOwner) {
    this.#start = start
    this.#owner = owner
  }

  /** @param alone  on a worker that carries nothing else */
  begin(alone = false): void {
    const { port1, port2 } = new MessageChannel()
    const speech = this.#owner.openSpeech()
    this.#port = port1
    port1.on('message', (message: FromCall) => this.#receive(message))
    port1.unref()
    const start: CallStart = {
      ...this.#start,
      port: port2,
      speech,
      resume: this.rehomes > 0 ? { checkpoint: this.#checkpoint, backendState: this.#backendState } : null,
      streamOpen: this.#owner.streamOpen,
      rehomes: this.rehomes,
    }
    this.running = true
    this.#owner.run(start, speech === null ? [port2] : [port2, speech], alone).then(
      (end) => {
        if (end.type === 'result') this.#ended(end, null)
        else this.#died(end.fault)
      },
      (thrown: unknown) => this.#died(thrown),
    )
  }

  /** To the call's session; lost when there is none any more. */
  send(message: ToCall): void {
    this.#port?.postMessage(message)
  }

  #receive(message: FromCall): void {
    if (message.type === 'checkpoint') {
      this.#checkpoint = message.checkpoint
      this.#backendState = message.backendState
    } else if (message.type === 'speech-lost') {
      const port = this.#owner.openSpeech()
      if (port !== null) this.#port?.postMessage({ type: 'speech', port } satisfies ToCall, [port])
    } else {
      this.#owner.heard(message)
    }
  }

  #died(thrown: unknown): void {
    this.#closePort()
    const part = thrown instanceof WorkerLostError ? thrown.part : null // null: its own fault, and its worker lives
    if (part !== 'bystander') this.suspicions++
    // One of many is suspected with the others; of them the next death tells more.
    const guilty = part !== 'bystander' && part !== 'one-of-many' && this.suspicions > SUSPICIONS_MAX
    if (!this.#owner.lost(thrown) || guilty || this.rehomes >= REHOMES_MAX) {
      this.#ended(null, messageOf(thrown))
      return
    }
    this.rehomes++
    this.begin(part === 'suspect' || part === 'one-of-many')
    this.#owner.moved()
  }

  #ended(result: CallResult | null, fault: string | null): void {
    this.#closePort()
    this.running = false
    this.#owner.ended(result, fault)
  }

  /** The task's end and its last messages come by two ways; what it still said is heard first. */
  #closePort(): void {
    const port = this.#port
    if (port === null) return
    for (let last = receiveMessageOnPort(port); last !== undefined; last = receiveMessageOnPort(port)) {
      this.#receive(last.message as FromCall)
    }
    port.close()
    this.#port = null
  }
}
