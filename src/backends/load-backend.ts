import { AZURE_VOICE_LIVE, USUAL_TURNS } from '../vendors/azure-voice-live/facts.js'
import type { LocalizedText } from '../call/spoken/localized-text.js'
import type { BackendOptions } from '../agents/file/backend-options.js'
import type { Clock } from '../core/clock.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { omitNullish } from '../core/omit-nullish.js'
import type { LegRateHz } from '../core/units.js'
import type { SpeechClient } from '../speech/speech-client.js'
import type { Backend, BackendFactory, BackendSink } from './backend.js'
import { CascadeBackend } from './cascade/cascade-backend.js'
import { messageTaker } from './cascade/message-taker.js'
import type { MessagePhrases } from './cascade/message-taker.js'
import type { OwnVoice } from './cascade/own-voice.js'
import { loadServiceModules, loadVendors, factoriesOf } from './cascade/services.js'
import { EmbeddedBackend } from './embedded/embedded-backend.js'
import { GeminiLiveBackend } from './gemini-live/gemini-backend.js'
import { OpenAiLiveBackend } from './openai-live/live-backend.js'
import { audioOfLeg } from './openai-live/session-start.js'
import { OpenAiRealtimeBackend } from './openai-realtime/openai-backend.js'
import { BACKENDS, MODULE_PREFIX, liveDelegate } from './registry.js'
import type { BackendName, BackendSettings } from './registry.js'
import { clockTimers, type BackendTimers } from './timers.js'

/** Context for the backends of one call. */
export interface BackendContext {
  readonly speech: SpeechClient | null
  readonly clock: Clock
  /** Calls `work` once after `ms` of that clock. @defaultValue timers of Node */
  readonly after?: BackendTimers['after']
  readonly settings: BackendSettings
  readonly legRateHz: LegRateHz
  /** The agent's `backends:` block. */
  readonly options: BackendOptions
  /** The agent's voice for this backend, where it may be one a language. */
  readonly voices?: LocalizedText
  /** The agent's fixed phrases in the voice of its cascade; absent for an agent whose first backend is another. */
  readonly ownVoice?: OwnVoice
  /** The cascade takes a message, without a language model; absent: it is the agent. */
  readonly message?: MessagePhrases
  /** The agent's `turn.waitWords`; absent: false. */
  readonly waitWords?: boolean
  /**
   * The gateway marks the caller's turns, because another backend of the list cannot detect them. A backend with its
   * own turn detection then switches it off, unless the agent's file sets it, so that no turn is timed twice.
   */
  readonly gatewayTurns: boolean
  /**
   * The agent's file distinguishes listening from interrupting (`bargeIn.backchannel`), so the gateway decides what
   * interrupts. A service that interrupts its own answers is then set not to, if it can be, unless the agent's file sets
   * that.
   */
  readonly gatewayInterrupts: boolean
}

type Maker = (sink: BackendSink, context: BackendContext) => Backend

const unusable = (name: string): GatewayError =>
  new GatewayError('BACKEND_KEY_MISSING', `backend ${name} is not set up`)

/**
 * Turn detection by a service with OpenAI's API. Where the gateway decides what interrupts, the service does not.
 * @param by  as the settings have it, where the agent's file says nothing
 */
function realtimeTurns<By extends string, Own extends { readonly by: string }>(
  { gatewayTurns, gatewayInterrupts }: BackendContext,
  own: Own | undefined,
  by: By,
): Own | { readonly by: By | 'gateway'; readonly interruptResponse?: false } {
  const usual: { readonly by: By | 'gateway' } = { by: gatewayTurns ? 'gateway' : by }
  const turns = own ?? usual
  return turns.by === 'gateway' || !gatewayInterrupts ? turns : { interruptResponse: false as const, ...turns }
}

/** Settings for the services that can detect turns. */
function realtime({ clock, settings: { messageMs, streamSilence } }: BackendContext) {
  return { nowMs: clock, streamSilence, ...omitNullish({ messageMs }) }
}

/** A backend whose code is read when an agent uses it. */
async function azureVoiceLiveMaker(): Promise<Maker> {
  const { azureVoiceLive } = await import('../vendors/azure-voice-live/client.js')
  return (sink, context) => {
    const { apiKey, baseUrl, model: usual } = context.settings.azureVoiceLive
    const own = context.options['azure-voice-live']
    const model = own?.model ?? usual
    if (apiKey === null || baseUrl === null || model === null) throw unusable(AZURE_VOICE_LIVE)
    const turns = realtimeTurns(context, own?.turns, USUAL_TURNS)
    return azureVoiceLive(sink, {
      ...realtime(context),
      ...own,
      apiKey,
      baseUrl,
      model,
      turns,
      legRateHz: context.legRateHz,
    })
  }
}

const MAKERS: Readonly<Record<Exclude<BackendName, typeof AZURE_VOICE_LIVE>, Maker>> = {
  openai: (sink, context) => {
    const { openai } = context.settings
    const own = context.options.openai
    return new OpenAiRealtimeBackend(sink, {
      apiKey: openai.apiKey,
      model: openai.model,
      ...realtime(context),
      ...(openai.baseUrl === null ? {} : { baseUrl: openai.baseUrl }),
      // G.711 has all that an 8 kHz leg carries, and saves both resamplings. A line that was A-law before, as outside of
      // North America and Japan, loses nothing by it.
      audio: context.legRateHz === 8000 ? 'pcma' : 'pcm',
      ...own,
      turns: realtimeTurns(context, own?.turns, openai.turns),
    })
  },
  'openai-live': (sink, { settings, options, clock, legRateHz }) => {
    const { apiKey, baseUrl, model } = settings.openaiLive
    const delegate = liveDelegate(settings, options)
    if (delegate === null) throw unusable('openai-live')
    return new OpenAiLiveBackend(sink, {
      apiKey,
      model,
      nowMs: clock,
      ...(settings.messageMs === null ? {} : { messageMs: settings.messageMs }),
      ...(baseUrl === null ? {} : { baseUrl }),
      audio: audioOfLeg(legRateHz),
      ...options['openai-live'],
      delegate,
    })
  },
  gemini: (sink, context) => {
    const { gemini } = context.settings
    const own = context.options.gemini
    return new GeminiLiveBackend(sink, {
      apiKey: gemini.apiKey,
      model: gemini.model,
      ...realtime(context),
      ...(gemini.baseUrl === null ? {} : { baseUrl: gemini.baseUrl }),
      turns: { by: context.gatewayTurns ? 'gateway' : gemini.turns },
      ...own,
    })
  },
  'self-hosted': (sink, context) => {
    const { selfHosted } = context.settings
    const own = context.options['self-hosted']
    if (selfHosted === null) throw unusable('self-hosted')
    const { rateHz, turns: by, ...server } = selfHosted
    return new OpenAiRealtimeBackend(sink, {
      ...server,
      inputRateHz: rateHz,
      outputRateHz: rateHz,
      name: 'self-hosted',
      ...realtime(context),
      ...own,
      turns: realtimeTurns(context, own?.turns, by),
    })
  },
  cascade: (sink, { settings: { cascade }, options, clock, after, legRateHz, ownVoice, voices, message, waitWords }) =>
    new CascadeBackend(sink, {
      ...factoriesOf(cascade, options.cascade ?? {}),
      ...(message === undefined ? {} : { name: 'message', llm: [messageTaker(message)], speculate: false }),
      legRateHz,
      timers: clockTimers(clock, after),
      ...omitNullish({ ownVoice, voices, waitWords }),
    }),
  embedded: (sink, { speech, clock, after }) => {
    if (speech === null) {
      throw new GatewayError('SPEECH_FAULT', 'the embedded backend needs the speech pool, which is down', {
        retryable: true,
      })
    }
    return new EmbeddedBackend(sink, { speech, ...clockTimers(clock, after) })
  },
}

/** Exports of a module with a backend. */
interface BackendModule {
  /** @param options  the module's entry in the agent's `backends:` block, unchanged; empty without one */
  createBackend(sink: BackendSink, context: BackendContext, options: Readonly<Record<string, unknown>>): Backend
}

/**
 * The factory of backend `name` (resolved). A module is imported in this thread first: its name is `module:` and a
 * specifier, such as `module:file:///opt/agents/own-backend.js` or the name of a package. (`module:./own-backend.js` in an
 * agent's file has become such a URL when the file was loaded.)
 * @throws GatewayError AGENT_INVALID for an unknown name, or a module that cannot be used
 */
export async function loadBackend(name: string, context: BackendContext): Promise<BackendFactory> {
  if (!name.startsWith(MODULE_PREFIX)) {
    if (name === AZURE_VOICE_LIVE) {
      const make = await azureVoiceLiveMaker()
      return (sink) => make(sink, context)
    }
    const make = (MAKERS as Readonly<Record<string, Maker | undefined>>)[name]
    if (make === undefined)
      throw new GatewayError('AGENT_INVALID', `there is no backend ${name}; allowed: ${BACKENDS.join(', ')}`)
    if (name === 'cascade') {
      const own = context.options.cascade ?? {}
      await loadVendors(context.settings.cascade, own)
      await loadServiceModules(own)
    }
    return (sink) => make(sink, context)
  }
  const specifier = name.slice(MODULE_PREFIX.length)
  let loaded: Partial<BackendModule>
  try {
    loaded = (await import(specifier)) as Partial<BackendModule>
  } catch (cause) {
    throw new GatewayError('AGENT_INVALID', `backend ${name} cannot be loaded: ${messageOf(cause)}`, { cause })
  }
  const { createBackend } = loaded
  if (typeof createBackend !== 'function') {
    throw new GatewayError(
      'AGENT_INVALID',
      `backend ${name} does not export a function createBackend(sink, context, options)`,
    )
  }
  const options =
    (context.options as Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>)[name] ?? {}
  return (sink) => {
    try {
      return createBackend(sink, context, options)
    } catch (cause) {
      // `BackendList` leaves out a backend that fails with a GatewayError; any other error would end the call.
      if (cause instanceof GatewayError) throw cause
      throw new GatewayError('AGENT_INVALID', `backend ${name} cannot be made: ${messageOf(cause)}`, { cause })
    }
  }
}
