import { DeepgramClient } from '@deepgram/sdk'
import { SonioxNodeClient } from '@soniox/node'
import { join } from 'node:path'
import t from 'tap'
import { WebSocket } from 'ws'
import { packageRoot } from '../../src/config/package-root.js'
import { samplesOf } from '../../src/media/pcm.js'
import { loadFlite } from '../../src/speech/flite.js'
import { AgentModels, embeddedSpeaker } from '../../src/simulator/vendors/agent-models.js'
import { DeepgramDouble } from '../../src/vendors/deepgram/double.js'
import { INAUDIBLE, Script } from '../../src/simulator/vendors/double.js'
import { DoubleEar } from '../../src/simulator/vendors/recogniser-double.js'
import { SherpaDouble, VoskDouble } from '../../src/vendors/own-recognisers/double.js'
import { SonioxDouble } from '../../src/vendors/soniox/double.js'
import { NO_SERVICE_FAULTS } from '../../src/simulator/vendors/service-double.js'

// Parts of `mkondo double soniox` and the others: the embedded recogniser and voice over the services' protocols. The
// client takes the global one, which Node has since version 22.
globalThis.WebSocket ??= WebSocket as unknown as typeof globalThis.WebSocket

const KEY = 'spoken-0123456789abcdef'
const RATE_HZ = 16_000
const agents = await AgentModels.load({
  agentsDir: join(packageRoot(), 'agents'),
  names: ['order-status'],
  env: {},
  thinkMs: 0,
})
t.teardown(() => agents.close())
const models = agents.cascade()
const speaker = await embeddedSpeaker()
const options = { key: KEY, speaker, understand: (pcm: Int16Array, rateHz: number) => models.understand(pcm, rateHz) }
const flite = await loadFlite()
const NUMBER = flite.speak('four one two seven', 'rms').pcm
/** Words of no conversation. */
const STRANGE = flite.speak('purple elephants enjoy philosophy', 'rms').pcm
const bytesOf = (pcm: Int16Array): Buffer => Buffer.from(pcm.buffer, pcm.byteOffset, pcm.byteLength)

t.test("Soniox's own client gets words and speech", async (t) => {
  const double = await SonioxDouble.start(options)
  t.teardown(() => double.close())
  const at = double.baseUrl.replace('http', 'ws')
  const { realtime } = new SonioxNodeClient({
    api_key: KEY,
    realtime: { ws_base_url: `${at}/transcribe-websocket`, tts_ws_url: `${at}/tts-websocket` },
  })
  const session = realtime.stt({
    model: 'stt-rt-v4',
    audio_format: 'pcm_s16le',
    sample_rate: RATE_HZ,
    num_channels: 1,
  })
  let text = ''
  session.on('result', ({ tokens }) => {
    for (const token of tokens) if (token.is_final) text += token.text
  })
  await session.connect()
  for (const said of [NUMBER, STRANGE]) {
    const finalized = new Promise<void>((resolve) => session.once('finalized', () => resolve()))
    session.sendAudio(bytesOf(said))
    session.finalize()
    await finalized
  }
  t.equal(text.replace('<end>', ''), ` 4127 ${INAUDIBLE}`, 'and speech that is not understood is told')
  await session.finish()

  const connection = await realtime.tts.multiStream()
  const stream = await connection.stream({
    model: 'tts-rt-v2',
    language: 'en',
    voice: 'Adrian',
    audio_format: 'pcm_s16le',
    sample_rate: RATE_HZ,
  })
  const sound: Buffer[] = []
  stream.on('audio', (piece: Uint8Array) => sound.push(Buffer.from(piece)))
  const terminated = new Promise<void>((resolve) => stream.on('terminated', () => resolve()))
  stream.sendText('Where is ')
  stream.sendText('my order?')
  stream.finish()
  await terminated
  t.equal(await models.understand(samplesOf(Buffer.concat(sound)), RATE_HZ), 'where is my order', 'its sound is speech')
  connection.close()
})

t.test("Deepgram's own client gets the words of a spoken number", async (t) => {
  const double = await DeepgramDouble.start(options)
  t.teardown(() => double.close())
  const client = new DeepgramClient({ apiKey: KEY, baseUrl: double.baseUrl.replace('http', 'ws') })
  const socket = await client.listen.v1.connect({
    encoding: 'linear16',
    sample_rate: RATE_HZ,
    model: 'nova-3',
    reconnectAttempts: 0,
    Authorization: `Token ${KEY}`,
  })
  const finalized = new Promise<string | undefined>((resolve) =>
    socket.on('message', (message) => {
      if (message.type === 'Results' && message.from_finalize === true)
        resolve(message.channel.alternatives[0]?.transcript)
    }),
  )
  socket.connect()
  await socket.waitForOpen()
  socket.sendMedia(NUMBER)
  socket.sendFinalize({ type: 'Finalize' })
  t.equal(await finalized, '4127')
  socket.close()
})

for (const [name, start, send, last] of [
  ['vosk-server', () => VoskDouble.start(options), bytesOf, '{"eof" : 1}'],
  [
    'sherpa-onnx',
    () => SherpaDouble.start(options),
    (pcm: Int16Array) => Buffer.from(Float32Array.from(pcm, (sample) => sample / 32_768).buffer),
    'Done',
  ],
] as const) {
  t.test(`a client of ${name} gets a spoken number's words`, async (t) => {
    const double = await start()
    t.teardown(() => double.close())
    const socket = new WebSocket(double.baseUrl.replace('http', 'ws'))
    const texts: string[] = []
    const over = new Promise<void>((resolve) => {
      socket.on('message', (data: Buffer) => {
        if (data.toString() === 'Done!') return resolve()
        const { text } = JSON.parse(data.toString()) as { text?: string }
        if (text !== undefined && text !== '') texts.push(text)
      })
      socket.on('close', () => resolve())
    })
    await new Promise((resolve) => socket.once('open', resolve))
    if (name === 'vosk-server') socket.send(JSON.stringify({ config: { sample_rate: RATE_HZ } }))
    socket.send(send(NUMBER))
    socket.send(last)
    await over
    t.equal(texts.at(-1), '4127')
    socket.terminate()
  })
}

t.test("a turn's audio beyond 60 s is counted as unheard", (t) => {
  const heardBy = {
    script: new Script(),
    options: { understand: () => Promise.resolve('') },
    faults: NO_SERVICE_FAULTS,
    callerAudioMs: 0,
    unheardMs: 0,
  }
  const ear = new DoubleEar(heardBy, 8000, { words: () => undefined, broke: () => undefined })
  ear.hear(new Int16Array(8000 * 61))
  t.match(heardBy, { callerAudioMs: 61_000, unheardMs: 1000 })
  ear.end(() => undefined)
  ear.hear(new Int16Array(8000))
  t.equal(heardBy.unheardMs, 1000, 'a new turn is heard')
  t.end()
})

t.test("the double's model continues after its tool's answer", (t) => {
  const said = (content: string, role: 'user' | 'assistant' = 'user') => ({ role, content })
  const messages: Parameters<typeof models.answer>[0][number][] = [
    { role: 'system', content: '' },
    said('4127'),
    said('Order 4127. Is that right?', 'assistant'),
    said('yes that is right'),
  ]
  const [call] = models.answer(messages).calls ?? []
  t.match(call, { name: 'lookup_order', args: { orderNumber: '4127' } })
  messages.push(
    {
      role: 'assistant',
      content: null,
      tool_calls: [
        { id: 'c1', type: 'function', function: { name: 'lookup_order', arguments: '{"orderNumber":"4127"}' } },
      ],
    },
    { role: 'tool', tool_call_id: 'c1', content: '{"orderNumber":"4127","status":"out_for_delivery"}' },
  )
  t.match(models.answer(messages).say, /out for delivery/)
  t.end()
})
