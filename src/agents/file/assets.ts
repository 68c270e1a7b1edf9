import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { isAbsolute, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { messageOf } from '../../core/errors.js'
import { readLearnedTurns } from '../../call/documents/learned-turns.js'
import type { LearnedTurns } from '../../call/documents/learned-turns.js'
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

/** Maximum size of all knowledge files of an agent, in bytes. */
const KNOWLEDGE_BYTES_MAX = 1024 * 1024
/** Maximum size of all sounds of an agent, in bytes of samples. It is enough for about nine minutes at 16 kHz. */
const SOUND_BYTES_MAX = 16 * 1024 * 1024

/**
 * Plain data that an agent needs in addition to its definition. The knowledge is in shared memory, so that the start of
 * a call does not copy it.
 */
export interface AgentAssets {
  /**
   * Hash of the content. Workers cache data that they compute from the content; the hash is the key in these caches.
   */
  readonly version: string
  /** Hash of the author's files. It does not depend on the gateway's version. Null if the agent has no file. */
  readonly written: string | null
  /** JSON of the passages, UTF-8. */
  readonly knowledge: SharedArrayBuffer | null
  /**
   * Modules with code tools, as URLs. A URL contains a hash of the module's content, so that an edited module is
   * imported again.
   */
  readonly modules: readonly string[]
  readonly codeTools: readonly CodeToolSpec[]
  /** Rows of the file in `caller`; null if the file is missing. */
  readonly callers: CallerRows | null
  /** The phrases of `recordedPhrases`. */
  readonly recorded: readonly RecordedPhrase[]
  /** The sound in `waitingSound`; null if there is no waiting sound. */
  readonly waiting: WaitingLoop | null
  /** The model in `turn.learned`; null if there is no such model or if its file cannot be used. */
  readonly learned: LearnedTurns['model'] | null
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
    learned: null,
  },
}

type LoadedAssets =
  | {
      readonly ok: true
      readonly assets: AgentAssets
      readonly files: readonly string[]
      /** Faults; each of them is `spared`. */
      readonly faults: readonly Fault[]
    }
  | { readonly ok: false; readonly faults: readonly Fault[]; readonly files: readonly string[] }

/**
 * Reads the files that an agent names. If a file is missing or broken, only its own content is missing, and calls do
 * not fail:
 * - Without a sound, callers hear the agent's voice or silence.
 * - Without a knowledge file, its passages are not found.
 * - Without a file of callers, or without a row of that file, these callers are unknown.
 * - Without a learned end of turn, the rules decide.
 *
 * If its code is missing, an agent is not used, because it would promise things that it cannot do.
 * @param dir  the agents folder; paths are relative to it and must not lead out of it
 * @param own  module that defines the agent, if the agent is written in code; otherwise null
 * @param value  content of the agent's file, before defaults
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
      faults.push({
        path: ['caller', 'file'],
        what: `${name}: ${reasonOf(error)}; no caller is recognised`,
        spared: true,
      })
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
  let learned: AgentAssets['learned'] = null
  if (agent.turn.learned !== null) {
    const name = agent.turn.learned
    try {
      if (!agent.turn.adaptive) throw new SyntaxError('has no effect, because turn.adaptive is false')
      const path = inside(dir, name)
      files.push(path)
      const text = await textOf(path)
      learned = readLearnedTurns(text, agent.languages).model
      digest.update(text)
    } catch (error) {
      faults.push({
        path: ['turn', 'learned'],
        what: `${name}: ${reasonOf(error)}; turns end by the rules`,
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
      // The hash does not contain the path of the folder, so that an agent has one version on all nodes.
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
  // This is set even if passages cannot be read, because stages and dialogues may name the tool that searches the
  // passages.
  const knowledge = agent.knowledge.length === 0 ? null : sharedText(JSON.stringify(passages))
  return {
    ok: true,
    ...{ files, faults },
    assets: {
      version: digest.digest('hex').slice(0, 16),
      written: await writtenHash(value, files),
      ...{ knowledge, modules, codeTools, callers, recorded, waiting, learned },
    },
  }
}

/**
 * Computes the hash of the files. Comments, the order of keys and the folder do not change the hash. So all nodes and
 * all versions of the gateway compute equal hashes.
 */
async function writtenHash(value: unknown, files: readonly string[]): Promise<string> {
  // The version of a canary stays the same when it becomes the main version, or when its share changes.
  const { canary: _, ...rest } = value as Readonly<Record<string, unknown>>
  const digest = createHash('sha256').update(JSON.stringify(rest, sortedKeys))
  // The fault of a missing sound is `spared`.
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

/** Returns the passages of an agent; works on any thread. */
export function passagesOf(assets: AgentAssets): Passage[] {
  if (assets.knowledge === null) return []
  // A copy is made, because TextDecoder does not accept shared memory.
  const bytes = new Uint8Array(new Uint8Array(assets.knowledge))
  return JSON.parse(new TextDecoder().decode(bytes)) as Passage[] // written above
}

/** Imports the code tools of an agent on this thread. Node loads each version of a module only once. */
export async function openCodeTools(assets: AgentAssets): Promise<FoundCodeTool[]> {
  const found: FoundCodeTool[] = []
  for (const url of assets.modules) found.push(...codeToolsOf((await import(url)) as Record<string, unknown>))
  return found
}

/**
 * Imports a module of the agents folder by a URL with a hash of its content.
 * @throws SyntaxError for a link to a file outside the folder; also errors that the module itself throws
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

/** Reads a text. @throws SyntaxError for a file that is too large; also errors of the file system */
async function textOf(path: string): Promise<string> {
  const { size } = await stat(path)
  if (size > AGENT_FILE_BYTES_MAX)
    throw new SyntaxError(`has ${size} bytes; at most ${AGENT_FILE_BYTES_MAX} are allowed`)
  return readFile(path, 'utf8')
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
  // Node's message is not used, because it contains a path of this machine and the console would show it.
  return `cannot be read: ${(messageOf(error).split('\n')[0] ?? '').replace(/, \w+ '.*$/, '')}`
}
