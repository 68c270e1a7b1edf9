import type { ConnectFork, TrackLayout } from './audio-fork.js'
import type { AfterStream, HumanOutcome } from './choices.js'
import type { CallingPerson, HeardPiece, OrderFacts } from './caller-end.js'
import type { CallClock, CallerLatency, LegRecording, Said } from './caller-leg.js'
import type { Stall } from './line.js'
import type { Workspace } from './workspace.js'

/** Format of a webhook's body. The carrier was observed to use `form`. */
type BodyEncoding = 'form' | 'json'
/** `timestamped`: `t=…,v1=…` over body, dot and time. `bare`: hex over the body alone. Both are documented. */
export type SignatureForm = 'timestamped' | 'bare'

type FirstText = 'wrapper' | 'opaque' | 'none' | 'after-audio'
/** The person whom a Dial reaches. */
export interface SimulatedHuman {
  readonly outcome: HumanOutcome
  /** How long their phone rings. */
  readonly ringMs: number
  /** How long they talk, when they answer. */
  readonly talkMs: number
  /** Their first words; null for none. */
  readonly greeting: string | null
}

/** How a number that the carrier rings behaves. */
export interface OutboundLeg {
  readonly outcome: HumanOutcome
  readonly ringMs: number
  readonly clientRequestId: string | null
}

/** The gateway's answer to a webhook. */
export interface WebhookAnswer {
  readonly status: number
  readonly contentType: string
  readonly body: string
}

/** Connection of a call with its gateway, and their common clock. */
export interface CallEnvironment {
  readonly clock: CallClock
  /** Posts a webhook. Rejects when no answer comes. */
  readonly post: (url: string, headers: Readonly<Record<string, string>>, body: string) => Promise<WebhookAnswer>
  /** Default: a WebSocket. */
  readonly connectFork?: ConnectFork
}

export interface PlaceCallOptions {
  /** The number's voice webhook, for example `http://127.0.0.1:8080/voice/order-status`. */
  readonly voiceUrl: string
  /** The number's events URL; null when it has none. */
  readonly eventsUrl: string | null
  /** `HD_` and 12 hex digits when not given. */
  readonly callSid?: string
  readonly from: string
  readonly to: string
  readonly caller: CallingPerson
  readonly encoding?: BodyEncoding
  readonly secret?: string | null
  readonly signature?: SignatureForm
  /** Where a webhook goes instead of its URL: one node of several that a balancer could have chosen. */
  readonly route?: (url: string, state: string) => string
  /** Where the media socket is opened instead of the document's URL. Absent: there. */
  readonly mediaRoute?: (url: string) => string
  /** A webhook whose connection is refused is posted once more after this time. Default: not. */
  readonly connectRetryMs?: number
  readonly afterStream?: AfterStream
  /** Each stream cannot be opened, and the carrier says so after this time. Absent: streams are opened. */
  readonly streamFailsAfterMs?: number
  /** How long the caller waits in silence after the stream before hanging up. Default: 20 s. */
  readonly giveUpMs?: number
  readonly trackLayout?: TrackLayout
  readonly firstText?: FirstText
  readonly honourKill?: boolean
  readonly answerMarks?: boolean
  readonly coalesceFrames?: number
  /** Uplink stalls at random: one about every `everyMs`, up to `stallMsMax` long. */
  readonly jitter?: { readonly everyMs: number; readonly stallMsMax: number; readonly seed: number } | null
  /** Uplink stalls at set times. */
  readonly stalls?: readonly Stall[]
  readonly human?: SimulatedHuman
  /**
   * POST of the carrier after a Dial. `dial-completed`: this state for every outcome. `outcome`: Busy, NoAnswer or
   * Failed where the Dial was not answered. `none`: nothing.
   */
  readonly dialEdge?: 'dial-completed' | 'outcome' | 'none'
  /** Set for an outbound call: `from` is the workspace's number and `caller` is the person who is called. */
  readonly outbound?: OutboundLeg
  /** Makes the call known to the REST API, the call records and the conference rooms. */
  readonly workspace?: Workspace
  readonly onEvent?: (event: SimulatorEvent) => void
  /** Default: real time, HTTP, and a WebSocket. */
  readonly environment?: CallEnvironment
}

/** One event of a running call, as plain data. `atMs` is milliseconds since the webhook. */
export type SimulatorEvent = CallEvent & { readonly callSid: string; readonly atMs: number }

export type CallEvent =
  | {
      readonly type: 'webhook'
      readonly state: string
      readonly status: number | null
      readonly ms: number
      readonly verbs: readonly string[]
    }
  /** `text` is the text of a Say. */
  | { readonly type: 'verb'; readonly name: string; readonly text?: string }
  /** `path` is that of the media socket's URL, without its query. */
  | { readonly type: 'stream-opened'; readonly path: string }
  | { readonly type: 'stream-closed'; readonly by: string; readonly code: number | null }
  | { readonly type: 'said'; readonly text: string }
  | { readonly type: 'heard'; readonly text: string }
  | { readonly type: 'dialled'; readonly numbers: readonly string[]; readonly outcome: HumanOutcome }
  | { readonly type: 'ended'; readonly by: EndedBy; readonly why: string }

export type EndedBy = 'caller' | 'callee' | 'document' | 'api' | 'carrier'

export interface WebhookRecord {
  /** When it was posted: milliseconds since the first webhook. */
  readonly atMs: number
  readonly url: 'voice' | 'events' | 'status' | 'action' | 'redirect'
  readonly state: string
  readonly status: number | null
  readonly ms: number
  readonly verbs: readonly string[]
  readonly fault: string | null
}

export interface StreamRecord {
  readonly openedMs: number
  /** Path of the media socket's URL, without its query, which has the token. */
  readonly path: string
  /** When the socket closed; null if it did not. */
  readonly closedMs: number | null
  readonly closedBy: string
  readonly closeCode: number | null
  readonly messagesSent: number
  readonly messagesReceived: number
  readonly samplesHeard: number
  readonly samplesFlushed: number
  readonly kills: number
  readonly marksPlayed: number
  /** Caller audio that was discarded because the socket could not be written to for more than two seconds. */
  readonly bytesDropped: number
}

/** A human who was called. `via` is absent for a Dial. */
interface DialRecord {
  readonly numbers: readonly string[]
  readonly outcome: HumanOutcome
  readonly via?: 'supervision' | 'conference'
}

/** The result of one simulated call. Times are milliseconds since the webhook, except in `callerHeard`. */
export interface SimulatedCallResult {
  readonly callSid: string
  readonly from: string
  readonly to: string
  readonly answered: boolean
  readonly ended: { readonly by: EndedBy; readonly why: string }
  readonly durationMs: number
  readonly webhooks: readonly WebhookRecord[]
  readonly verbs: readonly string[]
  /** The last stream; null when there was none. */
  readonly stream: StreamRecord | null
  /** Every stream, in order. */
  readonly streams: readonly StreamRecord[]
  /** Stretches of a frame (20 ms) or more between the agent's first sound and its last in which the caller heard none of it. */
  readonly silences: readonly { readonly startMs: number; readonly endMs: number }[]
  readonly dials: readonly DialRecord[]
  readonly said: readonly Said[]
  readonly heard: OrderFacts & { readonly text: readonly string[] }
  readonly heardPieces: readonly HeardPiece[]
  readonly callerHeard: CallerLatency
  /** Faults that a real carrier would not have accepted. */
  readonly complaints: readonly string[]
  readonly audio: LegRecording | null
}
