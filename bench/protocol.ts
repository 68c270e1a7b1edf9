import type { CaseOptions } from './results.js'
import type { Subject } from './subjects.js'

/**
 * Messages between the processes of a bench over IPC. Every process measures with CLOCK_MONOTONIC (`process.hrtime`),
 * which is one clock for all processes of a machine.
 */

/**
 * Work of the server under test with a frame; `L2-prod` is L2 as calls in production get it, `L2-prod-repeat` the same
 * with a model that says back all it hears, `L2-cascade` the same with a cascade of services (bench/README.md).
 */
export const LEVELS = ['L0', 'L1', 'L2', 'L2-prod', 'L2-prod-repeat', 'L2-cascade', 'L3'] as const
export type Level = (typeof LEVELS)[number]

/** Calls as production runs them: TLS to the model, the backend's own defaults, callers who talk 40 % of the time. */
export function isProduction(level: Level): boolean {
  return level === 'L2-prod-repeat' || isConversation(level)
}

/** Callers and agents take turns (`generator/conversation.ts`). */
export function isConversation(level: Level): boolean {
  return level === 'L2-prod' || level === 'L2-cascade'
}

/** True if the stand-in backend takes part. */
export function hasBackend(level: Level): boolean {
  return level !== 'L0' && level !== 'L1'
}

/**
 * Lengths of the messages in which caller audio goes to a backend, in milliseconds: whole frames, up to the setting's
 * bound.
 */
export const MESSAGE_LENGTHS_MS = [20, 40, 60, 80, 100] as const

/** The longest message of a gateway whose messages follow the call (`src/backends/transport/caller-uplink.ts`). */
export const FOLLOWING_MESSAGE_MS_MAX = 60
/** The longest one after silence that was not sent: what came before the caller's voice. */
export const RESUMED_MESSAGE_MS_MAX = 500

export const TRACKS = ['inbound_track', 'both_tracks'] as const
export type Track = (typeof TRACKS)[number]

/** How audio lies in messages between a server and the model: 24 kHz PCM, or G.711 at 8 kHz in mu-law or A-law. */
export type Coding = 'pcm' | 'pcmu' | 'pcma'

/** How a call is opened: as the carrier does it, by a bare WebSocket, or in Twilio's JSON. */
export type Opening = 'webhook' | 'socket' | 'twilio'

/** Line of a subject. */
type Leg = Pick<Subject, 'legRateHz' | 'coding'>

/** Options of a server under test, in its environment as `BENCH_SERVER`. */
export interface ServerOptions extends Leg, Pick<CaseOptions, 'level' | 'calls' | 'workers' | 'messageMs' | 'track'> {
  /** Where calls are taken; 0 lets the system choose. */
  readonly port: number
  /** This process's own port, where several share the other; null where it is alone. */
  readonly nodePort: number | null
  /** `ws://127.0.0.1:PORT` of the stand-in backend, `wss:` with TLS; null below L2. */
  readonly backendUrl: string | null
  /** The gateway's public port speaks TLS with these files; null for plain HTTP. */
  readonly edgeTls: { readonly keyFile: string; readonly certFile: string } | null
}

export type ToServer = { readonly type: 'memory' } | { readonly type: 'stop' }

export type FromServer =
  { readonly type: 'ready'; readonly port: number } | ({ readonly type: 'memory' } & ServerMemory)

export interface ServerMemory {
  /** After a garbage collection in every isolate that the server could reach. */
  readonly rssBytes: number
  readonly heapUsedBytes: number
  /** Bytes allocated on V8's heaps since the start, main thread and workers; null where the server does not count. */
  readonly allocatedBytes: { readonly main: number; readonly workers: number } | null
  /** Since the last question, of the worst isolate (`gcMs`: of all together); null where the server does not count. */
  readonly pauses: ServerPauses | null
}

export interface ServerPauses {
  readonly gcMaxMs: number
  readonly gcMs: number
  readonly loopMaxMs: number
}

/** Options of the load generator, in its environment as `BENCH_GENERATOR`. */
export interface GeneratorOptions
  extends
    Leg,
    Pick<Subject, 'opening'>,
    Pick<CaseOptions, 'level' | 'calls' | 'lineEchoPercent' | 'track' | 'truthEvery' | 'dutyPercent' | 'seed'> {
  readonly port: number
  /** The server's port speaks TLS, with a certificate that is not looked at. */
  readonly tls: boolean
  /** Number of the first call, so that several generators do not share call SIDs. */
  readonly firstCall: number
  /**
   * Frames that the server sends to its backend in one message; those before the last wait on purpose. Null where their
   * number follows the call.
   */
  readonly messageFrames: number | null
  /** Speech comes back this much later, beside what the way takes. A multiple of a frame. */
  readonly answerAfterMs: number
  /** A connection for each webhook: on a shared port that is what the kernel deals out. */
  readonly freshWebhooks: boolean
  /** The generator ends by itself after this, whatever its commands. */
  readonly lifeMs: number
}

export type ToGenerator =
  /** Open calls until there are `calls`. */
  { readonly type: 'open'; readonly calls: number } | { readonly type: 'measure' } | { readonly type: 'finish' }

export type FromGenerator =
  | { readonly type: 'opened'; readonly calls: number; readonly failures: readonly string[] }
  | { readonly type: 'result'; readonly result: GeneratorResult }

/** Results of one generator in its measuring window; times in milliseconds, histograms as HDR base64 in microseconds. */
export interface GeneratorResult {
  readonly calls: number
  /** Calls whose socket the other side closed before the end. */
  readonly callsLost: number
  readonly windowMs: number
  readonly framesSent: number
  /** Frames of audio that came back in the window. */
  readonly framesReceived: number
  /** Due time of a frame's send to its return, less what was waited for on purpose. */
  readonly addedUs: string
  /** The same with everything. */
  readonly wholeUs: string
  /** How late the generator itself was with its frames. */
  readonly latenessUs: string
  /** Time in which a caller would have had no audio to play, for each gap of 1 ms or more. */
  readonly gapUs: string
  /** Barge-ins: first voiced sample spoken to the last agent sample received. */
  readonly stopUs: string
  /** Speech the carrier still held when the agent had stopped. */
  readonly heldUs: string
  readonly bargeIns: {
    readonly tried: number
    readonly stopped: number
    readonly cleared: number
    readonly resumed: number
  }
  readonly truth: TruthFacts
}

/** Findings of the generator in the audio itself. */
export interface TruthFacts {
  /** Sent in the window and never heard, or still missing at the end; by numbers in the frames, or by markers. */
  readonly framesLost: number
  /** Heard and never sent: repeated, or made up. */
  readonly framesAdded: number
  readonly markersSeen: number
  /** Gaps over 40 ms that nothing in the schedule explains. */
  readonly gapsUnasked: number
  readonly snrDbMedian: number | null
  /** Blocks under 30 dB, of those that were looked at. */
  readonly blocksPoor: number
  readonly blocksSeen: number
}

/** Options of the stand-in backend, in its environment as `BENCH_BACKEND`. */
export interface BackendOptions {
  /**
   * Silence put before the first echoed audio: the far side's cushion, for a jitter of one tick, and what its first
   * message lacks to the longest one, so that a longer one later leaves no gap.
   */
  readonly cushionMs: number
  readonly messageMsMax: number
  /** From the end of one response to the start of the next. */
  readonly thinkMs: number
  /** PEM files of the certificate that it serves; null for a plain socket. */
  readonly tls: { readonly keyFile: string; readonly certFile: string } | null
  /** A restart leaves the response as it is and echoes nothing for `thinkMs`: a greeting stays the greeting. */
  readonly oneResponse: boolean
  /** How long after a message came it is said back. */
  readonly answerAfterMs: number
  /** It says nothing back, but answers the caller's turns (`generator/conversation.ts`). */
  readonly conversation: boolean
}

export type ToBackend =
  | { readonly type: 'facts' }
  /** Echo nothing for `thinkMs`, then begin anew. What a stall has piled up in the server is gone then. */
  | { readonly type: 'restart' }
  | { readonly type: 'stop' }

export type FromBackend =
  { readonly type: 'ready'; readonly port: number } | ({ readonly type: 'facts' } & BackendFacts)

export interface BackendFacts {
  readonly sessions: number
  readonly appends: number
  readonly audioMs: number
  /** Commonest length of an append, in milliseconds. */
  readonly appendMs: number
  readonly appendMsMin: number
  readonly appendMsMax: number
  /** Turns that began since the last restart, and those of them that were not heard whole. */
  readonly turns: number
  readonly turnsWrong: number
  /** By how much those were longer or shorter, in all. */
  readonly turnsOffMs: number
  /** Answers since the last restart whose words did not reach the voice as the language model said them. */
  readonly answersWrong: number
  readonly cancels: number
  readonly truncates: number
  readonly unknown: number
}
