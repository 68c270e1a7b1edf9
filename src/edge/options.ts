import type { Clock, WallClock } from '../core/clock.js'
import type { CallSid } from '../core/ids.js'
import type { CallRecord } from '../call/documents/record.js'
import type { FleetNode } from '../fleet/fleet-node.js'
import type { StoreHome } from '../fleet/fleet-status.js'
import type { RecoveryOptions } from '../fleet/recovery.js'
import type { CallDirectory } from '../workers/main/live-call.js'
import type { CampaignDesk } from '../campaigns/campaign-desk.js'
import type { OutboundCalls } from '../workers/main/outbound-calls.js'
import type { MessageView, Outbox } from '../messages/outbox.js'
import type { CallFinder } from '../telemetry/archive/index/call-finder.js'
import type { ErasedCounts } from '../telemetry/archive/erasure.js'
import type { StoredFile } from '../telemetry/archive/stored-file.js'
import type { CallSeries } from '../telemetry/call-series.js'
import type { VoiceAction } from '../sautikit/actions.js'
import type { AccountEvent } from '../sautikit/webhook.js'
import type { Log } from '../telemetry/log.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { HumanCalls } from '../escalation/human-calls.js'
import type { CallerLimitSettings } from './public/caller-limits.js'
import type { DescriptorSource } from './descriptors.js'
import type { OpsAnswerOf } from './ops/ops-answers.js'
import type { Softphone } from './ops/ops-phone.js'
import type { TlsFiles } from './http/uws.js'

/** A file of the console, by its path: `/`, `/console.js`. */
export interface ConsoleFile {
  readonly contentType: string
  readonly body: string | Uint8Array
}

/** Services by which the edge routes webhooks to the owners of their calls, and continues calls whose node is lost. */
interface EdgeFleet extends Pick<RecoveryOptions<object>, 'kept' | 'lost' | 'carrier' | 'callBack'> {
  readonly node: FleetNode
  readonly storeHome: StoreHome
  /** Record of a call that an earlier run of this node left. Another node's record may still replace it. */
  readonly left: (callSid: string) => CallRecord | undefined
}

/** Target of an erasure: one call, or all calls of a number (E.164). */
export type ErasureTarget =
  | { readonly sid: CallSid }
  /** `masked`: also erases calls with a masked number that fits this number. */
  | { readonly number: string; readonly masked: boolean }

/** Data of a number in one process. */
interface FoundHere {
  /** SIDs of ended calls, EXPORT_CALLS_MAX at most. */
  readonly callSids: readonly string[]
  /** Number of further ended calls, above EXPORT_CALLS_MAX. */
  readonly more: number
  /** Number of calls with a masked number, which may belong to another person. */
  readonly uncertain: number
  /** Messages about these calls that no receiver has accepted yet; in a fleet, the messages that wait at this node. */
  readonly messages: readonly MessageView[]
}

/** Data of a number in campaigns. */
interface CampaignsOfNumber {
  readonly rows: readonly object[]
  /** True if the number is on the do-not-call list. */
  readonly doNotCall: boolean
  /** Stores that could not be read, as text. */
  readonly unlooked: readonly string[]
}

/** Result of an erasure in one process. */
interface ErasedHere {
  readonly erased: ErasedCounts
  readonly uncertain: number
  /** Stores that could not be read, as text. */
  readonly unlooked: readonly string[]
}

/** Erases ended calls from this process, and finds the calls of a number. */
export interface ErasureHere {
  /** Number of live calls that match the target. */
  live(target: ErasureTarget): number
  /** Erases ended calls. `uncertain`: calls that were not erased because their record has the number masked. */
  erase(target: ErasureTarget): Promise<ErasedHere>
  find(target: Extract<ErasureTarget, { number: string }>): Promise<FoundHere>
  /** Rows of campaigns that nodes share, and the rows on this disk. */
  campaignsOf(number: string): Promise<CampaignsOfNumber>
  /** Memory of a caller's last calls, for all nodes. @throws GatewayError STORE_DOWN */
  rememberedOf(number: string): Promise<readonly object[]>
  /**
   * Erases data that nodes keep in the fleet's store: the state of calls, and the memory of callers.
   * @param nodes  nodes without a matching live call
   * @throws GatewayError STORE_DOWN
   */
  eraseKept(target: ErasureTarget, nodes: readonly string[]): Promise<number>
}

/** The agents of this process, for an operator. Both answers are JSON. */
export interface AgentsHere {
  view(): Promise<object>
  /** @throws GatewayError AGENT_UNKNOWN, TOOL_UNKNOWN, CAPACITY */
  tryTool(
    agent: string,
    order: {
      readonly tool: string
      readonly args: Readonly<Record<string, unknown>>
      readonly from: string | null
      readonly verified: boolean
      readonly send: boolean
    },
  ): Promise<object>
  /** A WAV file. @throws GatewayError AGENT_UNKNOWN, CALL_REFUSED, CALL_FAULT, CAPACITY, RATE_LIMITED */
  say(agent: string, text: string): Promise<Uint8Array>
}

/** `GET /api/editor`. */
export type EditedList = OpsAnswerOf<'EditedList'>
/** Part of the editor's list that one node provides. */
export type EditedHere = Pick<EditedList['nodes'][number], 'files' | 'agents'>
/** Result of checking a text in place of a file, as `mkondo check` reports it. */
export type CheckedText = OpsAnswerOf<'CheckedText'>
/** Text of a file in the agents folder, present or earlier. */
export type OpenedText = OpsAnswerOf<'OpenedText'>
/** Text that calls from the console can try. */
export type TriableDraft = OpsAnswerOf<'TriableDraft'>
/** `POST /api/editor/publish`. */
export type Publication = OpsAnswerOf<'Publication'>

export interface PublishOrder {
  readonly file: string
  readonly text: string
  /**
   * Hashes of the texts that the publication may replace: the opened text, then earlier texts for a node that never had
   * the opened text.
   */
  readonly bases: readonly string[]
  /**
   * Returns the file's hashes at the answering nodes, for the fleet's decision between two publications. Set only at
   * the node that received the operator's request. Absent after the decision.
   */
  readonly held?: (() => Promise<ReadonlySet<string>>) | undefined
}

export interface PublishedHere extends Pick<CheckedText, 'faults' | 'hash'> {
  /** Hash of the replaced text. */
  readonly before: string
  /** True if new calls already use the new text. */
  readonly inUse: boolean
  /** Hashes of the earlier texts of the file that were kept. */
  readonly earlier: readonly string[]
}

/**
 * Edits agents of this process. Every method rejects with one of these GatewayErrors:
 * - AGENT_UNKNOWN for a name that is not a file of the folder
 * - AGENT_INVALID for a file that is not edited here
 * - CAPACITY while other texts wait for their check
 * - CALL_FAULT, AGENTS_DIR_UNWRITABLE, STORE_DOWN
 */
export interface AgentEditing {
  here(): Promise<EditedHere>
  /** @param version  hash of a kept text; null for the present file */
  open(file: string, version: string | null): Promise<OpenedText>
  check(draft: { readonly file: string; readonly text: string }): Promise<CheckedText>
  /**
   * Publishes a text without faults. Also rejects with AGENT_CHANGED if the file has a text that the publication may
   * not replace.
   */
  publish(order: PublishOrder): Promise<PublishedHere>
  /** Keeps a text as a draft for calls from the console. */
  draft(draft: { readonly file: string; readonly text: string }): Promise<TriableDraft>
  /** True if a call was placed from this node to try a draft. */
  tries(callSid: string): boolean
}

export interface EdgeTls extends TlsFiles {
  /** @throws GatewayError CONFIG_INVALID if the current files cannot be used */
  readonly check: () => void
  /** Time in ms between two readings of the files; `core/limits.ts` has the default. Tests set less. */
  readonly lookMs?: number
}

export interface EdgeOptions {
  readonly host: string
  /** Public port; 0 lets the system choose (tests). */
  readonly port: number
  readonly opsHost: string
  readonly opsPort: number
  /**
   * Port that only this process uses, beside a shared port; `nodeUrl` leads to it. The kernel spreads connections to
   * the shared port over the processes, but a call's socket must reach its owner. If absent, there is no such port.
   */
  readonly nodePort?: number
  /**
   * Bearer token of the ops port with all rights. If it is null, the port needs no token, and should be on loopback
   * only.
   */
  readonly opsToken: string | null
  /** Bearer token that reads only metrics; absent or null if there is none. Used only with an `opsToken`. */
  readonly opsReadToken?: string | null
  /** Token for listening to live calls. If it is null and an `opsToken` is set, requests may not listen. */
  readonly opsListenToken?: string | null
  /**
   * Numbers of ours to which a token is limited, by the SHA-256 of the token (hex). The map is changed in place. Used
   * only with an `opsToken`.
   */
  readonly opsNumberTokens?: ReadonlyMap<string, ReadonlySet<string>>
  /** True lets other processes of this gateway listen on the public port. The ops port is never shared. */
  readonly shared: boolean
  /** Origin that the carrier uses, `https://…`; null to use the request's Host. */
  readonly publicUrl: string | null
  /** TLS on the public port; absent or null for plain HTTP. */
  readonly tls?: EdgeTls | null
  /**
   * Origin of this node for the audio sockets of its calls. Null if `publicUrl` leads only here. Without `publicUrl`,
   * null means the request's Host, with `nodePort` if set.
   */
  readonly nodeUrl: string | null
  /** This node in its fleet. If absent, every webhook is answered here (tests of the edge alone). */
  readonly fleet?: EdgeFleet
  /**
   * Secrets, each of which may have signed a webhook. Unsigned webhooks are accepted if the list is empty, and
   * `publicUrl` is missing or `insecure` is set.
   */
  readonly webhookSecrets: readonly string[]
  /**
   * Secrets of Standard Webhooks (`whsec_…`), one of which must have signed a post to a continuation URL. If absent
   * or empty, the URL's token is enough.
   */
  readonly continueSecrets?: readonly string[]
  /** Present number of faults in the files of agents and numbers, for `/readyz`. If absent, there are no faults. */
  readonly fileFaults?: () => number
  /** Used with secrets: decides if the token in our URLs proves a post without a signature. */
  readonly tokenOnly: 'learn' | 'refuse' | 'accept'
  /** True if unsigned webhooks from strangers are accepted. False if absent. */
  readonly insecure?: boolean
  /** True if signatures without a time are also accepted; they can be replayed for ever. */
  readonly bareSignatures: boolean
  /**
   * Secrets of the tokens in our URLs, at least one. The first signs; each may have signed a received token. Equal at
   * all nodes of a fleet.
   */
  readonly tokenSecrets: readonly string[]
  /** Numbers that are routed to this gateway, used to distinguish caller and callee; may be empty. */
  readonly ownedNumbers: readonly string[]
  /** Document for a caller whom no agent can answer. It also replaces a document that cannot be written. */
  readonly noAgent: readonly VoiceAction[]
  readonly callerLimits: CallerLimitSettings
  readonly humanCalls: HumanCalls
  /** Networks of proxies whose X-Forwarded-For is used. The header is ignored from other peers. */
  readonly trustedProxies: readonly string[]
  /** Monotonic clock for rates, deadlines and watchdogs. */
  readonly clock: Clock
  /** Calendar clock for the dates of signatures and tokens. */
  readonly wallClock: WallClock
  readonly log: Log
  readonly metrics: Metrics
  readonly callSeries: CallSeries
  readonly calls: CallDirectory
  /** Calls that this gateway places; absent if it places none. */
  readonly outbound?: OutboundCalls
  /**
   * True if a number is on the do-not-call list. If absent, there is no list.
   * @throws GatewayError STORE_DOWN
   */
  readonly isDoNotCall?: (number: string) => Promise<boolean>
  /** Called when the carrier has recorded a call. */
  readonly onRecordingReady?: (callSid: CallSid) => void
  /** Called when the carrier has sent an event about its wallet or its storage. */
  readonly onAccountEvent?: (event: AccountEvent) => void
  /** Called once for `POST /api/drain`. The composition root then leaves the fleet and ends the process. */
  readonly onDrain: () => void
  /**
   * Reads a stored document of a call of an earlier run; undefined if there is none. If absent, no documents are
   * stored.
   */
  readonly kept?: (kind: 'record' | 'handoff', callSid: CallSid) => Promise<unknown>
  /** Finds ended calls of any run. If absent, no calls are stored. */
  readonly finder?: Pick<CallFinder, 'find' | 'chart' | 'usual'>
  /** Erases data of calls. Absent if this process does not store data of its calls (tests). */
  readonly erasure?: ErasureHere
  /** Messages of this process to receivers; absent if there are none. */
  readonly outbox?: Pick<Outbox, 'list' | 'retry' | 'waiting' | 'dead'>
  /** Campaigns and the do-not-call list; absent if this gateway places no calls. */
  readonly campaigns?: Pick<
    CampaignDesk,
    'reached' | 'create' | 'list' | 'view' | 'command' | 'remove' | 'report' | 'doNotCall' | 'doNotCallList'
  >
  /**
   * Finds the WAV of an ended call; null if there is none. `part`: from 1; null for the newest part.
   * @throws GatewayError STORAGE if the object storage does not answer
   */
  readonly recording: (callSid: string, part: number | null) => Promise<StoredFile | null>
  /**
   * Finds the carrier's recording of an ended call; null if there is none. Absent if these recordings are not stored.
   * @throws in the same cases as `recording`
   */
  readonly carrierRecording?: (callSid: string) => Promise<StoredFile | null>
  /** Finds the journal of a call; null if there is none. Absent if journals are not stored. */
  readonly journal?: (callSid: string) => Promise<StoredFile | null>
  /** Settings as an operator may see them; absent if none are shown (tests). */
  readonly settings?: Readonly<Record<string, unknown>>
  /** Agents for an operator; absent if they are not shown (tests). */
  readonly agents?: AgentsHere
  /** Editor of agents; absent if agents are not edited here (AGENTS_EDIT). */
  readonly editor?: AgentEditing
  /** Source of this process's file descriptors; its own /proc if absent. */
  readonly descriptors?: DescriptorSource
  /** Files of the operator's page; empty if there is no page. */
  readonly console: ReadonlyMap<string, ConsoleFile>
  /** Time in ms between two checks for a watching page; `core/limits.ts` has the default. Tests set less. */
  readonly liveMs?: number
  /** Places the calls of the console's softphone. If absent, calls cannot be placed. */
  readonly phone?: Softphone
  /** This program's version, for the console. */
  readonly version?: string
}
