import { DAY_MS } from '../core/units.js'
import { ofModel } from './prices.js'
import type { BackendWatch } from './watch.js'

/** A model that its vendor switches off. */
interface Listed {
  /** The day, as YYYY-MM-DD in UTC, on which the vendor switches it off. */
  readonly endsOn: string
  /** The model that the vendor recommends instead; null: it recommends none. */
  readonly successor: string | null
  /** The page that says so. */
  readonly source: string
  /** The day on which it was read. */
  readonly readOn: string
}

/** The end of a model, seen from a day. */
export interface ModelEnd extends Listed {
  readonly model: string
  /** Whole days until that day; 0 or less: it is over. */
  readonly daysLeft: number
  /** `soon`: operators are to know of it; `later`: not yet. */
  readonly state: 'later' | 'soon' | 'over'
}

/** How long before its end a model is warned of, in days. */
const WARNED_DAYS = 60

const OPENAI = { source: 'https://developers.openai.com/api/docs/deprecations', readOn: '2026-11-29' }
/** Second-hand: public pages copied these rows from the vendor's page, which could not be read whole. */
const openAi = (endsOn: string, successor: string | null): Listed => ({ endsOn, successor, ...OPENAI })
const gemini = (endsOn: string, successor: string): Listed => ({
  ...{ endsOn, successor },
  source: 'https://ai.google.dev/gemini-api/docs/deprecations',
  readOn: '2026-11-29',
})
const SONIOX = { source: 'https://soniox.com/docs/tts/models', readOn: '2026-11-28' }
const SONIC = {
  ...{ endsOn: '2026-06-01', successor: 'sonic-3.5' },
  source: 'https://docs.cartesia.ai/build-with-cartesia/tts-models/api-changes',
  readOn: '2026-11-29',
}

/**
 * Models with an announced end, by the names of `LIST_PRICES`. A model that is not here has no end that was known when
 * this list was made.
 */
const MODEL_ENDS: Readonly<Record<string, Listed>> = {
  'gpt-realtime': openAi('2027-01-20', 'gpt-realtime-2.1'),
  'gpt-realtime-mini': openAi('2027-01-20', 'gpt-realtime-2.1-mini'),
  'gpt-4o-realtime': openAi('2027-01-20', 'gpt-realtime-2.1'),
  'gpt-4o-realtime-preview': openAi('2026-05-07', 'gpt-realtime-2.1'),
  'gpt-4o-mini-realtime-preview': openAi('2026-05-07', 'gpt-realtime-2.1-mini'),
  'whisper-1': openAi('2027-02-26', 'gpt-transcribe'),
  'gpt-4o-transcribe': openAi('2027-02-26', 'gpt-transcribe'),
  'gpt-4o-mini-transcribe': openAi('2027-02-26', 'gpt-transcribe'),
  'tts-1': openAi('2027-01-06', null),
  'tts-1-hd': openAi('2027-01-06', null),
  'gpt-4o-mini-tts': openAi('2027-01-06', null),
  'gpt-4o': openAi('2027-01-14', 'gpt-6-luna'),
  'gpt-4o-mini': openAi('2027-01-14', 'gpt-6-luna'),
  'gpt-4.1': openAi('2027-01-14', 'gpt-6-luna'),
  'gpt-4.1-mini': openAi('2027-01-14', 'gpt-6-luna'),
  'gpt-5': openAi('2026-12-11', 'gpt-6.1-sol'),
  'gpt-5-mini': openAi('2026-12-11', 'gpt-6.1-terra'),
  'gpt-5-nano': openAi('2026-12-11', null),
  'gpt-5.1': openAi('2027-04-01', null),
  'gpt-5.4-nano': openAi('2027-04-01', null),
  'gemini-2.0-flash-live-001': gemini('2025-12-09', 'gemini-3.8-live'),
  'gemini-live-2.5-flash-preview': gemini('2025-12-09', 'gemini-3.8-live'),
  'gemini-2.5-flash-native-audio-preview-12-2025': gemini('2026-11-17', 'gemini-3.8-live'),
  'gemini-3.1-flash-live-preview': gemini('2026-11-17', 'gemini-3.8-live'),
  'gemini-2.0-flash': gemini('2026-06-01', 'gemini-3.8-flash'),
  'gemini-2.5-pro': gemini('2026-12-01', 'gemini-3.8-flash'),
  'gemini-2.5-flash': gemini('2026-12-01', 'gemini-3.5-flash-lite'),
  'gemini-3.1-flash-lite': gemini('2027-05-07', 'gemini-3.5-flash-lite'),
  'tts-rt-v1': { endsOn: '2026-08-31', successor: 'tts-rt-v2', ...SONIOX },
  sonic: SONIC,
  'sonic-english': SONIC,
  'sonic-multilingual': SONIC,
}

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
