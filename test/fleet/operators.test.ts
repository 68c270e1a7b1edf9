import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { WebSocket } from 'ws'
import { opsOrigin } from '../../src/gateway/fleet-side.js'
import type { FleetNode } from '../../src/fleet/fleet-node.js'
import { fleetStatusSchema } from '../../src/fleet/fleet-status.js'
import { CallFinder } from '../../src/telemetry/archive/index/call-finder.js'
import { createLog } from '../../src/telemetry/log.js'
import { GatewayError } from '../../src/core/errors.js'
import type { AgentEditing, PublishOrder } from '../../src/edge/options.js'
import { get, newSid, post, ring, ringing } from '../edge/gateway.js'
import type { Gateway } from '../edge/gateway.js'
import { ORDER_STATUS } from '../edge/scripted-calls.js'
import { command } from '../support/command.js'
import { endedRow } from '../../src/call/documents/call-view.js'
import { endedCall } from '../support/record.js'
import { follow } from '../support/server-events.js'
import { fleet } from './nodes.js'
import { storedFile } from '../support/stored-file.js'
import { until } from '../support/until.js'

/** One node's ops port answers for all. */

/** Interval at which a watched page is read. */
const LIVE_MS = 20

const json = (text: string): Record<string, unknown> => JSON.parse(text) as Record<string, unknown>

function audited({ logged }: Gateway): Record<string, unknown>[] {
  return logged().filter(({ component }) => component === 'audit')
}

/** A caller for whom there is no stream: the document, and whether a node has the call. */
async function refusedBy(it: Awaited<ReturnType<typeof fleet>>, index: number): Promise<string> {
  const sid = newSid()
  const { text } = await post(`${at(it, index).url}/voice/order-status`, { form: ringing(sid) })
  return it.ownerOf(sid) === -1 ? text : `taken: ${text}`
}

/** The edge of a node. */
function at(it: Awaited<ReturnType<typeof fleet>>, index: number): Gateway {
  return it.gateways[index] as Gateway
}

t.test("any node controls another node's call and both audit it", async (t) => {
  const it = await fleet(t, 3, { opsToken: 'token-of-the-operators', opsListenToken: 'token-of-who-listens' })
  const headers = { authorization: 'Bearer token-of-the-operators' }
  const { sid } = await ring(at(it, 0))
  const owner = it.ownerOf(sid)
  const other = at(it, (owner + 1) % 3)
  const api = `${other.opsUrl}/api/calls/${sid}`
  t.match(json((await get(api, { headers })).text), { callSid: sid, state: 'waiting' })
  t.match(json((await get(`${api}/timeline`, { headers })).text), { callSid: sid, live: true })
  t.match(await get(`${api}/handoff`, { headers }), { status: 404, code: 'NOT_FOUND' }, 'the owner says why not')
  const hears = { authorization: 'Bearer token-of-who-listens' }
  t.match(await get(`${api}/recording.wav`, { headers: hears }), { status: 404 })
  t.match(await get(`${api}/recording.wav`, { headers }), { status: 403, text: /a right of their own/ })
  t.equal(
    (await post(`${api}/hangup`, { json: { reason: 'call +254700000001 back', speak: true }, headers })).status,
    202,
  )
  t.match(it.call(sid).hangups, [{ reason: 'operator-hangup', speak: true }])
  t.equal((await post(`${api}/escalate`, { json: {}, headers })).status, 202)
  t.equal(it.call(sid).escalations.length, 1)
  t.match(await post(`${api}/hangup`, { json: { speak: 'yes' }, headers }), { status: 400, code: 'BAD_REQUEST' })

  const line = { command: 'hangup', node: `gw-${owner}`, call_sid: sid, status: 202, address: '127.0.0.1' }
  t.match(audited(other)[0], { ...line, token_kind: 'OPS_TOKEN' })
  t.match(audited(at(it, owner))[0], { ...line, token_kind: 'OPS_TOKEN', via: `gw-${(owner + 1) % 3}` })
  t.equal(audited(at(it, (owner + 2) % 3)).length, 0, 'a node that has nothing to do with it writes nothing')
  t.match(audited(other).at(-1), { status: 400, outcome: 'refused' }, 'what was refused is written down as well')
  t.notMatch(JSON.stringify([audited(other), audited(at(it, owner))]), /token-of-the-operators|254700000001/)
})

t.test('ending a console session ends it at every node [7]', async (t) => {
  const it = await fleet(t, 3, { opsToken: 'token-of-the-operators' })
  const logIn = async (index: number): Promise<string> => {
    const answer = await post(`${at(it, index).opsUrl}/api/login`, {
      json: { token: 'token-of-the-operators', rights: 'act' },
    })
    return answer.headers.get('set-cookie')?.split(';')[0] ?? ''
  }
  const read = async (index: number, cookie: string): Promise<number> =>
    (await get(`${at(it, index).opsUrl}/api/calls`, { headers: { cookie } })).status
  const [kept, left] = [await logIn(0), await logIn(0)]
  for (const index of [0, 1, 2]) t.equal(await read(index, left), 200)
  await post(`${at(it, 1).opsUrl}/api/logout`, { json: {}, headers: { cookie: left } })
  for (const index of [0, 1, 2]) t.same([await read(index, left), await read(index, kept)], [401, 200])
})

t.test('every node finds the ended calls of all nodes [4]', async (t) => {
  // Each hour from 0 to 23 has a call at both nodes.
  const data = t.testdir({ 0: {}, 1: {} })
  const folders = ['0', '1'].map((node) => {
    const folder = join(data, node)
    const hours = Array.from({ length: 24 }, (_, hour) => String(hour).padStart(2, '0'))
    const records = hours.map((hour) =>
      endedCall({
        callSid: `HD_n${node}at${hour}`,
        startedAt: `2026-11-20T${hour}:00:00.000Z`,
        agent: `agent-${node}`,
      }),
    )
    mkdirSync(join(folder, 'records'))
    const lines = records.map((record) => `${JSON.stringify(record)}\n`).join('')
    writeFileSync(join(folder, 'records', 'calls-2026-11-20-0001.jsonl'), lines)
    return folder
  })
  const log = createLog({ level: 'silent' })
  const finders = folders.map((folder) => new CallFinder([folder], log, {}, () => 0))
  t.teardown(() => Promise.all(finders.map((finder) => finder.close())))
  // Each node answers at once from here on.
  await Promise.all(finders.map((finder) => finder.find({}, null, 1, null)))
  const it = await fleet(t, 2, (node) => ({ finder: finders[node] as CallFinder }))
  const page = async (node: number, query: string) => {
    const { text } = await get(`${at(it, node).opsUrl}/api/find?${query}`)
    return json(text) as {
      readonly calls: readonly { readonly callSid: string; readonly node: string; readonly startedAt: string }[]
      readonly cursor: string | null
      readonly nodes: readonly { readonly name: string; readonly answered: boolean }[]
    }
  }
  const seen: string[] = []
  for (let cursor: string | null = '', pages = 0; cursor !== null && pages < 20; pages++) {
    const answer = await page(pages % 2, `limit=7&cursor=${encodeURIComponent(cursor)}`)
    seen.push(...answer.calls.map(({ callSid, node, startedAt }) => `${startedAt} ${callSid} ${node}`))
    cursor = answer.cursor
  }
  t.equal(seen.length, 48)
  t.equal(new Set(seen).size, 48, 'each once')
  const times = seen.map((each) => each.slice(0, 24))
  t.same(times, [...times].sort().reverse(), 'the newest first')
  t.match(seen.at(-1), /^2026-11-20T00.* HD_n[01]at00 gw-[01]$/)
  const other = await page(0, 'agent=agent-1&from=2026-11-20T22:00:00Z')
  t.same(
    other.calls.map(({ callSid, node }) => [callSid, node]),
    [
      ['HD_n1at23', 'gw-1'],
      ['HD_n1at22', 'gw-1'],
    ],
  )
  const found = await command(['calls', 'find', '--agent', 'agent-1', '--limit', '5', '--ops-url', at(it, 0).opsUrl])
  t.equal(found.code, 0, found.err)
  t.match(found.out, /HD_n1at23.*\n.*HD_n1at22/)
  t.match(found.out, /there are more: --cursor \d+/)
  const charts = async (query: string) => json((await get(`${at(it, 1).opsUrl}/api/charts?${query}`)).text)
  t.match(await charts('to=2026-11-20T23:30:00Z'), {
    all: {
      whole: { calls: 48, outcomes: { contained: 48 } },
      buckets: Array.from({ length: 24 }, () => ({ calls: 2 })),
    },
    groups: [
      { name: 'agent-0', whole: { calls: 24 } },
      { name: 'agent-1', whole: { calls: 24 } },
    ],
    nodes: [
      { name: 'gw-1', answered: true },
      { name: 'gw-0', answered: true },
    ],
  })
  t.match(await charts('to=2026-11-21&agent=agent-1&over=week'), {
    all: { whole: { calls: 24 }, buckets: { length: 28 } },
  })
  await it.kill(1)
  const alone = await page(0, 'limit=500')
  t.equal(alone.calls.length, 24)
  t.match(alone.nodes, [
    { name: 'gw-0', answered: true },
    { name: 'gw-1', answered: false },
  ])
  t.match(await get(`${at(it, 0).opsUrl}/api/find?limit=501`), {
    status: 400,
    text: /limit: allowed: a whole number from 1 to 500/,
  })
  t.match(await get(`${at(it, 0).opsUrl}/api/find?from=soon`), { status: 400, text: /from: allowed: a day/ })
  t.match(await get(`${at(it, 0).opsUrl}/api/find?outcome=fine`), { status: 400, text: /outcome: .*contained/ })
  t.match(await get(`${at(it, 0).opsUrl}/api/find?cursor=x`), { status: 400, text: /cursor: allowed: the cursor/ })
  t.match(await get(`${at(it, 0).opsUrl}/api/charts?over=year`), {
    status: 400,
    text: /over: .*day/,
  })
  t.match(await get(`${at(it, 0).opsUrl}/api/charts?number=x`), {
    status: 400,
    text: /number: allowed: a number of ours/,
  })
})

t.test("a node with an unreadable index shows other nodes' calls", async (t) => {
  // A file has the place of the index of gw-0.
  const data = t.testdir({ 0: { index: 'none' }, 1: { records: {} } })
  const call = endedCall({ callSid: 'HD_at1', startedAt: '2026-11-20T10:00:00.000Z' })
  writeFileSync(join(data, '1', 'records', 'calls-2026-11-20-0001.jsonl'), `${JSON.stringify(call)}\n`)
  const log = createLog({ level: 'silent' })
  const finders = ['0', '1'].map((node) => new CallFinder([join(data, node)], log, {}, () => 0))
  t.teardown(() => Promise.all(finders.map((finder) => finder.close())))
  await finders[1]?.find({}, null, 1, null)
  const it = await fleet(t, 2, (node) => ({ finder: finders[node] as CallFinder }))
  const ask = (path: string): ReturnType<typeof get> => get(`${at(it, 0).opsUrl}/api/${path}`)
  const nodes = [
    { name: 'gw-0', answered: false, current: false },
    { name: 'gw-1', answered: true, current: true },
  ]
  const [found, charts] = [await ask('find'), await ask('charts?to=2026-11-20T10:30:00Z')]
  t.match(json(found.text), { calls: [{ callSid: 'HD_at1', node: 'gw-1' }], cursor: null, nodes })
  t.match(json(charts.text), { all: { whole: { calls: 1 } }, nodes })
  await it.kill(1)
  const alone = { status: 503, code: 'STORAGE', text: /the index of calls cannot be read/ }
  t.match(await ask('find'), alone, 'where nobody answers, it says why')
  t.match(await ask('charts'), alone)
})

t.test("pages are refused while one node's index is busy [1]", async (t) => {
  const busy = new Set<number>()
  /** Nodes that have no first page. */
  const unread = new Set<number>()
  const finderOf = (index: number) => {
    const row = endedRow(endedCall({ callSid: `HD_at${index}`, startedAt: '2026-11-20T10:00:00.000Z' }))
    const answered = <T>(answer: T): Promise<T> =>
      busy.has(index)
        ? Promise.reject(new GatewayError('CAPACITY', 'too many searches for calls wait at this node; ask again'))
        : Promise.resolve(answer)
    return {
      find: (_search: unknown, before: number | null) =>
        unread.has(index) && before === null
          ? Promise.reject(new GatewayError('STORAGE', 'the index of calls cannot be read'))
          : answered({
              hits: before === null ? [{ id: 1, row }] : [],
              next: before === null ? 1 : null,
              current: true,
            }),
      chart: () => answered({ groups: [], current: true }),
      usual: () => answered({ calls: 0, of: {} }),
    }
  }
  const it = await fleet(t, 3, (index) => (index === 2 ? {} : { finder: finderOf(index) }))
  const ask = (index: number, path: string): ReturnType<typeof get> => get(`${at(it, index).opsUrl}/api/${path}`)
  const both = [{ callSid: 'HD_at0' }, { callSid: 'HD_at1' }]
  for (const [name, index] of [
    ['gw-0', 0],
    ['gw-1', 1],
  ] as const) {
    busy.add(index)
    for (const path of ['find', 'charts']) {
      const refused = await ask(0, path)
      t.match(refused, { status: 503, code: 'CAPACITY', text: new RegExp(`searches .* at node ${name}; ask again`) })
      t.equal(refused.headers.get('retry-after'), '1')
    }
    busy.clear()
    t.match(json((await ask(0, 'find')).text)['calls'], both, 'nothing is left out a moment later')
  }
  for (const index of [0, 2])
    for (const path of ['find', 'charts'])
      t.same(
        (json((await ask(index, path)).text)['nodes'] as { name: string; answered: boolean }[])
          .map(({ name, answered }) => [name, answered])
          .sort(),
        [
          ['gw-0', true],
          ['gw-1', true],
        ],
      )
  unread.add(1)
  const found = await command(['calls', 'find', '--ops-url', at(it, 0).opsUrl])
  t.match(found, { code: 1, out: /HD_at0[^]*\nnode gw-1 did not answer\n/ }, 'it answered the second page alone')
  for (const index of [0, 1]) await it.kill(index)
  t.match(json((await ask(2, 'find')).text), { calls: [], nodes: [{ answered: false }, { answered: false }] })
  const none = await fleet(t, 2)
  t.match(await get(`${at(none, 0).opsUrl}/api/find`), { status: 404, text: /KEEP_CALLS/ }, 'where nobody keeps calls')
})

t.test('each page of results names earlier missing nodes', async (t) => {
  // The caller is masked in the middle call alone.
  const callers = ['+254712345601', '+2547…01', '+254712345601']
  const pages = callers.map((from, at) => ({
    hits: [{ id: 3 - at, row: endedRow(endedCall({ callSid: `HD_page${at}`, from })) }],
    next: at === 2 ? null : 3 - at,
    current: at > 0,
  }))
  const it = await fleet(t, 2, (index) => ({
    finder: {
      usual: () => Promise.resolve({ calls: 0, of: {} }),
      find: (_search: unknown, before: number | null) =>
        index === 1 && before === null
          ? Promise.reject(new GatewayError('STORAGE', 'the index of calls cannot be read'))
          : Promise.resolve(
              index === 1
                ? { hits: [], next: null, current: true }
                : (pages[before === null ? 0 : 4 - before] ?? pages[2]!),
            ),
      chart: () => Promise.resolve({ groups: [], current: true }),
    },
  }))
  const search = async (asked: string) => {
    const answers: Record<string, unknown>[] = []
    for (
      let cursor: unknown = '';
      typeof cursor === 'string' && answers.length < 5;
      cursor = answers.at(-1)?.['cursor']
    ) {
      const query = `limit=1&${asked}&cursor=${encodeURIComponent(cursor)}`
      // Whichever node is asked for the next page.
      answers.push(json((await get(`${at(it, 0).opsUrl}/api/find?${query}`)).text))
    }
    return answers
  }
  const nodes = [
    { name: 'gw-0', answered: true, current: false },
    { name: 'gw-1', answered: false, current: false },
  ]
  const whole = await search('caller=%2B254712345601')
  t.match(whole, [
    { calls: [{ callSid: 'HD_page0' }], nodes, alike: false },
    { calls: [{ callSid: 'HD_page1' }], nodes, alike: true },
    { calls: [{ callSid: 'HD_page2' }], nodes, alike: true, cursor: null },
  ])
  t.match(await search('caller=%2B2547…01'), [{ alike: true }, { alike: true }, { alike: true }])
  t.match(await search('agent=support'), [{ alike: false }, { alike: false }, { alike: false }])
  const find = (...argv: string[]) => command(['calls', 'find', ...argv, '--ops-url', at(it, 0).opsUrl])
  const missing = /node gw-0 still indexes its records[^]*node gw-1 did not answer/
  const found = await find('--caller', '+254712345601')
  t.match(found, { code: 1, out: missing })
  t.match(found.out, /HD_page2[^]*numbers are masked[^]*same visible digits/)
  t.notMatch((await find()).out, /masked/)
  const cursor = String(whole[1]?.['cursor'])
  t.match(await find('--cursor', cursor), { code: 1, out: missing }, 'also who goes on from what was printed')
  t.match(await get(`${at(it, 0).opsUrl}/api/find?cursor=5:a,b`), {
    status: 400,
    text: /cursor: allowed: the cursor/,
  })
})

t.test('an edited text is published at every node [2]', async (t) => {
  const hash = { old: '00000000000000aa', base: '00000000000000bb', next: '00000000000000cc' }
  const orders: (PublishOrder & { readonly at: number })[] = []
  const has = [hash.base, hash.base, hash.old, '00000000000000dd', hash.base]
  const opsToken = 'token-of-the-operators'
  const editorOf = (index: number): AgentEditing => ({
    here: () =>
      Promise.resolve({
        files: [{ file: 'a.yaml', hash: has[index] ?? null, refusal: null }],
        agents: [{ name: 'a', version: has[index] ?? '', canary: null }],
      }),
    publish: (order) => {
      orders.push({ ...order, at: index })
      if (!order.bases.includes(has[index] ?? ''))
        return Promise.reject(
          new GatewayError(
            'AGENT_CHANGED',
            'the file was changed in the meantime, and its hash is now 00000000000000dd',
          ),
        )
      const faults = index === 1 ? [{ line: 3, col: 1, what: 'needs the environment variable SHOP' }] : []
      if (faults.length === 0) has[index] = hash.next
      return Promise.resolve({ faults, hash: hash.next, before: hash.base, inUse: true, earlier: [hash.old] })
    },
    ...{ open: never, check: never, draft: never, tries: () => false },
  })
  const it = await fleet(t, 6, (index) => (index === 5 ? { opsToken } : { opsToken, editor: editorOf(index) }))
  await it.look()
  const headers = { authorization: `Bearer ${opsToken}` }
  await it.kill(4)
  const { status, text } = await post(`${at(it, 0).opsUrl}/api/editor/publish`, {
    json: { file: 'a.yaml', text: 'name: a', base: hash.base },
    headers,
  })
  t.equal(status, 200)
  t.match(json(text), {
    published: true,
    nodes: [
      { name: 'gw-0', outcome: 'published', inUse: true, why: null },
      { name: 'gw-1', outcome: 'refused', why: '3:1 needs the environment variable SHOP' },
      { name: 'gw-2', outcome: 'published' },
      { name: 'gw-3', outcome: 'refused', why: /changed in the meantime/ },
      { name: 'gw-4', outcome: 'unknown', why: 'it did not answer' },
      { name: 'gw-5', outcome: 'refused', why: /AGENTS_EDIT is not set/ },
    ],
  })
  t.same(orders[0]?.bases, [hash.base], 'where it is published first it replaces what was opened')
  t.same(orders.find((order) => order.at === 2)?.bases, [hash.base, hash.old], 'who was away has an earlier one')
  const [line] = audited(at(it, 2))
  t.match(line, { command: 'publish-agent', file: 'a.yaml', via: 'gw-0', token_kind: 'OPS_TOKEN', after: hash.next })
  t.match(json((await get(`${at(it, 2).opsUrl}/api/editor`, { headers })).text)['nodes'], [
    { name: 'gw-2', files: [{ hash: hash.next }], agents: [{ name: 'a', version: hash.next }] },
    { name: 'gw-0', answered: true, why: null, files: [{ hash: hash.next }] },
    { name: 'gw-1', files: [{ hash: hash.base }] },
    { name: 'gw-3', files: [{ hash: '00000000000000dd' }] },
    { name: 'gw-4', answered: false, why: 'it did not answer', files: [] },
    { name: 'gw-5', answered: true, why: /AGENTS_EDIT is not set/, files: [] },
  ])
  t.notMatch(JSON.stringify(it.gateways.map((one) => audited(one))), /name: a/)
})

const never = (): Promise<never> => Promise.reject(new Error('nobody asks for this'))

t.test('a recording is served only by its own node', async (t) => {
  const it = await fleet(t, 2, { recording: () => Promise.resolve(storedFile(t, new Uint8Array(64))) })
  for (const index of [0, 1]) at(it, index).calls.records.set(`HD_ended0000${index}`, endedCall({ recording: 'a.wav' }))
  const ask = (from: number, of: number) => get(`${at(it, from).opsUrl}/api/calls/HD_ended0000${of}/recording.wav`)
  t.equal((await ask(1, 1)).status, 200)
  t.match(audited(at(it, 1)), [{ command: 'recording.wav', node: 'gw-1', call_sid: 'HD_ended00001', outcome: 'done' }])
  t.match(await ask(0, 1), {
    status: 409,
    code: 'OTHER_NODE',
    text: /gw-1 has this file: ask http:\/\/10\.0\.0\.1:9464\/api\/calls\/HD_ended00001\/recording\.wav/,
  })
  t.match(await ask(1, 0), { status: 409, text: /gw-0 has this file: ask its ops port from its own machine/ })
})

t.test('a supervisor can listen to a call of another node', async (t) => {
  const it = await fleet(t, 2, { opsToken: null })
  const { sid } = await ring(at(it, 0))
  const owner = it.ownerOf(sid)
  const listens = (callSid: string): { messages: Buffer[]; closed: Promise<number> } => {
    const socket = new WebSocket(`ws://127.0.0.1:${at(it, 1 - owner).edge.opsPort}/api/calls/${callSid}/listen`)
    const messages: Buffer[] = []
    socket.on('message', (data: Buffer) => messages.push(data))
    return { messages, closed: new Promise((resolve) => socket.once('close', resolve)) }
  }
  const call = it.call(sid)
  t.equal(await listens(newSid()).closed, 4404, 'a call that no node has')
  t.equal(await listens(sid).closed, 4409, 'a call without a stream')
  call.state = 'streaming'
  const { messages, closed } = listens(sid)
  await until(() => messages.length === 1, 5000, 'the format')
  t.same(JSON.parse(String(messages[0])), { type: 'format', sampleRateHz: call.legRateHz, channels: 2 })
  call.heard?.(Int16Array.of(1, -1))
  call.heard?.(Int16Array.of(2, -2))
  await until(() => Buffer.concat(messages.slice(1)).length === 8, 5000, 'the rows')
  t.same(new Int16Array(new Uint8Array(Buffer.concat(messages.slice(1))).buffer), Int16Array.of(1, -1, 2, -2))
  call.over()
  t.equal(await closed, 1000)
  t.equal(call.heard, null, 'nobody listens any more')
  const lines = (node: number): unknown[] => audited(at(it, node)).map(({ command, status }) => [command, status])
  await until(() => lines(1 - owner).length === 4, 5000, 'the audit lines')
  t.same(lines(owner), [
    ['listen', 200],
    ['listen-over', 200],
  ])
})

t.test('a lost listener is dropped within 3 s [3]', async (t) => {
  const it = await fleet(t, 2, { opsToken: null })
  const { sid } = await ring(at(it, 0))
  const owner = it.ownerOf(sid)
  const call = it.call(sid)
  call.state = 'streaming'
  const socket = new WebSocket(`ws://127.0.0.1:${at(it, 1 - owner).edge.opsPort}/api/calls/${sid}/listen`)
  await once(socket, 'message')
  socket.terminate()
  await until(
    () => {
      it.aheadMs += 1000
      call.heard?.(Int16Array.of(1, -1))
      return call.heard === null
    },
    5000,
    'the call to be let go of',
  )
  t.pass('the next sound finds nobody')
})

t.test('the ops address is reachable from other machines', (t) => {
  const one = { opsHost: '127.0.0.1', opsPort: 9464, internalUrl: null, redisUrl: null }
  const far = { ...one, redisUrl: 'redis://r', internalUrl: 'http://gw-1.mkondo:9600' }
  for (const [config, origin] of [
    [one, 'http://127.0.0.1:9464'],
    [{ ...one, opsHost: '0.0.0.0' }, 'http://127.0.0.1:9464'],
    [{ ...one, opsPort: 0 }, null],
    [far, null],
    [{ ...far, opsHost: '0.0.0.0' }, 'http://gw-1.mkondo:9464'],
    [{ ...far, opsHost: '::' }, 'http://gw-1.mkondo:9464'],
    [{ ...far, opsHost: '10.0.0.7' }, 'http://10.0.0.7:9464'],
    [{ ...far, opsHost: 'fd00::7' }, 'http://[fd00::7]:9464'],
    [{ ...far, opsHost: '0.0.0.0', internalUrl: null }, null],
  ] as const)
    t.equal(opsOrigin(config), origin)
  t.end()
})

t.test('only recovery sees a call left by an earlier run', async (t) => {
  const left = endedCall({ callSid: newSid(), endReason: 'process-died' })
  const it = await fleet(t, 2, {}, { left: (sid) => (sid === left.callSid ? left : undefined) })
  const [asking, { name: node, incarnation }] = it.nodes as [FleetNode, FleetNode]
  const asked = (callSid: string, more = {}): Promise<unknown> =>
    asking.ask({ node, incarnation }, 'ops', { what: 'call', callSid, ...more })
  const { direction, durationMs } = left
  const isLeft = { endReason: 'process-died', resumed: [], direction, durationMs, isLeft: true, storeOwner: null }
  t.same(await asked(left.callSid, { left: true }), { result: 'answered', answer: { status: 200, body: isLeft } })
  t.match(await asked(left.callSid), { answer: { status: 404 } })
  t.match(await asked(newSid(), { left: true }), { answer: { status: 404 } })
  t.match(await get(`${at(it, 0).opsUrl}/api/calls/${left.callSid}`), { status: 404, code: 'CALL_UNKNOWN' })
})

t.test('an unknown call is searched for at every node', async (t) => {
  const it = await fleet(t, 3)
  t.match(await get(`${at(it, 0).opsUrl}/api/calls/${newSid()}`), { status: 404, code: 'CALL_UNKNOWN' })
  const { sid } = await ring(at(it, 0))
  const owner = it.ownerOf(sid)
  it.storeDown = true
  t.match(await get(`${at(it, (owner + 1) % 3).opsUrl}/api/calls/${sid}`), { status: 200 }, 'found without the store')
})

t.test('the call list covers all nodes and names silent ones', async (t) => {
  const it = await fleet(t, 3)
  const rung = await Promise.all(Array.from({ length: 6 }, (_, i) => ring(at(it, i % 3))))
  const url = `${at(it, 0).opsUrl}/api/fleet/calls`
  const all = json((await get(url)).text) as { live: { callSid: string; node: string }[]; nodes: unknown }
  t.same(all.live.map(({ callSid }) => callSid).sort(), rung.map(({ sid }) => sid).sort())
  t.ok(all.live.every(({ callSid, node }) => node === `gw-${it.ownerOf(callSid)}`))
  t.notOk(
    all.live.some((call) => 'transcript' in call),
    'not what was said',
  )
  t.equal((json((await get(`${url}?limit=2`)).text)['live'] as unknown[]).length, 2)
  for (const limit of ['0', '501', 'x']) t.equal((await get(`${url}?limit=${limit}`)).status, 400)
})

t.test("the console shows all nodes' calls and names silent nodes", async (t) => {
  const it = await fleet(t, 3, { liveMs: LIVE_MS })
  const sids = (await Promise.all([0, 1, 2].map((index) => ring(at(it, index))))).map(({ sid }) => sid)
  const [sid = ''] = sids
  const owner = it.ownerOf(sid)
  const watched = at(it, (owner + 1) % 3)
  const table = await follow(t, `${watched.opsUrl}/api/live`)
  /** The first of the next events that says so. */
  const says = async (events: typeof table, wanted: (data: Record<string, unknown>) => boolean) => {
    for (;;) {
      const event = await events.next()
      if (event === null) throw new Error('the stream has ended')
      if (wanted(event.data)) return event
    }
  }
  const rows = (data: Record<string, unknown>) => data['rows'] as { callSid: string; node: string; state: string }[]
  const first = await says(table, ({ whole }) => whole === true)
  t.same(
    rows(first.data)
      .map(({ callSid, node }) => [callSid, node])
      .toSorted(),
    sids.map((one) => [one, `gw-${it.ownerOf(one)}`]).toSorted(),
  )

  const call = await follow(t, `${watched.opsUrl}/api/calls/${sid}/live`)
  t.match(await call.next(), { event: 'call', data: { head: { callSid: sid }, live: true } })
  it.call(sid).state = 'streaming'
  t.match(await says(call, ({ head }) => head !== undefined), { data: { head: { state: 'streaming' } } })
  await says(table, (data) => rows(data).some(({ callSid, state }) => callSid === sid && state === 'streaming'))

  it.freeze(owner)
  await says(table, ({ silent }) => (silent as string[] | undefined)?.includes(`gw-${owner}`) === true)
})

t.test('a cordoned node gets no calls until uncordoned [6]', async (t) => {
  const it = await fleet(t, 2)
  const { opsUrl } = at(it, 0)
  const kept = await ring(at(it, 1))
  const before = it.ownerOf(kept.sid)
  t.match(await post(`${opsUrl}/api/cordon`, { json: { node: 'gw-1' } }), { status: 200 })
  t.match(await get(`${at(it, 1).opsUrl}/readyz`), { status: 503, text: /"reason":"cordoned"/ })
  await it.look()
  for (let i = 0; i < 8; i++) t.equal(it.ownerOf((await ring(at(it, i % 2))).sid), 0, 'every call goes to the other')
  t.equal(it.ownerOf(kept.sid), before, 'live calls stay')
  t.match(json((await get(`${opsUrl}/api/fleet`)).text), { nodes: [{ state: 'open' }, { state: 'cordoned', free: 0 }] })
  t.match(audited(at(it, 1)), [{ command: 'cordon', node: 'gw-1', via: 'gw-0', token_kind: 'none' }])

  t.match(await post(`${opsUrl}/api/cordon`, { json: {} }), { status: 200 }, 'now both')
  await it.look()
  t.match(await refusedBy(it, 0), /^<\?xml.*<Say>/)
  t.equal(await at(it, 0).metric('mkondo_calls_refused_total{reason="cordoned"}'), 1, 'its caller hears the fallback')
  t.equal((await post(`${opsUrl}/api/uncordon`, { json: { node: 'gw-1' } })).status, 200)
  t.equal((await get(`${at(it, 1).opsUrl}/readyz`)).status, 200)

  t.match(await post(`${opsUrl}/api/cordon`, { json: { node: 'gw-9' } }), {
    status: 404,
    code: 'NOT_FOUND',
    text: /nodes are: gw-0, gw-1/,
  })
  t.match(await post(`${opsUrl}/api/cordon`, { json: { node: 7 } }), { status: 400, code: 'BAD_REQUEST' })
})

t.test('another node can be drained and a drain is final', async (t) => {
  let drains = 0
  const it = await fleet(t, 2, (index) => (index === 1 ? { onDrain: () => void drains++ } : {}))
  const { opsUrl } = at(it, 0)
  t.match(await post(`${opsUrl}/api/drain`, { json: { node: 'gw-1' } }), { status: 202, text: /"draining":true/ })
  t.equal((await post(`${opsUrl}/api/drain`, { json: { node: 'gw-1' } })).status, 202)
  t.equal(drains, 1)
  t.match(await post(`${opsUrl}/api/uncordon`, { json: { node: 'gw-1' } }), { status: 409, code: 'DRAINING' })
})

t.test("GET /api/fleet matches its schema and reports the nodes' reasons", async (t) => {
  const it = await fleet(t, 3)
  at(it, 1).calls.overload = 'memory'
  it.storeDown = true
  const status = fleetStatusSchema.parse(json((await get(`${at(it, 0).opsUrl}/api/fleet`)).text))
  t.match(status, {
    self: 'gw-0',
    nodes: [
      { name: 'gw-0', self: true, state: 'open', reason: null, capacity: 1000, live: 0 },
      { name: 'gw-1', self: false, state: 'not-ready', reason: 'memory' },
      { name: 'gw-2', state: 'open', reason: null },
    ],
    store: { home: 'memory', up: false, url: null },
    alerts: [],
  })
  t.ok(Math.abs(status.nodes[0]?.clockDifferenceMs ?? Infinity) < 5000)
})

t.test("maxCalls limits an agent's calls over all nodes", async (t) => {
  const it = await fleet(t, 2)
  for (const { calls } of it.gateways) calls.agents.set('order-status', { ...ORDER_STATUS, maxCalls: 5 })
  at(it, 0).calls.agentCalls = { 'order-status': 2, support: 9 }
  at(it, 1).calls.agentCalls = { 'order-status': 2 }
  await it.look()
  t.not(it.ownerOf((await ring(at(it, 0))).sid), -1, 'one more')
  at(it, 1).calls.agentCalls = { 'order-status': 3 }
  await it.look()
  for (const index of [0, 1]) t.match(await refusedBy(it, index), /^<\?xml.*<Say>/)
  const counts = await Promise.all(
    it.gateways.map(({ metric }) => metric('mkondo_calls_refused_total{reason="agent-capacity"}')),
  )
  t.equal((counts[0] ?? 0) + (counts[1] ?? 0), 2)
})

t.test('an overloaded node passes calls on and reports why [5]', async (t) => {
  const it = await fleet(t, 2)
  at(it, 0).calls.overload = 'disk-full'
  t.match(await get(`${at(it, 0).opsUrl}/readyz`), { status: 503, text: /"reason":"disk-full"/ })
  at(it, 0).calls.overload = 'cpu-throttling'
  t.match(await get(`${at(it, 0).opsUrl}/readyz`), { status: 503, text: /"reason":"cpu-throttling"/ })
  t.equal(await at(it, 0).metric('mkondo_not_ready{reason="cpu-throttling"}'), 1)
  for (let i = 0; i < 6; i++) t.equal(it.ownerOf((await ring(at(it, 0))).sid), 1)
  at(it, 1).calls.overload = 'memory'
  t.match(await refusedBy(it, 0), /^<\?xml.*<Say>/)
  const reasons = await at(it, 0).metric('mkondo_calls_refused_total{reason="cpu-throttling"}')
  t.equal(reasons, 1, 'and the caller hears the fallback when no node is left')
})

t.test("the commands print the ops port's answers", async (t) => {
  const it = await fleet(t, 2)
  const ops = ['--ops-url', at(it, 0).opsUrl]
  const { sid } = await ring(at(it, 0))
  const owner = it.ownerOf(sid)
  t.match(await command(['calls', 'list', ...ops]), {
    code: 0,
    out: new RegExp(`${sid} +gw-${owner} +waiting`),
  })
  t.match(await command(['calls', 'escalate', sid, ...ops]), { code: 0 })
  t.equal(it.call(sid).escalations.length, 1)
  t.match(await command(['cordon', 'gw-1', ...ops]), {
    code: 0,
    out: 'gw-1 is cordoned; ' + (owner === 1 ? 1 : 0) + ' live calls\n',
  })
  await it.look()
  t.match(await command(['fleet', ...ops]), {
    code: 0,
    out: /^NODE +STATE[^]*\ngw-0 \* +open[^]*\ngw-1 +cordoned[^]*\nstore: memory, up\n$/,
  })
  const asJson = await command(['fleet', '--json', ...ops])
  t.equal(fleetStatusSchema.parse(json(asJson.out)).nodes.length, 2)
  t.match(await command(['top', ...ops]), {
    code: 0,
    out: new RegExp(
      `^1 live calls, \\d+ of \\d+ free\\nnodes: gw-0 open .*, gw-1 cordoned [^]*\\n${sid} +gw-${owner} +waiting`,
    ),
  })
  t.match(JSON.parse((await command(['top', '--json', ...ops])).out), { live: [{ callSid: sid }], silent: [] })
  t.match(await command(['drain', 'gw-7', ...ops]), {
    code: 1,
    err: /there is no node of that name; nodes are: gw-0, gw-1/,
  })
  for (const [verb, done] of [
    ['cordon', 'is cordoned'],
    ['uncordon', 'accepts calls again'],
    ['drain', 'drains'],
  ] as const) {
    const out = `gw-0 at ${at(it, 0).opsUrl} ${done}; ${1 - owner} live calls\n`
    t.match(await command([verb, ...ops]), { code: 0, out }, 'which node it was, where none was named')
  }
  t.match(await command(['drain', 'a', 'b']), { code: 2, err: /too many arguments/ })
})

t.test('a request to a silent node fails in time', async (t) => {
  const it = await fleet(t, 2)
  const { sid } = await ring(at(it, 1))
  t.equal(it.ownerOf(sid), 1)
  it.freeze(1)
  const { opsUrl } = at(it, 0)
  const [list, hangUp, drain, status, listed] = await Promise.all([
    get(`${opsUrl}/api/fleet/calls`),
    post(`${opsUrl}/api/calls/${sid}/hangup`, { json: {} }),
    post(`${opsUrl}/api/drain`, { json: { node: 'gw-1' } }),
    get(`${opsUrl}/api/fleet`),
    command(['calls', 'list', '--ops-url', opsUrl]),
  ])
  t.match(json(list.text), {
    nodes: [
      { name: 'gw-0', answered: true },
      { name: 'gw-1', answered: false },
    ],
  })
  t.match(hangUp, { status: 504, code: 'NODE_SILENT', text: /gw-1/ })
  t.match(drain, { status: 504, code: 'NODE_SILENT', text: /gw-1/ })
  t.match(json(status.text), {
    nodes: [{ state: 'open' }, { state: 'not-ready', reason: 'it does not answer other nodes' }],
  })
  t.match(listed, { code: 1, out: /node gw-1 did not answer/ })
  t.same(
    audited(at(it, 0))
      .map(({ command, status }) => `${String(command)} ${String(status)}`)
      .sort(),
    ['drain 504', 'hangup 504'],
  )
})
