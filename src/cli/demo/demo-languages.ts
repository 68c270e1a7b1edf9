import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TranscriptEntry } from '../../call/documents/record.js'
import type { CallReport } from '../../simulator/call-report.js'
import { embeddedSpeaker } from '../../simulator/vendors/agent-models.js'
import { SonioxDouble } from '../../vendors/soniox/double.js'
import { Script } from '../../simulator/vendors/double.js'
import type { Terminal } from '../terminal.js'
import { withDemoGateway, orderModels, callsAlone, verdictOf, KEY, PACE_MS } from './demo-gateway.js'
import { DAY_MS } from '../../core/units.js'
import type { DemoOptions } from './demo-gateway.js'

// --- a caller who speaks Swahili and English ------------------------------------------------------------------

/** A caller's sentence, its language, and the parts that the answer must contain, as a voice gets them. */
interface MixedTurn {
  readonly language: 'en' | 'sw'
  readonly says: string
  /** Words of it that are English all the same. */
  readonly english?: readonly string[]
  readonly answer: readonly string[]
}

// Data of the demo shop: +254700000001 has one open order, 4127; the delivery is KES 350, shoes are KES 1,250.
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
const VOICES = { en: 'Adrian', sw: 'Maya' } as const

/**
 * A caller who asks in Swahili, with English words in it, and goes on in English, on a cascade of doubles. The recogniser
 * has the caller's words from here, since no local one hears Swahili, and tells the language of each as Soniox does.
 * @returns 0 when each answer was in the caller's language and in the voice for it, as one says it, and the tools ran as asked
 */
export async function languagesDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const languages = new Map(
    MIXED_TURNS.flatMap(({ language, says, english = [] }) =>
      says.split(' ').map((word) => [word, english.includes(word) ? 'en' : language] as const),
    ),
  )
  const [{ models, services }, soniox] = await Promise.all([
    orderModels(),
    SonioxDouble.start({
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
    ...{ SONIOX_API_KEY: KEY, SONIOX_STT_URL: soniox.baseUrl, SONIOX_TTS_URL: soniox.baseUrl },
    // Nothing is spoken ahead: what the voice gets is what the caller hears.
    KEEP_CALLS: 'false',
    // The date that was asked for looks like a number of a phone. The caller's own is made up.
    RECORDS_NUMBERS: 'full',
  }
  const backend = 'backend: cascade\nbackends: { cascade: { stt: soniox, tts: soniox } }'
  const voice = `cascade: ${JSON.stringify(VOICES)}`
  const setting = { env, backend, voice, services: [services, soniox, models] }
  return withDemoGateway(options, terminal, setting, async (demo) => {
    const { print, elapsed } = demo
    const script = join(demo.folder, 'mixed.yaml')
    const steps = MIXED_TURNS.map(({ says }) => ({ say: says }))
    await writeFile(script, JSON.stringify({ version: 1, patienceMs: 30_000, steps }))
    const days = [tomorrow()]
    const caller = { agent: 'order-status', script, from: '+254700000001', record: options.record }
    const call = await callsAlone(demo, 'order', caller, terminal)
    days.push(tomorrow())
    const spoken = soniox.voices
      .flatMap(({ utterances }) => utterances)
      .map(({ config, speech: { text } }) => ({
        language: textOf(config['language']),
        voice: textOf(config['voice']),
        text,
      }))
      // Opened ahead, and not used.
      .filter(({ text }) => text !== '')
    print('\nWhat the voice was given, with its language and name:\n')
    for (const { language, voice, text } of spoken) print(`  ${language}  ${voice.padEnd(6)}  ${text}\n`)
    const { transcript = [], toolCalls = [] } = demo.gateway.calls.record(call.callSid) ?? {}
    const missing = notAsSpoken({ transcript, toolCalls }, spoken, days)
    const done = "Each answer was in the caller's language, in words as people say them"
    return { result: { calls: [call], transcript, spoken, missing }, ...verdictOf(missing, done, elapsed) }
  })
}

/** As the double counts days: in UTC. */
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

/** Faults of the call in two languages. @param days  that "kesho" may be */
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
