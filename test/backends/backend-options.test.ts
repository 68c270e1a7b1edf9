import { vocabularyOf } from '../../src/agents/file/business.js'
import { termsOf } from '../../src/backends/vocabulary.js'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import type { Backend } from '../../src/backends/backend.js'
import { composeBackend, type CompositionOptions } from '../../src/backends/compose.js'
import { conformanceSession, Recorder } from '../../src/backends/conformance.js'
import { Circuits } from '../../src/backends/failover/circuit-breaker.js'
import { modelsOf, resolveBackend, resolveBackends } from '../../src/backends/registry.js'
import { UNWATCHED } from '../../src/backends/watch.js'
import { loadConfig } from '../../src/config/load-config.js'
import { packageRoot } from '../../src/config/package-root.js'
import { backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { GeminiDouble } from '../../src/vendors/gemini/live-double.js'
import { OpenAiLiveDouble } from '../../src/vendors/openai/live-double.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { REALTIME } from '../../src/vendors/list.js'
import { SonioxDouble } from '../../src/vendors/soniox/double.js'
import { loadText } from '../support/agent-text.js'
import { loadResamplers } from '../support/media-modules.js'
import { until } from '../support/until.js'

const resamplers = await loadResamplers()
const [openai, live, gemini, own, cascade] = await Promise.all([
  OpenAiDouble.start(),
  OpenAiLiveDouble.start(),
  GeminiDouble.start(),
  OpenAiDouble.start({ dialect: 'beta' }),
  CascadeDouble.start(),
])
t.teardown(() => Promise.all([openai.close(), live.close(), gemini.close(), own.close(), cascade.close()]))

const ENV = {
  OPENAI_API_KEY: 'key-of-a-test',
  OPENAI_BASE_URL: openai.baseUrl,
  OPENAI_LIVE_URL: live.baseUrl,
  GEMINI_API_KEY: 'key-of-a-test',
  GEMINI_BASE_URL: gemini.baseUrl,
  GEMINI_MODEL: 'gemini-of-the-settings',
  REALTIME_URL: own.baseUrl,
  REALTIME_DIALECT: 'beta',
  STT_URL: cascade.baseUrl,
  LLM_URL: cascade.baseUrl,
  TTS_URL: cascade.baseUrl,
}

/** An agent file with these lines, as the gateway loads it. */
async function agentOf(lines: string, folder: string | null = null): Promise<AgentDefinition> {
  const loaded = await loadText(`version: 1\nname: a\ninstructions: Be brief.\n${lines}`, {}, folder)
  if (Array.isArray(loaded)) throw new Error(loaded.join('; '))
  return loaded
}

/** The connected backend of a call of this agent. */
async function connected(
  lines: string,
  names: readonly string[],
  legRateHz: 8000 | 16000 = 16000,
  env: Readonly<Record<string, string>> = {},
  folder: string | null = null,
): Promise<Backend> {
  const agent = await agentOf(lines, folder)
  const options: CompositionOptions = {
    names,
    voices: agent.voice,
    ...agent.failover,
    budget: null,
    prices: null,
    message: null,
  }
  const composed = await composeBackend(options, {
    speech: null,
    clock: () => performance.now(),
    circuits: new Circuits(),
    resamplers,
    legRateHz,
    watch: UNWATCHED,
    settings: backendSettings(loadConfig({ ...ENV, ...env }, null)),
    options: agent.backends,
    instructionsNow: () => 'x',
    gatewayInterrupts: agent.bargeIn.backchannel !== null,
  })
  const backend = composed.create(new Recorder())
  const session = { ...conformanceSession(), vocabulary: vocabularyOf(agent, null) }
  await backend.connect(session, new AbortController().signal)
  return backend
}

t.test("an agent's file sets the options of OpenAI's session", async (t) => {
  const backend = await connected(
    `backends:
  openai:
    model: gpt-realtime-2
    turns: { by: semantic_vad, eagerness: low }
    transcription: null
    noiseReduction: far_field
    speed: 1.2
    maxOutputTokens: 500
    reasoningEffort: low
`,
    ['openai'],
  )
  t.match(openai.session.config, {
    audio: {
      input: { turn_detection: { type: 'semantic_vad', eagerness: 'low' }, noise_reduction: { type: 'far_field' } },
      output: { speed: 1.2 },
    },
    max_output_tokens: 500,
    reasoning: { effort: 'low' },
  })
  t.equal(openai.session.config?.audio?.input?.transcription, undefined)
  t.equal(backend.capabilities.serverVad, true)
  await backend.close('done')
})

t.test("an agent's file sets OpenAI's transcription languages and context limit", async (t) => {
  const backend = await connected(
    `pronunciations: [{ match: Muindi Mbingu, say: x }]
backends:
  openai:
    turns: { by: server_vad, interruptResponse: false }
    languages: [en, sw]
    keywords: [M-Pesa, Nakuru]
    contextTokens: 12000
    retentionRatio: 0.7
`,
    ['openai'],
  )
  t.match(openai.session.config, {
    audio: {
      input: {
        turn_detection: { type: 'server_vad', interrupt_response: false, create_response: true },
        transcription: {
          model: 'gpt-transcribe',
          languages: ['en', 'sw'],
          keywords: ['M-Pesa', 'Nakuru', 'Muindi Mbingu'],
        },
      },
    },
    truncation: { type: 'retention_ratio', retention_ratio: 0.7, token_limits: { post_instructions: 12_000 } },
  })
  t.equal(openai.session.config?.audio?.input?.transcription?.language, undefined, 'languages replace the language')
  t.match(backend.capabilities, { serverVad: true, serverInterrupts: false })
  await backend.close('done')
  const limited = await connected('backends: { openai: { contextTokens: 8000 } }', ['openai'])
  t.match(openai.session.config?.truncation, { retention_ratio: 0.8, token_limits: { post_instructions: 8000 } })
  await limited.close('done')
  const semantic = await connected('backends: { openai: { turns: { by: semantic_vad, interruptResponse: false } } }', [
    'openai',
  ])
  t.match(openai.session.config?.audio?.input?.turn_detection, { type: 'semantic_vad', interrupt_response: false })
  await semantic.close('done')
  const plain = await connected('', ['openai'])
  t.equal(openai.session.config?.truncation, undefined)
  t.match(openai.session.config?.audio?.input?.transcription, { model: 'gpt-transcribe', language: 'en' })
  await plain.close('done')
})

t.test('a service interrupts only without backchannel detection or if configured', async (t) => {
  const interrupts = async (lines: string, names: readonly string[]): Promise<unknown> => {
    const backend = await connected(lines, names)
    await backend.close('done')
    return backend.capabilities.serverInterrupts
  }
  const wire = (): unknown => openai.session.config?.audio?.input?.turn_detection?.interrupt_response
  const none = 'bargeIn: { backchannel: null }'
  const turns = (by: string, value: boolean): string =>
    `backends: { openai: { turns: { by: ${by}, interruptResponse: ${value} } } }`
  t.equal(await interrupts('', ['openai']), false)
  t.equal(wire(), false)
  t.equal(await interrupts(none, ['openai']), true)
  t.equal(wire(), true)
  t.equal(await interrupts(turns('semantic_vad', true), ['openai']), true)
  t.equal(await interrupts(`${none}\n${turns('server_vad', false)}`, ['openai']), false)
  t.equal(await interrupts('backends: { openai: { turns: { by: semantic_vad } } }', ['openai']), false)
  t.equal(await interrupts('', ['self-hosted']), false)
  const flat = own.session.config as unknown as { turn_detection: { interrupt_response: boolean } }
  t.equal(flat.turn_detection.interrupt_response, false)
  t.equal(await interrupts('backends: { gemini: { turns: { by: gateway } } }', ['gemini']), false)
  t.equal(await interrupts('backends: { gemini: { turns: { by: server } } }', ['gemini']), true, 'it cannot be stopped')
  t.equal(await interrupts('backends: { gemini: { turns: { by: server } } }', ['openai', 'gemini']), true)
})

t.test("an agent's file sets Gemini's transcription languages and vocabulary", async (t) => {
  const backend = await connected(
    `tools:
  - name: lookup_order
    description: Looks an order up.
    http: { method: GET, url: 'https://shop.example/orders' }
  - name: cancel_order
    description: Cancels an order.
    http: { method: POST, url: 'https://shop.example/cancel' }
  - name: note
    description: Writes something down.
    blocking: false
    scheduling: silent
    http: { method: POST, url: 'https://shop.example/notes' }
backends:
  gemini:
    transcription: { languages: [en-KE, sw-KE], vocabulary: [M-Pesa] }
`,
    ['gemini'],
    16000,
    { GEMINI_MODEL: 'gemini-3.8-live' },
  )
  t.same(gemini.session.setup?.inputAudioTranscription, {
    languageCodes: ['en-KE', 'sw-KE'],
    customVocabulary: ['M-Pesa'],
  })
  await backend.close('done')
})

t.test('without GEMINI_MODEL the model is gemini-3.8-live', async (t) => {
  const modelOf = (env: Readonly<Record<string, string>>) =>
    modelsOf('gemini', backendSettings(loadConfig(env, null)), {})
  t.same(modelOf({ GEMINI_API_KEY: 'key-of-a-test' }), ['gemini-3.8-live'])
  const { GEMINI_MODEL: _, ...others } = ENV
  t.same(modelOf(others), ['gemini-3.8-live'])
})

t.test('an 8 kHz leg uses G.711 unless `audio` is set', async (t) => {
  const narrow = await connected('', ['openai'], 8000)
  t.match(openai.session.config?.audio, {
    input: { format: { type: 'audio/pcma' } },
    output: { format: { type: 'audio/pcma' } },
  })
  await narrow.close('done')
  const wide = await connected('backends: { openai: { audio: pcm } }', ['openai'], 8000)
  t.match(openai.session.config?.audio?.input?.format, { type: 'audio/pcm', rate: 24_000 })
  await wide.close('done')
  const muLaw = await connected('backends: { openai: { audio: pcmu } }', ['openai'], 8000)
  t.match(openai.session.config?.audio?.input?.format, { type: 'audio/pcmu' })
  await muLaw.close('done')
})

t.test("GPT-Live uses the leg's audio format and its configured delegate", async (t) => {
  const wide = await connected('', ['openai-live'])
  t.match(live.session.config, {
    model: 'gpt-live-1.1',
    audio: { format: { type: 'audio/pcm', rate: 16_000 }, output: { voice: 'marin' } },
    delegation: { type: 'responses', responses: { model: 'gpt-5.4-mini' } },
  })
  t.equal(wide.capabilities.serverVad, false)
  await wide.close('done')
  const narrow = await connected(
    'voice: { openai-live: willow }\nbackends: { openai-live: { delegate: { by: client, model: llama }, acknowledgementMs: 700 } }',
    ['openai-live'],
    8000,
  )
  t.match(live.session.config, {
    audio: { format: { type: 'audio/pcma', rate: 8000 }, output: { voice: 'willow' } },
    delegation: { type: 'client', acknowledgement_delay_ms: 700 },
  })
  await narrow.close('done')
  const own = await connected(
    'backends: { openai-live: { audio: pcm24k, delegate: { by: responses, model: gpt-5.5, reasoningEffort: low } } }',
    ['openai-live'],
    16000,
    { OPENAI_LIVE_DELEGATE: 'client' },
  )
  t.match(live.session.config, {
    audio: { format: { type: 'audio/pcm', rate: 24_000 } },
    delegation: { type: 'responses', responses: { model: 'gpt-5.5', reasoning: { effort: 'low' } } },
  })
  await own.close('done')
})

t.test("GPT-Live without OPENAI_API_KEY or the delegate's LLM_URL is refused", async (t) => {
  const settings = (env: Readonly<Record<string, string>>) => backendSettings(loadConfig(env, null))
  t.throws(() => resolveBackend('a', 'openai-live', settings({})), {
    message: /OPENAI_API_KEY is not set; set it, or use backend: auto$/,
  })
  t.throws(() => resolveBackend('a', 'auto', settings({ AUTO_BACKEND: 'openai-live' })), {
    message: /OPENAI_API_KEY is not set; set it, or use another AUTO_BACKEND$/,
  })
  t.throws(
    () =>
      resolveBackend('a', 'openai-live', settings({ OPENAI_API_KEY: 'key-of-a-test', OPENAI_LIVE_DELEGATE: 'client' })),
    { message: /LLM_URL is not set/ },
  )
})

t.test('a wrong GPT-Live voice is refused with the nearest name', async (t) => {
  for (const voice of ['fable', 'nova', 'onyx', 'maren']) {
    await t.rejects(agentOf(`voice: { openai-live: ${voice} }`), {
      message: /voice.*(allowed|one of|must be)[^]*marin/,
    })
  }
  await t.rejects(agentOf('voice: { openai-live: maren }'), { message: /did you mean marin/ })
  await t.rejects(agentOf('backends: { openai-live: { delegat: { by: client } } }'), {
    message: /did you mean delegate/,
  })
  await t.rejects(agentOf('backends: { openai-live: { delegate: { by: somebody } } }'), {
    message: /must have by: responses or by: client/,
  })
})

t.test("Gemini's model comes from the agent, then from the settings", async (t) => {
  const backend = await connected(
    'backends: { gemini: { model: gemini-of-the-agent, temperature: 0.4, turns: { by: server, silenceMs: 700 } } }',
    ['gemini'],
  )
  t.match(gemini.session.setup, {
    model: 'models/gemini-of-the-agent',
    generationConfig: { temperature: 0.4 },
    realtimeInputConfig: { automaticActivityDetection: { silenceDurationMs: 700 } },
  })
  await backend.close('done')
  const plain = await connected('', ['gemini'])
  t.match(gemini.session.setup, {
    model: 'models/gemini-of-the-settings',
    realtimeInputConfig: { automaticActivityDetection: { disabled: true } },
  })
  await plain.close('done')
})

t.test('options also reach a self-hosted server and a cascade', async (t) => {
  const backend = await connected('backends: { self-hosted: { temperature: 0.7, turns: { by: gateway } } }', [
    'self-hosted',
  ])
  t.match(own.session.config, { temperature: 0.7, turn_detection: null })
  await backend.close('done')
  const ofCascade = await connected('backends: { cascade: { llm: { model: llama, temperature: 0.1 } } }', ['cascade'])
  ofCascade.sendText('Hello', { role: 'caller', respond: true })
  await until(() => cascade.chats.length > 0, 10_000, 'the request')
  t.match(cascade.chats[0], { model: 'llama', temperature: 0.1 })
  await ofCascade.close('done')
})

t.test("a cascade's services are names, options, lists or modules", async (t) => {
  const double = await SonioxDouble.start({ key: 'soniox-key' })
  const dir = t.testdir({
    'voice.mjs': `
      export function createTextToSpeech(context, { hz }) {
        return {
          input: 'clauses',
          open: async () => {},
          close() {},
          begin: (voice, listener) => ({
            text() { listener.clause(0); listener.audio(new Int16Array(hz).fill(1000), hz) },
            end() { listener.done() },
            cancel() {},
          }),
        }
      }`,
  })
  t.teardown(() => double.close())
  const env = { SONIOX_API_KEY: 'soniox-key', SONIOX_STT_URL: double.baseUrl, SONIOX_TTS_URL: double.baseUrl }
  const backend = await connected(
    `pronunciations: [{ match: Muindi Mbingu, say: x }, { match: M-Pesa, say: y }]
backends:
  cascade:
    languages: [sw]
    stt: [{ service: soniox, terms: [M-Pesa] }, whisper]
    tts: { service: 'module:./voice.mjs', options: { hz: 8000 } }
`,
    ['cascade'],
    8000,
    env,
    dir,
  )
  backend.sendText('', { role: 'system', respond: true })
  await until(() => double.listeners[0]?.config != null, 10_000, 'the configuration')
  t.match(double.listeners[0]?.config, {
    language_hints: ['sw'],
    context: { terms: ['M-Pesa', 'Muindi Mbingu'] },
    sample_rate: 16_000,
  })
  await backend.close('done')
  const usual = await connected('', ['cascade'], 16000, { ...env, STT_URL: '', TTS_URL: '' })
  t.equal(double.voices.length, 1, 'with a key and no address the voice is Soniox')
  await usual.close('done')
  const settings = backendSettings(loadConfig({ LLM_URL: cascade.baseUrl }, null))
  t.throws(() => resolveBackends('a', 'cascade', settings), { message: /STT_URL and TTS_URL is not set/ })
  t.throws(() => resolveBackends('a', 'cascade', settings, { cascade: { stt: 'soniox', tts: ['soniox'] } }), {
    message: /SONIOX_API_KEY is not set/,
  })
})

t.test("a recogniser gets the agent's terms before the business names", (t) => {
  const name = 'Duka la Amani'
  const facts = { name, team: ['Wanjiru', 'Otieno'], services: ['repairs', name], location: 'Moi Avenue, Nairobi' }
  const business = { number: '+254720000101', agent: 'a', facts } as never
  const line = { pronunciations: [{ match: 'Muindi Mbingu', say: 'x' }] }
  const names = vocabularyOf(line, business)
  t.same(names, [name, 'Muindi Mbingu', 'Wanjiru', 'Otieno', 'repairs', 'Moi Avenue', 'Nairobi'])
  t.same(termsOf(['Nairobi'], names), ['Nairobi', ...names.slice(0, -1)])
  const many = Array.from({ length: 100 }, (_, index) => `n${index}`)
  t.equal(vocabularyOf({ pronunciations: many.map((match) => ({ match, say: 'x' })) }, null).length, 40)
  t.same(termsOf(many, names), many, 'what the file has is never cut')
  t.equal(termsOf(many.slice(0, 48), names).length, 50)
  t.same(vocabularyOf({ pronunciations: [{ match: 'x'.repeat(41), say: 'x' }] }, null), [])
  t.end()
})

t.test("a wrong option of a cascade's service is named", async (t) => {
  const faults = async (services: string): Promise<string> => {
    const text = `version: 1\nname: a\ninstructions: Be brief.\nbackends: { cascade: { ${services} } }`
    const loaded = await loadText(text, {})
    return Array.isArray(loaded) ? loaded.join('; ') : 'none'
  }
  t.match(await faults('stt: { modle: x }'), /modle.*model/)
  t.match(
    await faults('stt: [soniox, { service: soniox, prompt: x }]'),
    /prompt is not an option of soniox; its options: model, terms, context/,
  )
  t.match(
    await faults('stt: deepspeech'),
    /must be one of whisper, realtime, vosk, sherpa, soniox, deepgram, azure, openai, google, module:SPECIFIER/,
  )
  t.match(await faults('stt: { service: azure, locales: [sw] }'), /must be a language and a region, such as sw-TZ/)
  t.match(await faults('llm: []'), /llm/)
  t.match(await faults("tts: 'module:./none.mjs'"), /there is no file/)
  t.equal(await faults('stt: { prompt: x, model: y }, llm: { temperature: 0.1 }, tts: [speech, soniox]'), 'none')
})

t.test('the gateway detects turns if one backend cannot', async (t) => {
  const mixed = await connected('', ['openai', 'gemini'])
  t.equal(openai.session.config?.audio?.input?.turn_detection, null, "OpenAI's detection is off")
  t.equal(mixed.capabilities.serverVad, false)
  await mixed.close('done')
  const alone = await connected('', ['openai'])
  t.match(openai.session.config?.audio?.input?.turn_detection, { type: 'server_vad' }, 'alone it detects turns itself')
  await alone.close('done')
  const all = await connected('', ['openai', 'gemini'], 16000, { GEMINI_TURNS: 'server' })
  t.match(openai.session.config?.audio?.input?.turn_detection, { type: 'server_vad' }, 'and also when all can')
  t.equal(all.capabilities.serverVad, true)
  await all.close('done')
  const explicit = await connected('backends: { openai: { turns: { by: server_vad, silenceMs: 300 } } }', [
    'openai',
    'gemini',
  ])
  t.match(
    openai.session.config?.audio?.input?.turn_detection,
    { silence_duration_ms: 300 },
    'an explicit setting of the agent counts',
  )
  await explicit.close('done')
})

t.test('caller audio goes immediately to services that detect turns', async (t) => {
  const arrived = async (
    lines: string,
    names: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<number> => {
    const backend = await connected(lines, names, 16000, env)
    // 40 ms of audio: two short messages, and less than one long message.
    for (let i = 0; i < 2; i++) backend.pushAudio(new Int16Array(320))
    await backend.close('done')
    // The close waits until everything sent before has arrived.
    return openai.session.callerAudioMs
  }
  t.equal(await arrived('', ['openai']), 40, 'the service detects the turns: frame by frame')
  t.equal(await arrived('', ['openai'], { BACKEND_MESSAGE_MS: '100' }), 0, 'as in the settings')
  t.equal(
    await arrived('backends: { openai: { messageMs: 20 } }', ['openai'], { BACKEND_MESSAGE_MS: '100' }),
    40,
    "or as in the agent's file",
  )
})

t.test("without the agent's choice the settings choose the turn detection", async (t) => {
  const backend = await connected('', ['openai'], 16000, { OPENAI_TURNS: 'gateway' })
  t.equal(openai.session.config?.audio?.input?.turn_detection, null)
  await backend.close('done')
})

t.test('the error for a wrong option names its place', async (t) => {
  const faults = async (lines: string): Promise<string> => {
    const loaded = await loadText(`version: 1\nname: a\ninstructions: Be brief.\n${lines}`, {})
    return Array.isArray(loaded) ? loaded.join('\n') : ''
  }
  t.match(await faults('backends:\n  openai:\n    messageMs: 10\n'), /^a\.yaml:6:\d+: .*messageMs.*20/)
  t.match(
    await faults('backends:\n  openai:\n    turns: { by: telepathy }\n'),
    /^a\.yaml:6:\d+: .*gateway.*server_vad.*semantic_vad/,
  )
  t.match(await faults('backends:\n  openai:\n    turns: { by: gateway, eagerness: low }\n'), /eagerness/)
  t.match(await faults('backends:\n  openai:\n    temperature: 1\n'), /temperature/, 'GA sessions have none')
  t.match(
    await faults('backends:\n  openai: { transcription: whisper-1, keywords: [M-Pesa] }\n'),
    /keywords.*needs transcription: gpt-transcribe or gpt-live-transcribe/,
  )
  t.match(await faults('backends:\n  openai: { languages: [english] }\n'), /languages.*language code such as sw/)
  t.match(
    await faults('backends:\n  gemini: { transcription: { languages: [Swahili!] } }\n'),
    /languages.*language code such as sw-KE/,
  )
  t.match(await faults('backends:\n  gemini: { thinkingLevel: none }\n'), /thinkingLevel/)
  t.match(await faults('backends:\n  opneai: {}\n'), /opneai has no options; allowed: openai/)
  t.match(await faults('backends:\n  embedded: {}\n'), /embedded has no options/)
})

t.test("each backend's documentation has an example to copy", async (t) => {
  const pages = [...REALTIME].map(([name, { vendor, needs }]) => [
    name,
    `src/vendors/${vendor.folder}/README.md`,
    needs,
  ])
  for (const [name = '', file = '', needs = ''] of [...pages, ['cascade', 'docs/BACKENDS.md', 'STT_URL']]) {
    const block = `(?:^|\\n)\`\`\`sh\\nexport ${needs}=[^\`]*\`\`\`\\s+\`\`\`yaml fragment=agent\\nbackend: \\[?${name}\\b`
    t.match(readFileSync(join(packageRoot(), file), 'utf8'), new RegExp(block), `${name} in ${file}`)
  }
  const embedded = /\n## Embedded\n[^#]*```yaml fragment=agent\nbackend: embedded\n/
  t.match(readFileSync(join(packageRoot(), 'docs/BACKENDS.md'), 'utf8'), embedded)
})

t.test("GPT-Live's own prompt comes from the agent's file, without variables", async (t) => {
  const made = await connected(
    'backends: { openai-live: { live: { prompt: You are Amina., backchannels: Use none. } } }',
    ['openai-live'],
  )
  t.teardown(() => made.close('the test is over'))
  t.match(live.session.config, {
    model: 'gpt-live-1.1',
    instructions: /^You are Amina\.\n\nBackchannel policy: Use none\.\n/,
  })
  await t.rejects(agentOf('backends: { openai-live: { live: { prompt: "You serve {{caller.name}}." } } }'), {
    message: /backends\.openai-live\.live\.prompt.*must have no \{\{…\}\}/,
  })
})
