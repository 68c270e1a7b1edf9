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
import type { Log } from '../telemetry/log.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { HumanCalls } from '../escalation/human-calls.js'
import type { CallerLimitSettings } from './public/caller-limits.js'
import type { DescriptorSource } from './descriptors.js'
import type { Softphone } from './ops/ops-phone.js'
import type { TlsFiles } from './http/uws.js'

/** A file of the console, by its path: `/`, `/console.js`. */
export interface ConsoleFile {
  readonly contentType: string
  readonly body: string | Uint8Array
}

/** Services with which the edge routes webhooks to the owners of their calls, and goes on with calls whose node is gone. */
interface EdgeFleet extends Pick<RecoveryOptions<object>, 'kept' | 'lost' | 'carrier' | 'callBack'> {
  readonly node: FleetNode
  readonly storeHome: StoreHome
  /** Record of a call of an earlier run of this node, of which it is not decided yet whether it is the call's. */
  readonly left: (callSid: string) => CallRecord | undefined
}

/** Whose data is erased: of one call, or of all calls of a number (E.164). */
export type ErasureTarget =
  | { readonly sid: CallSid }
  /** `masked`: also the calls whose record has the number masked and looks like it. */
  | { readonly number: string; readonly masked: boolean }

/** Data of a number in one process. */
interface FoundHere {
  /** Ended calls, EXPORT_CALLS_MAX at most. */
  readonly callSids: readonly string[]
  /** Calls beyond that. */
  readonly more: number
  /** Calls whose record has the number masked, and which may be somebody else's. */
  readonly uncertain: number
  /** Messages about these calls that no receiver has taken yet; of a fleet those that wait at this node. */
  readonly messages: readonly MessageView[]
}

/** Data of a number in campaigns. */
interface CampaignsOfNumber {
  readonly rows: readonly object[]
  /** It is on the do-not-call list. */
  readonly doNotCall: boolean
  /** Stores that could not be looked at, in words. */
  readonly unlooked: readonly string[]
}

/** Result of an erasure in one process. */
interface ErasedHere {
  readonly erased: ErasedCounts
  readonly uncertain: number
  /** Stores that could not be looked at, in words. */
  readonly unlooked: readonly string[]
}

/** Erases ended calls from this process, and finds those of a number. */
export interface ErasureHere {
  /** Live calls that are meant. */
  live(target: ErasureTarget): number
  /** `uncertain`: calls that were left because their record has the number masked. */
  erase(target: ErasureTarget): Promise<ErasedHere>
  find(target: Extract<ErasureTarget, { number: string }>): Promise<FoundHere>
  /** Rows that nodes share, and those on the disk here. */
  campaignsOf(number: string): Promise<CampaignsOfNumber>
  /** Memory of a caller's last calls, of all nodes. @throws GatewayError STORE_DOWN */
  rememberedOf(number: string): Promise<readonly object[]>
  /**
   * Erases what nodes keep in the fleet's store: the state of calls, and what is remembered of callers.
   * @param nodes  those that say that no such call is live
   * @throws GatewayError STORE_DOWN
   */
  eraseKept(target: ErasureTarget, nodes: readonly string[]): Promise<number>
}

/** The agents of this process, for an operator. What both answer is JSON. */
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

/** One node's part of the list that an editor of agents sees. */
export interface EditedHere {
  /** Files of the agents folder. `hash`: of the text; null where it is not edited here. `refusal`: why it is not; null: it is. */
  readonly files: readonly { readonly file: string; readonly hash: string | null; readonly refusal: string | null }[]
  /** Versions that new calls get, `agentVersion` in their records. */
  readonly agents: readonly { readonly name: string; readonly version: string; readonly canary: string | null }[]
}

/** The result of a check of a text in the place of a file, as `mkondo check` reports it. */
export interface CheckedText {
  readonly faults: readonly { readonly line: number; readonly col: number; readonly what: string }[]
  /** Names the text. */
  readonly hash: string
  /** Null where there are faults, as is `version`. */
  readonly agent: string | null
  readonly version: string | null
}

/** A text of the agents folder, as it is or as it was. */
export interface OpenedText {
  readonly file: string
  /** Null: it is not shown, because of `refusal`. */
  readonly text: string | null
  readonly refusal: string | null
  /** Name of the agent in it; null where none can be read. */
  readonly agent: string | null
  readonly hash: string
  /** Hash of the file as it is. */
  readonly current: string
  readonly versions: readonly { readonly hash: string; readonly atMs: number }[]
}

/** A text that calls from the console can try. */
export interface TriableDraft extends CheckedText {
  /** Null with faults. */
  readonly id: string | null
}

export interface PublishOrder {
  readonly file: string
  readonly text: string
  /** Hashes of the texts that it may replace: the one that was opened, then those before it, where that was never kept. */
  readonly bases: readonly string[]
  /**
   * Hashes that the nodes that answer have of the file. Given by the node that an operator asks: there the fleet decides which of
   * two publications is the one. Absent: it is decided.
   */
  readonly held?: (() => Promise<ReadonlySet<string>>) | undefined
}

export interface PublishedHere extends Pick<CheckedText, 'faults' | 'hash'> {
  /** Hash of the text that was there. */
  readonly before: string
  /** New calls use it by now. */
  readonly inUse: boolean
  /** Hashes of the texts of the file that were kept before. */
  readonly earlier: readonly string[]
}

/** A node's answer to a publication. */
export interface NodeOutcome {
  /** Null: the only one. */
  readonly name: string | null
  /** `unknown`: it did not answer, and may have it all the same. */
  readonly outcome: 'published' | 'refused' | 'unknown'
  readonly inUse: boolean
  /** The reason of a refusal; null: it was not refused. */
  readonly why: string | null
}

/** `GET /api/editor`. */
export interface EditedList {
  readonly nodes: readonly (EditedHere & {
    readonly name: string | null
    readonly answered: boolean
    /** The reason why it has no list; null: it has one. */
    readonly why: string | null
  })[]
}

/** `POST /api/editor/publish`. */
export interface Publication extends Pick<CheckedText, 'faults' | 'hash'> {
  readonly published: boolean
  readonly nodes: readonly NodeOutcome[]
}

/**
 * Edits agents of this process. Every method rejects with a GatewayError: AGENT_UNKNOWN for what is no file of the folder,
 * AGENT_INVALID for one that is not edited here, CAPACITY while others wait for their check, CALL_FAULT, AGENTS_DIR_UNWRITABLE, STORE_DOWN.
 */
export interface AgentEditing {
  here(): Promise<EditedHere>
  /** @param version  hash of a kept text; null: the file as it is */
  open(file: string, version: string | null): Promise<OpenedText>
  check(draft: { readonly file: string; readonly text: string }): Promise<CheckedText>
  /** With faults nothing is published. Rejects also with AGENT_CHANGED where the file has none of the texts that it may replace. */
  publish(order: PublishOrder): Promise<PublishedHere>
  /** Holds a text for calls from the console that try it. */
  draft(draft: { readonly file: string; readonly text: string }): Promise<TriableDraft>
  /** True if a call was placed here to try a draft. */
  tries(callSid: string): boolean
}

export interface EdgeTls extends TlsFiles {
  /** @throws GatewayError CONFIG_INVALID when what the files hold now cannot be used */
  readonly check: () => void
  /** How often they are looked at. Absent: as `core/limits.ts` says; tests do not wait for that. */
  readonly lookMs?: number
}

export interface EdgeOptions {
  readonly host: string
  /** Public port; 0 lets the system choose (tests). */
  readonly port: number
  readonly opsHost: string
  readonly opsPort: number
  /**
   * A port of this process alone beside a shared one; `nodeUrl` leads there. The kernel spreads connections to the
   * shared port over the processes, and a call's socket must reach its owner. Absent: none.
   */
  readonly nodePort?: number
  /** Bearer token of the ops port with all rights; null leaves the port open, which then belongs on loopback. */
  readonly opsToken: string | null
  /** Bearer token that reads metrics only; absent or null: none. Used with an `opsToken` only. */
  readonly opsReadToken?: string | null
  /** The right to listen to live calls; null: nobody may listen where there is an `opsToken`. */
  readonly opsListenToken?: string | null
  /**
   * Our numbers to whose calls a token is limited, by the SHA-256 of the token, hex; changed in place. Absent: there is no
   * such token. Used with an `opsToken` only.
   */
  readonly opsNumberTokens?: ReadonlyMap<string, ReadonlySet<string>>
  /** True lets other processes of this gateway listen on the public port. The ops port is never shared. */
  readonly shared: boolean
  /** Origin that the carrier sees, `https://…`; null takes the request's Host. */
  readonly publicUrl: string | null
  /** TLS on the public port; absent or null: plain HTTP. */
  readonly tls?: EdgeTls | null
  /**
   * Origin of this node, for the URL of the audio socket of its calls. Null where `publicUrl` leads here alone, or,
   * without `publicUrl`, the request's Host, with `nodePort` where there is one.
   */
  readonly nodeUrl: string | null
  /** This node in its fleet. Absent: every webhook is answered here (tests of the edge alone). */
  readonly fleet?: EdgeFleet
  /**
   * Any of them may have signed a webhook. Empty, and without `publicUrl` or with `insecure`: unsigned webhooks are
   * accepted.
   */
  readonly webhookSecrets: readonly string[]
  /**
   * Secrets of Standard Webhooks (`whsec_…`), one of which must have signed what is posted to a continuation URL. Absent,
   * and empty: its token is enough.
   */
  readonly continueSecrets?: readonly string[]
  /** Errors in the files of agents and numbers now, which `/readyz` says. Absent: none. */
  readonly fileFaults?: () => number
  /** Says whether the token in our URLs proves a post without a signature, where there are secrets. */
  readonly tokenOnly: 'learn' | 'refuse' | 'accept'
  /** Unsigned webhooks from strangers are accepted. Absent: no. */
  readonly insecure?: boolean
  /** True accepts signatures without a time too, which can be replayed for ever. */
  readonly bareSignatures: boolean
  /** The first one signs the tokens in our URLs, each may have signed; the same in all nodes of a fleet. At least one. */
  readonly tokenSecrets: readonly string[]
  /** Numbers that are routed to this gateway, to tell caller from callee; may be empty. */
  readonly ownedNumbers: readonly string[]
  /** The document for a caller whom no agent can answer, and in place of one that cannot be written. */
  readonly noAgent: readonly VoiceAction[]
  readonly callerLimits: CallerLimitSettings
  readonly humanCalls: HumanCalls
  /** Networks of proxies whose X-Forwarded-For is believed; from others it is ignored. */
  readonly trustedProxies: readonly string[]
  /** Monotonic: rates, deadlines and watchdogs. */
  readonly clock: Clock
  /** Calendar: dates of signatures and tokens. */
  readonly wallClock: WallClock
  readonly log: Log
  readonly metrics: Metrics
  readonly callSeries: CallSeries
  readonly calls: CallDirectory
  /** Calls that this gateway places; absent where it places none. */
  readonly outbound?: OutboundCalls
  /** True if a number is on the do-not-call list. Absent: there is none. @throws GatewayError STORE_DOWN */
  readonly isDoNotCall?: (number: string) => Promise<boolean>
  /** Called when the carrier has recorded a call. */
  readonly onRecordingReady?: (callSid: CallSid) => void
  /** `POST /api/drain`; the composition root also leaves the fleet and exits. Called once. */
  readonly onDrain: () => void
  /** A stored document of a call of an earlier run; undefined when there is none. Absent: nothing is stored. */
  readonly kept?: (kind: 'record' | 'handoff', callSid: CallSid) => Promise<unknown>
  /** Finds ended calls of any run. Absent: nothing is kept. */
  readonly finder?: Pick<CallFinder, 'find' | 'chart'>
  /** Absent: this process keeps nothing of its calls (tests). */
  readonly erasure?: ErasureHere
  /** Messages to receivers, of this process. Absent: none. */
  readonly outbox?: Pick<Outbox, 'list' | 'retry' | 'waiting' | 'dead'>
  /** Campaigns and the do-not-call list. Absent: this gateway places no calls. */
  readonly campaigns?: Pick<
    CampaignDesk,
    'reached' | 'create' | 'list' | 'view' | 'command' | 'remove' | 'report' | 'doNotCall' | 'doNotCallList'
  >
  /**
   * The WAV of an ended call; null when there is none. `part`: from 1; null: the newest.
   * @throws GatewayError STORAGE when it is in the object storage, which does not answer
   */
  readonly recording: (callSid: string, part: number | null) => Promise<StoredFile | null>
  /** The carrier's recording of an ended call; null when there is none. Absent: none are kept. @throws as `recording` */
  readonly carrierRecording?: (callSid: string) => Promise<StoredFile | null>
  /** The journal of a call; null when there is none. Absent: none are kept. */
  readonly journal?: (callSid: string) => Promise<StoredFile | null>
  /** The settings as an operator may see them. Absent: none (tests). */
  readonly settings?: Readonly<Record<string, unknown>>
  /** Absent: none are shown (tests). */
  readonly agents?: AgentsHere
  /** Absent: agents are not edited here (AGENTS_EDIT). */
  readonly editor?: AgentEditing
  /** The source of this process's file descriptors; its own /proc when absent. */
  readonly descriptors?: DescriptorSource
  /** The operator's page; empty for none. */
  readonly console: ReadonlyMap<string, ConsoleFile>
  /** How often what a page watches is looked at. Absent: as `core/limits.ts` says; tests do not wait for that. */
  readonly liveMs?: number
  /** Places the calls of the console's softphone; absent: none. */
  readonly phone?: Softphone
  /** This program's version, for the console. */
  readonly version?: string
}
