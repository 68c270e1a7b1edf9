import { z } from 'zod'
import { FRAME_MS } from '../../core/units.js'
import { inSession } from '../documents/document.js'
import { spokenSchema as spoken } from '../spoken/localized-text.js'

/** The party that took the call; see `AnsweringMachineDetector`. */
export const ANSWERED_BY = ['human', 'silence', 'recording', 'machine'] as const

export interface AnswerVerdict {
  readonly who: (typeof ANSWERED_BY)[number]
  readonly why: string
  /**
   * The beep after long speech was a mailbox's: it stayed alone. No person has spoken. It follows the verdict, which a
   * message must not wait for. Absent: that is not known.
   */
  readonly beep?: true
}

/** A voicemail's beep is 200 to 1000 ms of one pure tone; shorter is a click, longer a dial tone or a fax. */
const BEEP_MS_MIN = 160
const BEEP_MS_MAX = 1500
/** The machine records right after its beep; this lets the echo of the beep pass. */
const AFTER_BEEP_MS = 100
/** A busy tone, of a person who has hung up, goes on: its pauses are at most 1000 ms (ITU-T E.180, table 2). */
const BEEP_ALONE_MS = 2000
/** Quiet after which a recording without a beep is over. */
const MACHINE_QUIET_MS = 1800
/** Longest wait for the end of a mailbox greeting: mailboxes allow 30 to 60 s. */
const MACHINE_GREETING_MS_MAX = 45_000
/** A pause is at least this much quieter than the voice; background noise of a room is about 25 dB quieter. */
const PAUSE_DROP_DB = 18
/** Voice shorter than this is a click or comfort noise. */
const WORD_MS_MIN = 100
/** A mailbox may say a name, pause, and go on with its greeting: for this long after the first verdict it is corrected. */
const CORRECTED_MS = 15_000
/** Voice that follows the last one by more than this is an answer to the agent, however long it is. */
const GOES_ON_MS = 2000

/**
 * Distinguishes a person from an answering machine: people say a short word and wait, recordings keep talking, then
 * beep. It counts frames, so its clock is the line's own.
 *
 *     (open)         --a word and a pause--> human; no voice--> silence; long speech--> (recording); a beep--> machine
 *     human, silence --long speech that goes on at once, within CORRECTED_MS--> recording
 *                    --a beep, within CORRECTED_MS--> machine
 *     recording      --a beep, or quiet--> machine, ready for a message
 *     machine        --no other tone for BEEP_ALONE_MS after the beep--> machine, certainly
 */
export class AnsweringMachineDetector {
  readonly #options: AnsweringMachineOptions
  #atMs = 0
  #voiceFromMs: number | null = null
  #voiceToMs = 0
  #voicedMs = 0
  #toneMs = 0
  /** Loudest voiced frame so far. */
  #voiceDbfs = -Infinity
  /** When a beep ended; null before one. */
  #beepEndedMs: number | null = null
  #machine: string | null = null
  /** When the beep after long speech ended: it is not known whether it stays alone. */
  #beepAloneFromMs: number | null = null
  /** When a person, or nobody, was taken for there; null before. */
  #verdictAtMs: number | null = null
  /** There was a voice before the last pause. */
  #spoke = false
  /** The voice goes on from that before the pause. */
  #goesOn = true
  #over = false

  /** @param recording  a recording was found before, and is being heard out: its beep, or its end, is still to come */
  constructor(options: AnsweringMachineOptions, recording = false) {
    this.#options = options
    if (recording) {
      this.#machine = 'a recording'
      this.#spoke = true
    }
  }

  /** Nothing follows any more. */
  get over(): boolean {
    return this.#over
  }

  /**
   * One 20 ms frame of the called side.
   * @param voiced  speech, not a tone
   * @param tone  one or two pure tones
   * @param levelDbfs  of the frame
   * @returns a verdict when it falls; null otherwise
   */
  frame(voiced: boolean, tone: boolean, levelDbfs: number): AnswerVerdict | null {
    this.#atMs += FRAME_MS
    this.#tone(tone)
    if (this.#beepAloneFromMs !== null) return this.#beepAlone(this.#beepAloneFromMs)
    if (voiced) this.#voice(levelDbfs)
    // The detector takes a long voice without a breath for noise after a while. Sound as loud as that voice is not a
    // pause. Once the agent speaks it may be its echo.
    else if (
      this.#verdictAtMs === null &&
      !tone &&
      this.#voiceFromMs !== null &&
      levelDbfs > this.#voiceDbfs - PAUSE_DROP_DB
    )
      this.#talking(this.#voiceFromMs)
    if (this.#beepEndedMs !== null && this.#atMs - this.#beepEndedMs >= AFTER_BEEP_MS) return this.#beeped()
    if (this.#machine !== null) return this.#recording(this.#machine)
    return this.#verdictAtMs === null ? this.#person() : this.#correction(this.#verdictAtMs)
  }

  #tone(tone: boolean): void {
    if (tone) {
      this.#toneMs += FRAME_MS
      return
    }
    // A tone without a word before it comes from the line: ringing, or a fax.
    const beep =
      this.#toneMs >= BEEP_MS_MIN && this.#toneMs <= BEEP_MS_MAX && (this.#spoke || this.#voiceFromMs !== null)
    if (beep) this.#beepEndedMs = this.#atMs - FRAME_MS
    this.#toneMs = 0
  }

  #voice(levelDbfs: number): void {
    // A tone is not the beep if somebody talks after it.
    this.#beepEndedMs = null
    this.#voiceDbfs = Math.max(this.#voiceDbfs, levelDbfs)
    if (this.#voiceFromMs === null) this.#goesOn = !this.#spoke || this.#atMs - this.#voiceToMs <= GOES_ON_MS
    this.#voiceFromMs ??= this.#atMs - FRAME_MS
    this.#voicedMs += FRAME_MS
    this.#talking(this.#voiceFromMs)
  }

  #talking(fromMs: number): void {
    this.#voiceToMs = this.#atMs
    const spokenMs = this.#voiceToMs - fromMs
    if (spokenMs > this.#options.machineSpeechMs && this.#goesOn)
      this.#machine ??= `${this.#options.machineSpeechMs} ms of speech without a pause`
  }

  #person(): AnswerVerdict | null {
    const { pauseMs, silenceMs } = this.#options
    if (this.#voiceFromMs === null) {
      return this.#atMs >= silenceMs ? this.#first('silence', `no voice in ${silenceMs} ms`) : null
    }
    const quietMs = this.#atMs - this.#voiceToMs
    // The tone that runs may turn out to be a beep.
    if (quietMs < pauseMs || this.#beepEndedMs !== null || (this.#toneMs > 0 && this.#toneMs <= BEEP_MS_MAX))
      return null
    if (this.#voicedMs < WORD_MS_MIN) {
      this.#voiceFromMs = null
      this.#voicedMs = 0
      this.#voiceDbfs = -Infinity
      return null
    }
    return this.#first('human', `${this.#voiceToMs - this.#voiceFromMs} ms of speech, then a pause`)
  }

  #first(who: 'human' | 'silence', why: string): AnswerVerdict {
    this.#verdictAtMs = this.#atMs
    this.#pause()
    return { who, why }
  }

  /** Speech after a pause is measured on its own. */
  #pause(): void {
    this.#spoke ||= this.#voiceFromMs !== null
    this.#voiceFromMs = null
  }

  #correction(verdictAtMs: number): null {
    if (this.#voiceFromMs !== null && this.#atMs - this.#voiceToMs >= this.#options.pauseMs) this.#pause()
    const beepMayCome = this.#toneMs > 0 || this.#beepEndedMs !== null
    this.#over = this.#atMs - verdictAtMs >= CORRECTED_MS && !beepMayCome
    return null
  }

  #machineNow(why: string): AnswerVerdict {
    this.#over = true
    return { who: 'machine', why }
  }

  #beeped(): AnswerVerdict {
    if (this.#machine === null) return this.#machineNow('a beep')
    this.#beepAloneFromMs = this.#atMs
    return { who: 'machine', why: this.#machine }
  }

  /** A beep sounds like the first burst of the busy tone of a person who has talked at length, and hung up. */
  #beepAlone(fromMs: number): AnswerVerdict | null {
    const another = this.#toneMs >= BEEP_MS_MIN
    this.#over = another || this.#atMs - fromMs >= BEEP_ALONE_MS
    return this.#over && !another ? { who: 'machine', why: 'its beep stayed alone', beep: true } : null
  }

  #recording(why: string): AnswerVerdict | null {
    if (this.#verdictAtMs !== null) {
      this.#verdictAtMs = null
      return { who: 'recording', why }
    }
    const inBeep = this.#toneMs > 0 && this.#toneMs <= BEEP_MS_MAX
    const quietMs = inBeep ? 0 : this.#atMs - this.#voiceToMs
    if (quietMs >= MACHINE_QUIET_MS) return this.#machineNow(`${why}, then no beep`)
    return this.#atMs >= MACHINE_GREETING_MS_MAX ? this.#machineNow(`${why}, still talking`) : null
  }
}

/** `outbound.amd` of an agent's file. */
export const amdSchema = z.strictObject({
  machineSpeechMs: z
    .int()
    .min(1000)
    .max(15_000)
    .default(3000) // people say "hello?" and wait
    .describe('Longer speech without a pause means an answering machine.'),
  pauseMs: z
    .int()
    .min(200)
    .max(3000)
    .default(600)
    .describe('Silence after the first words that means a person; then the agent speaks.'),
  silenceMs: z
    .int()
    .min(1000)
    .max(30_000)
    .default(2500)
    .describe('Time without a voice: nobody is there, or they spoke before the stream opened.'),
  onSilence: z.enum(['speak', 'hang-up']).default('speak').describe('The agent then speaks anyway or hangs up.'),
  message: spoken
    .nullable()
    .default(null)
    .describe("Said after an answering machine's greeting or beep. Default: nothing; the gateway hangs up."),
})

export type AnsweringMachineOptions = Pick<z.output<typeof amdSchema>, 'machineSpeechMs' | 'pauseMs' | 'silenceMs'>

const { message, onSilence } = amdSchema.shape
/** The rest in a session. */
export const amdOptionsSchema = inSession({ message, onSilence })
