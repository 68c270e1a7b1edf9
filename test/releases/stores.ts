import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { AgentTexts } from '../../src/agents/file/agent-texts.js'
import { readJournal } from '../../src/call/journal/journal-reader.js'
import { foldLog, parseKeptCall } from '../../src/call/documents/kept-call.js'
import { callRecordSchema } from '../../src/call/documents/record.js'
import { FileDoNotCall } from '../../src/campaigns/do-not-call.js'
import { FileQueue } from '../../src/campaigns/file-queue.js'
import { RedisDoNotCall, RedisQueue } from '../../src/campaigns/redis-queue.js'
import { parseCallSid } from '../../src/core/ids.js'
import { StreamTokens } from '../../src/edge/public/stream-tokens.js'
import type { CallStore } from '../../src/fleet/store/call-store.js'
import { CallerMemory } from '../../src/fleet/store/caller-memory.js'
import { StoredEffects } from '../../src/fleet/store/effects.js'
import { NodeProof } from '../../src/fleet/node-proof.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { parseRedisUrl } from '../../src/fleet/store/redis-url.js'
import type { RedisAddress } from '../../src/fleet/store/redis-url.js'
import { SealedCall } from '../../src/fleet/store/sealed-call.js'
import { OwedAnalyses } from '../../src/gateway/owed-analyses.js'
import { dailyBudgetsSchema } from '../../src/gateway/daily-budgets.js'
import { parseWav } from '../../src/media/wav.js'
import { PhraseStore } from '../../src/speech/phrase-store.js'
import { Outbox } from '../../src/messages/outbox.js'
import { SharedOutbox } from '../../src/messages/shared-outbox.js'
import { CallIndex } from '../../src/telemetry/archive/index/call-index.js'
import { KeptLog } from '../../src/telemetry/archive/kept-log.js'
import { ObjectKeys } from '../../src/telemetry/archive/objects/object-keys.js'
import { OpenRecordFiles } from '../../src/telemetry/archive/open-record-files.js'
import { openedBytes } from '../../src/telemetry/archive/objects/sealed-stream.js'
import { StoredValues } from '../../src/telemetry/archive/stored-values.js'
import { createLog } from '../../src/telemetry/log.js'

/** Facts that whoever writes samples and whoever reads them must share. */
export const SAMPLE = {
  secrets: ['the-token-secret-of-all-samples-of-releases'],
  masterKey: Buffer.alloc(32, 7).toString('base64'),
  nowMs: Date.parse('2026-11-28T12:00:00.000Z'),
  callSid: parseCallSid('HD_sample000001'),
  caller: '+254700000001',
  line: '+254709000000 order-status',
  object: 'records/30d/HD_sample000001.json',
  prefix: 'mkondo:',
  agentFile: 'order-status.yaml',
  effect: 'HD_sample000001 charge 1',
  tally: 'spent:+254709000000:2026-11-28',
  campaign: 'sample-1',
  node: { name: 'gw-a', incarnation: 'first' },
  phrase: { manner: { service: 'sample', voice: 'one', language: 'en' }, text: 'One moment, please.' },
} as const

const log = createLog({ level: 'silent' })
const wallClock = (): number => SAMPLE.nowMs

export const keptLogOf = (folder: string, kind: 'records' | 'handoffs'): KeptLog =>
  new KeptLog({ dataFolder: folder, kind, fileBytes: 1e6 })

/** An outbox whose receiver is not there. */
export function outboxOf(folder: string): Promise<Outbox> {
  const receiver = {
    ...{ name: 'crm', url: 'http://127.0.0.1:9/', secrets: [], events: ['*'], agents: undefined, numbers: undefined },
    ...{ outcomes: undefined, needs: undefined, headers: {}, body: undefined },
  }
  return Outbox.open({
    ...{ folders: [join(folder, 'outbox')], receivers: [receiver], handoff: { url: null, secret: null } },
    ...{ source: 'urn:mkondo:sample', wallClock, log, later: () => undefined },
  })
}

export const fileQueueOf = (folder: string): Promise<FileQueue> =>
  FileQueue.start({ folder: join(folder, 'campaigns'), wallClock, log })

const memoryOver = (store: Pick<CallStore, 'once' | 'settle' | 'standing'>): CallerMemory =>
  new CallerMemory({ store, secrets: SAMPLE.secrets, wallClock, log })

const effectsOver = (store: Pick<CallStore, 'once' | 'settle'>): StoredEffects =>
  new StoredEffects({ store, secrets: SAMPLE.secrets, clock: () => performance.now(), log })

export { memoryOver, effectsOver }

/** Reads what one kept call has. */
function keptOf(state: Uint8Array | null, pieces: readonly Uint8Array[]): unknown {
  const sealed = new SealedCall(SAMPLE.callSid, SAMPLE.secrets)
  return {
    call: state === null ? null : parseKeptCall(JSON.parse(sealed.open('state', state))),
    log: foldLog(pieces.map((piece) => JSON.parse(sealed.open('log', piece)) as unknown)),
  }
}

/** All that a data folder and an agents folder of samples have, as their readers find it. It changes the folder, as a start does. */
export async function readFolder(folder: string): Promise<Readonly<Record<string, unknown>>> {
  const [records, handoffs] = [keptLogOf(folder, 'records'), keptLogOf(folder, 'handoffs')]
  for (const one of [records, handoffs]) one.load(SAMPLE.nowMs)
  const open = new OpenRecordFiles(join(folder, 'records/open')).left()
  const values = new StoredValues(join(folder, 'records/open')).load(SAMPLE.nowMs)
  const store = {
    standing: (key: string) => Promise.resolve(values.findLast((one) => one.key === key)?.value ?? null),
    once: (key: string) => Promise.resolve(values.findLast((one) => one.key === key)?.value ?? null),
    settle: () => Promise.resolve(),
  }
  const outbox = await outboxOf(folder)
  const messages = await outbox.list(10)
  await outbox.close(0)
  const queue = await fileQueueOf(folder)
  const campaigns = await queue.campaigns()
  const rows = await queue.rows(SAMPLE.campaign)
  await queue.close(0)
  const doNotCall = await FileDoNotCall.open(join(folder, 'do-not-call.jsonl'))
  const keys = new ObjectKeys([SAMPLE.masterKey]).find(folder, 'recordKeys', SAMPLE.callSid)
  const object = readFileSync(join(folder, 'object.bin'))
  const index = new CallIndex([folder])
  // One of another version is made again.
  while (index.follow());
  const found = index.find({}, null, 10, null).hits.map(({ row }) => row)
  index.close()
  const texts = new AgentTexts(join(folder, 'agents'), wallClock)
  const versions = await texts.versions(SAMPLE.agentFile)
  const journal = readdirSync(join(folder, 'journals'))[0] ?? ''
  const phrases = new PhraseStore(join(folder, 'voices'))
  const phrase = phraseKey()
  await phrases.has(phrase)
  const wav = parseWav(readFileSync(join(folder, 'recordings', `${SAMPLE.callSid}.wav`)))
  return {
    records: records.newest(10).map((record) => callRecordSchema.parse(record)),
    handoffs: handoffs.newest(10),
    open: open.map(({ callSid, document, sealed }) => ({
      callSid,
      document,
      kept: keptOf(sealed?.state ?? null, sealed?.log ?? []),
    })),
    remembered: await memoryOver(store).ofCaller(SAMPLE.caller),
    effect: await effectsOver(store).intend(SAMPLE.effect),
    messages: messages.map(({ key, id, type, receiver, callSid }) => ({ key, id, type, receiver, callSid })),
    campaigns,
    rows,
    doNotCall: await doNotCall.list(10),
    budgets: dailyBudgetsSchema.parse(JSON.parse(readFileSync(join(folder, 'daily-budgets.json'), 'utf8'))),
    object: keys === null ? null : openedBytes(object, keys.key, SAMPLE.object).toString(),
    found,
    versions: await Promise.all(versions.map(async ({ hash }) => (await texts.read(SAMPLE.agentFile, hash)).text)),
    journal: [...readJournal(readFileSync(join(folder, 'journals', journal), 'utf8').split('\n'))].map(
      ({ type }) => type,
    ),
    recording: { rateHz: wav.sampleRateHz, channels: wav.channels, samples: wav.samples.length },
    phrase: plainPhrase(phrases.find(phrase)),
    tokens: readTokens(folder),
  }
}

export const phraseKey = (): string => PhraseStore.key(SAMPLE.phrase.manner, SAMPLE.phrase.text)

const plainPhrase = (phrase: ReturnType<PhraseStore['find']>): unknown =>
  phrase === null ? null : { rateHz: phrase.sampleRateHz, samples: [...phrase.pcm] }

/** URLs that the carrier and a tool's API were given. */
function readTokens(folder: string): unknown {
  const tokens = new StreamTokens({ tokenSecrets: SAMPLE.secrets, wallClock, clock: () => 0 })
  const given = JSON.parse(readFileSync(join(folder, 'tokens.json'), 'utf8')) as Readonly<Record<string, string>>
  return Object.fromEntries(
    Object.entries(given).map(([purpose, token]) => [purpose, tokens.check(token, purpose as 'audio')]),
  )
}

type Store = Awaited<ReturnType<typeof connectRedis>>

/** Parts of the gateway over a Redis of samples. */
export async function overRedis<T>(
  url: string,
  work: (parts: {
    readonly store: Store
    readonly queue: RedisQueue
    readonly doNotCall: RedisDoNotCall
    readonly stream: (name: string) => SharedOutbox
    readonly owed: OwedAnalyses
  }) => Promise<T>,
): Promise<T> {
  const { secrets, prefix, node } = SAMPLE
  const store = await connectRedis({ url, prefix, secrets, log, deadlineMs: 20_000 })
  const queue = new RedisQueue({ address: parseRedisUrl(url) as RedisAddress, prefix, secrets, log })
  const sealOf = (callSid: string): SealedCall => new SealedCall(callSid, secrets)
  const seal = (callSid: string, text: string): Uint8Array => sealOf(callSid).seal('message', text)
  const open = (callSid: string, sealed: Uint8Array): string => sealOf(callSid).open('message', sealed)
  const stream = (name: string): SharedOutbox =>
    new SharedOutbox({
      ...{ stream: name, seal, open, node, isJoined: () => true, isGone: () => false, wallClock: Date.now, log },
      run: (script, lua, key, args) => store.evaluate(`outbox-${script}`, lua, key, args),
    })
  try {
    return await work({
      ...{ store, queue, stream },
      doNotCall: new RedisDoNotCall(queue, { secrets }),
      owed: new OwedAnalyses({ stream: stream('analyses'), store, seal, open, log }),
    })
  } finally {
    await queue.close(0)
    await store.close()
  }
}

/** All that a Redis of samples has, as its readers find it. */
export function readRedis(url: string): Promise<Readonly<Record<string, unknown>>> {
  return overRedis(url, async ({ store, queue, doNotCall, stream, owed }) => {
    const call = await store.read(SAMPLE.callSid)
    const nodes = Object.values(await queue.redis.hgetall(`${SAMPLE.prefix}nodes`))
    const proof = new NodeProof(SAMPLE.secrets)
    return {
      call: call === null ? null : { ...call, state: null, log: null, kept: keptOf(call.state, call.log) },
      callsOf: await store.callsOf(SAMPLE.node.name),
      nodes: nodes.map((text) => proof.read(text.slice(text.indexOf('{')))),
      remembered: await memoryOver(store).ofCaller(SAMPLE.caller),
      effect: await effectsOver(store).intend(SAMPLE.effect),
      others: await store.tally(SAMPLE.tally, 'another', 0, 1000),
      campaigns: await queue.campaigns(),
      rows: await queue.rows(SAMPLE.campaign),
      doNotCall: await doNotCall.list(10),
      messages: (await stream('outbox').take()).map(({ key, entry, tries }) => ({ key, entry, tries })),
      owed: (await owed.claim({ has: () => false, size: 0 })).map(({ callSid }) => callSid),
      analysis: await owed.known(SAMPLE.callSid),
    }
  })
}
