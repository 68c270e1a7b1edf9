import { forgetOldest } from '../../core/forget-oldest.js'
import type { TranscriptEntry } from '../documents/record.js'

/** Maximum length of one transcript entry, in characters. */
export const TRANSCRIPT_TEXT_CHARS_MAX = 4000
/** Estimated time to speak one character, in milliseconds. Used if the played duration of a text is unknown. */
export const SPEECH_MS_PER_CHARACTER = 65
/** Maximum number of transcript entries that are open simultaneously. */
const TRANSCRIPT_OPEN_MAX = 32
/** Maximum number of settled items whose repeated words are recognised. */
const TRANSCRIPT_OVER_MAX = 256

/** Words of one item that may still change. Times count from the opening of the stream. */
interface OpenEntry {
  readonly role: 'caller' | 'agent'
  readonly itemId: string
  text: string
  final: boolean
  startMs: number
  endMs: number
  /** Agent entries: true if the sound has begun. */
  started: boolean
  /** Agent entries: true if the caller has heard the sound to its end. */
  heard: boolean
}

/**
 * Open part of the transcript. An entry is open while its words or its sound may still change:
 *
 *     caller   partial words --final words--> settled
 *     agent    words, sound in any order --final words and (heard | no sound)--> settled
 *     agent    open --the caller interrupts--> settled, `interrupted`, with the played duration
 *     any      open --the call ends, or too many are open--> settled with the words so far
 *
 * A settled entry becomes part of the call log.
 */
export class Transcript {
  readonly #settled: (entry: TranscriptEntry, itemId: string, playedMs: number | null) => void
  readonly #open = new Map<string, OpenEntry>()
  /** Keys of settled items with words. */
  readonly #over = new Set<string>()

  /**
   * @param settled  receives each final entry, its item, and the played duration; the duration is null if the item was
   * heard to its end
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

  /** Notes that the sound of an agent item has begun. Later calls for the same item are ignored. */
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

  /** Notes that the agent's words will not have sound. */
  unheard(itemId: string): void {
    const entry = this.#open.get(`agent ${itemId}`)
    if (entry !== undefined) this.#settle(entry, 0)
  }

  /**
   * Ends every open agent entry, because the caller interrupted. The played duration is 0 if the entry's sound had not
   * begun.
   */
  cut(nowMs: number, playedMs: (itemId: string) => number): void {
    for (const entry of [...this.#open.values()]) {
      if (entry.role !== 'agent') continue
      if (!entry.heard) entry.endMs = Math.max(entry.startMs, nowMs)
      this.#settle(entry, entry.heard ? undefined : Math.round(playedMs(entry.itemId)))
    }
  }

  /** Settles the agent words of responses that are over, if the sound of these words never began. */
  withoutSound(expectsSound: (itemId: string) => boolean, nowMs: number): void {
    for (const entry of [...this.#open.values()]) {
      if (entry.role !== 'agent' || entry.started || expectsSound(entry.itemId)) continue
      entry.endMs = Math.max(entry.startMs, nowMs)
      this.#settle(entry)
    }
  }

  /** Settles all entries, because the call is over. */
  close(nowMs: number): void {
    for (const entry of [...this.#open.values()]) {
      if (entry.role === 'agent' && entry.started && !entry.heard) entry.endMs = Math.max(entry.startMs, nowMs)
      this.#settle(entry)
    }
  }

  /** True if the item's words are settled. Words that come again for this item do not count. */
  isOver(role: 'caller' | 'agent', itemId: string): boolean {
    return this.#over.has(`${role} ${itemId}`)
  }

  /** Current open entries, for a checkpoint and for the handoff packet. */
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

  /** True if the caller has said words that may still change. */
  get callerOpen(): boolean {
    for (const { role, text } of this.#open.values()) if (role === 'caller' && text !== '') return true
    return false
  }

  /** Newest agent words that are being played or were just played, and are not settled; null without such words. */
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
    const key = `${entry.role} ${entry.itemId}`
    this.#open.delete(key)
    const text = entry.text.trim().slice(0, TRANSCRIPT_TEXT_CHARS_MAX)
    if (text === '') return
    this.#over.add(key)
    forgetOldest(this.#over, TRANSCRIPT_OVER_MAX)
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

/** Estimates the part of a text that the caller heard in the played duration. */
export function heardPart(text: string, playedMs: number): string {
  return text.slice(0, Math.round(playedMs / SPEECH_MS_PER_CHARACTER))
}
