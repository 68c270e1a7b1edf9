import t from 'tap'
import type { Test } from 'tap'
import { CallLog } from '../../src/call/call-log.js'
import type { CallLogEntry } from '../../src/call/documents/log-entry.js'
import type { CallSid } from '../../src/core/ids.js'
import { CALL_TTL_MS, TRANSCRIPT_ENTRIES_MAX } from '../../src/core/limits.js'
import { CallKeeper, KEEP_EVERY_MS, STORED_CALL_BYTES_MAX } from '../../src/fleet/call-keeper.js'
import type { CallStore, OwnerToken, StoredChange } from '../../src/fleet/store/call-store.js'
import { GuardedStore } from '../../src/fleet/store/guarded-store.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { createLog } from '../../src/telemetry/log.js'
import type { KeptCall, KeptState } from '../../src/call/documents/kept-call.js'
import { sid } from '../support/host.js'
import { keptCall } from '../support/kept-call.js'

const SID = sid('HD_kept00000001')
const log = createLog({ level: 'silent' })

const said = (text: string, at = 0): CallLogEntry => ({
  kind: 'transcript',
  record: { role: 'caller', text, startMs: at, endMs: at + 1 },
})

/** State that a call has to keep, as from its half on the main thread. */
class Call {
  readonly log = new CallLog()
  readonly marks: { readonly name: string; readonly atMs: number }[] = []
  kept: KeptCall
  readonly #keeper: CallKeeper
  readonly #sid: CallSid

  constructor(keeper: CallKeeper, callSid = SID) {
    this.#keeper = keeper
    this.#sid = callSid
    this.kept = keptCall({ callSid })
    keeper.open(callSid, {
      kept: () => this.kept,
      log: () => ({ log: this.log.records(), marks: [...this.marks] }),
    })
  }

  append(...entries: CallLogEntry[]): void {
    for (const entry of entries) this.log.append(entry)
    this.#keeper.append(this.#sid, entries, [])
  }

  mark(name: string): void {
    const mark = { name, atMs: this.marks.length }
    this.marks.push(mark)
    this.#keeper.append(this.#sid, [], [mark])
  }

  change(changes: Partial<KeptCall>): void {
    this.kept = { ...this.kept, ...changes }
    this.#keeper.changed(this.#sid)
  }
}

/** A store on a clock that the test moves, that notes what was written, and can be down. */
class WatchedStore {
  memory: MemoryStore
  readonly saves: StoredChange[] = []
  /** How many calls each batch had. */
  readonly batches: number[] = []
  down = false
  readonly clock = { nowMs: 1_000_000 }

  constructor() {
    this.memory = new MemoryStore(() => this.clock.nowMs)
  }

  get store(): Pick<CallStore, 'saveAll' | 'over'> {
    const up = async (): Promise<void> => {
      await Promise.resolve()
      if (this.down) throw new Error('the store is down')
    }
    return {
      saveAll: async (writes) => {
        await up()
        this.batches.push(writes.length)
        this.saves.push(...writes.map(({ change }) => change))
        return this.memory.saveAll(writes)
      },
      over: async (key, token) => {
        await up()
        return this.memory.over(key, token)
      },
    }
  }
}

async function readKept(keeper: CallKeeper, { memory }: WatchedStore, callSid = SID): Promise<KeptState | null> {
  const entry = await memory.read(callSid)
  return entry === null ? null : keeper.opened(callSid, entry)
}

async function rig(t: Test, secrets: readonly string[] = ['secret-1'], watched = new WatchedStore(), inDoubt = false) {
  const claimed = await watched.memory.claim(SID, { node: 'node-a', incarnation: 'i1', nonce: 'n1' }, 0)
  const tokens = new Map<string, OwnerToken>([[SID, claimed.owner]])
  const lost: OwnerToken[] = []
  const keeper = new CallKeeper({
    alone: false,
    node: 'node-a',
    store: watched.store,
    secrets,
    clock: () => watched.clock.nowMs,
    log,
    tokenOf: (callSid) => tokens.get(callSid) ?? null,
    inDoubt: () => inDoubt,
    lost: (_callSid, token) => lost.push(token),
  })
  t.teardown(() => keeper.close())
  /** Time passes, and the writes that are due are made. */
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 50) {
      watched.clock.nowMs += 50
      keeper.sweep()
      for (let turn = 0; turn < 8; turn++) await Promise.resolve()
    }
  }
  return { keeper, watched, tokens, lost, pass, clock: watched.clock }
}

t.test('another node with the same secret reads a kept state', async (t) => {
  const { keeper, watched, pass } = await rig(t)
  const call = new Call(keeper)
  call.mark('webhook')
  call.append(said('Where is order five?', 10))
  await pass(50)
  call.append(said('And order six?', 20))
  call.mark('speech')
  call.change({ rehomes: 1, backendState: { step: 'order' } })
  await pass(1000)
  const { keeper: other } = await rig(t, ['secret-1'])
  const elsewhere = new CallKeeper({
    alone: false,
    node: 'node-b',
    store: watched.store,
    secrets: ['secret-1'],
    clock: () => 0,
    log,
    tokenOf: () => null,
    inDoubt: () => false,
    lost: () => undefined,
  })
  const state = await readKept(elsewhere, watched)
  t.same(state?.kept, { ...call.kept })
  t.match(state?.kept, { rehomes: 1, backendState: { step: 'order' }, node: 'node-a' })
  t.same(state?.log, call.log.records())
  t.same(state?.marks, call.marks)
  t.equal(await readKept(other, watched, sid('HD_unknown')), null)
  t.equal(watched.saves.length, 2)
  t.notOk(watched.saves[1]?.replace, 'only what is new is appended')
})

t.test('fifty changes in a second are written together', async (t) => {
  const { keeper, watched, pass } = await rig(t)
  const call = new Call(keeper)
  await pass(50)
  t.equal(watched.saves.length, 1, 'the first is written at once')
  for (let i = 0; i < 50; i++) {
    call.append(said(`word ${i}`, i))
    await pass(20)
  }
  await pass(KEEP_EVERY_MS)
  const writes = watched.saves.length - 1
  t.ok(writes >= 1 && writes <= 4, `${writes} writes in ${50 * 50 + KEEP_EVERY_MS} ms`)
  t.same((await readKept(keeper, watched))?.log.transcript.length, 50)
  await pass(60_000)
  t.equal(watched.saves.length - 1, writes, 'and none without a change')
  call.mark('quiet')
  await pass(5000)
  t.equal(watched.saves.length - 1, writes, 'a mark alone waits for the next change')
})

t.test('calls that changed in the same second share a batch', async (t) => {
  const { keeper, watched, tokens, pass } = await rig(t)
  const calls: Call[] = []
  for (let i = 0; i < 40; i++) {
    const callSid = sid(`HD_batch${String(i).padStart(6, '0')}`)
    const { owner } = await watched.memory.claim(callSid, { node: 'node-a', incarnation: 'i1', nonce: `n${i}` }, 0)
    tokens.set(callSid, owner)
    calls.push(new Call(keeper, callSid))
  }
  await pass(50)
  t.same(watched.batches.splice(0), [40])
  for (let i = 0; i < 10 * 20; i++) {
    calls[i % 40]?.append(said(`word ${i}`, i))
    await pass(50)
  }
  t.ok(watched.batches.length >= 9 && watched.batches.length <= 11, `${watched.batches.length} batches in 10 s`)
  await pass(KEEP_EVERY_MS)
  const before = watched.saves.length
  calls[0]?.append(said('a word'))
  await pass(KEEP_EVERY_MS + 50)
  t.equal(watched.saves.length, before + 1, 'a call that did not change is in none')
  calls[0]?.append(said('another word'))
  tokens.set(SID, (await watched.memory.claim(SID, { node: 'node-a', incarnation: 'i1', nonce: 'n1' }, 0)).owner)
  new Call(keeper)
  await pass(50)
  t.match(await readKept(keeper, watched), { kept: { callSid: SID } })
  for (const call of calls)
    t.same((await readKept(keeper, watched, call.kept.callSid as CallSid))?.log, call.log.records())
})

t.test('a caller of saved() gets its answer without delay', async (t) => {
  const { keeper, watched, pass, tokens, clock } = await rig(t)
  const call = new Call(keeper)
  await pass(50)
  const saved = async (): Promise<boolean | undefined> => {
    let answer: boolean | undefined
    void keeper.saved(SID).then((kept) => (answer = kept))
    await pass(100)
    return answer
  }
  call.change({ rehomes: 3 })
  const beforeMs = clock.nowMs
  t.equal(await saved(), true)
  t.ok(clock.nowMs - beforeMs < KEEP_EVERY_MS)
  t.equal((await readKept(keeper, watched))?.kept.rehomes, 3)
  watched.down = true
  t.equal(await saved(), false)
  watched.down = false
  t.equal(await saved(), true)
  await watched.memory.claim(SID, { node: 'node-b', incarnation: 'i2', nonce: 'n2' }, 1)
  t.equal(await saved(), false, 'another node has the call')
  tokens.delete(SID)
  t.equal(await saved(), false, 'nobody has claimed it')
  t.equal(await keeper.saved(sid('HD_kept00000009')), false, 'it is not here')
})

t.test('a refused batch entry affects no other call', async (t) => {
  const { keeper, watched, pass, tokens } = await rig(t)
  const saveAll = watched.memory.saveAll.bind(watched.memory)
  watched.memory.saveAll = async (writes) =>
    (await saveAll(writes)).map((answer, i) => (writes[i]?.key === SID ? ('refused' as 'lost') : answer))
  const other = sid('HD_kept00000002')
  tokens.set(other, (await watched.memory.claim(other, { node: 'node-a', incarnation: 'i1', nonce: 'n2' }, 0)).owner)
  new Call(keeper)
  new Call(keeper, other)
  await pass(50)
  t.equal(keeper.counters.written, 1)
  t.equal(keeper.counters.failed, 1)
  t.equal(keeper.counters.lost, 0)
})

t.test('the store holds no readable call data', async (t) => {
  const { keeper, watched, pass } = await rig(t)
  const call = new Call(keeper)
  call.append(said('my secret words'))
  call.change({ backendState: { heard: 'my secret words' } })
  await pass(50)
  call.append(said('more secret words'))
  await pass(1000)
  const stored = await watched.memory.read(SID)
  const bytes = Buffer.concat([stored?.state ?? Buffer.alloc(0), ...(stored?.log ?? [])])
  t.ok(bytes.length > 500)
  for (const word of ['secret', 'caller', '254700000001', 'order-status', SID, 'version'])
    t.notOk(bytes.includes(word), word)
  // Equal texts are not equal bytes.
  t.not(Buffer.from(stored?.log[0] ?? []).toString('hex'), Buffer.from(stored?.log[1] ?? []).toString('hex'))
})

t.test('a secret under replacement still opens states', async (t) => {
  const watched = new WatchedStore()
  const before = await rig(t, ['old-secret'], watched)
  new Call(before.keeper).append(said('hello'))
  await before.pass(50)
  const reader = (...secrets: string[]) =>
    readKept(
      new CallKeeper({
        alone: false,
        node: 'node-b',
        store: watched.store,
        secrets,
        clock: () => 0,
        log,
        tokenOf: () => null,
        inDoubt: () => false,
        lost: () => undefined,
      }),
      watched,
    )
  t.equal((await reader('new-secret', 'old-secret'))?.log.transcript.length, 1)
  await t.rejects(reader('new-secret'), { code: 'KEPT_CALL_INVALID', message: /another TOKEN_SECRET/ })
})

t.test('an altered, moved or foreign state is refused', async (t) => {
  const { keeper, watched, pass } = await rig(t)
  const call = new Call(keeper)
  for (let i = 0; i < 3; i++) {
    call.append(said(`word ${i}`))
    await pass(1000)
  }
  const stored = await watched.memory.read(SID)
  if (stored?.state == null || stored.log.length !== 3) throw new Error('nothing was stored')
  const { state, log: chunks } = stored
  const opened = (changes: object, callSid = SID) => keeper.opened(callSid, { ...stored, ...changes })
  const flipped = (bytes: Uint8Array, at: number): Uint8Array =>
    bytes.map((byte, i) => (i === (at + bytes.length) % bytes.length ? byte ^ 1 : byte))
  const invalid = { code: 'KEPT_CALL_INVALID' }
  t.equal(opened({})?.log.transcript.length, 3)
  for (const at of [0, 5, 20, -1]) t.throws(() => opened({ state: flipped(state, at) }), invalid, `byte ${at}`)
  t.throws(() => opened({}, sid('HD_kept00000002')), invalid, 'the state of another call')
  t.throws(() => opened({ state: chunks[0] }), invalid, 'a piece of the log in place of the state')
  t.throws(() => opened({ log: [state, ...chunks] }), invalid)
  t.throws(() => opened({ log: [flipped(chunks[0] as Uint8Array, -1), ...chunks.slice(1)] }), invalid)
  t.throws(() => opened({ state: new Uint8Array(0) }), invalid)
  t.equal(opened({ state: null }), null)
  t.equal(opened({ phase: 'over' }), null)

  // The end of the log was cut off: the rest is whole.
  const cut = [...chunks.slice(0, 2), (chunks[2] as Uint8Array).slice(0, 40)]
  t.equal(opened({ log: cut })?.log.transcript.length, 2)
  t.equal(keeper.counters.endsCutOff, 1)
  t.throws(() => opened({ log: [(chunks[0] as Uint8Array).slice(0, 40)] }), invalid, 'not without any log')
})

t.test('an unreadable state is refused without quoting it', async (t) => {
  const { keeper, watched, pass } = await rig(t)
  const call = new Call(keeper)
  const refused = async (changes: object, message: RegExp) => {
    call.change(changes)
    await pass(1000)
    await t.rejects(readKept(keeper, watched), { code: 'KEPT_CALL_INVALID', message })
  }
  await refused({ version: 2 as 1 }, /^a kept call has version 2; this build reads 1$/)
  await refused({ version: undefined as unknown as 1 }, /^a kept call has no version/)
  await refused(
    { version: 1, from: 254700000001 as unknown as string },
    /^a kept call is wrong at from \(invalid_type\)$/,
  )
  await refused({ from: '', callSid: 'HD_other' }, /of another call/)
})

t.test('an oversized log is rewritten without its oldest entries', async (t) => {
  const { keeper, watched, pass } = await rig(t)
  const call = new Call(keeper)
  for (let i = 0; i < 40; i++) call.mark('frame')
  await pass(50)
  const text = 'x'.repeat(3000)
  for (let i = 0; i < 120; i++) {
    call.append(said(`${i} ${text}`, i))
    await pass(KEEP_EVERY_MS)
    const stored = await watched.memory.read(SID)
    const bytes = [stored?.state, ...(stored?.log ?? [])].reduce((sum, piece) => sum + (piece?.length ?? 0), 0)
    if (bytes > STORED_CALL_BYTES_MAX) t.fail(`${bytes} bytes after ${i} entries`)
  }
  const state = await readKept(keeper, watched)
  const words = state?.log.transcript.map((entry) => Number(entry.text.split(' ')[0])) ?? []
  t.equal(words.at(-1), 119, 'the newest words are there')
  t.ok(words.length > 40 && words.length < 90, `${words.length} entries`)
  t.equal(state?.log.dropped.transcript, 120 - words.length, 'and it says how many are missing')
  const { rewritten, entriesDropped } = keeper.counters
  t.ok(rewritten >= 1 && rewritten < 8, `${rewritten} times, not each second`)
  t.ok(entriesDropped >= 120 - words.length)
  t.ok(120 < TRANSCRIPT_ENTRIES_MAX)
})

t.test('a backend state that is too large is left out', async (t) => {
  const { keeper, watched, pass } = await rig(t)
  new Call(keeper).change({ backendState: 'x'.repeat(STORED_CALL_BYTES_MAX) })
  await pass(50)
  t.match((await readKept(keeper, watched))?.kept, { backendState: null, callSid: SID })
  t.equal(keeper.counters.backendStatesDropped, 1)
})

t.test('the whole log is rewritten after a store outage [1]', async (t) => {
  const { keeper, watched, pass } = await rig(t)
  const call = new Call(keeper)
  call.append(said('before'))
  await pass(50)
  watched.down = true
  for (let i = 0; i < 5; i++) {
    call.append(said(`meanwhile ${i}`))
    await pass(KEEP_EVERY_MS)
  }
  t.ok(keeper.counters.failed >= 4 && keeper.counters.failed <= 6, `${keeper.counters.failed} tries in 5 s`)
  watched.down = false
  await pass(KEEP_EVERY_MS)
  t.equal(watched.saves.at(-1)?.replace, true)
  t.same((await readKept(keeper, watched))?.log, call.log.records())
  call.append(said('after'))
  await pass(KEEP_EVERY_MS)
  t.notOk(watched.saves.at(-1)?.replace, 'then only what is new')
  t.same((await readKept(keeper, watched))?.log, call.log.records())
})

t.test('a silent store delays no flush', async (t) => {
  const watched = new WatchedStore()
  const { tokens } = await rig(t, undefined, watched)
  watched.memory.saveAll = () => new Promise(() => undefined)
  const silent = new GuardedStore(watched.memory, { clock: () => performance.now(), onOp: () => undefined })
  const keeper = new CallKeeper({
    alone: false,
    node: 'node-a',
    store: silent,
    secrets: ['secret-1'],
    clock: () => performance.now(),
    log,
    tokenOf: (callSid) => tokens.get(callSid) ?? null,
    inDoubt: () => false,
    lost: () => undefined,
  })
  t.teardown(() => keeper.close())
  const call = new Call(keeper)
  call.append(said('hello'))
  await keeper.flush()
  t.equal(keeper.counters.failed, 1)
  t.equal(keeper.counters.written, 0)
})

t.test('a call taken by another node is reported once', async (t) => {
  const { keeper, watched, tokens, lost, pass } = await rig(t)
  const call = new Call(keeper)
  await pass(50)
  const taken = await watched.memory.claim(SID, { node: 'node-b', incarnation: 'i2', nonce: 'n2' }, 1)
  await watched.memory.save(SID, taken.owner, {})
  const mine = tokens.get(SID)
  for (let i = 0; i < 3; i++) {
    call.append(said(`word ${i}`))
    await pass(KEEP_EVERY_MS)
  }
  t.same(lost, [mine])
  t.equal(watched.saves.length, 2, 'the first, and the one that found out')
  void keeper.over(SID)
  await pass(KEEP_EVERY_MS)
  t.equal((await watched.memory.read(SID))?.phase, 'owned', 'and its end is not ours to tell')
})

t.test('the end of a released call is not written', async (t) => {
  const { keeper, watched, pass, tokens } = await rig(t)
  new Call(keeper)
  await pass(50)
  keeper.gaveUp(SID)
  tokens.delete(SID)
  void keeper.over(SID)
  await pass(KEEP_EVERY_MS)
  t.equal((await watched.memory.read(SID))?.phase, 'owned')
})

t.test('a call is kept once it has a token', async (t) => {
  const { keeper, watched, tokens, pass } = await rig(t)
  const token = tokens.get(SID) as OwnerToken
  tokens.delete(SID)
  const call = new Call(keeper)
  call.append(said('hello'))
  await pass(1500) // a claim that is not confirmed ends after CLAIM_TTL_MS
  t.equal(watched.saves.length, 0)
  tokens.set(SID, token)
  await pass(KEEP_EVERY_MS)
  t.same((await readKept(keeper, watched))?.log, call.log.records())
})

t.test('the state of a long quiet call does not expire', async (t) => {
  const { keeper, clock, pass, watched } = await rig(t)
  new Call(keeper)
  await pass(50)
  for (let hours = 0; hours < 4; hours += 0.25) {
    clock.nowMs += 15 * 60_000
    await pass(100)
  }
  t.ok(4 * 3_600_000 > CALL_TTL_MS)
  t.ok(await readKept(keeper, watched))
  t.ok(watched.saves.length < 12, `${watched.saves.length} writes`)
})

t.test('ending a call reports whether another node has it [2]', async (t) => {
  const { keeper, watched, tokens, pass } = await rig(t)
  new Call(keeper)
  await pass(1000)
  const token = tokens.get(SID) as OwnerToken
  // This node stood still, and another one has taken the call.
  await watched.memory.claim(SID, { node: 'node-b', incarnation: 'i2', nonce: 'n2' }, token.epoch)
  const told = keeper.over(SID)
  await pass(1000)
  t.equal(await told, 'lost')
  const { keeper: other, pass: later } = await rig(t)
  new Call(other)
  await later(1000)
  const over = other.over(SID)
  await later(1000)
  t.equal(await over, 'ok')
  const { keeper: down, watched: away, pass: meanwhile } = await rig(t)
  new Call(down)
  await meanwhile(1000)
  away.down = true
  const unheard = down.over(SID)
  await meanwhile(1000)
  t.equal(await unheard, 'unknown', 'another node may take it for a live one')
  const { keeper: stood, watched: silent, pass: still } = await rig(t, undefined, undefined, true)
  new Call(stood)
  await still(1000)
  silent.down = true
  const doubted = stood.over(SID)
  await still(1000)
  t.equal(await doubted, 'in-doubt', 'another node may have taken it')
  const { keeper: never, tokens: none } = await rig(t)
  none.clear()
  new Call(never)
  t.equal(await never.over(SID), 'unknown', 'it was never claimed: another node may have opened it as well')
})

t.test('an ended call is deleted even after a store outage', async (t) => {
  for (const down of [false, true]) {
    const { keeper, watched, pass } = await rig(t)
    const call = new Call(keeper)
    call.append(said('hello'))
    await pass(50)
    watched.down = down
    void keeper.over(SID)
    await pass(3000)
    watched.down = false
    await pass(KEEP_EVERY_MS)
    t.match(await watched.memory.read(SID), { phase: 'over', state: null, log: [] })
    t.equal(await readKept(keeper, watched), null)
    call.append(said('too late'))
    await pass(KEEP_EVERY_MS)
    t.match(await watched.memory.read(SID), { phase: 'over' })
  }
})

t.test('closing the keeper writes all pending changes', async (t) => {
  const { keeper, watched, pass } = await rig(t)
  const call = new Call(keeper)
  await pass(50)
  call.append(said('the last words'))
  await keeper.close()
  t.equal(watched.saves.length, 2)
  t.same((await readKept(keeper, watched))?.log, call.log.records())
})

t.test('a call forgotten by the store is rewritten completely', async (t) => {
  const { keeper, watched, tokens, lost, pass } = await rig(t)
  const call = new Call(keeper)
  call.append(said('before'))
  await pass(KEEP_EVERY_MS + 100)
  await watched.memory.over(SID, tokens.get(SID) as OwnerToken)
  call.append(said('after'))
  await pass(KEEP_EVERY_MS + 100)
  t.equal(lost.length, 1)
  const other = new WatchedStore()
  watched.memory = other.memory // an empty store
  const claimed = await watched.memory.claim(SID, { node: 'node-a', incarnation: 'i1', nonce: 'n2' }, 1)
  tokens.set(SID, claimed.owner)
  await pass(KEEP_EVERY_MS + 100)
  const words = (await readKept(keeper, watched))?.log.transcript.map(({ text }) => text)
  t.same(words, ['before', 'after'])
})
