import { CallIds } from '../../../backends/transport/call-ids.js'
import { forgetOldest } from '../../../core/forget-oldest.js'
import {
  BACKEND_ITEMS_KEPT,
  BACKEND_RESPONSES_KEPT,
  BACKEND_TOOL_CALLS_KEPT,
  BACKEND_TRANSCRIPT_CHARS_MAX,
} from '../../../core/limits.js'
import type { WireItem } from './wire.js'

/** Maximum number of requests for one response, if the service refuses them because another response runs. */
const BACKEND_CREATE_TRIES_MAX = 5

// State of a session's responses: requests, tool calls, received audio, transcripts. This file neither sends nor
// receives.

/** One response of the service. */
export interface Response {
  /** The server's id; null if the server does not name its responses. */
  readonly id: string | null
  readonly generation: number
  /** `cancelled`: the caller hears no more audio of this response, but the service may still send parts. */
  state: 'active' | 'cancelled' | 'done'
  /** Tool calls that have no result yet. */
  readonly openCalls: Set<string>
  hadCalls: boolean
  hadWords: boolean
  /** True if a part of the response's audio is not silent. */
  hadSound: boolean
  /** Items of this response that had audio and have not ended. */
  readonly openItems: Set<string>
  audioOutMs: number
}

/** A `response.create` that was sent. */
interface Requested {
  readonly eventId: string
  readonly wanted: Wanted
  /** True if the caller interrupted before the response started: the response is cancelled from its start. */
  cancelled: boolean
}

/**
 * Decides when a response may be requested. The service runs one response at a time. The service refuses
 * `response.create` while another response runs, and starts responses by itself at the caller's end of turn. The
 * backend asks `mayCreate` after each event.
 *
 *     wanted    --mayCreate, sent--> requested --created--> active --done--> (none)
 *     wanted    --the server starts a response after it acknowledged the item--> (none)
 *     requested --refused, another response runs--> wanted, after a pause, BACKEND_CREATE_TRIES_MAX times
 *     requested --interrupt--> cancelled: from the start of the response
 *     active    --interrupt, or cancelled by the server--> cancelled: late audio and text are dropped
 *
 * While the caller speaks, the backend does not request a response: the response to this speech will cover all items.
 */
export class ResponseScheduler {
  refusals = 0
  #current: Response | null = null
  #known: Response[] = []
  #wanted: Wanted | null = null
  #requested: Requested | null = null
  /** Request to which the last response was assigned without metadata. The server may still refuse this request. */
  #presumed: Requested | null = null
  #tries = 0
  #creates = 0
  /** True until `release`: the server is expected to start a response, or has just refused a request. */
  #held = false
  #callerSpeaking = false
  /**
   * True if the server returns the metadata of requests. The metadata distinguish requested responses from responses
   * that the server started itself.
   */
  #metadataReturned = false

  /** The response that the server is running. */
  get current(): Response | null {
    return this.#current
  }

  /** True if a response was requested and has not started. */
  get requested(): boolean {
    return this.#requested !== null
  }

  get callerSpeaking(): boolean {
    return this.#callerSpeaking
  }

  get wanted(): boolean {
    return this.#wanted !== null
  }

  /** Records that a response covering `itemId` is needed. */
  want(itemId: string | null): void {
    this.#wanted = { itemId, acked: false }
  }

  /** True if `response.create` may be sent now. */
  mayCreate(): boolean {
    return (
      this.#wanted !== null &&
      this.#requested === null &&
      this.#current === null &&
      !this.#held &&
      !this.#callerSpeaking
    )
  }

  /**
   * Records that `response.create` is being sent.
   * @returns the event id of the request
   */
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

  /**
   * @param serverAnswers true if the server starts the response by itself; a wanted response then waits until `release`
   */
  speechStopped(serverAnswers: boolean): void {
    this.#callerSpeaking = false
    if (serverAnswers && this.#wanted !== null) this.#held = true
  }

  /** Ends the wait: a wanted response may be requested again. */
  release(): void {
    this.#held = false
  }

  /**
   * Records that the server started a response.
   * @param metadata event id of the request; null if the server does not return metadata
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

  /**
   * @returns the response with this id, active or not; without an id, the current response; undefined if there is no
   * such response
   */
  find(id: string | undefined): Response | undefined {
    if (id === undefined) return this.#current ?? undefined
    for (let i = this.#known.length - 1; i >= 0; i--) {
      const response = this.#known[i]
      if (response?.id === id) return response
    }
    return undefined
  }

  /** Records that the server has ended the response. */
  done(response: Response): void {
    if (response.state === 'active') response.state = 'done'
    if (this.#current === response) this.#current = null
  }

  /**
   * Cancels the current response and a requested response, because the caller interrupted.
   * @returns the active response that was cancelled; null if no response was active
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
   * Handles the server's refusal of a request.
   *
   * @param busy true if another response was running
   * @returns the next step: nothing, a later try (call `release` first), or failure
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
    // The backend repeats the request after the current response.
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

/** A response that is needed and was not requested yet. */
interface Wanted {
  /** The newest item that the response must cover; null if the response need not cover an item. */
  readonly itemId: string | null
  /** True once the server has acknowledged the item: a response that starts later covers the item. */
  acked: boolean
}

/** A tool call as the model wrote it. */
export interface ToolCall {
  /** Unique in the session. */
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
 * Tool calls of one session. The service reports arguments as complete even if the response was cancelled inside the
 * arguments. So a tool call is made only when its item or its response has completed.
 *
 *     (new)     --arguments.done--> complete
 *     complete  --output_item.done (not incomplete), response.done (completed), or a time limit--> confirmed
 *     complete  --the response is cancelled or failed--> (dropped)
 *     confirmed --the tool's result--> answered, once
 */
export class ToolCalls {
  readonly #calls = new Map<string, ToolCallEntry>()
  readonly #ids = new CallIds()
  /** Names by item, for servers that omit them in `arguments.done`. */
  readonly #names = new Map<string, string>()

  named(item: WireItem): void {
    if (item.type !== 'function_call' || item.id === undefined || item.name === undefined) return
    this.#names.set(item.id, item.name)
    forgetOldest(this.#names, BACKEND_TOOL_CALLS_KEPT)
  }

  /** @returns false if the tool call was already recorded, or if its name is not known */
  complete(response: Response, item: WireItem): boolean {
    const name = item.name ?? this.#names.get(item.id ?? '')
    if (item.call_id === undefined || name === undefined) return false
    const callId = this.#ids.take(item.call_id, response)
    if (callId === null) return false
    this.#calls.set(callId, {
      response,
      state: 'complete',
      call: { callId, name, argumentsText: item.arguments ?? '' },
    })
    forgetOldest(this.#calls, BACKEND_TOOL_CALLS_KEPT)
    return true
  }

  /**
   * Confirms all complete tool calls of a response, or only the tool call with this id of the service.
   * @returns the tool calls to make. All of them are open before the first is made, because a tool may answer at once
   */
  confirm(response: Response, serviceId: string | null): ToolCall[] {
    const confirmed: ToolCall[] = []
    for (const entry of this.#calls.values()) {
      if (entry.response !== response || entry.state !== 'complete') continue
      if (serviceId !== null && this.serviceId(entry.call.callId) !== serviceId) continue
      entry.state = 'confirmed'
      confirmed.push(entry.call)
      response.openCalls.add(entry.call.callId)
      response.hadCalls = true
    }
    return confirmed
  }

  /** Drops complete tool calls that were not confirmed. @returns the number of dropped tool calls */
  drop(response: Response, serviceId: string | null): number {
    let count = 0
    for (const [id, entry] of this.#calls) {
      if (entry.response !== response || entry.state !== 'complete') continue
      if (serviceId !== null && this.serviceId(id) !== serviceId) continue
      this.#calls.delete(id)
      count++
    }
    return count
  }

  /** @returns the service's id of a tool call */
  serviceId(callId: string): string {
    return this.#ids.serviceId(callId)
  }

  /** True if a tool call with this id of the service has no result yet. */
  isOpen(serviceId: string): boolean {
    for (const [id, { state }] of this.#calls) if (state !== 'answered' && this.serviceId(id) === serviceId) return true
    return false
  }

  /** @returns the response of the tool call; null if the tool call was not made or already has its result */
  answer(callId: string): Response | null {
    const entry = this.#calls.get(callId)
    if (entry === undefined || entry.state !== 'confirmed') return null
    entry.state = 'answered'
    entry.response.openCalls.delete(callId)
    return entry.response
  }
}

/** Maximum number of items that can be deleted; older items stay with the service. */
const CONVERSATION_ITEMS_KEPT = 1000

/** The service's copy of the conversation, in order. */
export class ServiceConversation {
  readonly #items = new Map<string, WireItem>()

  added(item: WireItem): void {
    if (item.id === undefined || this.#items.has(item.id)) return
    this.#items.set(item.id, item)
    forgetOldest(this.#items, CONVERSATION_ITEMS_KEPT)
  }

  /**
   * @returns ids of the items before the caller's last words. Tool calls without a result stay, because the service
   * needs the tool call and its result together.
   */
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
  /** Whole milliseconds, at most the duration of the received audio: the service refuses more. */
  readonly audioEndMs: number
}

/** Audio received for each item, so that an interruption can truncate it. */
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
   * @returns items to truncate after an interruption: the played item and all later items. Without a played item: items
   * of response `generation` that cannot have been completely played
   */
  truncate(itemId: string | null, playedMs: number, generation: number | null, nowMs: number): Truncation[] {
    const at = itemId === null ? -1 : this.#items.findIndex((item) => item.itemId === itemId)
    const truncations: Truncation[] = []
    for (const [i, item] of this.#items.entries()) {
      if (item.truncated) continue
      if (i === at) {
        const audioEndMs = Math.min(Math.max(0, Math.floor(playedMs)), Math.floor(item.audioMs))
        // The item was played to its end. If it were truncated, the service would drop the item's text.
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

/** Maximum number of transcripts that grow at once. A service works on two or three at once. */
const TRANSCRIPTS_MAX = 16

/**
 * Transcripts of items that are still growing. Their number is bounded: the oldest transcript is dropped, and starts
 * again if more words arrive.
 */
export class PartialTranscripts {
  readonly #texts = new Map<string, string>()

  /**
   * @param words the next words; if `final` is true, all words of the item
   * @returns the item's transcript so far, cut to BACKEND_TRANSCRIPT_CHARS_MAX
   */
  take(itemId: string, words: string, final: boolean): string {
    const text = (final ? words : (this.#texts.get(itemId) ?? '') + words).slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
    this.#texts.delete(itemId)
    if (!final) this.#texts.set(itemId, text)
    forgetOldest(this.#texts, TRANSCRIPTS_MAX)
    return text
  }
}
