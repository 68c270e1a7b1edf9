import { FRAME_MS } from '../../src/core/units.js'
import { TICK_MS, type Tick } from './panel.js'

export type SaidKind = 'turn' | 'interruption' | 'backchannel' | 'tic' | 'others'

/** One sound of the caller. Frames are 20 ms and count from the call's beginning. */
export interface SaidClip {
  readonly kind: SaidKind
  readonly name: string
  /** True if the sound was planned for a time when the agent speaks. */
  readonly over: boolean
  /** `fromFrame`: first voiced frame. `toFrame`: first frame after the last voiced frame. */
  readonly fromFrame: number
  readonly toFrame: number
}

/** One call, recorded at the caller's end. */
export interface HeardCall {
  /** RMS of the agent in each frame that the carrier played to the caller. */
  readonly agentRms: readonly number[]
  readonly said: readonly SaidClip[]
}

/** RMS below which a frame is silent: -50 dBFS. */
export const AUDIBLE_RMS = 104
/** Minimum reduction in dB that counts as ducking: 12 dB, less the variation of the agent's voice. */
const DUCKED_DB = 9
const DUCKED_FRAMES = 3
const STOPPED_FRAMES = 10
/** Number of frames before the caller's sound in which the agent's level is measured. */
const BEFORE_FRAMES = 50
/** Number of frames after the start of the sound in which the agent may react. Later changes have other reasons. */
const LOOK_FRAMES = 100
const TICK_FRAMES = TICK_MS / FRAME_MS

/**
 * Ticks of a call, from which the figures are calculated. Sounds in silence that are not turns count as effects, not as
 * utterances.
 */
export function ticksOf({ agentRms, said }: HeardCall): readonly Tick[] {
  return Array.from({ length: Math.floor(agentRms.length / TICK_FRAMES) }, (_, tick) => {
    const [from, to] = [tick * TICK_FRAMES, (tick + 1) * TICK_FRAMES]
    const now = said.filter(({ fromFrame, toFrame }) => fromFrame < to && toFrame > from)
    const isEffect = ({ kind, over }: SaidClip): boolean => (kind === 'tic' || kind === 'others') && !over
    return {
      caller: now.some((one) => !isEffect(one)),
      agent: agentRms.slice(from, to).some((rms) => rms >= AUDIBLE_RMS),
      backchannel: now.some(({ kind, fromFrame }) => kind === 'backchannel' && fromFrame >= from),
      effects: now.flatMap(({ kind, name }) => (kind === 'tic' || kind === 'others' ? [{ kind, text: name }] : [])),
    }
  })
}

/** Tick in which a sound begins. */
export const tickOf = ({ fromFrame }: SaidClip): number => Math.floor(fromFrame / TICK_FRAMES)

/**
 * Times in ms from a sound's first voiced sample to the reaction of the agent's voice; null if there was no reaction
 * within 2 s.
 */
interface StopTimes {
  /** Until the voice was 12 dB softer, or silent. */
  readonly duckedMs: number | null
  /** Silent for 200 ms. */
  readonly stoppedMs: number | null
  /** Duration in ms without the agent's voice in the 2 s after the start of the sound. */
  readonly mutedMs: number
}

/** @returns null if the agent was not audible when the sound began */
export function stopTimes({ agentRms }: HeardCall, { fromFrame }: SaidClip): StopTimes | null {
  const before = agentRms.slice(Math.max(0, fromFrame - BEFORE_FRAMES), fromFrame).filter((rms) => rms >= AUDIBLE_RMS)
  const window = agentRms.slice(fromFrame, fromFrame + LOOK_FRAMES)
  if (
    before.length === 0 ||
    !agentRms.slice(Math.max(0, fromFrame - 3), fromFrame + 1).some((rms) => rms >= AUDIBLE_RMS)
  )
    return null
  const level = before.toSorted((a, b) => a - b)[Math.floor(before.length / 2)] as number
  return {
    duckedMs: firstRun(window, level / 10 ** (DUCKED_DB / 20), DUCKED_FRAMES),
    stoppedMs: firstRun(window, AUDIBLE_RMS, STOPPED_FRAMES),
    mutedMs: window.filter((rms) => rms < AUDIBLE_RMS).length * FRAME_MS,
  }
}

/**
 * Time in ms from the end of a turn to the agent's first sound; null if the caller spoke before the agent, or the agent
 * did not speak.
 */
export function answerMs({ agentRms, said }: HeardCall, turn: SaidClip): number | null {
  const next = said.find(({ fromFrame }) => fromFrame > turn.fromFrame)?.fromFrame ?? Infinity
  const at = agentRms.findIndex((rms, i) => i >= turn.toFrame && rms >= AUDIBLE_RMS)
  return at < 0 || at >= next ? null : (at - turn.toFrame) * FRAME_MS
}

/** Time in ms of the first `frames` successive frames below a limit; null if there are none. */
function firstRun(rms: readonly number[], below: number, frames: number): number | null {
  let run = 0
  for (const [i, value] of rms.entries()) {
    run = value < below ? run + 1 : 0
    if (run === frames) return (i + 1 - frames) * FRAME_MS
  }
  return null
}

/** Maximum number of silent frames in a gap within the agent's speech. */
const SPAN_GAP_FRAMES = 4

/** Periods in which the agent was audible, in ms of the call. */
export function agentSpans({ agentRms }: HeardCall): readonly (readonly [fromMs: number, toMs: number])[] {
  const spans: [number, number][] = []
  for (const [i, rms] of agentRms.entries()) {
    if (rms < AUDIBLE_RMS) continue
    const last = spans.at(-1)
    if (last !== undefined && i * FRAME_MS - last[1] <= SPAN_GAP_FRAMES * FRAME_MS) last[1] = (i + 1) * FRAME_MS
    else spans.push([i * FRAME_MS, (i + 1) * FRAME_MS])
  }
  return spans
}
