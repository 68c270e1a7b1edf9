import { BACKEND_CREATE_TRIES_MAX, BACKEND_RESPONSES_KEPT } from '../../core/limits.js'

/** One response of the service. */
export interface LedgerResponse {
  /** Null where the server does not name its responses. */
  readonly id: string | null
  readonly generation: number
  /** `given` until it is over; `cancelled` is over for the caller, whatever still comes. */
  state: 'given' | 'cancelled' | 'done'
  /** Tool calls that have no answer yet. */
  readonly callsOpen: Set<string>
  hadCalls: boolean
  /** Items of this response that brought audio and have not ended. */
  readonly itemsOpen: Set<string>
  audioOutMs: number
}

interface Wish {
  /** The newest item that the response must know of; null when none. */
  readonly itemId: string | null
  /** The server has said that it has the item: a response that begins after that knows of it. */
  acked: boolean
}

interface Asked {
  readonly eventId: string
  readonly wish: Wish
  dead: boolean
}

/**
 * Keeps one response at a time: a service refuses `response.create` while another response is under way, and gives
 * answers of its own accord when it hears the caller stop. Nothing is sent from here; the backend asks `mayCreate`
 * after everything that happens.
 *
 *     wish --mayCreate, sent--> asked --created--> given --done--> (none)
 *     wish --the server begins a response that knows all items--> (granted)
 *     asked --refused: another is under way--> wish, with a pause, BACKEND_CREATE_TRIES_MAX times
 *     asked --interrupt--> the response that comes of it is dead from its start
 *     given --interrupt | cancelled by the server--> cancelled; its late audio and words are dropped
 *
 * No response is wished for while the caller speaks: the answer to what they say will know all items too.
 */
export class ResponseLedger {
  /** Number of the newest response. */
  generation: number
  refusals = 0
  #current: LedgerResponse | null = null
  #known: LedgerResponse[] = []
  #wish: Wish | null = null
  #asked: Asked | null = null
  /** A wish that a response was taken for without proof. */
  #presumed: Asked | null = null
  #tries = 0
  #creates = 0
  #held = false
  #callerSpeaking = false
  /** The server repeats the metadata of our wishes, so that its own responses can be told from ours. */
  #marksEchoed = false

  constructor(generation: number) {
    this.generation = generation
  }

  /** The response that the server is giving. */
  get current(): LedgerResponse | null {
    return this.#current
  }

  /** A response is on its way or owed. */
  get busy(): boolean {
    return this.#current !== null || this.#asked !== null || this.#wish !== null
  }

  /** A response was asked for and has not begun. */
  get asked(): boolean {
    return this.#asked !== null
  }

  get callerSpeaking(): boolean {
    return this.#callerSpeaking
  }

  get wished(): boolean {
    return this.#wish !== null
  }

  /** Someone must be answered, with knowledge of `itemId`. */
  want(itemId: string | null): void {
    this.#wish = { itemId, acked: false }
  }

  /** True when `response.create` may be sent now. */
  mayCreate(): boolean {
    return this.#wish !== null && this.#asked === null && this.#current === null && !this.#held && !this.#callerSpeaking
  }

  /** `response.create` is being sent. @returns its event id. */
  creating(): string {
    const eventId = `mk-create-${++this.#creates}`
    this.#asked = { eventId, wish: this.#wish ?? { itemId: null, acked: false }, dead: false }
    this.#wish = null
    return eventId
  }

  itemAcked(itemId: string): void {
    if (this.#wish !== null && this.#wish.itemId === itemId) this.#wish.acked = true
  }

  speechStarted(): void {
    this.#callerSpeaking = true
  }

  /** @param serverAnswers  the server answers by itself; our wish waits for that until `release` */
  speechStopped(serverAnswers: boolean): void {
    this.#callerSpeaking = false
    if (serverAnswers && this.#wish !== null) this.#held = true
  }

  /** What a wish waited for did not come. */
  release(): void {
    this.#held = false
  }

  /** The server began a response; `mark` is the metadata of our wish, if it repeats that. @returns it, dead or alive */
  created(id: string | null, mark: string | null): LedgerResponse {
    const asked = this.#asked
    if (mark !== null) this.#marksEchoed = true
    const ours = asked !== null && (mark === asked.eventId || (mark === null && !this.#marksEchoed))
    if (ours) {
      this.#asked = null
      this.#presumed = mark === null ? asked : null
      this.#tries = 0
    } else if (this.#wish?.acked === true) {
      this.#wish = null
    }
    this.#held = false
    if (this.#current !== null) this.#current.state = this.#current.state === 'given' ? 'done' : this.#current.state
    const response: LedgerResponse = {
      id, generation: ++this.generation, state: ours && asked.dead ? 'cancelled' : 'given', callsOpen: new Set(), hadCalls: false,
      itemsOpen: new Set(), audioOutMs: 0,
    }
    this.#current = response
    this.#known.push(response)
    if (this.#known.length > BACKEND_RESPONSES_KEPT) this.#known.shift()
    return response
  }

  /** The response of an event, open or not; undefined for one never heard of. Without an id it is the present one. */
  find(id: string | undefined): LedgerResponse | undefined {
    if (id === undefined) return this.#current ?? undefined
    for (let i = this.#known.length - 1; i >= 0; i--) {
      const response = this.#known[i]
      if (response?.id === id) return response
    }
    return undefined
  }

  /** The response is over for the server too. */
  done(response: LedgerResponse): void {
    if (response.state === 'given') response.state = 'done'
    if (this.#current === response) this.#current = null
  }

  /**
   * The caller took the word: what is being given is dead, and so is what was asked for.
   * @returns the response that was cancelled by this; null when none was being given
   */
  interrupt(): LedgerResponse | null {
    this.#wish = null
    if (this.#asked !== null) this.#asked.dead = true
    const response = this.#current
    if (response === null || response.state !== 'given') return null
    response.state = 'cancelled'
    return response
  }

  /**
   * The server refused one of our wishes. `busy`: because another response is under way.
   * @returns what to do: nothing, try again after a pause (then call `release`), or give up
   */
  refused(eventId: string, busy: boolean): 'ignore' | 'later' | 'give-up' {
    const asked = this.#asked?.eventId === eventId ? this.#asked : this.#presumed
    if (asked === null || asked.eventId !== eventId) return 'ignore'
    if (asked === this.#asked) this.#asked = null
    this.#presumed = null
    if (!busy) return 'give-up'
    this.refusals++
    if (asked.dead) return 'ignore'
    this.#wish ??= asked.wish
    // The response that is in the way will end, and then it is our turn.
    if (this.#current !== null) return 'ignore'
    if (++this.#tries >= BACKEND_CREATE_TRIES_MAX) {
      this.#tries = 0
      this.#wish = null
      return 'give-up'
    }
    this.#held = true
    return 'later'
  }
}
