import type { BackendErrorCode } from '../../src/backends/backend.js'
import type { ConformanceHarness, ConformanceSetup } from '../../src/backends/conformance.js'
import { GeminiLiveBackend } from '../../src/vendors/gemini/live/backend.js'
import type { GeminiLiveOptions } from '../../src/vendors/gemini/live/setup.js'
import { GeminiDouble } from '../../src/vendors/gemini/live-double.js'

export const GEMINI_TEST_KEY = 'AIzaTest0123456789abcdef0123456789abcde'

/** The Gemini backend with these options, connected to its double. */
export function geminiHarness(name: string, options: Partial<GeminiLiveOptions> = {}): ConformanceHarness {
  return {
    name,
    connectFaults: ['auth', 'rate_limit', 'quota', 'session_expired', 'bad_request', 'network', 'timeout', 'internal'],
    lacks: {
      truncation: 'the service cuts its own record at an interruption',
      forgetting: 'the service takes nothing out of a session',
    },
    setup: async (): Promise<ConformanceSetup> => {
      const double = await GeminiDouble.start({ key: GEMINI_TEST_KEY })
      return {
        backend: (sink) =>
          new GeminiLiveBackend(sink, {
            apiKey: GEMINI_TEST_KEY,
            model: 'gemini-live',
            baseUrl: double.baseUrl,
            connectTimeoutMs: double.refuse === 'never' ? 1500 : 10_000,
            ...options,
          }),
        vendor: {
          reply: (...replies) => double.script.reply(...replies),
          callerSays: (...texts) => double.script.callerSays(...texts),
          failConnect: (code) => failConnect(double, code),
          delayReady: (ms) => {
            double.readyDelayMs = ms
          },
          breakOff: () => double.breakOff(),
          warnOfEnd: () => {
            double.session.send({ goAway: { timeLeft: '57.5s' } })
            return true
          },
          get connections() {
            return double.connections
          },
          get callerAudioMs() {
            return double.session.callerAudioMs
          },
          get texts() {
            return double.session.texts
          },
          get toolAnswers() {
            return double.session.toolAnswers
          },
          get model() {
            return double.session.model
          },
          get answers() {
            return double.script.answers
          },
          heard: null,
        },
        secret: GEMINI_TEST_KEY,
        close: () => double.close(),
      }
    },
  }
}

function failConnect(double: GeminiDouble, code: BackendErrorCode): void {
  const close = (closeCode: number, reason: string): void => {
    double.closeAtOnce = { code: closeCode, reason }
  }
  switch (code) {
    case 'auth':
      return close(1007, `API key not valid: ${GEMINI_TEST_KEY}. Please pass a valid API key.`)
    case 'rate_limit':
      return close(1011, 'Resource has been exhausted (e.g. check rate limit).')
    case 'quota':
      return close(1011, 'You exceeded your current quota, please check your plan and billing details.')
    case 'session_expired':
      return close(1011, 'Deadline expired before operation could complete.')
    case 'bad_request':
      return close(1008, 'models/x is not found for API version v1beta, or is not supported for bidiGenerateContent.')
    case 'network':
      return close(1001, '')
    case 'timeout':
      double.refuse = 'never'
      return
    case 'internal':
      return close(1011, 'Internal error encountered.')
    case 'overrun': // found here; no service says it
      return
  }
}
