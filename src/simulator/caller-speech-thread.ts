/**
 * The thread of `CallerSpeech`. Synthesis and recognition are synchronous for up to 300 ms; the thread that paces the
 * calls must not wait for them.
 */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads'
import { loadFlite } from '../speech/flite.js'
import { assert, assertNever } from '../core/assert.js'
import { messageOf } from '../core/errors.js'
import { speakAs, type SpeechReply, type SpeechRequest } from './caller-speech.js'
import { loadRecogniser } from './recogniser.js'
import type { AgentVocabulary } from './vocabulary.js'

async function main(port: MessagePort, vocabulary: AgentVocabulary | null): Promise<void> {
  const flite = await loadFlite()
  const recogniser = vocabulary === null ? null : await loadRecogniser(vocabulary)
  const reply = (message: SpeechReply, transfer: ArrayBuffer[] = []): void => {
    port.postMessage(message, transfer)
  }

  port.on('message', (request: SpeechRequest) => {
    try {
      switch (request.type) {
        case 'speak': {
          const pcm = speakAs(flite, request.text, request.voice, request.sampleRateHz, request.pace)
          reply({ type: 'spoken', id: request.id, pcm }, [pcm.buffer as ArrayBuffer])
          break
        }
        case 'hear':
          reply({ type: 'heard', id: request.id, text: recogniser?.hear(request.pcm) ?? '' })
          break
        default:
          assertNever(request)
      }
    } catch (thrown) {
      reply({ type: 'failed', id: request.id, message: messageOf(thrown) })
    }
  })
  reply({ type: 'ready' })
}

assert(parentPort !== null, 'the speech thread is started as a worker')
await main(parentPort, workerData as AgentVocabulary | null)
