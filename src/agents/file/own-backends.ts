import { realpath } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { relative, resolve, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Fault } from './faults.js'

const MODULE_PREFIX = 'module:'
const IS_FILE = /^(?:\.\.?\/|file:)/
/** A package that is installed beside the gateway, or a part of one. No other specifier: a URL such as `data:` is code in a text. */
const IS_PACKAGE = /^(?:@[\w-][\w.-]*\/)?[\w-][\w.-]*(?:\/[\w@-][\w.@-]*)*$/

/** Name of the export of a module for each part of the cascade. */
export const SERVICE_EXPORTS = {
  stt: 'createSpeechToText',
  llm: 'createLanguageModel',
  tts: 'createTextToSpeech',
} as const

/** True if a module is a backend or a service of the cascade, which may lie beside the agents that name it. */
export function isOwnModule(exports: Readonly<Record<string, unknown>>): boolean {
  return ['createBackend', ...Object.values(SERVICE_EXPORTS)].some((name) => typeof exports[name] === 'function')
}

/** Backends for a share of the calls: `use` as `backend` without a split, `percent` 0 to 100. */
interface Share {
  readonly use: string | readonly string[]
  readonly percent: number
}

/** `backend:` of an agent's file: a name, a list for failover, or a split of the calls. */
export type BackendChoice = Share['use'] | readonly Share[]

function isSplit(choice: BackendChoice): choice is readonly Share[] {
  return typeof choice !== 'string' && typeof choice[0] === 'object'
}

/** One share of all calls where the agent has no split. */
export function sharesOf(choice: BackendChoice): readonly Share[] {
  return isSplit(choice) ? choice : [{ use: choice, percent: 100 }]
}

/** Names of an agent's backends, before and after its modules are found. */
interface Backends {
  readonly backend: BackendChoice
  readonly backends: Readonly<Record<string, unknown>>
  readonly voice: Readonly<Record<string, unknown>>
}

/** The modules among an agent's backends, as its file names them. */
function modulesOf({ backend }: Pick<Backends, 'backend'>): readonly string[] {
  const names = new Set(sharesOf(backend).flatMap(({ use }) => use))
  return [...names].filter((name) => name.startsWith(MODULE_PREFIX))
}

/** The name of a module's options and voice: that of its file or package, `mine` for `module:./backends/mine.mjs`. */
function shortName(module: string): string {
  return /([^/:]+?)(?:\.[cm]?[jt]s)?(?:\?[^/]*)?$/.exec(module)?.[1] ?? module
}

/** True if `name`, a key of the `backends:` block, is one of the agent's modules, by its whole or its short name. */
export function isOwnBackend(name: string, agent: Pick<Backends, 'backend'>): boolean {
  return name.startsWith(MODULE_PREFIX) || modulesOf(agent).some((module) => shortName(module) === name)
}

/**
 * Finds an agent's modules beside its file: `module:./mine.mjs` becomes a `file:` URL, and options and voices under a
 * short name are put under the whole one.
 * @param dir  the folder of the agent's file
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
  // In the list a short name is that of a built-in backend.
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

/** A module's URL, if it is a file of the agents folder, and what is wrong with it. */
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
    return { url: module, missing: `${module} is no URL of a file` }
  }
  const url = MODULE_PREFIX + pathToFileURL(file).href
  try {
    return { url, missing: (await isBelow(dir, file)) ? null : `${module} lies outside of the agents folder` }
  } catch {
    return { url, missing: `${module}: there is no file ${file}` }
  }
}

/** True if a file lies in a folder, whatever links lead to it. @throws where there is no such file */
export async function isBelow(dir: string, file: string): Promise<boolean> {
  const way = relative(await realpath(dir), await realpath(file))
  return way !== '..' && !way.startsWith(`..${sep}`)
}

/** The same for the services of the cascade that are modules. */
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
