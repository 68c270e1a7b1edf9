import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, stat } from 'node:fs/promises'
import { basename, extname, join, relative, sep } from 'node:path'
import { parseKnowledge, sourceLine } from '../../agents/file/knowledge-file.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { KNOWLEDGE_PASSAGES_MAX } from '../../core/limits.js'
import { writeWhole } from '../../telemetry/archive/whole-file.js'
import { UsageError } from '../exit-codes.js'
import { json } from '../terminal.js'
import type { Terminal } from '../terminal.js'
import { passagesOf } from './passages.js'
import type { TableForm } from './passages.js'
import { readDocument } from './readers.js'

/** Options of `mkondo knowledge import`. */
export interface ImportOptions {
  readonly out: string
  readonly tables?: TableForm
  readonly replace?: true
  readonly json?: true
}

const BYTES_MAX = 32 * 1024 * 1024

/** Runs `mkondo knowledge import`: writes each document to a Markdown file of passages. No agent uses this file yet. */
export async function importKnowledge(
  files: readonly string[],
  options: ImportOptions,
  terminal: Terminal,
): Promise<number> {
  const { out, tables = null } = options
  const targets = files.map((file) => join(out, `${slug(file)}.md`))
  const twice = targets.find((target, at) => targets.indexOf(target) !== at)
  if (twice !== undefined) throw new UsageError(`two files would become ${twice}; allowed: names that differ`)
  const there = options.replace === true ? undefined : targets.find((target) => existsSync(target))
  if (there !== undefined)
    throw new UsageError(`${there} exists already, and a person may have corrected it; --replace overwrites it`)
  const made = []
  // All documents are read before the first file is written.
  for (const [at, file] of files.entries()) made.push(await imported(file, targets[at] ?? '', tables))
  await mkdir(out, { recursive: true })
  for (const { target, text } of made) await writeWhole(target, text, 0o644)
  const result = made.map(({ text: _, ...one }) => one)
  if (options.json === true) terminal.out(json({ files: result }))
  else {
    for (const { file, target, passages, changed } of result)
      terminal.out(`${target}: ${passages} passages of ${file}${changed}\n`)
    terminal.out("\nRead them and correct them. Then name the files under `knowledge` in the agent's file.\n")
  }
  return 0
}

async function imported(file: string, target: string, tables: TableForm | null) {
  const bytes = await bytesOf(file)
  const name = basename(file, extname(file)).replaceAll(/[-_]+/g, ' ')
  const passages = passagesOf(await readDocument(file, bytes), name, tables)
  if (passages.length === 0) throw new GatewayError('CONFIG_INVALID', `${file}: has no text`)
  if (passages.length > KNOWLEDGE_PASSAGES_MAX)
    throw new GatewayError(
      'CONFIG_INVALID',
      `${file}: makes ${passages.length} passages; at most ${KNOWLEDGE_PASSAGES_MAX} are allowed (--tables sentences makes fewer)`,
    )
  const source = {
    file: relative(join(target, '..'), file).split(sep).join('/'),
    date: new Date().toISOString().slice(0, 10),
    sha256: shortHash(bytes),
  }
  const head = `# Imported from ${basename(file)} on ${source.date}. Read each passage and correct it before an agent gets it.\n`
  const bodies = passages.map(
    ({ title, text, place }) => `\n## ${title}\n${sourceLine({ ...source, place })}\n\n${text}\n`,
  )
  const text = `${head}${bodies.join('')}`
  // Markdown would read this title or text differently, and so lose a part of it.
  if (parseKnowledge(text, 'markdown').length !== passages.length)
    throw new Error(`${file}: its passages could not be written as Markdown`)
  return { file, target, passages: passages.length, text, changed: await changedText(target, text) }
}

/** Changes since the last import; empty if this is the first import. */
async function changedText(target: string, text: string): Promise<string> {
  if (!existsSync(target)) return ''
  const textsOf = (markdown: string): Map<string, string> => {
    const passages = parseKnowledge(markdown, 'markdown')
    return new Map(passages.map(({ title, text: body }) => [title, JSON.stringify(body)]))
  }
  try {
    const before = textsOf(await readFile(target, 'utf8'))
    const after = textsOf(text)
    const added = [...after.keys()].filter((title) => !before.has(title)).length
    const removed = [...before.keys()].filter((title) => !after.has(title)).length
    const other = [...after].filter(([title, body]) => before.has(title) && before.get(title) !== body).length
    return `; ${added} new, ${removed} gone, ${other} changed`
  } catch {
    return ''
  }
}

async function bytesOf(file: string): Promise<Buffer> {
  try {
    const { size } = await stat(file)
    if (size > BYTES_MAX) throw new Error(`has ${size} bytes; at most ${BYTES_MAX} are read`)
    return await readFile(file)
  } catch (thrown) {
    throw new GatewayError('CONFIG_INVALID', `${file} cannot be read: ${messageOf(thrown)}`)
  }
}

/**
 * First 16 hex digits of a hash of the content. They show that a file has changed, but do not protect against an
 * attacker.
 */
export function shortHash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 16)
}

function slug(file: string): string {
  const name = basename(file, extname(file))
    .normalize('NFKD')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
  if (name === '')
    throw new UsageError(`${basename(file)} has no letter or digit in its name; allowed: a name such as price-list`)
  return name
}
