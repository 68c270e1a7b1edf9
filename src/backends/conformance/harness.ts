import type { Backend, BackendErrorCode, BackendFactory, BackendSession } from '../backend.js'

/** One answer of the scripted model behind a backend. */
export interface ScriptedReply {
  /** Words and, for as long as they take, sound. */
  readonly say?: string
  /** Tool calls, all in this one answer. Arguments that are a text go out as they are, JSON or not. */
  readonly calls?: readonly { readonly callId: string; readonly name: string; readonly args: Readonly<Record<string, unknown>> | string }[]
  /** Length of the sound, where the number matters. */
  readonly audioMs?: number
  /** Time between pieces of 100 ms of sound; 0, all at once, when not given. */
  readonly paceMs?: number
}

/**
 * The scripted service behind the backend under test: what it will say, what goes wrong with it, and what it was told.
 * Facts are in the terms that all services share.
 */
export interface ConformanceVendor {
  /**
   * Queues answers; one is used up each time the model begins to answer. With none left it says `Yes.` Everything is
   * queued before the backend is made: a service may need to know its whole script when it is connected.
   */
  reply(...replies: readonly ScriptedReply[]): void
  /** What the recogniser will make of the caller's next turns; `hello` when none is left. */
  callerSays(...texts: readonly string[]): void
  /** What the caller will write, for a service that only understands what it was prepared for. */
  callerWrites?(...texts: readonly string[]): void
  /** The next connections fail in this way. `timeout`: the service never gets ready. */
  failConnect(code: BackendErrorCode): void
  /** The next connection gets ready only after this. */
  delayReady(ms: number): void
  /** Cuts the live connection in the middle of the call. */
  breakOff(): void
  /** Says that the session will end soon; false where the service gives no such sign. */
  warnOfEnd(): boolean
  /** Connections, or for services without one: sessions, that were tried. */
  readonly connections: number
  /** Caller audio that arrived. */
  readonly callerAudioMs: number
  /** Texts that the model was given besides its instructions: history, notes, keys. In order. */
  readonly texts: readonly string[]
  /** Answers to tool calls, in order, as text. */
  readonly toolAnswers: readonly { readonly callId: string; readonly text: string }[]
  /** How often the model began to answer. */
  readonly answers: number
  /** What the model believes was heard of what it said last; null where the service keeps that to itself. */
  readonly heard: { readonly kind: 'ms'; readonly ms: number } | { readonly kind: 'text'; readonly text: string } | null
}

/** What a service is made to do in one check; staged before the backend is made. */
export interface ConformanceScript {
  readonly replies?: readonly ScriptedReply[]
  /** What the caller says aloud, in order. */
  readonly callerSays?: readonly string[]
  /** What the caller writes and the agent is to understand. */
  readonly callerWrites?: readonly string[]
  /** The service is not ready before this. */
  readonly readyDelayMs?: number
  readonly connectFault?: BackendErrorCode
  /** True: the agent greets. False, when not given: it waits for the caller, and the session has no greeting. */
  readonly agentBegins?: boolean
  /** What is different in the session. */
  readonly session?: Partial<BackendSession>
}

/**
 * What most services have and some lack by their nature:
 * `notes`: a text that asks for no answer reaches the model. `history`: so do the words of an earlier session.
 * `error-words`: so does what was wrong with a tool. `connecting`: there is something to connect to, which takes time.
 * `expiry`: the service warns before it ends a session. `truncation`: it lets us cut what it said to what was heard.
 * `breakage`: a connection that is lost ends the session, or the answer; a list replaces it instead.
 */
export type ConformanceFacet = 'notes' | 'history' | 'error-words' | 'connecting' | 'expiry' | 'truncation' | 'breakage'

/** A backend wired to a fresh scripted service, for one check. */
export interface ConformanceSetup {
  readonly backend: BackendFactory
  readonly vendor: ConformanceVendor
  /** What must never appear in an error: the key that the backend was given. */
  readonly secret: string | null
  /** What a session must have besides, for this service: asked once, before connecting. */
  session?(session: BackendSession): BackendSession
  /** The caller's voice at this rate, for a service that really listens; a tone when not given. */
  voice?(text: string, sampleRateHz: number): Promise<Int16Array>
  /** How long a reply sounds, for a service whose voice takes the time it takes; the reply's `audioMs` when not given. */
  soundMs?(reply: ScriptedReply): Promise<number>
  /** Ends the service. */
  close(): Promise<void>
}

/** How the suite gets at a backend; one for each backend, or for each way of configuring one. */
export interface ConformanceHarness {
  readonly name: string
  /** Faults that `failConnect` can stage for this service. Should be all. */
  readonly connectFaults: readonly BackendErrorCode[]
  /** What the service has not, and why. What needs it is left out of the checks, and they say so. */
  readonly lacks?: Readonly<Partial<Record<ConformanceFacet, string>>>
  setup(): Promise<ConformanceSetup>
}

/** One thing that every backend does. */
export interface ConformanceCheck {
  /** A sentence about the backend: `greets when it is asked to`. */
  readonly name: string
  /**
   * Resolves with what was left out and why, one line each; empty when all was checked. Show these lines.
   * Rejects with an Error that says what was seen instead.
   */
  run(harness: ConformanceHarness): Promise<readonly string[]>
}

/** A session for tests; nothing in it is real. */
export function conformanceSession(changes: Partial<BackendSession> = {}): BackendSession {
  return {
    callSid: 'HD_000000000001', agent: 'conformance', from: '+254700000001', to: '+254700000002',
    instructions: 'You answer the phone of a shop.', greeting: 'Welcome to the shop.',
    tools: [{
      name: 'lookup_order', description: 'The state of an order.',
      parameters: { type: 'object', properties: { orderNumber: { type: 'string' } }, required: ['orderNumber'] },
    }, {
      name: 'get_account', description: 'An account.', parameters: { type: 'object', properties: {} },
    }],
    language: 'en-KE', voice: null, history: [], toolLedger: [], offline: null, resume: null, ...changes,
  }
}

export type { Backend }
