import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { allCallsOn } from '../../src/backends/split.js'
import type { Handoff } from '../../src/call/documents/handoff.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { loadConfig } from '../../src/config/load-config.js'
import { agentFacts, backendSettings } from '../../src/gateway/hosted-agents.js'
import { Script, toneSpeaker } from '../../src/simulator/vendors/double.js'
import { OpenAiDouble } from '../../src/simulator/vendors/openai-realtime-double.js'
import { command } from '../support/command.js'
import { whole } from '../support/gateway.js'
import { callerSays, orderStatusAgent, sid, startHost, TestLine, until } from '../support/host.js'
import { endedCall } from '../support/record.js'
import { simulateOneCall } from '../support/simulated.js'

// The carrier's words are spoken in real time.
t.setTimeout(150_000)

const NUMBER = '+254700000017'

t.test(
  'a caller whose number leads to no agent hears words, and leaves a record from which to call back',
  async (t) => {
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
    t.match(out, /ended +nobody +none +inbound +\+2547…17 .* refused +agent-unknown\n/)
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
  },
)

const SID = 'HD_erased000001'

t.test('a whole gateway forgets an erased call, in memory and on its disk', async (t) => {
  const folder = t.testdir()
  const put = (text: string, ...path: readonly string[]): void => {
    mkdirSync(join(folder, ...path.slice(0, -1)), { recursive: true })
    writeFileSync(join(folder, ...path), text)
  }
  const record = endedCall({ callSid: SID, from: '+254700000017', rootSid: SID, startedAt: new Date().toISOString() })
  const day = new Date().toISOString().slice(0, 10)
  put(`${JSON.stringify(record)}\n`, 'records', `calls-${day}-0001.jsonl`)
  put(`${JSON.stringify({ callSid: SID, from: '+254700000017' })}\n`, 'records', `handoffs-${day}-0001.jsonl`)
  put('RIFF', 'recordings', `${SID}.wav`)
  put('{}\n', 'journals', `${SID}.jsonl`)
  put('RIFF', 'process-1', 'recordings', `${SID}.2.wav`)
  const lines: string[] = []
  const { at, close } = await whole({ DATA_DIR: folder, JOURNAL_CALLS: 'decisions' }, null, {
    write: (line: string) => void lines.push(line),
  })
  t.teardown(close)
  const ask = async (path: string): Promise<number> =>
    (await fetch(`http://127.0.0.1:${at.opsPort}/api/calls/${SID}${path}`)).status
  const views = ['', '/transcript', '/timeline', '/handoff', '/recording.wav', '/journal.jsonl']
  for (const view of views) t.equal(await ask(view), 200, view)
  const { code, out } = await command([
    ...['erase', '--number', '+254 700 000 017', '--ops-url', `http://127.0.0.1:${at.opsPort}`],
  ])
  t.equal(code, 0)
  t.match(
    out,
    /^erased: 1 call: 1 record, 1 handoff packet, 2 recordings, 0 carrier's recordings, 1 journal, 0 messages, 0 kept states\n$/,
  )
  for (const view of views) t.equal(await ask(view), 404, view)
  t.notOk(existsSync(join(folder, 'recordings', `${SID}.wav`)))
  t.notOk(existsSync(join(folder, 'process-1', 'recordings', `${SID}.2.wav`)), 'also of a process that is gone')
  t.notMatch(lines.join(''), /254700000017|254 700/)
})

const KEY = 'sk-test-words'
const OFFER = 'How can I help you?'

t.test('a silent caller gets an offer, which the model learns of, and one who is done gets a goodbye', async (t) => {
  const script = new Script([{ say: 'Hello.' }, { say: 'You are welcome.' }], ["That's all, thank you."])
  const double = await OpenAiDouble.start({
    key: KEY,
    speaker: () => toneSpeaker(24_000)('short'),
    model: () => script,
  })
  const shipped = await orderStatusAgent()
  const definition = {
    ...shipped,
    silence: { ...shipped.silence, afterMs: 4000, firstAfterMs: 4000, firstPrompt: OFFER },
    closing: { afterMs: 1000 },
  }
  const settings = { OPENAI_API_KEY: KEY, OPENAI_BASE_URL: double.baseUrl }
  const served = await startHost({
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn('openai') }]]),
    backends: backendSettings(loadConfig(settings, null)),
  })
  t.teardown(async () => {
    await served.close()
    await double.close()
  })
  const words = await callerSays('That is all thank you')
  const callSid = sid('HD_lastwords0001')
  const call = served.host.prepare({
    callSid,
    agent: 'order-status',
    from: '+254700000001',
    to: '+254700000009',
    direction: 'inbound',
  })
  const line = new TestLine(call)
  line.start()
  const received = (): string => JSON.stringify(double.sessions.map(({ received }) => received))
  await until(() => received().includes(OFFER), 20_000, 'the model to learn of the offer')
  t.match(received(), /"role":"assistant"[^}]*How can I help you\?/)
  line.say(words)
  const record = await served.recordOf(callSid)
  t.match(record, { endReason: 'agent-goodbye', outcome: 'contained' })
  t.same(
    record.transcript.map(({ role, text }) => [role, text]),
    [
      ['agent', 'Hello.'],
      ['agent', OFFER],
      ['caller', "That's all, thank you."],
      ['agent', 'You are welcome.'],
      ['agent', 'Thank you for calling. Goodbye.'],
    ],
  )
})
