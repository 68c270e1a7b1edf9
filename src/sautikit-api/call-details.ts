import { basename } from 'node:path'
import type { CarrierDetail } from '../call/record.js'
import type { CallSid } from '../core/ids.js'
import {
  CARRIER_DETAILS_AT_ONCE_MAX, CARRIER_DETAILS_PENDING_MAX, CARRIER_DETAIL_AFTER_MS, CARRIER_RECORDING_AFTER_MS,
} from '../core/limits.js'
import type { Log } from '../telemetry/log.js'
import { isFinal } from './call-detail.js'
import type { CarrierCall } from './call-detail.js'
import { CarrierApiError } from './carrier-error.js'
import type { SautikitClient } from './client.js'
import { saveRecording } from './recording-file.js'

/** Runs `work` after a time, unless it is cancelled first. */
export type Schedule = (ms: number, work: () => void) => () => void

export interface CallDetailsOptions {
  readonly client: Pick<SautikitClient, 'getCall' | 'recording'>
  /** Folder for the carrier's recordings; null keeps none. */
  readonly recordings: string | null
  /** Whether recordings may come without TLS: only where the API itself does. */
  readonly allowHttp: boolean
  readonly log: Log
  /** Told what the carrier wrote of a call; again when its recording has been fetched. */
  readonly onDetail: (callSid: CallSid, detail: CarrierDetail) => void
  /** For tests; real time otherwise. */
  readonly schedule?: Schedule
  readonly now?: () => number
  /** Calendar time. */
  readonly wallClock?: () => number
  /** 0 to 1, for jitter. */
  readonly random?: () => number
}

/** Counts since the start; read by telemetry. */
export interface CallDetailsCounters {
  fetched: number
  /** The carrier had no final record by the last try. */
  missing: number
  /** Refused for good, such as a key without scope. */
  refused: number
  recordings: number
  recordingBytes: number
  recordingsFailed: number
  /** Calls that were not followed because too many were. */
  dropped: number
  /** Calls that were still followed when the process ended. */
  cancelled: number
}

interface Job {
  readonly callSid: CallSid
  readonly endedAtMs: number
  readonly log: Log
  /** What is asked for next. */
  step: 'detail' | 'recording'
  tries: number
  detail: CarrierDetail | null
  /** The carrier has said that its recording is there. */
  recorded: boolean
  cancel: (() => void) | null
}

/** Up to a tenth more or less of every wait, so that the calls of one drain do not ask all at once. */
const JITTER = 0.1

/**
 * Fetches the carrier's record of each call, and its recording where there is one, after the call is over: the carrier
 * writes both later. Off the call's path: a call never waits for it, and its failure is a count and a log line.
 */
export class CallDetails {
  readonly counters: CallDetailsCounters = {
    fetched: 0, missing: 0, refused: 0, recordings: 0, recordingBytes: 0, recordingsFailed: 0, dropped: 0, cancelled: 0,
  }
  readonly #options: CallDetailsOptions
  readonly #schedule: Schedule
  readonly #now: () => number
  readonly #jobs = new Map<string, Job>()
  readonly #due: Job[] = []
  readonly #abort = new AbortController()
  readonly #running = new Set<Promise<void>>()

  constructor(options: CallDetailsOptions) {
    this.#options = options
    this.#schedule = options.schedule ?? after
    this.#now = options.now ?? (() => performance.now())
  }

  /** Calls that are followed now. */
  get pending(): number {
    return this.#jobs.size
  }

  /** A call is over: its record will be asked for. */
  follow(callSid: CallSid): void {
    if (this.#abort.signal.aborted || this.#jobs.has(callSid)) return
    if (this.#jobs.size >= CARRIER_DETAILS_PENDING_MAX) {
      this.counters.dropped++
      return
    }
    const job: Job = {
      callSid, endedAtMs: this.#now(), log: this.#options.log.call(callSid), step: 'detail', tries: 0, detail: null, recorded: false, cancel: null,
    }
    this.#jobs.set(callSid, job)
    this.#wait(job)
  }

  /** The carrier says that the recording of a call is there: it is asked for now. */
  recordingReady(callSid: string): void {
    const job = this.#jobs.get(callSid)
    if (job === undefined) return
    job.recorded = true
    if (job.step !== 'recording' || job.cancel === null) return
    job.cancel()
    job.cancel = null
    this.#begin(job)
  }

  /** Gives up what is still waited for; resolves when nothing runs any more. */
  async close(): Promise<void> {
    if (this.#abort.signal.aborted) return
    this.#abort.abort()
    for (const job of this.#jobs.values()) job.cancel?.()
    this.counters.cancelled += this.#jobs.size
    this.#jobs.clear()
    this.#due.length = 0
    await Promise.allSettled(this.#running)
  }

  // --- one call ---------------------------------------------------------------------------------------------

  /** Waits for the time of the next try; false when there is none left. */
  #wait(job: Job, askedForMs: number | null = null): boolean {
    const times = job.step === 'detail' ? CARRIER_DETAIL_AFTER_MS : CARRIER_RECORDING_AFTER_MS
    const atMs = times[job.tries]
    if (atMs === undefined) return false
    const { random = Math.random } = this.#options
    const jittered = atMs * (1 - JITTER + 2 * JITTER * random())
    const waitMs = Math.max(0, askedForMs ?? 0, job.endedAtMs + jittered - this.#now())
    job.cancel = this.#schedule(Math.min(waitMs, times.at(-1) ?? waitMs), () => {
      job.cancel = null
      this.#begin(job)
    })
    return true
  }

  #begin(job: Job): void {
    if (this.#running.size >= CARRIER_DETAILS_AT_ONCE_MAX) {
      this.#due.push(job) // as many as there are jobs at most
      return
    }
    const run = this.#try(job).finally(() => {
      this.#running.delete(run)
      const next = this.#due.shift()
      if (next !== undefined) this.#begin(next)
    })
    this.#running.add(run)
  }

  async #try(job: Job): Promise<void> {
    job.tries++
    try {
      if (job.step === 'detail') await this.#detail(job)
      else await this.#recording(job)
    } catch (thrown) {
      this.#failed(job, thrown)
    }
  }

  async #detail(job: Job): Promise<void> {
    const call = await this.#options.client.getCall(job.callSid, { signal: this.#abort.signal })
    job.detail = this.#written(call)
    if (!isFinal(call)) {
      if (this.#wait(job)) return
      this.counters.missing++
      job.log.info({ status: call.status }, 'the carrier has not closed its record of a call')
    } else {
      this.counters.fetched++
    }
    this.#options.onDetail(job.callSid, job.detail)
    if (this.#options.recordings === null) return this.#done(job)
    job.step = 'recording'
    job.tries = 0
    if (job.recorded) return this.#begin(job)
    if (!this.#wait(job)) this.#done(job)
  }

  async #recording(job: Job): Promise<void> {
    const { client, recordings, allowHttp, onDetail } = this.#options
    const { signal } = this.#abort
    const recording = await client.recording(job.callSid, { signal })
    if (recording.state === 'none' || recordings === null || job.detail === null) return this.#done(job)
    if (recording.state === 'pending') {
      if (this.#wait(job, recording.retryAfterS === null ? null : recording.retryAfterS * 1000)) return
      this.counters.recordingsFailed++
      job.log.info({}, 'the carrier has not finished its recording of a call')
      return this.#done(job)
    }
    const { file, bytes } = await saveRecording(recording.url, job.callSid, { folder: recordings, allowHttp, signal })
    this.counters.recordings++
    this.counters.recordingBytes += bytes
    job.detail = { ...job.detail, recording: `${basename(recordings)}/${file}` }
    onDetail(job.callSid, job.detail)
    this.#done(job)
  }

  #failed(job: Job, thrown: unknown): void {
    if (this.#abort.signal.aborted) return
    const later = thrown instanceof CarrierApiError && (thrown.retryable || (thrown.status === 404 && job.step === 'detail'))
    if (later && this.#wait(job)) return
    if (job.step === 'recording') this.counters.recordingsFailed++
    else if (later) this.counters.missing++
    else this.counters.refused++
    job.log.warn({ err: thrown, step: job.step, tries: job.tries }, 'the carrier\'s side of a call was not to be had')
    this.#done(job)
  }

  #done(job: Job): void {
    this.#jobs.delete(job.callSid)
  }

  #written(call: CarrierCall): CarrierDetail {
    const { wallClock = Date.now } = this.#options
    return {
      callId: call.callId, status: call.status, startedAt: call.startedAt, answeredAt: call.answeredAt, endedAt: call.endedAt,
      durationS: call.durationS, costMinor: call.costMinor, costCurrency: call.costCurrency, ratePerMinuteMinor: call.ratePerMinuteMinor,
      hangupCause: call.hangupCause, failureCode: call.failureCode, recording: null, fetchedAt: new Date(wallClock()).toISOString(),
    }
  }
}

function after(ms: number, work: () => void): () => void {
  // A process that has nothing else to do does not stay for this.
  const timer = setTimeout(work, ms).unref()
  return () => { clearTimeout(timer) }
}
