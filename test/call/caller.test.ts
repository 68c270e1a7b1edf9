import t from 'tap'
import type { CallSessionOptions } from '../../src/call/call-options.js'
import { parseResume } from '../../src/call/documents/checkpoint.js'
import type { CallInput } from '../../src/call/events.js'
import { diffOutputs } from '../../src/call/journal/replay-diff.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { escalation, Rig } from './rig.js'

const LOOK_UP = { source: 'lookup_customer', of: 'customers', withinMs: 800, personal: [], language: null }
const KNOWN: Partial<CallSessionOptions> = {
  caller: LOOK_UP,
  greeting: 'Hello {{caller.name}}, welcome.',
  goodbyeText: 'Bye {{ caller.name }}.',
}
const AMINA: CallInput = {
  type: 'caller-known',
  state: 'found',
  from: 'tool',
  values: { name: 'Amina', tier: 'gold', balance: 120, language: 'sw-KE' },
}

function diffsOf(rig: Rig) {
  rig.writer.flush()
  const { recorded, outputs } = replayJournal(rig.journal)
  return diffOutputs(recorded, outputs, { toleranceMs: 0 })
}

t.test('a caller found in time is greeted without a wait', async (t) => {
  const rig = new Rig(KNOWN)
  rig.run(100)
  rig.in(AMINA)
  rig.open()
  rig.ready()
  t.equal(rig.session.state, 'live', 'at once')
  t.equal(rig.all('backend-text').length, 1)
  t.match(rig.session.caller.values, { name: 'Amina' })
  t.equal(rig.all('caller').length, 1)
  t.match(rig.session.checkpoint().caller, { state: 'found', source: 'lookup_customer', ms: 100 })
})

t.test('the greeting waits for the look-up within its time [1]', async (t) => {
  const rig = new Rig(KNOWN)
  rig.run(200)
  rig.open()
  rig.ready()
  rig.run(400)
  t.same([rig.session.state, rig.all('backend-text')], ['connecting', []])
  rig.in(AMINA)
  t.equal(rig.session.state, 'live', 'the answer came')

  const late = new Rig(KNOWN)
  late.run(200)
  late.open()
  late.ready()
  late.run(580)
  t.equal(late.session.state, 'connecting')
  late.run(40)
  t.equal(late.session.state, 'live', '800 ms after the webhook')
  t.equal(late.all('backend-text').length, 1)
  late.run(2000)
  late.in(AMINA)
  t.match(late.session.checkpoint().caller, { state: 'late', values: { name: 'Amina' } })
  t.equal(late.all('backend-text').filter(({ text }) => text === 'greet').length, 1, 'no second greeting')
  t.equal(late.all('caller').length, 1, 'the model learns it all the same')
})

t.test('a failed look-up starts the greeting at once [2]', async (t) => {
  for (const state of ['failed', 'unknown', 'withheld'] as const) {
    const rig = new Rig(KNOWN)
    rig.open()
    rig.ready()
    rig.in({ type: 'caller-known', state, from: 'tool', values: {} })
    t.equal(rig.session.state, 'live', state)
    t.match(rig.session.checkpoint().caller, { state })
    t.same(rig.all('caller'), [], 'there is nothing to learn')
    rig.run(3100)
    t.same(rig.texts(), ['Hello, welcome.'], state)
  }
})

t.test("the gateway's phrases contain the caller's known values", async (t) => {
  const rig = new Rig(KNOWN)
  rig.open()
  rig.ready()
  rig.in(AMINA)
  rig.run(3100)
  t.same(rig.texts(), ['Hello Amina, welcome.'])
  rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: true })
  t.equal(rig.texts().at(-1), 'Bye Amina.')
})

t.test('personal fields are withheld until the caller is verified', async (t) => {
  const rig = new Rig({
    ...KNOWN,
    caller: { ...LOOK_UP, personal: ['balance'] },
    goodbyeText: 'You owe {{caller.balance}}.',
  })
  rig.open()
  rig.ready()
  rig.in(AMINA)
  t.same(Object.keys(rig.session.caller.values), ['name', 'tier', 'language'])
  t.equal(rig.all('caller').length, 1)
  rig.identity({ account: 'A-1' })
  t.equal(rig.session.caller.values['balance'], 120)
  t.equal(rig.all('caller').length, 2, 'the model gets it now')
})

t.test('facts from earlier calls are withheld until verification', async (t) => {
  const rig = new Rig({ ...KNOWN, goodbyeText: 'Bye, owner of {{caller.last_device}}.' })
  rig.open()
  rig.ready()
  const earlier = { last_outcome: 'escalated', last_device: 'router' }
  rig.in({ ...AMINA, values: { name: 'Amina' }, earlier })
  t.same(rig.session.caller.values, { name: 'Amina' })
  t.same(rig.session.caller.earlier, {}, 'the model has none of it')
  t.same(rig.session.checkpoint().caller?.earlier, earlier, 'it is kept for who proves to be its owner')
  rig.identity({ account: 'A-1' })
  t.match(rig.session.caller, { earlier, values: { last_device: 'router' } })
  t.equal(rig.all('caller').length, 2, 'the model gets it now')
})

t.test("a call begins in the caller's language if supported", async (t) => {
  const languages = { languages: ['en', 'sw'], greeting: { en: 'Hello.', sw: 'Hujambo {{caller.name}}.' } }
  const rig = new Rig({ ...KNOWN, ...languages, caller: { ...LOOK_UP, language: 'language' } })
  rig.open()
  rig.ready()
  rig.in(AMINA)
  t.equal(rig.session.language, 'sw')
  t.same(
    rig.types().filter((type) => type === 'language' || type === 'caller'),
    ['language', 'caller'],
  )
  rig.run(3100)
  t.same(rig.texts(), ['Hujambo Amina.'])

  const late = new Rig({ ...KNOWN, ...languages, caller: { ...LOOK_UP, language: 'language' } })
  late.open()
  late.ready()
  late.run(900)
  late.in(AMINA)
  t.equal(late.session.language, 'en', 'not in the middle of a greeting')
})

const STAGES: Partial<CallSessionOptions> = {
  caller: LOOK_UP,
  stages: {
    facts: { tier: { from: ['caller.tier'] } },
    stages: {
      first: {
        instructions: 'Begin.',
        needs: [],
        final: false,
        next: { vip: { on: { tool: 'caller', result: { tier: 'gold' } } } },
      },
      vip: { instructions: 'Serve.', needs: [], next: {}, final: true },
    },
  },
}

t.test("the caller's values decide the first stage", async (t) => {
  const rig = new Rig(STAGES)
  rig.in(AMINA)
  rig.open()
  rig.ready()
  t.equal(rig.session.stages?.name, 'vip')
  t.match(rig.session.log.facts, [{ name: 'tier', value: 'gold', from: 'caller' }])
  const silver = new Rig(STAGES)
  silver.in({ ...AMINA, values: { tier: 'silver' } })
  silver.open()
  silver.ready()
  t.equal(silver.session.stages?.name, 'first')
})

t.test('an immediate escalation or handover skips the greeting', async (t) => {
  const to = (vip: object): Rig => {
    const { stages, facts } = STAGES.stages as NonNullable<CallSessionOptions['stages']>
    const rig = new Rig({
      ...STAGES,
      escalation,
      stages: {
        facts,
        stages: { ...stages, vip: { ...(stages['vip'] as NonNullable<(typeof stages)[string]>), ...vip } },
      },
    })
    rig.in(AMINA)
    rig.open()
    rig.ready()
    rig.run(300)
    return rig
  }
  const human = to({ escalate: 'a gold customer' })
  t.equal(human.session.state, 'escalating')
  t.same(human.all('backend-text'), [])
  const agent = to({ handoverTo: 'vip-desk' })
  t.match(agent.only('handover').record, { to: 'vip-desk' })
  t.same(agent.all('backend-text'), [])
  t.notOk(agent.session.checkpoint().greeted, 'the next agent greets')
})

t.test('a resumed call keeps the result of the same look-up', async (t) => {
  const before = new Rig(KNOWN)
  before.open()
  before.ready()
  before.in(AMINA)
  before.answer(1, 'a1', 500, 'Hello Amina, welcome.')
  before.run(1000)
  const resume = parseResume(JSON.parse(JSON.stringify(before.resume)))
  const after = new Rig({ ...KNOWN, preparedAtMs: 500_000 }, resume)
  t.notOk(after.session.caller.open, 'nothing is looked up again')
  t.equal(after.session.caller.values['name'], 'Amina')
  const other = new Rig({ ...KNOWN, caller: { ...LOOK_UP, of: 'guests' }, preparedAtMs: 500_000 }, resume)
  t.ok(other.session.caller.open, 'an agent with another look-up asks its own, also where its tool has the same name')
  t.same(other.session.caller.values, {})
  other.nowMs = 500_000
  other.open()
  other.ready()
  t.equal(other.session.state, 'live', 'and greets nobody again, so nobody waits')
})

t.test("the consent text waits briefly for the caller's language", async (t) => {
  const settings = {
    ...KNOWN,
    languages: ['en', 'sw'],
    caller: { ...LOOK_UP, language: 'language' },
    consentText: { en: 'This call is recorded.', sw: 'Simu hii inarekodiwa.' },
  }
  const known = new Rig(settings)
  known.open()
  known.run(300)
  known.in(AMINA)
  known.ready()
  t.same(known.texts(), ['Simu hii inarekodiwa.'])
  const late = new Rig(settings)
  late.open()
  late.ready()
  late.run(780)
  t.same(late.types(), [])
  late.run(20)
  t.same(late.texts(), ['This call is recorded.'])
  late.in(AMINA)
  late.run(2000)
  t.same(late.texts(), ['This call is recorded.'], 'it is said once')
  t.equal(late.session.state, 'live')
})

t.test("the journal hides a caller's values until verification", async (t) => {
  const settings = { ...KNOWN, caller: { ...LOOK_UP, personal: ['balance'] }, goodbyeText: 'Bye {{caller.last_plan}}.' }
  const known = { ...AMINA, earlier: { last_plan: 'fibre' } } as const
  const stranger = new Rig(settings)
  stranger.open()
  stranger.ready()
  stranger.in(known)
  stranger.run(500)
  stranger.writer.flush()
  t.notMatch(stranger.journal.join(), /fibre|"balance":120/)
  t.match(stranger.journal.join(), /"last_plan":"…"/)
  t.same(diffsOf(stranger), [])

  const owner = new Rig(settings)
  owner.open()
  owner.ready()
  owner.in(known)
  owner.run(500)
  owner.identity({ accountId: 'A-1' })
  owner.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: true })
  owner.run(1500)
  t.ok(owner.texts().includes('Bye fibre.'))
  t.same(diffsOf(owner), [], 'and a replay says the same')
  t.equal(replayJournal(owner.journal).session.caller.values['balance'], 120)

  const resume = parseResume(JSON.parse(JSON.stringify(stranger.resume)))
  const next = new Rig(settings, resume)
  next.nowMs = stranger.nowMs
  next.open()
  next.ready()
  next.writer.flush()
  t.notMatch(next.journal.join(), /fibre|"balance":120/, 'nor after a takeover')
  next.identity({ accountId: 'A-1' })
  next.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: true })
  next.run(1500)
  t.ok(next.texts().includes('Bye fibre.'))
  t.same(diffsOf(next), [])
})

t.test('the consent text is still spoken after a failed escalation', async (t) => {
  const rig = new Rig({ ...KNOWN, consentText: 'This call is recorded.', escalation })
  rig.open()
  rig.ready()
  t.same(rig.texts(), [], 'it waits')
  rig.in({ type: 'escalate-requested', reason: 'an operator' })
  rig.in(AMINA)
  rig.in({ type: 'escalation', step: { type: 'failed', outcome: 'busy', detail: '', closed: false } })
  rig.run(4000)
  t.equal(rig.session.state, 'live')
  t.same(
    rig.texts().filter((text) => text === 'This call is recorded.'),
    ['This call is recorded.'],
  )
  t.equal(rig.all('recording-announced').length, 1)
  t.equal(rig.session.checkpoint().untold, undefined)
})

t.test("a handover keeps the caller's name but not earlier calls", async (t) => {
  const remembers = { ...LOOK_UP, memoryOf: 'first' }
  const before = new Rig({ ...KNOWN, caller: remembers })
  before.open()
  before.ready()
  before.in({ ...AMINA, earlier: { last_outcome: 'paid' } })
  before.identity({ accountId: 'A-1' })
  t.match(before.session.caller.values, { name: 'Amina', last_outcome: 'paid' })
  const resume = parseResume(JSON.parse(JSON.stringify(before.resume)))
  const after = new Rig({ ...KNOWN, caller: { ...LOOK_UP, memoryOf: 'second' }, preparedAtMs: 500_000 }, resume)
  t.equal(after.session.caller.values['name'], 'Amina')
  t.same(after.session.caller.earlier, {}, 'another agent remembers its own calls')
  t.ok(after.session.caller.open, 'the memory of this agent is asked')
  after.nowMs = 500_000
  after.open()
  after.in({ type: 'caller-known', state: 'failed', from: 'tool', values: {}, earlier: { last_outcome: 'asked' } })
  t.match(after.session.caller.values, { name: 'Amina', last_outcome: 'asked' }, 'a failed look-up takes nothing back')
  t.notOk(after.session.caller.open)
  const none = new Rig({ ...KNOWN, preparedAtMs: 500_000 }, resume)
  t.match(none.session.caller.values, { name: 'Amina' })
  t.same(none.session.caller.earlier, {}, 'an agent that remembers nothing')
})

t.test('a look-up result waits for consent and the AMD verdict', async (t) => {
  const consent = new Rig({ ...KNOWN, consentText: 'This call is recorded.' })
  consent.open()
  consent.ready()
  t.same(consent.texts(), [], 'the language of the caller is not known')
  consent.in(AMINA)
  t.same(consent.texts(), ['This call is recorded.'])
  t.same(consent.all('backend-text'), [], 'the text is heard first')
  consent.run(2000)
  t.equal(consent.all('backend-text').filter(({ text }) => text === 'greet').length, 1)

  const placed = new Rig({ ...KNOWN, amd: { message: null, onSilence: 'speak' } })
  placed.open()
  placed.ready()
  placed.run(900)
  placed.in(AMINA)
  t.same(placed.all('backend-text'), [], 'nobody knows who took the call')
  placed.in({ type: 'amd-result', who: 'human', why: 'a pause' })
  t.equal(placed.all('backend-text').length, 1)

  const dead = new Rig({ ...KNOWN, apologyText: 'Sorry.' })
  dead.open()
  dead.ready()
  dead.backend({ type: 'error', code: 'internal', message: 'gone', fatal: true, retryable: false })
  dead.in(AMINA)
  t.same(dead.all('backend-text'), [])
  t.equal(dead.session.state, 'closing')
})

t.test('a call with a look-up replays to the same outputs', async (t) => {
  const rig = new Rig(KNOWN)
  rig.open()
  rig.ready()
  rig.run(300)
  rig.in(AMINA)
  rig.run(4000)
  const replay = replayJournal(rig.journal)
  t.same(diffOutputs(replay.recorded, replay.outputs, { toleranceMs: 0 }), [])
})
