import type { AgentInput } from './definition.js'
import type { McpServerInput } from '../tools/mcp-definition.js'

/** Position in an agent's file at which code is named, and the name in a form that can be compared. */
interface NamedCode {
  readonly path: readonly PropertyKey[]
  readonly code: string
}

type Finder = (value: unknown, path: readonly PropertyKey[]) => readonly NamedCode[]

const MODULE_PREFIX = 'module:'
const none: Finder = () => []

/** Finds names of modules in the texts and keys of a value, at any depth. */
const modulesIn: Finder = (value, path) => {
  if (typeof value === 'string') return value.startsWith(MODULE_PREFIX) ? [{ path, code: value }] : []
  if (Array.isArray(value)) return value.flatMap((entry, index) => modulesIn(entry, [...path, index]))
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, entry]) => [
    ...modulesIn(key, [...path, key]),
    ...modulesIn(entry, [...path, key]),
  ])
}

const fileNames: Finder = (value, path) =>
  (Array.isArray(value) ? (value as unknown[]) : [value]).map((file, index) => ({
    path: Array.isArray(value) ? [...path, index] : path,
    code: JSON.stringify(['modules', file]),
  }))

/** Keys of an MCP server's definition that name the server's program and its environment. */
const SERVER_KEYS: Readonly<Record<keyof McpServerInput, boolean>> = {
  ...{ command: true, env: true },
  ...{ name: false, url: false, headers: false, allowPrivate: false, tools: false },
}

const commands: Finder = (value, path) =>
  (Array.isArray(value) ? (value as unknown[]) : [value]).flatMap((server, index): readonly NamedCode[] => {
    const entries = Object.entries(typeof server === 'object' && server !== null ? server : {})
    const code = entries.filter(([key]) => !(key in SERVER_KEYS) || SERVER_KEYS[key as keyof McpServerInput])
    if (code.length === 0) return []
    const at = Array.isArray(value) ? [...path, index] : path
    return [{ path: [...at, code[0]?.[0] ?? ''], code: JSON.stringify(sorted(Object.fromEntries(code))) }]
  })

/** Functions that find code, one for each key of an agent. If a key is missing here, the compiler reports it. */
const CODE_KEYS: Readonly<Record<keyof AgentInput, Finder>> = {
  ...{ backend: modulesIn, backends: modulesIn, voice: modulesIn, modules: fileNames, mcp: commands },
  ...{
    turn: none,
    silence: none,
    closing: none,
    putOnHold: none,
    limits: none,
    bargeIn: none,
    fillers: none,
    afterEffect: none,
  },
  ...{
    goodbye: none,
    tryAgain: none,
    apology: none,
    version: none,
    name: none,
    description: none,
    languages: none,
    language: none,
    pronunciations: none,
  },
  ...{
    speechRate: none,
    failover: none,
    budget: none,
    canary: none,
    maxCalls: none,
    instructions: none,
    context: none,
  },
  ...{
    greeting: none,
    say: none,
    stream: none,
    waitingSound: none,
    recordedPhrases: none,
    recovery: none,
    tools: none,
  },
  ...{
    digits: none,
    knowledge: none,
    knowledgeMaxDays: none,
    caller: none,
    verification: none,
    rules: none,
    claims: none,
    facts: none,
  },
  ...{
    stages: none,
    handoverTo: none,
    sample: none,
    analysis: none,
    escalation: none,
    callbacks: none,
    recording: none,
  },
  ...{ retention: none, outbound: none, afterCall: none, offline: none },
}

/** Finds the code that an agent's file names. @param agent  the parsed file, before or after its check */
function codeIn(agent: unknown): readonly NamedCode[] {
  if (typeof agent !== 'object' || agent === null) return []
  return Object.entries(agent).flatMap(([key, value]) => {
    // An unknown key is skipped, because other code reports it as a fault.
    const find = Object.hasOwn(CODE_KEYS, key) ? CODE_KEYS[key as keyof AgentInput] : none
    return value === null || value === undefined ? [] : find(value, [key])
  })
}

/**
 * Returns the positions at which an edited agent names code, if the file on disk does not name this code there. An edit
 * may remove code, but must not add or change code.
 * @param edited  the parsed text, before or after its check
 * @param onDisk  the parsed file; undefined if it cannot be read
 */
export function addedCode(edited: unknown, onDisk: unknown): readonly (readonly PropertyKey[])[] {
  const known = new Set(codeIn(onDisk).map(({ code }) => code))
  return codeIn(edited).flatMap(({ path, code }) => (known.has(code) ? [] : [path]))
}

/** Returns the value with the keys of all maps sorted. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, entry]) => [key, sorted(entry)]),
  )
}
