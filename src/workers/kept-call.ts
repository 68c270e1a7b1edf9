import { createHash } from 'node:crypto'
import type { AgentDefinition } from '../agents/definition.js'
import type { CallLogEntry, CallLogRecords } from '../call/call-log.js'
import type { CallCheckpoint } from '../call/checkpoint.js'
import type { EscalationPacket } from '../call/events.js'
import type { CallRecord, EscalationHistory, ResumedRecord, TimelineMark } from '../call/record.js'
import type { EscalationSnapshot } from '../escalation/escalation.js'
import type { CallResult } from './call-messages.js'

/**
 * Version of a kept call. A node reads this one and the one before; there is none before 1. Bytes of each version that is
 * read lie beside `test/workers/resumed-call.test.ts`.
 */
export const KEPT_CALL_VERSION = 1

/**
 * What another node needs of a live call, beside its log. Plain JSON of a few KB. Only times that people read are
 * calendar times; the others are elapsed milliseconds, because the clocks of two nodes may differ.
 */
export interface KeptCall {
  readonly version: typeof KEPT_CALL_VERSION
  /** Name of the node that wrote it. */
  readonly node: string
  readonly callSid: string
  /** The first call of a chain: limits and effects count for all of it. The call's own SID where there is no chain. */
  readonly rootSid: string
  readonly agent: string
  /** `agentHash` of the definition that the call has. */
  readonly agentHash: string
  readonly direction: 'inbound' | 'outbound'
  /** E.164, or empty when withheld. */
  readonly from: string
  readonly to: string
  /** Set for a call that the gateway placed. `orderedMs`: how long before the webhook it was ordered. */
  readonly placed: {
    readonly clientRequestId: string
    readonly ringMs: number
    readonly orderedMs: number
  } | null
  readonly legRateHz: number
  /** Calendar time of the webhook. */
  readonly preparedWallMs: number
  /** From the webhook to this state. */
  readonly elapsedMs: number
  /** From the webhook to the opening of the first stream; null before it. */
  readonly streamOpenedMs: number | null
  /** How long the call has had a stream, all streams together. */
  readonly streamMs: number
  readonly afterStreamUrl: string | null
  readonly humanUrl: string | null
  /** `announced`: the caller has heard that the call is recorded. `file`: the part of this node. */
  readonly recording: { readonly announced: boolean; readonly file: string | null }
  /** Null before the session's first checkpoint. */
  readonly session: CallCheckpoint | null
  readonly backendState: unknown
  readonly escalation: KeptEscalation | null
  /** Set when the session has ended and a human is still being reached. */
  readonly result: CallResult | null
  readonly sessions: CallRecord['backends']['sessions']
  readonly rehomes: number
  /** The call that was cut off, where this one rang its caller back; null for any other. */
  readonly recoveredFrom: string | null
  readonly resumed: readonly ResumedRecord[]
  readonly timelineDropped: number
  /** Wrong verification answers of the caller's number that count on that node. */
  readonly wrongAnswers: number
}

/** An escalation as another node needs it. The packet's transcript and tools are in the call log. */
export interface KeptEscalation {
  readonly history: EscalationHistory | null
  readonly packet: Omit<EscalationPacket, 'transcript' | 'tried'> | null
  readonly newsSent: { readonly settled: number; readonly callbacks: number }
  readonly machine: EscalationSnapshot | null
}

/** A call as another node goes on with it. */
export interface KeptState {
  /** Absent: the node was lost. Otherwise only the stream was; or the caller has left it, and is rung back. */
  readonly how?: 'stream-lost' | 'call-back'
  readonly kept: KeptCall
  readonly log: CallLogRecords
  readonly marks: readonly TimelineMark[]
}

/** A piece of a kept call's log. `base` replaces what came before it. */
export interface KeptLogChunk {
  readonly base?: CallLogRecords
  readonly entries: readonly CallLogEntry[]
  readonly marks: readonly TimelineMark[]
}

const hashes = new WeakMap<AgentDefinition, string>()

/** Tells two definitions of an agent apart. */
export function agentHash(definition: AgentDefinition): string {
  let hash = hashes.get(definition)
  if (hash === undefined) {
    hash = createHash('sha256').update(JSON.stringify(definition)).digest('base64url').slice(0, 16)
    hashes.set(definition, hash)
  }
  return hash
}

/**
 * Who goes on with a kept call on another node:
 * - `agent`: the conversation goes on, with a new stream. No human was asked for; or the escalation has failed; or the
 *   caller was being asked about a call back, which counts as no answer: the agent goes on and they may ask again;
 * - `human`: no agent speaks to this caller again. A human was being rung or is on the line (`pending`, `dialing`,
 *   `bridged`), or the caller still has to hear that nobody came. Only the escalation goes on, without a stream;
 * - `nobody`: the call was ending.
 */
export function goesOnWith({ escalation, session, result }: KeptCall): 'agent' | 'human' | 'nobody' {
  const machine = escalation?.machine ?? null
  switch (machine?.state) {
    case 'pending':
    case 'dialing':
    case 'bridged':
      return 'human'
    case 'failed':
      if (machine.owesFarewell && !machine.terminal) return 'human'
      break
    default:
  }
  const ending = result !== null || machine?.terminal === true || (session !== null && session.ending !== null)
  return ending || session?.state === 'closing' || session?.state === 'bridged' ? 'nobody' : 'agent'
}
