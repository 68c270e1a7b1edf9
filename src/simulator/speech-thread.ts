/**
 * Thread of voices and ears. Synthesis and recognition are synchronous for up to 300 ms; the thread that paces the
 * calls must not wait for them.
 */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads'
import { loadFlite } from '../speech/flite.js'
import { assert, assertNever } from '../core/assert.js'
import { messageOf } from '../core/errors.js'
import { loadEar } from './ear.js'
import type { SpeechReply, SpeechRequest, SpeechThreadData } from './speech-protocol.js'
import { speakAs } from './voices.js'

async function main(port: MessagePort, data: SpeechThreadData): Promise<void> {
  const startedMs = performance.now()
  const flite = await loadFlite()
  const voicesMs = performance.now() - startedMs
  const ear = data.vocabulary === null ? null : await loadEar(data.vocabulary)
  const reply = (message: SpeechReply, transfer: ArrayBuffer[] = []): void => { port.postMessage(message, transfer) }

  port.on('message', (request: SpeechRequest) => {
    try {
      switch (request.type) {
        case 'speak': {
          const pcm = speakAs(flite, request.text, request.voice, request.sampleRateHz, request.pace)
          reply({ type: 'spoken', id: request.id, pcm }, [pcm.buffer as ArrayBuffer])
          break
        }
        case 'hear':
          reply({ type: 'heard', id: request.id, text: ear?.hear(request.pcm) ?? '' })
          break
        default:
          assertNever(request)
      }
    } catch (thrown) {
      reply({ type: 'failed', id: request.id, message: messageOf(thrown) })
    }
  })
  reply({ type: 'ready', voicesMs, earMs: performance.now() - startedMs - voicesMs })
}

assert(parentPort !== null, 'the speech thread is started as a worker')
await main(parentPort, workerData as SpeechThreadData)
