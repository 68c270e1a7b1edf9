import { Agent, request } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { EDGE_SWEEP_MS } from '../../src/core/limits.js'
import { DESCRIPTORS_COUNT_MS, DescriptorGuard } from '../../src/edge/descriptors.js'
import { createLog } from '../../src/telemetry/log.js'
import { until } from '../support/until.js'
import { get, newSid, ringing, startGateway } from './gateway.js'

/**
 * A process that has 100 descriptors: an eighth of them is reserved, so that 88 may be open, and fewer than 76 open the
 * port again.
 */
function guarded() {
  const state = {
    evictions: 0,
    open: 10,
    counts: 0,
    fault: null as string | null,
    resumes: 0,
    listening: true,
    refuses: false,
  }
  const lines: string[] = []
  const guard = new DescriptorGuard({
    source: {
      limit: 100,
      count: () => {
        state.counts++
        return state.fault === null
          ? Promise.resolve(state.open)
          : Promise.reject(Object.assign(new Error('no'), { code: state.fault }))
      },
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
  let nowMs = 0
  /** The next look at which it is counted. */
  const look = (): Promise<void> => guard.look((nowMs += DESCRIPTORS_COUNT_MS))
  return { state, guard, look, said: () => lines.map((line) => (JSON.parse(line) as { msg: string }).msg) }
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

t.test('new connections close the port before descriptors run out', async (t) => {
  const { state, guard, look, said } = guarded()
  await look()
  for (let i = 0; i < 77; i++) guard.connection(1)
  t.equal(guard.low, false)
  guard.connection(-1)
  guard.connection(1)
  t.equal(guard.low, false, 'a closed connection makes room for another')
  guard.connection(1)
  t.equal(guard.low, true)
  t.equal(state.listening, false)
  t.ok(state.evictions >= 12, 'idle connections are evicted near the limit')
  guard.connection(1)
  state.open = 95
  for (let i = 0; i < 5; i++) await look()
  t.same(said(), ['file descriptors run out: the public port is closed to new connections'])

  state.open = 80
  await look()
  t.equal(guard.low, true, 'the port stays closed until enough are free')
  state.open = 75
  await look()
  t.equal(guard.low, false)
  t.equal(state.listening, true)
  t.match(said().at(-1), /available again/)
  state.open = 90
  await look()
  t.equal(said().length, 3, 'a second shortage is logged again')
  t.equal(guard.pauses, 2)
})

t.test('connections during a count close the port too', async (t) => {
  const { state, guard, look } = guarded()
  await look()
  for (let i = 0; i < 40; i++) guard.connection(1)
  state.open = 50
  const looks = look()
  for (let i = 0; i < 37; i++) guard.connection(1)
  t.equal(guard.low, false)
  guard.connection(1)
  t.equal(guard.low, true)
  t.equal(state.listening, false)
  await looks
})

t.test('connections during a count are not counted twice', async (t) => {
  const { state, guard, look } = guarded()
  await look()
  for (const seen of [true, false]) {
    state.open = 10
    await look()
    // The count is answered later, with those that came meanwhile or without them.
    if (seen) state.open = 50
    const looks = look()
    for (let i = 0; i < 40; i++) guard.connection(1)
    await looks
    for (let i = 0; i < 37; i++) guard.connection(1)
    t.equal(guard.low, false, `87 are open, ${seen ? 'with' : 'without'} those that came in the count`)
    t.match(guard.why, /^87 of 100 file descriptors are open/)
    for (let i = 0; i < 77; i++) guard.connection(-1)
  }
  state.open = 50
  const looks = look()
  for (let i = 0; i < 40; i++) guard.connection(1)
  await looks
  t.match(guard.why, /^50 of 100 /, 'none is left out of the count')
})

t.test('connections closed during a count are not subtracted twice', async (t) => {
  const { state, guard, look } = guarded()
  state.open = 80
  await look()
  state.open = 40
  const looks = look()
  for (let i = 0; i < 40; i++) guard.connection(-1)
  await looks
  for (let i = 0; i < 47; i++) guard.connection(1)
  t.equal(guard.low, false)
  guard.connection(1)
  t.equal(guard.low, true, 'the 88th')
})

t.test('only a count that fails with EMFILE closes the port', async (t) => {
  const { state, guard, look } = guarded()
  state.fault = 'EACCES'
  await look()
  t.equal(guard.low, false)
  state.fault = 'EMFILE'
  await look()
  t.equal(guard.low, true)
})

t.test('reopening the port is retried at each sweep, logged once', async (t) => {
  const { state, guard, look, said } = guarded()
  state.open = 95
  await look()
  state.open = 10
  state.refuses = true
  for (let i = 0; i < 4; i++) await look()
  t.equal(state.resumes, 4)
  t.equal(said().length, 2)
  t.equal(guard.low, true)
  state.refuses = false
  await look()
  t.equal(guard.low, false)
})

t.test('descriptors are counted each second, more often above half', async (t) => {
  const { state, guard } = guarded()
  let nowMs = 0
  const countsIn = async (ms: number): Promise<number> => {
    const before = state.counts
    for (const untilMs = nowMs + ms; nowMs < untilMs; nowMs += EDGE_SWEEP_MS) await guard.look(nowMs)
    return state.counts - before
  }
  t.equal(await countsIn(10_000), 10)
  for (let i = 0; i < 40; i++) guard.connection(1)
  state.open = 50
  t.equal(await countsIn(10_000), 10_000 / EDGE_SWEEP_MS, 'new connections cause a count at each sweep')
  state.open = 95
  await countsIn(EDGE_SWEEP_MS)
  t.equal(guard.low, true)
  state.open = 10
  await countsIn(EDGE_SWEEP_MS)
  t.equal(guard.low, false, 'a closed port reopens at the next sweep')
})

t.test('without a known limit the guard does nothing', async (t) => {
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
  await guard.look(0)
  t.equal(guard.low, false)
})

t.test('a call without free descriptors hears the fallback [1]', async (t) => {
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
    refusals: [{ reason: 'file-descriptors', why: /99 of 100 file descriptors are open; at most 88 may be open/ }],
  })
})
