import { MessageChannel } from 'node:worker_threads'
import t from 'tap'
import { EmbeddedBackend } from '../../../src/backends/embedded/embedded-backend.js'
import { SpeechClient } from '../../../src/speech/speech-client.js'
import type { SpeechReply, SpeechRequest } from '../../../src/speech/speech-protocol.js'
import { Line, session, STRANGER } from './order-line.js'

/** A speech worker without a decoder to spare for a first digit, which hears these texts one after the other. */
function shortOfDecoders(texts: readonly string[]): SpeechClient {
  const { port1, port2 } = new MessageChannel()
  const left = [...texts]
  let main = -1
  const reply = (message: SpeechReply): void => port2.postMessage(message)
  port2.on('message', (request: SpeechRequest) => {
    if (request.type === 'speak') {
      reply({
        type: 'speech',
        id: request.id,
        pcm: new Int16Array(1600),
        sampleRateHz: 16_000,
        text: request.text,
        last: true,
      })
      reply({ type: 'spoken', id: request.id })
    } else if (request.type === 'utterance-start') {
      if (request.spare) reply({ type: 'failed', id: request.id, code: 'SPEECH_BUSY', message: 'none' })
      else main = request.id
    } else if (request.type === 'frame' && request.id === main) {
      // Words so far, which show that the refusal has come.
      reply({ type: 'partial', id: main, text: 'order one', fit: 1, wordMs: [300, 300], ofMs: 1500 })
      main = -1
    } else if (request.type === 'utterance-end')
      reply({ type: 'heard', id: request.id, text: left.shift() ?? '', fit: 1, wordMs: [] })
  })
  return new SpeechClient({ port: port1 })
}

/** What the agent says after each of the caller's utterances, and the numbers that it looks up. */
async function answersTo(texts: readonly string[], language = 'en', pauseMs = 0) {
  const speech = shortOfDecoders(texts)
  const line = new Line()
  let nowMs = 0
  const backend = new EmbeddedBackend(line, { speech, nowMs: () => nowMs })
  line.backend = backend
  await backend.connect(session({ from: STRANGER, language, languages: [language] }), new AbortController().signal)
  backend.sendText('The call is open.', { role: 'system', respond: true })
  await line.when(() => line.said.length > 0)
  backend.interrupt({ itemId: line.lastItem, playedMs: 1e6 })
  const answers: (string | undefined)[] = []
  for (const [at] of texts.entries()) {
    const [known, heardBefore] = [line.events.length, line.heard.length]
    const [from, understood] = [line.said.length, line.events.filter(({ type }) => type === 'understood').length]
    nowMs += pauseMs
    backend.speechStart(nowMs)
    backend.pushAudio(new Int16Array(1600))
    await line.when(() => line.events.filter(({ type }) => type === 'understood').length > understood)
    backend.speechEnd(nowMs)
    await line.when(() => line.events.length > known && (line.said.length > from || line.heard.length > heardBefore))
    answers[at] = line.said[from]
    backend.interrupt({ itemId: line.lastItem, playedMs: 1e6 })
  }
  const numbers = line.calls.flatMap(({ args }) => args['orderNumber'] ?? [])
  await backend.close('test over')
  speech.close()
  return { answers, numbers, heard: line.heard }
}

t.test('three of four digits are not taken for a number [1]', async (t) => {
  const { answers, numbers, heard } = await answersTo(['order one two seven'])
  t.match(answers, [/^Sorry, I did not catch that\./])
  t.same([numbers, heard], [[], []])
})

t.test('three of four Swahili digits are not a number', async (t) => {
  const { answers } = await answersTo(['order one two seven'], 'sw')
  t.match(answers, [/^Samahani, sikusikia vizuri\./])
})

t.test('three digits after an unrecognised word are not a number', async (t) => {
  const { answers, heard } = await answersTo(['', 'one two seven'])
  t.match(answers[1], /^Sorry, I did not catch that\./)
  t.same(heard, [])
})

t.test('four digits are accepted alone and in a sentence', async (t) => {
  t.match((await answersTo(['order four one two seven'])).heard, [/4127/])
  t.match((await answersTo(['my order number is four one two seven'])).heard, [/4127/])
})

t.test('a number in parts is accepted', async (t) => {
  const { heard } = await answersTo(['four one', 'two seven'], 'en', 800)
  t.same(heard, ['41', '27'])
})

t.test('three digits after a long pause are kept as part', async (t) => {
  const { heard } = await answersTo(['', 'one two seven'], 'en', 1600)
  t.same(heard, ['127'])
})
