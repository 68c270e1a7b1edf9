import t from 'tap'
import type { Handoff } from '../../src/call/documents/handoff.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { command } from '../support/command.js'
import { whole } from '../support/gateway.js'
import { simulateOneCall } from '../support/simulated.js'

const NUMBER = '+254700000017'

t.test('a refused caller hears words and leaves a record', async (t) => {
  const env = { DATA_DIR: t.testdir(), NO_AGENT_SAY: 'en-KE: This number is closed. sw-KE: Namba hii imefungwa.' }
  let running = await whole(env)
  t.teardown(() => running.close())
  const get = async (path: string): Promise<{ status: number; body: unknown }> => {
    const response = await fetch(`http://127.0.0.1:${running.at.opsPort}${path}`)
    return { status: response.status, body: await response.json() }
  }
  const [call] = (await simulateOneCall({ ...running.at, agent: 'nobody', args: ['--from', NUMBER] })).calls
  t.match(call, {
    outcome: 'refused',
    verbs: ['Say', 'Say', 'Hangup'],
    ended: { by: 'document' },
    complaints: [],
    goal: { why: /it was refused \(agent-unknown: there is no agent of that name\)/ },
  })
  t.ok(call?.callerHeard.greetingMs, 'the words are heard')

  const path = `/api/calls/${call?.callSid ?? ''}`
  const refused: Partial<CallRecord> = {
    agent: 'nobody',
    direction: 'inbound',
    from: '+2547…17',
    outcome: 'refused',
    endReason: 'agent-unknown',
    durationMs: 0,
    carrier: null,
  }
  const packet: Partial<Handoff> = { from: NUMBER, reason: 'refused: agent-unknown' }
  const listed = { callSid: call?.callSid, outcome: 'refused', endReason: 'agent-unknown', from: '+2547…17' }
  const kept = async (when: string): Promise<void> => {
    t.match(await get(path), { status: 200, body: refused }, `the record, ${when}`)
    t.match(await get(`${path}/handoff`), { status: 200, body: packet }, `the number to call back, ${when}`)
    t.match(await get('/api/calls'), { body: { ended: [listed] } }, `in the list, ${when}`)
  }
  await kept('at once')
  const opsUrl = ['--ops-url', `http://127.0.0.1:${running.at.opsPort}`]
  const { out } = await command(['calls', 'list', '--outcome', 'refused', ...opsUrl])
  t.match(out, /ended +nobody +none +inbound +\+2547…17 .* refused +not-connected +agent-unknown\n/)
  t.match((await command(['calls', 'list', '--outcome', 'failed', ...opsUrl])).out, /no calls yet/)
  t.match(await get('/api/fleet/calls?outcome=refused'), { body: { ended: [listed] } })
  t.match(await get('/api/fleet/calls?outcome=failed'), { status: 200, body: { ended: [] } })
  t.equal((await get('/api/fleet/calls?outcome=lost')).status, 400)
  const metrics = await (await fetch(`http://127.0.0.1:${running.at.opsPort}/metrics`)).text()
  t.match(metrics, /^mkondo_calls_refused_total\{reason="agent-unknown"\} 1/m)
  t.notMatch(metrics, /^mkondo_calls_total\{.*outcome="refused"/m, 'in no ratio of outcomes')
  t.notMatch(metrics, /^mkondo_call_ends_total\{[^}]*reason="agent-unknown"/m)

  await running.close()
  running = await whole(env)
  await kept('after a restart')
  const erased = await command(['erase', '--number', NUMBER, '--ops-url', `http://127.0.0.1:${running.at.opsPort}`])
  t.match(erased, { code: 0, out: /^erased: 1 call: 1 record, 1 handoff packet/ })
  for (const view of ['', '/handoff']) t.equal((await get(path + view)).status, 404, view)
  t.match(await get('/api/calls'), { body: { ended: [] } })
})
