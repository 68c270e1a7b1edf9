import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { loadFlite } from '../../src/backends/embedded/flite.js'
import { spokenForm } from '../../src/backends/embedded/spoken-text.js'
import { CascadeDouble } from '../../src/simulator/vendors/cascade-double.js'
import { GeminiDouble } from '../../src/simulator/vendors/gemini-live-double.js'
import { OpenAiDouble } from '../../src/simulator/vendors/openai-realtime-double.js'
import type { Speaker } from '../../src/simulator/vendors/spoken.js'
import { Script } from '../../src/simulator/vendors/spoken.js'
import { wasTold } from '../support/hear-recording.js'
import { whole } from '../support/gateway.js'
import { simulateOneCall } from '../support/simulated.js'

// Calls are spoken in real time.
t.setTimeout(280_000)

const folder = await mkdtemp(join(tmpdir(), 'mkondo-models-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const flite = await loadFlite()
// Models say numbers digit by digit when told to; flite alone would make four thousand of them.
const speaker: Speaker = (text) => flite.speak(spokenForm(text), 'slt')

/** What a model would make of the order line, in the words that the simulated caller's ear knows. */
const conversation = (): Script => new Script([
  { say: 'Hello, this is the order line. You can ask where your order is, or tell me your order number.' },
  { calls: [{ callId: 'call_1', name: 'lookup_order', args: { orderNumber: '4127' } }] },
  { say: 'Order 4127 is out for delivery. PikiPiki should be with you today between 4 and 6 PM. Is there anything else?' },
  { say: 'Thank you for calling. Goodbye.', calls: [{ callId: 'call_2', name: 'end_call', args: { reason: 'the caller has the answer' } }] },
], ['4127', 'no thank you'])

t.test('a spoken call runs on each kind of model as it does offline', async (t) => {
  const [openai, gemini, selfHosted, cascade] = await Promise.all([
    OpenAiDouble.start({ key: 'sk-test-openai', script: conversation(), speaker }),
    GeminiDouble.start({ key: 'test-gemini-key', script: conversation(), speaker }),
    OpenAiDouble.start({ key: null, script: conversation(), speaker, dialect: 'beta' }),
    CascadeDouble.start({ script: conversation(), speaker }),
  ])
  t.teardown(() => Promise.all([openai.close(), gemini.close(), selfHosted.close(), cascade.close()]))
  const cases: readonly (readonly [string, Record<string, string>, string])[] = [
    ['openai', { OPENAI_API_KEY: 'sk-test-openai', OPENAI_BASE_URL: openai.baseUrl }, 'auto'],
    ['gemini', { GEMINI_API_KEY: 'test-gemini-key', GEMINI_BASE_URL: gemini.baseUrl, GEMINI_MODEL: 'gemini-live-test' }, 'auto'],
    ['self-hosted', { REALTIME_URL: selfHosted.baseUrl, REALTIME_DIALECT: 'beta' }, 'self-hosted'],
    ['cascade', { STT_URL: cascade.baseUrl, LLM_URL: cascade.baseUrl, TTS_URL: cascade.baseUrl }, 'cascade'],
  ]
  const run = async ([name, env, backend]: (typeof cases)[number]): Promise<void> => {
    const { at, gateway, close } = await whole(env, (yaml) => yaml.replace(/^backend: .*$/m, `backend: ${backend}`))
    try {
      const recording = join(folder, `${name}.wav`)
      const placed = await simulateOneCall({ ...at, args: ['--from', '+254700000009', '--order', '4127', '--record', recording] })
      const [call] = placed.calls
      const heardWell = await wasTold(t, 'out_for_delivery', call, recording, gateway)
      // Digits by what the model said: one in a few of this voice is misheard, by people too.
      const said = call?.transcript.filter((entry) => entry.role === 'agent').map((entry) => entry.text).join(' ')
      t.match(said, /Order 4127 is out for delivery/, `${name}: the order by its number`)
      t.match(call?.toolCalls.find((tool) => tool.name === 'lookup_order')?.args, { orderNumber: '4127' }, `${name}: the look-up was for it`)
      t.equal(call?.backend, name)
      if (heardWell) t.equal(call?.outcome, 'deflected', `${name}: outcome`)
      t.equal(call?.toolCalls.filter((tool) => tool.name === 'lookup_order' && tool.ok).length, 1, `${name}: the look-up ran, once`)
      // The last one may have been a goodbye that nobody waited for.
      t.ok((call?.turns ?? []).slice(0, -1).every((turn) => turn.answerMs !== null), `${name}: every turn was answered`)
      t.same(call?.complaints, [], `${name}: nothing a carrier would stumble over`)
    } finally {
      await close()
    }
  }
  // Two at once: four callers with ears of their own are too much for two cores.
  for (let i = 0; i < cases.length; i += 2) await Promise.all(cases.slice(i, i + 2).map(run))
})
