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
   * True if the beep after long speech came from a mailbox. It then was not the busy tone of a person who hung up,
   * because no second tone followed. This property arrives after the verdict, because a message must not wait for a
   * second tone. Absent if unknown.
   */
  readonly beep?: true
}

/**
 * Minimum length of a voicemail's beep, in milliseconds. The beep is one pure tone of 200 to 1000 ms. Clicks are
 * shorter; dial and fax tones are longer.
 */
const BEEP_MS_MIN = 160
const BEEP_MS_MAX = 1500
/** Time in which the echo of the beep fades, in milliseconds. The machine records right after its beep. */
const AFTER_BEEP_MS = 100
/**
 * Time after a mailbox's beep without a second tone, in milliseconds. A busy tone repeats, with pauses of at most 1000
 * ms (ITU-T E.180, table 2).
 */
const BEEP_ALONE_MS = 2000
/** Duration of quiet after which a recording without a beep is over, in milliseconds. */
const MACHINE_QUIET_MS = 1800
/** Maximum wait for the end of a mailbox greeting, in milliseconds. Mailboxes allow 30 to 60 s. */
const MACHINE_GREETING_MS_MAX = 45_000
/**
 * Minimum difference in level between the voice and a pause, in dB. Background noise of a room is about 25 dB quieter
 * than the voice.
 */
const PAUSE_DROP_DB = 18
/** Minimum length of a voice, in milliseconds. A shorter sound is a click or comfort noise. */
const WORD_MS_MIN = 100
/**
 * Time in which the first verdict can be corrected, in milliseconds. A mailbox may say a name, pause, and continue its
 * greeting.
 */
const CORRECTED_MS = 15_000
/**
 * Maximum pause within a greeting, in milliseconds. Voice after a longer pause is an answer to the agent, even if the
 * voice is long.
 */
const GOES_ON_MS = 2000

/**
 * Distinguishes a person from an answering machine: people say a short word and wait; recordings keep talking, then
 * beep. The detector measures time by counting frames of the line.
 *
 *     (open)         --a word and a pause--> human; no voice--> silence; long speech--> (recording); a beep--> machine
 *     human, silence --long speech that continues at once, within CORRECTED_MS--> recording
 *                    --a beep, within CORRECTED_MS--> machine
 *     recording      --a beep, or quiet--> machine, ready for a message
 *     machine        --no second tone for BEEP_ALONE_MS after the beep--> machine, certainly
 */
export class AnsweringMachineDetector {
  readonly #options: AnsweringMachineOptions
  #atMs = 0
  #voiceFromMs: number | null = null
  #voiceToMs = 0
  #voicedMs = 0
  #toneMs = 0
  /** Level of the loudest voiced frame so far, in dBFS. */
  #voiceDbfs = -Infinity
  /** Time at which a beep ended; null before the first beep. */
  #beepEndedMs: number | null = null
  #machine: string | null = null
  /**
   * Time at which the beep after long speech ended; null if no such beep ended, or a second tone is no longer possible.
   */
  #beepAloneFromMs: number | null = null
  /** Time of the verdict `human` or `silence`; null before this verdict. */
  #verdictAtMs: number | null = null
  /** True if voice was heard before the last pause. */
  #spoke = false
  /** True if the voice continues after the pause. */
  #goesOn = true
  #over = false

  /** @param recording  true if a recording was already detected, and its beep or its end has not come yet */
  constructor(options: AnsweringMachineOptions, recording = false) {
    this.#options = options
    if (recording) {
      this.#machine = 'a recording'
      this.#spoke = true
    }
  }

  /** True if no further verdict is possible. */
  get over(): boolean {
    return this.#over
  }

  /**
   * Takes one 20 ms frame of the called party.
   * @param voiced  true for speech, false for a tone
   * @param tone  true for one or two pure tones
   * @param levelDbfs  level of the frame
   * @returns a verdict if this frame decides it; null otherwise
   */
  frame(voiced: boolean, tone: boolean, levelDbfs: number): AnswerVerdict | null {
    this.#atMs += FRAME_MS
    this.#tone(tone)
    if (this.#beepAloneFromMs !== null) return this.#beepAlone(this.#beepAloneFromMs)
    if (voiced) this.#voice(levelDbfs)
    // Voice detection classifies a long voice without a breath as noise. Therefore sound as loud as the voice is not a
    // pause. After the first verdict this does not apply, because the sound may be an echo of the agent.
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
    // A tone without an earlier word comes from the line: ringing, or a fax.
    const beep =
      this.#toneMs >= BEEP_MS_MIN && this.#toneMs <= BEEP_MS_MAX && (this.#spoke || this.#voiceFromMs !== null)
    if (beep) this.#beepEndedMs = this.#atMs - FRAME_MS
    this.#toneMs = 0
  }

  #voice(levelDbfs: number): void {
    // A tone followed by speech is not the beep.
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
    // The tone that is sounding now may become a beep, so the verdict waits for its end.
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

  /** Notes a pause, so that speech after the pause is measured from 0. */
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

  /**
   * Decides if a beep came from a mailbox. If a person talks for long and hangs up, the first busy tone sounds like
   * such a beep.
   */
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
    .describe(
      'Length in ms of speech without a pause that means an answering machine. A beep also means an answering machine. For 15 s after a first result, such speech still corrects it, for example if a mailbox says a name, pauses and continues. Then the agent stops, and speaks its message after the beep.',
    ),
  pauseMs: z
    .int()
    .min(200)
    .max(3000)
    .default(600)
    .describe('Silence in ms after the first words that means a person. Then the agent speaks.'),
  silenceMs: z
    .int()
    .min(1000)
    .max(30_000)
    .default(2500)
    .describe(
      'Time in ms without a voice before the line counts as silent. The line is silent if no person is there, or if the person spoke before the stream opened.',
    ),
  onSilence: z
    .enum(['speak', 'hang-up'])
    .default('speak')
    .describe('Step on a silent line. speak: the agent speaks. hang-up: the gateway hangs up.'),
  message: spoken
    .nullable()
    .default(null)
    .describe("Spoken after an answering machine's greeting or beep. null: nothing, and the gateway hangs up."),
})

export type AnsweringMachineOptions = Pick<z.output<typeof amdSchema>, 'machineSpeechMs' | 'pauseMs' | 'silenceMs'>

const { message, onSilence } = amdSchema.shape
/** Settings of `amd` in a session. */
export const amdOptionsSchema = inSession({ message, onSilence })
