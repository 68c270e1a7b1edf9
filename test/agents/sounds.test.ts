import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { loadAgents } from '../../src/agents/loader.js'
import { allCallsOn } from '../../src/backends/split.js'
import { packageRoot } from '../../src/config/package-root.js'
import { agentFacts } from '../../src/gateway/hosted-agents.js'
import { writeWav } from '../../src/media/wav.js'
import { command } from '../support/command.js'
import { TestLine, inbound, pass, startHost, until } from '../support/host.js'

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

t.test('a recorded phrase is read at any rate and mixed to one channel, for each language', async (t) => {
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

t.test('check says of each recording what is wrong with it, and what is allowed', async (t) => {
  const agents = await agentsWith(
    [
      'recordedPhrases:',
      '  goodbye: audio/bye.wav',
      '  apology: { en: audio/no.wav, sw: audio/text.wav, fr: audio/bye.wav }',
      '  greeting: audio/bye.wav',
      '  tryAgain: { en: audio/long.wav, sw: ../bye.wav }',
      '  escalation.announce: { en: audio/silent.wav }',
    ].join('\n'),
    { 'bye.wav': wav(100), 'text.wav': 'not a WAV file', 'long.wav': wav(30_100, 8000), 'silent.wav': wav(0) },
  )
  const { code, out, err } = await command(['check'], { env: { ...ENV, AGENTS_DIR: agents } })
  t.equal(code, 2)
  const said = out + err
  for (const fault of [
    /recordedPhrases\.goodbye: is in several languages; allowed: a file for each, such as \{ en: …, sw: … \}/,
    /recordedPhrases\.apology\.en: audio\/no\.wav: cannot be read: ENOENT/,
    /recordedPhrases\.apology\.sw: audio\/text\.wav: cannot read this WAV file: .*allowed are PCM of 8 to 32 bits/,
    /recordedPhrases\.apology\.fr: has no text in that language/,
    /recordedPhrases\.greeting: is no phrase that the gateway says for this agent; allowed: apology, tryAgain, goodbye/,
    /recordedPhrases\.tryAgain\.en: audio\/long\.wav: lasts 30\.1 s; at most 30 s are allowed/,
    /recordedPhrases\.tryAgain\.sw: \.\.\/bye\.wav: lies outside of the agents folder/,
    /recordedPhrases\.escalation\.announce\.en: audio\/silent\.wav: has no sound/,
  ])
    t.match(said, fault)
})

t.test('a caller hears the recording, and the transcript has its words', async (t) => {
  const folderOfAgent = await agentsWith('recordedPhrases: { silence.firstPrompt: { en: audio/help.wav } }', {
    'help.wav': wav(400, 8000),
  })
  const loaded = await loadAgents(folderOfAgent, ENV)
  const [definition, assets] = [loaded.agents.get('order-status'), loaded.assets.get('order-status')]
  if (definition === undefined || assets === undefined) throw new Error('the agent was not loaded')
  const agent = { definition, assets, facts: agentFacts(definition), shares: allCallsOn('embedded') }
  const test = await startHost({ agents: new Map([['order-status', agent]]) })
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
  // The resampler's ripple at the ends is no part of it.
  const samples = line.frames.flatMap((frame) => [...frame.samples]).filter((sample) => Math.abs(sample - 1000) < 20)
  const ms = (samples.length * 1000) / live.legRateHz
  t.ok(ms > 380 && ms <= 400, `${ms} ms of it`)
})
