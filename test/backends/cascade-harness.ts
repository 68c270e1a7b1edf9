import type { BackendErrorCode } from '../../src/backends/backend.js'
import { CascadeBackend } from '../../src/backends/cascade/cascade-backend.js'
import type { CascadeOptions } from '../../src/backends/cascade/cascade-backend.js'
import { chat } from '../../src/backends/cascade/chat-requests.js'
import { speech } from '../../src/backends/cascade/speech-requests.js'
import { whisper } from '../../src/vendors/self-hosted/whisper-requests.js'
import type { ConformanceHarness, ConformanceSetup, ConformanceVendor } from '../../src/backends/conformance.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'

export const CASCADE_TEST_KEY = 'sk-cascade-0123456789abcdef0123456789'

/** @param timeoutMs  of each request; on a busy machine an answer may take seconds */
export function cascadeOptions(double: CascadeDouble, timeoutMs = 10_000): CascadeOptions {
  const service = { baseUrl: double.baseUrl, apiKey: CASCADE_TEST_KEY, timeoutMs }
  return {
    stt: [whisper({ ...service, model: 'whisper' })],
    llm: [chat({ ...service, model: 'chat' })],
    tts: [speech({ ...service, model: 'voice' })],
  }
}

export function cascadeHarness(): ConformanceHarness {
  return {
    name: 'cascade',
    connectFaults: ['auth', 'rate_limit', 'quota', 'bad_request', 'network', 'timeout', 'internal'],
    lacks: { expiry: 'the services keep no session that could end' },
    setup: async (): Promise<ConformanceSetup> => {
      const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
      return {
        backend: (sink) =>
          new CascadeBackend(sink, cascadeOptions(double, double.refuse.models === 'never' ? 1200 : undefined)),
        vendor: cascadeVendor(double),
        secret: CASCADE_TEST_KEY,
        close: () => double.close(),
      }
    },
  }
}

export function cascadeVendor(double: CascadeDouble): ConformanceVendor & Required<Pick<ConformanceVendor, 'model'>> {
  return {
    reply: (...replies) => double.script.reply(...replies),
    callerSays: (...texts) => double.script.callerSays(...texts),
    failConnect: (code) => failConnect(double, code),
    delayReady: (ms) => {
      double.readyDelayMs = ms
    },
    breakOff: () => double.breakOff(),
    warnOfEnd: () => false,
    get connections() {
      return double.requests.models
    },
    get callerAudioMs() {
      return double.callerAudioMs
    },
    get texts() {
      return (double.chats.at(-1)?.messages ?? []).flatMap((message) =>
        message.role !== 'tool' && typeof message.content === 'string' ? [message.content] : [],
      )
    },
    get toolAnswers() {
      return (double.chats.at(-1)?.messages ?? []).flatMap((message) =>
        message.role === 'tool'
          ? [{ callId: message.tool_call_id, text: typeof message.content === 'string' ? message.content : '' }]
          : [],
      )
    },
    get model() {
      const { messages = [], tools = [] } = double.chats.at(-1) ?? {}
      const [system] = messages
      return {
        instructions: textOf(system?.content),
        tools: tools.flatMap((tool) => ('function' in tool ? [tool.function.name] : [])),
      }
    },
    get answers() {
      return double.script.answers
    },
    get heard(): ConformanceVendor['heard'] {
      const said = (double.chats.at(-1)?.messages ?? []).filter((message) => message.role === 'assistant')
      return {
        kind: 'text',
        text: said.map((message) => (typeof message.content === 'string' ? message.content : '')).join(' '),
      }
    },
  }
}

const textOf = (content: unknown): string => (typeof content === 'string' ? content : '')

function failConnect(double: CascadeDouble, code: BackendErrorCode): void {
  const refuse = (status: number, message: string): void => {
    double.refuse.models = { status, body: JSON.stringify({ error: { message } }) }
  }
  switch (code) {
    case 'auth':
      return refuse(401, `Incorrect API key provided: ${CASCADE_TEST_KEY}`)
    case 'rate_limit':
      return refuse(429, 'Rate limit reached')
    case 'quota':
      return refuse(429, 'You exceeded your current quota, please check your plan and billing details.')
    case 'bad_request':
      return refuse(400, 'bad version')
    case 'network':
      double.refuse.models = 'destroy'
      return
    case 'timeout':
      double.refuse.models = 'never'
      return
    case 'internal':
      return refuse(500, 'oops')
    case 'session_expired':
    case 'overrun': // found here; no service says it
      return
  }
}
