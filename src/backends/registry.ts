import type { Clock } from '../core/clock.js'
import { GatewayError, messageOf } from '../core/errors.js'
import type { Backend, BackendFactory, BackendSink } from './backend.js'
import { EmbeddedBackend } from './embedded/embedded-backend.js'
import type { SpeechClient } from './embedded/speech-client.js'

/** What the backends of one call may use. */
export interface BackendContext {
  readonly speech: SpeechClient | null
  readonly clock: Clock
}

/** Keys as the settings have them; null where unset. */
export interface BackendKeys {
  readonly openai: string | null
  readonly gemini: string | null
}

/** Backends that this version has, in the order in which `auto` prefers them. */
export const BACKENDS: readonly string[] = ['embedded']

/** Backends that need a key, and the setting that holds it. */
const KEYED: Readonly<Record<string, { readonly setting: string; readonly key: (keys: BackendKeys) => string | null }>> = {
  openai: { setting: 'OPENAI_API_KEY', key: (keys) => keys.openai },
  gemini: { setting: 'GEMINI_API_KEY', key: (keys) => keys.gemini },
}

/**
 * The backend that an agent's `backend:` means here. `auto` is the first that this version has and that has its key.
 * @throws GatewayError BACKEND_KEY_MISSING, or AGENT_INVALID for a backend that this version does not have
 */
export function resolveBackend(agent: string, wanted: string, keys: BackendKeys): string {
  if (wanted === 'auto') {
    return BACKENDS.find((name) => KEYED[name] === undefined || KEYED[name].key(keys) !== null) ?? 'embedded'
  }
  const keyed = KEYED[wanted]
  if (keyed !== undefined && keyed.key(keys) === null) {
    throw new GatewayError('BACKEND_KEY_MISSING',
      `agent ${agent} asks for backend ${wanted}, but ${keyed.setting} is not set; set it, or use backend: auto`)
  }
  if (!BACKENDS.includes(wanted)) {
    throw new GatewayError('AGENT_INVALID',
      `agent ${agent} asks for backend ${wanted}, which this version does not have; allowed: auto, ${BACKENDS.join(', ')}`)
  }
  return wanted
}

/** A backend of somebody else's: a module that exports `createBackend`. */
const MODULE_PREFIX = 'module:'

/** What such a module exports. */
export interface BackendModule {
  createBackend(sink: BackendSink, context: BackendContext): Backend
}

/**
 * The factory of backend `name` (resolved), which may have to be loaded first: `module:` and a specifier, such as
 * `module:file:///opt/agents/own-backend.js` or the name of a package, is imported in this thread.
 * @throws GatewayError AGENT_INVALID for a name that nothing has, or a module that cannot be used
 */
export async function loadBackend(name: string, context: BackendContext): Promise<BackendFactory> {
  if (!name.startsWith(MODULE_PREFIX)) return backendFactory(name, context)
  const specifier = name.slice(MODULE_PREFIX.length)
  let loaded: Partial<BackendModule>
  try {
    loaded = await import(specifier) as Partial<BackendModule>
  } catch (cause) {
    throw new GatewayError('AGENT_INVALID', `backend ${name} cannot be loaded: ${messageOf(cause)}`, { cause })
  }
  const { createBackend } = loaded
  if (typeof createBackend !== 'function') {
    throw new GatewayError('AGENT_INVALID', `backend ${name} exports no function createBackend(sink, context)`)
  }
  return (sink) => createBackend(sink, context)
}

/** Makes the backend `name` (resolved) for one call. */
export function backendFactory(name: string, context: BackendContext): BackendFactory {
  if (name === 'embedded') {
    const { speech, clock } = context
    if (speech === null) throw new GatewayError('SPEECH_FAULT', 'the embedded backend needs the speech pool, which is down', { retryable: true })
    return (sink) => new EmbeddedBackend(sink, { speech, nowMs: clock })
  }
  throw new GatewayError('AGENT_INVALID', `there is no backend ${name}; allowed: ${BACKENDS.join(', ')}`)
}
