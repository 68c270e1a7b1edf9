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

/** Turns whose text is awaited at the same time; a further one is dropped and counted as noise. */
const AWAITED_MAX = 4
/** An utterance with less voice than this is noise. */
const UTTERANCE_MS_MIN = 250

interface Turn {
  readonly ordinal: number
  readonly sound: KeptSound
  /** Samples of the pre-roll at its beginning. */
  readonly voiceFrom: number
  /** Data of the turn after the caller has stopped; null while the caller speaks. */
  ended: { readonly silenceMs: number; readonly unless: readonly string[]; readonly voicedMs: number } | null
  /** The recogniser that has its audio; null while there is none. */
  recogniser: SpeechToText | null
  /** Recognisers that lost it. */
  losses: number
  result: Heard | VendorFault | null
}

interface RecognitionListener {
  /** The words of the turn that is being spoken. */
  words(heard: Heard): void
  /** A part of that turn has this text; the whole text follows when the turn is over. */
  part(text: string): void
  /** In the order of the turns. `unless` is what `end` was given; `voicedMs` is without the silence at the end. */
  understood(heard: Heard, unless: readonly string[], voicedMs: number): void
  /** The turn is lost: no service of the list has understood it. */
  failed(fault: VendorFault): void
  /** Nothing is lost, but no service is left. */
  gone(fault: VendorFault): void
}

/**
 * The caller's turns and the recogniser that writes them down. The audio of a turn is kept until its text is there: when a
 * service fails, the next one gets the whole turn again, and the caller notices nothing.
 *
 *     (quiet)  --begin--> speaking    pre-roll and audio go to the recogniser as they come
 *     speaking --end--> awaited       `finalize`; its text is reported after those of earlier turns
 *     speaking --abandon--> (quiet)
 *     speaking, awaited --the service fails--> the same, at the next one
 */
export class Recognition {
  /** Samples beyond the longest turn. */
  dropped = 0
  /** Turns whose audio was sent again to another service, or to the same one on a new connection. */
  resent = 0
  readonly #listener: RecognitionListener
  readonly #rateHz: SampleRateHz
  readonly #preRoll: PreRoll
  #candidates: ServiceList<SpeechToText> | null = null
  /** In the order in which they were spoken; the last one may be open. */
  readonly #turns: Turn[] = []
  #open: Turn | null = null
  #turnCount = 0

  constructor(rateHz: SampleRateHz, listener: RecognitionListener) {
    this.#rateHz = rateHz
    this.#listener = listener
    this.#preRoll = new PreRoll(BACKEND_PRE_ROLL_MS_MAX, rateHz)
  }

  /** Set before anything else; what was spoken before that waits for a recogniser. */
  use(candidates: ServiceList<SpeechToText>): void {
    this.#candidates = candidates
  }

  /** Each recogniser reports here. */
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
        this.#candidates?.worked(recogniser)
        if (turn !== undefined) this.#settle(turn, isOwn(heard.text) ? { text: '' } : heard)
      },
      failed: (turn, fault) => this.#failedAt(recogniser, turn, fault),
    })
  }

  get isOpen(): boolean {
    return this.#open !== null
  }

  /** The text of a turn is awaited. */
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

  /** Speech starts; the last `keptMs` of the pre-roll become its beginning. */
  begin(keptMs: number): void {
    const sound = new KeptSound(this.#rateHz)
    sound.push(this.#preRoll.take(keptMs))
    const turn: Turn = {
      ordinal: ++this.#turnCount,
      sound,
      voiceFrom: sound.samples,
      ended: null,
      recogniser: null,
      losses: 0,
      result: null,
    }
    this.#turns.push(turn)
    this.#open = turn
    this.#feed(turn)
  }

  /** @returns false if the turn was noise: it had less voice than UTTERANCE_MS_MIN, or too many others are awaited */
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

  /** The recogniser is ready: what was spoken before that is sent. */
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
    // A connection that broke may be opened again, a request that was refused is not repeated.
    const triesMax = candidates.count + (ordinal === null ? 1 : 0)
    const more = candidates.failed(recogniser, fault, ordinal === null)
    for (const turn of lost) {
      turn.recogniser = null
      turn.losses++
      if (more && turn.losses < triesMax) {
        this.resent++
        this.#feed(turn)
      } else {
        this.#settle(turn, fault)
      }
    }
    if (lost.length === 0 && !more) this.#listener.gone(fault)
  }

  /** Gives the turn to the recogniser, with all of its audio so far. */
  #feed(turn: Turn): void {
    const candidates = this.#candidates
    const recogniser = candidates?.current ?? null
    if (candidates === null) return
    if (recogniser !== null) {
      turn.recogniser = recogniser
      recogniser.begin(turn.ordinal, turn.sound)
      recogniser.audio(turn.sound.since(0))
      if (turn.ended !== null) recogniser.finalize(turn.ordinal, turn.ended.silenceMs)
      return
    }
    candidates.open(false).then(
      () => {
        // In the order in which they were spoken, each once.
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
    // While the caller speaks, a turn that failed is over too: the rest of it would not be understood.
    if (this.#open === turn) this.#open = null
    for (let head = this.#turns[0]; head?.result != null; head = this.#turns[0]) {
      this.#turns.shift()
      if ('code' in head.result) this.#listener.failed(head.result)
      else this.#listener.understood(head.result, head.ended?.unless ?? [], head.ended?.voicedMs ?? Infinity)
    }
  }
}
