import { frameSamples } from '../../core/units.js'
import type { Backend, BackendErrorCode, BackendFactory, BackendSession } from '../backend.js'
import { Recorder } from './recorder.js'

/** One answer of the scripted model behind a backend. */
export interface ScriptedReply {
  /** The words, which are also spoken. */
  readonly say?: string
  /** Tool calls, all in this one answer. Arguments that are a string are sent unchanged, JSON or not. */
  readonly calls?: readonly {
    readonly callId: string
    readonly name: string
    readonly args: Readonly<Record<string, unknown>> | string
  }[]
  /** Length of the sound, for checks that need a known length. */
  readonly audioMs?: number
  /** Time between pieces of 100 ms of sound; default 0: all at once. */
  readonly paceMs?: number
}

/**
 * Controls the scripted service behind the backend under test: its answers, its faults, and what it received, in terms
 * that all services share.
 */
export interface ConformanceVendor {
  /**
   * Queues answers; the model takes one each time it begins to answer, and says `Yes.` when none is left. All answers
   * are queued before the backend is made, because a service may need its whole script when it is connected.
   */
  reply(...replies: readonly ScriptedReply[]): void
  /** Words that the service will recognise in the caller's next turns; `hello` when none is left. */
  callerSays(...texts: readonly string[]): void
  /** Texts that the caller will write, for a service that understands only prepared texts. */
  callerWrites?(...texts: readonly string[]): void
  /** The next connections fail in this way. `timeout`: the service is never ready. */
  failConnect(code: BackendErrorCode): void
  /** The next connection is ready only after this. */
  delayReady(ms: number): void
  /** Cuts the live connection in the middle of the call. */
  breakOff(): void
  /** Announces that the session will end soon; false when the service has no such message. */
  warnOfEnd(): boolean
  /** Attempts to connect; for services without a connection: attempts to begin a session. */
  readonly connections: number
  /** Caller audio that arrived. */
  readonly callerAudioMs: number
  /** Texts that the model got besides its instructions, in order: history, notes, DTMF digits. */
  readonly texts: readonly string[]
  /** Results of tool calls that the model got, in order, as text. */
  readonly toolAnswers: readonly { readonly callId: string; readonly text: string }[]
  /** Instructions and names of the tools that the model has now; absent for a service without a model. */
  readonly model?: { readonly instructions: string; readonly tools: readonly string[] }
  /** How often the model began to answer. */
  readonly answers: number
  /** How much of its last answer the model takes as heard; null when the service does not tell. */
  readonly heard: { readonly kind: 'ms'; readonly ms: number } | { readonly kind: 'text'; readonly text: string } | null
}

/** Behaviour of the service in one check; set before the backend is made. */
export interface ConformanceScript {
  readonly replies?: readonly ScriptedReply[]
  /** The caller's spoken words, in order. */
  readonly callerSays?: readonly string[]
  /** Texts that the caller writes, and that the service must understand. */
  readonly callerWrites?: readonly string[]
  /** The service is not ready before this. */
  readonly readyDelayMs?: number
  readonly connectFault?: BackendErrorCode
  /** True: the agent greets. Default false: it waits for the caller, and the session has no greeting. */
  readonly agentBegins?: boolean
  /** Fields that differ from `conformanceSession`. */
  readonly session?: Partial<BackendSession>
}

/**
 * A feature that most services have and some lack:
 * - `stages`: the instructions of another stage reach a model; without one a stage is a state of a dialogue.
 * - `forgetting`: what was said can be taken out of the model's memory.
 * - `notes`: a text that asks for no answer reaches the model.
 * - `history`: the words of an earlier session reach the model.
 * - `error-words`: the error of a failed tool reaches the model.
 * - `connecting`: there is a connection, and it takes time.
 * - `expiry`: the service warns before it ends a session.
 * - `truncation`: an answer can be cut to what was heard.
 * - `breakage`: a lost connection ends the session or the answer. A list replaces the session instead.
 * - `floor`: an answer begins only when it is asked for and the caller is silent. A full-duplex model decides by itself.
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

/** A backend wired to a fresh scripted service, for one check. */
export interface ConformanceSetup {
  readonly backend: BackendFactory
  readonly vendor: ConformanceVendor
  /** The backend's key, which must never appear in an error. */
  readonly secret: string | null
  /** Adds what this service needs in a session; called once, before connecting. */
  session?(session: BackendSession): BackendSession
  /** The caller's voice at this rate, for a service that recognises speech; default: a tone. */
  voice?(text: string, sampleRateHz: number): Promise<Int16Array>
  /** Length of a reply's sound, for a service with real speech synthesis; default: the reply's `audioMs`. */
  soundMs?(reply: ScriptedReply): Promise<number>
  /** Ends the service. */
  close(): Promise<void>
}

/** How the suite makes a backend; one for each backend, or for each configuration of one. */
export interface ConformanceHarness {
  readonly name: string
  /** Faults that `failConnect` can cause for this service; all of them if possible. */
  readonly connectFaults: readonly BackendErrorCode[]
  /** Features that the service lacks, and why. The checks leave out what needs them, and report it. */
  readonly lacks?: Readonly<Partial<Record<ConformanceFacet, string>>>
  setup(): Promise<ConformanceSetup>
}

/** One check that every backend must pass. */
export interface ConformanceCheck {
  /** A sentence about the backend: `greets when it is asked to`. */
  readonly name: string
  /**
   * Resolves with what was left out and why, one line each, for the test's output; empty when all was checked.
   * Rejects with an Error that says what was expected and what came.
   */
  run(harness: ConformanceHarness): Promise<readonly string[]>
}

/** A session for tests; nothing in it is real. */
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
 * Speaks as the caller, frame by frame and faster than real time: `voicedMs` of a tone, or all of `voice` if given (at
 * least `voicedMs`), then enough silence for any turn detection.
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

/** Everything a check works with. */
export interface Rig {
  readonly backend: Backend
  readonly recorder: Recorder
  readonly vendor: ConformanceVendor
  readonly secret: string | null
  readonly hangup: AbortController
  readonly connect: () => Promise<void>
  /** The caller says the next text of the script. */
  readonly speak: (voicedMs: number, silenceMs?: number) => Promise<void>
  /** Length of a reply's sound when nothing of it is lost. */
  readonly soundMs: (reply: ScriptedReply) => Promise<number>
  /** False when the service lacks this; the check's result then says that something was left out. */
  readonly has: (facet: ConformanceFacet) => boolean
  readonly canFailWith: (code: BackendErrorCode) => boolean
}

type Work = (rig: Rig) => Promise<void>

/** @throws Error that says what was expected */
export function expect(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`expected ${what}`)
}

export function expectEqual<T>(actual: T, wanted: T, what: string): void {
  if (actual !== wanted) throw new Error(`${what}: expected ${JSON.stringify(wanted)}, got ${JSON.stringify(actual)}`)
}

/** The model got a text with these words. */
export function expectTold(vendor: ConformanceVendor, words: string, what: string): void {
  expect(
    vendor.texts.some((text) => text.includes(words)),
    what,
  )
}

/** A check that runs `work` on a backend that is not connected yet, and cleans up after it. */
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
        // The recorded events explain the failure.
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

/** The same on a connected backend; also checks the snapshot and the end of the session. */
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
