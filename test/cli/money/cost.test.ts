import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { costOf, LIST_PRICES } from '../../../src/backends/prices.js'
import type { BackendUsage } from '../../../src/call/backend-events.js'
import { expectedUsage } from '../../../src/cli/money/expected-usage.js'
import type { Difference } from '../../../src/cli/money/reconcile.js'
import { dayOf, readExport } from '../../../src/cli/money/usage-exports.js'
import { simulatedApi } from '../../support/carrier-api.js'
import { command } from '../../support/command.js'
import { endedCall } from '../../support/record.js'

const MODEL = 'gpt-realtime-2.1'

/** What one call of two minutes used. */
const USAGE: BackendUsage = {
  inputTokens: 10_000,
  inputTextTokens: 4000,
  inputAudioTokens: 6000,
  inputCachedTokens: 5000,
  inputCachedAudioTokens: 3000,
  outputTokens: 2000,
  outputTextTokens: 500,
  outputAudioTokens: 1500,
  audioInMs: 120_000,
  audioOutMs: 50_000,
}
const CALL_USD = 0.214

/** `t.testdir` has one folder a test; these need several. */
function emptyFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-cost-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

interface Call {
  readonly startedAt: string
  readonly durationMs?: number
  readonly model?: string
}

/** A data folder with the records of these calls, each twice, as after an analysis. */
function folderOf(t: Test, calls: readonly Call[]): string {
  const folder = emptyFolder(t)
  mkdirSync(join(folder, 'records'))
  const records = calls.map(({ startedAt, durationMs = 120_000, model = MODEL }, i) => {
    const row = { backend: 'openai', model, amount: CALL_USD, unknown: null, usage: USAGE }
    const cost = { currency: 'USD', amount: CALL_USD, known: CALL_USD, unknown: null, models: [row] }
    return JSON.stringify({ ...endedCall({ startedAt, durationMs, cost }), callSid: `HD_call${i}` })
  })
  writeFileSync(join(folder, 'records', 'calls-2026-11-29-0001.jsonl'), `${[...records, ...records].join('\n')}\n`)
  return folder
}

const at = (day: string, time = '10:00:00'): Call => ({ startedAt: `${day}T${time}.000Z` })
const times = (count: number, call: Call): Call[] => Array.from({ length: count }, () => call)

/** Settings with which the shipped agent is answered by OpenAI. */
const openai = (dataDir: string): Record<string, string> => ({
  ...{ AUTO_BACKEND: 'openai', OPENAI_API_KEY: 'sk-test-0123456789abcdef', DATA_DIR: dataDir },
})

interface Estimated {
  readonly perCall: number | null
  readonly all: number | null
  readonly unknown: string | null
  readonly lines: readonly {
    readonly part: string
    readonly by: string
    readonly price: string
    readonly perCall: number | null
  }[]
  readonly notes: readonly string[]
}

async function estimated(env: Record<string, string>, ...more: readonly string[]) {
  const argv = ['cost', '--agent', 'order-status', '--calls', '100', '--minutes', '2', '--json', ...more]
  const { code, out, err } = await command(argv, { env })
  return { code, err, result: JSON.parse(out) as Estimated }
}

t.test("an estimate uses the agent's recorded calls", async (t) => {
  const env = openai(folderOf(t, times(20, at('2026-11-20'))))
  const { code, result } = await estimated({ ...env, CURRENCY: 'USD' })
  t.equal(code, 1, 'the carrier charges in KES, and no rate is set')
  t.match(result.unknown, /no exchange rate from KES/)
  const [model] = result.lines
  t.match(model, { part: MODEL, by: 'records', price: /^USD, read \d{4}-\d{2}-\d{2} at https:/ })
  t.equal(model?.perCall?.toFixed(4), CALL_USD.toFixed(4))
  const prices = join(emptyFolder(t), 'prices.yaml')
  writeFileSync(prices, 'currency: USD\nexchange: { readOn: 2026-11-20, rates: { KES: 100 } }\n')
  const rated = await estimated({ ...env, PRICES_FILE: prices })
  t.equal(rated.code, 0)
  // Two minutes of stream at KES 0.50.
  t.equal(rated.result.perCall?.toFixed(4), (CALL_USD + 0.01).toFixed(4))
  t.equal(rated.result.all?.toFixed(2), (100 * (CALL_USD + 0.01)).toFixed(2))
  const longer = await command(['cost', '--agent', 'order-status', '--calls', '1', '--minutes', '4'], { env })
  t.match(longer.out, /gpt-realtime-2\.1 +0\.428 /)
})

t.test('an estimate without recorded calls names its assumptions', async (t) => {
  const env = openai(folderOf(t, times(19, at('2026-11-20'))))
  const { result } = await estimated(env)
  t.match(result.lines[0], { part: MODEL, by: 'assumed' })
  t.match(
    result.notes.join('\n'),
    /assumed \(19 recorded calls of this agent, 20 are needed\): the caller speaks for 35 %/,
  )
  const other = await estimated(openai(folderOf(t, times(20, { ...at('2026-11-20'), model: 'gpt-realtime-2' }))))
  t.match(other.result.notes.join('\n'), /the recorded calls had other models/)
  const before = times(5, { ...at('2026-11-19'), model: 'gpt-realtime-2' })
  const both = await estimated(openai(folderOf(t, [...before, ...times(15, at('2026-11-20'))])))
  t.match(both.result.notes.join('\n'), /the recorded calls had other models/, 'calls of another model are not counted')
  const none = await estimated(openai(join(emptyFolder(t), 'nothing')), '--outbound')
  t.match(none.result.lines[1], { part: 'carrier: outbound call' })
})

t.test('a longer call costs more per minute', (t) => {
  const price = LIST_PRICES[MODEL]
  if (price === undefined) throw new Error('no price')
  const cost = (minutes: number): number => {
    const found = costOf(expectedUsage(MODEL, price, { minutes, promptTokens: 1000 }), price)
    return 'amount' in found ? found.amount : NaN
  }
  t.ok(cost(8) > 4.1 * cost(2), `${cost(2)} and ${cost(8)}`)
  t.ok(cost(2) > 0.02 && cost(2) < 1, `${cost(2)} USD for two minutes`)
  for (const [model, each] of Object.entries(LIST_PRICES)) {
    const found = costOf(expectedUsage(model, each, { minutes: 2, promptTokens: 1000 }), each)
    t.ok('amount' in found && found.amount > 0, model)
  }
  t.end()
})

t.test("the carrier's public prices replace the configured rates", async (t) => {
  const { server } = await simulatedApi(t)
  const env = { ...openai(emptyFolder(t)), SAUTIKIT_API_URL: server.origin }
  const { result } = await estimated(env, '--carrier-prices', '--outbound')
  t.match(result.lines[1], { part: 'carrier: outbound call', price: /the carrier's list, KES 0\.00 inbound; 3\.00/ })
  t.match(result.lines[2], { part: 'carrier: stream', price: /https:/ }, 'the list has no price for it')
  t.equal(server.seen.length, 1)
  const down = await estimated({ ...env, SAUTIKIT_API_URL: 'http://127.0.0.1:1' }, '--carrier-prices')
  t.match(down.result.notes[0], /price list was not read/)
})

t.test('days are in UTC in any time zone', (t) => {
  // In no zone that a test runs in may a day be the machine's.
  const zone = process.env['TZ']
  for (const tz of ['Africa/Nairobi', 'America/Los_Angeles']) {
    process.env['TZ'] = tz
    for (const text of [
      '2026-11-29',
      '2026-11-29T23:30:00',
      '2026-11-29 00:30:00',
      '11/29/2026',
      '11/29/2026 11:30 PM',
    ])
      t.equal(dayOf(text), '2026-11-29', `${text} in ${tz}`)
    t.equal(dayOf('2026-11-29T23:30:00-03:00'), '2026-11-30')
    t.equal(dayOf('2026-11-30 00:30:00+03'), '2026-11-29')
    t.equal(dayOf('2026-11-29 23:30:00 UTC'), '2026-11-29')
    t.equal(dayOf('1795995000'), '2026-11-29')
    t.equal(dayOf('yesterday'), null)
  }
  if (zone === undefined) delete process.env['TZ']
  else process.env['TZ'] = zone
  t.end()
})

t.test('commas are read only as thousands separators', (t) => {
  const map = { day: ['d'], model: ['m'], units: {}, times: {}, amount: 'a', currency: 'USD', models: {} }
  const amountOf = (text: string) =>
    readExport('x.csv', Buffer.from(`d;m;a\n2026-11-29;x;${text}\n`), map).rows[0]?.amount
  t.same([amountOf('1,234,567.5'), amountOf('12 500'), amountOf('0.125')], [1234567.5, 12500, 0.125])
  t.throws(() => amountOf('0,125'), { message: /line 2: a is not a number; allowed: digits with a point/ })
  t.throws(() => amountOf('1,2'), { message: /not a number/ })
  t.end()
})

t.test('missing and unknown options of cost are named', async (t) => {
  t.match(await command(['cost']), { code: 2, err: /^mkondo cost: needs --agent, --calls and --minutes, or a command/ })
  const argv = (agent: string, minutes: string) => ['cost', '--agent', agent, '--calls', '1', '--minutes', minutes]
  t.match(await command(argv('order-status', '0')), {
    code: 2,
    err: /--minutes is not a length; allowed: minutes above 0/,
  })
  t.match(await command(argv('nobody', '1')), { code: 2, err: /there is no agent 'nobody'; allowed: .*order-status/ })
})

const OPENAI_HEAD =
  'start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,service_tier,input_tokens,output_tokens,input_cached_tokens,input_audio_tokens,output_audio_tokens'

/** A row of OpenAI's usage of `calls` such calls. */
const openaiRow = (day: string, calls: number, model = `${MODEL}-2026-08-01`, more = 1): string =>
  `1,2,${day}T00:00:00+00:00,x,proj_1,${calls}.0,user_1,key_1,${model},FALSE,default,${[
    USAGE.inputTokens,
    USAGE.outputTokens,
    USAGE.inputCachedTokens ?? 0,
    USAGE.inputAudioTokens ?? 0,
    USAGE.outputAudioTokens ?? 0,
  ]
    .map((figure) => `${figure * calls * more}.0`)
    .join(',')}`

async function reconciled(t: Test, dataDir: string, csv: string, ...more: readonly string[]) {
  const file = join(emptyFolder(t), 'usage.csv')
  writeFileSync(file, csv)
  const { code, out, err } = await command(['cost', 'reconcile', file, '--json', ...more], {
    env: { DATA_DIR: dataDir },
  })
  const result =
    code === 2 ? null : (JSON.parse(out) as { readonly map: string; readonly differences: readonly Difference[] })
  return { code, err, map: result?.map, differences: result?.differences ?? [] }
}

t.test('a bill that matches the records shows no difference', async (t) => {
  const folder = folderOf(t, [...times(3, at('2026-11-20')), ...times(2, at('2026-11-21'))])
  const empty = `1,2,2026-11-22T00:00:00+00:00,x${','.repeat(12)}`
  const csv = [OPENAI_HEAD, openaiRow('2026-11-20', 3), openaiRow('2026-11-21', 2), empty].join('\r\n')
  const { code, map, differences } = await reconciled(t, folder, csv)
  t.equal(code, 0)
  t.equal(map, 'openai-usage')
  t.equal(differences.length, 15, 'five figures of two days, and their sums')
  t.ok(differences.every(({ percent }) => percent === 0))
})

t.test('a difference over five percent is reported', async (t) => {
  const folder = folderOf(t, times(10, at('2026-11-20')))
  const row = (more: number): string => [OPENAI_HEAD, openaiRow('2026-11-20', 10, MODEL, more)].join('\n')
  t.equal((await reconciled(t, folder, row(1.04))).code, 0)
  const over = await reconciled(t, folder, row(1.06))
  t.equal(over.code, 1)
  t.match(over.differences[0], { day: 'all', model: MODEL, what: 'inputTokens', isOver: true })
  t.equal(over.differences[0]?.percent?.toFixed(1), '6.0')
  t.equal((await reconciled(t, folder, row(0.9))).code, 1, 'a lower bill is a difference too')
  t.equal((await reconciled(t, folder, row(1.06), '--over', '7')).code, 0)
})

t.test('a reconciliation is stored for every process of the folder', async (t) => {
  const folder = folderOf(t, times(10, at('2026-11-20')))
  mkdirSync(join(folder, 'process-1'))
  const csv = [OPENAI_HEAD, openaiRow('2026-11-20', 10, MODEL, 1.06), openaiRow('2026-11-20', 0, 'gpt-9')].join('\n')
  await reconciled(t, folder, csv)
  for (const below of ['.', 'process-1'])
    t.match(JSON.parse(readFileSync(join(folder, below, 'usage-differences.json'), 'utf8')), {
      version: 1,
      // Five figures of the day, and five of all days.
      models: [{ model: MODEL, over: 10, overPercent: 5, from: '2026-11-20', to: '2026-11-20' }],
    })
})

t.test('billed usage without a call is reported', async (t) => {
  const csv = [OPENAI_HEAD, openaiRow('2026-11-20', 1), openaiRow('2026-11-20', 1, 'gpt-9')].join('\n')
  const { code, differences } = await reconciled(t, folderOf(t, [at('2026-11-20')]), csv)
  t.equal(code, 1)
  t.same(new Set(differences.filter(({ isOver }) => isOver).map(({ model }) => model)), new Set(['gpt-9']))
})

t.test('a call over midnight causes no difference between days', async (t) => {
  const late = { ...at('2026-11-20', '23:59:00'), durationMs: 180_000 }
  const folder = folderOf(t, [at('2026-11-20'), late, at('2026-11-21')])
  const csv = [OPENAI_HEAD, openaiRow('2026-11-20', 1.5), openaiRow('2026-11-21', 1.5)].join('\n')
  t.equal((await reconciled(t, folder, csv)).code, 0)
})

t.test("other vendors' exports are recognised by their columns", (t) => {
  const read = (csv: string) => readExport('usage.csv', Buffer.from(csv), null)
  t.same(
    read(
      'usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count\n2026-11-20,claude-haiku-4-5-20251001,key,Default,standard,≤ 200k,"1,000",20,3,400,50,0\n',
    ),
    {
      form: 'anthropic-usage',
      rows: [
        {
          ...{ day: '2026-11-20', model: 'claude-haiku-4-5', amount: null, currency: null },
          units: { inputTokens: 1423, inputCachedTokens: 400, inputCacheWriteTokens: 23, outputTokens: 50 },
        },
      ],
    },
  )
  t.match(
    read(
      'start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id\n1,2,2026-11-20T00:00:00+00:00,x,1.25,usd,"gpt-realtime-2.1-2026-08-01, audio input",p\n1,2,2026-11-20T00:00:00+00:00,x,0.75,usd,"gpt-realtime-2.1-2026-08-01, audio output",p\n1,2,2026-11-21T00:00:00+00:00,x,,,,\n',
    ),
    { form: 'openai-costs', rows: [{ day: '2026-11-20', model: MODEL, amount: 2, currency: 'USD' }] },
  )
  t.match(
    read(
      'BilledCost;BillingCurrency;ChargePeriodStart;ServiceName;SkuMeter\n3.5;EUR;2026-11-20T23:30:00-01:00;Azure AI;gpt 4o rt\n',
    ),
    { form: 'focus', rows: [{ day: '2026-11-21', model: 'gpt 4o rt', amount: 3.5, currency: 'EUR' }] },
  )
  t.end()
})

t.test('an unknown export format needs a map', async (t) => {
  const folder = folderOf(t, [at('2026-11-20')])
  const csv = `when,what,spent\n1763632800,Realtime 2.1,${CALL_USD}\n`
  const unknown = await reconciled(t, folder, csv)
  t.match(unknown, { code: 2, err: /its columns match no known export .*name them with --map .*when, what, spent/ })
  const map = join(emptyFolder(t), 'map.yaml')
  writeFileSync(map, `day: when\nmodel: what\namount: spent\nmodels: { Realtime 2.1: ${MODEL} }\n`)
  const found = await reconciled(t, folder, csv.replace('1763632800', '1795168800'), '--map', map)
  t.match(found, { code: 0, differences: [{ what: 'amount', vendor: CALL_USD, records: CALL_USD }, {}] })
  writeFileSync(map, 'day: when\nmodle: what\n')
  t.match(await reconciled(t, folder, csv, '--map', map), { code: 2, err: /map\.yaml:2 modle: / })
  writeFileSync(map, 'day: when\nmodel: what\namount: cost\n')
  t.match(await reconciled(t, folder, csv, '--map', map), { code: 2, err: /has no column cost \(amount\)/ })
  const bad = await reconciled(t, folder, `${OPENAI_HEAD}\n${openaiRow('yesterday', 1)}\n`)
  t.match(bad, { code: 2, err: /line 2: start_time_iso is not a day/ })
})
