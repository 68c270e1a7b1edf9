import type { CallTimelineView } from '../../src/call/call-view.js'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { packageRoot } from '../../src/config/package-root.js'
import type { CallSessionOptions } from '../../src/call/call-options.js'
import type { CallLogEntry, CallLogRecords } from '../../src/call/call-log.js'
import type { CallCheckpoint } from '../../src/call/checkpoint.js'
import type { BackendEvent } from '../../src/call/backend-events.js'
import type { CallInput, Handoff } from '../../src/call/events.js'
import type { JournalHeaderLine, PlayoutAnswers } from '../../src/call/journal/journal.js'
import { fleetStatusJsonSchema } from '../../src/fleet/fleet-status.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { diffOutputs } from '../../src/call/journal/replay-diff.js'
import { readJournal } from '../../src/call/journal/journal-reader.js'
import type { CallRecord } from '../../src/call/record.js'
import { parseCallSid } from '../../src/core/ids.js'
import type {
  backendEventSchema,
  callInputSchema,
  checkpointSchema,
  playoutAnswersSchema,
  sessionOptionsSchema,
} from '../../src/workers/journal-format.js'
import { journalHeaderSchema, journalJsonSchema, journalLineSchema } from '../../src/workers/journal-format.js'
import type { keptCallSchema, keptLogChunkSchema } from '../../src/workers/kept-call-format.js'
import type { KeptCall, KeptLogChunk } from '../../src/workers/kept-call.js'
import type { callLogEntrySchema, callLogSchema, timelineSchema } from '../../src/workers/record-format.js'
import {
  callRecordJsonSchema,
  callRecordSchema,
  handoffJsonSchema,
  handoffSchema,
  timelineJsonSchema,
} from '../../src/workers/record-format.js'
import { TestLine, callerSays, startHost, until } from '../support/host.js'

// --- the schemas are the types: this compiles, or they have grown apart ---------------------------------------

type DeepReadonly<T> = T extends (infer E)[] | readonly (infer E)[]
  ? readonly DeepReadonly<E>[]
  : T extends object
    ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
    : T
/** Exact, optional keys and unions included: neither side is assignable when one of them knows more. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
type OfSchema<S extends z.ZodType> = DeepReadonly<z.output<S>>

const SAME_TYPES: readonly true[] = [
  true satisfies Same<OfSchema<typeof callRecordSchema>, DeepReadonly<CallRecord>>,
  true satisfies Same<OfSchema<typeof handoffSchema>, DeepReadonly<Handoff>>,
  true satisfies Same<OfSchema<typeof timelineSchema>, DeepReadonly<CallTimelineView>>,
  true satisfies Same<OfSchema<typeof sessionOptionsSchema>, DeepReadonly<CallSessionOptions>>,
  true satisfies Same<OfSchema<typeof checkpointSchema>, DeepReadonly<CallCheckpoint>>,
  true satisfies Same<OfSchema<typeof callLogEntrySchema>, DeepReadonly<CallLogEntry>>,
  true satisfies Same<OfSchema<typeof callLogSchema>, DeepReadonly<CallLogRecords>>,
  true satisfies Same<OfSchema<typeof backendEventSchema>, DeepReadonly<BackendEvent>>,
  true satisfies Same<OfSchema<typeof callInputSchema>, DeepReadonly<CallInput>>,
  true satisfies Same<OfSchema<typeof journalHeaderSchema>, DeepReadonly<JournalHeaderLine>>,
  true satisfies Same<OfSchema<typeof playoutAnswersSchema>, DeepReadonly<PlayoutAnswers>>,
  true satisfies Same<OfSchema<typeof keptCallSchema>, DeepReadonly<KeptCall>>,
  true satisfies Same<OfSchema<typeof keptLogChunkSchema>, DeepReadonly<KeptLogChunk>>,
]

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
    t.ok(SAME_TYPES.every((same) => same))
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
