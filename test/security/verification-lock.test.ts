import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startShopApi } from '../../examples/shop-api/server.js'
import { type AgentDefinition, type AgentInput, agentSchema } from '../../src/agents/file/definition.js'
import { loadAgents } from '../../src/agents/file/loader.js'
import { type Verdict, VerificationLocks } from '../../src/agents/identity/verification-lock.js'
import { allCallsOn } from '../../src/backends/split.js'
import { packageRoot } from '../../src/config/package-root.js'
import { GatewayError } from '../../src/core/errors.js'
import type { CallStore } from '../../src/fleet/store/call-store.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { StoredAttempts } from '../../src/fleet/store/stored-attempts.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import { createLog } from '../../src/telemetry/log.js'
import { inbound, type HostChanges, startHost, type TestHost, TestLine } from '../support/host.js'
import { startThreads } from '../support/threads.js'
import { api, context as toolContext, json, runnerOf } from '../agents/tool-rig.js'

/**
 * The attack: after a few wrong answers the caller hangs up and calls again, or many calls of one number guess at once,
 * each on another media worker, until a guess is right.
 */

const RULE = { failures: 3, minutes: 60 }
const NUMBER = '+254700000001'

/** One attempt of a number. @returns attempts that it had before; 0: locked */
async function guess(locks: VerificationLocks, number = NUMBER, verdict: Verdict = 'wrong'): Promise<number> {
  const attempt = await locks.take(number, RULE)
  attempt.judged(verdict)
  return attempt.left
}

/** Several attempts, one after the other. */
async function guesses(count: number, ...of: Parameters<typeof guess>): Promise<number[]> {
  const left: number[] = []
  for (let i = 0; i < count; i++) left.push(await guess(...of))
  return left
}

t.test('calling again gives no new attempts during the lock', async (t) => {
  let nowMs = 0
  const locks = new VerificationLocks(() => nowMs)
  t.same(await guesses(4, locks), [3, 2, 1, 0])
  t.equal(await guess(locks, '+254700000002'), 3, 'another number has its own attempts')
  nowMs += 59 * 60_000
  t.equal(await guess(locks), 0, 'and trying does not make it longer')
  nowMs += 60_000
  t.same(await guesses(4, locks), [3, 2, 1, 0], 'as often as after an hour')
})

t.test('wrong answers follow a call to another node', async (t) => {
  const [there, here] = [new VerificationLocks(() => 0), new VerificationLocks(() => 0)]
  await guesses(2, there)
  t.equal(there.wrong(NUMBER), 2)
  t.equal(here.wrong(NUMBER), 0)
  here.restore(NUMBER, there.wrong(NUMBER), RULE)
  const attempt = await here.take(NUMBER, RULE)
  t.equal(attempt.left, 1)
  attempt.judged('wrong')
  here.restore(NUMBER, 2, RULE)
  t.equal(await guess(here), 0, 'the higher count holds')
})

t.test('only the last wrong answer locks the number', async (t) => {
  const locks = new VerificationLocks(() => 0)
  const judged = async (...verdicts: Verdict[]): Promise<(boolean | null)[]> => {
    const locked: (boolean | null)[] = []
    for (const verdict of verdicts) {
      const attempt = await locks.take(NUMBER, RULE)
      locked.push(attempt.left > 0 ? attempt.judged(verdict) : null)
    }
    return locked
  }
  t.same(await judged('wrong', 'right', 'unjudged', 'wrong', 'verified'), [false, false, false, false, false])
  t.same(await judged('wrong', 'wrong', 'wrong', 'right'), [false, false, true, null])
})

t.test('concurrent guesses get no more attempts than sequential guesses', async (t) => {
  const locks = new VerificationLocks(() => 0)
  const attempts = await Promise.all([1, 2, 3, 4, 5].map(() => locks.take(NUMBER, RULE)))
  t.same(
    attempts.map(({ left }) => left),
    [3, 2, 1, 0, 0],
    'an attempt counts before it is judged',
  )
  attempts[0]?.judged('unjudged')
  t.equal(await guess(locks), 1, 'and costs nothing where nothing was compared')
})

t.test('the table of numbers is bounded and counts evictions', async (t) => {
  let evicted = 0
  const locks = new VerificationLocks(
    () => 0,
    () => {
      evicted++
    },
    null,
    10,
  )
  for (let i = 0; i < 25; i++) await guess(locks, `+2547000001${i}`)
  t.equal(evicted, 15)
  for (let i = 0; i < 25; i++) await guess(locks, `+2547000002${i}`, 'right')
  t.ok(evicted <= 16, 'who answers rightly takes no room')
})

/** A store as two nodes see it, and what was written to it. */
function sharedStore(): {
  readonly node: (secrets?: readonly string[]) => { readonly locks: VerificationLocks; readonly stored: StoredAttempts }
  readonly written: string[]
  readonly settings: { down: boolean; nowMs: number }
} {
  const settings = { down: false, nowMs: 1_000_000 }
  const inner = new MemoryStore(() => settings.nowMs)
  const written: string[] = []
  const reached = <T>(what: readonly unknown[], work: () => Promise<T>): Promise<T> => {
    if (settings.down) return Promise.reject(new GatewayError('STORE_DOWN', 'down'))
    written.push(JSON.stringify(what))
    return work()
  }
  const store: Pick<CallStore, 'once' | 'settle'> = {
    once: (...args) => reached(args, () => inner.once(...args)),
    settle: (...args) => reached(args, () => inner.settle(...args)),
  }
  return {
    settings,
    written,
    node: (secrets = ['a secret of the whole fleet']) => {
      const stored = new StoredAttempts({ store, secrets, log: createLog({ level: 'silent' }) })
      return { stored, locks: new VerificationLocks(() => settings.nowMs, undefined, stored) }
    },
  }
}

t.test('all nodes share one count of attempts per number', async (t) => {
  const { node, settings, written } = sharedStore()
  const [a, b, c] = [node().locks, node().locks, node().locks] as [
    VerificationLocks,
    VerificationLocks,
    VerificationLocks,
  ]
  t.same([await guess(a), await guess(b, '254 700 000 001'), await guess(c)], [3, 2, 1])
  t.same([await guess(a), await guess(b), await guess(c)], [0, 0, 0], 'locked at each of them')
  t.equal(await guess(a, '+254700000002'), 3)
  t.notMatch(written.join(), /700000001|700 000/)
  settings.nowMs += 60 * 60_000 + 1
  t.same(await guesses(4, b), [3, 2, 1, 0], 'until the time is over')
})

t.test('concurrent guesses at many nodes get no more attempts', async (t) => {
  const { node } = sharedStore()
  const attempts = await Promise.all(Array.from({ length: 8 }, () => node().locks.take(NUMBER, RULE)))
  t.same(attempts.map(({ left }) => left).sort(), [0, 0, 0, 0, 0, 1, 2, 3])
  const last = attempts.find(({ left }) => left === 1)
  t.equal(last?.judged('wrong'), true, 'and the node that had the last one says so')
})

t.test("a proof at one node clears the others' counts", async (t) => {
  const { node, settings } = sharedStore()
  const [a, b] = [node().locks, node().locks]
  await guesses(2, a)
  t.equal(await guess(b, NUMBER, 'unjudged'), 1)
  settings.nowMs += 2
  t.equal(await guess(b, NUMBER, 'verified'), 1)
  settings.nowMs += 2
  t.equal(await guess(node().locks), 3)
})

t.test("a dead node's attempt is free after two minutes", async (t) => {
  const { node, settings } = sharedStore()
  await Promise.all([1, 2, 3].map(() => node().locks.take(NUMBER, RULE)))
  const { locks } = node()
  t.equal(await guess(locks), 0)
  settings.nowMs += 120_001
  t.equal(await guess(locks), 3)
})

t.test('without the store each node counts by itself [3]', async (t) => {
  const { node, settings } = sharedStore()
  const [a, b] = [node(), node()]
  settings.down = true
  t.same(await guesses(4, a.locks), [3, 2, 1, 0])
  t.equal(a.stored.unshared, 6, 'each attempt and each verdict is counted')
  settings.down = false
  t.equal(await guess(a.locks), 0, 'what it counted itself holds also when the store is back')
  t.same(await guesses(4, b.locks), [3, 2, 1, 0])
  // The store fails between an attempt and its verdict.
  const number = '+254700000003'
  const attempt = await a.locks.take(number, RULE)
  settings.down = true
  attempt.judged('wrong')
  settings.down = false
  t.equal(await guess(b.locks, number), 2, 'it stays reserved')
})

t.test("old and new nodes count together during a secret's replacement", async (t) => {
  const { node, settings } = sharedStore()
  const [old, both, fresh] = [node(['old secret']), node(['new secret', 'old secret']), node(['new secret'])]
  t.same([await guess(old.locks), await guess(both.locks), await guess(both.locks)], [3, 2, 1])
  t.equal(await guess(old.locks), 0)
  settings.nowMs += 2
  t.equal(await guess(fresh.locks), 3, 'a node that has only the new one knows what was written since')
  t.same(await guesses(2, fresh.locks), [0, 0])
})

/** A gateway whose agent verifies callers by what they key in. */
async function verifyingHost(
  t: Test,
  change: (agent: AgentDefinition) => AgentDefinition = (agent) => agent,
  start: (changes: HostChanges) => Promise<TestHost> = startHost,
): Promise<TestHost> {
  const shop = await startShopApi()
  const env = { SHOP_API_URL: shop.url }
  const shipped = (await loadAgents(join(packageRoot(), 'agents'), env)).agents.get('support')
  if (shipped === undefined) throw new Error('agents/support.yaml is missing')
  const definition = change(shipped)
  const backend = `module:${new URL('./keyed-proof-backend.js', import.meta.url).href}`
  const test = await start({
    env,
    agents: new Map([['support', { definition, facts: agentFacts(definition), shares: allCallsOn(backend) }]]),
    defaultAgent: 'support',
  })
  t.teardown(async () => {
    await test.close()
    await shop.close()
  })
  return test
}

let calls = 0

/** A call that keys its answers in; each is there before the next is keyed. */
function callOf(
  test: TestHost,
  from = NUMBER,
): { line: TestLine; keys: (...answers: string[]) => Promise<void>; errors: () => string[] } {
  const call = test.host.prepare(inbound(`HD_lock${String(++calls).padStart(4, '0')}`, { agent: 'support', from }))
  const { until } = test.time
  const line = new TestLine(call, test.time)
  line.start()
  const verdicts = () => call.view().toolCalls.filter(({ name }) => name === 'verify_caller')
  return {
    line,
    keys: async (...answers) => {
      await until(() => call.timeline().timeline.some(({ name }) => name === 'backend-ready'), 10_000, 'the backend')
      for (const answer of answers) {
        const before = verdicts().length
        call.text([...answer].map((digit) => ({ type: 'dtmf' as const, digit })))
        await until(() => verdicts().length > before, 10_000, 'the verdict')
      }
    },
    errors: () => verdicts().map(({ ok, error }) => (ok ? 'ok' : (error ?? 'none'))),
  }
}

async function end(test: TestHost, { line }: ReturnType<typeof callOf>): ReturnType<TestHost['recordOf']> {
  line.call.hangup('operator-hangup', 'the test is over', false)
  return test.recordOf(line.call.callSid)
}

t.test("the lock holds for the number's next call [1]", async (t) => {
  // Real threads: what one of them counts, the other must know.
  const test = await verifyingHost(t, undefined, (changes) => startThreads({ ...changes, speech: null, workers: 2 }))
  const first = callOf(test)
  await first.keys('1111#', '2222#')
  t.same(first.errors(), ['TOOL_UNVERIFIED', 'TOOL_UNVERIFIED'])
  // Runs beside the first, so on the other worker.
  const second = callOf(test)
  await second.keys('3333#', '7386#')
  t.same(
    second.errors(),
    ['TOOL_UNVERIFIED', 'TOOL_UNVERIFIED'],
    'the third wrong answer ended the attempts; the right one comes too late',
  )
  await first.keys('7386#')
  t.equal(first.errors().at(-1), 'TOOL_LOCKED', 'also in the call that had an attempt left')
  const other = callOf(test, '+254700000002')
  await other.keys('6273#', '4837*')
  t.same(other.errors(), ['ok', 'ok'], 'another number is not concerned')
  const records = [await end(test, first), await end(test, second), await end(test, other)]
  const third = callOf(test)
  await third.keys('7386#', '5291*')
  t.same(third.errors(), ['TOOL_LOCKED', 'TOOL_LOCKED'], 'the next call has no attempt')
  records.push(await end(test, third))

  t.match(
    records[1]?.timeline.map(({ name }) => name),
    /verification-locked/,
  )
  t.match(
    records[3]?.timeline.map(({ name }) => name),
    /verification-refused/,
  )
  t.match(records[3]?.toolCalls, [{ name: 'verify_caller', ok: false, error: 'TOOL_LOCKED' }, {}])
  const page = await test.metrics.render()
  t.match(page, /mkondo_verification_locks_total\{(?=[^}]*event="locked")[^}]*agent="support"[^}]*\} 1\b/)
  t.match(page, /mkondo_verification_locks_total\{(?=[^}]*event="refused")[^}]*\} 3\b/)
  t.match(page, /mkondo_tool_errors_total\{(?=[^}]*code="TOOL_LOCKED")[^}]*tool="verify_caller"[^}]*\} 3\b/)
  t.notMatch(page + JSON.stringify(records), /254700000001/, 'and neither names the number')
})

t.test('concurrent calls of one number get no more guesses [2]', async (t) => {
  const test = await verifyingHost(t)
  const lines = Array.from({ length: 6 }, () => callOf(test))
  await Promise.all(lines.map((line, index) => line.keys(`${index}${index}${index}1#`)))
  const errors = lines.flatMap((line) => line.errors())
  t.equal(errors.filter((code) => code === 'TOOL_UNVERIFIED').length, 3, errors.join())
  t.equal(errors.filter((code) => code === 'TOOL_LOCKED').length, 3, errors.join())
  for (const line of lines) await end(test, line)
})

t.test("a proof clears the number's wrong answers", async (t) => {
  const test = await verifyingHost(t)
  const first = callOf(test)
  await first.keys('1111#', '2222#', '7386#', '5291*')
  t.same(first.errors(), ['TOOL_UNVERIFIED', 'TOOL_UNVERIFIED', 'ok', 'ok'])
  await end(test, first)
  const second = callOf(test)
  await second.keys('1111#', '2222#')
  t.same(second.errors(), ['TOOL_UNVERIFIED', 'TOOL_UNVERIFIED'], 'it counts from the start again')
  await end(test, second)
  const withheld = callOf(test, '')
  await withheld.keys('7386#')
  t.same(withheld.errors(), ['TOOL_UNBOUND'])
  t.match((await end(test, withheld)).toolCalls, [{ ok: false, error: 'TOOL_UNBOUND' }])
  t.match(
    await test.metrics.render(),
    /mkondo_tool_errors_total\{(?=[^}]*code="TOOL_UNBOUND")[^}]*tool="verify_caller"[^}]*\} 1\b/,
  )
})

/**
 * The attack: two questions ask for one fact (the year of birth and the date of birth), so whoever knows that one fact
 * about a customer is verified by it.
 */
type VerificationInput = NonNullable<AgentInput['verification']>
type Questions = VerificationInput['questions']

const QUESTIONS = {
  year: { id: 'birth-year', ask: 'Which year?', field: 'security.birthDate', kind: 'year' },
  date: { id: 'birth-date', ask: 'Which date?', field: 'security.birthDate', kind: 'date' },
  whole: { id: 'record', ask: 'What is written?', field: 'security', kind: 'text' },
  id: { id: 'id-number', ask: 'Which number?', field: 'security.idNumber', kind: 'digits', last: 4 },
  idAgain: { id: 'id-again', ask: 'Which number, all of it?', field: 'documents.0.number', kind: 'digits' },
  yearElsewhere: { id: 'year-elsewhere', ask: 'Which year?', field: 'profile.bornIn', kind: 'digits' },
  name: { id: 'full-name', ask: 'Which name?', field: 'name', kind: 'name' },
  firstName: { id: 'first-name', ask: 'Which first name?', field: 'firstName', kind: 'text' },
  town: { id: 'town', ask: 'Which town?', field: 'town', kind: 'text' },
} as const satisfies Record<string, Questions[number]>

const ACCOUNT = {
  accountId: 'AC-1',
  name: 'Amina Odhiambo',
  firstName: 'Amina',
  town: 'Nakuru',
  profile: { bornIn: 1988 },
  security: { birthDate: '1988-04-17', idNumber: '23917386' },
  documents: [{ number: '2391 7386' }],
}
const ANSWERS: Record<string, string> = {
  'birth-year': 'nineteen eighty eight',
  'birth-date': '17 April 1988',
  'id-number': '7386',
  'id-again': '2391 7386',
  'year-elsewhere': '1988',
  'full-name': 'Amina Odhiambo',
  'first-name': 'Amina',
  town: 'Nakuru',
}

const accountApi = async (t: Test): Promise<string> => (await api(t, (_, response) => json(response, ACCOUNT))).url

const agentOf = (url: string, questions: Questions, required?: number): unknown => ({
  version: 1,
  name: 'a',
  instructions: 'x',
  verification: {
    account: { http: { url, query: { phone: '{{call.from}}' } } },
    questions,
    identity: { accountId: 'accountId' },
    ...(required === undefined ? {} : { required }),
  },
})

t.test('two questions about one field do not verify', async (t) => {
  const faults = (questions: Questions, required?: number): string[] =>
    agentSchema
      .safeParse(agentOf('http://a', questions, required))
      .error?.issues.map(({ path, message }) => `${path.join('.')} ${message}`) ?? []
  const { year, date, id, whole } = QUESTIONS
  t.match(faults([year, date]), [
    /^verification\.questions\.1\.field security\.birthDate is also the field of birth-year: questions about one field count as one/,
  ])
  t.match(
    faults([whole, date], 2),
    [/^verification\.questions\.1\.field security\.birthDate is also the field of record/],
    'a field that holds the other',
  )
  t.match(faults([id, year, date], 3), [/^verification\.questions\.2\.field/])
  t.same(faults([id, year, date]), [], 'as the other way to ask they may stand beside a third question')
  t.same(faults([year, date], 1), [])
})

t.test('the fault names file and line', async (t) => {
  const dir = t.testdir({
    'a.yaml': `version: 1
name: a
instructions: x
verification:
  account: { http: { url: 'http://a', query: { phone: '{{call.from}}' } } }
  questions:
    - { id: birth-year, ask: Which year?, field: security.birthDate, kind: year }
    - { id: birth-date, ask: Which date?, field: security.birthDate, kind: date }
  identity: { accountId: accountId }
`,
  })
  await t.rejects(loadAgents(dir, {}), {
    message: /a\.yaml:8:\d+: verification\.questions\[1\]\.field security\.birthDate is also the field of birth-year/,
  })
})

t.test('one fact does not verify through several questions', async (t) => {
  const url = await accountApi(t)
  const { year, date, id, idAgain, yearElsewhere, name, firstName, town } = QUESTIONS
  const cases: [string, Questions, boolean][] = [
    ['the year and the date of one field', [year, date, id], false],
    ['a year that lies in another field', [date, yearElsewhere, id], false],
    ['the last digits and the whole of one number, from two fields', [id, idAgain, town], false],
    ['a first name and the whole name', [firstName, name, id], false],
    ['two facts', [date, id], true],
    ['two texts that have nothing in common', [town, name], true],
  ]
  for (const [what, questions, verifies] of cases) {
    const tools = runnerOf(t, agentOf(url, questions) as AgentInput)
    const context = toolContext()
    const [first, second, third] = questions
    t.match(await tools.run('verify_caller', { question: first?.id, answer: ANSWERS[first?.id ?? ''] }, context), {
      ok: true,
      value: { verified: false },
    })
    const answer = await tools.run(
      'verify_caller',
      { question: second?.id, answer: ANSWERS[second?.id ?? ''] },
      context,
    )
    t.match(answer, { ok: true, value: { verified: verifies } }, what)
    t.equal(context.caller.verified !== null, verifies, what)
    if (third === undefined) continue
    t.match(answer, { value: { questionsLeft: [third.id] } }, 'the model is told which question still counts')
    t.match(
      await tools.run('verify_caller', { question: third.id, answer: ANSWERS[third.id] }, context),
      { ok: true, value: { verified: true } },
      'a second fact verifies',
    )
  }
})

t.test('the shipped support line asks for independent facts', async (t) => {
  const { agents } = await loadAgents(join(packageRoot(), 'agents'), { SHOP_API_URL: 'http://127.0.0.1:1' })
  const questions = agents.get('support')?.verification?.questions ?? []
  t.ok(questions.length >= 2)
  t.equal(new Set(questions.map(({ field }) => field)).size, questions.length)
  t.match(readFileSync(join(packageRoot(), 'agents/support.yaml'), 'utf8'), /lock: \{ failures: 3, minutes: 1440 \}/)
})
