import type { WebSocket } from 'ws'
import { RecogniserSession, type SpokenWord } from '../../simulator/vendors/recogniser-double.js'
import { ServiceDouble } from '../../simulator/vendors/service-double.js'
import type { OptionalFieldsOf } from '../../simulator/vendors/optional-fields.js'

/** Number of words after which the double treats the caller's pause as the end of an utterance. */
const SEGMENT_WORDS = 3
/** vosk compares this text literally. */
const EOF = '{"eof" : 1}'
const VOSK_RATE_HZ = 8000
const SHERPA_RATE_HZ = 16_000

abstract class OwnServerSession extends RecogniserSession {
  protected hear(pcm: Int16Array, rateHz: number): void {
    this.ear ??= this.earAt(rateHz)
    this.ear.hear(pcm)
  }

  protected override end(told: (words: readonly SpokenWord[]) => void): void {
    if (this.ear === null) told([])
    else super.end(told)
  }
}

/** vosk-server on loopback, written from its source: one reply per message, and a close after `eof`. */
export class VoskDouble extends ServiceDouble<VoskSession> {
  protected override accept(client: WebSocket, { searchParams }: URL): VoskSession {
    return new VoskSession(client, searchParams, this)
  }
}

class VoskSession extends OwnServerSession {
  #rateHz = VOSK_RATE_HZ
  #words: readonly SpokenWord[] = []
  #settled = 0

  protected override audio(bytes: Buffer): void {
    this.hear(this.samples(bytes, 'pcm16'), this.#rateHz)
    if (this.double.faults.deaf || this.client.readyState !== this.client.OPEN) return
    const open = this.#words.slice(this.#settled)
    if (open.length <= SEGMENT_WORDS) return this.sendJson({ partial: textOf(open) })
    this.#settled += SEGMENT_WORDS
    this.#result(open.slice(0, SEGMENT_WORDS))
  }

  protected override text(text: string): void {
    if (text.includes('config')) {
      const { config } = JSON.parse(text) as { config: { sample_rate?: number } }
      this.#rateHz = config.sample_rate ?? this.#rateHz
      return
    }
    if (text !== EOF) return
    this.end((words) => {
      this.#result(words.slice(this.#settled))
      this.client.close(1000)
    })
  }

  protected override words(words: readonly SpokenWord[]): void {
    this.#words = words
  }

  #result(words: readonly SpokenWord[]): void {
    this.sendJson({
      ...(words.length === 0
        ? {}
        : {
            result: words.map(({ text, startMs, endMs }) => ({
              conf: 1,
              start: startMs / 1000,
              end: endMs / 1000,
              word: text,
            })),
          }),
      text: textOf(words),
    })
  }
}

/** The online WebSocket server of sherpa-onnx on loopback, written from its source. */
export class SherpaDouble extends ServiceDouble<SherpaSession> {
  protected override accept(client: WebSocket, { searchParams }: URL): SherpaSession {
    return new SherpaSession(client, searchParams, this)
  }
}

class SherpaSession extends OwnServerSession {
  protected override audio(bytes: Buffer): void {
    const pcm = new Int16Array(bytes.length / Float32Array.BYTES_PER_ELEMENT)
    for (let i = 0; i < pcm.length; i++) pcm[i] = Math.round(bytes.readFloatLE(4 * i) * 32_768)
    this.hear(pcm, SHERPA_RATE_HZ)
  }

  protected override text(text: string): void {
    if (text !== 'Done') return
    this.end((words) => {
      this.#tell(words, true)
      this.sendRaw('Done!')
    })
  }

  protected override words(words: readonly SpokenWord[]): void {
    this.#tell(words, false)
  }

  /** Reports the words by segment: all segments except the last are final. */
  #tell(words: readonly SpokenWord[], eof: boolean): void {
    for (let at = 0; at === 0 || at < words.length; at += SEGMENT_WORDS)
      this.sendJson({
        text: textOf(words.slice(at, at + SEGMENT_WORDS)),
        segment: at / SEGMENT_WORDS,
        is_final: eof || at + SEGMENT_WORDS < words.length,
        is_eof: eof && at + SEGMENT_WORDS >= words.length,
      })
  }
}

function textOf(words: readonly SpokenWord[]): string {
  return words.map(({ text }) => text).join(' ')
}

export const doubles = { vosk: [[VoskDouble, 'VOSK_URL']], sherpa: [[SherpaDouble, 'SHERPA_URL']] }

export const optionalFields: OptionalFieldsOf = { stt: { vosk: [], sherpa: [] } }
