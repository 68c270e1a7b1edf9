import type { IncomingMessage, ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { writeWav } from '../../media/wav.js'
import { LocalHttpServer } from '../../system/local-http-server.js'
import { NOT_FOUND, partOf, type Refusal, Script, soundOf } from '../../simulator/vendors/double.js'
import {
  NO_SERVICE_FAULTS,
  type ServiceDoubleOptions,
  type ServiceFaults,
} from '../../simulator/vendors/service-double.js'
import { toneSpeaker } from '../../simulator/vendors/tone-speaker.js'
import { keyRefusal } from '../self-hosted/key-double.js'
import type { ToySpeechRequest } from './wire.js'
import { SPEED, speedIn } from '../../simulator/vendors/optional-fields.js'
import type { OptionalFieldsOf } from '../../simulator/vendors/optional-fields.js'

const RATE_HZ = 24_000

/**
 * A double of Toy Voice on loopback. It refuses another path, another key, an empty text, and a speed out of its
 * range.
 */
class ToyVoiceDouble extends LocalHttpServer {
  readonly script: Script
  readonly faults: ServiceFaults = { ...NO_SERVICE_FAULTS }
  refuse: Refusal | 'never' | null = null
  readonly #options: ServiceDoubleOptions

  constructor(options: ServiceDoubleOptions = {}) {
    super(options, (request, response) => void this.#answer(request, response))
    this.#options = options
    this.script = options.script ?? new Script()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request)
    if (this.refuse === 'never') return
    const refusal = this.refuse ?? keyRefusal(this.#options.key ?? null, request.headers)
    if (refusal !== null) return answer(response, refusal)
    if (request.url === '/models') return answer(response, { status: 200, body: '{"models":["toy-sound-2"]}' })
    if (request.url !== '/speech') return answer(response, NOT_FOUND)
    const { text, speed = 1 } = JSON.parse(body.toString()) as ToySpeechRequest
    const wrong = text === '' || !(speed >= 0.5 && speed <= 2) ? 'text or speed is wrong' : null
    const message = this.objection(body.toString()) ?? wrong
    if (message !== null) return answer(response, { status: 400, body: JSON.stringify({ error: { message } }) })
    if (this.faults.mute) return
    const speaker = this.#options.speaker ?? toneSpeaker(RATE_HZ)
    const samples = soundOf(partOf(this.script.lastReply ?? {}, text), speaker, RATE_HZ)
    response.writeHead(200, { 'content-type': 'audio/wav' })
    response.end(writeWav({ sampleRateHz: RATE_HZ, channels: 1, samples }))
  }
}

function answer(response: ServerResponse, { status, body }: Refusal): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(body)
}

export const doubles = { 'toy-voice': [[ToyVoiceDouble, 'TOY_VOICE_URL']] }

export const optionalFields: OptionalFieldsOf = {
  tts: { 'toy-voice': [{ wished: SPEED, fields: speedIn(/"speed"/) }] },
}
