import type { Said } from './mouth.js'
import type { Span } from './speech-spans.js'

/** Times at the caller's own ear: everything the gateway cannot see of itself is in them. */
export interface CallerLatency {
  /** From the opened stream (or the answered call) to the agent's first sound; null when none came. */
  readonly greetingMs: number | null
  readonly turns: readonly {
    /** From the caller's last voiced sample to the agent's first sound; null when the caller spoke again before it. */
    readonly firstSoundMs: number | null
  }[]
  readonly bargeIns: readonly {
    /** From the caller's first voiced sample over the agent's voice to the last of that voice. */
    readonly stopMs: number
  }[]
}

/** Shorter gaps are pauses within a sentence: the agent has not stopped there. */
const STOP_GAP_MS = 400

/**
 * Measures a call from what was said and what was heard.
 * @param heard  stretches of the agent's voice, oldest first
 */
export function measureCaller(said: readonly Said[], heard: readonly Span[], openedMs: number): CallerLatency {
  const runs = joined(heard)
  const turns: { firstSoundMs: number | null }[] = []
  const bargeIns: { stopMs: number }[] = []
  for (const [index, utterance] of said.entries()) {
    const over = runs.find((run) => run.startMs < utterance.startMs && run.endMs > utterance.startMs)
    if (over !== undefined) bargeIns.push({ stopMs: over.endMs - utterance.startMs })
    const next = said[index + 1]
    const answer = runs.find((run) => run.startMs >= utterance.endMs)
    const answered = answer !== undefined && (next === undefined || answer.startMs < next.startMs)
    turns.push({ firstSoundMs: answered ? answer.startMs - utterance.endMs : null })
  }
  const first = runs.find((run) => run.startMs >= openedMs)
  return { greetingMs: first === undefined ? null : first.startMs - openedMs, turns, bargeIns }
}

function joined(spans: readonly Span[]): Span[] {
  const runs: Span[] = []
  for (const span of spans) {
    const last = runs.at(-1)
    if (last !== undefined && span.startMs - last.endMs < STOP_GAP_MS) {
      runs[runs.length - 1] = { startMs: last.startMs, endMs: Math.max(last.endMs, span.endMs) }
    } else {
      runs.push(span)
    }
  }
  return runs
}
