import type { AgentInput } from './definition.js'
import type { McpServerInput } from '../tools/mcp-definition.js'

/** A place of an agent's file that names code, and what it names, in a form that can be compared. */
interface NamedCode {
  readonly path: readonly PropertyKey[]
  readonly code: string
}

type Finder = (value: unknown, path: readonly PropertyKey[]) => readonly NamedCode[]

const MODULE_PREFIX = 'module:'
const none: Finder = () => []

/** Modules among the texts and the keys of a value, at any depth. */
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

/** The keys of a server that say what is started, and with which environment. */
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

/** Each key of an agent, and what of it names code; a key that is not here does not compile. */
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
  ...{ digits: none, knowledge: none, caller: none, verification: none, rules: none, claims: none, facts: none },
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

/** Finds the code that an agent's file names. @param agent  the parsed file, checked or not */
function codeIn(agent: unknown): readonly NamedCode[] {
  if (typeof agent !== 'object' || agent === null) return []
  return Object.entries(agent).flatMap(([key, value]) => {
    // A key that no agent has is a fault anyway.
    const find = Object.hasOwn(CODE_KEYS, key) ? CODE_KEYS[key as keyof AgentInput] : none
    return value === null || value === undefined ? [] : find(value, [key])
  })
}

/**
 * Places where an edited agent names code that the file on the disk does not name: an edit may leave code out, and neither add
 * nor change it. Both as they are parsed, checked or not; `onDisk` undefined: nothing can be read there.
 */
export function addedCode(edited: unknown, onDisk: unknown): readonly (readonly PropertyKey[])[] {
  const known = new Set(codeIn(onDisk).map(({ code }) => code))
  return codeIn(edited).flatMap(({ path, code }) => (known.has(code) ? [] : [path]))
}

/** With the keys of all maps in order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, entry]) => [key, sorted(entry)]),
  )
}
