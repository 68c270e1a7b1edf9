import { forgetOldest } from '../../core/forget-oldest.js'
import {
  BACKEND_ITEMS_KEPT,
  BACKEND_RESPONSES_KEPT,
  BACKEND_TOOL_CALLS_KEPT,
  BACKEND_TRANSCRIPT_CHARS_MAX,
} from '../../core/limits.js'
import type { WireItem } from './wire.js'

/** How often a request for a response is repeated when the service refuses it because another one runs. */
const BACKEND_CREATE_TRIES_MAX = 5

// A session's responses: the one under way and the time of the next request, the tool calls in them, how much audio of
// each item arrived, and the transcripts so far. Nothing here sends or receives.

/** One response of the service. */
export interface Response {
  /** Null where the server does not name its responses. */
  readonly id: string | null
  readonly generation: number
  /** `cancelled`: the caller hears no more of it, although the service may still send parts. */
  state: 'active' | 'cancelled' | 'done'
  /** Tool calls that have no result yet. */
  readonly openCalls: Set<string>
  hadCalls: boolean
  hadWords: boolean
  /** Some of its audio can be heard. */
  hadSound: boolean
  /** Items of this response that had audio and have not ended. */
  readonly openItems: Set<string>
  audioOutMs: number
}

/** A `response.create` that was sent. */
interface Requested {
  readonly eventId: string
  readonly wanted: Wanted
  /** The caller interrupted: the response is cancelled from its start. */
  cancelled: boolean
}

/**
 * Decides when a response may be requested. The service allows one response at a time: it refuses `response.create`
 * while another one is under way, and it starts responses by itself at the caller's end of turn. The backend asks
 * `mayCreate` after each event.
 *
 *     wanted    --mayCreate, sent--> requested --created--> active --done--> (none)
 *     wanted    --the server starts a response after it acknowledged the item--> (none)
 *     requested --refused, another one is under way--> wanted, after a pause, BACKEND_CREATE_TRIES_MAX times
 *     requested --interrupt--> the response is cancelled from its start
 *     active    --interrupt | cancelled by the server--> cancelled; its late audio and text are dropped
 *
 * No response is requested while the caller speaks: the response to that speech takes all items into account too.
 */
export class ResponseScheduler {
  refusals = 0
  #current: Response | null = null
  #known: Response[] = []
  #wanted: Wanted | null = null
  #requested: Requested | null = null
  /** The request that the last response was assigned to without its metadata. The server may still refuse it. */
  #presumed: Requested | null = null
  #tries = 0
  #creates = 0
  /** Nothing is requested until `release`: the server is expected to start a response, or has just refused one. */
  #held = false
  #callerSpeaking = false
  /**
   * The server returns the metadata of requests. They distinguish requested responses from those that it started
   * itself.
   */
  #metadataReturned = false

  /** The response that the server has under way. */
  get current(): Response | null {
    return this.#current
  }

  /** A response was requested and has not started. */
  get requested(): boolean {
    return this.#requested !== null
  }

  get callerSpeaking(): boolean {
    return this.#callerSpeaking
  }

  get wanted(): boolean {
    return this.#wanted !== null
  }

  /** A response is needed that takes `itemId` into account. */
  want(itemId: string | null): void {
    this.#wanted = { itemId, acked: false }
  }

  /** True when `response.create` may be sent now. */
  mayCreate(): boolean {
    return (
      this.#wanted !== null &&
      this.#requested === null &&
      this.#current === null &&
      !this.#held &&
      !this.#callerSpeaking
    )
  }

  /** `response.create` is being sent. @returns its event id. */
  creating(): string {
    const eventId = `mk-create-${++this.#creates}`
    this.#requested = { eventId, wanted: this.#wanted ?? { itemId: null, acked: false }, cancelled: false }
    this.#wanted = null
    return eventId
  }

  itemAcked(itemId: string): void {
    if (this.#wanted !== null && this.#wanted.itemId === itemId) this.#wanted.acked = true
  }

  speechStarted(): void {
    this.#callerSpeaking = true
  }

  /** @param serverAnswers  the server starts the response by itself; a wanted one waits for that until `release` */
  speechStopped(serverAnswers: boolean): void {
    this.#callerSpeaking = false
    if (serverAnswers && this.#wanted !== null) this.#held = true
  }

  /** The wait is over: a wanted response may be requested again. */
  release(): void {
    this.#held = false
  }

  /**
   * The server started a response.
   * @param metadata  the event id of the request, where the server returns it
   * @returns the response, active or already cancelled
   */
  created(id: string | null, metadata: string | null, generation: number): Response {
    const requested = this.#requested
    if (metadata !== null) this.#metadataReturned = true
    const ours =
      requested !== null && (metadata === requested.eventId || (metadata === null && !this.#metadataReturned))
    if (ours) {
      this.#requested = null
      this.#presumed = metadata === null ? requested : null
      this.#tries = 0
    } else if (this.#wanted?.acked === true) {
      this.#wanted = null
    }
    this.#held = false
    if (this.#current !== null) this.#current.state = this.#current.state === 'active' ? 'done' : this.#current.state
    const response: Response = {
      id,
      generation,
      state: ours && requested.cancelled ? 'cancelled' : 'active',
      openCalls: new Set(),
      hadCalls: false,
      hadWords: false,
      hadSound: false,
      openItems: new Set(),
      audioOutMs: 0,
    }
    this.#current = response
    this.#known.push(response)
    if (this.#known.length > BACKEND_RESPONSES_KEPT) this.#known.shift()
    return response
  }

  /** The response with this id, active or not; without an id the current one. Undefined for an unknown one. */
  find(id: string | undefined): Response | undefined {
    if (id === undefined) return this.#current ?? undefined
    for (let i = this.#known.length - 1; i >= 0; i--) {
      const response = this.#known[i]
      if (response?.id === id) return response
    }
    return undefined
  }

  /** The response is over for the server too. */
  done(response: Response): void {
    if (response.state === 'active') response.state = 'done'
    if (this.#current === response) this.#current = null
  }

  /**
   * The caller interrupted: cancels the current response and a requested one.
   * @returns the active response that was cancelled; null when there was none
   */
  interrupt(): Response | null {
    this.#wanted = null
    if (this.#requested !== null) this.#requested.cancelled = true
    const response = this.#current
    if (response === null || response.state !== 'active') return null
    response.state = 'cancelled'
    return response
  }

  /**
   * The server refused a request; `busy` says that another response was under way.
   * @returns what to do: nothing, try again after a pause (then call `release`), or give up
   */
  refused(eventId: string, busy: boolean): 'ignore' | 'later' | 'give-up' {
    const requested = this.#requested?.eventId === eventId ? this.#requested : this.#presumed
    if (requested === null || requested.eventId !== eventId) return 'ignore'
    if (requested === this.#requested) this.#requested = null
    this.#presumed = null
    if (!busy) return 'give-up'
    this.refusals++
    if (requested.cancelled) return 'ignore'
    this.#wanted ??= requested.wanted
    // The backend asks again when the current response ends.
    if (this.#current !== null) return 'ignore'
    if (++this.#tries >= BACKEND_CREATE_TRIES_MAX) {
      this.#tries = 0
      this.#wanted = null
      return 'give-up'
    }
    this.#held = true
    return 'later'
  }
}

/** A response that the call waits for and that was not requested yet. */
interface Wanted {
  /** The newest item that the response must take into account; null when none. */
  readonly itemId: string | null
  /** The server has acknowledged the item: a response that starts after that takes it into account. */
  acked: boolean
}

/** A tool call as the model wrote it. */
export interface ToolCall {
  readonly callId: string
  readonly name: string
  readonly argumentsText: string
}

interface ToolCallEntry {
  readonly response: Response
  state: 'complete' | 'confirmed' | 'answered'
  readonly call: ToolCall
}

/**
 * Tool calls of one session. The service reports complete arguments even when the response was cancelled in the middle
 * of them; a call is made only when its item, or its response, completed.
 *
 *     (new)     --arguments.done--> complete
 *     complete  --output_item.done, not incomplete | response.done completed | nothing more arrives--> confirmed
 *     complete  --response cancelled or failed--> (dropped)
 *     confirmed --answer--> answered, once
 */
export class ToolCalls {
  readonly #calls = new Map<string, ToolCallEntry>()
  /** Names by item, for servers that leave them out of `arguments.done`. */
  readonly #names = new Map<string, string>()

  named(item: WireItem): void {
    if (item.type !== 'function_call' || item.id === undefined || item.name === undefined) return
    this.#names.set(item.id, item.name)
    forgetOldest(this.#names, BACKEND_TOOL_CALLS_KEPT)
  }

  /** @returns false when the call is already known, or when its name is unknown */
  complete(response: Response, item: WireItem): boolean {
    const { call_id: callId } = item
    const name = item.name ?? this.#names.get(item.id ?? '')
    if (callId === undefined || name === undefined || this.#calls.has(callId)) return false
    this.#calls.set(callId, {
      response,
      state: 'complete',
      call: { callId, name, argumentsText: item.arguments ?? '' },
    })
    forgetOldest(this.#calls, BACKEND_TOOL_CALLS_KEPT)
    return true
  }

  /**
   * Confirms the complete calls of a response, or only the one with `callId`.
   * @returns the calls to make. All are open before the first one is made, because a tool may answer at once
   */
  confirm(response: Response, callId: string | null): ToolCall[] {
    const confirmed: ToolCall[] = []
    for (const entry of this.#calls.values()) {
      if (entry.response !== response || entry.state !== 'complete') continue
      if (callId !== null && entry.call.callId !== callId) continue
      entry.state = 'confirmed'
      confirmed.push(entry.call)
      response.openCalls.add(entry.call.callId)
      response.hadCalls = true
    }
    return confirmed
  }

  /** Drops complete calls that were not confirmed. @returns how many */
  drop(response: Response, callId: string | null): number {
    let count = 0
    for (const [id, entry] of this.#calls) {
      if (entry.response !== response || entry.state !== 'complete' || (callId !== null && id !== callId)) continue
      this.#calls.delete(id)
      count++
    }
    return count
  }

  /** It has no result yet. */
  isOpen(callId: string): boolean {
    const state = this.#calls.get(callId)?.state
    return state !== undefined && state !== 'answered'
  }

  /** @returns the response of the call, or null for a call that was not made or has its result */
  answer(callId: string): Response | null {
    const entry = this.#calls.get(callId)
    if (entry === undefined || entry.state !== 'confirmed') return null
    entry.state = 'answered'
    entry.response.openCalls.delete(callId)
    return entry.response
  }
}

/** Items of a conversation that may be deleted; older ones stay with the service. */
const CONVERSATION_ITEMS_KEPT = 1000

/** The service's copy of the conversation, in order. */
export class ServiceConversation {
  readonly #items = new Map<string, WireItem>()

  added(item: WireItem): void {
    if (item.id === undefined || this.#items.has(item.id)) return
    this.#items.set(item.id, item)
    forgetOldest(this.#items, CONVERSATION_ITEMS_KEPT)
  }

  /** @returns what comes before the caller's last words, but for calls without a result: the service needs both parts */
  forget(isOpen: (callId: string) => boolean): string[] {
    const items = [...this.#items.values()]
    const last = items.findLastIndex(({ type, role }) => type === 'message' && role === 'user')
    const ids = items
      .slice(0, Math.max(0, last))
      .flatMap(({ id, call_id: callId }) => (id === undefined || (callId !== undefined && isOpen(callId)) ? [] : [id]))
    for (const id of ids) this.#items.delete(id)
    return ids
  }
}

interface AudioItem {
  readonly itemId: string
  readonly contentIndex: number
  readonly generation: number
  readonly firstAtMs: number
  audioMs: number
  done: boolean
  truncated: boolean
}

interface Truncation {
  readonly itemId: string
  readonly contentIndex: number
  /** Whole milliseconds, never more than was received: the service refuses more. */
  readonly audioEndMs: number
}

/** The audio that was received of each item: what an interruption truncates. */
export class AudioItems {
  readonly #items: AudioItem[] = []

  /** @returns true for the first audio of an item */
  received(itemId: string, contentIndex: number, generation: number, ms: number, nowMs: number): boolean {
    const known = this.#find(itemId)
    if (known !== undefined) {
      known.audioMs += ms
      return false
    }
    this.#items.push({ itemId, contentIndex, generation, firstAtMs: nowMs, audioMs: ms, done: false, truncated: false })
    if (this.#items.length > BACKEND_ITEMS_KEPT) this.#items.shift()
    return true
  }

  done(itemId: string): void {
    const item = this.#find(itemId)
    if (item !== undefined) item.done = true
  }

  /**
   * Items to truncate after an interruption: the item that was being played, and every item received after it. If no
   * item was being played: the items of the current response (`generation`, null for none) that cannot have been played
   * to their end yet.
   */
  truncate(itemId: string | null, playedMs: number, generation: number | null, nowMs: number): Truncation[] {
    const at = itemId === null ? -1 : this.#items.findIndex((item) => item.itemId === itemId)
    const truncations: Truncation[] = []
    for (const [i, item] of this.#items.entries()) {
      if (item.truncated) continue
      if (i === at) {
        const audioEndMs = Math.min(Math.max(0, Math.floor(playedMs)), Math.floor(item.audioMs))
        // The item was played to its end. If it were truncated, the service would drop its text.
        if (item.done && playedMs >= item.audioMs) continue
        truncations.push(this.#mark(item, audioEndMs))
      } else if (at >= 0 ? i > at : item.generation === generation && nowMs - item.firstAtMs < item.audioMs) {
        truncations.push(this.#mark(item, 0))
      }
    }
    return truncations
  }

  #mark(item: AudioItem, audioEndMs: number): Truncation {
    item.truncated = true
    return { itemId: item.itemId, contentIndex: item.contentIndex, audioEndMs }
  }

  #find(itemId: string): AudioItem | undefined {
    for (let i = this.#items.length - 1; i >= 0; i--) if (this.#items[i]?.itemId === itemId) return this.#items[i]
    return undefined
  }
}

/** Transcripts that may grow at the same time; a service works on two or three. */
const TRANSCRIPTS_MAX = 16

/** Transcripts of items that are still growing. Bounded: the oldest is dropped, and starts again if it continues. */
export class PartialTranscripts {
  readonly #texts = new Map<string, string>()

  /**
   * @param words  the next ones; all of the item's where they are final
   * @returns the transcript of the item so far, cut to BACKEND_TRANSCRIPT_CHARS_MAX
   */
  take(itemId: string, words: string, final: boolean): string {
    const text = (final ? words : (this.#texts.get(itemId) ?? '') + words).slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
    this.#texts.delete(itemId)
    if (!final) this.#texts.set(itemId, text)
    forgetOldest(this.#texts, TRANSCRIPTS_MAX)
    return text
  }
}
