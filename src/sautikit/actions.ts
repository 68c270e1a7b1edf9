/**
 * Sautikit's voice actions as values. `voice-xml.ts` writes them as the XML that the carrier forwards to its PBX
 * unchanged; the attribute names and their pitfalls are in docs/PROTOCOL.md.
 */

export type StreamTrack = 'inbound_track' | 'outbound_track' | 'both_tracks'
export type StreamStatusEvent = 'stream-started' | 'stream-stopped' | 'stream-error'

export interface SayAction {
  readonly verb: 'say'
  readonly text: string
  readonly voice?: string
  /** BCP-47, for example `en-KE`. */
  readonly language?: string
  readonly loop?: number
}

export interface PlayAction {
  readonly verb: 'play'
  readonly url: string
  readonly loop?: number
}

export interface StreamAction {
  readonly verb: 'stream'
  /** `wss://…`, with a path before its query. */
  readonly url: string
  readonly track: StreamTrack
  /** True answers the call with the stream; without it the PBX hangs up after a second. */
  readonly connect: boolean
  /** Rate of the audio we get and, as `bidirectionalSamplingRate`, of the audio we send. */
  readonly samplingRateHz: 8000 | 16000
  readonly name?: string
  /** Flat JSON object, delivered in the first text frame (or as handshake headers, by other sources). */
  readonly headerMetadata?: Readonly<Record<string, string>>
  /** Opaque text for the first text frame. */
  readonly openMetadata?: string
  readonly statusCallback?: string
  readonly statusEvents?: readonly StreamStatusEvent[]
}

export interface DialAction {
  readonly verb: 'dial'
  /** One number rings it; several ring all at once. E.164. */
  readonly numbers: readonly string[]
  readonly callerId?: string
  readonly timeoutS?: number
  readonly record?: boolean
}

export interface GetDigitsAction {
  readonly verb: 'get-digits'
  readonly timeoutS?: number
  /** 0 = no limit. Written as `maxDigits`. */
  readonly numDigits?: number
  readonly finishOnKey?: string
  readonly nested: readonly (SayAction | PlayAction)[]
}

export interface RecordAction {
  readonly verb: 'record'
  readonly action?: string
  readonly method?: 'GET' | 'POST'
  readonly timeoutS?: number
  readonly maxLengthS?: number
  readonly finishOnKey?: string
  readonly playBeep?: boolean
  readonly trim?: 'trim-silence' | 'do-not-trim'
  readonly transcribe?: boolean
  readonly transcribeCallback?: string
}

export interface ConferenceAction {
  readonly verb: 'conference'
  readonly name: string
  readonly startOnEnter?: boolean
  readonly endOnExit?: boolean
  readonly beep?: boolean
  readonly muted?: boolean
  readonly record?: boolean
  readonly maxParticipants?: number
  readonly waitUrl?: string
}

export interface RedirectAction {
  readonly verb: 'redirect'
  readonly url: string
  readonly method?: 'GET' | 'POST'
}

export interface RejectAction {
  readonly verb: 'reject'
  readonly reason?: 'rejected' | 'busy'
}

export interface HangupAction {
  readonly verb: 'hangup'
}

export type VoiceAction =
  | SayAction | PlayAction | StreamAction | DialAction | GetDigitsAction | RecordAction | ConferenceAction
  | RedirectAction | RejectAction | HangupAction
