import { z } from 'zod'
import type { LegRateHz } from '../../core/units.js'
import { inSession } from '../documents/document.js'
import type { DocumentOf } from '../documents/document.js'
import type { BargeInRecord } from '../documents/record.js'
import { LISTENING_WORDS, NO_OBJECTIONS, wordsOver } from './turn-words.js'
import type { WordsOver } from './turn-words.js'

/**
 * Maximum length of a sound that contains only backchannels, as a multiple of `backchannel.maxMs`. Used for calls that
 * were recorded before `stopWords` existed.
 */
const LISTENING_TIMES = 2
/**
 * The same maximum for newer calls. People do not say only backchannels ("ndiyo, sawa, ndiyo") for longer. A longer
 * sound means that the recogniser hangs.
 */
const LISTENS_TIMES = 6
/**
 * Maximum length of a sound without words, as a multiple of `backchannel.maxMs`, if the recogniser sends words during
 * the speech. Such words are 300 to 500 ms late.
 */
const WORDS_DUE_TIMES = 2
/**
 * Duration of the caller's voice after which a ducked agent falls silent, in milliseconds. The carrier still plays the
 * playout lead: 90 ms at 16 kHz, 125 ms at 8 kHz. Therefore the caller hears silence after less than 300 ms of voice.
 */
const SILENT_MS = { 16_000: 200, 8000: 160 } as const
/**
 * Duration of quiet after which the agent returns to full level, in milliseconds. The second value applies after
 * `LONG_VOICE_MS` of voice, because a shorter quiet may be a pause between words.
 */
const BACK_QUIET_MS = 100
const BACK_QUIET_LONG_MS = 280
const LONG_VOICE_MS = 500
/** Duration of quiet after which a sound over a ducked agent was a false interruption, in milliseconds. */
export const OVER_QUIET_MS = 600
/**
 * Duration of voice over the agent after which a recogniser gets the sound, in milliseconds. The shortest "no" has 120
 * ms.
 */
const WORDS_ASKED_MS = 100

/** State at the moment when the caller began to speak over the agent. */
export interface BargeInStart {
  readonly firstVoicedMs: number
  /** The item that the caller was hearing, and its played duration at that moment. */
  readonly itemId: string | null
  readonly playedMs: number
  /** True if the caller was hearing the agent, so that an interruption can stop speech. */
  readonly audible: boolean
}

/**
 * Barge-in in two steps: pause, then commit or resume. If the sound may be a backchannel, the agent is ducked before it
 * is paused.
 *
 *     idle   --caller's onset, agent audible or about to be-->  paused  fall silent, keep everything; if it may be a
 *                                  backchannel: softer at first, silent after SILENT_MS, full level after BACK_QUIET_MS
 *     paused --enough voice, words, or the backend's decision-->  idle  committed: discard, tell the backend
 *     paused --resumeAfterMs and the caller quiet for quietMs-->  idle    a false interruption: resume
 *     idle   --the backend's decision, or a digit-->  idle    committed at once
 *
 * The caller notices the pause at once, and a pause can be undone. Discarding the speech cannot be undone, so it needs
 * more evidence than a cough.
 */
export class BargeIn {
  start: BargeInStart | null = null
  /**
   * Time of the first voiced sample of the whole sound, pauses included. `start` counts only the voice since the agent
   * was last at full level.
   */
  soundFromMs = NaN
  #sound: 'full' | 'ducked' | 'silent' = 'full'
  /**
   * Duration of the caller's voice since the agent was last at full level, in milliseconds; and the weight of this
   * voice's loudest frame.
   */
  #sinceFullMs = 0
  #loudest = 0
  /** Time of the last sample before a ducked agent fell silent; null if the agent did not fall silent. */
  #silentFromMs: number | null = null
  /** Time from the first voiced sample until the agent was ducked, in milliseconds; null if it was not ducked. */
  #duckMs: number | null = null
  /** Number of sounds that ducked the agent and were still undecided when the agent was stopped. */
  ducksUndecided = 0
  /** True if the backend sends words while the caller still speaks. */
  wordsCome = false
  /**
   * Duration of the caller's voice since the agent was paused, in milliseconds. In `weighedMs` loud voice counts more
   * and soft voice counts less.
   */
  readonly voice = { voiceMs: 0, doubtfulMs: 0, weighedMs: 0 }
  /** True if the agent still has much to say. A short sound may then be a backchannel and not an interruption. */
  #mayBeBackchannel = false
  #words: WordsOver = 'open'
  /** A commit that came before the agent's last sample was sent; null without such a commit. */
  #settling: { readonly start: BargeInStart; readonly why: string } | null = null
  readonly #options: BargeInOptions
  /** Words that do not take a turn. */
  readonly noTurn: readonly string[]

  constructor(options: BargeInOptions) {
    this.#options = options
    this.noTurn =
      options.backchannel === null ? [] : [...options.backchannel.words, ...(this.byWords ? NO_OBJECTIONS : [])]
  }

  /** True while it is undecided if the caller's sound over the agent is an interruption. */
  get undecided(): boolean {
    return this.start !== null
  }

  /** Level of the agent's speech while the sound is undecided. */
  get sound(): 'full' | 'ducked' | 'silent' {
    return this.#sound
  }

  /** True if the sound ended and the agent is back at full level, but the sound is still undecided. */
  get back(): boolean {
    return this.undecided && this.#sound === 'full'
  }

  /** @param mayBeBackchannel  true if the caller hears the agent, and much of the agent's speech remains */
  pause(start: BargeInStart, mayBeBackchannel: boolean): void {
    this.start = start
    this.soundFromMs = start.firstVoicedMs
    this.#sinceFullMs = this.#loudest = 0
    this.#silentFromMs = null
    this.voice.voiceMs = 0
    this.voice.doubtfulMs = 0
    this.voice.weighedMs = 0
    this.#mayBeBackchannel = mayBeBackchannel && this.#options.backchannel !== null
    this.#words = 'open'
    this.#sound = this.ducks ? 'full' : 'silent'
    this.#duckMs = null
  }

  /** Notes that the sound continues after a pause. `start` is the new beginning. */
  restart(start: BargeInStart): void {
    this.start = start
    this.#duckMs = null
    this.#silentFromMs = null
  }

  /** True if the agent is ducked before it falls silent. */
  get ducks(): boolean {
    return this.#mayBeBackchannel && this.#options.duck === true
  }

  /**
   * Returns the agent's level while the caller's sound continues. After words that do not take a turn the agent stays
   * audible.
   */
  soundDuring(rateHz: LegRateHz): 'ducked' | 'silent' {
    // A soft voice may be meant for another person, so the agent stays ducked for longer before it falls silent.
    const isLong = this.#sinceFullMs * Math.min(1, this.#loudest) >= SILENT_MS[rateHz]
    return isLong && this.#words !== 'listens' ? 'silent' : 'ducked'
  }

  /** Notes that the agent is ducked from now on. */
  duck(nowMs: number): void {
    this.#sound = 'ducked'
    this.#duckMs ??= this.start === null ? null : Math.round(nowMs - this.start.firstVoicedMs)
  }

  /** Notes that the agent is silent from now on. */
  silence(): void {
    this.#sound = 'silent'
  }

  /**
   * Notes that the sound has ended and the agent is at full level again. @param lastSentAtMs  time of the agent's last
   * sample so far
   */
  fullAgain(lastSentAtMs: number | null): void {
    if (this.#sound === 'silent') this.#silentFromMs ??= lastSentAtMs
    this.#sound = 'full'
    this.#sinceFullMs = this.#loudest = 0
  }

  /** Duration of quiet after which a ducked agent is back at full level, in milliseconds. */
  get backAfterMs(): number {
    return this.voice.voiceMs < LONG_VOICE_MS ? BACK_QUIET_MS : BACK_QUIET_LONG_MS
  }

  /** Takes all words that the caller has said so far over the paused agent. */
  heardWords(text: string): void {
    const { backchannel, stopWords } = this.#options
    this.#words = wordsOver(text, backchannel?.words ?? [], stopWords)
  }

  /** True if the text has only words that do not take a turn. */
  listens(text: string): boolean {
    const { backchannel, stopWords } = this.#options
    return backchannel !== null && wordsOver(text, backchannel.words, stopWords) === 'listens'
  }

  /** True if the words so far are enough to discard the agent's speech. */
  get wordsTake(): boolean {
    return this.byWords && this.start !== null && (this.#words === 'takes' || this.#words === 'words')
  }

  /**
   * Takes voice of the caller over the paused agent. @param weight  weight of the voice by its loudness; 1 for the
   * usual loudness
   */
  heard(ms: number, doubtful: boolean, weight: number): void {
    this.voice.voiceMs += ms
    this.#sinceFullMs += ms
    this.#loudest = Math.max(this.#loudest, weight)
    this.voice.weighedMs += this.byWords ? ms * weight : ms
    if (doubtful) this.voice.doubtfulMs += ms
  }

  /**
   * Duration of voice since the onset that is enough to discard the agent's speech, in milliseconds. Loudness does not
   * count.
   */
  get neededMs(): number {
    const { commitMs, doubtfulCommitMs } = this.#options
    const { voiceMs, doubtfulMs } = this.voice
    const neededMs = Math.max(commitMs, 2 * doubtfulMs > voiceMs ? doubtfulCommitMs : 0)
    return this.byWords ? neededMs : Math.max(neededMs, this.#listeningMs)
  }

  /** Maximum weighed voice of a sound that may be a backchannel, in milliseconds; 0 if a backchannel is impossible. */
  get #listeningMs(): number {
    const maxMs = this.#mayBeBackchannel ? (this.#options.backchannel?.maxMs ?? 0) : 0
    if (this.#words === 'listens') return maxMs * (this.byWords ? LISTENS_TIMES : LISTENING_TIMES)
    return this.byWords && this.wordsCome ? maxMs * WORDS_DUE_TIMES : maxMs
  }

  /** True if the voice since the onset is long enough to discard the agent's speech. */
  get shouldCommit(): boolean {
    const { voiceMs, weighedMs } = this.voice
    return this.start !== null && voiceMs >= this.neededMs && weighedMs >= this.#listeningMs
  }

  /** True if the sound may still be a backchannel, and is long enough for a word. */
  get maybeListening(): boolean {
    return this.start !== null && this.#mayBeBackchannel && this.voice.voiceMs >= this.#options.commitMs
  }

  /** True if the voice is long enough for words. The recognised words then decide. */
  get wordsDecide(): boolean {
    if (!this.byWords) return this.maybeListening
    const { voiceMs, doubtfulMs } = this.voice
    return this.start !== null && voiceMs >= (2 * doubtfulMs > voiceMs ? this.#options.commitMs : WORDS_ASKED_MS)
  }

  /** Words that do not interrupt. */
  get listeningWords(): readonly string[] {
    const asked = this.byWords && !this.#mayBeBackchannel
    return this.start === null || asked ? [] : this.noTurn
  }

  /** True if words decide. False for a call that was recorded before `stopWords` existed. */
  get byWords(): boolean {
    return this.#options.stopWords !== undefined
  }

  /** Figures of the sound, for the timeline. */
  get figures(): string {
    const { voiceMs, doubtfulMs, weighedMs } = this.voice
    const doubt = doubtfulMs > 0 ? `, ${doubtfulMs} ms of it doubtful` : ''
    const weighed = Math.round(weighedMs)
    const loudness = this.#listeningMs === 0 || weighed === voiceMs ? '' : `, ${weighed} by loudness`
    return `${voiceMs} ms of voice${loudness}${doubt}`
  }

  /** For the timeline: duration of voice that was needed to take the turn, in milliseconds. */
  get neededFigures(): string {
    return `${Math.max(this.neededMs, this.#listeningMs)}`
  }

  /** True if the caller is quiet enough to resume. The first check is `resumeAfterMs` after the pause began. */
  mayResume(quietMs: number): boolean {
    return quietMs >= this.#options.quietMs
  }

  /**
   * Notes that the interruption was false.
   * @returns the record of the false interruption; null without an interruption
   */
  resume(nowMs: number, lastSentAtMs: number | null, streamZeroMs: number): BargeInRecord | null {
    const start = this.start
    if (start === null) return null
    this.start = null
    const sinceMs = Math.round(nowMs - start.firstVoicedMs)
    const what = this.#mayBeBackchannel ? ' (backchannel)' : ''
    const why = `${this.figures} in ${sinceMs} ms, under ${this.neededFigures}${what}`
    // An agent that was only ducked has not stopped.
    const stoppedAtMs = this.ducks ? this.#silentFromMs : lastSentAtMs
    return this.#record(start, stoppedAtMs, streamZeroMs, false, why)
  }

  /** Ends the pause without a record, because the paused speech was discarded for another reason. */
  abandon(): void {
    if (this.start !== null && this.#duckMs !== null) this.ducksUndecided++
    this.start = null
  }

  /**
   * Discards the agent's speech. `settle` returns the record when the last sample was certainly sent. If the agent was
   * not paused before, some samples are sent after this method.
   */
  commit(start: BargeInStart, why: string): void {
    // The agent was made softer for an earlier sound, which does not belong to this commit.
    if (this.start === null) this.#duckMs = null
    this.start = null
    this.#settling = { start, why }
  }

  settle(lastSentAtMs: number | null, streamZeroMs: number): BargeInRecord | null {
    const settling = this.#settling
    if (settling === null) return null
    this.#settling = null
    const { start, why } = settling
    return this.#record(start, lastSentAtMs, streamZeroMs, true, why)
  }

  #record(
    start: BargeInStart,
    lastSentAtMs: number | null,
    streamZeroMs: number,
    committed: boolean,
    why: string,
  ): BargeInRecord {
    return {
      atMs: start.firstVoicedMs - streamZeroMs,
      stopMs: stopMs(start, lastSentAtMs),
      ...(this.#duckMs === null ? {} : { duckMs: this.#duckMs }),
      committed,
      why,
    }
  }
}

/**
 * Returns the time in milliseconds from the caller's first voiced sample to the agent's last sent sample. The result is
 * 0 if the agent had already stopped by itself.
 */
function stopMs(start: BargeInStart, lastSentAtMs: number | null): number | null {
  return start.audible && lastSentAtMs !== null ? Math.max(0, lastSentAtMs - start.firstVoicedMs) : null
}

/** `bargeIn:` of an agent's file. */
export const bargeInSchema = z
  .strictObject({
    onsetMs: z
      .int()
      .min(20)
      .max(300)
      .default(40) // two frames: one voiced frame is often a click (docs/ARCHITECTURE.md, barge-in)
      .describe('Onset: voiced time over the agent until the agent pauses.'),
    commitMs: z
      .int()
      .min(60)
      .max(1500)
      // Low end of the usual range (200-800 ms). This short time is possible because the agent is softer from the onset
      // on.
      .default(200)
      .describe(
        "Commit: voiced time until the agent's speech is discarded and the caller has the turn. Not less than onsetMs.",
      ),
    doubtfulOnsetMs: z
      .int()
      .min(20)
      .max(300)
      // Most noises that resemble a voice are shorter, and all are doubtful. A caller's voice is seldom doubtful
      // (bench/vad/README.md).
      .default(100)
      .describe('Onset if most of the voice may be music or noise. Not less than onsetMs.'),
    doubtfulCommitMs: z
      .int()
      .min(60)
      .max(3000)
      // The music detector needs at least a second to recognise that music is not voice. A caller's voice is seldom
      // doubtful.
      .default(1000)
      .describe('Commit if most of the voice may be music. Not less than commitMs.'),
    backchannel: z
      .strictObject({
        maxMs: z
          .int()
          .min(100)
          .max(1500)
          // "mm-hm", "okay" and "sawa sawa" have 250 to 560 ms of voice. The agent is softer from the onset on, and
          // silent after 200 ms.
          .default(600)
          .describe(
            'Maximum voiced time over the agent that may be a backchannel. Voice 9 dB louder than usual counts twice, voice 9 dB softer counts half.',
          ),
        words: z
          .array(z.string().min(1).max(40))
          .max(200)
          .default([...LISTENING_WORDS]) // a "yes" comes at the end of a question, where every sound is an answer
          .describe(
            'Words of a backchannel, in any combination. Other words interrupt. After a question of the agent the words of a backchannel interrupt too. The list is used only if the gateway detects interruptions.',
          ),
      })
      .nullable()
      .prefault({})
      .describe(
        'Treats a short sound over the agent as a backchannel ("mm-hm", "sawa"), not as an interruption. Services then do not interrupt their own answers. With turns: { by: server } some services still do (docs/BACKENDS.md#who-interrupts). null: each sound interrupts.',
      ),
    stopWords: z
      .array(z.string().min(1).max(40))
      .max(100)
      .default([])
      .describe(
        'Words that take the turn over the agent as soon as they are recognised. They are added to the words of all languages: "no", "stop", "wait", "hapana", "acha", "subiri".',
      ),
    quieterDb: z
      .number()
      .min(10)
      .max(60)
      .nullable()
      .default(20)
      .describe(
        "Number of dB below the caller's learnt level. A voice below this level counts as another person: it does not interrupt, and starts no turn. null: every voice counts as the caller.",
      ),
    duck: z
      .boolean()
      .default(true)
      .describe(
        'Makes the agent 12 dB softer when the caller makes a sound that may be a backchannel. If the sound continues, the agent becomes silent before 300 ms. When the sound ends, the agent has its normal level again at once. false: the agent pauses at the onset, for resumeAfterMs.',
      ),
    secondVoice: z
      .boolean()
      .default(true)
      .describe(
        'Recognises another voice on the line (a neighbour, a television) by level and pitch over several seconds. A sound that resembles the other voice more than the caller does not interrupt and starts no turn. It needs quieterDb.',
      ),
    resumeAfterMs: z
      .int()
      .min(200)
      .max(5000)
      .default(1000) // usual values are 1-2 s
      .describe('False interruption: without a commit within this time, the agent resumes where it paused.'),
    onDtmf: z.boolean().default(true).describe('Lets a DTMF digit interrupt the agent.'),
    protectGreeting: z.boolean().default(false).describe('Keeps callers from interrupting the greeting.'),
  })
  .refine((bargeIn) => bargeIn.commitMs >= bargeIn.onsetMs, {
    path: ['commitMs'],
    error: 'must not be shorter than onsetMs',
  })

/** `turn.waitWords` of an agent's file. */
export const waitWords = z
  .boolean()
  .default(true)
  .describe(
    'Gives no answer to a caller who says only "wait", "subiri" or "um", until they continue. While the agent speaks, the same is true for "stop" and "acha". false: the model answers.',
  )

const { onsetMs, doubtfulOnsetMs, ...commits } = bargeInSchema.shape
/** The onset settings, which `CallerSpeech` uses. */
export const onsets = { onsetMs, doubtfulOnsetMs }

/** Keys of `bargeIn` in a session, without the onset. */
export const bargeInOptionsSchema = inSession({ ...commits, waitWords }, [
  'waitWords',
  'stopWords',
  'duck',
  'secondVoice',
]).extend({
  /** Duration of the caller's quiet before paused speech resumes, in milliseconds. */
  quietMs: z.number(),
  protectEscalation: z.boolean(),
})
export type BargeInOptions = DocumentOf<typeof bargeInOptionsSchema>
