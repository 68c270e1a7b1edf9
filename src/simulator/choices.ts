import { VENDORS } from '../vendors/list.js'
import type { ServiceDoubleFacts } from '../vendors/vendor.js'

/** Who answers at a called number. */
export const CALLEE_KINDS = ['person', 'machine', 'nobody', 'busy', 'no-answer', 'declined'] as const
export type CalleeKind = (typeof CALLEE_KINDS)[number]

/** The key of the simulated REST API unless another is set. */
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

/** Model services of which there is a double, each with the port that it takes. */
export const DOUBLES = {
  openai: { what: 'OpenAI Realtime', port: 7701 },
  'openai-live': { what: 'OpenAI GPT-Live, with the delegate that the service runs', port: 7702 },
  gemini: { what: 'Gemini Live', port: 7703 },
  realtime: { what: "a realtime server of one's own, in OpenAI's shape", port: 7704 },
  cascade: { what: 'the three services of a cascade: recogniser, language model, voice', port: 7705 },
  'azure-voice-live': { what: 'Azure Voice Live', port: 7706 },
} as const

/** Services of one or two parts of a cascade, as `DOUBLES`; what they need beside them takes the next ports. */
export const SERVICE_DOUBLES: Readonly<Record<string, ServiceDoubleFacts>> = Object.fromEntries(
  VENDORS.flatMap(({ doubles = {} }) => Object.entries(doubles)),
)

/** Not for calls: what `mkondo simulate` asks. */
export const SCENARIO_DOUBLES = {
  people: { what: 'a language model that plays callers and judges of scenarios', port: 7801 },
} as const

const VOICES = Object.entries(SERVICE_DOUBLES).flatMap(([name, { parts }]) => (parts.includes('TTS') ? [name] : []))

/** How a double misbehaves from its first session on. */
export const DOUBLE_FAULTS = {
  deaf: 'neither reports nor answers what the caller says',
  'empty-answers': 'its answers have nothing in them',
  'no-quota': 'refuses sessions: the account is empty',
  'never-ready': 'leaves connections without an answer',
  mute: `its voice takes texts and says nothing (${VOICES.join(', ')})`,
  'delegate-hangs': 'its delegate begins and never ends (openai-live)',
} as const
export type DoubleFault = keyof typeof DOUBLE_FAULTS
