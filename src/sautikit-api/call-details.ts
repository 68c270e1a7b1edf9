import { mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { CarrierDetail, RecordingState } from '../call/documents/record.js'
import { unrefTimer } from '../core/clock.js'
import type { CallSid } from '../core/ids.js'
import { discard, headerOf, HttpClient, networkReason } from '../http/http-client.js'
import { keptFolder } from '../telemetry/archive/kept-files.js'
import type { Log } from '../telemetry/log.js'
import { isFinal } from './carrier-call.js'
import type { SautikitClient } from './client.js'
import type { CarrierCall } from './carrier-call.js'
import { CarrierApiError } from './http.js'

/**
 * Maximum number of calls that wait for their detail record. The second constant is the maximum number of simultaneous
 * requests for records.
 */
export const CARRIER_DETAILS_PENDING_MAX = 5000
const CARRIER_DETAILS_AT_ONCE_MAX = 4
/**
 * Times in ms after a call's end at which its detail record is requested. The carrier usually writes the record within
 * seconds, and sometimes much later.
 */
const CARRIER_DETAIL_AFTER_MS: readonly number[] = [2000, 8000, 30_000, 120_000, 600_000]
/**
 * Times in ms at which the carrier's recording of a call is requested. The second constant is the maximum pause in ms
 * that the carrier may ask for.
 */
const CARRIER_RECORDING_AFTER_MS: readonly number[] = [8000, 30_000, 90_000, 300_000]
/** Maximum size of a stored recording in bytes: three hours of stereo at 8 kHz, 16 bit, are 345 MB. */
const CARRIER_RECORDING_BYTES_MAX = 400 * 1024 * 1024
const CARRIER_RECORDING_TIMEOUT_MS = 300_000

/** Runs `work` after a time, unless it is cancelled first. */
type Schedule = (ms: number, work: () => void) => () => void

interface CallDetailsOptions {
  readonly client: Pick<SautikitClient, 'getCall' | 'recording'>
  /**
   * Folder of the carrier's recordings, and number of days for which a call's recording is stored; null: recordings are
   * not stored.
   */
  readonly recordings: { readonly dataFolder: string; readonly daysOf: (callSid: CallSid) => number | null } | null
  /** True if recordings may be fetched without TLS. Set this only if the API itself is used without TLS. */
  readonly allowHttp: boolean
  readonly log: Log
  /** Called with the carrier's record of a call, and again when its recording has been fetched. */
  readonly onDetail: (callSid: CallSid, detail: CarrierDetail) => void
  /** Scheduler for tests. Default: real timers. */
  readonly schedule?: Schedule
  readonly now?: () => number
  /** Calendar time. */
  readonly wallClock?: () => number
  /** Random number 0 to 1, for jitter. */
  readonly random?: () => number
}

/**
 * Variation of each wait: up to a tenth. Without it, calls that ended together would all send their requests at once.
 */
const JITTER = 0.1

/**
 * Fetches the carrier's record and recording of each ended call, because the carrier writes them after the call. Calls
 * do not wait for them. A failure is counted and logged.
 */
export class CallDetails {
  /** Counts since the start; read by telemetry. */
  readonly counters = {
    fetched: 0,
    /** Number of calls without a final record at the last try. */
    missing: 0,
    /** Number of permanent refusals, for example because the API key lacks the scope. */
    refused: 0,
    recordings: 0,
    recordingBytes: 0,
    recordingsFailed: 0,
    /** Number of calls that were not followed because the limit was reached. */
    dropped: 0,
    /** Number of calls that were still followed when the process ended. */
    cancelled: 0,
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
    this.#schedule = options.schedule ?? unrefTimer
    this.#now = options.now ?? (() => performance.now())
  }

  /** Number of calls that are followed now. */
  get pending(): number {
    return this.#jobs.size
  }

  /**
   * Starts to fetch the record of an ended call.
   * @param recording false: the recording is not fetched, because the caller refused
   */
  follow(callSid: CallSid, recording = true): void {
    if (this.#abort.signal.aborted || this.#jobs.has(callSid)) return
    if (this.#jobs.size >= CARRIER_DETAILS_PENDING_MAX) {
      this.counters.dropped++
      return
    }
    const job: Job = {
      callSid,
      endedAtMs: this.#now(),
      log: this.#options.log.call(callSid),
      step: 'detail',
      tries: 0,
      detail: null,
      recorded: false,
      wanted: recording,
      cancel: null,
    }
    this.#jobs.set(callSid, job)
    this.#wait(job)
  }

  /** Requests the recording of a call now, because the carrier announced it. */
  recordingReady(callSid: string): void {
    const job = this.#jobs.get(callSid)
    if (job === undefined) return
    job.recorded = true
    if (job.step !== 'recording' || job.cancel === null) return
    job.cancel()
    job.cancel = null
    this.#begin(job)
  }

  /** Stops fetching for a call. */
  forget(callSid: CallSid): void {
    this.#jobs.get(callSid)?.cancel?.()
    this.#jobs.delete(callSid)
  }

  /** Cancels pending work; resolves when no request is running any more. */
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

  /**
   * Waits until the next try.
   * @returns false if no try is left
   */
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
      this.#due.push(job) // there are never more entries than jobs
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
    if (this.#jobs.get(job.callSid) !== job) return // forgotten
    job.tries++
    try {
      if (job.step === 'detail') await this.#detail(job)
      else await this.#recording(job)
    } catch (thrown) {
      this.#failed(job, thrown)
    }
  }

  async #detail(job: Job): Promise<void> {
    const call = await this.#options.client.getCall(job.callSid, this.#abort.signal)
    if (this.#jobs.get(job.callSid) !== job) return
    job.detail = this.#written(call, job)
    if (!isFinal(call)) {
      if (this.#wait(job)) return
      this.counters.missing++
      job.log.debug({ status: call.status }, 'the carrier has not closed its record of a call')
    } else {
      this.counters.fetched++
    }
    this.#options.onDetail(job.callSid, job.detail)
    if (this.#options.recordings === null || !job.wanted) return this.#done(job)
    job.step = 'recording'
    job.tries = 0
    if (job.recorded) return this.#begin(job)
    if (!this.#wait(job)) this.#done(job)
  }

  async #recording(job: Job): Promise<void> {
    const { client, recordings, allowHttp } = this.#options
    const { signal } = this.#abort
    const recording = await client.recording(job.callSid, signal)
    if (recordings === null || job.detail === null) return this.#done(job)
    if (recording.state === 'none') return this.#recordingEnds(job, 'off')
    if (recording.state === 'pending') {
      if (this.#wait(job, recording.retryAfterS === null ? null : recording.retryAfterS * 1000)) return
      this.counters.recordingsFailed++
      job.log.debug({}, 'the carrier has not finished its recording of a call')
      return this.#recordingEnds(job, 'missing')
    }
    const days = recordings.daysOf(job.callSid)
    const folder = keptFolder(recordings.dataFolder, 'carrierRecordings', days)
    const { file, bytes } = await saveRecording(recording.url, job.callSid, { folder, allowHttp, signal })
    if (this.#jobs.get(job.callSid) !== job) return rm(join(folder, file), { force: true })
    this.counters.recordings++
    this.counters.recordingBytes += bytes
    this.#recordingEnds(job, 'ready', join(keptFolder('', 'carrierRecordings', days), file))
  }

  #recordingEnds(job: Job, recordingState: RecordingState, recording: string | null = null): void {
    if (this.#jobs.get(job.callSid) !== job || job.detail === null) return // forgotten
    this.#options.onDetail(job.callSid, { ...job.detail, recording, recordingState })
    this.#done(job)
  }

  #failed(job: Job, thrown: unknown): void {
    if (this.#abort.signal.aborted) return
    const later =
      thrown instanceof CarrierApiError && (thrown.retryable || (thrown.status === 404 && job.step === 'detail'))
    if (later && this.#wait(job)) return
    if (job.step === 'recording') this.counters.recordingsFailed++
    else if (later) this.counters.missing++
    else this.counters.refused++
    job.log.warn(
      { err: thrown, step: job.step, tries: job.tries },
      "the carrier's record or recording of a call could not be fetched",
    )
    if (job.step === 'recording') this.#recordingEnds(job, 'missing')
    else this.#done(job)
  }

  #done(job: Job): void {
    this.#jobs.delete(job.callSid)
  }

  /**
   * @returns the stored fields of a carrier's call. The call's record already contains the numbers, masked if
   * configured
   */
  #written(call: CarrierCall, { wanted }: Job): CarrierDetail {
    const { wallClock = Date.now } = this.#options
    return {
      callId: call.callId,
      status: call.status,
      startedAt: call.startedAt,
      answeredAt: call.answeredAt,
      endedAt: call.endedAt,
      durationS: call.durationS,
      costMinor: call.costMinor,
      costCurrency: call.costCurrency,
      ratePerMinuteMinor: call.ratePerMinuteMinor,
      hangupCause: call.hangupCause,
      failureCode: call.failureCode,
      recording: null,
      recordingState: this.#options.recordings === null || !wanted ? 'off' : 'pending',
      fetchedAt: new Date(wallClock()).toISOString(),
    }
  }
}

interface RecordingFileOptions {
  readonly folder: string
  /** True only if the API itself is reached without TLS, as on loopback. */
  readonly allowHttp: boolean
  readonly bytesMax?: number
  readonly signal?: AbortSignal
}

const EXTENSIONS: Readonly<Record<string, string>> = {
  'audio/wav': 'wav',
  'audio/x-wav': 'wav',
  'audio/wave': 'wav',
  'audio/mpeg': 'mp3',
  'audio/mp3': 'mp3',
  'audio/ogg': 'ogg',
}

/**
 * Streams a recording to `folder`, with at most one chunk in memory. The file gets its final name when it is complete.
 * @param url  presigned: fetched without the API key; a further redirect is not followed
 * @returns the file's name and size
 * @throws CarrierApiError; no file is left
 */
export async function saveRecording(
  url: string,
  callSid: string,
  options: RecordingFileOptions,
): Promise<{ readonly file: string; readonly bytes: number }> {
  const { folder, allowHttp, bytesMax = CARRIER_RECORDING_BYTES_MAX } = options
  const protocol = URL.canParse(url) ? new URL(url).protocol : ''
  if (protocol !== 'https:' && !(allowHttp && protocol === 'http:')) {
    throw new CarrierApiError('recording: its address is not https', {})
  }
  const timeout = AbortSignal.timeout(CARRIER_RECORDING_TIMEOUT_MS)
  const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout])
  const client = new HttpClient()
  const part = join(folder, `${callSid}.part`)
  try {
    const response = await client.send({
      url: new URL(url),
      method: 'GET',
      headers: {},
      body: null,
      policy: 'as-written',
      signal,
    })
    const { statusCode: status, body } = response
    if (status < 200 || status > 299) {
      discard(response)
      if (status >= 300 && status < 400) throw new Error('redirected')
      throw new CarrierApiError(`recording: answered ${status}`, { status, retryable: status >= 500 })
    }
    const type = (headerOf(response, 'content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
    const extension = EXTENSIONS[type]
    if (extension === undefined) {
      discard(response)
      throw new CarrierApiError('recording: the answer is no audio', { status })
    }
    await mkdir(folder, { recursive: true, mode: 0o700 })
    let bytes = 0
    const bound = new Transform({
      transform(chunk: Buffer, _encoding, done): void {
        bytes += chunk.byteLength
        if (bytes > bytesMax) done(new CarrierApiError(`recording: larger than ${bytesMax} bytes`, {}))
        else done(null, chunk)
      },
    })
    // The file is opened here. A stream that opens its file itself may open the file after the stream's end, when the
    // file has already been removed.
    const out = await open(part, 'w', 0o600)
    await pipeline(body, bound, out.createWriteStream(), { signal })
    const file = `${callSid}.${extension}`
    await rename(part, join(folder, file))
    return { file, bytes }
  } catch (thrown) {
    await rm(part, { force: true })
    if (thrown instanceof CarrierApiError) throw thrown
    const why = timeout.aborted ? `not whole in ${CARRIER_RECORDING_TIMEOUT_MS} ms` : networkReason(thrown)
    throw new CarrierApiError(`recording: ${why}`, { network: true, retryable: true, cause: thrown })
  } finally {
    client.close()
  }
}

interface Job {
  readonly callSid: CallSid
  readonly endedAtMs: number
  readonly log: Log
  /** The next request. */
  step: 'detail' | 'recording'
  tries: number
  detail: CarrierDetail | null
  /** True if the carrier has announced the recording. */
  recorded: boolean
  /** True if the call's recording is wanted; used only on a gateway that fetches recordings. */
  readonly wanted: boolean
  cancel: (() => void) | null
}
