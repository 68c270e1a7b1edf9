import { assertNever } from '../../core/assert.js'
import { WORKER_WATCH_MS } from '../../core/limits.js'
import { NO_CALL } from '../shared/worker-memory.js'
import type { WorkerPulse } from '../shared/worker-memory.js'

/** A worker without a heartbeat for this long is ended and replaced: speech in the ring lasts 2 s (16 kHz). */
export const WORKER_SILENT_MS = 2000
/**
 * The same when the process has grown by a worker's memory bound since the heartbeat: a loop fills a gigabyte in half
 * a second.
 */
export const WORKER_GROWTH_SILENT_MS = 500

/** Resident memory is read at most this often while all workers beat: a reading opens a file of /proc. */
const WORKER_RSS_MS = 1000

/** One worker as the watchdog sees it. A worker whose beat time is 0 has not started yet and is not watched. */
interface WatchedWorker {
  readonly thread: number
  readonly pulse: Pick<WorkerPulse, 'beatAtMs' | 'bufferBytes' | 'running'>
}

/** Why the watchdog ends a worker: it no longer answers, or its code holds too much memory outside the heap. */
export interface WorkerVerdict {
  readonly thread: number
  readonly cause: 'silent' | 'buffers'
  readonly why: string
  /** Number of the call whose code ran at the most looks of a silence. */
  readonly ran: number
}

interface Silence {
  /** The last beat before it. */
  beatAtMs: number
  /** Its counted length; see `WorkerWatchdog`. */
  ms: number
  /** Resident memory of the whole process at that beat, or up to `WORKER_RSS_MS` before it. */
  rssBytes: number
  /**
   * For each call, the number of looks since then at which its code ran. One look is not enough: code that runs through
   * promises without end is sometimes between two of them.
   */
  readonly ran: Map<number, number>
  /** The verdict was returned; the thread may take a while to end. */
  hasVerdict: boolean
}

const MIB = 1024 * 1024

/**
 * Decides by the workers' pulses which of them must be ended. A pause or an overload of the whole process must end
 * none: each look counts at most `WORKER_WATCH_MS`, however long the time since the previous one.
 */
export class WorkerWatchdog {
  readonly #memoryBytes: number
  /** By thread. */
  readonly #silences = new Map<number, Silence>()
  #lookedAtMs: number | null = null
  readonly #readRss: () => number
  #rssBytes = 0
  #rssAtMs = -Infinity

  /**
   * @param memoryBytes  limit of one worker's memory outside its heap
   * @param readRss  reads the resident memory of the whole process, bytes
   */
  constructor(memoryBytes: number, readRss: () => number) {
    this.#memoryBytes = memoryBytes
    this.#readRss = readRss
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
    const { beatAtMs, bufferBytes, running } = pulse
    const known = this.#silences.get(thread)
    if (known?.hasVerdict === true) return null
    const isSilent = known?.beatAtMs === beatAtMs
    const rssBytes = this.#rss(nowMs, isSilent ? 0 : WORKER_RSS_MS)
    const silence: Silence = isSilent ? known : { beatAtMs, ms: -countsMs, rssBytes, ran: new Map(), hasVerdict: false }
    this.#silences.set(thread, silence)
    silence.ms += countsMs
    silence.ran.set(running, (silence.ran.get(running) ?? 0) + 1)
    const fault = this.#faultOf(silence.ms, rssBytes - silence.rssBytes, bufferBytes)
    silence.hasVerdict = fault !== null
    return fault === null ? null : { thread, ...fault, ran: mostSeen(silence.ran) }
  }

  /** @param maxAgeMs  how old the reading may be; 0: of this look */
  #rss(nowMs: number, maxAgeMs: number): number {
    if (nowMs - this.#rssAtMs > maxAgeMs) {
      this.#rssAtMs = nowMs
      this.#rssBytes = this.#readRss()
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

/** Looks at which no call's code ran do not count: they may have been between two promises of one call. */
function mostSeen(ran: ReadonlyMap<number, number>): number {
  return [...ran].reduce((most, each) => (each[0] !== NO_CALL && each[1] > most[1] ? each : most), [NO_CALL, 0])[0]
}

function mib(bytes: number): number {
  return Math.round(bytes / MIB)
}

/**
 * Why a media worker ended. `exit`: its own code or another thread ended it; `fault`: an error that belongs to no call.
 */
export const WORKER_DEATH_CAUSES = ['silent', 'heap', 'buffers', 'exit', 'fault'] as const
export type WorkerDeathCause = (typeof WORKER_DEATH_CAUSES)[number]

/**
 * The cause of a death without a verdict.
 * @param thrown  the rejection of the worker's tasks; null when it carried none
 */
export function deathCause(thrown: unknown): WorkerDeathCause {
  if (!(thrown instanceof Error)) return 'exit'
  if ('code' in thrown && thrown.code === 'ERR_WORKER_OUT_OF_MEMORY') return 'heap'
  // Piscina's message for a thread that ended without an error of its own.
  return thrown.message.startsWith('worker exited with code') ? 'exit' : 'fault'
}

/** Ordinal of the call whose code ended a worker, `NO_CALL` when that is not known. */
export function whoRan(
  cause: WorkerDeathCause,
  { running, heaviest }: WorkerPulse,
  verdict: WorkerVerdict | null,
): number {
  switch (cause) {
    case 'silent':
      return verdict?.ran ?? running
    // The worker ran normally until it was ended, so which code ran then was chance.
    case 'buffers':
      return heaviest
    // Any call may ask for the last piece of memory: the call that took the most is more likely, where it is known.
    case 'heap':
      return heaviest === NO_CALL ? running : heaviest
    case 'exit':
    case 'fault':
      return running
    default:
      return assertNever(cause)
  }
}

/** A call on a worker. */
export interface CarriedCall {
  readonly ordinal: number
  readonly callSid: string
  /** How often it was suspected before. */
  readonly suspicions: number
}

/**
 * Part of a call in its worker's death. `suspect`: its code ended the worker; `one-of-many`: the code of one of several
 * calls did, and it is not known which; `bystander`: another call did.
 */
type PartInDeath = 'suspect' | 'one-of-many' | 'bystander'

/** Rejection of a call's task: its whole worker is gone. */
export class WorkerLostError extends Error {
  readonly part: PartInDeath
  /** SID of the suspected call; null when there is no single one. */
  readonly suspect: string | null

  constructor(why: string, part: PartInDeath, suspect: string | null, cause?: unknown) {
    super(why, { cause })
    this.name = 'WorkerLostError'
    this.part = part
    this.suspect = suspect
  }
}

/**
 * The part of each call in the death of its worker, by the call's ordinal. The suspect is the call whose code ran, where
 * that is known. Otherwise the calls that were suspected before are suspects, because two deaths with the same call are
 * hardly an accident; without such calls, all are.
 * @param running  ordinal of the call whose code ran, or `NO_CALL`
 */
export function partsOf(carried: readonly CarriedCall[], running: number): ReadonlyMap<number, PartInDeath> {
  const ran = carried.filter(({ ordinal }) => ordinal === running && running !== NO_CALL)
  const suspectedBefore = carried.filter(({ suspicions }) => suspicions > 0)
  const suspects = new Set([ran, suspectedBefore, carried].find((calls) => calls.length > 0))
  const suspected: PartInDeath = suspects.size === 1 ? 'suspect' : 'one-of-many'
  return new Map(carried.map((call) => [call.ordinal, suspects.has(call) ? suspected : 'bystander']))
}
