import t from 'tap'
import { missingIn } from '../../src/agents/identity/verification.js'
import { CallerIdentity } from '../../src/agents/tools/tool.js'
import { HttpClient } from '../../src/http/http-client.js'
import type { LoggedToolCall } from '../../src/call/documents/log-entry.js'
import { ToolRunner } from '../../src/agents/tools/tool-runner.js'
import { AMINA, BRIAN, CYNTHIA, DANIEL, NOBODY, contextOf, openLine, textCall } from './support-line.js'

const line = await openLine('support')
t.teardown(() => line.close())

t.test('a question is answered from the knowledge file', async (t) => {
  const call = await textCall(line, AMINA)
  t.match(call.said.join(' '), /customer support/)
  t.match(
    await call.says('when are you open'),
    /open every day from 7 in the morning to 9 in the evening.*anything else\?/,
  )
  t.match(await call.says('how can i pay my bill'), /mobile money/)
  t.match(await call.says('i am moving'), /two weeks before you move/)
  t.match(await call.says('my internet is very slow'), /Restart the router/)
  t.match(
    call.calls.map(({ name }) => name),
    ['check_outage', 'search_knowledge', 'search_knowledge', 'search_knowledge', 'search_knowledge'],
  )
})

t.test('every question of the dialogue finds an answer', async (t) => {
  const wanted: [string, RegExp][] = [
    ['opening hours', /7 in the morning/],
    ['where do i pay', /mobile money/],
    ['i want faster internet', /once a month/],
    ['what plans do you have', /Home 10 costs/],
    ['why was my internet cut off', /ten days late/],
    ['do you cover my area', /Nairobi/],
    ['what does the red light mean', /line is down/],
    ['i forgot my wifi password', /sticker/],
  ]
  for (const [question, answer] of wanted) {
    const call = await textCall(line, AMINA)
    t.match(await call.says(question), answer, question)
  }
})

t.test('an account is disclosed only after two correct answers', async (t) => {
  const call = await textCall(line, AMINA)
  t.match(await call.says('what is my balance'), /check who you are\. What are the last four digits of your ID/)
  t.notOk(
    call.calls.some(({ name }) => name === 'getAccount'),
    'the accounts API was not called',
  )
  t.match(await call.says('#7386'), /last four digits of your customer number\?/)
  t.match(await call.says('five two nine one'), /^Your plan is Home 20, and your balance is KES 350\./)
  t.same(call.caller.verified, { accountId: 'AC-1001', msisdn: AMINA, name: 'Amina Odhiambo', vip: false })
  t.match(await call.says('my plan'), /Your plan is Home 20/, 'the caller is not asked again')
  t.notMatch(call.said.join(' '), /7386|5291|five two/, 'no answer is spoken')
})

t.test('balance, suspension and open tickets are disclosed', async (t) => {
  const call = await textCall(line, BRIAN)
  t.match(
    await call.says('how much do i owe', 'six two seven three', 'four eight three seven'),
    /you owe KES 1200\. Your account is suspended until that is paid\. You have an open ticket, T 5 0 1\./,
  )
})

t.test('three wrong answers end verification and escalate [2]', async (t) => {
  const call = await textCall(line, AMINA)
  t.match(await call.says('my account', '#1111'), /not right/)
  t.match(await call.says('#7386'), /customer number/)
  t.match(await call.says('#1990'), /not right/)
  t.match(await call.says('#1991'), /cannot open your account/)
  t.match(call.calls.at(-1), { name: 'escalate_to_human', args: { reason: 'The caller could not be verified.' } })
  t.equal(call.caller.verified, null)
  t.match(
    await line.tools.run(
      'verify_caller',
      { question: 'customer-number', answer: '5291' },
      contextOf(AMINA, { caller: call.caller }),
    ),
    { ok: false },
  )
  t.equal(call.caller.verified, null, 'the right answer comes too late')
})

t.test('a caller without an account is escalated', async (t) => {
  const call = await textCall(line, NOBODY)
  await call.says('my account', '#1111')
  t.match(call.calls.at(-1), { name: 'escalate_to_human' })
})

t.test('an outage is announced before any fixes', async (t) => {
  const call = await textCall(line, CYNTHIA)
  t.match(await call.says('my internet is down'), /outage in your area since this morning at 9.*this evening at 6/)
})

t.test('a doubtful request for a human is confirmed first', async (t) => {
  const doubtful = await textCall(line, AMINA)
  t.match(await doubtful.says('human'), /Shall I connect you to a colleague\?$/)
  t.match(await doubtful.says('no'), /customer support/, 'the dialogue continues')
  t.match(await doubtful.says('when are you open'), /7 in the morning/)
  t.notOk(doubtful.calls.some(({ name }) => name === 'escalate_to_human'))
  await doubtful.says('operator', 'yes')
  t.match(doubtful.calls.at(-1), { name: 'escalate_to_human' })
  const clear = await textCall(line, AMINA)
  await clear.says('i want to speak to a human')
  t.match(clear.calls.at(-1), { name: 'escalate_to_human', args: { reason: /asked for a colleague/ } })
  const keyed = await textCall(line, AMINA)
  await keyed.says('#0')
  t.match(keyed.calls.at(-1), { name: 'escalate_to_human' })
})

t.test('zero counts as a digit while digits are collected', async (t) => {
  const call = await textCall(line, AMINA)
  t.match(await call.says('my account', '#0000'), /not right/)
})

t.test('a model with another number reaches no other account', async (t) => {
  const before = contextOf(AMINA)
  t.match(await line.tools.run('getAccount', { msisdn: BRIAN }, before), {
    ok: false,
    code: 'TOOL_UNVERIFIED',
    value: {
      error: /not verified/,
      questions: [{ question: 'id-number' }, { question: 'customer-number' }, { question: 'birth-date' }],
    },
  })
  t.match(await line.tools.run('verify_caller', { question: 'id-number', answer: '7 3 8 6', msisdn: BRIAN }, before), {
    ok: true,
    value: { verified: false },
  })
  t.match(
    await line.tools.run('getAccount', { msisdn: AMINA }, before),
    { ok: false, code: 'TOOL_UNVERIFIED' },
    'one right answer is not enough',
  )
  t.match(
    await line.tools.run(
      'verify_caller',
      { question: 'birth-date', answer: 'the seventeenth of April nineteen eighty-eight' },
      before,
    ),
    {
      ok: true,
      value: { verified: true },
    },
  )
  for (const msisdn of [BRIAN, CYNTHIA, '', `${BRIAN}&phone=${AMINA}`]) {
    const answer = await line.tools.run('getAccount', { msisdn }, before)
    t.match(answer, { ok: true, value: { plan: 'Home 20', balanceKes: 350 } }, msisdn)
  }
  t.match(await line.tools.run('open_ticket', { subject: 'No internet', phone: BRIAN }, before), { ok: true })
  t.match(
    await (await fetch(`${line.shopUrl}/api/accounts?phone=%2B254700000002`)).json(),
    { openTickets: [{ ticketId: 'T-501' }] },
    'no ticket for another account',
  )
})

t.test('a model never gets the expected answers', async (t) => {
  const context = contextOf(AMINA)
  const answers = [
    await line.tools.run('verify_caller', { question: 'id-number', answer: '0000' }, context),
    await line.tools.run('verify_caller', { question: 'id-number', answer: '7386' }, context),
    await line.tools.run('verify_caller', { question: 'birth-date', answer: '17 April 1988' }, context),
    await line.tools.run('getAccount', {}, context),
  ]
  t.notMatch(JSON.stringify(answers), /23917386|7386|5291|1988-04-17|security/)
  t.match(
    answers.map(({ ok }) => ok),
    [false, true, true, true],
  )
})

t.test('words for no value are not accepted as security answers', (t) => {
  const { verification } = line.agent
  if (verification === null) throw new Error('the agent has no verification')
  const security = { birthDate: '45987', idNumber: 'N/A', customerNumber: '#REF!' }
  const missing = missingIn({ accountId: 'AC-1', vip: false, name: 'Amina', security }, verification)
  t.match(missing.filter((one) => one.startsWith('question')).length, verification.questions.length)
  t.end()
})

t.test('a repeated question counts once; concurrent guesses are counted', async (t) => {
  const twice = contextOf(AMINA)
  await line.tools.run('verify_caller', { question: 'id-number', answer: '7386' }, twice)
  t.match(await line.tools.run('verify_caller', { question: 'id-number', answer: '7386' }, twice), {
    value: { verified: false },
  })
  const guesses = contextOf(AMINA)
  const outcomes = await Promise.all(
    Array.from({ length: 8 }, (_, i) =>
      line.tools.run('verify_caller', { question: 'id-number', answer: `000${i}` }, guesses),
    ),
  )
  t.ok(outcomes.every(({ ok }) => !ok))
  t.equal(guesses.caller.wrong, 3, 'at most three answers are compared')
  t.match(await line.tools.run('verify_caller', { question: 'id-number', answer: '7386' }, guesses), {
    ok: false,
    value: { attemptsLeft: 0 },
  })
})

t.test('the shipped agent escalates VIPs by rule', async (t) => {
  t.match(line.agent.rules, { vip: 'vip', failures: 4, words: { times: 1 } })
  const context = contextOf(DANIEL)
  await line.tools.run('verify_caller', { question: 'id-number', answer: '3628' }, context)
  await line.tools.run('verify_caller', { question: 'customer-number', answer: '8259' }, context)
  t.match(context.caller.verified, { accountId: 'AC-1009', vip: true })
})

t.test('after a failover, attempts and verification are kept [3]', async (t) => {
  const context = contextOf(AMINA)
  const tools: LoggedToolCall[] = []
  for (const [question, answer] of [
    ['id-number', '0001'],
    ['id-number', '0002'],
    ['id-number', '7386'],
  ] as const) {
    const { ok, value: result } = await line.tools.run('verify_caller', { question, answer }, context)
    tools.push({
      callId: answer,
      end: 'answered',
      record: { name: 'verify_caller', args: {}, startMs: 0, ms: 1, ok },
      args: {},
      result,
    })
  }
  const restored = CallerIdentity.restored(null, tools)
  t.same([restored.wrong, [...restored.right]], [2, ['id-number']])
  t.match(
    await line.tools.run(
      'verify_caller',
      { question: 'customer-number', answer: '2001' },
      contextOf(AMINA, { caller: restored }),
    ),
    {
      ok: false,
      value: { attemptsLeft: 0 },
    },
  )
  const verified = CallerIdentity.restored({ msisdn: AMINA }, tools)
  t.match(await line.tools.run('getAccount', {}, contextOf(AMINA, { caller: verified })), {
    ok: true,
    value: { plan: 'Home 20' },
  })
})

t.test('an unreachable accounts API costs no attempt [1]', async (t) => {
  const context = contextOf(AMINA)
  const client = new HttpClient()
  t.teardown(() => {
    client.close()
  })
  const down = await ToolRunner.open(line.agent, line.assets, { SHOP_API_URL: 'http://127.0.0.1:1' }, client)
  t.match(await down.run('verify_caller', { question: 'id-number', answer: '7386' }, context), {
    ok: false,
    code: 'TOOL_HTTP',
    value: { error: 'the system cannot be reached' },
  })
  t.equal(context.caller.wrong, 0)
  t.match(
    await line.tools.run('verify_caller', { question: 'id-number', answer: '7386' }, context),
    { ok: true },
    'it works again afterwards',
  )
})
