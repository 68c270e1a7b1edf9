import {
  appendFileSync,
  closeSync,
  fdatasyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { z } from 'zod'
import { handoffSchema } from '../../src/call/documents/handoff.js'
import type { Handoff } from '../../src/call/documents/handoff.js'
import { JournalFiles } from '../../src/gateway/journal-files.js'
import { journalHeaderSchema, journalLineSchema } from '../../src/call/documents/journal.js'
import { callRecordSchema } from '../../src/call/documents/record.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { readJournal } from '../../src/call/journal/journal-reader.js'
import { diffOutputs } from '../../src/call/journal/replay-diff.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { packageRoot } from '../../src/config/package-root.js'
import { parseCallSid } from '../../src/core/ids.js'
import { maskNumbersIn } from '../../src/sautikit/phone.js'
import type { ArchiveLimits } from '../../src/telemetry/archive/archive-messages.js'
import { Archive } from '../../src/telemetry/archive/archive.js'
import { LineLog, type LogDisk } from '../../src/telemetry/archive/line-log.js'
import { maskDigits, redactRecord } from '../../src/telemetry/archive/redaction.js'
import { createLog } from '../../src/telemetry/log.js'
import { inbound, startHost, TestLine, time } from '../support/host.js'
import { endedCall } from '../support/record.js'
import { archiveLimits } from '../support/stored-file.js'
import { until } from '../support/until.js'

const DAY_MS = 86_400_000
const NOW = Date.UTC(2026, 10, 20, 12)
const options = (folder: string) => ({ folder, name: 'calls', fileBytes: 10_000 })
const callSid = (n: number) => `HD_record${String(n).padStart(4, '0')}`
const call = (n: number, more = '') => ({ callSid: callSid(n), more })

function open(folder: string, changes: object = {}, nowMs = NOW): LineLog {
  const log = new LineLog({ ...options(folder), ...changes })
  log.load(nowMs)
  return log
}

t.test('the newest form of a record is found after restarts', async (t) => {
  const folder = t.testdir()
  const first = open(folder)
  for (let n = 0; n < 20; n++) first.append(callSid(n), call(n), NOW)
  first.append(callSid(3), call(3, 'later'), NOW)
  t.same(first.find(callSid(3)), call(3, 'later'))
  first.close()

  const lines = (): string[] =>
    readdirSync(folder)
      .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n'))
      .filter((line) => line.includes(callSid(3)))
  t.equal(lines().length, 1, 'the line before is gone')
  const second = open(folder)
  second.append(callSid(3), call(3, 'later'), NOW)
  t.equal(lines().length, 1, 'also of an earlier run')
  t.same(second.find(callSid(7)), call(7))
  t.same(second.find(callSid(3)), call(3, 'later'))
  t.equal(second.find('HD_nobody'), undefined)
  t.same(second.newest(2), [call(19), call(3, 'later')])
  second.append(callSid(30), call(30), NOW)
  t.equal(readdirSync(folder).length, 2, 'each run writes a file of its own')
})

t.test('an incomplete last line is removed after crashes [3]', async (t) => {
  const folder = t.testdir()
  const log = open(folder)
  for (let n = 0; n < 5; n++) log.append(callSid(n), call(n), NOW)
  log.close()
  const path = join(folder, readdirSync(folder)[0] as string)
  appendFileSync(path, '{"callSid":"HD_torn","text":"half a')
  utimesSync(path, NOW / 1000 - 60, NOW / 1000 - 60)

  const after = open(folder)
  t.equal(after.torn, 1)
  t.same(
    after.newest(10),
    [0, 1, 2, 3, 4].map((n) => call(n)),
  )
  t.match(readFileSync(path, 'utf8'), /\n$/)

  appendFileSync(path, 'not json\n{"no":"key"}\n')
  t.equal(open(folder).unreadable, 2, 'lines of somebody else are passed over')
})

t.test('a line another process is writing is left alone', async (t) => {
  const folder = t.testdir()
  const path = join(folder, 'calls-2026-11-20-0001.jsonl')
  writeFileSync(path, '{"callSid":"HD_other"}\n{"callSid":"HD_half')
  utimesSync(path, NOW / 1000, NOW / 1000)
  const log = open(folder)
  t.equal(log.torn, 0)
  t.equal(readFileSync(path, 'utf8').length, 42)
  log.append(callSid(1), call(1), NOW)
  t.equal(readdirSync(folder).length, 2)
})

t.test('a full disk leaves no half line [1]', async (t) => {
  const folder = t.testdir()
  let room = Infinity
  const real = new LineLog({ ...options(folder) })
  const disk = diskOf((bytes) => {
    if (room === 0) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    const taken = Math.min(room, bytes)
    room -= taken
    return taken
  })
  real.load(NOW)
  const log = new LineLog({ ...options(folder), disk })
  log.load(NOW)
  log.append(callSid(1), call(1), NOW)
  room = 10
  t.throws(() => log.append(callSid(2), call(2), NOW), { code: 'ENOSPC' })
  room = Infinity
  log.append(callSid(3), call(3), NOW)
  log.close()
  const again = open(folder)
  t.same(again.newest(10), [call(1), call(3)])
  t.equal(again.unreadable + again.torn, 0)
})

t.test('files rotate by day and size and may be deleted', async (t) => {
  const folder = t.testdir()
  const log = open(folder)
  const fat = 'x'.repeat(900)
  for (let n = 0; n < 12; n++) log.append(callSid(n), call(n, fat), NOW)
  t.same(readdirSync(folder).sort(), ['calls-2026-11-20-0001.jsonl', 'calls-2026-11-20-0002.jsonl'])
  t.ok(readdirSync(folder).every((name) => statSync(join(folder, name)).size <= 10_000))
  log.append(callSid(50), call(50), NOW + DAY_MS)
  unlinkSync(join(folder, 'calls-2026-11-20-0001.jsonl'))
  t.equal(log.find(callSid(0)), undefined)
  t.same(log.find(callSid(11)), call(11, fat))
  t.same(log.newest(20).at(-1), call(50))
  log.append(callSid(200), call(200), NOW + 10 * DAY_MS)
  t.match(readdirSync(folder), [
    'calls-2026-11-20-0002.jsonl',
    'calls-2026-11-21-0001.jsonl',
    'calls-2026-11-30-0001.jsonl',
  ])
})

t.test('every acknowledged line survives failures and crashes', async (t) => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('write' as const), n: fc.nat(20), size: fc.nat(3000) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('fail' as const), n: fc.nat(20), size: fc.nat(300) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), n: fc.nat(20), size: fc.nat(300) }) },
  )
  let runs = 0
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const folder = t.testdir({ [`run${++runs}`]: {} })
      const inside = join(folder, `run${runs}`)
      let budget = Infinity
      const disk = diskOf((bytes) => {
        if (budget === 0) throw new Error('disk full')
        const taken = Math.min(budget, bytes)
        budget -= taken
        return taken
      })
      let log = new LineLog({ ...options(inside), disk })
      log.load(Date.now())
      const kept = new Map<string, unknown>()
      for (const { do: what, n, size } of steps) {
        const document = call(n, 'y'.repeat(size))
        if (what === 'crash') {
          const last = readdirSync(inside).sort().at(-1)
          if (last !== undefined) {
            appendFileSync(join(inside, last), '{"callSid":"HD_half')
            utimesSync(join(inside, last), 1, 1)
          }
          log = new LineLog({ ...options(inside), disk })
          log.load(Date.now())
          continue
        }
        budget = what === 'fail' ? 5 : Infinity
        try {
          log.append(callSid(n), document, NOW)
          kept.set(callSid(n), document)
        } catch {
          budget = Infinity
        }
      }
      const again = open(inside, {}, Date.now())
      for (const [key, document] of kept) if (JSON.stringify(again.find(key)) !== JSON.stringify(document)) return false
      return again.unreadable === 0
    }),
    { numRuns: 40 },
  )
})

t.test('words are masked or dropped as the policy requires', async (t) => {
  t.equal(maskDigits('My card is 4111 1111 1111 1111, order 4127.'), 'My card is ################, order ####.')
  t.equal(maskDigits('it is four one two seven, thank you'), 'it is ###, thank you')
  t.equal(maskDigits('one moment, one or two things'), 'one moment, one or two things')
  t.equal(maskDigits('nambari ni nne moja mbili saba'), 'nambari ni ###')
  const record = endedCall({
    transcript: [{ role: 'caller', text: 'order 4127', startMs: 0, endMs: 10 }],
    toolCalls: [{ name: 'lookup', args: { order: '4127', list: ['a 12'], n: 4127 }, startMs: 0, ms: 1, ok: true }],
    escalation: {
      reason: 'lost order 4127',
      strategy: 'supervision',
      outcome: 'answered',
      attempts: [],
      callback: null,
    },
  })
  t.equal(redactRecord(record, 'full'), record)
  const masked = redactRecord(record, 'masked')
  t.notMatch(JSON.stringify(masked), /4127|"a 12/)
  t.match(masked, {
    transcript: [{ text: 'order ####' }],
    toolCalls: [{ args: { order: '####' } }],
    escalation: { reason: 'lost order ####' },
  })
  const none = redactRecord(record, 'none')
  t.same(none.transcript, [])
  t.same(none.toolCalls[0]?.args, { order: '…', list: ['…'], n: '…' })
  t.notMatch(JSON.stringify(none), /4127|lost/)
})

interface JsonSchema {
  readonly type?: string | readonly string[]
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly format?: string
  readonly anyOf?: readonly JsonSchema[]
  readonly items?: JsonSchema
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly additionalProperties?: JsonSchema | boolean
}

/** A value of a schema in which every free text says `words`. */
function filled(schema: JsonSchema, words: string): unknown {
  const { type, enum: values, anyOf, format, items = {}, properties = {}, additionalProperties } = schema
  if (schema.const !== undefined) return schema.const
  if (values !== undefined) return values[0]
  const [first] = anyOf ?? []
  if (first !== undefined) return filled(first, words)
  switch (typeof type === 'string' ? type : type?.[0]) {
    case 'string':
      return format === undefined ? words : '2026-11-20T12:00:00.000Z'
    case 'number':
    case 'integer':
      return 1
    case 'boolean':
      return true
    case 'array':
      return [filled(items, words)]
    case 'object':
      return Object.fromEntries([
        ...Object.entries(properties).map(([name, one]) => [name, filled(one, words)]),
        ...(typeof additionalProperties === 'object' ? [['any', filled(additionalProperties, words)]] : []),
      ])
    default:
      return words
  }
}

/** Where a text still stands. */
function placesOf(value: unknown, words: string, place = ''): string[] {
  if (typeof value === 'string') return value.includes(words) ? [place] : []
  return Object.entries(Object(value) as object).flatMap(([name, one]) =>
    placesOf(one, words, /^\d+$/.test(name) ? place : place === '' ? name : `${place}.${name}`),
  )
}

t.test("no field of a redacted record has the call's words", async (t) => {
  const words = 'I lost order 4127'
  const schema = JSON.parse(
    readFileSync(join(packageRoot(), 'schema', 'call-record.schema.json'), 'utf8'),
  ) as JsonSchema
  // What it cost, its services and the carrier's part have no words of the call; the analysis is made of the redacted record.
  const { cost, wholeCost, usage, backends, resumed, carrier, outbound, analysis, ...whole } = filled(
    schema,
    words,
  ) as CallRecord
  const quoted = [
    ...['goodbye', 'ended', 'hang-up'].map((name) => ({ name, detail: `agent-goodbye: ${words}` })),
    { name: 'ended', detail: `escalated: ${words}; 412700 ms of stream, 1 of 1 turns answered` },
    { name: 'claim-unsupported', detail: `fact: no-source; ${words}` },
    { name: 'whisper', detail: words },
  ]
  const record: typeof whole = {
    ...whole,
    endReason: 'agent-goodbye',
    timeline: quoted.map((mark) => ({ ...mark, atMs: 1 })),
    stops: quoted.map(({ name, detail }) => ({ kind: 'hang-up', atMs: 1, mark: name, why: detail })),
  }
  t.ok(cost ?? wholeCost ?? usage ?? backends ?? resumed ?? carrier ?? outbound ?? analysis)
  const names = [
    ...['agent', 'agentVersion', 'backend', 'bargeIns.why', 'caller.fields', 'caller.source', 'callSid'],
    ...['claims.language', 'claims.phrase', 'claims.tool', 'escalation.attempts.detail', 'escalation.callback.number'],
    ...[
      'escalation.callback.wantedAt',
      'facts.from',
      'facts.name',
      'from',
      'handovers.from',
      'handovers.to',
      'language',
    ],
    ...['number', 'recording', 'recoveredFrom', 'rootSid', 'speech.by', 'stages.from', 'stages.stage'],
    ...['to', 'toolCalls.error', 'toolCalls.name', 'waits.tool'],
  ]
  const left = (policy: 'masked' | 'none'): string[] =>
    placesOf(redactRecord(record as CallRecord, policy), words).sort((one, other) => one.localeCompare(other))
  t.same(left('none'), names)
  t.same(
    left('masked').filter((place) => place !== 'transcript.language'),
    names,
  )
})

t.test('an end reason is masked everywhere in its record', async (t) => {
  const reason = 'lost order 4127, call 0712 345 678'
  const phrase = '4,127 shillings'
  const figures = '1200 ms of stream, 2 of 3 turns answered'
  const record = endedCall({
    toolCalls: [{ name: 'end_call', args: { reason }, startMs: 0, ms: 1, ok: true }],
    claims: [{ atMs: 1, tool: null, language: 'und', phrase, verdict: 'no-source' }],
    endDetail: reason,
    timeline: [
      { name: 'claim-unsupported', atMs: 1, detail: `fact: no-source; ${phrase}` },
      { name: 'whisper', atMs: 2, detail: 'Her order is 4127.' },
      { name: 'ended', atMs: 3, detail: `agent-goodbye: ${maskNumbersIn(reason)}; ${figures}` },
    ],
    stops: [{ kind: 'hang-up', atMs: 3, mark: 'ended', why: `agent-goodbye: ${maskNumbersIn(reason)}; ${figures}` }],
  })
  const masked = redactRecord(record, 'masked')
  t.notMatch(JSON.stringify(masked), /4127|4,127/)
  t.match(masked.endDetail, /^lost order ####, call #/)
  t.match(masked.timeline.at(-1)?.detail, new RegExp(`; ${figures}$`), 'figures stay')
  t.notMatch(JSON.stringify(redactRecord(record, 'none')), /4127|4,127|lost|shillings|Her order/)
  // Numbers in arguments are masked before.
  const elsewhere = redactRecord({ ...record, toolCalls: [] }, 'none')
  t.notMatch(JSON.stringify(elsewhere), /lost/, 'also where no tool has the same words')
})

t.test("masking a tool's reason does not change figures", async (t) => {
  const why = 'no sound in 1200 ms, 2 of 3 frames'
  const record = endedCall({
    endReason: 'caller-hung-up',
    endDetail: 'in live',
    toolCalls: [
      { name: 'reschedule_order', args: { reason: '2' }, startMs: 0, ms: 1, ok: true },
      { name: 'end_call', args: { reason: 'in' }, startMs: 0, ms: 1, ok: true },
    ],
    timeline: [
      { name: 'underrun', atMs: 1, detail: why },
      { name: 'ended', atMs: 2, detail: 'caller-hung-up: in live; 1200 ms of stream, 2 of 3 turns answered' },
    ],
    stops: [{ kind: 'drop', atMs: 1, mark: 'underrun', why }],
  })
  for (const policy of ['masked', 'none'] as const) {
    const { endDetail, timeline, stops } = redactRecord(record, policy)
    t.same({ endDetail, timeline, stops }, { endDetail: 'in live', timeline: record.timeline, stops: record.stops })
  }
})

// --- the thread ---------------------------------------------------------------------------------------------

const limits = (folder: string): ArchiveLimits => archiveLimits(folder, { fsync: 'each' })
const sid = parseCallSid

function logLines(): { readonly lines: string[]; readonly log: ReturnType<typeof createLog> } {
  const lines: string[] = []
  return { lines, log: createLog({ level: 'info', destination: { write: (line: string) => lines.push(line) } }) }
}

t.test('a separate thread writes records for the next process', async (t) => {
  const folder = t.testdir()
  const { log, lines } = logLines()
  const archive = await Archive.start(limits(folder), log)
  t.same(archive.newest, [])
  for (let n = 0; n < 50; n++) archive.keepRecord(sid(callSid(n)), call(n))
  archive.keepHandoff(sid(callSid(1)), { callSid: callSid(1), reason: 'asked' })
  t.same(await archive.find('record', callSid(49)), call(49))
  await archive.close()
  t.equal(archive.counters.written, 51)

  const next = await Archive.start(limits(folder), log)
  t.equal(next.newest.length, 50)
  t.same(await next.find('record', callSid(0)), call(0))
  t.same(await next.find('handoff', callSid(1)), { callSid: callSid(1), reason: 'asked' })
  t.equal(await next.find('handoff', callSid(2)), undefined)
  await next.close()
  t.equal(await next.find('record', callSid(0)), undefined, 'and nothing hangs after the end')
  t.same(lines, [])
})

t.test('an unwritable folder loses records but no call [2]', async (t) => {
  const folder = t.testdir({ records: 'a file where a folder should be' })
  const { log, lines } = logLines()
  const archive = await Archive.start(limits(folder), log)
  for (let n = 0; n < 1200; n++) archive.keepRecord(sid(callSid(n)), call(n))
  t.same(await archive.find('record', callSid(1199)), call(1199), 'what waits for the disk is still shown')
  await until(() => archive.counters.lost >= 200, 5000, 'the oldest to be given up')
  await archive.close()
  t.equal(archive.counters.written, 0)
  t.equal(archive.counters.lost, 1200, 'every one is counted')
  t.equal(lines.filter((line) => line.includes('"record"')).length, 1, 'one line')
})

function diskOf(take: (bytes: number) => number): LogDisk {
  return {
    open: (path) => openSync(path, 'ax'),
    write: (file, bytes, from) => writeSync(file, bytes, from, take(bytes.length - from)),
    truncate: ftruncateSync,
    sync: fdatasyncSync,
    close: closeSync,
  }
}

function published(file: string): z.ZodType {
  return z.fromJSONSchema(
    JSON.parse(readFileSync(join(packageRoot(), 'schema', file), 'utf8')) as Parameters<typeof z.fromJSONSchema>[0],
  )
}

t.test('a refusing caller leaves no recording, journal or words [4]', async (t) => {
  const dataFolder = t.testdir({})
  const log = createLog({ level: 'silent' })
  const archive = await Archive.start(limits(dataFolder), log)
  const journals = new JournalFiles(dataFolder, log, () => 0)
  const test = await startHost(
    {
      record: (...of) => archive.record(...of),
      keepJournal: (...of) => journals.append(...of),
      discardJournal: (callSid) => journals.discard(callSid),
      onHandoff: ({ handoff }) => handoffs.push(handoff),
    },
    (agent) => ({
      ...agent,
      recording: {
        ...agent.recording,
        enabled: true,
        consent: 'This call is recorded. Say no if you mind.',
        refusal: { waitMs: 6000, text: 'Nothing is kept.' },
      },
    }),
  )
  const handoffs: Handoff[] = []
  t.teardown(() => test.close())
  const live = test.host.prepare(inbound('HD_refused00001'))
  const line = new TestLine(live)
  const marked = (name: string): boolean => live.timeline().timeline.some((mark) => mark.name === name)
  line.start()
  await time.until(() => line.frames.length > 25, 10_000, 'the text about the recording')
  // A thread of its own writes it.
  await until(
    () => readdirSync(dataFolder, { recursive: true }).some((name) => /wav/.test(String(name))),
    10_000,
    'the recording',
  )
  // A no in words: test/call/greeting.test.ts. The offline dialogue knows none at its beginning.
  live.text([{ type: 'dtmf', digit: '2' }])
  await time.until(() => marked('kick-off'), 10_000, 'the conversation')
  live.escalate('the operator wants it')
  await time.until(() => handoffs.length > 0, 10_000, 'the handoff')
  line.stop()
  live.detach(1000)
  const record = await test.recordOf(live.callSid)
  await journals.closeAll()
  await archive.close()

  t.match(record, { consent: 'refused', recording: null, recordingState: 'off', transcript: [] })
  t.equal(record.agent, 'order-status', 'that there was a call is known')
  t.match(handoffs[0], { transcript: [], reason: 'the operator wants it' }, 'the human is told why')
  t.match(test.host.handoff(live.callSid), { reason: '', summary: '', identity: null, escalation: { reason: '' } })
  t.same(
    readdirSync(dataFolder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => name),
    // The mark of the retention's clock holds no data of a call.
    ['clock.json'],
  )
})

t.test('record, handoff and journal match their schemas exactly', async (t) => {
  const journal: string[] = []
  const test = await startHost({ keepJournal: (_callSid, lines) => journal.push(...lines) })
  t.teardown(() => test.close())
  const live = test.host.prepare(inbound('HD_format000001'))
  const line = new TestLine(live)
  line.start()
  await time.until(() => line.frames.length > 25, 10_000, 'the greeting')
  // Over the greeting, so that the record has a turn and a barge-in too.
  await test.say(line, 'I want to speak to a human')
  await time.until(() => test.host.handoff(live.callSid) !== undefined, 25_000, 'the handoff')
  const packet = test.host.handoff(live.callSid)
  line.stop()
  live.detach(1000)
  const record = await test.recordOf(live.callSid)

  t.match(record.cost, { currency: 'USD', amount: 0, models: [{ backend: 'embedded', model: null, unknown: null }] })
  const recordJson: unknown = JSON.parse(JSON.stringify(record))
  t.match(record, { agentVersion: /^[0-9a-f]{16}$/, recordingState: 'off' })
  t.same(callRecordSchema.parse(recordJson), recordJson, 'the record has no key that its schema does not name')
  t.ok(published('call-record.schema.json').safeParse(recordJson).success)
  t.ok(
    record.transcript.length > 1 && record.timeline.length > 2 && record.bargeIns.length > 0,
    'and the lists are not empty',
  )

  const packetJson: unknown = JSON.parse(JSON.stringify(packet))
  t.same(handoffSchema.parse(packetJson), packetJson)
  t.ok(published('handoff.schema.json').safeParse(packetJson).success)

  t.ok(journal.length > 20, `${journal.length} lines`)
  t.equal([...readJournal(journal)].length, journal.length)
  const line0: unknown = JSON.parse(journal[0] ?? '')
  t.same(journalHeaderSchema.parse(line0), line0)
  const ofFile = published('journal.schema.json')
  const kinds = new Set<string>()
  for (const text of journal) {
    const entry = JSON.parse(text) as Record<string, unknown>
    for (const kind of ['journal', 'in', 'runs', 'audio', 'identity', 'media']) if (kind in entry) kinds.add(kind)
    const parsed = journalLineSchema.safeParse(entry)
    if (!parsed.success || !ofFile.safeParse(entry).success)
      t.fail('a line that its schema refuses', { keys: Object.keys(entry) })
    else t.strictSame(parsed.data, entry)
  }
  t.ok(
    ['journal', 'in', 'runs', 'audio'].every((kind) => kinds.has(kind)),
    [...kinds].join(),
  )
  const { outputs, recorded } = replayJournal(journal)
  t.same(diffOutputs(recorded, outputs, { toleranceMs: 0 }), [], 'the journal gives the same call, to its end')
})

t.test('a record of an earlier build keeps the replayed duration', async (t) => {
  const { failover } = callRecordSchema.shape.backends.shape
  const counts = {
    ...{ failovers: 1, rotations: 0, stalls: 0, gapMsLast: 40, gapMsMax: 40, soundMsLast: 900, lostMs: 0 },
    ...{ toolsSpared: 0, lateDropped: 0, rotationsAbandoned: 0, standbysLost: 0 },
  }
  t.same(failover.parse({ ...counts, reFedMs: 1200 }), { ...counts, replayedMs: 1200 })
  t.same(failover.parse({ ...counts, replayedMs: 1200 }), { ...counts, replayedMs: 1200 })
  t.equal(failover.parse(null), null)
})

t.test('the published schemas refuse other documents', async (t) => {
  const record = published('call-record.schema.json')
  t.notOk(record.safeParse({ version: 1 }).success)
  t.notOk(published('handoff.schema.json').safeParse({ version: 2 }).success)
  const line = published('journal.schema.json')
  t.ok(line.safeParse({ t: 1, in: { type: 'timer' } }).success)
  t.ok(line.safeParse({ t: 1, in: { type: 'timer' }, later: 'added' }).success, 'keys of newer writers are allowed')
  t.notOk(line.safeParse({ t: 1, in: { type: 'no-such-input' } }).success)
  t.notOk(line.safeParse({ t: 1, runs: [-1] }).success)
  t.notOk(line.safeParse({ t: 1 }).success)
  t.notOk(line.safeParse({ journal: 4, options: {}, resume: null }).success)
  t.notOk(
    line.safeParse({ t: 1, in: { type: 'timer' }, out: [{ type: 'log', entry: { kind: 'turn', record: {} } }] })
      .success,
  )
})
