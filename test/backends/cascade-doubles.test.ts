import { createRequire } from 'node:module'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import type { Cartesia as CartesiaClient } from '@cartesia/cartesia-js'
import { DeepgramClient } from '@deepgram/sdk'
import { SpeechClient, type protos as recognition } from '@google-cloud/speech'
import { TextToSpeechClient } from '@google-cloud/text-to-speech'
import { credentials } from '@grpc/grpc-js'
import * as azure from 'microsoft-cognitiveservices-speech-sdk'
import * as serialization from '@elevenlabs/elevenlabs-js/serialization/index.js'
import { SonioxNodeClient } from '@soniox/node'
import OpenAI from 'openai'
import { OpenAIRealtimeWS } from 'openai/realtime/ws'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { selfSigned } from '../../bench/kit/self-signed.js'
import { parseWav } from '../../src/media/wav.js'
import { AzureSpeechDouble } from '../../src/vendors/azure/double.js'
import { CartesiaVoiceDouble } from '../../src/vendors/cartesia/double.js'
import { DeepgramDouble, DeepgramVoiceDouble } from '../../src/vendors/deepgram/double.js'
import { Script } from '../../src/simulator/vendors/double.js'
import { ElevenLabsVoiceDouble } from '../../src/vendors/elevenlabs/double.js'
import { GoogleSpeechDouble } from '../../src/vendors/google/speech-double.js'
import { GoogleVoiceDouble } from '../../src/vendors/google/voice-double.js'
import { SonioxDouble } from '../../src/vendors/soniox/double.js'
import { TranscriptionDouble } from '../../src/vendors/openai/double.js'
import { until as untilWithin } from '../support/until.js'
import { portOf } from '../support/port-of.js'
import { accountFile, serviceAccount } from '../support/service-account.js'

// Google's clients ask the network whether they run in Google's cloud.
process.env['METADATA_SERVER_DETECTION'] = 'none'

// Clients take the global one. Node 20 has none, and with that of Node 22 Azure's client never ends after a refused connection.
globalThis.WebSocket = WebSocket as unknown as typeof globalThis.WebSocket

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

t.test("Soniox's own client transcribes with the double", async (t) => {
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

t.test("Soniox's own client speaks with the double and cancels", async (t) => {
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

t.test("Soniox's own client gets a message for a wrong key", async (t) => {
  const session = client('wrong-key-0123456789').realtime.stt({ model: 'stt-rt-v4', audio_format: 'pcm_s16le' })
  const failed = new Promise<Error>((resolve) => session.on('error', resolve))
  await session.connect()
  t.match((await failed).message, /Incorrect API key/)
})

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

t.test("Deepgram's own client forces the end of a /v2/listen turn", async (t) => {
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

// Its ES modules look for `ws` with `require`, which only CommonJS has.
const { Cartesia } = createRequire(import.meta.url)('@cartesia/cartesia-js') as { Cartesia: typeof CartesiaClient }
const until = (what: string, condition: () => boolean): Promise<void> => untilWithin(condition, 5000, what)

t.test("Deepgram's own client speaks with the double and interrupts it", async (t) => {
  const double = await DeepgramVoiceDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const client = new DeepgramClient({ apiKey: KEY, baseUrl: double.baseUrl.replace('http', 'ws') })
  const socket = await client.speak.v2.connect({
    model: 'flux-alexis-en',
    encoding: 'linear16',
    sample_rate: '8000',
    Authorization: `Token ${KEY}`,
    reconnectAttempts: 0,
  })
  let bytes = 0
  const messages: { type: string }[] = []
  socket.on('message', (message) => {
    const given: unknown = message
    if (given instanceof Blob) bytes += given.size
    else if (typeof given === 'object' && given !== null && 'type' in given) messages.push(message as { type: string })
  })
  socket.connect()
  await socket.waitForOpen()
  const came = (type: string, count = 1): Promise<void> =>
    until(type, () => messages.filter((message) => message.type === type).length >= count)
  socket.sendSpeak({ type: 'Speak', text: 'Your order is on its way to you. ' })
  socket.sendFlush({ type: 'Flush' })
  await came('SpeechMetadata')
  t.ok(bytes > 8000, `${bytes} bytes of sound`)
  const firstMs = (messages.at(-1) as unknown as { audio_duration_ms: number }).audio_duration_ms
  double.script.reply({ say: 'One two three four five six', audioMs: 3000, paceMs: 30 })
  double.script.nextReply()
  socket.sendSpeak({ type: 'Speak', text: 'One two three four five six' })
  const bytesBefore = bytes
  await until('800 ms of its sound', () => bytes - bytesBefore >= 8 * 2 * 800)
  socket.sendInterrupt({ type: 'Interrupt', playback_offset: { type: 'time_ms', value: firstMs + 600 } })
  await came('SpeechInterrupted')
  const heard = messages.at(-1) as unknown as { text_spoken: string; text_remaining: string }
  t.ok(heard.text_spoken !== '' && 'One two three four'.startsWith(heard.text_spoken.trim()), heard.text_spoken)
  socket.sendInterrupt({ type: 'Interrupt', playback_offset: { type: 'time_ms', value: 1 } })
  await came('Warning')
  t.match(messages.at(-1), { code: 'INVALID_INTERRUPT_OFFSET' })
  socket.sendConfigure({ type: 'Configure', speed: 0.85 })
  await came('ConfigureSuccess')
  socket.close()
})

/** A port with TLS in front of a double: this client dials nothing else. */
async function overTls(t: Test, at: string): Promise<{ readonly url: string; readonly ca: string }> {
  const { key, cert } = selfSigned()
  const port = Number(new URL(at).port)
  const server = createServer({ key, cert }, (socket) => {
    const inner = connect(port, '127.0.0.1')
    socket.pipe(inner).pipe(socket)
    socket.on('error', () => inner.destroy())
    inner.on('error', () => socket.destroy())
  })
  return { url: `https://localhost:${await portOf(t, server)}`, ca: cert }
}

t.test("Cartesia's own client speaks with the double over TLS", async (t) => {
  const double = await CartesiaVoiceDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const { url, ca } = await overTls(t, double.baseUrl)
  const client = new Cartesia({ apiKey: KEY, baseURL: url })
  const socket = await client.tts.websocket({ ca })
  t.teardown(() => socket.close())
  const options = {
    model_id: 'sonic-3.5',
    voice: { mode: 'id', id: 'a-voice' },
    output_format: { container: 'raw', encoding: 'pcm_s16le', sample_rate: 8000 },
    add_timestamps: true,
    max_buffer_delay_ms: 0,
  } as const
  const context = socket.context(options)
  await context.push({ transcript: 'Hello there, ' })
  await context.push({ transcript: 'my friend. ' })
  await context.no_more_inputs()
  let bytes = 0
  const words: string[] = []
  for await (const event of context.receive()) {
    if (event.type === 'chunk') bytes += event.audio?.length ?? 0
    if (event.type === 'timestamps') words.push(...(event.word_timestamps?.words ?? []))
  }
  t.ok(bytes > 8000, `${bytes} bytes of sound`)
  t.same(words, ['Hello', 'there,', 'my', 'friend.'])
  double.script.reply({ say: 'A long story that nobody hears.', paceMs: 30 })
  double.script.nextReply()
  const other = socket.context(options)
  await other.push({ transcript: 'A long story that nobody hears. ' })
  await other.cancel()
  await until('the cancel', () => double.cancelled === 1)
})

t.test("ElevenLabs' own serialisers and the double read each other's messages", async (t) => {
  const double = await ElevenLabsVoiceDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const socket = new WebSocket(
    `${double.baseUrl.replace('http', 'ws')}/v1/text-to-speech/a-voice/multi-stream-input?output_format=pcm_8000&auto_mode=true`,
    { headers: { 'xi-api-key': KEY } },
  )
  t.teardown(() => socket.close())
  await new Promise((resolve) => socket.once('open', resolve))
  let bytes = 0
  let chars = ''
  const finals: (string | undefined)[] = []
  socket.on('message', (data: Buffer) => {
    const parsed: unknown = JSON.parse(data.toString())
    // The service's two messages; what has a field that they do not know is refused.
    if ('audio' in (parsed as object)) {
      const { audio, alignment } = serialization.AudioOutputMulti.parseOrThrow(parsed)
      bytes += Buffer.from(audio, 'base64').length
      chars += alignment?.chars?.join('') ?? ''
    } else finals.push(serialization.FinalOutputMulti.parseOrThrow(parsed).contextId)
  })
  const { InitializeConnectionMulti, SendTextMulti, CloseContext } = serialization
  const send = (message: unknown): void => socket.send(JSON.stringify(message))
  send(InitializeConnectionMulti.jsonOrThrow({ text: ' ', contextId: 'one', voiceSettings: { speed: 0.9 } }))
  send(SendTextMulti.jsonOrThrow({ text: 'Hello there. ', contextId: 'one' }))
  send(SendTextMulti.jsonOrThrow({ text: '', contextId: 'one', flush: true }))
  send(CloseContext.jsonOrThrow({ contextId: 'one', closeContext: true }))
  await until('isFinal', () => finals.length === 1)
  t.ok(bytes > 8000, `${bytes} bytes of sound`)
  t.equal(chars, 'Hello there. ')
  t.same(finals, ['one'])
  const closed = new Promise<string>((resolve) => socket.once('close', (_code, why) => resolve(why.toString())))
  for (const contextId of ['a', 'b', 'c', 'd', 'e', 'f'])
    send(InitializeConnectionMulti.jsonOrThrow({ text: ' ', contextId }))
  t.equal(await closed, 'max_active_conversations', 'a sixth context ends the connection')
})

async function azureDouble(t: Test, said = 'habari yako where is my order'): Promise<AzureSpeechDouble> {
  const double = await AzureSpeechDouble.start({
    key: KEY,
    script: new Script([], [said]),
    languageOf: (word) => (word === 'habari' ? 'sw' : 'en'),
  })
  t.teardown(() => double.close())
  return double
}
const azureConfig = (double: AzureSpeechDouble, key = KEY): azure.SpeechConfig =>
  azure.SpeechConfig.fromHost(new URL(double.baseUrl.replace('http', 'ws')), key)

/** The phrases, and the words that were uncertain, of two seconds of speech at 8 kHz. */
async function azurePhrases(t: Test, config: azure.SpeechConfig, languages: readonly string[]) {
  const stream = azure.AudioInputStream.createPushStream(azure.AudioStreamFormat.getWaveFormatPCM(8000, 16, 1))
  const audio = azure.AudioConfig.fromStreamInput(stream)
  const recogniser = azure.SpeechRecognizer.FromConfig(
    config,
    azure.AutoDetectSourceLanguageConfig.fromLanguages([...languages]),
    audio,
  )
  t.teardown(() => recogniser.close())
  azure.PhraseListGrammar.fromRecognizer(recogniser).addPhrases(['M-Pesa'])
  const phrases: string[] = []
  let uncertain = 0
  recogniser.recognizing = () => uncertain++
  recogniser.recognized = (_, { result }) => phrases.push(`${result.language}: ${result.text}`)
  const over = new Promise<string>((resolve) => {
    recogniser.sessionStopped = () => resolve('over')
    recogniser.canceled = (_, { reason, errorDetails }) => {
      if (reason === azure.CancellationReason.Error) resolve(errorDetails)
    }
  })
  recogniser.startContinuousRecognitionAsync()
  stream.write(LOUD.slice(0, 16_000).buffer)
  stream.close()
  return { end: await over, phrases, uncertain }
}

t.test("Azure's own client gets each phrase's language from the double", async (t) => {
  const double = await azureDouble(t)
  const config = azureConfig(double)
  config.setProperty(azure.PropertyId.SpeechServiceConnection_LanguageIdMode, 'Continuous')
  const { end, phrases, uncertain } = await azurePhrases(t, config, ['sw-KE', 'en-KE'])
  t.equal(end, 'over')
  t.same(phrases, ['sw-KE: habari yako where', 'en-KE: is my order'])
  t.ok(uncertain > 0, 'words that were uncertain came before')
  t.match(double.listeners[0]?.context, {
    languageId: { languages: ['sw-KE', 'en-KE'], mode: 'DetectContinuous' },
    dgi: { groups: [{ items: [{ text: 'M-Pesa' }] }] },
  })
})

t.test("Azure's own client gets masked words unless it asks otherwise", async (t) => {
  const heard = async (option?: azure.ProfanityOption): Promise<string | undefined> => {
    const config = azureConfig(await azureDouble(t, 'fanny wambui'))
    if (option !== undefined) config.setProfanity(option)
    return (await azurePhrases(t, config, ['en-KE'])).phrases[0]
  }
  t.match(await heard(), /\*\*\*\*\* wambui/)
  t.match(await heard(azure.ProfanityOption.Raw), /fanny wambui/)
})

t.test("Azure's own client reports a wrong key or unsupported language", async (t) => {
  const double = await azureDouble(t)
  t.match((await azurePhrases(t, azureConfig(double, 'another-key'), ['sw-KE'])).end, /401/)
  t.match((await azurePhrases(t, azureConfig(double), ['sw-XX'])).end, /Unsupported language sw-XX.*1007/)
})

t.test("Azure's own client gets word times from the double", async (t) => {
  const double = await azureDouble(t)
  const say = async (voice: string): Promise<{ result: azure.SpeechSynthesisResult; words: string[] }> => {
    const config = azureConfig(double)
    config.speechSynthesisOutputFormat = azure.SpeechSynthesisOutputFormat.Raw8Khz16BitMonoPcm
    config.speechSynthesisVoiceName = voice
    const synthesizer = new azure.SpeechSynthesizer(config)
    t.teardown(() => synthesizer.close())
    const words: string[] = []
    synthesizer.wordBoundary = (_, { text, audioOffset }) => words.push(`${text} ${Math.round(audioOffset / 10_000)}`)
    const result = await new Promise<azure.SpeechSynthesisResult>((resolve, reject) =>
      synthesizer.speakTextAsync('Bei < 500 & zaidi', resolve, reject),
    )
    return { result, words }
  }
  const { result, words } = await say('sw-KE-ZuriNeural')
  t.equal(result.reason, azure.ResultReason.SynthesizingAudioCompleted)
  t.ok(result.audioData.byteLength > 8000, `${result.audioData.byteLength} bytes of sound`)
  t.same(words, ['Bei 0', '500 350', 'zaidi 700'])
  t.same(double.spoken, ['Bei < 500 & zaidi'])
  t.match((await say('sw-KE-NobodyNeural')).result.errorDetails, /Unsupported voice sw-KE-NobodyNeural.*1007/)
})

t.test("Google's own client speaks with the double over HTTP", async (t) => {
  const double = await GoogleVoiceDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const { hostname, port } = new URL(double.baseUrl)
  const clientWith = (apiKey: string): TextToSpeechClient => {
    const client = new TextToSpeechClient({
      apiKey,
      // It would ask the program gcloud for one.
      projectId: 'a-project',
      fallback: true,
      protocol: 'http',
      apiEndpoint: hostname,
      port: Number(port),
    })
    t.teardown(() => client.close())
    return client
  }
  const client = clientWith(KEY)
  const [{ voices }] = await client.listVoices({ languageCode: 'sw-KE' })
  t.match(voices?.[0]?.name, 'sw-KE-Chirp3-HD-Aoede')
  const speechOf = (name: string) => ({
    input: { text: 'Habari <yako> & wewe' },
    voice: { languageCode: 'sw-KE', name },
    audioConfig: { audioEncoding: 'LINEAR16', sampleRateHertz: 8000 } as const,
  })
  const known = speechOf('sw-KE-Chirp3-HD-Aoede')
  const [{ audioContent }] = await client.synthesizeSpeech(known)
  const wav = parseWav(audioContent as Uint8Array)
  t.match(wav, { sampleRateHz: 8000, channels: 1 }, 'samples with a header, although they are called LINEAR16')
  t.ok(wav.samples.length > 4000, `${wav.samples.length} samples`)
  t.same(double.spoken, ['Habari <yako> & wewe'])
  const refused = (made: TextToSpeechClient, request: typeof known): Promise<string> =>
    made.synthesizeSpeech(request).then(
      () => 'spoken',
      (error: unknown) => String(error),
    )
  t.match(await refused(client, speechOf('sw-KE-Chirp3-HD-Nobody')), /does not exist/)
  t.match(await refused(clientWith('another-key'), known), /API key not valid/)
})

t.test("Google's own client signs with a service account's key", async (t) => {
  const [known, unknown] = [serviceAccount('key-of-the-project'), serviceAccount('key-of-nobody')]
  const double = await GoogleVoiceDouble.start({ key: KEY, account: known })
  t.teardown(() => double.close())
  const { hostname, port } = new URL(double.baseUrl)
  const folder = t.testdir({ known: {}, unknown: {} })
  const voices = async (name: string, account: typeof known) => {
    const keyFilename = accountFile(join(folder, name), account)
    const client = new TextToSpeechClient({
      ...{ keyFilename, projectId: 'a-project' },
      ...{ fallback: true, protocol: 'http', apiEndpoint: hostname, port: Number(port) },
    })
    t.teardown(() => client.close())
    return client.listVoices({ languageCode: 'sw-KE' })
  }
  const [{ voices: heard }] = await voices('known', known)
  t.equal(heard?.length, 3)
  await t.rejects(voices('unknown', unknown), /invalid authentication credentials/)
})

type Recognised = recognition.google.cloud.speech.v1.IStreamingRecognizeResponse

/** What Google's own client gets for these messages, and how its stream ends. */
async function googleRecognised(
  t: Test,
  double: GoogleSpeechDouble,
  messages: readonly recognition.google.cloud.speech.v1.IStreamingRecognizeRequest[],
  apiKey = KEY,
): Promise<{ readonly results: string[]; readonly end: string }> {
  const { hostname, port } = new URL(double.baseUrl)
  const client = new SpeechClient({
    projectId: 'a-project',
    apiEndpoint: hostname,
    port: Number(port),
    // Without TLS it sends no credentials of its own.
    sslCreds: credentials.createInsecure(),
  })
  t.teardown(() => client.close())
  const stream = client._streamingRecognize({ otherArgs: { headers: { 'x-goog-api-key': apiKey } } })
  const results: string[] = []
  const end = new Promise<string>((resolve) => {
    stream.on('error', (error) => resolve(String(error)))
    stream.on('end', () => resolve('over'))
  })
  stream.on('data', ({ results: parts }: Recognised) => {
    for (const { alternatives, isFinal, languageCode } of parts ?? [])
      results.push(`${languageCode} ${isFinal === true ? 'final' : 'interim'}:${alternatives?.[0]?.transcript}`)
  })
  for (const message of messages) stream.write(message)
  stream.end()
  return { end: await end, results }
}

const GOOGLE_CONFIG = {
  ...{ encoding: 'LINEAR16' as const, sampleRateHertz: 8000, languageCode: 'sw-KE' },
  ...{ alternativeLanguageCodes: ['en-KE'], speechContexts: [{ phrases: ['M-Pesa'] }] },
}
const googleConfig = (changed = {}) => ({
  streamingConfig: { config: { ...GOOGLE_CONFIG, ...changed }, interimResults: true },
})
const GOOGLE_AUDIO = Array.from({ length: 10 }, (_, i) => ({
  audioContent: Buffer.from(LOUD.buffer, LOUD.byteOffset + i * 3200, 3200),
}))

t.test("Google's own client gets the language of each transcribed part", async (t) => {
  const double = await GoogleSpeechDouble.start({
    ...{ key: KEY, script: new Script([], ['habari yako bwana where is it']) },
    languageOf: (word) => (word === 'habari' ? 'sw' : 'en'),
  })
  t.teardown(() => double.close())
  const { end, results } = await googleRecognised(t, double, [googleConfig(), ...GOOGLE_AUDIO])
  t.equal(end, 'over')
  t.same(
    results.filter((result) => result.includes('final:')),
    ['sw-ke final:habari yako bwana', 'en-ke final: where is it'],
  )
  t.ok(results.includes('sw-ke interim:habari'), results.join(', '))
  t.match(double.streams[0]?.config, GOOGLE_CONFIG)
})

t.test("Google's own client reports invalid requests to the double", async (t) => {
  const double = await GoogleSpeechDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const ends = async (messages: Parameters<typeof googleRecognised>[2], key?: string): Promise<string> =>
    (await googleRecognised(t, double, messages, key)).end
  t.match(await ends([googleConfig()], 'another-key'), /3 INVALID_ARGUMENT: API key not valid/)
  t.match(await ends(GOOGLE_AUDIO), /3 INVALID_ARGUMENT: .*first message must contain a streaming_config/)
  t.match(await ends([googleConfig(), googleConfig()]), /3 INVALID_ARGUMENT: .*must contain audio/)
  t.match(await ends([googleConfig({ sampleRateHertz: 4000 })]), /bad sample rate hertz/)
  t.match(await ends([googleConfig({ languageCode: 'sw-XX' })]), /bad language code sw-XX/)
  t.match(await ends([googleConfig({ model: 'latest_long' })]), /not supported for language : sw-KE/)
  t.match(await ends([googleConfig(), { audioContent: Buffer.alloc(30_000) }]), /maximum of 25600 bytes/)
  double.streamMsMax = 500
  t.match(await ends([googleConfig(), ...GOOGLE_AUDIO]), /11 OUT_OF_RANGE: Exceeded maximum allowed stream duration/)
})
