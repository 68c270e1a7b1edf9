import type { CallSessionOptions } from '../call-options.js'
import { AdaptivePause, deciderOf } from '../turns/end-of-turn.js'
import { PauseWatch } from '../turns/pause-watch.js'
import type { WatchedPause } from '../turns/pause-watch.js'
import type { LearnedModel } from '../turns/learned-pause.js'
import { LEARNED_PAUSE_MS_MIN } from '../turns/turn-learning.js'
import type { JudgedPause } from '../turns/turn-learning.js'
import { replayJournal } from './replay.js'

/**
 * Time after the start of the agent's answer, in milliseconds. If the caller speaks in this time, the agent answered
 * too early.
 */
const TOO_EARLY_MS = 1500
/**
 * Maximum length of silence that is a pause, in milliseconds. After a longer silence without an answer, it is unknown
 * if the caller paused or waited.
 */
const PAUSE_MS_MAX = 2000

/** Pauses of one session: a part of a recorded call with one agent on one worker. */
interface SessionPauses {
  readonly options: Pick<CallSessionOptions, 'agent' | 'serverVad' | 'languages'>
  readonly pauses: readonly JudgedPause[]
}

/**
 * Returns the pauses of a recorded call, as this version's code detects them. Each pause has a result: the caller
 * continued, or the turn was over. The caller continued if they spoke before the agent, or within 1.5 s after the agent
 * began.
 * @param model  model that decides in addition to the rules; null without a model
 * @returns the pauses by session: a call has several sessions if another agent, worker or node continued it
 * @throws GatewayError JOURNAL_INVALID in the same cases as `replayJournal`
 */
export function pausesOfCall(lines: Iterable<string>, model: LearnedModel | null): readonly SessionPauses[] {
  const sessions: { readonly options: CallSessionOptions; readonly watch: PauseWatch }[] = []
  const { recorded } = replayJournal(lines, {
    turns: (options, { nowMs, agentTalks }) => {
      const { speech } = options
      const rules = new AdaptivePause({ ...speech, learned: null }, true)
      const others = model === null ? [] : [new AdaptivePause({ ...speech, learned: model })]
      const acting = deciderOf(speech)
      const watch = new PauseWatch({ acting, compared: [rules, ...others], nowMs, counts: () => !agentTalks() })
      sessions.push({ options, watch })
      return watch
    },
  })
  const soundsMs = recorded
    .filter(({ output }) => output.type === 'mark' && output.name === 'agent-sound')
    .map(({ atMs }) => atMs)
  return sessions.map(({ options, watch }) => ({
    options,
    pauses: watch.pauses.flatMap((pause) => {
      const lengthMs = lengthOf(pause, soundsMs, options.speech.realSpeechMs)
      return lengthMs === null || lengthMs < LEARNED_PAUSE_MS_MIN ? [] : [{ ...pause, lengthMs }]
    }),
  }))
}

/**
 * @param realMs  minimum duration of voice in ms that is not a cough
 * @returns the length of the pause; Infinity for the end of a turn; null if unknown
 */
function lengthOf(
  { fromMs, resumedMs, resumedVoiceMs }: WatchedPause,
  soundsMs: readonly number[],
  realMs: number,
): number | null {
  const agentMs = soundsMs.find((atMs) => atMs > fromMs) ?? Infinity
  if (resumedMs === null) return agentMs === Infinity ? null : Infinity
  const lengthMs = resumedMs - fromMs
  if (resumedMs < agentMs) return lengthMs <= PAUSE_MS_MAX ? lengthMs : null
  return resumedMs <= agentMs + TOO_EARLY_MS && resumedVoiceMs >= realMs ? lengthMs : Infinity
}
