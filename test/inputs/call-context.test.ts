import t from 'tap'
import { Conversation } from '../../src/backends/cascade/conversation.js'
import { conformanceSession } from '../../src/backends/conformance/harness.js'
import { historyOf } from '../../src/vendors/gemini/live/setup.js'
import { replayItems } from '../../src/vendors/self-hosted/realtime/session-config.js'
import { recapText } from '../../src/backends/prompts.js'
import { resumedTools } from '../../src/call/tools/tool-ledger.js'
import { Rig } from '../call/rig.js'
import { callContext, untilMidnightMs } from '../../src/agents/tools/call-context.js'
import { agentSchema } from '../../src/agents/file/definition.js'
import type { AgentInput } from '../../src/agents/file/definition.js'

const agentOf = (more: Partial<AgentInput> = {}) =>
  agentSchema.parse({ version: 1, name: 'a', instructions: 'x', context: { timeZone: 'Africa/Nairobi' }, ...more })
const context = (at: string, more: Partial<AgentInput> = {}, from = '+254700000001'): string =>
  callContext({ agent: agentOf(more), from }, Date.parse(at))

t.test('a later call creates no date format', (t) => {
  context('2026-11-25T18:40:00Z')
  const Original = Intl.DateTimeFormat
  t.teardown(() => (Intl.DateTimeFormat = Original))
  let made = 0
  Intl.DateTimeFormat = new Proxy(Original, {
    construct(target, args) {
      made++
      return Reflect.construct(target, args) as object
    },
  })
  t.match(context('2026-11-26T18:40:00Z'), /Thursday,? 26 November/)
  t.equal(made, 0)
  t.end()
})

t.test("a model gets the callers' local date and time", (t) => {
  const evening = context('2026-11-25T18:40:00Z')
  t.match(evening, /Today is Wednesday,? 25 November 2026\. Tomorrow is Thursday,? 26 November 2026\./)
  t.match(evening, /9:40 pm \(21:40\), in the evening, in the time zone Africa\/Nairobi \(GMT\+03:00\)/)
  const cases: readonly (readonly [at: string, timeZone: string, words: RegExp])[] = [
    ['2026-12-31T21:30:00Z', 'Africa/Nairobi', /Today is Friday,? 1 January 2027/],
    [
      '2026-12-31T21:30:00Z',
      'America/New_York',
      /Today is Thursday,? 31 December 2026\. Tomorrow is Friday,? 1 January 2027.*4:30 pm/s,
    ],
    ['2028-02-28T12:00:00Z', 'UTC', /Tomorrow is Tuesday,? 29 February 2028/],
    ['2026-10-24T22:30:00Z', 'Europe/Berlin', /Today is Sunday,? 25 October 2026\. Tomorrow is Monday,? 26 October/], // 25 hours long
    ['2026-03-28T23:30:00Z', 'Europe/Berlin', /Today is Sunday,? 29 March 2026\. Tomorrow is Monday,? 30 March/], // 23 hours long
    [
      '2026-06-01T18:45:00Z',
      'Asia/Kathmandu',
      /Today is Tuesday,? 2 June 2026.*12:30 am \(00:30\), at night.*GMT\+05:45/s,
    ],
  ]
  for (const [at, timeZone, words] of cases)
    t.match(context(at, { context: { timeZone } }), words, `${at} in ${timeZone}`)
  t.end()
})

t.test("a model gets the language but not the caller's number", (t) => {
  t.match(context('2026-11-25T06:00:00Z', { language: 'sw-KE' }), /language of the line is Swahili/)
  const escalation = {
    numbers: ['+254722000001'],
    hours: { timeZone: 'Africa/Nairobi', week: { wed: ['08:00-17:00'] } },
  } as unknown as NonNullable<AgentInput['escalation']>
  t.match(context('2026-11-25T06:00:00Z', { escalation }), /colleagues are there now/)
  t.match(context('2026-11-25T15:00:00Z', { escalation }), /colleagues are not there now/)
  t.match(context('2026-11-25T06:00:00Z', { escalation, context: {} }), /Africa\/Nairobi/, 'the zone of the hours')
  t.match(context('2026-11-25T06:00:00Z'), /number is known/)
  for (const from of ['', '1042', 'agent.alice'])
    t.match(context('2026-11-25T06:00:00Z', {}, from), /number is withheld\. .* ask the caller/, from)
  t.notMatch(context('2026-11-25T06:00:00Z'), /2547/)
  t.match(
    context('2026-11-25T06:00:00Z', { context: { facts: ['The shop closes at 18:00 today.'] } }),
    /\n- The shop closes at 18:00 today\.$/,
  )
  t.end()
})

t.test('the Swahili clock is explained to models with Swahili callers', (t) => {
  t.match(context('2026-11-25T06:00:00Z'), /"saa nne asubuhi" is 10:00/, 'in East Africa')
  t.match(
    context('2026-11-25T06:00:00Z', { languages: ['sw'], context: { timeZone: 'UTC' } }),
    /Read a time back in both/,
  )
  t.notMatch(context('2026-11-25T06:00:00Z', { languages: ['fr'], context: { timeZone: 'Europe/Paris' } }), /saa/)
  t.end()
})

t.test('midnight is found in every time zone', (t) => {
  for (const zone of ['Africa/Nairobi', 'America/St_Johns', 'Asia/Kathmandu', 'Pacific/Kiritimati', 'UTC'])
    for (const at of ['2026-11-25T00:00:00Z', '2026-11-25T20:59:59.500Z', '2026-11-25T21:00:00Z']) {
      const nextMs = Date.parse(at) + untilMidnightMs(zone, Date.parse(at))
      const shown = new Intl.DateTimeFormat('en-GB', { timeZone: zone, timeStyle: 'medium', hourCycle: 'h23' }).format(
        nextMs,
      )
      t.equal(shown, '00:00:00', `${at} in ${zone}`)
    }
  t.end()
})

t.test('a speech-to-speech model gets the pronunciations of names', (t) => {
  const names = Array.from({ length: 60 }, (_, index) => ({
    match: `Muindi ${index}`,
    say: index === 1 ? { en: 'Moo' } : `Moo-in-dee ${index}`,
  }))
  const told = (backends: readonly string[], languages: readonly string[]): string =>
    callContext({ agent: agentOf({ languages: [...languages], pronunciations: names }), from: '', backends }, 0)
  const swahili = told(['openai'], ['en', 'sw'])
  t.match(swahili, /How you say figures: .*one digit or letter at a time/)
  t.match(swahili, /shilingi elfu moja, mia nne na hamsini/)
  t.match(swahili, /How names sound: Muindi 0: Moo-in-dee 0; Muindi 1: Moo \(English\); /)
  t.notMatch(swahili, /Muindi 50/, 'not without end')
  t.match(swahili, /Sheng is Swahili here/)
  t.notMatch(told(['gemini'], ['en']), /shilingi|Sheng/)
  t.match(told(['cascade', 'openai'], ['en']), /How you say figures/, 'one that may take over')
  t.notMatch(told(['cascade', 'embedded'], ['en', 'sw']), /How you say figures|How names sound/)
  t.end()
})

t.test('every model learns that an interrupted tool is uncertain', async (t) => {
  const before = Rig.talking()
  before.toolCall('t1', 'refund', { order: 5 })
  const session = conformanceSession({ toolLedger: resumedTools(before.resume) })
  const told = {
    'openai-realtime': replayItems(session),
    'gemini-live': historyOf(session),
    cascade: new Conversation(session).request().messages,
    'a standby': recapText([], session.toolLedger),
  }
  for (const [backend, words] of Object.entries(told)) {
    const text = JSON.stringify(words)
    t.match(text, /refund/, backend)
    t.match(text, /unknown whether it took effect: say neither .* do not repeat it, and offer a human/, backend)
  }
})
