import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { unrefTimer } from '../core/clock.js'
import type { WallClock } from '../core/clock.js'
import { DAY_MS } from '../core/units.js'
import { writeWhole } from '../telemetry/archive/whole-file.js'
import type { Log } from '../telemetry/log.js'
import type { LabelledGauge } from '../telemetry/metric-families.js'

const FILE = 'usage-differences.json'
/** Time in ms between two reads of the file. */
const LOOK_MS = 60_000
/** Maximum number of models in the file. The models that were compared last are kept. */
const MODELS_MAX = 100
/** Time in ms for which a result is valid: two months, so that one comparison a month is enough. */
const COUNTS_MS = 62 * DAY_MS
const NAME_CHARS_MAX = 100
const BYTES_MAX = 1024 * 1024

const comparedModelSchema = z.object({
  model: z.string().max(NAME_CHARS_MAX),
  /** Number of figures that differ by more than `overPercent`. A figure is for a day or for all days. */
  over: z.int().min(0),
  overPercent: z.number().min(0),
  /** First and last day (UTC) in the vendor's file. */
  from: z.string(),
  to: z.string(),
  /** Time of the comparison. */
  at: z.iso.datetime(),
})
export const usageDifferencesSchema = z.object({
  version: z.literal(1),
  models: z.array(comparedModelSchema).max(MODELS_MAX),
})

/** Result of the newest comparison of a model's usage with a vendor's file. */
export type ComparedModel = z.output<typeof comparedModelSchema>

/**
 * Writes results to a data folder. They replace earlier results of these models. The gateway may run as another user,
 * so any user may read the file. It does not contain data of callers.
 * @throws errors of the file system
 */
export async function noteDifferences(folder: string, compared: readonly ComparedModel[]): Promise<void> {
  const file = join(folder, FILE)
  const named = compared.map((one) => ({ ...one, model: one.model.slice(0, NAME_CHARS_MAX) }))
  const newest = new Map(named.map((one) => [one.model, one]))
  const kept = (await readCompared(file).catch(() => [])).filter(({ model }) => !newest.has(model))
  const models = [...newest.values()].sort((a, b) => b.over - a.over)
  models.push(...kept)
  models.splice(MODELS_MAX)
  await writeWhole(file, JSON.stringify({ version: 1, models } satisfies z.input<typeof usageDifferencesSchema>), 0o644)
}

/** @throws Error if the file is missing, too large or not of this form */
async function readCompared(file: string): Promise<readonly ComparedModel[]> {
  if ((await stat(file)).size > BYTES_MAX) throw new Error('too large')
  return usageDifferencesSchema.parse(JSON.parse(await readFile(file, 'utf8'))).models
}

interface UsageDifferencesOptions {
  /** The data folder; null to read no file. */
  readonly folder: string | null
  readonly gauge: Pick<LabelledGauge<'model'>, 'from'>
  readonly wallClock: WallClock
  readonly log: Log
  /**
   * Timer; if absent, a real timer that does not keep the process alive. Tests replace it.
   * @returns a function that cancels the timer
   */
  readonly later?: (ms: number, run: () => void) => () => void
}

/**
 * Shows the results that `mkondo cost reconcile` writes to the data folder as a metric, at most a minute later. A
 * result is valid for 62 days.
 */
export class UsageDifferences {
  readonly #options: UsageDifferencesOptions
  readonly #later: (ms: number, run: () => void) => () => void
  #over: ReadonlyMap<string, number> = new Map()
  readonly #shown = new Map<string, () => void>()
  #looking: Promise<void> = Promise.resolve()
  #endLook: () => void = () => undefined
  #faultSaid = false
  #closed = false

  constructor(options: UsageDifferencesOptions) {
    this.#options = options
    this.#later = options.later ?? unrefTimer
    if (options.folder !== null) this.#looking = this.#look(join(options.folder, FILE))
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#endLook()
    await this.#looking
    this.#show([])
  }

  async #look(file: string): Promise<void> {
    try {
      const sinceMs = this.#options.wallClock() - COUNTS_MS
      this.#show((await readCompared(file)).filter(({ at }) => Date.parse(at) >= sinceMs))
      this.#faultSaid = false
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') this.#show([])
      else if (!this.#faultSaid) {
        this.#options.log.warn({ file }, 'differences from bills of vendors cannot be read')
        this.#faultSaid = true
      }
    }
    if (this.#closed) return
    this.#endLook = this.#later(LOOK_MS, () => {
      this.#looking = this.#look(file)
    })
  }

  #show(models: readonly ComparedModel[]): void {
    this.#over = new Map(models.map(({ model, over }) => [model, over]))
    for (const [model, end] of this.#shown)
      if (!this.#over.has(model)) {
        end()
        this.#shown.delete(model)
      }
    for (const model of this.#over.keys())
      if (!this.#shown.has(model))
        this.#shown.set(
          model,
          this.#options.gauge.from({ model }, () => this.#over.get(model) ?? Number.NaN),
        )
  }
}
