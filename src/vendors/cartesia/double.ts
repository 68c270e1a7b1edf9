import type { IncomingHttpHeaders } from 'node:http'
import type { WebSocket } from 'ws'
import type { Refusal } from '../../simulator/vendors/double.js'
import { ServiceDouble } from '../../simulator/vendors/service-double.js'
import { type Json, textIn, VoiceSession, type VoiceSpeech } from '../../simulator/vendors/voice-double.js'
import { SPEED, speedIn } from '../../simulator/vendors/optional-fields.js'
import type { OptionalFieldsOf } from '../../simulator/vendors/optional-fields.js'

/** Maximum number of simultaneous contexts on the account's plan. */
const CONTEXTS_MAX = 8
/** Time in ms that the service waits for more text by default. */
const BUFFER_MS = 3000

/**
 * Cartesia's `/tts/websocket` on loopback, written from the types, source and messages of `@cartesia/cartesia-js`
 * 4.2.0. It supports contexts and times of words. A cancel may stay unanswered.
 */
export class CartesiaVoiceDouble extends ServiceDouble<CartesiaVoiceSession> {
  protected override refusalOf({ pathname }: URL, headers: IncomingHttpHeaders): Refusal | null {
    const refusal = (status: number, message: string): Refusal => ({ status, body: JSON.stringify({ error: message }) })
    if (pathname !== '/tts/websocket') return refusal(404, 'Not found.')
    if (headers['cartesia-version'] === undefined) return refusal(400, 'Missing Cartesia-Version.')
    const given = headers.authorization?.replace('Bearer ', '') ?? headers['x-api-key']
    if (this.key !== null && given !== this.key) return refusal(401, `Invalid API key: ${String(given)}`)
    return null
  }

  protected override accept(client: WebSocket): CartesiaVoiceSession {
    return new CartesiaVoiceSession(client, this)
  }
}

interface Context {
  readonly speech: VoiceSpeech
  timer: NodeJS.Timeout | null
  text: string
}

class CartesiaVoiceSession extends VoiceSession {
  readonly #contexts = new Map<string, Context>()

  protected receive(message: Json): void {
    const id = textIn(message['context_id'])
    if (message['cancel'] === true) return this.#cancel(id)
    const known = this.#contexts.get(id)
    if (known === undefined && this.#contexts.size >= CONTEXTS_MAX)
      return this.#error(id, 429, 'Too many concurrent contexts', 'Your plan allows no more.')
    const { voice } = message as { readonly voice?: unknown }
    if (message['model_id'] === undefined || voice === undefined)
      return this.#error(id, 400, 'Invalid request', 'model_id and voice are required.')
    const objection = this.double.objection(JSON.stringify(message))
    if (objection !== null) return this.#error(id, 400, 'Invalid request', objection)
    const context = known ?? this.#open(id, message)
    context.text += textIn(message['transcript'])
    const more = message['continue'] === true
    const speak = (): void => {
      context.timer = null
      const { text } = context
      context.text = ''
      context.speech.say(text)
      if (!more) context.speech.end()
    }
    if (context.timer !== null) clearTimeout(context.timer)
    const bufferMs = Number(message['max_buffer_delay_ms'] ?? BUFFER_MS)
    if (!more || bufferMs === 0 || message['flush'] === true) speak()
    else context.timer = setTimeout(speak, bufferMs).unref()
  }

  #open(id: string, message: Json): Context {
    const { sample_rate: rateHz } = (message['output_format'] ?? {}) as { readonly sample_rate?: number }
    const timed = message['add_timestamps'] === true
    const speech = this.speech(rateHz ?? 24_000, {
      frame: ({ bytes, text, fromMs, ms }) => {
        this.sendJson({
          type: 'chunk',
          context_id: id,
          data: bytes.toString('base64'),
          done: false,
          status_code: 206,
          step_time: 1,
        })
        if (!timed) return
        for (const word of this.#words(id, text, fromMs, ms)) this.#tell(id, word)
      },
      done: () => {
        const last = this.#halves.get(id)
        if (timed && last !== undefined) this.#tell(id, { ...last, endMs: speech.spokenMs })
        this.#forget(id)
        this.sendJson({ type: 'done', context_id: id, done: true, status_code: 200 })
      },
    })
    const context = { speech, timer: null, text: '' }
    this.#contexts.set(id, context)
    return context
  }

  /** Words that have begun and not ended yet, by context. */
  readonly #halves = new Map<string, { readonly text: string; readonly startMs: number }>()

  #tell(id: string, word: { readonly text: string; readonly startMs: number; readonly endMs: number }): void {
    this.sendJson({
      type: 'timestamps',
      context_id: id,
      done: false,
      status_code: 206,
      word_timestamps: { words: [word.text], start: [word.startMs / 1000], end: [word.endMs / 1000] },
    })
  }

  /** @returns the words that end in this frame */
  #words(id: string, text: string, fromMs: number, ms: number): { text: string; startMs: number; endMs: number }[] {
    const each = ms / Math.max(1, text.length)
    const ended: { text: string; startMs: number; endMs: number }[] = []
    for (const [i, letter] of [...text].entries()) {
      const half = this.#halves.get(id)
      const atMs = fromMs + i * each
      if (letter !== ' ') this.#halves.set(id, { text: (half?.text ?? '') + letter, startMs: half?.startMs ?? atMs })
      else if (half !== undefined) {
        ended.push({ ...half, endMs: atMs })
        this.#halves.delete(id)
      }
    }
    return ended
  }

  #cancel(id: string): void {
    const context = this.#contexts.get(id)
    if (context === undefined) return
    this.double.cancelled++
    context.speech.stop()
    this.#forget(id)
    // With this fault, a running generation continues after a cancel.
    if (this.double.faults.lateSound)
      this.sendJson({
        type: 'chunk',
        context_id: id,
        data: Buffer.alloc(3200, 1).toString('base64'),
        done: false,
        status_code: 206,
        step_time: 1,
      })
  }

  #forget(id: string): void {
    const { timer = null } = this.#contexts.get(id) ?? {}
    if (timer !== null) clearTimeout(timer)
    this.#contexts.delete(id)
    this.#halves.delete(id)
  }

  #error(id: string, status_code: number, title: string, message: string): void {
    this.sendJson({ type: 'error', context_id: id, status_code, title, message, done: true })
  }
}

export const doubles = { cartesia: [[CartesiaVoiceDouble, 'CARTESIA_TTS_URL']] }

export const optionalFields: OptionalFieldsOf = {
  tts: {
    cartesia: [
      {
        wished: { ...SPEED, dictionary: { id: 'dict-Zawadi' } },
        fields: {
          add_timestamps: [/add_timestamps/, 'add_timestamps is not supported for this language.'],
          max_buffer_delay_ms: [/max_buffer_delay_ms/, 'max_buffer_delay_ms is not supported.'],
          pronunciation_dict_id: [/pronunciation_dict_id/, 'pronunciation_dict_id: no such dictionary.'],
          ...speedIn(/"speed"/, 'generation_config.speed is not supported for this model.'),
        },
      },
    ],
  },
}
