import { GatewayError, messageOf } from '../core/errors.js'
import { BACKEND_CONNECT_MS } from '../core/limits.js'
import type { BackendSession } from './backend.js'
import { loadBackend } from './registry.js'
import type { BackendContext } from './registry.js'

/** Longer than a backend's own deadline: what it says of the fault is better than that it was late. */
const PROBE_MS_MAX = BACKEND_CONNECT_MS + 1000

export type ProbeOutcome =
  | { readonly ok: true; readonly connectMs: number }
  /** `message` holds no key. */
  | { readonly ok: false; readonly message: string }

/**
 * Opens a session as a call would, with the key, model, voice and tools that it would have, and ends it when it is ready.
 * Nothing is said, so it costs what an open connection costs.
 */
export async function probeBackend(name: string, context: BackendContext, session: BackendSession): Promise<ProbeOutcome> {
  const startedAtMs = context.clock()
  try {
    const create = await loadBackend(name, context)
    const backend = create({ event: () => undefined, audio: () => undefined })
    try {
      await backend.connect(session, AbortSignal.timeout(PROBE_MS_MAX))
    } finally {
      await backend.close('it was only asked whether it is there')
    }
    return { ok: true, connectMs: context.clock() - startedAtMs }
  } catch (thrown) {
    // A module of somebody else's may throw anything; what it says is theirs to keep free of keys.
    return { ok: false, message: thrown instanceof GatewayError ? thrown.message : `failed: ${messageOf(thrown)}` }
  }
}
