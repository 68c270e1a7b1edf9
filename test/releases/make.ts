import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import type { Plugin } from 'esbuild'
import { Redis } from 'ioredis'
import { AgentTexts, hashOf } from '../../src/agents/file/agent-texts.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { campaignSchema, rowSchema } from '../../src/campaigns/campaign.js'
import { FileDoNotCall } from '../../src/campaigns/do-not-call.js'
import { packageRoot, packageVersion } from '../../src/config/package-root.js'
import { StreamTokens } from '../../src/edge/public/stream-tokens.js'
import { nodeRecordSchema } from '../../src/fleet/store/call-store.js'
import type { CallStore } from '../../src/fleet/store/call-store.js'
import { SealedCall } from '../../src/fleet/store/sealed-call.js'
import { DailyBudgets } from '../../src/gateway/daily-budgets.js'
import { RecordingFiles } from '../../src/telemetry/archive/recording-files.js'
import { CallIndex } from '../../src/telemetry/archive/index/call-index.js'
import { ObjectKeys } from '../../src/telemetry/archive/objects/object-keys.js'
import { OpenRecordFiles } from '../../src/telemetry/archive/open-record-files.js'
import { sealedBytes } from '../../src/telemetry/archive/objects/sealed-stream.js'
import { PhraseStore } from '../../src/speech/phrase-store.js'
import { StoredValues } from '../../src/telemetry/archive/stored-values.js'
import { keptFolder } from '../../src/telemetry/archive/kept-files.js'
import { createLog } from '../../src/telemetry/log.js'
import { inbound, pass, startHost, TestLine } from '../support/host.js'
import { startRedis } from '../support/redis.js'
import { documentsOf } from './documents.js'
import { FORMS } from './readers.js'
import { effectsOver, fileQueueOf, keptLogOf, memoryOver, outboxOf, overRedis, phraseKey, SAMPLE } from './stores.js'

/** How long what is only kept for a while is kept here. */
const KEPT_MS = 10 * 365 * 86_400_000
const log = createLog({ level: 'silent' })
const wallClock = (): number => SAMPLE.nowMs

/** One document of a form, of this call. */
function sample<T>(form: string, turn = 0): T {
  const documents = documentsOf(FORMS[form]?.schema as never)
  const document = JSON.parse(JSON.stringify(documents[turn % documents.length])) as object
  return { ...document, ...('callSid' in document ? { callSid: SAMPLE.callSid } : {}) } as T
}

const campaign = () => campaignSchema.parse({ ...sample<object>('campaign'), id: SAMPLE.campaign })
const rows = () =>
  documentsOf(rowSchema).map((row, i) =>
    rowSchema.parse({ ...(row as object), id: `row-${i}`, campaign: SAMPLE.campaign }),
  )
const effect = { ok: true, value: { paid: true } }
const remember = (store: Pick<CallStore, 'once' | 'settle' | 'standing'>): Promise<void> => {
  const { call } = Object.values(sample<Record<string, { readonly call: never }>>('caller-memory'))[0] ?? {}
  return memoryOver(store).remember(SAMPLE.caller, SAMPLE.line, call as never, KEPT_MS)
}
const message = {
  ...{ type: 'call.ended', id: `${SAMPLE.callSid}:ended`, callSid: SAMPLE.callSid, agent: 'order-status' },
  ...{ number: null, outcome: 'contained', time: '2026-11-28T12:00:00.000Z', data: { said: 'some words' } },
} as const

/** A call of the shipped order line as it is really made: its record and its journal. */
async function realCall(): Promise<{ readonly record: CallRecord; readonly journal: readonly string[] }> {
  const journal: string[] = []
  const test = await startHost({
    keepJournal: (_sid, lines) => void journal.push(...lines),
    journal: { build: packageVersion(), audio: false },
  })
  try {
    const line = new TestLine(test.host.prepare(inbound(SAMPLE.callSid)))
    line.start()
    await line.agentQuiet(700)
    await test.say(line, 'Where is my order 4127?')
    await pass(6000)
    line.call.detach(1000)
    return { record: await test.recordOf(SAMPLE.callSid), journal }
  } finally {
    await test.close()
  }
}

/** Writes a data folder with what each part keeps there, and an agents folder with a published edit. */
async function writeFolder(folder: string): Promise<void> {
  const { callSid, nowMs, secrets } = SAMPLE
  const { record, journal } = await realCall()
  const records = keptLogOf(folder, 'records')
  records.load(nowMs)
  records.append('HD_sample000002', { ...sample<object>('call-record'), callSid: 'HD_sample000002' }, nowMs, null)
  records.append(callSid, { ...record, startedAt: '2026-11-28T11:59:00.000Z' }, nowMs, null)
  records.close()
  const handoffs = keptLogOf(folder, 'handoffs')
  handoffs.load(nowMs)
  handoffs.append(callSid, sample('handoff'), nowMs, null)
  handoffs.close()
  const open = join(folder, 'records/open')
  mkdirSync(open, { recursive: true })
  const sealed = new SealedCall(callSid, secrets)
  const files = new OpenRecordFiles(open)
  files.write(callSid, JSON.stringify(sample('call-record', 1)), false)
  files.writeSealed(
    {
      callSid,
      state: sealed.seal('state', JSON.stringify(sample('kept-call'))),
      append: [sealed.seal('log', JSON.stringify(sample('kept-call-log')))],
      replace: true,
    },
    false,
  )
  const values = new StoredValues(open)
  const store = {
    standing: () => Promise.resolve(null),
    once: (key: string, value: string, ttlMs: number) => {
      values.write({ key, value, untilMs: nowMs + ttlMs }, nowMs, false)
      return Promise.resolve(null)
    },
    settle: (key: string, value: string, ttlMs: number) => {
      values.write({ key, value, untilMs: nowMs + ttlMs }, nowMs, false)
      return Promise.resolve()
    },
  }
  await remember(store)
  await effectsOver(store).intend(SAMPLE.effect)
  effectsOver(store).settle(SAMPLE.effect, effect)
  const outbox = await outboxOf(folder)
  await outbox.add(message as never)
  await outbox.close(0)
  const queue = await fileQueueOf(folder)
  await queue.keep(campaign())
  await queue.add(SAMPLE.campaign, rows())
  await queue.close(0)
  const doNotCall = await FileDoNotCall.open(join(folder, 'do-not-call.jsonl'))
  await doNotCall.add(SAMPLE.caller, 'caller', nowMs)
  await doNotCall.add('+254700000002', 'operator', nowMs)
  await doNotCall.remove('+254700000002', nowMs)
  const budgets = await DailyBudgets.open({
    businesses: new Map([
      ['+254709000000', { number: '+254709000000', agent: 'order-status', facts: {}, budget: { perDay: 100 } }],
    ]) as never,
    store: { tally: () => Promise.resolve(0) },
    ...{ live: () => [], liveElsewhere: () => [], wallClock, log, file: join(folder, 'daily-budgets.json') },
  })
  budgets.spend('+254709000000', 12.5, callSid)
  await budgets.close()
  mkdirSync(keptFolder(folder, 'recordKeys'), { recursive: true })
  const key = new ObjectKeys([SAMPLE.masterKey]).of(folder, 'recordKeys', null, callSid, SAMPLE.object)
  writeFileSync(join(folder, 'object.bin'), sealedBytes(Buffer.from('{"a":"document"}'), key, SAMPLE.object))
  const recordings = new RecordingFiles(join(folder, 'recordings'))
  recordings.begin(callSid, 8000)
  recordings.write(callSid, 0, new Uint8Array(new Int16Array(320).map((_, i) => 100 * (i % 7)).buffer))
  recordings.finish(callSid)
  await new PhraseStore(join(folder, 'voices')).keep(phraseKey(), {
    pcm: new Int16Array(160).map((_, i) => 50 * (i % 9)),
    sampleRateHz: 8000,
  })
  mkdirSync(join(folder, 'journals'))
  writeFileSync(join(folder, 'journals', `${callSid}.jsonl`), `${journal.join('\n')}\n`)
  const index = new CallIndex([folder])
  while (index.follow());
  index.close()
  mkdirSync(join(folder, 'agents'))
  const agent = join(folder, 'agents', SAMPLE.agentFile)
  cpSync(join(packageRoot(), 'agents', SAMPLE.agentFile), agent)
  const before = readFileSync(agent)
  await new AgentTexts(join(folder, 'agents'), wallClock).publish(SAMPLE.agentFile, `${before.toString()}# edited\n`, [
    hashOf(before),
  ])
  const tokens = new StreamTokens({ tokenSecrets: secrets, wallClock, clock: () => 0 })
  const given = {
    ...Object.fromEntries(
      (['audio', 'stream-status', 'after-stream', 'human'] as const).map((purpose) => [
        purpose,
        tokens.mint(callSid, purpose, purpose === 'audio' ? 1 : 0),
      ]),
    ),
    continue: tokens.mintContinue(callSid, 'wait-0001', 3600),
  }
  writeFileSync(join(folder, 'tokens.json'), JSON.stringify(given))
}

/** Fills an empty Redis with what each part keeps there. */
function fillRedis(url: string): Promise<void> {
  const { callSid, secrets, node, nowMs } = SAMPLE
  return overRedis(url, async ({ store, queue, doNotCall, stream, owed }) => {
    const sealed = new SealedCall(callSid, secrets)
    const owner = { node: node.name, incarnation: node.incarnation, nonce: 'nonce-1' }
    const { owner: token } = await store.claim(callSid, owner, 0)
    await store.save(callSid, token, {
      state: sealed.seal('state', JSON.stringify(sample('kept-call'))),
      append: [sealed.seal('log', JSON.stringify(sample('kept-call-log')))],
    })
    await store.attach(callSid, token, 'stream-1')
    await store.beat({ ...nodeRecordSchema.parse(sample('node')), ...node, version: packageVersion() })
    await remember(store)
    await effectsOver(store).intend(SAMPLE.effect)
    effectsOver(store).settle(SAMPLE.effect, effect)
    await store.tally(SAMPLE.tally, 'part-1', 12.5, KEPT_MS)
    await queue.keep(campaign())
    await queue.add(SAMPLE.campaign, rows())
    await doNotCall.add(SAMPLE.caller, 'caller', nowMs)
    const key = `${callSid}.0123456789abcdef01234567`
    await stream('outbox').add(key, `${callSid} crm`, sample('message'))
    await owed.owe(sample('call-record'))
    await owed.settle(callSid, sample('analysis'))
  })
}

/** A Redis as text: its keys with all that they hold, as commands that write it. */
async function dumpOf(url: string): Promise<readonly (readonly string[])[]> {
  const redis = new Redis(url)
  try {
    const keys = (await redis.keys('*')).toSorted()
    return await Promise.all(keys.map(async (key) => [key, (await redis.dumpBuffer(key)).toString('base64')] as const))
  } finally {
    redis.disconnect()
  }
}

/** Files of a folder, by path, as base64. */
function filesOf(folder: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    readdirSync(folder, { recursive: true })
      .map((name) => join(folder, String(name)))
      .filter((path) => statSync(path).isFile())
      .toSorted()
      .map((path) => [relative(folder, path), readFileSync(path).toString('base64')]),
  )
}

/** The samples of this build, for the tests of later ones. */
export interface Samples {
  readonly version: string
  readonly documents: Readonly<Record<string, readonly unknown[]>>
  readonly files: Readonly<Record<string, string>>
  readonly redis: readonly (readonly string[])[]
}

/** Makes them all. It needs redis-server. */
export async function makeSamples(): Promise<Samples> {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-samples-'))
  const server = await startRedis()
  try {
    // One after the other: the call would keep the answers of Redis waiting.
    await writeFolder(folder)
    await fillRedis(server.url)
    return {
      version: packageVersion(),
      documents: Object.fromEntries(Object.entries(FORMS).map(([name, { schema }]) => [name, documentsOf(schema)])),
      files: filesOf(folder),
      redis: await dumpOf(server.url),
    }
  } finally {
    await server.close()
    rmSync(folder, { recursive: true })
  }
}

/** Files that a module reads beside itself, such as a WebAssembly kernel, become part of the bundle. */
const filesWithin: Plugin = {
  name: 'files within',
  setup: (bundle) => {
    bundle.onLoad({ filter: /\/dist\/src\/.*\.js$/ }, ({ path }) => ({
      contents: readFileSync(path, 'utf8').replace(
        /readFileSync\(new URL\("([^"]+)", import\.meta\.url\)\)/g,
        (_, name: string) => `Buffer.from('${readFileSync(join(dirname(path), name), 'base64')}', 'base64')`,
      ),
    }))
  },
}

if (process.argv[1] === import.meta.filename) {
  const target = join(packageRoot(), 'test/releases', packageVersion())
  mkdirSync(target, { recursive: true })
  const bundled = await build({
    entryPoints: [join(packageRoot(), 'dist/test/releases/readers.js')],
    ...{ bundle: true, packages: 'external', format: 'esm', platform: 'node', minify: true, write: false },
    plugins: [filesWithin],
  })
  writeFileSync(join(target, 'samples.json.gz'), gzipSync(JSON.stringify(await makeSamples()), { level: 9 }))
  writeFileSync(join(target, 'readers.mjs.gz'), gzipSync(bundled.outputFiles[0]?.contents ?? '', { level: 9 }))
  const { stdout: commit } = spawnSync('git', ['rev-parse', 'HEAD'], { cwd: packageRoot(), encoding: 'utf8' })
  const kept = ['samples.json.gz', 'readers.mjs.gz']
  console.log(
    kept.map((name) => `${join(target, name)} ${statSync(join(target, name)).size}`).join('\n'),
    commit.trim(),
  )
}
