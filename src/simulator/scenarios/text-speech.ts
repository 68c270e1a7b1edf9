import type { MessagePort } from 'node:worker_threads'
import type { SpeechReply, SpeechRequest } from '../../speech/speech-protocol.js'
import { sentencesOf } from '../../speech/spoken-text.js'
import { TEXT_SPEECH_RATE_HZ, taggedSound } from './text-sound.js'

/** Set, not measured: near what speech workers with nothing else to do take for a sentence, and for the words of an utterance. */
const SYNTHESIS_MS = 60
const RECOGNITION_MS = 150
/** A call that says more than this has gone in circles for an hour. */
const SENTENCES_MAX = 5000

interface Due {
  readonly atMs: number
  readonly id: number
  readonly reply: SpeechReply
}

/** Where the words of a caller come from: those said since `sinceMs`, taken once. */
export interface WordSource {
  takeWords(sinceMs: number): string
}

/** Speech that began this long before the gateway noticed it is still part of the utterance. */
const PRE_ROLL_MS = 1500

/**
 * The speech worker of a call without audio, at the other end of the same port: it makes sound that carries the number
 * of its sentence, and hears the words that the caller has said, all of them. Time is what it is told.
 */
export class TextSpeech {
  readonly #sentences: string[]
  readonly #port: MessagePort
  readonly #words: WordSource
  readonly #nowMs: () => number
  readonly #due: Due[] = []
  readonly #utterances = new Map<number, number>()

  /** @param sentences  gets every sentence that is made, so that its place is its number */
  constructor(port: MessagePort, words: WordSource, nowMs: () => number, sentences: string[]) {
    this.#sentences = sentences
    this.#port = port
    this.#words = words
    this.#nowMs = nowMs
    port.on('message', (request: SpeechRequest) => { this.#receive(request) })
  }

  /** Answers what has become due. Once a tick. */
  tick(): void {
    const nowMs = this.#nowMs()
    for (let next = this.#due[0]; next !== undefined && next.atMs <= nowMs; next = this.#due[0]) {
      this.#due.shift()
      this.#port.postMessage(next.reply)
    }
  }

  close(): void {
    this.#due.length = 0
    this.#port.close()
  }

  #receive(request: SpeechRequest): void {
    switch (request.type) {
      case 'speak':
        this.#speak(request.id, request.text)
        return
      case 'cancel':
        this.#forget(request.id)
        return
      case 'utterance-start':
        this.#utterances.set(request.id, this.#nowMs())
        return
      case 'utterance-end': {
        const startedMs = this.#utterances.get(request.id)
        if (startedMs === undefined) return
        this.#utterances.delete(request.id)
        this.#later(RECOGNITION_MS, request.id, { type: 'heard', id: request.id, text: this.#words.takeWords(startedMs - PRE_ROLL_MS) })
        return
      }
      case 'utterance-abandon':
        this.#utterances.delete(request.id)
        this.#forget(request.id)
        return
      case 'prepare': case 'frame':
        // The sound is there when it is asked for, and the words do not come from samples.
        return
    }
  }

  #speak(id: number, text: string): void {
    const sentences = sentencesOf(text)
    for (const [index, sentence] of sentences.entries()) {
      if (this.#sentences.length >= SENTENCES_MAX) break
      const number = this.#sentences.push(sentence) - 1
      const pcm = taggedSound(number, sentence)
      this.#later(SYNTHESIS_MS * (index + 1), id, {
        type: 'speech', id, pcm, sampleRateHz: TEXT_SPEECH_RATE_HZ, text: sentence, last: index === sentences.length - 1,
      })
    }
    this.#later(SYNTHESIS_MS * sentences.length, id, { type: 'spoken', id })
  }

  #forget(id: number): void {
    for (let i = this.#due.length - 1; i >= 0; i--) if (this.#due[i]?.id === id) this.#due.splice(i, 1)
  }

  #later(ms: number, id: number, reply: SpeechReply): void {
    const atMs = this.#nowMs() + ms
    const at = this.#due.findIndex((due) => due.atMs > atMs)
    this.#due.splice(at < 0 ? this.#due.length : at, 0, { atMs, id, reply })
  }
}
