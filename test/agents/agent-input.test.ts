import t from 'tap'
import { type AgentInput, agentSchema } from '../../src/agents/file/definition.js'

// Half of each test is the compiler's: a type that forgets a vendor's options fails `npm run typecheck`.

const BASE = { version: 1, name: 'a', instructions: 'Be brief.' } as const

const accepted = (agent: AgentInput): unknown => agentSchema.safeParse(agent).error?.issues

const WITH_OPTIONS: Readonly<Record<string, AgentInput>> = {
  'one language model': { ...BASE, backends: { cascade: { llm: { service: 'gemini', thinkingLevel: 'low' } } } },
  'one recogniser': { ...BASE, backends: { cascade: { stt: { service: 'realtime', dialect: 'vllm' } } } },
  'a service in a list': { ...BASE, backends: { cascade: { llm: ['chat', { service: 'gemini', maxTokens: 900 }] } } },
  'realtime services': {
    ...BASE,
    backends: { gemini: { turns: { by: 'server', silenceMs: 400 } }, openai: { reasoningEffort: 'low' } },
  },
  'a module of its own': {
    ...BASE,
    backend: ['module:own-backend', 'openai'],
    backends: { 'module:own-backend': { anything: 1 }, openai: { contextTokens: 8000 } },
  },
  'a voice in a list': { ...BASE, voice: { 'openai-live': 'marin', gemini: 'Kore' } },
}

for (const [of, agent] of Object.entries(WITH_OPTIONS)) {
  t.test(`an agent in TypeScript accepts options of ${of}`, (t) => {
    t.equal(accepted(agent), undefined)
    t.end()
  })
}

t.test('types and schema refuse the same mistakes', (t) => {
  // @ts-expect-error: thinkingLevl is no option
  t.ok(accepted({ ...BASE, backends: { cascade: { llm: { service: 'gemini', thinkingLevl: 'low' } } } }))
  // @ts-expect-error: dialect is no option of a language model
  t.ok(accepted({ ...BASE, backends: { cascade: { llm: { dialect: 'vllm' } } } }))
  // @ts-expect-error: beta is no dialect
  t.ok(accepted({ ...BASE, backends: { cascade: { stt: { service: 'realtime', dialect: 'beta' } } } }))
  // @ts-expect-error: speaker is no option of a voice
  t.ok(accepted({ ...BASE, backends: { cascade: { tts: { service: 'soniox', speaker: 4 } } } }))
  // @ts-expect-error: tempreature is no option
  t.ok(accepted({ ...BASE, backends: { gemini: { tempreature: 1 } } }))
  // @ts-expect-error: temperature is no option of this service
  t.ok(accepted({ ...BASE, backends: { openai: { temperature: 1 } } }))
  // @ts-expect-error: caller is no detector of turns
  t.ok(accepted({ ...BASE, backends: { 'azure-voice-live': { turns: { by: 'caller' } } } }))
  // @ts-expect-error: options of a module are an object
  t.ok(accepted({ ...BASE, backend: ['module:own-backend'], backends: { 'module:own-backend': 'anything' } }))
  // @ts-expect-error: nova is no voice of this service
  t.ok(accepted({ ...BASE, voice: { 'openai-live': 'nova' } }))
  t.end()
})
