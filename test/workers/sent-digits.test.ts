import t from 'tap'
import { agentSchema } from '../../src/agents/definition.js'
import { allCallsOn } from '../../src/backends/split.js'
import { frameSamples } from '../../src/core/units.js'
import { agentFacts } from '../../src/gateway/hosted-agents.js'
import { DtmfDetector } from '../../src/media/dtmf.js'
import { levelDbfs } from '../../src/media/pcm.js'
import { concatenate, framesOf } from '../support/tones.js'
import { TestLine, inbound, startHost, until } from '../support/host.js'

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

t.test(
  'whoever is called hears the keys of an extension after the words before them, and the echo is no key',
  async (t) => {
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
  },
)
