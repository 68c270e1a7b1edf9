import { readdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { loadConfig } from '../../src/config/load-config.js'
import { backendSettings, hostedAgents } from '../../src/gateway/hosted-agents.js'
import { JournalFiles } from '../../src/gateway/journal-files.js'
import type { HandoffNews } from '../../src/messages/message.js'
import { CascadeDouble } from '../../src/simulator/vendors/cascade-double.js'
import { Archive } from '../../src/telemetry/archive/archive.js'
import { createLog } from '../../src/telemetry/log.js'
import { callerSays, sid, startHost, TestLine, until } from '../support/host.js'
import { archiveLimits } from '../support/stored-file.js'

/** Whole calls on a cascade: real audio, and the recogniser's double says what was heard. */

const NUMBER = '+254720100001'

t.test('beyond the budget of its number a caller leaves a message, and no model is asked', async (t) => {
  const double = await CascadeDouble.start()
  t.teardown(() => double.close())
  const dir = t.testdir({ agents: {} })
  const file = (name: string): string => join(dir, name)
  await writeFile(
    file('agents/desk.yaml'),
    'version: 1\nname: desk\ninstructions: x\nescalation: { numbers: ["+254720000099"] }\n',
  )
  await writeFile(
    file('numbers.yaml'),
    `version: 1\nnumbers: { '${NUMBER}': { agent: desk, facts: { name: Duka }, budget: { perDay: 1000 } } }\n`,
  )
  await writeFile(file('prices.yaml'), 'currency: USD\nexchange: { readOn: 2026-11-20, rates: { KES: 130 } }\n')
  const env = {
    AGENTS_DIR: file('agents'),
    NUMBERS_FILE: file('numbers.yaml'),
    PRICES_FILE: file('prices.yaml'),
    STT_URL: double.baseUrl,
    LLM_URL: double.baseUrl,
    TTS_URL: double.baseUrl,
  }
  const config = loadConfig(env, null)
  const { agents, numbers } = await hostedAgents(config, env)
  const handoffs: HandoffNews[] = []
  const test = await startHost({
    agents,
    businesses: numbers.businesses,
    backends: backendSettings(config),
    speech: null,
    budgetStep: () => 'messages',
    onHandoff: (news) => void handoffs.push(news),
  })
  t.teardown(() => test.close())
  const call = { callSid: sid('HD_budget000003'), agent: 'desk', from: '+254700000001', to: NUMBER }
  const line = new TestLine(test.host.prepare({ ...call, direction: 'inbound' }))
  line.start()
  for (const words of ['Otieno', 'My delivery of yesterday']) {
    await line.agentQuiet(300)
    double.script.callerSays(words)
    line.say(await callerSays(words))
  }
  const [spending] = [...test.host.spending()]
  t.match(spending, { callSid: call.callSid, number: NUMBER, direction: 'inbound', models: { currency: 'USD' } })
  t.ok((spending?.durationMs ?? 0) > 1000)
  const record = await test.recordOf(call.callSid)
  t.match(
    record.transcript.map(({ role, text }) => [role, text]),
    [
      ['agent', 'Hello. For the rest of today I can only take a message. What is your name, please?'],
      ['caller', 'Otieno'],
      ['agent', 'Thank you. And what is it about?'],
      ['caller', 'My delivery of yesterday'],
      ['agent', /^Thank you\. I have noted it/],
    ],
  )
  t.match(record, { budgetStep: 'messages', endReason: 'agent-goodbye' })
  t.equal(record.escalation?.callback?.note, 'Otieno: My delivery of yesterday')
  t.ok(
    record.timeline.some(({ name, detail }) => name === 'budget-step' && detail === 'messages'),
    'the timeline says why',
  )
  t.equal(double.requests.llm, 0)
  t.match(handoffs.at(-1), { kind: 'callback' })
})

for (const [language, no, answer] of [
  ['en', "No, I don't want that.", 'All right, nothing of this call is kept.'],
  ['sw', 'Hapana, sitaki.', 'Sawa, hatutahifadhi chochote cha simu hii.'],
] as const)
  t.test(`a caller says no to the recording in ${language}: nothing of the call is kept`, async (t) => {
    const double = await CascadeDouble.start()
    t.teardown(() => double.close())
    const dir = t.testdir({ agents: {}, data: {} })
    await writeFile(
      join(dir, 'agents/desk.yaml'),
      `version: 1
name: desk
instructions: Help.
backend: cascade
languages: [${language}]
greeting: { en: How can I help?, sw: Nikusaidie nini? }
recording:
  enabled: true
  consent: { en: This call is recorded. Say no if you mind., sw: Simu hii inarekodiwa. Ukikataa sema hapana. }
  refusal: { waitMs: 10000 }
`,
    )
    const env = {
      AGENTS_DIR: join(dir, 'agents'),
      STT_URL: double.baseUrl,
      LLM_URL: double.baseUrl,
      TTS_URL: double.baseUrl,
    }
    const config = loadConfig(env, null)
    const { agents } = await hostedAgents(config, env)
    const log = createLog({ level: 'silent' })
    const dataDir = join(dir, 'data')
    const archive = await Archive.start(archiveLimits(dataDir, { fsync: 'each' }), log)
    const journals = new JournalFiles(dataDir, log, () => 0)
    const test = await startHost({
      agents,
      backends: backendSettings(config),
      record: (...of) => archive.record(...of),
      keepJournal: (...of) => journals.append(...of),
      discardJournal: (callSid) => journals.discard(callSid),
    })
    t.teardown(() => test.close())
    const call = { callSid: sid('HD_refused00002'), agent: 'desk', from: '+254700000001', to: '+254709000000' }
    const live = test.host.prepare({ ...call, direction: 'inbound' })
    const line = new TestLine(live)
    line.start()
    await until(() => line.frames.length > 25, 30_000, 'the text about the recording')
    t.ok(readdirSync(join(dataDir, 'recordings')).length > 0, 'it is recorded already')
    await line.agentQuiet(300)
    double.script.callerSays(no)
    double.script.reply({ say: 'How can I help?' })
    line.say(await callerSays(no))
    await until(() => live.view().transcript.some(({ text }) => text === answer), 20_000, 'the answer')
    await until(() => double.chats.length > 0, 20_000, 'the conversation')
    line.stop()
    live.detach(1000)
    const record = await test.recordOf(call.callSid)
    await journals.closeAll()
    await archive.close()
    t.match(record, { consent: 'refused', recording: null, recordingState: 'off', transcript: [] })
    t.match(JSON.stringify(double.chats[0]), /do(es)? not want to be recorded/, 'the model knows')
    t.same(
      readdirSync(dataDir, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map(({ name }) => name),
      [],
      'neither recording, journal nor words',
    )
  })
