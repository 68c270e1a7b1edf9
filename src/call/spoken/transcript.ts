import type { TranscriptEntry } from '../documents/record.js'

/** Characters of one transcript entry that are kept. */
export const TRANSCRIPT_TEXT_CHARS_MAX = 4000
/** Speech of one character, where nobody tells how much of a text was heard. */
export const SPEECH_MS_PER_CHARACTER = 65
/** Transcript entries that are still growing at once. */
const TRANSCRIPT_OPEN_MAX = 32

/** Words of one item that may still change. Times are since the stream opened. */
interface OpenEntry {
  readonly role: 'caller' | 'agent'
  readonly itemId: string
  text: string
  final: boolean
  startMs: number
  endMs: number
  /** Agent: its sound has begun, or was heard to the end. */
  started: boolean
  heard: boolean
}

/**
 * The open part of the transcript. An entry stays open while its words or its sound may still change:
 *
 *     caller   partial words --final words--> settled
 *     agent    words, sound in any order --final words and (heard | no sound came)--> settled
 *     agent    open --the caller interrupts--> settled, `interrupted`, with how much was heard
 *     any      open --the call ends, or too many are open--> settled with the words so far
 *
 * Settling makes an entry part of the call log.
 */
export class Transcript {
  readonly #settled: (entry: TranscriptEntry, itemId: string, playedMs: number | null) => void
  readonly #open = new Map<string, OpenEntry>()

  /**
   * @param settled  called with each entry that will not change any more, its item, and how long it was heard: null when
   *                 it was heard to its end
   */
  constructor(settled: (entry: TranscriptEntry, itemId: string, playedMs: number | null) => void) {
    this.#settled = settled
  }

  callerWords(itemId: string, text: string, final: boolean, startMs: number, endMs: number): void {
    const entry = this.#entry('caller', itemId, startMs)
    entry.text = text
    entry.endMs = Math.max(entry.startMs, endMs)
    if (final) this.#settle(entry)
  }

  agentWords(itemId: string, text: string, final: boolean, nowMs: number): void {
    const entry = this.#entry('agent', itemId, nowMs)
    entry.text = text
    entry.final ||= final
    if (entry.final && entry.heard) this.#settle(entry)
  }

  /** Sound of an agent item has begun; only the first time counts. */
  started(itemId: string, startMs: number): void {
    const entry = this.#entry('agent', itemId, startMs)
    if (entry.started) return
    entry.started = true
    entry.startMs = startMs
    entry.endMs = startMs
  }

  heard(itemId: string, nowMs: number): void {
    const entry = this.#open.get(`agent ${itemId}`)
    if (entry === undefined) return
    entry.heard = true
    entry.endMs = Math.max(entry.startMs, nowMs)
    if (entry.final) this.#settle(entry)
  }

  /** An agent's words that will have no sound. */
  unheard(itemId: string): void {
    const entry = this.#open.get(`agent ${itemId}`)
    if (entry !== undefined) this.#settle(entry, 0)
  }

  /** The caller interrupted: every open agent entry ends here. An entry whose sound never began was heard for 0 ms. */
  cut(nowMs: number, playedMs: (itemId: string) => number): void {
    for (const entry of [...this.#open.values()]) {
      if (entry.role !== 'agent') continue
      if (!entry.heard) entry.endMs = Math.max(entry.startMs, nowMs)
      this.#settle(entry, entry.heard ? undefined : Math.round(playedMs(entry.itemId)))
    }
  }

  /** Settles agent words whose response is over and whose sound never began. */
  withoutSound(expectsSound: (itemId: string) => boolean, nowMs: number): void {
    for (const entry of [...this.#open.values()]) {
      if (entry.role !== 'agent' || entry.started || expectsSound(entry.itemId)) continue
      entry.endMs = Math.max(entry.startMs, nowMs)
      this.#settle(entry)
    }
  }

  /** The call is over. */
  close(nowMs: number): void {
    for (const entry of [...this.#open.values()]) {
      if (entry.role === 'agent' && entry.started && !entry.heard) entry.endMs = Math.max(entry.startMs, nowMs)
      this.#settle(entry)
    }
  }

  /** Open entries as they are now, for a checkpoint and for the handoff packet. */
  get open(): TranscriptEntry[] {
    return [...this.#open.values()]
      .filter(({ text }) => text !== '')
      .map(({ role, text, startMs, endMs }) => ({
        role,
        text: text.slice(0, TRANSCRIPT_TEXT_CHARS_MAX),
        startMs,
        endMs,
      }))
  }

  /** Words of the caller came that may still change. */
  get callerOpen(): boolean {
    for (const { role, text } of this.#open.values()) if (role === 'caller' && text !== '') return true
    return false
  }

  /** The newest agent words whose sound has begun and that are not settled; null where there are none. */
  get sounding(): { readonly itemId: string; readonly text: string; readonly heard: boolean } | null {
    let newest: OpenEntry | null = null
    for (const entry of this.#open.values()) if (entry.role === 'agent' && entry.started) newest = entry
    return newest
  }

  #entry(role: 'caller' | 'agent', itemId: string, startMs: number): OpenEntry {
    const key = `${role} ${itemId}`
    const known = this.#open.get(key)
    if (known !== undefined) return known
    if (this.#open.size >= TRANSCRIPT_OPEN_MAX) {
      const oldest = this.#open.values().next().value
      if (oldest !== undefined) this.#settle(oldest)
    }
    const entry = { role, itemId, text: '', final: false, startMs, endMs: startMs, started: false, heard: false }
    this.#open.set(key, entry)
    return entry
  }

  #settle(entry: OpenEntry, playedMs?: number): void {
    this.#open.delete(`${entry.role} ${entry.itemId}`)
    const text = entry.text.trim().slice(0, TRANSCRIPT_TEXT_CHARS_MAX)
    if (text === '') return
    const { role, itemId, startMs, endMs, started } = entry
    this.#settled(
      playedMs === undefined
        ? { role, text, startMs, endMs }
        : { role, text, startMs, endMs, interrupted: true, playedMs },
      itemId,
      entry.heard ? null : (playedMs ?? (started ? endMs - startMs : 0)),
    )
  }
}

/** The part of a text that was heard in that time, roughly. */
export function heardPart(text: string, playedMs: number): string {
  return text.slice(0, Math.round(playedMs / SPEECH_MS_PER_CHARACTER))
}
