import { DAY_MS } from '../core/units.js'
import { VENDORS } from '../vendors/list.js'
import { seenModels } from '../vendors/vendor.js'
import type { FirstSeen, ListedEnd } from '../vendors/vendor.js'
import { ofModel } from './prices.js'
import type { BackendWatch } from './watch.js'

/** Announced end of a model, and the number of days until the end. */
export interface ModelEnd extends ListedEnd {
  readonly model: string
  readonly firstSeen: FirstSeen
  /** Whole days until the model's end; 0 or less after the end. */
  readonly daysLeft: number
  /** `soon` if operators get a warning now; `later` if they get no warning yet. */
  readonly state: 'later' | 'soon' | 'over'
}

/** Number of days before a model's end from which operators get a warning. */
const WARNED_DAYS = 60

/**
 * Models with an announced end, by the names of `LIST_PRICES`. Models that are not listed here had no announced end
 * when this list was made.
 */
const MODEL_ENDS: Readonly<Record<string, ListedEnd & Pick<ModelEnd, 'firstSeen'>>> = Object.fromEntries(
  VENDORS.flatMap((vendor) => {
    const seen = seenModels(vendor)
    return Object.entries(vendor.ends ?? {}).map(([model, end]) => {
      const { readOn: on, source } = end
      return [model, { ...end, firstSeen: seen.get(model) ?? { on, source } }] as const
    })
  }),
)

/**
 * @returns the announced end of a model on its vendor's own server; null if no end is known. A dated snapshot has the
 * end of its model.
 * @param model name as returned by `modelsOf`. A model of another server, such as `tts-1@localhost:8000`, has no
 * announced end
 * @param nowMs wall clock
 */
export function endOf(model: string | null, nowMs: number): ModelEnd | null {
  const listed = model === null ? undefined : ofModel(MODEL_ENDS, model)
  if (model === null || listed === undefined) return null
  const daysLeft = Math.ceil((Date.parse(listed.endsOn) - nowMs) / DAY_MS)
  return { model, ...listed, daysLeft, state: daysLeft <= 0 ? 'over' : daysLeft <= WARNED_DAYS ? 'soon' : 'later' }
}

/** Text for operators, such as `gpt-realtime ends on 2027-01-20; use gpt-realtime-2.1 (URL, read on 2026-11-29)`. */
export function endText({ model, endsOn, state, successor, source, readOn }: ModelEnd): string {
  const use = successor === null ? 'its vendor names no successor' : `use ${successor}`
  return `${model} ${state === 'over' ? 'ended' : 'ends'} on ${endsOn}; ${use} (${source}, read on ${readOn})`
}

/**
 * Wraps `watch`, so that fault messages of this backend also name the backend's models that have ended. The end of a
 * model is then the likely cause of the fault, even if the service's error does not mention the end.
 * @param models models of the backend, as returned by `modelsOf`
 */
export function namingEnds(
  watch: BackendWatch,
  models: (backend: string) => readonly (string | null)[],
  wallClock: () => number = Date.now,
): BackendWatch {
  return {
    session: (opened) => watch.session(opened),
    circuit: (circuit) => watch.circuit(circuit),
    limits: (backend, limits) => watch.limits(backend, limits),
    fault: (news) => {
      const over = models(news.backend).flatMap((model) => {
        const end = endOf(model, wallClock())
        return end?.state === 'over' ? [endText(end)] : []
      })
      watch.fault({ ...news, message: [news.message, ...over].join('; ') })
    },
  }
}
