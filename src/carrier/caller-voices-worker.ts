/** The thread of `CallerVoices`. Synthesis is synchronous; the thread that paces the calls must not wait for it. */
import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { move } from 'piscina'
import { CONNECT_ATTEMPT_MS } from '../core/limits.js'
import { loadFlite } from '../speech/flite.js'
import { type SpeakRequest, speakAs } from './caller-voices.js'

setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
const flite = await loadFlite()

/** Does nothing: a request for it returns when the thread has loaded the voices. */
export function ready(): void {}

export function speak({ text, voice, sampleRateHz, pace }: SpeakRequest): unknown {
  return move(speakAs(flite, text, voice, sampleRateHz, pace))
}
