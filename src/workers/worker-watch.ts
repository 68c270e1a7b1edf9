import { WORKER_GROWTH_SILENT_MS, WORKER_SILENT_MS, WORKER_WATCH_MS } from '../core/limits.js'
import { NO_CALL } from './worker-pulse.js'

/** What is seen of a worker at one look. */
export interface WorkerSign {
  readonly thread: number
  /** Common-clock time of its last beat; 0 before the first: it is not watched yet. */
  readonly beatAtMs: number
  /** Outside of its heap, at that beat. */
  readonly bufferBytes: number
  /** Number of the call whose code runs at this moment. */
  readonly running: number
}

/** Why a worker is ended by us: it answers no more, or its code holds too much memory outside of the heap. */
export interface WorkerVerdict {
  readonly thread: number
  readonly cause: 'silent' | 'buffers'
  readonly why: string
  /** Number of the call whose code ran at most looks of a silence. */
  readonly ran: number
}

interface Watched {
  beatAtMs: number
  /** For how long it has not beaten, as far as that says anything about it. */
  silentMs: number
  /** Of the whole process, when it beat last. */
  rssBytes: number
  /**
   * Looks since then at which a call's code ran, by the call's number. One look is not enough: code that goes from promise to
   * promise for ever is between two of them now and then.
   */
  readonly ran: Map<number, number>
  /** Named already: it may take a while until the thread is gone. */
  judged: boolean
}

const MIB = 1024 * 1024

/**
 * Judges by the workers' beats which of them has to be ended. A machine that stood still, or is too busy, must end none: of
 * the time between two looks, no more counts than the looks are apart by plan, so that a pause of the whole process counts as
 * one look, however long it was.
 */
export class WorkerWatch {
  readonly #memoryBytes: number
  readonly #workers = new Map<number, Watched>()
  #lookedAtMs: number | null = null

  /** @param memoryBytes  bound of one worker's memory outside of its heap */
  constructor(memoryBytes: number) {
    this.#memoryBytes = memoryBytes
  }

  /**
   * To be called every `WORKER_WATCH_MS`.
   * @param rssBytes  resident memory of the whole process
   * @returns workers to be ended; each is named once
   */
  look(nowMs: number, rssBytes: number, signs: readonly WorkerSign[]): WorkerVerdict[] {
    const countsMs = Math.min(WORKER_WATCH_MS, nowMs - (this.#lookedAtMs ?? nowMs))
    this.#lookedAtMs = nowMs
    const here = new Set(signs.map(({ thread }) => thread))
    for (const thread of this.#workers.keys()) if (!here.has(thread)) this.#workers.delete(thread)
    const verdicts: WorkerVerdict[] = []
    for (const sign of signs) {
      if (sign.beatAtMs === 0) continue
      const verdict = this.#judge(sign, countsMs, rssBytes)
      if (verdict !== null) verdicts.push({ thread: sign.thread, ...verdict })
    }
    return verdicts
  }

  #judge({ thread, beatAtMs, bufferBytes, running }: WorkerSign, countsMs: number, rssBytes: number): Omit<WorkerVerdict, 'thread'> | null {
    const known = this.#workers.get(thread)
    if (known?.judged === true) return null
    const worker: Watched = known?.beatAtMs === beatAtMs ? known : { beatAtMs, silentMs: -countsMs, rssBytes, ran: new Map(), judged: false }
    this.#workers.set(thread, worker)
    worker.silentMs += countsMs
    worker.ran.set(running, (worker.ran.get(running) ?? 0) + 1)
    const fault = this.#faultOf(worker.silentMs, rssBytes - worker.rssBytes, bufferBytes)
    worker.judged = fault !== null
    return fault === null ? null : { ...fault, ran: mostSeen(worker.ran) }
  }

  #faultOf(silentMs: number, grownBytes: number, bufferBytes: number): Pick<WorkerVerdict, 'cause' | 'why'> | null {
    const memoryBytes = this.#memoryBytes
    if (silentMs >= WORKER_SILENT_MS) return { cause: 'silent', why: `silent for ${WORKER_SILENT_MS} ms` }
    if (silentMs >= WORKER_GROWTH_SILENT_MS && grownBytes > memoryBytes) {
      return { cause: 'silent', why: `silent for ${WORKER_GROWTH_SILENT_MS} ms, in which the process grew by ${mib(grownBytes)} MB` }
    }
    if (bufferBytes <= memoryBytes) return null
    return { cause: 'buffers', why: `holds ${mib(bufferBytes)} MB outside of its heap; at most ${mib(memoryBytes)} are allowed` }
  }
}

/** Of the calls, however often none was seen: between two promises of one call it is none's code that runs. */
function mostSeen(ran: ReadonlyMap<number, number>): number {
  return [...ran].reduce((most, each) => (each[0] !== NO_CALL && each[1] > most[1] ? each : most), [NO_CALL, 0])[0]
}

function mib(bytes: number): number {
  return Math.round(bytes / MIB)
}
