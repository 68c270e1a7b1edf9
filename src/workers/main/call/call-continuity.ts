import type { CallLogEntry } from '../../../call/documents/log-entry.js'
import type { CallCheckpoint, NewStream } from '../../../call/documents/checkpoint.js'
import type { EscalationPacket } from '../../../call/documents/handoff.js'
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
 * How long a carrier that has said nothing of a call may take to ask, where it is not known to hold callers in silence. What
 * broke the stream, as a balancer that is started again, may keep its webhooks away too, and it waits this long for the
 * answer to one.
 */
const UNHEARD_MS_MAX = 10_000

/** A call whose stream was lost, while the carrier may ask how it goes on. */
interface Cut {
  readonly state: KeptState
  /** On the monotonic clock. */
  untilMs: number
  nobodyAsked: boolean
}

/** Part of a call's kept state beside the data with which the call was prepared. */
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

/** `changed`: also when nobody goes on with a cut call, which ends as the loss of its stream left it. */
interface ContinuityDoor extends Pick<MainDoor, 'mark' | 'changed'> {
  /** State of its call and of the call's parts for another node. */
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
 * How a call goes on elsewhere, and from elsewhere: what is kept of it for another node, what of it a lost node or a
 * lost stream had left, and, once its own stream is lost, how long the carrier may ask how it goes on. Until then it is
 * `cut`: its state of that moment stays, and is what another one is made from.
 */
export class CallContinuity {
  readonly #door: ContinuityDoor
  readonly #of: Continued
  readonly #context: Services
  #cut: Cut | null = null
  /** The carrier has said that the caller's leg is over. */
  #leftAs: CarrierState | null = null
  /** Its node is being stopped, and gives it away. */
  #moves = false
  /** Another one in this process goes on with the call. */
  #replaced = false

  constructor(door: ContinuityDoor, of: Continued, context: Services) {
    this.#door = door
    this.#of = of
    this.#context = context
  }

  // --- what another node needs ----------------------------------------------------------------------------

  /** A cut call is kept as the loss of its stream found it. */
  kept(): KeptCall {
    return this.lostStream?.kept ?? this.#keptNow()
  }

  logKept(): Pick<KeptState, 'log' | 'marks'> {
    return this.#cut?.state ?? this.#logNow()
  }

  /** The state that a promised call back goes on from. */
  promised(): KeptState {
    const { log, marks } = this.logKept()
    return promisedCall({ kept: this.kept(), log, marks: [...marks] }, this.#context.transcript)
  }

  /** Log entries from the end of a session whose stream was lost are not kept: the call goes on from before them. */
  append(entries: readonly CallLogEntry[], marks: readonly TimelineMark[]): void {
    if (this.#cut === null && !this.#replaced)
      this.#context.keeper?.append(this.#of.origin.call.callSid, entries, marks)
  }

  /** The whole log; both lists may still grow. */
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

  /** Version of this node's definition. */
  get agentVersion(): string {
    return versionOf(this.#of.hosted)
  }

  // --- a call whose node or stream was lost ---------------------------------------------------------------

  /** Enters into log, timeline and metrics that the call goes on here, and with whom. */
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

  /** The calendar of the other node may differ from ours: the call is as old as it is here. */
  checkpoint({ kept: { session, preparedWallMs } }: KeptState): CallCheckpoint | null {
    if (session === null || session.streamOpenedWallMs === null) return session
    const { streamOpenedWallMs } = session
    return { ...session, streamOpenedWallMs: streamOpenedWallMs + this.#of.origin.preparedWallMs - preparedWallMs }
  }

  /** A call that comes back has lost its stream, until the new one has opened. */
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

  /** State from which a cut call goes on; null in every other state. */
  get lostStream(): KeptState | null {
    if (this.#cut === null) return null
    const { state } = this.#cut
    // An outcome may come meanwhile.
    return { ...state, kept: { ...state.kept, waits: this.#door.now().waits } }
  }

  /** True if it could go on if its stream were lost now: not when it is ending, or nobody would ask. */
  goesOn(kept = this.#keptNow()): boolean {
    return this.#leftAs === null && mayGoOn(partsOf({ how: 'stream-lost', kept })) && continuationOf(kept) === 'agent'
  }

  /** Its node is being stopped: what ends its stream now is no fault. */
  moves(): void {
    this.#moves = true
  }

  /** Its stream is lost while its session ran. @returns whether it is cut: not where it could not go on */
  cut(): boolean {
    const kept = this.#keptNow()
    if (!this.goesOn(kept)) return false
    const nowMs = this.#context.clock()
    const waitMs = this.#context.afterStream.known(nowMs) === 'holds' ? ASKS_WITHIN_MS : UNHEARD_MS_MAX
    const { log, marks } = this.#logNow()
    // A copy: the session that ends now still writes to it.
    const state: KeptState = { how: 'stream-lost', kept, log, marks: [...marks] }
    this.#cut = { state, untilMs: nowMs + waitMs, nobodyAsked: false }
    return true
  }

  /** The carrier can reach us: it asks soon how this cut call goes on, or not at all. */
  carrierHeard(): void {
    if (this.#cut === null) return
    this.#cut.untilMs = Math.min(this.#cut.untilMs, this.#context.clock() + ASKS_WITHIN_MS)
  }

  /** The carrier asks how this cut call goes on. Its caller may be asked to wait, and then it asks once more. */
  asked(): void {
    if (this.#cut !== null) this.#cut.untilMs = this.#context.clock() + UNHEARD_MS_MAX
  }

  /** The carrier says that the caller's leg is over. */
  left(state: CarrierState): void {
    // Once nobody has asked, the carrier may say so because it was asked to end the leg.
    if (this.#cut?.nobodyAsked !== true) this.#leftAs = state
    if (this.#cut !== null) this.#door.mark('carrier-state', state)
  }

  /** Nobody goes on with this call. Does nothing where it is not cut. */
  over(): void {
    if (this.#cut === null) return
    this.#cut = null
    this.#door.changed()
  }

  /** Another one goes on with this cut call. */
  replace(): void {
    this.#cut = null
    this.#replaced = true
  }

  /** Checks whether the carrier has had its time to ask. */
  wake(nowMs: number): void {
    const cut = this.#cut
    if (cut !== null && !cut.nobodyAsked && nowMs >= cut.untilMs) void this.#nobodyAsked(cut)
  }

  /** The carrier holds the caller in silence, or the caller has left. */
  async #nobodyAsked(cut: Cut): Promise<void> {
    cut.nobodyAsked = true
    this.#door.mark('stream-lost', 'nobody asked in time how to go on')
    await this.#context.onStreamLost?.(cut.state, () => this.#cut === cut)
    if (this.#cut === cut) this.over()
  }

  /** A lost connection whose caller had left, as the carrier says afterwards. */
  shown(result: CallResult | null): CallResult | null {
    if (result?.endReason !== 'socket-lost' || this.#leftAs === null) return result
    return { ...result, endReason: 'caller-hung-up', endDetail: `carrier says ${this.#leftAs}` }
  }
}

/** The handoff packet of a kept escalation, with what the call log has for it; null before a human was asked for. */
export function packetOf({ kept: { escalation }, log }: KeptState): EscalationPacket | null {
  const { packet } = escalation ?? {}
  if (packet == null) return null
  return {
    ...packet,
    tried: log.toolCalls.map(({ record: { name, ok, args } }) => ({ name, ok, args })),
    transcript: log.transcript,
  }
}
