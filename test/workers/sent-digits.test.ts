import t from 'tap'
import { agentSchema } from '../../src/agents/file/definition.js'
import { allCallsOn } from '../../src/backends/split.js'
import { diffOutputs } from '../../src/call/journal/replay-diff.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { frameSamples } from '../../src/core/units.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import { CallerPath } from '../../src/media/caller-path.js'
import { DtmfDetector } from '../../src/media/dtmf.js'
import { levelDbfs } from '../../src/media/pcm.js'
import { loadVoiceDetectors } from '../../src/workers/shared/media-assets.js'
import { concatenate, framesOf } from '../support/tones.js'
import { TestLine, inbound, pass, startHost, until } from '../support/host.js'

const definition = agentSchema.parse({
  version: 1,
  name: 'dials',
  instructions: 'Ask for the extension.',
  greeting: 'One moment.',
  outbound: { sendDigits: true, amd: null },
  offline: {
    version: 1,
    intents: { bye: { phrases: ['goodbye'] } },
    retry: 'Hello?',
    misses: 3,
    missed: 'dial',
    start: 'dial',
    states: {
      dial: {
        steps: [
          { say: '{{greeting}}' },
          { call: { tool: 'send_digits', args: { digits: '2w104#' }, save: 'keys', failed: 'failed' } },
          { say: 'Keys sent.' },
          { listen: { on: { bye: 'failed' } } },
        ],
      },
      failed: { steps: [{ say: 'No keys.' }, { listen: { on: { bye: 'failed' } } }] },
    },
  },
})

t.test('extension digits are sent after the words before them', async (t) => {
  const test = await startHost({
    agents: new Map([['dials', { definition, facts: agentFacts(definition), shares: allCallsOn('embedded') }]]),
  })
  t.teardown(() => test.close())
  const live = test.host.prepare(
    inbound('HD_dials000001', { agent: 'dials', direction: 'outbound', from: '+254709000000', to: '+254700000001' }),
  )
  const line = new TestLine(live)
  line.start()
  const said = () => live.view().transcript.map(({ text }) => text)
  // The far end sends all that it hears back.
  let echoed = 0
  await until(
    () => {
      for (const { samples } of line.frames.slice(echoed)) line.say(samples)
      echoed = line.frames.length
      return said().includes('Keys sent.')
    },
    20_000,
    'the words after the keys',
  )
  line.stop()
  live.detach(1000)
  const record = await test.recordOf('HD_dials000001')
  const detector = new DtmfDetector({ sampleRateHz: live.legRateHz })
  const sound = concatenate(...line.frames.map(({ samples }) => samples))
  const frames = framesOf(sound, frameSamples(live.legRateHz))
  const keys = frames.map((frame) => detector.detect(frame, levelDbfs(frame)) ?? '')
  t.equal(keys.join(''), '2104#')
  t.ok(keys.indexOf('2') > 10, 'after the greeting')
  t.match(record.toolCalls, [{ name: 'send_digits', ok: true, args: { digits: '2w104#' } }])
  t.match(record.transcript[0], { text: 'One moment.' })
  t.notOk(said().includes('No keys.'))
})

const PIN = '7386'
const AS_TEXT = new RegExp(`"[w]*${PIN}[w]*"`)

t.test('sensitive digits are sent but not kept', async (t) => {
  const offline = {
    ...definition.offline,
    states: {
      ...definition.offline?.states,
      dial: {
        steps: [
          { say: '{{greeting}}' },
          { call: { tool: 'send_digits', args: { digits: PIN, sensitive: true }, save: 'keys', failed: 'failed' } },
          { say: 'Keys sent.' },
          { listen: { on: { bye: 'failed' } } },
        ],
      },
    },
  }
  const secret = agentSchema.parse({
    version: 1,
    name: 'dials',
    instructions: 'Give the PIN.',
    greeting: 'One moment.',
    recording: { enabled: true },
    outbound: { sendDigits: true, amd: null },
    offline,
  })
  const journal: string[] = []
  const rows: Int16Array[] = []
  const test = await startHost({
    agents: new Map([['dials', { definition: secret, facts: agentFacts(secret), shares: allCallsOn('embedded') }]]),
    journal: { build: 'test', audio: true },
    keepJournal: (_sid, lines) => journal.push(...lines),
    record: () => ({
      path: 'recordings/x.wav',
      failed: false,
      announced: () => undefined,
      end: () => undefined,
      discard: () => undefined,
      write: (_at, written) => {
        rows.push(written.slice())
        return true
      },
    }),
  })
  t.teardown(() => test.close())
  const live = test.host.prepare(
    inbound('HD_dials000002', { agent: 'dials', direction: 'outbound', from: '+254709000000', to: '+254700000001' }),
  )
  const line = new TestLine(live)
  line.start()
  const said = () => live.view().transcript.map(({ text }) => text)
  let echoed = 0
  const echo = (): void => {
    for (const { samples } of line.frames.slice(echoed)) line.say(samples)
    echoed = line.frames.length
  }
  await until(
    () => {
      echo()
      return said().includes('Keys sent.')
    },
    20_000,
    'the words after the keys',
  )
  await until(() => said().some((text) => text.includes('still there')), 30_000, 'words after their echo')
  await pass(3000)
  line.stop()
  live.detach(1000)
  const record = await test.recordOf('HD_dials000002')

  const rate = live.legRateHz
  const keysIn = (sound: Int16Array): string => {
    const detector = new DtmfDetector({ sampleRateHz: rate })
    return framesOf(sound, frameSamples(rate))
      .map((frame) => detector.detect(frame, levelDbfs(frame)) ?? '')
      .join('')
  }
  t.equal(keysIn(concatenate(...line.frames.map(({ samples }) => samples))), PIN, 'whoever is called hears them')
  const recorded = concatenate(...rows)
  t.ok(
    recorded.subarray(-5 * rate * 2).some((sample) => Math.abs(sample) > 200),
    'the recording goes on once their echo is over',
  )
  for (const [channel, name] of ['caller', 'agent'].entries())
    t.equal(keysIn(recorded.filter((_, index) => index % 2 === channel)), '', `the recording of the ${name} has none`)
  t.match(record.toolCalls, [{ name: 'send_digits', ok: true, args: { digits: '…', sensitive: true } }])
  t.notMatch(JSON.stringify(record), AS_TEXT)

  t.ok(journal.length > 10)
  t.notMatch(journal.join('\n'), AS_TEXT)
  t.match(journal.join('\n'), /"digits":"xxxx"/)
  const played: string[] = []
  const packets: string[] = []
  for (const text of journal) {
    const { media } = JSON.parse(text) as { media?: unknown }
    if (!Array.isArray(media)) continue
    for (const [kind, , audio] of media as (readonly [string, number, string])[])
      if (kind !== 'tick') (kind === 'played' ? played : packets).push(audio)
  }
  for (const sent of [played, packets]) {
    t.ok(sent.length > 0)
    const bytes = Buffer.concat(sent.map((audio) => Buffer.from(audio, 'base64')))
    t.equal(keysIn(new Int16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1)), '', 'its audio has none')
  }
  t.same(
    journal.flatMap((text) => /"type":"dtmf","digit":"(\d)"/.exec(text)?.[1] ?? []),
    [],
    'nor do the keys that come back',
  )
  const replayed = replayJournal(journal)
  t.same(diffOutputs(replayed.recorded, replayed.outputs, { toleranceMs: 0 }), [], 'the call is replayed as it was')
  const vadBank = await loadVoiceDetectors()
  const withAudio = replayJournal(journal, {
    decode: (text) => new Uint8Array(Buffer.from(text, 'base64')),
    openPath: (media) => new CallerPath({ ...media, vadBank }),
  })
  t.same(diffOutputs(withAudio.recorded, withAudio.outputs, { toleranceMs: 0 }), [], 'with its audio too')
})
