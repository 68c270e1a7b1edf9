import { saysNotUnderstood } from '../spoken/not-understood-cues.js'
import { streamOpenedMs } from './call-view.js'
import type { CallRecord, CallServed, TranscriptEntry, TurnRecord } from './record.js'

/** Timeline marks of requests that the gateway itself fulfils. */
const DONE_MARKS: ReadonlySet<string> = new Set(['do-not-call', 'callback-noted'])
/**
 * Maximum time by which an answer's words may begin in the transcript before the answer's first sample, in
 * milliseconds.
 */
const ANSWER_WORDS_EARLY_MS = 300
/** Matches an entry that the caller pressed as DTMF digits; a secret digit is shown as a dot. */
const KEYED = /^[\d*#•\s]+$/
/** Rounding error in milliseconds, because times of entries and marks are rounded separately. */
const ROUNDED_MS = 1

type ServedFacts = Pick<
  CallRecord,
  'outcome' | 'transcript' | 'toolCalls' | 'turns' | 'waits' | 'escalation' | 'timeline'
> & { readonly audio: Pick<CallRecord['audio'], 'dtmf'> }

/**
 * Result of a call for its caller. A human comes before an effect, and an effect before an answer. An answer counts
 * unless it only asked the caller to repeat.
 */
export function servedOf(record: ServedFacts): CallServed {
  const { outcome, transcript, toolCalls, turns, waits, escalation, timeline, audio } = record
  const openedMs = streamOpenedMs(timeline)
  if (outcome === 'refused' || outcome === 'unreached' || openedMs === null) return 'not-connected'
  // If a call back was stored, the escalation also has the outcome `answered`.
  if (escalation?.outcome === 'answered' && escalation.strategy !== 'callback') return 'human'
  const isDone =
    toolCalls.some(({ ok, effect }) => ok && effect === true) ||
    waits.some(({ status }) => status === 'succeeded') ||
    escalation?.callback != null ||
    timeline.some(({ name }) => DONE_MARKS.has(name))
  if (isDone) return 'done'
  const marksOf = (mark: string) => timeline.flatMap(({ name, atMs }) => (name === mark ? [atMs - openedMs] : []))
  const heldMs = marksOf('put-on-hold')
  const missedMs = marksOf('not-understood').filter((atMs) => !heldMs.some((ms) => isMusic(atMs, ms, transcript)))
  if (transcript.some((_, at) => isKeyedAnswered(transcript, at, missedMs))) return 'answered'
  if (turns.some((turn) => isUnderstood(turn, transcript, missedMs))) return 'answered'
  if (turns.length === 0 && missedMs.length === 0 && keysAnswered(transcript)) return 'answered'
  const spoke = turns.length > 0 || audio.dtmf > 0 || transcript.some(({ role }) => role === 'caller')
  if (missedMs.length > 0 || turns.some(({ answerMs }) => answerMs !== null)) return 'not-understood'
  return spoke ? 'not-answered' : 'nothing-asked'
}

/**
 * True if the sound without words at `missedMs` was hold music: a hold followed, and the caller did not say anything
 * before the hold.
 */
function isMusic(missedMs: number, heldMs: number, transcript: readonly TranscriptEntry[]): boolean {
  if (heldMs < missedMs) return false
  return !transcript.some(({ role, endMs }) => role === 'caller' && endMs > missedMs && endMs <= heldMs)
}

/** True if the turn was answered and the answer did not ask the caller to repeat. */
function isUnderstood(
  { callerStoppedMs, answerMs }: TurnRecord,
  transcript: readonly TranscriptEntry[],
  missedMs: readonly number[],
): boolean {
  if (answerMs === null) return false
  const answeredMs = callerStoppedMs + answerMs
  if (missedMs.some((atMs) => atMs >= callerStoppedMs && atMs <= answeredMs)) return false
  const answer = transcript.find(
    ({ role, startMs }) =>
      role === 'agent' && startMs >= callerStoppedMs && startMs >= answeredMs - ANSWER_WORDS_EARLY_MS,
  )
  return answer === undefined || !saysNotUnderstood(answer.text)
}

/**
 * True for an entry in DTMF digits that the agent's next words answer. False if the agent did not understand the entry.
 */
function isKeyedAnswered(transcript: readonly TranscriptEntry[], at: number, missedMs: readonly number[]): boolean {
  const entry = transcript[at]
  if (entry?.role !== 'caller' || !KEYED.test(entry.text)) return false
  const answer = transcript.slice(at + 1).find(({ role }) => role === 'agent')
  if (answer === undefined || saysNotUnderstood(answer.text)) return false
  return !missedMs.some((atMs) => atMs >= entry.endMs - ROUNDED_MS && atMs <= answer.startMs)
}

/**
 * True if the agent said something after the caller's digits. This check is necessary because digits are not a turn.
 */
function keysAnswered(transcript: readonly TranscriptEntry[]): boolean {
  const first = transcript.findIndex(({ role }) => role === 'caller')
  return first >= 0 && transcript.slice(first).some(({ role, text }) => role === 'agent' && !saysNotUnderstood(text))
}
