import { omitNullish } from '../../core/omit-nullish.js'
import type { Heard } from './service.js'
import type { TurnSound } from './turn-sound.js'

/** Turns of one connection that are remembered, so that their late words are known as such. */
const TURNS_MAX = 16
/** And those that the service has not answered. */
const UNANSWERED_MAX = 64

/** Recognised text with its own leading space; a word, or a piece of one. */
export interface Piece {
  readonly text: string
  /** When it sounds, since the beginning of the connection's audio; undefined: the service does not tell. */
  readonly fromMs?: number | undefined
  /** `sw` */
  readonly language?: string | undefined
}

/** A turn of the caller as one connection knows it. */
export interface SessionTurn {
  readonly ordinal: number
  readonly sound: TurnSound
  sentSamples: number
  /** Where its audio begins in that of the connection; NaN before any was sent. */
  fromMs: number
  /** Message for the service after its audio; null while the caller speaks. */
  ending: { readonly silenceMs: number } | 'abandon' | null
  /** Time at which that message is sent, which may be to come; NaN: it was not given yet. */
  askedAtMs: number
  /** The service has said all of it, or will not any more. */
  answered: boolean
  /** It has its text, or needs none: what still comes for it is dropped. */
  over: boolean
  readonly stable: Piece[]
  tentative: readonly Piece[]
  /** The newest words that were not empty. */
  best: readonly Piece[]
  timer: NodeJS.Timeout | undefined
}

interface TurnsListener {
  /** The words of a turn have changed. */
  words(turn: SessionTurn): void
  /** The service has said all of a turn. */
  answered(turn: SessionTurn): void
  /** The service cannot understand a turn. */
  failed(turn: SessionTurn, reason: string): void
}

/**
 * The turns of one connection, and which of them a recognised word belongs to. The audio of all turns is one stream to the
 * service, without what is between them: so a word that comes late is known by its time.
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

  /** The caller speaks. */
  get open(): boolean {
    return this.all.some(({ ending }) => ending === null)
  }

  /** Somebody waits for the text of a turn. */
  get awaited(): boolean {
    return this.all.some(({ over }) => !over)
  }

  /** The oldest turn that was sent, and of which the service has not said all. */
  get oldest(): SessionTurn | null {
    return this.all.find(({ answered, fromMs }) => !answered && !Number.isNaN(fromMs)) ?? null
  }

  /** The turn whose audio is at this time; null where there was none yet. */
  at(ms: number): SessionTurn | null {
    return (
      this.all.findLast(({ fromMs }) => fromMs <= ms) ?? this.all.find(({ fromMs }) => !Number.isNaN(fromMs)) ?? null
    )
  }

  /**
   * Words that the service tells with their times: `stable` ones come once, the tentative ones of all turns are replaced.
   * @param settles  what was tentative is decided now: where it has no other words for a turn, the
   * tentative ones stay, because an empty text is more often a fault than the truth
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

  /** The pieces of each turn. @param untimed  the turn that pieces without a time belong to */
  byTurn(pieces: readonly Piece[], untimed: SessionTurn | null): Map<SessionTurn, Piece[]> {
    const found = new Map<SessionTurn, Piece[]>()
    for (const piece of pieces) {
      const turn = piece.fromMs === undefined ? untimed : this.at(piece.fromMs)
      if (turn !== null) found.set(turn, [...(found.get(turn) ?? []), piece])
    }
    return found
  }

  /** All words of a turn, of services that say which turn they are of. */
  told(turn: SessionTurn, stable: readonly Piece[], tentative: readonly Piece[] = []): void {
    turn.stable.splice(0, Infinity, ...stable)
    turn.tentative = tentative
    this.#changed(turn)
  }

  /** The service has said all of a turn, and so of all before it. */
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

  /** @param reason  in words that are safe to show */
  failed(turn: SessionTurn, reason: string): void {
    turn.answered = true
    if (!turn.over) this.#listener.failed(turn, reason)
  }

  #changed(turn: SessionTurn): void {
    const pieces = [...turn.stable, ...turn.tentative]
    if (pieces.some(({ text }) => text.trim() !== '')) turn.best = pieces
    // The words of a later turn: what was not said of those before it will not come any more.
    for (const one of this.all) {
      if (one === turn) break
      if (one.over) one.answered = true
    }
    if (!turn.over) this.#listener.words(turn)
  }
}

/** Recognised words of a turn; an empty text of the service does not wipe out the words before it. */
export function heardIn({ best: pieces }: SessionTurn): Heard {
  const words: { text: string; readonly language?: string }[] = []
  for (const { text, language } of pieces) {
    const last = words.at(-1)
    // A piece without a space before it goes on with the word, unless none has begun.
    if (last !== undefined && !/^\s/.test(text)) last.text += text.trimEnd()
    else if (text.trim() !== '') words.push({ text: text.trim(), ...omitNullish({ language }) })
  }
  const text = pieces.map((piece) => piece.text).join('')
  return {
    text: text.replace(/\s+/g, ' ').trim(),
    // Services that tell no times tell texts, which are not words.
    ...(pieces.length > 0 && pieces.every(({ fromMs }) => fromMs !== undefined) ? { words } : {}),
  }
}

/** The number in a service's message, in units of `unit`; undefined for anything else. */
export function numberIn(value: unknown, unit = 1): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value * unit : undefined
}

/** The word in a service's message; undefined for an empty one and anything else. */
export function wordIn(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
