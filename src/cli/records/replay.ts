import { readdir, stat, writeFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import type { CallSessionOptions } from '../../call/call-options.js'
import type { JournalMedia } from '../../call/documents/journal.js'
import { readJournal } from '../../call/journal/journal-reader.js'
import { replayJournal } from '../../call/journal/replay.js'
import type { Replay, ReplayPath } from '../../call/journal/replay.js'
import { diffOutputs } from '../../call/journal/replay-diff.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { isCallSid } from '../../core/ids.js'
import type { VadBank } from '../../media/vad/vad.js'
import { CallerPath } from '../../media/caller-path.js'
import { sessionOptionsSchema } from '../../call/call-options.js'
import { loadVoiceDetectors } from '../../workers/shared/media-assets.js'
import { cutJournal } from './journal-cut.js'
import { inJournal, journalLines } from './journal-files.js'
import { journalOf, opsClientOf } from '../ops-client.js'
import type { OpsOptions } from '../ops-client.js'
import { Progress } from '../progress.js'
import { replayReport } from './replay-report.js'
import type { ReplayVerdict } from './replay-report.js'
import { shown } from '../terminal.js'
import type { Terminal } from '../terminal.js'

/** Maximum number of journals that one command replays. */
const REPLAY_FILES_MAX = 10_000

/** The options of `mkondo replay`. */
export interface ReplayOptions extends CutOptions, OpsOptions {
  readonly diff?: true
  readonly set?: readonly string[]
  /** False with `--no-audio`. */
  readonly audio: boolean
}

interface CutOptions {
  readonly cut?: string
  readonly to: string
  readonly until?: string
  readonly withWords?: true
  readonly withAudio?: true
}

/**
 * Tolerance in ms when the times of decisions are compared. A wake-up that the recording lacks comes up to 50 ms late.
 */
const DIFF_TOLERANCE_MS = 60

/**
 * `mkondo replay`.
 * @param paths  journals, folders of journals, and SIDs of calls whose journals a running gateway sends
 */
export async function replay(paths: readonly string[], options: ReplayOptions, terminal: Terminal): Promise<number> {
  const files = await journalFiles(paths)
  const read = async (file: string): Promise<readonly string[]> =>
    isSid(file) ? sentLines(file, options, terminal) : journalLines(file)
  if (options.cut !== undefined) {
    const file = files[0]
    if (files.length !== 1 || file === undefined) throw wrong(`--cut needs exactly one journal, not ${files.length}`)
    terminal.out(await cut(await read(file), file, options.cut, options))
    return 0
  }
  const settings = (options.set ?? []).map(parseSetting)
  const decisions = options.diff === true || settings.length > 0
  const replayOf = await replayer({ settings, decisions, audio: options.audio })
  const verdicts: ReplayVerdict[] = []
  const progress = new Progress(terminal, 'replay')
  try {
    for (const [index, file] of files.entries()) {
      progress.show(`${index + 1} of ${files.length} calls`)
      verdicts.push(replayOf(file, await read(file)))
    }
  } finally {
    progress.end()
  }
  shown(options, terminal, { calls: verdicts }, () => `${replayReport(verdicts, decisions)}\n`)
  return settings.length > 0 || verdicts.every((verdict) => verdict.same) ? 0 : 1
}

interface ReplayerOptions {
  readonly settings: readonly Setting[]
  /** True to compare only decisions, with DIFF_TOLERANCE_MS; false to compare all outputs exactly. */
  readonly decisions: boolean
  /** True to replay the caller's audio too, in journals that contain it. */
  readonly audio: boolean
}

/**
 * Prepares replays with these options.
 * @returns a function that replays one journal, and compares the result with the recording. It throws GatewayError
 * JOURNAL_INVALID, with the name of the file
 */
export async function replayer(
  options: ReplayerOptions,
): Promise<(file: string, journal: readonly string[]) => ReplayVerdict> {
  const openPath = options.audio ? pathsFor(await loadVoiceDetectors()) : null
  return (file, journal) => {
    const startedAtMs = performance.now()
    const verdict = compare(journal, file, { ...options, openPath })
    return { ...verdict, tookMs: performance.now() - startedAtMs }
  }
}

interface CompareOptions extends ReplayerOptions {
  readonly openPath: ((media: JournalMedia) => ReplayPath) | null
}

/** Replays one journal and compares the result with the recording. */
function compare(
  journal: readonly string[],
  file: string,
  { settings, openPath, decisions }: CompareOptions,
): Omit<ReplayVerdict, 'tookMs'> {
  const media = openPath === null ? {} : { openPath, decode: (base64: string) => Buffer.from(base64, 'base64') }
  const exact = settings.length === 0 ? inJournal(file, () => replayJournal(journal, media)) : null
  const same =
    exact !== null &&
    exact.frameDifferences.length === 0 &&
    diffOutputs(exact.recorded, exact.outputs, { toleranceMs: 0 }).length === 0
  // If the outputs differ, the call runs again with its own timers, because this version may request wake-up times that
  // the recording does not contain.
  const run =
    exact !== null && (same || !decisions)
      ? exact
      : inJournal(file, () =>
          replayJournal(journal, { ...media, options: changed(journal, settings), ownTimers: true }),
        )
  return {
    file,
    ...facts(run),
    same,
    frameDifferences: run.frameDifferences,
    differences: same ? [] : diffOutputs(run.recorded, run.outputs, { toleranceMs: decisions ? DIFF_TOLERANCE_MS : 0 }),
  }
}

function facts(
  run: Replay,
): Pick<
  ReplayVerdict,
  'callSid' | 'agent' | 'build' | 'entries' | 'frames' | 'outputs' | 'spanMs' | 'audio' | 'startMs'
> {
  const { header, entries, frames, outputs, spanMs } = run
  return {
    callSid: header.options.callSid,
    agent: header.options.agent,
    build: header.build,
    startMs: header.options.preparedAtMs,
    entries,
    frames,
    outputs: outputs.length,
    spanMs,
    audio: header.media !== null,
  }
}

/**
 * Opens media paths that share one bank of voice detectors. Each path takes a detector from the bank and returns it at
 * its end.
 */
function pathsFor(vadBank: VadBank): (media: JournalMedia) => ReplayPath {
  return ({ sampleRateHz, track }) => new CallerPath({ sampleRateHz, track, vadBank })
}

interface Setting {
  readonly path: readonly string[]
  readonly value: unknown
}

function parseSetting(text: string): Setting {
  const [, key, value] = /^([a-zA-Z.]+)=(.*)$/s.exec(text) ?? []
  if (key === undefined || value === undefined)
    throw wrong(`--set ${text.slice(0, 80)}: must be KEY=VALUE, such as bargeIn.commitMs=400`)
  let parsed: unknown = value
  try {
    parsed = JSON.parse(value)
  } catch {
    // a value that is not JSON is used as plain text
  }
  return { path: key.split('.'), value: parsed }
}

/** Options of the recorded call, changed by the given settings. */
function changed(journal: readonly string[], settings: readonly Setting[]): Partial<CallSessionOptions> {
  if (settings.length === 0) return {}
  const { value: header } = readJournal(journal).next()
  if (header?.type !== 'header') throw wrong('the journal has no header')
  const options = structuredClone(header.options) as unknown as Record<string, unknown>
  for (const { path, value } of settings) {
    let at = options
    for (const key of path.slice(0, -1)) {
      const next = at[key]
      if (typeof next !== 'object' || next === null)
        throw wrong(
          next === null
            ? `--set ${path.join('.')}: ${key} is null in this call; set the whole of it, as JSON`
            : `--set ${path.join('.')}: a call has no setting ${key}; ${keysOf(at)}`,
        )
      at = next as Record<string, unknown>
    }
    const last = path.at(-1) ?? ''
    if (!(last in at)) throw wrong(`--set ${path.join('.')}: a call has no such setting; ${keysOf(at)}`)
    at[last] = value
  }
  const checked = sessionOptionsSchema.safeParse(options)
  if (!checked.success) {
    const [issue] = checked.error.issues
    throw wrong(`--set ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'is not allowed'}`)
  }
  return checked.data
}

function keysOf(settings: Readonly<Record<string, unknown>>): string {
  return `allowed: ${Object.keys(settings).join(', ')}`
}

async function cut(journal: readonly string[], file: string, name: string, options: CutOptions): Promise<string> {
  if (!/^[a-z0-9][a-z0-9-]{0,60}$/.test(name))
    throw wrong('--cut: the name is not valid; allowed: 1 to 61 characters of a-z, 0-9 and -')
  const untilS = options.until === undefined ? null : Number(options.until)
  if (untilS !== null && !(untilS > 0)) throw wrong('--until is not valid; allowed: a number of seconds above 0')
  const lines = inJournal(file, () =>
    cutJournal(journal, { untilS, withWords: options.withWords === true, withAudio: options.withAudio === true }),
  )
  const target = join(options.to, `${name}.jsonl.gz`)
  await mkdir(options.to, { recursive: true, mode: 0o700 })
  await writeFile(target, gzipSync(`${lines.join('\n')}\n`, { level: 9 }), { flag: 'wx' }).catch((thrown: unknown) => {
    throw wrong(`--cut: ${target} cannot be written: ${messageOf(thrown)}`)
  })
  return `${target}: ${lines.length} entries. Run it with: mkondo replay ${target}\n`
}

/** True for a call's SID, false for a file. */
function isSid(path: string): boolean {
  return path.startsWith('HD_') && isCallSid(path)
}

/** Journal of a call, from a running gateway. */
async function sentLines(callSid: string, options: ReplayOptions, terminal: Terminal): Promise<readonly string[]> {
  const journal = await journalOf(opsClientOf(options, terminal), callSid)
  if (typeof journal === 'string') return journal.split('\n')
  throw wrong(`${callSid}: ${journal.why}`)
}

/** The named journals. A folder's journals are sorted by their names. */
async function journalFiles(paths: readonly string[]): Promise<readonly string[]> {
  const files: string[] = []
  for (const path of paths) {
    if (isSid(path)) {
      files.push(path)
      continue
    }
    const found = await stat(path).catch((thrown: unknown) => {
      throw wrong(`${path}: ${messageOf(thrown)}`)
    })
    if (!found.isDirectory()) files.push(path)
    else
      files.push(
        ...(await readdir(path))
          .filter((name) => /\.jsonl(?:\.gz)?$/.test(name))
          .sort()
          .map((name) => join(path, name)),
      )
  }
  if (files.length === 0) throw wrong(`no journal (*.jsonl, *.jsonl.gz) in ${paths.join(', ')}`)
  if (files.length > REPLAY_FILES_MAX) throw wrong(`${files.length} journals; at most ${REPLAY_FILES_MAX} at once`)
  return files
}

function wrong(what: string): GatewayError {
  return new GatewayError('CONFIG_INVALID', `replay: ${what}`)
}
