import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import { assert } from '../core/assert.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { homeCountry } from '../sautikit/phone.js'
import { requireSpeech } from './speech-packages.js'
import type { SpeechTask, SpeechTaskResult, SpeechWorkerOptions, SpeechWorkerStats } from './speech-protocol.js'

/** Speech workers of one process, and the decoders of each (28 MB and 190 ms each). */
const SPEECH_THREADS_MAX = 4
const SPEECH_DECODERS_DEFAULT = 4
/** How long speech workers that started for a call stay without one: a start takes a second of processor time. */
const SPEECH_IDLE_MS = 10 * 60_000
/** Sessions of one speech worker; most of them are silent at any moment. */
const SPEECH_SESSIONS_PER_THREAD = 500
/** Speech of fixed prompts that each worker keeps: about eight minutes at 16 kHz. */
const SPEECH_PROMPT_CACHE_BYTES = 16 * 1024 * 1024

interface SpeechPoolOptions {
  /** Speech workers, 1 to 4; 1 when not given. One thread recognises about 30 callers who speak at once. */
  readonly threads?: number
  /** Decoders in each worker, 1 to 16; 4 when not given. About 28 MB each, and 190 ms until it is ready. */
  readonly decodersPerThread?: number
  /** Samples of fixed prompts that each worker keeps, in bytes. */
  readonly promptCacheBytes?: number
  /** Sessions that one worker takes at most. */
  readonly sessionsPerThread?: number
  /** How long the workers stay without a session, where `ready` was not called. */
  readonly idleMs?: number
  /** `process.env` of the workers; this process's own when absent. */
  readonly workerEnv?: Readonly<Record<string, string>>
  /** Called once for each worker that died; the pool has replaced it by then. */
  readonly onFault?: (error: GatewayError) => void
}

const CLOSE_TIMEOUT_MS = 1000

/**
 * The main thread's side of the speech workers. A call's session is one long task that gets one end of a channel; the
 * other end goes to the call's media worker, and their messages do not pass the main thread. The session ends when
 * either end closes.
 *
 * The workers start with the first session, or with `ready`: warm they take 60 MB, and 120 more with four decoders, which
 * a gateway without calls and without an embedded backend does not need. After a while without a session they end again, unless
 * `ready` was called.
 *
 * A worker that dies ends its sessions: their ports close, `SpeechClient` rejects its pending requests with
 * SPEECH_FAULT and opens a new session, and piscina starts another worker. As with calls, no `signal` is passed and no
 * more tasks are started than there are slots, because piscina would run a refused task later.
 */
export class SpeechPool {
  /** Counters of the pool; plain fields, read at scrape time. */
  readonly stats = {
    /** Sessions that are open now. */
    sessions: 0,
    /** Sessions that ended because their worker died. */
    sessionsFaulted: 0,
    /** Workers that died. */
    faults: 0,
    /** Sessions that were refused because every slot was taken. */
    refused: 0,
  }
  readonly #options: SpeechPoolOptions
  readonly #threads: number
  readonly #perThread: number
  readonly #idleMs: number
  #workers: Piscina<SpeechTask, SpeechTaskResult> | null = null
  #ready: Promise<void> | null = null
  #idle: NodeJS.Timeout | undefined
  readonly #sessions = new Set<Promise<void>>()
  #lastFault: unknown = null
  #closed = false

  constructor(options: SpeechPoolOptions = {}) {
    const { threads = 1, decodersPerThread: decoders = SPEECH_DECODERS_DEFAULT } = options
    assert(Number.isInteger(threads) && threads >= 1 && threads <= SPEECH_THREADS_MAX, 'speech threads is 1 to 4')
    assert(Number.isInteger(decoders) && decoders >= 1 && decoders <= 16, 'decoders per speech thread is 1 to 16')
    this.#options = options
    this.#threads = threads
    this.#perThread = options.sessionsPerThread ?? SPEECH_SESSIONS_PER_THREAD
    this.#idleMs = options.idleMs ?? SPEECH_IDLE_MS
  }

  /** Starts the workers, where they do not run. @throws GatewayError CONFIG_INVALID when their packages are not installed */
  #start(): Piscina<SpeechTask, SpeechTaskResult> {
    if (this.#workers !== null) return this.#workers
    requireSpeech()
    const { decodersPerThread, promptCacheBytes, workerEnv } = this.#options
    const workerData: SpeechWorkerOptions = {
      decoders: decodersPerThread ?? SPEECH_DECODERS_DEFAULT,
      promptCacheBytes: promptCacheBytes ?? SPEECH_PROMPT_CACHE_BYTES,
      country: homeCountry(),
    }
    this.#workers = new Piscina<SpeechTask, SpeechTaskResult>({
      filename: fileURLToPath(new URL('./start-speech-worker.js', import.meta.url)),
      minThreads: this.#threads,
      maxThreads: this.#threads,
      // One more than the sessions: the probes of `ready` run beside them.
      concurrentTasksPerWorker: this.#perThread + 1,
      idleTimeout: Infinity,
      atomics: 'disabled',
      // Otherwise a worker inherits the loaders of a test runner and starts in 0.7 s instead of 0.1 s.
      execArgv: [],
      ...(workerEnv === undefined ? {} : { env: workerEnv }),
      recordTiming: false,
      workerData,
    })
    // Reports the death of an idle worker. The death of a busy one rejects its tasks.
    this.#workers.on('error', (error: unknown) => this.#workerDied(error))
    return this.#workers
  }

  /**
   * Starts the workers, with their decoders, and keeps them. Resolves when every worker has its models in memory (about
   * 1 s); rejects with SPEECH_FAULT when one cannot, and with CONFIG_INVALID when their packages are not installed.
   */
  async ready(): Promise<void> {
    this.#ready ??= this.#probe(this.#start())
    return this.#ready
  }

  /** Speech workers that are alive; none before the first session, where `ready` is not called. */
  get threads(): number {
    return this.#workers?.threads.length ?? 0
  }

  /** Sessions that can still be opened. */
  get free(): number {
    return this.#closed ? 0 : this.#threads * this.#perThread - this.stats.sessions
  }

  /**
   * Starts a session and returns the call's end of its channel, to be transferred to the call's media worker. The
   * session ends when that port is closed. Requests wait until the models are in memory.
   * @param recognises  the caller will be heard: the decoders are created now. Without it the first utterance waits for one.
   * @throws GatewayError SPEECH_BUSY when all slots are taken, SPEECH_FAULT after `close`,
   *   CONFIG_INVALID when the workers' packages are not installed
   */
  openSession(recognises = true): MessagePort {
    if (this.#closed) throw new GatewayError('SPEECH_FAULT', 'the speech pool is closed')
    if (this.free <= 0) {
      this.stats.refused++
      throw new GatewayError('SPEECH_BUSY', `all ${this.#threads * this.#perThread} speech sessions are taken`, {
        retryable: true,
      })
    }
    const workers = this.#start()
    clearTimeout(this.#idle)
    const { port1, port2 } = new MessageChannel()
    this.stats.sessions++
    const session = workers
      .run({ type: 'session', port: port2, decoders: recognises }, { transferList: [port2] })
      .then(
        () => undefined,
        (error: unknown) => {
          this.stats.sessionsFaulted++
          this.#workerDied(error)
        },
      )
      .finally(() => {
        // Has an effect only if the task did not reach a worker: else the port was transferred.
        port2.close()
        this.stats.sessions--
        this.#sessions.delete(session)
        if (this.stats.sessions === 0 && this.#ready === null)
          this.#idle = setTimeout(() => void this.#end(), this.#idleMs).unref()
      })
    this.#sessions.add(session)
    return port1
  }

  /** The counters of the least busy worker; null where none runs. */
  async inspect(): Promise<SpeechWorkerStats | null> {
    return this.#workers === null ? null : this.#workers.run({ type: 'probe', decoders: false })
  }

  /** Ends all sessions and the workers; resolves within about a second. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#idle)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_TIMEOUT_MS)
    })
    await Promise.race([this.#end().then(() => Promise.allSettled(this.#sessions)), late])
    clearTimeout(timer)
  }

  /** Ends the workers; the next session starts others. */
  async #end(): Promise<void> {
    const workers = this.#workers
    this.#workers = null
    await workers?.destroy()
  }

  async #probe(workers: Piscina<SpeechTask, SpeechTaskResult>): Promise<void> {
    try {
      // Least-busy placement puts one probe on each worker.
      await Promise.all(Array.from({ length: this.#threads }, () => workers.run({ type: 'probe', decoders: true })))
    } catch (error) {
      throw new GatewayError('SPEECH_FAULT', `a speech worker could not load its models: ${messageOf(error)}`, {
        cause: error,
      })
    }
  }

  /** Piscina rejects every task of a dead worker with the same error: each death is reported once. */
  #workerDied(error: unknown): void {
    if (this.#closed || error === this.#lastFault) return
    this.#lastFault = error
    this.stats.faults++
    this.#options.onFault?.(
      new GatewayError('SPEECH_FAULT', `a speech worker died: ${messageOf(error)}`, { retryable: true, cause: error }),
    )
  }
}
