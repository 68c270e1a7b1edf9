import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TranscriptEntry } from '../../call/documents/record.js'
import type { CallReport } from '../../simulator/call-report.js'
import { embeddedSpeaker } from '../../simulator/vendors/agent-models.js'
import { Script } from '../../simulator/vendors/double.js'
import type { ServiceDouble } from '../../simulator/vendors/service-double.js'
import { startDouble } from '../double.js'
import type { Terminal } from '../terminal.js'
import { withDemoGateway, orderModels, callsAlone, verdictOf, KEY, PACE_MS } from './demo-gateway.js'
import { DAY_MS } from '../../core/units.js'
import type { DemoOptions } from './demo-gateway.js'

// --- a caller who speaks Swahili and English ------------------------------------------------------------------

/** Sentence of the caller with its language, and the parts that the agent's spoken answer must contain. */
interface MixedTurn {
  readonly language: 'en' | 'sw'
  readonly says: string
  /** English words in the Swahili sentence. */
  readonly english?: readonly string[]
  readonly answer: readonly string[]
}

// Turns with data of the demo shop: +254700000001 has one open order, 4127; the delivery costs KES 350, shoes cost KES
// 1,250.
const MIXED_TURNS: readonly MixedTurn[] = [
  {
    language: 'sw',
    says: 'Mzigo wangu umefika wapi?',
    answer: ['Agizo nne moja mbili saba liko njiani.', 'leo kati ya saa kumi na saa kumi na mbili jioni'],
  },
  {
    language: 'sw',
    says: 'Nataka ku-reschedule delivery ya kesho saa nne asubuhi',
    english: ['delivery'],
    answer: ['saa nne asubuhi, ten A M, sivyo?'],
  },
  { language: 'sw', says: 'Ndiyo ndiyo', answer: ['Nimeomba ibadilishwe.'] },
  {
    language: 'sw',
    says: 'Na delivery ni pesa ngapi?',
    english: ['delivery'],
    answer: ['Ni shilingi mia tatu na hamsini.'],
  },
  {
    language: 'en',
    says: 'Okay and how much are the shoes?',
    answer: ['one thousand two hundred and fifty shillings.', 'Is there anything else?'],
  },
  { language: 'en', says: 'No thank you.', answer: ['Goodbye.'] },
]
const MIXED_TOOLS = 'lookup_order, reschedule_order, search_catalogue, search_catalogue, end_call'
/** Double of a service that recognises and speaks, and reports the language of each word. */
const SERVICE = 'soniox'
/** Running double of the service, with the texts that its voices received. */
type BothDouble = ServiceDouble & {
  readonly voices: readonly {
    readonly utterances: readonly {
      readonly config: Readonly<Record<string, unknown>>
      readonly speech: { readonly text: string }
    }[]
  }[]
}
const VOICES = { en: 'Adrian', sw: 'Maya' } as const

/**
 * Shows a caller who asks in Swahili with some English words, and then continues in English. A cascade of doubles
 * answers. Local recognisers do not understand Swahili, so the demo gives the caller's words and each word's language
 * to the recogniser.
 * @returns 0 if each answer was in the caller's language and that language's voice, with numbers as words, and if the
 * expected tools ran
 */
export async function languagesDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const languages = new Map(
    MIXED_TURNS.flatMap(({ language, says, english = [] }) =>
      says.split(' ').map((word) => [word, english.includes(word) ? 'en' : language] as const),
    ),
  )
  const [{ models, services }, { double, env: ofDouble }] = await Promise.all([
    orderModels(),
    startDouble<BothDouble>(SERVICE, {
      key: KEY,
      speaker: await embeddedSpeaker(),
      paceMs: PACE_MS,
      script: new Script(
        [],
        MIXED_TURNS.map(({ says }) => says),
      ),
      languageOf: (word) => languages.get(word) ?? 'en',
    }),
  ])
  const env = {
    ...{ LLM_URL: services.baseUrl, LLM_API_KEY: KEY, LLM_MODEL: 'double' },
    ...ofDouble,
    // Without KEEP_CALLS no speech is synthesised in advance. So the caller hears every text that the voice receives.
    KEEP_CALLS: 'false',
    // A date in the call looks like a phone number and would be masked in the record. The caller's number is invented.
    RECORDS_NUMBERS: 'full',
  }
  const backend = `backend: cascade\nbackends: { cascade: { stt: ${SERVICE}, tts: ${SERVICE} } }`
  const voice = `cascade: ${JSON.stringify(VOICES)}`
  const setting = { env, backend, voice, services: [services, double, models] }
  return withDemoGateway(options, terminal, setting, async (demo) => {
    const { print, elapsed } = demo
    const script = join(demo.folder, 'mixed.yaml')
    const steps = MIXED_TURNS.map(({ says }) => ({ say: says }))
    await writeFile(script, JSON.stringify({ version: 1, patienceMs: 30_000, steps }))
    const days = [tomorrow()]
    const caller = { agent: 'order-status', script, from: '+254700000001', record: options.record }
    const call = await callsAlone(demo, 'order', caller, terminal)
    days.push(tomorrow())
    const spoken = double.voices
      .flatMap(({ utterances }) => utterances)
      .map(({ config, speech: { text } }) => ({
        language: textOf(config['language']),
        voice: textOf(config['voice']),
        text,
      }))
      // Leaves out voices that were opened in advance and not used.
      .filter(({ text }) => text !== '')
    print('\nWhat the voice was given, with its language and name:\n')
    for (const { language, voice, text } of spoken) print(`  ${language}  ${voice.padEnd(6)}  ${text}\n`)
    const { transcript = [], toolCalls = [] } = demo.gateway.calls.record(call.callSid) ?? {}
    const missing = notAsSpoken({ transcript, toolCalls }, spoken, days)
    const done = "Each answer was in the caller's language, in words as people say them"
    return { result: { calls: [call], transcript, spoken, missing }, ...verdictOf(missing, done, elapsed) }
  })
}

/** Tomorrow's date in UTC, because the double's dates are in UTC. */
function tomorrow(): string {
  return new Date(Date.now() + DAY_MS).toISOString().slice(0, 10)
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** Part of the call's record. */
interface MixedCall {
  readonly transcript: readonly Pick<TranscriptEntry, 'role' | 'text' | 'language'>[]
  readonly toolCalls: readonly Pick<CallReport['toolCalls'][number], 'name' | 'args' | 'ok'>[]
}

/**
 * Faults of the call in two languages.
 * @param days  dates that "kesho" (tomorrow) may stand for
 */
export function notAsSpoken(
  { transcript, toolCalls }: MixedCall,
  spoken: readonly { readonly language: string; readonly voice: string; readonly text: string }[],
  days: readonly string[],
): string[] {
  const missing: string[] = []
  for (const { language, says } of MIXED_TURNS) {
    const at = transcript.findIndex(({ role, text }) => role === 'caller' && text === says)
    const answer = transcript.slice(at + 1).find(({ role }) => role === 'agent')
    if (at < 0) missing.push(`"${says}"`)
    else if (answer?.language !== language)
      missing.push(`an answer to "${says}" in ${language} (it was in ${answer?.language ?? 'none'})`)
  }
  for (const { language, voice, text } of spoken)
    if (voice !== VOICES[language as keyof typeof VOICES]) missing.push(`the voice of ${language} for "${text}"`)
  for (const { language, answer } of MIXED_TURNS) {
    const said = spoken.filter((one) => one.language === language).map(({ text }) => text)
    missing.push(...answer.filter((words) => !said.join(' ').includes(words)).map((words) => `"${words}"`))
  }
  const ran = toolCalls.filter(({ ok }) => ok)
  const names = ran.map(({ name }) => name).join(', ')
  if (names !== MIXED_TOOLS) missing.push(`the tools ${MIXED_TOOLS} (they were ${names})`)
  const moved = ran.find(({ name }) => name === 'reschedule_order')?.args
  if (moved?.['orderNumber'] !== '4127' || moved['time'] !== '10:00' || !days.includes(textOf(moved['date'])))
    missing.push('order 4127 asked for tomorrow at 10:00')
  return missing
}
