import { DAY_MS } from '../core/units.js'
import { VENDORS } from '../vendors/list.js'
import type { ListedEnd } from '../vendors/vendor.js'
import { ofModel } from './prices.js'
import type { BackendWatch } from './watch.js'

/** The end of a model, seen from a day. */
export interface ModelEnd extends ListedEnd {
  readonly model: string
  /** Whole days until that day; 0 or less: it is over. */
  readonly daysLeft: number
  /** `soon`: operators are to know of it; `later`: not yet. */
  readonly state: 'later' | 'soon' | 'over'
}

/** How long before its end a model is warned of, in days. */
const WARNED_DAYS = 60

/**
 * Models with an announced end, by the names of `LIST_PRICES`. A model that is not here has no end that was known when
 * this list was made.
 */
const MODEL_ENDS: Readonly<Record<string, ListedEnd>> = Object.fromEntries(
  VENDORS.flatMap(({ ends = {} }) => Object.entries(ends)),
)

/**
 * The announced end of a model of a vendor's own server; null: none is known. A dated snapshot ends with its model.
 * @param model  as `modelsOf` gives it, so that a model of another server, `tts-1@localhost:8000`, has no end
 * @param nowMs  wall clock
 */
export function endOf(model: string | null, nowMs: number): ModelEnd | null {
  const listed = model === null ? undefined : ofModel(MODEL_ENDS, model)
  if (model === null || listed === undefined) return null
  const daysLeft = Math.ceil((Date.parse(listed.endsOn) - nowMs) / DAY_MS)
  return { model, ...listed, daysLeft, state: daysLeft <= 0 ? 'over' : daysLeft <= WARNED_DAYS ? 'soon' : 'later' }
}

/** A sentence such as `gpt-realtime ends on 2027-01-20; use gpt-realtime-2.1 (URL, read on 2026-11-29)`. */
export function endText({ model, endsOn, state, successor, source, readOn }: ModelEnd): string {
  const use = successor === null ? 'its vendor names no successor' : `use ${successor}`
  return `${model} ${state === 'over' ? 'ended' : 'ends'} on ${endsOn}; ${use} (${source}, read on ${readOn})`
}

/**
 * `watch`, with the sentence about models that are over in the messages of their backend's faults: after that day it is
 * the likely cause, whatever the service answers.
 * @param models  of a backend, as `modelsOf` gives them
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
