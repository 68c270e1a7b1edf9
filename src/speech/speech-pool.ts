import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import { assert } from '../core/assert.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { homeCountry } from '../sautikit/phone.js'
import { requireSpeech } from './speech-packages.js'
import { SPEECH_REFUSALS } from './speech-protocol.js'
import type {
  SpeechRefusal,
  SpeechReply,
  SpeechTask,
  SpeechTaskResult,
  SpeechWorkerOptions,
  SpeechWorkerStats,
} from './speech-protocol.js'

/**
 * Maximum number of recognising threads of one process. `SPEECH_DECODERS_DEFAULT`: default number of decoders in each
 * thread. A decoder needs 28 MB and 190 ms.
 */
const SPEECH_THREADS_MAX = 4
const SPEECH_DECODERS_DEFAULT = 4
/**
 * Time in ms after which the speech workers end if there is no call. It applies if a call started them. A start needs a
 * second of CPU time.
 */
const SPEECH_IDLE_MS = 10 * 60_000
/** Maximum number of sessions of one speech worker. It can be large, because most sessions are silent at any moment. */
const SPEECH_SESSIONS_PER_THREAD = 500
/** Memory in bytes for speech of fixed prompts in each worker: about eight minutes at 16 kHz. */
const SPEECH_PROMPT_CACHE_BYTES = 16 * 1024 * 1024

interface SpeechPoolOptions {
  /** Number of recognising threads, 1 to 4. Default: 1. The voice has a thread of its own. */
  readonly threads?: number
  /**
   * Number of decoders in each worker, 1 to 16. Default: 4. Each decoder needs about 28 MB, and 190 ms until it is
   * ready.
   */
  readonly decodersPerThread?: number
  /** Memory for samples of fixed prompts in each worker, in bytes. */
  readonly promptCacheBytes?: number
  /** Maximum number of sessions of one worker. */
  readonly sessionsPerThread?: number
  /** Time in ms for which the workers stay after the last session, if `ready` was not called. */
  readonly idleMs?: number
  /** `process.env` of the workers. If absent, they get this process's environment. */
  readonly workerEnv?: Readonly<Record<string, string>>
  /** Called once for each worker that died, after the pool has replaced it. */
  readonly onFault?: (error: GatewayError) => void
}

const CLOSE_TIMEOUT_MS = 1000

type Workers = Piscina<SpeechTask, SpeechTaskResult>

/**
 * The main thread's part of the speech workers. A call's session is one long task with one end of a channel. The other
 * end goes to the call's media worker, so messages between call and speech worker do not pass through the main thread.
 * The session ends when one end of the channel closes.
 *
 * The voice has its own thread, so that a greeting never waits while other callers are recognised. A session has a task
 * and a channel in each kind of thread, and ends when one of these tasks ends.
 *
 * The workers start with the first session that needs them, or with `ready`. Warm workers need 60 MB, and 120 MB more
 * with four decoders. A gateway without calls and without an embedded backend does not need the workers. After a time
 * without a session the workers end again, unless `ready` was called.
 *
 * If a worker dies, its sessions end, because their ports close. `SpeechClient` then rejects its pending requests with
 * SPEECH_FAULT and opens a new session. Piscina starts a new worker. As for calls, no `signal` is passed, and no more
 * tasks are started than there are slots. Otherwise piscina would queue a refused task and run it later.
 */
export class SpeechPool {
  /** Counters of the pool; plain fields, read when metrics are scraped. */
  readonly stats = {
    /** Number of open sessions. */
    sessions: 0,
    /** Number of sessions that ended because their worker died. */
    sessionsFaulted: 0,
    /** Number of workers that died. */
    faults: 0,
    /** Number of sessions that were refused, because all slots were in use. */
    refused: 0,
  }
  readonly #options: SpeechPoolOptions
  readonly #threads: number
  readonly #perThread: number
  readonly #idleMs: number
  readonly #refusals = new Int32Array(new SharedArrayBuffer(SPEECH_REFUSALS.length * Int32Array.BYTES_PER_ELEMENT))
  #voice: Workers | null = null
  #recognisers: Workers | null = null
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

  /** Starts the workers if they do not run. @throws GatewayError CONFIG_INVALID if their packages are not installed */
  #startVoice(): Workers {
    this.#voice ??= this.#start(true, 1)
    return this.#voice
  }

  #startRecognisers(): Workers {
    this.#recognisers ??= this.#start(false, this.#threads)
    return this.#recognisers
  }

  #start(speaks: boolean, threads: number): Workers {
    requireSpeech()
    const { decodersPerThread, promptCacheBytes, workerEnv } = this.#options
    const workerData: SpeechWorkerOptions = {
      speaks,
      refusals: this.#refusals.buffer,
      decoders: decodersPerThread ?? SPEECH_DECODERS_DEFAULT,
      promptCacheBytes: promptCacheBytes ?? SPEECH_PROMPT_CACHE_BYTES,
      country: homeCountry(),
    }
    const workers: Workers = new Piscina<SpeechTask, SpeechTaskResult>({
      filename: fileURLToPath(new URL('./start-speech-worker.js', import.meta.url)),
      minThreads: threads,
      maxThreads: threads,
      // There is one slot more than the maximum number of sessions, for the probes of `ready`.
      concurrentTasksPerWorker: (this.#threads * this.#perThread) / threads + 1,
      idleTimeout: Infinity,
      atomics: 'disabled',
      // Without this option, a worker would get the loaders of a test runner, and would start in 0.7 s instead of 0.1
      // s.
      execArgv: [],
      ...(workerEnv === undefined ? {} : { env: workerEnv }),
      recordTiming: false,
      workerData,
    })
    // Reports the death of an idle worker. The death of a busy worker is known from its tasks, which reject.
    workers.on('error', (error: unknown) => this.#workerDied(error))
    return workers
  }

  /**
   * Starts the workers with their decoders, and keeps them. Resolves when every worker has its models in memory (about
   * 1 s). Rejects with SPEECH_FAULT if a worker cannot load its models, and with CONFIG_INVALID if the packages are not
   * installed.
   */
  async ready(): Promise<void> {
    this.#ready ??= this.#probe(this.#startVoice(), this.#startRecognisers())
    return this.#ready
  }

  /** Number of live speech workers; 0 before the first session, if `ready` is not called. */
  get threads(): number {
    return (this.#voice?.threads.length ?? 0) + (this.#recognisers?.threads.length ?? 0)
  }

  /** Number of utterances, since the start, that were not recognised because no decoder was free. */
  refusals(why: SpeechRefusal): number {
    return Atomics.load(this.#refusals, SPEECH_REFUSALS.indexOf(why))
  }

  /** Number of sessions that can still be opened. */
  get free(): number {
    return this.#closed ? 0 : this.#threads * this.#perThread - this.stats.sessions
  }

  /**
   * Starts a session. Requests wait until the models are in memory. The session ends when its port is closed.
   * @param recognises  true if the caller will be heard: the decoders are created now. False: the first utterance waits
   * for them.
   * @returns the call's end of its channel, to be transferred to the call's media worker
   * @throws GatewayError SPEECH_BUSY if all slots are taken, SPEECH_FAULT after `close`, CONFIG_INVALID if the workers'
   * packages are not installed
   */
  openSession(recognises = true): MessagePort {
    if (this.#closed) throw new GatewayError('SPEECH_FAULT', 'the speech pool is closed')
    if (this.free <= 0) {
      this.stats.refused++
      throw new GatewayError('SPEECH_BUSY', `all ${this.#threads * this.#perThread} speech sessions are taken`, {
        retryable: true,
      })
    }
    const workers = this.#startVoice()
    clearTimeout(this.#idle)
    const { port1, port2 } = new MessageChannel()
    const recognisers = recognises ? this.#startRecognisers() : this.#recognisers
    const tasks: Promise<void>[] = []
    // If there are no recognising threads, the voice's thread recognises callers too. These are only the few callers
    // whose model has failed.
    if (recognisers !== null) {
      const channel = new MessageChannel()
      // The client gets the recogniser's port as the first message at its end of the channel. The message waits there
      // until a thread opens this end.
      port2.postMessage({ type: 'recogniser', port: channel.port1 } satisfies SpeechReply, [channel.port1])
      tasks.push(this.#session(recognisers, channel.port2, recognises))
    }
    this.stats.sessions++
    tasks.push(this.#session(workers, port2, false))
    const session = Promise.all(tasks)
      .then(() => undefined)
      .finally(() => {
        this.stats.sessions--
        this.#sessions.delete(session)
        if (this.stats.sessions === 0 && this.#ready === null)
          this.#idle = setTimeout(() => void this.#end(), this.#idleMs).unref()
      })
    this.#sessions.add(session)
    return port1
  }

  #session(workers: Workers, port: MessagePort, decoders: boolean): Promise<void> {
    return workers
      .run({ type: 'session', port, decoders }, { transferList: [port] })
      .then(
        () => undefined,
        (error: unknown) => {
          this.stats.sessionsFaulted++
          this.#workerDied(error)
        },
      )
      .finally(() => {
        // The port is closed here only if the task did not reach a worker. Otherwise the port was transferred to the
        // worker.
        port.close()
      })
  }

  /** @returns the counters of the voice and of the least busy recognising thread; null if no thread runs */
  async inspect(): Promise<SpeechWorkerStats | null> {
    const probe: SpeechTask = { type: 'probe', decoders: false }
    const [voice, recogniser] = await Promise.all([this.#voice?.run(probe), this.#recognisers?.run(probe)])
    if (voice === undefined || voice === null) return null
    if (recogniser === undefined || recogniser === null) return voice
    const { sentencesMade, sentencesFromCache } = voice
    return { ...recogniser, sessions: Math.max(voice.sessions, recogniser.sessions), sentencesMade, sentencesFromCache }
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
    const workers = [this.#voice, this.#recognisers].filter((one) => one !== null)
    this.#voice = this.#recognisers = null
    await Promise.all(workers.map((one) => one.destroy()))
  }

  async #probe(voice: Workers, recognisers: Workers): Promise<void> {
    try {
      // The least busy worker gets the next task, so each worker gets one probe.
      await Promise.all([
        voice.run({ type: 'probe', decoders: false }),
        ...Array.from({ length: this.#threads }, () => recognisers.run({ type: 'probe', decoders: true })),
      ])
    } catch (error) {
      throw new GatewayError('SPEECH_FAULT', `a speech worker could not load its models: ${messageOf(error)}`, {
        cause: error,
      })
    }
  }

  /** Piscina rejects all tasks of a dead worker with the same error object. So each death is reported only once. */
  #workerDied(error: unknown): void {
    if (this.#closed || error === this.#lastFault) return
    this.#lastFault = error
    this.stats.faults++
    this.#options.onFault?.(
      new GatewayError('SPEECH_FAULT', `a speech worker died: ${messageOf(error)}`, { retryable: true, cause: error }),
    )
  }
}
