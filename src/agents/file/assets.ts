import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { isAbsolute, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { messageOf } from '../../core/errors.js'
import { AGENT_FILE_BYTES_MAX, KNOWLEDGE_PASSAGES_MAX } from '../../core/limits.js'
import { readCallers } from '../identity/caller.js'
import type { CallerRows } from '../identity/caller.js'
import { fieldsReadOfCaller } from '../identity/caller-fields.js'
import { codeToolsOf } from '../tools/code-tool.js'
import type { CodeToolSpec, FoundCodeTool } from '../tools/code-tool.js'
import type { AgentDefinition } from './definition.js'
import { isSpared } from './faults.js'
import type { Fault } from './faults.js'
import { isBelow } from './own-backends.js'
import { parseKnowledge } from './knowledge-file.js'
import type { Passage } from './knowledge-file.js'
import { sharedText } from '../identity/shared-text.js'
import { sheetText } from '../identity/spreadsheet.js'
import { readSound, readWaitingLoop, recordingsOf } from './sounds.js'
import type { RecordedPhrase, WaitingLoop } from './sounds.js'
import { parseYaml } from './yaml-source.js'

/** All bytes of an agent's knowledge files. */
const KNOWLEDGE_BYTES_MAX = 1024 * 1024
/** All samples of an agent's sound files: about nine minutes at 16 kHz. */
const SOUND_BYTES_MAX = 16 * 1024 * 1024

/**
 * Data that an agent needs besides its definition. It is plain; the knowledge is in shared memory, so that the start of
 * a call does not copy it.
 */
export interface AgentAssets {
  /** A hash of the content: workers cache what they build from it under this key. */
  readonly version: string
  /** A hash of the author's files as they are, whatever this build makes of them; null for an agent without a file. */
  readonly written: string | null
  /** JSON of the passages, UTF-8. */
  readonly knowledge: SharedArrayBuffer | null
  /** Modules with code tools, as URLs with a hash of their content, so that an edited module is imported again. */
  readonly modules: readonly string[]
  readonly codeTools: readonly CodeToolSpec[]
  /** The file of `caller`; null: none. */
  readonly callers: CallerRows | null
  /** The phrases of `recordedPhrases`. */
  readonly recorded: readonly RecordedPhrase[]
  /** The sound of `waitingSound`; null: none. */
  readonly waiting: WaitingLoop | null
}

export const NO_ASSETS: AgentAssets = {
  ...{
    version: 'none',
    written: null,
    knowledge: null,
    modules: [],
    codeTools: [],
    callers: null,
    recorded: [],
    waiting: null,
  },
}

type LoadedAssets =
  | {
      readonly ok: true
      readonly assets: AgentAssets
      readonly files: readonly string[]
      /** All of them `spared`. */
      readonly faults: readonly Fault[]
    }
  | { readonly ok: false; readonly faults: readonly Fault[]; readonly files: readonly string[] }

/**
 * Reads the files that an agent names. One that is missing or broken costs what is in it, and no call: without a sound, callers
 * hear the agent's voice or nothing in its place; without a file of knowledge its passages are not found; without a file of
 * callers, or a row of it, they are not known. Without its code it is another agent, and not used: it would promise what it cannot do.
 * @param dir the agents folder; paths are relative to it and may not leave it
 * @param own the agent's own module, when it is one
 * @param value content of the agent's file, before defaults
 */
export async function loadAssets(
  agent: AgentDefinition,
  dir: string,
  own: string | null,
  value: unknown,
): Promise<LoadedAssets> {
  const faults: Fault[] = []
  const files: string[] = []
  const digest = createHash('sha256')
  const passages: Passage[] = []
  let bytesLeft = KNOWLEDGE_BYTES_MAX
  for (const [index, name] of agent.knowledge.entries()) {
    const at = ['knowledge', index]
    try {
      const file = inside(dir, name)
      files.push(file)
      const bytes = await readFile(file)
      bytesLeft -= bytes.length
      if (bytesLeft < 0) throw new SyntaxError(`makes more than ${KNOWLEDGE_BYTES_MAX} bytes of knowledge`)
      const text = sheetText(bytes)
      const isYaml = /\.ya?ml$/.test(name)
      const read = parseKnowledge(text, isYaml ? 'yaml' : 'markdown', agent.languages)
      if (passages.length + read.length > KNOWLEDGE_PASSAGES_MAX)
        throw new SyntaxError(
          `makes ${passages.length + read.length} passages; at most ${KNOWLEDGE_PASSAGES_MAX} are allowed`,
        )
      passages.push(...read)
      const source = isYaml ? parseYaml(text) : { cuts: [] }
      if ('cuts' in source)
        for (const { line, what } of source.cuts)
          faults.push({ path: at, what: `${name}: line ${line}: ${what}`, spared: true })
      digest.update(bytes)
    } catch (error) {
      faults.push({ path: at, what: `${name}: ${reasonOf(error)}; its passages are not found`, spared: true })
    }
  }
  let callers: CallerRows | null = null
  if (agent.caller?.file !== undefined) {
    const { file: name, key } = agent.caller
    try {
      const file = inside(dir, name)
      files.push(file)
      const read = await readCallers(file, key, fieldsReadOfCaller(agent))
      callers = read.rows
      const at = ['caller', 'file']
      faults.push(...read.faults.map((what) => ({ path: at, what: `${name}: ${what}`, spared: true })))
      digest.update(new Uint8Array(callers.lines))
    } catch (error) {
      faults.push({ path: ['caller', 'file'], what: `${name}: ${reasonOf(error)}; no caller is known`, spared: true })
    }
  }
  const recorded: RecordedPhrase[] = []
  let soundBytesLeft = SOUND_BYTES_MAX
  for (const one of recordingsOf(agent)) {
    if ('what' in one) {
      faults.push(one)
      continue
    }
    try {
      const path = inside(dir, one.file)
      files.push(path)
      const sound = await readSound(path)
      soundBytesLeft -= sound.samples.byteLength
      if (soundBytesLeft < 0) throw new SyntaxError(`makes more than ${SOUND_BYTES_MAX} bytes of sound at its own rate`)
      const { text, language } = one
      recorded.push({ ...sound, text, language })
      digest.update(JSON.stringify([text, language])).update(new Uint8Array(sound.samples))
    } catch (error) {
      faults.push({
        path: one.path,
        what: `${one.file}: ${reasonOf(error)}; callers hear the agent's voice instead`,
        spared: true,
      })
    }
  }
  let waiting: WaitingLoop | null = null
  if (agent.waitingSound !== null) {
    const { file: name, gainDb } = agent.waitingSound
    try {
      const path = inside(dir, name)
      files.push(path)
      waiting = await readWaitingLoop(path, gainDb)
      digest.update(new Uint8Array(waiting[16_000]))
    } catch (error) {
      faults.push({
        path: ['waitingSound', 'file'],
        what: `${name}: ${reasonOf(error)}; callers hear silence instead`,
        spared: true,
      })
    }
  }
  const modules: string[] = []
  const codeTools: CodeToolSpec[] = []
  for (const [index, name] of [...agent.modules, ...(own === null ? [] : [own])].entries()) {
    const ownModule = index >= agent.modules.length
    try {
      const file = inside(dir, name)
      files.push(file)
      const { url, exports } = await importFile(file, dir)
      const found = codeToolsOf(exports)
      if (found.length === 0 && !ownModule) throw new SyntaxError('exports no tool (defineTool)')
      codeTools.push(...found.map(({ spec }) => spec))
      if (found.length > 0) modules.push(url)
      // Without the folder of this machine: the same agent has one version at all nodes.
      digest.update(new URL(url).search)
    } catch (error) {
      faults.push({ path: ownModule ? ['tools'] : ['modules', index], what: `${name}: ${reasonOf(error)}` })
    }
  }
  const names = [...agent.tools, ...codeTools].map((tool) => tool.name)
  for (const [index, name] of names.entries()) {
    if (names.indexOf(name) !== index) faults.push({ path: ['modules'], what: `${name} is the name of two tools` })
  }
  if (!faults.every(isSpared)) return { ok: false, faults, files }
  // Also without a passage that can be read: stages and dialogues name the tool that searches it.
  const knowledge = agent.knowledge.length === 0 ? null : sharedText(JSON.stringify(passages))
  return {
    ok: true,
    ...{ files, faults },
    assets: {
      version: digest.digest('hex').slice(0, 16),
      written: await writtenHash(value, files),
      ...{ knowledge, modules, codeTools, callers, recorded, waiting },
    },
  }
}

/** Neither comments nor the order of keys count, and no folder: all nodes and builds get the same. */
async function writtenHash(value: unknown, files: readonly string[]): Promise<string> {
  // A canary that becomes the agent, or that gets more of the calls, is the same version.
  const { canary: _, ...rest } = value as Readonly<Record<string, unknown>>
  const digest = createHash('sha256').update(JSON.stringify(rest, sortedKeys))
  // A sound that is not there is spared.
  for (const file of files)
    digest.update(
      createHash('sha256')
        .update(await readFile(file).catch(() => ''))
        .digest(),
    )
  return digest.digest('hex').slice(0, 16)
}

function sortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** The passages of an agent, on any thread. */
export function passagesOf(assets: AgentAssets): Passage[] {
  if (assets.knowledge === null) return []
  // TextDecoder refuses shared memory.
  const bytes = new Uint8Array(new Uint8Array(assets.knowledge))
  return JSON.parse(new TextDecoder().decode(bytes)) as Passage[] // written above
}

/** The code tools of an agent with their code, imported on this thread; Node keeps each version of a module once. */
export async function openCodeTools(assets: AgentAssets): Promise<FoundCodeTool[]> {
  const found: FoundCodeTool[] = []
  for (const url of assets.modules) found.push(...codeToolsOf((await import(url)) as Record<string, unknown>))
  return found
}

/**
 * Imports a module of the agents folder by a URL with a hash of its content.
 * @throws what the module throws, or a SyntaxError, also for a link that leads out of the folder
 */
export async function importFile(
  file: string,
  dir: string,
): Promise<{ url: string; exports: Readonly<Record<string, unknown>> }> {
  if (!(await isBelow(dir, file))) throw new SyntaxError(OUTSIDE)
  const bytes = await readFile(file)
  if (bytes.length > AGENT_FILE_BYTES_MAX)
    throw new SyntaxError(`has ${bytes.length} bytes; at most ${AGENT_FILE_BYTES_MAX} are allowed`)
  const url = `${pathToFileURL(file).href}?v=${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`
  return { url, exports: (await import(url)) as Record<string, unknown> }
}

const OUTSIDE = 'lies outside of the agents folder'

function inside(dir: string, name: string): string {
  const file = resolve(dir, name)
  const way = relative(dir, file)
  if (way.startsWith('..') || isAbsolute(way)) throw new SyntaxError(OUTSIDE)
  return file
}

function reasonOf(error: unknown): string {
  if (error instanceof SyntaxError) return error.message
  if (error instanceof TypeError && 'code' in error && error.code === 'ERR_ENCODING_INVALID_ENCODED_DATA')
    return 'is not UTF-8 text'
  // The console shows it: Node's own words name a path of this machine.
  return `cannot be read: ${(messageOf(error).split('\n')[0] ?? '').replace(/, \w+ '.*$/, '')}`
}
