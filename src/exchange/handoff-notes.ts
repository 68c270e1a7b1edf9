import { setTimeout as sleep } from 'node:timers/promises'
import { forgetOldest } from '../core/forget-oldest.js'
import { jsonObject } from '../core/json.js'
import { verifySignature } from '../sautikit/signature.js'

/** Maximum number of notes for calls whose humans will be rung soon. */
const NOTES_MAX = 1000
const NOTE_CHARS_MAX = 200
/** Maximum wait for a note in ms: the gateway posts the packet when it requests a human. */
const AWAITED_MS = 500

/**
 * Notes about callers for the humans who are rung, made from the handoff packets that the gateway posts to HANDOFF_URL
 * (docs/MESSAGES.md).
 */
export class HandoffNotes {
  readonly #secret: string
  readonly #isLive: (callSid: string) => boolean
  readonly #notes = new Map<string, string>()
  /** Calls whose human will be rung soon: at most one entry per running call. */
  readonly #awaited = new Map<string, () => void>()

  /** @param isLive  true for a call of this exchange: notes of other calls are not stored */
  constructor(secret: string, isLive: (callSid: string) => boolean) {
    this.#secret = secret
    this.#isLive = isLive
  }

  /**
   * Stores a note from a post of the gateway.
   * @param signature value of the post's `X-Mkondo-Signature`
   * @returns false if the signature is wrong or old
   */
  take(body: Buffer, signature: string, nowMs = Date.now()): boolean {
    // This signature has the same form as the signatures of the carrier's webhooks.
    if (verifySignature({ header: signature, body, secrets: [this.#secret], nowS: nowMs / 1000 }) !== 'ok') return false
    const { kind, callSid, handoff } = jsonObject(body) ?? {}
    if (kind !== 'handoff.requested' || typeof callSid !== 'string' || !this.#isLive(callSid)) return true
    const { reason, summary } = (handoff ?? {}) as { reason?: unknown; summary?: unknown }
    const note = [reason, summary].filter((part) => typeof part === 'string').join(' ')
    this.#notes.set(callSid, oneLine(note))
    forgetOldest(this.#notes, NOTES_MAX)
    this.#awaited.get(callSid)?.()
    return true
  }

  /** @returns the note of a call: one line, at most 200 characters; empty if no note arrives within half a second */
  async of(callSid: string): Promise<string> {
    if (!this.#notes.has(callSid)) {
      const came = new Promise<void>((resolve) => this.#awaited.set(callSid, resolve))
      await Promise.race([came, sleep(AWAITED_MS, undefined, { ref: false })])
      this.#awaited.delete(callSid)
    }
    return this.#notes.get(callSid) ?? ''
  }

  /** Removes the note of an ended call. */
  forget(callSid: string): void {
    this.#notes.delete(callSid)
  }
}

function oneLine(text: string): string {
  return (
    text
      .replaceAll(/\p{C}+/gu, ' ')
      .replaceAll(/\s+/g, ' ')
      .trim()
      .slice(0, NOTE_CHARS_MAX)
      // The cut may leave half of a surrogate pair. Asterisk refuses this half, and then the whole call.
      .replace(/[\uD800-\uDBFF]$/, '')
  )
}
