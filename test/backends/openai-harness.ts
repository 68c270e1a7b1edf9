import type { Backend, BackendErrorCode, BackendSink } from '../../src/backends/backend.js'
import type { ConformanceHarness, ConformanceSetup, ConformanceVendor } from '../../src/backends/conformance.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import type { OpenAiRealtimeOptions } from '../../src/vendors/self-hosted/realtime/session-config.js'
import type { OpenAiLiveDouble } from '../../src/vendors/openai/live-double.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { realtimeOnDouble } from './realtime-doubles.js'
import { KEY as TEST_KEY } from './service-doubles.js'
import { azureBackend } from '../../src/vendors/azure-voice-live/backends.js'
import { AzureVoiceLiveDouble } from '../../src/vendors/azure-voice-live/double.js'

export { TEST_KEY }

/** A harness that also gives the address of its service, so that another client can use it. */
interface OpenAiHarness extends ConformanceHarness {
  setup(): Promise<ConformanceSetup & { readonly address: string }>
}

/** The OpenAI backend with these options, connected to its double. */
export function openAiHarness(name: string, options: Partial<OpenAiRealtimeOptions> = {}): OpenAiHarness {
  return harnessOf(
    name,
    () => OpenAiDouble.start({ key: TEST_KEY, dialect: options.dialect ?? 'ga' }),
    (sink, double) =>
      new OpenAiRealtimeBackend(sink, {
        apiKey: TEST_KEY,
        model: 'gpt-realtime-2.1',
        baseUrl: double.baseUrl,
        ...options,
        ...waits(double),
        // In the beta dialect the double, like some servers, does not confirm the session. A refusal comes before that.
        ...(double.refuseSession === null ? { confirmMs: 100 } : {}),
      }),
  )
}

/** Azure Voice Live's backend with these options, connected to its double. */
export function azureHarness(name: string, own: Partial<Parameters<typeof azureBackend>[1]> = {}): OpenAiHarness {
  return harnessOf(
    name,
    () => AzureVoiceLiveDouble.start({ key: TEST_KEY }),
    (sink, double) =>
      azureBackend(sink, {
        ...{ apiKey: TEST_KEY, model: 'gpt-4.1', baseUrl: double.baseUrl, legRateHz: 8000 as const },
        ...own,
        ...waits(double),
      }),
  )
}

/** A service in OpenAI's dialect as its vendor declares it, with these options of an agent, connected to its double. */
export async function declaredHarness(backend: string, name = backend, options: object = {}): Promise<OpenAiHarness> {
  const { start, make } = await realtimeOnDouble(backend)
  return harnessOf(
    name,
    async () => {
      const double = await start({ key: TEST_KEY })
      if (double instanceof OpenAiDouble) return double
      throw new Error(`${backend} speaks another dialect: give it a harness, as test/vendors/gemini/conformance.ts`)
    },
    (sink, double) => make(sink, double.baseUrl, options),
  )
}

const waits = (double: OpenAiDouble) => ({ connectTimeoutMs: double.refuse === 'never' ? 1500 : 10_000 })

function harnessOf(
  name: string,
  start: () => Promise<OpenAiDouble>,
  make: (sink: BackendSink, double: OpenAiDouble) => Backend,
): OpenAiHarness {
  return {
    name,
    connectFaults: ['auth', 'rate_limit', 'quota', 'session_expired', 'bad_request', 'network', 'timeout', 'internal'],
    lacks: { expiry: 'the service does not announce the end; the backend measures the time itself' },
    setup: async (): Promise<ConformanceSetup & { readonly address: string }> => {
      const double = await start()
      return {
        backend: (sink) => make(sink, double),
        vendor: vendorOf(double),
        secret: TEST_KEY,
        address: double.baseUrl,
        close: () => double.close(),
      }
    },
  }
}

function vendorOf(double: OpenAiDouble): ConformanceVendor {
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
      return double.connections
    },
    get callerAudioMs() {
      return double.session.callerAudioMs
    },
    get texts() {
      return double.session.items.flatMap((item) =>
        item.type === 'message' ? item.content.flatMap((part) => part.text ?? []) : [],
      )
    },
    get toolAnswers() {
      return double.session.items.flatMap((item) =>
        item.type === 'function_call_output' ? [{ callId: item.call_id, text: item.output }] : [],
      )
    },
    get model() {
      const { instructions = '', tools = [] } = double.session.config ?? {}
      return { instructions, tools: tools.flatMap((tool) => ('name' in tool ? (tool.name ?? '') : [])) }
    },
    get answers() {
      return double.script.answers
    },
    get heard(): ConformanceVendor['heard'] {
      const cut = double.session.truncations.at(-1)
      return cut === undefined ? null : { kind: 'ms', ms: cut.audioEndMs }
    },
  }
}

/** Makes the next connections to a double of OpenAI's fail in this way. */
export function failConnect(double: OpenAiDouble | OpenAiLiveDouble, code: BackendErrorCode): void {
  const body = (message: string, word: string): string =>
    JSON.stringify({ error: { message, type: 'invalid_request_error', code: word } })
  switch (code) {
    case 'auth':
      double.refuse = { status: 401, body: body(`Incorrect API key provided: ${TEST_KEY}.`, 'invalid_api_key') }
      return
    case 'rate_limit':
      double.refuse = { status: 429, body: body('Rate limit reached for requests', 'rate_limit_exceeded') }
      return
    case 'quota':
      double.refuse = {
        status: 429,
        body: body(
          'You exceeded your current quota, please check your plan and billing details.',
          'insufficient_quota',
        ),
      }
      return
    case 'session_expired':
      double.closeAtOnce = { code: 1001, reason: 'Your session hit the maximum duration of 60 minutes.' }
      return
    case 'bad_request':
      double.refuseSession = {
        type: 'invalid_request_error',
        code: 'invalid_value',
        message: `Invalid voice; key ${TEST_KEY}`,
        param: 'session.audio.output.voice',
      }
      return
    case 'network':
      double.closeAtOnce = { code: 1001, reason: '' }
      return
    case 'timeout':
      double.refuse = 'never'
      return
    case 'internal':
      double.refuse = { status: 503, body: 'upstream connect error' }
      return
    case 'overrun': // found here; no service says it
      return
  }
}
