import { SonioxNodeClient } from '@soniox/node'
import t from 'tap'
import { WebSocket } from 'ws'
import { Script } from '../../src/simulator/vendors/double.js'
import { SonioxDouble } from '../../src/simulator/vendors/soniox-double.js'

// The client takes the global one, which Node has since version 22.
globalThis.WebSocket ??= WebSocket as unknown as typeof globalThis.WebSocket

const KEY = 'soniox-0123456789abcdef'
const double = await SonioxDouble.start({ key: KEY, script: new Script([], ['habari yako bwana']) })
t.teardown(() => double.close())

const client = (key: string): SonioxNodeClient =>
  new SonioxNodeClient({
    api_key: key,
    realtime: {
      ws_base_url: `${double.baseUrl.replace('http', 'ws')}/transcribe-websocket`,
      tts_ws_url: `${double.baseUrl.replace('http', 'ws')}/tts-websocket`,
    },
  })

t.test("the vendor's own client transcribes with the double", async (t) => {
  const session = client(KEY).realtime.stt({
    model: 'stt-rt-v4',
    audio_format: 'pcm_s16le',
    sample_rate: 16_000,
    num_channels: 1,
    language_hints: ['sw'],
  })
  const tokens: { text: string; is_final: boolean; language?: string | undefined }[] = []
  session.on('result', (result) => tokens.push(...result.tokens))
  const finalized = new Promise<void>((resolve) => session.on('finalized', () => resolve()))
  await session.connect()
  const loud = Buffer.from(Int16Array.from({ length: 16_000 }, (_, i) => 9000 * Math.sin(i / 8)).buffer)
  session.sendAudio(loud)
  session.finalize()
  await finalized
  const text = (final: boolean): string =>
    tokens
      .filter((token) => token.is_final === final)
      .map((token) => token.text)
      .join('')
  t.match(text(true), /^ habari yako bwana/, 'the final tokens, put together')
  t.match(text(false), /^ habari/, 'words that were uncertain came before')
  t.equal(tokens[0]?.language, 'sw')
  await session.finish()
})

t.test('it speaks, and cancels with an acknowledgement', async (t) => {
  const connection = await client(KEY).realtime.tts.multiStream()
  const stream = await connection.stream({
    model: 'tts-rt-v2',
    language: 'en',
    voice: 'Adrian',
    audio_format: 'pcm_s16le',
    sample_rate: 8000,
    return_timestamps: true,
  })
  let bytes = 0
  let characters = ''
  stream.on('audio', (chunk, timestamps) => {
    bytes += chunk.length
    characters += timestamps?.characters.join('') ?? ''
  })
  const over = new Promise<void>((resolve) => stream.on('terminated', () => resolve()))
  stream.sendText('Hello there. ')
  stream.finish()
  await over
  t.ok(bytes > 8000, `${bytes} bytes of sound`)
  t.equal(characters, 'Hello there. ')
  const other = await connection.stream({
    model: 'tts-rt-v2',
    language: 'en',
    voice: 'Adrian',
    audio_format: 'pcm_s16le',
    sample_rate: 8000,
  })
  const ended = new Promise<void>((resolve) => other.on('terminated', () => resolve()))
  other.sendText('A long story that nobody wants to hear. ')
  other.cancel()
  await ended
  t.equal(double.cancelled, 1)
  connection.close()
})

t.test('a wrong key is refused in words', async (t) => {
  const session = client('wrong-key-0123456789').realtime.stt({ model: 'stt-rt-v4', audio_format: 'pcm_s16le' })
  const failed = new Promise<Error>((resolve) => session.on('error', resolve))
  await session.connect()
  t.match((await failed).message, /Incorrect API key/)
})
