import type { BackendTimers } from './timers.js'
import type { AudioHistory } from './audio-history.js'
import type { MemberSession } from './member-session.js'
import type { OpenInput } from './open-inputs.js'

interface Step {
  readonly at: number
  readonly act: () => void
}

export interface ReFeedParts {
  readonly session: MemberSession
  readonly history: AudioHistory
  /** Where to begin; older samples than there are begin with what there is. */
  readonly from: number
  readonly inputs: readonly OpenInput[]
  readonly timers: BackendTimers
  /** One frame; overwritten. */
  readonly frame: Int16Array
  /** What a text means to this session; the text itself where that is no question. */
  readonly wording: (text: string) => string
}

/**
 * Gives a session what the one before it was given and did not answer, in the order in which it was: the caller's audio
 * without a gap, the marks of their speech at their places in it, keys and texts.
 * @returns samples that were given
 */
export function reFeed(parts: ReFeedParts): number {
  const { session, history, inputs, frame } = parts
  const { backend } = session
  const from = Math.max(parts.from, history.oldest)
  // Frames that come from within are not in it: they go the live way.
  const to = history.written
  let position = from
  const feedTo = (until: number): void => {
    while (position < until && session.phase === 'ready') {
      const samples = history.read(position, until - position < frame.length ? frame.subarray(0, until - position) : frame)
      if (samples === 0) return
      session.feed(samples === frame.length ? frame : frame.subarray(0, samples))
      position += samples
    }
  }
  for (const step of stepsOf(inputs, backend, parts)) {
    feedTo(Math.min(to, step.at))
    if (session.phase === 'ready') step.act()
  }
  feedTo(to)
  return position - from
}

function stepsOf(inputs: readonly OpenInput[], backend: MemberSession['backend'], { timers, wording }: ReFeedParts): Step[] {
  const steps: Step[] = []
  for (const input of inputs) {
    if (input.type === 'text') {
      steps.push({ at: input.at, act: () => backend.sendText(wording(input.text), { role: input.role, respond: true }) })
    } else if (input.type === 'digit') {
      steps.push({ at: input.at, act: () => backend.dtmf(input.digit) })
    } else if (!backend.capabilities.serverVad) {
      const { start, end } = input
      // The audio is given faster than it was spoken: for the backend the speech begins now.
      steps.push({ at: start, act: () => backend.speechStart(timers.nowMs()) })
      if (end !== null) steps.push({ at: end, act: () => backend.speechEnd(timers.nowMs()) })
    }
  }
  return steps.sort((a, b) => a.at - b.at)
}
