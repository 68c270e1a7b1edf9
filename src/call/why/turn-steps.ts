import type { CallRecord } from '../documents/record.js'

/** A tool call within a turn. */
interface StepTool {
  readonly name: string
  /** Start in milliseconds since the webhook. */
  readonly fromMs: number
  readonly ms: number
  readonly ok: boolean
}

/** Times of one turn of the caller, in whole milliseconds; `…AtMs` count from the webhook. */
export interface TurnSteps {
  /** Number of the turn, from 1. */
  readonly turn: number
  /** Time of the caller's last voiced sample. */
  readonly stoppedAtMs: number
  /** End of the wait for an answer: the answer, the next turn or the end of the call. */
  readonly untilMs: number
  readonly isAnswered: boolean
  readonly firstSoundMs: number | null
  /**
   * Time from `stoppedAtMs` to the decision that the turn has ended; null if the timeline does not contain this
   * decision.
   */
  readonly endOfTurnMs: number | null
  /** Time from `stoppedAtMs` to the recogniser's last words; null if the backend does not send words. */
  readonly wordsMs: number | null
  /** Time from `stoppedAtMs` to the backend's first words of an answer; null if the backend does not send words. */
  readonly modelWordsMs: number | null
  readonly tools: readonly StepTool[]
  /** Parts of the wait; their sum is the length of the wait. */
  readonly parts: WaitParts
}

interface WaitParts {
  /** Time in which the gateway waited for more words. */
  readonly endOfTurnMs: number
  /** Time in which tools ran. */
  readonly toolsMs: number
  /** Time that the backend needed: recogniser, model and voice. */
  readonly backendMs: number
  /** Time from the moment when the answer is ready to the sending of its first sample. */
  readonly playoutMs: number
}

interface StepsOf extends Pick<CallRecord, 'timeline' | 'turns' | 'toolCalls' | 'durationMs'> {
  /** Time from the webhook to the opening of the stream. */
  readonly zeroMs: number
}

/**
 * Returns the turns of a call, with the parts of each wait. The console also runs this, so this file imports only
 * types.
 */
export function turnStepsOf({ zeroMs, timeline, turns, toolCalls, durationMs }: StepsOf): TurnSteps[] {
  const endMs = timeline.findLast(({ name }) => name === 'ended')?.atMs ?? zeroMs + durationMs
  return turns.map(({ callerStoppedMs, firstSoundMs, answerMs }, index) => {
    const stoppedAtMs = zeroMs + callerStoppedMs
    const nextMs = turns[index + 1]?.callerStoppedMs
    const untilMs = answerMs === null ? (nextMs === undefined ? endMs : zeroMs + nextMs) : stoppedAtMs + answerMs
    const marks = timeline.filter(({ atMs }) => atMs >= stoppedAtMs && atMs <= untilMs)
    const sinceStop = (atMs: number | undefined): number | null => (atMs === undefined ? null : atMs - stoppedAtMs)
    const at = (name: string): number | undefined => marks.find((mark) => mark.name === name)?.atMs
    const last = (name: string): number | undefined => marks.findLast((mark) => mark.name === name)?.atMs
    const tools = toolCalls
      .map(({ name, startMs, ms, ok }) => ({ name, fromMs: zeroMs + startMs, ms, ok }))
      .filter(({ fromMs, ms }) => fromMs < untilMs && fromMs + ms > stoppedAtMs)
    const endedMs = sinceStop(at('caller-speech-end'))
    const waitMs = untilMs - stoppedAtMs
    const endOfTurnMs = Math.min(endedMs ?? 0, waitMs)
    const audioMs = answerMs === null ? waitMs : (sinceStop(last('agent-audio')) ?? waitMs)
    const playoutMs = Math.min(Math.max(0, waitMs - Math.max(audioMs, endOfTurnMs)), waitMs - endOfTurnMs)
    const toolsMs = Math.min(
      covered(tools, stoppedAtMs + endOfTurnMs, untilMs - playoutMs),
      waitMs - endOfTurnMs - playoutMs,
    )
    return {
      ...{ turn: index + 1, stoppedAtMs, untilMs, isAnswered: answerMs !== null, firstSoundMs, endOfTurnMs: endedMs },
      ...{ wordsMs: sinceStop(last('caller-words')), modelWordsMs: sinceStop(at('agent-words')), tools },
      parts: { endOfTurnMs, toolsMs, backendMs: waitMs - endOfTurnMs - toolsMs - playoutMs, playoutMs },
    }
  })
}

/** Returns the part of the time between two moments in which at least one tool ran. */
function covered(tools: readonly StepTool[], fromMs: number, toMs: number): number {
  let sumMs = 0
  let doneMs = fromMs
  for (const tool of [...tools].sort((a, b) => a.fromMs - b.fromMs)) {
    const beginMs = Math.max(doneMs, tool.fromMs)
    const endMs = Math.min(toMs, tool.fromMs + tool.ms)
    if (endMs <= beginMs) continue
    sumMs += endMs - beginMs
    doneMs = endMs
  }
  return sumMs
}
