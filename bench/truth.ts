import { FRAME_MS } from '../src/core/units.js'
import type { Percentiles } from './kit/histogram.js'
import { FOLLOWING_MESSAGE_MS_MAX, RESUMED_MESSAGE_MS_MAX, hasBackend, isConversation } from './protocol.js'
import type { BackendFacts, GeneratorResult, ServerPauses, TruthFacts } from './protocol.js'
import { TURN_MS } from './generator/conversation.js'
import type { CaseOptions } from './results.js'
import type { Subject } from './subjects.js'

/** Maximum share of measured frames below 30 dB. Only the fade of a rare underrun may be below. */
const POOR_SHARE_MAX = 0.01
/**
 * Maximum share of lost and added frames after a stall. Without a stall, no frame may be lost or added. Voice detection
 * regards a steady tone as line noise, so after a stall the jitter buffer catches up by dropping frames of it, which is
 * intended: one frame per call for each 20 ms. Above this share, it is no longer the same audio. The results contain
 * the counted numbers.
 */
const ASTRAY_AFTER_STALL_SHARE_MAX = 0.005
/**
 * Maximum share of lost and added frames after a stall, in callers' turns. Turns are speech: the jitter buffer inserts
 * frames into it, and drops frames only when there is silence again.
 */
const TURNS_ASTRAY_AFTER_STALL_SHARE_MAX = 0.015
/**
 * Minimum duration in ms of a stall: a process did not run for longer than a frame. The event loop's own measurement
 * adds its resolution of 10 ms.
 */
const STALL_MS = 20
const LOOP_RESOLUTION_MS = 10
/** Share of interruptions that must stop the agent. */
const STOPPED_SHARE_MIN = 0.99

/** Adds up the results of all generators. */
export function addTruth(results: readonly GeneratorResult[]): TruthFacts {
  const sum = (pick: (truth: TruthFacts) => number): number =>
    results.reduce((total, result) => total + pick(result.truth), 0)
  const snrs = results.map((result) => result.truth.snrDbMedian).filter((snr) => snr !== null)
  return {
    framesLost: sum((truth) => truth.framesLost),
    framesAdded: sum((truth) => truth.framesAdded),
    markersSeen: sum((truth) => truth.markersSeen),
    gapsUnasked: sum((truth) => truth.gapsUnasked),
    snrDbMedian: snrs.length === 0 ? null : Math.min(...snrs),
    blocksPoor: sum((truth) => truth.blocksPoor),
    blocksSeen: sum((truth) => truth.blocksSeen),
  }
}

/**
 * True if a process of the run did not run for longer than a frame. If the server does not report pauses, this is
 * unknown and counts as true.
 */
export function stoodStill(pauses: ServerPauses | null, lateness: Percentiles | null): boolean {
  return (
    pauses === null || pauses.loopMaxMs > STALL_MS + LOOP_RESOLUTION_MS || lateness === null || lateness.max > STALL_MS
  )
}

/** Number of frames that the server sends to its backend in one message; null if this number follows the call. */
export function framesInMessage(
  subject: Subject,
  { level, messageMs }: Pick<CaseOptions, 'level' | 'messageMs'>,
): number | null {
  return messageMs === null || !hasBackend(level) ? subject.messageFrames(level) : messageMs / FRAME_MS
}

/** Faults in the audio of a run; empty if the audio is correct. */
export function untruths(
  subject: Subject,
  options: CaseOptions,
  results: readonly GeneratorResult[],
  backend: BackendFacts | null,
  stalled: boolean,
): readonly string[] {
  const truth = addTruth(results)
  const wrong: string[] = []
  const say = (count: number, what: string): void => {
    if (count > 0) wrong.push(`${count} ${what}`)
  }
  say(
    results.reduce((total, result) => total + result.callsLost, 0),
    'calls lost their socket',
  )
  say(truth.gapsUnasked, 'gaps over 40 ms')
  if (options.level !== 'L3') {
    const sent = results.reduce((total, result) => total + result.framesSent, 0)
    const astray = truth.framesLost + truth.framesAdded
    if (astray > (stalled ? sent * ASTRAY_AFTER_STALL_SHARE_MAX : 0)) {
      wrong.push(
        `of ${sent} frames ${truth.framesLost} were lost and ${truth.framesAdded} added${stalled ? '' : ', and nothing had stood still'}`,
      )
    }
  }
  if (truth.markersSeen === 0) wrong.push('no marker came back')
  if (truth.snrDbMedian === null || truth.blocksSeen === 0) wrong.push('no tone came back')
  else if (truth.snrDbMedian < subject.snrDbMin)
    wrong.push(`SNR of ${truth.snrDbMedian.toFixed(1)} dB, at least ${subject.snrDbMin} wanted`)
  if (truth.blocksPoor > truth.blocksSeen * POOR_SHARE_MAX)
    wrong.push(`${truth.blocksPoor} of ${truth.blocksSeen} frames under 30 dB`)
  if (options.level === 'L3') {
    const tried = results.reduce((total, result) => total + result.bargeIns.tried, 0)
    const stopped = results.reduce((total, result) => total + result.bargeIns.stopped, 0)
    if (tried === 0) wrong.push('no interruption fell into the run: let it last longer')
    else if (stopped < tried * STOPPED_SHARE_MIN)
      wrong.push(`${tried - stopped} of ${tried} interruptions did not stop the agent`)
  }
  if (backend !== null) {
    if (isConversation(options.level)) {
      if (backend.turns === 0) wrong.push('the backend heard no turn')
      const offMsMax = stalled ? backend.turns * TURN_MS * TURNS_ASTRAY_AFTER_STALL_SHARE_MAX : 0
      if (backend.turnsOffMs > offMsMax)
        wrong.push(
          `the backend heard ${backend.turnsWrong} of ${backend.turns} turns wrong, by ${backend.turnsOffMs.toFixed(0)} ms in all`,
        )
    }
    say(backend.answersWrong, 'answers did not reach the voice word by word')
    if (backend.sessions < options.calls) wrong.push(`the backend had ${backend.sessions} sessions`)
    // The recogniser of a cascade accepts messages of any length.
    if (options.level === 'L2-cascade') return wrong
    const frames = framesInMessage(subject, options)
    if (frames !== null && backend.appendMs !== frames * FRAME_MS)
      wrong.push(`the backend got messages of ${backend.appendMs} ms, ${frames * FRAME_MS} expected`)
    const { appendMsMin, appendMsMax } = backend
    const follows = appendMsMin === FRAME_MS && appendMsMax >= FOLLOWING_MESSAGE_MS_MAX
    if (frames === null && !(follows && appendMsMax <= RESUMED_MESSAGE_MS_MAX))
      wrong.push(
        `the backend got messages of ${appendMsMin} to ${appendMsMax} ms, ${FRAME_MS} to ${FOLLOWING_MESSAGE_MS_MAX} expected, and ${RESUMED_MESSAGE_MS_MAX} after silence`,
      )
  }
  return wrong
}
