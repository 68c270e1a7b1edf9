import { mock } from 'node:test'
import t from 'tap'
import { endText } from '../../src/backends/model-ends.js'
import { loadConfig } from '../../src/config/load-config.js'
import { AgentInspector } from '../../src/gateway/agents/agent-inspector.js'
import { backendSettings, endsOf, hostedAgents } from '../../src/gateway/agents/hosted-agents.js'
import { telemetryPart } from '../../src/gateway/parts/process-parts.js'

const AGENT = 'version: 1\nname: plain\ninstructions: Say back what you hear.\n'

/** An agent whose second version alone uses a model that ends on 17 November 2026. */
async function agentWithCanary(t: { testdir(files: Readonly<Record<string, string>>): string }) {
  const dir = t.testdir({
    'plain.yaml': AGENT.concat('backend: openai\n'),
    'plain.next.yaml': AGENT.concat('backend: gemini\ncanary: { percent: 20 }\n'),
  })
  const config = loadConfig(
    {
      AGENTS_DIR: dir,
      OPENAI_API_KEY: 'a-key-of-the-tests-0123456789',
      GEMINI_API_KEY: 'another-key-of-the-tests-0123456789',
      GEMINI_MODEL: 'gemini-3.1-flash-live-preview',
    },
    null,
  )
  return { dir, config, agents: (await hostedAgents(config, {})).agents }
}

t.test("the gauge counts a canary's model as time passes", async (t) => {
  const { config, agents } = await agentWithCanary(t)
  const shared = {
    inputs: { config, agents, backends: backendSettings(config), numbers: { faults: 0 }, version: '0', clock: () => 0 },
    lookups: { all: [] },
    agentFaults: 0,
  } as unknown as Parameters<typeof telemetryPart>[0]
  const part = telemetryPart(shared)
  await part.start()
  t.teardown(() => part.stop({ drainTimeoutMs: 0, byCommand: false }))
  const counted = async (on: string): Promise<readonly (string | undefined)[]> => {
    mock.timers.enable({ apis: ['Date'], now: Date.parse(`${on}T12:00:00Z`) })
    try {
      const page = await shared.metrics.render()
      return ['soon', 'over'].map(
        (state) => new RegExp(`models_ending\\{[^}]*"${state}"[^}]*\\} (\\d+)`).exec(page)?.[1],
      )
    } finally {
      mock.timers.reset()
    }
  }
  t.same(await counted('2026-09-17'), ['0', '0'], '61 days before')
  t.same(await counted('2026-09-18'), ['1', '0'])
  t.same(await counted('2026-11-16'), ['1', '0'])
  t.same(await counted('2026-11-17'), ['0', '1'])
})

t.test('the console shows the end of a model once', async (t) => {
  const { dir, config, agents } = await agentWithCanary(t)
  const shown = async (on: string): Promise<readonly string[] | undefined> => {
    const modelEnds = (agent: Parameters<typeof endsOf>[1]) =>
      endsOf(backendSettings(config), agent, Date.parse(`${on}T12:00:00Z`)).map(endText)
    const options = { agents, dir, watched: true, env: {}, workerEnv: {}, speech: false, modelEnds }
    return (await new AgentInspector(options).view()).agents[0]?.modelEnds
  }
  t.match(await shown('2026-10-01'), [/^gemini-3\.1-flash-live-preview ends on 2026-11-17; use gemini-3\.8-live/])
  t.same(await shown('2026-09-01'), [])
  const version = agents.get('plain')
  agents.set('plain', { ...version, canary: { percent: 20, version } } as never)
  t.equal((await shown('2026-12-01'))?.length, 0, 'the agent itself has another model')
  agents.set('plain', { ...version?.canary?.version, canary: version?.canary } as never)
  t.equal((await shown('2026-12-01'))?.length, 1)
})
