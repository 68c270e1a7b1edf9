import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { timelineJsonSchema } from '../../src/call/documents/call-view.js'
import { handoffJsonSchema, handoffSchema } from '../../src/call/documents/handoff.js'
import { journalHeaderSchema, journalJsonSchema, journalLineSchema } from '../../src/call/documents/journal.js'
import { callRecordJsonSchema, callRecordSchema } from '../../src/call/documents/record.js'
import { readJournal } from '../../src/call/journal/journal-reader.js'
import { diffOutputs } from '../../src/call/journal/replay-diff.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { packageRoot } from '../../src/config/package-root.js'
import { parseCallSid } from '../../src/core/ids.js'
import { fleetStatusJsonSchema } from '../../src/fleet/fleet-status.js'
import { TestLine, callerSays, startHost, until } from '../support/host.js'

const PUBLISHED = [
  { file: 'call-record.schema.json', current: callRecordJsonSchema },
  { file: 'handoff.schema.json', current: handoffJsonSchema },
  { file: 'timeline.schema.json', current: timelineJsonSchema },
  { file: 'journal.schema.json', current: journalJsonSchema },
  { file: 'fleet.schema.json', current: fleetStatusJsonSchema },
]

function published(file: string): z.ZodType {
  return z.fromJSONSchema(
    JSON.parse(readFileSync(join(packageRoot(), 'schema', file), 'utf8')) as Parameters<typeof z.fromJSONSchema>[0],
  )
}

for (const { file, current } of PUBLISHED) {
  t.test(`schema/${file} is the one that the types of this build have`, async (t) => {
    const path = join(packageRoot(), 'schema', file)
    const json = `${JSON.stringify(current(), null, 2)}\n`
    if (process.env['UPDATE_SCHEMA'] === '1') writeFileSync(path, json)
    t.equal(readFileSync(path, 'utf8'), json, `run this test with UPDATE_SCHEMA=1 and commit schema/${file}`)
  })
}

t.test("a call's record, handoff and journal are what their schemas say, key for key", async (t) => {
  const journal: string[] = []
  const test = await startHost({ keepJournal: (_callSid, lines) => journal.push(...lines) })
  t.teardown(() => test.close())
  const live = test.host.prepare({
    callSid: parseCallSid('HD_format000001'),
    agent: 'order-status',
    from: '+254700000001',
    to: '+254709000000',
    direction: 'inbound',
  })
  const line = new TestLine(live)
  line.start()
  await until(() => line.frames.length > 25, 10_000, 'the greeting')
  // Speaks over the greeting, so that the record has a turn and a barge-in too.
  line.say(await callerSays('I want to speak to a human'))
  await until(() => test.host.handoff(live.callSid) !== undefined, 25_000, 'the handoff')
  const packet = test.host.handoff(live.callSid)
  line.stop()
  live.detach(1000)
  const record = await test.recordOf(live.callSid)

  t.match(record.cost, { currency: 'USD', amount: 0, models: [{ backend: 'embedded', model: null, unknown: null }] })
  const recordJson: unknown = JSON.parse(JSON.stringify(record))
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

t.test('what is not a record, a handoff or a journal line is refused by the published schemas', async (t) => {
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
