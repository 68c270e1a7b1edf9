import { AFTER_KILL_SILENCE_MS } from '../../core/limits.js'
import { FRAME_MS } from '../../core/units.js'
import type { AgentSpeech } from './agent-speech.js'
import { BargeIn, type BargeInStart, OVER_QUIET_MS } from './barge-in.js'
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
import { isYesNo, lastQuestion } from './turn-words.js'
import { Turns } from './turns.js'

/** Prefix of the item ids of the gateway's own phrases. */
export const ANNOUNCEMENT = 'gw-'
/**
 * Delay in milliseconds with which the clock ends a segment, if no frame has ended it because the frames have stopped.
 */
const FRAMES_STOPPED_MS = 500
/** Maximum delay of words after a short sound over the agent, in milliseconds. Later words are not expected. */
const WORDS_WAIT_MS = 300
/**
 * Maximum delay of words in two cases, in milliseconds. First: the agent speaks again while the recogniser has the
 * sound. Second: the words belong to the previous turn.
 */
const WORDS_LATE_MS = 2000
/**
 * Minimum duration of the agent's remaining speech with which a short sound may be a backchannel, in milliseconds. If
 * less speech remains, a short sound is an answer.
 */
const MORE_TO_SAY_MS = 1500
/** Interval at which a paused agent checks if the caller is quiet. */
const RESUME_POLL_MS = 60
/** Duration of quiet after which a backend's own turn detection may have found the end of the turn, in milliseconds. */
const EARLY_ANSWER_QUIET_MS = 100
/**
 * Maximum age of the caller's last voiced sample, in milliseconds. Up to this age, the sample's time replaces the end
 * of speech that the backend reports late.
 */
const OWN_CLOCK_MS_MAX = 3000
/** Maximum time to speak one character of a phrase, in milliseconds. Slow speech has 11 characters a second. */
const WORDS_MS_PER_CHAR = 90
const WORDS_START_MS = 3000
/** Maximum delay, in milliseconds, of words that the caller spoke before the stream opened. */
const EARLY_WORDS_MS = 3000
/**
 * If a caller spoke when the stream opened and continues for this time, in milliseconds, the speech is for the agent.
 * Detectors are 60 ms late.
 */
const EARLY_GOES_ON_MS = 100

/** Parts that turn-taking uses in addition to the core. */
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
 * Turn-taking: frames of the caller, turns, barge-in, and playout.
 *
 *     caller's onset, agent silent         --> backend-speech-start (backends without their own VAD)
 *     caller's onset, agent talking        --> playout-duck, then playout-pause; the backend is not informed yet
 *     enough voice | words | backend decides --> playout-clear, backend-interrupt, backend-speech-start from the onset
 *     commitMs, may be a backchannel       --> backend-speech-start if the backend weighs speech; without an interrupt
 *     no commit, caller quiet              --> playout-resume; the backend is not informed
 *     caller's onset over protected speech --> backend-speech-start, the agent continues
 *     caller stopped                       --> backend-speech-end, a turn begins
 *     long sound without recognised words   --> backend-speech-end, a turn begins, see `UnrecognisedSpeech`
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
  /** Time from the opening of the stream to the first agent sound, in milliseconds; null before that sound. */
  #greetingMs: number | null
  #nextAnnouncement: number
  /** True if the start of the caller's current segment was reported, or need not be reported. */
  #speechStartSent = false
  /**
   * Time of the last voiced sample of a turn that the backend answered before our own clock found its end. NaN without
   * such a turn.
   */
  #answeredFromMs = NaN
  /** True if the newest frame was recorded before the stream opened. */
  #frameEarly = false
  /**
   * Until this time, results of speech from before the stream opened (words, or a service's report) do not interrupt
   * the agent.
   */
  #earlyUntilMs = -Infinity
  /**
   * Duration of voice since the opening of the stream, in milliseconds, if the caller was already speaking at the
   * opening.
   */
  #goesOnMs = 0
  /**
   * True if the current segment may not be meant for the agent. The backend answers such a segment only if it contains
   * words.
   */
  #uncertain = false
  /** Words that the backend does not answer in the uncertain segment. */
  #unless: readonly string[] = []
  /** True if an uncertain segment was sent and its words have not come yet. */
  #wordsMayCome = false
  /**
   * Generation of the newest response at the time at which a turn-detecting service heard speech over the agent. The
   * gateway still decides if the speech interrupts. NaN without such speech.
   */
  #overlapGeneration = NaN
  /** True if the service has reported the end of this speech. The next words then belong to this speech. */
  #overlapEnded = false
  /** True if a question of the agent had ended when this speech ended. A short "yes" is then an answer. */
  #overlapAnswers = false
  /** Words of the agent that the caller had heard at the end of this speech. */
  #overlapHeard = ''
  /** Time until which a paused agent waits for the words of the caller's segment; NaN if the agent does not wait. */
  #wordsDueMs = NaN
  /**
   * First: newest item of the caller's words. Second: newest item at the start of a sound over the agent; words of this
   * item belong to the previous turn.
   */
  #wordsItemId = ''
  #itemBefore = ''
  #agentHeardAtMs = -Infinity
  #agentSpokeLast = false
  #spokenOver = false
  /**
   * True if a clearly louder voice was heard since the last words. A louder voice ends the suspicions only once before
   * the next words.
   */
  #stoodOut = false
  /** True if a final transcript came since the last onset. */
  #finalCame = false
  /**
   * Latest time at which a final transcript belongs to the segment before the sound over the agent. -Infinity if such a
   * transcript is not expected.
   */
  #finalOwedUntilMs = -Infinity

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
    this.level = new CallerLevel(options.bargeIn.quieterDb, options.bargeIn.secondVoice)
    this.unrecognised = new UnrecognisedSpeech(options)
    this.putOnHold = new PutOnHold(options.putOnHold, options.weighsSpeech || options.serverVad)
  }

  /** Time from the opening of the stream to the first agent sound, in milliseconds; null before that sound. */
  get greetingMs(): number | null {
    return this.#greetingMs
  }

  /** Number of the gateway's next phrase. */
  get nextAnnouncement(): number {
    return this.#nextAnnouncement
  }

  /** Time at which the agent was last heard, or counted as heard. */
  get agentHeardAtMs(): number {
    return this.#agentHeardAtMs
  }

  /** True if the agent spoke after the caller last spoke. */
  get agentSpokeLast(): boolean {
    return this.#agentSpokeLast
  }

  /** True if the caller's segment began while the agent was audible. */
  get spokenOver(): boolean {
    return this.#spokenOver
  }

  due(name: DeadlineName): void {
    if (name === 'end-of-speech') this.#endOfSpeechDue()
    else if (name === 'barge-in-resume') this.#resumeDue()
    else if (name === 'barge-in-settle') this.settleBargeIn()
  }

  /** True if agent sound is played to the caller, or waits to be played. */
  get sounding(): boolean {
    return this.#core.playout.audible(this.#core.nowMs) || this.#core.playout.pendingMs() > 0
  }

  /** True if agent sound is played or waits, or the backend has not completed its response. */
  get agentTalking(): boolean {
    return this.sounding || this.#agentSpeech.responding !== null
  }

  /** True if a side speaks, or the caller waits for the agent. */
  get engaged(): boolean {
    const speech = this.#callerSpeech
    return (
      this.sounding ||
      this.#model.responds ||
      this.#wait.callerWaits ||
      this.bargeIn.undecided ||
      (speech.speaking && speech.real) ||
      this.#input.partial ||
      (this.unrecognised.ignoring && this.#core.deadlines.isSet('not-understood')) ||
      this.#wait.answerDue
    )
  }

  /** True if both sides are silent and no tool runs. The model can then be asked to speak. */
  get allQuiet(): boolean {
    return !this.agentTalking && !this.#callerSpeech.speaking && this.#effects.running === 0
  }

  /** Measures the quiet after the agent from now on. */
  agentQuietFromNow(): void {
    this.#agentHeardAtMs = this.#core.nowMs
  }

  /**
   * Queues a phrase of the gateway after all waiting speech.
   * @param as  `answer`: the phrase replaces the model's answer; `greeting`: the code that queues the phrase informs
   * the model
   * @returns the item id of the phrase
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
   * Queues DTMF tones after all waiting speech.
   * @param secretOf  tool call whose secret digits replace the placeholders in `digits`; null for real digits
   * @returns the item id of the tones
   */
  tones(digits: string, secretOf: string | null = null): string {
    const itemId = `${ANNOUNCEMENT}${this.#nextAnnouncement++}`
    this.#agentSpeech.add(itemId, 'tones', null)
    this.#core.out({ type: 'tones', itemId, digits, ...(secretOf === null ? {} : { secretOf }) })
    this.#core.changed()
    return itemId
  }

  /**
   * Time after which the caller will have heard `text`, in milliseconds. It includes the waiting speech, and assumes a
   * slow voice.
   */
  wordsMs(text: string): number {
    return Math.min(
      WORDS_HEARD_MS_MAX,
      this.#core.playout.pendingMs() + WORDS_START_MS + text.length * WORDS_MS_PER_CHAR,
    )
  }

  /**
   * Discards all current and queued speech of the agent. Empties playout, rejects late audio, records the words as
   * interrupted, and informs the backend of the played duration.
   */
  #cutAgent(heard: { readonly itemId: string | null; readonly playedMs: number }, fence: number): void {
    const item = this.#agentSpeech.item(heard.itemId)
    // The backend does not know items of the gateway, and cannot truncate an item of a finished response.
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

  /** Stops the agent now, if it speaks or will speak. */
  stopAgent(): void {
    if (this.bargeIn.undecided) {
      this.bargeIn.abandon()
      this.#core.clear('barge-in-resume')
    } else if (!this.agentTalking && !this.#agentSpeech.anyOpen) {
      return
    }
    const itemId = this.#core.playout.currentItem(this.#core.nowMs)
    const playedMs = itemId === null ? 0 : this.#core.playout.playedMs(itemId, this.#core.nowMs)
    this.#cutAgent({ itemId, playedMs }, this.#agentSpeech.latest)
  }

  /** Takes an input that no feature has taken. @throws TypeError for an unknown input */
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

  /**
   * Notes that the caller will never hear the phrase. Features that wait for the phrase continue; if it was the
   * greeting, the backend greets instead.
   */
  #announceFailed(itemId: string): void {
    this.#core.mark('announce-failed')
    this.#core.tell({ type: 'announce-failed', itemId })
    this.#itemOver(itemId, 'cut')
  }

  /**
   * Takes one frame of the caller; `atMs` is the time of the frame's last sample. @returns true if something changed
   */
  callerFrame(frame: CallerFrame, atMs: number): boolean {
    this.#frameEarly = frame.early
    const voiced = frame.early ? frame.voiced : this.#isCallersVoice(frame)
    const onHold = !frame.early && this.#line.state === 'live' && this.#onHold(voiced)
    return this.#frame(frame, voiced, atMs) || onHold
  }

  #frame(frame: CallerFrame, voiced: boolean, atMs: number): boolean {
    const speech = this.#callerSpeech
    const bargeIn = this.bargeIn
    if (this.unrecognised.ignoring && this.unrecognised.ignores(voiced, this.agentTalking || this.#agentSpeech.anyOpen))
      return false
    if (voiced) this.#dateVoice(frame.early, atMs)
    const quietFromMs = speech.lastVoicedMs
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
      this.#finalCame = false
      this.#core.mark('caller-speech')
    }
    if (speech.speaking) {
      const onset = edge === 'onset'
      if (bargeIn.back) this.#voiceAgain(onset ? speech.firstVoicedMs : atMs - FRAME_MS, quietFromMs)
      else if (!bargeIn.undecided) this.#itemBefore = this.#wordsItemId
      if (bargeIn.undecided) {
        this.#weigh(onset, frame)
        changed = this.#duckOrPause()
      } else changed = this.#callerSpeaks(onset, frame, atMs)
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
      this.#commitBargeIn(`${bargeIn.figures}, ${bargeIn.neededFigures} needed`, this.#agentSpeech.latest)
      return true
    }
    if (bargeIn.wordsDecide && !this.#speechStartSent && this.#weighsSpeech) {
      this.#wordsDueMs = Infinity
      if (this.#sendSpeechStart(Math.max(bargeIn.soundFromMs, speech.firstVoicedMs), true)) changed = true
    }
    return changed || edge !== 'none'
  }

  /** Speech from before the stream opened does not interrupt; later speech does. */
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

  /** Takes a frame of caller speech, with or without simultaneous agent speech. @returns true if something changed */
  #callerSpeaks(onset: boolean, frame: CallerFrame, atMs: number): boolean {
    // If the segment began as a false interruption, the speech may start later than the onset.
    const fromMs = onset ? this.#callerSpeech.firstVoicedMs : atMs - FRAME_MS
    const suspected = this.putOnHold.suspected
    // Sound without words is not an interruption if it has continued for so long that a hold is suspected.
    if (suspected && this.agentTalking) return false
    if (!this.#pausable) return this.#sendSpeechStart(fromMs, suspected || (this.#early && this.#weighsSpeech))
    const responding = this.#agentSpeech.responding !== null
    const start = this.#bargeInStart(fromMs)
    const moreToSay = responding || this.#core.playout.pendingMs() >= MORE_TO_SAY_MS
    this.bargeIn.pause(start, start.audible && moreToSay && !this.#input.questionOpen)
    this.#weigh(onset, frame)
    const figures = `${this.bargeIn.figures} over the agent, ${this.#callerSpeech.onsetNeededMs} needed${this.levelFigures}`
    if (this.bargeIn.ducks) {
      // A long onset silences the agent at once.
      if (this.bargeIn.soundDuring(this.#core.stream.rateHz) === 'ducked') this.#core.mark('barge-in-duck', figures)
      return this.#duckOrPause()
    }
    this.#core.out({ type: 'playout-pause' })
    this.#core.in('barge-in-resume', this.#core.options.bargeIn.resumeAfterMs)
    this.#core.mark('barge-in-pause', figures)
    return true
  }

  /**
   * Handles voice over an agent that is back at full level. Either the sound continues after a pause, or a new sound
   * begins and is judged alone. A sound that cannot be a backchannel any more counts as a new sound.
   */
  #voiceAgain(fromMs: number, quietFromMs: number): void {
    const answers = this.#input.questionOpen
    if (fromMs - quietFromMs < OVER_QUIET_MS && !answers && this.#pausable)
      return this.bargeIn.restart(this.#bargeInStart(fromMs))
    this.#falseInterruption()
    if (answers) this.#unless = []
  }

  /**
   * Makes the agent softer or silent, while a sound continues that may be a backchannel. @returns true if the agent's
   * level changes
   */
  #duckOrPause(): boolean {
    const bargeIn = this.bargeIn
    if (!bargeIn.ducks) return false
    const sound = bargeIn.soundDuring(this.#core.stream.rateHz)
    if (sound === bargeIn.sound) return false
    if (bargeIn.sound === 'full') this.#core.in('barge-in-resume', bargeIn.backAfterMs)
    if (sound === 'ducked') {
      bargeIn.duck(this.#core.nowMs)
      this.#core.out({ type: 'playout-duck' })
    } else {
      bargeIn.silence()
      this.#core.out({ type: 'playout-pause' })
      this.#core.mark('barge-in-pause', bargeIn.figures)
    }
    return true
  }

  /** Counts the caller's voice over the agent; the voice may be a backchannel. */
  #weigh(onset: boolean, { doubtful, levelDbfs }: CallerFrame): void {
    this.bargeIn.heard(onset ? this.#callerSpeech.voicedMs : FRAME_MS, doubtful, this.level.weightOf(levelDbfs))
  }

  /**
   * True if an onset would delay speech of the agent. False if only the playout lead is left, because a pause then has
   * no effect. The caller is then answering.
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
  #isCallersVoice({ voiced, doubtful, levelDbfs, pitchHz }: CallerFrame): boolean {
    const level = this.level
    const refusedMs = level.refusedMs
    const own = level.takes(voiced, doubtful, levelDbfs, this.#agentSpeech.anyOpen, pitchHz)
    if (own && level.standsOut && (this.putOnHold.suspected || this.unrecognised.ignoring)) this.#callerStandsOut()
    if (level.refusedMs === refusedMs) return own
    if (refusedMs === 0) this.#core.mark('quieter-voice', level.figures)
    if (level.answers) this.learnLevelAnew('it answers us')
    return own
  }

  /**
   * Handles a voice that is clearly louder than earlier sound. It counts as the caller's voice, so every suspicion
   * ends, and sound is not ignored any more. This happens once before the next words, because hold music with a
   * changing level would otherwise end each suspicion.
   */
  #callerStandsOut(): void {
    if (this.#stoodOut) return
    this.#stoodOut = true
    this.#core.mark('voice-stands-out', this.level.figures)
    this.unrecognised.over()
    this.#core.tell({ type: 'understood', endsHold: true })
    this.#uncertain = false
  }

  /** @returns true if the agent begins to wait, because the caller has put the agent on hold */
  #onHold(voiced: boolean): boolean {
    if (!this.putOnHold.frame(voiced, this.#agentSpeech.anyOpen)) return false
    this.#core.tell({ type: 'put-on-hold' })
    return true
  }

  /** Learns the caller's level again, because the caller may have moved away from the phone. */
  learnLevelAnew(why: string): void {
    this.#core.mark('level-forgotten', `${why}: ${this.level.refusedMs} ms of voice, ${this.level.figures}`)
    this.level.forget()
  }

  get levelFigures(): string {
    return this.level.learnt ? `; ${this.level.figures}` : ''
  }

  /** Notes that the caller was the last to speak. */
  callerSpokeLast(): void {
    this.#agentSpokeLast = false
  }

  /** Notes that the caller is present. */
  callerActive(): void {
    this.#core.tell({ type: 'caller-active' })
    this.level.callerHeard()
  }

  /**
   * @param uncertain  true if the speech may not be meant for the agent, so that the backend should answer only words
   * @returns true if the start was sent
   */
  #sendSpeechStart(atMs: number, uncertain: boolean): boolean {
    if (this.#speechStartSent) return false
    if (uncertain && !this.#weighsSpeech) return false
    this.#speechStartSent = true
    this.#uncertain = uncertain
    this.#unless = this.bargeIn.listeningWords
    if (uncertain)
      this.#core.mark(
        'speech-uncertain',
        this.#early
          ? 'from before the stream opened'
          : this.bargeIn.undecided
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

  /** Ends the segment although its sound continues. @param uncertain  true if the backend need not answer */
  giveUpSegment(uncertain: boolean): void {
    this.#uncertain ||= uncertain
    this.#callerSpeech.giveUp()
    this.#segmentEnded()
  }

  #segmentEnded(): void {
    const { lastVoicedMs, real } = this.#callerSpeech
    this.#core.clear('end-of-speech')
    this.#core.mark('caller-speech-end', this.#callerSpeech.endedBecause(this.#core.nowMs))
    if (!this.#speechStartSent) return // a false interruption does not need an answer
    this.#speechStartSent = false
    if (this.#uncertain) return this.#uncertainSpeechEnded(lastVoicedMs)
    if (!this.#finalCame) this.#finalOwedUntilMs = lastVoicedMs + WORDS_LATE_MS
    // A backend that detects turns may have answered before our own clock found the end of the turn.
    if (this.#agentHeardAtMs <= lastVoicedMs) this.#agentSpokeLast = false
    if (this.#core.options.serverVad) return
    if (this.#model.usable) this.#core.out({ type: 'backend-speech-end', atMs: lastVoicedMs })
    // The backend may have begun the answer already.
    if (lastVoicedMs !== this.#answeredFromMs) this.callerStopped(lastVoicedMs, real)
  }

  /** Handles the end of an uncertain segment. A segment without words is ignored. */
  #uncertainSpeechEnded(lastVoicedMs: number): void {
    this.#uncertain = false
    this.#wordsMayCome = !this.#core.options.serverVad
    if (!Number.isNaN(this.#wordsDueMs)) this.#wordsDueMs = this.#core.nowMs + WORDS_WAIT_MS
    const unless = this.#unless
    if (!this.#core.options.serverVad && this.#model.usable)
      this.#core.out({ type: 'backend-speech-end', atMs: lastVoicedMs, unless })
  }

  /** Handles words of the caller. */
  wordsCame(text: string, final: boolean, itemId: string): void {
    if (!final && this.#callerSpeech.speaking) this.bargeIn.wordsCome = true
    this.#wordsItemId = itemId
    const ofBefore = final && this.#core.nowMs < this.#finalOwedUntilMs
    this.#wordsHeard(final)
    if (!ofBefore && this.#isOverAgent(final, itemId)) this.#wordsOverAgent(text)
    if (!ofBefore && this.#wordsMayCome) this.#uncertainSpeechHadWords()
    if (final && this.#overlapEnded) this.#overlapWords(text)
    this.callerActive()
    this.callerSpokeLast()
    this.turns.confirm()
  }

  #wordsHeard(final: boolean): void {
    this.#stoodOut = false
    if (!final) return
    this.#finalCame = true
    this.#finalOwedUntilMs = -Infinity
  }

  /** True if the words belong to the sound that pauses the agent now, and not to the previous turn. */
  #isOverAgent(final: boolean, itemId: string): boolean {
    if (!this.bargeIn.undecided) return false
    if (!this.bargeIn.byWords) return !final
    if (itemId === this.#itemBefore) return false
    if (this.#core.options.serverVad) return !final && !Number.isNaN(this.#overlapGeneration)
    return this.#speechStartSent && this.#uncertain
  }

  /**
   * Handles words over the agent. Refusals, stop words and other words take the turn at once; backchannels never take
   * the turn.
   */
  #wordsOverAgent(text: string): void {
    this.bargeIn.heardWords(text)
    if (!this.bargeIn.wordsTake) return void (this.bargeIn.sound !== 'full' && this.#duckOrPause())
    this.#commitBargeIn(`words in ${this.bargeIn.figures}`, this.#agentSpeech.latest)
  }

  /** Handles a caller who asks for a moment. The agent stops, and the turn is not answered. */
  askedToWait(): void {
    this.#wordsMayCome = false
    this.#wordsHeard(true)
    if (this.bargeIn.undecided || this.#interruptible) this.#commitBargeIn('asked to wait', this.#agentSpeech.latest)
    this.#settleOverlap()
    this.callerActive()
    this.callerSpokeLast()
    this.turns.dismiss()
  }

  /** Handles words of an uncertain segment. The words show that the segment was meant for the agent. */
  #uncertainSpeechHadWords(): void {
    this.#wordsMayCome = false
    if (this.bargeIn.undecided || this.#interruptible)
      this.#commitBargeIn(`words in ${this.bargeIn.figures}`, this.#agentSpeech.latest)
    this.#agentSpokeLast = false
    if (!this.#callerSpeech.speaking) this.callerStopped(this.#callerSpeech.lastVoicedMs, true)
  }

  /**
   * Handles words that a service has recognised in speech over the agent. If the words are not a backchannel, they
   * interrupt the agent.
   */
  #overlapWords(text: string): void {
    const before = this.#overlapGeneration
    const answers = this.#overlapAnswers || (isYesNo(text) && this.#questionOpen && this.#questionHadBegun)
    this.#settleOverlap()
    if (!answers && this.bargeIn.listens(text)) return
    // A service that had finished its answer has already begun a new answer to these words.
    if (this.#agentSpeech.latest > before) return this.callerStopped(this.#callerSpeech.lastVoicedMs, true, before)
    if (this.bargeIn.undecided || this.#interruptible)
      this.#commitBargeIn(`words in ${this.bargeIn.figures}`, this.#agentSpeech.latest)
    else if (this.#model.usable) this.#core.out({ type: 'backend-interrupt', itemId: null, playedMs: 0 })
    if (!this.#callerSpeech.speaking) this.callerStopped(this.#callerSpeech.lastVoicedMs, true)
  }

  #settleOverlap(): void {
    this.#overlapGeneration = NaN
    this.#overlapEnded = false
    this.#overlapAnswers = false
  }

  /** True if the agent's last question had begun when the speech over the agent ended. */
  get #questionHadBegun(): boolean {
    const heard = this.#input.heardOfAgent
    const question = lastQuestion(heard)
    const before = this.#overlapHeard
    return question !== null && heard.startsWith(before) && before.length > heard.lastIndexOf(question)
  }

  /** Like `Input.questionOpen`, but false for a call that was recorded before `stopWords` existed. */
  get #questionOpen(): boolean {
    return this.bargeIn.byWords && this.#input.questionOpen
  }

  callerStopped(atMs: number, real: boolean, generation = this.#agentSpeech.latest): void {
    this.#core.tell({ type: 'turn-ended', atMs })
    this.#core.recordTurn(this.turns.callerStopped(atMs, real, generation, this.#core.streamZeroMs))
  }

  /**
   * Ends the caller's turn if agent sound comes while our own clock still waits for the end of the turn. A backend that
   * detects turns has found the end first and answers.
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

  /** Ends a segment if the caller's frames have stopped. */
  #endOfSpeechDue(): void {
    const speech = this.#callerSpeech
    if (!speech.speaking) return
    // During answering-machine detection the frames are not processed; they are processed again after the verdict.
    if (this.#line.inAmd) this.#core.in('end-of-speech', FRAMES_STOPPED_MS)
    else if (speech.overdue(this.#core.nowMs - FRAMES_STOPPED_MS) === 'end') this.#segmentEnded()
    else this.#core.deadlines.set('end-of-speech', speech.endsAtMs + FRAMES_STOPPED_MS)
  }

  /** True if the backend accepts speech from our own detector that may not be meant for it. */
  get #weighsSpeech(): boolean {
    return this.#core.options.weighsSpeech && !this.#core.options.serverVad
  }

  /** True if the agent speaks and the caller may interrupt it. */
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
    const { undecided, ducks } = this.bargeIn
    const silent = undecided && this.bargeIn.sound === 'silent'
    const soundFromMs = undecided ? this.bargeIn.soundFromMs : start.firstVoicedMs
    this.bargeIn.commit(start, why)
    // If the agent was only softer during the sound, the caller heard the agent for longer than until the onset.
    const heard = undecided && (ducks || !silent) ? this.#bargeInStart(start.firstVoicedMs) : start
    this.#core.mark('barge-in', `${why}; ${Math.round(heard.playedMs)} ms of it heard`)
    this.#cutAgent(heard, fence)
    this.#core.tell({ type: 'barge-in' })
    this.#agentHeardAtMs = this.#core.nowMs
    this.#agentSpokeLast = false
    this.#uncertain = false
    this.#wordsDueMs = NaN
    this.#settleOverlap()
    this.callerActive()
    if (speech.speaking) this.#sendSpeechStart(Math.max(soundFromMs, speech.firstVoicedMs), false)
    // If the agent was paused, its last sample was sent earlier. Otherwise samples are being sent now.
    if (silent) this.settleBargeIn()
    else this.#core.in('barge-in-settle', AFTER_KILL_SILENCE_MS)
  }

  /** Completes the barge-in record, when the last agent sample before the commit was sent. */
  settleBargeIn(): void {
    const record = this.bargeIn.settle(this.#core.playout.lastSentAtMs(), this.#core.streamZeroMs)
    if (record !== null) this.#core.record({ kind: 'barge-in', record })
  }

  /** Lets the agent continue, because the caller did not take the turn and the interruption was false. */
  #resumeDue(): void {
    if (!this.bargeIn.undecided) return
    const back = this.bargeIn.ducks
    if (back) {
      if (!this.#backAtFullLevel()) return
    } else if (
      !this.bargeIn.mayResume(this.#callerSpeech.quietMs(this.#core.nowMs)) ||
      this.#core.nowMs < this.#wordsDueMs
    )
      return this.#core.in('barge-in-resume', RESUME_POLL_MS)
    this.#wordsDueMs = NaN
    if (!back) this.#core.out({ type: 'playout-resume' })
    this.#falseInterruption()
  }

  #falseInterruption(): void {
    if (this.bargeIn.maybeListening) this.#core.counters.backchannels++
    const record = this.bargeIn.resume(this.#core.nowMs, this.#core.playout.lastSentAtMs(), this.#core.streamZeroMs)
    this.#core.clear('barge-in-resume')
    if (record !== null) this.#core.record({ kind: 'barge-in', record })
    this.#core.mark('barge-in-resume', record?.why)
  }

  /** Returns the agent to full level after a short sound over a ducked agent. @returns true if the sound is over */
  #backAtFullLevel(): boolean {
    const { bargeIn } = this
    const { lastVoicedMs } = this.#callerSpeech
    const quietMs = this.#core.nowMs - lastVoicedMs
    if (quietMs < bargeIn.backAfterMs) {
      this.#core.deadlines.set('barge-in-resume', lastVoicedMs + bargeIn.backAfterMs)
      return false
    }
    if (bargeIn.sound !== 'full') {
      bargeIn.fullAgain(this.#core.playout.lastSentAtMs())
      this.#core.out({ type: 'playout-resume' })
    }
    // The agent speaks while words may still come. If the words come in time, they decide about this sound.
    const wordsDue = this.#core.nowMs < this.#wordsDueMs || !Number.isNaN(this.#overlapGeneration)
    if (quietMs >= OVER_QUIET_MS && (!wordsDue || quietMs >= WORDS_LATE_MS)) return true
    this.#core.deadlines.set(
      'barge-in-resume',
      Math.max(lastVoicedMs + OVER_QUIET_MS, this.#core.nowMs + RESUME_POLL_MS),
    )
    return false
  }

  /** Handles speech that the backend's own VAD has heard. */
  backendHeardSpeech(): void {
    this.#core.mark('backend-speech-started')
    this.#floor.asked()
    this.unrecognised.backendHeardSpeech()
    // If the gateway decides about interruptions, the sound may be a backchannel or a television. Such a sound does not
    // show that the caller is present.
    this.#settleOverlap()
    if (!this.#core.options.serverInterrupts && this.#interruptible) {
      this.#overlapGeneration = this.#agentSpeech.latest
      return
    }
    if (this.#interruptible) this.#commitBargeIn('the backend heard speech', this.#agentSpeech.latest)
    if (!this.#early) this.callerActive()
  }

  backendHeardStop(): void {
    // The agent was not interrupted and continues. The sound counts as a backchannel unless its words show something
    // else.
    if (!Number.isNaN(this.#overlapGeneration) && (this.bargeIn.undecided || this.#interruptible)) {
      this.#overlapEnded = true
      this.#overlapAnswers = this.#questionOpen
      this.#overlapHeard = this.#input.heardOfAgent
      const { weighsSpeech } = this.#core.options
      // A service that has finished its answer would answer this sound too. It must answer only words.
      if (weighsSpeech && this.#model.usable && this.#core.playout.pendingMs() >= MORE_TO_SAY_MS)
        this.#core.out({
          type: 'backend-speech-end',
          atMs: this.#core.nowMs,
          unless: this.#overlapAnswers ? [] : this.bargeIn.noTurn,
        })
      return this.#core.mark('backend-speech-over-agent', this.bargeIn.undecided ? this.bargeIn.figures : undefined)
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

  /** Handles a pressed digit. It interrupts the agent if the options allow this. */
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
    this.level.callerActs()
    // A caller who enters "4127#" may hear the start of the answer before pressing #. The # only ends an entry, so it
    // does not interrupt.
    if (digit === '#' && this.#interruptible) return this.#core.out({ type: 'backend-dtmf', digit })
    this.digitInterrupts()
    this.#core.tell({ type: 'understood', endsHold: true })
    this.#stoodOut = false
    this.callerActive()
    this.#agentSpokeLast = false
    this.#core.out({ type: 'backend-dtmf', digit })
    this.callerStopped(this.#core.nowMs, true)
  }
}
