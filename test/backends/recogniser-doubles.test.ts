import { DeepgramClient } from '@deepgram/sdk'
import { connect, type Socket } from 'node:net'
import OpenAI from 'openai'
import { OpenAIRealtimeWS } from 'openai/realtime/ws'
import t from 'tap'
import type { Test } from 'tap'
import { DeepgramDouble } from '../../src/simulator/vendors/deepgram-double.js'
import { Script } from '../../src/simulator/vendors/double.js'
import { TranscriptionDouble } from '../../src/simulator/vendors/transcription-double.js'

const KEY = 'sk-double-0123456789abcdef'
const TEXT = 'where is my order today'
const LOUD = Int16Array.from({ length: 24_000 }, (_, i) => 9000 * Math.sin(i / 8))

async function deepgram(t: Test): Promise<{ readonly double: DeepgramDouble; readonly client: DeepgramClient }> {
  const double = await DeepgramDouble.start({ key: KEY, script: new Script([], [TEXT]) })
  t.teardown(() => double.close())
  return { double, client: new DeepgramClient({ apiKey: KEY, baseUrl: double.baseUrl.replace('http', 'ws') }) }
}
const audio = {
  encoding: 'linear16',
  sample_rate: 16_000,
  reconnectAttempts: 0,
  Authorization: `Token ${KEY}`,
} as const

t.test("Deepgram's own client transcribes with the double of /v1/listen", async (t) => {
  const { double, client } = await deepgram(t)
  const socket = await client.listen.v1.connect({ ...audio, model: 'nova-3', interim_results: 'true' })
  const finals: string[] = []
  let interims = 0
  const finalized = new Promise<void>((resolve) =>
    socket.on('message', (message) => {
      if (message.type !== 'Results') return
      const text = message.channel.alternatives[0]?.transcript ?? ''
      if (message.is_final === true) finals.push(text)
      else interims++
      if (message.from_finalize === true) resolve()
    }),
  )
  socket.connect()
  await socket.waitForOpen()
  socket.sendKeepAlive({ type: 'KeepAlive' })
  socket.sendMedia(LOUD)
  socket.sendFinalize({ type: 'Finalize' })
  await finalized
  t.equal(finals.join(' '), TEXT, 'ranges, put together')
  t.ok(interims > 0, 'words that were uncertain came before')
  t.equal(double.keepalives, 1)
  const closed = new Promise<number>((resolve) => socket.on('close', ({ code }) => resolve(code)))
  socket.sendCloseStream({ type: 'CloseStream' })
  t.equal(await closed, 1000)
})

t.test('it ends a turn of /v2/listen that is forced to end', async (t) => {
  const { client } = await deepgram(t)
  const socket = await client.listen.v2.connect({ ...audio, model: 'flux-general-en', eot_threshold: 1 })
  const events: string[] = []
  const ended = new Promise<string>((resolve) =>
    socket.on('message', (message) => {
      if (message.type !== 'TurnInfo') return
      events.push(message.event)
      if (message.event === 'EndOfTurn') resolve(`${message.trigger ?? ''}: ${message.transcript}`)
    }),
  )
  socket.connect()
  await socket.waitForOpen()
  socket.sendMedia(LOUD)
  socket.sendForceEndTurn({ type: 'ForceEndTurn' })
  t.equal(await ended, `manual: ${TEXT}`)
  t.match(events, ['StartOfTurn', 'Update'])
  socket.close()
})

t.test("OpenAI's own client transcribes with the double of realtime transcription", async (t) => {
  const double = await TranscriptionDouble.start({ key: KEY, script: new Script([], [TEXT]) })
  t.teardown(() => double.close())
  const client = new OpenAI({ apiKey: KEY, baseURL: double.baseUrl })
  // The client speaks TLS only; here it is given the connection.
  const createConnection = (): Socket => connect(Number(new URL(double.baseUrl).port), '127.0.0.1')
  const socket = new OpenAIRealtimeWS({ intent: 'transcription', options: { createConnection } }, client)
  let deltas = ''
  const completed = new Promise<string>((resolve, reject) => {
    socket.on('error', reject)
    socket.on('conversation.item.input_audio_transcription.delta', ({ delta = '' }) => (deltas += delta))
    socket.on('conversation.item.input_audio_transcription.completed', ({ transcript }) => resolve(transcript))
  })
  await new Promise((resolve) => socket.socket.once('open', resolve))
  socket.send({
    type: 'session.update',
    session: {
      type: 'transcription',
      audio: {
        input: {
          format: { type: 'audio/pcm', rate: 24_000 },
          transcription: { model: 'gpt-live-transcribe' },
          turn_detection: null,
        },
      },
    },
  })
  for (let at = 0; at < LOUD.length; at += 4800)
    socket.send({
      type: 'input_audio_buffer.append',
      audio: Buffer.from(LOUD.buffer, at * 2, Math.min(9600, (LOUD.length - at) * 2)).toString('base64'),
    })
  socket.send({ type: 'input_audio_buffer.commit' })
  t.equal(await completed, TEXT)
  t.equal(deltas, TEXT)
  socket.close()
})
