import { ERRORS } from '../../core/error-codes.js'
import type { CallRecord, CallRefusal } from '../documents/record.js'
import type { TurnSteps } from './turn-steps.js'
import type { Usual } from './usual.js'

/** Reference for an operator: a setting, a property of the agent's file, a runbook, or another page. */
interface About {
  readonly kind: 'setting' | 'agent' | 'runbook' | 'page'
  /** Name, such as `MAX_CALLS`, `failover.stallMs`, `docs/runbooks/capacity.md`. */
  readonly name: string
}

/** Cause of a call's end, or of a fault in the call. */
export interface Cause {
  readonly code: CauseCode
  /** One sentence that states the cause. */
  readonly text: string
  readonly about: readonly About[]
}

export const CAUSE_CODES = [
  'refused',
  'not-reached',
  'node-dead',
  'worker-dead',
  'gateway-fault',
  'model-failed',
  'model-slow',
  'tool-slow',
  'tool-failed',
  'carrier',
  'budget',
  'deaf-line',
  'unheard-agent',
  'other-voice',
  'not-understood',
  'put-on-hold',
  'no-human',
  'hung-up',
  'silent-caller',
  'limit',
  'operator',
  'good',
] as const
export type CauseCode = (typeof CAUSE_CODES)[number]

/** Minimum wait that always counts as a cause, in milliseconds, even if such a wait is usual for the agent. */
const SLOW_MS = 5000
/** Minimum wait that counts as a cause if it is unusual for the agent, in milliseconds. */
const SLOW_UNUSUAL_MS = 2500
/** An unusual wait is longer than the 95th percentile of the usual waits by this factor. */
const SLOW_TIMES = 1.5
/** Minimum number of earlier values for a comparison; fewer values are not used. */
export const USUAL_VALUES_MIN = 20
/** Minimum wait, in milliseconds, that may be the reason why a caller hung up. */
const WAITED_MS_MIN = 1500

const setting = (name: string): About => ({ kind: 'setting', name })
const agentKey = (name: string): About => ({ kind: 'agent', name })
const runbook = (name: string): About => ({ kind: 'runbook', name: `docs/runbooks/${name}.md` })
const page = (name: string): About => ({ kind: 'page', name: `docs/${name}.md` })

const REFUSALS: Readonly<Record<CallRefusal, { readonly text: string; readonly about: readonly About[] }>> = {
  capacity: { text: 'all call slots were taken', about: [setting('MAX_CALLS'), runbook('capacity')] },
  draining: { text: 'the gateway was being stopped', about: [setting('DRAIN_TIMEOUT'), runbook('drain-stuck')] },
  cordoned: { text: 'an operator had cordoned the node', about: [page('OPERATIONS')] },
  'tick-slack': { text: 'the media workers had no remaining capacity', about: [runbook('ticks-late')] },
  memory: { text: 'too little memory was free', about: [runbook('capacity')] },
  'cpu-throttling': { text: 'the CPU of the gateway was throttled', about: [runbook('cpu-throttled')] },
  'disk-full': { text: 'records could not be written to the disk', about: [runbook('recording-lost')] },
  'file-descriptors': { text: 'too few file descriptors were free', about: [runbook('descriptors-low')] },
  'agent-capacity': { text: 'the agent had its maximum number of calls', about: [agentKey('maxCalls')] },
  'agent-unknown': { text: 'there was no such agent', about: [setting('AGENTS_DIR'), setting('NUMBERS_FILE')] },
  'no-owner': { text: 'no node of the fleet took the call over in time', about: [runbook('store-down')] },
  'caller-calls': { text: 'the number of the caller had too many live calls', about: [setting('CALLER_CALLS')] },
  'caller-rate': {
    text: 'the number of the caller called too often in a minute',
    about: [setting('CALLER_CALLS_PER_MINUTE')],
  },
  'withheld-calls': {
    text: 'calls with withheld numbers used their maximum share of the slots',
    about: [setting('WITHHELD_CALLS_PERCENT')],
  },
  fault: { text: 'of a fault of the gateway', about: [runbook('call-errors')] },
}

const NOT_REACHED: Readonly<Record<NonNullable<CallRecord['outbound']>['result'], string>> = {
  person: 'the call ended before the conversation',
  machine: 'a machine answered',
  silence: 'nobody spoke after the call was answered',
  busy: 'the line was busy',
  'no-answer': 'nobody answered',
  refused: 'the call was declined',
  failed: 'the carrier could not ring',
}

/** Formats a duration: in milliseconds, or in seconds if it is at least one second. */
export function took(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}

/** Facts that the rules examine. */
interface Facts {
  readonly record: CallRecord
  readonly turns: readonly TurnSteps[]
  readonly usual: Usual | null
}

/** Returns the cause from the first rule that matches. */
export function causeOf(record: CallRecord, turns: readonly TurnSteps[], usual: Usual | null): Cause {
  const facts: Facts = { record, turns, usual }
  for (const rule of RULES) {
    const cause = rule(facts)
    if (cause !== null) return cause
  }
  return goodEnd(record)
}

type Rule = (facts: Facts) => Cause | null

const refused: Rule = ({ record: { outcome, endReason, endDetail } }) => {
  if (outcome !== 'refused' || !isRefusal(endReason)) return null
  const { text, about } = REFUSALS[endReason]
  return { code: 'refused', text: sentence(`The call was refused because ${text}`, endDetail), about }
}

const notReached: Rule = ({ record: { outcome, outbound, endDetail } }) =>
  outcome !== 'unreached'
    ? null
    : {
        code: 'not-reached',
        text: sentence(
          `The person was not reached: ${outbound === null ? 'the call was not taken' : NOT_REACHED[outbound.result]}`,
          outbound?.result === 'failed' ? endDetail : '',
        ),
        about: [page('CAMPAIGNS')],
      }

const died: Rule = ({ record }) => {
  const { endReason, endDetail, timeline } = record
  if (endReason === 'process-died')
    return {
      code: 'node-dead',
      text: sentence('The node that carried the call died', endDetail),
      about: [runbook(endDetail.startsWith('its node') ? 'takeover' : 'processes-die')],
    }
  if (endReason !== 'call-fault') return null
  const lost = timeline.filter(({ name }) => name === 'worker-lost')
  if (lost.length === 0)
    return {
      code: 'gateway-fault',
      text: sentence('A fault of the gateway ended the call', endDetail),
      about: [runbook('call-errors')],
    }
  return {
    code: 'worker-dead',
    text: sentence(`The media worker of the call died ${times(lost.length)}, and the call was given up`, endDetail),
    about: [runbook('workers-die')],
  }
}

/** Details in the gateway's own words. Every other detail may contain words of a vendor or a caller. */
const MODEL_FAULT =
  /^(?:no answer in \d+ ms|not ready \d+ ms after the stream opened|died before the stream opened|backend closed with \d+|\d+ responses failed in a row|backend error [a-z_]{1,20})$/

const modelFailed: Rule = ({ record }) => {
  const { endReason, endDetail, timeline, backend } = record
  const failed = timeline.findLast(({ name }) => name === 'backend-failed')
  if (endReason !== 'backend-failed' && (failed === undefined || !wentBadly(record))) return null
  const given = failed?.detail ?? endDetail
  const detail = MODEL_FAULT.test(given) ? given : ''
  const isSlow = /^no answer in/.test(detail)
  return {
    code: isSlow ? 'model-slow' : 'model-failed',
    text: sentence(`The backend ${backend} ${isSlow ? 'gave no answer' : 'failed'}`, detail),
    about: isSlow
      ? [agentKey('failover.stallMs'), runbook('backend-errors')]
      : [agentKey('backend'), runbook('backend-errors')],
  }
}

const CARRIER_ENDS: Partial<Record<CallRecord['endReason'], string>> = {
  'carrier-abuse': 'The carrier sent more audio than a stream may have',
  'carrier-not-reading': 'The carrier did not read the audio',
  'carrier-protocol': 'The carrier violated the protocol',
  'carrier-error': 'The carrier closed the stream with an error',
  'socket-never-came': 'The carrier never opened the stream',
  'stream-error': 'The carrier could not open the stream',
}

const carrierFault: Rule = ({ record: { endReason, endDetail } }) => {
  const text = CARRIER_ENDS[endReason]
  return text === undefined
    ? null
    : { code: 'carrier', text: sentence(text, endDetail), about: [page('closures/carrier')] }
}

/** Property of the agent's file that sets each limit. */
const BUDGET_KEYS = {
  maxMs: 'maxMinutes',
  maxTokens: 'maxTokens',
  maxOutputTokens: 'maxTokens',
  maxCost: 'maxCost',
} as const

const budgetSpent: Rule = ({ record: { budget, budgetStep } }) => {
  if (budget?.spent != null && budget.endedBy !== null)
    return {
      code: 'budget',
      text: `The budget of the call was used up (${budget.spent}), and ${budget.endedBy === 'agent' ? 'the agent' : 'the gateway'} ended it.`,
      about: [agentKey(`budget.${BUDGET_KEYS[budget.spent]}`), page('COST')],
    }
  return budgetStep !== 'messages'
    ? null
    : {
        code: 'budget',
        text: 'The daily budget of the number was used up, so the caller could only leave a message.',
        about: [page('NUMBERS'), runbook('budget-spent')],
      }
}

const moved: Rule = ({ record: { rehomes, resumed, timeline } }) => {
  const part = resumed.find(({ why }) => why === 'node-lost')
  if (part !== undefined)
    return {
      code: 'node-dead',
      text: `The node ${part.node} was lost after ${took(part.streamMs)} of the call, and another node continued it.`,
      about: [runbook('takeover')],
    }
  const lost = timeline.find(({ name }) => name === 'worker-lost')
  return rehomes === 0 || lost === undefined
    ? null
    : {
        code: 'worker-dead',
        text: `The media worker of the call died at ${clock(lost.atMs)}, and another worker continued it.`,
        about: [runbook('workers-die')],
      }
}

const deafLine: Rule = ({ record }) => {
  const { endReason, durationMs, turns, transcript, timeline, audio } = record
  if (endReason === 'carrier-silent')
    return {
      code: 'deaf-line',
      text: 'The line went dead: the carrier sent nothing more.',
      about: [page('closures/carrier')],
    }
  const isSilent =
    turns.length === 0 &&
    audio.dtmf === 0 &&
    !transcript.some(({ role }) => role === 'caller') &&
    !timeline.some(({ name }) => name === 'caller-speech')
  if (!isSilent || durationMs === 0) return null
  if (audio.framesIn === 0)
    return {
      code: 'deaf-line',
      text: `No audio came from the caller's line in ${took(durationMs)}.`,
      about: [page('DOCTOR'), page('closures/carrier')],
    }
  return endReason !== 'silence-limit'
    ? null
    : {
        code: 'deaf-line',
        text: `No voice came from the caller's line in ${took(durationMs)}: the line lost the voice, or the caller was silent.`,
        about: [agentKey('silence'), page('DOCTOR')],
      }
}

const unheardAgent: Rule = ({ record }) => {
  const silent = record.timeline.filter(({ name }) => name === 'agent-silent').length
  return silent === 0 || !wentBadly(record)
    ? null
    : {
        code: 'unheard-agent',
        text: `The caller could not hear the agent ${times(silent)}: its answers had no sound.`,
        about: [runbook('agent-silent')],
      }
}

const otherVoice: Rule = ({ record, turns }) => {
  const { timeline, endReason, escalation } = record
  const words = timeline.filter(({ name }) => name === 'words-of-another').length
  const asked = escalation?.reason.startsWith('another voice') === true
  // If the caller got an answer after the other voice, the agent has heard the caller.
  const answeredAtMs = turns.findLast(({ isAnswered }) => isAnswered)?.stoppedAtMs ?? -Infinity
  const isLast = timeline.some(
    ({ name, atMs }) => (name === 'words-of-another' || name === 'quieter-voice') && atMs > answeredAtMs,
  )
  if (!asked && !(endReason === 'silence-limit' ? isLast : wentBadly(record) && words > 0)) return null
  return {
    code: 'other-voice',
    text: `A voice of another person was on the line${words > 0 ? `, and its words were not answered (${times(words)})` : ''}.`,
    about: [agentKey('bargeIn.secondVoice'), page('VAD')],
  }
}

const putOnHold: Rule = ({ record: { endReason, timeline } }) => {
  const held = timeline.findLast(({ name }) => name === 'put-on-hold')
  // This mark is also set at the end of a hold that lasted too long.
  const isBack = timeline.some(
    ({ name, atMs, detail = '' }) =>
      name === 'put-on-hold-over' && !detail.startsWith('put on hold') && atMs >= (held?.atMs ?? 0),
  )
  return endReason !== 'silence-limit' || held === undefined || isBack
    ? null
    : {
        code: 'put-on-hold',
        text: `The caller put the agent on hold at ${clock(held.atMs)}, and did not return.`,
        about: [agentKey('putOnHold'), page('closures/caller')],
      }
}

const notUnderstood: Rule = ({ record, turns }) => {
  if (record.served !== 'not-understood') return null
  const missed = record.timeline.filter(({ name }) => name === 'not-understood').length
  return {
    code: 'not-understood',
    text: `The caller was not understood (${times(Math.max(missed, turns.length))}), and ${ENDED_BY[record.endReason] ?? 'the call ended'}.`,
    about: [page('VAD'), page('OFFLINE-AGENT')],
  }
}

const ENDED_BY: Partial<Record<CallRecord['endReason'], string>> = {
  'caller-hung-up': 'hung up',
  'agent-goodbye': 'the agent ended the call',
  'silence-limit': 'the agent ended the call',
  'duration-limit': 'the call reached its maximum duration',
  'operator-hangup': 'an operator ended the call',
  'socket-lost': 'the line broke',
}

/** Matches if the caller was still waiting for an answer when the call ended. */
const waitedInVain: Rule = ({ record, turns }) => {
  const last = turns.at(-1)
  if (record.outcome !== 'abandoned' || last === undefined || last.isAnswered) return null
  const waitMs = last.untilMs - last.stoppedAtMs
  if (waitMs < WAITED_MS_MIN) return null
  return blamed(
    `The caller ${record.endReason === 'caller-hung-up' ? 'hung up' : 'was lost'} after waiting ${took(waitMs)}`,
    last,
    record,
  )
}

/** Returns a wait as the cause, with the longest part of the wait. */
function blamed(what: string, { tools, parts, isAnswered }: TurnSteps, { backend }: CallRecord): Cause {
  const { endOfTurnMs, toolsMs, backendMs, playoutMs } = parts
  const longest = Math.max(endOfTurnMs, toolsMs, backendMs, playoutMs)
  if (longest === toolsMs && tools.length > 0) {
    const tool = tools.reduce((a, b) => (b.ms > a.ms ? b : a))
    return {
      code: 'tool-slow',
      text: `${what}: the tool ${tool.name} took ${took(tool.ms)}${tool.ok ? '' : ' and failed'}.`,
      about: [agentKey('tools[].http.timeoutMs'), runbook('tools-fail')],
    }
  }
  if (longest === endOfTurnMs)
    return {
      code: 'model-slow',
      text: `${what}: the end of the caller's turn was detected only after ${took(endOfTurnMs)}.`,
      about: [agentKey('turn.endOfSpeechMs'), page('VAD')],
    }
  if (longest === playoutMs)
    return {
      code: 'gateway-fault',
      text: `${what}: the answer waited ${took(playoutMs)} before it was sent.`,
      about: [runbook('frame-latency')],
    }
  return {
    code: 'model-slow',
    text: isAnswered
      ? `${what}: the backend ${backend} took ${took(backendMs)} of this time.`
      : `${what}: the backend ${backend} had given no answer.`,
    about: [agentKey('failover.stallMs'), runbook('first-sound')],
  }
}

const noHuman: Rule = ({ record }) => {
  const { escalation, outcome, endReason } = record
  if (escalation === null || escalation.outcome === 'answered') return null
  if (outcome !== 'failed' && outcome !== 'abandoned') return null
  const rung = escalation.attempts.length
  return {
    code: 'no-human',
    text:
      escalation.outcome === null && endReason === 'caller-hung-up'
        ? 'The caller hung up while waiting for a human.'
        : `No human was reached (${escalation.outcome ?? 'not settled'}, ${rung} ${rung === 1 ? 'attempt' : 'attempts'})${escalation.callback === null ? '' : ', and a call back was promised'}.`,
    about: [agentKey('escalation'), runbook('escalations-fail')],
  }
}

const slowTurn: Rule = ({ record, turns, usual }) => {
  const wait = (turn: TurnSteps): number => turn.untilMs - turn.stoppedAtMs
  const answered = turns.filter(({ isAnswered }) => isAnswered)
  if (answered.length === 0) return null
  const slowest = answered.reduce((a, b) => (wait(b) > wait(a) ? b : a))
  const known = usual?.of['answer']
  const p95Ms = known !== undefined && known.values >= USUAL_VALUES_MIN ? known.p95Ms : Infinity
  const isSlow = wait(slowest) >= SLOW_MS || (wait(slowest) >= SLOW_UNUSUAL_MS && wait(slowest) >= SLOW_TIMES * p95Ms)
  return isSlow
    ? blamed(`The caller waited ${took(wait(slowest))} for an answer at ${clock(slowest.stoppedAtMs)}`, slowest, record)
    : null
}

const toolFailed: Rule = ({ record }) => {
  const tool = record.toolCalls.findLast(({ ok }) => !ok)
  return tool === undefined || !wentBadly(record)
    ? null
    : {
        code: 'tool-failed',
        text: `The tool ${tool.name} failed${isCode(tool.error) ? ` (${tool.error})` : ''}.`,
        about: [runbook('tools-fail')],
      }
}

const limits: Rule = ({ record: { endReason, endDetail, durationMs } }) => {
  switch (endReason) {
    case 'silence-limit':
      return {
        code: 'silent-caller',
        text: sentence('The caller no longer spoke, and the agent said goodbye', endDetail),
        about: [agentKey('silence')],
      }
    case 'duration-limit':
      return {
        code: 'limit',
        text: `The call reached its maximum duration (${took(durationMs)}).`,
        about: [agentKey('limits.maxDurationS')],
      }
    case 'drain-limit':
      return {
        code: 'limit',
        text: 'The gateway was being stopped, and the call had not ended in time.',
        about: [setting('DRAIN_TIMEOUT'), runbook('drain-stuck')],
      }
    case 'operator-hangup':
      return { code: 'operator', text: 'An operator ended the call.', about: [page('OPERATIONS')] }
    default:
      return null
  }
}

const hungUp: Rule = ({ record }) => {
  const { outcome, endReason, served, durationMs, greetingMs } = record
  if (endReason !== 'caller-hung-up' && endReason !== 'socket-lost') return null
  const how = endReason === 'caller-hung-up' ? 'The caller hung up' : 'The line broke'
  const text =
    durationMs === 0
      ? `${how} before the stream opened.`
      : greetingMs === null
        ? `${how} after ${took(durationMs)}, before the agent's first sound.`
        : served === 'nothing-asked'
          ? `${how} after ${took(durationMs)} without a word.`
          : `${how} after ${took(durationMs)}, before the answer.`
  return outcome === 'abandoned' || served === 'nothing-asked' || served === 'not-answered'
    ? { code: 'hung-up', text, about: [agentKey('greeting'), page('closures/caller')] }
    : null
}

/** Rules in order: causes outside the conversation come before causes in the conversation. */
const RULES: readonly Rule[] = [
  ...[refused, notReached, died, modelFailed, carrierFault, budgetSpent, moved, deafLine, unheardAgent, otherVoice],
  ...[putOnHold, notUnderstood, waitedInVain, noHuman, toolFailed, slowTurn, limits, hungUp],
]

const GOT: Partial<Record<NonNullable<CallRecord['served']>, string>> = {
  human: 'A human took the call',
  done: "The caller's request was done",
  answered: 'The caller got an answer',
}

function goodEnd({ served, outcome, endReason, durationMs, escalation }: CallRecord): Cause {
  const got =
    escalation?.callback != null
      ? 'The caller was promised a call back'
      : ((served === null ? undefined : GOT[served]) ?? `The call ended as ${outcome}`)
  const end =
    endReason === 'caller-hung-up'
      ? ', and hung up'
      : endReason === 'agent-goodbye'
        ? ', and the agent said goodbye'
        : ''
  return { code: 'good', text: `${got}${end} after ${took(durationMs)}.`, about: [] }
}

/** True if the gateway knows that the caller's request was not fulfilled. */
function wentBadly({ outcome, served }: CallRecord): boolean {
  if (outcome === 'failed' || outcome === 'abandoned') return true
  return served === 'not-understood' || served === 'not-answered'
}

function isRefusal(reason: CallRecord['endReason']): reason is CallRefusal {
  return Object.hasOwn(REFUSALS, reason)
}

/** True for an error code. Every other error may contain words of an API. */
function isCode(error: string | undefined): boolean {
  return error !== undefined && Object.values(ERRORS).some((group) => Object.hasOwn(group, error))
}

export function times(count: number): string {
  return count === 1 ? 'once' : count === 2 ? 'twice' : `${count} times`
}

/** Formats a time in a call as the time since the webhook. */
export function clock(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`
}

function sentence(text: string, detail: string): string {
  return detail === '' || text.toLowerCase().endsWith(detail.toLowerCase())
    ? `${text}.`
    : `${text}: ${detail.replace(/[.;]$/, '')}.`
}
