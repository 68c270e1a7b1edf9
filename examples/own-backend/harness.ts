import type { BackendErrorCode } from 'mkondo/backend'
import type { ConformanceHarness, ConformanceSetup } from 'mkondo/conformance'
import type { BackendFactory } from 'mkondo/backend'
import { XiaozhiDouble } from './double.js'

const TOKEN = 'xz-0123456789abcdef'
/** Status with which a proxy in front of the server refuses. The server itself refuses only by the token. */
const STATUS: Readonly<Partial<Record<BackendErrorCode, number>>> = {
  rate_limit: 429,
  bad_request: 404,
  internal: 500,
}

/**
 * The conformance suite's view of the double.
 * @param load  creates the backend with these options, as the gateway does, or directly
 */
export function xiaozhiHarness(
  load: (options: Readonly<Record<string, unknown>>) => BackendFactory | Promise<BackendFactory>,
): ConformanceHarness {
  return {
    name: 'xiaozhi',
    connectFaults: ['auth', 'rate_limit', 'bad_request', 'network', 'timeout', 'internal'],
    lacks: {
      expiry: 'the server ends a session without a warning',
      forgetting: 'the conversation is in the server alone',
      truncation: 'the server is not told how much was heard',
    },
    setup: async (): Promise<ConformanceSetup> => {
      const double = await new XiaozhiDouble(TOKEN).start()
      let token = TOKEN
      const options = { url: double.url, deviceId: 'a-test', connectTimeoutMs: 1500 }
      const create = await load({
        ...options,
        get token() {
          return token
        },
      })
      return {
        backend: create,
        vendor: {
          reply: (...replies) => void double.replies.push(...replies),
          callerSays: (...texts) => void double.callerTexts.push(...texts),
          failConnect: (code) => {
            if (code === 'auth') token = `${TOKEN}-not`
            else if (code === 'network') double.refuses = 'close'
            else double.refuses = STATUS[code] ?? 'never'
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
            return double.callerAudioMs
          },
          get texts() {
            return double.texts
          },
          get toolAnswers() {
            return double.toolAnswers
          },
          get answers() {
            return double.answers
          },
          heard: null,
        },
        secret: TOKEN,
        close: () => double.close(),
      }
    },
  }
}
