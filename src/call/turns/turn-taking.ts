import { AFTER_KILL_SILENCE_MS } from '../../core/limits.js'
import { FRAME_MS } from '../../core/units.js'
import type { AgentSpeech } from './agent-speech.js'
import { isBackchannel } from './backchannel.js'
import { BargeIn, type BargeInStart } from './barge-in.js'
import type { CallCore } from '../call-core.js'
import { WORDS_HEARD_MS_MAX, type DeadlineName } from '../call-deadlines.js'
import { CallerLevel } from './caller-level.js'
import type { CallerSpeech } from './caller-speech.js'
import type { CallInput, SpeechKind } from '../events.js'
import type { CallerFrame } from './frame-figures.js'
import { PutOnHold } from '../put-on-hold.js'
import type { Effects } from '../resources/effects.js'
import type { Floor } from '../resources/floor.js'
import type { Input } from '../resources/input.js'
import type { Line } from '../resources/line.js'
import type { Model } from '../resources/model.js'
import type { Wait } from '../resources/wait.js'
import { UnrecognisedSpeech } from './silence.js'
import type { Transcript } from '../spoken/transcript.js'
import { Turns } from './turns.js'

/** Begin of the item ids of the gateway's own phrases. */
export const ANNOUNCEMENT = 'gw-'
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
/** Upper bound of the speaking time of a phrase: slow speech has 11 characters a second. */
const WORDS_MS_PER_CHAR = 90
const WORDS_START_MS = 3000
/** Words of speech from before the stream opened come this long after it, or there are none. */
const EARLY_WORDS_MS = 3000
/** A caller who spoke when the stream opened and goes on for this long speaks to the agent. Detectors lag by 60 ms. */
const EARLY_GOES_ON_MS = 100

/** Parts that turn-taking acts on beside the core. */
interface TurnTakingParts {
  readonly agentSpeech: AgentSpeech
  readonly callerSpeech: CallerSpeech
  readonly transcript: Transcript
  readonly floor: Floor
  readonly line: Line
  readonly model: Model
  readonly effects: Effects
  readonly input: Input
  readonly wait: Wait
}

/**
 * Turn-taking: frames of the caller, turns, barge-in, and what is played.
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
export class TurnTaking {
  readonly #core: CallCore
  readonly #agentSpeech: AgentSpeech
  readonly #callerSpeech: CallerSpeech
  readonly #transcript: Transcript
  readonly #floor: Floor
  readonly #line: Line
  readonly #model: Model
  readonly #effects: Effects
  readonly #input: Input
  readonly #wait: Wait
  readonly unrecognised: UnrecognisedSpeech
  readonly putOnHold: PutOnHold
  readonly bargeIn: BargeIn
  readonly turns = new Turns()
  readonly level: CallerLevel
  /** From the opened stream to the first agent sound, in milliseconds; null before that sound. */
  #greetingMs: number | null
  #nextAnnouncement: number
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
  #agentSpokeLast = false
  #spokenOver = false

  constructor(core: CallCore, parts: TurnTakingParts) {
    this.#core = core
    this.#agentSpeech = parts.agentSpeech
    this.#callerSpeech = parts.callerSpeech
    this.#transcript = parts.transcript
    this.#floor = parts.floor
    this.#line = parts.line
    this.#model = parts.model
    this.#effects = parts.effects
    this.#input = parts.input
    this.#wait = parts.wait
    const { options, resume } = core
    this.#greetingMs = resume?.greetingMs ?? null
    this.#nextAnnouncement = resume?.nextAnnouncement ?? 1
    this.bargeIn = new BargeIn(options.bargeIn)
    this.level = new CallerLevel(options.bargeIn.quieterDb)
    this.unrecognised = new UnrecognisedSpeech(options)
    this.putOnHold = new PutOnHold(options.putOnHold, options.weighsSpeech || options.serverVad)
  }

  /** From the opened stream to the first agent sound, in milliseconds; null before that sound. */
  get greetingMs(): number | null {
    return this.#greetingMs
  }

  /** Number of the gateway's next phrase. */
  get nextAnnouncement(): number {
    return this.#nextAnnouncement
  }

  /** When the agent was last heard, or was taken as heard. */
  get agentHeardAtMs(): number {
    return this.#agentHeardAtMs
  }

  /** The agent spoke after the caller last spoke. */
  get agentSpokeLast(): boolean {
    return this.#agentSpokeLast
  }

  /** The caller's segment began over the agent. */
  get spokenOver(): boolean {
    return this.#spokenOver
  }

  due(name: DeadlineName): void {
    if (name === 'end-of-speech') this.#endOfSpeechDue()
    else if (name === 'barge-in-resume') this.#resumeDue()
    else if (name === 'barge-in-settle') this.settleBargeIn()
  }

  /** Agent sound is being played to the caller or waits to be played. */
  get sounding(): boolean {
    return this.#core.playout.audible(this.#core.nowMs) || this.#core.playout.pendingMs() > 0
  }

  /** Agent sound is played or waits, or the backend is still giving a response. */
  get agentTalking(): boolean {
    return this.sounding || this.#agentSpeech.responding !== null
  }

  /** Somebody speaks, or the caller waits for the agent. */
  get engaged(): boolean {
    const speech = this.#callerSpeech
    return (
      this.sounding ||
      this.#model.responds ||
      this.#wait.callerWaits ||
      this.bargeIn.paused ||
      (speech.speaking && speech.real) ||
      this.#input.partial ||
      (this.unrecognised.ignoring && this.#core.deadlines.isSet('not-understood')) ||
      this.#wait.answerDue
    )
  }

  /** Nobody speaks, and no tool runs: the model can be asked to speak now. */
  get allQuiet(): boolean {
    return !this.agentTalking && !this.#callerSpeech.speaking && this.#effects.running === 0
  }

  /** The quiet after the agent is counted from now. */
  agentQuietFromNow(): void {
    this.#agentHeardAtMs = this.#core.nowMs
  }

  /**
   * Queues a phrase of the gateway behind everything that playout holds.
   * @param as  `answer`: it answers the caller in the model's place; `greeting`: its sender tells the model about it
   * @returns its item id
   */
  announce(text: string, kind: SpeechKind, as?: 'answer' | 'greeting'): string {
    const itemId = `${ANNOUNCEMENT}${this.#nextAnnouncement++}`
    this.#agentSpeech.add(itemId, kind, null, as)
    this.#transcript.agentWords(itemId, text, true, this.#core.streamMs)
    this.#core.tell({ type: 'agent-words', text, by: 'gateway' })
    this.#core.out({ type: 'announce', itemId, text, kind })
    this.#core.changed()
    return itemId
  }

  /**
   * Queues the tones of keys behind everything that playout holds.
   * @param secretOf  tool call that has the keys for which these stand; null: these are the keys
   * @returns their item id
   */
  tones(digits: string, secretOf: string | null = null): string {
    const itemId = `${ANNOUNCEMENT}${this.#nextAnnouncement++}`
    this.#agentSpeech.add(itemId, 'tones', null)
    this.#core.out({ type: 'tones', itemId, digits, ...(secretOf === null ? {} : { secretOf }) })
    this.#core.changed()
    return itemId
  }

  /** Time limit for `text` to be heard: everything that waits before it, and a slow reading of it. */
  wordsMs(text: string): number {
    return Math.min(
      WORDS_HEARD_MS_MAX,
      this.#core.playout.pendingMs() + WORDS_START_MS + text.length * WORDS_MS_PER_CHAR,
    )
  }

  /**
   * Discards everything that the agent was saying or would still say: empties playout, rejects late audio, records the
   * words as interrupted and tells the backend how much was heard.
   */
  #cutAgent(heard: { readonly itemId: string | null; readonly playedMs: number }, fence: number): void {
    const item = this.#agentSpeech.item(heard.itemId)
    // The backend does not know an item of the gateway, and cannot truncate one of a finished response.
    const known =
      this.#core.options.truncate &&
      item !== undefined &&
      item.generation !== null &&
      (item.over === 'no' || item.generation === this.#agentSpeech.responding)
    const backendSpoke = this.#agentSpeech.cut(fence)
    this.#core.out({ type: 'playout-clear' })
    if (backendSpoke && this.#model.usable) {
      this.#core.out({
        type: 'backend-interrupt',
        itemId: known ? heard.itemId : null,
        playedMs: known ? Math.max(0, Math.round(heard.playedMs)) : 0,
      })
    }
    this.#transcript.cut(this.#core.streamMs, (itemId) =>
      itemId === heard.itemId ? heard.playedMs : this.#core.playout.playedMs(itemId, this.#core.nowMs),
    )
    this.#core.tell({ type: 'agent-cut', itemId: heard.itemId, playedMs: heard.playedMs })
    this.#core.changed()
  }

  /** Stops the agent now, if there is something to stop. */
  stopAgent(): void {
    if (this.bargeIn.paused) {
      this.bargeIn.abandon()
      this.#core.clear('barge-in-resume')
    } else if (!this.agentTalking && !this.#agentSpeech.anyOpen) {
      return
    }
    const itemId = this.#core.playout.currentItem(this.#core.nowMs)
    const playedMs = itemId === null ? 0 : this.#core.playout.playedMs(itemId, this.#core.nowMs)
    this.#cutAgent({ itemId, playedMs }, this.#agentSpeech.latest)
  }

  /** Takes an input that no feature has taken. @throws TypeError for an input that nobody knows */
  take(input: CallInput): void {
    switch (input.type) {
      case 'stream-metadata':
        return this.#core.mark(input.matches ? 'stream-metadata' : 'stream-metadata-mismatch')
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
    const item = this.#agentSpeech.item(itemId)
    if (item?.over === 'cut' || item?.started === true) return
    if (item !== undefined) item.started = true
    const kind = item?.kind ?? 'answer'
    this.#transcript.started(itemId, sentAtMs - this.#core.streamZeroMs)
    if (this.#greetingMs === null) {
      this.#greetingMs = sentAtMs - this.#core.streamZeroMs
      this.#core.mark('greeting')
    }
    const generation = item?.generation ?? null
    if (kind === 'answer') {
      this.#wait.noAnswer()
      this.#model.answers()
    }
    this.#core.tell({ type: 'agent-sounds', itemId, kind, generation, sentAtMs })
    if (kind !== 'filler') {
      this.#agentSpokeLast = true
      this.#effects.ledger.answered()
    }
    this.#core.mark('agent-sound', kind)
    this.unrecognised.agentSounds()
    this.putOnHold.agentSounds()
    this.#core.tell({ type: 'agent-sounding', itemId })
    const asked = kind === 'escalation' || kind === 'tool' || item?.as === 'answer'
    this.#endTurnBeforeAnswer(asked ? this.#agentSpeech.latest + 1 : generation, sentAtMs)
    this.#core.recordTurn(this.turns.agentSound(kind, generation, sentAtMs, this.#core.streamZeroMs))
  }

  #itemOver(itemId: string, over: 'heard' | 'cut'): void {
    const item = this.#agentSpeech.item(itemId)
    if (item !== undefined) {
      if (item.over !== 'no') return
      item.over = over
    }
    this.agentQuietFromNow()
    if (over === 'heard') this.#core.tell({ type: 'item-heard', itemId })
    if (over === 'heard') this.#transcript.heard(itemId, this.#core.streamMs)
    else this.#transcript.unheard(itemId)
    this.#core.features.itemOver(itemId, over)
  }

  /** The phrase will never be heard: what waits for it continues, and the backend gives a lost greeting instead. */
  #announceFailed(itemId: string): void {
    this.#core.mark('announce-failed')
    this.#core.tell({ type: 'announce-failed', itemId })
    this.#itemOver(itemId, 'cut')
  }

  /** Takes one frame of the caller, whose last sample has the time `atMs`. @returns true when something changed */
  callerFrame(frame: CallerFrame, atMs: number): boolean {
    this.#frameEarly = frame.early
    const voiced = frame.early ? frame.voiced : this.#isCallersVoice(frame)
    const onHold = !frame.early && this.#line.state === 'live' && this.#onHold(voiced)
    return this.#frame(frame, voiced, atMs) || onHold
  }

  #frame(frame: CallerFrame, voiced: boolean, atMs: number): boolean {
    const { doubtful } = frame
    const speech = this.#callerSpeech
    const bargeIn = this.bargeIn
    if (this.unrecognised.ignoring && this.unrecognised.ignores(voiced, this.agentTalking || this.#agentSpeech.anyOpen))
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
      this.#spokenOver = this.#core.playout.audible(this.#core.nowMs)
      this.#floor.open('caller')
      this.#core.deadlines.set('end-of-speech', speech.endsAtMs + FRAMES_STOPPED_MS)
      this.#speechStartSent = false
      this.#core.mark('caller-speech')
    }
    if (bargeIn.paused) {
      if (speech.speaking) bargeIn.heard(edge === 'onset' ? speech.voicedMs : FRAME_MS, doubtful)
    } else if (speech.speaking) {
      changed = this.#callerSpeaks(edge === 'onset', doubtful, atMs)
    }
    if (this.#early) return changed || edge !== 'none'
    if (speech.real && !this.unrecognised.timing && !this.agentTalking && !this.#agentSpeech.anyOpen) {
      const untilMs = this.unrecognised.begin(Math.max(speech.firstVoicedMs, this.#agentHeardAtMs))
      this.#core.tell({ type: 'unrecognised-sound', untilMs })
    }
    if (speech.real && edge !== 'none') {
      this.callerActive()
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
    return this.#frameEarly || this.#core.nowMs < this.#earlyUntilMs
  }

  /** Takes a frame of caller speech, possibly while the agent talks. @returns true when something changed */
  #callerSpeaks(onset: boolean, doubtful: boolean, atMs: number): boolean {
    // Speech starts later than the onset only when the segment began as a false interruption.
    const fromMs = onset ? this.#callerSpeech.firstVoicedMs : atMs - FRAME_MS
    const suspected = this.putOnHold.suspected
    // Sound that continues this long without words is not an interruption by the caller.
    if (suspected && this.agentTalking) return false
    if (!this.#pausable) return this.#sendSpeechStart(fromMs, suspected || (this.#early && this.#weighsSpeech))
    const responding = this.#agentSpeech.responding !== null
    const start = this.#bargeInStart(fromMs)
    const moreToSay = responding || this.#core.playout.pendingMs() >= MORE_TO_SAY_MS
    this.bargeIn.pause(start, start.audible && moreToSay && !this.#input.questionOpen)
    this.bargeIn.heard(onset ? this.#callerSpeech.voicedMs : FRAME_MS, doubtful)
    this.#core.out({ type: 'playout-pause' })
    this.#core.in('barge-in-resume', this.#core.options.bargeIn.resumeAfterMs)
    this.#core.mark(
      'barge-in-pause',
      `${this.bargeIn.figures} over the agent, ${this.#callerSpeech.onsetNeededMs} needed${this.levelFigures}`,
    )
    return true
  }

  /**
   * There is speech of the agent that an onset would keep back. Not when only the playout lead is left (nothing pending,
   * response over): a pause would stop nothing, and the caller is answering, not interrupting.
   */
  get #pausable(): boolean {
    return this.#interruptible && (this.#core.playout.pendingMs() > 0 || this.#agentSpeech.responding !== null)
  }

  #bargeInStart(firstVoicedMs: number): BargeInStart {
    const itemId = this.#core.playout.currentItem(this.#core.nowMs)
    const playedMs = itemId === null ? 0 : this.#core.playout.playedMs(itemId, this.#core.nowMs)
    return { firstVoicedMs, itemId, playedMs, audible: this.#core.playout.audible(this.#core.nowMs) }
  }

  /** True if a frame has the caller's own voice. */
  #isCallersVoice({ voiced, doubtful, levelDbfs }: CallerFrame): boolean {
    const level = this.level
    const refusedMs = level.refusedMs
    const own = level.takes(voiced, doubtful, levelDbfs, this.#agentSpeech.anyOpen)
    if (level.refusedMs === refusedMs) return own
    if (refusedMs === 0) this.#core.mark('quieter-voice', level.figures)
    if (level.answers) this.learnLevelAnew('it answers us')
    return own
  }

  /** @returns true when the agent begins to wait because the caller has put us on hold */
  #onHold(voiced: boolean): boolean {
    if (!this.putOnHold.frame(voiced, this.#agentSpeech.anyOpen)) return false
    this.#core.tell({ type: 'put-on-hold' })
    return true
  }

  /** The caller may have moved away from the phone. */
  learnLevelAnew(why: string): void {
    this.#core.mark('level-forgotten', `${why}: ${this.level.refusedMs} ms of voice, ${this.level.figures}`)
    this.level.forget()
  }

  get levelFigures(): string {
    return this.level.learnt ? `; ${this.level.figures}` : ''
  }

  /** The caller was the last to speak. */
  callerSpokeLast(): void {
    this.#agentSpokeLast = false
  }

  /** A sign that the caller is present. */
  callerActive(): void {
    this.#core.tell({ type: 'caller-active' })
    this.level.callerHeard()
  }

  /** @param uncertain  it may not be meant for the agent, so that the backend answers only words; null where it cannot */
  #sendSpeechStart(atMs: number, uncertain: boolean): boolean {
    if (this.#speechStartSent) return false
    if (uncertain && !this.#weighsSpeech) return false
    this.#speechStartSent = true
    this.#uncertain = uncertain
    if (uncertain)
      this.#core.mark(
        'speech-uncertain',
        this.#early
          ? 'from before the stream opened'
          : this.bargeIn.paused
            ? this.bargeIn.figures
            : `after ${this.putOnHold.voiceMs} ms of voice without words`,
      )
    this.#wordsMayCome = false
    const listening =
      this.#line.state === 'live' ||
      this.#line.state === 'connecting' ||
      this.#line.state === 'escalating' ||
      this.#line.revocable
    if (this.#core.options.serverVad || !this.#model.usable || !listening) return false
    this.#core.out({ type: 'backend-speech-start', atMs })
    return true
  }

  /** Ends the segment although its sound goes on. @param uncertain  nothing is asked of the backend */
  giveUpSegment(uncertain: boolean): void {
    this.#uncertain ||= uncertain
    this.#callerSpeech.giveUp()
    this.#segmentEnded()
  }

  #segmentEnded(): void {
    const { lastVoicedMs, real } = this.#callerSpeech
    this.#core.clear('end-of-speech')
    this.#core.mark('caller-speech-end', this.#callerSpeech.endedBecause(this.#core.nowMs))
    if (!this.#speechStartSent) return // a false interruption needs no answer
    this.#speechStartSent = false
    if (this.#uncertain) return this.#uncertainSpeechEnded(lastVoicedMs)
    // A backend that detects turns may have answered before our own clock found the end.
    if (this.#agentHeardAtMs <= lastVoicedMs) this.#agentSpokeLast = false
    if (this.#core.options.serverVad) return
    if (this.#model.usable) this.#core.out({ type: 'backend-speech-end', atMs: lastVoicedMs })
    // The answer may have begun already.
    if (lastVoicedMs !== this.#answeredFromMs) this.callerStopped(lastVoicedMs, real)
  }

  /** A segment that may not have been meant for the agent is over: without words nothing comes of it. */
  #uncertainSpeechEnded(lastVoicedMs: number): void {
    this.#uncertain = false
    this.#wordsMayCome = !this.#core.options.serverVad
    if (!Number.isNaN(this.#wordsDueMs)) this.#wordsDueMs = this.#core.nowMs + WORDS_WAIT_MS
    const unless = this.bargeIn.paused ? (this.#core.options.bargeIn.backchannel?.words ?? []) : []
    if (!this.#core.options.serverVad && this.#model.usable)
      this.#core.out({ type: 'backend-speech-end', atMs: lastVoicedMs, unless })
  }

  /** Words of the caller came. */
  wordsCame(text: string, final: boolean): void {
    if (this.#wordsMayCome) this.#uncertainSpeechHadWords()
    if (final && this.#overlapEnded) this.#overlapWords(text)
    this.callerActive()
    this.callerSpokeLast()
    this.turns.confirm()
  }

  /** The caller asked for a moment: the agent stops, and nothing comes of the turn. */
  askedToWait(): void {
    this.#wordsMayCome = false
    if (this.bargeIn.paused || this.#interruptible) this.#commitBargeIn('asked to wait', this.#agentSpeech.latest)
    this.#settleOverlap()
    this.callerActive()
    this.callerSpokeLast()
    this.turns.dismiss()
  }

  /** Words of a segment came that may not have been meant for the agent: it was. */
  #uncertainSpeechHadWords(): void {
    this.#wordsMayCome = false
    if (this.bargeIn.paused || this.#interruptible)
      this.#commitBargeIn(`words in ${this.bargeIn.figures}`, this.#agentSpeech.latest)
    this.#agentSpokeLast = false
    if (!this.#callerSpeech.speaking) this.callerStopped(this.#callerSpeech.lastVoicedMs, true)
  }

  /** Words that a service recognised in speech over the agent: another than a backchannel interrupts after all. */
  #overlapWords(text: string): void {
    const before = this.#overlapGeneration
    this.#settleOverlap()
    if (isBackchannel(text, this.#core.options.bargeIn.backchannel?.words ?? [])) return
    // A service that had finished its answer has answered these words too.
    if (this.#agentSpeech.latest > before) return this.callerStopped(this.#callerSpeech.lastVoicedMs, true, before)
    if (this.bargeIn.paused || this.#interruptible)
      this.#commitBargeIn(`words in ${this.bargeIn.figures}`, this.#agentSpeech.latest)
    else if (this.#model.usable) this.#core.out({ type: 'backend-interrupt', itemId: null, playedMs: 0 })
    if (!this.#callerSpeech.speaking) this.callerStopped(this.#callerSpeech.lastVoicedMs, true)
  }

  #settleOverlap(): void {
    this.#overlapGeneration = NaN
    this.#overlapEnded = false
  }

  callerStopped(atMs: number, real: boolean, generation = this.#agentSpeech.latest): void {
    this.#core.tell({ type: 'turn-ended', atMs })
    this.#core.recordTurn(this.turns.callerStopped(atMs, real, generation, this.#core.streamZeroMs))
  }

  /**
   * Agent sound came while our own clock still waits for the end of the caller's turn. A backend that detects turns
   * itself has found the end first, and this is its answer.
   * @param generation  generation of the response; null for an item of the gateway
   */
  #endTurnBeforeAnswer(generation: number | null, sentAtMs: number): void {
    const { speaking, lastVoicedMs, real } = this.#callerSpeech
    if (
      !speaking ||
      generation === null ||
      this.#core.options.serverVad ||
      sentAtMs - lastVoicedMs < EARLY_ANSWER_QUIET_MS
    )
      return
    this.#answeredFromMs = lastVoicedMs
    this.callerStopped(lastVoicedMs, real, generation - 1)
  }

  /** Ends a segment whose frames stopped coming. */
  #endOfSpeechDue(): void {
    const speech = this.#callerSpeech
    if (!speech.speaking) return
    // The frames stopped because a recording is not listened to: that is over with its verdict.
    if (this.#line.inAmd) this.#core.in('end-of-speech', FRAMES_STOPPED_MS)
    else if (speech.overdue(this.#core.nowMs - FRAMES_STOPPED_MS) === 'end') this.#segmentEnded()
    else this.#core.deadlines.set('end-of-speech', speech.endsAtMs + FRAMES_STOPPED_MS)
  }

  /** The backend takes speech that our own detector heard and that may not be meant for it. */
  get #weighsSpeech(): boolean {
    return this.#core.options.weighsSpeech && !this.#core.options.serverVad
  }

  /** There is agent speech, and the caller may interrupt it. */
  get #interruptible(): boolean {
    const { protectGreeting, protectEscalation } = this.#core.options.bargeIn
    const open =
      this.#line.state === 'live' ||
      this.#line.state === 'connecting' ||
      this.#line.revocable ||
      (this.#line.state === 'escalating' && !protectEscalation)
    if (!open || !this.agentTalking || this.#early || this.#floor.sound.holder !== null) return false
    if (!protectGreeting && !protectEscalation) return true
    const itemId = this.#core.playout.currentItem(this.#core.nowMs)
    const item = this.#agentSpeech.item(itemId)
    if (item === undefined || item.over !== 'no') return true
    const greeting = item.as === 'greeting' || this.#agentSpeech.greets(item)
    return !(protectGreeting && greeting) && !(protectEscalation && item.kind === 'escalation')
  }

  /** Discards the agent's speech because the caller interrupts. */
  #commitBargeIn(why: string, fence: number): void {
    const speech = this.#callerSpeech
    this.settleBargeIn()
    const start = this.bargeIn.start ?? this.#bargeInStart(speech.speaking ? speech.firstVoicedMs : this.#core.nowMs)
    this.#core.clear('barge-in-resume')
    const paused = this.bargeIn.paused
    this.bargeIn.commit(start, why)
    this.#core.mark('barge-in', `${why}; ${Math.round(start.playedMs)} ms of it heard`)
    this.#cutAgent(start, fence)
    this.#core.tell({ type: 'barge-in' })
    this.#agentHeardAtMs = this.#core.nowMs
    this.#agentSpokeLast = false
    this.#uncertain = false
    this.#wordsDueMs = NaN
    this.#settleOverlap()
    this.callerActive()
    if (speech.speaking) this.#sendSpeechStart(Math.max(start.firstVoicedMs, speech.firstVoicedMs), false)
    // After a pause the last sample has left already; without a pause it is leaving now.
    if (paused) this.settleBargeIn()
    else this.#core.in('barge-in-settle', AFTER_KILL_SILENCE_MS)
  }

  /** The last agent sample before a commit has been sent, so the barge-in record is complete. */
  settleBargeIn(): void {
    const record = this.bargeIn.settle(this.#core.playout.lastSentAtMs(), this.#core.streamZeroMs)
    if (record !== null) this.#core.record({ kind: 'barge-in', record })
  }

  /** No commit came: the interruption was false, so the agent continues. */
  #resumeDue(): void {
    if (!this.bargeIn.paused) return
    if (!this.bargeIn.mayResume(this.#callerSpeech.quietMs(this.#core.nowMs)) || this.#core.nowMs < this.#wordsDueMs)
      return this.#core.in('barge-in-resume', RESUME_POLL_MS)
    this.#wordsDueMs = NaN
    if (this.bargeIn.wordsDecide) this.#core.counters.backchannels++
    const record = this.bargeIn.resume(this.#core.nowMs, this.#core.playout.lastSentAtMs(), this.#core.streamZeroMs)
    this.#core.out({ type: 'playout-resume' })
    if (record !== null) this.#core.record({ kind: 'barge-in', record })
    this.#core.mark('barge-in-resume', record?.why)
  }

  /** The backend's own VAD heard speech. */
  backendHeardSpeech(): void {
    this.#core.mark('backend-speech-started')
    this.#floor.asked()
    this.unrecognised.backendHeardSpeech()
    // Where the gateway decides, it may be a backchannel or a television, and no sign of the caller either.
    this.#settleOverlap()
    if (!this.#core.options.serverInterrupts && this.#interruptible) {
      this.#overlapGeneration = this.#agentSpeech.latest
      return
    }
    if (this.#interruptible) this.#commitBargeIn('the backend heard speech', this.#agentSpeech.latest)
    if (!this.#early) this.callerActive()
  }

  backendHeardStop(): void {
    // Nobody has interrupted and the agent goes on: it was listening, until words say something else.
    if (!Number.isNaN(this.#overlapGeneration) && (this.bargeIn.paused || this.#interruptible)) {
      this.#overlapEnded = true
      const { weighsSpeech, bargeIn } = this.#core.options
      // A service that has finished its answer answers this too: only words should have that.
      if (weighsSpeech && this.#model.usable && this.#core.playout.pendingMs() >= MORE_TO_SAY_MS)
        this.#core.out({ type: 'backend-speech-end', atMs: this.#core.nowMs, unless: bargeIn.backchannel?.words ?? [] })
      return this.#core.mark('backend-speech-over-agent', this.bargeIn.paused ? this.bargeIn.figures : undefined)
    }
    this.#settleOverlap()
    const own = this.#callerSpeech.quietMs(this.#core.nowMs)
    this.callerStopped(own <= OWN_CLOCK_MS_MAX ? this.#callerSpeech.lastVoicedMs : this.#core.nowMs, true)
    this.#agentSpokeLast = false
  }

  backendInterrupted(generation: number): void {
    if (this.#agentSpeech.isDead(generation)) return
    if (this.#interruptible) this.#commitBargeIn('the backend gave its answer up', generation)
    else this.#agentSpeech.raiseFence(generation)
  }

  /** A digit was pressed: it interrupts the agent where the options say so. */
  digitInterrupts(): void {
    if (this.#core.options.bargeIn.onDtmf && this.#interruptible)
      this.#commitBargeIn('a digit', this.#agentSpeech.latest)
  }

  #digit(digit: string): void {
    if (
      !this.#model.usable ||
      (this.#line.state !== 'live' && this.#line.state !== 'connecting' && this.#line.state !== 'closing')
    )
      return
    if (!this.#frameEarly) this.#earlyUntilMs = -Infinity
    // A caller who enters "4127#" may hear the answer begin before the #. It only ends an entry, so it interrupts
    // nothing.
    if (digit === '#' && this.#interruptible) return this.#core.out({ type: 'backend-dtmf', digit })
    this.digitInterrupts()
    this.#core.tell({ type: 'understood', endsHold: true })
    this.callerActive()
    this.#agentSpokeLast = false
    this.#core.out({ type: 'backend-dtmf', digit })
    this.callerStopped(this.#core.nowMs, true)
  }
}
