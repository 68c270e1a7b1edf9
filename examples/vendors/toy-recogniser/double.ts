import type { IncomingHttpHeaders } from 'node:http'
import type { WebSocket } from 'ws'
import { NOT_FOUND, type Refusal } from '../../simulator/vendors/double.js'
import { RecogniserSession, type SpokenWord } from '../../simulator/vendors/recogniser-double.js'
import { ServiceDouble } from '../../simulator/vendors/service-double.js'
import type { OptionalFieldsOf } from '../../simulator/vendors/optional-fields.js'
import { keyRefusal } from '../self-hosted/key-double.js'

/** A double of Toy Recogniser on loopback. It refuses another path, another key, and audio before the model's name. */
class ToyRecogniserDouble extends ServiceDouble<ToyRecogniserSession> {
  protected override refusalOf({ pathname }: URL, headers: IncomingHttpHeaders): Refusal | null {
    return pathname === '/words' ? keyRefusal(this.key, headers) : NOT_FOUND
  }

  protected override accept(client: WebSocket, { searchParams }: URL): ToyRecogniserSession {
    return new ToyRecogniserSession(client, searchParams, this)
  }
}

class ToyRecogniserSession extends RecogniserSession {
  protected override audio(bytes: Buffer): void {
    if (this.ear === null) this.sendJson({ error: 'audio before model and rate' })
    else this.ear.hear(this.samples(bytes, 'pcm16'))
  }

  protected override text(text: string): void {
    const { model, rateHz, end } = JSON.parse(text) as { model?: string; rateHz?: number; end?: boolean }
    if (end === true)
      return this.end((words) => {
        this.#tell(words, true)
        this.client.close(1000)
      })
    if (model === undefined || rateHz === undefined) this.sendJson({ error: 'no model, or no rate' })
    else this.ear = this.earAt(rateHz)
  }

  protected override words(words: readonly SpokenWord[]): void {
    this.#tell(words, false)
  }

  #tell(words: readonly SpokenWord[], over: boolean): void {
    this.sendJson({ text: words.map(({ text }) => text).join(' '), over })
  }
}

export const doubles = { 'toy-recogniser': [[ToyRecogniserDouble, 'TOY_RECOGNISER_URL']] }

export const optionalFields: OptionalFieldsOf = { stt: { 'toy-recogniser': [] } }
