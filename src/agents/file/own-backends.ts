import { realpath } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { relative, resolve, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Fault } from './faults.js'

const MODULE_PREFIX = 'module:'
const IS_FILE = /^(?:\.\.?\/|file:)/
/**
 * Matches a package that is installed next to the gateway, or a part of such a package. Other specifiers are refused,
 * because, for example, a `data:` URL would be code.
 */
const IS_PACKAGE = /^(?:@[\w-][\w.-]*\/)?[\w-][\w.-]*(?:\/[\w@-][\w.@-]*)*$/

/** Names of the exports of a module, by part of the cascade. */
export const SERVICE_EXPORTS = {
  stt: 'createSpeechToText',
  llm: 'createLanguageModel',
  tts: 'createTextToSpeech',
} as const

/**
 * True if a module is a backend or a service of the cascade. Such a module may be in the folder of the agents that name
 * it.
 */
export function isOwnModule(exports: Readonly<Record<string, unknown>>): boolean {
  return ['createBackend', ...Object.values(SERVICE_EXPORTS)].some((name) => typeof exports[name] === 'function')
}

/** Backends for a share of the calls. The value of `use` is like `backend` without a split. `percent` is 0 to 100. */
interface Share {
  readonly use: string | readonly string[]
  readonly percent: number
}

/** `backend:` of an agent's file: a name, a list for failover, or a split of the calls. */
export type BackendChoice = Share['use'] | readonly Share[]

function isSplit(choice: BackendChoice): choice is readonly Share[] {
  return typeof choice !== 'string' && typeof choice[0] === 'object'
}

/** Returns the shares of the calls. If there is no split, the result is one share of 100 %. */
export function sharesOf(choice: BackendChoice): readonly Share[] {
  return isSplit(choice) ? choice : [{ use: choice, percent: 100 }]
}

/** Names of an agent's backends, before or after `module:` names became URLs. */
interface Backends {
  readonly backend: BackendChoice
  readonly backends: Readonly<Record<string, unknown>>
  readonly voice: Readonly<Record<string, unknown>>
}

/** Returns the modules among an agent's backends, with their names in the agent's file. */
function modulesOf({ backend }: Pick<Backends, 'backend'>): readonly string[] {
  const names = new Set(sharesOf(backend).flatMap(({ use }) => use))
  return [...names].filter((name) => name.startsWith(MODULE_PREFIX))
}

/**
 * Returns the short name for a module's options and voice: its file or package, such as `mine` for
 * `module:./backends/mine.mjs`.
 */
function shortName(module: string): string {
  return /([^/:]+?)(?:\.[cm]?[jt]s)?(?:\?[^/]*)?$/.exec(module)?.[1] ?? module
}

/** True if `name`, a key of the `backends:` block, is the full or short name of a module of the agent. */
export function isOwnBackend(name: string, agent: Pick<Backends, 'backend'>): boolean {
  return name.startsWith(MODULE_PREFIX) || modulesOf(agent).some((module) => shortName(module) === name)
}

/**
 * Finds an agent's modules, relative to its file. `module:./mine.mjs` becomes a `file:` URL. Options and voices move
 * from short names to full names.
 * @param dir  folder of the agent's file
 */
export async function findOwnBackends<Agent extends Backends>(
  agent: Agent,
  dir: string,
): Promise<{ readonly agent: Agent; readonly faults: readonly Fault[] }> {
  const modules = modulesOf(agent)
  const faults: Fault[] = []
  const cascade = await findOwnServices(agent.backends['cascade'], dir, faults)
  const backends = cascade === undefined ? agent.backends : { ...agent.backends, cascade }
  if (modules.length === 0) return { agent: { ...agent, backends }, faults }
  const whole = new Map<string, string>()
  for (const module of modules) {
    const { url, missing } = await urlOf(module, dir)
    if (missing !== null) faults.push({ path: placeOf(module, agent), what: missing })
    const name = shortName(module)
    if (whole.has(name))
      faults.push({ path: placeOf(module, agent), what: `${name} is the name of two modules; rename one` })
    whole.set(name, url).set(module, url)
  }
  const found = (name: string): string => whole.get(name) ?? name
  // In this list, a name without `module:` is a built-in backend.
  const listed = (name: string): string => (name.startsWith(MODULE_PREFIX) ? found(name) : name)
  const used = (use: Share['use']): Share['use'] => (typeof use === 'string' ? listed(use) : use.map(listed))
  const renamed = (entries: Readonly<Record<string, unknown>>): Record<string, unknown> =>
    Object.fromEntries(Object.entries(entries).map(([name, value]) => [found(name), value]))
  const { backend } = agent
  return {
    faults,
    agent: {
      ...agent,
      backend: isSplit(backend) ? backend.map((share) => ({ ...share, use: used(share.use) })) : used(backend),
      backends: renamed(backends),
      voice: renamed(agent.voice),
    },
  }
}

/**
 * Returns the URL of a module that is a file of the agents folder, and the file's fault. The fault is null if the file
 * can be used.
 */
async function urlOf(module: string, dir: string): Promise<{ readonly url: string; readonly missing: string | null }> {
  const specifier = module.slice(MODULE_PREFIX.length)
  if (!IS_FILE.test(specifier)) {
    const isInstalled = IS_PACKAGE.test(specifier) && !isBuiltin(specifier)
    const missing = `${module} is neither a file of the agents folder, module:./FILE, nor the name of an installed package`
    return { url: module, missing: isInstalled ? null : missing }
  }
  let file: string
  try {
    file = specifier.startsWith('file:') ? fileURLToPath(specifier) : resolve(dir, specifier)
  } catch {
    return { url: module, missing: `${module} is not the URL of a file` }
  }
  const url = MODULE_PREFIX + pathToFileURL(file).href
  try {
    return { url, missing: (await isBelow(dir, file)) ? null : `${module} lies outside of the agents folder` }
  } catch {
    return { url, missing: `${module}: there is no file ${file}` }
  }
}

/**
 * True if a file is in a folder; symbolic links are followed.
 * @throws an error of the file system if the file does not exist
 */
export async function isBelow(dir: string, file: string): Promise<boolean> {
  const way = relative(await realpath(dir), await realpath(file))
  return way !== '..' && !way.startsWith(`..${sep}`)
}

/** Finds the modules among the services of a cascade, relative to the agent's file. */
async function findOwnServices(options: unknown, dir: string, faults: Fault[]): Promise<unknown> {
  if (typeof options !== 'object' || options === null) return undefined
  const found: Record<string, unknown> = { ...options }
  for (const part of ['stt', 'llm', 'tts']) {
    const given = found[part]
    if (given === undefined) continue
    const entry = async (one: unknown, place: readonly PropertyKey[]): Promise<unknown> => {
      const service: unknown = typeof one === 'string' ? one : (one as { readonly service?: unknown }).service
      if (typeof service !== 'string' || !service.startsWith(MODULE_PREFIX)) return one
      const { url, missing } = await urlOf(service, dir)
      if (missing !== null) faults.push({ path: ['backends', 'cascade', part, ...place], what: missing })
      return typeof one === 'string' ? url : { ...(one as object), service: url }
    }
    found[part] = Array.isArray(given)
      ? await Promise.all(given.map((one, i) => entry(one, [i])))
      : await entry(given, [])
  }
  return found
}

function placeOf(module: string, { backend }: Backends): readonly PropertyKey[] {
  const index = sharesOf(backend).findIndex(({ use }) => [use].flat().includes(module))
  const use = sharesOf(backend)[index]?.use ?? ''
  const share = isSplit(backend) ? ['backend', index, 'use'] : ['backend']
  return typeof use === 'string' ? share : [...share, use.indexOf(module)]
}
