import type { CallRecord } from '../../call/documents/record.js'
import type { Edge } from '../../edge/edge.js'
import type { HumanCalls } from '../../escalation/human-calls.js'
import type { LookupCounts } from '../../http/name-lookup.js'
import type { CallDetails } from '../../sautikit-api/call-details.js'
import type { WalletWatch } from '../../sautikit-api/wallet.js'
import type { SpeechPool } from '../../speech/speech-pool.js'
import type { DataFolder } from '../../telemetry/archive/data-folder.js'
import type { CallSeries } from '../../telemetry/call-series.js'
import type { Metrics } from '../../telemetry/metrics.js'
import type { TraceExport } from '../../telemetry/trace-export.js'
import type { CallRegistry } from '../../workers/main/call-registry.js'
import type { OutboundCalls } from '../../workers/main/outbound-calls.js'
import type { AgentCatchUp } from '../agents/agent-catch-up.js'
import { Drafts } from '../agents/agent-editor.js'
import type { CallAnalyses } from '../call-analyses.js'
import type { CallArchive } from '../call-archive.js'
import type { CallCosts } from '../call-costs.js'
import type { CampaignsSide } from '../campaigns-side.js'
import type { DailyBudgets } from '../daily-budgets.js'
import type { FleetSide } from '../fleet-side.js'
import type { JournalFiles } from '../journal-files.js'
import type { UnsettledCalls } from '../unsettled-calls.js'
import type { IdleFolders } from '../process-plan.js'
import type { GatewayInputs } from './inputs.js'

/**
 * Services that the parts of one gateway open for each other. One part sets each field when it starts; those that start
 * before it read the field only when a call needs it, which is after all have started. A part's parameter names the
 * fields that it may touch: `Shared<'inputs' | 'metrics'>`.
 */
export class GatewayShared {
  readonly inputs: GatewayInputs
  readonly drafts = new Drafts()
  /** Each gets the record of each call that ended. */
  readonly recordListeners: ((record: CallRecord) => void)[] = []
  /** Each gets the record of an ended call again, when the carrier's detail or the analysis has been joined to it. */
  readonly joinedListeners: ((record: CallRecord) => void)[] = []
  /** Errors in agent files, as the last look found them. */
  agentFaults: number

  lookups!: LookupCounts
  metrics!: Metrics
  callSeries!: CallSeries
  /** Null: nobody collects traces. */
  traces!: TraceExport | null
  /** DATA_DIR; null where nothing is written to it. */
  folder!: DataFolder | null
  speech!: SpeechPool
  /** Null without JOURNAL_CALLS. */
  journals!: JournalFiles | null
  fleet!: FleetSide
  /** Data folders that no process has all the time. */
  idle!: IdleFolders
  kept!: CallArchive
  humanCalls!: HumanCalls
  unsettledCalls!: UnsettledCalls
  calls!: CallRegistry
  costs!: CallCosts
  budgets!: DailyBudgets
  analyses!: CallAnalyses
  /** Null without the carrier's API, as `wallet` and `placing` are. */
  details!: CallDetails | null
  wallet!: WalletWatch | null
  outbound!: OutboundCalls
  placing!: CampaignsSide | null
  edge!: Edge
  /** Null where agents are not edited. */
  agentCatchUp: AgentCatchUp | null = null

  constructor(inputs: GatewayInputs) {
    this.inputs = inputs
    this.agentFaults = inputs.faults.length
  }
}

/** The fields of what the parts share that one part may touch. */
export type Shared<Field extends keyof GatewayShared> = Pick<GatewayShared, Field>
