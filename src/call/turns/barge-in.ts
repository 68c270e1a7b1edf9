import { z } from 'zod'
import { isBackchannel } from './backchannel.js'
import { inSession } from '../documents/document.js'
import type { DocumentOf } from '../documents/document.js'
import type { BargeInRecord } from '../documents/record.js'
import { LISTENING_WORDS } from './turn-words.js'

/** Times `backchannel.maxMs` for which a sound of backchannels alone may last: "mm, sawa, ndiyo". */
const LISTENING_TIMES = 2

/** State at the moment when the caller began to speak over the agent. */
export interface BargeInStart {
  readonly firstVoicedMs: number
  /** The item that the caller was hearing, and how much of it had been heard at that moment. */
  readonly itemId: string | null
  readonly playedMs: number
  /** The caller was hearing the agent, so that there is something to stop. */
  readonly audible: boolean
}

/**
 * Barge-in in two steps: pause, then commit or resume.
 *
 *     idle   --caller's onset, agent audible or about to be-->  paused  fall silent, keep everything
 *     paused --`neededMs` of voice, words, or the backend's decision-->  idle  committed: discard, tell the backend
 *     paused --resumeAfterMs and the caller quiet for quietMs-->  idle    a false interruption: resume
 *     idle   --the backend's decision, or a digit-->  idle    committed at once
 *
 * A pause is cheap and is what the caller notices. Discarding the speech needs more evidence: a cough must not do it.
 */
export class BargeIn {
  start: BargeInStart | null = null
  /** Voice of the caller since the agent was paused. */
  readonly voice = { voiceMs: 0, doubtfulMs: 0 }
  /** The agent has so much left to say that a short sound is listening, not interrupting. */
  #mayBeBackchannel = false
  /** The words so far are backchannels. */
  #listens = false
  /** A commit before which the last agent sample is not sent yet; null when there is none. */
  #settling: { readonly start: BargeInStart; readonly why: string } | null = null
  readonly #options: BargeInOptions

  constructor(options: BargeInOptions) {
    this.#options = options
  }

  get paused(): boolean {
    return this.start !== null
  }

  /** @param mayBeBackchannel  the caller hears the agent, who has more to say than the end of a sentence */
  pause(start: BargeInStart, mayBeBackchannel: boolean): void {
    this.start = start
    this.voice.voiceMs = 0
    this.voice.doubtfulMs = 0
    this.#mayBeBackchannel = mayBeBackchannel && this.#options.backchannel !== null
    this.#listens = false
  }

  /** The words of the caller over the paused agent so far. */
  heardWords(text: string): void {
    this.#listens = this.#mayBeBackchannel && isBackchannel(text, this.#options.backchannel?.words ?? [])
  }

  /** The caller's voice over the paused agent. */
  heard(ms: number, doubtful: boolean): void {
    this.voice.voiceMs += ms
    if (doubtful) this.voice.doubtfulMs += ms
  }

  /** Voice since the onset that discards the agent's speech. */
  get neededMs(): number {
    const { commitMs, doubtfulCommitMs, backchannel } = this.#options
    const { voiceMs, doubtfulMs } = this.voice
    return Math.max(
      commitMs,
      2 * doubtfulMs > voiceMs ? doubtfulCommitMs : 0,
      this.#mayBeBackchannel ? (backchannel?.maxMs ?? 0) * (this.#listens ? LISTENING_TIMES : 1) : 0,
    )
  }

  /** True if there is enough voice since the onset to discard the agent's speech. */
  get shouldCommit(): boolean {
    return this.start !== null && this.voice.voiceMs >= this.neededMs
  }

  /** Enough voice for speech, which may still be a backchannel: its words decide, where somebody recognises them. */
  get wordsDecide(): boolean {
    return this.start !== null && this.#mayBeBackchannel && this.voice.voiceMs >= this.#options.commitMs
  }

  /** For the timeline. */
  get figures(): string {
    const { voiceMs, doubtfulMs } = this.voice
    const doubt = doubtfulMs > 0 ? `, ${doubtfulMs} ms of it doubtful` : ''
    return `${voiceMs} ms of voice${doubt}`
  }

  /** True if the caller is quiet enough to resume. Checked from `resumeAfterMs` after the pause on. */
  mayResume(quietMs: number): boolean {
    return quietMs >= this.#options.quietMs
  }

  /** The interruption was false. */
  resume(nowMs: number, lastSentAtMs: number | null, streamZeroMs: number): BargeInRecord | null {
    const start = this.start
    if (start === null) return null
    this.start = null
    const sinceMs = Math.round(nowMs - start.firstVoicedMs)
    const what = this.#mayBeBackchannel ? ' (backchannel)' : ''
    const why = `${this.figures} in ${sinceMs} ms, under ${this.neededMs}${what}`
    return { atMs: start.firstVoicedMs - streamZeroMs, stopMs: stopMs(start, lastSentAtMs), committed: false, why }
  }

  /** Leaves the pause without a record: the paused speech was discarded for another reason. */
  abandon(): void {
    this.start = null
  }

  /**
   * The agent's speech is discarded. `settle` returns the record once the last sample has surely been sent, because a
   * commit without a pause is decided while samples are still on their way.
   */
  commit(start: BargeInStart, why: string): void {
    this.start = null
    this.#settling = { start, why }
  }

  settle(lastSentAtMs: number | null, streamZeroMs: number): BargeInRecord | null {
    const settling = this.#settling
    if (settling === null) return null
    this.#settling = null
    const { start, why } = settling
    return { atMs: start.firstVoicedMs - streamZeroMs, stopMs: stopMs(start, lastSentAtMs), committed: true, why }
  }
}

/** From the first voiced sample to the last agent sample sent; 0 when the agent had stopped by itself before. */
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
      // Low end of what the field ships (200-800 ms), affordable because the agent is silent from the onset.
      .default(200)
      .describe("Commit: voiced time until the agent's speech is discarded and the caller has the turn."),
    doubtfulOnsetMs: z
      .int()
      .min(20)
      .max(300)
      // Most blips of noise that pass for a voice are shorter, and all of them are doubtful; a caller seldom is (bench/vad/README.md).
      .default(100)
      .describe('Onset where most of the voice may be music or a noise; not less than onsetMs.'),
    doubtfulCommitMs: z
      .int()
      .min(60)
      .max(3000)
      // The detector of music needs a second or more, and what it then finds is no voice any more. A caller is seldom doubtful.
      .default(1000)
      .describe('Commit where most of the voice may be music; not less than commitMs.'),
    backchannel: z
      .strictObject({
        maxMs: z
          .int()
          .min(100)
          .max(1500)
          // "mm-hm", "okay" and "sawa sawa" have 250 to 560 ms of voice; the agent is silent from the onset anyway.
          .default(600)
          .describe('Longest voiced time over the agent that may be a backchannel: "mm-hm".'),
        words: z
          .array(z.string().min(1).max(40))
          .max(100)
          .default([...LISTENING_WORDS]) // a "yes" to a question comes at its end, where nothing is taken for a backchannel
          .describe(
            'Backchannel words, in any combination; other words interrupt. Only where the gateway decides what interrupts.',
          ),
      })
      .nullable()
      .prefault({})
      .describe(
        'A short sound over the agent is a backchannel, not an interruption. null: it interrupts like any other.',
      ),
    quieterDb: z
      .number()
      .min(10)
      .max(60)
      .nullable()
      .default(20)
      .describe(
        "A voice this much below the caller's is another person's, and interrupts nothing. null: every voice counts.",
      ),
    resumeAfterMs: z
      .int()
      .min(200)
      .max(5000)
      .default(1000) // the field resumes after 1-2 s
      .describe('False interruption: without a commit in this time the speech resumes where it paused.'),
    onDtmf: z.boolean().default(true).describe('Lets a DTMF digit interrupt too.'),
    protectGreeting: z.boolean().default(false).describe('Keeps the greeting from being interrupted.'),
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
    'A caller who says only "wait" or "subiri", or over the agent "stop" or "acha", gets no answer until they go on. False: the model answers.',
  )

const { onsetMs, doubtfulOnsetMs, ...commits } = bargeInSchema.shape
/** The onset is for `CallerSpeech`. */
export const onsets = { onsetMs, doubtfulOnsetMs }

/** The rest in a session. */
export const bargeInOptionsSchema = inSession({ ...commits, waitWords }, ['waitWords']).extend({
  /** How long the caller must have been quiet before paused speech resumes. */
  quietMs: z.number(),
  protectEscalation: z.boolean(),
})
export type BargeInOptions = DocumentOf<typeof bargeInOptionsSchema>
