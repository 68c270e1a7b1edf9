import { GatewayError, messageOf } from '../core/errors.js'
import { omitNullish } from '../core/omit-nullish.js'
import { BACKENDS, REALTIME } from '../vendors/list.js'
import type { VendorBackend } from '../vendors/list.js'
import type { BackendOptions } from '../agents/file/backend-options.js'
import type { Backend, BackendFactory, BackendSink } from './backend.js'
import type { BackendContext, RealtimeCode } from './backend-context.js'
import { CascadeBackend } from './cascade/cascade-backend.js'
import { messageTaker } from './cascade/message-taker.js'
import { loadServiceModules, loadVendors, factoriesOf } from './cascade/services.js'
import { EmbeddedBackend } from './embedded/embedded-backend.js'
import { MODULE_PREFIX } from './registry.js'
import type { BackendSettings } from './registry.js'
import { clockTimers } from './timers.js'
import { functionParameters } from './tool-schema.js'

export type { BackendContext }

/** Loads the code of a realtime service when an agent uses the service. */
async function codeOf(name: string, { vendor }: VendorBackend): Promise<RealtimeCode<object, object> | undefined> {
  const { backends } = (await import(`../vendors/${vendor.folder}/backends.js`)) as {
    readonly backends: Readonly<Record<string, RealtimeCode<object, object>>>
  }
  return backends[name]
}

const MAKERS: Readonly<Record<string, (context: BackendContext) => Promise<BackendFactory>>> = {
  ...Object.fromEntries(
    [...REALTIME].map(([name, service]) => [
      name,
      async (context: BackendContext): Promise<BackendFactory> => {
        const code = await codeOf(name, service)
        const set = context.settings.realtime[name] ?? null
        return (sink) => {
          if (code === undefined || set === null)
            throw new GatewayError('BACKEND_KEY_MISSING', `backend ${name} is not set up`)
          return code.make(sink, context, set, context.options[name] ?? {})
        }
      },
    ]),
  ),
  cascade: async (context) => {
    const { settings, options, clock, after, legRateHz, ownVoice, voices, message, waitWords } = context
    const own = options.cascade ?? {}
    await loadVendors(settings.cascade, own)
    await loadServiceModules(own)
    return (sink) =>
      new CascadeBackend(sink, {
        ...factoriesOf(settings.cascade, own),
        ...(message === undefined ? {} : { name: 'message', llm: [messageTaker(message)], speculate: false }),
        legRateHz,
        timers: clockTimers(clock, after),
        ...omitNullish({ ownVoice, voices, waitWords }),
      })
  },
  embedded: ({ speech, clock, after }) =>
    Promise.resolve((sink) => {
      if (speech === null) {
        throw new GatewayError('SPEECH_FAULT', 'the embedded backend needs the speech pool, which is down', {
          retryable: true,
        })
      }
      return new EmbeddedBackend(sink, { speech, ...clockTimers(clock, after) })
    }),
}

/**
 * @returns the parts of a tool's schema that the model of backend `name` does not get, such as `not of when` for the
 * keyword `not` of the argument `when`. Empty if the model gets the whole schema
 */
export async function droppedOf(
  name: string,
  settings: BackendSettings,
  options: BackendOptions,
  parameters: Readonly<Record<string, unknown>>,
): Promise<readonly string[]> {
  if (name === 'embedded' || name.startsWith(MODULE_PREFIX)) return []
  const service = REALTIME.get(name)
  const set = settings.realtime[name] ?? null
  const code = service === undefined || set === null ? undefined : await codeOf(name, service)
  const translated = code?.parameters?.(set ?? {}, options[name] ?? {}) ?? functionParameters
  return translated(parameters).dropped
}

/** Exports of a module that contains a backend. */
interface BackendModule {
  /**
   * @param options the module's entry in the agent's `backends:` block, unchanged; empty if the block has no such entry
   */
  createBackend(sink: BackendSink, context: BackendContext, options: Readonly<Record<string, unknown>>): Backend
}

/**
 * Makes the factory of the backend with the resolved name `name`. If the name begins with `module:`, this thread first
 * imports the module. The rest of the name is an import specifier: a package, or a URL such as
 * `file:///opt/agents/own-backend.js`. When an agent's file is loaded, its relative paths become URLs.
 * @throws GatewayError AGENT_INVALID for an unknown name, or for a module that cannot be used
 */
export async function loadBackend(name: string, context: BackendContext): Promise<BackendFactory> {
  if (!name.startsWith(MODULE_PREFIX)) {
    const make = MAKERS[name]
    if (make === undefined)
      throw new GatewayError('AGENT_INVALID', `there is no backend ${name}; allowed: ${BACKENDS.join(', ')}`)
    return make(context)
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
  const options: Readonly<Record<string, unknown>> = context.options[name] ?? {}
  return (sink) => {
    try {
      return createBackend(sink, context, options)
    } catch (cause) {
      // `BackendList` skips a backend only if it fails with a GatewayError. Any other error would end the call.
      if (cause instanceof GatewayError) throw cause
      throw new GatewayError('AGENT_INVALID', `backend ${name} cannot be made: ${messageOf(cause)}`, { cause })
    }
  }
}
