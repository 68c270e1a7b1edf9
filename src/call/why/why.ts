import type { CallRecord, TimelineMark } from '../documents/record.js'
import { streamOpenedMs } from '../documents/call-view.js'
import { isSilentTurn } from '../turns/heard-turns.js'
import { USUAL_VALUES_MIN, causeOf, clock, times, took } from './call-cause.js'
import type { Cause } from './call-cause.js'
import { turnStepsOf } from './turn-steps.js'
import type { TurnSteps } from './turn-steps.js'
import { spansOf } from './usual.js'
import type { Usual } from './usual.js'

/** Maximum number of entries in each list. The slowest turns and the newest decisions are kept. */
const TURNS_TOLD_MAX = 20
const DECISIONS_TOLD_MAX = 40
/**
 * An unusual value is greater than the median by this factor. It is also greater than the 95th percentile of the usual
 * values.
 */
const UNUSUAL_TIMES = 1.5
/** Minimum difference of an unusual value, in milliseconds; callers do not notice smaller differences. */
const UNUSUAL_MS_MIN = 150
const QUOTE_CHARS_MAX = 60

/** A sentence of the page with its time in the call, in milliseconds since the webhook. */
interface WhyLine {
  readonly atMs: number
  readonly text: string
}

/** A value that is above the agent's usual values. */
interface Unusual {
  /** Name of the value, as in `CallSpans`. */
  readonly name: string
  readonly ms: number
  readonly p50Ms: number
  readonly p95Ms: number
  readonly text: string
}

/** Explanation of an ended call: `GET /api/calls/{sid}/why`. Times are whole milliseconds. */
export interface WhyView {
  readonly version: 1
  readonly callSid: string
  readonly agent: string
  readonly startedAt: string
  readonly outcome: CallRecord['outcome']
  readonly served: CallRecord['served']
  readonly endReason: CallRecord['endReason']
  readonly cause: Cause
  /** Waits for answers, in order. */
  readonly turns: readonly (TurnSteps & { readonly text: string })[]
  /** Number of turns that were left out because they were faster. */
  readonly turnsLeftOut: number
  readonly unusual: readonly Unusual[]
  /** Unusual events that are not compared with other calls, such as another voice on the line. */
  readonly remarks: readonly WhyLine[]
  /** Decisions of the gateway. `rule` is the name of the decision's timeline mark. */
  readonly decisions: readonly (WhyLine & { readonly rule: string })[]
  /** Speech of the agent that the caller did not hear, or heard only in part. */
  readonly unheard: readonly WhyLine[]
  /**
   * Usual values of the agent's earlier calls. Null without an index of calls, or if the token is limited to some numbers.
   */
  readonly usual: Usual | null
}

/**
 * Returns the explanation of an ended call.
 * @param usual  usual values of its agent's earlier calls; null if unknown
 */
export function whyOf(record: CallRecord, usual: Usual | null): WhyView {
  const { callSid, agent, startedAt, outcome, endReason, timeline, backend } = record
  const turns = turnStepsOf({ ...record, zeroMs: streamOpenedMs(timeline) ?? 0 })
  const told = turns.length <= TURNS_TOLD_MAX ? turns : slowest(turns)
  return {
    ...{ version: 1, callSid, agent, startedAt, outcome, served: record.served ?? null, endReason },
    cause: causeOf(record, turns, usual),
    turns: told.map((turn) => ({ ...turn, text: turnText(turn, backend, usual) })),
    turnsLeftOut: turns.length - told.length,
    unusual: usual === null ? [] : unusualOf(record, usual),
    remarks: otherVoiceOf(timeline),
    decisions: timeline.flatMap(decisionOf).slice(-DECISIONS_TOLD_MAX),
    unheard: unheardOf(record),
    usual,
  }
}

function slowest(turns: readonly TurnSteps[]): TurnSteps[] {
  return [...turns]
    .sort((a, b) => b.untilMs - b.stoppedAtMs - (a.untilMs - a.stoppedAtMs))
    .slice(0, TURNS_TOLD_MAX)
    .sort((a, b) => a.turn - b.turn)
}

function turnText(turn: TurnSteps, backend: string, usual: Usual | null): string {
  const { stoppedAtMs, untilMs, isAnswered, firstSoundMs, endOfTurnMs, wordsMs, modelWordsMs, tools, parts } = turn
  const waitMs = untilMs - stoppedAtMs
  const steps = [
    ...(endOfTurnMs === null ? [] : [`the end of the turn was detected ${took(endOfTurnMs)} later`]),
    ...(wordsMs === null ? [] : [`the recogniser's last words came after ${took(wordsMs)}`]),
    ...(modelWordsMs === null ? [] : [`the first words of ${backend} after ${took(modelWordsMs)}`]),
    ...tools.map(
      ({ name, ms, ok }) =>
        `the tool ${name} took ${took(ms)}${timesUsual(`tool ${name}`, ms, usual)}${ok ? '' : ' and failed'}`,
    ),
    ...(firstSoundMs === null || firstSoundMs >= waitMs ? [] : [`a first sound was sent after ${took(firstSoundMs)}`]),
  ]
  const answer = isAnswered
    ? `the answer was sent after ${took(waitMs)}${timesUsual('answer', waitMs, usual)}`
    : `no answer was sent in ${took(waitMs)}`
  const share = isAnswered
    ? `, of which ${backend} took ${took(parts.backendMs)}${timesUsual('backend', parts.backendMs, usual)}`
    : ''
  return `The caller stopped at ${clock(stoppedAtMs)}; ${[...steps, `${answer}${share}`].join('; ')}.`
}

/** Returns `, 2.1 times its usual` for an unusual value; otherwise ''. */
function timesUsual(name: string, ms: number, usual: Usual | null): string {
  const known = usual?.of[name]
  return known !== undefined && isUnusual(ms, known) ? `, ${(ms / known.p50Ms).toFixed(1)} times its usual` : ''
}

function isUnusual(ms: number, { values, p50Ms, p95Ms }: Usual['of'][string]): boolean {
  return (
    values >= USUAL_VALUES_MIN && p50Ms > 0 && ms > p95Ms && ms >= UNUSUAL_TIMES * p50Ms && ms - p50Ms >= UNUSUAL_MS_MIN
  )
}

const NAMES: Readonly<Record<string, string>> = {
  greeting: 'The greeting',
  answer: 'The slowest answer',
  endOfTurn: "The longest wait for the end of the caller's turn",
  backend: 'The longest wait for the backend',
}

/** Returns the greatest value for each name, if that value is unusual. */
function unusualOf(record: CallRecord, usual: Usual): Unusual[] {
  return Object.entries(spansOf(record)).flatMap(([name, values]) => {
    const known = usual.of[name]
    const ms = Math.max(...values)
    if (known === undefined || !isUnusual(ms, known)) return []
    const { p50Ms, p95Ms } = known
    const what = NAMES[name] ?? `The slowest call of the ${name}`
    const text = `${what} took ${took(ms)}, ${(ms / p50Ms).toFixed(1)} times its usual (median ${took(p50Ms)}, 95 % within ${took(p95Ms)}, ${usual.calls} calls).`
    return [{ name, ms, p50Ms, p95Ms, text }]
  })
}

/**
 * Returns the sentence about another voice on the line, with the time of the voice's first mark. A quieter voice counts
 * if another person was known, unless the voice proved to be the caller's.
 */
function otherVoiceOf(timeline: readonly TimelineMark[]): WhyLine[] {
  const heard: TimelineMark[] = []
  for (const mark of timeline) {
    if (mark.name === 'words-of-another') heard.push(mark)
    else if (mark.name === 'quieter-voice' && mark.detail?.includes('another voice') === true) heard.push(mark)
    else if (mark.name === 'level-forgotten' && heard.at(-1)?.name === 'quieter-voice') heard.pop()
  }
  const [first] = heard
  if (first === undefined) return []
  const words = heard.filter(({ name }) => name === 'words-of-another').length
  const unanswered = words > 0 ? `; its words were not answered (${times(words)})` : ''
  return [{ atMs: first.atMs, text: `Another voice than the caller's was on the line${unanswered}.` }]
}

/**
 * Sentence for each mark of a decision; the mark's detail follows the sentence. Details with words of the call are left
 * out.
 */
const DECISIONS: Readonly<Record<string, string>> = {
  'budget-step': 'The daily budget of the number changed the call',
  'greeting-overdue': 'The gateway spoke the greeting, because the backend had not',
  'caller-late': 'The greeting did not wait for the look-up of the caller',
  'answered-by': 'The gateway classified the answering party',
  'barge-in': 'The caller interrupted the agent',
  'barge-in-resume': 'A sound over the agent was not an interruption',
  'quieter-voice': 'A voice was classified as the voice of another person',
  'words-of-another': 'Words were classified as the words of another person, and were not answered',
  'not-understood': 'The caller was not understood',
  'asked-to-wait': 'The caller asked for a moment',
  'put-on-hold': 'The caller had put the agent on hold',
  'silence-prompt': 'The silent caller was asked if they were there',
  'tool-refused': 'A tool was not run',
  'tool-repeated': 'A tool call was not repeated, because its outcome was known',
  'tool-uncertain': 'A tool call was not repeated, because it was unknown if the first one had an effect',
  'tool-unstored': 'A tool was not run, because the call store did not answer',
  'verification-locked': 'The verification of the number was locked',
  'verification-refused': 'An answer of the verification was not compared',
  stage: 'The call entered a stage',
  handover: 'Another agent took the call over',
  language: 'The language of the call changed',
  'backend-error': 'The backend reported an error',
  'backend-failover': 'Another backend took over',
  'backend-failed': 'The backend was given up',
  'backend-holding': 'The caller heard a filler, because the next backend was not ready yet',
  'response-failed': 'An answer of the backend failed',
  'answer-missing': 'The backend gave no answer, and the caller heard an apology',
  'answer-cut': 'The service cut an answer short',
  escalation: 'An escalation to a human began',
  'escalation-attempt': 'A human was rung',
  'escalation-settled': 'The escalation was settled',
  'escalation-refused': 'An escalation was refused',
  'escalation-failed': 'The escalation failed',
  'callback-noted': 'A call back was noted',
  'callback-refused': 'A call back was refused',
  'worker-lost': 'The media worker of the call was lost',
  'node-lost': 'The node of the call was lost',
  'stream-lost': 'The stream of the call was lost',
  'stream-offered-again': 'The carrier could not open the stream, and another stream was offered',
  'do-not-call': 'The number of the caller was added to the do-not-call list',
}
/** Marks whose details may contain words of the caller or of a model. */
const WORDED: ReadonlySet<string> = new Set(['escalation-failed', 'language', 'backend-failed'])

function decisionOf({ name, atMs, detail }: TimelineMark): WhyView['decisions'] {
  const text = DECISIONS[name]
  if (text === undefined) return []
  // The part after the comma contains words of the carrier.
  const own = name === 'escalation-settled' ? detail?.replace(/,.*$/s, '') : detail
  const more = own === undefined || WORDED.has(name) ? '' : `: ${own}`
  return [{ atMs, rule: name, text: `${text}${more}.` }]
}

function unheardOf({ transcript, timeline, speech = [] }: CallRecord): WhyLine[] {
  const zeroMs = streamOpenedMs(timeline) ?? 0
  const cut = transcript.flatMap(({ role, text, startMs, endMs, interrupted, playedMs }) => {
    if (role !== 'agent' || interrupted !== true) return []
    const heard = playedMs === undefined ? 'a part' : took(playedMs)
    return [
      {
        atMs: zeroMs + startMs,
        text: `The caller heard ${heard} of ${quoted(text)}, which was interrupted at ${clock(zeroMs + endMs)}.`,
      },
    ]
  })
  const silent = speech.filter(isSilentTurn).map(({ atMs, by, claimedMs, heardMs }) => ({
    atMs: zeroMs + atMs,
    text: `Of ${took(claimedMs)} of speech by ${by} the caller could hear ${took(heardMs)}.`,
  }))
  return [...cut, ...silent].sort((a, b) => a.atMs - b.atMs)
}

function quoted(text: string): string {
  if (text === '') return 'a sentence'
  return `“${text.length > QUOTE_CHARS_MAX ? `${text.slice(0, QUOTE_CHARS_MAX)}…` : text}”`
}
