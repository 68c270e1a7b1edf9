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
import type { CanaryWatch } from '../canary-watch.js'
import type { CampaignsSide } from '../campaigns-side.js'
import type { DailyBudgets } from '../daily-budgets.js'
import type { FleetSide } from '../fleet-side.js'
import type { JournalFiles } from '../journal-files.js'
import type { UnsettledCalls } from '../unsettled-calls.js'
import type { IdleFolders } from '../process-plan.js'
import type { GatewayInputs } from './inputs.js'

/**
 * Services that the parts of one gateway provide to each other. Each field is set by one part when this part starts. An
 * earlier part may read the field only later, when all parts have started. The type of a part's parameter lists the
 * fields that the part may use: `Shared<'inputs' | 'metrics'>`.
 */
export class GatewayShared {
  readonly inputs: GatewayInputs
  readonly drafts = new Drafts()
  /** Listeners that are called with the record of each ended call. */
  readonly recordListeners: ((record: CallRecord) => void)[] = []
  /**
   * Listeners that are called with the record of an ended call when the carrier's details or the analysis have been
   * added.
   */
  readonly joinedListeners: ((record: CallRecord) => void)[] = []
  /** Number of errors in agent files at the last check. */
  agentFaults: number

  lookups!: LookupCounts
  metrics!: Metrics
  callSeries!: CallSeries
  /** Export of traces; null if traces are not collected. */
  traces!: TraceExport | null
  /** DATA_DIR; null if the gateway writes no files. */
  folder!: DataFolder | null
  speech!: SpeechPool
  /** Journals; null without JOURNAL_CALLS. */
  journals!: JournalFiles | null
  fleet!: FleetSide
  /** Data folders whose process does not always run. */
  idle!: IdleFolders
  kept!: CallArchive
  humanCalls!: HumanCalls
  unsettledCalls!: UnsettledCalls
  calls!: CallRegistry
  costs!: CallCosts
  budgets!: DailyBudgets
  canaries!: CanaryWatch
  analyses!: CallAnalyses
  /** Null without the carrier's API. `wallet` and `placing` are also null then. */
  details!: CallDetails | null
  wallet!: WalletWatch | null
  outbound!: OutboundCalls
  placing!: CampaignsSide | null
  edge!: Edge
  /** Null if agents cannot be edited. */
  agentCatchUp: AgentCatchUp | null = null

  constructor(inputs: GatewayInputs) {
    this.inputs = inputs
    this.agentFaults = inputs.faults.length
  }
}

/** The fields of `GatewayShared` that a part may use. */
export type Shared<Field extends keyof GatewayShared> = Pick<GatewayShared, Field>
