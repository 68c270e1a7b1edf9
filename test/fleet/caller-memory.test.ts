import t from 'tap'
import { CallerMemory } from '../../src/fleet/store/caller-memory.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { createLog } from '../../src/telemetry/log.js'

const DAY_MS = 24 * 3_600_000
const CALLER = '+254712345678'
const LINE = '+254709000000 support'
const LAST = { endedWallMs: 1_700_000_000_000, outcome: 'contained', facts: { device: 'router', ticket: 7 } }

function open(secrets = ['a secret of more than 32 characters'], store?: MemoryStore) {
  const now = { ms: LAST.endedWallMs }
  const wallClock = (): number => now.ms
  const lines: string[] = []
  const log = createLog({ level: 'debug', destination: { write: (line) => lines.push(line) } })
  const kept = store ?? new MemoryStore(wallClock)
  return { now, lines, store: kept, memory: new CallerMemory({ store: kept, secrets, wallClock, log }) }
}

t.test('the last call is remembered while records are kept', async (t) => {
  const { memory, now } = open()
  t.equal(await memory.recall(CALLER, LINE), null)
  await memory.remember(CALLER, LINE, LAST, 30 * DAY_MS)
  t.same(await memory.recall('254712345678', LINE), LAST, 'in whichever form the carrier gives the number')
  t.equal(await memory.recall(CALLER, '+254709000001 support'), null, 'another business knows nothing of it')
  t.equal(await memory.recall('+254712345679', LINE), null)
  await memory.remember(CALLER, '+254709000001 support', { ...LAST, outcome: 'failed' }, DAY_MS)
  t.match(await memory.recall(CALLER, LINE), { outcome: 'contained' })
  await memory.remember(CALLER, LINE, { ...LAST, outcome: 'escalated' }, 30 * DAY_MS)
  t.match(await memory.recall(CALLER, LINE), { outcome: 'escalated' }, 'the last one counts')
  now.ms += 2 * DAY_MS
  t.equal(await memory.recall(CALLER, '+254709000001 support'), null, 'that line keeps less')
  t.match(await memory.recall(CALLER, LINE), { outcome: 'escalated' })
  now.ms += 29 * DAY_MS
  t.equal(await memory.recall(CALLER, LINE), null)
})

t.test('at most ten lines are remembered per number', async (t) => {
  const { memory } = open()
  await memory.remember('', LINE, LAST, DAY_MS)
  t.equal(await memory.recall('', LINE), null)
  for (let i = 0; i < 12; i++) await memory.remember(CALLER, `line ${i}`, LAST, DAY_MS)
  t.equal(await memory.recall(CALLER, 'line 1'), null)
  t.same(await memory.recall(CALLER, 'line 2'), LAST)
  t.same(await memory.recall(CALLER, 'line 11'), LAST)
  t.equal((await memory.ofCaller(CALLER)).length, 10, 'all of them are named to a caller who asks')
  await memory.forget('0712 345 678')
  t.equal(await memory.recall(CALLER, 'line 11'), null)
  t.same(await memory.ofCaller(CALLER), [])
})

t.test('erasing a call forgets it on its own line only', async (t) => {
  const { memory } = open()
  await memory.remember(CALLER, LINE, { ...LAST, callSid: 'HD_one' }, DAY_MS)
  await memory.remember(CALLER, 'another', { ...LAST, callSid: 'HD_two' }, DAY_MS)
  await memory.forgetCall('HD_one')
  t.equal(await memory.recall(CALLER, LINE), null)
  t.match(await memory.recall(CALLER, 'another'), { outcome: 'contained' })
  t.match(await memory.ofCaller(CALLER), [{ line: 'another' }])
  await memory.remember(CALLER, LINE, { ...LAST, callSid: 'HD_one' }, DAY_MS)
  t.equal(await memory.recall(CALLER, LINE), null, 'also where its end was written after the erasure')
  await memory.remember(CALLER, LINE, { ...LAST, callSid: 'HD_three' }, DAY_MS)
  t.match(await memory.recall(CALLER, LINE), { callSid: 'HD_three' })
})

t.test('the next call removes leftovers of an erased call', async (t) => {
  const { memory, store } = open()
  await memory.remember(CALLER, LINE, { ...LAST, callSid: 'HD_one' }, DAY_MS)
  await memory.forgetCall('HD_one')
  await memory.remember(CALLER, 'another', { ...LAST, callSid: 'HD_two' }, DAY_MS)
  await memory.forgetCall('HD_three')
  await memory.remember(CALLER, 'a third', { ...LAST, callSid: 'HD_three' }, DAY_MS)
  // Whatever is still there comes to light where nothing says that it is erased.
  const standing = store.standing.bind(store)
  store.standing = (key) => (key.startsWith('erased:') ? Promise.resolve(null) : standing(key))
  t.match(await memory.ofCaller(CALLER), [{ line: 'another' }])
  t.equal((await memory.ofCaller(CALLER)).length, 1)
})

t.test('the store holds neither number nor words in clear', async (t) => {
  const { store, memory } = open(['the old secret of more than 32 characters'])
  const written: string[] = []
  const once = store.once.bind(store)
  store.once = (key, value, ttlMs) => {
    written.push(key, value)
    return once(key, value, ttlMs)
  }
  await memory.remember(CALLER, LINE, LAST, DAY_MS)
  t.equal(written.length, 2)
  t.notMatch(written.join(), /712345678|router|contained|support/)
  const both = ['the new secret of more than 32 characters', 'the old secret of more than 32 characters']
  t.same(await open(both, store).memory.recall(CALLER, LINE), LAST)
})

t.test('without the store a call counts as the first', async (t) => {
  const { memory, store, lines } = open()
  store.standing = () => Promise.reject(new Error('the store is away'))
  t.equal(await memory.recall(CALLER, LINE), null)
  await memory.remember(CALLER, LINE, LAST, DAY_MS)
  t.equal(memory.lost, 2)
  t.match(lines.join(''), /the memory of callers cannot be reached/)
  t.notMatch(lines.join(''), /712345678/)
  store.settle = () => Promise.reject(new Error('the store is away'))
  store.once = () => Promise.reject(new Error('the store is away'))
  await t.rejects(memory.forget(CALLER), 'an erasure does not say that it is done')
  await t.rejects(memory.forgetCall('HD_one'))
  await t.rejects(memory.ofCaller(CALLER), 'nor an export that there is nothing')
})
