import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { CarrierDetail, CallRecord } from '../../src/call/documents/record.js'
import { keptFolder } from '../../src/telemetry/archive/kept-files.js'
import { findKept } from '../../src/telemetry/archive/stored-file.js'
import t from 'tap'
import type { Test } from 'tap'
import type { CallSid } from '../../src/core/ids.js'
import { CallErasure } from '../../src/gateway/call-erasure.js'
import { newSid, post, ring } from '../edge/gateway.js'
import type { Gateway } from '../edge/gateway.js'
import { endedCall } from '../support/record.js'
import { fleet } from './nodes.js'
import { command } from '../support/command.js'

/** `mkondo erase` and `mkondo export` over three nodes, each with a data folder and calls of its own. */

const CALLER = '+254700000001'
const OTHER = '+254711000002'

const CARRIER: CarrierDetail = {
  callId: 'call_1',
  status: 'completed',
  startedAt: null,
  answeredAt: null,
  endedAt: null,
  durationS: 1,
  costMinor: null,
  costCurrency: null,
  ratePerMinuteMinor: null,
  hangupCause: null,
  failureCode: null,
  recording: null,
  recordingState: 'off',
  fetchedAt: '2026-11-26T06:00:00.000Z',
}
/** A message that no receiver has taken. */
const WAITING = { type: 'call.ended', receiver: 'crm', tries: 2, nextTryAt: '2026-11-26T10:00:00.000Z', reason: null }

type Nodes = Awaited<ReturnType<typeof fleet>>

async function nodes(
  t: Test,
  carrier: Readonly<Record<string, string>> | null = null,
): Promise<{
  readonly it: Nodes
  readonly folders: readonly string[]
  /** Numbers whose lines each node has to forget. */
  readonly linesForgotten: readonly string[][]
  readonly remembered: readonly string[][]
  /** Calls that each node reported to its receivers as erased. */
  readonly told: readonly string[][]
  /** Calls of which each node forgot the keys of what the bucket has. */
  readonly objects: readonly string[][]
}> {
  const linesForgotten: string[][] = [[], [], []]
  const remembered: string[][] = [[], [], []]
  const told: string[][] = [[], [], []]
  const objects: string[][] = [[], [], []]
  const folders = [0, 1, 2].map((index) => join(t.testdir({ 0: {}, 1: {}, 2: {} }), String(index)))
  const it: Nodes = await fleet(t, 3, (index) => ({
    opsToken: 'token-of-the-operators',
    opsListenToken: 'token-of-who-listens',
    recording: (sid, part) => findKept(folders[index] as string, 'recordings', [`${sid}.${part ?? 'newest'}.wav`]),
    carrierRecording: (sid) => findKept(folders[index] as string, 'carrierRecordings', [`${sid}.mp3`]),
    erasure: new CallErasure({
      folders: [folders[index] as string],
      spareFolder: null,
      calls: {
        live: () => at(it, index).calls.live(),
        find: (sid) => at(it, index).calls.find(sid),
        ended: () => at(it, index).calls.ended(),
        handoff: (sid) => at(it, index).calls.handoff(sid),
        forget: (sid) => at(it, index).calls.records.delete(sid),
        forgetLine: (number) => linesForgotten[index]?.push(number),
      },
      forgetWaiting: () => Promise.resolve(),
      eraseObjects: (callSids) => {
        objects[index]?.push(...callSids)
        return Promise.resolve(null)
      },
      forgetIndexed: () => Promise.resolve(),
      forgetDetail: () => undefined,
      forgetRemembered: (target) =>
        Promise.resolve(void remembered[index]?.push('sid' in target ? target.sid : target.number)),
      rememberedOf: (number) =>
        Promise.resolve(number === CALLER ? [{ line: 'support', call: { outcome: 'failed' } }] : []),
      forgetRows: () => Promise.resolve({ rows: 0, unlooked: [] }),
      campaignsOf: (number) =>
        Promise.resolve({
          rows: number === CALLER ? [{ campaign: 'dues', result: null }] : [],
          doNotCall: true,
          unlooked: [],
        }),
      messagesOf: (callSids) =>
        Promise.resolve(callSids.map((callSid) => ({ ...WAITING, key: `${callSid}.0`, callSid, id: callSid }))),
      told: (callSids) => told[index]?.push(...callSids),
      store: {
        read: (key) => it.store.read(key),
        callsOf: (node) => it.store.callsOf(node),
        over: (key, token) => it.store.over(key, token),
      },
      keeper: { opened: () => null },
      carrierCall: carrier === null ? null : (sid) => Promise.resolve({ remoteNumber: carrier[sid] ?? null }),
      workerEnv: {},
    }),
  }))
  return { it, folders, linesForgotten, remembered, told, objects }
}

function at(it: Nodes, index: number): Gateway {
  return it.gateways[index] as Gateway
}

/** An ended call on the disk of a node. */
function keep(folder: string, sid: string, from: string): void {
  mkdirSync(join(folder, 'records'), { recursive: true })
  mkdirSync(join(folder, 'journals'), { recursive: true })
  writeFileSync(
    join(folder, 'records', `calls-2026-11-20-0001.jsonl`),
    `${JSON.stringify(endedCall({ callSid: sid, from }))}\n`,
    { flag: 'a' },
  )
  writeFileSync(join(folder, 'journals', `${sid}.jsonl`), '{}\n')
}

const kept = (folder: string): string => readFileSync(join(folder, 'records', 'calls-2026-11-20-0001.jsonl'), 'utf8')

const run = (it: Nodes, argv: readonly string[], input = '', name = 'erase') =>
  command([name, ...argv, '--ops-url', at(it, 0).opsUrl], {
    env: { OPS_TOKEN: 'token-of-the-operators', OPS_LISTEN_TOKEN: 'token-of-who-listens' },
    input: () => Promise.resolve(input),
  })

const logged = (it: Nodes): string => JSON.stringify(it.gateways.map((gateway) => gateway.logged()))

t.test('the calls of a number are erased at every node', async (t) => {
  const { it, folders, linesForgotten, remembered, told, objects } = await nodes(t)
  for (const [index, sid] of ['HD_a0', 'HD_a1', 'HD_a2'].entries()) {
    keep(folders[index] as string, sid, CALLER)
    keep(folders[index] as string, `HD_b${index}`, OTHER)
  }
  at(it, 1).calls.records.set('HD_a1', endedCall({ callSid: 'HD_a1', from: CALLER }))
  const { code, out } = await run(it, ['--number', '-'], `${CALLER}\n`)
  t.equal(code, 0)
  t.match(
    out,
    /^erased: 3 calls: 3 records, 0 handoff packets, 0 recordings, 0 carrier's recordings, 3 journals, 0 messages, 0 kept states\n$/,
  )
  for (const [index, folder] of folders.entries()) {
    t.notMatch(kept(folder), new RegExp(`HD_a${index}|254700000001`))
    t.match(kept(folder), `HD_b${index}`)
    t.notOk(existsSync(join(folder, 'journals', `HD_a${index}.jsonl`)))
    t.ok(existsSync(join(folder, 'journals', `HD_b${index}.jsonl`)))
  }
  t.equal(at(it, 1).calls.record('HD_a1'), undefined, 'also from memory')
  t.same(linesForgotten, [[CALLER], [CALLER], [CALLER]], 'also what is known of the line')
  t.same(remembered, [[CALLER], [], []], 'and, in the store of all nodes, of their last calls')
  t.same(objects, [['HD_a0'], ['HD_a1'], ['HD_a2']], 'each node forgets the keys of its own calls')
  t.ok(
    told.every((sids) => sids.length > 0 && sids.every((one) => one.startsWith('HD_a'))),
    'and receivers are told',
  )
  const audited = it.gateways.map((gateway) => gateway.logged().filter(({ component }) => component === 'audit'))
  t.match(audited, [
    [{ command: 'erase', node: 'gw-0', outcome: 'done', token_kind: 'OPS_TOKEN', erased: { calls: 3 } }],
    [{ command: 'erase', node: 'gw-1', via: 'gw-0', erased: { calls: 1 } }],
    [{ command: 'erase', node: 'gw-2', via: 'gw-0', erased: { calls: 1 } }],
  ])
  t.notMatch(logged(it), /254700000001|HD_a\d/)
  t.notMatch(out, /254700000001|HD_a\d/)
  t.match(await run(it, ['--number', CALLER]), { code: 0, out: /^erased: 0 calls/ })
})

/** A folder beside those of the nodes. */
function outOf(t: Test): string {
  const folder = join(t.testdirName, 'out')
  mkdirSync(folder)
  return folder
}

/** The files of the one archive in a folder, by their names below its own folder; each as text. */
function unpacked(folder: string): Record<string, string> {
  const [name = ''] = readdirSync(folder).filter((one) => one.endsWith('.tar.gz'))
  execFileSync('tar', ['-xzf', name, '--strip-components=1'], { cwd: folder })
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return Object.fromEntries(
    files
      .map(({ parentPath, name: file }) => join(parentPath, file))
      .filter((path) => !path.endsWith('.tar.gz'))
      .map((path) => [relative(folder, path), readFileSync(path, 'utf8')]),
  )
}

t.test("an export collects a number's data from every node", async (t) => {
  const { it, folders } = await nodes(t)
  const to = outOf(t)
  for (const [index, sid] of ['HD_a0', 'HD_a1', 'HD_a2'].entries()) {
    keep(folders[index] as string, sid, CALLER)
    keep(folders[index] as string, `HD_b${index}`, OTHER)
    at(it, index).calls.records.set(sid, endedCall({ callSid: sid, from: '+2547…01', endDetail: `of node ${index}` }))
  }
  const [own = ''] = folders
  for (const [kind, name] of [
    ['recordings', 'HD_a0.1.wav'],
    ['recordings', 'HD_a0.2.wav'],
    ['carrierRecordings', 'HD_a0.mp3'],
  ] as const) {
    mkdirSync(keptFolder(own, kind, 7), { recursive: true })
    writeFileSync(join(keptFolder(own, kind, 7), name), `the bytes of ${name}`)
  }
  const record = at(it, 0).calls.records.get('HD_a0') as CallRecord
  at(it, 0).calls.records.set('HD_a0', {
    ...record,
    recording: 'recordings/7d/HD_a0.2.wav',
    recordingState: 'ready',
    resumed: [{ node: 'gw-0', why: 'node-lost', streamMs: 1000, recording: 'recordings/7d/HD_a0.wav' }],
    carrier: { ...CARRIER, recording: 'carrier-recordings/7d/HD_a0.mp3', recordingState: 'ready' },
  })
  const { code, out, err } = await run(it, ['-', '--to', to], `${CALLER}\n`, 'export')
  t.equal(code, 0, err)
  t.match(out, /mkondo-export-\d{8}T\d{6}Z\.tar\.gz\n[^]*3 calls[^]*is on the do-not-call list/)
  const files = unpacked(to)
  t.same(Object.keys(files).sort(), [
    'HD_a0/carrier-recording.mp3',
    'HD_a0/record.json',
    'HD_a0/recording.1.wav',
    'HD_a0/recording.wav',
    'HD_a1/record.json',
    'HD_a2/record.json',
    'README.txt',
    'campaigns.json',
    'messages.json',
    'remembered.json',
  ])
  t.same(JSON.parse(files['remembered.json'] ?? ''), [{ line: 'support', call: { outcome: 'failed' } }])
  t.equal(files['HD_a0/recording.1.wav'], 'the bytes of HD_a0.1.wav')
  t.equal(files['HD_a0/carrier-recording.mp3'], 'the bytes of HD_a0.mp3')
  t.match(JSON.parse(files['messages.json'] ?? ''), [{ receiver: 'crm' }, { tries: 2 }, { type: 'call.ended' }])
  t.match(files['HD_a2/record.json'], 'of node 2')
  t.same(JSON.parse(files['campaigns.json'] ?? ''), [{ campaign: 'dues', result: null }])
  t.match(
    it.gateways.map((gateway) => gateway.logged().filter(({ component }) => component === 'audit')),
    [
      [
        { command: 'export', node: 'gw-0', outcome: 'done', token_kind: 'OPS_TOKEN', calls: 3 },
        { command: 'recording.wav', call_sid: 'HD_a0' },
        { command: 'recording.wav', call_sid: 'HD_a0' },
        { command: 'carrier-recording', call_sid: 'HD_a0' },
      ],
      [{ command: 'export', node: 'gw-1', via: 'gw-0', calls: 1 }],
      [{ command: 'export', node: 'gw-2', via: 'gw-0', calls: 1 }],
    ],
  )
  t.notMatch(logged(it) + out, /254700000001/)
  t.match(kept(folders[1] as string), 'HD_a1', 'and nothing is erased')
})

t.test('an export lists what it could not include', async (t) => {
  const { it, folders } = await nodes(t)
  const to = outOf(t)
  const { sid } = await ring(at(it, 0))
  const owner = it.ownerOf(sid)
  keep(folders[owner] as string, 'HD_mine', CALLER)
  keep(folders[owner] as string, 'HD_perhaps', '+2547…01')
  const recorded = { recording: 'recordings/HD_mine.wav', recordingState: 'ready' } as const
  at(it, owner).calls.records.set('HD_mine', endedCall({ callSid: 'HD_mine', from: CALLER, ...recorded }))
  const first = await run(it, [CALLER, '--to', to, '--json'], '', 'export')
  t.equal(first.code, 1)
  const { calls, files, missing } = JSON.parse(first.out) as { calls: number; files: string[]; missing: string[] }
  t.equal(calls, 1)
  t.same(files, ['campaigns.json', 'messages.json', 'remembered.json', 'HD_mine/record.json'])
  for (const what of [/live \(1\)/, /may be this one \(1\)/, /^HD_mine\/recording\.wav: /])
    t.ok(
      missing.some((line) => what.test(line)),
      `${String(what)} in ${missing.join('; ')}`,
    )
  it.freeze(2)
  const json = { number: OTHER }
  const headers = { authorization: 'Bearer token-of-the-operators' }
  const { status, text } = await post(`${at(it, 0).opsUrl}/api/export`, { json, headers })
  t.equal(status, 200)
  t.match(JSON.parse(text), { callSids: [], complete: false, silent: ['gw-2'] })
  for (const wrong of [{}, { sid: 'HD_a' }, { number: 'withheld' }])
    t.match(await post(`${at(it, 0).opsUrl}/api/export`, { json: wrong, headers }), { status: 400 })
  t.match(await command(['export', '12']), { code: 2, err: /not a phone number; allowed: 7 or more digits/ })
})

t.test('a live call is not erased, whichever node has it', async (t) => {
  const { it, folders } = await nodes(t)
  keep(folders[0] as string, 'HD_ended', CALLER)
  const { sid } = await ring(at(it, 0))
  t.match(await run(it, ['--sid', sid]), { code: 1, err: /^mkondo: CALL_LIVE: this call is live: nothing is erased/ })
  t.match(await run(it, ['--number', CALLER]), {
    code: 1,
    err: /^mkondo: CALL_LIVE: 1 of the calls of that number are live/,
  })
  t.match(kept(folders[0] as string), 'HD_ended')
  t.match(
    at(it, 0)
      .logged()
      .filter(({ component }) => component === 'audit'),
    [
      { command: 'erase', call_sid: sid, outcome: 'refused', status: 409 },
      { command: 'erase', call_sid: null, outcome: 'refused' },
    ],
  )
})

t.test('a masked call is erased if the carrier identifies it', async (t) => {
  const { it, folders } = await nodes(t, { HD_mine: CALLER, HD_theirs: '+254799999901' })
  const [folder] = folders as [string]
  for (const sid of ['HD_mine', 'HD_theirs', 'HD_unknown']) keep(folder, sid, '+2547…01')
  t.match(await run(it, ['--number', CALLER]), {
    code: 1,
    out: /erased: 1 call: [^]*left: 1 call with a masked number/,
  })
  t.match(kept(folder), /HD_theirs[^]*HD_unknown/)
  t.notMatch(kept(folder), /HD_mine/)
  t.match(await run(it, ['--number', CALLER, '--masked']), { code: 0, out: /erased: 2 calls/ })
})

t.test('a silent node is named and the others erase [1]', async (t) => {
  const { it, folders } = await nodes(t)
  const { sid } = await ring(at(it, 0))
  const owner = it.ownerOf(sid)
  const asked = (owner + 1) % 3
  keep(folders[asked] as string, 'HD_ended', OTHER)
  it.freeze(owner)
  const request = (json: object) =>
    post(`${at(it, asked).opsUrl}/api/erase`, { json, headers: { authorization: 'Bearer token-of-the-operators' } })
  for (const wrong of [{}, { sid: 'a', number: CALLER }, { number: 'withheld' }, [], { sid: '../etc' }])
    t.match(await request(wrong), { status: 400, code: 'BAD_REQUEST' })
  const [ofOne, { status, text }] = await Promise.all([request({ sid }), request({ number: OTHER })])
  t.match(ofOne, { status: 504, code: 'NODE_SILENT' })
  t.equal(status, 200)
  t.match(JSON.parse(text), { erased: { calls: 1 }, complete: false, silent: [`gw-${owner}`] })
})

t.test("the stored state of a dead node's call is erased", async (t) => {
  const { it } = await nodes(t)
  const sid = newSid() as CallSid
  const { owner } = await it.store.claim(sid, { node: 'gw-gone', incarnation: 'x', nonce: 'y' }, 0)
  await it.store.save(sid, owner, { state: new Uint8Array([1]), append: [new Uint8Array([2])] })
  t.match(await run(it, ['--sid', sid]), { code: 0, out: /0 calls: .* 1 kept state\n/ })
  t.match(await it.store.read(sid), { phase: 'over', state: null, log: [] })
  t.match(await run(it, ['--sid', newSid()]), { code: 1, err: /CALL_UNKNOWN: no node stores data/ })
})

t.test('an offline erasure works on the folder itself', async (t) => {
  const folder = t.testdir()
  keep(folder, 'HD_a', CALLER)
  keep(join(folder, 'process-1'), 'HD_b', CALLER)
  const env = { DATA_DIR: folder }
  t.match(await command(['erase', '--number', CALLER, '--offline'], { env }), {
    code: 0,
    out: /^erased: 2 calls: 2 records/,
  })
  for (const [argv, message] of [
    [[], /needs either --sid or --number/],
    [['--sid', 'a', '--number', CALLER], /either --sid or --number/],
    [['--sid', '../x'], /--sid is not valid; allowed: 1 to 64/],
    [['--sid', 'a', '--masked'], /--masked needs --number/],
    [['--number', '25470000x'], /^((?!25470).)*--number is not a phone number((?!25470).)*\n$/],
    [['--number', '1234'], /not a phone number; allowed: 7 or more digits/],
  ] as const)
    t.match(await command(['erase', ...argv], { env }), { code: 2, err: message })
})
