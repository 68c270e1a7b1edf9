// LiveKit's agents in Node, without a room: caller audio from a WebSocket; recogniser, model and voice through
// LiveKit's own plugins; turns by Silero VAD. `inference` (LiveKit's cloud) is not used, so that all connections stay
// on loopback.
import { WebSocketServer } from 'ws'
import { AudioFrame } from '@livekit/rtc-node'
import { initializeLogger, voice } from '@livekit/agents'
import * as deepgram from '@livekit/agents-plugin-deepgram'
import * as elevenlabs from '@livekit/agents-plugin-elevenlabs'
import * as openai from '@livekit/agents-plugin-openai'
import * as silero from '@livekit/agents-plugin-silero'

const RATE_HZ = 16_000
const KEY = 'key-of-the-bench'
const { cascade } = JSON.parse(process.env.BENCH_TURNS ?? '{}')
initializeLogger({ pretty: false, level: 'error' })

class CallerAudio extends voice.AudioInput {
  #controller
  constructor() {
    super()
    this.multiStream.addInputStream(new ReadableStream({ start: (controller) => (this.#controller = controller) }))
  }

  push(pcm) {
    this.#controller.enqueue(new AudioFrame(pcm, RATE_HZ, 1, pcm.length))
  }
}

/**
 * Sends each frame at once, because the gateway's stand-in for the carrier gets frames in this way. A frame counts as
 * played when its time is over.
 */
class CallerEar extends voice.AudioOutput {
  #socket
  #seconds = 0
  #endsAtMs = 0
  #timer = null
  constructor(socket) {
    super(RATE_HZ, undefined, { pause: false })
    this.#socket = socket
  }

  async captureFrame(frame) {
    await super.captureFrame(frame)
    const nowMs = performance.now()
    if (this.#seconds === 0) {
      this.#endsAtMs = nowMs
      this.onPlaybackStarted(Date.now())
    }
    const seconds = frame.samplesPerChannel / frame.sampleRate
    this.#seconds += seconds
    this.#endsAtMs += seconds * 1000
    this.#socket.send(Buffer.from(frame.data.buffer, frame.data.byteOffset, frame.data.byteLength))
  }

  flush() {
    super.flush()
    if (this.#seconds > 0) this.#timer = setTimeout(() => this.#over(false), this.#endsAtMs - performance.now())
  }

  clearBuffer() {
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#seconds > 0) this.#over(true)
  }

  #over(interrupted) {
    const playbackPosition = this.#seconds
    this.#seconds = 0
    this.#timer = null
    this.onPlaybackFinished({ playbackPosition, interrupted })
  }
}

const vad = await silero.VAD.load()
const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false })
server.on('connection', (socket) => {
  const session = new voice.AgentSession({
    vad,
    stt: new deepgram.STT({ apiKey: KEY, baseUrl: cascade.stt.replace('http', 'ws') }),
    llm: new openai.LLM({ apiKey: KEY, baseURL: cascade.llm, model: 'known' }),
    tts: new elevenlabs.TTS({
      apiKey: KEY,
      baseURL: `${cascade.tts}/v1`,
      encoding: 'pcm_16000',
      voice: { id: 'known', name: 'known', category: 'premade' },
    }),
    turnHandling: { turnDetection: 'vad', interruption: { mode: 'vad' }, preemptiveGeneration: { enabled: true } },
  })
  const input = new CallerAudio()
  socket.on('message', (data, binary) => {
    if (binary) input.push(new Int16Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)))
  })
  socket.on('close', () => void session.close().catch(() => undefined))
  session.input.audio = input
  session.output.audio = new CallerEar(socket)
  void session
    .start({ agent: new voice.Agent({ instructions: 'Answer with a tone.' }) })
    .then(() => session.say('Hello.'))
    .catch((error) => process.stderr.write(`${error.stack}\n`))
})
server.on('listening', () => process.send?.({ type: 'ready', port: server.address().port }))
process.on('disconnect', () => process.exit(3))
process.on('message', () => process.exit(0))
