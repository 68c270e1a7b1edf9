import { Agent, request } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { EDGE_SWEEP_MS } from '../../src/core/limits.js'
import { DescriptorGuard } from '../../src/edge/descriptors.js'
import { createLog } from '../../src/telemetry/log.js'
import { until } from '../support/until.js'
import { get, newSid, ringing, startGateway } from './gateway.js'

/**
 * A process that has 100 descriptors: an eighth of them is reserved, so that 88 may be open, and fewer than 76 open the
 * port again.
 */
function guarded() {
  const state = { evictions: 0, open: 10, fault: null as string | null, resumes: 0, listening: true, refuses: false }
  const lines: string[] = []
  const guard = new DescriptorGuard({
    source: {
      limit: 100,
      count: () =>
        state.fault === null
          ? Promise.resolve(state.open)
          : Promise.reject(Object.assign(new Error('no'), { code: state.fault })),
    },
    log: createLog({ destination: { write: (line: string) => void lines.push(line) } }),
    evict: () => {
      state.evictions++
    },
    pause: () => {
      state.listening = false
    },
    resume: () => {
      state.resumes++
      if (state.refuses) return Promise.reject(new Error('the port is taken'))
      state.listening = true
      return Promise.resolve()
    },
  })
  return { state, guard, said: () => lines.map((line) => (JSON.parse(line) as { msg: string }).msg) }
}

/** A balancer keeps its connections: webhooks come by one that is open. */
function keptConnection(t: Test, url: string): () => Promise<string> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => {
    agent.destroy()
  })
  return () =>
    new Promise((resolve, reject) => {
      const body = new URLSearchParams(ringing(newSid())).toString()
      const headers = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': body.length }
      const asked = request(url, { agent, method: 'POST', headers }, (response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => {
          text += chunk.toString()
        })
        response.on('end', () => {
          resolve(text)
        })
      })
      asked.on('error', reject)
      asked.end(body)
    })
}

t.test(
  'connections that come between two looks close the port before the descriptors are gone, and it is said once',
  async (t) => {
    const { state, guard, said } = guarded()
    await guard.look()
    for (let i = 0; i < 77; i++) guard.connection(1)
    t.equal(guard.low, false)
    guard.connection(-1)
    guard.connection(1)
    t.equal(guard.low, false, 'one that went makes room for another')
    guard.connection(1)
    t.equal(guard.low, true)
    t.equal(state.listening, false)
    t.ok(state.evictions >= 12, 'from twice the reserve on, each new one was to replace an old one that sent nothing')
    guard.connection(1)
    state.open = 95
    for (let i = 0; i < 5; i++) await guard.look()
    t.same(said(), ['file descriptors run out: the public port is closed to new connections'])

    state.open = 80
    await guard.look()
    t.equal(guard.low, true, 'a few that are free do not open and close it in turns')
    state.open = 75
    await guard.look()
    t.equal(guard.low, false)
    t.equal(state.listening, true)
    t.match(said().at(-1), /available again/)
    state.open = 90
    await guard.look()
    t.equal(said().length, 3, 'and it is said again after a recovery')
    t.equal(guard.pauses, 2)
  },
)

t.test('connections that come while the open descriptors are counted close the port, too', async (t) => {
  const { state, guard } = guarded()
  await guard.look()
  for (let i = 0; i < 40; i++) guard.connection(1)
  state.open = 50
  const looks = guard.look()
  for (let i = 0; i < 37; i++) guard.connection(1)
  t.equal(guard.low, false)
  guard.connection(1)
  t.equal(guard.low, true)
  t.equal(state.listening, false)
  await looks
})

t.test('connections that come while the open descriptors are counted are not counted twice', async (t) => {
  const { state, guard } = guarded()
  await guard.look()
  for (const seen of [true, false]) {
    state.open = 10
    await guard.look()
    // The count is answered later, with those that came meanwhile or without them.
    if (seen) state.open = 50
    const looks = guard.look()
    for (let i = 0; i < 40; i++) guard.connection(1)
    await looks
    for (let i = 0; i < 37; i++) guard.connection(1)
    t.equal(guard.low, false, `87 are open, ${seen ? 'with' : 'without'} those that came in the count`)
    t.match(guard.why, /^87 of 100 file descriptors are open/)
    for (let i = 0; i < 77; i++) guard.connection(-1)
  }
  state.open = 50
  const looks = guard.look()
  for (let i = 0; i < 40; i++) guard.connection(1)
  await looks
  t.match(guard.why, /^50 of 100 /, 'none of them is left out, either')
})

t.test('connections that go while the open descriptors are counted are not taken away twice', async (t) => {
  const { state, guard } = guarded()
  state.open = 80
  await guard.look()
  state.open = 40
  const looks = guard.look()
  for (let i = 0; i < 40; i++) guard.connection(-1)
  await looks
  for (let i = 0; i < 47; i++) guard.connection(1)
  t.equal(guard.low, false)
  guard.connection(1)
  t.equal(guard.low, true, 'the 88th')
})

t.test(
  'a count that fails because no descriptor is left closes the port; any other failure changes nothing',
  async (t) => {
    const { state, guard } = guarded()
    state.fault = 'EACCES'
    await guard.look()
    t.equal(guard.low, false)
    state.fault = 'EMFILE'
    await guard.look()
    t.equal(guard.low, true)
  },
)

t.test('a port that cannot be opened again is tried at each look, and that is said once', async (t) => {
  const { state, guard, said } = guarded()
  state.open = 95
  await guard.look()
  state.open = 10
  state.refuses = true
  for (let i = 0; i < 4; i++) await guard.look()
  t.equal(state.resumes, 4)
  t.equal(said().length, 2)
  t.equal(guard.low, true)
  state.refuses = false
  await guard.look()
  t.equal(guard.low, false)
})

t.test('on a system that does not report its limit nothing is guarded', async (t) => {
  const guard = new DescriptorGuard({
    source: {
      limit: null,
      count: () => {
        throw new Error('never asked')
      },
    },
    log: createLog({ level: 'silent' }),
    evict: () => t.fail('evicted'),
    pause: () => t.fail('paused'),
    resume: () => Promise.resolve(),
  })
  for (let i = 0; i < 10_000; i++) guard.connection(1)
  await guard.look()
  t.equal(guard.low, false)
})

t.test('a call that comes by an open connection while descriptors run out hears the fallback', async (t) => {
  let open = 10
  const gateway = await startGateway(t, { descriptors: { limit: 100, count: () => Promise.resolve(open) } })
  const voice = keptConnection(t, `${gateway.url}/voice/order-status`)
  t.match(await voice(), /<Stream/)
  open = 99
  await until(
    () => gateway.logged().some(({ msg }) => /run out/.test(String(msg))),
    10 * EDGE_SWEEP_MS + 5000,
    'the guard to look',
  )
  const document = await voice()
  t.notMatch(document, /<Stream/)
  t.match(document, /<Say/)
  t.equal(await gateway.metric('mkondo_calls_refused_total{reason="file-descriptors"}'), 1)
  t.match(JSON.parse((await get(`${gateway.opsUrl}/api/refusals`)).text), {
    refusals: [{ reason: 'file-descriptors', why: /99 of 100 file descriptors are open; 88 may be/ }],
  })
})
