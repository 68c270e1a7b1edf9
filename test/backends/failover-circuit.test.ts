import t from 'tap'
import { CircuitBreaker, Circuits, retryAfterMs } from '../../src/backends/failover/circuit-breaker.js'
import { CIRCUITS_MAX } from '../../src/core/limits.js'

t.test('after three failures in a row the circuit opens, and then one call at a time probes the backend', async (t) => {
  const breaker = new CircuitBreaker('a', { failuresToOpen: 3, openMs: 1000, openMsMax: 3000 })
  let now = 0
  const fail = (): void => breaker.enter(now).failed('network', '', now)
  fail()
  fail()
  t.equal(breaker.allows(now), true)
  fail()
  t.equal(breaker.state(now), 'open')
  t.equal(breaker.allows(now + 999), false)
  now = 1000
  t.equal(breaker.state(now), 'half-open')
  const probe = breaker.enter(now)
  t.equal(breaker.allows(now), false, 'the others wait for the probe')
  probe.failed('timeout', '', now)
  t.equal(breaker.allows(now + 1999), false, 'twice as long')
  now += 2000
  const released = breaker.enter(now)
  released.released()
  t.equal(breaker.allows(now), true, 'a probe whose caller hung up is replaced by the next call')
  breaker.enter(now)
  t.equal(breaker.allows(now + 29_999), false)
  t.equal(breaker.allows(now + 30_000), true, 'and so is one that never reports')
  const good = breaker.enter(now + 30_000)
  good.succeeded(now + 30_000)
  t.equal(breaker.state(now + 30_000), 'closed')
  t.match(breaker, { opened: 2, failures: 4, successes: 1 })
})

t.test('a success resets the count of failures', async (t) => {
  const breaker = new CircuitBreaker('a', { failuresToOpen: 2 })
  for (let i = 0; i < 5; i++) {
    breaker.enter(0).failed('internal', '', 0)
    breaker.enter(0).succeeded(0)
  }
  t.equal(breaker.state(0), 'closed')
})

t.test('a session that had answered and then died counts as failed', async (t) => {
  const breaker = new CircuitBreaker('a', { failuresToOpen: 2 })
  const passes = [breaker.enter(0), breaker.enter(0)]
  for (const pass of passes) pass.succeeded(0)
  for (const pass of passes) pass.failed('network', '', 0)
  t.equal(breaker.state(0), 'open')
  for (const pass of passes) pass.failed('network', '', 0)
  t.equal(breaker.failures, 2, 'each once')
})

t.test(
  "a wrong key or an empty account opens it at once for 5 minutes; one agent's bad request never does",
  async (t) => {
    for (const code of ['auth', 'quota'] as const) {
      const breaker = new CircuitBreaker('a')
      breaker.enter(0).failed(code, '', 0)
      t.equal(breaker.allows(299_999), false, code)
      t.equal(breaker.allows(300_000), true, code)
    }
    const breaker = new CircuitBreaker('a')
    for (let i = 0; i < 20; i++) breaker.enter(0).failed(i % 2 === 0 ? 'bad_request' : 'session_expired', '', 0)
    t.equal(breaker.state(0), 'closed')
  },
)

t.test('a service that says when to try again is not tried earlier', async (t) => {
  const breaker = new CircuitBreaker('a')
  breaker.enter(0).failed('rate_limit', 'a: Rate limit reached. Please try again in 20s.', 0)
  t.equal(breaker.allows(19_999), false)
  t.equal(breaker.allows(20_000), true)
  t.equal(retryAfterMs('Please try again in 6m0s. Visit'), 360_000)
  t.equal(retryAfterMs('try again in 820ms'), 820)
  t.equal(retryAfterMs('try again in 1.5s'), 1500)
  t.equal(retryAfterMs('HTTP 429, Retry-After: 30'), 30_000)
  t.equal(retryAfterMs('too many requests'), null)
})

t.test('live calls that fail after it opened do not keep it open longer', async (t) => {
  const breaker = new CircuitBreaker('a', { failuresToOpen: 1, openMs: 1000 })
  const live = [breaker.enter(0), breaker.enter(0), breaker.enter(0)]
  breaker.enter(0).failed('network', '', 0)
  for (const [i, pass] of live.entries()) pass.failed('network', '', i * 100)
  t.equal(breaker.allows(1000), true)
  const late = breaker.enter(0)
  late.succeeded(500)
  t.equal(breaker.state(1000), 'half-open', 'and a late success of one of them does not close it')
})

t.test('names beyond the bound share a circuit', async (t) => {
  const circuits = new Circuits()
  for (let i = 0; i < CIRCUITS_MAX + 10; i++) circuits.of(`backend-${i}`)
  t.equal(circuits.of('one more'), circuits.of('another'))
  t.equal(circuits.of('backend-3'), circuits.of('backend-3'))
  t.equal(circuits.report(0).length, CIRCUITS_MAX + 1)
})
