import { existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { exchangeRate } from '../../backends/prices.js'
import { addUsage, noUsage } from '../../call/usage.js'
import type { UsageSums } from '../../call/usage.js'
import { loadConfig } from '../../config/load-config.js'
import { readYamlFile } from '../../config/yaml-file.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { DAY_MS } from '../../core/units.js'
import { backendSettings } from '../../gateway/agents/hosted-agents.js'
import { dataFolders } from '../../gateway/process-plan.js'
import { noteDifferences } from '../../gateway/usage-differences.js'
import type { ComparedModel } from '../../gateway/usage-differences.js'
import { json, table } from '../terminal.js'
import type { Terminal } from '../terminal.js'
import { BYTES_MAX, KNOWN_EXPORTS, columnMapSchema, modelName, readExport } from './usage-exports.js'
import type { ColumnMap, ExportedUsage, Unit } from './usage-exports.js'
import { usedCalls } from './usage-records.js'
import type { UsedCall } from './usage-records.js'

/** Options of `mkondo cost reconcile`. */
export interface ReconcileOptions {
  readonly map?: string
  /** Percentage above which a difference is reported. */
  readonly over: number
  readonly config?: string
  readonly json?: true
}

/** Usage of a model on one day, from the call records. */
interface RecordedDay {
  calls: number
  readonly usage: UsageSums
  /** Cost in `currency`, calculated with the prices of the records; null if a price is unknown. */
  amount: number | null
  currency: string
  /** Usage of calls that ran over midnight. The vendor may count this usage for the next day. */
  readonly overnight: UsageSums
  overnightAmount: number
}

/** One figure of a model and day, in the records and in the vendor's file. */
export interface Difference {
  /** UTC day, or `all` for the whole file. */
  readonly day: string
  readonly model: string
  readonly what: Unit | 'amount'
  readonly vendor: number
  readonly records: number
  /**
   * Difference in percent of the records' figure, positive if the vendor's figure is larger; null if the records'
   * figure is 0.
   */
  readonly percent: number | null
  readonly isOver: boolean
}

/** `mkondo cost reconcile`. @returns 1 if a difference is larger than `--over` */
export async function reconcile(file: string, options: ReconcileOptions, terminal: Terminal): Promise<number> {
  const config = loadConfig(terminal.env, options.config ?? null)
  const unread = (thrown: unknown): never => {
    throw new GatewayError('CONFIG_INVALID', `${file} cannot be read: ${messageOf(thrown)}`)
  }
  const { size } = await stat(file).catch(unread)
  if (size > BYTES_MAX)
    throw new GatewayError('CONFIG_INVALID', `${file}: has ${size} bytes; at most ${BYTES_MAX} are read`)
  const bytes = await readFile(file).catch(unread)
  const { form, rows } = readExport(file, bytes, mapOf(options.map))
  if (rows.length === 0) throw new GatewayError('CONFIG_INVALID', `${file}: no row has a model`)
  const { calls, leftOut } = usedCalls(config.dataDir)
  const { prices } = backendSettings(config)
  const days = [...new Set(rows.map(({ day }) => day))].toSorted()
  const recorded = recordedDays(calls)
  const differences = differencesOf(rows, recorded, options.over, (amount, from, to) => {
    const rate = exchangeRate(prices, from, to)
    return rate === null ? null : amount * rate
  })
  const over = differences.filter(({ isOver }) => isOver)
  const result = {
    file,
    map: form ?? options.map ?? null,
    days: { first: days[0], last: days.at(-1) },
    calls: calls.filter(({ startedAt }) => days.includes(startedAt.slice(0, 10))).length,
    leftOut,
    overPercent: options.over,
    over: over.length,
    differences,
  }
  terminal.out(options.json === true ? json(result) : reconciledText(result))
  await note(config.dataDir, comparedModels(days, differences, options.over), terminal)
  return over.length === 0 ? 0 : 1
}

function comparedModels(
  days: readonly string[],
  differences: readonly Difference[],
  overPercent: number,
): ComparedModel[] {
  const over = new Map<string, number>()
  for (const { model, isOver } of differences) over.set(model, (over.get(model) ?? 0) + (isOver ? 1 : 0))
  const span = { from: days[0] ?? '', to: days.at(-1) ?? '', at: new Date().toISOString() }
  return [...over].map(([model, count]) => ({ model, over: count, overPercent, ...span }))
}

/** Stores the result in the data folder. Each gateway process of this folder shows the result as a metric. */
async function note(dataDir: string, compared: readonly ComparedModel[], terminal: Terminal): Promise<void> {
  if (!existsSync(dataDir)) return
  try {
    for (const folder of dataFolders(dataDir)) await noteDifferences(folder, compared)
  } catch (thrown) {
    terminal.err(`mkondo cost reconcile: the gateway's metric does not get this result: ${messageOf(thrown)}\n`)
  }
}

function mapOf(given: string | undefined): ColumnMap | null {
  if (given === undefined) return null
  const known = KNOWN_EXPORTS[given]
  if (known !== undefined) return known.map
  return readYamlFile(given, {
    setting: '--map',
    noun: 'a column map',
    manual: 'docs/COST.md',
    schema: columnMapSchema,
  })
}

/** Usage by `DAY MODEL`; the day is the UTC day on which the call began. */
function recordedDays(calls: readonly UsedCall[]): ReadonlyMap<string, RecordedDay> {
  const days = new Map<string, RecordedDay>()
  for (const { startedAt, durationMs, cost, analysis } of calls) {
    const startMs = Date.parse(startedAt)
    const isOvernight = Math.floor(startMs / DAY_MS) !== Math.floor((startMs + durationMs) / DAY_MS)
    for (const costs of [cost, analysis?.cost ?? null])
      for (const { model, usage, amount } of costs?.models ?? []) {
        if (model === null || costs === null) continue
        const key = `${startedAt.slice(0, 10)} ${modelName(model)}`
        const day = days.get(key) ?? {
          ...{ calls: 0, usage: noUsage(), amount: 0, currency: costs.currency },
          ...{ overnight: noUsage(), overnightAmount: 0 },
        }
        days.set(key, day)
        day.calls++
        addUsage(day.usage, usage)
        day.amount =
          amount === null || day.amount === null || day.currency !== costs.currency ? null : day.amount + amount
        if (!isOvernight) continue
        addUsage(day.overnight, usage)
        day.overnightAmount += amount ?? 0
      }
  }
  return days
}

/**
 * Compares the figures of the records and the vendor's file: for each model and day, and for each model's sum. A day's
 * difference is left out if calls over midnight may explain it.
 */
function differencesOf(
  rows: readonly ExportedUsage[],
  recorded: ReadonlyMap<string, RecordedDay>,
  overPercent: number,
  convert: (amount: number, from: string, to: string) => number | null,
): Difference[] {
  const found: Difference[] = []
  const sums = new Map<string, { model: string; what: Unit | 'amount'; vendor: number; records: number }>()
  const add = (
    day: string,
    model: string,
    what: Unit | 'amount',
    vendor: number,
    records: number,
    slack: number,
  ): void => {
    if (vendor === 0 && records === 0) return
    found.push(difference({ day, model, what, vendor, records }, overPercent, slack))
    const sum = sums.get(`${model} ${what}`) ?? { model, what, vendor: 0, records: 0 }
    sums.set(`${model} ${what}`, { ...sum, vendor: sum.vendor + vendor, records: sum.records + records })
  }
  for (const { day, model, units, amount, currency } of rows) {
    const own = recorded.get(`${day} ${model}`)
    const before = recorded.get(`${new Date(Date.parse(day) - DAY_MS).toISOString().slice(0, 10)} ${model}`)
    for (const [unit, vendor] of Object.entries(units) as [Unit, number][])
      add(day, model, unit, vendor, own?.usage[unit] ?? 0, (own?.overnight[unit] ?? 0) + (before?.overnight[unit] ?? 0))
    if (amount === null || own?.amount === null) continue
    const records = own === undefined ? 0 : convert(own.amount, own.currency, currency ?? own.currency)
    // Without an exchange rate only units can be compared, not amounts of money.
    if (records !== null)
      add(day, model, 'amount', amount, records, (own?.overnightAmount ?? 0) + (before?.overnightAmount ?? 0))
  }
  return [...[...sums.values()].map((sum) => difference({ day: 'all', ...sum }, overPercent, 0)), ...found]
}

function difference(
  { day, model, what, vendor, records }: Omit<Difference, 'percent' | 'isOver'>,
  overPercent: number,
  slack: number,
): Difference {
  const percent = records === 0 ? null : (100 * (vendor - records)) / records
  const unexplained = Math.max(0, Math.abs(vendor - records) - slack)
  const isOver = unexplained > 0 && (records === 0 || (100 * unexplained) / records > overPercent)
  return { day, model, what, vendor, records, percent, isOver }
}

type Reconciled = Readonly<Record<'calls' | 'leftOut' | 'overPercent' | 'over', number>> & {
  readonly map: string | null
  readonly days: { readonly first: string | undefined; readonly last: string | undefined }
  readonly differences: readonly Difference[]
}

function reconciledText({ map, days, calls, leftOut, overPercent, over, differences }: Reconciled): string {
  const rows = differences.map(({ day, model, what, vendor, records, percent, isOver }) => [
    isOver ? 'OVER' : '',
    day,
    model,
    what,
    figureText(vendor),
    figureText(records),
    percent === null ? 'not in the records' : `${percent > 0 ? '+' : ''}${percent.toFixed(1)} %`,
  ])
  return (
    `${map ?? ''}: ${days.first ?? ''} to ${days.last ?? ''}, ${calls} calls in the records${leftOut === 0 ? '' : `, ${leftOut} records left out`}\n\n` +
    table(['', 'day', 'model', 'figure', 'vendor', 'records', 'vendor more'], rows, 'nothing to compare') +
    `\n${over === 0 ? `no difference over ${overPercent} %` : `${over} differences over ${overPercent} %: docs/COST.md#compare-with-a-bill`}\n`
  )
}

function figureText(figure: number): string {
  return Number.isInteger(figure) ? String(figure) : figure.toFixed(figure < 10 ? 4 : 1)
}
