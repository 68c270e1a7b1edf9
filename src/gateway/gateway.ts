import { getDefaultAutoSelectFamilyAttemptTimeout, setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { join } from 'node:path'
import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { numbersOpen } from '../agents/definition.js'
import { variablesReadBy } from '../agents/call-variables.js'
import type { Environment } from '../agents/template.js'
import { workerEnvironment } from './agent-environment.js'
import { PhraseStore } from '../speech/phrase-store.js'
import { SpeechPool } from '../speech/speech-pool.js'
import { namesIn, usesRecogniser } from '../backends/split.js'
import type { AgentDefinition } from '../agents/definition.js'
import type { CallRecord } from '../call/documents/record.js'
import { GatewayError } from '../core/errors.js'
import { CALLS_PER_WORKER_MAX, CONNECT_ATTEMPT_MS, EXPORT_CALLS_MAX } from '../core/limits.js'
import { packageVersion } from '../config/package-root.js'
import { findSpeech, loadTraceExport } from './on-demand.js'
import { shownSettings } from '../config/shown-settings.js'
import { publicTls } from '../config/tls-files.js'
import type { Config } from '../config/settings.js'
import { startEdge } from '../edge/edge.js'
import type { Edge } from '../edge/edge.js'
import { HumanCalls } from '../escalation/human-calls.js'
import { LookupCounts, installNameLookup } from '../http/name-lookup.js'
import { agentIsFull } from '../fleet/agent-capacity.js'
import type { CallStore } from '../fleet/call-store.js'
import { callBack } from '../fleet/call-back.js'
import { restoreRun } from '../fleet/earlier-run.js'
import { claimedOrders } from '../fleet/routing.js'
import { isCallSid } from '../core/ids.js'
import { CallRegistry } from '../workers/call-registry.js'
import { liveCount } from '../workers/live-call.js'
import { OutboundCalls } from '../workers/outbound-calls.js'
import { loadMediaAssets } from '../workers/media-assets.js'
import { MediaPool } from '../workers/media-pool.js'
import { releaseStartMemory } from '../workers/start-memory.js'
import { processClock } from '../workers/ticker.js'
import { holdDataFolder } from '../telemetry/archive/data-folder.js'
import { KEPT_KINDS, keptNames } from '../telemetry/archive/kept-files.js'
import { CallSeries } from '../telemetry/call-series.js'
import type { Log } from '../telemetry/log.js'
import { Metrics } from '../telemetry/metrics.js'
import type { TraceExport } from '../telemetry/trace-export.js'
import { AgentInspector } from './agent-inspector.js'
import { consoleFiles } from './console-files.js'
import {
  agentsDirOf,
  backendSettings,
  followAgents,
  hostedAgents,
  uncountedByBudgets,
  unpricedOf,
  withoutNumbers,
  withoutReplacement,
} from './hosted-agents.js'
import { CallErasure } from './call-erasure.js'
import { CallAnalyses } from './call-analyses.js'
import { CallCosts } from './call-costs.js'
import { DailyBudgets } from './daily-budgets.js'
import { openCallArchive, resumesAlone, usesDataFolder } from './call-archive.js'
import {
  callDetails,
  carrierApi,
  carrierControl,
  countCarrier,
  joinedRecord,
  resumeDetails,
  voiceUrlOf,
} from './carrier-side.js'
import { campaignMessage, openCampaigns } from './campaigns-side.js'
import { said } from './said.js'
import { JournalFiles, findJournal } from './journal-files.js'
import { openFleet } from './fleet-side.js'
import { LeftCalls } from './left-calls.js'
import { WalletWatch } from '../sautikit-api/wallet.js'
import { recordAt } from '../edge/ops-fleet.js'
import { BrowserPhone } from './softphone.js'
import { useCountry } from '../sautikit/phone.js'
import { idleFolders } from './process-plan.js'
import type { IdleFolders, ProcessPlan } from './process-plan.js'

/**
 * Memory bound of one media worker, for the heap and for the buffers outside it each: a base, and an allowance per
 * call. A call was measured at 0.27 MB, two thirds of it outside the heap (bench L2-prod).
 */
export const WORKER_MEMORY_BASE_MB = 256
export const WORKER_MEMORY_CALL_MB = 1
/** After the last call of a drain, for the carrier's webhooks about its end, and for the answer to whoever commanded it. */
const LAST_WEBHOOKS_MS = 500
/** How long a stop waits for rows of campaigns whose calls are over; the others are taken up by the next start. */
const CAMPAIGNS_CLOSE_MS = 2000

interface GatewayOptions {
  readonly config: Config
  /** The environment that tool templates read; the gateway's own secrets are not visible to them. */
  readonly env: Environment
  readonly log: Log
  /** Set for one of several processes on one public port. */
  readonly process?: GatewayProcess
  /** Of all agents, whatever their files name. */
  readonly onlyBackend?: string
}

/** What one of several processes gets beside its share of the settings. */
interface GatewayProcess {
  readonly plan: ProcessPlan
  /** How often it was started again after it had died. */
  readonly restarts: number
  /** What it shares with the others where REDIS_URL is not set. */
  readonly store: CallStore
}

/** A running gateway. */
export interface Gateway {
  readonly publicPort: number
  readonly opsPort: number
  readonly agents: readonly string[]
  readonly calls: CallRegistry
  /** Called with the record of each call that ended. */
  onRecord(listener: (record: CallRecord) => void): void
  /** Called again with the record of an ended call when the carrier's detail has been joined to it. */
  onJoined(listener: (record: CallRecord) => void): void
  /** Takes no more calls, waits for the live ones, then frees everything. Idempotent. */
  stop(drainTimeoutMs: number): Promise<void>
  /**
   * Resolves when it has stopped, also after `POST /api/drain`. Rejects with CONFIG_INVALID when another live node has its
   * name: then the process must end, with its calls, so that other nodes can go on with them.
   */
  readonly stopped: Promise<void>
}

/**
 * Starts everything of one gateway process, from the models to the ports. Resolves when it takes calls.
 * @throws GatewayError for settings, agents, keys and ports that cannot be used
 */
export async function startGateway({ config, env, log, process: one, onlyBackend }: GatewayOptions): Promise<Gateway> {
  useCountry(config.country)
  if (config.maxCalls > config.mediaWorkers * CALLS_PER_WORKER_MAX) {
    throw new GatewayError(
      'CONFIG_INVALID',
      `MAX_CALLS is '${config.maxCalls}'; allowed with ${config.mediaWorkers} MEDIA_WORKERS: ` +
        `at most ${config.mediaWorkers * CALLS_PER_WORKER_MAX}`,
    )
  }
  const tokenSecrets = config.tokenSecrets.length === 0 ? [randomBytes(32).toString('base64url')] : config.tokenSecrets
  const { agents, defaultAgent, numbers } = await hostedAgents(config, env, onlyBackend)
  if (numbers.fault !== '')
    log.error({ fault: numbers.fault }, 'NUMBERS_FILE has errors: the gateway starts without these numbers')
  let agentFaults = 0
  const unreplaced = withoutReplacement(agents)
  if (unreplaced.length > 0) {
    log.warn(
      { agents: unreplaced },
      'agents with `backend: auto` have no `offline:` block: while the model cannot be reached, their callers are sent to a human',
    )
  }
  const numberless = withoutNumbers(agents, numbers)
  if (numberless.length > 0)
    log.warn(
      { agents: numberless },
      'agents read facts of a business, and no number in NUMBERS_FILE leads to them: their callers are refused',
    )
  const backends = backendSettings(config)
  const limited = [...agents.values()].filter(({ definition }) => definition.budget?.maxCost !== undefined)
  for (const unpriced of [
    ...uncountedByBudgets(backends, agents, numbers.businesses.values()),
    ...limited.flatMap(({ definition, shares }) => unpricedOf(backends, definition, namesIn(shares))),
  ])
    log.warn(
      { ...unpriced },
      'a budget does not count models without a price: set one in PRICES_FILE, or in budget.prices of the agent',
    )
  const unspoken = findSpeech(agents.values())
  // The log would take the versions in the command for addresses of mail.
  if (unspoken !== null)
    log.warn(
      {},
      "the offline recogniser and voice are not installed: the gateway's own phrases are not spoken (`mkondo check` names the command)",
    )
  const folder = usesDataFolder(config) ? await holdDataFolder(config.dataDir) : null
  const access = folder?.close() ?? 'closed'
  if (access === 'closes')
    log.info({ data_dir: config.dataDir }, 'DATA_DIR was open to other users: its mode is 0700 now')
  if (access === 'open')
    log.warn(
      { data_dir: config.dataDir },
      'DATA_DIR is open to other users, and has records and recordings: make it readable by this user alone (chmod 700)',
    )
  if (folder === null && KEPT_KINDS.some((kind) => keptNames(config.dataDir, kind).length > 0))
    log.warn(
      { data_dir: config.dataDir },
      'DATA_DIR has files of earlier calls, which nobody deletes: with these settings no call is kept',
    )
  const clock = processClock()
  const version = packageVersion()
  const traces =
    config.otlpEndpoint === null
      ? null
      : new (await loadTraceExport()).TraceExport({
          endpoint: config.otlpEndpoint,
          version,
          instance: config.nodeName,
          log: log.component('telemetry'),
        })
  const metrics = new Metrics({
    version,
    ...(traces === null ? {} : { traceIdOf: (callSid: string) => traces.traceId(callSid) }),
  })
  const lookups = new LookupCounts()
  const uninstallNameLookup = installNameLookup(lookups)
  const attemptMsBefore = getDefaultAutoSelectFamilyAttemptTimeout()
  setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
  metrics.nameLookupsFrom(lookups.all)
  const faults = metrics.defineLabelledGauge(
    'file_faults',
    'Errors in the files of agents and numbers; what has one is not in use, or in its version before',
    ['file'],
    'max',
  )
  faults.from({ file: 'agents' }, () => agentFaults)
  faults.from({ file: 'numbers' }, () => numbers.faults)
  const callSeries = new CallSeries({ clock, callsMax: config.maxCallSeries })
  const journals = config.journalCalls !== 'off' ? new JournalFiles(config.dataDir, log, clock) : null
  const listeners: ((record: CallRecord) => void)[] = []
  const workerEnv = workerEnvironment(process.env, config.shopApiUrl)
  const speech = new SpeechPool({
    workerEnv,
    threads: config.speechWorkers,
    decodersPerThread: config.speechDecoders,
    onFault: (error) => {
      metrics.workerDeaths({ pool: 'speech' }).inc()
      log.component('speech').error({ err: error }, 'a speech worker died')
    },
  })
  countElsewhere(metrics, { speech, journals, traces })
  const api = carrierApi(config)
  if (api === null) {
    log.info(
      {},
      "SAUTIKIT_API_KEY is not set: the gateway cannot hang up calls or add a human through the carrier's API",
    )
  }
  let tellStopped = (): void => undefined
  let tellNameTaken = (): void => undefined
  const stopped = new Promise<void>((resolve, reject) => {
    tellStopped = resolve
    tellNameTaken = () =>
      reject(
        new GatewayError(
          'CONFIG_INVALID',
          `NODE_NAME is '${fleet.node.name}'; allowed: a name that no other live node of the fleet has`,
        ),
      )
  })
  stopped.catch(() => undefined) // whoever waits for it is told
  const keepsAlone = resumesAlone(config) && one === undefined
  const fleet = await openFleet({
    config,
    tokenSecrets,
    store: one?.store ?? null,
    states: keepsAlone
      ? {
          keep: (changes) => kept.states?.keep(changes) ?? Promise.resolve(false),
          gone: (callSid) => kept.states?.gone(callSid),
          value: (value) => kept.states?.value(value),
        }
      : null,
    version,
    clock,
    log,
    metrics,
    calls: () => calls,
    liveCosts: () => budgets.liveCosts,
    onNameTaken: () => tellNameTaken(),
  })
  const retentionOf = (agent: string): AgentDefinition['retention'] | null =>
    agents.get(agent)?.definition.retention ?? null
  const costs = new CallCosts({
    currency: config.currency,
    prices: backends.prices,
    metrics,
    spent: (number, amount, callSid) => budgets.spend(number, amount, callSid),
  })
  let calls: CallRegistry | null = null
  const budgets = await DailyBudgets.open({
    businesses: numbers.businesses,
    store: fleet.store.patient,
    live: function* () {
      for (const call of calls?.spending() ?? []) yield { ...call, amount: costs.soFar(call) }
    },
    liveElsewhere: function* () {
      for (const { liveCosts = {} } of fleet.node.alive()) yield liveCosts
    },
    file: folder === null ? null : join(config.dataDir, 'daily-budgets.json'),
    wallClock: Date.now,
    log: log.component('gateway'),
  })
  countBudgets(metrics, budgets)
  const joinedListeners: ((record: CallRecord) => void)[] = []
  const details =
    api === null
      ? null
      : callDetails(
          api,
          config,
          log,
          (callSid) => retentionOf(calls?.record(callSid)?.agent ?? '')?.recordingsDays ?? null,
          (callSid, detail) => {
            joinedRecord(callSid, detail, calls, kept).then(
              (found) => {
                if (found === null) return
                const joined = costs.withCost(found)
                kept.joined(joined)
                for (const listener of joinedListeners) listener(joined)
              },
              (thrown: unknown) =>
                log.warn(
                  { err: thrown, call_sid: callSid },
                  "the carrier's data on a call could not be added to its record",
                ),
            )
          },
        )
  const humanCalls = new HumanCalls({
    perNumberPerMinute: config.humanCallsPerMinute,
    fallbacksPerMinute: config.fallbackDialsPerMinute,
  })
  const { refused } = humanCalls
  metrics.countEach(
    'human_calls_refused',
    'Calls to a human that were not begun, because of too many in a minute',
    'by',
    refused,
  )
  const outbound = new OutboundCalls({
    carrier: api === null ? null : claimedOrders(api.calls, fleet.node),
    clock,
    wallClock: Date.now,
    log: log.component('workers'),
    agent: (name) => {
      const agent = agents.get(name)
      return agent === undefined ? undefined : { ...agent.facts.outbound, variables: variablesReadBy(agent.definition) }
    },
    agentNames: () => [...agents.keys()],
    voiceUrl: (agent) => voiceUrlOf(config, edge?.publicPort ?? config.port, agent),
    free: () => calls?.free ?? 0,
    draining: () => calls?.draining !== false || fleet.node.state !== 'open',
    agentFull: (name) => {
      const agent = agents.get(name)
      return agent !== undefined && calls !== null && agentIsFull(agent.facts, calls, fleet.node)
    },
    perMinute: config.outboundPerMinute,
    recoveryPerMinute: config.recoveryPerMinute,
    prefixes: config.outboundPrefixes,
    isOurs: (number) => numbers.businesses.has(number),
    budgetSpent: (number) => budgets.step(number) === 'messages',
    onUnreached: (record) => calls?.enter(record),
  })
  countCarrier(metrics, api, details, outbound)
  const idle: IdleFolders =
    one === undefined || one.plan.index === 0
      ? idleFolders(config.dataDir, one?.plan.count ?? 1)
      : { left: [], spare: null }
  const kept = await openCallArchive(
    config,
    folder,
    log,
    metrics,
    idle,
    workerEnv,
    (number) => numbers.receivers.get(number) ?? [],
    fleet.outbox,
    env,
    (agent) => retentionOf(agent)?.recordsDays ?? null,
  )
  const phone = new BrowserPhone({
    config,
    log: log.component('gateway'),
    publicPort: () => edge?.publicPort ?? config.port,
    mediaOrigin: config.nodeUrl ?? config.publicUrl,
    mediaPort: () => one?.plan.ownPort ?? edge?.publicPort ?? config.port,
    numberOf: (agent) => numbers.firstOf(agent),
  })
  const leftCalls = new LeftCalls({
    earlier: kept.left.map(({ callSid }) => callSid),
    isHere: (callSid, record) => {
      const known = calls?.record(callSid)
      return calls?.find(callSid) !== undefined || (known !== undefined && known !== record)
    },
    recordAt: (callSid) => recordAt(fleet.node, callSid),
    log: log.component('workers'),
  })
  const analyses = new CallAnalyses({
    agents,
    settings: backends.cascade,
    prices: backends.prices,
    perHour: config.analysesPerHour,
    clock,
    wallClock: Date.now,
    log: log.component('gateway'),
    metrics,
    owed: fleet.owedAnalyses,
    done: async (ended, analysis, isTold) => {
      const record = calls?.join(ended.callSid, { analysis }) ?? null
      if (isTold && record === null) return
      // That of a node which died is not among the records here.
      const joined = record ?? costs.withCost({ ...ended, analysis })
      if (!isTold) costs.countAnalysis(joined)
      await kept.analysed(joined, isTold ? 'record' : record === null ? 'message' : 'both')
      for (const listener of joinedListeners) listener(joined)
    },
  })
  const wallet =
    api === null ? null : new WalletWatch({ ask: () => api.calls.walletMinor(), log: log.component('sautikit-api') })
  if (wallet !== null)
    metrics
      .defineGauge('carrier_wallet_minor', "What the carrier's wallet holds, in minor units; NaN: not known")
      .from(() => wallet.minor ?? NaN)
  const placing =
    api === null
      ? null
      : await openCampaigns({
          config,
          outbound,
          store: fleet.store,
          agent: (name) => agents.get(name)?.definition,
          agentNames: () => [...agents.keys()],
          humanFirst: (name, from) => {
            const business = from === null ? undefined : numbers.businesses.get(from)
            const agent = agents.get(name)
            const served = business === undefined ? agent : (agent?.forBusiness?.(business) ?? agent)
            const { callbacks = null, escalation = null } = served?.definition ?? {}
            return callbacks?.humanFirst === true ? (numbersOpen(escalation, Date.now())[0] ?? null) : null
          },
          slots: () => ({ capacity: calls?.capacity ?? 0, free: (calls?.free ?? 0) - outbound.waiting }),
          walletMinor: () => wallet?.minor ?? null,
          budgetSpent: (number) => budgets.step(number) === 'messages',
          walletEmpty: () => wallet?.empty(),
          told: (news) => kept.tell(campaignMessage(news)),
          metrics,
          log,
        })
  let edge: Edge | null = null
  let unfollow: (() => Promise<void>) | null = null
  try {
    const assets = await loadMediaAssets()
    calls = new CallRegistry({
      agents,
      defaultAgent,
      businesses: numbers.businesses,
      openPool: (pooled) =>
        new MediaPool({
          ...pooled,
          workers: config.mediaWorkers,
          workerEnv,
          workerData: {
            assets,
            env,
            backends,
            // No caller's words are in these files: they are none of the kinds that retention and erasure go through.
            phrasesFolder: folder === null ? null : join(config.dataDir, 'voices'),
            // Every worker could carry all calls: when one is down the others take them.
            memoryMb: config.workerMemoryMb ?? WORKER_MEMORY_BASE_MB + config.maxCalls * WORKER_MEMORY_CALL_MB,
          },
        }),
      env,
      speech: unspoken === null ? speech : null,
      clock,
      metrics,
      maxCalls: config.maxCalls,
      recordsKeepMs: (agent) => (retentionOf(agent)?.recordsDays ?? config.recordsKeepDays) * 86_400_000,
      cordoned: () => fleet.node.state === 'cordoned',
      carrier: api === null ? null : carrierControl(api),
      humanCalls,
      wallClock: Date.now,
      log: log.component('workers'),
      callSeries,
      traces,
      keepJournal: journals === null ? null : (callSid, lines, days) => journals.append(callSid, lines, days),
      ...(journals === null ? {} : { discardJournal: (callSid) => journals.discard(callSid) }),
      journal: { build: version, audio: config.journalCalls === 'audio' },
      record: kept.record,
      openRecords: kept.openRecords,
      withCost: costs.withCost,
      budgetStep: (number) => budgets.step(number),
      privacy: { maskNumbers: config.recordsNumbers === 'masked', transcript: config.recordsTranscript },
      ended: kept.ended,
      afterStream: config.afterStream === 'learn' ? null : config.afterStream,
      onHandoff: (news) => kept.handoff(news),
      onStarted: (started) => {
        const { callSid, agent, number = null } = started
        kept.tell({ type: 'call.started', callSid, agent, number, data: started })
      },
      onPromise: (state) => void placing?.campaigns.promise(state),
      onDoNotCall: (number) => placing?.callNoMore(number) ?? Promise.resolve(false),
      onWaitUnheard: ({ id, ...data }) => {
        const { callSid, agent, to: number } = data
        const type = 'tool.waiting.done'
        kept.tell({ type, id: `${callSid}:${type}:${id}`, callSid, agent, number, data })
      },
      keeper: fleet.keeper,
      effects: fleet.effects,
      sharedAttempts: fleet.attempts,
      onStreamLost: (state, cut) => edge?.streamLost(state, cut) ?? Promise.resolve(),
      leaveWaits: async (sid) => {
        if (!(await fleet.keeper.saved(sid))) return 'nowhere'
        if ((await edge?.give(sid)) === true) return 'moved'
        if (fleet.storeHome.home === 'redis') fleet.node.leaveBehind()
        return fleet.storeHome.home === 'redis' || keepsAlone ? 'kept' : 'nowhere'
      },
      elsewhere: () => fleet.node.alive().some(({ free, state }) => free > 0 && state === 'open'),
      onRefused: (record, packet) => kept.keepRefused(record, packet),
      onGoneElsewhere: (sid, part) => {
        fleet.node.released(sid)
        journals?.close(sid)
        void leftCalls.settle([part], (record, callSid, isRecord) => {
          if (isRecord) calls?.enter(record)
          else kept.openRecords?.gone(callSid)
        })
      },
      onRecord: (record, told) => {
        fleet.node.released(record.callSid)
        journals?.close(record.callSid)
        costs.count(record)
        const { callSid } = record
        if (told === null) {
          analyses.take(record)
          kept.over(record)
        } else {
          const isOurs = told.then((answer) => answer === 'ok' || leftCalls.isOurs(record))
          kept.keepIfOurs(record, isOurs, () => calls?.record(callSid))
          void isOurs.then((ours) => {
            const newest = calls?.record(callSid)
            if (!ours && isCallSid(callSid)) calls?.forget(callSid)
            else if (newest !== undefined) analyses.take(newest)
          })
        }
        if (isCallSid(callSid)) details?.follow(callSid, record.consent !== 'refused')
        placing?.campaigns.ended(record)
        for (const listener of listeners) listener(record)
      },
    })
    const recognises = [...agents.values()].some(({ shares }) => shares.some(usesRecogniser))
    // Otherwise the speech workers start with the first call, and their voice is ready before the gateway has to speak.
    await Promise.all([recognises ? speech.ready() : null, calls.ready()])
    if (config.tokenSecrets.length === 0)
      log.info(
        {},
        'TOKEN_SECRET is not set: tokens are valid in this process only, until it ends, and if it dies its calls do not go on',
      )
    await restoreRun(kept, fleet.node, Date.now(), log.component('fleet'))
    edge = await startEdge({
      host: config.host,
      port: config.port,
      opsHost: config.opsHost,
      opsPort: config.opsPort,
      opsToken: config.opsToken,
      opsReadToken: config.opsReadToken,
      opsListenToken: config.opsListenToken,
      opsNumberTokens: numbers.opsTokens,
      fileFaults: () => numbers.faults + agentFaults,
      shared: one !== undefined,
      publicUrl: config.publicUrl,
      tls: publicTls(config),
      nodeUrl: config.nodeUrl,
      ...(one === undefined ? {} : { nodePort: one.plan.ownPort }),
      fleet: {
        node: fleet.node,
        storeHome: fleet.storeHome,
        kept: (callSid, entry) => fleet.keeper.opened(callSid, entry),
        // The call of an earlier run of this node has its record on the disk.
        lost: (state) => {
          const { callSid, node } = state.kept
          if (node !== fleet.node.name || !leftCalls.has(callSid)) calls?.enterLost(state)
        },
        carrier: api === null ? null : api.calls,
        callBack: (state) =>
          callBack(state, {
            recovery: (agent) => agents.get(agent)?.definition.recovery,
            isDoNotCall: (number) => placing?.isDoNotCall(number) ?? Promise.resolve(false),
            place: (order) => outbound.place(order),
            wallClock: Date.now,
            log: log.component('fleet'),
          }),
      },
      webhookSecrets: config.webhookSecrets,
      continueSecrets: config.continueSecrets,
      insecure: config.insecure,
      bareSignatures: config.bareSignatures,
      tokenOnly: config.tokenOnly,
      tokenSecrets,
      ownedNumbers: [],
      noAgent: [...config.noAgentSay, { verb: 'hangup' }],
      callerLimits: {
        calls: config.callerCalls,
        perMinute: config.callerCallsPerMinute,
        withheldPercent: config.withheldCallsPercent,
        exempt: config.callerLimitsExempt,
      },
      humanCalls,
      trustedProxies: config.trustedProxies,
      clock,
      wallClock: Date.now,
      log: log.component('edge'),
      metrics,
      callSeries,
      calls,
      outbound,
      onRecordingReady: (callSid) => details?.recordingReady(callSid),
      onDrain: () => void stop(config.drainTimeoutMs, true),
      erasure: new CallErasure({
        folders: [config.dataDir, ...kept.leftFolders],
        spareFolder: idle.spare,
        calls,
        forgetWaiting: async (callSids) => {
          await analyses.forget(callSids)
          await kept.forget(callSids)
        },
        eraseObjects: (callSids) => kept.eraseObjects(callSids),
        forgetDetail: (callSid) => details?.forget(callSid),
        messagesOf: (callSids) => kept.outbox.list(EXPORT_CALLS_MAX, new Set(callSids)),
        // An id of its own: messages about the erased calls are gone.
        told: (callSids) =>
          kept.tell({ type: 'caller.erased', callSid: `erasure-${randomUUID()}`, agent: '', data: { callSids } }),
        ...(placing === null
          ? {}
          : {
              forgetRows: (number: string) => placing.desk.reached(() => placing.desk.forget(number)),
              campaignsOf: (number: string) => placing.desk.reached(() => placing.desk.ofNumber(number)),
            }),
        store: fleet.store,
        keeper: fleet.keeper,
        carrierCall: api === null ? null : (callSid) => api.calls.getCall(callSid),
        workerEnv,
      }),
      outbox: kept.outbox,
      ...(placing === null ? {} : { campaigns: placing.desk }),
      recording: (callSid, part) => kept.recording(callSid, part),
      carrierRecording: (callSid) => kept.carrierRecording(callSid),
      kept: (kind, callSid) => kept.find(kind, callSid),
      journal: (callSid) => findJournal(config.dataDir, callSid),
      settings: shownSettings(config),
      agents: new AgentInspector({
        agents,
        dir: agentsDirOf(config),
        watched: config.agentsWatch,
        env,
        workerEnv,
        say: (agent, text) =>
          said(agent, text, {
            speech,
            settings: backends,
            store: new PhraseStore(join(config.dataDir, 'voices')),
          }),
        speech: true,
      }),
      console: consoleFiles(),
      phone,
      version,
    })
    if (config.agentsWatch)
      unfollow = await followAgents({
        ...{ config, env, log, agents, numbers, only: onlyBackend },
        onCount: (faults) => (agentFaults = faults),
      })
    await fleet.node.start()
    // Redis may be away: calls come in all the same.
    void placing?.campaigns.look()
    void wallet?.look()
    const registry = calls
    const left = kept.left.map(({ record }) => record)
    void leftCalls.settle(left, (record, callSid, isRecord) => {
      kept.settleLeft(callSid, isRecord)
      if (!isRecord) return
      registry.enterLeft(record)
      costs.count(record)
      void analyses.takeLeft([record])
      details?.follow(callSid, record.consent !== 'refused')
    })
  } catch (thrown) {
    await Promise.allSettled([
      edge?.close(),
      calls?.close(),
      speech.close(),
      traces?.close(),
      placing?.campaigns.close(0),
      budgets.close(),
      kept.close(),
      fleet.close(),
    ])
    throw thrown
  }
  metrics.countOne(
    'process_restarts',
    'Times that this process was started again after it had died',
    () => one?.restarts ?? 0,
  )
  metrics.start()
  // The first metrics page takes ten times as long as later ones, so it is made while no call waits.
  await metrics.render()
  await releaseStartMemory()
  void analyses.takeLeft(kept.ended).then(() => analyses.look())
  if (details !== null) resumeDetails(details, kept.ended, Date.now())

  let stopping: Promise<void> | null = null
  const running = { calls, edge }
  function stop(drainTimeoutMs: number, byCommand = false): Promise<void> {
    stopping ??= (async () => {
      const carried = liveCount(running.calls)
      log.info({ calls: carried }, 'stopping: no new calls are accepted')
      fleet.node.state = 'draining'
      leftCalls.close()
      wallet?.close()
      outbound.close()
      await unfollow?.()
      await running.calls.drain(drainTimeoutMs)
      await placing?.campaigns.close(CAMPAIGNS_CLOSE_MS)
      // The carrier posts a call's end after the call, and whoever gave the command has to get its answer.
      if (carried > 0 || byCommand) await sleep(LAST_WEBHOOKS_MS)
      await details?.close()
      running.edge.stopAccepting()
      await running.edge.close()
      await phone.close()
      await analyses.close()
      await budgets.close()
      // While the store of the fleet can still be told what receivers have taken.
      await kept.closeMessages()
      await fleet.close()
      await Promise.all([running.calls.close(), speech.close(), journals?.closeAll(), traces?.close(), kept.close()])
      uninstallNameLookup()
      setDefaultAutoSelectFamilyAttemptTimeout(attemptMsBefore)
      metrics.close()
      log.info({}, 'stopped')
      tellStopped()
    })()
    return stopping
  }
  return {
    publicPort: edge.publicPort,
    opsPort: edge.opsPort,
    agents: [...agents.keys()],
    calls,
    onRecord: (listener) => listeners.push(listener),
    onJoined: (listener) => joinedListeners.push(listener),
    stop: (drainTimeoutMs) => stop(drainTimeoutMs),
    stopped,
  }
}

function countBudgets(metrics: Metrics, budgets: DailyBudgets): void {
  const gauge = metrics.defineLabelledGauge(
    'budget_numbers',
    'Numbers with a budget of the day, by how far it is used up',
    ['step'],
    'max',
  )
  for (const step of ['cheaper', 'messages', null] as const)
    gauge.from({ step: step ?? 'none' }, () => budgets.count(step))
}

/**
 * Counters of parts that have no access to the metrics: copied once a second, and 0 from the start, so that rates
 * include the first count.
 */
function countElsewhere(
  metrics: Metrics,
  parts: { readonly speech: SpeechPool; readonly journals: JournalFiles | null; readonly traces: TraceExport | null },
): void {
  const { speech, journals, traces } = parts
  for (const pool of ['media', 'speech']) metrics.workerDeaths({ pool })
  metrics.workers.from({ pool: 'speech' }, () => speech.threads)
  metrics.workerTasks.from({ pool: 'speech' }, () => speech.stats.sessions)
  const spans = metrics.defineCounter('trace_spans', 'Spans of ended calls, by result', ['result'])
  metrics.countFrom(spans({ result: 'exported' }), () => traces?.exported ?? 0)
  metrics.countFrom(spans({ result: 'failed' }), () => traces?.failed ?? 0)
  metrics.countFrom(spans({ result: 'dropped' }), () => traces?.dropped ?? 0)
  metrics.countOne(
    'recording_lines_dropped',
    'Lines of journals that could not be written',
    () => journals?.dropped ?? 0,
  )
}
