import type { output } from 'zod'
import type { BackendOptions } from '../agents/file/backend-options.js'
import type { LocalizedText } from '../call/spoken/localized-text.js'
import type { Clock } from '../core/clock.js'
import { omitNullish } from '../core/omit-nullish.js'
import type { LegRateHz } from '../core/units.js'
import type { SpeechClient } from '../speech/speech-client.js'
import type { RealtimeServices } from '../vendors/vendor.js'
import type { Backend, BackendSink } from './backend.js'
import type { MessagePhrases } from './cascade/message-taker.js'
import type { OwnVoice } from './cascade/own-voice.js'
import type { BackendSettings } from './registry.js'
import type { BackendTimers } from './timers.js'
import type { functionParameters } from './tool-schema.js'

/** Context that all backends of one call get. */
export interface BackendContext {
  readonly speech: SpeechClient | null
  readonly clock: Clock
  /** Calls `work` once, `ms` milliseconds after this function was called. @defaultValue timers of Node */
  readonly after?: BackendTimers['after']
  readonly settings: BackendSettings
  readonly legRateHz: LegRateHz
  /** The agent's `backends:` block. */
  readonly options: BackendOptions
  /** Voice of the agent for this backend: one voice name, or one voice name per language. */
  readonly voices?: LocalizedText
  /**
   * The agent's fixed phrases, spoken by the voice of its cascade; absent if the agent's first backend is not a
   * cascade.
   */
  readonly ownVoice?: OwnVoice
  /**
   * Phrases for taking a message. If they are present, the cascade only takes a message, and no language model is used.
   * If they are absent, the cascade runs the agent.
   */
  readonly message?: MessagePhrases
  /** True if the agent's file has `turn.waitWords`. If absent: false. */
  readonly waitWords?: boolean
  /**
   * True if the gateway detects turns, because another backend of the list cannot detect turns. Each backend then
   * switches its own turn detection off, unless the agent's file enables this detection.
   */
  readonly gatewayTurns: boolean
  /**
   * True if the gateway decides which speech interrupts the agent (`bargeIn.backchannel` in the agent's file). If
   * possible, the backend then forbids the service to interrupt the agent, unless the agent's file sets this itself.
   */
  readonly gatewayInterrupts: boolean
}

/**
 * Makes a vendor's backend for one call. `Set` is the type of the vendor's settings, and `Own` the type of the agent's
 * options.
 */
export interface RealtimeCode<Set, Own> {
  /** @throws GatewayError BACKEND_KEY_MISSING if the service is not set up */
  make(sink: BackendSink, context: BackendContext, set: Set, own: Own): Backend
  /** Converts a tool's schema to the form that the service accepts. If absent, `functionParameters` is used. */
  parameters?(set: Set, own: Own): typeof functionParameters
}

/**
 * Type of the export `backends` of a vendor's file backends.ts. It has one entry for each realtime service of the
 * vendor's facts.
 */
export type VendorBackends<Declared extends { readonly backends: RealtimeServices }> = {
  readonly [Name in keyof Declared['backends']]: RealtimeCode<
    NonNullable<ReturnType<Declared['backends'][Name]['settings']>>,
    output<Declared['backends'][Name]['options']>
  >
}

/** Settings for the services that can detect turns. */
export function realtimeOptions({ clock, settings: { messageMs, streamSilence } }: BackendContext) {
  return { nowMs: clock, streamSilence, ...omitNullish({ messageMs }) }
}
