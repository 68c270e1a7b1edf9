import { once } from 'node:events'
import { get as httpGet, type IncomingMessage } from 'node:http'
import t from 'tap'
import { WebSocket } from 'ws'
import type { Softphone } from '../../src/edge/ops/ops-phone.js'
import { GatewayError } from '../../src/core/errors.js'
import { ConsoleSessions } from '../../src/edge/ops/ops-session.js'
import { OPS_STREAMS_OF_ONE_MAX } from '../../src/edge/ops/ops-live.js'
import { consoleFiles } from '../../src/gateway/console-files.js'
import { editorDouble, HASH } from '../support/editor-double.js'
import { follow } from '../support/server-events.js'
import { until } from '../support/until.js'
import { get, newSid, post, ring, startGateway } from './gateway.js'
import type { Gateway } from './gateway.js'

const TOKEN = 'ops-token-of-a-test'
/** Interval at which a watched page is read. */
const LIVE_MS = 20

/** Logs in and returns the `Cookie` header; null when it was refused. */
async function logIn({ opsUrl }: Gateway, token: string, rights: string): Promise<string | null> {
  const answer = await post(`${opsUrl}/api/login`, { json: { token, rights } })
  return answer.headers.get('set-cookie')?.split(';')[0] ?? null
}

/** Opens a stream from another address of this machine, in a session that only reads. */
async function fromAddress(
  gateway: Gateway,
  localAddress: string,
  cookie: string | null = null,
): Promise<{ readonly cookie: string; readonly status: number | undefined }> {
  const held = cookie ?? (await logIn(gateway, TOKEN, 'read')) ?? ''
  const request = httpGet(`${gateway.opsUrl}/api/live`, { localAddress, agent: false, headers: { cookie: held } })
  request.on('error', () => undefined) // the gateway ends its streams when it stops
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  answer.on('error', () => undefined).resume()
  return { cookie: held, status: answer.statusCode }
}

/** Opens the softphone's socket: the status of the answer, 101 when it was opened. */
function phone({ edge }: Gateway, headers: Readonly<Record<string, string>>): Promise<number> {
  return socketAnswer(`ws://127.0.0.1:${edge.opsPort}/api/phone`, headers)
}

function socketAnswer(url: string, headers: Readonly<Record<string, string>>): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, { headers })
    socket.once('open', () => {
      socket.terminate()
      resolve(101)
    })
    socket.once('unexpected-response', (_, response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
      socket.terminate()
    })
    socket.on('error', () => undefined) // its status reports it
  })
}

t.test("the console's policy forbids inline and foreign content", async (t) => {
  const gateway = await startGateway(t, { opsToken: TOKEN, console: consoleFiles() })
  const page = await get(`${gateway.opsUrl}/`)
  t.equal(page.status, 200, 'without a token: it shows a login')
  const policy = page.headers.get('content-security-policy') ?? ''
  t.match(policy, /default-src 'none'/)
  t.notMatch(policy, /unsafe|\*|https?:/)
  t.equal(page.headers.get('x-content-type-options'), 'nosniff')
  t.notMatch(page.text, /<script(?![^>]* src=)|<style|style=|onload=/, 'the page has nothing inline')
  const [, script = ''] = /src="(\/assets\/[^"]*)"/.exec(page.text) ?? []
  t.match(await get(gateway.opsUrl + script), { status: 200, text: /EventSource/ })
  t.match((await get(gateway.opsUrl + script)).headers.get('content-type'), /^text\/javascript/)
  t.equal((await get(`${gateway.opsUrl}/assets/..%2f..%2fpackage.json`)).status, 404)
})

t.test('a login gives an HttpOnly cookie with limited rights [2]', async (t) => {
  const gateway = await startGateway(t, { opsToken: TOKEN })
  const { opsUrl } = gateway
  const { sid } = await ring(gateway)
  const session = async (cookie = ''): Promise<unknown> =>
    JSON.parse((await get(`${opsUrl}/api/session`, { headers: { cookie } })).text)
  t.same(await session(), { login: true, rights: null })
  t.equal(await logIn(gateway, `${TOKEN}x`, 'act'), null)
  t.match(await post(`${opsUrl}/api/login`, { json: { token: `${TOKEN}x`, rights: 'act' } }), { status: 401 })
  t.match(await post(`${opsUrl}/api/login`, { json: { token: TOKEN, rights: 'all' } }), { status: 400 })

  const set = (await post(`${opsUrl}/api/login`, { json: { token: TOKEN, rights: 'read' } })).headers.get('set-cookie')
  t.match(set, /; HttpOnly; SameSite=Strict; Max-Age=\d+$/)
  t.notMatch(set, TOKEN)
  const secure = await post(`${opsUrl}/api/login`, {
    json: { token: TOKEN, rights: 'read' },
    headers: { origin: opsUrl.replace('http:', 'https:') },
  })
  t.match(secure.headers.get('set-cookie'), /; Secure$/, 'behind TLS')

  const reads = (await logIn(gateway, TOKEN, 'read')) ?? ''
  const acts = (await logIn(gateway, TOKEN, 'act')) ?? ''
  t.match(await session(reads), { rights: 'read' })
  t.match(await session(acts), { rights: 'act', agents: ['order-status', 'support'] })
  const hangUp = (cookie: string) => post(`${opsUrl}/api/calls/${sid}/hangup`, { json: {}, headers: { cookie } })
  t.equal((await get(`${opsUrl}/api/calls/${sid}`, { headers: { cookie: reads } })).status, 200)
  t.match(await hangUp(reads), { status: 403, text: /only reads/ })
  const tried = await post(`${opsUrl}/api/agents/order-status/tools/x`, { json: {}, headers: { cookie: reads } })
  t.equal(tried.status, 403, 'a reading session runs no tool')
  t.equal(gateway.calls.get(sid).hangups.length, 0)
  t.equal((await hangUp(acts)).status, 202)

  const forged = reads.replace('=read.', '=act.')
  t.same(await session(forged), { login: true, rights: null })
  t.equal((await hangUp(forged)).status, 401)
  const foreign = await get(`${opsUrl}/api/calls`, { headers: { cookie: acts, 'sec-fetch-site': 'cross-site' } })
  t.equal(foreign.status, 403, 'a request from another site is refused')
  const left = await post(`${opsUrl}/api/logout`, { json: {}, headers: { cookie: acts } })
  t.match(left.headers.get('set-cookie'), /Max-Age=0/)
  t.equal((await hangUp(acts)).status, 401, 'the cookie of an ended session is refused')
  t.same(await session(acts), { login: true, rights: null })
  t.match(await session(reads), { rights: 'read' }, 'another session stays valid')
  const again = (await logIn(gateway, TOKEN, 'act')) ?? ''
  t.match(await session(again), { rights: 'act' })
  t.equal((await post(`${opsUrl}/api/logout`, { json: {} })).status, 200, 'without a session')

  const other = await startGateway(t, { opsToken: `${TOKEN}2` })
  t.equal((await get(`${other.opsUrl}/api/calls`, { headers: { cookie: acts } })).status, 401, 'another token')
})

t.test('sessions expire, acting ones first', async (t) => {
  let wallMs = Date.now()
  const gateway = await startGateway(t, { opsToken: TOKEN, wallClock: () => wallMs })
  const reads = (await logIn(gateway, TOKEN, 'read')) ?? ''
  const acts = (await logIn(gateway, TOKEN, 'act')) ?? ''
  const status = async (cookie: string): Promise<number> =>
    (await get(`${gateway.opsUrl}/api/calls`, { headers: { cookie } })).status
  wallMs += 9 * 3600_000
  t.same([await status(reads), await status(acts)], [200, 401])
  wallMs += 16 * 3600_000
  t.same([await status(reads), await status(acts)], [401, 401])
})

t.test('an ended session stays ended after a restart [4]', (t) => {
  const nowMs = 1_800_000_000_000
  const sessions = new ConsoleSessions(TOKEN, nowMs)
  const cookieOf = (rights: 'read' | 'act', wallMs = nowMs): string =>
    sessions.open(rights, wallMs, false).split(';')[0] ?? ''
  const end = (cookie: string, wallMs = nowMs): void => {
    for (const session of sessions.sessionsOf(cookie, wallMs)) sessions.end(session, wallMs)
  }
  const [first, kept] = [cookieOf('act'), cookieOf('act', nowMs + 60_000)]
  end(first)
  t.equal(sessions.rightsOf(first, nowMs), null)
  t.equal(sessions.rightsOf(kept, nowMs), 'act')
  t.equal(new ConsoleSessions(TOKEN, nowMs + 60_000).rightsOf(first, nowMs), null, 'a process started later')
  t.equal(new ConsoleSessions(TOKEN, nowMs).rightsOf(kept, nowMs), 'act', 'another process started then')
  for (let count = 0; count < 10_000; count++) end(cookieOf('act', nowMs + 1000))
  t.equal(sessions.rightsOf(first, nowMs), null, 'sessions as old as a forgotten one are refused')
  t.equal(sessions.rightsOf(cookieOf('act'), nowMs), null)
  t.equal(sessions.rightsOf(kept, nowMs), 'act')
  t.end()
})

t.test('browser calls are audited at their start and end', async (t) => {
  let over: () => void = () => undefined
  const placed: Softphone['place'] = (order, events) => {
    over = events.over
    if (order.draft !== null) throw new GatewayError('AGENT_UNKNOWN', 'this draft is not kept any more')
    return {
      callSid: 'HD_000000phone1',
      audio: () => undefined,
      press: () => undefined,
      say: () => undefined,
      hangUp: () => undefined,
    }
  }
  const gateway = await startGateway(t, { opsToken: TOKEN, phone: { place: placed } })
  const audited = () => gateway.logged().filter(({ component }) => component === 'audit')
  const cookie = (await logIn(gateway, TOKEN, 'act')) ?? ''
  const socket = new WebSocket(`ws://127.0.0.1:${gateway.edge.opsPort}/api/phone`, { headers: { cookie } })
  await new Promise((resolve) => socket.once('open', resolve))
  const answers: string[] = []
  socket.on('message', (data: Buffer) => answers.push(data.toString()))
  const order = '{"type":"call","agent":"support","from":"+254700000001"}'
  socket.send(order)
  await until(() => audited().length === 1, 2000, 'the beginning')
  const line = { call_sid: 'HD_000000phone1', agent: 'support', token_kind: 'OPS_TOKEN', address: '127.0.0.1' }
  t.match(audited()[0], { ...line, command: 'softphone', outcome: 'done', status: 201 })
  socket.send(order)
  await until(() => audited().length === 2, 2000, 'the refusal of another one')
  t.match(audited()[1], { command: 'softphone', outcome: 'refused', call_sid: null, agent: 'support' })
  over()
  t.match(audited()[2], { ...line, command: 'softphone-over', outcome: 'done' })
  socket.send(order.replace('{', '{"draft":"6f1e2f9a-0000-4000-8000-000000000000",'))
  // The refusal of the order before may come only now.
  await until(() => answers.some((one) => one.includes('draft')), 2000, 'the answer about the draft')
  t.match(answers.at(-1), /"refused".*this draft is not kept/)
  t.match(audited()[3], { command: 'softphone', outcome: 'refused', status: 404, tries: 'draft' })
  t.notMatch(JSON.stringify(audited()), /254700000001/)
  socket.terminate()
})

const EDITS = {
  open: { file: 'a.yaml' },
  check: { file: 'a.yaml', text: 'version: 1' },
  draft: { file: 'a.yaml', text: 'version: 1' },
  publish: { file: 'a.yaml', text: 'version: 1', base: HASH },
}

t.test("editing needs an acting session from the console's own page", async (t) => {
  const { editor, asked } = editorDouble()
  const gateway = await startGateway(t, { opsToken: TOKEN, editor })
  const [reads, acts] = [(await logIn(gateway, TOKEN, 'read')) ?? '', (await logIn(gateway, TOKEN, 'act')) ?? '']
  const off = await startGateway(t, { opsToken: TOKEN })
  const authorization = `Bearer ${TOKEN}`
  for (const [path, json] of Object.entries(EDITS)) {
    const url = `${gateway.opsUrl}/api/editor/${path}`
    t.equal((await post(url, { json })).status, 401, path)
    t.match(await post(url, { json, headers: { cookie: reads } }), { status: 403, text: /only reads/ }, path)
    const foreign = { cookie: acts, 'sec-fetch-site': 'cross-site' }
    t.equal((await post(url, { json, headers: foreign })).status, 403, path)
    t.equal(
      (await post(url, { body: JSON.stringify(json), headers: { cookie: acts } })).status,
      415,
      'only JSON is accepted',
    )
    t.match(
      await post(`${off.opsUrl}/api/editor/${path}`, { json, headers: { authorization } }),
      { status: 404, text: /AGENTS_EDIT/ },
      path,
    )
  }
  t.match(await get(`${off.opsUrl}/api/editor`, { headers: { authorization } }), { status: 404, text: /AGENTS_EDIT/ })
  t.equal(off.logged().filter(({ component }) => component === 'audit').length, 0)
  t.same(asked, [], 'refused requests do not reach the editor')
  const list = JSON.parse((await get(`${gateway.opsUrl}/api/editor`, { headers: { cookie: reads } })).text) as unknown
  t.match(list, { nodes: [{ name: null, answered: true, files: [{ file: 'a.yaml', hash: HASH }] }] })
  t.notMatch(JSON.stringify(list), /version: 1/, 'a reading session sees no text')
  for (const [path, json] of Object.entries(EDITS))
    t.equal((await post(`${gateway.opsUrl}/api/editor/${path}`, { json, headers: { cookie: acts } })).status, 200, path)
  t.equal(asked.length, 5)
})

t.test('edits and refusals are audited by file and hash', async (t) => {
  const { editor } = editorDouble({
    publish: ({ bases: [base = ''], text }) =>
      text === 'late'
        ? Promise.reject(new GatewayError('AGENT_CHANGED', 'the file was changed in the meantime'))
        : Promise.resolve({
            faults: text === 'bad' ? [{ line: 1, col: 1, what: 'is missing' }] : [],
            ...{ hash: HASH, before: base, inUse: true, earlier: text === 'old' ? [HASH] : [] },
          }),
    open: () => Promise.reject(new GatewayError('AGENT_UNKNOWN', 'there is no such file')),
  })
  const gateway = await startGateway(t, { opsToken: TOKEN, editor })
  const ask = (path: string, json: unknown) =>
    post(`${gateway.opsUrl}/api/editor/${path}`, { json, headers: { authorization: `Bearer ${TOKEN}` } })
  const base = 'fedcba9876543210'
  t.match(await ask('publish', { file: 'a.yaml', text: 'words of the author', base }), { status: 200 })
  t.match(await ask('publish', { file: 'a.yaml', text: 'old', base }), { status: 200 })
  t.match(await ask('publish', { file: 'a.yaml', text: 'bad', base }), {
    status: 200,
    text: /"published":false.*is missing/,
  })
  t.match(await ask('publish', { file: 'a.yaml', text: 'late', base }), { status: 409, code: 'AGENT_CHANGED' })
  t.match(await ask('open', { file: '../passwd' }), { status: 404 })
  t.match(await ask('draft', EDITS.draft), { status: 200 })
  t.match(await ask('check', EDITS.check), { status: 200 })
  for (const json of [
    {},
    { file: 'a.yaml', text: 'x' },
    { file: 'a.yaml', text: 'x', base: 'y' },
    { ...EDITS.publish, more: 1 },
  ])
    t.match(await ask('publish', json), { status: 400, code: 'BAD_REQUEST' })
  t.match(await ask('check', { file: 'a.yaml', text: 'x'.repeat(256 * 1024 + 1) }), { status: 400, text: /262144/ })
  t.match(await ask('check', { file: 'a.yaml', text: 'x'.repeat(600 * 1024) }), { status: 413 })
  const lines = gateway.logged().filter(({ component }) => component === 'audit')
  const who = { token_kind: 'OPS_TOKEN', address: '127.0.0.1' }
  t.match(lines, [
    { ...who, command: 'publish-agent', file: 'a.yaml', before: base, after: HASH, outcome: 'done' },
    { ...who, command: 'roll-back-agent', file: 'a.yaml', before: base, after: HASH, outcome: 'done' },
    { ...who, command: 'publish-agent', file: 'a.yaml', outcome: 'refused', status: 400 },
    { ...who, command: 'publish-agent', file: 'a.yaml', outcome: 'refused', status: 409 },
    { ...who, command: 'open-agent', outcome: 'refused', status: 404 },
    { ...who, command: 'try-agent', file: 'a.yaml', after: HASH, outcome: 'done' },
  ])
  t.equal(lines.length, 6)
  t.notMatch(JSON.stringify(lines), /words of the author|passwd/)
})

t.test('the softphone socket needs own origin and acting session [3]', async (t) => {
  const open = await startGateway(t)
  const here = `127.0.0.1:${open.edge.opsPort}`
  t.equal(await phone(open, { origin: `http://${here}` }), 101)
  t.equal(await phone(open, {}), 101, 'a program sends no origin')
  t.equal(await phone(open, { origin: 'http://attacker.example' }), 403)
  t.equal(await phone(open, { origin: `http://${here}.attacker.example` }), 403)
  t.equal(await phone(open, { host: 'attacker.example', origin: 'http://attacker.example' }), 403, 'DNS rebinding')

  const guarded = await startGateway(t, { opsToken: TOKEN })
  t.equal(await phone(guarded, {}), 401)
  t.equal(await phone(guarded, { cookie: (await logIn(guarded, TOKEN, 'read')) ?? '' }), 403)
  t.equal(await phone(guarded, { cookie: (await logIn(guarded, TOKEN, 'act')) ?? '' }), 101)
})

t.test('a slow listener loses sound but not the connection [1]', async (t) => {
  const listenToken = 'listen-token-of-a-test'
  const gateway = await startGateway(t, { opsToken: TOKEN, opsListenToken: listenToken })
  const { sid } = await ring(gateway)
  const url = `ws://127.0.0.1:${gateway.edge.opsPort}/api/calls/${sid}/listen`
  const answer = (headers: Readonly<Record<string, string>>, at = url): Promise<number> => socketAnswer(at, headers)
  t.equal(await answer({}), 401)
  t.equal(await answer({ authorization: `Bearer ${TOKEN}` }), 403, 'OPS_TOKEN does not allow listening')
  t.equal(await answer({ cookie: (await logIn(gateway, TOKEN, 'act')) ?? '' }), 403)
  t.equal(await logIn(gateway, TOKEN, 'listen'), null)
  const cookie = (await logIn(gateway, listenToken, 'listen')) ?? ''
  t.equal(await answer({ cookie, origin: 'http://attacker.example' }), 403)
  t.equal(await answer({ cookie }, url.replace(sid, newSid())), 404)
  t.equal(
    (await get(`${gateway.opsUrl}/api/calls`, { headers: { cookie } })).status,
    200,
    'a listening session may act too',
  )

  const call = gateway.calls.get(sid)
  call.state = 'streaming'
  const socket = new WebSocket(url, { headers: { cookie } })
  const messages: Buffer[] = []
  const closed = new Promise<number>((resolve) => socket.once('close', resolve))
  socket.on('message', (data: Buffer) => messages.push(data))
  await until(() => messages.length === 1, 5000, 'the format')
  t.same(JSON.parse(String(messages[0])), { type: 'format', sampleRateHz: call.legRateHz, channels: 2 })
  call.heard?.(Int16Array.of(1, -1, 2, -2))
  await until(() => messages.length === 2, 5000, 'the rows')
  t.same(new Int16Array(new Uint8Array(messages[1] ?? []).buffer), Int16Array.of(1, -1, 2, -2))
  socket.pause()
  for (let i = 0; i < 400; i++) call.heard?.(new Int16Array(32_000))
  t.match(await gateway.metrics.render(), /mkondo_listen_messages_dropped_total [1-9]/)
  socket.resume()
  call.over()
  t.equal(await closed, 1000)
  await until(() => call.heard === null, 5000, 'the end')
  const audited = gateway.logged().filter(({ component }) => component === 'audit')
  t.match(
    audited.map(({ command, outcome }) => `${String(command)} ${String(outcome)}`),
    ['listen refused', 'listen done', 'listen-over done'],
  )
  t.match(audited[1], { token_kind: 'OPS_LISTEN_TOKEN', call_sid: sid })
})

t.test('the softphone reports refused calls and invalid messages', async (t) => {
  const gateway = await startGateway(t)
  const socket = new WebSocket(`ws://127.0.0.1:${gateway.edge.opsPort}/api/phone`)
  const said: string[] = []
  socket.on('message', (data: Buffer) => said.push((JSON.parse(data.toString()) as { message: string }).message))
  await new Promise((resolve) => socket.once('open', resolve))
  for (const text of [
    '{"type":"call","agent":"order-status","from":"+254700000001"}',
    'no JSON',
    '{"type":"press","keys":"x"}',
    `{"type":"say","text":"${'a'.repeat(301)}"}`,
  ])
    socket.send(text)
  socket.send(new Uint8Array(640))
  await until(() => said.length >= 4, 10_000, 'four refusals')
  socket.close()
  t.match(said, [
    /does not accept calls/,
    /the type call, press, say or hang-up/,
    /keys are not valid; allowed: 1 to 16/,
    /1 to 300 characters/,
  ])
})

t.test('live calls are sent whole first, then as changes', async (t) => {
  const gateway = await startGateway(t, { liveMs: LIVE_MS })
  const first = await ring(gateway)
  const events = await follow(t, `${gateway.opsUrl}/api/live`)
  t.match(events.type, 'text/event-stream')
  const whole = await events.next()
  t.match(whole, { event: 'calls', data: { whole: true, rows: [{ callSid: first.sid, from: '+2547…01' }], gone: [] } })
  t.notOk('transcript' in ((whole?.data['rows'] as object[])[0] ?? {}))
  const second = await ring(gateway)
  t.match(await events.next(), { data: { rows: [{ callSid: second.sid, state: 'waiting' }], gone: [] } })
  gateway.calls.get(first.sid).state = 'streaming'
  gateway.calls.calls.delete(second.sid)
  t.match(await events.next(), { data: { rows: [{ callSid: first.sid, state: 'streaming' }], gone: [second.sid] } })
})

t.test('a watched call is sent whole, in parts, then ended', async (t) => {
  const gateway = await startGateway(t, { liveMs: LIVE_MS })
  const { sid } = await ring(gateway)
  const events = await follow(t, `${gateway.opsUrl}/api/calls/${sid}/live`)
  t.match(await events.next(), {
    event: 'call',
    data: { head: { callSid: sid }, live: true, transcript: [], marks: [{}] },
  })
  const call = gateway.calls.get(sid)
  call.state = 'streaming'
  const part = await events.next()
  t.match(part, { event: 'call', data: { head: { state: 'streaming' } } })
  t.same(Object.keys(part?.data ?? {}), ['head'], 'only what has changed')
  call.state = 'ended'
  t.match(await events.next(), { event: 'call', data: { live: false } })
  t.match(await events.next(), { event: 'over' })
  t.equal(await events.next(), null, 'the stream has ended')

  const unknown = await follow(t, `${gateway.opsUrl}/api/calls/${newSid()}/live`)
  t.match(await unknown.next(), { event: 'unknown' })
})

t.test('a session has a limited number of event streams [6]', async (t) => {
  const gateway = await startGateway(t, { opsToken: TOKEN, liveMs: LIVE_MS })
  const url = `${gateway.opsUrl}/api/live`
  const refused = (full: string) => gateway.metric(`mkondo_ops_streams_refused_total{full="${full}"}`)
  const open = async (): Promise<readonly { readonly status: number; readonly stop: () => void }[]> => {
    const cookie = (await logIn(gateway, TOKEN, 'read')) ?? ''
    const pages = await Promise.all(Array.from({ length: OPS_STREAMS_OF_ONE_MAX }, () => follow(t, url, { cookie })))
    t.match(await get(url, { headers: { cookie } }), { status: 503, code: 'BUSY' })
    return pages
  }
  const own = await open()
  t.ok(own.every(({ status }) => status === 200))
  t.equal(await refused('share'), 1)
  const headers = { authorization: `Bearer ${TOKEN}` }
  t.equal((await follow(t, url, headers)).status, 200, 'requests with the token have a separate share')
  await open()
  const { cookie, status } = await fromAddress(gateway, '127.0.0.1')
  t.equal(status, 503, 'the address has its number of readers, in any session')
  t.equal(await refused('address'), 1)
  for (let i = 0; i < OPS_STREAMS_OF_ONE_MAX; i++)
    t.equal((await fromAddress(gateway, '127.0.0.2', cookie)).status, 200, 'another address')
  t.equal((await fromAddress(gateway, '127.0.0.2')).status, 503)
  t.equal(await refused('readers'), 1)
  const acting = { cookie: (await logIn(gateway, TOKEN, 'act')) ?? '' }
  for (let i = 1; i < OPS_STREAMS_OF_ONE_MAX; i++)
    t.equal((await follow(t, url, acting)).status, 200, 'places are kept for people who may act')
  t.match(await get(url, { headers: acting }), { status: 503, code: 'BUSY' })
  t.equal(await refused('all'), 1)
  own[0]?.stop()
  const takes = async (): Promise<boolean> => (await follow(t, url, acting)).status === 200
  await until(takes, 10_000, 'a free place')
})

t.test('an event stream beyond the limit is refused [5]', async (t) => {
  const gateway = await startGateway(t, { liveMs: LIVE_MS })
  const pages = await Promise.all(
    Array.from({ length: OPS_STREAMS_OF_ONE_MAX }, () => follow(t, `${gateway.opsUrl}/api/live`)),
  )
  t.ok(pages.every(({ status }) => status === 200))
  t.match(await get(`${gateway.opsUrl}/api/live`), { status: 503, code: 'BUSY' })
  pages[0]?.stop()
  const takes = async (): Promise<boolean> => (await follow(t, `${gateway.opsUrl}/api/live`)).status === 200
  await until(takes, 10_000, 'a free place')
})
