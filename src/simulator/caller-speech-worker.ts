/**
 * The thread of `CallerSpeech`. Synthesis and recognition are synchronous for up to 300 ms; the thread that paces the
 * calls must not wait for them.
 */
import { workerData } from 'node:worker_threads'
import { loadRecogniser } from './recogniser.js'
import type { AgentVocabulary } from './vocabulary.js'

export { ready, speak } from '../carrier/caller-voices-worker.js'

const vocabulary = workerData as AgentVocabulary | null
const recogniser = vocabulary === null ? null : await loadRecogniser(vocabulary)

export function hear(pcm: Int16Array): string {
  return recogniser?.hear(pcm) ?? ''
}
