import type { Heard, TurnSound, Word } from './stage.js'

/** Turns of one connection that are remembered, so that their late words are known as such. */
const TURNS_MAX = 16
/** And those that the service has not answered. */
const UNANSWERED_MAX = 64

/** Recognised text with its own leading space; a word, or a piece of one. */
export interface Piece {
  readonly text: string
  /** When it sounds, since the beginning of the connection's audio; absent: the service does not tell. */
  readonly fromMs?: number
  readonly toMs?: number
  /** 0 to 1. */
  readonly confidence?: number
  /** `sw` */
  readonly language?: string
}

/** A turn of the caller as one connection knows it. */
export interface SessionTurn {
  readonly number: number
  readonly sound: TurnSound
  sentSamples: number
  /** Where its audio lies in that of the connection; NaN before any was sent, Infinity while the caller speaks. */
  fromMs: number
  toMs: number
  /** What the service is to be told after its audio; null while the caller speaks. */
  ending: { readonly silenceMs: number } | 'abandon' | null
  /** When it was told; NaN before. */
  askedAtMs: number
  /** The service has said all of it, or will not any more. */
  answered: boolean
  /** It has its text, or needs none: what still comes for it is dropped. */
  over: boolean
  readonly stable: Piece[]
  tentative: readonly Piece[]
  /** The newest words that were not empty. */
  best: readonly Piece[]
  timer: NodeJS.Timeout | null
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

  add(number: number, sound: TurnSound): SessionTurn {
    const turn: SessionTurn = {
      number,
      sound,
      sentSamples: 0,
      fromMs: NaN,
      toMs: Infinity,
      ending: null,
      askedAtMs: NaN,
      answered: false,
      over: false,
      stable: [],
      tentative: [],
      best: [],
      timer: null,
    }
    this.all.push(turn)
    const [oldest] = this.all
    const answered = oldest?.over === true && oldest.answered
    if (this.all.length > (answered ? TURNS_MAX : UNANSWERED_MAX)) this.all.shift()
    return turn
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
    const before = new Map(this.all.map((turn) => [turn, turn.tentative]))
    const changed = new Set(this.all.filter((turn) => turn.tentative.length > 0))
    for (const turn of this.all) turn.tentative = []
    const each = (piece: Piece, add: (turn: SessionTurn) => void): void => {
      const turn = this.at(piece.fromMs ?? Infinity)
      if (turn === null) return
      add(turn)
      changed.add(turn)
    }
    for (const piece of stable) each(piece, ({ stable }) => stable.push(piece))
    for (const piece of tentative)
      each(piece, (turn) => {
        turn.tentative = [...turn.tentative, piece]
      })
    if (settles && stable.length === 0) for (const [turn, kept] of before) turn.stable.push(...kept)
    for (const turn of changed) this.#changed(turn)
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

/** What was understood of a turn; an empty text of the service does not wipe out the words before it. */
export function heardIn({ best: pieces, fromMs }: SessionTurn): Heard {
  const words: Word[] = []
  const letters = new Map<string, number>()
  let timed = true
  for (const piece of pieces) {
    const { text, confidence, language, fromMs: from, toMs: to } = piece
    if (language !== undefined) letters.set(language, (letters.get(language) ?? 0) + text.trim().length)
    if (from === undefined || to === undefined) {
      timed = false
      continue
    }
    const last = words.at(-1)
    // A piece without a space before it goes on with the word, unless none has begun.
    if (last !== undefined && !/^\s/.test(text)) {
      words[words.length - 1] = { ...last, text: last.text + text.trimEnd(), toMs: Math.max(0, to - fromMs) }
      continue
    }
    if (text.trim() === '') continue
    words.push({
      text: text.trim(),
      fromMs: Math.max(0, from - fromMs),
      toMs: Math.max(0, to - fromMs),
      ...(confidence === undefined ? {} : { confidence }),
      ...(language === undefined ? {} : { language }),
    })
  }
  const [language] = [...letters].toSorted((a, b) => b[1] - a[1])[0] ?? []
  return {
    text: pieces
      .map(({ text }) => text)
      .join('')
      .replace(/\s+/g, ' ')
      .trim(),
    ...(timed && pieces.length > 0 ? { words } : {}),
    ...(language === undefined ? {} : { language }),
  }
}

/** The number in a service's message; undefined for anything else. */
export function numberIn(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}

/** The word in a service's message; undefined for an empty one and anything else. */
export function wordIn(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
