import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { VerificationLocks } from '../../src/agents/verification-lock.js'
import type { AgentDefinition } from '../../src/agents/definition.js'
import { loadAgents } from '../../src/agents/loader.js'
import { agentFacts } from '../../src/gateway/hosted-agents.js'
import { startShopApi } from '../../examples/shop-api/server.js'
import { TestLine, sid, startHost, until } from '../support/host.js'
import type { TestHost } from '../support/host.js'

/**
 * The attack: after a few wrong answers the caller hangs up and calls again, or many calls of one number guess at once,
 * each on another media worker, until a guess is right.
 */
t.setTimeout(60_000)

const RULE = { failures: 3, minutes: 60 }
const NUMBER = '+254700000001'

t.test('calling again gives no new attempts until the time is over', async (t) => {
  let nowMs = 0
  const locks = new VerificationLocks(() => nowMs)
  const guess = (number = NUMBER): number => {
    const left = locks.take(number, RULE)
    if (left > 0) locks.judged(number, 'wrong', RULE)
    return left
  }
  t.same([guess(), guess(), guess(), guess()], [3, 2, 1, 0])
  t.equal(guess('+254700000002'), 3, 'another number has its own attempts')
  nowMs += 59 * 60_000
  t.equal(guess(), 0, 'and trying does not make it longer')
  nowMs += 60_000
  t.same([guess(), guess(), guess(), guess()], [3, 2, 1, 0], 'as often as after an hour')
})

t.test('a call that goes on at another node brings its wrong answers with it', async (t) => {
  const [there, here] = [new VerificationLocks(() => 0), new VerificationLocks(() => 0)]
  for (let i = 0; i < 2; i++) {
    there.take(NUMBER, RULE)
    there.judged(NUMBER, 'wrong', RULE)
  }
  t.equal(there.wrong(NUMBER), 2)
  t.equal(here.wrong(NUMBER), 0)
  here.restore(NUMBER, there.wrong(NUMBER), RULE)
  t.equal(here.take(NUMBER, RULE), 1)
  here.judged(NUMBER, 'wrong', RULE)
  here.restore(NUMBER, 2, RULE)
  t.equal(here.take(NUMBER, RULE), 0, 'the higher count holds')
})

t.test('only the last wrong answer locks, and a proof clears the number', async (t) => {
  const locks = new VerificationLocks(() => 0)
  const attempt = (verdict: Parameters<VerificationLocks['judged']>[1]): boolean | null =>
    locks.take(NUMBER, RULE) > 0 ? locks.judged(NUMBER, verdict, RULE) : null
  t.same(
    [attempt('wrong'), attempt('right'), attempt('unjudged'), attempt('wrong'), attempt('verified')],
    [false, false, false, false, false],
  )
  t.same([attempt('wrong'), attempt('wrong'), attempt('wrong'), attempt('right')], [false, false, true, null])
})

t.test('guesses at once are no more than guesses one after the other', async (t) => {
  const locks = new VerificationLocks(() => 0)
  t.same(
    [1, 2, 3, 4, 5].map(() => locks.take(NUMBER, RULE)),
    [3, 2, 1, 0, 0],
    'an attempt counts before it is judged',
  )
  locks.judged(NUMBER, 'unjudged', RULE)
  t.equal(locks.take(NUMBER, RULE), 1, 'and costs nothing where nothing was compared')
})

t.test('numbers are remembered within a bound, and what is forgotten is counted', async (t) => {
  let evicted = 0
  const locks = new VerificationLocks(
    () => 0,
    () => {
      evicted++
    },
    10,
  )
  for (let i = 0; i < 25; i++) {
    locks.take(`+2547000001${i}`, RULE)
    locks.judged(`+2547000001${i}`, 'wrong', RULE)
  }
  t.equal(evicted, 15)
  for (let i = 0; i < 25; i++) {
    locks.take(`+2547000002${i}`, RULE)
    locks.judged(`+2547000002${i}`, 'right', RULE)
  }
  t.ok(evicted <= 16, 'who answers rightly takes no room')
})

/** A gateway with two media workers whose agent verifies callers by what they key in. */
async function twoWorkers(
  t: Test,
  change: (agent: AgentDefinition) => AgentDefinition = (agent) => agent,
): Promise<TestHost> {
  const shop = await startShopApi()
  const env = { SHOP_API_URL: shop.url }
  const shipped = (await loadAgents(join(packageRoot(), 'agents'), env)).agents.get('support')
  if (shipped === undefined) throw new Error('agents/support.yaml is missing')
  const definition = change(shipped)
  const backend = `module:${new URL('./keyed-proof-backend.js', import.meta.url).href}`
  const test = await startHost({
    workers: 2,
    env,
    agents: new Map([['support', { definition, facts: agentFacts(definition), backends: [backend], shadow: null }]]),
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
  const call = test.host.prepare({
    callSid: sid(`HD_lock${String(++calls).padStart(4, '0')}`),
    agent: 'support',
    from,
    to: '+254709000000',
    direction: 'inbound',
  })
  const line = new TestLine(call)
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

t.test(
  'the lock holds for the next call of the number, on whichever worker it runs, and the record and the metrics say so',
  async (t) => {
    const test = await twoWorkers(t)
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
  },
)

t.test('many calls of one number at once have no more guesses than one', async (t) => {
  const test = await twoWorkers(t)
  const lines = Array.from({ length: 6 }, () => callOf(test))
  await Promise.all(lines.map((line, index) => line.keys(`${index}${index}${index}1#`)))
  const errors = lines.flatMap((line) => line.errors())
  t.equal(errors.filter((code) => code === 'TOOL_UNVERIFIED').length, 3, errors.join())
  t.equal(errors.filter((code) => code === 'TOOL_LOCKED').length, 3, errors.join())
  for (const line of lines) await end(test, line)
})

t.test('a proof clears the wrong answers of the number, and a withheld number is never verified', async (t) => {
  const test = await twoWorkers(t)
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
