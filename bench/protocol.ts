import { GARBAGE_REASONS } from '../src/telemetry/loop-stops.js'
import type { GarbageReason, StopReason } from '../src/telemetry/loop-stops.js'
import type { CaseOptions } from './results.js'
import type { Subject } from './subjects.js'

/**
 * Messages between the processes of a bench over IPC. All processes measure with CLOCK_MONOTONIC (`process.hrtime`).
 * All processes of a machine have the same value of this clock.
 */

/**
 * Work of the measured server for a frame. `L2-prod` is L2 in the way of production. `L2-prod-repeat` is L2-prod with a
 * model that repeats all audio that it receives. `L2-cascade` is L2-prod with a cascade of services (bench/README.md).
 */
export const LEVELS = ['L0', 'L1', 'L2', 'L2-prod', 'L2-prod-repeat', 'L2-cascade', 'L3'] as const
export type Level = (typeof LEVELS)[number]

/**
 * True if calls run as in production: TLS to the model, the backend's own defaults, callers who talk 40 % of the time.
 */
export function isProduction(level: Level): boolean {
  return level === 'L2-prod-repeat' || isConversation(level)
}

/** True if callers and agents take turns (`generator/conversation.ts`). */
export function isConversation(level: Level): boolean {
  return level === 'L2-prod' || level === 'L2-cascade'
}

/** True if the level needs the stand-in backend. */
export function hasBackend(level: Level): boolean {
  return level !== 'L0' && level !== 'L1'
}

/** Lengths in ms of the messages with caller audio to a backend: whole frames, up to the setting's maximum. */
export const MESSAGE_LENGTHS_MS = [20, 40, 60, 80, 100] as const

/** Maximum length in ms of a message if messages follow the call (`src/backends/transport/caller-uplink.ts`). */
export const FOLLOWING_MESSAGE_MS_MAX = 60
/**
 * Maximum length in ms of the first message after silence that was not sent. It also contains the audio before the
 * caller's voice.
 */
export const RESUMED_MESSAGE_MS_MAX = 500

export const TRACKS = ['inbound_track', 'both_tracks'] as const
export type Track = (typeof TRACKS)[number]

/** Audio format of messages between a server and the model: 24 kHz PCM, or G.711 at 8 kHz in mu-law or A-law. */
export type Coding = 'pcm' | 'pcmu' | 'pcma'

/** Way to open a call: with webhooks like the carrier, with a plain WebSocket, or with Twilio's JSON. */
export type Opening = 'webhook' | 'socket' | 'twilio'

/** Line of a subject. */
type Leg = Pick<Subject, 'legRateHz' | 'coding'>

/** Options of the measured server. They are in its environment as `BENCH_SERVER`. */
export interface ServerOptions extends Leg, Pick<CaseOptions, 'level' | 'calls' | 'workers' | 'messageMs' | 'track'> {
  /** Port at which calls are accepted; 0 to let the system choose. */
  readonly port: number
  /** Port of this process alone, if several processes share `port`; null if there is only one process. */
  readonly nodePort: number | null
  /** URL of the stand-in backend: `ws://127.0.0.1:PORT`, or `wss:` with TLS; null below L2. */
  readonly backendUrl: string | null
  /** Files for TLS on the gateway's public port; null for plain HTTP. */
  readonly edgeTls: { readonly keyFile: string; readonly certFile: string } | null
}

export type ToServer = { readonly type: 'memory' } | { readonly type: 'stop' }

export type FromServer =
  { readonly type: 'ready'; readonly port: number } | ({ readonly type: 'memory' } & ServerMemory)

export interface ServerMemory {
  /** Resident memory after a garbage collection in all isolates that the server could reach. */
  readonly rssBytes: number
  readonly heapUsedBytes: number
  /**
   * Bytes that were allocated on V8's heaps since the start, by the main thread and by the workers; null if the server
   * does not count them.
   */
  readonly allocatedBytes: { readonly main: number; readonly workers: number } | null
  /**
   * Pauses since the last request, of the isolate with the longest pauses (`gcMs`: sum over all isolates); null if the
   * server does not measure pauses.
   */
  readonly pauses: ServerPauses | null
}

export interface ServerPauses {
  readonly gcMaxMs: number
  readonly gcMs: number
  readonly loopMaxMs: number
  /** Number of collections in all isolates together. */
  readonly collections: Readonly<Record<GarbageReason, number>>
  /** Empty unless the bench measures where the CPU time goes. */
  readonly stops: readonly ThreadStop[]
}

/** Calls `count` for each reason and collects the results. */
export function collectionsBy(count: (reason: GarbageReason) => number): ServerPauses['collections'] {
  return Object.fromEntries(GARBAGE_REASONS.map((reason) => [reason, count(reason)])) as Record<GarbageReason, number>
}

/** Period in which the event loop of one of the server's threads did not turn. */
export interface ThreadStop {
  /** Node's thread id; 0 for the main thread. */
  readonly thread: number
  /** `CLOCK_MONOTONIC`. */
  readonly fromMs: number
  readonly toMs: number
  readonly reason: StopReason
}

/** Options of the load generator. They are in its environment as `BENCH_GENERATOR`. */
export interface GeneratorOptions
  extends
    Leg,
    Pick<Subject, 'opening'>,
    Pick<CaseOptions, 'level' | 'calls' | 'lineEchoPercent' | 'track' | 'truthEvery' | 'dutyPercent' | 'seed'> {
  readonly port: number
  /** True if the server's port uses TLS. The certificate is not checked. */
  readonly tls: boolean
  /** Number of the first call, so that several generators use different call SIDs. */
  readonly firstCall: number
  /**
   * Number of frames that the server sends to its backend in one message. All but the last of them wait, which is
   * intended. Null if this number follows the call.
   */
  readonly messageFrames: number | null
  /** Delay in ms after which speech comes back, in addition to transmission. It is a multiple of a frame. */
  readonly answerAfterMs: number
  /**
   * True to open a connection for each webhook. On a shared port, the kernel distributes connections among the
   * processes.
   */
  readonly freshWebhooks: boolean
  /** Time in ms after which the generator ends in any case. */
  readonly lifeMs: number
}

export type ToGenerator =
  /** Opens calls until there are `calls`. */
  { readonly type: 'open'; readonly calls: number } | { readonly type: 'measure' } | { readonly type: 'finish' }

export type FromGenerator =
  | { readonly type: 'opened'; readonly calls: number; readonly failures: readonly string[] }
  | { readonly type: 'result'; readonly result: GeneratorResult }

/** Results of one generator in its measuring window. Times are in ms. Histograms are in µs, as HDR base64. */
export interface GeneratorResult {
  readonly calls: number
  /** Number of calls whose socket the server closed before the end. */
  readonly callsLost: number
  readonly windowMs: number
  readonly framesSent: number
  /** Number of audio frames that came back in the window. */
  readonly framesReceived: number
  /** Time from the due time of a frame to its return, without intended waiting. */
  readonly addedUs: string
  /** The same with everything. */
  readonly wholeUs: string
  /** Lateness of the generator's own frames. */
  readonly latenessUs: string
  /** Durations for which a caller had no audio to play, for each gap of 1 ms or more. */
  readonly gapUs: string
  /** Barge-ins: time from the first voiced sample that was sent to the last agent sample that was received. */
  readonly stopUs: string
  /** Duration of the agent's speech that the carrier still had when the agent stopped. */
  readonly heldUs: string
  readonly bargeIns: {
    readonly tried: number
    readonly stopped: number
    readonly cleared: number
    readonly resumed: number
  }
  readonly truth: TruthFacts
}

/** Results of the generator about the audio itself. */
export interface TruthFacts {
  /**
   * Number of frames that were sent in the window and never received, including frames that were still missing at the
   * end. It is found by numbers in the frames, or by markers.
   */
  readonly framesLost: number
  /** Number of frames that were received but never sent: repeated or synthesised frames. */
  readonly framesAdded: number
  readonly markersSeen: number
  /** Number of gaps above 40 ms that the schedule does not explain. */
  readonly gapsUnasked: number
  readonly snrDbMedian: number | null
  /** Number of frames below 30 dB, among the frames that were measured. */
  readonly blocksPoor: number
  readonly blocksSeen: number
}

/** Options of the stand-in backend. They are in its environment as `BENCH_BACKEND`. */
export interface BackendOptions {
  /**
   * Duration in ms of silence before the first audio that is sent back. It covers a jitter of one tick at the other
   * side, and the difference between the first message and the longest message, so that a longer message later causes
   * no gap.
   */
  readonly cushionMs: number
  readonly messageMsMax: number
  /** Time in ms from the end of one response to the start of the next. */
  readonly thinkMs: number
  /** PEM files of the stand-in's certificate; null for a socket without TLS. */
  readonly tls: { readonly keyFile: string; readonly certFile: string } | null
  /**
   * True: a restart does not end the response, but nothing is sent back for `thinkMs`. So a greeting stays one
   * greeting.
   */
  readonly oneResponse: boolean
  /** Time in ms after the arrival of a message at which it is sent back. */
  readonly answerAfterMs: number
  /** True: the stand-in sends no audio back, but answers the caller's turns (`generator/conversation.ts`). */
  readonly conversation: boolean
}

export type ToBackend =
  | { readonly type: 'facts' }
  /** Sends nothing back for `thinkMs`, then starts again. By then, audio that a stall delayed in the server is gone. */
  | { readonly type: 'restart' }
  | { readonly type: 'stop' }

export type FromBackend =
  { readonly type: 'ready'; readonly port: number } | ({ readonly type: 'facts' } & BackendFacts)

export interface BackendFacts {
  readonly sessions: number
  readonly appends: number
  readonly audioMs: number
  /** Most frequent length of a message with caller audio, in ms. */
  readonly appendMs: number
  readonly appendMsMin: number
  readonly appendMsMax: number
  /** Turns that began after the last restart. `turnsWrong`: number of these that were not received completely. */
  readonly turns: number
  readonly turnsWrong: number
  /** Sum of the differences in ms between these turns and their expected duration. */
  readonly turnsOffMs: number
  /**
   * Number of answers since the last restart whose words reached the voice in another form than the language model
   * sent.
   */
  readonly answersWrong: number
  readonly cancels: number
  readonly truncates: number
  readonly unknown: number
}
