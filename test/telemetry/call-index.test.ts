import { appendFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type * as Sqlite from 'node-sqlite3-wasm'
import t, { type Test } from 'tap'
import { chartQuerySchema, chartRange, chartsOf, figuresOf } from '../../src/call/documents/call-charts.js'
import type { ChartsView } from '../../src/call/documents/call-charts.js'
import { callSearchSchema } from '../../src/call/documents/call-search.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { maskNumber } from '../../src/sautikit/phone.js'
import { CallFinder } from '../../src/telemetry/archive/index/call-finder.js'
import { CallIndex } from '../../src/telemetry/archive/index/call-index.js'
import { Sql } from '../../src/telemetry/archive/index/sql.js'
import { eraseCalls } from '../../src/telemetry/archive/erasure.js'
import { createLog } from '../../src/telemetry/log.js'
import { endedCall } from '../support/record.js'
import { until } from '../support/until.js'

const sqlite = createRequire(import.meta.url)('node-sqlite3-wasm') as typeof Sqlite

const [WANJIRU, OTIENO, SHOP] = ['+254712345601', '+254733000144', '+254720000101']
const log = createLog({ level: 'silent' })

const said = (...texts: readonly string[]): CallRecord['transcript'] =>
  texts.map((text, index) => ({ role: index % 2 === 0 ? 'caller' : 'agent', text, startMs: index, endMs: index + 1 }))

const about = (fields: Readonly<Record<string, string | boolean>>, summary: string): CallRecord['analysis'] => ({
  ...{ model: 'm', language: 'en', summary, fault: null, cost: null },
  fields: Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, { value, quote: null }])),
})

const costing = (known: number): CallRecord['cost'] => ({
  ...{ currency: 'KES', amount: known, known, unknown: null, models: [] },
})

/** Three calls, one an hour from 9 o'clock. */
const CALLS: readonly CallRecord[] = [
  endedCall({
    ...{ callSid: 'HD_find0001', startedAt: '2026-11-20T09:00:00.000Z', from: WANJIRU, to: SHOP, number: SHOP },
    ...{
      agent: 'order-status',
      agentVersion: 'a1',
      transcript: said('Habari, mzigo wangu uko wapi?'),
      cost: costing(3),
    },
  }),
  endedCall({
    ...{
      callSid: 'HD_find0002',
      startedAt: '2026-11-20T10:00:00.000Z',
      from: maskNumber(WANJIRU),
      to: maskNumber(SHOP),
    },
    ...{ agent: 'support', agentVersion: 'b1', outcome: 'escalated', endReason: 'escalated', cost: costing(12.5) },
    stages: [{ atMs: 0, from: null, stage: 'pay', why: 'begin' }],
    analysis: about({ intent: 'Refund', resolved: false }, 'A late parcel that was paid twice.'),
  }),
  endedCall({
    ...{ callSid: 'HD_find0003', startedAt: '2026-11-20T11:00:00.000Z', direction: 'outbound', from: SHOP, to: OTIENO },
    ...{
      agent: 'support',
      agentVersion: 'b2',
      transcript: said('Hello', 'Your café order is here'),
      cost: costing(12.6),
    },
    handovers: [{ atMs: 0, from: 'support', to: 'payments', summary: '' }],
  }),
]

const lines = (records: readonly unknown[]): string => records.map((each) => `${JSON.stringify(each)}\n`).join('')

/** A data folder with records, in files by their names below `records`. */
function dataFolder(
  t: Test,
  files: Readonly<Record<string, readonly unknown[]>> = { 'calls-2026-11-20-0001.jsonl': CALLS },
): string {
  const folder = t.testdir()
  for (const [name, records] of Object.entries(files)) write(folder, name, records)
  return folder
}

function write(folder: string, name: string, records: readonly unknown[]): void {
  const path = join(folder, 'records', name)
  mkdirSync(dirname(path), { recursive: true })
  appendFileSync(path, lines(records))
}

function opened(t: Test, folder: string): CallIndex {
  const index = new CallIndex([folder])
  t.teardown(() => index.close())
  return index
}

/** The last digits of the SIDs that are found, after what is new has been indexed. */
function found(
  index: CallIndex,
  search: Readonly<Record<string, unknown>> = {},
  numbers: readonly string[] | null = null,
): string {
  while (index.follow());
  const { hits } = index.find(callSearchSchema.parse(search), null, 50, numbers)
  return hits.map(({ row }) => row.callSid.slice(-1)).join('')
}

t.test('a call is found by each of its known facts', (t) => {
  const index = opened(t, dataFolder(t))
  const cases: readonly (readonly [Readonly<Record<string, unknown>>, string])[] = [
    [{}, '321'],
    [{ caller: WANJIRU }, '21'],
    [{ caller: '0712 345 601' }, '21'],
    [{ caller: maskNumber(WANJIRU) }, '21'],
    [{ caller: OTIENO }, '3'],
    // Masked, it looks the same as Wanjiru's: by a record with the masked number alone, it may be the caller.
    [{ caller: '+254711111101' }, '2'],
    [{ number: SHOP }, '321'],
    [{ agent: 'SUPPORT' }, '32'],
    [{ agent: 'payments' }, '3'],
    [{ agentVersion: 'b1' }, '2'],
    [{ outcome: 'escalated' }, '2'],
    [{ outcome: 'contained', agent: 'support' }, '3'],
    [{ reason: 'agent-goodbye' }, '31'],
    [{ stage: 'pay' }, '2'],
    [{ field: 'intent:refund' }, '2'],
    [{ field: 'resolved:false' }, '2'],
    [{ field: 'intent:refunds' }, ''],
    [{ text: 'MZIGO wapi' }, '1'],
    [{ text: 'cafe' }, '3'],
    [{ text: 'parcel' }, '2'],
    [{ text: 'mzigo cafe' }, ''],
    [{ minCost: '12.55' }, '3'],
    [{ minCost: 3, maxCost: 12.5 }, '21'],
    [{ maxCost: 2.99 }, ''],
    [{ from: '2026-11-20T10:00:00Z' }, '32'],
    [{ to: '2026-11-20T13:00:00+03:00' }, '1'],
    [{ from: '2026-11-20', to: '2026-11-21' }, '321'],
    [{ from: '2026-11-21' }, ''],
  ]
  for (const [search, sids] of cases) t.equal(found(index, search), sids, JSON.stringify(search))
  t.equal(found(index, {}, [SHOP]), '1', 'a token of a number sees the calls that are known to be its own')
  t.equal(found(index, {}, []), '')
  t.end()
})

t.test("a spoken search term finds no other business's call", (t) => {
  // The form of the terms is public: a caller can say one, and a model can be made to write one into a summary.
  const [own, agent] = [`own=${OTIENO}`, 'agent=support'].map((term) => `zq${Buffer.from(term).toString('hex')}`)
  const spoken = endedCall({
    ...{ callSid: 'HD_spoken0001', startedAt: '2026-11-20T12:00:00.000Z', number: SHOP, agent: 'order-status' },
    transcript: said(`My code is ${own} ${agent}`),
    analysis: about({}, `${own} ${agent}`),
  })
  const index = opened(t, dataFolder(t, { 'calls-2026-11-20-0001.jsonl': [spoken] }))
  t.equal(found(index, {}, [OTIENO]), '')
  t.equal(found(index, { agent: 'support' }), '')
  t.equal(found(index, { text: 'code' }, [SHOP]), '1')
  t.equal(found(index, { text: String(own) }, [SHOP]), '1', 'it is a word like any other')
  t.end()
})

t.test("each found row is checked against the asker's rights", (t) => {
  const folder = dataFolder(t)
  const index = opened(t, folder)
  t.equal(found(index, {}, [SHOP]), '1')
  // What the index says of a call is not believed: the record at its place is another business's by now.
  const path = join(folder, 'records', 'calls-2026-11-20-0001.jsonl')
  const text = readFileSync(path, 'utf8')
  writeFileSync(path, text.replaceAll(`"number":"${SHOP}"`, `"number":"${OTIENO}"`))
  t.equal(found(index, {}, [SHOP]), '')
  t.end()
})

/** A text, words of it that find it, and words that do not. */
const SCRIPTS: Readonly<Record<string, readonly [text: string, finds: readonly string[], not: readonly string[]]>> = {
  Chinese: ['我的包裹在哪里？请查订单4127。', ['包裹', '订单', '里', '订单4127', '4127'], ['包里', '电话']],
  Japanese: ['ガソリンの注文はどこですか', ['ガソリン', '注文', 'どこ'], ['カソリン', '住所']],
  Korean: ['제 주문은 어디에 있나요', ['주문은', '어디에'], ['주문을']],
  Thai: ['พัสดุของฉันอยู่ที่ไหน', ['พัสดุ', 'อยู่', 'ที่ไหน'], ['เงินคืน']],
  Khmer: ['កញ្ចប់របស់ខ្ញុំនៅឯណា', ['កញ្ចប់', 'នៅ'], ['លុយ']],
  Amharic: ['ጥቅሌ የት ነው፧ ትዕዛዝ፡ቁጥር', ['ጥቅሌ', 'ትዕዛዝ', 'ቁጥር'], ['ጥቅል']],
  'Arabic with marks': ['أَيْنَ طَلَبِي يا مُحَمَّد', ['أين', 'اين', 'طلبي', 'محمد', 'مُحَمَّد', 'محـمد'], ['طلب']],
  Hebrew: ['שָׁלוֹם לְכֻלָּם', ['שלום', 'לכלם', 'שָׁלוֹם'], ['לכל']],
  Hindi: ['मेरा पार्सल कहाँ है', ['पार्सल', 'कहाँ'], ['पारसल', 'कह']],
  Bengali: ['আমার পার্সেল কোথায়', ['পার্সেল', 'কোথায়'], ['কোথা']],
  Tamil: ['என் பொதி எங்கே', ['பொதி', 'எங்கே'], ['பொத']],
  Persian: ['سفارش من می\u200cرسد', ['می\u200cرسد', 'میرسد'], ['رسد']],
  'Yoruba with combining marks': ['Ẹ kú o\u0323jo\u0301 ọjà', ['ẹ', 'ojo', 'ỌJÀ'], ['oj']],
  Vietnamese: ['Đơn hàng của tôi ở đâu', ['hàng', 'HANG', 'cua'], ['han']],
  'N’Ko': ['ߒ ߠߊ߫ ߞߏ߲ߕߐ', ['ߞߏ߲ߕߐ'], ['ߞߏ']],
  Adlam: ['𞤐𞤣𞤫𞤪 𞤧𞤵𞤣𞤵', ['𞤧𞤵𞤣𞤵', '𞤐𞤣𞤫𞤪'], ['𞤧𞤵']],
}

for (const [script, [text, finds, not]] of Object.entries(SCRIPTS))
  t.test(`words of ${script} are found`, (t) => {
    const record = endedCall({
      ...{ callSid: 'HD_script0001', startedAt: '2026-11-20T12:00:00.000Z', transcript: said(text) },
    })
    const index = opened(t, dataFolder(t, { 'calls-2026-11-20-0001.jsonl': [record, ...CALLS] }))
    for (const word of finds) t.equal(found(index, { text: word }), '1', word)
    for (const word of not) t.equal(found(index, { text: word }), '', `not ${word}`)
    t.equal(found(index, { text: 'mzigo' }), '1', 'and the next search finds what it looks for')
    t.end()
  })

t.test('the next statement works after one that threw', (t) => {
  const db = new sqlite.Database(':memory:')
  db.exec("CREATE VIRTUAL TABLE words USING fts5(said, detail='column')")
  const sql = new Sql(db)
  t.teardown(() => sql.close())
  const find = (expression: string): unknown => sql.all('SELECT rowid FROM words WHERE words MATCH ?', expression)
  sql.run('INSERT INTO words(rowid, said) VALUES(?, ?)', 1, 'mzigo wangu')
  t.throws(() => find('"mzigo wangu"'), /phrase queries/)
  t.same(find('"mzigo"'), [{ rowid: 1 }])
  t.throws(() => sql.run('INSERT INTO words(rowid, said) VALUES(?, ?)', 1, 'again'))
  sql.run('INSERT INTO words(rowid, said) VALUES(?, ?)', 2, 'mzigo')
  t.same(find('"mzigo"'), [{ rowid: 1 }, { rowid: 2 }])
  t.end()
})

t.test('the pages of a search list each call once', (t) => {
  const records = Array.from({ length: 25 }, (_, at) =>
    endedCall({ callSid: `HD_page${String(at).padStart(4, '0')}`, startedAt: `2026-11-20T09:00:0${at >> 3}.000Z` }),
  )
  const index = opened(t, dataFolder(t, { 'calls-2026-11-20-0001.jsonl': records }))
  while (index.follow());
  const seen: string[] = []
  for (let next: number | null = null, pages = 0; pages < 10; pages++) {
    const page = index.find({ agent: 'order-status' }, next, 4, null)
    seen.push(...page.hits.map(({ row }) => `${row.startedAt} ${row.callSid}`))
    next = page.next
    if (next === null) break
  }
  t.equal(seen.length, 25)
  t.equal(new Set(seen).size, 25)
  const times = seen.map((each) => each.slice(0, 24))
  t.same(times, [...times].sort().reverse())
  t.end()
})

t.test('a rewritten record is found once in its new form', (t) => {
  const [first, ...others] = CALLS as [CallRecord, ...CallRecord[]]
  const folder = dataFolder(t, { 'calls-2026-11-20-0001.jsonl': [first, ...others] })
  const index = opened(t, folder)
  t.equal(found(index, { outcome: 'contained' }), '31')
  write(folder, 'calls-2026-11-21-0001.jsonl', [
    { ...first, analysis: about({ intent: 'thanks' }, ''), outcome: 'abandoned' },
  ])
  t.equal(found(index, { field: 'intent:thanks' }), '1')
  t.equal(found(index, { outcome: 'contained' }), '3')
  t.equal(found(index), '321')
  t.match(index.record('HD_find0001'), { outcome: 'abandoned' })
  index.drop()
  t.equal(found(index, { outcome: 'abandoned' }), '1', 'also where the index is made anew, from the newest file on')
  t.equal(found(index), '321')
  t.end()
})

t.test('an incomplete line waits for its end', (t) => {
  const folder = dataFolder(t, {})
  const [whole = '', half = ''] = [lines(CALLS.slice(0, 1)), lines(CALLS.slice(1, 2))]
  mkdirSync(join(folder, 'records'))
  const log = join(folder, 'records', 'calls-2026-11-20-0001.jsonl')
  writeFileSync(log, whole + half.slice(0, 40))
  const index = opened(t, folder)
  t.equal(found(index), '1')
  writeFileSync(log, whole + half)
  t.equal(found(index), '21')
  t.end()
})

t.test('each of many long records is found', (t) => {
  const records = Array.from({ length: 31 }, (_, at) =>
    endedCall({ callSid: `HD_long${String(at).padStart(4, '0')}`, transcript: said('a'.repeat(300_000)) }),
  )
  const index = opened(t, dataFolder(t, { 'calls-2026-11-20-0001.jsonl': records }))
  t.equal(found(index).length, 31)
  t.end()
})

t.test('invalid lines do not stop the index', (t) => {
  const { callSid, startedAt } = CALLS[0] as CallRecord
  const index = opened(
    t,
    dataFolder(t, {
      'calls-2026-11-20-0001.jsonl': [
        7,
        {},
        { callSid, startedAt: 'x' },
        { callSid, startedAt, stages: 3 },
        { callSid, startedAt, agentVersion: {} },
        { callSid, startedAt },
      ],
    }),
  )
  t.equal(found(index), '1')
  t.equal(found(index, { agent: 'support' }), '')
  t.end()
})

t.test('an erased call leaves no word in the index', (t) => {
  const folder = dataFolder(t)
  const index = opened(t, folder)
  t.equal(found(index, { text: 'mzigo' }), '1')
  const file = (): string => readFileSync(join(folder, 'index', 'index.sqlite'), 'latin1')
  t.match(file(), 'mzigo')
  t.equal(index.forget(['HD_find0001', 'HD_unknown01']), 1)
  eraseCalls([folder], ['HD_find0001'])
  t.equal(found(index), '32')
  t.equal(found(index, { text: 'mzigo' }), '')
  t.equal(index.record('HD_find0001'), undefined)
  t.notMatch(file(), /mzigo|HD_find0001/)
  t.equal(found(index, { text: 'parcel' }), '2')
  t.end()
})

t.test('a call with an erased record is not shown', (t) => {
  const folder = dataFolder(t)
  const index = opened(t, folder)
  while (index.follow());
  eraseCalls([folder], ['HD_find0002'])
  t.equal(found(index), '31')
  t.equal(index.record('HD_find0002'), undefined)
  t.end()
})

t.test('a call deleted by retention leaves the index', (t) => {
  const folder = dataFolder(t, {
    'calls-2026-11-19-0001.jsonl': CALLS.slice(0, 1),
    'calls-2026-11-20-0001.jsonl': CALLS.slice(1),
  })
  write(folder, '../records/calls-2026-11-20-0002.jsonl', [])
  const index = opened(t, folder)
  t.equal(found(index), '321')
  rmSync(join(folder, 'records', 'calls-2026-11-19-0001.jsonl'))
  t.equal(found(index), '32')
  t.notMatch(readFileSync(join(folder, 'index', 'index.sqlite'), 'latin1'), /mzigo|HD_find0001/)
  t.end()
})

t.test("another program's line hides no record", (t) => {
  const foreign = { ...CALLS[0], callSid: 'HD_find0009', analysis: 5 }
  const folder = dataFolder(t, { 'calls-2026-11-20-0001.jsonl': CALLS })
  write(folder, 'calls-2026-11-21-0001.jsonl', [foreign])
  t.equal(found(opened(t, folder)), '321')
  t.end()
})

t.test('records in other retention folders and processes are found', (t) => {
  const folder = dataFolder(t, { 'calls-2026-11-20-0001.jsonl': CALLS.slice(0, 1) })
  write(folder, '7d/calls-2026-11-20-0001.jsonl', CALLS.slice(1, 2))
  write(join(folder, 'process-1'), 'calls-2026-11-20-0001.jsonl', CALLS.slice(2))
  const index = new CallIndex([folder, join(folder, 'process-1')])
  t.teardown(() => index.close())
  t.equal(found(index), '321')
  t.end()
})

t.test('a damaged index is built again [1]', (t) => {
  const folder = dataFolder(t)
  const file = join(folder, 'index', 'index.sqlite')
  const spoil: Readonly<Record<string, () => void>> = {
    lost: () => rmSync(join(folder, 'index'), { recursive: true }),
    'not a database': () => writeFileSync(file, 'x'.repeat(9000)),
    empty: () => writeFileSync(file, ''),
    torn: () => writeFileSync(file, readFileSync(file).fill(0xff, 4096)),
    'of another version': () => writeFileSync(file, readFileSync(file).fill(9, 60, 64)),
    'of the form with texts and terms in one column': () => {
      const bytes = readFileSync(file)
      bytes.writeUInt32BE(3, 60)
      writeFileSync(file, bytes)
    },
    'left locked by a process that died': () => mkdirSync(`${file}.lock`),
  }
  for (const [how, work] of Object.entries(spoil)) {
    const before = new CallIndex([folder])
    found(before)
    before.close()
    work()
    const index = new CallIndex([folder])
    found(index)
    t.equal(found(index, { text: 'mzigo' }), '1', how)
    t.equal(found(index), '321', how)
    index.close()
  }
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.equal(statSync(join(folder, 'index')).mode & 0o777, 0o700)
  t.end()
})

/** The charts of what is found, up to a time of the day that the calls are of. */
function charted(
  index: CallIndex,
  query: Readonly<Record<string, unknown>> = {},
  numbers: readonly string[] | null = null,
): Omit<ChartsView, 'nodes'> {
  while (index.follow());
  const range = chartRange(chartQuerySchema.parse({ to: '2026-11-20T11:30:00Z', ...query }), 0)
  return chartsOf(range, index.chart(range, numbers))
}

const answered = (...ms: readonly (number | null)[]): CallRecord['turns'] =>
  ms.map((answerMs) => ({ callerStoppedMs: 0, firstSoundMs: answerMs, answerMs }))

t.test("a chart groups an hour's calls by agent, version, number", (t) => {
  const index = opened(t, dataFolder(t))
  const { from, bucketHours, all, groups } = charted(index)
  t.same([from, bucketHours, all.buckets.length], ['2026-11-19T12:00:00.000Z', 1, 24])
  t.same(
    all.buckets.slice(-3).map(({ calls, outcomes, cost }) => [calls, outcomes, cost]),
    [
      [1, { contained: 1 }, { KES: 3 }],
      [1, { escalated: 1 }, { KES: 12.5 }],
      [1, { contained: 1 }, { KES: 12.6 }],
    ],
  )
  t.match(all.whole, { calls: 3, outcomes: { contained: 2, escalated: 1 }, answers: 0, answerP50Ms: null })
  t.equal(all.whole.cost['KES'], 28.1, 'to the cent')
  const calls = (query: object, numbers: readonly string[] | null = null): string =>
    charted(index, { ...query }, numbers)
      .groups.map(({ name, whole }) => `${name} ${whole.calls}`)
      .join(', ')
  t.same(
    groups.map(({ name }) => name),
    ['support', 'order-status'],
  )
  t.equal(calls({ by: 'agentVersion', agent: 'support' }), 'b1 1, b2 1')
  t.equal(calls({ agentVersion: 'b2' }), 'support 1')
  t.equal(calls({}, [SHOP]), 'order-status 1', 'of a number that its record names')
  t.equal(calls({}, [OTIENO]), '')
  t.equal(calls({ to: '2026-11-20T10:00:00Z' }), 'order-status 1', 'what began later is not in it')
  t.equal(calls({ over: 'week', to: '2026-11-26' }), 'support 2, order-status 1')
  t.equal(calls({ over: 'month', to: '2026-10-20' }), '')
  t.end()
})

t.test('percentiles cover the turns of all nodes together', (t) => {
  const range = chartRange(chartQuerySchema.parse({ to: '2026-11-20T09:30:00Z' }), 0)
  const times = Array.from({ length: 100 }, (_, at) => 300 + at * 20)
  const groups = [times.slice(0, 80), times.slice(80)].map((ofNode) => {
    const record = endedCall({ startedAt: '2026-11-20T09:00:00.000Z', turns: answered(...ofNode, null) })
    return { name: 'support', buckets: [...Array.from({ length: 23 }, () => ({})), figuresOf(record)] }
  })
  const { answers, answerP50Ms, answerP95Ms } = chartsOf(range, groups).all.whole
  t.equal(answers, 100, 'turns without an answer are left out')
  for (const [is, ms] of [
    [answerP50Ms, times[49]],
    [answerP95Ms, times[94]],
  ] as const)
    t.ok(Math.abs((is ?? 0) / (ms ?? 1) - 1) < 0.045, `${is} for ${ms}`)
  t.end()
})

t.test('erased and deleted calls leave the charts', (t) => {
  const folder = dataFolder(t, {
    'calls-2026-11-19-0001.jsonl': CALLS.slice(0, 1),
    'calls-2026-11-20-0001.jsonl': CALLS.slice(1),
  })
  const index = opened(t, folder)
  const calls = (): string => {
    const { all, groups } = charted(index)
    return `${all.whole.calls}: ${groups.map(({ name, whole }) => `${name} ${JSON.stringify(whole.cost)}`).join(', ')}`
  }
  t.equal(calls(), '3: support {"KES":25.1}, order-status {"KES":3}')
  // The carrier's bill has come.
  write(folder, 'calls-2026-11-20-0002.jsonl', [{ ...CALLS[1], outcome: 'failed', cost: costing(20) }])
  t.equal(calls(), '3: support {"KES":32.6}, order-status {"KES":3}')
  t.match(charted(index).all.whole.outcomes, { contained: 2, failed: 1 })
  index.forget(['HD_find0003'])
  eraseCalls([folder], ['HD_find0003'])
  t.equal(calls(), '2: order-status {"KES":3}, support {"KES":20}')
  rmSync(join(folder, 'records', 'calls-2026-11-19-0001.jsonl'))
  t.equal(calls(), '1: support {"KES":20}')
  t.notMatch(readFileSync(join(folder, 'index', 'index.sqlite'), 'latin1'), /order-status/)
  t.end()
})

t.test('the usual times come from the earlier calls', (t) => {
  const greetings = [100, 200, 300, 400].map((greetingMs, hour) =>
    endedCall({ callSid: `HD_usual000${hour}`, startedAt: `2026-11-20T0${hour}:00:00.000Z`, greetingMs }),
  )
  const other = endedCall({ callSid: 'HD_usual0009', startedAt: '2026-11-20T00:30:00.000Z', agent: 'support' })
  const index = opened(t, dataFolder(t, { 'calls-2026-11-20-0001.jsonl': [...greetings, other] }))
  t.equal(index.usual('order-status', Date.now()).calls, 0, 'nothing is indexed yet')
  while (index.follow());
  const usual = index.usual('order-status', Date.parse('2026-11-20T03:00:00.000Z'))
  t.same(usual, { calls: 3, of: { greeting: { values: 3, p50Ms: 200, p95Ms: 300 } } })
  t.equal(index.usual('nobody', Date.now()).calls, 0)
  t.end()
})

t.test('charts show the busiest agents and combine the others', (t) => {
  const records = Array.from({ length: 60 }, (_, at) =>
    endedCall({
      callSid: `HD_many${String(at).padStart(4, '0')}`,
      startedAt: '2026-11-20T09:00:00.000Z',
      agent: at < 2 ? 'busy' : `agent-${at}`,
    }),
  )
  const { all, groups } = charted(opened(t, dataFolder(t, { 'calls-2026-11-20-0001.jsonl': records })))
  t.equal(all.whole.calls, 60)
  t.equal(groups.length, 13)
  t.match(groups[0], { name: 'busy', whole: { calls: 2 } })
  t.match(groups.at(-1), { name: null, whole: { calls: 60 - 2 - 11 } })
  t.end()
})

t.test('excess searches are refused at once and counted [3]', async (t) => {
  const finder = new CallFinder([dataFolder(t)], log, {}, () => 0)
  t.teardown(() => finder.close())
  const answers = await Promise.allSettled(
    Array.from({ length: 40 }, () => finder.find({ agent: 'support' }, null, 10, null)),
  )
  const fine = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
  t.equal(fine.length, 32)
  t.ok(fine.every(({ hits }) => hits.length === 2))
  t.equal(finder.refused, 8)
  t.match(answers.at(-1), { reason: { code: 'CAPACITY' } })
})

t.test('an unwritable index fails only the search [2]', async (t) => {
  const folder = dataFolder(t)
  writeFileSync(join(folder, 'index'), 'a file in the place of the folder')
  const finder = new CallFinder([folder], log, {}, () => 0)
  t.teardown(() => finder.close())
  await t.rejects(finder.find({}, null, 10, null), { code: 'STORAGE' })
  rmSync(join(folder, 'index'))
  const hits = async (): Promise<number> => {
    const answer = await finder.find({}, null, 10, null).catch(() => null)
    return answer?.hits.length ?? 0
  }
  await until(async () => (await hits()) === 3, 10_000, 'the index')
  await finder.forget(['HD_find0001'])
  t.equal((await finder.find({}, null, 10, null)).hits.length, 2)
})

t.test('the index thread ends when it is unused', async (t) => {
  const folder = dataFolder(t)
  const threads = (): number => process.getActiveResourcesInfo().filter((name) => name === 'MessagePort').length
  // Threads of earlier tests may still be ending.
  let [before, equal] = [threads(), 0]
  const isSettled = (): boolean => {
    equal = threads() === before ? equal + 1 : 0
    before = threads()
    return equal === 20
  }
  await until(isSettled, 10_000, 'the ends of the threads of earlier tests')
  let changes = 0
  // A busy machine may look half a second after the answer.
  const finder = new CallFinder([folder], log, {}, () => changes, { followMs: 5, restMs: 1000 })
  t.teardown(() => finder.close())
  t.equal((await finder.find({}, null, 10, null)).hits.length, 3)
  t.ok(threads() > before)
  await until(() => threads() === before, 10_000, 'its end')
  t.equal((await finder.find({}, null, 10, null)).hits.length, 3, 'it left no lock')
  await until(() => threads() === before, 10_000, 'its end')
  changes++
  finder.current = false
  await until(() => finder.current, 10_000, 'its start for a new record')
})

t.test('an invalid search is refused without repeating its text', (t) => {
  const issue = (search: object): string => JSON.stringify(callSearchSchema.safeParse(search).error?.issues ?? 'fine')
  t.match(issue({ outcome: 'fine' }), /outcome.*contained/)
  t.match(issue({ minCost: 'much' }), 'minCost')
  t.match(issue({ from: 'yesterday' }), 'from')
  t.match(issue({ text: '?!' }), 'at least one word')
  t.match(issue({ text: 'a '.repeat(21) }), 'at most 20 words')
  t.notMatch(issue({ caller: '+254712345601'.repeat(20) }), '254712')
  t.equal(issue({ caller: '+254712345601' }), '"fine"')
  t.end()
})
