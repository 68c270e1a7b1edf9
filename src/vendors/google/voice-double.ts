import type { IncomingMessage, ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import type { GoogleSpeechRequest } from './text-to-speech.js'
import { writeWav } from '../../media/wav.js'
import { LocalHttpServer } from '../../system/local-http-server.js'
import { googleKeyRefusal, type GoogleDoubleOptions, type GoogleRefusal, INVALID_ARGUMENT } from './keys-double.js'
import { partOf, type Refusal, Script, soundOf } from '../../simulator/vendors/double.js'
import { toneSpeaker } from '../../simulator/vendors/tone-speaker.js'
import { NO_SERVICE_FAULTS, type ServiceFaults } from '../../simulator/vendors/service-double.js'

/** Some of the service's voices. */
const VOICES = ['sw-KE', 'en-GB', 'en-US', 'fr-FR'].flatMap((locale) =>
  ['Aoede', 'Charon', 'Kore'].map((name) => `${locale}-Chirp3-HD-${name}`),
)
/** Maximum number of bytes of a text. */
const TEXT_BYTES_MAX = 5000
const RATES = [8000, 16_000, 24_000, 48_000]

/**
 * Google Cloud's Text-to-Speech over HTTP on loopback, written from `@google-cloud/text-to-speech` 6.4.1: its types and
 * its messages.
 */
export class GoogleVoiceDouble extends LocalHttpServer {
  readonly script: Script
  readonly faults: ServiceFaults = { ...NO_SERVICE_FAULTS }
  /** Requests for speech, oldest first. */
  readonly asked: GoogleSpeechRequest[] = []
  readonly spoken: string[] = []
  refuse: Refusal | 'never' | null = null
  readonly #options: GoogleDoubleOptions

  constructor(options: GoogleDoubleOptions = {}) {
    super(options, (request, response) => void this.#answer(request, response))
    this.#options = options
    this.script = options.script ?? new Script()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://double')
    const body = await buffer(request)
    if (this.refuse === 'never') return
    if (this.refuse !== null) return answer(response, this.refuse.status, this.refuse.body)
    const refusal = googleKeyRefusal(request.headers, this.#options)
    if (refusal !== null) return refuse(response, refusal)
    if (request.method === 'GET' && pathname === '/v1/voices') {
      const locale = searchParams.get('languageCode') ?? ''
      const voices = VOICES.filter((name) => name.startsWith(locale))
      return answer(response, 200, JSON.stringify({ voices: voices.map(voiceOf) }))
    }
    if (request.method !== 'POST' || pathname !== '/v1/text:synthesize')
      return refuse(response, { http: 404, grpc: 5, status: 'NOT_FOUND', message: 'Requested entity was not found.' })
    const asked = JSON.parse(body.toString()) as GoogleSpeechRequest
    this.asked.push(asked)
    const why = this.objection(body.toString()) ?? objection(asked)
    if (why !== null) return refuse(response, INVALID_ARGUMENT(why))
    if (this.faults.mute) return
    answer(response, 200, JSON.stringify({ audioContent: this.#speech(asked).toString('base64') }))
  }

  #speech({ input: { text }, audioConfig: { sampleRateHertz: rateHz } }: GoogleSpeechRequest): Buffer {
    const speaker = this.#options.speaker ?? toneSpeaker(rateHz)
    const samples = this.faults.unspoken
      ? new Int16Array(0)
      : soundOf(partOf(this.script.lastReply ?? {}, text), speaker, rateHz)
    this.spoken.push(text)
    return Buffer.from(writeWav({ sampleRateHz: rateHz, channels: 1, samples }))
  }
}

function objection({ input, voice, audioConfig }: Partial<GoogleSpeechRequest>): string | null {
  const { text } = input ?? {}
  if (typeof text !== 'string' || text === '') return 'One of "text" or "ssml" must be set.'
  if (Buffer.byteLength(text) > TEXT_BYTES_MAX)
    return 'Either `input.text` or `input.ssml` is longer than the limit of 5000 bytes.'
  const { name = '', languageCode = '' } = voice ?? {}
  if (!VOICES.includes(name)) return `Voice '${name}' does not exist. Is it misspelled?`
  if (!name.startsWith(languageCode) || languageCode === '')
    return `Requested language code '${languageCode}' doesn't match the voice '${name}'s language code.`
  const { audioEncoding, sampleRateHertz, speakingRate = 1 } = audioConfig ?? {}
  // The service's own client writes enum names as numbers.
  if (!/^(?:LINEAR16|1)$/.test(String(audioEncoding)) || !RATES.includes(Number(sampleRateHertz)))
    return 'Unsupported audio config.'
  // All voices of this double are Chirp 3 HD voices, which do not support a speaking rate.
  return speakingRate === 1 ? null : 'This voice does not support speaking rate or pitch parameters at this time.'
}

function voiceOf(name: string) {
  return { languageCodes: [name.slice(0, 5)], name, ssmlGender: 'FEMALE', naturalSampleRateHertz: 24_000 }
}

function refuse(response: ServerResponse, { http: code, status, message }: GoogleRefusal): void {
  answer(response, code, JSON.stringify({ error: { code, message, status } }))
}

function answer(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=UTF-8' }).end(body)
}
