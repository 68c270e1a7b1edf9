import type { IncomingMessage, ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import type { GoogleSpeechRequest } from '../../backends/cascade/google-text-to-speech.js'
import { writeWav } from '../../media/wav.js'
import { HttpDouble } from '../http-double.js'
import { partOf, type Refusal, Script, soundOf } from './double.js'
import { toneSpeaker } from './tone-speaker.js'
import { NO_STAGE_FAULTS, type StageDoubleOptions, type StageFaults } from './stage-double.js'

/** Some of the service's voices. */
const VOICES = ['sw-KE', 'en-GB', 'en-US', 'fr-FR'].flatMap((locale) =>
  ['Aoede', 'Charon', 'Kore'].map((name) => `${locale}-Chirp3-HD-${name}`),
)
/** Bytes of a text. */
const TEXT_BYTES_MAX = 5000
const RATES = [8000, 16_000, 24_000, 48_000]

/**
 * Google Cloud's Text-to-Speech over HTTP on loopback, written from the types of `@google-cloud/text-to-speech` 6.4.1 and
 * from what that client sends.
 */
export class GoogleVoiceDouble extends HttpDouble {
  readonly script: Script
  readonly faults: StageFaults = { ...NO_STAGE_FAULTS }
  /** Requests for speech, the oldest first. */
  readonly asked: GoogleSpeechRequest[] = []
  readonly spoken: string[] = []
  refuse: Refusal | 'never' | null = null
  readonly #options: StageDoubleOptions

  constructor(options: StageDoubleOptions = {}) {
    super(options, (request, response) => void this.#answer(request, response))
    this.#options = options
    this.script = options.script ?? new Script()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://double')
    const body = await buffer(request)
    if (this.refuse === 'never') return
    const refusal = this.refuse ?? this.#keyRefusal(request)
    if (refusal !== null) return answer(response, refusal.status, refusal.body)
    if (request.method === 'GET' && pathname === '/v1/voices') {
      const locale = searchParams.get('languageCode') ?? ''
      const voices = VOICES.filter((name) => name.startsWith(locale))
      return answer(response, 200, JSON.stringify({ voices: voices.map(voiceOf) }))
    }
    if (request.method !== 'POST' || pathname !== '/v1/text:synthesize')
      return answer(response, 404, errorOf(404, 'NOT_FOUND', 'Requested entity was not found.'))
    const asked = JSON.parse(body.toString()) as GoogleSpeechRequest
    this.asked.push(asked)
    const why = objection(asked)
    if (why !== null) return answer(response, 400, errorOf(400, 'INVALID_ARGUMENT', why))
    if (this.faults.mute) return
    answer(response, 200, JSON.stringify({ audioContent: this.#speech(asked).toString('base64') }))
  }

  /** The service answers a wrong key with 400. */
  #keyRefusal({ headers }: IncomingMessage): Refusal | null {
    const { key = null } = this.#options
    if (key === null || headers['x-goog-api-key'] === key) return null
    return headers['x-goog-api-key'] === undefined
      ? { status: 403, body: errorOf(403, 'PERMISSION_DENIED', 'The request is missing a valid API key.') }
      : { status: 400, body: errorOf(400, 'INVALID_ARGUMENT', 'API key not valid. Please pass a valid API key.') }
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
  // Its own client writes numbers for names.
  if (!/^(?:LINEAR16|1)$/.test(String(audioEncoding)) || !RATES.includes(Number(sampleRateHertz)))
    return 'Unsupported audio config.'
  return speakingRate < 0.25 || speakingRate > 2 ? 'Invalid speaking_rate.' : null
}

function voiceOf(name: string) {
  return { languageCodes: [name.slice(0, 5)], name, ssmlGender: 'FEMALE', naturalSampleRateHertz: 24_000 }
}

function errorOf(code: number, status: string, message: string): string {
  return JSON.stringify({ error: { code, message, status } })
}

function answer(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=UTF-8' }).end(body)
}
