import { omitNullish } from '../../core/omit-nullish.js'
import type { Heard } from './service.js'
import type { TurnSound } from './turn-sound.js'

/**
 * Maximum number of stored turns of one connection. Turns are stored so that late words can be assigned to their turn.
 */
const TURNS_MAX = 16
/** Maximum number of stored turns if the service has not answered the oldest turn. */
const UNANSWERED_MAX = 64

/** A recognised word, or a part of a word; a new word begins with a space. */
export interface Piece {
  readonly text: string
  /**
   * Start time in milliseconds from the beginning of the connection's audio; undefined if the service does not report
   * it.
   */
  readonly fromMs?: number | undefined
  /** Language, such as `sw`. */
  readonly language?: string | undefined
}

/** A turn of the caller on one connection. */
export interface SessionTurn {
  readonly ordinal: number
  readonly sound: TurnSound
  sentSamples: number
  /**
   * Start of the turn's audio within the connection's audio, in milliseconds; NaN if no audio of the turn was sent yet.
   */
  fromMs: number
  /** Message that is sent after the turn's audio; null while the caller speaks. */
  ending: { readonly silenceMs: number } | 'abandon' | null
  /** Time at which the message `ending` was sent or will be sent; NaN if this time is not known yet. */
  askedAtMs: number
  /** True if no more words of the turn are expected from the service. */
  answered: boolean
  /** True if the turn has its text, or needs no text. Later words of the turn are dropped. */
  over: boolean
  readonly stable: Piece[]
  tentative: readonly Piece[]
  /** The turn's newest pieces that contain words. */
  best: readonly Piece[]
  timer: NodeJS.Timeout | undefined
}

interface TurnsListener {
  /** Reports that the words of a turn have changed. */
  words(turn: SessionTurn): void
  /** Reports that the service has sent all words of a turn. */
  answered(turn: SessionTurn): void
  /** Reports that the service cannot recognise a turn. */
  failed(turn: SessionTurn, reason: string): void
}

/**
 * The turns of one connection. The service gets the audio of all turns as one stream, without pauses between turns. So
 * the time of a recognised word shows the word's turn.
 */
export class RecogniserTurns {
  readonly all: SessionTurn[] = []
  readonly #listener: TurnsListener

  constructor(listener: TurnsListener) {
    this.#listener = listener
  }

  add(ordinal: number, sound: TurnSound): void {
    this.all.push({
      ordinal,
      sound,
      sentSamples: 0,
      fromMs: NaN,
      ending: null,
      askedAtMs: NaN,
      answered: false,
      over: false,
      stable: [],
      tentative: [],
      best: [],
      timer: undefined,
    })
    const [oldest] = this.all
    const answered = oldest?.over === true && oldest.answered
    if (this.all.length > (answered ? TURNS_MAX : UNANSWERED_MAX)) this.all.shift()
  }

  /** True while the caller speaks. */
  get open(): boolean {
    return this.all.some(({ ending }) => ending === null)
  }

  /** True if the text of at least one turn is still expected. */
  get awaited(): boolean {
    return this.all.some(({ over }) => !over)
  }

  /** The oldest sent turn for which the service has not sent all words. */
  get oldest(): SessionTurn | null {
    return this.all.find(({ answered, fromMs }) => !answered && !Number.isNaN(fromMs)) ?? null
  }

  /**
   * @returns the turn whose audio contains this time, or the first turn for an earlier time; null if no turn has audio
   * yet
   */
  at(ms: number): SessionTurn | null {
    return (
      this.all.findLast(({ fromMs }) => fromMs <= ms) ?? this.all.find(({ fromMs }) => !Number.isNaN(fromMs)) ?? null
    )
  }

  /**
   * Records words with their times. Each `stable` word comes only once. The tentative words of all turns are replaced.
   * @param settles  true if the turns' text is final now. If there are no `stable` words, the earlier tentative words
   * become final, because an empty text is usually a fault
   */
  heard(stable: readonly Piece[], tentative: readonly Piece[], settles = false): void {
    const untimed = this.at(Infinity)
    const [settled, open] = [this.byTurn(stable, untimed), this.byTurn(tentative, untimed)]
    const changed = this.all.filter((turn) => turn.tentative.length > 0 || settled.has(turn) || open.has(turn))
    for (const turn of changed) {
      turn.stable.push(...(settles && stable.length === 0 ? turn.tentative : (settled.get(turn) ?? [])))
      turn.tentative = open.get(turn) ?? []
    }
    for (const turn of changed) this.#changed(turn)
  }

  /** @returns the pieces of each turn @param untimed  turn for pieces without a time */
  byTurn(pieces: readonly Piece[], untimed: SessionTurn | null): Map<SessionTurn, Piece[]> {
    const found = new Map<SessionTurn, Piece[]>()
    for (const piece of pieces) {
      const turn = piece.fromMs === undefined ? untimed : this.at(piece.fromMs)
      if (turn !== null) found.set(turn, [...(found.get(turn) ?? []), piece])
    }
    return found
  }

  /** Records all words of a turn. Called for services that name the turn. */
  told(turn: SessionTurn, stable: readonly Piece[], tentative: readonly Piece[] = []): void {
    turn.stable.splice(0, Infinity, ...stable)
    turn.tentative = tentative
    this.#changed(turn)
  }

  /** Records that the service has sent all words of a turn, and thus of all earlier turns. */
  answered(turn: SessionTurn): void {
    for (const one of this.all) {
      if (Number.isNaN(one.askedAtMs)) break
      if (!one.answered) {
        one.answered = true
        if (!one.over) this.#listener.answered(one)
      }
      if (one === turn) break
    }
  }

  /** @param reason  text that may be shown */
  failed(turn: SessionTurn, reason: string): void {
    turn.answered = true
    if (!turn.over) this.#listener.failed(turn, reason)
  }

  #changed(turn: SessionTurn): void {
    const pieces = [...turn.stable, ...turn.tentative]
    if (pieces.some(({ text }) => text.trim() !== '')) turn.best = pieces
    // Words of a later turn have arrived, so the service will send no more words for earlier turns.
    for (const one of this.all) {
      if (one === turn) break
      if (one.over) one.answered = true
    }
    if (!turn.over) this.#listener.words(turn)
  }
}

/** @returns the recognised words of a turn; an empty text from the service does not remove earlier words */
export function heardIn({ best: pieces }: SessionTurn): Heard {
  const words: { text: string; readonly language?: string }[] = []
  for (const { text, language } of pieces) {
    const last = words.at(-1)
    // A piece without a leading space continues the current word.
    if (last !== undefined && !/^\s/.test(text)) last.text += text.trimEnd()
    else if (text.trim() !== '') words.push({ text: text.trim(), ...omitNullish({ language }) })
  }
  const text = pieces.map((piece) => piece.text).join('')
  return {
    text: text.replace(/\s+/g, ' ').trim(),
    // If pieces have no times, they may be longer texts, not single words.
    ...(pieces.length > 0 && pieces.every(({ fromMs }) => fromMs !== undefined) ? { words } : {}),
  }
}

/** @returns a number from a service's message, in units of `unit`; undefined if the value is not a number */
export function numberIn(value: unknown, unit = 1): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value * unit : undefined
}

/** @returns a word from a service's message; undefined if the value is empty or not a text */
export function wordIn(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
