import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chartRange } from '../../src/call/documents/call-charts.js'
import type { CallSearch } from '../../src/call/documents/call-search.js'
import { CALL_OUTCOMES } from '../../src/call/documents/record.js'
import { seededRandom } from '../../src/carrier/random.js'
import { CallFinder } from '../../src/telemetry/archive/index/call-finder.js'
import { createLog } from '../../src/telemetry/log.js'
import { command } from '../kit/command.js'

const HELP = `npm run bench -- --find [how]

Made records in files, indexed by the thread that a gateway has, and searched: the first page of each search, beside a plain
scan of the same files; then the charts of a month.
  --records N    1,000 to 2,000,000 records (default 1,000,000)
  --seed N       of what is in them (default 1)
Exit code: 0, 1 when a first page or the charts take longer than 100 ms, a scan is less than 100 times slower, or the index takes more
than 64 MB of memory; 2 for wrong options.`

const WHOLES = { records: [1_000_000, 1000, 2_000_000], seed: [1, 0, 1_000_000] } as const
const FILE_RECORDS = 10_000
const PAGE = 50
const PAGE_MS_MAX = 100
const TIMES_MIN = 100
const MEMORY_MB_MAX = 64
const TRIES = 5
/** Start time of the first call. The calls begin one after another. */
const FIRST_MS = Date.parse('2026-08-20T00:00:00Z')
const EVERY_MS = 7777
const MB = 1024 * 1024
const WORDS =
  'order parcel late refund where thanks paid twice Nairobi driver number shop tomorrow cancel mzigo wangu uko wapi pesa rudisha asante leo kesho bei gani nimechelewa'.split(
    ' ',
  )

/** `npm run bench -- --find`. */
export const findBench = command(HELP, { find: { type: 'boolean' } }, WHOLES, async ({ records, seed }) => {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-find-'))
  try {
    make(folder, records, seed)
    return await measure(folder, records)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

function make(folder: string, records: number, seed: number): void {
  const random = seededRandom(seed)
  const upTo = (n: number): number => Math.floor(random() * n)
  mkdirSync(join(folder, 'records'), { recursive: true })
  for (let from = 0; from < records; from += FILE_RECORDS) {
    let text = ''
    for (let at = from; at < Math.min(records, from + FILE_RECORDS); at++) {
      const words = Array.from({ length: 60 }, () => WORDS[Math.min(upTo(WORDS.length), upTo(WORDS.length))])
      const number = `+25420000${String(upTo(100)).padStart(4, '0')}`
      words.push(`order${upTo(200_000)}`)
      text += `${JSON.stringify({
        ...{
          version: 1,
          callSid: `HD_bench${at}`,
          agent: `agent-${upTo(8)}`,
          agentVersion: `v${Math.floor(at / 50_000)}`,
        },
        ...{ backend: 'embedded', direction: 'inbound', from: `+2547${String(upTo(100_000_000)).padStart(8, '0')}` },
        ...{ to: number, number, outcome: CALL_OUTCOMES[upTo(6)] },
        ...{
          endReason: 'caller-hung-up',
          startedAt: new Date(FIRST_MS + at * EVERY_MS).toISOString(),
          durationMs: upTo(300_000),
        },
        transcript: [0, 1, 2].map((turn) => ({
          role: 'caller',
          text: words.slice(turn * 21, turn * 21 + 21).join(' '),
        })),
        stages: [{ stage: `stage-${upTo(9)}` }],
        wholeCost: { currency: 'KES', known: upTo(4000) / 100 },
        analysis: { summary: 'A made call.', fields: { intent: { value: WORDS[upTo(WORDS.length)], quote: null } } },
        turns: [0, 1, 2].map(() => ({ callerStoppedMs: 0, firstSoundMs: 0, answerMs: 300 + upTo(900) + upTo(900) })),
      })}\n`
    }
    const file = String(from / FILE_RECORDS + 1).padStart(4, '0')
    appendFileSync(join(folder, 'records', `calls-2026-11-20-${file}.jsonl`), text, { mode: 0o600 })
  }
}

async function measure(folder: string, records: number): Promise<number> {
  const before = process.memoryUsage().rss
  const finder = new CallFinder([folder], createLog({ level: 'warn' }), {}, () => records)
  let peak = before
  const fromMs = performance.now()
  const find = async (search: CallSearch): Promise<number> => {
    const { hits, current } = await finder.find(search, null, PAGE, null)
    peak = Math.max(peak, process.memoryUsage().rss)
    return current ? hits.length : -1
  }
  while ((await find({ agent: 'none' })) === -1);
  const indexedS = (performance.now() - fromMs) / 1000
  const sizes = (kind: string): number =>
    readdirSync(join(folder, kind)).reduce((sum, name) => sum + statSync(join(folder, kind, name)).size, 0) / MB
  console.log(
    `${records} records of ${sizes('records').toFixed(0)} MB, indexed in ${indexedS.toFixed(0)} s: ${sizes('index').toFixed(0)} MB`,
  )
  const caller = (JSON.parse(firstLine(folder)) as { readonly from: string }).from
  const searches: readonly CallSearch[] = [
    {},
    { caller },
    { agent: 'agent-3', outcome: 'failed' },
    { agent: 'agent-3', agentVersion: 'v0', stage: 'stage-4', field: 'intent:refund' },
    { text: 'order4127' },
    { text: 'refund twice Nairobi', outcome: 'escalated' },
    { agent: 'agent-1', outcome: 'contained', minCost: 39.9 },
    { number: '+254200000042', from: '2026-08-21', to: '2026-08-25' },
    { minCost: 20, maxCost: 20.01, agentVersion: 'v1' },
  ]
  let isFine = true
  for (const search of searches) {
    const took: number[] = []
    let hits = 0
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const startMs = performance.now()
      hits = await find(search)
      took.push(performance.now() - startMs)
    }
    const worstMs = Math.max(...took)
    isFine &&= worstMs <= PAGE_MS_MAX
    console.log(
      `${JSON.stringify(search)}: ${hits} calls, first ${took[0]?.toFixed(1)} ms, ` +
        `median ${took.sort((a, b) => a - b)[TRIES >> 1]?.toFixed(1)} ms, worst ${worstMs.toFixed(1)} ms`,
    )
  }
  const range = chartRange({ over: 'month', by: 'agent' }, FIRST_MS + records * EVERY_MS)
  for (const number of [null, '+254200000042']) {
    const took: number[] = []
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const startMs = performance.now()
      await finder.chart(range, number === null ? null : [number])
      took.push(performance.now() - startMs)
    }
    const worstMs = Math.max(...took)
    isFine &&= worstMs <= PAGE_MS_MAX
    console.log(
      `charts of a month${number === null ? '' : ' of one number'}: ` +
        `median ${took.sort((a, b) => a - b)[TRIES >> 1]?.toFixed(1)} ms, worst ${worstMs.toFixed(1)} ms`,
    )
  }
  const startMs = performance.now()
  await find({ text: 'order4127' })
  const indexMs = performance.now() - startMs
  const scanFromMs = performance.now()
  const scanned = scan(folder, 'order4127')
  const scanMs = performance.now() - scanFromMs
  const memoryMb = (peak - before) / MB
  const times = scanMs / indexMs
  console.log(
    `a plain scan for "order4127": ${scanned} calls in ${(scanMs / 1000).toFixed(1)} s, ${times.toFixed(0)} x`,
  )
  console.log(`memory: ${memoryMb.toFixed(0)} MB more`)
  await finder.close()
  return isFine && times >= TIMES_MIN && memoryMb <= MEMORY_MB_MAX ? 0 : 1
}

function scan(folder: string, word: string): number {
  let found = 0
  for (const name of readdirSync(join(folder, 'records')))
    for (const line of readFileSync(join(folder, 'records', name), 'utf8').split('\n')) {
      if (line === '') continue
      const { transcript } = JSON.parse(line) as { readonly transcript: readonly { readonly text: string }[] }
      if (transcript.some(({ text }) => text.split(' ').includes(word))) found++
    }
  return found
}

function firstLine(folder: string): string {
  return readFileSync(join(folder, 'records', 'calls-2026-11-20-0001.jsonl'), 'utf8').split('\n', 1)[0] ?? ''
}
