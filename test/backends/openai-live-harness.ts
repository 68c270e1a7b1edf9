import type { ConformanceHarness, ConformanceSetup, ConformanceVendor } from '../../src/backends/conformance.js'
import { OpenAiLiveBackend } from '../../src/vendors/openai/live/backend.js'
import type { OpenAiLiveOptions } from '../../src/vendors/openai/live/session-start.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { Script } from '../../src/simulator/vendors/double.js'
import { OpenAiLiveDouble } from '../../src/vendors/openai/live-double.js'
import { TEST_KEY, failConnect } from './openai-harness.js'

const textOf = (content: unknown): string => (typeof content === 'string' ? content : JSON.stringify(content))

/** The live backend with these options, connected to its double; with `client`, also to a language model's double. */
export function liveHarness(
  name: string,
  by: 'responses' | 'client',
  options: Partial<OpenAiLiveOptions> = {},
): ConformanceHarness {
  return {
    name,
    connectFaults: ['auth', 'rate_limit', 'quota', 'session_expired', 'bad_request', 'network', 'timeout', 'internal'],
    lacks: {
      expiry: 'the service does not announce the end; the backend measures the time itself',
      ...(by === 'client' ? {} : { forgetting: 'the service takes nothing out of a session' }),
      floor: 'the model hears and speaks at once, and decides by itself when it begins',
    },
    setup: async (): Promise<ConformanceSetup> => {
      const script = new Script()
      const double = await OpenAiLiveDouble.start({ key: TEST_KEY, script })
      const llm = by === 'client' ? await CascadeDouble.start({ key: TEST_KEY, script }) : null
      return {
        backend: (sink) =>
          new OpenAiLiveBackend(sink, {
            apiKey: TEST_KEY,
            model: 'gpt-live-1.1',
            baseUrl: double.baseUrl,
            delegate:
              llm === null
                ? { by: 'responses', model: 'gpt-5.4-mini' }
                : { by: 'client', llm: { baseUrl: llm.baseUrl, apiKey: TEST_KEY, model: 'chat' } },
            ...options,
            connectTimeoutMs: double.refuse === 'never' ? 1500 : 10_000,
          }),
        vendor: vendorOf(double, llm),
        secret: TEST_KEY,
        close: async () => {
          await double.close()
          await llm?.close()
        },
      }
    },
  }
}

function vendorOf(double: OpenAiLiveDouble, llm: CascadeDouble | null): ConformanceVendor {
  const messages = (): NonNullable<CascadeDouble['chats'][number]['messages']> => llm?.chats.at(-1)?.messages ?? []
  return {
    reply: (...replies) => double.script.reply(...replies),
    callerSays: (...texts) => double.script.callerSays(...texts),
    failConnect: (code) => {
      // The service opens every session, and says why it refuses one in an event.
      if (code !== 'quota') return failConnect(double, code)
      double.refuseSession = {
        type: 'insufficient_quota',
        code: 'insufficient_quota',
        message: 'You exceeded your current quota, please check your plan and billing details.',
      }
    },
    delayReady: (ms) => {
      double.readyDelayMs = ms
    },
    breakOff: () => double.breakOff(),
    warnOfEnd: () => false,
    get connections() {
      return double.connections
    },
    get callerAudioMs() {
      return double.session.callerAudioMs
    },
    get texts() {
      const asked = messages().flatMap((message) =>
        message.role !== 'tool' && typeof message.content === 'string' ? [message.content] : [],
      )
      return [...double.session.texts, ...asked]
    },
    get toolAnswers() {
      const hosted = double.session.items.flatMap((item) =>
        item.type === 'function_call_output' ? [{ callId: item.call_id ?? '', text: textOf(item.output) }] : [],
      )
      const own = messages().flatMap((message) =>
        message.role === 'tool' && !textOf(message.content).includes('still running')
          ? [{ callId: message.tool_call_id, text: textOf(message.content) }]
          : [],
      )
      return [...hosted, ...own]
    },
    get model() {
      if (llm !== null) {
        const { messages = [], tools = [] } = llm.chats.at(-1) ?? {}
        return {
          instructions: textOf(messages[0]?.content),
          tools: tools.flatMap((tool) => ('function' in tool ? [tool.function.name] : [])),
        }
      }
      return double.session.hosted ?? { instructions: '', tools: [] }
    },
    get answers() {
      return double.script.answers
    },
    get heard(): ConformanceVendor['heard'] {
      const told = double.session.texts.findLast((text) => text.startsWith('The caller interrupted'))
      return told === undefined ? null : { kind: 'text', text: told }
    },
  }
}
