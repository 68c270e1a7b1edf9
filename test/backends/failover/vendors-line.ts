import type { Test } from 'tap'
import type { BackendFactory } from '../../../src/backends/backend.js'
import { Recorder, conformanceSession } from '../../../src/backends/conformance.js'
import { CallBackend } from '../../../src/backends/call-backend.js'
import type { CallBackendOptions } from '../../../src/backends/call-backend.js'
import { clockTimers } from '../../../src/backends/timers.js'
import { loadResamplers } from '../../support/media-modules.js'

// A list over real sockets, clients and resamplers, for tests in which only the services are doubles.

export const resamplers = await loadResamplers()
export const UTTERANCE_MS = 1200

const clock = (): number => performance.now()

/** A list of these, connected at once; closed at the end of the test. */
export async function line(
  t: Test,
  factories: readonly BackendFactory[],
  options: Partial<CallBackendOptions> = {},
): Promise<{ readonly recorder: Recorder; readonly backend: CallBackend }> {
  const recorder = new Recorder()
  const backend = new CallBackend(recorder, {
    candidates: factories.map((create) => ({ create })),
    timers: clockTimers(clock),
    resamplers,
    inputRateHz: 16_000,
    ...options,
  })
  t.teardown(() => backend.close('the test is over'))
  await backend.connect(conformanceSession(), new AbortController().signal)
  return { recorder, backend }
}

/** `ms` of the caller's line at 16 kHz, all at once. */
function frames(backend: CallBackend, ms: number, amplitude: number): void {
  const frame = new Int16Array(320)
  for (let i = 0; i < frame.length; i++) frame[i] = Math.round(amplitude * Math.sin((2 * Math.PI * 300 * i) / 16_000))
  for (let done = 0; done < ms; done += 20) backend.pushAudio(frame)
}

/** The caller says something of UTTERANCE_MS. */
export function utterance(backend: CallBackend): void {
  backend.speechStart(clock())
  frames(backend, UTTERANCE_MS, 9000)
  backend.speechEnd(clock())
  frames(backend, 400, 0)
}
