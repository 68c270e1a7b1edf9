import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { LEARNED_TURNS_VERSION } from '../../call/documents/learned-turns.js'
import type { LearnedResult, LearnedTurns } from '../../call/documents/learned-turns.js'
import { pausesOfCall } from '../../call/journal/journal-pauses.js'
import { countsOf, fittedModel, judgement, tooFew } from '../../call/turns/turn-learning.js'
import type { JudgedPause, LabelledPause } from '../../call/turns/turn-learning.js'
import { loadConfig } from '../../config/load-config.js'
import { packageRoot, packageVersion } from '../../config/package-root.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { DAY_MS } from '../../core/units.js'
import { dataFolders } from '../../gateway/process-plan.js'
import { daysOf } from '../../telemetry/archive/kept-files.js'
import { keptDocuments } from '../../telemetry/archive/kept-documents.js'
import { writeWhole } from '../../telemetry/archive/whole-file.js'
import { UsageError } from '../exit-codes.js'
import { Progress } from '../progress.js'
import { json, table } from '../terminal.js'
import type { Terminal } from '../terminal.js'
import { journalLines, keptJournals } from './journal-files.js'

/** Maximum number of journals that are read, newest first. Further journals are reported as left out. */
const JOURNALS_MAX = 10_000
/** Maximum size in bytes of a journal that is read. It is enough for several hours of a call without audio. */
const JOURNAL_BYTES_MAX = 256 * 1024 * 1024
/** Maximum number of pauses that are kept in memory. */
const PAUSES_MAX = 200_000
/** One of this number of callers is used to judge the result, the other callers are used to learn. */
const JUDGES_OF = 4
/** Minimum number of pauses and minimum number of turn ends from which a language counts as learned. */
const LANGUAGE_MIN = 20

/** Options of `mkondo learn`. */
export interface LearnOptions {
  readonly out: string
  readonly agent?: string
  readonly unannounced?: true
  readonly shipped?: true
  readonly json?: true
  readonly config?: string
}

/** Reason why a call is left out. */
type LeftOut =
  | 'no record says whether its caller was told'
  | 'its caller said no'
  | 'its caller did not hear the notice to its end'
  | 'nothing was said about recording (see --unannounced)'
  | 'older than its retention'
  | 'of another agent'
  | 'its backend ends the turns'
  | 'a journal that this build cannot read'
  | 'beyond the newest 10,000'
  | 'beyond 200,000 pauses'

interface Journal {
  readonly path: string
  readonly callSid: string
  readonly atMs: number
  readonly days: number | null
}

/** Facts from the record of a call. */
interface Told {
  readonly consent: unknown
  readonly caller: string
  /** Language at the call's end; null if unknown. */
  readonly language: string | null
  /** Calendar time of the call's end in ms; NaN if unknown. */
  readonly endedMs: number
}

/**
 * Runs `mkondo learn`.
 * @param given  data folders; if empty, the folder in the settings
 */
export async function learn(given: readonly string[], options: LearnOptions, terminal: Terminal): Promise<number> {
  if (options.shipped === true) {
    if (given.length > 0 || options.agent !== undefined)
      throw new UsageError('--shipped learns nothing, so it takes neither a folder nor --agent')
    await written(options.out, await readFile(join(packageRoot(), 'agents', 'learned-turns.json'), 'utf8'))
    terminal.out(options.json === true ? json({ out: options.out }) : `${options.out}\n`)
    return 0
  }
  const { dataDir, recordingsKeepDays } = loadConfig(terminal.env, options.config ?? null)
  const folders = [...new Set((given.length > 0 ? given : [dataDir]).map((one) => resolve(one)).flatMap(dataFolders))]
  for (const folder of folders)
    await stat(folder).catch((thrown: unknown) => {
      throw new GatewayError('CONFIG_INVALID', `learn: ${folder}: ${messageOf(thrown)}`)
    })
  const calls = new Calls(toldIn(folders), { ...options, keepDays: recordingsKeepDays, nowMs: Date.now() })
  const progress = new Progress(terminal, 'learn')
  try {
    const journals = journalsIn(folders)
    for (const [i, journal] of journals.entries()) {
      progress.show(`${i + 1} of ${journals.length} calls`)
      calls.read(journal)
    }
    const { made, heldOut } = calls
    const few =
      tooFew(made, 'made') ??
      tooFew(
        heldOut.flatMap(({ pauses }) => pauses),
        'heldOut',
      )
    if (few !== null) return refused(few, calls, options, terminal)
    if (calls.languages.length === 0)
      return refused(`too few calls: no language has ${LANGUAGE_MIN} pauses and ends`, calls, options, terminal)
    progress.show('fitting')
    const model = fittedModel(made)
    const judged: JudgedPause[] = []
    for (const [i, { journal }] of heldOut.entries()) {
      progress.show(`judging, ${i + 1} of ${heldOut.length} calls`)
      // A journal that retention or an erasure has deleted during this run is not used.
      judged.push(...(calls.pausesIn(journal, model) ?? []))
    }
    const { heldOut: results, worse } = judgement(judged)
    if (worse !== null) return refused(`the rules stay: ${worse}`, calls, options, terminal)
    const learned: LearnedTurns = {
      version: LEARNED_TURNS_VERSION,
      build: packageVersion(),
      madeAt: new Date().toISOString(),
      agent: options.agent ?? null,
      languages: calls.languages,
      made: { groups: calls.teachers.size, ...countsOf(made) },
      heldOut: { groups: calls.judges.size, ...results },
      model,
    }
    await written(options.out, json(learned))
    const { model: _, ...shown } = learned
    terminal.out(
      options.json === true
        ? json({ out: options.out, ...shown, read: calls.count, leftOut: Object.fromEntries(calls.leftOut) })
        : `${learnedTable(learned)}${leftOutLines(calls)}${options.out}\n`,
    )
    return 0
  } finally {
    progress.end()
  }
}

/** Calls that may be read, and for each reason the number of calls that are left out. */
class Calls {
  count = 0
  readonly leftOut = new Map<LeftOut, number>()
  readonly made: LabelledPause[] = []
  readonly heldOut: { readonly journal: Journal; readonly pauses: readonly LabelledPause[] }[] = []
  readonly #taught = new Map<string, LabelledPause[]>()
  /**
   * Hashes of two groups of callers: callers whose calls are used to learn, and callers whose calls are used to judge.
   */
  readonly teachers = new Set<string>()
  readonly judges = new Set<string>()
  readonly #told: ReadonlyMap<string, Told>
  readonly #options: LearnOptions & { readonly keepDays: number; readonly nowMs: number }
  #journals = 0
  #pauses = 0

  constructor(told: ReadonlyMap<string, Told>, options: LearnOptions & { keepDays: number; nowMs: number }) {
    this.#told = told
    this.#options = options
  }

  read(journal: Journal): void {
    const told = this.#told.get(journal.callSid)
    const why = this.#whyNot(journal, told)
    if (why !== null || told === undefined) return this.#leaveOut(why ?? 'no record says whether its caller was told')
    const pauses = this.pausesIn(journal, null)
    if (pauses === null) return
    this.#pauses += pauses.length
    this.count++
    // A hash of the caller decides the group, so that all calls of one caller are used either to learn or to judge.
    const caller = createHash('sha256').update(told.caller).digest()
    const judges = (caller[0] as number) % JUDGES_OF === 0
    const group = judges ? this.judges : this.teachers
    group.add(caller.toString('hex'))
    if (judges) return void this.heldOut.push({ journal, pauses })
    this.made.push(...pauses)
    for (const one of pauses) {
      const of = this.#taught.get(one.language) ?? []
      of.push(one)
      this.#taught.set(one.language, of)
    }
  }

  /** Languages in the learning calls. */
  get languages(): readonly string[] {
    const enough = [...this.#taught].filter(
      ([, pauses]) => Math.min(...Object.values(countsOf(pauses))) >= LANGUAGE_MIN,
    )
    return enough.map(([language]) => language).sort()
  }

  /** @returns null if the call is left out */
  pausesIn(
    journal: Journal,
    model: LearnedTurns['model'] | null,
  ): readonly (JudgedPause & { readonly language: string })[] | null {
    const sessions = replayed(journal, model)
    const leftOut = (why: LeftOut): null => {
      if (model === null) this.#leaveOut(why)
      return null
    }
    if (sessions === null) return leftOut('a journal that this build cannot read')
    const { agent } = this.#options
    const ofAgent = sessions.filter(({ options }) => agent === undefined || options.agent === agent)
    if (ofAgent.length === 0) return leftOut('of another agent')
    const read = ofAgent.filter(({ options }) => !options.serverVad)
    if (read.length === 0) return leftOut('its backend ends the turns')
    const ended = this.#told.get(journal.callSid)?.language ?? null
    return read.flatMap(({ options, pauses }) => {
      const [language = 'en'] = (ended ?? options.languages[0] ?? 'en').toLowerCase().split('-')
      return pauses.map((pause) => ({ ...pause, language }))
    })
  }

  #whyNot(journal: Journal, told: Told | undefined): LeftOut | null {
    const { keepDays, nowMs, unannounced } = this.#options
    if (this.#journals++ >= JOURNALS_MAX) return 'beyond the newest 10,000'
    if (this.#pauses >= PAUSES_MAX) return 'beyond 200,000 pauses'
    if (told === undefined) return 'no record says whether its caller was told'
    // The earlier of the two times is used, because a copied journal has a later file time.
    const endedMs = Number.isNaN(told.endedMs) ? journal.atMs : Math.min(journal.atMs, told.endedMs)
    if (nowMs - endedMs > (journal.days ?? keepDays) * DAY_MS) return 'older than its retention'
    switch (told.consent) {
      case 'told':
        return null
      case 'refused':
        return 'its caller said no'
      case 'not-told':
        return 'its caller did not hear the notice to its end'
      default:
        return unannounced === true ? null : 'nothing was said about recording (see --unannounced)'
    }
  }

  #leaveOut(why: LeftOut): void {
    this.leftOut.set(why, (this.leftOut.get(why) ?? 0) + 1)
  }
}

/** Facts of the recorded calls, by SID. */
function toldIn(folders: readonly string[]): Map<string, Told> {
  const told = new Map<string, Told>()
  for (const folder of folders)
    for (const { callSid, consent, direction, from, to, language, startedAt, durationMs } of keptDocuments(
      folder,
      'records',
    )) {
      if (typeof callSid !== 'string') continue
      const caller = direction === 'outbound' ? to : from
      // If a call has several records, the strictest consent counts.
      const before = told.get(callSid)
      told.set(callSid, {
        consent: before === undefined || strictness(consent) > strictness(before.consent) ? consent : before.consent,
        caller: typeof caller === 'string' && caller !== '' ? caller : callSid,
        language: typeof language === 'string' ? language : null,
        endedMs: Date.parse(String(startedAt)) + (typeof durationMs === 'number' ? durationMs : 0),
      })
    }
  return told
}

/** Rank of a consent, from 0 for the consent that allows most. */
function strictness(consent: unknown): number {
  return consent === 'told' ? 0 : consent === 'refused' ? 3 : consent === 'not-told' ? 2 : 1
}

function journalsIn(folders: readonly string[]): Journal[] {
  return keptJournals(folders).flatMap(({ path, name, atMs }) => {
    const callSid = /^(.*)\.jsonl(?:\.gz)?$/.exec(basename(name))?.[1]
    return callSid === undefined ? [] : [{ path, callSid, atMs, days: daysOf(name) }]
  })
}

/** @returns null if the journal does not exist any more, is too large, is damaged, or was written by another version */
function replayed({ path }: Journal, model: LearnedTurns['model'] | null): ReturnType<typeof pausesOfCall> | null {
  try {
    // The last line is dropped, because it is incomplete in the journal of a live call.
    return pausesOfCall(journalLines(path, JOURNAL_BYTES_MAX).slice(0, -1), model)
  } catch (thrown) {
    if (!(thrown instanceof GatewayError)) throw thrown
    return null
  }
}

function refused(why: string, calls: Calls, options: LearnOptions, terminal: Terminal): number {
  if (options.json === true)
    terminal.out(json({ out: null, why, read: calls.count, leftOut: Object.fromEntries(calls.leftOut) }))
  else terminal.err(`mkondo learn: ${why}; nothing is written\n${leftOutLines(calls)}`)
  return 1
}

function leftOutLines({ count, leftOut }: Calls): string {
  const lines = [...leftOut].map(([why, calls]) => `  ${calls}: ${why}\n`)
  return `${count} calls were read${lines.length === 0 ? '' : ', and left out were'}\n${lines.join('')}`
}

/** Table of the change, from calls that were not used to learn. */
export function learnedTable({ heldOut }: Pick<LearnedTurns, 'heldOut'>): string {
  const row = (name: string, { cut, late, lateMs, medianMs, p90Ms }: LearnedResult): string[] => [
    name,
    `${(100 * cut).toFixed(1)} %`,
    `${(100 * late).toFixed(1)} %`,
    ...[lateMs, medianMs, p90Ms].map((ms) => `${Math.round(ms)} ms`),
  ]
  const head = [
    `${heldOut.pauses} pauses, ${heldOut.ends} ends`,
    ...['pauses cut', 'ends after 700 ms', 'beyond it', 'median', 'p90'],
  ]
  return table(head, [row('rules', heldOut.before), row('learned', heldOut.after)], '')
}

async function written(out: string, text: string): Promise<void> {
  // The file is replaced as a whole. Otherwise a gateway that watches its agents could read half a file.
  try {
    await writeWhole(out, text, 0o666)
  } catch (thrown) {
    throw new GatewayError('CONFIG_INVALID', `learn: --out ${out} cannot be written: ${messageOf(thrown)}`)
  }
}
