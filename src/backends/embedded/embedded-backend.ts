import type { Clock } from '../../core/clock.js'
import type { SpeechClient } from './speech-client.js'

export interface EmbeddedBackendOptions {
  /** The call's speech session. The call owns it: the backend uses it and does not close it. */
  readonly speech: SpeechClient
  /** Only for `usage` and latency counters; `performance.now` when not given. */
  readonly nowMs?: Clock
}

/** How the shard makes one: `(sink) => new EmbeddedBackend(sink, { speech })`. */
export type EmbeddedBackendArguments = readonly [sink: import('../backend.js').BackendSink, options: EmbeddedBackendOptions]
