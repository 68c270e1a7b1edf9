import { assertNever } from '../../core/assert.js'
import { WORKER_WATCH_MS } from '../../core/limits.js'
import { NO_CALL } from '../shared/worker-memory.js'
import type { WorkerPulse } from '../shared/worker-memory.js'

/**
 * Time in ms without a heartbeat after which a worker is ended and replaced. The speech in the ring lasts this long at
 * 16 kHz.
 */
export const WORKER_SILENT_MS = 2000
/**
 * Shorter limit in ms for a worker without a heartbeat. It applies if the whole process has grown by one worker's
 * memory limit since that heartbeat. An endless loop may fill a gigabyte in half a second.
 */
export const WORKER_GROWTH_SILENT_MS = 500

/**
 * Minimum time in ms between two readings of the resident memory while all workers send heartbeats, because each
 * reading opens a file of /proc.
 */
const WORKER_RSS_MS = 1000

/** Facts of one worker for the watchdog. A worker whose beat time is 0 has not started yet, and is not watched. */
interface WatchedWorker {
  readonly thread: number
  readonly pulse: Pick<WorkerPulse, 'beatAtMs' | 'bufferBytes' | 'running' | 'systemThread'>
}

/**
 * The reason why the watchdog ends a worker. `silent` means that it no longer answers; otherwise its code holds too
 * much memory outside the heap.
 */
export interface WorkerVerdict {
  readonly thread: number
  readonly cause: 'silent' | 'buffers'
  readonly why: string
  /** Ordinal of the call whose code was found running most often during a silence. */
  readonly ran: number
}

interface ProcessReadings {
  /** @returns the resident memory of the whole process */
  readonly rssBytes: () => number
  /**
   * @returns the total time in ms that a thread of the system has waited for a processor since the thread's start; 0 if
   * unknown
   */
  readonly waitedMs: (systemThread: number) => number
}

interface Silence {
  /** Time of the last heartbeat before this silence, in ms. */
  beatAtMs: number
  /** Length of the silence in ms, as `WorkerWatchdog` counts it. */
  ms: number
  /**
   * Time in ms that the thread has waited for a processor, from its start until the last look. Null before the second
   * look.
   */
  waitedMs: number | null
  /** Resident memory of the whole process at the last heartbeat. The value may be up to `WORKER_RSS_MS` older. */
  rssBytes: number
  /**
   * Number of looks during this silence at which the code of each call ran. One look is not enough, because a look may
   * fall between two of the promises in an endless chain.
   */
  readonly ran: Map<number, number>
  /** True if the verdict was returned; the thread may take a while to end. */
  hasVerdict: boolean
}

const MIB = 1024 * 1024

/**
 * Decides by the workers' pulses which workers must be ended. A pause or an overload of the whole process must not end
 * a worker. So each look adds at most `WORKER_WATCH_MS` to the length of a silence. The time for which the worker's
 * thread waited for a processor is subtracted. On a busy machine, a thread in an endless loop is ended after 2 s of its
 * own time.
 */
export class WorkerWatchdog {
  readonly #memoryBytes: number
  /** Silences that last until now, by thread of the worker. */
  readonly #silences = new Map<number, Silence>()
  #lookedAtMs: number | null = null
  readonly #read: ProcessReadings
  #rssBytes = 0
  #rssAtMs = -Infinity

  /**
   * @param memoryBytes  limit of one worker's memory outside its heap
   */
  constructor(memoryBytes: number, read: ProcessReadings) {
    this.#memoryBytes = memoryBytes
    this.#read = read
  }

  /**
   * Must be called every `WORKER_WATCH_MS`.
   * @returns the workers to end, each once
   */
  look(nowMs: number, workers: readonly WatchedWorker[]): WorkerVerdict[] {
    const countsMs = Math.min(WORKER_WATCH_MS, nowMs - (this.#lookedAtMs ?? nowMs))
    this.#lookedAtMs = nowMs
    const here = new Set(workers.map(({ thread }) => thread))
    for (const thread of this.#silences.keys()) if (!here.has(thread)) this.#silences.delete(thread)
    return workers.flatMap((worker) => {
      const verdict = worker.pulse.beatAtMs === 0 ? null : this.#verdictOn(worker, nowMs, countsMs)
      return verdict === null ? [] : [verdict]
    })
  }

  #verdictOn({ thread, pulse }: WatchedWorker, nowMs: number, countsMs: number): WorkerVerdict | null {
    const { beatAtMs, bufferBytes, running, systemThread } = pulse
    const known = this.#silences.get(thread)
    if (known?.hasVerdict === true) return null
    const isSilent = known?.beatAtMs === beatAtMs
    const rssBytes = this.#rss(nowMs, isSilent ? 0 : WORKER_RSS_MS)
    const silence: Silence = isSilent
      ? known
      : { beatAtMs, ms: 0, waitedMs: null, rssBytes, ran: new Map(), hasVerdict: false }
    this.#silences.set(thread, silence)
    if (isSilent) {
      const waitedMs = this.#read.waitedMs(systemThread)
      silence.ms += Math.max(0, countsMs - (waitedMs - (silence.waitedMs ?? waitedMs)))
      silence.waitedMs = waitedMs
    }
    silence.ran.set(running, (silence.ran.get(running) ?? 0) + 1)
    const fault = this.#faultOf(silence.ms, rssBytes - silence.rssBytes, bufferBytes)
    silence.hasVerdict = fault !== null
    return fault === null ? null : { thread, ...fault, ran: mostSeen(silence.ran) }
  }

  /** @param maxAgeMs  maximum age in ms of the reading; 0 reads the value now */
  #rss(nowMs: number, maxAgeMs: number): number {
    if (nowMs - this.#rssAtMs > maxAgeMs) {
      this.#rssAtMs = nowMs
      this.#rssBytes = this.#read.rssBytes()
    }
    return this.#rssBytes
  }

  #faultOf(silentMs: number, grownBytes: number, bufferBytes: number): Pick<WorkerVerdict, 'cause' | 'why'> | null {
    const memoryBytes = this.#memoryBytes
    if (silentMs >= WORKER_SILENT_MS) return { cause: 'silent', why: `silent for ${WORKER_SILENT_MS} ms` }
    if (silentMs >= WORKER_GROWTH_SILENT_MS && grownBytes > memoryBytes) {
      return {
        cause: 'silent',
        why: `silent for ${WORKER_GROWTH_SILENT_MS} ms, in which the process grew by ${mib(grownBytes)} MB`,
      }
    }
    if (bufferBytes <= memoryBytes) return null
    return {
      cause: 'buffers',
      why: `holds ${mib(bufferBytes)} MB outside of its heap; at most ${mib(memoryBytes)} are allowed`,
    }
  }
}

/**
 * Finds the call whose code was found running most often. A look at which no call's code ran does not count, because it
 * may fall between two promises of one call.
 */
function mostSeen(ran: ReadonlyMap<number, number>): number {
  return [...ran].reduce((most, each) => (each[0] !== NO_CALL && each[1] > most[1] ? each : most), [NO_CALL, 0])[0]
}

function mib(bytes: number): number {
  return Math.round(bytes / MIB)
}

/**
 * Cause of a media worker's end. `exit`: its own code or another thread ended it. `fault`: it ended by an error that
 * belongs to no call.
 */
export const WORKER_DEATH_CAUSES = ['silent', 'heap', 'buffers', 'exit', 'fault'] as const
export type WorkerDeathCause = (typeof WORKER_DEATH_CAUSES)[number]

/**
 * The cause of a death without a verdict.
 * @param thrown  the error with which the worker's tasks rejected; null if the worker did not run tasks
 */
export function deathCause(thrown: unknown): WorkerDeathCause {
  if (!(thrown instanceof Error)) return 'exit'
  if ('code' in thrown && thrown.code === 'ERR_WORKER_OUT_OF_MEMORY') return 'heap'
  // Message of Piscina for a thread that ended without its own error.
  return thrown.message.startsWith('worker exited with code') ? 'exit' : 'fault'
}

/** Finds the ordinal of the call whose code ended a worker; `NO_CALL` if unknown. */
export function whoRan(
  cause: WorkerDeathCause,
  { running, heaviest }: WorkerPulse,
  verdict: WorkerVerdict | null,
): number {
  switch (cause) {
    case 'silent':
      return verdict?.ran ?? running
    // The worker answered until it was ended, so the code that ran at its end is not the cause.
    case 'buffers':
      return heaviest
    // The last free memory may go to any call. If it is known which call took most memory, that call is the more likely
    // cause.
    case 'heap':
      return heaviest === NO_CALL ? running : heaviest
    case 'exit':
    case 'fault':
      return running
    default:
      return assertNever(cause)
  }
}

/** Call on a worker. */
export interface CarriedCall {
  readonly ordinal: number
  readonly callSid: string
  /** Number of earlier suspicions. */
  readonly suspicions: number
}

/**
 * Role of a call in its worker's death. `suspect`: its code ended the worker. `one-of-many`: one of several calls ended
 * the worker. `bystander`: another call ended the worker.
 */
type PartInDeath = 'suspect' | 'one-of-many' | 'bystander'

/** Rejection of a call's task because its whole worker died. */
export class WorkerLostError extends Error {
  readonly part: PartInDeath
  /** SID of the suspected call; null if several are suspected. */
  readonly suspect: string | null

  constructor(why: string, part: PartInDeath, suspect: string | null, cause?: unknown) {
    super(why, { cause })
    this.name = 'WorkerLostError'
    this.part = part
    this.suspect = suspect
  }
}

/**
 * Finds the role of each call in the death of its worker, by the call's ordinal. The suspect is the call whose code
 * ran. If that call is unknown, the suspects are the calls that were suspected before, because a second death with the
 * same call is hardly an accident. If there are none, all calls are suspects.
 * @param running  ordinal of the call whose code ran, or `NO_CALL`
 */
export function partsOf(carried: readonly CarriedCall[], running: number): ReadonlyMap<number, PartInDeath> {
  const ran = carried.filter(({ ordinal }) => ordinal === running && running !== NO_CALL)
  const suspectedBefore = carried.filter(({ suspicions }) => suspicions > 0)
  const suspects = new Set([ran, suspectedBefore, carried].find((calls) => calls.length > 0))
  const suspected: PartInDeath = suspects.size === 1 ? 'suspect' : 'one-of-many'
  return new Map(carried.map((call) => [call.ordinal, suspects.has(call) ? suspected : 'bystander']))
}
