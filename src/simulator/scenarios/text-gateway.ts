import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { NO_ASSETS } from '../../agents/file/assets.js'
import type { Business } from '../../agents/file/business.js'
import type { Environment } from '../../agents/file/template.js'
import { ToolRunners } from '../../agents/tools/tool-runner.js'
import type { EffectAnswer } from '../../agents/tools/tool.js'
import type { BackendSettings } from '../../backends/registry.js'
import type { CallRecord } from '../../call/documents/record.js'
import { Admission } from '../../edge/public/admission.js'
import { StreamTokens } from '../../edge/public/stream-tokens.js'
import { WebhookGuard } from '../../edge/public/webhook-guard.js'
import { Webhooks } from '../../edge/public/webhooks.js'
import { HumanCalls } from '../../escalation/human-calls.js'
import { HttpClient } from '../../http/http-client.js'
import { levelDbfs } from '../../media/pcm.js'
import { ResamplerBank } from '../../media/resample/resampler.js'
import type { VadBank } from '../../media/vad/vad.js'
import { parseStreamText } from '../../sautikit/stream-messages.js'
import { CallSeries } from '../../telemetry/call-series.js'
import { createLog } from '../../telemetry/log.js'
import { Metrics } from '../../telemetry/metrics.js'
import { WEBHOOK_ROUTES } from '../../telemetry/metric-labels.js'
import { CallRegistry } from '../../workers/main/call-registry.js'
import type { CallToolRunner } from '../../workers/worker/call-tools.js'
import type { PlacedCall } from '../../workers/main/live-call.js'
import type { HostedAgent } from '../../workers/main/main-thread-context.js'
import { loadMediaAssets, voiceDetectors } from '../../workers/shared/media-assets.js'
import { type ConnectFork, HandshakeRefused } from '../../carrier/audio-fork.js'
import type { CallEnvironment, WebhookAnswer } from '../../carrier/call-options.js'
import { callBackRow, mayCallBack } from '../../campaigns/call-back-row.js'
import type { Row } from '../../campaigns/campaign.js'
import type { CallBackDesk } from '../../workers/main/main-thread-context.js'
import { OneThreadPool } from '../one-thread-pool.js'
import { SimulatedClock } from '../simulated-clock.js'
import type { RememberedCall, SettledTool, SlowTool } from './scenario.js'
import { DAY_MS } from '../../core/units.js'
import { TextSpeech, type TextVoices } from './text-speech.js'

/** Removes sound files from the agent, because words replace all sound in text calls. */
function withoutSounds(agent: HostedAgent): HostedAgent {
  const { assets = NO_ASSETS, forBusiness } = agent
  const silent = { ...agent, assets: { ...assets, recorded: [], waiting: null } }
  if (forBusiness === undefined) return silent
  return { ...silent, forBusiness: (business, step) => withoutSounds(forBusiness(business, step)) }
}

/** Time in ms from the document to the media socket. In this time the backend becomes ready. */
const SOCKET_AFTER_MS = 200
/** Path of a webhook, with the agent if the path names one. */
const PATH = new RegExp(`^/(${WEBHOOK_ROUTES.join('|')})(?:/([^/]+))?$`)

/**
 * The gateway of one text call, and its time. The code is the production code without threads, sockets and speech
 * models. Sound is coded instead of spoken.
 */
export class TextGateway implements CallEnvironment {
  readonly clock: SimulatedClock
  /** The call back that the agent promised; null if there is none. */
  promised: Row | null = null
  /** Record of the call, once it has ended. */
  record: CallRecord | null = null
  readonly calls: CallRegistry
  readonly #voices: TextVoices
  readonly #tokens: StreamTokens
  readonly #guard: WebhookGuard
  readonly #webhooks: Webhooks
  /** Outcomes that have not been posted: no tool waits for them yet. */
  readonly #settle: SettledTool[]
  /** Speech of the agent that is speaking in the call. */
  #speech: TextSpeech | null = null

  constructor(media: TextMedia, voices: TextVoices, options: TextGatewayOptions) {
    this.#voices = voices
    this.#settle = [...options.settle]
    this.clock = options.clock ?? new SimulatedClock()
    const clock = this.clock.nowMs
    const wallClock = (): number => this.clock.elapsedMs + options.startedAtWallMs
    const metrics = new Metrics({ version: 'simulate', processMetrics: false })
    const { earlier } = options
    const remembered =
      earlier === null
        ? null
        : {
            endedWallMs: options.startedAtWallMs - earlier.daysAgo * DAY_MS,
            ...{ outcome: earlier.outcome, facts: earlier.facts },
          }
    const shared = {
      clock,
      wallClock,
      metrics,
      log: createLog({ level: 'silent' }),
      callSeries: new CallSeries({ clock }),
      humanCalls: new HumanCalls({ perNumberPerMinute: 1, fallbacksPerMinute: 1 }),
    }
    const rules = { agent: (name: string) => options.agents.get(name)?.definition, prefixes: [], wallClock }
    const refusal: CallBackDesk['refusal'] = (state, order) => {
      const row = callBackRow(state, order, rules)
      return Promise.resolve(row !== null && 'why' in row ? row : null)
    }
    const promise: CallBackDesk['promise'] = (state, order) => {
      const row = callBackRow(state, order, rules)
      if (row !== null && !('why' in row)) this.promised = row
      return refusal(state, order)
    }
    this.calls = new CallRegistry({
      ...shared,
      agents: new Map([...options.agents].map(([name, agent]) => [name, withoutSounds(agent)])),
      businesses: options.businesses,
      defaultAgent: null,
      maxCalls: 1,
      env: options.env,
      carrier: null,
      keepJournal: null,
      journal: { build: 'simulate', audio: false },
      afterStream: 'continues',
      callerMemory: {
        recall: () => Promise.resolve(remembered),
        remember: () => Promise.resolve(),
      },
      onDoNotCall: () => Promise.resolve(true),
      callBacks: {
        mayRing: (agent, number, ours) => mayCallBack(agent, number, ours, []),
        refusal,
        promise,
      },
      onRecord: (record) => {
        this.record = record
      },
      onRefused: (record) => {
        this.record = record
      },
      speech: { openSession: () => this.#openSpeech() },
      setTimer: this.clock.after,
      openPool: () =>
        new OneThreadPool({
          clock: this.clock,
          wallClock,
          resamplers: media.resamplers,
          vads: media.vads,
          backends: media.backends,
          tools: async ({ agent, assets }) => {
            const tools = await media.tools.of(agent, assets)
            await tools.useServers()
            const answering = slowed(tools, options.slow, this.clock)
            return withPending(answering, (tool, url) => this.#pending(tool, url))
          },
        }),
    })
    let { placed } = options
    const edge = {
      ...shared,
      calls: this.calls,
      outbound: {
        find: () => placed ?? undefined,
        state: () => true,
        taken: () => {
          placed = null
        },
      },
      // Webhooks need no signature.
      publicUrl: null,
      nodeUrl: null,
      ownedNumbers: [],
      noAgent: [],
      callerLimits: { calls: 1, perMinute: 1, withheldPercent: 100, exempt: [] },
      webhookSecrets: [],
      tokenSecrets: ['of the text mode'],
      tokenOnly: 'accept' as const,
      bareSignatures: false,
    }
    this.#tokens = new StreamTokens(edge)
    this.#guard = new WebhookGuard(edge, this.#tokens)
    this.#webhooks = new Webhooks(edge, this.#guard, this.#tokens, new Admission(edge, { low: false, why: '' }))
  }

  // --- the carrier's requests --------------------------------------------------------------------------------

  readonly post = async (
    url: string,
    { 'content-type': contentType }: Readonly<Record<string, string>>,
    body: string,
  ): Promise<WebhookAnswer> => {
    const { pathname, searchParams, host } = new URL(url)
    const [, route, agent = searchParams.get('agent')] = PATH.exec(pathname) ?? []
    if (route === undefined) return { status: 404, contentType: '', body: '' }
    const head = {
      ...{ route: route as (typeof WEBHOOK_ROUTES)[number], contentType, agent, host, address: '' },
      ...{ signature: undefined, standard: {}, clientRequestId: null },
      token: searchParams.get('t') ?? undefined,
      since: searchParams.get('since') ?? undefined,
    }
    const judged = this.#guard.judgeHead(head)
    if (typeof judged === 'string') throw new Error('a call of its own was taken for a stranger')
    const webhook = judged !== null && 'reply' in judged ? judged : this.#guard.prove(head, judged, Buffer.from(body))
    const answer = 'reply' in webhook ? webhook : await this.#webhooks.answer(webhook)
    const { status, contentType: type, body: content } = 'reply' in answer ? answer.reply : answer
    return { status, contentType: type ?? '', body: content as string } // webhooks are answered with texts
  }

  readonly connectFork: ConnectFork = async ({ url }) => {
    await this.clock.wait(SOCKET_AFTER_MS)
    const token = this.#tokens.check(new URL(url).searchParams.get('t') ?? undefined, 'audio')
    const call = token.result === 'ok' ? this.calls.find(token.callSid) : undefined
    if (call === undefined) throw new HandshakeRefused(403, 'the token opens no stream of a live call')
    let texts = 0
    return {
      isFull: false,
      listen: ({ onMessage, onClosed }) =>
        call.attach({
          sendAudio: (bytes) => {
            onMessage(Buffer.from(bytes), true)
            return true
          },
          sendText: (text) => onMessage(Buffer.from(text), false),
          close: (code) => onClosed({ by: 'gateway', code, reason: '' }),
        }),
      send: (payload, isBinary) =>
        isBinary ? call.audio(payload) : call.text(parseStreamText(payload.toString(), texts++ === 0)),
      close: (code) => call.detach(code),
      abort: () => call.detach(1006),
    }
  }

  /** Closes the one call. */
  close(): Promise<void> {
    this.#speech?.close()
    return this.calls.close()
  }

  // --- in place of threads and models -------------------------------------------------------------------------

  #openSpeech(): MessagePort {
    const { port1, port2 } = new MessageChannel()
    this.#speech?.close()
    this.#speech = new TextSpeech(port1, this.#voices, this.clock)
    return port2
  }

  /** Handles a pending tool: posts the scenario's next outcome for the tool, after the scenario's delay. */
  #pending(tool: string, url: string): void {
    const index = this.#settle.findIndex((one) => one.tool === tool)
    const [settled] = index < 0 ? [] : this.#settle.splice(index, 1)
    if (settled === undefined) return
    const { afterMs, status, result } = settled
    const headers = { 'content-type': 'application/json' }
    const settle = () => this.post(url, headers, JSON.stringify({ status, result }))
    // If an outcome cannot be posted, it never arrives. Then this scenario fails, but the run continues.
    this.clock.after(afterMs, () => void settle().catch(() => undefined))
  }
}

export interface TextGatewayOptions {
  readonly agents: ReadonlyMap<string, HostedAgent>
  readonly businesses: ReadonlyMap<string, Business>
  /** Environment that tools may read. */
  readonly env: Environment
  /** The outbound call; null for an inbound call. */
  readonly placed: PlacedCall | null
  /** Outcomes of pending tools, in order. */
  readonly settle: readonly SettledTool[]
  /** Tools whose answers take time. */
  readonly slow: readonly SlowTool[]
  /** Record of the caller's last call; null if there is none. */
  readonly earlier: RememberedCall | null
  /** Calendar time at which the call begins. */
  readonly startedAtWallMs: number
  /** Clock of the call. Absent: a separate clock. */
  readonly clock?: SimulatedClock
}

/** Media that all text calls of one run share. */
export interface TextMedia {
  readonly resamplers: ResamplerBank
  readonly vads: VadBank
  readonly backends: BackendSettings
  readonly tools: ToolRunners
  close(): Promise<void>
}

/**
 * Loads the shared parts, in 0.2 s.
 * @param env  environment variables that tools may read
 * @param sound  the callers' sound: `coded`: a loud frame is voice. `recorded`: the voice detector decides
 */
export async function openTextMedia(
  backends: BackendSettings,
  env: Environment,
  sound: 'coded' | 'recorded' = 'coded',
): Promise<TextMedia> {
  const assets = await loadMediaAssets()
  const transport = new HttpClient()
  const tools = new ToolRunners(env, transport)
  return {
    resamplers: new ResamplerBank({ rows: assets.rows, kernel: assets.firKernel }),
    vads: sound === 'coded' ? levelVad : voiceDetectors(assets),
    backends,
    tools,
    close: async () => {
      await tools.close()
      transport.close()
    },
  }
}

/** Minimum level of a frame with voice, in dBFS. A level is enough, because text calls have little noise. */
const VOICE_DBFS = -45
const levelVad: VadBank = {
  open: () => ({
    isSpeech: (frame) => levelDbfs(frame) > VOICE_DBFS,
    reset: () => undefined,
    release: () => undefined,
  }),
}

/** Delays the answers of these tools, in the time of the call. */
function slowed(tools: CallToolRunner, slow: readonly SlowTool[], clock: SimulatedClock): CallToolRunner {
  if (slow.length === 0) return tools
  return {
    serverTools: () => tools.serverTools(),
    watchServers: (listener) => tools.watchServers(listener),
    run: async (name, args, context) => {
      const waitMs = slow.find((one) => one.tool === name)?.answerAfterMs ?? 0
      const [outcome] = await Promise.all([tools.run(name, args, context), waitMs === 0 ? null : clock.wait(waitMs)])
      return outcome
    },
  }
}

/** @param pending  called when a tool waits for its outcome, which must be posted to `url` */
function withPending(tools: CallToolRunner, pending: (tool: string, url: string) => void): CallToolRunner {
  return {
    serverTools: () => tools.serverTools(),
    watchServers: (listener) => tools.watchServers(listener),
    run: async (name, args, context) => {
      let url = ''
      const { gate } = context
      const intend = async (key: string, tool: string): Promise<EffectAnswer> => {
        const answer = (await gate?.intend(key, tool)) ?? { type: 'run' }
        if (answer.type === 'run') url = answer.continueUrl ?? ''
        return answer
      }
      const outcome = await tools.run(
        name,
        args,
        gate === undefined ? context : { ...context, gate: { ...gate, intend } },
      )
      if (outcome.pending !== undefined) pending(name, url)
      return outcome
    },
  }
}
