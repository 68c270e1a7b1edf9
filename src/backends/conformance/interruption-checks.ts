import type { Backend } from '../backend.js'
import type { ConformanceCheck, ConformanceFacet } from './harness.js'
import { connected, expect, expectEqual, pause } from './harness.js'

const LONG_ANSWER =
  'One two three four five. Six seven eight nine ten. Eleven twelve thirteen fourteen fifteen. Sixteen seventeen eighteen.'

/** Checks in which the caller interrupts. */
export const interruptionChecks: readonly ConformanceCheck[] = [
  connected(
    'delivers no audio of an interrupted answer, however late it comes',
    {
      callerWrites: ['Tell me everything', 'Stop, please'],
      replies: [{ say: LONG_ANSWER, audioMs: 4000, paceMs: 15 }, { say: 'Of course.' }],
    },
    async ({ backend, recorder }) => {
      backend.sendText('Tell me everything', { role: 'caller', respond: true })
      await recorder.until(
        '300 ms of audio',
        () => recorder.audioPieces.reduce((sum, piece) => sum + piece.ms, 0) >= 300,
      )
      const piece = recorder.audioPieces[0]
      expect(piece !== undefined, 'audio')
      backend.interrupt({ itemId: piece.itemId, playedMs: 100 })
      const heardSoFar = recorder.audioPieces.length
      await pause(150)
      expectEqual(recorder.audioPieces.length, heardSoFar, 'pieces of audio after the interruption')
      const done = recorder.all('turn-done').filter((event) => event.generation === piece.generation)
      expectEqual(done.length, 1, 'turn-done events of the answer')
      expectEqual(done[0]?.status, 'cancelled', 'its status')
      backend.sendText('Stop, please', { role: 'caller', respond: true })
      await recorder.until('the next answer', () =>
        recorder.audioPieces.some((next) => next.generation > piece.generation),
      )
    },
  ),
  connected(
    'delivers no more audio when a piece of audio is interrupted from its own callback',
    {
      callerWrites: ['Tell me everything'],
      replies: [{ say: LONG_ANSWER, audioMs: 2000 }],
    },
    async ({ backend, recorder }) => {
      recorder.onAudio = (piece) => {
        if (recorder.audioPieces.length === 1) backend.interrupt({ itemId: piece.itemId, playedMs: 0 })
      }
      backend.sendText('Tell me everything', { role: 'caller', respond: true })
      await recorder.next('turn-done')
      await pause(60)
      expectEqual(recorder.audioPieces.length, 1, 'pieces of audio')
      const overAt = recorder.events.findIndex((event) => event.type === 'turn-done')
      const late = recorder.events
        .slice(overAt + 1)
        .filter((event) => event.type === 'audio-done' || (event.type === 'transcript' && event.role === 'agent'))
      expectEqual(late.map((event) => event.type).join(), '', 'later events of an answer that is over')
    },
  ),
  connected(
    "cuts the model's record of its answer to what was heard",
    {
      // If a service understands only prepared texts, it does not understand the second text, and repeats the
      // interrupted text.
      callerWrites: ['Tell me everything'],
      replies: [{ say: LONG_ANSWER, audioMs: 4000 }, { say: 'Yes.' }],
    },
    async ({ backend, recorder, vendor, has }) => {
      if (!truncates(backend, has)) return
      backend.sendText('Tell me everything', { role: 'caller', respond: true })
      const done = await recorder.next('turn-done')
      const piece = recorder.audioPieces[0]
      expect(piece !== undefined, 'audio')
      const receivedMs = recorder.audioMs(done.generation)
      backend.interrupt({ itemId: piece.itemId, playedMs: Math.round(receivedMs / 2) })
      backend.sendText('What did you say?', { role: 'caller', respond: true })
      await recorder.next('turn-done', 2)
      const { heard } = vendor
      expect(heard !== null, 'the service to know what was heard')
      if (heard.kind === 'ms') {
        expectEqual(heard.ms, Math.round(receivedMs / 2), 'milliseconds heard')
      } else {
        expect(heard.text.includes('One two'), `the words that were heard to stay, got ${JSON.stringify(heard.text)}`)
        expect(
          !heard.text.includes('eighteen'),
          `the words that were not heard to go, got ${JSON.stringify(heard.text)}`,
        )
      }
    },
  ),
  connected(
    'never claims that more was heard than was sent',
    {
      callerWrites: ['Tell me everything'],
      replies: [{ say: LONG_ANSWER, audioMs: 3000, paceMs: 15 }],
    },
    async ({ backend, recorder, vendor, has }) => {
      if (!truncates(backend, has)) return
      backend.sendText('Tell me everything', { role: 'caller', respond: true })
      await recorder.until('some audio', () => recorder.audioPieces.length >= 2)
      backend.interrupt({ itemId: recorder.audioPieces[0]?.itemId ?? '', playedMs: 60_000 })
      await pause(80)
      const { heard } = vendor
      if (heard?.kind === 'ms') expect(heard.ms <= 3000, `a position within the answer, got ${heard.ms}`)
      expectEqual(recorder.all('error').length, 0, 'errors')
    },
  ),
  connected(
    'ignores interruptions when idle, repeated ones, and ones of unknown items',
    {
      callerWrites: ['Hello', 'Hello again'],
      replies: [{ say: 'Hello.' }, { say: 'Hello again.' }],
    },
    async ({ backend, recorder }) => {
      backend.interrupt({ itemId: null, playedMs: 0 })
      backend.interrupt({ itemId: 'no-such-item', playedMs: 500 })
      backend.sendText('Hello', { role: 'caller', respond: true })
      const done = await recorder.next('turn-done')
      expectEqual(done.status, 'completed', 'status')
      const itemId = recorder.audioPieces[0]?.itemId ?? null
      backend.interrupt({ itemId, playedMs: 10 })
      backend.interrupt({ itemId, playedMs: 10 })
      backend.interrupt({ itemId: null, playedMs: 0 })
      backend.sendText('Hello again', { role: 'caller', respond: true })
      await recorder.next('turn-done', 2)
      expectEqual(recorder.all('error').length, 0, 'errors')
    },
  ),
  connected(
    'answers what the caller said over its answer',
    {
      callerSays: ['stop, another question'],
      callerWrites: ['Tell me everything'],
      replies: [{ say: LONG_ANSWER, audioMs: 4000, paceMs: 10 }, { say: 'Which one?' }],
    },
    async ({ backend, recorder, speak }) => {
      // Behaves like a call: if the backend detects speech itself, it gets the played duration at once.
      recorder.onEvent = (event) => {
        if (event.type === 'speech-started' || event.type === 'interrupted') {
          backend.interrupt({ itemId: recorder.audioPieces.at(-1)?.itemId ?? null, playedMs: 120 })
        }
      }
      backend.sendText('Tell me everything', { role: 'caller', respond: true })
      await recorder.until('some audio', () => recorder.audioPieces.length >= 2)
      const first = recorder.audioPieces[0]?.generation ?? 0
      if (!backend.capabilities.serverVad)
        backend.interrupt({ itemId: recorder.audioPieces[0]?.itemId ?? null, playedMs: 120 })
      await speak(700)
      await recorder.until('the second answer', () =>
        recorder.all('turn-done').some((done) => done.generation > first && done.status === 'completed'),
      )
      const cancelled = recorder.all('turn-done').filter((done) => done.generation === first)
      expectEqual(cancelled.map((done) => done.status).join(), 'cancelled', 'the first answer')
      const lastOfFirst = recorder.audioPieces.findLastIndex((piece) => piece.generation === first)
      const firstOfSecond = recorder.audioPieces.findIndex((piece) => piece.generation > first)
      expect(firstOfSecond > lastOfFirst, 'no audio of the first answer within the second')
    },
  ),
  connected(
    'does not answer twice when a tool result comes while the caller speaks',
    {
      callerSays: ['and hurry up'],
      callerWrites: ['Look me up'],
      replies: [{ calls: [{ callId: 'call_a', name: 'get_account', args: {} }] }, { say: 'Here it is.' }],
    },
    async ({ backend, recorder, vendor, speak, has }) => {
      const waits = takesTurns(backend, has)
      backend.sendText('Look me up', { role: 'caller', respond: true })
      const call = await recorder.next('tool-call')
      await recorder.next('turn-done')
      const { serverVad } = backend.capabilities
      if (serverVad) {
        await speak(600, 0)
        await recorder.until('the speech to arrive', () => vendor.callerAudioMs >= 500)
        await pause(30)
      } else {
        backend.speechStart(performance.now())
      }
      backend.toolResult(call.callId, { ok: true, value: { name: 'Wanjiru' } })
      await pause(50)
      if (waits) expectEqual(vendor.answers, 1, 'answers while the caller speaks')
      if (!serverVad) {
        const frame = new Int16Array((backend.capabilities.inputRateHz * 20) / 1000).fill(4000)
        for (let ms = 0; ms < 600; ms += 20) backend.pushAudio(frame)
        backend.speechEnd(performance.now())
      }
      const quiet = new Int16Array((backend.capabilities.inputRateHz * 20) / 1000)
      for (let ms = 0; ms < 700; ms += 20) backend.pushAudio(quiet)
      await recorder.until('the answer', () =>
        recorder.all('turn-done').some((done) => recorder.audioMs(done.generation) > 0),
      )
      await pause(80)
      if (waits) expectEqual(vendor.answers, 2, 'answers')
      const cancelledCalls = recorder.all('tool-cancel').length
      expectEqual(vendor.toolAnswers.length, 1 - cancelledCalls, 'tool answers that arrived')
    },
  ),
]

/** Capability of the backend, which must agree with the harness. */
function takesTurns(backend: Backend, has: (facet: ConformanceFacet) => boolean): boolean {
  const duplex = backend.capabilities.fullDuplex === true
  expectEqual(has('floor'), !duplex, 'who owns the floor, in the harness and in the capabilities')
  return !duplex
}

/** True if the backend can shorten an interrupted answer. The result must agree with the harness. */
function truncates(backend: Backend, has: (facet: ConformanceFacet) => boolean): boolean {
  expectEqual(has('truncation'), backend.capabilities.truncate, 'truncation in the harness and in the capabilities')
  return backend.capabilities.truncate
}
