/**
 * The thread of `CallerSpeech`. Synthesis and recognition are synchronous for up to 300 ms; the thread that paces the
 * calls must not wait for them.
 */
import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { workerData } from 'node:worker_threads'
import { move } from 'piscina'
import { CONNECT_ATTEMPT_MS } from '../core/limits.js'
import { loadFlite } from '../speech/flite.js'
import { type SpeakRequest, speakAs } from './caller-speech.js'
import { loadRecogniser } from './recogniser.js'
import type { AgentVocabulary } from './vocabulary.js'

setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
const flite = await loadFlite()
const vocabulary = workerData as AgentVocabulary | null
const recogniser = vocabulary === null ? null : await loadRecogniser(vocabulary)

export function speak({ text, voice, sampleRateHz, pace }: SpeakRequest): unknown {
  return move(speakAs(flite, text, voice, sampleRateHz, pace))
}

export function hear(pcm: Int16Array): string {
  return recogniser?.hear(pcm) ?? ''
}
