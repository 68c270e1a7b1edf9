import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { agentSchema } from '../../src/agents/file/definition.js'
import { loadAgents } from '../../src/agents/file/loader.js'
import { recordingsOf } from '../../src/agents/file/sounds.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { allCallsOn } from '../../src/backends/split.js'
import { loadConfig } from '../../src/config/load-config.js'
import { packageRoot } from '../../src/config/package-root.js'
import { agentFacts, followAgents, hostedAgents } from '../../src/gateway/agents/hosted-agents.js'
import { writeWav } from '../../src/media/wav.js'
import { createLog } from '../../src/telemetry/log.js'
import { TextVoices } from '../../src/simulator/scenarios/text-speech.js'
import type { HostedAgent } from '../../src/workers/main/main-thread-context.js'
import { SPEECH_WAITING_SAMPLES_MAX } from '../../src/workers/worker/call-speech.js'
import { command } from '../support/command.js'
import { TestLine, inbound, pass, startHost, time, until } from '../support/host.js'
import { portOf } from '../support/port-of.js'
import { until as untilItIs } from '../support/until.js'

const ENV = { SHOP_API_URL: 'http://127.0.0.1:1' }
const folder = await mkdtemp(join(tmpdir(), 'mkondo-sounds-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))

/** A file of the folder with this many milliseconds of sound. */
function wav(ms: number, sampleRateHz = 16_000, channels: 1 | 2 = 1): Uint8Array {
  const samples = new Int16Array((ms * sampleRateHz * channels) / 1000).fill(1000)
  if (channels === 2) for (let at = 1; at < samples.length; at += 2) samples[at] = 3000
  return writeWav({ sampleRateHz, channels, samples })
}

/** A folder with the shipped agents, one with these keys beside its own, and these files. */
async function agentsWith(keys: string, files: Readonly<Record<string, Uint8Array | string>>): Promise<string> {
  const agents = await mkdtemp(join(folder, 'agents-'))
  await cp(join(packageRoot(), 'agents', 'order-status.yaml'), join(agents, 'order-status.yaml'))
  const file = join(agents, 'order-status.yaml')
  await writeFile(file, `${await readFile(file, 'utf8')}\n${keys}\n`)
  await mkdir(join(agents, 'audio'))
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(agents, 'audio', name), bytes)
  return agents
}

t.test('recorded phrases are read at any rate, per language', async (t) => {
  const agents = await agentsWith('recordedPhrases: { goodbye: { en: audio/bye.wav, sw: audio/kwaheri.wav } }', {
    'bye.wav': wav(500, 44_100, 2),
    'kwaheri.wav': wav(300, 8000),
  })
  const loaded = await loadAgents(agents, ENV)
  const { recorded = [] } = loaded.assets.get('order-status') ?? {}
  t.same(
    recorded.map(({ text, sampleRateHz, samples }) => [
      text,
      sampleRateHz,
      Math.round((samples.byteLength / sampleRateHz) * 500),
    ]),
    [
      ['Thank you for calling. Goodbye.', 24_000, 500],
      ['Asante kwa kupiga simu. Kwaheri.', 8000, 300],
    ],
  )
  t.equal(new Int16Array(recorded[0]?.samples ?? new SharedArrayBuffer(0))[6000], 2000, 'the mean of both channels')
})

t.test('the longest recording fits the playout buffer', async (t) => {
  const agents = await agentsWith('recordedPhrases: { goodbye: { en: audio/bye.wav } }', {
    'bye.wav': wav(20_000, 48_000),
  })
  const [recorded] = (await loadAgents(agents, ENV)).assets.get('order-status')?.recorded ?? []
  t.match(recorded, { sampleRateHz: 24_000 })
  t.ok((recorded?.samples.byteLength ?? Infinity) / 2 <= SPEECH_WAITING_SAMPLES_MAX)
})

t.test('check reports the fault of each recording', async (t) => {
  const agents = await agentsWith(
    [
      'recordedPhrases:',
      '  goodbye: audio/bye.wav',
      '  apology: { en: audio/no.wav, sw: audio/text.wav, fr: audio/bye.wav }',
      '  greeting: audio/bye.wav',
      '  tryAgain: { en: audio/long.wav, sw: ../bye.wav }',
      '  escalation.announce: { en: audio/silent.wav }',
      'waitingSound: { file: audio/short.wav }',
    ].join('\n'),
    {
      'bye.wav': wav(100),
      'text.wav': 'not a WAV file',
      'long.wav': wav(20_100, 8000),
      'silent.wav': wav(0),
      'short.wav': wav(100),
    },
  )
  const { code, out, err } = await command(['check'], { env: { ...ENV, AGENTS_DIR: agents } })
  t.equal(code, 2)
  const said = out + err
  for (const fault of [
    /recordedPhrases\.goodbye: is in several languages; allowed: one file for each language, such as \{ en: …, sw: … \}/,
    /recordedPhrases\.apology\.en: audio\/no\.wav: cannot be read: ENOENT/,
    /recordedPhrases\.apology\.sw: audio\/text\.wav: cannot read this WAV file: .*allowed are PCM of 8 to 32 bits/,
    /recordedPhrases\.apology\.fr: has no text in that language/,
    /recordedPhrases\.greeting: is not a phrase that the gateway says for this agent; allowed: apology, tryAgain, goodbye/,
    /recordedPhrases\.tryAgain\.en: audio\/long\.wav: lasts 20\.1 s; at most 20 s are allowed/,
    /recordedPhrases\.tryAgain\.sw: \.\.\/bye\.wav: lies outside of the agents folder/,
    /recordedPhrases\.escalation\.announce\.en: audio\/silent\.wav: has no sound/,
    /waitingSound\.file: audio\/short\.wav: lasts 100 ms; at least 200 are needed for a loop/,
  ])
    t.match(said, fault)
})

t.test('missing sound files are reported and loaded once they exist', async (t) => {
  const dir = await agentsWith(
    'recordedPhrases: { goodbye: { en: audio/bye.wav } }\nwaitingSound: { file: audio/hold.wav }',
    {},
  )
  const config = loadConfig({ AGENTS_DIR: dir }, null)
  const { agents, numbers, faults } = await hostedAgents(config, ENV)
  const assets = () => agents.get('order-status')?.assets
  t.match(assets(), { recorded: [], waiting: null })
  t.match(
    faults.map(({ what }) => what),
    [
      /^recordedPhrases\.goodbye\.en: audio\/bye\.wav: cannot be read: ENOENT.*; callers hear the agent's voice instead$/,
      /^waitingSound\.file: audio\/hold\.wav: cannot be read: ENOENT.*; callers hear silence instead$/,
    ],
  )
  const check = await command(['check'], { env: { ...ENV, AGENTS_DIR: dir } })
  t.equal(check.code, 2, 'check does not let it pass')
  t.match(check.out + check.err, /audio\/hold\.wav: cannot be read/)

  const counts: number[] = []
  const log = createLog({ level: 'silent' })
  const onCount = (count: number): void => void counts.push(count)
  t.teardown(await followAgents({ ...{ config, env: ENV, log, agents, numbers }, onCount }))
  await writeFile(join(dir, 'audio', 'bye.wav'), wav(500))
  await writeFile(join(dir, 'audio', 'hold.wav'), wav(500))
  await untilItIs(() => assets()?.waiting != null && assets()?.recorded.length === 1, 10_000, 'the files')
  await untilItIs(() => counts.at(-1) === 0, 10_000, 'no fault')
  await rm(join(dir, 'audio', 'hold.wav'))
  await untilItIs(() => assets()?.waiting === null && counts.at(-1) === 1, 10_000, 'the agent without it')
  t.equal(assets()?.recorded.length, 1, 'the other file is still there')
})

t.test('an agent with an unknown recordedPhrases key is refused', async (t) => {
  const dir = await agentsWith('recordedPhrases: { godbye: audio/bye.wav }', { 'bye.wav': wav(500) })
  await t.rejects(hostedAgents(loadConfig({ AGENTS_DIR: dir }, null), ENV), /godbye: is not a phrase/)
})

t.test('equal texts have one recording per language', async (t) => {
  const agent = agentSchema.parse({
    version: 1,
    name: 'a',
    instructions: 'Be brief.',
    languages: ['en', 'sw'],
    tryAgain: { en: 'Sorry?', sw: 'Sorry?' },
    apology: { en: 'Sorry?', sw: 'Samahani.' },
    recordedPhrases: { tryAgain: { en: 'a.wav', sw: 'b.wav' }, apology: { en: 'c.wav' } },
  })
  t.match(recordingsOf(agent), [
    { file: 'a.wav', text: 'Sorry?', language: 'en' },
    { file: 'b.wav', text: 'Sorry?', language: 'sw' },
    { what: 'has the text of recordedPhrases.tryAgain.en, whose file is a.wav; allowed: one recording for each text' },
  ])
})

/** The agent of a folder, as a registry takes it. */
async function hosted(agentsFolder: string): Promise<ReadonlyMap<string, HostedAgent>> {
  const loaded = await loadAgents(agentsFolder, ENV)
  const [definition, assets] = [loaded.agents.get('order-status'), loaded.assets.get('order-status')]
  if (definition === undefined || assets === undefined) throw new Error('the agent was not loaded')
  return new Map([
    ['order-status', { definition, assets, facts: agentFacts(definition), shares: allCallsOn('embedded') }],
  ])
}

/** What the caller heard of `wav`; the resampler's ripple at its ends is no part of it. */
function recordedMs(line: TestLine, legRateHz: number): number {
  const samples = line.frames.flatMap((frame) => [...frame.samples]).filter((sample) => Math.abs(sample - 1000) < 20)
  return (samples.length * 1000) / legRateHz
}

t.test('a caller hears the recording, transcribed as its text', async (t) => {
  const folderOfAgent = await agentsWith('recordedPhrases: { silence.firstPrompt: { en: audio/help.wav } }', {
    'help.wav': wav(400, 8000),
  })
  const test = await startHost({ agents: await hosted(folderOfAgent) })
  t.teardown(() => test.close())
  const live = test.host.prepare(inbound('HD_recorded0001'))
  const line = new TestLine(live)
  line.start()
  const prompt = /^How can I help you/
  await until(() => live.view().transcript.some(({ text }) => prompt.test(text)), 30_000, 'the first prompt')
  await pass(1000)
  line.stop()
  live.detach(1000)
  const { transcript } = await test.recordOf('HD_recorded0001')
  t.match(
    transcript.find(({ text }) => prompt.test(text)),
    { role: 'agent' },
  )
  const ms = recordedMs(line, live.legRateHz)
  t.ok(ms > 380 && ms <= 400, `${ms} ms of it`)
})

/** A folder with an agent that looks something up for as long as the test wants, and then says "It is here." */
async function slowAgents(
  keys: string,
  files: Readonly<Record<string, Uint8Array>>,
  filler: string | null = null,
): Promise<string> {
  const agents = await agentsWith('', files)
  const text = `version: 1
name: order-status
instructions: Look it up.
greeting: Hello.
fillers: { phrases: [${filler ?? ''}] }
tools:
  - name: look
    description: Looks it up.
    parameters: { type: object, properties: {} }
    http: { method: GET, url: '{{env.SHOP_API_URL}}/look', timeoutMs: 15000, allowPrivate: true }
    result: { fields: { found: found } }
    idempotent: true
offline:
  version: 1
  intents: { where: { phrases: [where is it] } }
  retry: Pardon?
  misses: 3
  missed: begin
  start: begin
  states:
    begin: { steps: [{ say: '{{greeting}}' }, { listen: { on: { where: look } } }] }
    look: { steps: [{ call: { tool: look, failed: begin } }, { say: It is here. }, { listen: { on: { where: look } } }] }
${keys}
`
  await writeFile(join(agents, 'order-status.yaml'), text)
  return agents
}

t.test('a recording is not played for another language', async (t) => {
  const keys = `languages: [sw, en]
silence: { firstPrompt: { en: Karibu Mkondo., sw: Karibu Mkondo. } }
recordedPhrases: { silence.firstPrompt: { en: audio/help.wav } }`
  const folderOfAgent = await slowAgents(keys, { 'help.wav': wav(400, 8000) })
  const test = await startHost({ agents: await hosted(folderOfAgent) })
  t.teardown(() => test.close())
  const live = test.host.prepare(inbound('HD_recorded0002'))
  const line = new TestLine(live)
  line.start()
  const prompt = /^Karibu/
  await until(() => live.view().transcript.some(({ text }) => prompt.test(text)), 30_000, 'the first prompt')
  await pass(1000)
  line.stop()
  live.detach(1000)
  await test.recordOf('HD_recorded0002')
  t.ok(recordedMs(line, live.legRateHz) < 200, 'a voice may have some samples as loud')
})

/** An API whose answer the test decides on. */
async function slowApi(t: Test) {
  const api = { asked: 0, answer: (): void => undefined, url: '' }
  const server = createServer((_request, response) => {
    api.asked++
    api.answer = () => void response.writeHead(200, { 'content-type': 'application/json' }).end('{"found":true}')
  })
  api.url = `http://127.0.0.1:${await portOf(t, server)}`
  return api
}

/** It is detected as a voice, and so is its echo where nobody knows better. */
const music = await new TextVoices(1, 1).speak('la la la la la la la la la la la la', 'rms', 16_000)
const MUSIC = { 'music.wav': writeWav({ sampleRateHz: 16_000, channels: 1, samples: music }) }

/** A call whose caller waits for `slowApi` for 1.9 s, at a loudspeaker that gives all of it back, softer. */
async function waitingCall(t: Test, callSid: string, filler: string | null) {
  const api = await slowApi(t)
  const agents = await slowAgents('waitingSound: { file: audio/music.wav, afterMs: 500, gainDb: -6 }', MUSIC, filler)
  const test = await startHost({ agents: await hosted(agents), env: { SHOP_API_URL: api.url } })
  t.teardown(() => test.close())
  const live = test.host.prepare(inbound(callSid))
  const line = new TestLine(live)
  line.start()
  await line.agentQuiet(600)
  await test.say(line, 'Where is it?')
  await until(() => api.asked > 0, 10_000, 'the look-up')
  const askedAtMs = time.nowMs()
  let echoed = line.frames.length
  const echo = (): void => {
    for (const { samples } of line.frames.slice(echoed)) line.say(samples.map((sample) => sample >> 2))
    echoed = line.frames.length
  }
  await until(() => (echo(), time.nowMs() - askedAtMs > 1900), 3000, 'two seconds of waiting')
  const waited = line.frames.filter(({ atMs }) => atMs > askedAtMs)
  const entries = live.view().transcript.map(({ role }) => role)
  return {
    waited: waited.map(({ atMs, samples }) => ({ afterMs: atMs - askedAtMs, samples })),
    entries,
    /** The answer comes, and 2 s later the call ends. */
    end: async () => {
      api.answer()
      await until(() => (echo(), live.view().transcript.length > entries.length), 10_000, 'the answer')
      await pass(2000)
      line.stop()
      live.detach(1000)
      return test.recordOf(callSid)
    },
  }
}

const wordsOf = ({ transcript }: CallRecord): string[] =>
  transcript.map(({ role, text }) => `${role}: ${text.toLowerCase()}`)

t.test('the waiting sound plays without its echo interrupting [1]', async (t) => {
  const call = await waitingCall(t, 'HD_waiting00001', null)
  const loud = call.waited.filter(({ samples }) => samples.some((one) => Math.abs(one) > 200))
  const firstMs = loud[0]?.afterMs ?? 0
  t.ok(firstMs > 300 && firstMs < 700, `it begins after ${firstMs} ms`)
  const loudMs = loud.reduce((sum, { samples }) => sum + samples.length / 16, 0)
  t.ok(loudMs > 1000, `${loudMs} ms of it`)
  const peak = Math.max(...loud.flatMap(({ samples }) => [...samples]))
  t.ok(Math.abs(peak / Math.max(...music) - 0.5) < 0.02, `softer, as its file says: ${peak}`)
  t.same(call.entries, ['agent', 'caller'])
  const record = await call.end()
  t.same(wordsOf(record), ['agent: hello.', 'caller: where is it', 'agent: it is here.'])
  t.same(record.bargeIns, [])
  t.equal(record.turns.length, 1)
  const [{ firstSoundMs, answerMs } = { firstSoundMs: 0, answerMs: 0 }] = record.turns
  t.ok(
    (firstSoundMs ?? 0) > 1900 && (answerMs ?? 0) > 1900,
    `the waiting sound does not count as an answer: ${firstSoundMs} ms, ${answerMs} ms`,
  )
})

t.test('the waiting sound continues under words without interrupting', async (t) => {
  const call = await waitingCall(t, 'HD_waiting00009', 'One moment.')
  t.same(call.entries, ['agent', 'caller', 'agent'], 'the filler')
  // A voice of these tests is a constant: what varies is the sound.
  const isHeard = ({ samples }: { readonly samples: Int16Array }): boolean => new Set(samples).size > 5
  const from = call.waited.findIndex(isHeard)
  const heard = call.waited.slice(from)
  t.ok(from >= 0 && heard.reduce((sum, { samples }) => sum + samples.length / 16, 0) > 1000)
  t.ok(heard.every(isHeard), 'each message has the sound')
  const record = await call.end()
  t.same(wordsOf(record), ['agent: hello.', 'caller: where is it', 'agent: one moment.', 'agent: it is here.'])
  t.same(record.bargeIns, [])
  t.equal(record.turns.length, 1)
})

t.test('a simulated text caller hears fillers despite waiting sounds', async (t) => {
  const api = await slowApi(t)
  const agents = await slowAgents('waitingSound: { file: audio/music.wav, afterMs: 500 }', MUSIC, 'One moment.')
  const scenario = join(agents, 'audio', 'waits.yaml')
  await writeFile(
    scenario,
    `version: 1
agent: order-status
caller:
  patienceMs: 60000
  steps:
    - say: Where is it?
    - { hangup: true, heard: One moment }
# The look-up is given up after 15 s: who has not heard the filler is still there.
expect: { endReason: caller-hung-up, withinMs: { call: 14000 } }
`,
  )
  const { code, out, err } = await command(['simulate', scenario, '--agents', agents], {
    env: { SHOP_API_URL: api.url },
  })
  t.equal(code, 0, out + err)
})
