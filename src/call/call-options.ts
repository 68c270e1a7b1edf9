import type { ClaimOptions } from './claim-audit.js'

/**
 * The settings of one call session. Plain data without functions, because it crosses threads and a journal keeps it for
 * replay.
 */
export interface CallSessionOptions {
  readonly callSid: string
  readonly agent: string
  /** Monotonic time of the webhook that announced the call: time zero of the timeline. */
  readonly preparedAtMs: number
  /** Calendar time minus monotonic time, so that `nowMs + wallOffsetMs` is what `Date.now()` would return. */
  readonly wallOffsetMs: number
  /** The backend detects the caller's speech itself (`capabilities.serverVad`). */
  readonly serverVad: boolean
  /** What it takes for speech stops its answer (`capabilities.serverInterrupts`); otherwise the gateway decides that. */
  readonly serverInterrupts: boolean
  /** The backend uses the played duration of an interrupted item (`capabilities.truncate`). */
  readonly truncate: boolean
  /** The backend can be given speech that may not be meant for it (`capabilities.weighsSpeech`). */
  readonly weighsSpeech: boolean
  /**
   * Names of the agent's tools; any other name is answered with an error. The gateway's built-in tools need no entry.
   */
  readonly toolNames: readonly string[]
  /** Spoken by the gateway when the backend does not greet in time. Null: the agent's file leaves the words to the model. */
  readonly greeting: string | null
  /** Sent to the backend once with a request for a response, when the stream is open and the backend is ready: it greets. */
  readonly kickOffText: string
  /** Sent to the backend of a taken-over call when the caller still waits for an answer or for the rest of one. */
  readonly resumeText: string
  /** Said when a call goes on with a new stream, because the one before was lost with its node. */
  readonly cutOffText: string
  /** Time from the opened stream until a backend that is not ready counts as dead. */
  readonly backendReadyTimeoutMs: number
  /** Time limit for the first sound of an answer; two missing answers in a row mean a dead backend. */
  readonly answerTimeoutMs: number
  /** Said when a response failed; after RESPONSES_FAILED_MAX failures in a row the backend counts as dead. */
  readonly responseFailedText: string
  /** What the caller hears when the backend is dead. */
  readonly apologyText: string
  /** `escalate` falls back to hanging up when no escalation is set. */
  readonly onBackendFailure: 'escalate' | 'hangup'
  readonly goodbyeText: string
  readonly speech: SpeechOptions
  readonly bargeIn: BargeInOptions
  readonly silence: SilenceOptions
  /** What follows when the caller has said that this is all, and the agent has answered; null: nothing. */
  readonly closing?: ClosingOptions | null
  /** Null: sound without words is asked about again and again, and then the call ends. */
  readonly putOnHold: PutOnHoldOptions | null
  readonly duration: DurationOptions
  readonly filler: FillerOptions
  /** A tool call without a result by then is answered with an error; the tool runner's own limit is shorter. */
  readonly toolLimitMs: number
  /** Set for a call that we placed: nothing is said until the input `screened` says who took it. */
  readonly screening: ScreeningOptions | null
  /** When the session escalates by itself; null: never. Needs `escalation`. */
  readonly rules: RuleOptions | null
  /** What the agent may claim to have done; null: nothing is judged. */
  readonly claims: ClaimOptions | null
  /** Says that the call is recorded, before anything else and without interruption. Null: nothing is said. */
  readonly consentText: string | null
  /** Null: this agent cannot escalate to a human. */
  readonly escalation: EscalationOptions | null
}

export interface SpeechOptions {
  /** Voice without a pause that begins a segment of caller speech. */
  readonly onsetMs: number
  /** The same over the agent's speech, where most of that voice is doubtful: it may be music or a noise. Not less. */
  readonly doubtfulOnsetMs: number
  /** Quiet after the last voiced sample that ends the segment; adaptive: of open speech on a good line. */
  readonly endOfSpeechMs: number
  /** The quiet follows from what is expected and how this caller pauses. */
  readonly adaptive: boolean
  /** Voice in one segment that makes it speech rather than comfort noise or a click. */
  readonly realSpeechMs: number
}

export interface BargeInOptions {
  /** Voice since the onset after which the agent's speech is discarded. */
  readonly commitMs: number
  /** The same where most of that voice is doubtful: it may be music. */
  readonly doubtfulCommitMs: number
  /** Null: a short sound interrupts like any other. */
  readonly backchannel: BackchannelOptions | null
  /** A voice this much quieter than the caller's is somebody else's and interrupts nothing; null: every voice counts. */
  readonly quieterDb: number | null
  /** Paused speech resumes after this, once the caller is quiet, unless the interruption was committed. */
  readonly resumeAfterMs: number
  /** How long the caller must have been quiet before paused speech resumes. */
  readonly quietMs: number
  /** A digit interrupts speech too. */
  readonly onDtmf: boolean
  readonly protectGreeting: boolean
  readonly protectEscalation: boolean
}

/** "Mm-hm", "sawa": who says that while the agent speaks is listening. */
interface BackchannelOptions {
  /** Voice over the agent that may still be one. */
  readonly maxMs: number
  /** Words that are one, in any combination; only backends that recognise speech for the gateway need them. */
  readonly words: readonly string[]
}

export interface PutOnHoldOptions {
  /** Voice without words after which, once we have asked, the agent waits quietly. */
  readonly afterMs: number
  /** How long it waits for words before it offers a call back or says goodbye. */
  readonly maxMs: number
}

export interface SilenceOptions {
  /** Quiet of both sides before a prompt, and after the last prompt before the goodbye. */
  readonly afterMs: number
  /** The same for the first prompt of a caller who has not spoken yet. Default, and at least: `afterMs`. */
  readonly firstAfterMs?: number
  /** Said to such a caller in place of the first prompt: an offer, not a doubt. Default: the first prompt. */
  readonly firstPrompt?: string | null
  /** The prompts of the call, in order; empty: straight to the goodbye. */
  readonly prompts: readonly string[]
}

interface ClosingOptions {
  /** Quiet of both sides before the goodbye. */
  readonly afterMs: number
}

interface DurationOptions {
  readonly maxMs: number
  readonly text: string
}

interface FillerOptions {
  /** Used in turn; empty: no fillers. */
  readonly texts: readonly string[]
  /** Quiet while a tool runs before the first filler. */
  readonly afterMs: number
  /** Quiet after one filler before the next. */
  readonly everyMs: number
}

interface ScreeningOptions {
  /** Said to an answering machine before hanging up; null for nothing. */
  readonly message: string | null
  readonly onSilence: 'speak' | 'hang-up'
}

export interface RuleOptions {
  /** Phrases of an angry caller, and how many of their utterances must contain one. */
  readonly words: { readonly phrases: readonly string[]; readonly times: number } | null
  /** Field of the verified identity; if it is true, the caller is escalated at once. */
  readonly vip: string | null
  /** Number of failed tool calls plus fixes that did not help; null: no such rule. */
  readonly failures: number | null
}

export interface EscalationOptions {
  /** Said before the stream is closed or held; null for nothing. */
  readonly announceText: string | null
  /** Said when no human could be reached. */
  readonly failedText: string
  /** Said instead outside of opening hours. */
  readonly closedText: string
  /** Said before a stream is closed on a carrier that may leave the caller in silence. */
  readonly silentLineText: string
  /** Null: no call backs. */
  readonly callback: CallbackOptions | null
  readonly afterFailure: 'continue' | 'goodbye'
  /** The escalation machine must answer within this, or it counts as failed. */
  readonly stepTimeoutMs: number
  /** A held stream without a human counts as failed after this. */
  readonly holdTimeoutMs: number
}

interface CallbackOptions {
  /** Asked after the words that nobody could be reached; the DTMF digit 1 means yes. */
  readonly offerText: string
  /** Said after the digit 1. */
  readonly confirmedText: string
  /** The number that the caller calls from is not withheld. */
  readonly numberKnown: boolean
}

/** English and Swahili. A "yes" to a question comes at its end, where nothing is taken for a backchannel. */
const BACKCHANNELS = [
  'mm',
  'mhm',
  'mm-hm',
  'hm',
  'uh-huh',
  'ah',
  'oh',
  'okay',
  'ok',
  'right',
  'yes',
  'yeah',
  'sure',
  'alright',
  'i see',
  'got it',
  'sawa',
  'ndio',
  'ndiyo',
  'haya',
  'eeh',
  'ehe',
]

/** Defaults for every agent. */
export const DEFAULT_CALL_OPTIONS = {
  kickOffText: '',
  resumeText: "The line had a short gap. Go on from the caller's last words; do not greet again.",
  cutOffText: 'I am sorry, we were cut off. I am still here.',
  // Two webhook-to-socket times and one slow TLS connect; past this the caller has heard nothing for too long.
  backendReadyTimeoutMs: 4000,
  // Slow models answer a long context within 4 s at the 99th percentile; three times that is dead.
  answerTimeoutMs: 12_000,
  responseFailedText: 'Sorry, could you say that again?',
  apologyText: 'I am sorry, I have a technical problem.',
  onBackendFailure: 'escalate',
  goodbyeText: 'Thank you for calling. Goodbye.',
  speech: {
    onsetMs: 40, // two frames: one voiced frame is often a click (docs/ARCHITECTURE.md, barge-in)
    // Most blips of noise that pass for a voice are shorter, and all of them are doubtful; a caller seldom is (bench/vad/README.md).
    doubtfulOnsetMs: 100,
    endOfSpeechMs: 620, // adaptive, so more in noise and after longer pauses; bench/vad/README.md has what it cuts
    adaptive: true,
    realSpeechMs: 200, // shortest "no" in the test corpus has 180-220 ms of voice; comfort noise bursts are shorter
  },
  bargeIn: {
    // Low end of what the field ships (200-800 ms), affordable because the agent is silent from the onset.
    commitMs: 200,
    // The detector of music needs a second or more, and what it then finds is no voice any more. A caller is seldom doubtful.
    doubtfulCommitMs: 1000,
    backchannel: {
      maxMs: 600, // "mm-hm", "okay" and "sawa sawa" have 250 to 560 ms of voice; the agent is silent from the onset anyway
      words: BACKCHANNELS,
    },
    quieterDb: 20,
    resumeAfterMs: 1000, // the field resumes after 1-2 s
    quietMs: 200, // a pause between two syllables is shorter
    onDtmf: true,
    protectGreeting: false,
    protectEscalation: true,
  },
  silence: {
    afterMs: 8000, // callers look up an order number in 5-7 s
    firstAfterMs: 12_000, // of callers who were asked 5 s after the greeting, four of four left
    firstPrompt: 'How can I help you?',
    prompts: ['Are you still there?', 'I cannot hear you. Are you still there?'],
  },
  closing: { afterMs: 3000 }, // people take 1 to 2 s to think of one more thing
  putOnHold: {
    afterMs: 8000, // longer than people speak without a word that is understood
    maxMs: 60_000,
  },
  duration: { maxMs: 30 * 60_000, text: 'We have reached the time limit of this call. Goodbye.' },
  filler: {
    texts: ['One moment, please.', 'I am still looking, thank you for waiting.'],
    afterMs: 700, // a pause of 700 ms is where callers begin to say "hello?"
    everyMs: 6000,
  },
  toolLimitMs: 30_000,
  screening: null,
  rules: null,
  claims: null,
  consentText: null,
  escalation: null,
} as const satisfies Partial<CallSessionOptions>

/** Defaults for an agent with an escalation. */
export const DEFAULT_ESCALATION_OPTIONS = {
  announceText: 'I am connecting you to a colleague. Please hold.',
  failedText: 'I am sorry, no colleague is free right now.',
  closedText: 'I am sorry, our colleagues are not here at this hour.',
  silentLineText: 'If the line stays silent, please hang up and call us again.',
  callback: null,
  afterFailure: 'continue',
  stepTimeoutMs: 5000, // the machine answers in one thread hop; callers accept about 5 s without a word
  holdTimeoutMs: 60_000, // two numbers that ring for 30 s each
} as const satisfies EscalationOptions
