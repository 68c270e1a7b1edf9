import type { BackendOptions } from '../agents/file/backend-options.js'
import type { PriceFile } from '../agents/file/prices.js'
import { GatewayError } from '../core/errors.js'
import { AUTO, BACKENDS, REALTIME } from '../vendors/list.js'
import type { VendorBackend } from '../vendors/list.js'
import { missingForServices, serviceLacks, serviceModels } from './cascade/service-facts.js'
import type { CascadeSettings } from './cascade/service-facts.js'
import { pricedModel } from './prices.js'

/**
 * API keys, addresses and models from the settings; a value is null if it is not set. Plain data, which is copied to
 * workers.
 */
export interface BackendSettings {
  /** Name of the backend for `auto`; null if `auto` means the first backend that is set up. */
  readonly auto: string | null
  /** Settings of realtime services by backend name; each vendor declares their type. */
  readonly realtime: Readonly<Record<string, object | null>>
  readonly cascade: CascadeSettings
  /** Prices of PRICES_FILE. */
  readonly prices: PriceFile | null
  /**
   * Duration of caller audio in one message to a realtime model, 20 to 100 ms; null if the duration is chosen for each
   * call (`messageLength`).
   */
  readonly messageMs: number | null
  /** True if services that detect turns also get the silence between turns. */
  readonly streamSilence: boolean
  /** Maximum number of reconnections to one backend per second, over all calls of one media worker. */
  readonly reconnectsPerSecond: number
}

/**
 * Facts about a backend of this version, some of which depend on its settings and the agent's options.
 * `load-backend.ts` makes the backend itself, in the threads that run calls.
 */
interface Registered {
  /** @returns the name of the missing setting; null if the backend can be used */
  readonly missing: (settings: BackendSettings, options: BackendOptions) => string | null
  /** True if the backend itself detects that the caller has stopped. */
  readonly detectsTurns: (settings: BackendSettings, options: BackendOptions) => boolean
  /** True if the backend works at 8 kHz when the carrier's audio has 8 kHz, with the agent's options. */
  readonly usesLegRate: (options: BackendOptions) => boolean
  /**
   * @returns the models of the backend, as named in price lists. If there are several models, each usage report names
   * its model.
   */
  readonly models: (settings: BackendSettings, options: BackendOptions) => readonly (string | null)[]
}

function ofVendor(name: string, service: VendorBackend): Registered {
  const own = (options: BackendOptions): object => options[name] ?? {}
  const set = ({ realtime }: BackendSettings): object | null => realtime[name] ?? null
  return {
    missing: (settings, options) => {
      const given = set(settings)
      return given === null ? service.needs : (service.missing?.(given, own(options)) ?? null)
    },
    detectsTurns: (settings, options) => {
      const given = set(settings)
      return given !== null && service.detectsTurns(given, own(options))
    },
    usesLegRate: (options) => service.usesLegRate?.(own(options)) ?? false,
    models: (settings, options) => {
      const given = set(settings)
      return given === null
        ? []
        : service
            .models(given, own(options))
            .map(({ model, baseUrl }) => (baseUrl === undefined ? model : pricedModel(model, baseUrl)))
    },
  }
}

const REGISTRY: Readonly<Record<string, Registered>> = {
  ...Object.fromEntries([...REALTIME].map(([name, service]) => [name, ofVendor(name, service)])),
  cascade: {
    missing: ({ cascade }, { cascade: own = {} }) => missingForServices(cascade, own),
    detectsTurns: () => false,
    // The voice and all recognisers that support 8 kHz use 8 kHz. If a recogniser needs 16 kHz, the narrow-band audio
    // is resampled without a loss.
    usesLegRate: () => true,
    models: ({ cascade }, { cascade: own = {} }) =>
      missingForServices(cascade, own) === null ? serviceModels(cascade, own) : [],
  },
  embedded: {
    missing: () => null,
    detectsTurns: () => false,
    usesLegRate: () => false,
    models: () => [null],
  },
}

/** Prefix of the name of a backend that is a module with the export `createBackend`. */
export const MODULE_PREFIX = 'module:'

/**
 * Resolves a name in an agent's `backend:` with these settings.
 * @throws GatewayError BACKEND_KEY_MISSING; or AGENT_INVALID for a backend that this version does not have
 */
export function resolveBackend(
  agent: string,
  wanted: string,
  settings: BackendSettings,
  options: BackendOptions = {},
): string {
  if (wanted === 'auto' && settings.auto === null)
    return AUTO.find((name) => REGISTRY[name]?.missing(settings, options) === null) ?? 'embedded'
  if (wanted === 'auto') return resolveBackend(agent, settings.auto ?? '', settings, options)
  if (wanted.startsWith(MODULE_PREFIX)) return wanted
  const registered = REGISTRY[wanted]
  if (registered === undefined) {
    throw new GatewayError(
      'AGENT_INVALID',
      `agent ${agent} has an unknown backend ${wanted}; allowed: auto, ${BACKENDS.join(', ')}, module:SPECIFIER`,
    )
  }
  const missing = registered.missing(settings, options)
  if (missing === null) return wanted
  const other = settings.auto === wanted ? 'another AUTO_BACKEND' : 'backend: auto'
  throw new GatewayError(
    'BACKEND_KEY_MISSING',
    `agent ${agent} uses backend ${wanted}, but ${missing} is not set; set it, or use ${other}`,
  )
}

/**
 * Resolves one name or a list of names. Each backend in a list must be set up. In a list, `auto` stands for one
 * backend. If `auto` is the only name and the agent has a dialogue, the embedded backend is added. Callers then get
 * answers even if the model cannot be reached.
 * @param offline true if the agent has an `offline:` block
 * @throws GatewayError as `resolveBackend`, or AGENT_INVALID for a backend that is listed twice
 */
export function resolveBackends(
  agent: string,
  wanted: string | readonly string[],
  settings: BackendSettings,
  options: BackendOptions = {},
  offline = false,
): readonly string[] {
  if (wanted === 'auto') {
    const name = resolveBackend(agent, wanted, settings, options)
    return offline && name !== 'embedded' ? [name, 'embedded'] : [name]
  }
  const names = (typeof wanted === 'string' ? [wanted] : wanted).map((name) =>
    resolveBackend(agent, name, settings, options),
  )
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined)
    throw new GatewayError('AGENT_INVALID', `agent ${agent} lists backend ${twice} twice; allowed: each backend once`)
  return names
}

/**
 * True if backend `name` (resolved) itself detects the end of turns, with these settings. For a module this is not
 * known, so a list with a module uses the gateway's turn detection.
 */
export function detectsTurns(name: string, settings: BackendSettings, options: BackendOptions): boolean {
  return REGISTRY[name]?.detectsTurns(settings, options) ?? false
}

/**
 * True if backend `name` (resolved) works at 8 kHz on a leg of 8 kHz, with these options. False for a module, because
 * this is not known.
 */
export function usesLegRate(name: string, options: BackendOptions): boolean {
  return REGISTRY[name]?.usesLegRate(options) ?? false
}

/** @returns the models of backend `name`, as named in price lists; null for a model without a name */
export function modelsOf(name: string, settings: BackendSettings, options: BackendOptions): readonly (string | null)[] {
  return REGISTRY[name]?.models(settings, options) ?? [null]
}

/**
 * @returns the missing abilities of the services of backend `name`, one text for each; empty for a backend with a
 * single service
 * @param languages the agent's languages
 */
export function lacksOf(
  name: string,
  settings: BackendSettings,
  options: BackendOptions,
  languages: readonly string[],
): readonly string[] {
  return name === 'cascade' ? serviceLacks(settings.cascade, options.cascade ?? {}, languages) : []
}
