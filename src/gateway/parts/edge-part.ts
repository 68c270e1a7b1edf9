import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { AgentTexts } from '../../agents/file/agent-texts.js'
import { endText } from '../../backends/model-ends.js'
import { shownSettings } from '../../config/shown-settings.js'
import { publicTls } from '../../config/tls-files.js'
import { forgetRows, rowsOf } from '../../campaigns/rows-of.js'
import { messageOf } from '../../core/errors.js'
import { EXPORT_CALLS_MAX } from '../../core/limits.js'
import { startEdge } from '../../edge/edge.js'
import type { EdgeOptions } from '../../edge/options.js'
import { callBack } from '../../fleet/call-back.js'
import { PhraseStore } from '../../speech/phrase-store.js'
import { liveCount } from '../../workers/main/live-call.js'
import { AgentCatchUp } from '../agents/agent-catch-up.js'
import { AgentEditor } from '../agents/agent-editor.js'
import { AgentHeads } from '../agents/agent-heads.js'
import { stoppedText } from '../canary-watch.js'
import { AgentInspector } from '../agents/agent-inspector.js'
import { CallErasure } from '../call-erasure.js'
import { noteAccountEvent } from '../carrier-side.js'
import { isListed, ofRestingRows, unreadRows } from '../campaigns-side.js'
import type { CampaignsSide } from '../campaigns-side.js'
import { consoleFiles } from '../console-files.js'
import { agentsDirOf, endsOf, versionsFor } from '../agents/hosted-agents.js'
import { findJournal } from '../journal-files.js'
import { BrowserPhone } from '../agents/softphone.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

/**
 * Time in ms for which the ports stay open after the last call of a drain. In this time the carrier sends its last
 * webhooks, and the drain command gets its answer.
 */
const LAST_WEBHOOKS_MS = 500

type EdgeShared = Shared<
  | 'inputs'
  | 'drafts'
  | 'agentFaults'
  | 'metrics'
  | 'callSeries'
  | 'speech'
  | 'fleet'
  | 'idle'
  | 'kept'
  | 'humanCalls'
  | 'unsettledCalls'
  | 'calls'
  | 'canaries'
  | 'analyses'
  | 'details'
  | 'outbound'
  | 'wallet'
  | 'placing'
  | 'edge'
  | 'agentCatchUp'
>

/**
 * The ports. They close when all live calls have ended.
 * @param onDrain  called when an operator commands a drain
 */
export function edgePart(shared: EdgeShared, onDrain: () => void): Part {
  const { config, log, numbers, process: one } = shared.inputs
  const phone = new BrowserPhone({
    config,
    log: log.component('gateway'),
    publicPort: () => shared.edge.publicPort,
    mediaOrigin: config.nodeUrl ?? config.publicUrl,
    mediaPort: () => one?.plan.ownPort ?? shared.edge.publicPort,
    numberOf: (agent) => numbers.firstOf(agent),
    drafts: shared.drafts,
  })
  return {
    name: 'edge',
    start: async () => {
      const editor = config.agentsEdit ? agentEditor(shared) : null
      shared.edge = await startEdge({
        ...{ ...settingsOf(shared), ...servicesOf(shared), phone, onDrain },
        ...(editor === null ? {} : { editor }),
      })
    },
    stop: async ({ drainTimeoutMs, byCommand }) => {
      const carried = liveCount(shared.calls)
      await shared.calls.drain(drainTimeoutMs)
      // Two things still need the ports: the carrier's webhooks about the ended calls, and the answer to the drain
      // command.
      if (carried > 0 || byCommand) await sleep(LAST_WEBHOOKS_MS)
      shared.edge.stopAccepting()
      await shared.edge.close()
      await phone.close()
    },
  }
}

/** Options that only repeat settings. */
function settingsOf({ inputs }: EdgeShared) {
  const { config, numbers, tokenSecrets, version, process: one } = inputs
  return {
    host: config.host,
    port: config.port,
    opsHost: config.opsHost,
    opsPort: config.opsPort,
    opsToken: config.opsToken,
    opsReadToken: config.opsReadToken,
    opsListenToken: config.opsListenToken,
    opsNumberTokens: numbers.opsTokens,
    shared: one !== undefined,
    publicUrl: config.publicUrl,
    tls: publicTls(config),
    nodeUrl: config.nodeUrl,
    ...(one === undefined ? {} : { nodePort: one.plan.ownPort }),
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
    trustedProxies: config.trustedProxies,
    settings: shownSettings(config),
    version,
  } satisfies Partial<EdgeOptions>
}

/** Options that connect the ports to other parts. */
function servicesOf(shared: EdgeShared) {
  const { inputs, metrics, callSeries, calls, outbound, humanCalls, kept, placing, speech } = shared
  const { config, env, log, agents, numbers, backends, clock, workerEnv } = inputs
  return {
    fileFaults: () => numbers.faults + shared.agentFaults,
    fleet: fleetOptions(shared),
    humanCalls,
    clock,
    wallClock: Date.now,
    log: log.component('edge'),
    metrics,
    callSeries,
    calls,
    outbound,
    onRecordingReady: (callSid) => shared.details?.recordingReady(callSid),
    onAccountEvent: (event) => noteAccountEvent(event, shared.wallet, log.component('sautikit-api')),
    erasure: callErasure(shared),
    outbox: kept.outbox,
    ...(placing === null
      ? {}
      : {
          campaigns: placing.desk,
          isDoNotCall: (number: string) => placing.desk.reached(() => placing.isDoNotCall(number)),
        }),
    recording: (callSid, part) => kept.recording(callSid, part),
    carrierRecording: (callSid) => kept.carrierRecording(callSid),
    kept: (kind, callSid) => kept.find(kind, callSid),
    ...(kept.finder === null ? {} : { finder: kept.finder }),
    journal: (callSid) => findJournal(config.dataDir, callSid),
    agents: new AgentInspector({
      agents,
      dir: agentsDirOf(config),
      watched: config.agentsWatch,
      env,
      workerEnv,
      say: async (agent, text) => {
        // Imported only here, because nothing else on this thread needs a voice.
        const { renderPhrase } = await import('../agents/render-phrase.js')
        const store = new PhraseStore(join(config.dataDir, 'voices'))
        return renderPhrase(agent, text, { speech, settings: backends, store })
      },
      stopped: (agent, version) => {
        const why = shared.canaries.stopped(agent, version)
        return why === undefined ? null : stoppedText(why)
      },
      modelEnds: (agent) => endsOf(backends, agent, Date.now()).map(endText),
      speech: true,
    }),
    console: consoleFiles(),
  } satisfies Partial<EdgeOptions>
}

/** The editor of agents, and the store of the fleet's newest published texts. */
function agentEditor(shared: EdgeShared): AgentEditor {
  const { inputs, drafts, fleet } = shared
  const { config, env, agents, numbers, workerEnv, onlyBackend, clock, log, tokenSecrets } = inputs
  const dir = agentsDirOf(config)
  const heads = new AgentHeads({ store: fleet.store.patient, secrets: tokenSecrets, wallClock: Date.now })
  // Failed writes are not handled here, because the store's guard counts and reports them.
  fleet.onForgotten(() => void heads.restore().catch(() => undefined))
  const editor = new AgentEditor({
    ...{ agents, dir, env, workerEnv, drafts, heads, speech: true },
    texts: new AgentTexts(dir, Date.now),
    use: versionsFor(config, numbers, onlyBackend),
  })
  shared.agentCatchUp = new AgentCatchUp({ editor, heads, node: fleet.node, clock, log: log.component('agents') })
  return editor
}

function fleetOptions({
  inputs,
  fleet,
  unsettledCalls,
  calls,
  placing,
  outbound,
}: EdgeShared): NonNullable<EdgeOptions['fleet']> {
  const { log, agents, api } = inputs
  return {
    node: fleet.node,
    storeHome: fleet.storeHome,
    kept: (callSid, entry) => fleet.keeper.opened(callSid, entry),
    // A call of this node's earlier run is left out if its record is on the disk.
    lost: (state) => {
      const { callSid, node } = state.kept
      if (node !== fleet.node.name || unsettledCalls.record(callSid) === undefined) calls.addLostCall(state)
    },
    left: (callSid) => unsettledCalls.record(callSid),
    carrier: api === null ? null : api.calls,
    callBack: (state) =>
      callBack(state, {
        recovery: (agent) => agents.get(agent)?.definition.recovery,
        isDoNotCall: (number) => placing?.isDoNotCall(number) ?? Promise.resolve(false),
        place: (order) => outbound.place(order),
        wallClock: Date.now,
        log: log.component('fleet'),
      }),
  }
}

/** Runs `work` with the campaign desk of this gateway, if the gateway has a desk. Never rejects. */
async function servedRows<T>(
  { placing, inputs: { config } }: Pick<EdgeShared, 'placing' | 'inputs'>,
  ask: (desk: CampaignsSide['desk']) => Promise<T>,
): Promise<{ readonly found: T | null; readonly unlooked: readonly string[] }> {
  if (placing === null) return { found: null, unlooked: [] }
  try {
    const { desk } = placing
    const where = config.redisUrl === null ? 'on the disk' : 'in Redis'
    const found = await desk.reached(() => ask(desk))
    return { found, unlooked: unreadRows(await desk.reached(() => desk.unread()), where) }
  } catch (thrown) {
    return { found: null, unlooked: [`campaigns and call backs (${messageOf(thrown)})`] }
  }
}

function callErasure({ inputs, kept, idle, calls, analyses, details, placing, fleet }: EdgeShared): CallErasure {
  const { config, api, workerEnv } = inputs
  const log = inputs.log.component('campaigns')
  return new CallErasure({
    folders: [config.dataDir, ...kept.leftFolders],
    spareFolder: idle.spare,
    calls,
    forgetWaiting: async (callSids) => {
      await analyses.forget(callSids)
      await kept.forget(callSids)
    },
    eraseObjects: (callSids) => kept.eraseObjects(callSids),
    forgetIndexed: async (callSids) => kept.finder?.forget(callSids),
    forgetDetail: (callSid) => details?.forget(callSid),
    messagesOf: (callSids) => kept.outbox.list(EXPORT_CALLS_MAX, new Set(callSids)),
    // The message has an id of its own instead of a call's, because messages about the erased calls are deleted.
    told: (callSids) =>
      kept.tell({ type: 'caller.erased', callSid: `erasure-${randomUUID()}`, agent: '', data: { callSids } }),
    forgetRows: async (target, folders) => {
      const resting = await ofRestingRows(config, folders, placing !== null, log, (queue) => forgetRows(queue, target))
      const served = await servedRows({ placing, inputs }, (desk) => desk.forget(target))
      const rows = [...resting.found, served.found ?? 0].reduce((sum, count) => sum + count, 0)
      return { rows, unlooked: [...resting.unlooked, ...served.unlooked] }
    },
    campaignsOf: async (number, folders) => {
      const resting = await ofRestingRows(config, folders, placing !== null, log, (queue) => rowsOf(queue, number))
      const served = await servedRows({ placing, inputs }, (desk) => desk.ofNumber(number))
      return {
        rows: [...resting.found.flat(), ...(served.found?.rows ?? [])],
        doNotCall: served.found?.doNotCall ?? (await isListed(config.dataDir, number)),
        unlooked: [...resting.unlooked, ...served.unlooked],
      }
    },
    forgetRemembered: (target) =>
      'sid' in target ? fleet.callerMemory.forgetCall(target.sid) : fleet.callerMemory.forget(target.number),
    rememberedOf: (number) => fleet.callerMemory.ofCaller(number),
    store: fleet.store,
    keeper: fleet.keeper,
    carrierCall: api === null ? null : (callSid) => api.calls.getCall(callSid),
    workerEnv,
  })
}
