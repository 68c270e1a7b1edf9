import t from 'tap'
import { allCallsOn, namesIn, shareOf } from '../../src/backends/split.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import { loadText } from '../support/agent-text.js'
import { orderStatusAgent, sid, startHost } from '../support/host.js'

const OPENAI = { percent: 95, auto: false, names: ['openai', 'embedded'] }
const GEMINI = { percent: 5, auto: false, names: ['gemini', 'embedded'] }

t.test('calls are split by their SIDs in the given percentages', async (t) => {
  const sids = Array.from({ length: 20_000 }, (_, i) => `HD_${i.toString(16).padStart(12, '0')}`)
  const first = sids.map((callSid) => shareOf([OPENAI, GEMINI], callSid))
  const ofGemini = first.filter((share) => share === GEMINI).length
  t.ok(ofGemini > 850 && ofGemini < 1150, `${ofGemini} of 20,000 calls have the share of 5 %`)
  t.same(
    sids.map((callSid) => shareOf([OPENAI, GEMINI], callSid)),
    first,
  )
  const closed = [{ ...OPENAI, percent: 0 }, GEMINI]
  t.ok(
    sids.every((callSid) => shareOf(closed, callSid) === GEMINI),
    'a share of 0 has no calls, and percents that do not reach 100 lose none',
  )
  t.same(namesIn([OPENAI, GEMINI]), ['openai', 'embedded', 'gemini'])
})

t.test('a call is opened on the backends of its share', async (t) => {
  const definition = await orderStatusAgent()
  const shares = [
    { percent: 50, auto: false, names: ['embedded'] },
    { percent: 50, auto: false, names: ['gemini', 'embedded'] },
  ]
  const test = await startHost({
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares }]]),
  })
  t.teardown(() => test.close())
  const opened = Array.from({ length: 8 }, (_, i) => {
    const callSid = sid(`HD_split${i}`)
    const call = { callSid, agent: 'order-status', from: '+254700000001', to: '+254709000000' }
    const { backend } = test.host.prepare({ ...call, direction: 'inbound' }).view()
    t.equal(backend, shareOf(shares, callSid).names[0])
    return backend
  })
  t.same(new Set(opened), new Set(['embedded', 'gemini']))
  t.match(
    test.host.backends().find(({ backend }) => backend === 'embedded'),
    {
      agents: [
        { agent: 'order-status', percent: 50, place: 1 },
        { agent: 'order-status', percent: 50, place: 2 },
      ],
    },
  )
  t.match(await test.metrics.render(), /mkondo_calls_total\{agent="order-status",backend="gemini",outcome="failed"\} 0/)
})

t.test('the backend report joins both versions of a canary agent', async (t) => {
  const definition = await orderStatusAgent()
  const version = (...names: readonly string[]) => ({
    definition,
    facts: agentFacts(definition),
    shares: allCallsOn(...names),
  })
  const canary = { percent: 20, version: version('gemini', 'embedded') }
  const alike = { percent: 20, version: version('embedded') }
  const test = await startHost({
    agents: new Map([
      ['order-status', { ...version('embedded'), canary }],
      ['alike', { ...version('embedded'), canary: alike }],
      ['none', { ...version('embedded'), canary: { ...canary, percent: 0 } }],
    ]),
  })
  t.teardown(() => test.close())
  const agentsOf = (name: string) => test.host.backends().find(({ backend }) => backend === name)?.agents
  t.same(agentsOf('embedded'), [
    { agent: 'order-status', percent: 80, place: 1 },
    { agent: 'order-status', percent: 20, place: 2 },
    { agent: 'alike', percent: 100, place: 1 },
    { agent: 'none', percent: 100, place: 1 },
  ])
  t.same(agentsOf('gemini'), [{ agent: 'order-status', percent: 20, place: 1 }])
})

t.test('a wrong split is reported with its fault', async (t) => {
  const faultOf = async (backend: string): Promise<string> => {
    const loaded = await loadText(`version: 1\nname: a\ninstructions: Be brief.\nbackend: ${backend}\n`, {})
    return Array.isArray(loaded) ? loaded.join('\n') : ''
  }
  t.equal(await faultOf('[{ use: openai, percent: 99.5 }, { use: [gemini, embedded], percent: 0.5 }]'), '')
  t.equal(await faultOf('[{ use: auto, percent: 33.33 }, { use: gemini, percent: 66.67 }]'), '')
  t.match(await faultOf('[{ use: openai, percent: 90 }, { use: gemini, percent: 5 }]'), /sum to 95; allowed: 100/)
  t.match(await faultOf('[openai, { use: gemini, percent: 5 }]'), /a list of names or a list of shares, not both/)
  t.match(await faultOf('{ use: openai, percent: 100 }'), /every entry of a split is \{ use, percent \}/)
  t.match(await faultOf('[{ use: openai }, { use: gemini, percent: 5 }]'), /percent is 0 to 100/)
  t.match(
    await faultOf('[{ use: openai, percent: 150 }, { use: gemini, percent: -50 }]'),
    /percent is 150; at most 100/,
  )
  t.match(
    await faultOf('[{ use: openai, percent: 50 }, { use: [openai, gemini], percent: 50 }]'),
    /two shares that begin with openai/,
  )
})
