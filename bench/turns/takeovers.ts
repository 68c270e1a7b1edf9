import { FRAME_MS, frameSamples } from '../../src/core/units.js'
import { Recorder, conformanceSession } from '../../src/backends/conformance.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { clockTimers } from '../../src/backends/timers.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import { lineSample } from '../kit/line-samples.js'
import { machineMs } from '../kit/process.js'
import { newHistogram, percentilesMs, recordMs } from '../kit/histogram.js'
import type { Percentiles } from '../kit/histogram.js'
import { KnownService } from './known-service.js'
import { figure } from './share.js'

interface TakeoverOptions {
  readonly takeovers: number
  /** At once. */
  readonly calls: number
}

interface TakeoverResult extends TakeoverOptions {
  readonly done: number
  /** Time from the cut of the connection to the moment when a second backend has all data of the call. */
  readonly gap: Percentiles | null
  /** Time from the cut of the connection to the second backend's first sound, less the second backend's own delay. */
  readonly sound: Percentiles | null
  /**
   * Number of samples of the open question that the second backend did not receive, or received twice or in the wrong
   * order.
   */
  readonly samplesWrong: number
  readonly samplesChecked: number
  readonly audioLostMs: number
}

const RATE_HZ = 16_000
const FRAME = frameSamples(RATE_HZ)
const DELAY_MS = 200
/** Time in ms for a connection to a distant service. */
const READY_MS = 150
const UTTERANCE_MS = 900
const TAKEOVER_MS_MAX = 8000

/**
 * Runs calls whose first backend is cut off, while the caller speaks in real time. The cut comes at a different moment
 * in each call, in the question or in the answer. All samples of a caller differ, so that for each sample one can check
 * whether the second backend received it.
 */
export async function measureTakeovers(options: TakeoverOptions, say: (line: string) => void): Promise<TakeoverResult> {
  const both = { delayMs: DELAY_MS, silenceMs: 300, answerMs: 3000, paced: true, keepsAudio: true }
  const [first, second] = await Promise.all([
    KnownService.start({ ...both, readyMs: 0 }),
    KnownService.start({ ...both, readyMs: READY_MS }),
  ])
  const [gap, sound] = [newHistogram(), newHistogram()]
  const calls: TakeoverCall[] = []
  const facts = { done: 0, samplesWrong: 0, samplesChecked: 0, lostSamples: 0 }
  try {
    for (let begun = 0; begun < options.takeovers; begun += options.calls) {
      const round = Math.min(options.calls, options.takeovers - begun)
      for (let i = 0; i < round; i++) {
        // Calls are connected one after another, so the session that appears belongs to this call.
        const call = await TakeoverCall.open(first, second, (begun + i) / options.takeovers)
        calls.push(call)
      }
      const results = await Promise.all(calls.splice(0).map((call) => call.run()))
      for (const result of results) {
        if (result === null) continue
        facts.done++
        recordMs(gap, result.gapMs)
        recordMs(sound, result.soundMs - DELAY_MS)
        facts.samplesWrong += result.wrong
        facts.samplesChecked += result.checked
        facts.lostSamples += result.lost
      }
    }
  } finally {
    await Promise.all([first.close(), second.close()])
  }
  const { lostSamples, ...counted } = facts
  const result = {
    ...options,
    ...counted,
    gap: percentilesMs(gap),
    sound: percentilesMs(sound),
    audioLostMs: (lostSamples * 1000) / RATE_HZ,
  }
  say(
    `  ${result.done} takeovers: gap p50 ${figure(result.gap?.p50)}, p99 ${figure(result.gap?.p99)} ms, first sound p99 ${figure(result.sound?.p99)} ms; ` +
      `${result.samplesChecked} samples checked, ${result.samplesWrong} wrong`,
  )
  return result
}

class TakeoverCall {
  readonly #backend: CallBackend
  readonly #recorder: Recorder
  readonly #cut: () => void
  readonly #second: KnownService
  readonly #cutAtMs: number
  readonly #said: number[] = []
  #speakingFrom = 0

  private constructor(backend: CallBackend, recorder: Recorder, cut: () => void, second: KnownService, share: number) {
    this.#backend = backend
    this.#recorder = recorder
    this.#cut = cut
    this.#second = second
    // The cut is between the middle of the question and a late point of the answer.
    this.#cutAtMs = 300 + share * 2200
  }

  static async open(first: KnownService, second: KnownService, share: number): Promise<TakeoverCall> {
    const recorder = new Recorder()
    const candidate = (service: KnownService, name: string) => ({
      create: (sink: ConstructorParameters<typeof OpenAiRealtimeBackend>[0]) =>
        new OpenAiRealtimeBackend(sink, {
          apiKey: null,
          model: 'known',
          baseUrl: service.baseUrl,
          name,
          inputRateHz: RATE_HZ,
          outputRateHz: RATE_HZ,
          turns: { by: 'gateway' },
        }),
    })
    const backend = new CallBackend(recorder, {
      candidates: [candidate(first, 'first'), candidate(second, 'second')],
      timers: clockTimers(machineMs),
      inputRateHz: RATE_HZ,
    })
    const before = first.sessions.length
    await backend.connect(conformanceSession(), new AbortController().signal)
    const session = first.sessions[before]
    if (session === undefined) throw new Error('the first backend was not connected')
    return new TakeoverCall(backend, recorder, () => session.breakOff(), second, share)
  }

  /** @returns measured values; null if no backend took over in time */
  async run(): Promise<{ gapMs: number; soundMs: number; wrong: number; checked: number; lost: number } | null> {
    const beganMs = machineMs()
    let cutMs = NaN
    let askedMs = NaN
    let dueMs = beganMs
    let speaking = false
    const sounds: number[] = []
    this.#recorder.onAudio = () => sounds.push(machineMs())
    while (machineMs() - beganMs < TAKEOVER_MS_MAX) {
      // Time by the caller's audio, not by the clock. If this process paused, frames are late, but all of them still
      // belong to the question.
      const atMs = (this.#said.length / FRAME) * FRAME_MS
      const asked = !Number.isNaN(askedMs)
      this.#frame()
      if (!speaking && !asked && atMs >= 100) {
        speaking = true
        // Speech is detected 40 ms late, as in a real call.
        this.#speakingFrom = this.#said.length - 2 * FRAME
        this.#backend.speechStart(machineMs() - 40)
      } else if (speaking && atMs >= 100 + UTTERANCE_MS) {
        speaking = false
        askedMs = machineMs()
        this.#backend.speechEnd(askedMs)
      }
      if (Number.isNaN(cutMs) && atMs >= this.#cutAtMs) {
        cutMs = machineMs()
        sounds.length = 0
        this.#cut()
      }
      if (!Number.isNaN(cutMs) && asked && this.#failover !== undefined && sounds.some((soundMs) => soundMs > cutMs))
        break
      dueMs += FRAME_MS
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, dueMs - machineMs())))
    }
    const failover = this.#failover
    const soundAtMs = sounds.find((soundMs) => soundMs > cutMs)
    const session = this.#second.sessions.find(({ samples }) => this.#questionIn(samples) >= 0)
    const told = this.#compare(session?.samples ?? [])
    await this.#backend.close('the bench is over')
    if (failover === undefined || soundAtMs === undefined) return null
    // If the caller was still speaking at the cut, their wait begins at the end of their speech.
    const waitFromMs = Math.max(cutMs, askedMs)
    return { gapMs: failover.gapMs, soundMs: soundAtMs - waitFromMs, lost: this.#backend.stats.lostSamples, ...told }
  }

  get #failover() {
    return this.#recorder.all('failover')[0]
  }

  #frame(): void {
    const frame = Int16Array.from({ length: FRAME }, (_, i) => lineSample(this.#said.length + i))
    this.#said.push(...frame)
    this.#backend.pushAudio(frame)
  }

  /** @returns position of the question's first frame in `samples`; -1 if `samples` do not contain it */
  #questionIn(samples: readonly number[]): number {
    const first = this.#said.slice(this.#speakingFrom, this.#speakingFrom + FRAME)
    return samples.findIndex((_, at) => first.every((sample, i) => samples[at + i] === sample))
  }

  /** Compares the question, sample by sample, with the samples that the second backend received. */
  #compare(got: readonly number[]): { wrong: number; checked: number } {
    const questionEnd = this.#speakingFrom + (UTTERANCE_MS / FRAME_MS - 1) * FRAME
    const wanted = this.#said.slice(this.#speakingFrom, questionEnd)
    const at = this.#questionIn(got)
    if (at < 0) return { wrong: wanted.length, checked: wanted.length }
    let wrong = 0
    for (const [i, sample] of wanted.entries()) if (got[at + i] !== sample) wrong++
    return { wrong, checked: wanted.length }
  }
}
