import { BACKEND_PRE_ROLL_MS_MAX } from '../../core/limits.js'
import { samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import { PreRoll } from '../pre-roll.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import type { ServiceList } from './service-list.js'
import { isTold } from '../told.js'
import { faultOf } from './service-fault.js'
import type { Heard, SpeechToText } from './service.js'
import { KeptSound } from './turn-sound.js'

/** Maximum number of turns that wait for their text. Further turns are dropped and counted as noise. */
const AWAITED_MAX = 4
/** Minimum duration of voice in an utterance, in milliseconds. An utterance with less voice counts as noise. */
const UTTERANCE_MS_MIN = 250

interface Turn {
  readonly ordinal: number
  readonly sound: KeptSound
  /** Number of pre-roll samples at the beginning of the turn's audio. */
  readonly voiceFrom: number
  /** Values that are known when the caller has stopped; null while the caller speaks. */
  ended: { readonly silenceMs: number; readonly unless: readonly string[]; readonly voicedMs: number } | null
  /** The recogniser that got the turn's audio; null if no recogniser got the audio. */
  recogniser: SpeechToText | null
  /** Value of `Wishes.asked` when the recogniser got the turn. */
  asked: number
  /** Number of recognisers that had the turn and lost it. */
  losses: number
  result: Heard | VendorFault | null
}

interface RecognitionListener {
  /** Reports words of the turn that the caller is speaking. */
  words(heard: Heard): void
  /** Reports the text of a finished part of the current turn. The whole text follows when the turn is over. */
  part(text: string): void
  /**
   * Reports the text of a turn, in the order of the turns. `unless` is the value that `end` got. `voicedMs` does not
   * include the silence at the end.
   */
  understood(heard: Heard, unless: readonly string[], voicedMs: number): void
  /** Reports that the turn is lost, because no service of the list has recognised it. */
  failed(fault: VendorFault): void
  /** Reports that no service is left, although no turn is lost. */
  gone(fault: VendorFault): void
}

/**
 * The caller's turns and the recogniser that transcribes them. The audio of a turn is kept until its text has arrived.
 * When a service fails, the next service gets the whole turn again, so that the caller need not repeat it.
 *
 *     (quiet)           --begin--> speaking: the pre-roll and then live audio go to the recogniser
 *     speaking          --end--> awaited: `finalize`; the turn's text is reported after the texts of earlier turns
 *     speaking          --abandon--> (quiet)
 *     speaking, awaited --the service fails--> unchanged: the next service gets the turn
 */
export class Recognition {
  /** Number of dropped samples, because turns were longer than the maximum duration. */
  dropped = 0
  /** Number of turns whose audio was sent again to another service or on a new connection. */
  resent = 0
  readonly #listener: RecognitionListener
  readonly #rateHz: SampleRateHz
  readonly #preRoll: PreRoll
  #candidates: ServiceList<SpeechToText> | null = null
  /** Turns in the order of speech; the last turn may be open. */
  readonly #turns: Turn[] = []
  #open: Turn | null = null
  #turnCount = 0

  constructor(rateHz: SampleRateHz, listener: RecognitionListener) {
    this.#rateHz = rateHz
    this.#listener = listener
    this.#preRoll = new PreRoll(BACKEND_PRE_ROLL_MS_MAX, rateHz)
  }

  /** Sets the services. Turns that began before this call have waited for a recogniser. */
  use(candidates: ServiceList<SpeechToText>): void {
    this.#candidates = candidates
  }

  /** Registers for the events of a new recogniser. */
  made(recogniser: SpeechToText): void {
    const turnAt = (ordinal: number): Turn | undefined =>
      this.#turns.find((turn) => turn.ordinal === ordinal && turn.recogniser === recogniser)
    const isOwn = (text: string): boolean => isTold(text, recogniser.told ?? {})
    recogniser.listen({
      words: (ordinal, heard) => {
        if (turnAt(ordinal) === this.#open && !isOwn(heard.text)) this.#listener.words(heard)
      },
      part: (ordinal, text) => {
        if (turnAt(ordinal) === this.#open && !isOwn(text)) this.#listener.part(text)
      },
      final: (ordinal, heard) => {
        const turn = turnAt(ordinal)
        this.#candidates?.worked(recogniser, turn?.asked)
        if (turn !== undefined) this.#settle(turn, isOwn(heard.text) ? { text: '' } : heard)
      },
      failed: (turn, fault) => this.#failedAt(recogniser, turn, fault),
    })
  }

  get isOpen(): boolean {
    return this.#open !== null
  }

  /** True if the text of at least one turn is expected. */
  get awaits(): boolean {
    return this.#turns.some((turn) => turn !== this.#open)
  }

  push(pcm: Int16Array): void {
    const turn = this.#open
    if (turn === null) return this.#preRoll.push(pcm)
    const tooMany = turn.sound.push(pcm)
    this.dropped += tooMany
    if (tooMany === 0) turn.recogniser?.audio(pcm)
  }

  /** Begins a turn; it starts with the last `keptMs` of the pre-roll. */
  begin(keptMs: number): void {
    const sound = new KeptSound(this.#rateHz)
    sound.push(this.#preRoll.take(keptMs))
    const turn: Turn = {
      ordinal: ++this.#turnCount,
      sound,
      voiceFrom: sound.samples,
      ended: null,
      recogniser: null,
      asked: 0,
      losses: 0,
      result: null,
    }
    this.#turns.push(turn)
    this.#open = turn
    this.#feed(turn)
  }

  /**
   * @returns false if the turn counts as noise, because it had less voice than UTTERANCE_MS_MIN or because too many
   * turns wait for their text
   */
  end(silenceMs: number, unless: readonly string[]): boolean {
    const turn = this.#open
    if (turn === null) return false
    this.#open = null
    const voicedMs = samplesToMs(turn.sound.samples - turn.voiceFrom, this.#rateHz)
    if (voicedMs < UTTERANCE_MS_MIN || this.#turns.length > AWAITED_MAX) {
      this.#turns.pop()
      turn.recogniser?.abandon(turn.ordinal)
      return false
    }
    turn.ended = { silenceMs, unless, voicedMs: Math.max(0, voicedMs - silenceMs) }
    turn.recogniser?.finalize(turn.ordinal, silenceMs)
    return true
  }

  /** Sends the waiting turns, because the recogniser is ready. */
  ready(): void {
    for (const turn of this.#turns) if (turn.recogniser === null) this.#feed(turn)
  }

  close(): void {
    this.#turns.length = 0
    this.#open = null
  }

  #failedAt(recogniser: SpeechToText, ordinal: number | null, fault: VendorFault): void {
    const candidates = this.#candidates
    if (candidates === null) return
    const lost = this.#turns.filter(
      (turn) => turn.recogniser === recogniser && (ordinal === null || turn.ordinal === ordinal),
    )
    if (ordinal !== null && lost.length === 0) return
    // After a broken connection the turn may be sent again, but a refused request is not repeated.
    const triesMax = candidates.count + (ordinal === null ? 1 : 0)
    const refused = candidates.refused(recogniser, fault, ordinal === null)
    const more = refused || candidates.failed(recogniser, fault, ordinal === null)
    for (const turn of lost) {
      turn.recogniser = null
      if (!refused) turn.losses++
      if (more && turn.losses < triesMax) {
        this.resent++
        this.#feed(turn)
      } else {
        this.#settle(turn, fault)
      }
    }
    if (lost.length === 0 && !more) this.#listener.gone(fault)
  }

  /** Sends the turn to the recogniser, with all of the turn's audio so far. */
  #feed(turn: Turn): void {
    const candidates = this.#candidates
    const recogniser = candidates?.current ?? null
    if (candidates === null) return
    if (recogniser !== null) {
      turn.recogniser = recogniser
      turn.asked = candidates.asked
      recogniser.begin(turn.ordinal, turn.sound)
      recogniser.audio(turn.sound.since(0))
      if (turn.ended !== null) recogniser.finalize(turn.ordinal, turn.ended.silenceMs)
      return
    }
    candidates.open(false).then(
      () => {
        // `ready` sends all waiting turns in the order of speech, each turn once.
        this.ready()
      },
      (error: unknown) => {
        if (turn.recogniser === null) this.#settle(turn, faultOf(error))
      },
    )
  }

  #settle(turn: Turn, result: Heard | VendorFault): void {
    if (turn.result !== null) return
    turn.result = result
    // If a turn fails while the caller still speaks, the turn is over, because the following audio would not be
    // recognised.
    if (this.#open === turn) this.#open = null
    for (let head = this.#turns[0]; head?.result != null; head = this.#turns[0]) {
      this.#turns.shift()
      if ('code' in head.result) this.#listener.failed(head.result)
      else this.#listener.understood(head.result, head.ended?.unless ?? [], head.ended?.voicedMs ?? Infinity)
    }
  }
}
