import { TRANSCRIPT_ENTRIES_MAX, TRANSCRIPT_OPEN_MAX, TRANSCRIPT_TEXT_CHARS_MAX } from '../core/limits.js'
import type { TranscriptEntry } from './record.js'

/** Words of one item that may still change. Times are since the stream opened. */
interface OpenEntry {
  readonly role: 'caller' | 'agent'
  readonly itemId: string
  text: string
  final: boolean
  startMs: number
  endMs: number
  /** Agent: its sound has begun, has been heard to the end. */
  started: boolean
  heard: boolean
}

/**
 * What was said, in order, bounded. An entry stays open while its words or its sound may still change:
 *
 *     caller   partial words --final words--> settled
 *     agent    words, sound in any order --final words and (heard | no sound came)--> settled
 *     agent    open --the caller interrupts--> settled, `interrupted`, with how much was heard
 *     any      open --the call ends--> settled with the words it has
 *
 * Settling is what makes an entry part of the record; every method returns the entries that it settled.
 */
export class Transcript {
  readonly entries: TranscriptEntry[]
  /** Entries dropped for want of room, oldest first. */
  dropped = 0
  readonly #open = new Map<string, OpenEntry>()

  constructor(before: readonly TranscriptEntry[]) {
    this.entries = before.slice(-TRANSCRIPT_ENTRIES_MAX)
  }

  callerWords(itemId: string, text: string, final: boolean, startMs: number, endMs: number): TranscriptEntry | null {
    const entry = this.#entry('caller', itemId, startMs)
    entry.text = text
    entry.endMs = Math.max(entry.startMs, endMs)
    return final ? this.#settle(entry) : null
  }

  agentWords(itemId: string, text: string, final: boolean, nowMs: number): TranscriptEntry | null {
    const entry = this.#entry('agent', itemId, nowMs)
    entry.text = text
    entry.final ||= final
    return entry.final && entry.heard ? this.#settle(entry) : null
  }

  /** Sound of an agent item has begun; only the first time counts. */
  started(itemId: string, startMs: number): void {
    const entry = this.#entry('agent', itemId, startMs)
    if (entry.started) return
    entry.started = true
    entry.startMs = startMs
    entry.endMs = startMs
  }

  heard(itemId: string, nowMs: number): TranscriptEntry | null {
    const entry = this.#open.get(`agent ${itemId}`)
    if (entry === undefined) return null
    entry.heard = true
    entry.endMs = Math.max(entry.startMs, nowMs)
    return entry.final ? this.#settle(entry) : null
  }

  /** The caller interrupted: every open agent entry ends here. One whose sound never began was heard 0 ms. */
  cut(nowMs: number, heardMs: (itemId: string) => number): TranscriptEntry[] {
    const cut: TranscriptEntry[] = []
    for (const entry of [...this.#open.values()]) {
      if (entry.role !== 'agent') continue
      if (!entry.heard) entry.endMs = Math.max(entry.startMs, nowMs)
      const settled = this.#settle(entry, entry.heard ? undefined : Math.round(heardMs(entry.itemId)))
      if (settled !== null) cut.push(settled)
    }
    return cut
  }

  /** Agent words for which no sound will come: its response is over and none began. */
  withoutSound(expectsSound: (itemId: string) => boolean, nowMs: number): TranscriptEntry[] {
    const settled: TranscriptEntry[] = []
    for (const entry of [...this.#open.values()]) {
      if (entry.role !== 'agent' || entry.started || expectsSound(entry.itemId)) continue
      entry.endMs = Math.max(entry.startMs, nowMs)
      const done = this.#settle(entry)
      if (done !== null) settled.push(done)
    }
    return settled
  }

  /** The call is over. */
  close(nowMs: number): TranscriptEntry[] {
    const settled: TranscriptEntry[] = []
    for (const entry of [...this.#open.values()]) {
      if (entry.role === 'agent' && entry.started && !entry.heard) entry.endMs = Math.max(entry.startMs, nowMs)
      const done = this.#settle(entry)
      if (done !== null) settled.push(done)
    }
    return settled
  }

  /** Record and open entries together, as a takeover or a human must see them. */
  snapshot(): TranscriptEntry[] {
    const open: TranscriptEntry[] = []
    for (const entry of this.#open.values()) {
      if (entry.text !== '') {
        open.push({ role: entry.role, text: entry.text, startMs: entry.startMs, endMs: entry.endMs })
      }
    }
    return [...this.entries, ...open].slice(-TRANSCRIPT_ENTRIES_MAX)
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

  #settle(entry: OpenEntry, heardMs?: number): TranscriptEntry | null {
    this.#open.delete(`${entry.role} ${entry.itemId}`)
    const text = entry.text.trim().slice(0, TRANSCRIPT_TEXT_CHARS_MAX)
    if (text === '') return null
    const { role, startMs, endMs } = entry
    const settled: TranscriptEntry = heardMs === undefined
      ? { role, text, startMs, endMs }
      : { role, text, startMs, endMs, interrupted: true, heardMs }
    this.entries.push(settled)
    if (this.entries.length > TRANSCRIPT_ENTRIES_MAX) {
      this.entries.shift()
      this.dropped++
    }
    return settled
  }
}
