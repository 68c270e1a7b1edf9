import { existsSync } from 'node:fs'
import { forgetRows } from '../../campaigns/rows-of.js'
import { loadConfig } from '../../config/load-config.js'
import type { Config } from '../../config/settings.js'
import { GatewayError } from '../../core/errors.js'
import { isCallSid } from '../../core/ids.js'
import { ERASE_PEER_MS } from '../../core/limits.js'
import { CallerMemory } from '../../fleet/store/caller-memory.js'
import { ofRestingRows } from '../../gateway/campaigns-side.js'
import { dataFolders } from '../../gateway/process-plan.js'
import { subscriberNumber, useCountry } from '../../sautikit/phone.js'
import { holdDataFolder } from '../../telemetry/archive/data-folder.js'
import { eraseCalls, findCalls } from '../../telemetry/archive/erasure.js'
import type { ErasedCounts } from '../../telemetry/archive/erasure.js'
import { keptFolder } from '../../telemetry/archive/kept-files.js'
import { StoredValues } from '../../telemetry/archive/stored-values.js'
import { createLog } from '../../telemetry/log.js'
import type { Log } from '../../telemetry/log.js'
import { UsageError } from '../exit-codes.js'
import { opsClientOf } from '../ops-client.js'
import type { OpsOptions } from '../ops-client.js'
import { shown } from '../terminal.js'
import type { Terminal } from '../terminal.js'

/** The options of `mkondo erase`. */
export interface EraseOptions extends OpsOptions {
  readonly sid?: string
  /** Phone number; `-` to read the number from standard input. */
  readonly number?: string
  readonly masked?: true
  readonly offline?: true
}

type Erased = ErasedCounts & { readonly keptStates: number }

interface ErasureReport {
  readonly erased: Erased
  readonly uncertain: number
  readonly complete: boolean
  readonly silent: readonly string[]
  readonly storeDown: boolean
  /** Stores that could not be read, as text. Absent if the gateway has an earlier version. */
  readonly unlooked?: readonly string[]
}

type Target = { readonly sid: string } | { readonly number: string; readonly masked: boolean }

/** `mkondo erase`. */
export async function erase(options: EraseOptions, terminal: Terminal): Promise<number> {
  const config = loadConfig(terminal.env, options.config ?? null)
  useCountry(config.country)
  const number = options.number === '-' ? (await terminal.input()).trim() : options.number
  const target = targetOf(options.sid, number, options.masked === true)
  const report =
    options.offline === true
      ? await eraseOffline(config, target, offlineLog(terminal))
      : await opsClientOf(options, terminal, ERASE_PEER_MS).ask<ErasureReport>('/api/erase', target)
  shown(options, terminal, report, () => reportText(report))
  return report.complete && report.uncertain === 0 ? 0 : 1
}

function targetOf(sid: string | undefined, number: string | undefined, masked: boolean): Target {
  if ((sid === undefined) === (number === undefined)) throw new UsageError('needs either --sid or --number')
  if (number !== undefined) {
    const subscriber = subscriberNumber(number)
    // The error does not contain the number, because phone numbers are never printed.
    if (subscriber === null) throw new UsageError('--number is not a phone number; allowed: 7 or more digits')
    return { number: subscriber, masked }
  }
  if (!isCallSid(sid)) throw new UsageError('--sid is not valid; allowed: 1 to 64 characters of A-Z a-z 0-9 _ -')
  if (masked) throw new UsageError('--masked needs --number')
  return { sid }
}

/** @throws GatewayError CONFIG_INVALID while a gateway uses the folder */
async function eraseOffline(config: Config, target: Target, log: Log): Promise<ErasureReport> {
  const { dataDir } = config
  if (!existsSync(dataDir))
    throw new GatewayError(
      'CONFIG_INVALID',
      `DATA_DIR is '${dataDir}', which does not exist; allowed: a folder with records of calls`,
    )
  const folders = dataFolders(dataDir)
  const held = []
  try {
    for (const folder of folders) held.push(await holdDataFolder(folder))
    const found = 'sid' in target ? { exact: [target.sid], alike: [] } : findCalls(folders, target.number)
    const alsoAlike = 'number' in target && target.masked
    const callSids = [...found.exact, ...(alsoAlike ? found.alike : [])]
    // Redis is left out, because only a gateway can safely change rows in Redis.
    const rows = await ofRestingRows({ ...config, redisUrl: null }, folders, false, log, (queue) =>
      forgetRows(queue, target),
    )
    const unlooked = [
      ...rows.unlooked,
      ...(await forgetRemembered(folders, target, config.tokenSecrets, log)),
      ...(config.redisUrl === null ? [] : [`${IN_REDIS}: repeat the command without --offline when a gateway runs`]),
    ]
    return {
      erased: {
        ...eraseCalls(folders, callSids),
        rows: rows.found.reduce((sum, count) => sum + count, 0),
        keptStates: 0,
      },
      uncertain: alsoAlike ? 0 : found.alike.length,
      complete: unlooked.length === 0,
      silent: [],
      storeDown: false,
      unlooked,
    }
  } finally {
    for (const folder of held) folder.release()
  }
}

const IN_REDIS = "the fleet's store (states of calls, campaigns, call backs, messages, memory of callers)"

/**
 * Erases the memory of a caller from the disk.
 * @returns the parts that could not be read
 */
async function forgetRemembered(
  folders: readonly string[],
  target: Target,
  secrets: readonly string[],
  log: Log,
): Promise<readonly string[]> {
  const unlooked: string[] = []
  for (const folder of folders) {
    const file = new StoredValues(keptFolder(folder, 'openRecords'))
    const values = new Map(file.load(Date.now()).map((value) => [value.key, value]))
    if (values.size === 0) continue
    if ('number' in target && secrets.length === 0) {
      unlooked.push('the memory of callers on the disk (TOKEN_SECRET is not set)')
      continue
    }
    const write = (key: string, value: string, ttlMs: number): void => {
      const stored = { key, value, untilMs: Date.now() + ttlMs }
      values.set(key, stored)
      file.write(stored, Date.now(), true)
    }
    const memory = new CallerMemory({
      secrets,
      log,
      wallClock: Date.now,
      store: {
        standing: (key) => Promise.resolve(values.get(key)?.value ?? null),
        once: (key, value, ttlMs) => {
          const standing = values.get(key)?.value ?? null
          if (standing === null) write(key, value, ttlMs)
          return Promise.resolve(standing)
        },
        settle: (key, value, ttlMs) => {
          if (values.has(key)) write(key, value, ttlMs)
          return Promise.resolve()
        },
      },
    })
    await ('sid' in target ? memory.forgetCall(target.sid) : memory.forget(target.number))
    file.tidy(Date.now())
  }
  return unlooked
}

function offlineLog(terminal: Terminal): Log {
  return createLog({ level: 'error', destination: { write: (line: string) => terminal.err(line) } })
}

function reportText({ erased, uncertain, silent, storeDown, unlooked = [] }: ErasureReport): string {
  const lines = [
    `erased: ${counted(erased.calls, 'call')}: ${counted(erased.records, 'record')}, ${counted(erased.handoffs, 'handoff packet')}, ` +
      `${counted(erased.recordings, 'recording')}, ${counted(erased.carrierRecordings, "carrier's recording")}, ` +
      `${counted(erased.journals, 'journal')}, ${counted(erased.messages, 'message')}, ${counted(erased.keptStates, 'kept state')}`,
  ]
  if (erased.rows > 0) lines.push(`in campaigns and call backs: ${counted(erased.rows, 'row')} emptied`)
  if (erased.objects > 0)
    lines.push(
      `in the object storage: ${counted(erased.objects, 'object')} whose key is forgotten` +
        (erased.objectsLeft === 0
          ? ', deleted'
          : `; ${erased.objectsLeft} not deleted: nobody can read them, and the bucket's own rule deletes them`),
    )
  if (uncertain > 0)
    lines.push(
      `left: ${counted(uncertain, 'call')} with a masked number that may be this one; ` + '--masked erases them too',
    )
  for (const name of silent) lines.push(`node ${name} did not answer: repeat the command when it does`)
  if (storeDown) lines.push("the fleet's store did not answer: repeat the command when it does")
  for (const what of unlooked) if (!storeDown || what !== "the fleet's store") lines.push(`not looked at: ${what}`)
  return `${lines.join('\n')}\n`
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}
