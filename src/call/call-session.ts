import { assertNever } from '../core/assert.js'
import type { Wake } from '../core/clock.js'
import { AFTER_KILL_SILENCE_MS, ANSWER_UNHEARD_MS, MESSAGE_CHARS_MAX, TRANSCRIPT_ENTRIES_MAX } from '../core/limits.js'
import { FRAME_MS } from '../core/units.js'
import { AgentSpeech } from './agent-speech.js'
import { waitOf } from './backend-events.js'
import type { BackendEvent } from './backend-events.js'
import { isBackchannel } from './backchannel.js'
import { CallLanguage } from './call-language.js'
import type { HeardWords } from './call-language.js'
import { isClosing, saysGoodbye } from './closing-cues.js'
import { BargeIn } from './barge-in.js'
import type { BargeInStart } from './barge-in.js'
import { CallLog } from './call-log.js'
import { DigitCollection, PRIVATE_TAIL_MS, TERMINATOR_LATE_MS, maskedDigits, readBack } from './digit-collection.js'
import type { Collection, CollectionStep } from './digit-collection.js'
import { ClaimAudit, correctionOf } from './claim-audit.js'
import type {
  KeptWait,
  OpenClaim,
  CallCheckpoint,
  NewStream,
  OwedAnswer,
  SessionResume,
} from './documents/checkpoint.js'
import type { CallLogEntry } from './call-log.js'
import type { CallSessionOptions } from './call-options.js'
import { CallerLevel } from './caller-level.js'
import { CallerSpeech } from './caller-speech.js'
import { plainFrame } from './frame-figures.js'
import type { CallerFrame } from './frame-figures.js'
import type { TurnDecider } from './end-of-turn.js'
import { CALL_CHECKPOINT_VERSION } from './documents/checkpoint.js'
import { Deadlines } from './deadlines.js'
import { FILLER_POLL_MS, Fillers } from './fillers.js'
import { EscalationRules, YES_DIGIT } from './escalation-rules.js'
import type { CallInput, CallOutput, EscalationStep, PlayoutView, SpeechKind, StreamFault } from './events.js'
import type { CarrierState } from '../sautikit/carrier-state.js'
import { numberToCall } from '../sautikit/phone.js'
import type { EscalationPacket } from './documents/handoff.js'
import {
  CALLBACK_TOOL,
  COLLECT_TOOL,
  DO_NOT_CALL_TOOL,
  END_CALL_TOOL,
  ESCALATE_TOOL,
  HANDOVER_TOOL,
  LANGUAGE_TOOL,
  RESUME_TOOL,
  STAGE_TOOL,
  VERIFY_TOOL,
  isBuiltIn,
} from './gateway-tools.js'
import { closeCodeOf, outcomeOf } from './outcome.js'
import type { OutcomeFacts } from './outcome.js'
import type {
  CallbackAsk,
  ClaimRecord,
  EndReason,
  EscalationOutcome,
  EscalationHistory,
  EscalationStrategy,
  TranscriptEntry,
  TurnRecord,
} from './documents/record.js'
import { textIn } from './phrase.js'
import type { Phrase } from './phrase.js'
import { KEYS_PRIVATE_MS, SecretNumbers } from './private-keys.js'
import { PutOnHold } from './put-on-hold.js'
import { Silence, UnrecognisedSpeech } from './silence.js'
import { PendingTools, outcomeText, pendingAnswer } from './pending-tools.js'
import type { Wait } from './pending-tools.js'
import { VERIFIED_FACT } from './stage-definition.js'
import { Stages } from './stages.js'
import { ToolLedger } from './tool-ledger.js'
import { asksToCancel, asksToWait, askedIn, isSmallTalk, isYesNo, saysNo } from './turn-words.js'
import type { Asked } from './turn-words.js'
import { SPEECH_MS_PER_CHARACTER, Transcript, heardPart } from './transcript.js'
import { Turns } from './turns.js'
import { addUsage, noUsage } from './usage.js'
import type { UsageSums } from './usage.js'

/** Outputs of a session that wait to be drained; beyond it marks and checkpoint notices are dropped. */
export const CALL_OUTPUTS_QUEUED_MAX = 256
/** Responses that may fail one after another before the backend counts as dead. */
const RESPONSES_FAILED_MAX = 3
/** An audio socket that we closed counts as closed after this, whatever the other side does. */
const STREAM_CLOSE_WAIT_MS = 2000
/** Longest wait for our speech to be heard before the call goes on. */
const WORDS_HEARD_MS_MAX = 20_000
/** Corrections of claims that the model is asked for in one call. */
const CLAIM_CORRECTIONS_MAX = 3

type EscalationAsked = Pick<EscalationHistory, 'reason' | 'strategy' | 'outcome'>

/** The states of a call, as an operator reads them. */
export type CallState =
  'waiting' | 'connecting' | 'live' | 'escalating' | 'holding' | 'bridged' | 'closing' | 'closed' | 'ended'

type DeadlineName = keyof typeof CallSession.DUE

const NOT_WHILE_CLOSING: readonly DeadlineName[] = [
  'stage',
  'silence',
  'closing-cue',
  'put-on-hold',
  'filler',
  'answer',
  'greeting',
  'backend-ready',
  'escalation-step',
  'hold',
  'words-heard',
]

type ToolCallEvent = Extract<BackendEvent, { readonly type: 'tool-call' }>

/** Why the call is being ended. */
interface EndPlan {
  readonly reason: EndReason
  readonly detail: string
  /** The agent asked for the end: a caller who speaks up cancels it. */
  readonly cancellable: boolean
  /** The tool call that asked for the end; it is answered only if the end is cancelled. */
  readonly toolCallId: string | null
  /** The phrase that must be heard before the end. */
  itemId: string | null
  quietSinceMs: number | null
}

interface EscalationRequest {
  readonly reason: string
  readonly summary: string
  readonly origin: 'agent' | 'operator' | 'rule' | 'backend-failed'
  /** The tool call that asked; it is answered only if the escalation fails. */
  readonly toolCallId: string | null
  /** The backend that asks tells the caller itself that nobody can come, and takes a message: no call back is offered by key. */
  readonly takesMessage?: boolean
}

/** Waiting speech beyond this is not in the shared ring, so it is lost when the worker dies. */
const SURVIVING_SPEECH_MS = 2000
/** Interval at which the duration limit is checked again during an escalation or a goodbye. */
const DURATION_POLL_MS = 5000
/** Normally frames end a segment. The clock ends it when no frame has come for this long past its end. */
const FRAMES_STOPPED_MS = 500
/** Words of a short sound over the agent come this long after its end, or there are none. */
const WORDS_WAIT_MS = 300
/** A short sound over what the agent says last is its answer, not a backchannel. */
const MORE_TO_SAY_MS = 1500
/** A paused agent checks again after this whether the caller is quiet. */
const RESUME_POLL_MS = 60
/** After this much quiet a backend with its own turn detection may have found the end of the caller's turn. */
const EARLY_ANSWER_QUIET_MS = 100
/** The backend reports the end of speech late; our own last voiced sample is used if it is not older than this. */
const OWN_CLOCK_MS_MAX = 3000
/** Missing answers in a row after which the backend counts as dead. */
const ANSWERS_MISSING_MAX = 2
/** A claim that nothing supports waits this long, once it was heard and the response is over, for a tool call to follow. */
const CLAIM_GRACE_MS = 2500
/** Interval at which it is looked whether a pending tool's wait is over, and whether there is a pause to tell its outcome. */
const WAITS_POLL_MS = 200
/** A pause in which nobody is interrupted. */
const PAUSE_MS = 300
/** Interval at which it is looked whether the answer to a caller's goodbye is over. */
const CLOSING_POLL_MS = 250
/** Words that may still change keep the caller present for this long after they came. */
const PARTIAL_ALIVE_MS = 10_000
/** A short answer over the agent may be meant for a question that was said this long before. */
const QUESTION_OPEN_MS = 2000
/** A caller who is just speaking when the digits are due is heard first. */
const DIGITS_POLL_MS = 500
/** After a takeover the model has this long to ask for secret digits again, before the line is open to it. */
const PRIVATE_AFTER_TAKEOVER_MS = 8000
/** What is heard of a caller who enters secret digits. */
const UNHEARD = plainFrame(false)
/** Before a supervisor's words, so that the model neither answers them nor says them to the caller. */
const WHISPER =
  'A supervisor who listens to this call tells you, and not the caller: follow it in what you say next, without mentioning it. '
/** Characters kept of a tool name, which a model may have invented. */
const TOOL_NAME_CHARS_MAX = 64
/** Tools that lead to a human, and need an escalation. */
const TO_A_HUMAN: readonly string[] = [ESCALATE_TOOL, CALLBACK_TOOL]
/** Begin of the item ids of the gateway's own phrases. */
const ANNOUNCEMENT = 'gw-'
/** Upper bound of the speaking time of a phrase: slow speech has 11 characters a second. */
const WORDS_MS_PER_CHAR = 90
const WORDS_START_MS = 3000
/**
 * A caller who has heard nothing of the agent for this long gets the greeting from the gateway. Models that work greet within 2 s;
 * callers say "hello?" after 3 to 4.
 */
const GREETING_DUE_MS = 3000
const GREETING_POLL_MS = 100
/**
 * The words of a caller who has spoken come this long after the voice; how long one who goes on is heard out, beyond
 * `refusal.waitMs`; and how often that is looked at.
 */
const CONSENT_WORDS_MS = 2000
const CONSENT_SPEECH_MS = 4000
const CONSENT_POLL_MS = 100
/** A no by key; YES_DIGIT is a yes. */
const NO_DIGIT = '2'
/** To the model, whose own answer was cut off. */
const ANSWER_FIRST_TEXT = 'Greet the caller in a word or two, and answer what they have just said.'
/** To the model: nothing that it says has to come back to it. */
const REFUSED_TEXT =
  'The caller has just said that they do not want to be recorded, and was told that nothing of this call is kept. Do not ask why.'
/** Handovers between agents in one call; then they stay with the one that they have. */
const HANDOVERS_MAX = 4
/** Characters of what an agent says to the next. */
const SUMMARY_CHARS_MAX = 300
/** A stage whose time is up is left this much later at the earliest, where the call is not in conversation. */
const STAGE_POLL_MS = 1000
const STAGE_TIME_TEXT = 'The stage of this call has changed because its time was up: go on as the new instructions say.'
/** Quiet after the agent's last words before an agreed end; longer while the backend may still send words. */
const QUIET_MS = 400
const QUIET_WHILE_RESPONDING_MS = 1500
const QUIET_POLL_MS = 100
/** Words of speech from before the stream opened come this long after it, or there are none. */
const EARLY_WORDS_MS = 3000
/** A caller who spoke when the stream opened and goes on for this long speaks to the agent. Detectors lag by 60 ms. */
const EARLY_GOES_ON_MS = 100
/** What a backend gets of a conversation that was cut off: the newest lines and tool results. */
const RESUMED_WORDS_MAX = 100
const RESUMED_TOOLS_MAX = 20
/** Time for the caller to answer by digit or in words after the question was heard: callers think for 3 to 5 s. */
const OFFER_ANSWER_MS = 12_000
/** A date and a time of the clock. */
const WANTED_AT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$/

/**
 * Makes all decisions of one call: inputs with their time go in, outputs come out. It has no sockets, timers, clocks or
 * logs, so the same inputs give the same outputs. A journal relies on this.
 *
 *     waiting    --stream-opened-->                          connecting   (after a lost stream the gateway says that the
 *                                                                         line was cut off)
 *     connecting --backend ready-->                          live         (the backend gets its kick-off text)
 *     connecting, live --GREETING_DUE_MS without its greeting--> the same (the gateway greets)
 *     connecting --not ready in time-->                      escalating | closing   with an apology
 *     live       --backend died, answers nothing-->          escalating | closing   with an apology
 *     live       --escalate_to_human, operator, rule-->      escalating   see "escalation"
 *     live       --end_call, silence, duration, operator-->  closing      see "the end"
 *     (any)      --carrier completed, end now-->             closed
 *     (any)      --stream-closed-->                          ended
 *
 * Each smaller state machine has its own class: the caller's segments of speech, the agent's responses and items,
 * barge-in, turns, the open transcript, tool calls, silence.
 */
export class CallSession {
  /** Every deadline for which a session asks to be called again, with what is due then. */
  static readonly DUE = {
    'backend-ready': (session) =>
      session.#backendFailed(`not ready ${session.#options.backendReadyTimeoutMs} ms after the stream opened`),
    greeting: (session) => session.#greetingDue(),
    answer: (session) => session.#answerDue(),
    'end-of-speech': (session) => session.#endOfSpeechDue(),
    'not-understood': (session) => session.#notUnderstoodDue(),
    'barge-in-resume': (session) => session.#resumeDue(),
    'barge-in-settle': (session) => session.#settleBargeIn(),
    filler: (session) => session.#fillerDue(),
    'tool-limit': (session) => session.#toolLimitDue(),
    digits: (session) => session.#digitsDue(),
    private: (session) => session.#privateOver(),
    'private-keys': (session) => session.#guardKeys(false),
    waits: (session) => session.#waitsDue(),
    claims: (session) => session.#claimsDue(),
    stage: (session) => session.#stageDue(),
    handover: (session) => session.#handoverDue(),
    silence: (session) => session.#silenceDue(),
    'closing-cue': (session) => session.#closingCueDue(),
    'put-on-hold': (session) => session.#heldTooLong(),
    duration: (session) => session.#durationDue(),
    'words-heard': (session) =>
      session.#state === 'closing' ? session.#endAsPlanned() : session.#transferAnnouncementOver(),
    'escalation-step': (session) => session.#unreached('failed', 'no step from the escalation machine', false, false),
    hold: (session) => session.#unreached('no-answer', 'held too long', false, false),
    offer: (session) => session.#offerDeclined(),
    consent: (session) => session.#consentDue(),
    'quiet-goodbye': (session) => session.#quietGoodbyeDue(),
    'quiet-goodbye-limit': (session) => session.#endAsPlanned(),
    'stream-close': (session) => session.#streamCloseOverdue(),
  } satisfies Record<string, (session: CallSession) => void>
  static readonly #DEADLINES = Object.keys(CallSession.DUE) as DeadlineName[]

  /** What happened so far; each entry was an output. */
  readonly log: CallLog
  readonly usage: UsageSums
  readonly counters = {
    /** Chunks of audio of a dead response, dropped. */
    lateAudioDropped: 0,
    /** Transcripts and tool calls of a dead response, dropped. */
    lateEventsDropped: 0,
    /** Tool calls answered without running: unknown, invalid, too many, or made before in this turn. */
    toolCallsRefused: 0,
    /** Results that came after their call was cancelled, timed out or answered. */
    toolResultsLate: 0,
    silencePrompts: 0,
    /** Times that the caller's segment was ended because nobody understood it. */
    notUnderstood: 0,
    /** Times that the agent began to wait because the caller had put us on hold. */
    putOnHold: 0,
    /** Short sounds over the agent that were taken for listening. */
    backchannels: 0,
    /** Times that the caller asked for a moment, and got no answer. */
    askedToWait: 0,
    /** Marks and checkpoint notices that nobody drained in time. */
    outputsDropped: 0,
  }

  readonly #options: CallSessionOptions
  readonly #language: CallLanguage
  readonly #playout: PlayoutView
  readonly #deadlines = new Deadlines(CallSession.#DEADLINES)
  readonly #callerSpeech: CallerSpeech
  readonly #agentSpeech = new AgentSpeech()
  readonly #bargeIn: BargeIn
  readonly #turns = new Turns()
  readonly #transcript: Transcript
  readonly #tools: ToolLedger
  readonly #waits: PendingTools
  /** The model has called tools for too long, and has to answer without them. */
  #toolsWithheld = false
  readonly #silence: Silence
  readonly #unrecognised: UnrecognisedSpeech
  readonly #putOnHold: PutOnHold
  readonly #level: CallerLevel
  readonly #fillers: Fillers
  readonly #rules: EscalationRules | null
  readonly #claims: ClaimAudit | null
  /** The stages of the call; null: it has none. */
  readonly stages: Stages | null
  #corrections = 0
  /** Outputs from `#outputsHead` on wait to be drained. */
  readonly #outputs: CallOutput[] = []
  #outputsHead = 0
  /** The state differs from the last checkpoint; at most one notice per input. */
  #checkpointDue = false
  /** The previous worker's checkpoint; null for a new call. */
  readonly #resume: CallCheckpoint | null
  /** Null unless the call goes on with a new stream. */
  readonly #newStream: NewStream | null
  /** What the caller still waits for from the previous worker. */
  readonly #resumeOwed: OwedAnswer

  #state: CallState = 'waiting'
  #nowMs: number
  #streamOpenedAtMs: number | null = null
  #streamClosedAtMs: number | null = null
  /** Time since `#streamOpenedAtMs` in which the call had no stream. */
  #gapMs: number
  /** A caller was rung back and has not confirmed yet: how many words of the log are of the call that was cut off. */
  #unconfirmed: number | null
  /** The words that the line was cut off, until they begin: a backend's answer must not come before them. */
  #cutOffItemId: string | null = null
  #identity: Readonly<Record<string, unknown>> | null
  #nextAnnouncement: number

  // The beginning.
  #greetingMs: number | null
  /** The greeting that the gateway says because the backend does not. */
  #greetingItemId: string | null = null
  /** The caller is greeted, or the backend was asked to do so. */
  #greeted: boolean
  /** The gateway has greeted, and the backend was asked to: what it says before the caller speaks would greet again. */
  #greetedInstead = false
  /** Something that the backend said was played to the caller. */
  #backendSpoke: boolean
  /** Progress of the announcement that the call is recorded, where one is set. */
  #consent: 'due' | 'saying' | 'answer' | 'said'
  /** The backend does not know yet that the caller does not want to be recorded. */
  #refusalUntold = false
  #consentItemId: string | null = null
  /** When it was heard. */
  #consentHeardAtMs = Infinity
  /** The backend began to answer before it was known what the caller had said, and was interrupted. */
  #consentInterrupted = false
  /** The caller has asked for something already: it is answered, and takes the place of the greeting. */
  #answersFirst = false
  /** It is not yet known who took the outbound call: the agent is silent and does not listen. */
  #amd = false

  // The backend.
  #backendReady = false
  #backendDead = false
  #backendClosed = false
  /** When the backend last gave a sign of a response. */
  #backendActiveAtMs = -Infinity
  #responsesFailed = 0
  #answersMissing = 0
  /** Time of the last voiced sample for which a transcript has come, and that transcript's item. */
  #wordsOfMs = NaN
  #wordsItemId = ''

  // Who speaks.
  /** The start of the caller's current segment was reported, where the backend wants such reports. */
  #speechStartSent = false
  /** Last voiced sample of a turn that the backend answered before our own clock found its end; NaN before any. */
  #answeredFromMs = NaN
  /** The last frame is from before the stream opened. */
  #frameEarly = false
  /** Until then what comes of such speech, words or a service's report, interrupts nothing. */
  #earlyUntilMs = -Infinity
  /** Voice since the opening in a segment that began before it. */
  #goesOnMs = 0
  /** The current segment may not be meant for the agent: the backend answers it only if it holds words. */
  #uncertain = false
  /** Such a segment was sent, and no words of it came so far. */
  #wordsMayCome = false
  /**
   * A service that detects turns heard speech over the agent, and the gateway decides what interrupts: the newest response
   * at that time. NaN: none, or it is decided.
   */
  #overlapGeneration = NaN
  /** That speech is over for the service, so that words that come now are its words. */
  #overlapEnded = false
  /** A paused agent waits until then for words of the segment that paused it; NaN when it waits for none. */
  #wordsDueMs = NaN
  #agentHeardAtMs = -Infinity
  /** The agent spoke after the caller last spoke. */
  #agentSpokeLast = false
  /** The last silence prompt. */
  #silencePromptId = ''
  /** A filler that has not begun to sound; empty: there is none. */
  #fillerId = ''
  /** The caller's newest words: greetings and thanks. */
  #smallTalk = false
  /** When words of the caller came that may still change. */
  #partialAtMs = -Infinity
  /** The caller's segment began over the agent. */
  #spokenOver = false
  /** The caller has asked for a moment, or the gateway has said it: what the backend says to that is not wanted. */
  #asksToWait = false

  // Digits that `collect_digits` takes.
  #collection: DigitCollection | null = null
  /** Digits that only a tool may get are being entered: nothing of the caller is heard. */
  #private = false
  /** Such digits were just asked for: keys are private, and what the caller says is heard. */
  #keysGuarded = false
  /** What a dialogue without a model does with keys; null: a model has the call, and gets none that are private. */
  #dialogueKeys: 'open' | 'secret' | null = null
  /** Private keys came that nothing collects. */
  #keyedUnasked = false
  readonly #secretNumbers: SecretNumbers
  #terminator = ''
  #collectedAtMs = -Infinity
  /** The agent that gets the call as soon as the words so far are heard. */
  #handingOverTo: string | null = null
  #handoverLimitMs = 0
  /** The call has come into a stage that leads to a human, for this reason. */
  #humanDue: string | null = null

  // Escalation.
  #escalation: EscalationAsked | null = null
  #request: EscalationRequest | null = null
  /** The announcement that must be heard before the stream may close. */
  #transferItemId: string | null = null
  #transferAnnounced = false
  #closeForTransfer = false
  /** The call back that the caller is being asked about; null while nothing is asked. */
  #offer: { readonly reason: string; readonly summary: string } | null = null
  /** The call ends when the offer is not accepted: nobody may be there. */
  #endsAfterOffer = false

  // The end.
  #plan: EndPlan | null = null
  #outcomeFacts: OutcomeFacts | null = null
  #closedFor: { readonly reason: EndReason; readonly detail: string } | null = null

  /**
   * @param resume      state of the same call from its previous worker: the session continues and does not greet again
   * @param turnDecider in place of the one that the options ask for
   */
  constructor(options: CallSessionOptions, playout: PlayoutView, resume?: SessionResume, turnDecider?: TurnDecider) {
    const checkpoint = resume?.checkpoint ?? null
    this.#options = options
    this.#language = new CallLanguage(options.languages, checkpoint?.language)
    this.#playout = playout
    this.#nowMs = options.preparedAtMs
    this.#resume = checkpoint
    this.#newStream = resume?.newStream ?? null
    this.#resumeOwed = checkpoint === null ? 'nothing' : owedBy(checkpoint, this.#newStream)
    this.#gapMs = checkpoint?.gapMs ?? 0
    // Who had the call before has said it, where it had to be said.
    const told = this.#newStream?.consented ?? (checkpoint !== null && checkpoint.untold !== true)
    this.#consent = told ? 'said' : 'due'
    this.#unconfirmed = null
    this.usage = { ...(checkpoint?.usage ?? noUsage()) }
    this.log = new CallLog(resume?.log)
    this.#callerSpeech = new CallerSpeech(options.speech, turnDecider)
    this.#bargeIn = new BargeIn(options.bargeIn)
    this.#transcript = new Transcript((record, itemId, playedMs) => {
      const spoken = options.languages.length > 1 ? { ...record, language: this.#language.now } : record
      this.#record({ kind: 'transcript', record: spoken })
      if (record.role === 'agent') this.#agentSaid(record, itemId, playedMs)
    })
    this.#claims = options.claims === null ? null : new ClaimAudit(options.claims, this.log, checkpoint?.openClaims)
    const openedWallMs = checkpoint?.streamOpenedWallMs ?? null
    const zeroMs = openedWallMs === null ? options.preparedAtMs : openedWallMs - options.wallOffsetMs
    this.#tools = new ToolLedger(
      this.log,
      (call) => this.#record({ kind: 'tool-call', ...call }),
      () => ({ nowMs: this.#nowMs, zeroMs: this.streamZeroMs }),
      resume,
      zeroMs,
    )
    this.#waits = new PendingTools(checkpoint?.waits ?? [], zeroMs)
    this.#silence = new Silence(
      options.silence,
      checkpoint?.silencePrompts ?? 0,
      this.log.transcript.some(({ role }) => role === 'caller'),
    )
    this.#unrecognised = new UnrecognisedSpeech(options)
    this.#putOnHold = new PutOnHold(options.putOnHold, options.weighsSpeech || options.serverVad)
    this.#level = new CallerLevel(options.bargeIn.quieterDb)
    this.#fillers = new Fillers(options.filler)
    this.#rules = options.rules === null ? null : new EscalationRules(options.rules, resume)
    this.stages =
      options.stages === null
        ? null
        : new Stages(
            options.stages,
            this.log,
            (entry) => {
              this.#record(entry)
              if (entry.kind === 'fact') return this.#mark('fact', entry.record.name)
              const { from, stage, why } = entry.record
              this.#mark('stage', from === null ? stage : `${from} to ${stage}: ${why}`)
            },
            checkpoint?.identity != null,
            checkpoint?.callBack === 'asks',
            options.collections.flatMap(({ secretFor }) => secretFor?.tool ?? []),
          )
    this.#secretNumbers = new SecretNumbers(options.collections)
    this.#identity = checkpoint?.identity ?? null
    this.#greeted = checkpoint?.greeted ?? false
    this.#greetingMs = checkpoint?.greetingMs ?? null
    this.#backendSpoke = this.#greetingMs !== null
    this.#nextAnnouncement = checkpoint?.nextAnnouncement ?? 1
    for (const entry of checkpoint?.openTranscript ?? []) {
      const text = entry.text.trim()
      if (text !== '') this.#record({ kind: 'transcript', record: { ...entry, text } })
    }
    if (checkpoint?.callBack === 'asks') this.#unconfirmed = this.log.transcript.length
    // Also with an agent that takes no such digits: the one before it has asked. Who is rung back is asked anew.
    this.#keysGuarded = checkpoint?.privateKeys !== undefined && checkpoint.callBack !== 'asks'
    // The caller may be entering them at this moment.
    if (this.#keysGuarded && checkpoint?.privateKeys === 'pressed') this.#setPrivate(true)
  }

  get state(): CallState {
    return this.#state
  }

  /** Nobody but a tool may have what the caller enters or says now. */
  get private(): boolean {
    return this.#private
  }

  /** Nobody but a tool may have the keys that the caller presses now. The gateway's own questions by key are newer. */
  get privateKeys(): boolean {
    const asks = this.#offer !== null || this.#consenting || this.#unconfirmed !== null
    return this.#private || (this.#keysGuarded && !asks)
  }

  /** From the opened stream to the first agent sound; null before that sound. */
  get greetingMs(): number | null {
    return this.#greetingMs
  }

  /** Tag of the language that the call is in. */
  get language(): string {
    return this.#language.now
  }

  get escalation(): EscalationAsked | null {
    return this.#escalation
  }

  /** Time zero of transcript, turns and barge-ins, on the clock of the inputs. */
  get streamZeroMs(): number {
    return this.#streamOpenedAtMs ?? this.#options.preparedAtMs
  }

  /** How long the stream has been open, or was open in total; all streams of the call together. */
  streamMs(nowMs: number): number {
    if (this.#streamOpenedAtMs === null) return this.#newStream?.streamMs ?? 0
    return (this.#streamClosedAtMs ?? nowMs) - this.#streamOpenedAtMs - this.#gapMs
  }

  /** Who the caller is, once a tool has established it; goes into the escalation packet. */
  setIdentity(identity: Readonly<Record<string, unknown>>): void {
    this.#identity = identity
    this.stages?.know(VERIFIED_FACT, true, this.#streamMs, VERIFY_TOOL)
    this.#checkpointDue = true
  }

  /**
   * Takes one input and runs what is due at `nowMs`. Then drain `pollOutput()` until null. It does not throw because of
   * what the backend, the carrier or a tool did.
   */
  handle(input: CallInput, nowMs: number): void {
    if (this.#state === 'ended') return
    this.#nowMs = Math.max(nowMs, this.#nowMs)
    this.#input(input)
    this.#applyRules(input)
    this.#afterwards()
  }

  /**
   * One 20 ms frame of the caller, `nowMs` being the time of its last sample. No allocation unless something changes.
   */
  callerFrame(heard: CallerFrame, nowMs: number): void {
    if (!this.#streaming || this.#amd) return
    const frame = this.#private ? UNHEARD : heard
    this.#nowMs = Math.max(nowMs, this.#nowMs)
    this.#frameEarly = frame.early
    const voiced = frame.early ? frame.voiced : this.#isCallersVoice(frame)
    let changed = false
    if (!frame.early && this.#state === 'live' && this.#putOnHold.frame(voiced, this.#agentSpeech.anyOpen)) {
      this.#waitOnHold()
      changed = true
    }
    if (this.#frame(frame, voiced, nowMs) || changed) this.#afterwards()
  }

  /** Whether audio of that item may be played. False: it belongs to a dead response; drop it. */
  acceptAudio(itemId: string, generation: number, nowMs: number): boolean {
    const known = this.#agentSpeech.item(itemId)
    if (known !== undefined && known.generation === null) return known.over !== 'cut' && this.#streaming
    const audio = this.#streaming ? this.#agentSpeech.audio(itemId, generation) : 'late'
    if (audio === 'late') {
      this.counters.lateAudioDropped++
      return false
    }
    this.#nowMs = Math.max(nowMs, this.#nowMs)
    this.#backendActiveAtMs = this.#nowMs
    if (audio === 'first') {
      this.#mark('agent-audio')
      this.#cancelFiller()
    }
    return true
  }

  pollOutput(): CallOutput | null {
    const output = this.#outputs[this.#outputsHead]
    if (output === undefined) return null
    this.#outputsHead++
    if (this.#outputsHead === this.#outputs.length) {
      this.#outputs.length = 0
      this.#outputsHead = 0
    }
    return output
  }

  /** Latest time to call `handle({ type: 'timer' })`; null when no deadline is set. */
  nextWake(): Wake | null {
    return this.#deadlines.next()
  }

  checkpoint(): CallCheckpoint {
    const itemId = this.#playout.currentItem(this.#nowMs)
    const plan = this.#plan
    return {
      version: CALL_CHECKPOINT_VERSION,
      callSid: this.#options.callSid,
      state: checkpointState(this.#state),
      streamOpenedWallMs:
        this.#streamOpenedAtMs === null
          ? (this.#resume?.streamOpenedWallMs ?? null)
          : this.#streamOpenedAtMs + this.#options.wallOffsetMs,
      // A greeting that was requested but never heard must still be given.
      greeted: this.#greeted && this.#greetingMs !== null,
      greetingMs: this.#greetingMs,
      owed: this.#owed,
      heard: itemId === null ? null : { itemId, playedMs: this.#playout.playedMs(itemId, this.#nowMs) },
      language: this.#language.now,
      silencePrompts: this.#silence.prompts,
      nextAnnouncement: this.#nextAnnouncement,
      identity: this.#identity,
      openTranscript: this.#transcript.open,
      toolsRunning: this.#tools.unanswered(),
      ...waitsOf(this.#waits.kept(this.streamZeroMs)),
      ending: plan === null ? (this.#resume?.ending ?? null) : { reason: plan.reason, detail: plan.detail },
      escalation: this.#request === null ? null : { reason: this.#request.reason, summary: this.#request.summary },
      usage: { ...this.usage },
      gapMs: this.#gapMs,
      ...(this.#openClaims.length === 0 ? {} : { openClaims: this.#openClaims }),
      ...(this.#consent === 'said' || this.#text(this.#options.consentText) === '' ? {} : { untold: true as const }),
      ...(this.privateKeys ? { privateKeys: this.#private ? ('pressed' as const) : ('asked' as const) } : {}),
      ...(this.#resume?.callBack === undefined
        ? {}
        : { callBack: this.#unconfirmed === null ? ('confirmed' as const) : ('asks' as const) }),
    }
  }

  get #openClaims(): readonly OpenClaim[] {
    return this.#claims?.open ?? []
  }

  get #owed(): OwedAnswer {
    if (this.#streamOpenedAtMs === null) return this.#resumeOwed
    if (this.#handingOverTo !== null) return 'answer'
    const runs = this.#tools.running > 0 || this.#collection !== null
    if (this.#turns.waitingForReal || this.#deadlines.isSet('answer') || runs) return 'answer'
    return this.#agentSpeech.responding !== null || this.#playout.pendingMs() > SURVIVING_SPEECH_MS
      ? 'rest-of-answer'
      : 'nothing'
  }

  #input(input: CallInput): void {
    switch (input.type) {
      case 'stream-opened':
        return this.#streamOpened(input.openedAtMs)
      case 'stream-metadata':
        return this.#mark(input.matches ? 'stream-metadata' : 'stream-metadata-mismatch')
      case 'stream-closed':
        return this.#streamOpenedAtMs === null ? undefined : this.#streamClosed(input.code, input.fault ?? null)
      case 'carrier-state':
        return this.#carrierState(input.state)
      case 'screened':
        return this.#screened(input.who, input.why)
      case 'hangup-requested':
        return this.#hangup(input.reason, input.detail, input.speak)
      case 'escalate-requested':
        return this.#operatorEscalates(input.reason)
      case 'whisper':
        return this.#whisper(input.text)
      case 'escalation':
        return this.#escalationStep(input.step)
      case 'dtmf':
        return this.#consentDigit(input.digit) ||
          this.#collectDigit(input.digit) ||
          this.#offerDigit(input.digit) ||
          this.#confirmDigit(input.digit)
          ? undefined
          : this.#digit(input.digit)
      case 'backend':
        return this.#backendEvent(input.event)
      case 'tool-result':
        return this.#toolResult(input.callId, input.ok, input.value, input.error)
      case 'tool-pending':
        return this.#toolPending(input.callId, input.waitMs)
      case 'tool-outcome':
        return this.#toolOutcome(input.callId, input.status, input.value)
      case 'tool-untold':
        this.#waits.cannotBeTold(input.callId)
        return this.#clear('answer')
      case 'item-started':
        return this.#itemStarted(input.itemId, input.sentAtMs)
      case 'item-heard':
        return this.#itemOver(input.itemId, 'heard')
      case 'announce-failed':
        return this.#announceFailed(input.itemId)
      case 'timer':
        return
      default:
        return assertNever(input)
    }
  }

  #afterwards(): void {
    // Each pass clears a deadline; the bound only guards against one that is set in the past.
    for (let passes = 0; passes < 2 * CallSession.#DEADLINES.length; passes++) {
      const due = this.#deadlines.takeDue(this.#nowMs)
      if (due === null) break
      CallSession.DUE[due](this)
    }
    if (!this.#checkpointDue) return
    this.#checkpointDue = false
    if (this.#state !== 'ended') this.#out({ type: 'checkpoint-due' })
  }

  // --- outputs and present state --------------------------------------------------------------------------

  get #streamMs(): number {
    return this.#nowMs - this.streamZeroMs
  }

  /** The stream is open and the session has not closed it. */
  get #streaming(): boolean {
    return this.#streamOpenedAtMs !== null && this.#state !== 'closed' && this.#state !== 'ended'
  }

  /** The backend takes commands. */
  get #backendUsable(): boolean {
    return !this.#backendDead && !this.#backendClosed
  }

  /** Agent sound is being played to the caller or waits to be played. */
  get #sounding(): boolean {
    return this.#playout.audible(this.#nowMs) || this.#playout.pendingMs() > 0
  }

  /** Agent sound is played or waits, or the backend is still giving a response. */
  get #agentTalking(): boolean {
    return this.#sounding || this.#agentSpeech.responding !== null
  }

  /** When the queue is full, only informative outputs are dropped, never actions. */
  #out(output: CallOutput): void {
    if (asksBackend(output)) {
      this.#greetingSettled()
      this.#waitedFor()
    }
    if (output.type === 'backend-text') this.#claims?.given(output.text, output.role === 'caller')
    if (output.type === 'backend-dtmf') this.#claims?.given(output.digit, true)
    const informs = output.type === 'mark' || output.type === 'checkpoint-due'
    if (informs && this.#outputs.length - this.#outputsHead >= CALL_OUTPUTS_QUEUED_MAX) this.counters.outputsDropped++
    else this.#outputs.push(output)
  }

  #mark(name: string, detail?: string): void {
    this.#out(detail === undefined ? { type: 'mark', name } : { type: 'mark', name, detail })
  }

  /** Appends to the call log and emits the entry. */
  #record(entry: CallLogEntry): void {
    this.log.append(entry)
    this.#out({ type: 'log', entry })
    this.#checkpointDue = true
  }

  #recordTurn(record: TurnRecord | null): void {
    if (record !== null) this.#record({ kind: 'turn', record })
  }

  #in(name: DeadlineName, afterMs: number): void {
    this.#deadlines.set(name, this.#nowMs + afterMs)
  }

  #clear(...names: readonly DeadlineName[]): void {
    for (const name of names) this.#deadlines.clear(name)
  }

  /** The words of a phrase in the call's language; empty where there is none. */
  #text(phrase: Phrase | null | undefined): string {
    return phrase == null ? '' : textIn(phrase, this.#language.now)
  }

  get #goodbye(): string {
    return this.#text(this.#options.goodbyeText)
  }

  /** Queues a phrase of the gateway behind everything that playout holds. @returns its item id */
  #announce(text: string, kind: SpeechKind): string {
    const itemId = `${ANNOUNCEMENT}${this.#nextAnnouncement++}`
    this.#agentSpeech.add(itemId, kind, null)
    this.#transcript.agentWords(itemId, text, true, this.#streamMs)
    this.#guardKeysAfter(text, false)
    this.#out({ type: 'announce', itemId, text, kind })
    this.#checkpointDue = true
    return itemId
  }

  /** Time limit for `text` to be heard: everything that waits before it, and a slow reading of it. */
  #wordsMs(text: string): number {
    return Math.min(WORDS_HEARD_MS_MAX, this.#playout.pendingMs() + WORDS_START_MS + text.length * WORDS_MS_PER_CHAR)
  }

  /**
   * Discards everything that the agent was saying or would still say: empties playout, rejects late audio, records the
   * words as interrupted and tells the backend how much was heard.
   */
  #cutAgent(heard: { readonly itemId: string | null; readonly playedMs: number }, fence: number): void {
    const item = this.#agentSpeech.item(heard.itemId)
    // The backend does not know an item of the gateway, and cannot truncate one of a finished response.
    const known =
      this.#options.truncate &&
      item !== undefined &&
      item.generation !== null &&
      (item.over === 'no' || item.generation === this.#agentSpeech.responding)
    const backendSpoke = this.#agentSpeech.cut(fence)
    this.#out({ type: 'playout-clear' })
    if (backendSpoke && this.#backendUsable) {
      this.#out({
        type: 'backend-interrupt',
        itemId: known ? heard.itemId : null,
        playedMs: known ? Math.max(0, Math.round(heard.playedMs)) : 0,
      })
    }
    this.#transcript.cut(this.#streamMs, (itemId) =>
      itemId === heard.itemId ? heard.playedMs : this.#playout.playedMs(itemId, this.#nowMs),
    )
    this.#outcomeHeard(this.#waits.interrupted(heard.itemId, heard.playedMs))
    this.#checkpointDue = true
  }

  /** Stops the agent now, if there is something to stop. */
  #stopAgent(): void {
    if (this.#bargeIn.paused) {
      this.#bargeIn.abandon()
      this.#clear('barge-in-resume')
    } else if (!this.#agentTalking && !this.#agentSpeech.anyOpen) {
      return
    }
    const itemId = this.#playout.currentItem(this.#nowMs)
    const playedMs = itemId === null ? 0 : this.#playout.playedMs(itemId, this.#nowMs)
    this.#cutAgent({ itemId, playedMs }, this.#agentSpeech.latest)
  }

  #closeBackend(reason: string): void {
    if (this.#backendClosed) return
    this.#backendClosed = true
    this.#out({ type: 'backend-close', reason })
  }

  #cancelTools(): void {
    const callIds = this.#tools.cancel(this.#tools.runningIds())
    if (callIds.length > 0) this.#out({ type: 'cancel-tools', callIds })
    this.#clear('tool-limit', 'filler')
  }

  // --- the stream and its beginning -----------------------------------------------------------------------

  #streamOpened(atMs: number | undefined): void {
    if (this.#streamOpenedAtMs !== null || this.#state !== 'waiting') return
    const openedAtMs = atMs ?? this.#nowMs
    const resume = this.#resume
    const openedWallMs = resume?.streamOpenedWallMs ?? null
    this.#streamOpenedAtMs =
      openedWallMs === null ? openedAtMs : Math.min(openedAtMs, openedWallMs - this.#options.wallOffsetMs)
    this.#state = 'connecting'
    const newStream = openedWallMs === null ? null : this.#newStream
    if (newStream !== null) this.#gapMs = Math.max(0, openedAtMs - this.#streamOpenedAtMs - newStream.streamMs)
    if (newStream !== null) this.#mark('resumed', `${Math.round(newStream.streamMs)} ms of stream before`)
    else if (openedWallMs !== null) this.#mark('taken-over')
    else if (atMs === undefined) this.#mark('stream-opened')
    else this.#out({ type: 'mark', name: 'stream-opened', atMs })
    this.#checkpointDue = true
    this.#deadlines.set('duration', this.#streamOpenedAtMs + this.#gapMs + this.#options.duration.maxMs)
    this.#agentHeardAtMs = this.#nowMs
    if (this.#private) this.#in('private', this.#options.backendReadyTimeoutMs + PRIVATE_AFTER_TAKEOVER_MS)
    if (this.#keysGuarded) this.#guardKeys(true)
    const asks = this.#unconfirmed !== null && this.#newStream !== null
    if (newStream !== null && !asks) {
      if (this.#greeted) this.#cutOffItemId = this.#announce(this.#text(this.#options.cutOffText), 'prompt')
      return this.#converse()
    }
    if (resume !== null && !asks && this.#resumeElsewhere(resume)) return
    if (this.#options.amd !== null && (resume === null || asks)) {
      this.#amd = true
      this.#mark('amd')
      return
    }
    this.#converse()
  }

  /** Continues a taken-over call that was not in conversation. @returns false when it was in conversation */
  #resumeElsewhere(resume: CallCheckpoint): boolean {
    switch (resume.state) {
      case 'closing':
        this.#endNow(resume.ending?.reason ?? 'call-fault', resume.ending?.detail ?? 'taken over while it was ending')
        return true
      case 'escalating':
      case 'holding': {
        const { reason, summary } = resume.escalation ?? { reason: '', summary: '' }
        this.#enterEscalation({
          reason,
          summary,
          origin: this.#backendDead ? 'backend-failed' : 'agent',
          toolCallId: null,
        })
        this.#transferAnnounced = true
        if (resume.state === 'holding') this.#hold()
        return true
      }
      case 'bridged':
        this.#bridged('supervision')
        return true
      case 'waiting':
      case 'live':
        return false
      default:
        return assertNever(resume.state)
    }
  }

  /** Starts the conversation. Where a consent text is set, the caller hears first that the call is recorded. */
  #converse(): void {
    const consentText = this.#text(this.#options.consentText)
    if (consentText !== '' && this.#consent === 'due') {
      this.#consent = 'saying'
      this.#consentItemId = this.#announce(consentText, 'prompt')
      this.#in('consent', this.#wordsMs(consentText))
      return
    }
    if (!this.#greeted) this.#in('greeting', GREETING_DUE_MS)
    if (this.#backendDead) return this.#backendFailed('died before the stream opened')
    if (this.#backendReady) return this.#begin()
    this.#in('backend-ready', this.#options.backendReadyTimeoutMs)
  }

  /**
   * The backend has not greeted. The gateway does it with the agent's words, or with a filler where the model was to find
   * them; the backend learns of it when the caller hears it.
   */
  #greetingDue(): void {
    if ((this.#state !== 'connecting' && this.#state !== 'live') || this.#backendSpoke) return
    if (this.#callerSpeech.speaking || this.#sounding || this.#agentSpeech.anyOpen)
      return this.#in('greeting', GREETING_POLL_MS)
    const { greeting, filler } = this.#options
    const text = this.#text(greeting ?? filler.texts[0])
    if (text === '') return
    this.#mark('greeting-overdue')
    const itemId = this.#announce(text, greeting === null ? 'filler' : 'prompt')
    if (greeting === null) return
    this.#greetingItemId = itemId
    if (!this.#greeted) {
      this.#greeted = true
    } else if (!this.#turns.waiting) {
      this.#greetedInstead = true
      this.#agentSpeech.close()
      this.#clear('answer')
    }
  }

  /** The backend is to know what the gateway said in its place. */
  #tellGreeting(): void {
    const { greeting } = this.#options
    if (greeting === null || !this.#backendUsable) return
    this.#out({ type: 'backend-text', text: this.#text(greeting), role: 'agent', respond: false })
  }

  /** The backend is asked for something after the gateway has greeted: what it says from here on is not the greeting. */
  #greetingSettled(): void {
    if (!this.#greetedInstead) return
    this.#greetedInstead = false
    this.#agentSpeech.raiseFence(this.#agentSpeech.latest)
    this.#agentSpeech.open()
  }

  // --- the caller is told that the call is recorded, or written down, and may say no -----------------------------
  //
  //     due    --the consent text begins--> saying
  //     saying --heard, and a no is waited for--> answer; otherwise--> said; not heard: nothing of the recording is kept
  //     saying, answer --a no--> said: nothing is kept
  //     answer --other words; nothing for `refusal.waitMs`--> said

  /** The conversation waits for it. */
  get #consenting(): boolean {
    return this.#consent === 'saying' || this.#consent === 'answer'
  }

  /** The consent text was heard, or cannot be heard; in the second case nothing of the recording is kept. */
  #consented(heard: boolean): void {
    if (this.#consent !== 'saying') return
    const { refusal } = this.#options
    this.#clear('consent')
    this.#mark('recording', heard ? 'the caller was told' : 'the caller could not be told')
    if (!heard || refusal === null || this.#state !== 'connecting') return this.#consentSettled(heard)
    this.#consent = 'answer'
    // A backend that ends turns of itself answers before the words are known: not yet. Others answer what is known.
    if (this.#options.serverVad) this.#agentSpeech.close()
    this.#consentHeardAtMs = this.#nowMs
    this.#in('consent', refusal.waitMs)
  }

  /** No answer yet: who speaks is heard out, and the words come a while after the voice. */
  #consentDue(): void {
    if (this.#consent === 'saying') return this.#consented(false)
    const { speaking, lastVoicedMs } = this.#callerSpeech
    const untilMs = this.#consentHeardAtMs + (this.#options.refusal?.waitMs ?? 0) + CONSENT_SPEECH_MS
    const spoke = lastVoicedMs > this.#consentHeardAtMs && this.#nowMs < lastVoicedMs + CONSENT_WORDS_MS
    if ((speaking || spoke) && this.#nowMs < untilMs) return this.#in('consent', CONSENT_POLL_MS)
    this.#consentAnswered(false)
  }

  /** A no counts while the text is said, anything else after it. */
  #consentWords(text: string): void {
    const refused = saysNo(text)
    if (!refused && this.#consent !== 'answer') return
    // One that ends turns of itself was interrupted: it is asked to greet, unless there is more to answer than a greeting.
    const asks = !refused && !isYesNo(text) && !isSmallTalk(text)
    this.#answersFirst = asks || !this.#options.serverVad
    this.#consentAnswered(refused)
  }

  /** @returns whether the digit was an answer */
  #consentDigit(digit: string): boolean {
    const refused = digit === NO_DIGIT
    if (!(refused && this.#consenting) && !(digit === YES_DIGIT && this.#consent === 'answer')) return false
    return this.#consentAnswered(refused)
  }

  /** @returns false where no answer is waited for */
  #consentAnswered(refused: boolean): boolean {
    const { refusal } = this.#options
    if (!this.#consenting || refusal === null) return false
    this.#clear('consent')
    if (this.#options.serverVad) {
      this.#agentSpeech.raiseFence(this.#agentSpeech.latest)
      if (this.#state === 'connecting') this.#agentSpeech.open()
    }
    if (refused) {
      this.#mark('recording', 'the caller said no')
      this.#out({ type: 'recording-refused' })
      this.#refusalUntold = true
      this.#announce(this.#text(refusal.text), 'prompt')
    }
    this.#consentSettled(!refused)
    return true
  }

  #consentSettled(announced: boolean): void {
    this.#consent = 'said'
    if (announced) this.#out({ type: 'recording-announced' })
    if (this.#state === 'connecting') this.#converse()
  }

  /** The verdict on who took a call that we placed. */
  #screened(who: 'human' | 'machine' | 'silence', why: string): void {
    const { amd } = this.#options
    if (!this.#amd || amd === null) return
    this.#amd = false
    this.#mark('answered-by', `${who}: ${why}`)
    if (this.#state !== 'connecting') return
    this.#agentHeardAtMs = this.#nowMs
    if (who === 'human' || (who === 'silence' && amd.onSilence === 'speak')) return this.#converse()
    if (who === 'silence') return this.#endNow('nobody-there', why)
    if (amd.message === null) return this.#endNow('answering-machine', why)
    this.#speakThenEnd('answering-machine', why, this.#text(amd.message), false)
  }

  /** Stream open and backend ready: the conversation begins, or goes on. */
  #begin(): void {
    this.#clear('backend-ready')
    this.#state = 'live'
    if (this.#refusalUntold) {
      this.#refusalUntold = false
      this.#out({ type: 'backend-text', text: REFUSED_TEXT, role: 'system', respond: false })
    }
    this.#in('silence', this.#options.silence.afterMs)
    if (this.#private) this.#in('private', PRIVATE_AFTER_TAKEOVER_MS)
    if (this.#openClaims.length > 0) this.#in('claims', CLAIM_GRACE_MS)
    this.#watchWaits()
    this.#stageBegins()
    for (const { callId, value } of this.#tools.takeLost())
      if (this.#unconfirmed === null) this.#out({ type: 'backend-tool-result', callId, ok: false, value })
    if (this.#greeted) {
      this.#agentSpeech.greetingOver()
      if (this.#agentSpeech.item(this.#greetingItemId)?.started === true) this.#tellGreeting()
      return this.#askForOwedResponse()
    }
    this.#greeted = true
    if (this.#answersFirst) {
      this.#mark('answers-first')
      this.#agentSpeech.greetingOver()
      // Otherwise it answers what it has just heard of itself.
      if (this.#consentInterrupted)
        this.#out({ type: 'backend-text', text: ANSWER_FIRST_TEXT, role: 'system', respond: true })
      return this.#in('answer', this.#options.answerTimeoutMs)
    }
    this.#mark('kick-off')
    this.#out({ type: 'backend-text', text: this.#options.kickOffText, role: 'system', respond: true })
    this.#in('answer', this.#options.answerTimeoutMs)
  }

  /** Asks the backend for what the one of the previous worker owed. */
  #askForOwedResponse(): void {
    if (this.#greetingItemId !== null || this.#cutOffItemId !== null || this.#resumeOwed === 'nothing') return
    this.#mark('resume', this.#resumeOwed)
    this.#out({ type: 'backend-text', text: this.#options.resumeText, role: 'system', respond: true })
    this.#in('answer', this.#options.answerTimeoutMs)
  }

  /** The words that the line was cut off have begun, or cannot be said. */
  #cutOffAnnounced(): void {
    this.#cutOffItemId = null
    if (this.#state === 'live') this.#askForOwedResponse()
  }

  #carrierState(state: CarrierState): void {
    this.#mark('carrier-state', state)
    if (this.#state === 'closed') return
    const noStream = this.#streamOpenedAtMs === null
    switch (state) {
      case 'completed':
      case 'failed':
        if (noStream)
          return this.#finish(state === 'failed' ? 'stream-error' : 'caller-hung-up', 'before the stream opened')
        // The socket may stay open for seconds after the leg has ended: stop speaking now.
        this.#stopAgent()
        return this.#state === 'bridged'
          ? this.#endNow('escalated', 'the call with the human ended', false)
          : this.#endNow('caller-hung-up', `carrier says ${state}`, false)
      case 'busy':
      case 'refused':
      case 'no-answer':
        // When there is a stream, these states are about another leg.
        return noStream ? this.#finish('caller-hung-up', state) : undefined
      case 'stream-error':
        return noStream ? this.#endNow('stream-error', 'the carrier could not open the stream') : undefined
      case 'ringing':
      case 'answered':
      case 'stream-started':
      case 'stream-stopped':
      case 'dial-completed':
      case 'unknown':
        return
      default:
        return assertNever(state)
    }
  }

  #itemStarted(itemId: string, sentAtMs: number): void {
    const item = this.#agentSpeech.item(itemId)
    if (item?.over === 'cut' || item?.started === true) return
    if (item !== undefined) item.started = true
    const kind = item?.kind ?? 'answer'
    this.#transcript.started(itemId, sentAtMs - this.streamZeroMs)
    if (this.#greetingMs === null) {
      this.#greetingMs = sentAtMs - this.streamZeroMs
      this.#mark('greeting')
    }
    if (kind === 'answer') {
      this.#clear('answer', 'greeting')
      this.#answersMissing = 0
      this.#backendSpoke = true
      this.#waits.itemStarted(itemId, item?.generation ?? null)
    }
    if (itemId === this.#greetingItemId && this.#state === 'live') this.#tellGreeting()
    if (kind !== 'filler') {
      this.#agentSpokeLast = true
      this.#tools.answered()
    }
    this.#mark('agent-sound', kind)
    if (itemId === this.#cutOffItemId) this.#cutOffAnnounced()
    this.#unrecognised.agentSounds()
    this.#putOnHold.agentSounds()
    this.#clear('not-understood')
    // The goodbye after `end_call`, what a tool asks, and the announcement of an escalation, are answers of the backend's in
    // the gateway's words.
    const asked =
      kind === 'escalation' || kind === 'tool' || (this.#plan?.cancellable === true && this.#plan.itemId === itemId)
    this.#endTurnBeforeAnswer(asked ? this.#agentSpeech.latest + 1 : (item?.generation ?? null), sentAtMs)
    this.#recordTurn(this.#turns.agentSound(kind, item?.generation ?? null, sentAtMs, this.streamZeroMs))
  }

  #itemOver(itemId: string, over: 'heard' | 'cut'): void {
    const item = this.#agentSpeech.item(itemId)
    if (item !== undefined) {
      if (item.over !== 'no') return
      item.over = over
    }
    this.#agentHeardAtMs = this.#nowMs
    if (over === 'heard') this.#outcomeHeard(this.#waits.itemHeard(itemId))
    if (over === 'heard') this.#transcript.heard(itemId, this.#streamMs)
    else this.#transcript.unheard(itemId)
    if (itemId === this.#consentItemId) this.#consented(over === 'heard')
    if (itemId === this.#cutOffItemId) this.#cutOffAnnounced()
    if (itemId === this.#collection?.itemId) this.#digitsAsked()
    if (itemId === this.#transferItemId) this.#transferAnnouncementOver()
    if (this.#plan?.itemId === itemId) {
      this.#plan.itemId = null
      if (!this.#plan.cancellable) this.#endAsPlanned()
    }
  }

  /** The phrase will never be heard: what waits for it continues, and the backend gives a lost greeting instead. */
  #announceFailed(itemId: string): void {
    this.#mark('announce-failed')
    if (itemId === this.#fillerId) this.#fillers.unheard()
    if (itemId === this.#greetingItemId && this.#state !== 'escalating') {
      this.#greetingItemId = null
      if (this.#greetedInstead) {
        this.#greetingSettled()
        this.#in('answer', this.#options.answerTimeoutMs)
      } else if (this.#greetingMs === null) {
        this.#greeted = false
        if (this.#state === 'live') this.#begin()
      }
    }
    this.#itemOver(itemId, 'cut')
  }

  // --- the backend ----------------------------------------------------------------------------------------
  //
  //     response  --turn-start--> given --turn-done, cut, interrupted--> over; its later events are dropped and counted
  //     backend   --fatal error, closed--> dead
  //     backend   --RESPONSES_FAILED_MAX responses failed in a row--> dead; the caller is asked to repeat before that
  //     backend   --no sound in answerTimeoutMs, twice in a row, or once before the greeting--> dead

  #backendEvent(event: BackendEvent): void {
    switch (event.type) {
      case 'ready':
        return this.#backendIsReady()
      case 'turn-start':
        if (this.#agentSpeech.begin(event.generation)) this.#backendActiveAtMs = this.#nowMs
        else if (this.#greetedInstead || this.#asksToWait || this.#collection !== null || this.#consent === 'answer') {
          if (this.#greetedInstead) this.#mark('greeting-too-late')
          this.#consentInterrupted ||= this.#consent === 'answer'
          this.#out({ type: 'backend-interrupt', itemId: null, playedMs: 0 })
        }
        return
      case 'audio-done':
        return
      case 'turn-done':
        return this.#turnDone(event)
      case 'speech-started':
        return this.#backendHeardSpeech()
      case 'speech-stopped':
        return this.#backendHeardStop()
      case 'understood':
        // Of what sounds on hold a partial result may be a chance likeness: only the words of a whole segment end the wait,
        // or the suspicion before it.
        if (this.#putOnHold.waiting) return
        this.#level.understood()
        return this.#understood(!this.#putOnHold.suspected)
      case 'expects':
        if (event.keys !== undefined) this.#dialogueExpects(event.keys)
        return this.#callerSpeech.expect(event.what)
      case 'interrupted':
        return this.#backendInterrupted(event.generation)
      case 'transcript':
        return event.role === 'caller'
          ? this.#callerWords(event.itemId, event.text, event.final, event.languages)
          : this.#agentWords(event)
      case 'tool-call':
        // With a human on the line the backend was told to close: its tool calls are ignored.
        if (this.#streaming && this.#state !== 'bridged' && this.#agentSpeech.wanted(event.generation))
          return this.#toolCall(event)
        this.counters.lateEventsDropped++
        return
      case 'tool-cancel':
        return this.#toolsTakenBack(event.callIds)
      case 'usage':
        return addUsage(this.usage, event.usage)
      case 'error':
        this.#mark('backend-error', event.code)
        return event.fatal ? this.#backendFailed(`backend error ${event.code}`) : undefined
      case 'expiring':
        return this.#mark('backend-expiring', String(event.inMs))
      case 'failover':
        this.#mark('backend-failover', `${event.from} to ${event.to} in ${Math.round(event.gapMs)} ms: ${event.reason}`)
        this.#callerSpeech.expect('open')
        this.#dialogueKeys = null
        // The new backend was asked only now.
        if (this.#deadlines.isSet('answer')) this.#in('answer', this.#options.answerTimeoutMs)
        return
      case 'holding':
        return this.#backendHolding()
      case 'closed':
        return this.#backendClosed ? undefined : this.#backendFailed(`backend closed with ${event.code}`)
      default:
        return assertNever(event)
    }
  }

  #backendIsReady(): void {
    if (this.#backendReady) return
    this.#backendReady = true
    this.#mark('backend-ready')
    if (this.#state === 'connecting' && !this.#amd && !this.#consenting) this.#begin()
  }

  #turnDone({ generation, status, reason, cut }: Extract<BackendEvent, { type: 'turn-done' }>): void {
    this.#agentSpeech.end(generation)
    this.#transcript.withoutSound((itemId) => this.#agentSpeech.isOpen(itemId), this.#streamMs)
    if (status === 'completed') this.#responsesFailed = 0
    if (cut !== undefined) this.#mark('answer-cut', cut)
    if (status !== 'failed' || this.#state !== 'live' || this.#agentSpeech.isDead(generation)) return
    this.#mark('response-failed', reason)
    if (++this.#responsesFailed >= RESPONSES_FAILED_MAX)
      return this.#backendFailed(`${this.#responsesFailed} responses failed in a row`)
    this.#clear('answer')
    this.#announce(this.#text(this.#options.responseFailedText), 'apology')
  }

  /** The backend has made no sound for too long after the caller's turn or the kick-off. */
  #answerDue(): void {
    if (this.#state !== 'live') return
    const { answerTimeoutMs, responseFailedText } = this.#options
    // A backend that waits for a tool's outcome need not say anything until then.
    const waits = this.#tools.running > 0 || this.#collection !== null || this.#waits.waiting.length > 0
    if (waits || this.#sounding || this.#bargeIn.paused || this.#callerSpeech.speaking)
      return this.#in('answer', answerTimeoutMs)
    // One missing answer is allowed: the backend may not have taken the caller's words for a question.
    if (++this.#answersMissing >= ANSWERS_MISSING_MAX || !this.#backendSpoke)
      return this.#backendFailed(`no answer in ${answerTimeoutMs} ms`)
    this.#mark('answer-missing')
    this.#announce(this.#text(responseFailedText), 'apology')
    this.#in('answer', answerTimeoutMs)
  }

  /** Failover takes long and the caller waits: say a filler. */
  #backendHolding(): void {
    this.#mark('backend-holding')
    if (this.#state !== 'live' || this.#sounding || this.#agentSpeech.anyOpen) return
    if (this.#fillers.none && !this.#callerSpeech.speaking && !this.#bargeIn.paused) this.#sayFiller()
  }

  #sayFiller(): void {
    const phrase = this.#fillers.take()
    if (phrase !== null) this.#fillerId = this.#announce(this.#text(phrase), 'filler')
  }

  /** The answer is there before the filler began to sound; `announce-failed` follows, if that was in time. */
  #cancelFiller(): void {
    const itemId = this.#fillerId
    if (itemId === '' || this.#agentSpeech.item(itemId)?.started !== false || !this.#agentSpeech.isOpen(itemId)) return
    this.#out({ type: 'announce-cancel', itemId })
  }

  #callerWords(itemId: string, text: string, final: boolean, languages?: readonly HeardWords[]): void {
    const { firstVoicedMs, lastVoicedMs } = this.#callerSpeech
    // A transcript of DTMF digits has no voice of its own: the last voiced sample belongs to earlier words.
    const spoken = !Number.isNaN(lastVoicedMs) && (lastVoicedMs !== this.#wordsOfMs || itemId === this.#wordsItemId)
    const startMs = spoken && !Number.isNaN(firstVoicedMs) ? firstVoicedMs : this.#nowMs
    const endMs = spoken ? lastVoicedMs : this.#nowMs
    if (spoken) {
      this.#wordsOfMs = lastVoicedMs
      this.#wordsItemId = itemId
    }
    if (final && this.#language.heard(languages ?? [{ text }])) this.#languageChanged()
    this.#transcript.callerWords(itemId, text, final, startMs - this.streamZeroMs, endMs - this.streamZeroMs)
    if (text.trim() === '') return
    this.#greetingSettled()
    if (spoken) this.#level.understood()
    this.#understood()
    if (!final) this.#partialWords(text)
    else if (this.#collection !== null) this.#collectWords(text)
    else if (this.#options.bargeIn.waitWords && this.#state === 'live' && asksToWait(text, this.#spokenOver))
      return this.#callerAsksToWait()
    if (final) this.#consentWords(text)
    if (final && asksToCancel(text)) this.#cancelWaits()
    if (this.#wordsMayCome) this.#uncertainSpeechHadWords()
    if (final && this.#overlapEnded) this.#overlapWords(text)
    this.#callerActive()
    this.#agentSpokeLast = false
    this.#turns.confirm()
    this.#smallTalk = isSmallTalk(text)
    if (final && this.#state === 'live' && this.#turns.waiting) this.#in('answer', this.#options.answerTimeoutMs)
    if (final && this.#collection === null) this.#closingCue(text)
  }

  #languageChanged(): void {
    const { now } = this.#language
    this.#mark('language', now)
    this.#out({ type: 'language', language: now })
    this.#checkpointDue = true
  }

  /** Words that may still change: they say whether the caller has finished, and whether he only listens. */
  #partialWords(text: string): void {
    this.#partialAtMs = this.#nowMs
    this.#callerSpeech.heardWords(text, this.#asked)
    if (this.#bargeIn.paused) this.#bargeIn.heardWords(text)
  }

  /** What the agent's last words ask for, as far as the caller has heard them. */
  get #asked(): Asked {
    return askedIn(this.#heardOfAgent, this.#options.speech.words?.numberDigits)
  }

  get #heardOfAgent(): string {
    const sounding = this.#transcript.sounding
    if (sounding !== null) {
      const { itemId, text, heard } = sounding
      return heard ? text : heardPart(text, this.#playout.playedMs(itemId, this.#nowMs))
    }
    const last = this.log.transcript.findLast(({ role }) => role === 'agent')
    if (last === undefined) return ''
    return last.playedMs === undefined ? last.text : heardPart(last.text, last.playedMs)
  }

  /** The agent has just asked something and goes on: a short word may be the answer. */
  get #questionOpen(): boolean {
    const heard = this.#heardOfAgent
    return heard.includes('?') && heard.length - heard.lastIndexOf('?') <= QUESTION_OPEN_MS / SPEECH_MS_PER_CHARACTER
  }

  /** Words that ask for a moment are not answered with words: the agent is silent until the caller goes on. */
  #callerAsksToWait(): void {
    this.counters.askedToWait++
    this.#mark('asked-to-wait', this.#spokenOver ? 'over the agent' : 'while nobody else spoke')
    this.#wordsMayCome = false
    if (this.#bargeIn.paused || this.#interruptible) this.#commitBargeIn('asked to wait', this.#agentSpeech.latest)
    this.#settleOverlap()
    this.#callerActive()
    this.#agentSpokeLast = false
    this.#turns.dismiss()
    this.#clear('answer', 'filler', 'closing-cue')
    this.#silence.callerAsksToWait()
    this.#in('silence', this.#options.silence.afterMs)
    this.#asksToWait = true
    this.#agentSpeech.close()
  }

  /** The backend is asked for something, or the caller goes on: it may speak again. */
  #waitedFor(): void {
    if (!this.#asksToWait) return
    this.#asksToWait = false
    this.#agentSpeech.open()
  }

  /** The caller may have said that this is all. The agent answers it as anything; then the call ends. */
  #closingCue(words: string): void {
    const { closing = null } = this.#options
    this.#clear('closing-cue')
    if (closing === null || this.#state !== 'live' || !isClosing(words)) return
    this.#mark('closing-cue')
    this.#in('closing-cue', closing.afterMs)
  }

  #closingCueDue(): void {
    const { afterMs = 0 } = this.#options.closing ?? {}
    if (this.#state !== 'live') return
    const last = this.log.transcript.at(-1)
    const answered = last?.role === 'agent' && this.#agentSpokeLast && !this.#busy && !this.#callerSpeech.speaking
    const quietMs = this.#nowMs - Math.max(this.#agentHeardAtMs, this.#callerSpeech.lastVoicedMs || 0)
    if (!answered || quietMs < afterMs) return this.#in('closing-cue', CLOSING_POLL_MS)
    // A question is to be answered.
    if (last.text.trimEnd().endsWith('?')) return
    const text = saysGoodbye(last.text) ? '' : this.#goodbye
    this.#endAfterSpeech('the caller said that this is all', null, text)
  }

  #agentWords(event: Extract<BackendEvent, { readonly type: 'transcript' }>): void {
    if (!this.#agentSpeech.wanted(event.generation) || this.#agentSpeech.isCut(event.itemId)) {
      this.counters.lateEventsDropped++
      return
    }
    this.#fillers.modelSays(event.text)
    this.#transcript.agentWords(event.itemId, event.text, event.final, this.#streamMs)
    this.#guardKeysAfter(event.text, true)
  }

  /** The backend is dead. The caller hears an apology, then gets a human or the end of the call. */
  #backendFailed(detail: string): void {
    if (this.#backendDead && this.#streaming && this.#state !== 'connecting') return
    this.#backendDead = true
    if (this.#state === 'waiting' || this.#amd) return
    this.#mark('backend-failed', detail)
    if (this.#state !== 'live' && this.#state !== 'connecting') return
    if (this.#bargeIn.paused) this.#stopAgent()
    this.#agentSpeech.responding = null
    this.#cancelTools()
    this.#closeBackend('backend-failed')
    const request = {
      reason: 'technical problem',
      summary: detail,
      origin: 'backend-failed',
      toolCallId: null,
    } as const
    if (this.#options.onBackendFailure === 'escalate' && this.#escalate(request)) return
    this.#speakThenEnd('backend-failed', detail, this.#text(this.#options.apologyText), false)
  }

  // --- who speaks -----------------------------------------------------------------------------------------
  //
  //     caller's onset, agent silent         --> backend-speech-start (backends without their own VAD)
  //     caller's onset, agent talking        --> playout-pause; the backend gets nothing: it may be a false one
  //     enough voice | words | backend decides --> playout-clear, backend-interrupt, backend-speech-start from the onset
  //     commitMs of what may be a backchannel --> backend-speech-start, where the backend can weigh it; no interrupt
  //     no commit, caller quiet              --> playout-resume; the backend gets nothing more
  //     caller's onset over protected speech --> backend-speech-start, the agent continues
  //     caller stopped                       --> backend-speech-end, a turn begins
  //     long sound that nobody understands   --> the same, see `UnrecognisedSpeech`
  //     backend speech-stopped (its own VAD) --> a turn begins, on our clock
  //
  // There is no pause when only the playout lead is left (nothing pending, response over): it would stop nothing, and
  // the caller is answering, not interrupting.

  /** Takes one frame whose last sample has the time `atMs`. @returns true when something changed */
  #frame(frame: CallerFrame, voiced: boolean, atMs: number): boolean {
    const { doubtful } = frame
    const speech = this.#callerSpeech
    const bargeIn = this.#bargeIn
    if (
      this.#unrecognised.ignoring &&
      this.#unrecognised.ignores(voiced, this.#agentTalking || this.#agentSpeech.anyOpen)
    )
      return false
    if (voiced) this.#dateVoice(frame.early, atMs)
    const edge = speech.frame(frame, atMs, voiced, voiced && this.#pausable)
    if (edge === 'none' && !voiced) return false
    if (edge === 'end') {
      this.#segmentEnded()
      return true
    }
    let changed = false
    if (edge === 'onset') {
      this.#spokenOver = this.#playout.audible(this.#nowMs)
      this.#waitedFor()
      this.#deadlines.set('end-of-speech', speech.endsAtMs + FRAMES_STOPPED_MS)
      this.#speechStartSent = false
      this.#mark('caller-speech')
    }
    if (bargeIn.paused) {
      if (speech.speaking) bargeIn.heard(edge === 'onset' ? speech.voicedMs : FRAME_MS, doubtful)
    } else if (speech.speaking) {
      changed = this.#callerSpeaks(edge === 'onset', doubtful, atMs)
    }
    if (this.#early) return changed || edge !== 'none'
    if (speech.real && !this.#unrecognised.timing && !this.#agentTalking && !this.#agentSpeech.anyOpen) {
      this.#deadlines.set(
        'not-understood',
        this.#unrecognised.begin(Math.max(speech.firstVoicedMs, this.#agentHeardAtMs)),
      )
    }
    if (speech.real && edge !== 'none') {
      this.#callerActive()
      changed = true
    }
    if (bargeIn.shouldCommit) {
      this.#commitBargeIn(`${bargeIn.figures}, ${bargeIn.neededMs} needed`, this.#agentSpeech.latest)
      return true
    }
    if (bargeIn.wordsDecide && !this.#speechStartSent && this.#weighsSpeech) {
      this.#wordsDueMs = Infinity
      if (this.#sendSpeechStart(Math.max(bargeIn.start?.firstVoicedMs ?? atMs, speech.firstVoicedMs), true))
        changed = true
    }
    return changed || edge !== 'none'
  }

  /** Speech from before the stream opened interrupts nothing; what the caller says from then on does. */
  #dateVoice(early: boolean, atMs: number): void {
    if (early) {
      this.#earlyUntilMs = atMs + EARLY_WORDS_MS
      this.#goesOnMs = 0
    } else if (!this.#callerSpeech.speaking || (this.#goesOnMs += FRAME_MS) >= EARLY_GOES_ON_MS)
      this.#earlyUntilMs = -Infinity
  }

  get #early(): boolean {
    return this.#frameEarly || this.#nowMs < this.#earlyUntilMs
  }

  /** Takes a frame of caller speech, possibly while the agent talks. @returns true when something changed */
  #callerSpeaks(onset: boolean, doubtful: boolean, atMs: number): boolean {
    // Speech starts later than the onset only when the segment began as a false interruption.
    const fromMs = onset ? this.#callerSpeech.firstVoicedMs : atMs - FRAME_MS
    const suspected = this.#putOnHold.suspected
    // What has gone on without words for so long is not the caller who interrupts.
    if (suspected && this.#agentTalking) return false
    if (!this.#pausable) return this.#sendSpeechStart(fromMs, suspected || (this.#early && this.#weighsSpeech))
    const responding = this.#agentSpeech.responding !== null
    const start = this.#bargeInStart(fromMs)
    const moreToSay = responding || this.#playout.pendingMs() >= MORE_TO_SAY_MS
    this.#bargeIn.pause(start, start.audible && moreToSay && !this.#questionOpen)
    this.#bargeIn.heard(onset ? this.#callerSpeech.voicedMs : FRAME_MS, doubtful)
    this.#out({ type: 'playout-pause' })
    this.#in('barge-in-resume', this.#options.bargeIn.resumeAfterMs)
    this.#mark(
      'barge-in-pause',
      `${this.#bargeIn.figures} over the agent, ${this.#callerSpeech.onsetNeededMs} needed${this.#levelFigures}`,
    )
    return true
  }

  /** There is speech of the agent that an onset would keep back. */
  get #pausable(): boolean {
    return this.#interruptible && (this.#playout.pendingMs() > 0 || this.#agentSpeech.responding !== null)
  }

  #bargeInStart(firstVoicedMs: number): BargeInStart {
    const itemId = this.#playout.currentItem(this.#nowMs)
    const playedMs = itemId === null ? 0 : this.#playout.playedMs(itemId, this.#nowMs)
    return { firstVoicedMs, itemId, playedMs, audible: this.#playout.audible(this.#nowMs) }
  }

  /** Whether a frame has the caller's own voice. */
  #isCallersVoice({ voiced, doubtful, levelDbfs }: CallerFrame): boolean {
    const level = this.#level
    const refusedMs = level.refusedMs
    const own = level.takes(voiced, doubtful, levelDbfs, this.#agentSpeech.anyOpen)
    if (level.refusedMs === refusedMs) return own
    if (refusedMs === 0) this.#mark('quieter-voice', level.figures)
    if (level.answers) this.#learnLevelAnew('it answers us')
    return own
  }

  /** The caller may have moved away from the phone. */
  #learnLevelAnew(why: string): void {
    this.#mark('level-forgotten', `${why}: ${this.#level.refusedMs} ms of voice, ${this.#level.figures}`)
    this.#level.forget()
  }

  get #levelFigures(): string {
    return this.#level.learnt ? `; ${this.#level.figures}` : ''
  }

  /** A sign that the caller is present. */
  #callerActive(): void {
    this.#silence.callerSpoke(this.#nowMs)
    this.#level.callerHeard()
  }

  /** @param uncertain  it may not be meant for the agent, so that the backend answers only words; null where it cannot */
  #sendSpeechStart(atMs: number, uncertain: boolean): boolean {
    if (this.#speechStartSent) return false
    if (uncertain && !this.#weighsSpeech) return false
    this.#speechStartSent = true
    this.#uncertain = uncertain
    if (uncertain)
      this.#mark(
        'speech-uncertain',
        this.#early
          ? 'from before the stream opened'
          : this.#bargeIn.paused
            ? this.#bargeIn.figures
            : `after ${this.#putOnHold.voiceMs} ms of voice without words`,
      )
    this.#wordsMayCome = false
    const listening =
      this.#state === 'live' ||
      this.#state === 'connecting' ||
      this.#state === 'escalating' ||
      (this.#state === 'closing' && this.#plan?.cancellable === true)
    if (this.#options.serverVad || !this.#backendUsable || !listening) return false
    this.#out({ type: 'backend-speech-start', atMs })
    return true
  }

  #segmentEnded(): void {
    const { lastVoicedMs, real } = this.#callerSpeech
    this.#clear('end-of-speech')
    this.#mark('caller-speech-end', this.#callerSpeech.endedBecause(this.#nowMs))
    if (!this.#speechStartSent) return // a false interruption needs no answer
    this.#speechStartSent = false
    if (this.#uncertain) return this.#uncertainSpeechEnded(lastVoicedMs)
    // A backend that detects turns may have answered before our own clock found the end.
    if (this.#agentHeardAtMs <= lastVoicedMs) this.#agentSpokeLast = false
    if (this.#options.serverVad) return
    if (this.#backendUsable) this.#out({ type: 'backend-speech-end', atMs: lastVoicedMs })
    // The answer may have begun already.
    if (lastVoicedMs !== this.#answeredFromMs) this.#callerStopped(lastVoicedMs, real)
  }

  /** A segment that may not have been meant for the agent is over: without words nothing comes of it. */
  #uncertainSpeechEnded(lastVoicedMs: number): void {
    this.#uncertain = false
    this.#wordsMayCome = !this.#options.serverVad
    if (!Number.isNaN(this.#wordsDueMs)) this.#wordsDueMs = this.#nowMs + WORDS_WAIT_MS
    const unless = this.#bargeIn.paused ? (this.#options.bargeIn.backchannel?.words ?? []) : []
    if (!this.#options.serverVad && this.#backendUsable)
      this.#out({ type: 'backend-speech-end', atMs: lastVoicedMs, unless })
  }

  /** Words of such a segment came: it was meant for the agent. */
  #uncertainSpeechHadWords(): void {
    this.#wordsMayCome = false
    if (this.#bargeIn.paused || this.#interruptible)
      this.#commitBargeIn(`words in ${this.#bargeIn.figures}`, this.#agentSpeech.latest)
    this.#agentSpokeLast = false
    if (!this.#callerSpeech.speaking) this.#callerStopped(this.#callerSpeech.lastVoicedMs, true)
  }

  /** Words that a service recognised in speech over the agent: another than a backchannel interrupts after all. */
  #overlapWords(text: string): void {
    const before = this.#overlapGeneration
    this.#settleOverlap()
    if (isBackchannel(text, this.#options.bargeIn.backchannel?.words ?? [])) return
    // A service that had finished its answer has answered these words too.
    if (this.#agentSpeech.latest > before) return this.#callerStopped(this.#callerSpeech.lastVoicedMs, true, before)
    if (this.#bargeIn.paused || this.#interruptible)
      this.#commitBargeIn(`words in ${this.#bargeIn.figures}`, this.#agentSpeech.latest)
    else if (this.#backendUsable) this.#out({ type: 'backend-interrupt', itemId: null, playedMs: 0 })
    if (!this.#callerSpeech.speaking) this.#callerStopped(this.#callerSpeech.lastVoicedMs, true)
  }

  #settleOverlap(): void {
    this.#overlapGeneration = NaN
    this.#overlapEnded = false
  }

  #callerStopped(atMs: number, real: boolean, generation = this.#agentSpeech.latest): void {
    const { answerAfterMs = null } = this.#options.filler
    this.#fillers.turn()
    this.#tools.turn()
    if (this.#toolsWithheld) this.#out({ type: 'backend-tools', offered: true })
    this.#toolsWithheld = false
    if (answerAfterMs !== null && this.#tools.running === 0) this.#deadlines.set('filler', atMs + answerAfterMs)
    this.#recordTurn(this.#turns.callerStopped(atMs, real, generation, this.streamZeroMs))
  }

  /**
   * Agent sound came while our own clock still waits for the end of the caller's turn. A backend that detects turns
   * itself has found the end first, and this is its answer.
   * @param generation  generation of the response; null for an item of the gateway
   */
  #endTurnBeforeAnswer(generation: number | null, sentAtMs: number): void {
    const { speaking, lastVoicedMs, real } = this.#callerSpeech
    if (!speaking || generation === null || this.#options.serverVad || sentAtMs - lastVoicedMs < EARLY_ANSWER_QUIET_MS)
      return
    this.#answeredFromMs = lastVoicedMs
    this.#callerStopped(lastVoicedMs, real, generation - 1)
  }

  /** Ends a segment whose frames stopped coming. */
  #endOfSpeechDue(): void {
    const speech = this.#callerSpeech
    if (!speech.speaking) return
    if (speech.overdue(this.#nowMs - FRAMES_STOPPED_MS) === 'end') this.#segmentEnded()
    else this.#deadlines.set('end-of-speech', speech.endsAtMs + FRAMES_STOPPED_MS)
  }

  /** The backend takes speech that our own detector heard and that may not be meant for it. */
  get #weighsSpeech(): boolean {
    return this.#options.weighsSpeech && !this.#options.serverVad
  }

  /** There is agent speech, and the caller may interrupt it. */
  get #interruptible(): boolean {
    const { protectGreeting, protectEscalation } = this.#options.bargeIn
    const open =
      this.#state === 'live' ||
      this.#state === 'connecting' ||
      (this.#state === 'closing' && this.#plan?.cancellable === true) ||
      (this.#state === 'escalating' && !protectEscalation)
    if (!open || !this.#agentTalking || this.#early || this.#consent === 'saying') return false
    if (!protectGreeting && !protectEscalation) return true
    const itemId = this.#playout.currentItem(this.#nowMs)
    const item = this.#agentSpeech.item(itemId)
    if (item === undefined || item.over !== 'no') return true
    const greeting = itemId === this.#greetingItemId || this.#agentSpeech.greets(item)
    return !(protectGreeting && greeting) && !(protectEscalation && item.kind === 'escalation')
  }

  /** Discards the agent's speech because the caller interrupts. */
  #commitBargeIn(why: string, fence: number): void {
    const speech = this.#callerSpeech
    this.#settleBargeIn()
    const start = this.#bargeIn.start ?? this.#bargeInStart(speech.speaking ? speech.firstVoicedMs : this.#nowMs)
    this.#clear('barge-in-resume')
    const paused = this.#bargeIn.paused
    this.#bargeIn.commit(start, why)
    this.#mark('barge-in', `${why}; ${Math.round(start.playedMs)} ms of it heard`)
    this.#cutAgent(start, fence)
    this.#cancelGoodbye()
    this.#agentHeardAtMs = this.#nowMs
    this.#agentSpokeLast = false
    this.#uncertain = false
    this.#wordsDueMs = NaN
    this.#settleOverlap()
    this.#callerActive()
    // The announcement of an escalation was cut: continue without it.
    if (this.#state === 'escalating') this.#in('words-heard', 0)
    if (speech.speaking) this.#sendSpeechStart(Math.max(start.firstVoicedMs, speech.firstVoicedMs), false)
    // After a pause the last sample has left already; without a pause it is leaving now.
    if (paused) this.#settleBargeIn()
    else this.#in('barge-in-settle', AFTER_KILL_SILENCE_MS)
  }

  /** The last agent sample before a commit has been sent, so the barge-in record is complete. */
  #settleBargeIn(): void {
    const record = this.#bargeIn.settle(this.#playout.lastSentAtMs(), this.streamZeroMs)
    if (record !== null) this.#record({ kind: 'barge-in', record })
  }

  /** No commit came: the interruption was false, so the agent continues. */
  #resumeDue(): void {
    if (!this.#bargeIn.paused) return
    if (!this.#bargeIn.mayResume(this.#callerSpeech.quietMs(this.#nowMs)) || this.#nowMs < this.#wordsDueMs)
      return this.#in('barge-in-resume', RESUME_POLL_MS)
    this.#wordsDueMs = NaN
    if (this.#bargeIn.wordsDecide) this.counters.backchannels++
    const record = this.#bargeIn.resume(this.#nowMs, this.#playout.lastSentAtMs(), this.streamZeroMs)
    this.#out({ type: 'playout-resume' })
    if (record !== null) this.#record({ kind: 'barge-in', record })
    this.#mark('barge-in-resume', record?.why)
  }

  /** The backend's own VAD heard speech. */
  #backendHeardSpeech(): void {
    this.#mark('backend-speech-started')
    this.#greetingSettled()
    this.#waitedFor()
    this.#unrecognised.backendHeardSpeech()
    // Where the gateway decides, it may be a backchannel or a television, and no sign of the caller either.
    this.#settleOverlap()
    if (!this.#options.serverInterrupts && this.#interruptible) {
      this.#overlapGeneration = this.#agentSpeech.latest
      return
    }
    if (this.#interruptible) this.#commitBargeIn('the backend heard speech', this.#agentSpeech.latest)
    if (!this.#early) this.#callerActive()
  }

  #backendHeardStop(): void {
    // Nobody has interrupted and the agent goes on: it was listening, until words say something else.
    if (!Number.isNaN(this.#overlapGeneration) && (this.#bargeIn.paused || this.#interruptible)) {
      this.#overlapEnded = true
      const { weighsSpeech, bargeIn } = this.#options
      // A service that has finished its answer answers this too: only words should have that.
      if (weighsSpeech && this.#backendUsable && this.#playout.pendingMs() >= MORE_TO_SAY_MS)
        this.#out({ type: 'backend-speech-end', atMs: this.#nowMs, unless: bargeIn.backchannel?.words ?? [] })
      return this.#mark('backend-speech-over-agent', this.#bargeIn.paused ? this.#bargeIn.figures : undefined)
    }
    this.#settleOverlap()
    const own = this.#callerSpeech.quietMs(this.#nowMs)
    this.#callerStopped(own <= OWN_CLOCK_MS_MAX ? this.#callerSpeech.lastVoicedMs : this.#nowMs, true)
    this.#agentSpokeLast = false
  }

  #backendInterrupted(generation: number): void {
    if (this.#agentSpeech.isDead(generation)) return
    if (this.#interruptible) this.#commitBargeIn('the backend gave its answer up', generation)
    else this.#agentSpeech.raiseFence(generation)
  }

  #digit(digit: string): void {
    if (!this.#backendUsable || (this.#state !== 'live' && this.#state !== 'connecting' && this.#state !== 'closing'))
      return
    if (!this.#frameEarly) this.#earlyUntilMs = -Infinity
    // A caller who enters "4127#" may hear the answer begin before the #. It only ends an entry, so it interrupts
    // nothing.
    if (digit === '#' && this.#interruptible) return this.#out({ type: 'backend-dtmf', digit })
    if (this.#options.bargeIn.onDtmf && this.#interruptible) this.#commitBargeIn('a digit', this.#agentSpeech.latest)
    this.#understood()
    this.#callerActive()
    this.#agentSpokeLast = false
    this.#out({ type: 'backend-dtmf', digit })
    this.#callerStopped(this.#nowMs, true)
  }

  #silenceDue(): void {
    if (this.#state !== 'live') return
    const decision = this.#silence.due(
      this.#nowMs,
      this.#busy,
      Math.max(this.#agentHeardAtMs, this.streamZeroMs),
      this.#asked.what !== 'nothing',
    )
    switch (decision.type) {
      case 'wait':
        return this.#deadlines.set('silence', decision.untilMs)
      case 'end':
        if (this.#level.refusedMs >= this.#options.speech.realSpeechMs) {
          this.#learnLevelAnew('nobody else speaks')
          return this.#in('silence', this.#options.silence.afterMs)
        }
        return this.#speakThenEnd('silence-limit', decision.detail, this.#goodbye, false)
      case 'prompt':
        this.#level.ask()
        this.#putOnHold.ask()
        this.#clear('put-on-hold')
        this.counters.silencePrompts++
        this.#mark('silence-prompt', decision.detail)
        this.#silencePromptId = this.#announce(this.#text(decision.text), 'prompt')
        return this.#in('silence', this.#options.silence.afterMs)
      default:
        return assertNever(decision)
    }
  }

  /** Somebody speaks, or the caller waits for the agent. */
  get #busy(): boolean {
    const responding =
      this.#agentSpeech.responding !== null && this.#nowMs - this.#backendActiveAtMs < this.#options.answerTimeoutMs // a lost turn-done must not stop the clock
    return (
      this.#sounding ||
      responding ||
      (this.#offer !== null && this.#endsAfterOffer) ||
      this.#tools.running > 0 ||
      this.#collection !== null ||
      this.#waits.waiting.length > 0 ||
      this.#bargeIn.paused ||
      (this.#callerSpeech.speaking && this.#callerSpeech.real) ||
      (this.#transcript.callerOpen && this.#nowMs - this.#partialAtMs < PARTIAL_ALIVE_MS) ||
      (this.#unrecognised.ignoring && this.#deadlines.isSet('not-understood')) ||
      this.#deadlines.isSet('answer')
    )
  }

  /**
   * Words of the caller were understood, or a digit was pressed.
   * @param endsHold  he is on the line, and does not keep us on hold
   */
  #understood(endsHold = true): void {
    const { speaking, firstVoicedMs } = this.#callerSpeech
    if (endsHold) {
      if (this.#putOnHold.waiting) this.#mark('put-on-hold-over', 'words, or a digit')
      this.#putOnHold.understood()
      this.#clear('put-on-hold')
    }
    if (this.#endsAfterOffer) this.#withdrawOffer()
    const dueMs = this.#unrecognised.understood(speaking, this.#nowMs, firstVoicedMs)
    if (Number.isNaN(dueMs)) this.#clear('not-understood')
    else this.#deadlines.set('not-understood', dueMs)
  }

  /** The caller has put us on hold: from here on the agent waits. */
  #waitOnHold(): void {
    const voiceMs = this.#putOnHold.voiceMs
    this.#deadlines.set('put-on-hold', this.#putOnHold.wait(this.#nowMs))
    this.counters.putOnHold++
    this.#mark(
      'put-on-hold',
      `${voiceMs} ms of voice without words, ${this.#options.putOnHold?.afterMs ?? 0} needed${this.#levelFigures}`,
    )
    this.#clear('answer', 'not-understood')
    this.#unrecognised.over()
    this.#giveUpSegment()
  }

  /** Ends the segment although its sound continues; nothing is asked of the backend. */
  #giveUpSegment(): void {
    if (!this.#callerSpeech.speaking) return
    this.#uncertain = true
    this.#callerSpeech.giveUp()
    this.#segmentEnded()
  }

  /** On hold until `maxMs`: nobody may come back any more. */
  #heldTooLong(): void {
    if (this.#state !== 'live' || !this.#putOnHold.waiting) return
    const detail = `put on hold for ${this.#options.putOnHold?.maxMs ?? 0} ms`
    if (this.#options.escalation?.callback?.numberKnown !== true || this.#offer !== null)
      return this.#speakThenEnd('silence-limit', detail, this.#goodbye, false)
    this.#mark('put-on-hold-over', detail)
    this.#offerCallback('', { reason: 'put on hold', summary: '' })
    this.#endsAfterOffer = true
  }

  #notUnderstoodDue(): void {
    if (this.#state !== 'live') return
    const { speaking, firstVoicedMs } = this.#callerSpeech
    if (this.#putOnHold.waiting) {
      // Each sound of its own: the caller who comes back after a pause is not cut because of what played before it.
      const untilMs = firstVoicedMs + ANSWER_UNHEARD_MS
      if (speaking && this.#nowMs < untilMs) return this.#deadlines.set('not-understood', untilMs)
      this.#unrecognised.over()
      return this.#giveUpSegment()
    }
    const decision = this.#unrecognised.due({
      nowMs: this.#nowMs,
      speaking,
      firstVoicedMs,
      quietMs: this.#callerSpeech.quietMs(this.#nowMs),
      agentHeard: this.#sounding || this.#bargeIn.paused,
      anyItemOpen: this.#agentSpeech.anyOpen,
    })
    switch (decision.type) {
      case 'none':
        return
      case 'wait':
        break
      case 'give-up':
        this.#mark('not-understood', `${Math.round(decision.unrecognisedMs)} ms of sound without words`)
        this.counters.notUnderstood++
        this.#callerSpeech.giveUp()
        this.#segmentEnded()
        break
      case 'ask':
        this.#announce(this.#text(decision.text), 'prompt')
        break
      case 'end':
        return this.#speakThenEnd('silence-limit', decision.detail, this.#goodbye, false)
      default:
        return assertNever(decision)
    }
    this.#deadlines.set('not-understood', decision.untilMs)
  }

  // --- tools ----------------------------------------------------------------------------------------------
  //
  //     tool-call --refused (unknown, invalid, too many)--> error to the model at once
  //     tool-call --the agent's--> run-tool; filler after afterMs of quiet; result to the model, exactly once
  //     tool-call --its answer comes later--> see `PendingTools`; the model gets an answer for now, and the outcome
  //     tool-call --escalate_to_human--> an escalation; answered only when it fails
  //     tool-call --request_callback--> noted; answered at once
  //     tool-call --do_not_call--> answered once it is written, or could not be
  //     tool-call --go_to_stage--> another stage, or an error that says what is missing; answered at once
  //     tool-call --hand_over--> another agent goes on with the call
  //     tool-call --end_call--> the end; answered only when the caller speaks up
  //     tool-call --collect_digits--> see "digits"; answered when the caller has entered them, or does not

  #toolCall(event: ToolCallEvent): void {
    const { callId, name, args } = event
    const waited = waitOf(event)
    const fault = this.#toolFault(event) ?? this.#waits.refusal(name, Object.hasOwn(this.#options.waits, name))
    if (fault !== null) return this.#refuseTool(event, fault)
    const decision = this.#tools.call(callId, name, args, isBuiltIn(name), waited)
    switch (decision.type) {
      case 'refuse':
        return this.#refuseTool(event, decision.error)
      case 'ignore':
        return
      case 'answer':
        return this.#out({ type: 'backend-tool-result', callId, ok: decision.ok, value: decision.value })
      case 'repeat':
        this.#mark('tool-repeated', name)
        this.counters.toolCallsRefused++
        return this.#out({ type: 'backend-tool-result', callId, ok: true, value: decision.value })
      case 'enough':
        if (!this.#toolsWithheld) this.#out({ type: 'backend-tools', offered: false })
        this.#toolsWithheld = true
        return this.#refuseTool(event, decision.error)
      case 'run':
        break
      default:
        return assertNever(decision)
    }
    this.#mark('tool-start', name)
    this.#checkpointDue = true
    if (name === ESCALATE_TOOL)
      return void this.#escalate({
        reason: String(args['reason']),
        summary: textOf(args['summary']),
        origin: 'agent',
        toolCallId: callId,
        takesMessage: args['takesMessage'] === true,
      })
    if (name === END_CALL_TOOL) {
      const silent = !this.#agentSpokeLast && !this.#sounding
      return this.#endAfterSpeech(textOf(args['reason']), callId, silent ? this.#goodbye : '')
    }
    if (name === CALLBACK_TOOL) {
      const refusal = this.#requestCallback(
        typeof args['number'] === 'string' ? args['number'] : null,
        textOf(args['note']),
        typeof args['at'] === 'string' && args['at'].trim() !== '' ? args['at'].trim() : null,
      )
      return this.#toolResult(
        callId,
        refusal === null,
        refusal === null ? { noted: true } : { error: refusal },
        refusal ?? undefined,
      )
    }
    if (name === LANGUAGE_TOOL) {
      if (this.#language.set(String(args['language']))) this.#languageChanged()
      return this.#toolResult(callId, true, { language: this.#language.now }, undefined)
    }
    if (name === DO_NOT_CALL_TOOL) {
      this.#mark('do-not-call')
      return this.#out({ type: 'do-not-call', callId })
    }
    if (name === STAGE_TOOL) return this.#stageAsked(callId, args)
    if (name === HANDOVER_TOOL) {
      const refusal = this.#handOver(String(args['agent']), textOf(args['summary']))
      const result = refusal === null ? { agent: args['agent'] } : { error: refusal }
      // The model that called it says nothing more.
      if (refusal !== null) return this.#toolResult(callId, false, result, refusal)
      return void this.#tools.result(callId, { ok: true, value: result, error: undefined })
    }
    if (name === RESUME_TOOL) return this.#toolResult(callId, true, this.#confirmed('words'), undefined)
    if (name === COLLECT_TOOL) return this.#collect(callId, args)
    this.#out({ type: 'run-tool', callId, name, args, occurrence: decision.occurrence })
    this.#toolRuns(waited !== 'failure')
  }

  /** @param filled  a caller who waits for it hears a filler */
  #toolRuns(filled: boolean): void {
    // Of several tools the first counts; a deadline without a tool is that of a late answer.
    if (filled && (this.#tools.running === 1 || !this.#deadlines.isSet('filler')))
      this.#in('filler', this.#options.filler.afterMs)
    if (!this.#deadlines.isSet('tool-limit')) this.#in('tool-limit', this.#options.toolLimitMs)
  }

  /** @returns why the tool call is invalid; null when it is valid */
  #toolFault({ name, args, invalid }: ToolCallEvent): string | null {
    if (invalid !== undefined) return invalid
    const offered =
      name === RESUME_TOOL
        ? this.#unconfirmed !== null
        : name === STAGE_TOOL
          ? this.stages !== null
          : name === HANDOVER_TOOL
            ? Object.keys(this.#options.handoverTo).length > 0
            : isBuiltIn(name) || this.#options.toolNames.includes(name)
    if (!offered) return `There is no tool named ${name.slice(0, TOOL_NAME_CHARS_MAX)}.`
    const elsewhere = isOfAStage(name) ? (this.stages?.refusal(name) ?? null) : null
    if (elsewhere !== null || !isBuiltIn(name)) return elsewhere
    for (const key of ['reason', 'summary', 'number', 'note']) {
      const required = name === ESCALATE_TOOL && key === 'reason'
      if ((args[key] !== undefined || required) && typeof args[key] !== 'string') return `${key} must be a text.`
    }
    if (name === LANGUAGE_TOOL) {
      const { languages } = this.#options
      if (!languages.includes(String(args['language']))) return `language must be one of ${languages.join(', ')}.`
    }
    if (name === COLLECT_TOOL) {
      if (this.#collection !== null) return 'The caller is entering something already. Wait for it.'
      const names = this.#options.collections.map((one) => one.name)
      if (this.#collectionOf(name, args) === null) return `name must be one of ${names.join(', ') || '(none)'}.`
      const { with: other = {} } = args
      if (typeof other !== 'object' || other === null || Array.isArray(other)) return 'with must be an object.'
    }
    if (name === HANDOVER_TOOL) {
      const agents = Object.keys(this.#options.handoverTo)
      if (!agents.includes(String(args['agent']))) return `agent must be one of ${agents.join(', ')}.`
    }
    if (TO_A_HUMAN.includes(name) && this.#options.escalation === null) return 'No human can be reached from this line.'
    if (this.#state !== 'live' && this.#state !== 'connecting') return 'The call is already being ended or handed over.'
    return null
  }

  // --- digits ---------------------------------------------------------------------------------------------
  //
  // While they are collected the caller hears the gateway, not the model: what the backend says is not wanted. `DigitCollection`
  // decides what follows from each key and each word.
  //
  //     collect_digits --> the question is said
  //     collected, the model may have them   --> its result
  //     collected, secret                    --> the tool that is named runs; what it answers is the result
  //     failed, abandoned for another reason --> an error as result
  //     secret: private from before the question until PRIVATE_TAIL_MS after the last key
  //
  // Keys alone are private, and the first of them makes the line private:
  //
  //     open    --the agent's words ask for a secret number; collect_digits ends or is refused without it-->  guarded
  //     guarded --the number has reached its tool; another number or key is asked for; KEYS_PRIVATE_MS-->     open

  #collectionOf(tool: string, { name }: Readonly<Record<string, unknown>>): Collection | null {
    if (tool !== COLLECT_TOOL) return null
    return this.#options.collections.find((one) => one.name === name) ?? null
  }

  #collect(callId: string, args: Readonly<Record<string, unknown>>): void {
    const spec = this.#collectionOf(COLLECT_TOOL, args)
    if (spec === null) return
    this.#collection = new DigitCollection(spec, callId, { ...(args['with'] as object | undefined) }, this.#nowMs)
    this.#terminator = spec.terminator
    this.#keyedUnasked = false
    this.#guardKeys(spec.secretFor !== null)
    this.#setPrivate(spec.secretFor !== null)
    this.#clear('answer', 'filler', 'closing-cue')
    this.#agentSpeech.close()
    this.#mark('digits', spec.name)
    this.#askDigits('say')
  }

  #askDigits(what: 'say' | 'again' | 'confirm'): void {
    const collection = this.#collection
    if (collection === null) return
    const { say, again, confirm, firstMs } = collection.spec
    const texts =
      what === 'confirm'
        ? [this.#text(confirm).replaceAll('{{digits}}', readBack(collection.entry))]
        : [what === 'again' ? this.#text(again) : '', this.#text(say)]
    const text = texts.join(' ').trim()
    if (what !== 'say') this.#stopAgent()
    collection.itemId = this.#announce(text, 'tool')
    this.#in('digits', this.#wordsMs(text) + firstMs)
  }

  /** The question was heard, or will not be. */
  #digitsAsked(): void {
    if (this.#collection === null) return
    this.#collection.itemId = null
    this.#in('digits', this.#collection.spec.firstMs)
  }

  /** @returns true when the key belongs to an entry, or must not be heard */
  #collectDigit(digit: string): boolean {
    const collection = this.#collection
    const late = digit === this.#terminator && this.#nowMs - this.#collectedAtMs < TERMINATOR_LATE_MS
    if (collection === null || collection.running || this.#state !== 'live') {
      if (this.privateKeys) this.#privateKey()
      return this.#dialogueKeys === 'secret' && collection === null ? false : this.#private || late
    }
    this.#callerActive()
    this.#understood()
    if (collection.itemId !== null) this.#stopAgent()
    collection.itemId = null
    this.#collectionStep(collection.key(digit))
    return true
  }

  /** A key that nobody may have. */
  #privateKey(): void {
    if (this.#collection === null && this.#keysGuarded) {
      this.#keyedUnasked = this.#dialogueKeys === null
      if (this.#options.bargeIn.onDtmf && this.#interruptible) this.#commitBargeIn('a digit', this.#agentSpeech.latest)
      this.#callerActive()
      this.#understood()
      this.#guardKeys(true)
      if (!this.#private) this.#setPrivate(true)
      this.#in('private', PRIVATE_TAIL_MS)
    } else if (this.#deadlines.isSet('private')) this.#in('private', PRIVATE_TAIL_MS)
  }

  /** A dialogue says itself which of its questions are secret. */
  #dialogueExpects(keys: 'open' | 'secret'): void {
    const before = this.#dialogueKeys
    this.#dialogueKeys = keys
    if (keys === 'secret' || before === 'secret') this.#guardKeys(keys === 'secret')
  }

  /** Keys are private from now on, for KEYS_PRIVATE_MS, or are not. */
  #guardKeys(on: boolean): void {
    if (on && this.#dialogueKeys === 'open') return
    if (on) this.#in('private-keys', KEYS_PRIVATE_MS)
    else this.#clear('private-keys')
    if (this.#keysGuarded === on) return
    this.#keysGuarded = on
    this.#mark('private-keys', on ? 'on' : 'off')
    this.#checkpointDue = true
  }

  /** @param opens  the model's words: what the gateway says of itself, such as that nobody is heard, leaves a question open */
  #guardKeysAfter(words: string, opens: boolean): void {
    if (this.#secretNumbers.none && !this.#keysGuarded) return
    const asked = this.#secretNumbers.asked(words)
    if (asked === 'secret') this.#guardKeys(true)
    else if (asked === 'other' && opens && !this.#private) this.#guardKeys(false)
  }

  /** The line is open again. The model, which has heard nothing of the keys, must know that there were some. */
  #privateOver(): void {
    this.#setPrivate(false)
    if (!this.#keyedUnasked) return
    this.#keyedUnasked = false
    if (this.#state !== 'live' || !this.#backendUsable) return
    const names = this.#options.collections.flatMap(({ name, secretFor }) => (secretFor === null ? [] : [name]))
    const next =
      names.length === 0
        ? 'Go on without them.'
        : `They are lost: where you need ${names.join(' or ')}, call ${COLLECT_TOOL}, which asks the caller and has your tool get them.`
    const respond = !this.#agentTalking && !this.#callerSpeech.speaking && this.#tools.running === 0
    this.#out({
      type: 'backend-text',
      text: `The caller has keyed in digits that are secret, so that you do not get them. ${next}`,
      role: 'system',
      respond,
    })
    if (respond) this.#in('answer', this.#options.answerTimeoutMs)
  }

  #collectWords(text: string): void {
    const collection = this.#collection
    if (collection === null || collection.running || !collection.spec.speech) return
    this.#collectionStep(collection.words(text))
  }

  #digitsDue(): void {
    const collection = this.#collection
    if (collection === null || collection.running) return
    if (this.#nowMs >= collection.untilMs)
      return this.#collectionOver(false, { error: 'The caller took too long to enter this.' }, 'too long')
    const speaks = this.#callerSpeech.speaking || this.#transcript.callerOpen || this.#bargeIn.paused
    if (speaks && collection.spec.speech) return this.#in('digits', DIGITS_POLL_MS)
    this.#collectionStep(collection.overdue())
  }

  #collectionStep(step: CollectionStep): void {
    const collection = this.#collection
    if (collection === null) return
    switch (step.type) {
      case 'nothing':
        return
      case 'wait':
        return this.#deadlines.set('digits', Math.min(this.#nowMs + step.ms, collection.untilMs))
      case 'ask':
        this.#mark('digits-asked', step.what)
        return this.#askDigits(step.what)
      case 'collected': {
        this.#clear('digits')
        this.#collectedAtMs = this.#nowMs
        this.#mark('digits-collected', step.by)
        if (step.by === 'keypad') this.#callerStopped(this.#nowMs, true)
        if (collection.spec.secretFor !== null) return this.#runSecretTool(collection, collection.spec.secretFor)
        const { entry: digits, masked } = collection
        const { by } = step
        return this.#collectionOver(true, { digits, by }, undefined, { digits: masked, by })
      }
      case 'failed': {
        const { error, said } = step
        return this.#collectionOver(false, { error, ...(said === undefined ? {} : { said }) }, 'no digits')
      }
      default:
        return assertNever(step)
    }
  }

  /** The worker puts the digits into the tool's arguments; here they are masked. */
  #runSecretTool(
    collection: DigitCollection,
    { tool: name, argument }: { readonly tool: string; readonly argument: string },
  ): void {
    const { toolCallId: callId, toolArgs, entry } = collection
    const args = { ...toolArgs, [argument]: maskedDigits(entry) }
    const decision = this.#tools.call(callId, name, args)
    if (decision.type !== 'run') {
      const error = 'error' in decision ? decision.error : 'This was done already.'
      return this.#collectionOver(false, { error }, error)
    }
    collection.running = true
    this.#mark('tool-start', name)
    const { occurrence } = decision
    this.#out({ type: 'run-tool', callId, name, args, occurrence, secret: { argument, digits: entry.length } })
    this.#in('private', PRIVATE_TAIL_MS)
    this.#toolRuns(true)
  }

  /** @param recorded  what records have in place of the value */
  #collectionOver(ok: boolean, value: unknown, error?: string, recorded?: unknown): void {
    const collection = this.#collection
    if (collection === null) return
    this.#collection = null
    this.#clear('digits')
    if (this.#private) this.#in('private', PRIVATE_TAIL_MS)
    // A caller who was too slow, or cut short, goes on keying.
    this.#guardKeys(collection.spec.secretFor !== null && !collection.running)
    this.#agentSpeech.open()
    this.#toolResult(collection.callId, ok, value, error, 'answered', recorded)
  }

  /** The call goes another way: the digits are not wanted any more. */
  #abandonCollection(): void {
    const collection = this.#collection
    if (collection === null) return
    if (collection.running) this.#takeBack([collection.toolCallId])
    this.#collectionOver(false, { error: 'The caller did not finish: the call went on in another way.' }, 'abandoned')
  }

  #setPrivate(on: boolean): void {
    this.#clear('private')
    if (this.#private === on) return
    this.#private = on
    this.#mark('private', on ? 'on' : 'off')
    this.#out({ type: 'private', on })
    this.#checkpointDue = true
  }

  // --- stages ---------------------------------------------------------------------------------------------
  //
  // `Stages` decides in which stage the call is. The session has the model told, and acts where a stage leads to a human.

  #stageBegins(): void {
    this.stages?.begin(this.#streamMs)
    this.stages?.settle(this.#streamMs)
    this.#stageChanged()
    this.#stageTimed()
  }

  /** The model has called `go_to_stage`. */
  #stageAsked(callId: string, args: Readonly<Record<string, unknown>>): void {
    const { stages } = this
    if (stages === null) return
    const refusal = stages.ask(args, this.#streamMs)
    this.#stageChanged()
    const { escalate } = stages.stage
    const summary = textOf(args['summary'])
    // Answered only if no human can be reached, as the tool that asks for one.
    if (refusal === null && escalate !== undefined && this.#humanDue !== null) {
      this.#humanDue = null
      if (this.#escalate({ reason: escalate, summary, origin: 'agent', toolCallId: callId })) return
    }
    const value = refusal === null ? { stage: stages.name } : { error: refusal }
    if (this.#handingOverTo !== null) return void this.#tools.result(callId, { ok: true, value, error: undefined })
    this.#toolResult(callId, refusal === null, value, refusal ?? undefined)
  }

  /** A tool has answered, or what it waited for is known. */
  #stageResult(tool: string, result: { readonly ok: boolean; readonly value: unknown; readonly error?: string }): void {
    if (this.stages === null || !isOfAStage(tool)) return
    this.stages.result({ tool, ...result }, this.#streamMs)
    this.#stageChanged()
  }

  /** It is time to leave the stage. */
  #stageDue(): void {
    if (this.#state !== 'live') return this.#in('stage', STAGE_POLL_MS)
    this.stages?.settle(this.#streamMs)
    if (!this.#stageChanged() || this.#stageEscalates() || !this.#backendUsable) return
    const respond = !this.#agentTalking && !this.#callerSpeech.speaking && this.#tools.running === 0
    this.#out({ type: 'backend-text', text: STAGE_TIME_TEXT, role: 'system', respond })
    if (respond) this.#in('answer', this.#options.answerTimeoutMs)
  }

  /** Has the model told what has changed. @returns whether the stage is another now */
  #stageChanged(): boolean {
    const { stages } = this
    const change = stages?.takeChange() ?? null
    if (stages === null || change === null) return false
    const summed = change === 'moved' && this.log.stages.at(-1)?.summary !== undefined
    this.#out({ type: 'stage', ...(summed ? { forget: true } : {}) })
    this.#checkpointDue = true
    if (change === 'known') return false
    const { escalate = null, handoverTo, language } = stages.stage
    this.#humanDue = escalate
    if (handoverTo !== undefined) this.#handOver(handoverTo, this.log.stages.at(-1)?.summary ?? '')
    if (language !== undefined && this.#language.set(language)) this.#languageChanged()
    this.#stageTimed()
    return true
  }

  /** The stage that the call came into leads to a human. @returns whether one is being reached */
  #stageEscalates(): boolean {
    const reason = this.#humanDue
    this.#humanDue = null
    if (reason === null || this.#state !== 'live') return false
    return this.#escalate({ reason, summary: '', origin: 'rule', toolCallId: null })
  }

  #stageTimed(): void {
    const dueMs = this.stages?.dueMs ?? null
    if (dueMs === null) this.#clear('stage')
    else this.#deadlines.set('stage', this.streamZeroMs + dueMs)
  }

  // --- another agent --------------------------------------------------------------------------------------
  //
  //     live --hand_over, a stage with handoverTo--> the words so far are heard --> `handover`, the last output
  //
  // Another worker's half of the call goes on from the checkpoint, as after a worker's death, with the other agent.

  /** @returns why the call stays with this agent; null when it goes */
  #handOver(to: string, summary: string): string | null {
    if (this.log.handovers.length >= HANDOVERS_MAX)
      return `This caller was handed over ${HANDOVERS_MAX} times already: go on yourself, or offer a human.`
    if (this.#state !== 'live' || this.#handingOverTo !== null) return 'The call is already being ended or handed over.'
    this.#handingOverTo = to
    const record = {
      atMs: this.#streamMs,
      from: this.#options.agent,
      to,
      summary: summary.trim().slice(0, SUMMARY_CHARS_MAX),
    }
    this.#record({ kind: 'handover', record })
    this.#mark('handover', `${record.from} to ${to}`)
    this.#abandonCollection()
    this.#cancelTools()
    this.#agentSpeech.close()
    this.#clear(...NOT_WHILE_CLOSING)
    this.#handoverLimitMs = this.#nowMs + WORDS_HEARD_MS_MAX
    this.#in('handover', QUIET_POLL_MS)
    return null
  }

  #handoverDue(): void {
    const to = this.#handingOverTo
    if (to === null || this.#state !== 'live') return
    const speaks = this.#sounding || this.#bargeIn.paused || this.#agentSpeech.responding !== null
    if (speaks && this.#nowMs < this.#handoverLimitMs) return this.#in('handover', QUIET_POLL_MS)
    this.#settleBargeIn()
    this.#transcript.close(this.#streamMs)
    this.#judgeClaims(true)
    this.#out({ type: 'handover', agent: to })
  }

  // --- what the agent claims to have done -----------------------------------------------------------------
  //
  //     heard --supported by a tool call, now or when its result comes--> recorded as done
  //     heard --CLAIM_GRACE_MS, no response and none of its tools running | call over--> recorded; corrected where that is set

  /** An entry of the agent is complete. The gateway's own phrases claim nothing. */
  #agentSaid(entry: TranscriptEntry, itemId: string, playedMs: number | null): void {
    // Of the greeting it has learnt when that began.
    if (itemId === this.#greetingItemId) return
    if (itemId.startsWith(ANNOUNCEMENT)) return this.#gatewaySaid(entry.text, itemId, playedMs)
    this.#language.answered()
    if (this.#claims === null) return
    this.#claims.said(entry, playedMs, this.#nowMs + this.#options.wallOffsetMs)
    this.#judgeClaims(false)
    if (this.#claims.open.length > 0 && this.#state !== 'ended') this.#in('claims', CLAIM_GRACE_MS)
  }

  /** The model must know what it would else say again, or answer. What nobody heard counts as not said. */
  #gatewaySaid(words: string, itemId: string, playedMs: number | null): void {
    if (playedMs === 0 && itemId === this.#silencePromptId) this.#silence.unheard()
    if (playedMs === 0 || !this.#backendUsable || !this.#streaming) return
    const text = playedMs === null ? words : `${words} [the caller interrupted]`
    this.#out({ type: 'backend-text', text, role: 'agent', respond: false })
  }

  #claimsDue(): void {
    if (this.#agentSpeech.responding === null || this.#backendDead) this.#judgeClaims(true)
    if (this.#openClaims.length > 0) this.#in('claims', CLAIM_GRACE_MS)
  }

  /** @param over  what nothing supports now is false */
  #judgeClaims(over: boolean): void {
    if (this.#openClaims.length === 0) return
    const unsupported = (this.#claims?.judge(over, this.#tools.runningNames()) ?? []).filter((record) => {
      const { tool, phrase, verdict } = record
      this.#record({ kind: 'claim', record })
      const about = tool ?? (verdict === 'no-source' ? 'fact' : 'no tool')
      this.#mark(verdict === 'done' ? 'claim' : 'claim-unsupported', `${about}: ${verdict}; ${phrase}`)
      const { claims } = this.#options
      return verdict === 'no-source' ? claims?.facts?.correct === true : verdict !== 'done' && claims?.correct === true
    })
    if (unsupported.length > 0) this.#correct(unsupported)
  }

  /** Has the model correct itself: now when nobody speaks, else with its next answer. */
  #correct(claims: readonly ClaimRecord[]): void {
    if (this.#state !== 'live' || !this.#backendUsable) return
    if (this.#corrections >= CLAIM_CORRECTIONS_MAX) return
    this.#corrections++
    const respond = !this.#agentTalking && !this.#callerSpeech.speaking && this.#tools.running === 0
    this.#mark('claim-corrected', respond ? 'now' : 'with the next answer')
    this.#out({ type: 'backend-text', text: correctionOf(claims), role: 'system', respond })
    if (respond) this.#in('answer', this.#options.answerTimeoutMs)
  }

  // --- a caller who is rung back --------------------------------------------------------------------------
  //
  //     asks --resume_conversation, digit 1--> confirmed   only then is anything of the other call given to the backend

  /** @returns true when the digit has confirmed that the caller goes on */
  #confirmDigit(digit: string): boolean {
    if (this.#unconfirmed === null || digit !== YES_DIGIT || this.#state !== 'live') return false
    this.#stopAgent()
    this.#callerActive()
    const conversation = JSON.stringify(this.#confirmed('key'))
    this.#out({
      type: 'backend-text',
      text: `The person pressed ${digit}: they want to go on. Go on from here: ${conversation}`,
      role: 'system',
      respond: false,
    })
    // As the caller's answer, so that a backend without a model has one too.
    this.#out({ type: 'backend-text', text: digit, role: 'caller', respond: true })
    this.#in('answer', this.#options.answerTimeoutMs)
    return true
  }

  /** @returns the conversation that was cut off */
  #confirmed(by: 'key' | 'words'): Readonly<Record<string, unknown>> {
    const words = this.log.transcript.slice(0, this.#unconfirmed ?? 0)
    this.#unconfirmed = null
    this.#mark('call-back-confirmed', by)
    this.#checkpointDue = true
    return {
      conversation: words.slice(-RESUMED_WORDS_MAX).map(({ role, text }) => ({ role, text })),
      toolResults: this.log.toolCalls
        .filter(({ end }) => end !== 'refused' && end !== 'built-in')
        .slice(-RESUMED_TOOLS_MAX)
        .map(({ record, result }) => ({ name: record.name, args: record.args, ok: record.ok, result })),
      known: Object.fromEntries(this.log.facts.map(({ name, value }) => [name, value])),
      note: 'The identity of the person is not verified in this call.',
    }
  }

  #refuseTool({ callId, name, args, background }: ToolCallEvent, error: string): void {
    const shortName = name.slice(0, TOOL_NAME_CHARS_MAX)
    this.counters.toolCallsRefused++
    // The model was about to ask for a secret number, and may do so in words.
    const secret = this.#options.collections.some(
      (one) => one.secretFor !== null && (one === this.#collectionOf(name, args) || one.secretFor.tool === name),
    )
    if (secret) this.#guardKeys(true)
    this.#tools.refused(callId, shortName, args, this.#streamMs, error)
    this.#mark('tool-refused', `${shortName}: ${error}`)
    this.#out({ type: 'backend-tool-result', callId, ok: false, value: { error } })
    // A model that only calls tools is not answering: its deadline stands.
    if (this.#state === 'live' && background !== true && !this.#toolsWithheld)
      this.#in('answer', this.#options.answerTimeoutMs)
  }

  #toolResult(
    callId: string,
    ok: boolean,
    value: unknown,
    error: string | undefined,
    end: 'answered' | 'overdue' = 'answered',
    recorded?: unknown,
  ): void {
    const answer = this.#tools.result(callId, { ok, value, error, recorded }, end)
    if (answer === null) {
      this.counters.toolResultsLate++
      return
    }
    this.#mark('tool-end', answer.name)
    this.#judgeClaims(false)
    // Before the result: the model's answer to it is the first of the new stage.
    this.#stageResult(answer.name, { ok, value: answer.value, ...(error === undefined ? {} : { error }) })
    if (this.#tools.running === 0) this.#clear('filler', 'tool-limit')
    if (callId === this.#collection?.toolCallId) return this.#collectionOver(answer.ok, answer.value, error)
    if (!this.#backendUsable) return
    this.#out({ type: 'backend-tool-result', callId, ok: answer.ok, value: answer.value })
    // The model must speak now, whatever the result is; unless it was to say nothing about it.
    if (this.#state === 'live' && !answer.quiet) this.#in('answer', this.#options.answerTimeoutMs)
  }

  /** The tool has begun something whose outcome comes later. */
  #toolPending(callId: string, waitMs: number): void {
    const call = this.#tools.pending(callId)
    if (call === null) {
      this.counters.toolResultsLate++
      return
    }
    this.#mark('tool-pending', `${call.name}, for at most ${waitMs} ms`)
    this.#waits.begin(call, this.#nowMs + waitMs)
    this.#checkpointDue = true
    if (this.#tools.running === 0) this.#clear('filler', 'tool-limit')
    this.#watchWaits()
    if (!this.#backendUsable || !this.#streaming) return
    const said = this.#state === 'live' ? this.#text(this.#options.waits[call.name]?.say) : ''
    this.#out({ type: 'backend-tool-result', callId, ok: true, value: pendingAnswer(said), pending: true })
    if (this.#state !== 'live') return
    if (said === '') return this.#in('answer', this.#options.answerTimeoutMs)
    this.#announce(said, 'tool')
    this.#clear('answer')
    this.#asksToWait = true
    this.#agentSpeech.close()
  }

  /** News of a pending tool call. */
  #toolOutcome(callId: string, status: 'progress' | 'succeeded' | 'failed', value: unknown): void {
    if (status === 'progress') {
      const wait = this.#waits.waiting.find((one) => one.callId === callId)
      if (wait === undefined) return
      this.#mark('tool-progress', wait.name)
      const text = `There is news of ${wait.name}, which is no outcome yet: ${JSON.stringify(value)}`
      if (this.#backendUsable) this.#out({ type: 'backend-text', text, role: 'system', respond: false })
      return
    }
    const settled = this.#waits.settle(callId, status, value)
    if (settled === null) return
    const { wait, first } = settled
    const ok = status === 'succeeded'
    this.#mark('tool-outcome', `${wait.name}: ${status}${wait.outcome?.late === true ? ', late' : ''}`)
    const result = { ok, value, error: ok ? undefined : 'failed' }
    if (wait.outcome?.late === true) this.#tools.late(wait, result)
    else if (first) this.#tools.result(callId, result)
    this.#judgeClaims(false)
    if (first) this.#stageResult(wait.name, { ok, value, ...(ok ? {} : { error: 'failed' }) })
    this.#checkpointDue = true
    this.#in('waits', 0)
  }

  /** The caller does not want to wait any more. What was begun outside may go on. */
  #cancelWaits(): void {
    for (const wait of this.#waits.waiting) {
      this.#giveUpWait(wait, 'cancelled')
      this.#tell(wait)
    }
  }

  #giveUpWait(wait: Wait, status: 'expired' | 'cancelled'): void {
    this.#mark(`tool-${status}`, wait.name)
    this.#waits.giveUp(wait, status)
    this.#out({ type: 'wait', callId: wait.callId, state: status })
    const end = status === 'expired' ? 'expired' : 'abandoned'
    const result = { ok: false, value: { status }, error: status }
    this.#tools.result(wait.callId, result, end)
    this.#stageResult(wait.name, result)
    this.#checkpointDue = true
  }

  #watchWaits(): void {
    if (this.#waits.idle) this.#clear('waits')
    else this.#in('waits', WAITS_POLL_MS)
  }

  #waitsDue(): void {
    for (const wait of this.#waits.overdue(this.#nowMs)) this.#giveUpWait(wait, 'expired')
    const { untold } = this.#waits
    const quietMs = this.#nowMs - Math.max(this.#agentHeardAtMs, this.#callerSpeech.lastVoicedMs || 0)
    const pause =
      this.#state === 'live' &&
      quietMs >= PAUSE_MS &&
      !this.#agentTalking &&
      !this.#agentSpeech.anyOpen &&
      !this.#callerSpeech.speaking &&
      !this.#bargeIn.paused
    if (pause && untold !== null) this.#tell(untold)
    else if (pause && untold === null) this.#sayStillWaiting(quietMs)
    this.#watchWaits()
  }

  #sayStillWaiting(quietMs: number): void {
    for (const { name } of this.#waits.waiting) {
      const { still, everyMs = Infinity } = this.#options.waits[name] ?? {}
      if (quietMs < everyMs) continue
      this.#announce(this.#text(still), 'prompt')
      return
    }
  }

  /** The backend gets an outcome, which nobody else says to the caller. */
  #tell(wait: Wait): void {
    const { callId, name, outcome } = wait
    if (outcome === null || !this.#backendUsable) return
    const { status, value } = outcome
    const said = status === 'expired' ? this.#text(this.#options.waits[name]?.onTimeout) : ''
    // The model answers the caller's own words when they cancel.
    const respond = said === '' && status !== 'cancelled'
    this.#waits.tell(wait, this.#agentSpeech.latest)
    const given = status === 'succeeded' || status === 'failed' ? value : { status }
    const text = outcomeText(wait)
    this.#out({ type: 'backend-tool-outcome', callId, ok: status === 'succeeded', value: given, text, respond })
    if (respond) return this.#in('answer', this.#options.answerTimeoutMs)
    if (said !== '') this.#announce(said, 'prompt')
    this.#waits.said(wait)
  }

  #outcomeHeard(wait: Wait | null): void {
    if (wait === null) return
    this.#checkpointDue = true
    if (!wait.told) return
    this.#mark('tool-told', wait.name)
    this.#out({ type: 'wait', callId: wait.callId, state: 'told' })
  }

  /** The backend takes tool calls back. */
  #toolsTakenBack(callIds: readonly string[]): void {
    if (this.#collection !== null && callIds.includes(this.#collection.callId)) this.#abandonCollection()
    this.#takeBack(callIds)
  }

  #takeBack(callIds: readonly string[]): void {
    const cancelled = this.#tools.cancel(callIds)
    if (cancelled.length === 0) return
    this.#out({ type: 'cancel-tools', callIds: cancelled })
    if (this.#tools.running === 0) this.#clear('filler')
  }

  /** Gives up on tools that never came back. */
  #toolLimitDue(): void {
    const { toolLimitMs } = this.#options
    const overdue = this.#tools.overdue(this.#nowMs - toolLimitMs)
    if (overdue.length > 0) this.#out({ type: 'cancel-tools', callIds: overdue })
    for (const callId of overdue)
      this.#toolResult(callId, false, { error: 'The tool did not answer in time.' }, 'no answer in time', 'overdue')
    const oldestMs = this.#tools.oldestStartMs()
    if (oldestMs !== null) this.#deadlines.set('tool-limit', oldestMs + toolLimitMs)
  }

  /** A tool runs for long, or the model is late with its answer: the caller hears that we are still there. */
  #fillerDue(): void {
    if (this.#state !== 'live' || this.#collection?.running === false) return
    const runs = this.#tools.running > 0
    const { answerAfterMs = null } = this.#options.filler
    const late = answerAfterMs !== null && this.#turns.understood && !this.#smallTalk
    if (!runs && !(late && this.#fillers.none)) return
    const waits = (runs && this.#tools.awaited) || this.#turns.waiting
    if (!waits || this.#sounding || this.#callerSpeech.speaking || this.#bargeIn.paused)
      return this.#in('filler', FILLER_POLL_MS)
    const quietMs = this.#nowMs - this.#agentHeardAtMs
    const neededMs = this.#fillers.neededMs
    if (runs && quietMs < neededMs) return this.#in('filler', neededMs - quietMs)
    this.#sayFiller()
    if (runs) this.#in('filler', this.#options.filler.everyMs)
  }

  // --- escalation -----------------------------------------------------------------------------------------
  //
  // `Escalation` decides how to reach a human, because it must outlive the stream. The session tells the caller, and
  // holds, closes or resumes the stream. It announces nothing before the first step says that there is somebody to try.
  //
  //     live       --asked for-->                       escalating  packet out
  //     escalating --step close-stream-->               closed      once the announcement was heard
  //     escalating --step hold-->                       holding     announced, then silent, stream kept
  //     escalating | holding --step bridged-->          bridged     backend closed, no time limits any more
  //     escalating | holding --step offer-->            live | escalating   the caller is asked about a call back
  //     escalating | holding --step failed, no step in time, held too long-->  live | closing   the caller is told
  //     holding    --step close-stream-->               closed      the next strategy needs the stream gone
  //
  //     offer  --digit 1, request_callback--> noted, output `callback`
  //     offer  --OFFER_ANSWER_MS, or another digit when the backend is dead--> output `callback`, perhaps a goodbye

  /** The agent's escalation rules, independent of the backend. */
  #applyRules(input: CallInput): void {
    const reason = this.#rules?.applies(input, this.#identity) ?? null
    if (reason !== null && this.#state === 'live')
      this.#escalate({ reason, summary: '', origin: 'rule', toolCallId: null })
    this.#stageEscalates()
  }

  #operatorEscalates(reason: string): void {
    const possible =
      this.#state === 'live' ||
      this.#state === 'connecting' ||
      this.#state === 'escalating' ||
      this.#state === 'holding'
    const request = { reason, summary: '', origin: 'operator', toolCallId: null } as const
    if (!possible || !this.#escalate(request)) this.#mark('escalation-refused', this.#state)
  }

  /** The model takes a supervisor's words into its next answer. */
  #whisper(text: string): void {
    if (this.#state !== 'live' || !this.#backendUsable) return this.#mark('whisper-refused', this.#state)
    this.#mark('whisper', text)
    this.#out({ type: 'backend-text', text: `${WHISPER}${text}`, role: 'system', respond: false })
  }

  /** @returns false when this agent cannot escalate. A second request during an escalation changes nothing. */
  #escalate(request: EscalationRequest): boolean {
    if (this.#options.escalation === null) return false
    if (this.#state === 'escalating' || this.#state === 'holding' || this.#state === 'bridged') return true
    this.#enterEscalation(request)
    if (request.toolCallId === null) this.#claims?.arranged(ESCALATE_TOOL)
    this.#transferAnnounced = false
    if (request.origin === 'operator' || request.origin === 'rule') this.#stopAgent()
    if (request.origin === 'backend-failed') this.#sayBeforeTransfer(this.#text(this.#options.apologyText))
    return true
  }

  #enterEscalation(request: EscalationRequest): void {
    const { reason, summary, origin } = request
    this.#withdrawOffer()
    this.#abandonCollection()
    this.#request = request
    this.#state = 'escalating'
    this.#agentSpeech.close()
    this.#clear('silence', 'filler', 'answer', 'backend-ready')
    this.#escalation = { reason, strategy: null, outcome: null }
    this.#in('escalation-step', this.#options.escalation?.stepTimeoutMs ?? 0)
    this.#mark('escalation', origin)
    this.#out({ type: 'escalate', packet: this.#packet(reason, summary) })
    this.#checkpointDue = true
  }

  #packet(reason: string, summary: string): EscalationPacket {
    const { callSid, agent, wallOffsetMs } = this.#options
    return {
      version: 1,
      callSid,
      agent,
      language: this.#language.now,
      reason,
      summary,
      identity: this.#identity,
      tried:
        this.#unconfirmed === null
          ? this.log.toolCalls.map(({ record: { name, ok, args } }) => ({ name, ok, args }))
          : [],
      ...(this.stages === null || this.#unconfirmed !== null ? {} : this.stages.left),
      transcript: [...this.log.transcript.slice(this.#unconfirmed ?? 0), ...this.#transcript.open].slice(
        -TRANSCRIPT_ENTRIES_MAX,
      ),
      // Only formats a number and reads no clock.
      at: new Date(this.#nowMs + wallOffsetMs).toISOString(),
    }
  }

  #escalationStep(step: EscalationStep): void {
    if (!this.#streaming || this.#state === 'closing') return
    const under = this.#state === 'escalating' || this.#state === 'holding'
    switch (step.type) {
      case 'close-stream':
        if (!under) return this.#mark('escalation-step-late', step.type)
        this.#clear('escalation-step', 'hold')
        this.#announceTransfer(step.mayBeSilent)
        this.#closeForTransfer = true
        if (this.#transferItemId === null) this.#closeStreamForTransfer()
        return
      case 'hold':
        if (!under) return this.#mark('escalation-step-late', step.type)
        this.#announceTransfer(false)
        return this.#hold()
      case 'bridged':
        return this.#bridged(step.strategy)
      case 'offer':
      case 'failed':
        return under ? this.#unreached(step.outcome, step.detail, step.closed, step.type === 'offer') : undefined
      default:
        return assertNever(step)
    }
  }

  /** Tells the caller that they are being connected. */
  #announceTransfer(mayBeSilent: boolean): void {
    const { announceText = null, silentLineText = null } = this.#options.escalation ?? {}
    const texts = [this.#transferAnnounced ? null : announceText, mayBeSilent ? silentLineText : null]
    this.#sayBeforeTransfer(
      texts
        .map((text) => this.#text(text))
        .join(' ')
        .trim(),
    )
    this.#transferAnnounced = true
  }

  #sayBeforeTransfer(text: string): void {
    if (text === '') return
    this.#transferItemId = this.#announce(text, 'escalation')
    this.#in('words-heard', this.#wordsMs(text))
  }

  /** The announcement was heard, or cannot be heard: continue. */
  #transferAnnouncementOver(): void {
    this.#transferItemId = null
    this.#clear('words-heard')
    if (this.#closeForTransfer) this.#closeStreamForTransfer()
  }

  #closeStreamForTransfer(): void {
    this.#closeForTransfer = false
    this.#endNow('escalated', this.#request?.reason ?? 'operator', false)
  }

  #hold(): void {
    this.#clear('escalation-step', 'silence', 'filler', 'answer')
    if (this.#state === 'holding' || this.#state === 'bridged') return
    this.#state = 'holding'
    this.#agentSpeech.close()
    this.#in('hold', this.#options.escalation?.holdTimeoutMs ?? 0)
    this.#mark('hold')
    this.#checkpointDue = true
  }

  #bridged(strategy: EscalationStrategy): void {
    if (this.#state === 'bridged') return
    this.#stopAgent()
    this.#state = 'bridged'
    this.#agentSpeech.close()
    this.#abandonCollection()
    this.#deadlines.clearAll()
    if (this.#private) this.#in('private', PRIVATE_TAIL_MS)
    this.#escalation = { reason: this.#escalation?.reason ?? 'operator', strategy, outcome: 'answered' }
    this.#mark('bridged', strategy)
    this.#cancelTools()
    this.#closeBackend('bridged')
    this.#checkpointDue = true
    // A conference holds the call without our stream, which would only cost. Other legs end with their stream.
    if (strategy === 'conference') this.#endNow('escalated', 'a human joined the conference', false)
  }

  /**
   * Tells the caller and the backend that nobody can be reached. With `offer` the caller is asked about a call back.
   */
  #unreached(outcome: EscalationOutcome, detail: string, closed: boolean, offer: boolean): void {
    const request = this.#request
    const options = this.#options.escalation
    this.#clear('escalation-step', 'hold', 'words-heard')
    if (this.#escalation !== null) this.#escalation = { ...this.#escalation, outcome }
    this.#mark('escalation-failed', detail)
    this.#request = null
    this.#transferItemId = null
    this.#closeForTransfer = false
    const words = this.#text(closed ? options?.closedText : options?.failedText)
    const takesMessage = request?.takesMessage === true && !this.#backendDead
    if (!offer && this.#endsAfterFailure && !takesMessage) {
      const text = `${words} ${this.#goodbye}`.trim()
      this.#speakThenEnd(this.#reasonAfterFailure, `escalation failed: ${detail}`, text, true)
      return
    }
    // What the backend said meanwhile was not played; its rest must not be played either.
    this.#stopAgent()
    this.#agentSpeech.raiseFence(this.#agentSpeech.latest)
    this.#checkpointDue = true
    this.#agentHeardAtMs = this.#nowMs
    if (takesMessage) this.#withdrawOffer()
    else if (offer) this.#offerCallback(words, request)
    else if (words !== '') this.#announce(words, 'escalation')
    if (this.#backendDead) return
    this.#agentSpeech.open()
    this.#state = 'live'
    this.#tellBackendUnreached(request, outcome, closed, offer, takesMessage ? words : null)
    this.#in('silence', this.#options.silence.afterMs)
    if (this.#tools.running > 0) this.#in('filler', this.#options.filler.afterMs)
  }

  /** @param say  what the backend is to tell the caller itself; null: the caller has been told */
  #tellBackendUnreached(
    request: EscalationRequest | null,
    outcome: EscalationOutcome,
    closed: boolean,
    offer: boolean,
    say: string | null,
  ): void {
    const toolCallId = request?.toolCallId ?? null
    const why = closed ? 'No human is there at this hour.' : 'No human could be reached.'
    const next = offer
      ? 'The caller has been told, and was asked whether to be called back: the system takes the key 1 for yes. If they say ' +
        'yes in words, call request_callback.'
      : 'The caller has been told. Go on helping.'
    const note = `${why} ${next}`
    if (toolCallId === null) return this.#out({ type: 'backend-text', text: note, role: 'system', respond: false })
    const value = say === null ? { error: note, outcome } : { error: why, outcome, say }
    this.#out({ type: 'backend-tool-result', callId: toolCallId, ok: false, value })
    const answer = this.#tools.result(toolCallId, { ok: false, value, error: outcome })
    if (answer !== null) this.#mark('tool-end', answer.name)
  }

  /** Says that nobody can come and asks whether to call back. */
  #offerCallback(words: string, wish: { readonly reason: string; readonly summary: string } | null): void {
    const text = `${words} ${this.#text(this.#options.escalation?.callback?.offerText)}`.trim()
    this.#offer = wish ?? { reason: '', summary: '' }
    this.#announce(text, 'escalation')
    this.#in('offer', this.#wordsMs(text) + OFFER_ANSWER_MS)
    this.#mark('callback-offered')
  }

  #withdrawOffer(): void {
    this.#offer = null
    this.#endsAfterOffer = false
    this.#clear('offer')
  }

  /** @returns true when the digit answered the offer of a call back */
  #offerDigit(digit: string): boolean {
    if (this.#offer === null) return false
    if (digit === YES_DIGIT) {
      // The answer is known, so the rest of the question need not be heard.
      this.#stopAgent()
      this.#noteCallback('key', null, '')
      const confirmed = this.#text(this.#options.escalation?.callback?.confirmedText)
      if (this.#endsAfterFailure) {
        this.#goodbyeAfterOffer(confirmed)
      } else {
        if (confirmed !== '') this.#announce(confirmed, 'escalation')
        this.#out({
          type: 'backend-text',
          text: 'The caller pressed 1: the call back is noted and they have been told.',
          role: 'system',
          respond: false,
        })
      }
      return true
    }
    if (!this.#backendDead) return false
    this.#offerDeclined()
    return true
  }

  /** No answer came in time, or it was not yes. */
  #offerDeclined(): void {
    if (this.#offer === null) return
    const ends = this.#endsAfterOffer
    this.#withdrawOffer()
    this.#out({ type: 'callback', wish: null })
    this.#mark('callback-declined')
    if (ends) this.#speakThenEnd('silence-limit', 'on hold, after the offer of a call back', this.#goodbye, false)
    else if (this.#endsAfterFailure) this.#goodbyeAfterOffer('')
  }

  /**
   * Handles the model's `request_callback`.
   * @param number  as the caller gave it; null for the number that they call from
   * @param wantedAt  their date and time; null where they named none
   * @returns the error for the model; null when the call back is noted
   */
  #requestCallback(number: string | null, note: string, wantedAt: string | null): string | null {
    const { callback } = this.#options.escalation ?? {}
    if (callback === null || callback === undefined) return 'This line does not call back.'
    if (number === null && !callback.numberKnown)
      return "The caller's number is withheld; ask for it and give it as number."
    // They are promised a call: a number that cannot be called is asked for again.
    const read = number === null ? null : numberToCall(number)
    if (read !== null && 'fault' in read) return `number is one that ${read.fault}; ask the caller for it again.`
    if (wantedAt !== null && !(WANTED_AT.test(wantedAt) && Number.isFinite(Date.parse(`${wantedAt}:00Z`))))
      return 'at must be a date and a time, as 2026-11-27T15:00.'
    this.#noteCallback('words', number?.replace(/[ ().-]/g, '') ?? null, note, wantedAt)
    return null
  }

  /**
   * What a caller has said of a message that they did not finish: who gives a name to somebody who takes messages expects a
   * call. Null: nothing, they did not want to leave one, or it is noted already.
   */
  #begunMessage(): string | null {
    const taken = this.log.toolCalls.findLast(({ record: { name } }) => name === ESCALATE_TOOL)?.record
    if (taken?.args['takesMessage'] !== true) return null
    if (this.#escalation?.strategy === 'callback' || this.#escalation?.outcome === 'answered') return null
    if (this.#options.escalation?.callback?.numberKnown !== true) return null
    const said = this.log.transcript
      .filter(({ role, startMs }) => role === 'caller' && startMs >= taken.startMs + taken.ms)
      .map(({ text }) => text.trim())
      .filter((text) => text !== '')
    const last = said.at(-1)
    if (last === undefined || saysNo(last) || isClosing(last)) return null
    return said.join(' ').slice(0, MESSAGE_CHARS_MAX)
  }

  #noteCallback(asked: CallbackAsk, number: string | null, note: string, wantedAt: string | null = null): void {
    const { reason, summary } = this.#offer ?? { reason: 'a call back', summary: note }
    this.#withdrawOffer()
    this.#escalation = { reason, strategy: 'callback', outcome: 'answered' }
    this.#claims?.arranged(CALLBACK_TOOL)
    this.#out({
      type: 'callback',
      wish: { asked, number, note, ...(wantedAt === null ? {} : { wantedAt }), packet: this.#packet(reason, summary) },
    })
    this.#mark('callback-noted', asked)
    this.#checkpointDue = true
  }

  /** The call ends when no human could be reached. */
  get #endsAfterFailure(): boolean {
    return this.#backendDead || this.#options.escalation?.afterFailure === 'goodbye'
  }

  get #reasonAfterFailure(): EndReason {
    return this.#backendDead ? 'backend-failed' : 'agent-goodbye'
  }

  #goodbyeAfterOffer(words: string): void {
    this.#speakThenEnd(
      this.#reasonAfterFailure,
      'after the offer of a call back',
      `${words} ${this.#goodbye}`.trim(),
      false,
    )
  }

  // --- the end --------------------------------------------------------------------------------------------
  //
  //     (any)    --the gateway's goodbye-->  closing  words announced, then end-stream when heard (or by deadline)
  //     live     --end_call-->         closing  current words heard and QUIET_MS of quiet, then end-stream
  //     closing  --caller speaks up, end_call only-->  live
  //     (any)    --end now-->          closed   end-stream sent, tools cancelled, backend closed
  //     closed   --stream-closed, or STREAM_CLOSE_WAIT_MS-->  ended
  //     (any)    --stream-closed-->    ended    the caller hung up, or what the socket's fault says
  //     waiting  --end-->              ended    there is no stream to close

  #hangup(reason: EndReason, detail: string, speak: boolean): void {
    if (this.#state === 'closed') return
    if (!speak || !this.#streaming) return this.#endNow(reason, detail)
    if (this.#state === 'closing' && this.#plan?.cancellable === false) return
    // The gateway does not speak over a human on the line.
    if (this.#state === 'bridged' || this.#state === 'holding') return this.#endNow(reason, detail)
    this.#speakThenEnd(reason, detail, this.#goodbye, true)
  }

  #durationDue(): void {
    if (this.#state === 'bridged') return
    if (this.#state !== 'live' && this.#state !== 'connecting') return this.#in('duration', DURATION_POLL_MS)
    const { text, maxMs } = this.#options.duration
    this.#speakThenEnd('duration-limit', `${maxMs} ms`, this.#text(text), true)
  }

  /** Says `text`, then ends the stream. `interrupt` cuts what the agent is saying. */
  #speakThenEnd(reason: EndReason, detail: string, text: string, interrupt: boolean): void {
    if (!this.#streaming || text === '') return this.#endNow(reason, detail)
    if (interrupt) this.#stopAgent()
    this.#beginClosing()
    const itemId = this.#announce(text, reason === 'backend-failed' ? 'apology' : 'goodbye')
    this.#plan = { reason, detail, cancellable: false, toolCallId: null, itemId, quietSinceMs: null }
    this.#in('words-heard', this.#wordsMs(text))
    this.#mark('goodbye', detail === '' ? reason : `${reason}: ${detail}`)
  }

  /**
   * The agent asked for the end, or the caller has said goodbye: plays the agent's current words first, then `goodbye`.
   * A caller who speaks up takes it back.
   */
  #endAfterSpeech(detail: string, toolCallId: string | null, goodbye: string): void {
    this.#beginClosing()
    const itemId = goodbye === '' ? null : this.#announce(goodbye, 'goodbye')
    this.#plan = { reason: 'agent-goodbye', detail, cancellable: true, toolCallId, itemId, quietSinceMs: null }
    this.#in('quiet-goodbye', QUIET_POLL_MS)
    this.#in('quiet-goodbye-limit', WORDS_HEARD_MS_MAX + this.#playout.pendingMs())
    this.#mark('goodbye', 'agent-goodbye')
  }

  #beginClosing(): void {
    this.#abandonCollection()
    this.#state = 'closing'
    this.#agentSpeech.close()
    this.#clear(...NOT_WHILE_CLOSING)
    this.#checkpointDue = true
  }

  /** The caller spoke up before an agreed end: the call continues, and the model is told. */
  #cancelGoodbye(): void {
    const plan = this.#plan
    if (plan === null || !plan.cancellable) return
    this.#plan = null
    this.#clear('quiet-goodbye', 'quiet-goodbye-limit')
    this.#state = 'live'
    this.#agentSpeech.open()
    this.#mark('goodbye-taken-back')
    if (plan.toolCallId !== null)
      this.#toolResult(plan.toolCallId, false, { error: 'The caller spoke up; the call goes on.' }, 'taken back')
    this.#in('silence', this.#options.silence.afterMs)
  }

  /** Ends the call once the agent's last words were heard and nothing follows. */
  #quietGoodbyeDue(): void {
    const plan = this.#plan
    if (plan === null || !plan.cancellable) return
    if (this.#sounding || plan.itemId !== null || this.#bargeIn.paused) {
      plan.quietSinceMs = null
    } else {
      plan.quietSinceMs ??= this.#nowMs
      const neededMs = this.#agentSpeech.responding === null ? QUIET_MS : QUIET_WHILE_RESPONDING_MS
      if (this.#nowMs - plan.quietSinceMs >= neededMs) return this.#endAsPlanned()
    }
    this.#in('quiet-goodbye', QUIET_POLL_MS)
  }

  #endAsPlanned(): void {
    if (this.#plan !== null) this.#endNow(this.#plan.reason, this.#plan.detail)
  }

  /** Ends the stream at once. With `hangup` false the leg stays up for a human. */
  #endNow(reason: EndReason, detail: string, hangup = true): void {
    if (this.#state === 'closed' || this.#state === 'ended') return
    const hadStream = this.#streaming
    this.#out({ type: 'end-stream', code: closeCodeOf(reason), reason, detail, hangup })
    if (!hadStream) return this.#finish(reason, detail)
    this.#closedFor = { reason, detail }
    this.#release(reason)
    this.#state = 'closed'
    this.#deadlines.clearAll()
    this.#in('stream-close', STREAM_CLOSE_WAIT_MS)
  }

  /** The socket is closed. @param fault  null when it was closed normally */
  #streamClosed(code: number, fault: StreamFault | null): void {
    this.#streamClosedAtMs = this.#nowMs
    if (this.#closedFor !== null) return this.#finish(this.#closedFor.reason, this.#closedFor.detail)
    if (this.#state === 'bridged') return this.#finish('escalated', 'the call with the human ended')
    if (fault === null) return this.#finish('caller-hung-up', `in ${this.#state}`)
    // After a failed socket the carrier holds the leg in silence, so it is asked to hang up, unless a human is on the
    // way. A lost connection usually means that the leg is lost too.
    if (fault.reason !== 'socket-lost' && this.#escalation?.outcome !== null)
      this.#out({ type: 'end-stream', code, ...fault, hangup: true })
    this.#finish(fault.reason, fault.detail)
  }

  #streamCloseOverdue(): void {
    if (this.#closedFor === null) return
    this.#mark('stream-close-overdue')
    this.#finish(this.#closedFor.reason, this.#closedFor.detail)
  }

  #finish(reason: EndReason, detail: string): void {
    if (this.#state === 'ended') return
    const facts = this.#release(reason)
    const message = reason === 'caller-hung-up' ? this.#begunMessage() : null
    if (message !== null) this.#noteCallback('words', null, message)
    this.#state = 'ended'
    this.#streamClosedAtMs ??= this.#nowMs
    this.#deadlines.clearAll()
    const { turns, turnsAnswered } = this.log
    const figures = `${Math.round(this.#streamMs)} ms of stream, ${turnsAnswered} of ${turns.length} turns answered${facts.waiting ? ', the caller was waiting' : ''}`
    this.#mark('ended', `${reason}${detail === '' ? '' : `: ${detail}`}; ${figures}`)
    this.#out({ type: 'ended', outcome: outcomeOf(reason, facts), reason, detail })
  }

  /**
   * Cancels tools, closes the backend and logs everything that is still open. Idempotent.
   * @returns facts for the outcome
   */
  #release(reason: EndReason): OutcomeFacts {
    const bridged = this.#escalation?.outcome === 'answered'
    // Read before the turn is closed: a caller who waits at the end was not served.
    const facts = (this.#outcomeFacts ??= {
      escalated: bridged,
      answered: this.log.turnsAnswered > 0,
      waiting: this.#turns.waitingForReal || (this.#escalation !== null && !bridged && this.#state !== 'live'),
    })
    const asAsked = reason === 'escalated' || reason === 'agent-goodbye' || bridged
    this.#collection = null
    this.#tools.close(asAsked)
    this.#settleBargeIn()
    this.#bargeIn.abandon()
    this.#cancelTools()
    this.#closeBackend(reason)
    this.#transcript.close(this.#streamMs)
    this.#judgeClaims(true)
    this.#recordTurn(this.#turns.close(this.streamZeroMs))
    return facts
  }
}

/** With the stream the speech was lost that waited in shared memory or was on its way. */
function owedBy({ owed, openTranscript }: CallCheckpoint, newStream: NewStream | null): OwedAnswer {
  if (newStream === null || owed !== 'nothing') return owed
  return openTranscript.some(({ role }) => role === 'agent') ? 'rest-of-answer' : 'nothing'
}

/** The backend is expected to answer this. */
function asksBackend(output: CallOutput): boolean {
  switch (output.type) {
    case 'backend-speech-end':
    case 'backend-dtmf':
    case 'backend-tool-result':
    case 'backend-tool-outcome':
      return true
    case 'backend-text':
      return output.respond
    default:
      return false
  }
}

function waitsOf(waits: readonly KeptWait[]): Pick<CallCheckpoint, 'waits'> {
  return waits.length === 0 ? {} : { waits }
}

/** A stage may offer it or not, and its result may move the call. */
function isOfAStage(tool: string): boolean {
  return !isBuiltIn(tool) || tool === COLLECT_TOOL
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function checkpointState(state: CallState): CallCheckpoint['state'] {
  switch (state) {
    case 'connecting':
      return 'live'
    case 'closed':
    case 'ended':
      return 'closing'
    default:
      return state
  }
}
