import { VENDORS } from '../vendors/list.js'
import type { RealtimeDoubleFacts, ServiceDoubleFacts } from '../vendors/vendor.js'

/** Kinds of answer at a called number. */
export const CALLEE_KINDS = ['person', 'machine', 'nobody', 'busy', 'no-answer', 'declined'] as const
export type CalleeKind = (typeof CALLEE_KINDS)[number]

/** API key of the simulated REST API, unless another key is set. */
export const SIMULATOR_KEY = 'sim_key_for_tests'

/** Defaults of `mkondo call`. */
export const CALL_DEFAULTS = {
  from: '+254700000001',
  to: '+254700000000',
  voice: 'rms',
  rate: '8000',
  echoDelay: 80,
  seed: 1,
  trackLayout: 'mixed',
  afterStream: 'continues',
  humanOutcome: 'answered',
  calls: 1,
  timeout: 120,
} as const

/** Possible outcomes of an inbound call. */
export const INBOUND_OUTCOMES = ['contained', 'escalated', 'abandoned', 'failed'] as const

const OF_VENDORS = VENDORS.flatMap(({ doubles = {} }) => Object.entries(doubles))
const byPort = <Facts extends { readonly port: number }>(doubles: readonly (readonly [string, Facts])[]) =>
  Object.fromEntries([...doubles].sort(([, one], [, other]) => one.port - other.port))

/** Realtime services that have a double, with the double's facts. */
const REALTIME_DOUBLES: Readonly<Record<string, RealtimeDoubleFacts>> = byPort(
  OF_VENDORS.flatMap(([name, facts]) => ('backend' in facts ? [[name, facts] as const] : [])),
)

/** Model services that have a double, each with the port of its double. */
export const DOUBLES = byPort<{ readonly what: string; readonly port: number }>([
  ...Object.entries(REALTIME_DOUBLES),
  ['cascade', { what: 'the three services of a cascade: recogniser, language model, voice', port: 7705 }],
])

/**
 * Doubles of services for one or two parts of a cascade, each with its port. If a double needs further services, these
 * use the next ports.
 */
export const SERVICE_DOUBLES: Readonly<Record<string, ServiceDoubleFacts>> = Object.fromEntries(
  OF_VENDORS.flatMap(([name, facts]) => ('parts' in facts ? [[name, facts] as const] : [])),
)

/** Doubles for `mkondo simulate` only; calls do not use them. */
export const SCENARIO_DOUBLES = {
  people: { what: 'a language model that plays callers and judges of scenarios', port: 7801 },
} as const

const VOICES = Object.entries(SERVICE_DOUBLES).flatMap(([name, { parts }]) => (parts.includes('TTS') ? [name] : []))
const DELEGATING = Object.entries(REALTIME_DOUBLES).flatMap(([name, { faults }]) =>
  faults.includes('delegate-hangs') ? [name] : [],
)

/** Faults that a double can have from its first session. */
export const DOUBLE_FAULTS = {
  deaf: 'neither reports nor answers what the caller says',
  'empty-answers': 'its answers are empty',
  'no-quota': 'refuses sessions: the account is empty',
  'never-ready': 'leaves connections without an answer',
  mute: `its voice accepts texts and returns no sound (${VOICES.join(', ')})`,
  'delegate-hangs': `its delegate starts and does not end (${DELEGATING.join(', ')})`,
} as const
export type DoubleFault = keyof typeof DOUBLE_FAULTS
