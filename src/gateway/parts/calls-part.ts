import { join } from 'node:path'
import { usesRecogniser } from '../../backends/split.js'
import { CALL_BACK_REFUSALS } from '../../call/events.js'
import type { CallRecord } from '../../call/documents/record.js'
import { mayCallBack } from '../../campaigns/call-back-row.js'
import { isCallSid } from '../../core/ids.js'
import type { CallSid } from '../../core/ids.js'
import { HumanCalls } from '../../escalation/human-calls.js'
import { recordAt } from '../../edge/ops/ops-fleet.js'
import { eachVersion } from '../../workers/main/canary.js'
import { CallRegistry } from '../../workers/main/call-registry.js'
import type { CallRegistryOptions } from '../../workers/main/call-registry.js'
import type { OverAnswer } from '../../workers/main/main-thread-context.js'
import { loadMediaAssets } from '../../workers/shared/media-assets.js'
import type { MediaAssets } from '../../workers/shared/media-assets.js'
import { MediaPool } from '../../workers/main/media-pool.js'
import { carrierControl } from '../carrier-side.js'
import { UnsettledCalls } from '../unsettled-calls.js'
import { retentionOf } from './inputs.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

/**
 * Memory limit in MB of one media worker: a base, and an amount for each call. The limit applies to the heap, and again
 * to buffers outside the heap. One call needs 0.27 MB, two thirds of it outside the heap (bench L2-prod).
 */
export const WORKER_MEMORY_BASE_MB = 256
export const WORKER_MEMORY_CALL_MB = 1

type CallsShared = Shared<
  | 'inputs'
  | 'drafts'
  | 'metrics'
  | 'callSeries'
  | 'traces'
  | 'folder'
  | 'speech'
  | 'journals'
  | 'fleet'
  | 'kept'
  | 'humanCalls'
  | 'unsettledCalls'
  | 'calls'
  | 'costs'
  | 'budgets'
  | 'canaries'
  | 'analyses'
  | 'details'
  | 'placing'
  | 'edge'
  | 'recordListeners'
>

/** The calls, the media workers that carry them, and the work after each call's end. */
export function callsPart(shared: CallsShared): Part {
  const { config, log, agents } = shared.inputs
  return {
    name: 'calls',
    start: async () => {
      const { metrics, kept, fleet, speech } = shared
      const humanCalls = new HumanCalls({
        perNumberPerMinute: config.humanCallsPerMinute,
        fallbacksPerMinute: config.fallbackDialsPerMinute,
      })
      shared.humanCalls = humanCalls
      // All series exist from the start with the value 0, so that a rate includes the first count of each series.
      for (const reason of CALL_BACK_REFUSALS) metrics.callBacksRefused({ reason })
      metrics.countEach(
        'human_calls_refused',
        'Calls to a human that were not placed, because the limit per minute was reached',
        'by',
        humanCalls.refused,
      )
      shared.unsettledCalls = new UnsettledCalls({
        earlier: kept.left.map(({ record }) => record),
        isLive: (callSid) => calls.find(callSid) !== undefined,
        recordOf: (callSid) => calls.record(callSid),
        recordAt: async (callSid, ours, isLast) => {
          const left = kept.left.find(({ record }) => record === shared.unsettledCalls.record(callSid))
          const stored = left === undefined ? 'nowhere' : await kept.inStorage(callSid)
          return stored === 'nowhere' ? recordAt(fleet.node, callSid, ours, left?.atWallMs, isLast) : stored
        },
        // From now on, the other node handles requests about this call.
        onElsewhere: (callSid) => fleet.node.handedOver(callSid),
        isKept: kept.openRecords !== null,
        log: log.component('workers'),
      })
      const calls = new CallRegistry(registryOptions(shared, await loadMediaAssets()))
      shared.calls = calls
      const recognises = eachVersion(agents).some(([, { shares }]) => shares.some(usesRecogniser))
      try {
        // The speech workers start before the first call. Otherwise the voice would not be ready when the gateway must
        // speak.
        await Promise.all([recognises ? speech.ready() : null, calls.ready()])
      } catch (thrown) {
        await calls.close()
        throw thrown
      }
    },
    stop: () => shared.calls.close(),
  }
}

function registryOptions(shared: CallsShared, assets: MediaAssets): CallRegistryOptions {
  const { inputs, kept, fleet, metrics, journals, speech, callSeries, traces, humanCalls } = shared
  const { config, env, log, agents, defaultAgent, numbers, api, speaks, clock, version } = inputs
  return {
    agents,
    defaultAgent,
    businesses: numbers.businesses,
    draftOf: (callSid) => shared.drafts.of(callSid),
    isCanaryStopped: (agent, version) => shared.canaries.stopped(agent, version) !== undefined,
    openPool: (pooled) => new MediaPool({ ...pooled, ...poolOptions(shared, assets) }),
    env,
    speech: speaks ? speech : null,
    clock,
    metrics,
    maxCalls: config.maxCalls,
    recordsKeepMs: (agent) => (retentionOf(inputs, agent)?.recordsDays ?? config.recordsKeepDays) * 86_400_000,
    cordoned: () => fleet.node.state === 'cordoned',
    disk: { isFull: () => shared.kept.isFull, isElsewhere: () => fleet.node.keepsElsewhere },
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
    withCost: (record) => shared.costs.withCost(record),
    budgetStep: (number) => shared.budgets.step(number),
    privacy: { maskNumbers: config.recordsNumbers === 'masked', transcript: config.recordsTranscript },
    ended: kept.ended,
    afterStream: config.afterStream === 'learn' ? null : config.afterStream,
    onHandoff: (news) => kept.handoff(news),
    onStarted: (started) => {
      const { callSid, agent, number = null } = started
      kept.tell({ type: 'call.started', callSid, agent, number, data: started })
    },
    callBacks: {
      mayRing: (agent, number, ours) => mayCallBack(agent, number, ours, config.outboundPrefixes),
      refusal: (state, order) => shared.placing?.campaigns.refusal(state, order) ?? Promise.resolve(null),
      promise: (state, order) => shared.placing?.campaigns.promise(state, order) ?? Promise.resolve(null),
    },
    onDoNotCall: (...wish) => shared.placing?.callNoMore(...wish) ?? Promise.resolve(false),
    onWaitUnheard: ({ id, ...data }) => {
      const { callSid, agent, to: number } = data
      const type = 'tool.waiting.done'
      kept.tell({ type, id: `${callSid}:${type}:${id}`, callSid, agent, number, data })
    },
    keeper: fleet.keeper,
    effects: fleet.effects,
    sharedAttempts: fleet.attempts,
    callerMemory: fleet.callerMemory,
    onStreamLost: (state, cut) => shared.edge.streamLost(state, cut),
    leaveResting: (callSid) => leaveResting(shared, callSid),
    elsewhere: () => fleet.node.takesCallsElsewhere,
    onRefused: (record, packet) => kept.keepRefused(record, packet),
    onGoneElsewhere: (callSid, part) => goneElsewhere(shared, callSid, part),
    onRecord: (record, told) => ended(shared, record, told),
  }
}

function poolOptions(
  { inputs, folder }: CallsShared,
  assets: MediaAssets,
): Pick<ConstructorParameters<typeof MediaPool>[0], 'workers' | 'workerEnv' | 'workerData'> {
  const { config, env, backends, workerEnv } = inputs
  return {
    workers: config.mediaWorkers,
    workerEnv,
    workerData: {
      assets,
      env,
      backends,
      // These files do not contain callers' words, so retention and erasure ignore them.
      phrasesFolder: folder === null ? null : join(config.dataDir, 'voices'),
      // Each worker has enough memory for all calls: if a worker is down, other workers carry its calls.
      memoryMb: config.workerMemoryMb ?? WORKER_MEMORY_BASE_MB + config.maxCalls * WORKER_MEMORY_CALL_MB,
    },
  }
}

/**
 * Gives a call without session and stream to another node, because this node is stopping. If no node accepts the call,
 * its stored state is left for the next run.
 */
async function leaveResting(
  { inputs, fleet, edge }: CallsShared,
  callSid: CallSid,
): ReturnType<NonNullable<CallRegistryOptions['leaveResting']>> {
  if (!(await fleet.keeper.saved(callSid))) return 'nowhere'
  if (await edge.give(callSid)) return 'moved'
  if (fleet.storeHome.home === 'redis') fleet.node.leaveBehind()
  return fleet.storeHome.home === 'redis' || inputs.keepsAlone ? 'kept' : 'nowhere'
}

/**
 * Handles a call of this node that another node continues.
 * @param part  record of the part of the call that was here
 */
function goneElsewhere(
  { fleet, journals, unsettledCalls, calls, kept }: CallsShared,
  sid: CallSid,
  part: CallRecord,
): void {
  fleet.node.released(sid)
  journals?.close(sid)
  void unsettledCalls.settle([part], (record, callSid, isRecord) => {
    if (isRecord) calls.enter(record)
    else kept.openRecords?.gone(callSid)
  })
}

/**
 * Handles a call that has ended.
 * @param told  the store's answer about the call's owner; null if this node owns the call
 */
function ended(shared: CallsShared, record: CallRecord, told: Promise<OverAnswer> | null): void {
  const { fleet, journals, costs, analyses, kept, unsettledCalls, calls, details, placing } = shared
  const { callSid } = record
  fleet.node.released(callSid)
  journals?.close(callSid)
  costs.count(record)
  const tellsRow = (): void => placing?.campaigns.ended(record)
  // The row waits for the decision, because another node may have the row's person on the line, or may have ended the
  // row's call.
  const waits = told !== null && (record.endReason === 'not-taken' || record.endReason === 'process-died')
  if (told === null) {
    analyses.take(record)
    kept.over(record)
  } else {
    const isOurs = told.then((answer) => unsettledCalls.isOurs(record, answer))
    kept.keepIfOurs(
      record,
      isOurs,
      () => calls.record(callSid),
      (newest) => {
        if (newest === null) return void (isCallSid(callSid) && calls.forget(callSid))
        analyses.take(newest)
        if (waits) tellsRow()
      },
    )
  }
  if (isCallSid(callSid)) details?.follow(callSid, record.consent !== 'refused')
  if (!waits) tellsRow()
  for (const listener of shared.recordListeners) listener(record)
}
