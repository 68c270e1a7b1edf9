import { frameSamples } from '../../core/units.js'
import type { Backend, BackendErrorCode, BackendFactory, BackendSession } from '../backend.js'
import { Recorder } from './recorder.js'

/** One answer of the scripted model behind a backend. */
export interface ScriptedReply {
  /** Words of the answer, which are also spoken. */
  readonly say?: string
  /** Tool calls of this answer. If `args` is a string, it is sent unchanged, even if it is not JSON. */
  readonly calls?: readonly {
    readonly callId: string
    readonly name: string
    readonly args: Readonly<Record<string, unknown>> | string
  }[]
  /** Duration of the sound in ms, for checks that need a known duration. */
  readonly audioMs?: number
  /** Time in ms between two pieces of sound, each of 100 ms. Default: 0, so that all pieces are sent at once. */
  readonly paceMs?: number
}

/**
 * Controls the scripted service that the tested backend uses: the service's answers and its faults. It also records the
 * service's input. The methods suit all services.
 */
export interface ConformanceVendor {
  /**
   * Queues answers. The model gives the next answer in the queue, or `Yes.` if the queue is empty. Called before the
   * backend is made.
   */
  reply(...replies: readonly ScriptedReply[]): void
  /**
   * Sets the words that the service will recognise in the caller's next turns. When no words are left, the service
   * recognises `hello`.
   */
  callerSays(...texts: readonly string[]): void
  /** Sets the texts that the caller will write, for a service that understands only prepared texts. */
  callerWrites?(...texts: readonly string[]): void
  /** Makes the next connections fail with this fault. With `timeout`, the service never becomes ready. */
  failConnect(code: BackendErrorCode): void
  /** Delays the readiness of the next connection. */
  delayReady(ms: number): void
  /** Breaks the open connection during the call. */
  breakOff(): void
  /** Announces that the session will end soon. @returns false if the service has no such message */
  warnOfEnd(): boolean
  /** Number of attempts to connect. If the service has no connection, number of attempts to begin a session. */
  readonly connections: number
  /** Duration of the caller audio that arrived, in milliseconds. */
  readonly callerAudioMs: number
  /** Texts that the model got in addition to its instructions, in order: history, notes, DTMF digits. */
  readonly texts: readonly string[]
  /** Results of tool calls that the model got, in order, as text. */
  readonly toolAnswers: readonly { readonly callId: string; readonly text: string }[]
  /** Current instructions and tool names of the model; absent for a service without a model. */
  readonly model?: { readonly instructions: string; readonly tools: readonly string[] }
  /** Number of answers that the model began. */
  readonly answers: number
  /** The part of the last answer that the model counts as heard; null if the service does not report this part. */
  readonly heard: { readonly kind: 'ms'; readonly ms: number } | { readonly kind: 'text'; readonly text: string } | null
}

/** Behaviour of the service in one check; set before the backend is made. */
export interface ConformanceScript {
  readonly replies?: readonly ScriptedReply[]
  /** The caller's spoken words, in order. */
  readonly callerSays?: readonly string[]
  /** Texts that the caller writes and that the service must understand. */
  readonly callerWrites?: readonly string[]
  /** Time in ms until the service is ready. */
  readonly readyDelayMs?: number
  readonly connectFault?: BackendErrorCode
  /** True if the agent greets. False (default): the agent waits for the caller, and the session has no greeting. */
  readonly agentBegins?: boolean
  /** Session fields that differ from `conformanceSession`. */
  readonly session?: Partial<BackendSession>
}

/**
 * A feature that some services lack:
 * - `stages`: the instructions of another stage reach a model. If there is no model, a stage is a state of a dialogue.
 * - `forgetting`: the conversation can be removed from the model's memory.
 * - `notes`: a text that does not ask for an answer reaches the model.
 * - `history`: the words of an earlier session reach the model.
 * - `error-words`: the error of a failed tool reaches the model.
 * - `connecting`: there is a connection, and it takes time.
 * - `expiry`: the service warns before it ends a session.
 * - `truncation`: an answer can be cut to its heard part.
 * - `breakage`: a lost connection ends the session or the answer. A list of backends lacks this, because it replaces
 * the session.
 * - `floor`: an answer begins only after a request, while the caller is silent. A full-duplex model lacks this, because
 * it decides by itself.
 */
export type ConformanceFacet =
  | 'stages'
  | 'forgetting'
  | 'notes'
  | 'history'
  | 'error-words'
  | 'connecting'
  | 'expiry'
  | 'truncation'
  | 'breakage'
  | 'floor'

/** A backend that is connected to its own scripted service, for one check. */
export interface ConformanceSetup {
  readonly backend: BackendFactory
  readonly vendor: ConformanceVendor
  /** The backend's API key, which must never appear in an error. */
  readonly secret: string | null
  /** Adds fields that this service needs in a session. Called once, before the connection is opened. */
  session?(session: BackendSession): BackendSession
  /** @returns the caller's voice at this rate. Needed if the service recognises real speech. Default: a tone */
  voice?(text: string, sampleRateHz: number): Promise<Int16Array>
  /**
   * @returns the duration of a reply's sound. Needed if the service has a real speech synthesiser. Default: the reply's
   * `audioMs`
   */
  soundMs?(reply: ScriptedReply): Promise<number>
  /** Ends the service. */
  close(): Promise<void>
}

/** Makes a backend for the checks. There is one harness for each backend, or for each configuration of a backend. */
export interface ConformanceHarness {
  readonly name: string
  /** Faults that `failConnect` can cause for this service; this should be all faults. */
  readonly connectFaults: readonly BackendErrorCode[]
  /** Features that the service lacks, with the reason. The checks skip these features and report the reason. */
  readonly lacks?: Readonly<Partial<Record<ConformanceFacet, string>>>
  setup(): Promise<ConformanceSetup>
}

/** One check that every backend must pass. */
export interface ConformanceCheck {
  /** A statement about the backend, such as `greets when it is asked to`. */
  readonly name: string
  /**
   * Resolves with the skipped parts and their reasons, one text each; the list is empty if everything was checked. If
   * the check fails, rejects with an Error that names the expected and the actual result.
   */
  run(harness: ConformanceHarness): Promise<readonly string[]>
}

/** Makes a session for tests; all its values are invented. */
export function conformanceSession(changes: Partial<BackendSession> = {}): BackendSession {
  return {
    callSid: 'HD_000000000001',
    agent: 'conformance',
    from: '+254700000001',
    to: '+254700000002',
    instructions: 'You answer the phone of a shop.',
    greeting: 'Welcome to the shop.',
    tools: [
      {
        name: 'lookup_order',
        description: 'The state of an order.',
        parameters: { type: 'object', properties: { orderNumber: { type: 'string' } }, required: ['orderNumber'] },
      },
      {
        name: 'get_account',
        description: 'An account.',
        parameters: { type: 'object', properties: {} },
      },
    ],
    language: 'en-KE',
    languages: ['en-KE'],
    voice: null,
    history: [],
    toolLedger: [],
    offline: null,
    resume: null,
    ...changes,
  }
}

/**
 * Speaks as the caller, frame by frame and faster than real time. Sends a tone of `voicedMs`, or the whole `voice` if
 * it is given, for at least `voicedMs`. Then sends silence for turn detection.
 */
export async function speakTo(
  backend: Backend,
  voicedMs: number,
  silenceMs = 700,
  voice: Int16Array | null = null,
): Promise<void> {
  const { inputRateHz, serverVad } = backend.capabilities
  const quiet = new Int16Array(frameSamples(inputRateHz))
  const speech = voice ?? tone(voicedMs, inputRateHz)
  if (!serverVad) backend.speechStart(performance.now())
  for (let at = 0, ms = 0; at < speech.length || ms < voicedMs; at += quiet.length, ms += 20) {
    const frame = speech.subarray(at, at + quiet.length)
    backend.pushAudio(frame.length === quiet.length ? frame : quiet, true)
    if (ms % 200 === 0) await turnOfLoop()
  }
  if (!serverVad) backend.speechEnd(performance.now())
  for (let ms = 0; ms < silenceMs; ms += 20) backend.pushAudio(quiet, false)
  await turnOfLoop()
}

function tone(ms: number, rateHz: number): Int16Array {
  return Int16Array.from({ length: (ms * rateHz) / 1000 }, (_, i) =>
    Math.round(9000 * Math.sin((2 * Math.PI * 300 * i) / rateHz)),
  )
}

function turnOfLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Objects and functions that a check works with. */
export interface Rig {
  readonly backend: Backend
  readonly recorder: Recorder
  readonly vendor: ConformanceVendor
  readonly secret: string | null
  readonly hangup: AbortController
  readonly connect: () => Promise<void>
  /** Speaks the next of the script's texts as the caller. */
  readonly speak: (voicedMs: number, silenceMs?: number) => Promise<void>
  /** @returns the duration of a reply's complete sound in ms */
  readonly soundMs: (reply: ScriptedReply) => Promise<number>
  /** @returns false if the service lacks this feature. The result of the check then contains this skipped part */
  readonly has: (facet: ConformanceFacet) => boolean
  readonly canFailWith: (code: BackendErrorCode) => boolean
}

type Work = (rig: Rig) => Promise<void>

/** @throws Error that names the expected result */
export function expect(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`expected ${what}`)
}

export function expectEqual<T>(actual: T, wanted: T, what: string): void {
  if (actual !== wanted) throw new Error(`${what}: expected ${JSON.stringify(wanted)}, got ${JSON.stringify(actual)}`)
}

/** Expects that the model got a text with these words. */
export function expectTold(vendor: ConformanceVendor, words: string, what: string): void {
  expect(
    vendor.texts.some((text) => text.includes(words)),
    what,
  )
}

/** Makes a check that runs `work` on a backend that is not connected yet, and cleans up. */
export function rigged(name: string, script: ConformanceScript, work: Work): ConformanceCheck {
  return {
    name,
    run: async (harness) => {
      const setup = await harness.setup()
      const { vendor } = setup
      const leftOut = new Set<string>()
      const has = (facet: ConformanceFacet): boolean => {
        const why = harness.lacks?.[facet]
        if (why !== undefined) leftOut.add(`${facet}: ${why}`)
        return why === undefined
      }
      const canFailWith = (code: BackendErrorCode): boolean => {
        const can = harness.connectFaults.includes(code)
        if (!can) leftOut.add(`connecting cannot fail with ${code} here`)
        return can
      }
      vendor.reply(...(script.replies ?? []))
      vendor.callerSays(...(script.callerSays ?? []))
      vendor.callerWrites?.(...(script.callerWrites ?? []))
      if (script.readyDelayMs !== undefined) vendor.delayReady(script.readyDelayMs)
      if (script.connectFault !== undefined && canFailWith(script.connectFault)) vendor.failConnect(script.connectFault)
      const greeting = script.agentBegins === true ? {} : { greeting: null }
      const session = conformanceSession({ ...greeting, ...script.session })
      const recorder = new Recorder()
      const backend = setup.backend(recorder)
      const hangup = new AbortController()
      const says = [...(script.callerSays ?? [])]
      try {
        await work({
          backend,
          recorder,
          vendor,
          secret: setup.secret,
          hangup,
          has,
          canFailWith,
          connect: () => backend.connect(setup.session?.(session) ?? session, hangup.signal),
          speak: async (voicedMs, silenceMs) => {
            const text = says.shift() ?? 'hello'
            await speakTo(
              backend,
              voicedMs,
              silenceMs,
              (await setup.voice?.(text, backend.capabilities.inputRateHz)) ?? null,
            )
          },
          soundMs: async (reply) => (await setup.soundMs?.(reply)) ?? reply.audioMs ?? 0,
        })
      } catch (error) {
        // The recorded events are added, because they explain the failure.
        if (error instanceof Error) error.message += `\n  seen: ${recorder.summary()}`
        throw error
      } finally {
        await backend.close('the check is over')
        await setup.close()
      }
      return [...leftOut]
    },
  }
}

/** Makes a check on a connected backend. The check also tests the snapshot and the end of the session. */
export function connected(name: string, script: ConformanceScript, work: Work): ConformanceCheck {
  return rigged(name, script, async (rig) => {
    await rig.connect()
    await work(rig)
    const snapshot = rig.backend.snapshot()
    expect(snapshot === null || JSON.stringify(snapshot) !== undefined, 'a snapshot that is JSON')
    await rig.backend.close('the check is over')
    expectEqual(rig.recorder.all('closed').length, 1, 'closed events')
    expectEqual(rig.recorder.events.at(-1)?.type, 'closed', 'the last event')
  })
}
