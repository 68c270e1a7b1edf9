import { callVariablesSchema } from '../agents/tools/call-variables.js'
import type { AgentDefinition } from '../agents/file/definition.js'
import { parseKeptCall } from '../call/documents/kept-call.js'
import type { KeptCall, KeptState } from '../call/documents/kept-call.js'
import type { CallBackRefusal } from '../call/events.js'
import { readDateAndTime } from '../core/local-time.js'
import { countryZone, numberToCall, partyKey, sameNumber, subscriberNumber } from '../sautikit/phone.js'
import { ringFault } from '../sautikit/ringing.js'
import { wishZone } from '../workers/main/call-back-wish.js'
import type { CallBackOrder } from '../workers/main/main-thread-context.js'
import type { PassedLimit } from './call-back-limits.js'
import { CALL_BACKS, callBackId } from './campaign.js'
import type { Row } from './campaign.js'

/** Maximum length of a caller's note in the greeting of a call back, in characters. */
const NOTE_CHARS_MAX = 300

interface CallBackRules {
  readonly agent: (name: string) => AgentDefinition | undefined
  /** Value of OUTBOUND_PREFIXES. */
  readonly prefixes: readonly string[]
  /** Returns calendar time. */
  readonly wallClock: () => number
}

/** True if a call back to this phone number may be offered. @param ours  the gateway's number in the call */
export function mayCallBack(
  definition: AgentDefinition,
  number: string,
  ours: string,
  prefixes: readonly string[],
): boolean {
  // Without `callbacks` in the agent's file, another system makes this call back.
  if (definition.callbacks === null) return true
  const read = numberToCall(number)
  return 'number' in read && ringFault(read.number, oursOf(definition, ours), prefixes) === null
}

/**
 * Returns the row of a call back that a caller wants, or the refusal of their number. Limits are not checked. Returns
 * null if the agent's file does not have `callbacks`.
 */
export function callBackRow(
  state: KeptState,
  order: CallBackOrder,
  { agent, prefixes, wallClock }: CallBackRules,
): Row | CallBackRefusal | null {
  const { kept } = state
  const definition = agent(promiserOf(kept.agent, state))
  if (definition?.callbacks == null) return null
  const read = numberToCall(order.number)
  if ('fault' in read) return refusalOf('number', `number is one that ${read.fault}; ask the caller for it again.`)
  const to = read.number
  const [theirs, ours] = kept.direction === 'inbound' ? [kept.from, kept.to] : [kept.to, kept.from]
  const isCallBack = kept.placed?.promised === true || kept.recoveredFrom !== null
  if (isCallBack && !sameNumber(to, theirs))
    return refusalOf('third-number', 'In a call back only the number that was called is called again; tell them so.')
  const fault = ringFault(to, oursOf(definition, ours), prefixes)
  if (fault !== null) return refusalOf('number', `number is one that ${fault}. Ask the caller for another one.`)
  const zone = wishZone(to, definition)
  const wantedMs = order.wantedAt === undefined ? null : readDateAndTime(zone, order.wantedAt)
  const askedMs = Date.parse(order.at)
  return {
    id: callBackId(kept.callSid),
    campaign: CALL_BACKS,
    agent: kept.agent,
    to,
    from: subscriberNumber(ours),
    variables: callVariablesSchema.parse({
      ...kept.placed?.variables,
      note: sentence(order.note.slice(0, NOTE_CHARS_MAX)),
    }),
    externalId: null,
    timeZone: countryZone(to),
    dueMs: Math.max(wantedMs ?? askedMs + definition.callbacks.afterMinutes * 60_000, wallClock()),
    tries: [],
    result: null,
    agentLostMs: null,
    withoutHuman: false,
    asked: { by: partyKey(theirs), atMs: askedMs },
    recovers: state,
  }
}

/**
 * Returns the state of the call that promised a call back, changed for the new call. The new call continues the
 * conversation, but its times and limits start again.
 * @param state  state from `callBackRow`, as JSON; its readers check its parts
 * @param wallMs  calendar time
 * @throws GatewayError KEPT_CALL_INVALID if another version of this program stored the state in another form
 */
export function promisingCall(state: KeptState, wallMs: number): KeptState {
  const kept = parseKeptCall(state.kept)
  const { usage: _, ...session } = kept.session ?? {}
  const anew = {
    result: null,
    elapsedMs: 0,
    streamMs: 0,
    preparedWallMs: wallMs,
    resumed: [],
    backendState: null,
    session: kept.session === null ? null : (session as KeptCall['session']),
  }
  return { ...state, marks: [], kept: { ...kept, ...anew } }
}

/**
 * Returns the agent that had the call when the call back was promised. `agent` is the agent with which the call began.
 * @param
 * recovers  `recovers` of the row
 */
export function promiserOf(agent: string, recovers: unknown): string {
  const { log } = (recovers ?? {}) as Partial<KeptState> // from `promise`, as JSON
  return log?.handovers?.at(-1)?.to ?? agent
}
/**
 * Returns the gateway's number from which a call back is made: the call's number, or the agent's number if the call's
 * number cannot be used.
 */
function oursOf({ outbound }: AgentDefinition, ours: string): string {
  return subscriberNumber(ours) ?? outbound.from ?? ''
}

export function refusalOf(why: CallBackRefusal['why'], text: string): CallBackRefusal {
  return { why, text }
}

const LIMIT_REFUSALS: Readonly<Record<PassedLimit, CallBackRefusal>> = {
  open: refusalOf('open', 'A call back to this number is noted already; tell them so.'),
  'caller-open': refusalOf(
    'caller-open',
    'This caller waits for a call back already, and gets no second one; tell them so.',
  ),
  number: refusalOf('number-limit', 'This number was called back as often as is allowed for now; tell them so.'),
  caller: refusalOf('caller-limit', 'This caller has had as many call backs as are allowed in a day; tell them so.'),
}

/** Returns the refusal for a limit that would be exceeded. */
export function limitRefusal(limit: PassedLimit): CallBackRefusal {
  return LIMIT_REFUSALS[limit]
}

/** Returns words that end with a full stop, so that a greeting can follow. */
function sentence(text: string): string {
  const words = text.trim()
  return words === '' || /[.!?]$/.test(words) ? words : `${words}.`
}
