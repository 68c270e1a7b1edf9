import type { ConnectFork, TrackLayout } from './audio-fork.js'
import type { AfterStream, CallerVoice, HumanOutcome, RungOutcome } from './choices.js'
import type { CallingPerson, HeardPiece, OrderFacts } from './caller-end.js'
import type { CallClock, CallerLatency, CallerLeg, LegRecording, Said } from './caller-leg.js'
import type { Stall } from './line.js'
import type { Workspace } from './workspace.js'

/** Format of a webhook's body. The carrier was observed to use `form`. */
type BodyEncoding = 'form' | 'json'
/** `timestamped`: `t=…,v1=…` over body, dot and time. `bare`: hex over the body only. Both forms are documented. */
export type SignatureForm = 'timestamped' | 'bare'

type FirstText = 'wrapper' | 'opaque' | 'none' | 'after-audio'
/** The person whom a Dial reaches. */
export interface SimulatedHuman {
  readonly outcome: HumanOutcome
  /** Ringing time of the person's phone, in milliseconds. */
  readonly ringMs: number
  /** Duration of the person's conversation after the answer, in milliseconds. */
  readonly talkMs: number
  /** First words of the person; null for no words. */
  readonly greeting: string | null
}

/** Request to ring real people, and to connect a caller with the first person who answers. */
export interface DialRequest {
  /** Numbers that ring at the same time. */
  readonly numbers: readonly string[]
  readonly timeoutMs: number
  /** Leg of the caller. The person who answers is connected with this caller. */
  readonly leg: CallerLeg
  /** SID of the call for which the people are rung. */
  readonly callSid: string
  /**
   * Number that is shown to these people: the document's number, or the caller's if the document has none. Empty if
   * withheld.
   */
  readonly callerId: string
  /**
   * Called with true if a phone sends sound before its answer; `leg` then hears this sound. Called with false if this
   * phone ends without an answer. Absent: `leg` hears no such sound.
   */
  readonly onEarlySound?: (isOn: boolean) => void
}

/** People who are rung, and the person who then talks. */
export interface DialledPeople {
  readonly outcome: Promise<RungOutcome>
  /** Resolves when the person who answered has left. */
  readonly over: Promise<void>
  /** Stops the ringing, or hangs up the person. */
  hangUp(): void
}

/** Behaviour of a number that the carrier rings. */
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

/** Connection between a call and its gateway, and their common clock. */
export interface CallEnvironment {
  readonly clock: CallClock
  /** Posts a webhook. Rejects if no answer arrives. */
  readonly post: (url: string, headers: Readonly<Record<string, string>>, body: string) => Promise<WebhookAnswer>
  /** Opens the media socket. Default: a WebSocket. */
  readonly connectFork?: ConnectFork
}

export interface PlaceCallOptions {
  /** The number's voice webhook, for example `http://127.0.0.1:8080/voice/order-status`. */
  readonly voiceUrl: string
  /** The number's events URL; null without one. */
  readonly eventsUrl: string | null
  /** SID of the call. Default: `HD_` and 12 hex digits. */
  readonly callSid?: string
  readonly from: string
  readonly to: string
  readonly caller: CallingPerson
  readonly encoding?: BodyEncoding
  readonly secret?: string | null
  readonly signature?: SignatureForm
  /**
   * @returns the URL to which a webhook is posted instead of its own URL, for example the URL of a node behind a
   * balancer
   */
  readonly route?: (url: string, state: string) => string
  /** @returns the URL of the media socket in place of the document's URL. Absent: the document's URL */
  readonly mediaRoute?: (url: string) => string
  /** Time in ms after which a webhook whose connection was refused is posted once more. Default: no second post. */
  readonly connectRetryMs?: number
  /**
   * True: a webhook is also repeated if its connection breaks before the answer, for example because a node died. The
   * webhook at a Dial's end is never repeated. Default: false.
   */
  readonly retriesBroken?: boolean
  /** Additional fields of each webhook, by name. */
  readonly fields?: Readonly<Record<string, string>>
  readonly afterStream?: AfterStream
  /** Time in ms after which the carrier reports that a stream cannot be opened. Absent: streams are opened. */
  readonly streamFailsAfterMs?: number
  /** Silence in ms after the stream until the caller hangs up. Default: 20 s. */
  readonly giveUpMs?: number
  readonly trackLayout?: TrackLayout
  readonly firstText?: FirstText
  readonly honourKill?: boolean
  readonly answerMarks?: boolean
  readonly coalesceFrames?: number
  /** Random stalls of the uplink: on average one every `everyMs`, each up to `stallMsMax` long. */
  readonly jitter?: { readonly everyMs: number; readonly stallMsMax: number; readonly seed: number } | null
  /** Stalls of the uplink at set times. */
  readonly stalls?: readonly Stall[]
  readonly human?: SimulatedHuman
  /** Rings real people for a Dial, a supervisor and a conference. Absent: `human` is simulated. */
  readonly dial?: (request: DialRequest) => DialledPeople
  /** Voice of the Say verbs. Default: the voice of a bad phone. */
  readonly sayVoice?: CallerVoice
  /** False: the gateway's audio plays without the lineage's hold-back. Default: true. */
  readonly holdsBack?: boolean
  /**
   * The carrier's POST after a Dial. `dial-completed`: the state `dial-completed` for every outcome. `outcome`: Busy,
   * NoAnswer or Failed for a Dial that was not answered. `none`: no POST.
   */
  readonly dialEdge?: 'dial-completed' | 'outcome' | 'none'
  /** True: if a phone was not reached, the state comes with its `hangupCause`. Default: false. */
  readonly saysCause?: boolean
  /** Maximum number of documents of the call; the carrier ends the call at a further document. Default: 20. */
  readonly documentsMax?: number
  /** Set for an outbound call: `from` is the workspace's number and `caller` is the person who is called. */
  readonly outbound?: OutboundLeg
  /** Makes the call available to the REST API, the call records and the conference rooms. */
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
  /** `path` is the path of the media socket's URL, without its query. */
  | { readonly type: 'stream-opened'; readonly path: string }
  | { readonly type: 'stream-closed'; readonly by: string; readonly code: number | null }
  | { readonly type: 'said'; readonly text: string }
  | { readonly type: 'heard'; readonly text: string }
  | { readonly type: 'dialled'; readonly numbers: readonly string[]; readonly outcome: RungOutcome }
  | { readonly type: 'ended'; readonly by: EndedBy; readonly why: string }

export type EndedBy = 'caller' | 'callee' | 'document' | 'api' | 'carrier'

export interface WebhookRecord {
  /** Time of the POST in milliseconds since the first webhook. */
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
  /** Path of the media socket's URL, without the query, which contains the token. */
  readonly path: string
  /** Time of the socket's close; null if it did not close. */
  readonly closedMs: number | null
  readonly closedBy: string
  readonly closeCode: number | null
  readonly messagesSent: number
  readonly messagesReceived: number
  readonly samplesHeard: number
  readonly samplesFlushed: number
  readonly kills: number
  readonly marksPlayed: number
  /**
   * Number of bytes of caller audio that were discarded, because the socket was not writable for more than two seconds.
   */
  readonly bytesDropped: number
}

/** A human who was called. `via` is absent for a Dial. */
interface DialRecord {
  readonly numbers: readonly string[]
  readonly outcome: RungOutcome
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
  /** The last stream; null if there was none. */
  readonly stream: StreamRecord | null
  /** Every stream, in order. */
  readonly streams: readonly StreamRecord[]
  /** Silences of at least one frame (20 ms) that the caller heard between the agent's first and last sound. */
  readonly silences: readonly { readonly startMs: number; readonly endMs: number }[]
  readonly dials: readonly DialRecord[]
  readonly said: readonly Said[]
  readonly heard: OrderFacts & { readonly text: readonly string[] }
  readonly heardPieces: readonly HeardPiece[]
  readonly callerHeard: CallerLatency
  /** Errors of the gateway that a real carrier would not have accepted. */
  readonly complaints: readonly string[]
  readonly audio: LegRecording | null
}
