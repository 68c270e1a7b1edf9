import { FRAME_MS, frameSamples } from '../../src/core/units.js'
import { Recorder, conformanceSession } from '../../src/backends/conformance.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { clockTimers } from '../../src/backends/timers.js'
import { OpenAiRealtimeBackend } from '../../src/backends/openai-realtime/openai-backend.js'
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
  /** The line is cut to a second backend that knows everything. */
  readonly gap: Percentiles | null
  /** The line is cut to the second one's first sound, less its own delay. */
  readonly sound: Percentiles | null
  /** Samples of the open question that the second one did not get, or got in the wrong order or twice. */
  readonly samplesWrong: number
  readonly samplesChecked: number
  readonly audioLostMs: number
}

const RATE_HZ = 16_000
const FRAME = frameSamples(RATE_HZ)
const DELAY_MS = 200
/** Cost of a connection to a far service. */
const READY_MS = 150
const UTTERANCE_MS = 900
const TAKEOVER_MS_MAX = 8000

/**
 * Calls whose first backend is cut off at a moment that is different in each of them, in the question or in the answer,
 * while the caller speaks in real time. No two samples of a caller are the same, so that it can be said of each of them
 * whether the second backend got it.
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
        // Connected one after the other: the session that appears is this call's.
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
    // From the middle of the question to well into the answer.
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

  /** @returns what was measured, null when nobody took over in time */
  async run(): Promise<{ gapMs: number; soundMs: number; wrong: number; checked: number; lost: number } | null> {
    const beganMs = machineMs()
    let cutMs = NaN
    let askedMs = NaN
    let dueMs = beganMs
    let speaking = false
    const sounds: number[] = []
    this.#recorder.onAudio = () => sounds.push(machineMs())
    while (machineMs() - beganMs < TAKEOVER_MS_MAX) {
      // About the audio: after this process has stood still, frames come late and all of them belong to the question.
      const atMs = (this.#said.length / FRAME) * FRAME_MS
      const asked = !Number.isNaN(askedMs)
      this.#frame()
      if (!speaking && !asked && atMs >= 100) {
        speaking = true
        // Noticed 40 ms late, as the call does it.
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
    const session = this.#second.sessions.find(
      ({ samples }) => samples.length > 0 && samples.includes(this.#said[this.#speakingFrom] ?? NaN),
    )
    const told = this.#compare(session?.samples ?? [])
    await this.#backend.close('the bench is over')
    if (failover === undefined || soundAtMs === undefined) return null
    // Where the caller still spoke, they wait from their own end on.
    const waitFromMs = Math.max(cutMs, askedMs)
    return { gapMs: failover.gapMs, soundMs: soundAtMs - waitFromMs, lost: this.#backend.stats.lostSamples, ...told }
  }

  get #failover() {
    return this.#recorder.all('failover')[0]
  }

  #frame(): void {
    const frame = new Int16Array(FRAME)
    for (let i = 0; i < FRAME; i++) {
      // Odd steps through all 65,536 values: no sample comes twice within four seconds.
      frame[i] = ((this.#said.length * 12_345 + 1) % 65_536) - 32_768
      this.#said.push(frame[i] as number)
    }
    this.#backend.pushAudio(frame)
  }

  /** The samples of the question, one by one, in what the second backend got. */
  #compare(got: readonly number[]): { wrong: number; checked: number } {
    const questionEnd = this.#speakingFrom + (UTTERANCE_MS / FRAME_MS - 1) * FRAME
    const wanted = this.#said.slice(this.#speakingFrom, questionEnd)
    const at = got.indexOf(wanted[0] ?? NaN)
    if (at < 0) return { wrong: wanted.length, checked: wanted.length }
    let wrong = 0
    for (const [i, sample] of wanted.entries()) if (got[at + i] !== sample) wrong++
    return { wrong, checked: wanted.length }
  }
}
