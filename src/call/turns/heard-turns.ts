import { forgetOldest } from '../../core/forget-oldest.js'
import { SPEECH_ITEMS_MAX } from '../../core/limits.js'
import type { BackendEvent } from '../backend-events.js'
import type { PlayoutLedger } from './playout-ledger.js'

/** Minimum claimed duration of a turn that is judged, in milliseconds. A shorter turn is a click, or "mm". */
const JUDGED_MS_MIN = 1000
/**
 * Minimum share of a turn that the caller must have heard; a turn with a lower share is silent. In normal speech with
 * pauses the share is more than half.
 */
const HEARD_SHARE_MIN = 0.2
/** Minimum time to speak a character of text, in milliseconds: fast speech has 25 characters a second. */
const WORDS_MS_PER_CHARACTER = 40
/**
 * Maximum length of a click, in milliseconds. If a turn's sound is longer, only the sound counts as the claim, because
 * a text may contain parts that are not spoken.
 */
const CLICK_MS_MAX = 200
/**
 * Maximum number of unfinished turns. If a backend does not report the ends of its turns, this limit may be reached;
 * the oldest turn is then dropped.
 */
const OPEN_TURNS_MAX = 32

type EventOf<T extends BackendEvent['type']> = Extract<BackendEvent, { readonly type: T }>

/** A finished turn of the agent: its claimed duration, and the duration that the caller could hear. */
export interface AgentTurn {
  /** Generation of the backend's response; null for a phrase of the gateway. */
  readonly generation: number | null
  /** Name of the backend, or `gateway`. */
  readonly by: string
  /** Time of the turn's first event, sound or words. */
  readonly atMs: number
  /**
   * Duration of the sound, in milliseconds; if the sound is only a click, duration of the words. A part that was cut
   * off is not included.
   */
  readonly claimedMs: number
  /** Duration of sound above -60 dBFS that was sent and played, in milliseconds. */
  readonly heardMs: number
}

type TurnEvent = EventOf<'turn-start' | 'turn-done' | 'tool-call' | 'transcript'>

function isOfTurn(event: BackendEvent): event is TurnEvent {
  if (event.type === 'transcript') return event.role === 'agent'
  return event.type === 'turn-start' || event.type === 'turn-done' || event.type === 'tool-call'
}

/** True if the caller heard almost nothing of a turn whose claimed duration is at least a second. */
export function isSilentTurn({ claimedMs, heardMs }: Pick<AgentTurn, 'claimedMs' | 'heardMs'>): boolean {
  return claimedMs >= JUDGED_MS_MIN && heardMs < claimedMs * HEARD_SHARE_MIN
}

interface OpenTurn extends Pick<AgentTurn, 'generation' | 'by' | 'atMs'> {
  /** Items of the turn's sound. */
  readonly items: Set<string>
  /** Items that are partly still in playout. */
  readonly playing: Set<string>
  /** Number of characters by item. */
  readonly words: Map<string, number>
  /** Sound of the turn that was not played because it was silent, in milliseconds. */
  silentMs: number
  /** True if the turn has called a tool; the answer to the tool's result contains the rest of the words. */
  called: boolean
  status: EventOf<'turn-done'>['status'] | null
}

/**
 * Compares the agent's claimed speech with the speech that the caller could hear. The claim of a turn is the duration
 * of its sound, as the vendor sent it, or the duration of its words. Sound counts as heard if it was louder than -60
 * dBFS, sent, and played.
 *
 *     (new)  --the backend begins it, sound, words; a phrase of the gateway--> open
 *     open   --the backend has completed it, and all its sound was heard--> reported
 *     open   --cut: the caller interrupted, or the call is over--> reported, with its played part; the rest is not claimed
 *     open   --the backend has completed it without sound and words--> open; words may come later
 */
export class HeardTurns {
  readonly #ledger: Pick<PlayoutLedger, 'playedMs' | 'soundMs'>
  readonly #backend: () => string
  readonly #tell: (turn: AgentTurn) => void
  readonly #open = new Map<number | string, OpenTurn>()
  /** Turn of each open item. */
  readonly #turnOf = new Map<string, number | string>()
  /** Responses that were reported; services may send the text of spoken words later. */
  readonly #told = new Set<number>()
  /** Highest generation that was cut. */
  #cutTo = -Infinity
  #newest = -Infinity
  #lastItem = ''

  /**
   * @param backend  name of the current backend
   * @param tell  receives each turn once, when the turn is over
   */
  constructor(
    ledger: Pick<PlayoutLedger, 'playedMs' | 'soundMs'>,
    backend: () => string,
    tell: (turn: AgentTurn) => void,
  ) {
    this.#ledger = ledger
    this.#backend = backend
    this.#tell = tell
  }

  /** Notes that a phrase of the gateway was ordered. */
  announced(itemId: string, nowMs: number): void {
    this.#sounds(this.#begin(itemId, null, nowMs), itemId, itemId)
  }

  /** Notes that the caller will not hear the phrase. The session receives its own notice. */
  announceFailed(itemId: string): void {
    this.#open.delete(itemId)
    this.#turnOf.delete(itemId)
  }

  /** Notes that sound of a response is played. Most calls of this method add sound to the same item. */
  audio(itemId: string, generation: number, nowMs: number): void {
    if (itemId === this.#lastItem || this.#isOver(generation)) return
    this.#lastItem = itemId
    this.#sounds(this.#response(generation, nowMs), generation, itemId)
  }

  /**
   * Takes an event of the backend, after the call has processed it.
   * @param isWanted  false if the call does not play the event's response
   */
  event(event: BackendEvent, isWanted: boolean, nowMs: number): void {
    if (!isOfTurn(event)) return
    const { generation } = event
    if (this.#isOver(generation)) return
    if (!isWanted) return void this.#open.delete(generation)
    const turn = this.#response(generation, nowMs)
    if (event.type === 'turn-done') {
      turn.status = event.status
      turn.silentMs += event.silentMs ?? 0
    } else if (event.type === 'tool-call') turn.called = true
    else if (event.type === 'transcript') turn.words.set(event.itemId, event.text.trim().length)
    // Without sound, only final words count.
    if (event.type !== 'transcript' || event.final || turn.items.size > 0) this.#settle(generation, turn, nowMs)
  }

  /** Notes that all sound of an item was heard, or that the item has only silence. */
  itemHeard(itemId: string, nowMs: number): void {
    const key = this.#turnOf.get(itemId)
    const turn = key === undefined ? undefined : this.#open.get(key)
    if (key === undefined || turn === undefined) return
    turn.playing.delete(itemId)
    if (itemId === this.#lastItem) this.#lastItem = ''
    if (turn.generation === null) turn.status = 'completed'
    this.#settle(key, turn, nowMs)
  }

  /**
   * Ends all turns, after an interruption or at the end of the call. The rest of these turns is never played. Call this
   * method after playout was cleared.
   */
  cut(nowMs: number): void {
    this.#cutTo = this.#newest
    this.#lastItem = ''
    for (const [key, turn] of [...this.#open]) {
      if (turn.status !== 'completed' || turn.playing.size > 0) turn.status = 'cancelled'
      turn.playing.clear()
      this.#settle(key, turn, nowMs)
    }
    this.#open.clear()
    this.#turnOf.clear()
  }

  #isOver(generation: number): boolean {
    return generation <= this.#cutTo || this.#told.has(generation)
  }

  #response(generation: number, nowMs: number): OpenTurn {
    this.#newest = Math.max(this.#newest, generation)
    return this.#open.get(generation) ?? this.#begin(generation, generation, nowMs)
  }

  #begin(key: number | string, generation: number | null, nowMs: number): OpenTurn {
    const none = { items: new Set<string>(), playing: new Set<string>(), words: new Map<string, number>() }
    const by = generation === null ? 'gateway' : this.#backend()
    const turn: OpenTurn = { generation, by, atMs: nowMs, ...none, silentMs: 0, called: false, status: null }
    this.#open.set(key, turn)
    forgetOldest(this.#open, OPEN_TURNS_MAX)
    return turn
  }

  #sounds(turn: OpenTurn, key: number | string, itemId: string): void {
    // Playout has the same limit of tracked items.
    if (turn.items.size >= SPEECH_ITEMS_MAX) return
    turn.items.add(itemId)
    turn.playing.add(itemId)
    this.#turnOf.set(itemId, key)
    forgetOldest(this.#turnOf, SPEECH_ITEMS_MAX)
  }

  /** Reports the turn if it is over. */
  #settle(key: number | string, turn: OpenTurn, nowMs: number): void {
    if (turn.status === null || turn.playing.size > 0) return
    let [playedMs, heardMs, characters] = [0, 0, 0]
    for (const itemId of turn.items) {
      playedMs += this.#ledger.playedMs(itemId, nowMs)
      heardMs += this.#ledger.soundMs(itemId, nowMs)
    }
    for (const count of turn.words.values()) characters += count
    const soundMs = playedMs + turn.silentMs
    // For an interrupted answer only the played part is claimed, not the words.
    const wordsMs = characters * WORDS_MS_PER_CHARACTER
    const wordsAlone = turn.status === 'completed' && soundMs <= CLICK_MS_MAX && !turn.called
    // If the caller heard all words, silence after the words does not count as claimed speech.
    const whole = wordsMs > 0 && heardMs >= wordsMs
    const claimedMs = wordsAlone ? Math.max(soundMs, wordsMs) : whole ? heardMs : soundMs
    if (claimedMs === 0) return
    this.#open.delete(key)
    for (const itemId of turn.items) this.#turnOf.delete(itemId)
    const { generation, by, atMs } = turn
    if (generation !== null) this.#told.add(generation)
    forgetOldest(this.#told, OPEN_TURNS_MAX)
    this.#tell({ generation, by, atMs, claimedMs, heardMs })
  }
}
