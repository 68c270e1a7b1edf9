import type { BackendErrorCode } from '../../src/backends/backend.js'
import { CascadeBackend } from '../../src/backends/cascade/cascade-backend.js'
import type { CascadeOptions } from '../../src/backends/cascade/cascade-backend.js'
import { sonioxSpeechToText, sonioxTextToSpeech } from '../../src/vendors/soniox/services.js'
import type { ConformanceHarness, ConformanceSetup } from '../../src/backends/conformance.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { SonioxDouble } from '../../src/vendors/soniox/double.js'
import { CASCADE_TEST_KEY, cascadeOptions, cascadeVendor } from './cascade-harness.js'

/** Soniox's recogniser and voice around the chat model of `double`; they share its script. */
export async function sonioxAround(
  double: CascadeDouble,
): Promise<{ readonly soniox: SonioxDouble; readonly options: CascadeOptions }> {
  const soniox = await SonioxDouble.start({ key: CASCADE_TEST_KEY, script: double.script })
  const { baseUrl } = soniox
  const service = { baseUrl, apiKey: CASCADE_TEST_KEY }
  return {
    soniox,
    options: { ...cascadeOptions(double), stt: [sonioxSpeechToText(service)], tts: [sonioxTextToSpeech(service)] },
  }
}

/** The cascade with streams on both sides of the model. */
export function sonioxHarness(): ConformanceHarness {
  return {
    name: 'cascade on Soniox',
    connectFaults: ['rate_limit', 'network', 'timeout', 'internal'],
    lacks: { expiry: 'a session that ends is replaced unheard', breakage: 'a lost connection is replaced unheard' },
    setup: async (): Promise<ConformanceSetup> => {
      const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
      const { soniox, options } = await sonioxAround(double)
      const { baseUrl } = soniox
      return {
        backend: (sink) => {
          const timeoutMs = soniox.refuse === 'never' ? { connectTimeoutMs: 1200 } : {}
          const service = { baseUrl, apiKey: CASCADE_TEST_KEY, ...timeoutMs }
          return new CascadeBackend(sink, { ...options, stt: [sonioxSpeechToText(service)] })
        },
        vendor: {
          ...cascadeVendor(double),
          failConnect: (code) => failConnect(soniox, code),
          delayReady: (ms) => {
            double.readyDelayMs = ms
          },
          get connections() {
            return soniox.connections > 0 ? double.requests.models : 0
          },
          get callerAudioMs() {
            return soniox.callerAudioMs
          },
          get texts() {
            return cascadeVendor(double).texts
          },
          get toolAnswers() {
            return cascadeVendor(double).toolAnswers
          },
          get model() {
            return cascadeVendor(double).model
          },
          get answers() {
            return double.script.answers
          },
          get heard() {
            return cascadeVendor(double).heard
          },
        },
        secret: CASCADE_TEST_KEY,
        close: async () => {
          await soniox.close()
          await double.close()
        },
      }
    },
  }
}

function failConnect(soniox: SonioxDouble, code: BackendErrorCode): void {
  const refuse = (status: number): void => {
    soniox.refuse = { status, body: '{"error":{"message":"refused"}}' }
  }
  if (code === 'timeout') soniox.refuse = 'never'
  else if (code === 'rate_limit') refuse(429)
  else if (code === 'internal') refuse(500)
  else void soniox.close()
}
