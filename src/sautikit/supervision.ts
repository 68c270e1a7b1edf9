import type { CarrierState } from './carrier-state.js'

/** What became of the human who was added to a live call. */
export type HumanEvent = 'joined' | 'busy' | 'no-answer' | 'declined' | 'failed' | 'left'

/**
 * The vendor documents that `call.supervision.*` events exist but not their last words, so those of other telephony
 * APIs are understood too; the first entry that the word contains decides.
 */
const WORDS: readonly (readonly [part: string, event: HumanEvent])[] = [
  ['busy', 'busy'], ['no_answer', 'no-answer'], ['no-answer', 'no-answer'], ['timeout', 'no-answer'],
  ['declin', 'declined'], ['reject', 'declined'], ['fail', 'failed'], ['error', 'failed'],
  ['left', 'left'], ['end', 'left'], ['stop', 'left'], ['complete', 'left'],
  ['join', 'joined'], ['answer', 'joined'], ['connect', 'joined'], ['active', 'joined'],
]

/** The human's part of a `call.supervision.*` event; null for any other kind, and for words that say nothing of it. */
export function humanEvent(kind: string | null): HumanEvent | null {
  const word = /^call\.supervision\.(.+)$/i.exec(kind ?? '')?.[1]?.toLowerCase()
  if (word === undefined) return null
  return WORDS.find(([part]) => word.includes(part))?.[1] ?? null
}

/** What the state of a human's own leg, called by us, says of them; null while it rings. */
export function humanLeg(state: CarrierState): HumanEvent | null {
  switch (state) {
    case 'answered': return 'joined'
    case 'busy': return 'busy'
    case 'no-answer': return 'no-answer'
    case 'failed': return 'failed'
    case 'completed': return 'left'
    // The leg's webhook may say nothing of itself; it asks for its document when somebody is there.
    case 'unknown': return 'joined'
    default: return null
  }
}
