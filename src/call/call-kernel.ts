import { AFTER_KILL_SILENCE_MS } from '../core/limits.js'
import { FRAME_MS } from '../core/units.js'
import { AgentSpeech } from './agent-speech.js'
import { isBackchannel } from './backchannel.js'
import { BargeIn, type BargeInStart } from './barge-in.js'
import { DEADLINE_NAMES, WORDS_HEARD_MS_MAX, type DeadlineName } from './call-deadlines.js'
import type { CallFeature } from './call-feature.js'
import { withCaller } from './caller-data.js'
import { CallLanguage } from './call-language.js'
import { CallLog } from './call-log.js'
import type { CallLogEntry } from './documents/log-entry.js'
import type { CallSessionOptions } from './call-options.js'
import { CallerLevel } from './caller-level.js'
import { CallerSpeech } from './caller-speech.js'
import { Deadlines } from './deadlines.js'
import type { CallCheckpoint, NewStream, OwedAnswer, SessionResume } from './documents/checkpoint.js'
import type { TranscriptEntry, TurnRecord } from './documents/record.js'
import type { TurnDecider } from './end-of-turn.js'
import type { CallInput, CallOutput, PlayoutView, SpeechKind } from './events.js'
import type { CallerFrame } from './frame-figures.js'
import type { Fact } from './facts.js'
import { textIn, type LocalizedText } from './localized-text.js'
import { PutOnHold } from './put-on-hold.js'
import { UNANSWERED } from './requests.js'
import type { RequestName, Requests } from './requests.js'
import { Effects } from './resources/effects.js'
import { Floor } from './resources/floor.js'
import { Input } from './resources/input.js'
import { Keypad } from './resources/keypad.js'
import { Line } from './resources/line.js'
import { Model } from './resources/model.js'
import { Person } from './resources/person.js'
import { Stream } from './resources/stream.js'
import { Wait } from './resources/wait.js'
import { UnrecognisedSpeech } from './silence.js'
import { Stages } from './stages.js'
import { Transcript } from './transcript.js'
import { Turns } from './turns.js'
import { noUsage, type UsageSums } from './usage.js'

/**
 * The kernel of a call: frames, turns, barge-in, what is played, deadlines and outputs. What else a call can be about is in
 * `features/`; each calls what it needs of the kernel and of the others.
 *
 *     caller's onset, agent silent         --> backend-speech-start (backends without their own VAD)
 *     caller's onset, agent talking        --> playout-pause; the backend gets nothing: it may be a false one
 *     enough voice | words | backend decides --> playout-clear, backend-interrupt, backend-speech-start from the onset
 *     commitMs of what may be a backchannel --> backend-speech-start, where the backend can weigh it; no interrupt
 *     no commit, caller quiet              --> playout-resume; the backend gets nothing more
 *     caller's onset over protected speech --> backend-speech-start, the agent continues
 *     caller stopped                       --> backend-speech-end, a turn begins
 *     long sound that nobody understands   --> the same, see `UnrecognisedSpeech`
 *     backend speech-stopped (its own VAD) --> a turn begins, on our clock
 */
export class CallKernel {
  /** Events so far; each entry was an output. */
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
  readonly options: CallSessionOptions
  readonly language: CallLanguage
  readonly playout: PlayoutView
  readonly deadlines = new Deadlines(DEADLINE_NAMES)
  readonly unrecognised: UnrecognisedSpeech
  readonly putOnHold: PutOnHold
  readonly callerSpeech: CallerSpeech
  readonly agentSpeech = new AgentSpeech()
  readonly bargeIn: BargeIn
  readonly turns = new Turns()
  readonly transcript: Transcript
  readonly level: CallerLevel
  /** Outputs from `#outputsHead` on wait to be drained. */
  readonly #outputs: CallOutput[] = []
  #outputsHead = 0
  /** The state differs from the last checkpoint; at most one notice per input. */
  #checkpointDue = false
  /** The previous worker's checkpoint; null for a new call. */
  readonly resume: CallCheckpoint | null
  /** Null unless the call goes on with a new stream. */
  readonly newStream: NewStream | null
  /** Speech that the caller still waits for from the previous worker. */
  readonly owed: OwedAnswer
  /** From the opened stream to the first agent sound, in milliseconds; null before that sound. */
  greetingMs: number | null
  /** When the stream of a call that goes on here was opened, on the clock of the inputs; of a new call when it was announced. */
  readonly zeroMs: number
  nowMs: number
  nextAnnouncement: number
  // Resources: only one part of the call may hold each at a time.
  readonly stream: Stream
  readonly line: Line
  readonly floor: Floor
  readonly input: Input
  readonly keypad: Keypad
  readonly model: Model
  readonly effects: Effects
  readonly wait: Wait
  /** Who is on the line, and what is proven. */
  readonly person: Person
  /** The stages of the call; null: it has none. */
  readonly stages: Stages | null
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
  wordsMayCome = false
  /**
   * A service that detects turns heard speech over the agent, and the gateway decides what interrupts: the newest response
   * at that time. NaN: none, or it is decided.
   */
  #overlapGeneration = NaN
  /** That speech is over for the service, so that words that come now are its words. */
  overlapEnded = false
  /** A paused agent waits until then for words of the segment that paused it; NaN when it waits for none. */
  #wordsDueMs = NaN
  agentHeardAtMs = -Infinity
  /** The agent spoke after the caller last spoke. */
  agentSpokeLast = false
  /** The caller's segment began over the agent. */
  spokenOver = false

  /** The features of the call. An input goes to the first that takes it, a fact to each, in this order. */
  readonly features: readonly CallFeature[]

  /**
   * @param resume      state of the same call from its previous worker: the session continues and does not greet again
   * @param turnDecider in place of the one that the options ask for
   */
  constructor(
    options: CallSessionOptions,
    playout: PlayoutView,
    features: (call: CallKernel, resume: SessionResume | undefined) => readonly CallFeature[],
    resume?: SessionResume,
    turnDecider?: TurnDecider,
  ) {
    const checkpoint = resume?.checkpoint ?? null
    this.options = options
    this.playout = playout
    this.resume = checkpoint
    this.newStream = resume?.newStream ?? null
    this.owed = checkpoint === null ? 'nothing' : owedBy(checkpoint, this.newStream)
    this.greetingMs = checkpoint?.greetingMs ?? null
    this.language = new CallLanguage(options.languages, checkpoint?.language)
    this.nowMs = options.preparedAtMs
    this.nextAnnouncement = checkpoint?.nextAnnouncement ?? 1
    this.usage = { ...(checkpoint?.usage ?? noUsage()) }
    this.log = new CallLog(resume?.log)
    const openedWallMs = checkpoint?.streamOpenedWallMs ?? null
    this.zeroMs = openedWallMs === null ? options.preparedAtMs : openedWallMs - options.wallOffsetMs
    this.callerSpeech = new CallerSpeech(options.speech, turnDecider)
    this.bargeIn = new BargeIn(options.bargeIn)
    this.level = new CallerLevel(options.bargeIn.quieterDb)
    this.unrecognised = new UnrecognisedSpeech(options)
    this.putOnHold = new PutOnHold(options.putOnHold, options.weighsSpeech || options.serverVad)
    this.effects = new Effects(this, resume)
    for (const entry of checkpoint?.openTranscript ?? []) {
      const text = entry.text.trim()
      if (text !== '') this.record({ kind: 'transcript', record: { ...entry, text } })
    }
    this.person = new Person(this)
    this.stream = new Stream(checkpoint?.gapMs ?? 0)
    this.line = new Line(this)
    this.floor = new Floor(this.agentSpeech)
    this.input = new Input(this)
    this.keypad = new Keypad(this)
    this.model = new Model(this)
    this.wait = new Wait(this)
    this.stages = stagesOf(this)
    this.transcript = new Transcript((record, itemId, playedMs) => {
      const spoken = options.languages.length > 1 ? { ...record, language: this.language.now } : record
      this.record({ kind: 'transcript', record: spoken })
      if (record.role === 'agent') this.#agentSaid(record, itemId, playedMs)
    })
    this.features = features(this, resume)
  }

  /** Every feature hears the fact. */
  tell(fact: Fact): void {
    for (const feature of this.features) feature.hear?.(fact)
  }

  /** Asks the one owner of a request. */
  ask<Name extends RequestName>(name: Name, ...args: Parameters<Requests[Name]>): ReturnType<Requests[Name]> {
    const owner = (this.features.find(({ answers }) => answers?.includes(name) === true) ?? UNANSWERED) as Requests
    return (owner[name] as (...all: Parameters<Requests[Name]>) => ReturnType<Requests[Name]>)(...args)
  }

  due(name: DeadlineName): void {
    if (name === 'end-of-speech') this.#endOfSpeechDue()
    else if (name === 'barge-in-resume') this.#resumeDue()
    else if (name === 'barge-in-settle') this.settleBargeIn()
  }

  /** Time zero of transcript, turns and barge-ins, on the clock of the inputs. */
  get streamZeroMs(): number {
    return this.stream.openedAtMs ?? this.options.preparedAtMs
  }

  get streamMs(): number {
    return this.nowMs - this.streamZeroMs
  }

  /** Agent sound is being played to the caller or waits to be played. */
  get sounding(): boolean {
    return this.playout.audible(this.nowMs) || this.playout.pendingMs() > 0
  }

  /** Agent sound is played or waits, or the backend is still giving a response. */
  get agentTalking(): boolean {
    return this.sounding || this.agentSpeech.responding !== null
  }

  /** Nobody speaks, and no tool runs: the model can be asked to speak now. */
  get allQuiet(): boolean {
    return !this.agentTalking && !this.callerSpeech.speaking && this.effects.running === 0
  }

  /** When the queue is full, only informative outputs are dropped, never actions. */
  out(output: CallOutput): void {
    if (asksBackend(output)) this.floor.asked()
    if (output.type === 'backend-text')
      this.tell({ type: 'model-given', text: output.text, ofCaller: output.role === 'caller' })
    if (output.type === 'backend-dtmf') this.tell({ type: 'model-given', text: output.digit, ofCaller: true })
    const informs = output.type === 'mark' || output.type === 'checkpoint-due'
    if (informs && this.#outputs.length - this.#outputsHead >= CALL_OUTPUTS_QUEUED_MAX) this.counters.outputsDropped++
    else this.#outputs.push(output)
  }

  takeOutput(): CallOutput | null {
    const output = this.#outputs[this.#outputsHead]
    if (output === undefined) return null
    this.#outputsHead++
    if (this.#outputsHead === this.#outputs.length) {
      this.#outputs.length = 0
      this.#outputsHead = 0
    }
    return output
  }

  /** The state that a takeover needs has changed. */
  changed(): void {
    this.#checkpointDue = true
  }

  noticeCheckpoint(): void {
    if (!this.#checkpointDue) return
    this.#checkpointDue = false
    if (this.line.state !== 'ended') this.out({ type: 'checkpoint-due' })
  }

  /** The time of an input; it never goes back. */
  clockTo(nowMs: number): void {
    this.nowMs = Math.max(nowMs, this.nowMs)
  }

  /** The quiet after the agent is counted from now. */
  agentQuietFromNow(): void {
    this.agentHeardAtMs = this.nowMs
  }

  mark(name: string, detail?: string): void {
    this.out(detail === undefined ? { type: 'mark', name } : { type: 'mark', name, detail })
  }

  /** Appends to the call log and emits the entry. */
  record(entry: CallLogEntry): void {
    this.log.append(entry)
    this.out({ type: 'log', entry })
    this.changed()
  }

  recordTurn(record: TurnRecord | null): void {
    if (record !== null) this.record({ kind: 'turn', record })
  }

  in(name: DeadlineName, afterMs: number): void {
    this.deadlines.set(name, this.nowMs + afterMs)
  }

  clear(...names: readonly DeadlineName[]): void {
    for (const name of names) this.deadlines.clear(name)
  }

  /** The words of a phrase in the call's language, with what is known of the caller; empty where there is none. */
  text(phrase: LocalizedText | null | undefined): string {
    return phrase == null ? '' : withCaller(textIn(phrase, this.language.now), this.person.values)
  }

  get goodbye(): string {
    return this.text(this.options.goodbyeText)
  }

  /**
   * Queues a phrase of the gateway behind everything that playout holds.
   * @param as  `answer`: it answers the caller in the model's place; `greeting`: its sender tells the model about it
   * @returns its item id
   */
  announce(text: string, kind: SpeechKind, as?: 'answer' | 'greeting'): string {
    const itemId = `${ANNOUNCEMENT}${this.nextAnnouncement++}`
    this.agentSpeech.add(itemId, kind, null, as)
    this.transcript.agentWords(itemId, text, true, this.streamMs)
    this.tell({ type: 'agent-words', text, by: 'gateway' })
    this.out({ type: 'announce', itemId, text, kind })
    this.changed()
    return itemId
  }

  /** The call is in another language now: the voice follows. */
  languageChanged(): void {
    this.mark('language', this.language.now)
    this.out({ type: 'language', language: this.language.now })
    this.changed()
  }

  #agentSaid(entry: TranscriptEntry, itemId: string, playedMs: number | null): void {
    if (this.agentSpeech.item(itemId)?.as === 'greeting') return
    const by = itemId.startsWith(ANNOUNCEMENT) ? 'gateway' : 'model'
    if (by === 'model') this.language.answered()
    this.tell({ type: 'agent-said', entry, itemId, playedMs, by })
  }

  /**
   * Queues the tones of keys behind everything that playout holds.
   * @param secretOf  tool call that has the keys for which these stand; null: these are the keys
   * @returns their item id
   */
  tones(digits: string, secretOf: string | null = null): string {
    const itemId = `${ANNOUNCEMENT}${this.nextAnnouncement++}`
    this.agentSpeech.add(itemId, 'tones', null)
    this.out({ type: 'tones', itemId, digits, ...(secretOf === null ? {} : { secretOf }) })
    this.changed()
    return itemId
  }

  /** Time limit for `text` to be heard: everything that waits before it, and a slow reading of it. */
  wordsMs(text: string): number {
    return Math.min(WORDS_HEARD_MS_MAX, this.playout.pendingMs() + WORDS_START_MS + text.length * WORDS_MS_PER_CHAR)
  }

  /**
   * Discards everything that the agent was saying or would still say: empties playout, rejects late audio, records the
   * words as interrupted and tells the backend how much was heard.
   */
  #cutAgent(heard: { readonly itemId: string | null; readonly playedMs: number }, fence: number): void {
    const item = this.agentSpeech.item(heard.itemId)
    // The backend does not know an item of the gateway, and cannot truncate one of a finished response.
    const known =
      this.options.truncate &&
      item !== undefined &&
      item.generation !== null &&
      (item.over === 'no' || item.generation === this.agentSpeech.responding)
    const backendSpoke = this.agentSpeech.cut(fence)
    this.out({ type: 'playout-clear' })
    if (backendSpoke && this.model.usable) {
      this.out({
        type: 'backend-interrupt',
        itemId: known ? heard.itemId : null,
        playedMs: known ? Math.max(0, Math.round(heard.playedMs)) : 0,
      })
    }
    this.transcript.cut(this.streamMs, (itemId) =>
      itemId === heard.itemId ? heard.playedMs : this.playout.playedMs(itemId, this.nowMs),
    )
    this.tell({ type: 'agent-cut', itemId: heard.itemId, playedMs: heard.playedMs })
    this.changed()
  }

  /** Stops the agent now, if there is something to stop. */
  stopAgent(): void {
    if (this.bargeIn.paused) {
      this.bargeIn.abandon()
      this.clear('barge-in-resume')
    } else if (!this.agentTalking && !this.agentSpeech.anyOpen) {
      return
    }
    const itemId = this.playout.currentItem(this.nowMs)
    const playedMs = itemId === null ? 0 : this.playout.playedMs(itemId, this.nowMs)
    this.#cutAgent({ itemId, playedMs }, this.agentSpeech.latest)
  }

  /** Takes an input that no feature has taken. @throws TypeError for an input that nobody knows */
  take(input: CallInput): void {
    switch (input.type) {
      case 'stream-metadata':
        return this.mark(input.matches ? 'stream-metadata' : 'stream-metadata-mismatch')
      case 'dtmf':
        return this.#digit(input.digit)
      case 'item-started':
        return this.#itemStarted(input.itemId, input.sentAtMs)
      case 'item-heard':
        return this.#itemOver(input.itemId, 'heard')
      case 'announce-failed':
        return this.#announceFailed(input.itemId)
      case 'timer':
        return
      default:
        throw new TypeError(`no such input: ${input.type}`)
    }
  }

  #itemStarted(itemId: string, sentAtMs: number): void {
    const item = this.agentSpeech.item(itemId)
    if (item?.over === 'cut' || item?.started === true) return
    if (item !== undefined) item.started = true
    const kind = item?.kind ?? 'answer'
    this.transcript.started(itemId, sentAtMs - this.streamZeroMs)
    if (this.greetingMs === null) {
      this.greetingMs = sentAtMs - this.streamZeroMs
      this.mark('greeting')
    }
    const generation = item?.generation ?? null
    if (kind === 'answer') {
      this.wait.noAnswer()
      this.model.answers()
    }
    this.tell({ type: 'agent-sounds', itemId, kind, generation, sentAtMs })
    if (kind !== 'filler') {
      this.agentSpokeLast = true
      this.effects.ledger.answered()
    }
    this.mark('agent-sound', kind)
    this.unrecognised.agentSounds()
    this.putOnHold.agentSounds()
    this.tell({ type: 'agent-sounding', itemId })
    const asked = kind === 'escalation' || kind === 'tool' || item?.as === 'answer'
    this.#endTurnBeforeAnswer(asked ? this.agentSpeech.latest + 1 : generation, sentAtMs)
    this.recordTurn(this.turns.agentSound(kind, generation, sentAtMs, this.streamZeroMs))
  }

  #itemOver(itemId: string, over: 'heard' | 'cut'): void {
    const item = this.agentSpeech.item(itemId)
    if (item !== undefined) {
      if (item.over !== 'no') return
      item.over = over
    }
    this.agentQuietFromNow()
    if (over === 'heard') this.tell({ type: 'item-heard', itemId })
    if (over === 'heard') this.transcript.heard(itemId, this.streamMs)
    else this.transcript.unheard(itemId)
    for (const feature of this.features) feature.itemOver?.(itemId, over)
  }

  /** The phrase will never be heard: what waits for it continues, and the backend gives a lost greeting instead. */
  #announceFailed(itemId: string): void {
    this.mark('announce-failed')
    this.tell({ type: 'announce-failed', itemId })
    this.#itemOver(itemId, 'cut')
  }

  /** Takes one frame of the caller, whose last sample has the time `atMs`. @returns true when something changed */
  callerFrame(frame: CallerFrame, atMs: number): boolean {
    this.#frameEarly = frame.early
    const voiced = frame.early ? frame.voiced : this.#isCallersVoice(frame)
    const onHold = !frame.early && this.line.state === 'live' && this.#onHold(voiced)
    return this.#frame(frame, voiced, atMs) || onHold
  }

  #frame(frame: CallerFrame, voiced: boolean, atMs: number): boolean {
    const { doubtful } = frame
    const speech = this.callerSpeech
    const bargeIn = this.bargeIn
    if (this.unrecognised.ignoring && this.unrecognised.ignores(voiced, this.agentTalking || this.agentSpeech.anyOpen))
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
      this.spokenOver = this.playout.audible(this.nowMs)
      this.floor.open('caller')
      this.deadlines.set('end-of-speech', speech.endsAtMs + FRAMES_STOPPED_MS)
      this.#speechStartSent = false
      this.mark('caller-speech')
    }
    if (bargeIn.paused) {
      if (speech.speaking) bargeIn.heard(edge === 'onset' ? speech.voicedMs : FRAME_MS, doubtful)
    } else if (speech.speaking) {
      changed = this.#callerSpeaks(edge === 'onset', doubtful, atMs)
    }
    if (this.#early) return changed || edge !== 'none'
    if (speech.real && !this.unrecognised.timing && !this.agentTalking && !this.agentSpeech.anyOpen) {
      const untilMs = this.unrecognised.begin(Math.max(speech.firstVoicedMs, this.agentHeardAtMs))
      this.tell({ type: 'unrecognised-sound', untilMs })
    }
    if (speech.real && edge !== 'none') {
      this.callerActive()
      changed = true
    }
    if (bargeIn.shouldCommit) {
      this.commitBargeIn(`${bargeIn.figures}, ${bargeIn.neededMs} needed`, this.agentSpeech.latest)
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
    } else if (!this.callerSpeech.speaking || (this.#goesOnMs += FRAME_MS) >= EARLY_GOES_ON_MS)
      this.#earlyUntilMs = -Infinity
  }

  get #early(): boolean {
    return this.#frameEarly || this.nowMs < this.#earlyUntilMs
  }

  /** Takes a frame of caller speech, possibly while the agent talks. @returns true when something changed */
  #callerSpeaks(onset: boolean, doubtful: boolean, atMs: number): boolean {
    // Speech starts later than the onset only when the segment began as a false interruption.
    const fromMs = onset ? this.callerSpeech.firstVoicedMs : atMs - FRAME_MS
    const suspected = this.putOnHold.suspected
    // Sound that continues this long without words is not an interruption by the caller.
    if (suspected && this.agentTalking) return false
    if (!this.#pausable) return this.#sendSpeechStart(fromMs, suspected || (this.#early && this.#weighsSpeech))
    const responding = this.agentSpeech.responding !== null
    const start = this.#bargeInStart(fromMs)
    const moreToSay = responding || this.playout.pendingMs() >= MORE_TO_SAY_MS
    this.bargeIn.pause(start, start.audible && moreToSay && !this.input.questionOpen)
    this.bargeIn.heard(onset ? this.callerSpeech.voicedMs : FRAME_MS, doubtful)
    this.out({ type: 'playout-pause' })
    this.in('barge-in-resume', this.options.bargeIn.resumeAfterMs)
    this.mark(
      'barge-in-pause',
      `${this.bargeIn.figures} over the agent, ${this.callerSpeech.onsetNeededMs} needed${this.levelFigures}`,
    )
    return true
  }

  /**
   * There is speech of the agent that an onset would keep back. Not when only the playout lead is left (nothing pending,
   * response over): a pause would stop nothing, and the caller is answering, not interrupting.
   */
  get #pausable(): boolean {
    return this.interruptible && (this.playout.pendingMs() > 0 || this.agentSpeech.responding !== null)
  }

  #bargeInStart(firstVoicedMs: number): BargeInStart {
    const itemId = this.playout.currentItem(this.nowMs)
    const playedMs = itemId === null ? 0 : this.playout.playedMs(itemId, this.nowMs)
    return { firstVoicedMs, itemId, playedMs, audible: this.playout.audible(this.nowMs) }
  }

  /** True if a frame has the caller's own voice. */
  #isCallersVoice({ voiced, doubtful, levelDbfs }: CallerFrame): boolean {
    const level = this.level
    const refusedMs = level.refusedMs
    const own = level.takes(voiced, doubtful, levelDbfs, this.agentSpeech.anyOpen)
    if (level.refusedMs === refusedMs) return own
    if (refusedMs === 0) this.mark('quieter-voice', level.figures)
    if (level.answers) this.learnLevelAnew('it answers us')
    return own
  }

  /** @returns true when the agent begins to wait because the caller has put us on hold */
  #onHold(voiced: boolean): boolean {
    if (!this.putOnHold.frame(voiced, this.agentSpeech.anyOpen)) return false
    this.tell({ type: 'put-on-hold' })
    return true
  }

  /** The caller may have moved away from the phone. */
  learnLevelAnew(why: string): void {
    this.mark('level-forgotten', `${why}: ${this.level.refusedMs} ms of voice, ${this.level.figures}`)
    this.level.forget()
  }

  get levelFigures(): string {
    return this.level.learnt ? `; ${this.level.figures}` : ''
  }

  /** The caller was the last to speak. */
  callerSpokeLast(): void {
    this.agentSpokeLast = false
  }

  /** Nothing comes of a segment that may not have been meant for the agent. */
  expectNoWords(): void {
    this.wordsMayCome = false
  }

  /** A sign that the caller is present. */
  callerActive(): void {
    this.tell({ type: 'caller-active' })
    this.level.callerHeard()
  }

  /** @param uncertain  it may not be meant for the agent, so that the backend answers only words; null where it cannot */
  #sendSpeechStart(atMs: number, uncertain: boolean): boolean {
    if (this.#speechStartSent) return false
    if (uncertain && !this.#weighsSpeech) return false
    this.#speechStartSent = true
    this.#uncertain = uncertain
    if (uncertain)
      this.mark(
        'speech-uncertain',
        this.#early
          ? 'from before the stream opened'
          : this.bargeIn.paused
            ? this.bargeIn.figures
            : `after ${this.putOnHold.voiceMs} ms of voice without words`,
      )
    this.wordsMayCome = false
    const listening =
      this.line.state === 'live' ||
      this.line.state === 'connecting' ||
      this.line.state === 'escalating' ||
      this.line.revocable
    if (this.options.serverVad || !this.model.usable || !listening) return false
    this.out({ type: 'backend-speech-start', atMs })
    return true
  }

  /** Ends the segment although its sound goes on. @param uncertain  nothing is asked of the backend */
  giveUpSegment(uncertain: boolean): void {
    this.#uncertain ||= uncertain
    this.callerSpeech.giveUp()
    this.#segmentEnded()
  }

  #segmentEnded(): void {
    const { lastVoicedMs, real } = this.callerSpeech
    this.clear('end-of-speech')
    this.mark('caller-speech-end', this.callerSpeech.endedBecause(this.nowMs))
    if (!this.#speechStartSent) return // a false interruption needs no answer
    this.#speechStartSent = false
    if (this.#uncertain) return this.#uncertainSpeechEnded(lastVoicedMs)
    // A backend that detects turns may have answered before our own clock found the end.
    if (this.agentHeardAtMs <= lastVoicedMs) this.agentSpokeLast = false
    if (this.options.serverVad) return
    if (this.model.usable) this.out({ type: 'backend-speech-end', atMs: lastVoicedMs })
    // The answer may have begun already.
    if (lastVoicedMs !== this.#answeredFromMs) this.callerStopped(lastVoicedMs, real)
  }

  /** A segment that may not have been meant for the agent is over: without words nothing comes of it. */
  #uncertainSpeechEnded(lastVoicedMs: number): void {
    this.#uncertain = false
    this.wordsMayCome = !this.options.serverVad
    if (!Number.isNaN(this.#wordsDueMs)) this.#wordsDueMs = this.nowMs + WORDS_WAIT_MS
    const unless = this.bargeIn.paused ? (this.options.bargeIn.backchannel?.words ?? []) : []
    if (!this.options.serverVad && this.model.usable)
      this.out({ type: 'backend-speech-end', atMs: lastVoicedMs, unless })
  }

  /** Words of such a segment came: it was meant for the agent. */
  uncertainSpeechHadWords(): void {
    this.wordsMayCome = false
    if (this.bargeIn.paused || this.interruptible)
      this.commitBargeIn(`words in ${this.bargeIn.figures}`, this.agentSpeech.latest)
    this.agentSpokeLast = false
    if (!this.callerSpeech.speaking) this.callerStopped(this.callerSpeech.lastVoicedMs, true)
  }

  /** Words that a service recognised in speech over the agent: another than a backchannel interrupts after all. */
  overlapWords(text: string): void {
    const before = this.#overlapGeneration
    this.settleOverlap()
    if (isBackchannel(text, this.options.bargeIn.backchannel?.words ?? [])) return
    // A service that had finished its answer has answered these words too.
    if (this.agentSpeech.latest > before) return this.callerStopped(this.callerSpeech.lastVoicedMs, true, before)
    if (this.bargeIn.paused || this.interruptible)
      this.commitBargeIn(`words in ${this.bargeIn.figures}`, this.agentSpeech.latest)
    else if (this.model.usable) this.out({ type: 'backend-interrupt', itemId: null, playedMs: 0 })
    if (!this.callerSpeech.speaking) this.callerStopped(this.callerSpeech.lastVoicedMs, true)
  }

  settleOverlap(): void {
    this.#overlapGeneration = NaN
    this.overlapEnded = false
  }

  callerStopped(atMs: number, real: boolean, generation = this.agentSpeech.latest): void {
    this.tell({ type: 'turn-ended', atMs })
    this.recordTurn(this.turns.callerStopped(atMs, real, generation, this.streamZeroMs))
  }

  /**
   * Agent sound came while our own clock still waits for the end of the caller's turn. A backend that detects turns
   * itself has found the end first, and this is its answer.
   * @param generation  generation of the response; null for an item of the gateway
   */
  #endTurnBeforeAnswer(generation: number | null, sentAtMs: number): void {
    const { speaking, lastVoicedMs, real } = this.callerSpeech
    if (!speaking || generation === null || this.options.serverVad || sentAtMs - lastVoicedMs < EARLY_ANSWER_QUIET_MS)
      return
    this.#answeredFromMs = lastVoicedMs
    this.callerStopped(lastVoicedMs, real, generation - 1)
  }

  /** Ends a segment whose frames stopped coming. */
  #endOfSpeechDue(): void {
    const speech = this.callerSpeech
    // The frames stopped because a recording is not listened to.
    if (!speech.speaking || this.line.inAmd) return
    if (speech.overdue(this.nowMs - FRAMES_STOPPED_MS) === 'end') this.#segmentEnded()
    else this.deadlines.set('end-of-speech', speech.endsAtMs + FRAMES_STOPPED_MS)
  }

  /** The backend takes speech that our own detector heard and that may not be meant for it. */
  get #weighsSpeech(): boolean {
    return this.options.weighsSpeech && !this.options.serverVad
  }

  /** There is agent speech, and the caller may interrupt it. */
  get interruptible(): boolean {
    const { protectGreeting, protectEscalation } = this.options.bargeIn
    const open =
      this.line.state === 'live' ||
      this.line.state === 'connecting' ||
      this.line.revocable ||
      (this.line.state === 'escalating' && !protectEscalation)
    if (!open || !this.agentTalking || this.#early || this.floor.sound.holder !== null) return false
    if (!protectGreeting && !protectEscalation) return true
    const itemId = this.playout.currentItem(this.nowMs)
    const item = this.agentSpeech.item(itemId)
    if (item === undefined || item.over !== 'no') return true
    const greeting = item.as === 'greeting' || this.agentSpeech.greets(item)
    return !(protectGreeting && greeting) && !(protectEscalation && item.kind === 'escalation')
  }

  /** Discards the agent's speech because the caller interrupts. */
  commitBargeIn(why: string, fence: number): void {
    const speech = this.callerSpeech
    this.settleBargeIn()
    const start = this.bargeIn.start ?? this.#bargeInStart(speech.speaking ? speech.firstVoicedMs : this.nowMs)
    this.clear('barge-in-resume')
    const paused = this.bargeIn.paused
    this.bargeIn.commit(start, why)
    this.mark('barge-in', `${why}; ${Math.round(start.playedMs)} ms of it heard`)
    this.#cutAgent(start, fence)
    this.tell({ type: 'barge-in' })
    this.agentHeardAtMs = this.nowMs
    this.agentSpokeLast = false
    this.#uncertain = false
    this.#wordsDueMs = NaN
    this.settleOverlap()
    this.callerActive()
    if (speech.speaking) this.#sendSpeechStart(Math.max(start.firstVoicedMs, speech.firstVoicedMs), false)
    // After a pause the last sample has left already; without a pause it is leaving now.
    if (paused) this.settleBargeIn()
    else this.in('barge-in-settle', AFTER_KILL_SILENCE_MS)
  }

  /** The last agent sample before a commit has been sent, so the barge-in record is complete. */
  settleBargeIn(): void {
    const record = this.bargeIn.settle(this.playout.lastSentAtMs(), this.streamZeroMs)
    if (record !== null) this.record({ kind: 'barge-in', record })
  }

  /** No commit came: the interruption was false, so the agent continues. */
  #resumeDue(): void {
    if (!this.bargeIn.paused) return
    if (!this.bargeIn.mayResume(this.callerSpeech.quietMs(this.nowMs)) || this.nowMs < this.#wordsDueMs)
      return this.in('barge-in-resume', RESUME_POLL_MS)
    this.#wordsDueMs = NaN
    if (this.bargeIn.wordsDecide) this.counters.backchannels++
    const record = this.bargeIn.resume(this.nowMs, this.playout.lastSentAtMs(), this.streamZeroMs)
    this.out({ type: 'playout-resume' })
    if (record !== null) this.record({ kind: 'barge-in', record })
    this.mark('barge-in-resume', record?.why)
  }

  /** The backend's own VAD heard speech. */
  backendHeardSpeech(): void {
    this.mark('backend-speech-started')
    this.floor.asked()
    this.unrecognised.backendHeardSpeech()
    // Where the gateway decides, it may be a backchannel or a television, and no sign of the caller either.
    this.settleOverlap()
    if (!this.options.serverInterrupts && this.interruptible) {
      this.#overlapGeneration = this.agentSpeech.latest
      return
    }
    if (this.interruptible) this.commitBargeIn('the backend heard speech', this.agentSpeech.latest)
    if (!this.#early) this.callerActive()
  }

  backendHeardStop(): void {
    // Nobody has interrupted and the agent goes on: it was listening, until words say something else.
    if (!Number.isNaN(this.#overlapGeneration) && (this.bargeIn.paused || this.interruptible)) {
      this.overlapEnded = true
      const { weighsSpeech, bargeIn } = this.options
      // A service that has finished its answer answers this too: only words should have that.
      if (weighsSpeech && this.model.usable && this.playout.pendingMs() >= MORE_TO_SAY_MS)
        this.out({ type: 'backend-speech-end', atMs: this.nowMs, unless: bargeIn.backchannel?.words ?? [] })
      return this.mark('backend-speech-over-agent', this.bargeIn.paused ? this.bargeIn.figures : undefined)
    }
    this.settleOverlap()
    const own = this.callerSpeech.quietMs(this.nowMs)
    this.callerStopped(own <= OWN_CLOCK_MS_MAX ? this.callerSpeech.lastVoicedMs : this.nowMs, true)
    this.agentSpokeLast = false
  }

  backendInterrupted(generation: number): void {
    if (this.agentSpeech.isDead(generation)) return
    if (this.interruptible) this.commitBargeIn('the backend gave its answer up', generation)
    else this.agentSpeech.raiseFence(generation)
  }

  #digit(digit: string): void {
    if (
      !this.model.usable ||
      (this.line.state !== 'live' && this.line.state !== 'connecting' && this.line.state !== 'closing')
    )
      return
    if (!this.#frameEarly) this.#earlyUntilMs = -Infinity
    // A caller who enters "4127#" may hear the answer begin before the #. It only ends an entry, so it interrupts
    // nothing.
    if (digit === '#' && this.interruptible) return this.out({ type: 'backend-dtmf', digit })
    if (this.options.bargeIn.onDtmf && this.interruptible) this.commitBargeIn('a digit', this.agentSpeech.latest)
    this.tell({ type: 'understood', endsHold: true })
    this.callerActive()
    this.agentSpokeLast = false
    this.out({ type: 'backend-dtmf', digit })
    this.callerStopped(this.nowMs, true)
  }
}

/** With the stream the speech was lost that waited in shared memory or was on its way. */
function owedBy({ owed, openTranscript }: CallCheckpoint, newStream: NewStream | null): OwedAnswer {
  if (newStream === null || owed !== 'nothing') return owed
  return openTranscript.some(({ role }) => role === 'agent') ? 'rest-of-answer' : 'nothing'
}

function stagesOf(call: CallKernel): Stages | null {
  const { options, log, resume } = call
  if (options.stages === null) return null
  return new Stages(
    options.stages,
    log,
    (entry) => {
      call.record(entry)
      if (entry.kind === 'fact') return call.mark('fact', entry.record.name)
      const { from, stage, why } = entry.record
      call.mark('stage', from === null ? stage : `${from} to ${stage}: ${why}`)
    },
    resume?.identity != null,
    resume?.callBack === 'asks',
    options.collections.flatMap(({ secretFor }) => secretFor?.tool ?? []),
  )
}

/** Outputs of a session that wait to be drained; beyond it marks and checkpoint notices are dropped. */
export const CALL_OUTPUTS_QUEUED_MAX = 256

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
/** Begin of the item ids of the gateway's own phrases. */
const ANNOUNCEMENT = 'gw-'
/** Upper bound of the speaking time of a phrase: slow speech has 11 characters a second. */
const WORDS_MS_PER_CHAR = 90
const WORDS_START_MS = 3000

/** Words of speech from before the stream opened come this long after it, or there are none. */
const EARLY_WORDS_MS = 3000
/** A caller who spoke when the stream opened and goes on for this long speaks to the agent. Detectors lag by 60 ms. */
const EARLY_GOES_ON_MS = 100

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
