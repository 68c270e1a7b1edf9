import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import type { Test } from 'tap'
import { NO_ASSETS } from '../../src/agents/file/assets.js'
import { businessValues } from '../../src/agents/file/business.js'
import type { Business } from '../../src/agents/file/business.js'
import { agentSchema } from '../../src/agents/file/definition.js'
import { CALLBACK_TOOL, ESCALATE_TOOL } from '../../src/call/tools/gateway-tools.js'
import { loadConfig } from '../../src/config/load-config.js'
import { parseKeptCall } from '../../src/call/documents/kept-call.js'
import type { BudgetStep } from '../../src/call/documents/record.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { DailyBudgets } from '../../src/gateway/daily-budgets.js'
import {
  backendSettings,
  followAgents,
  faultlessAgents,
  handoversWithoutFacts,
  hostedAgents,
  withoutNumbers,
} from '../../src/gateway/agents/hosted-agents.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { createLog } from '../../src/telemetry/log.js'
import type { CallStart } from '../../src/workers/shared/call-messages.js'
import { instructionsOf, toolSpecs } from '../../src/workers/worker/call-setup.js'
import { callOf } from '../../src/workers/main/kept-call.js'
import type { CallKeeping, KeptSource } from '../../src/workers/main/main-thread-context.js'
import { api, context, json, runner } from '../agents/tool-rig.js'
import { inbound, sid, startHost, TestLine } from '../support/host.js'
import { whole } from '../support/gateway.js'
import { until } from '../support/until.js'

const run = promisify(execFile)

const AGENT = `version: 1
name: desk
backend: embedded
instructions: You answer for {{business.name}} in {{business.location}}. It is {{ business.openNow }}.
greeting: Welcome to {{business.name}}.
goodbye: '{{business.name}} is {{business.openNow}}.'
say: { voice: '{{business.voice}}' }
escalation: { numbers: ['{{business.humans}}', '+254720000099'] }
`

/** A number of the fixtures, from 0. */
const numberOf = (index: number): string => `+2547201${String(index).padStart(5, '0')}`

const entryOf = (index: number, more = ''): string => `  '${numberOf(index)}':
    agent: desk
    facts:
      name: Duka ${index}
      location: Stall ${index}, Gikomba
      humans: ['+2547300${String(index).padStart(5, '0')}']
      voice: woman
      services: [repairs, deliveries]
      hours:
        timeZone: Africa/Nairobi
        week: { mon: ['08:00-17:00'], tue: ['08:00-17:00'], wed: ['08:00-17:00'], thu: ['08:00-17:00'] }
        holidays: [12-25]
        exceptions: { 12-24: ['08:00-12:00'] }
      deliveryFee: ${100 + index}
${more}`

const fileOf = (...entries: readonly string[]): string => `version: 1\nnumbers:\n${entries.join('')}`

async function folder(t: Test, files: Readonly<Record<string, string>>): Promise<Readonly<Record<string, string>>> {
  const dir = t.testdir({})
  await mkdir(join(dir, 'agents'))
  await mkdir(join(dir, 'numbers'))
  await writeFile(join(dir, 'agents', 'desk.yaml'), AGENT)
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir, 'numbers', name), text)
  return { AGENTS_DIR: join(dir, 'agents'), NUMBERS_FILE: join(dir, 'numbers') }
}

const open = (env: Readonly<Record<string, string>>) => hostedAgents(loadConfig(env, null), env)

/** As `mkondo check`, which takes no mistake. */
const checked = async (env: Readonly<Record<string, string>>): Promise<void> => {
  const { numbers } = await open(env)
  if (numbers.fault !== '') throw new Error(numbers.fault)
}

/** Wednesday, 10:00 in Nairobi. */
const WEDNESDAY_MS = Date.parse('2026-11-25T07:00:00Z')

t.test("a call begins in its business's first language", async (t) => {
  const bilingual = AGENT.replace(
    'greeting: Welcome to {{business.name}}.',
    `languages: [en-KE, sw]
greeting: { en: 'Welcome to {{business.name}}, {{business.openNow}}.', sw: 'Karibu {{business.name}}, {{business.openNow}}.' }`,
  ).replace("say: { voice: '{{business.voice}}' }", "say: { voice: '{{business.voice}}', language: en-KE }")
  const of = (index: number, languages: string): string => entryOf(index, `      languages: ${languages}\n`)
  const env = await folder(t, {
    'all.yaml': fileOf(of(1, '[Kiswahili, English]'), of(2, '[English]'), of(3, '[sw]'), of(4, '[Kikuyu, Swahili]')),
  })
  await writeFile(join(env['AGENTS_DIR'] ?? '', 'desk.yaml'), bilingual)
  const { agents, numbers } = await open(env)
  const opened = [1, 2, 3, 4].map((index) => {
    const served = agents.get('desk')?.forBusiness?.(numbers.businesses.get(numberOf(index)) as Business)
    const [busy] = served?.facts.busy() ?? []
    return [served?.definition.languages, busy?.verb === 'say' ? busy.language : undefined]
  })
  t.same(opened, [
    [['sw', 'en-KE'], undefined],
    [['en-KE', 'sw'], 'en-KE'],
    [['sw', 'en-KE'], undefined],
    [['sw', 'en-KE'], undefined],
  ])
})

t.test('500 businesses load in two seconds', async (t) => {
  const files = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`${index}.yaml`, fileOf(entryOf(index))]))
  const env = await folder(t, files)
  const config = loadConfig(env, null)
  const before = process.cpuUsage()
  const { agents, numbers } = await open(env)
  const { user, system } = process.cpuUsage(before)
  t.equal(numbers.businesses.size, 500)
  t.ok((user + system) / 1000 < 2000, `${Math.round((user + system) / 1000)} ms of the processor`)
  t.equal(numbers.firstOf('desk'), numberOf(0), 'the console calls an agent at a number of its own')
  t.equal(numbers.firstOf('nobody'), null)
  const loaded = new Map(numbers.businesses)
  const unfollow = await followAgents({ config, env, log: createLog({ level: 'silent' }), agents, numbers })
  t.teardown(unfollow)
  const path = join(config.numbersFile ?? '', '7.yaml')
  await writeFile(path, fileOf(entryOf(7)).replace('Duka 7', 'Duka Mpya'))
  await until(() => numbers.businesses.get(numberOf(7))?.facts.name === 'Duka Mpya', 10_000, 'the edit')
  const changed = [...numbers.businesses].filter(([number, business]) => loaded.get(number) !== business)
  t.same(
    changed.map(([number]) => number),
    [numberOf(7)],
  )
  await writeFile(path, 'version: 1\nnumbers: [')
  await writeFile(join(config.numbersFile ?? '', '8.yaml'), fileOf(entryOf(8)).replace('Duka 8', 'Duka Jipya'))
  await until(() => numbers.businesses.get(numberOf(8))?.facts.name === 'Duka Jipya', 10_000, 'the second edit')
  t.equal(numbers.businesses.get(numberOf(7))?.facts.name, 'Duka Mpya', 'a broken file keeps what was valid')
})

t.test('a faulty number is reported with its line, without digits', async (t) => {
  const other = entryOf(3).replace('agent: desk', 'agent: dest')
  const lacking = entryOf(2).replace(/ {6}location.*\n/, '')
  const odd = entryOf(4).replace('deliveryFee: 104', 'openNow: true').replace('name: Duka 4', "name: ''")
  const token = entryOf(5, "    opsToken: '{{env.NO_SUCH_TOKEN}}'\n")
  const cut = entryOf(1).replace('name: Duka 1', 'name: Duka #1')
  const env = await folder(t, {
    'a.yaml': fileOf(cut, lacking, other, odd, token),
    'b.yaml': fileOf(entryOf(1)),
  })
  const { numbers } = await open(env)
  const why = numbers.fault
  t.same([...numbers.businesses.keys()], [numberOf(1)], 'the others are served')
  t.equal(numbers.faults, why.split('\n').length)
  t.match(why, /a\.yaml:6:18: numbers\.\+2547…01\.facts\.name ends before the #/)
  t.match(why, /a\.yaml:17:3: facts lacks location, which the agent desk reads/)
  t.match(why, /a\.yaml:30:3: agent is dest, but there is no such agent; .*desk/)
  t.match(why, /a\.yaml:\d+:\d+: numbers\.\+2547…04\.facts\.openNow is computed from hours/)
  t.match(why, /numbers\.\+2547…04\.facts\.name/)
  t.match(why, /opsToken: NO_SUCH_TOKEN must hold/)
  t.match(why, /b\.yaml:3:3: is a number that an earlier file has too/)
  t.notMatch(why, /25472/)
  const none = await open({ ...env, NUMBERS_FILE: join(env['AGENTS_DIR'] ?? '', 'desk.yaml') }).catch(String)
  t.match(none, /desk\.yaml:\d+:\d+: .* is not a key of a numbers file/)
  const unset = await hostedAgents(loadConfig({ AGENTS_DIR: env['AGENTS_DIR'] ?? '' }, null), {})
  t.same(withoutNumbers(unset.agents, unset.numbers), ['desk'], 'what the start and mkondo check warn of')
})

t.test('a handover to an agent with missing facts warns', async (t) => {
  const other = (name: string, to: string): string =>
    `version: 1\nname: ${name}\nbackend: embedded\ninstructions: Ask what it is about.\nhandoverTo: { ${to}: they ask for it }\n`
  const bare = (index: number, agent: string): string =>
    `  '${numberOf(index)}': { agent: ${agent}, facts: { name: Duka } }\n`
  const agentsOf = async (files: Readonly<Record<string, string>>, ...numbers: readonly string[]) => {
    const env = await folder(t, { 'all.yaml': fileOf(entryOf(1), ...numbers) })
    for (const [name, text] of Object.entries(files)) await writeFile(join(env['AGENTS_DIR'] ?? '', name), text)
    const opened = await open(env)
    t.equal(opened.numbers.fault, '')
    return handoversWithoutFacts(opened.agents, opened.numbers)
  }
  const lacks = { to: 'desk', facts: ['location', 'hours', 'voice', 'humans'] }
  const front = other('front', 'desk')
  const lobby = other('lobby', 'front')
  const files = { 'front.yaml': front, 'lobby.yaml': lobby }
  t.match(await agentsOf(files, bare(2, 'lobby'), bare(3, 'lobby')), [{ agent: 'front', ...lacks }])
  const named = entryOf(4).replace('agent: desk', 'agent: lobby')
  t.same(await agentsOf(files, named), [], 'a number that has them hands over')
  t.match(await agentsOf({ 'front.yaml': front }), [{ agent: 'front', to: 'desk' }], 'nor has one without any number')
  const stays = other('front', 'desk')
    .replace('handoverTo', 'x-')
    .replace(/x-.*\n/, '')
  const next = front.replace('name: front', 'name: front\ncanary: { percent: 10 }')
  t.match(
    await agentsOf({ 'front.yaml': stays, 'front.next.yaml': next }, bare(2, 'front')),
    [{ agent: 'front', to: 'desk' }],
    'its second version too',
  )
})

t.test('a gateway starts without faulty numbers', async (t) => {
  const env = await folder(t, { 'all.yaml': fileOf(entryOf(1), entryOf(2).replace('agent: desk', 'agent: dest')) })
  const lines: string[] = []
  const gateway = await whole(env, null, { write: (line: string) => void lines.push(line) }, env['AGENTS_DIR'])
  t.teardown(() => gateway.close())
  t.match(
    lines.join(''),
    /"level":"error".*all\.yaml:\d+:3: agent is dest, but there is no such agent.*the gateway starts without these numbers/,
  )
  const ready = async () => {
    const answer = await fetch(`http://127.0.0.1:${gateway.at.opsPort}/readyz`)
    return { status: answer.status, body: await answer.json() }
  }
  t.match(await ready(), { status: 200, body: { ready: true, fileFaults: 1 } })
  const metrics = await (await fetch(`http://127.0.0.1:${gateway.at.opsPort}/metrics`)).text()
  t.match(metrics, /mkondo_file_faults\{[^}]*file="numbers"[^}]*\} 1\b/)
  t.match(metrics, /mkondo_file_faults\{[^}]*file="agents"[^}]*\} 0\b/)
  await writeFile(join(env['NUMBERS_FILE'] ?? '', 'all.yaml'), fileOf(entryOf(1), entryOf(2)))
  await until(
    async () => JSON.stringify((await ready()).body).includes('fileFaults') === false,
    10_000,
    'the mended number',
  )
  await writeFile(join(env['AGENTS_DIR'] ?? '', 'desk.yaml'), AGENT.replace('version: 1', 'version: 2'))
  await until(async () => JSON.stringify((await ready()).body).includes('"fileFaults":1'), 30_000, 'the broken agent')
  t.equal((await ready()).status, 200, 'its version before takes calls')
})

t.test('a gateway starts without a broken agent and its numbers', async (t) => {
  const env = await folder(t, { 'all.yaml': fileOf(entryOf(1), entryOf(2).replace('agent: desk', 'agent: front')) })
  const front = join(env['AGENTS_DIR'] ?? '', 'front.yaml')
  const back = join(env['AGENTS_DIR'] ?? '', 'back.yaml')
  const named = (name: string): string => AGENT.replace('name: desk', `name: ${name}`)
  await writeFile(front, `${named('front')}\nno-such-key: 1\n`)
  await writeFile(back, `${named('back')}\nhandoverTo: { front: they ask for it }\n`)
  const settings = loadConfig({ ...env, DEFAULT_AGENT: 'front' }, null)
  const { agents, numbers, defaultAgent, faults } = await hostedAgents(settings, env)
  t.same([...agents.keys()], ['desk'])
  t.match(
    faults.map(({ what }) => what).join('\n'),
    /hands over to front, which is not an agent.*[^]*no-such-key/,
    'nor is one that hands over to it',
  )
  t.equal(defaultAgent, 'front', 'which answers once it is mended')
  t.same([...numbers.businesses.keys()], [numberOf(1)])
  t.match(numbers.fault, /agent is front, but there is no such agent/)
  await t.rejects(faultlessAgents(settings, env), /no-such-key/, 'mkondo check and simulate refuse it')

  const lines: string[] = []
  const gateway = await whole(env, null, { write: (line: string) => void lines.push(line) }, env['AGENTS_DIR'])
  t.teardown(() => gateway.close())
  t.match(lines.join(''), /"level":"error".*front\.yaml:\d+.*no-such-key.*the gateway starts without these agents/)
  const ready = async () => await (await fetch(`http://127.0.0.1:${gateway.at.opsPort}/readyz`)).json()
  t.match(await ready(), { ready: true, fileFaults: 3 })
  await writeFile(front, named('front'))
  await until(async () => !JSON.stringify(await ready()).includes('fileFaults'), 20_000, 'the mended agent')

  await writeFile(front, 'version: [')
  await writeFile(back, 'version: [')
  await writeFile(join(env['AGENTS_DIR'] ?? '', 'desk.yaml'), 'version: [')
  await t.rejects(
    hostedAgents(settings, env),
    /desk\.yaml[^]*front\.yaml/,
    'where no agent can be used, nothing starts',
  )
})

t.test('an agent uses the facts of the called number', async (t) => {
  const { agents, numbers } = await open(await folder(t, { 'all.yaml': fileOf(entryOf(1), entryOf(2)) }))
  const desk = agents.get('desk')
  const business = numbers.businesses.get(numberOf(2)) as Business
  const served = desk?.forBusiness?.(business)
  if (served === undefined) throw new Error('the agent serves no business')
  t.equal(served.definition.greeting, 'Welcome to Duka 2.')
  t.equal(served.definition.say.voice, 'woman')
  t.same(served.definition.escalation?.numbers, ['+254730000002', '+254720000099'])
  t.equal(served.definition.escalation?.hours, business.facts.hours, 'and the desk has the hours of the business')
  const start = { agent: served.definition, business, from: '+254700000001', resume: null, backends: ['cascade'] }
  const told = instructionsOf(start, WEDNESDAY_MS)
  t.match(told, /for Duka 2 in Stall 2, Gikomba\. It is open now, until 17:00\./)
  t.match(told, /- Duka 2 is open now, until 17:00\./)
  t.match(instructionsOf(start, WEDNESDAY_MS + 8 * 3_600_000), /It is closed now, and open again tomorrow at 08:00\./)
  t.notMatch(told, /Duka 1|\{\{/)
  t.notMatch(JSON.stringify({ ...served.definition, instructions: '' }), /\{\{business|Duka 1/)
  const at = (iso: string, language = 'en') => businessValues(business, language, Date.parse(iso))
  t.match(at('2026-11-26T15:00:00Z')['nextOpening'], /^on Monday,? 30 November at 08:00$/, 'over a weekend')
  t.match(at('2026-12-24T10:00:00Z')['openNow'], /^closed now, and open again on Monday,? 28 December at 08:00$/)
  t.equal(at('2026-11-25T15:00:00Z', 'sw')['openNow'], 'imefungwa sasa, itafunguliwa kesho 08:00')
  t.match(at('2026-11-25T15:00:00Z'), { services: 'repairs, deliveries', deliveryFee: 102, number: numberOf(2) })
})

t.test('each service of a business has its own hours', async (t) => {
  const services = `      serviceHours:
        restaurant: { timeZone: Africa/Nairobi, week: { wed: ['07:00-09:30', '18:00-22:00'] } }
        front_desk: { timeZone: Africa/Nairobi, week: { wed: ['00:00-24:00'], thu: ['00:00-24:00'] } }
`
  const asks = AGENT.replace('It is {{ business.openNow }}.', 'Its restaurant is {{business.openNow_restaurant}}.')
  const env = await folder(t, { 'all.yaml': fileOf(entryOf(1, services)) })
  const file = join(env['AGENTS_DIR'] ?? '', 'desk.yaml')
  await writeFile(file, asks)
  const { agents, numbers } = await open(env)
  const business = numbers.businesses.get(numberOf(1)) as Business
  const served = agents.get('desk')?.forBusiness?.(business)
  if (served === undefined) throw new Error('the agent serves no business')
  const start = { agent: served.definition, business, from: '', resume: null, backends: ['cascade'] }
  const told = instructionsOf(start, WEDNESDAY_MS)
  t.match(told, /Its restaurant is closed now, and open again at 18:00\./)
  t.match(
    told,
    /- Duka 1 is open now, until 17:00\.\n- Duka 1, restaurant: closed now.*\n- Duka 1, front desk: open now/,
  )
  t.equal(businessValues(business, 'sw', WEDNESDAY_MS)['nextOpening_restaurant'], '18:00')
  await writeFile(file, asks.replace('openNow_restaurant', 'openNow_spa'))
  await t.rejects(checked(env), { message: /facts lacks serviceHours\.spa, which the agent desk reads/ })
})

t.test('a record contains the facts of the called number', async (t) => {
  const { agents, numbers } = await open(await folder(t, { 'all.yaml': fileOf(entryOf(1)) }))
  const started: unknown[] = []
  const onStarted = (news: unknown): void => void started.push(news)
  const test = await startHost({ agents, businesses: numbers.businesses, speech: null, onStarted })
  t.teardown(() => test.close())
  const { host } = test
  const call = (callSid: string, to: string) => inbound(callSid, { agent: 'desk', to })
  t.equal(host.agentOf(numberOf(1)), 'desk')
  t.equal(host.agentOf(numberOf(2)), null)
  t.match(host.agent('desk', numberOf(1))?.busy()[0], { verb: 'say', voice: 'woman' })
  t.equal(host.agent('desk', numberOf(2)), undefined)
  t.throws(() => host.prepare(call('HD_facts0000002', numberOf(2))), { code: 'AGENT_UNKNOWN' })
  const live = host.prepare(call('HD_facts0000001', numberOf(1)))
  t.equal(live.row().number, numberOf(1))
  t.equal(live.row().to, '+2547…01', 'the other way to name it is masked')
  live.attach({ sendAudio: () => true, sendText: () => undefined, close: () => undefined })
  t.match(started, [{ callSid: 'HD_facts0000001', number: numberOf(1), from: '+2547…01', direction: 'inbound' }])
  live.hangup('operator-hangup', 'enough', false)
  t.match(await test.recordOf(live.callSid), { agent: 'desk', number: numberOf(1) })
  host.refused({ ...call('HD_facts0000003', numberOf(1)), reason: 'capacity', why: 'full' })
  t.equal(host.record('HD_facts0000003')?.number, numberOf(1))
})

const BUDGET = '    budget: { perDay: 1000, cheaper: { backend: cascade } }\n'

/** A gateway whose cascade is a double, and whose PRICES_FILE converts what calls are charged in. */
async function cascadeFolder(t: Test): Promise<{
  readonly double: CascadeDouble
  readonly env: Readonly<Record<string, string>>
}> {
  const double = await CascadeDouble.start()
  t.teardown(() => double.close())
  const env = await folder(t, { 'all.yaml': fileOf(entryOf(1, BUDGET), entryOf(2)) })
  const prices = join(env['AGENTS_DIR'] ?? '', '..', 'prices.yaml')
  await writeFile(prices, 'currency: USD\nexchange: { readOn: 2026-11-20, rates: { KES: 130 } }\n')
  const urls = { STT_URL: double.baseUrl, LLM_URL: double.baseUrl, TTS_URL: double.baseUrl }
  return { double, env: { ...env, ...urls, CURRENCY: 'KES', PRICES_FILE: prices } }
}

t.test('a budget that cannot be counted is refused', async (t) => {
  const { env } = await cascadeFolder(t)
  await open(env)
  const { PRICES_FILE: _, ...unrated } = env
  await t.rejects(checked(unrated), { message: /all\.yaml:3:3: budget: .* no exchange rate from USD to KES/ })
  const { STT_URL: __, ...deaf } = env
  await t.rejects(checked(deaf), { message: /budget: agent desk uses backend cascade, but STT_URL is not set/ })
  const agent = join(env['AGENTS_DIR'] ?? '', 'desk.yaml')
  await writeFile(agent, AGENT.replace("'+254720000099']", "'+254720000099'], message: null"))
  await t.rejects(checked(env), { message: /the agent desk takes no messages.*; allowed: an agent with callback/ })
  await writeFile(agent, AGENT)
  const file = join(env['NUMBERS_FILE'] ?? '', 'all.yaml')
  await writeFile(file, fileOf(entryOf(1, BUDGET.replace('cascade', 'openay'))))
  await t.rejects(checked(env), { message: /unknown backend openay; allowed: auto, openai/ })
  await writeFile(file, fileOf(entryOf(1, BUDGET.replace('cascade', 'embedded'))))
  await t.rejects(checked(env), { message: /the agent desk has no offline dialogue/ })
  await writeFile(file, fileOf(entryOf(1, BUDGET.replace('1000', '0'))))
  await t.rejects(checked(env), { message: /budget\.perDay/ })
})

t.test('a budget whose recogniser is not installed is refused', async (t) => {
  const { env } = await cascadeFolder(t)
  const agent = join(env['AGENTS_DIR'] ?? '', 'desk.yaml')
  await writeFile(agent, `${AGENT}backends: { cascade: { stt: google } }\n`)
  const asUrl = (code: string): string => `data:text/javascript,${encodeURIComponent(code)}`
  const hooks = asUrl(`export const resolve = (name, context, next) => {
    if (name === '@grpc/grpc-js') throw new Error('Cannot find package ' + name)
    return next(name, context)
  }`)
  const hidden = asUrl(`import { register } from 'node:module'
    register(${JSON.stringify(hooks)})`)
  const asked =
    asUrl(`import { hostedAgents } from ${JSON.stringify(new URL('../../src/gateway/agents/hosted-agents.js', import.meta.url))}
    import { loadConfig } from ${JSON.stringify(new URL('../../src/config/load-config.js', import.meta.url))}
    console.log((await hostedAgents(loadConfig(process.env, null), {})).numbers.fault)`)
  const { stdout } = await run(process.execPath, ['--import', hidden, '--import', asked, '-e', ''], {
    env: { ...env, GOOGLE_SPEECH_API_KEY: 'a-key-of-the-tests' },
  })
  t.match(stdout, /budget: the recogniser google of the agent desk: its packages do not load: .*@grpc\/grpc-js/)
})

t.test("a call keeps its budget's backend on other nodes", async (t) => {
  const { env } = await cascadeFolder(t)
  const { agents, numbers } = await open(env)
  let step: BudgetStep | null = 'cheaper'
  const test = await startHost({
    agents,
    businesses: numbers.businesses,
    backends: backendSettings(loadConfig(env, null)),
    speech: null,
    paced: true,
    budgetStep: (number) => (number === numberOf(1) ? step : null),
    afterStream: 'continues',
  })
  t.teardown(() => test.close())
  const call = { callSid: sid('HD_budget000001'), agent: 'desk', from: '+254700000001', to: numberOf(1) }
  const live = test.host.prepare({ ...call, direction: 'inbound' })
  t.equal(live.row().backend, 'cascade')
  const line = new TestLine(live)
  line.start()
  await line.agentQuiet(300)
  line.stop()
  live.detach(1006, { reason: 'socket-lost', detail: 'the test' })
  step = null
  const state = live.lostStream
  if (state === null) throw new Error('the call is not cut')
  t.equal(parseKeptCall(JSON.parse(JSON.stringify(state.kept))).budgetStep, 'cheaper')
  const again = test.host.prepare(callOf(state.kept, 0), state)
  t.equal(again.row().backend, 'cascade', 'another day has begun, and the call goes on as it was')
  new TestLine(again).start()
  again.hangup('operator-hangup', 'the test is over', false)
  t.match(await test.recordOf(call.callSid), { budgetStep: 'cheaper', backend: 'cascade' })
  const next = test.host.prepare({ ...call, callSid: sid('HD_budget000002'), direction: 'inbound' })
  t.equal(next.row().backend, 'embedded')
  next.hangup('operator-hangup', 'the test is over', false)
  t.match(await test.recordOf('HD_budget000002'), { budgetStep: null })
})

t.test('a human rung for a call back hears another dialogue', async (t) => {
  const { agents, numbers } = await open(await folder(t, { 'all.yaml': fileOf(entryOf(1)) }))
  const sources: KeptSource[] = []
  const keeper: CallKeeping = {
    node: 'here',
    open: (_, source) => void sources.push(source),
    append: () => undefined,
    changed: () => undefined,
    saved: () => Promise.resolve(true),
    over: () => Promise.resolve('ok'),
  }
  const test = await startHost({ agents, businesses: numbers.businesses, speech: null, keeper })
  t.teardown(() => test.close())
  const call = { callSid: sid('HD_joins0000001'), agent: 'desk', from: numberOf(1), to: '+254730000001' }
  const order = { clientRequestId: 'row-call-backs-r1-1h', orderedAtMs: 0, ringMs: 1000, variables: { note: 'Stock.' } }
  const placed = { ...call, ...order, externalId: null, leaveMessage: true, promised: false, joins: '+254700000009' }
  const live = test.host.prepare({ ...call, direction: 'outbound', placed })
  t.match(live.row(), { backend: 'embedded', to: '+2547…01' })
  t.equal(sources[0]?.kept().placed?.joins, '+254700000009', 'whoever goes on with it knows whom to join')
  live.hangup('operator-hangup', 'the test is over', false)
  t.match(await test.recordOf(call.callSid), { direction: 'outbound', escalation: null })
})

t.test('an agent beyond its budget only takes messages', async (t) => {
  const { env } = await cascadeFolder(t)
  const { agents, numbers } = await open(env)
  const business = numbers.businesses.get(numberOf(1)) as Business
  const served = agents.get('desk')?.forBusiness?.(business, 'messages')
  if (served === undefined) throw new Error('the agent serves no business')
  t.match(served, { messagesOnly: true, shares: [{ percent: 100, names: ['cascade'] }] })
  const { greeting, escalation } = served.definition
  t.match(greeting, { en: /only take a message. What is your name/, sw: /ujumbe tu. Jina lako ni nani/ })
  t.equal(escalation?.message?.name, greeting, 'the first question is asked already')
  const start = { agent: served.definition, assets: NO_ASSETS, resume: null, direction: 'inbound' } as const
  const offered = (messagesOnly: boolean) =>
    toolSpecs({ ...start, messagesOnly } as unknown as CallStart).map(({ name }) => name)
  t.ok(offered(true).includes(CALLBACK_TOOL))
  t.same(
    offered(false).filter((name) => !offered(true).includes(name)),
    [ESCALATE_TOOL],
  )
  t.match(agents.get('desk')?.forBusiness?.(business, 'cheaper').shares, [{ percent: 100, names: ['cascade'] }])
  t.match(agents.get('desk')?.forBusiness?.(business).shares, [{ names: ['embedded'] }])
})

/** Two nodes with one number of 100 a day, on one store, and a clock that the test moves. */
function budgets(t: Test) {
  let nowMs = Date.parse('2026-11-25T09:00:00Z')
  const timers = new Set<{ readonly atMs: number; readonly run: () => void }>()
  // The schema's type of a fact does not leave room for hours.
  const facts = { name: 'Duka', hours: { timeZone: 'Africa/Nairobi', week: {}, holidays: [] } } as unknown
  const business: Business = {
    number: numberOf(1),
    agent: 'desk',
    facts: facts as Business['facts'],
    budget: { perDay: 100, cheaper: { fromPercent: 80, backend: 'cascade' } },
  }
  const other = { ...business, number: numberOf(2) }
  let inner = new MemoryStore(() => nowMs)
  let away = false
  const store = {
    tally: (...args: Parameters<MemoryStore['tally']>) =>
      away ? Promise.reject(new Error('the store is away')) : inner.tally(...args),
  }
  const logged: string[] = []
  const file = join(t.testdir({}), 'daily-budgets.json')
  return {
    file,
    logged,
    node: (
      path: string | null = null,
      live: Partial<Pick<Parameters<typeof DailyBudgets.open>[0], 'live' | 'liveElsewhere'>> = {},
    ) =>
      DailyBudgets.open({
        businesses: new Map([business, other].map((one) => [one.number, one])),
        store,
        live: () => [],
        liveElsewhere: () => [],
        ...live,
        file: path,
        wallClock: () => nowMs,
        log: createLog({ level: 'warn', destination: { write: (line) => void logged.push(line) } }),
        later: (ms, run) => {
          const timer = { atMs: nowMs + ms, run }
          timers.add(timer)
          return () => timers.delete(timer)
        },
      }),
    pass: async (ms: number) => {
      nowMs += ms
      for (const timer of [...timers]) if (timer.atMs <= nowMs && timers.delete(timer)) timer.run()
      await new Promise((resolve) => setImmediate(resolve))
    },
    storeIs: (state: 'away' | 'there' | 'emptied') => {
      away = state === 'away'
      if (state === 'emptied') inner = new MemoryStore(() => nowMs)
    },
  }
}

t.test('a number near its budget uses cheaper backends [1]', async (t) => {
  const { node, pass, logged } = budgets(t)
  const [one, two] = await Promise.all([node(), node()])
  one.spend(numberOf(1), 50, 'HD_over00000001')
  two.spend(numberOf(1), 29, 'HD_over00000001')
  await pass(10_000)
  t.same([one.step(numberOf(1)), two.step(numberOf(1))], [null, null])
  two.spend(numberOf(1), 1, 'HD_over00000001')
  await pass(10_000)
  t.same([one.step(numberOf(1)), two.step(numberOf(1))], ['cheaper', 'cheaper'], 'also at the node that spent less')
  one.spend(numberOf(1), 20, 'HD_over00000001')
  t.equal(one.step(numberOf(1)), 'messages', 'its own calls count at once')
  await pass(10_000)
  t.equal(two.step(numberOf(1)), 'messages')
  t.equal(two.step(numberOf(2)), null, 'another number has its own')
  t.equal(two.step('+254720009999'), null)
  t.same([two.count(null), two.count('cheaper'), two.count('messages')], [1, 0, 1])
  t.match(logged.join(''), /"agent":"desk","step":"messages"/)
  t.notMatch(logged.join(''), /2547/)
  await pass(11 * 3_600_000 + 59 * 60_000)
  t.equal(one.step(numberOf(1)), 'messages', 'it is 23:59 in Nairobi')
  await pass(60_000)
  t.same([one.step(numberOf(1)), two.step(numberOf(1))], [null, null])
})

t.test("a live call's cost counts once at every node", async (t) => {
  const { node, pass } = budgets(t)
  const live = new Map([
    ['HD_live00000001', 30],
    ['HD_live00000002', 30],
  ])
  const one = await node(null, {
    live: () => [...live].map(([callSid, amount]) => ({ callSid, number: numberOf(1), amount })),
  })
  const two = await node(null, { liveElsewhere: () => [one.liveCosts, {}] })
  await pass(5000)
  t.same([one.step(numberOf(1)), two.step(numberOf(1))], [null, null])
  t.same(one.liveCosts, { [numberOf(1)]: 60 })
  live.set('HD_live00000002', 55)
  await pass(5000)
  t.same([one.step(numberOf(1)), two.step(numberOf(1))], ['cheaper', 'cheaper'])
  live.delete('HD_live00000002')
  one.spend(numberOf(1), 56, 'HD_live00000002')
  t.equal(one.step(numberOf(1)), 'cheaper', '86, and not 141, as soon as it is over')
  t.same(one.liveCosts, { [numberOf(1)]: 30 })
  live.clear()
  await pass(10_000)
  await pass(10_000)
  t.same(
    [one.step(numberOf(1)), two.step(numberOf(1))],
    [null, null],
    'a call that another node took is not counted here',
  )
  t.same([one.step(numberOf(2)), two.step(numberOf(2))], [null, null])
})

t.test("spending survives an absent store and a node's restart [2]", async (t) => {
  const { node, pass, storeIs, file } = budgets(t)
  const [one, two] = await Promise.all([node(file), node()])
  storeIs('away')
  one.spend(numberOf(1), 60, 'HD_over00000001')
  two.spend(numberOf(1), 60, 'HD_over00000001')
  await pass(10_000)
  t.same([one.step(numberOf(1)), two.step(numberOf(1))], [null, null], 'each knows its own calls')
  storeIs('there')
  await pass(10_000)
  await pass(10_000)
  t.same([one.step(numberOf(1)), two.step(numberOf(1))], ['messages', 'messages'])
  await one.close()
  const again = await node(file)
  await pass(10_000)
  await pass(10_000)
  t.equal(again.step(numberOf(1)), 'messages')
  t.equal(two.step(numberOf(1)), 'messages')
  again.spend(numberOf(2), 79, 'HD_over00000001')
  await again.close()
  await writeFile(file, '{')
  const anew = await node(file)
  t.equal(anew.step(numberOf(2)), null, 'a file that cannot be read is no reason not to start')
})

t.test('spending survives an emptied store, a lost node and disk', async (t) => {
  const { node, pass, storeIs, file } = budgets(t)
  const [one, two] = await Promise.all([node(file), node()])
  one.spend(numberOf(1), 60, 'HD_over00000001')
  two.spend(numberOf(1), 60, 'HD_over00000002')
  await pass(10_000)
  storeIs('emptied')
  await pass(10_000)
  await pass(10_000)
  t.same([one.step(numberOf(1)), two.step(numberOf(1))], ['messages', 'messages'], 'each has written its part again')
  // The first node is gone, and what runs in its place has nothing of its disk.
  const anew = await node()
  await pass(10_000)
  t.equal(anew.step(numberOf(1)), 'messages', 'its part is in the store')
  await one.close()
})

t.test('a node with an old folder recovers its later spending [3]', async (t) => {
  const { node, pass, storeIs, file } = budgets(t)
  const [first, two] = await Promise.all([node(file), node()])
  first.spend(numberOf(1), 10, 'HD_over00000001')
  two.spend(numberOf(1), 20, 'HD_over00000002')
  await pass(10_000)
  await first.close()
  const earlier = await readFile(file)
  const one = await node(file)
  await pass(10_000)
  one.spend(numberOf(1), 50, 'HD_over00000003')
  one.spend(numberOf(2), 85, 'HD_over00000004')
  await pass(10_000)
  await one.close()
  await writeFile(file, earlier)
  storeIs('away')
  const again = await node(file)
  await pass(10_000)
  t.equal(again.step(numberOf(1)), null, 'as far as the folder knows')
  storeIs('there')
  await pass(10_000)
  await pass(10_000)
  t.same([again.step(numberOf(1)), again.step(numberOf(2))], ['cheaper', 'cheaper'])
  again.spend(numberOf(1), 20, 'HD_over00000005')
  await pass(10_000)
  await pass(10_000)
  t.same([again.step(numberOf(1)), two.step(numberOf(1))], ['messages', 'messages'], 'and so do the others')
  await again.close()
})

t.test("a model's tools reach only its own business's data", async (t) => {
  const { url, requests } = await api(t, (_request, response) => json(response, {}))
  const tools = runner(t, {
    parameters: { properties: { shop: { type: 'string' } } },
    bind: { shop: '{{business.shopId}}' },
    http: { url: `${url}/shops/{{args.shop}}/stock`, query: { name: '{{business.name}}' }, allowPrivate: true },
  })
  const values = (shopId: string) => ({ shopId, name: `Duka ${shopId}` })
  await Promise.all(
    ['17', '18'].map((own) =>
      tools.run('look_up', { shop: own === '17' ? '18' : '17' }, context({ business: values(own) })),
    ),
  )
  t.same(requests.map((request) => request.url).sort(), [
    '/shops/17/stock?name=Duka+17',
    '/shops/18/stock?name=Duka+18',
  ])
  t.match(await tools.run('look_up', { shop: '18' }, context()), { ok: false, code: 'TOOL_UNBOUND' })
  t.equal(requests.length, 2, 'without a business nothing is sent')
})

t.test('an edit that reads a missing fact is not used', async (t) => {
  const env = await folder(t, { 'all.yaml': fileOf(entryOf(1)) })
  const { agents, numbers } = await open(env)
  const logged: string[] = []
  const log = createLog({ level: 'error', destination: { write: (line) => void logged.push(line) } })
  t.teardown(await followAgents({ config: loadConfig(env, null), env, log, agents, numbers }))
  const file = join(env['AGENTS_DIR'] ?? '', 'desk.yaml')
  await writeFile(file, (await readFile(file, 'utf8')).replace('Welcome to', 'Welcome, {{business.slogan}}, to'))
  // A reading of half the file may come first, with a fault of its own.
  const fault = /reads {{business\.slogan}}, which not all of its numbers have/
  await until(() => fault.test(logged.join('')), 10_000, 'the fault')
  t.match(agents.get('desk')?.definition.greeting, /Welcome/)
  t.equal(numbers.lacking(agentSchema.parse({ version: 1, name: 'desk', instructions: 'x' })), null)
})

t.test("a number's receivers are read from its file", async (t) => {
  const more = (name: string): string =>
    `    messages: [{ name: ${name}, url: 'https://example.com/hook', unsigned: true, headers: { x-key: '{{env.KEY}}' } }]\n`
  const env = await folder(t, { 'all.yaml': fileOf(entryOf(1, more('owner')), entryOf(2)) })
  await t.rejects(checked(env), { message: /all\.yaml:.*the receiver owner: \{\{env\.KEY\}\} is not set/ })
  const { numbers } = await open({ ...env, KEY: 'k' })
  t.match(numbers.receivers.get(numberOf(1)), [{ name: 'owner', headers: { 'x-key': 'k' }, events: ['*'] }])
  t.equal(numbers.receivers.get(numberOf(2)), undefined)
  t.notMatch(JSON.stringify(numbers.businesses.get(numberOf(1))), /example\.com/, 'workers are not told of it')
})
