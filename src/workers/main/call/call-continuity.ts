import { asSaid } from '../../../call/call-log.js'
import type { CallLogEntry } from '../../../call/documents/log-entry.js'
import type { CallCheckpoint, NewStream } from '../../../call/documents/checkpoint.js'
import type { EscalationPacket } from '../../../call/documents/handoff.js'
import { toldLog } from '../../../call/earlier-call.js'
import { KEPT_CALL_VERSION } from '../../../call/documents/kept-call.js'
import type { CallResult, KeptCall, KeptState } from '../../../call/documents/kept-call.js'
import type { TimelineMark } from '../../../call/documents/record.js'
import type { CarrierState } from '../../../sautikit/carrier-state.js'
import type { Log } from '../../../telemetry/log.js'
import { ASKS_WITHIN_MS } from '../after-stream-behaviour.js'
import { continuationOf, mayGoOn, partsOf, promisedCall } from '../kept-call.js'
import { versionOf } from './agent-version.js'
import type { CallOrigin } from './call-origin.js'
import type { CallRecordBuilder } from './call-record.js'
import type { MainDoor } from './main-door.js'
import type { HostedAgent, MainThreadContext } from '../main-thread-context.js'

/**
 * Maximum time in ms in which a carrier may ask how a call continues. The limit applies if the carrier has sent nothing
 * about the call, and is not known to hold callers in silence. The fault that ended the stream, such as a restarted
 * load balancer, may delay the carrier's webhooks. The carrier waits equally long for our answer to a webhook.
 */
const UNHEARD_MS_MAX = 10_000

/** Call whose stream was lost, while the carrier may still ask how the call continues. */
interface Cut {
  readonly state: KeptState
  /** Time in ms, on the monotonic clock, until which the carrier may ask. */
  untilMs: number
  nobodyAsked: boolean
}

/** Kept state of a call, without the fields that `CallContinuity` fills in from the call's origin. */
export type KeptNow = Omit<
  KeptCall,
  | 'version'
  | 'node'
  | 'callSid'
  | 'rootSid'
  | 'agent'
  | 'agentHash'
  | 'direction'
  | 'budgetStep'
  | 'from'
  | 'to'
  | 'placed'
  | 'moves'
  | 'preparedWallMs'
  | 'elapsedMs'
>

type Services = Pick<
  MainThreadContext,
  'clock' | 'wallClock' | 'metrics' | 'keeper' | 'afterStream' | 'onStreamLost' | 'transcript'
>

/** Interface to the rest of the call. `changed` is also called when a cut call ends without a continuation. */
interface ContinuityDoor extends Pick<MainDoor, 'mark' | 'changed'> {
  /** State of the call and of the call's parts, for another node. */
  readonly now: () => KeptNow
}

interface Continued {
  readonly origin: CallOrigin
  /** The agent that the call began with. */
  readonly hosted: HostedAgent
  readonly record: Pick<CallRecordBuilder, 'log' | 'timeline'>
  readonly log: Log
}

/**
 * Continuity of a call. It keeps the call's state for another node, and the state that a lost node or stream left. If
 * the call's own stream is lost, the call is `cut` while the carrier may ask how the call continues. Then the call
 * continues from its state at the time of the cut.
 */
export class CallContinuity {
  readonly #door: ContinuityDoor
  readonly #of: Continued
  readonly #context: Services
  #cut: Cut | null = null
  /** Final state of the caller's leg from the carrier's report that the leg is over; null before this report. */
  #leftAs: CarrierState | null = null
  /** True while the call's node is being stopped and moves the call to another node. */
  #moves = false
  /** True if another `MainThreadCall` in this process continues the call. */
  #replaced = false

  constructor(door: ContinuityDoor, of: Continued, context: Services) {
    this.#door = door
    this.#of = of
    this.#context = context
  }

  // --- state for another node -----------------------------------------------------------------------------

  /** State of the call for another node. A cut call has the state in which it lost its stream. */
  kept(): KeptCall {
    return this.lostStream?.kept ?? this.#keptNow()
  }

  logKept(): Pick<KeptState, 'log' | 'marks'> {
    return this.#cut?.state ?? this.#logNow()
  }

  /** The state from which a promised call back continues. */
  promised(): KeptState {
    const { log, marks } = this.logKept()
    return promisedCall({ kept: this.kept(), log, marks: [...marks] }, this.#context.transcript)
  }

  /**
   * Log entries from the end of a session whose stream was lost are left out, because the call continues from an
   * earlier state.
   */
  append(entries: readonly CallLogEntry[], marks: readonly TimelineMark[]): void {
    if (this.#cut === null && !this.#replaced)
      this.#context.keeper?.append(this.#of.origin.call.callSid, entries, marks)
  }

  /** The whole log and all marks of the call. Both lists may still grow. */
  #logNow(): Pick<KeptState, 'log' | 'marks'> {
    const { log, timeline } = this.#of.record
    return { log: log.records(), marks: timeline.marks }
  }

  #keptNow(): KeptCall {
    const { origin } = this.#of
    const { callSid, agent, direction, from, to, placed, budgetStep = null } = origin.call
    return {
      version: KEPT_CALL_VERSION,
      node: this.#context.keeper?.node ?? '',
      callSid,
      rootSid: origin.rootSid,
      agent,
      agentHash: this.agentVersion,
      direction,
      from,
      to,
      placed:
        placed === undefined
          ? null
          : {
              clientRequestId: placed.clientRequestId,
              ringMs: placed.ringMs,
              orderedMs: origin.preparedAtMs - placed.orderedAtMs,
              variables: placed.variables,
              externalId: placed.externalId,
              leaveMessage: placed.leaveMessage,
              promised: placed.promised,
              joins: placed.joins,
            },
      budgetStep,
      moves: this.#moves,
      preparedWallMs: origin.preparedWallMs,
      elapsedMs: this.#context.clock() - origin.preparedAtMs,
      ...this.#door.now(),
    }
  }

  /** Version of the agent's definition on this node. */
  get agentVersion(): string {
    return versionOf(this.#of.hosted)
  }

  // --- a call whose node or stream was lost ---------------------------------------------------------------

  /** Writes to log, timeline and metrics that the call continues here, with an agent or with a human. */
  resume(before: KeptState): ReturnType<typeof continuationOf> {
    const { kept } = before
    const { how } = before
    const why = partsOf(before).at(-1)?.why ?? 'node-lost'
    const goesOn = continuationOf(kept)
    const { log } = this.#of
    const { mark } = this.#door
    log.warn({ from_node: kept.node, why, goes_on_with: goesOn, stream_ms: Math.round(kept.streamMs) }, 'call resumed')
    if (kept.agentHash !== this.agentVersion)
      log.warn(
        {},
        'the agent of a resumed call differs on this node: the call continues with the definition of this node',
      )
    if (how === 'call-back') {
      mark(how, `after ${kept.recoveredFrom ?? ''}`)
    } else {
      mark(why, `${kept.node}; goes on with: ${goesOn}`)
      this.#context.metrics.callsResumed.inc(1, this.#of.origin.call.callSid)
    }
    return goesOn
  }

  /** The calendars of the two nodes may differ. The age of the call follows this node's calendar. */
  checkpoint({ kept: { session, preparedWallMs } }: KeptState): CallCheckpoint | null {
    if (session === null || session.streamOpenedWallMs === null) return session
    const { streamOpenedWallMs } = session
    return { ...session, streamOpenedWallMs: streamOpenedWallMs + this.#of.origin.preparedWallMs - preparedWallMs }
  }

  /** A resumed call has no stream until the new stream has opened. */
  get newStream(): NewStream | null {
    const before = this.#of.origin.before?.kept ?? null
    return before === null
      ? null
      : { streamMs: before.streamMs, consented: before.recording.announced || before.recording.refused }
  }

  // --- a call whose own stream is lost --------------------------------------------------------------------

  get isCut(): boolean {
    return this.#cut !== null
  }

  get isReplaced(): boolean {
    return this.#replaced
  }

  /** State from which a cut call continues; null if it is not cut. */
  get lostStream(): KeptState | null {
    if (this.#cut === null) return null
    const { state } = this.#cut
    // A waiting tool may have got its outcome after the cut.
    return { ...state, kept: { ...state.kept, waits: this.#door.now().waits } }
  }

  /**
   * True if the call could continue after a loss of its stream. False if the call is ending, or if the carrier would
   * not ask how the call continues.
   */
  goesOn(kept = this.#keptNow()): boolean {
    return this.#leftAs === null && mayGoOn(partsOf({ how: 'stream-lost', kept })) && continuationOf(kept) === 'agent'
  }

  /** Notes that the node is being stopped. From now on, an end of the call's stream is not a fault. */
  moves(): void {
    this.#moves = true
  }

  /**
   * Notes that the stream was lost while the session ran. @returns true if the call is cut; false if it cannot continue
   */
  cut(): boolean {
    const kept = this.#keptNow()
    if (!this.goesOn(kept)) return false
    const nowMs = this.#context.clock()
    const waitMs = this.#context.afterStream.known(nowMs) === 'holds' ? ASKS_WITHIN_MS : UNHEARD_MS_MAX
    const { log, marks } = this.#logNow()
    // The list is copied, because the session that ends now still writes to it.
    const state: KeptState = { how: 'stream-lost', kept, log, marks: [...marks] }
    this.#cut = { state, untilMs: nowMs + waitMs, nobodyAsked: false }
    return true
  }

  /**
   * Notes that the carrier can reach us again. If the carrier intends to ask how this cut call continues, it asks soon
   * after this.
   */
  carrierHeard(): void {
    if (this.#cut === null) return
    this.#cut.untilMs = Math.min(this.#cut.untilMs, this.#context.clock() + ASKS_WITHIN_MS)
  }

  /**
   * Notes that the carrier asked how this cut call continues. The answer may make the caller wait; then the carrier
   * asks again.
   */
  asked(): void {
    if (this.#cut !== null) this.#cut.untilMs = this.#context.clock() + UNHEARD_MS_MAX
  }

  /** Notes the carrier's report that the caller's leg is over. */
  left(state: CarrierState): void {
    // If the carrier did not ask in time, we asked it to end the leg. The carrier's report of the end may be the result
    // of our request.
    if (this.#cut?.nobodyAsked !== true) this.#leftAs = state
    if (this.#cut !== null) this.#door.mark('carrier-state', state)
  }

  /** Ends this cut call without a continuation. Does nothing if the call is not cut. */
  over(): void {
    if (this.#cut === null) return
    this.#cut = null
    this.#door.changed()
  }

  /** Notes that another `MainThreadCall` continues this cut call. */
  replace(): void {
    this.#cut = null
    this.#replaced = true
  }

  /** Ends the call if the carrier has not asked in time how it continues. */
  wake(nowMs: number): void {
    const cut = this.#cut
    if (cut !== null && !cut.nobodyAsked && nowMs >= cut.untilMs) void this.#nobodyAsked(cut)
  }

  /** The carrier did not ask in time. Either the carrier holds the caller in silence, or the caller has left. */
  async #nobodyAsked(cut: Cut): Promise<void> {
    cut.nobodyAsked = true
    this.#door.mark('stream-lost', 'the carrier did not ask in time how to continue')
    await this.#context.onStreamLost?.(cut.state, () => this.#cut === cut)
    if (this.#cut === cut) this.over()
  }

  /**
   * Changes a lost connection in the record to a hang-up, if the carrier reported afterwards that the caller had left.
   */
  shown(result: CallResult | null): CallResult | null {
    if (result?.endReason !== 'socket-lost' || this.#leftAs === null) return result
    return { ...result, endReason: 'caller-hung-up', endDetail: `carrier says ${this.#leftAs}` }
  }
}

/** Handoff packet of a kept escalation, with the entries of the call log; null if the call asked for no human. */
export function packetOf({ kept: { escalation, session }, log: all }: KeptState): EscalationPacket | null {
  const { packet } = escalation ?? {}
  if (packet == null) return null
  const log = session === null ? all : toldLog(session, all)
  return {
    ...packet,
    tried: log.toolCalls.map(({ record: { name, ok, args } }) => ({ name, ok, args })),
    transcript: asSaid(log.transcript),
  }
}
