import { join } from 'node:path'
import type { Test } from 'tap'
import { loadFlite } from '../../src/speech/flite.js'
import { spokenForm } from '../../src/speech/spoken/spoken-form.js'
import { CascadeDouble } from '../../src/simulator/vendors/cascade-double.js'
import { GeminiDouble } from '../../src/simulator/vendors/gemini-live-double.js'
import { OpenAiLiveDouble } from '../../src/simulator/vendors/openai-live-double.js'
import { OpenAiDouble } from '../../src/simulator/vendors/openai-realtime-double.js'
import type { Speaker } from '../../src/simulator/vendors/double.js'
import { Script } from '../../src/simulator/vendors/double.js'
import { wasTold } from '../support/hear-recording.js'
import { whole } from '../support/gateway.js'
import { carrierComplaints, simulateOneCall } from '../support/simulated.js'

const flite = await loadFlite()
// Models say numbers digit by digit when told to; flite alone would make four thousand of them.
const speaker: Speaker = (text) => flite.speak(spokenForm(text), 'slt')

const GREETING = 'Hello, this is the order line. You can ask where your order is, or tell me your order number.'

/** The answers of a model on the order line, in words that the simulated caller's recogniser knows. */
const conversation = (greets: boolean): Script =>
  new Script(
    [
      ...(greets ? [{ say: GREETING }] : []),
      { calls: [{ callId: 'call_1', name: 'lookup_order', args: { orderNumber: '4127' } }] },
      {
        say: 'Order 4127 is out for delivery. PikiPiki should be with you today between 4 and 6 PM. Is there anything else?',
      },
      {
        say: 'Thank you for calling. Goodbye.',
        calls: [{ callId: 'call_2', name: 'end_call', args: { reason: 'the caller has the answer' } }],
      },
      // A busy machine splits "no, thank you" in two, and the second half interrupts the goodbye at its first word.
    ],
    ['4127', 'no thank you'],
    { againWithinMs: 1500 },
  )

interface Model {
  readonly name: string
  /** As the agent's file names it. */
  readonly backend: string
  readonly start: () => Promise<{ readonly env: Readonly<Record<string, string>>; readonly close: () => Promise<void> }>
}

export const MODELS: readonly Model[] = [
  {
    name: 'openai',
    backend: 'auto',
    start: async () => {
      const double = await OpenAiDouble.start({ key: 'sk-test-openai', script: conversation(true), speaker })
      return { env: { OPENAI_API_KEY: 'sk-test-openai', OPENAI_BASE_URL: double.baseUrl }, close: () => double.close() }
    },
  },
  {
    name: 'gemini',
    backend: 'auto',
    start: async () => {
      const double = await GeminiDouble.start({ key: 'test-gemini-key', script: conversation(true), speaker })
      const env = {
        GEMINI_API_KEY: 'test-gemini-key',
        GEMINI_BASE_URL: double.baseUrl,
        GEMINI_MODEL: 'gemini-live-test',
      }
      return { env, close: () => double.close() }
    },
  },
  {
    name: 'openai-live',
    backend: 'openai-live',
    start: async () => {
      const script = conversation(true)
      const double = await OpenAiLiveDouble.start({ key: 'sk-test-live', script, speaker, continuous: true })
      return { env: { OPENAI_API_KEY: 'sk-test-live', OPENAI_LIVE_URL: double.baseUrl }, close: () => double.close() }
    },
  },
  {
    name: 'self-hosted',
    backend: 'self-hosted',
    start: async () => {
      const double = await OpenAiDouble.start({ key: null, script: conversation(true), speaker, dialect: 'beta' })
      return { env: { REALTIME_URL: double.baseUrl, REALTIME_DIALECT: 'beta' }, close: () => double.close() }
    },
  },
  {
    name: 'cascade',
    backend: 'cascade',
    start: async () => {
      // Its greeting is the agent's own, and no work for a model.
      const double = await CascadeDouble.start({ script: conversation(false), speaker })
      return {
        env: { STT_URL: double.baseUrl, LLM_URL: double.baseUrl, TTS_URL: double.baseUrl },
        close: () => double.close(),
      }
    },
  },
]

/** A caller of the order line speaks with the model, and hears what they would hear offline. */
export async function spokenCall(t: Test, { name, backend, start }: Model): Promise<void> {
  const model = await start()
  t.teardown(model.close)
  const { at, gateway, close } = await whole(model.env, (yaml) => yaml.replace(/^backend: .*$/m, `backend: ${backend}`))
  t.teardown(close)
  const recording = join(t.testdir(), `${name}.wav`)
  const placed = await simulateOneCall({
    ...at,
    args: ['--from', '+254700000009', '--order', '4127', '--record', recording],
  })
  const [call] = placed.calls
  const heardWell = await wasTold(t, 'out_for_delivery', call, recording, gateway)
  // Digits by what the model said: one in a few of this voice is misheard, by people too.
  const said =
    call?.transcript
      .filter((entry) => entry.role === 'agent')
      .map((entry) => entry.text)
      .join(' ') ?? ''
  t.match(said, /Order 4127 is out for delivery/, 'the order by its number')
  t.equal(said.split(GREETING).length, 2, 'one greeting')
  t.match(
    call?.toolCalls.find((tool) => tool.name === 'lookup_order')?.args,
    { orderNumber: '4127' },
    'the look-up was for it',
  )
  t.equal(call?.backend, name)
  const record = gateway.calls.record(call?.callSid ?? '')
  const how = `${record?.endReason ?? 'no record'} after "${said}", ${JSON.stringify(record?.turns)}`
  if (heardWell) t.equal(call?.outcome, 'contained', `outcome; ${how}`)
  t.equal(call?.toolCalls.filter((tool) => tool.name === 'lookup_order' && tool.ok).length, 1, 'the look-up ran, once')
  // The last one may have been a goodbye that nobody waited for.
  t.ok(
    (call?.turns ?? []).slice(0, -1).every((turn) => turn.answerMs !== null),
    'every turn was answered',
  )
  t.same(carrierComplaints(call), [], 'nothing a carrier would stumble over')
}
