import type { TrackLayout } from './audio-fork.js'
import type { CallerOptions, HeardPiece } from './caller.js'
import type { CallerLatency, LegRecording, Said } from './caller-leg.js'
import type { Stall } from './line.js'
import type { Workspace } from './rest/workspace.js'
import type { OrderFacts } from './spoken-words.js'

/** How a webhook's body is written; the carrier was seen to use the first. */
export type BodyEncoding = 'form' | 'json'
/** `timestamped`: `t=…,v1=…` over body, dot and time. `bare`: hex over the body alone. Both are documented. */
export type SignatureForm = 'timestamped' | 'bare'

/** What the platform does when the gateway ends the media socket; each was documented or observed. */
export const AFTER_STREAM = ['continues', 'reposts', 'holds'] as const
export type AfterStream = (typeof AFTER_STREAM)[number]
type FirstText = 'wrapper' | 'opaque' | 'none' | 'after-audio'
export const HUMAN_OUTCOMES = ['answered', 'busy', 'no-answer', 'declined'] as const
export type HumanOutcome = (typeof HUMAN_OUTCOMES)[number]

/** The person a Dial rings. */
export interface SimulatedHuman {
  readonly outcome: HumanOutcome
  /** How long their phone rings. */
  readonly ringMs: number
  /** How long they talk, when they answer. */
  readonly talkMs: number
  /** What they say first; null for nothing. */
  readonly greeting: string | null
}

/** How a number that the carrier rings behaves. */
export interface OutboundLeg {
  readonly outcome: HumanOutcome
  readonly ringMs: number
  readonly clientRequestId: string | null
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
  readonly caller: CallerOptions
  readonly encoding?: BodyEncoding
  readonly secret?: string | null
  readonly signature?: SignatureForm
  readonly webhookTimeoutMs?: number
  readonly afterStream?: AfterStream
  /** How long the caller endures silence after the stream. */
  readonly giveUpMs?: number
  readonly trackLayout?: TrackLayout
  readonly firstText?: FirstText
  readonly honourKill?: boolean
  readonly coalesceFrames?: number
  /** Hold-ups of the uplink: about every `everyMs`, up to `stallMsMax` long. */
  readonly jitter?: { readonly everyMs: number; readonly stallMsMax: number; readonly seed: number } | null
  /** Hold-ups of the uplink at set times. */
  readonly stalls?: readonly Stall[]
  /** How the carrier ends the media socket when the caller hangs up. */
  readonly streamEnd?: 'close' | 'graceful' | 'abort'
  readonly human?: SimulatedHuman
  /** `dial-completed` posts that state whatever the outcome of the Dial was; `outcome` posts busy, no-answer or failed as such. */
  readonly dialEdge?: 'dial-completed' | 'outcome' | 'none'
  readonly verifyTls?: boolean
  /** Set for a call that the REST API was asked for: `from` is the workspace's number, and `caller` the person who is rung. */
  readonly outbound?: OutboundLeg
  /** The carrier's REST API, records and rooms; a call without them stands alone. */
  readonly workspace?: Workspace
  readonly onEvent?: (event: SimulatorEvent) => void
}

/** What happens while a call runs. Times are milliseconds since the webhook. Plain data. */
export type SimulatorEvent = { readonly callSid: string; readonly atMs: number } & (
  | { readonly type: 'webhook'; readonly state: string; readonly status: number | null; readonly ms: number; readonly verbs: readonly string[] }
  /** `text` is what a Say says. */
  | { readonly type: 'verb'; readonly name: string; readonly text?: string }
  | { readonly type: 'stream-opened' }
  | { readonly type: 'stream-closed'; readonly by: string; readonly code: number | null }
  | { readonly type: 'said'; readonly text: string }
  | { readonly type: 'heard'; readonly text: string }
  | { readonly type: 'dialled'; readonly numbers: readonly string[]; readonly outcome: HumanOutcome }
  | { readonly type: 'ended'; readonly by: EndedBy; readonly why: string }
)

export type EndedBy = 'caller' | 'callee' | 'document' | 'api' | 'carrier'

export interface WebhookRecord {
  readonly url: 'voice' | 'events' | 'status' | 'action' | 'redirect'
  readonly state: string
  readonly status: number | null
  readonly ms: number
  readonly verbs: readonly string[]
  readonly fault: string | null
}

export interface StreamRecord {
  readonly openedMs: number
  readonly closedBy: string
  readonly closeCode: number | null
  readonly messagesSent: number
  readonly messagesReceived: number
  readonly samplesHeard: number
  readonly samplesFlushed: number
  readonly kills: number
  readonly marksPlayed: number
  /** Caller audio that never left, because the socket stood still for more than two seconds. */
  readonly bytesDropped: number
}

/** A human who was rung; `via` says how, where it was not by a Dial. */
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
  readonly stream: StreamRecord | null
  readonly dials: readonly DialRecord[]
  readonly said: readonly Said[]
  readonly heard: OrderFacts & { readonly text: readonly string[] }
  readonly heardPieces: readonly HeardPiece[]
  readonly callerHeard: CallerLatency
  /** What a real carrier would not have accepted. */
  readonly complaints: readonly string[]
  readonly audio: LegRecording | null
}
