import t from 'tap'
import { NO_ASSETS } from '../../src/agents/file/assets.js'
import { agentSchema } from '../../src/agents/file/definition.js'
import { CallLanguage } from '../../src/call/spoken/call-language.js'
import type { CallSessionOptions } from '../../src/call/call-options.js'
import { askedRate, speedOf } from '../../src/call/spoken/speech-rate.js'
import type { CallStart } from '../../src/workers/shared/call-messages.js'
import { instructionsOf, toolSpecs } from '../../src/workers/worker/call-setup.js'
import { Rig, escalation } from './rig.js'

/** The language after each of the caller's turns, with an answer of the agent between them. */
function after(turns: readonly (string | readonly (readonly [text: string, language: string])[])[], first = 'en') {
  const language = new CallLanguage([first, first === 'en' ? 'sw' : 'en'], undefined)
  return turns.map((turn) => {
    language.heard(typeof turn === 'string' ? [{ text: turn }] : turn.map(([text, tag]) => ({ text, language: tag })))
    language.answered()
    return language.now
  })
}

t.test('one whole sentence of the caller changes the call language', (t) => {
  t.same(after(['Habari, mzigo wangu umefika wapi?']), ['sw'])
  t.same(after(['Where is my parcel, please?'], 'sw'), ['en'])
  t.same(after([[['Viatu ni bei gani?', 'sw']]]), ['sw'], 'as the recogniser tells it')
  t.same(after(['Niaje buda, form ni gani?', 'Hi, where is my parcel?']), ['en', 'en'], 'two words are no sentence')
  t.end()
})

t.test('the language of a sentence is found from its words', (t) => {
  const swahili = [
    'naomba kujua salio langu tafadhali',
    'habari, internet yangu haifanyi kazi',
    'nilikuwa nauliza kama mko wazi kesho',
    'sijui kwa nini mmenikatia',
    'nataka ku-reschedule delivery ya kesho',
    'viatu ni bei gani',
    'nilitumiwa ujumbe lakini sikuelewa',
    'unaweza kunisaidia na hii bill?',
    'nimelipa mara mbili',
    'mnafungua saa ngapi siku ya Jumamosi',
    'nataka kuongea na mtu',
    'haijafika mpaka sasa',
    'mtandao haufanyi kazi tangu jana',
    'jina langu ni Hamisi Juma',
    'naweza kulipa na M-Pesa?',
    'tafadhali niunganishe na mhudumu',
  ]
  const english = [
    'my internet is not working',
    'I would like to know my balance please',
    'can I pay with M-Pesa?',
    'I want to reschedule my delivery to tomorrow',
    'my name is Hamisi Juma and I live in Naivasha',
    'do you have an office in Kisumu or Nakuru?',
    'how much are the shoes',
    'has it been sent yet?',
    'I already paid twice',
    'when do you open on Saturday',
    'I am calling about the order from last week',
    'is America covered by the plan?',
  ]
  for (const text of swahili) t.same([after([text]), after([text], 'sw')], [['sw'], ['sw']], text)
  for (const text of english) t.same([after([text], 'sw'), after([text])], [['en'], ['en']], text)
  t.end()
})

t.test('borrowed words and spoken numbers do not change the language', (t) => {
  t.same(after(['Naomba kuchange delivery, iwe kesho saa nne asubuhi', 'delivery', 'okay', 'reschedule order'], 'sw'), [
    'sw',
    'sw',
    'sw',
    'sw',
  ])
  t.same(
    after([
      [
        ['nataka', 'sw'],
        ['ku-reschedule delivery', 'en'],
        ['ya kesho', 'sw'],
      ],
    ]),
    ['sw'],
    'an English verb in a Swahili sentence',
  )
  const number = [
    'four one two seven',
    'oh seven one two, double five six',
    'order number four one two seven',
    'ten thousand',
  ]
  t.same(after(number, 'sw'), ['sw', 'sw', 'sw', 'sw'], 'a number that is read out, however often')
  const tagged = ['zero', 'seven', 'one', 'two'].map((word) => [word, 'en'] as const)
  t.same(after([tagged], 'sw'), ['sw'], 'also where the recogniser tells the language of each word')
  t.same(after(['nne moja mbili saba']), ['sw'], 'while nobody reads one out in Swahili who does not speak it')
  t.same(after(['Sawa', 'Sawa', 'Asante', 'Ndiyo']), ['en', 'en', 'en', 'en'], 'a single word, however often')
  t.end()
})

t.test('two short turns change the language, mixed turns do not', (t) => {
  t.same(after(['Ndiyo asante', 'Hapana, kesho']), ['en', 'sw'])
  t.same(after(['Ndiyo asante', 'Yes, tomorrow', 'Hapana, kesho']), ['en', 'en', 'en'])
  t.same(after(['I want to, yaani, nataka kulipa sasa please but the', 'Where is the yangu na hii']), ['en', 'en'])
  t.end()
})

t.test('the language changes at most once in a turn', (t) => {
  const language = new CallLanguage(['en', 'sw'], undefined)
  t.equal(language.heard([{ text: 'Nataka kulipa sasa' }]), true)
  t.equal(language.heard([{ text: 'I want to pay for it with what I have' }]), false)
  t.equal(language.set('en'), false, 'nor for the model')
  t.equal(language.now, 'sw')
  language.answered()
  t.equal(language.set('en'), true)
  t.equal(language.set('en'), false)
  t.equal(language.set('fr'), false, 'the agent does not speak it')
  t.equal(language.now, 'en')
  t.end()
})

t.test('a resumed call keeps its language', (t) => {
  t.equal(new CallLanguage(['en', 'sw-KE'], 'sw-KE').now, 'sw-KE')
  t.equal(new CallLanguage(['en', 'sw-KE'], 'fr').now, 'en')
  const alone = new CallLanguage(['en'], undefined)
  t.equal(alone.heard([{ text: 'Habari, mzigo wangu umefika wapi?' }]), false)
  t.equal(alone.now, 'en')
  t.end()
})

const BOTH: Partial<CallSessionOptions> = {
  languages: ['en', 'sw'],
  goodbyeText: { en: 'Goodbye.', sw: 'Kwaheri.' },
  filler: { texts: [{ en: 'One moment.', sw: 'Subiri kidogo.' }], afterMs: 700, everyMs: 6000 },
}

/** The caller's words of a turn, as a recogniser tells them. */
function says(rig: Rig, text: string, itemId: string): void {
  rig.backend({ type: 'transcript', role: 'caller', text, final: true, itemId, generation: 2 })
}

t.test("phrases, records and packets use the caller's language", (t) => {
  const rig = Rig.talking({ ...BOTH, escalation })
  says(rig, 'Habari, mzigo wangu umefika wapi?', 'c1')
  t.same(rig.only('language'), { type: 'language', language: 'sw' }, 'the backend is told')
  rig.toolCall('t1', 'find_order', {})
  rig.run(1000)
  t.match(rig.all('announce'), [{ text: 'Subiri kidogo.', kind: 'filler' }])
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: {} })
  const kept = rig.session.checkpoint()
  t.equal(kept.language, 'sw')
  t.match(rig.mirror.transcript, [
    { role: 'agent', language: 'en' },
    { role: 'caller', language: 'sw' },
  ])
  rig.toolCall('t2', 'escalate_to_human', { reason: 'refund' })
  t.match(rig.only('escalate').packet, { language: 'sw' })

  const next = new Rig({ ...BOTH }, { checkpoint: kept, log: rig.mirror.records() })
  next.open()
  next.ready()
  t.equal(next.session.language, 'sw')
  next.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: true })
  t.match(next.all('announce').at(-1), { text: 'Kwaheri.' })
  t.end()
})

t.test('the model sets the language with `set_language`', (t) => {
  const rig = Rig.talking(BOTH)
  rig.toolCall('t1', 'set_language', { language: 'fr' })
  t.match(rig.all('backend-tool-result').at(-1), { ok: false, value: { error: 'language must be one of en, sw.' } })
  rig.toolCall('t2', 'set_language', { language: 'sw' })
  t.match(rig.all('backend-tool-result').at(-1), { ok: true, value: { language: 'sw' } })
  t.equal(rig.session.language, 'sw')
  const agent = agentSchema.parse({ version: 1, name: 'a', instructions: 'x', languages: ['en', 'sw'] })
  const offered = (languages: readonly string[]) =>
    toolSpecs({ agent: { ...agent, languages }, assets: NO_ASSETS, resume: null } as unknown as CallStart).map(
      ({ name }) => name,
    )
  t.ok(offered(['en', 'sw']).includes('set_language'))
  t.notOk(offered(['en']).includes('set_language'))
  const told = (language?: string) =>
    instructionsOf({ agent, from: '', resume: null, backends: [] }, 0, language === undefined ? {} : { language })
  t.match(told(), /languages of the line are English, Swahili; it begins in the first\. Answer in the language of/)
  t.match(told('sw'), /languages of the line are Swahili, English; it begins/, 'as another one gets the call')
  t.end()
})

t.test('the caller can change the speech rate in steps', (t) => {
  const steps = ['slower', 'slower', 'slower', 'normal', 'faster', 'faster', 'faster']
  let now = 1
  const heard = steps.map((rate) => {
    const { speed, value } = askedRate(rate, now, true)
    t.equal(value['changed'], speed !== null)
    return (now = speed ?? now)
  })
  t.same(heard, [0.85, 0.7, 0.7, 1, 1.15, 1.3, 1.3])
  t.match(askedRate('slower', 0.7, true).value, { changed: false, reason: /shorter sentences/ })
  t.match(askedRate('normal', 1, true).value, { changed: false, reason: /already/ })
  t.match(askedRate('slower', 1, false), {
    ok: true,
    speed: null,
    value: { changed: false, reason: /cannot change its speed.*shorter sentences/ },
  })
  for (const rate of ['slow', undefined, 0.5])
    t.match(askedRate(rate, 1, true), { ok: false, value: { error: 'rate must be one of slower, normal, faster.' } })
  t.end()
})

t.test('the speech rate is restored from the log', (t) => {
  const call = (name: string, result: unknown) =>
    ({ callId: 'c', end: 'result', args: {}, result, record: { name, ok: true } }) as never
  t.equal(speedOf([]), 1)
  const changed = call('set_speech_rate', { changed: true, speed: 0.85 })
  t.equal(speedOf([changed, call('find_order', { speed: 1.3 }), call('set_speech_rate', { error: 'rate' })]), 0.85)
  t.equal(speedOf([changed, call('set_speech_rate', { speed: 40 })]), 0.85, 'of a damaged log')
  const offered = (speechRate: boolean) => {
    const agent = agentSchema.parse({ version: 1, name: 'a', instructions: 'x', speechRate })
    const start = { agent, assets: NO_ASSETS, resume: null } as unknown as CallStart
    return toolSpecs(start).some(({ name }) => name === 'set_speech_rate')
  }
  t.same([offered(true), offered(false)], [true, false])
  const own = { name: 'set_speech_rate', description: 'x', http: { url: 'https://shop.test/x' } }
  t.throws(
    () => agentSchema.parse({ version: 1, name: 'a', instructions: 'x', tools: [own] }),
    /is a tool of the gateway itself/,
  )
  t.end()
})
