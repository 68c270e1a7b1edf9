import type { CallLogEntry } from '../../call/documents/log-entry.js'
import type { CallOutput } from '../../call/events.js'
import type { FrameDifference, TimedOutput } from '../../call/journal/replay.js'
import type { OutputDifference } from '../../call/journal/replay-diff.js'

/** Result of replaying one recorded call. */
export interface ReplayVerdict {
  readonly file: string
  readonly callSid: string
  readonly agent: string
  /** Version that recorded the call. */
  readonly build: string
  readonly entries: number
  readonly frames: number
  readonly outputs: number
  readonly spanMs: number
  readonly tookMs: number
  /** Time at which the call was prepared, on the journal's clock in ms. The report counts its times from this time. */
  readonly startMs: number
  /** True if the journal contains the caller's audio. */
  readonly audio: boolean
  /** True if the replay was equal to the recording. */
  readonly same: boolean
  readonly differences: readonly OutputDifference[]
  readonly frameDifferences: readonly FrameDifference[]
}

/** Maximum number of differences that are shown for one call. */
const SHOWN_MAX = 40

/** Output of `mkondo replay`. */
export function replayReport(verdicts: readonly ReplayVerdict[], all: boolean): string {
  const lines = verdicts.flatMap((verdict) => callLines(verdict, all))
  if (verdicts.length > 1)
    lines.push(`${verdicts.filter(({ same }) => same).length} of ${verdicts.length} calls ran as they were recorded.`)
  return lines.join('\n')
}

function callLines(verdict: ReplayVerdict, all: boolean): readonly string[] {
  const { file, agent, spanMs, tookMs, outputs, frames, audio } = verdict
  const times = tookMs > 0 ? Math.round(spanMs / tookMs) : 0
  const head =
    `${file}: ${agent}, ${(spanMs / 1000).toFixed(1)} s of a call in ${(tookMs / 1000).toFixed(2)} s (${times} times real time), ` +
    `${frames} frames${audio ? ' with audio' : ''}, ${outputs} outputs`
  if (verdict.same) return [head, '  identical']
  const { differences, frameDifferences } = verdict
  const shown = all ? SHOWN_MAX : 3
  return [
    head,
    ...(frameDifferences.length === 0
      ? []
      : [
          `  ${frameDifferences.length} frames differ, the first at ${at(verdict.startMs, frameDifferences[0]?.atMs ?? 0)}`,
        ]),
    ...(differences.length === 0 ? ['  the same decisions'] : [`  ${differences.length} outputs differ:`]),
    ...differences.slice(0, shown).map((difference) => `    ${differenceLine(verdict.startMs, difference)}`),
    ...(differences.length > shown
      ? [`    … and ${differences.length - shown} more${all ? '' : ' (--diff shows them)'}`]
      : []),
    ...(differences.length === 0
      ? []
      : [
          '  From the first difference on, backend, tools and carrier do what was recorded, not what they would do now.',
        ]),
  ]
}

/**
 * Line about a difference. It does not contain words of the call.
 * @param startMs  start time from the verdict
 */
export function differenceLine(startMs: number, difference: OutputDifference): string {
  switch (difference.kind) {
    case 'gone':
      return `- ${timed(startMs, difference.was)}`
    case 'new':
      return `+ ${timed(startMs, difference.is)}`
    case 'moved': {
      const byMs = difference.is.atMs - difference.was.atMs
      return `~ ${timed(startMs, difference.was)}, now ${Math.abs(byMs).toFixed(0)} ms ${byMs < 0 ? 'earlier' : 'later'}`
    }
  }
}

function timed(startMs: number, { atMs, output }: TimedOutput): string {
  return `${at(startMs, atMs)}  ${outputName(output)}`
}

/** Time since the webhook, as a call record gives it. */
function at(startMs: number, atMs: number): string {
  return `${((atMs - startMs) / 1000).toFixed(3).padStart(8)} s`
}

/** Line about an output. It does not contain words of the call. */
export function outputName(output: CallOutput): string {
  switch (output.type) {
    case 'mark':
      // The name of a turn's end also contains the figures by which the gateway decided it.
      return output.name === 'caller-speech-end' && output.detail !== undefined
        ? `mark ${output.name}: ${output.detail}`
        : `mark ${output.name}`
    case 'announce':
      return `announce ${output.kind}`
    case 'run-tool':
      return `run-tool ${output.name}`
    case 'log':
      return logged(output.entry)
    case 'backend-interrupt':
      return `backend-interrupt after ${ms(output.playedMs)} heard`
    case 'end-stream':
      return `end-stream ${output.reason}`
    case 'ended':
      return `ended ${output.outcome}, ${output.reason}`
    default:
      return output.type
  }
}

function logged(entry: CallLogEntry): string {
  switch (entry.kind) {
    case 'transcript':
      return `transcript of the ${entry.record.role}`
    case 'tool-call':
      return `tool-call ${entry.record.name} ${entry.end}`
    case 'turn':
      return `turn: first sound ${ms(entry.record.firstSoundMs)}, answer ${ms(entry.record.answerMs)}`
    case 'barge-in':
      return `barge-in ${entry.record.committed ? 'committed' : 'not committed'}, stopped after ${ms(entry.record.stopMs)}`
    case 'claim':
      return `claim of ${entry.record.tool ?? 'no tool'}: ${entry.record.verdict}`
    case 'stage':
      return `stage ${entry.record.stage}: ${entry.record.why}`
    case 'handover':
      return `handover to ${entry.record.to}`
    case 'fact':
      return `fact ${entry.record.name}`
    case 'turn-played':
      return `turn played: first sound ${ms(entry.ear.firstSoundMs)}, answer ${ms(entry.ear.answerMs)}`
  }
}

function ms(value: number | null): string {
  return value === null ? 'never' : `${value.toFixed(0)} ms`
}
