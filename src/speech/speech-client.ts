import type { Pronunciation } from './spoken/pronunciations.js'
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads'
import { GatewayError } from '../core/errors.js'
import { SPEECH_SAYINGS_MAX, SPEECH_UTTERANCES_PER_CALL_MAX, SPEECH_UTTERANCE_SAMPLES_MAX } from '../core/limits.js'
import type { SampleRateHz } from '../core/units.js'
import type {
  DictionaryEntry,
  DigitCheck,
  PartlyRecognised,
  Recognised,
  SpeechReply,
  SpeechRequest,
} from './speech-protocol.js'

/** Maximum number of characters of one text for speech. */
const SPEECH_TEXT_CHARS_MAX = 4000
/** Maximum number of new sessions of one call, each after the death of its speech worker. */
const SPEECH_REOPENS_MAX = 3

/** One sentence of speech. */
export interface SpeechChunk {
  /** Samples, s16 mono. They belong to the receiver. */
  readonly pcm: Int16Array
  readonly sampleRateHz: SampleRateHz
  /** The sentence as it is written in the client's text. */
  readonly text: string
  /** True if this is the last chunk. */
  readonly last: boolean
}

/** Speech that is being synthesised. */
export interface Speaking {
  /**
   * Resolves after the last chunk, or after `cancel`. Rejects with SPEECH_FAULT (the worker died; retryable) or
   * SPEECH_BUSY (too many or too long texts).
   */
  readonly done: Promise<void>
  /** Stops the speech: no chunk arrives afterwards. Idempotent. */
  cancel(): void
}

/**
 * Pause in ms before a new session is requested. It is multiplied by the number of faults so far. A worker is replaced
 * in about a second, and its sessions wait for the models.
 */
const REOPEN_PAUSE_MS = 50
const DIED = 'the speech worker of this call died'

/**
 * The call's end of a speech session, in the media worker. The client sends text and samples to a speech worker, and
 * receives speech and words. The port keeps the thread alive only while a result is pending.
 *
 * Two parts of a call may use its client at the same time: the agent, and the gateway's own phrases. The code that
 * created the client closes it.
 */
export class SpeechClient {
  /** Counters of one call's speech; plain fields. */
  readonly stats = {
    utterances: 0,
    /**
     * Number of samples that were dropped. They came after the maximum duration of an utterance, or while there was no
     * worker.
     */
    samplesDropped: 0,
    sentences: 0,
    /** Number of requests that were refused, because too many were running. */
    refused: 0,
    faults: 0,
    reopened: 0,
  }
  readonly #options: SpeechClientOptions
  readonly #pronunciations: readonly Pronunciation[]
  readonly #speaking = new Map<number, SpeakingState>()
  readonly #utterances = new Map<number, UtteranceState>()
  /**
   * Port of the session. Null while the session has no worker: between a fault and the new session, and after the end.
   */
  #port: MessagePort | null = null
  /** Port for utterances, if another thread recognises them; null if `#port` is used. */
  #recogniser: MessagePort | null = null
  /**
   * Promise of a new session after a fault: true if it is open, false if no session can be opened. Null if no session
   * is being reopened.
   */
  #reopening: Promise<boolean> | null = null
  #nextId = 1
  #closed = false

  constructor(options: SpeechClientOptions) {
    this.#options = options
    this.#pronunciations = options.pronunciations ?? []
    this.#adopt(options.port)
  }

  /** True while the session is open or is being reopened. */
  get alive(): boolean {
    return !this.#closed && (this.#port !== null || this.#reopening !== null)
  }

  /**
   * Resolves with true if a session is open, perhaps again after a fault. Resolves with false if no session can be
   * opened.
   */
  async recovered(): Promise<boolean> {
    if (this.#reopening !== null) return this.#reopening
    return this.#port !== null && !this.#closed
  }

  /**
   * Speaks `text` sentence by sentence. The first sentence is delivered while the next sentences are being synthesised.
   */
  speak(text: string, voice: string, onChunk: (chunk: SpeechChunk) => void): Speaking {
    const id = this.#nextId++
    let cancelled = false
    const done = new Promise<void>((resolve, reject) => {
      const refusal = this.#refuseSpeaking(text)
      if (refusal !== null) {
        reject(refusal)
        return
      }
      this.#speaking.set(id, { id, onChunk, resolve, reject })
      this.#post({ type: 'speak', id, text, voice, pronunciations: this.#pronunciations })
    })
    // The code that called `speak` may ignore `done`.
    done.catch(() => undefined)
    return {
      done,
      cancel: () => {
        if (cancelled) return
        cancelled = true
        const state = this.#speaking.get(id)
        if (state === undefined) return
        this.#speaking.delete(id)
        this.#post({ type: 'cancel', id })
        this.#unrefWhenIdle()
        state.resolve()
      },
    }
  }

  /**
   * Announces a text that may be spoken later. An idle worker may then synthesise it in advance. The method never
   * fails.
   */
  prepare(text: string, voice: string): void {
    if (text.length <= SPEECH_TEXT_CHARS_MAX)
      this.#post({ type: 'prepare', text, voice, pronunciations: this.#pronunciations })
  }

  /**
   * Starts an utterance, because the caller started to speak. `grammar` is a JSGF document with one public rule.
   * @param onPartial  called with the words so far, about three times a second during the utterance
   * @param options  `spare`: the utterance gets a decoder only if one is free, and only until another utterance needs
   * the decoder. `check`: second recognition of a number; set if the caller may say a number. `onLost`: called if the
   * utterance fails before its end
   * @throws GatewayError SPEECH_BUSY if this call has too many utterances running, SPEECH_FAULT if there is no worker.
   */
  startUtterance(
    grammar: string,
    words: readonly DictionaryEntry[] = [],
    onPartial: (soFar: PartlyRecognised) => void = () => undefined,
    { spare = false, check = null, onLost = () => undefined }: UtteranceOptions = {},
  ): Utterance {
    if (this.#port === null) throw new GatewayError('SPEECH_FAULT', DIED, { retryable: this.alive })
    if (this.#utterances.size >= SPEECH_UTTERANCES_PER_CALL_MAX) {
      this.stats.refused++
      throw new GatewayError('SPEECH_BUSY', `this call has ${SPEECH_UTTERANCES_PER_CALL_MAX} utterances under way`, {
        retryable: true,
      })
    }
    const id = this.#nextId++
    const state: UtteranceState = {
      id,
      onPartial,
      onLost,
      samples: 0,
      ended: false,
      outcome: null,
      resolve: null,
      reject: null,
    }
    this.#utterances.set(id, state)
    this.stats.utterances++
    this.#post({ type: 'utterance-start', id, grammar, words, spare, check })
    return {
      push: (pcm) => this.#pushTo(state, pcm),
      end: () => this.#endOf(state),
      abandon: () => this.#abandon(state),
    }
  }

  /** Ends the session. Pending requests resolve without a result. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const state of this.#speaking.values()) state.resolve()
    this.#speaking.clear()
    for (const state of this.#utterances.values()) state.resolve?.({ text: '' })
    this.#utterances.clear()
    this.#closePorts()
  }

  /** Closing either port ends the session. */
  #closePorts(): void {
    const ports = [this.#port, this.#recogniser]
    this.#port = this.#recogniser = null
    for (const port of ports) port?.close()
  }

  #refuseSpeaking(text: string): GatewayError | null {
    if (this.#port === null) return new GatewayError('SPEECH_FAULT', DIED, { retryable: this.alive })
    if (text.length > SPEECH_TEXT_CHARS_MAX || this.#speaking.size >= SPEECH_SAYINGS_MAX) {
      this.stats.refused++
      return new GatewayError(
        'SPEECH_BUSY',
        `cannot speak ${text.length} characters with ${this.#speaking.size} texts under way;` +
          ` ${SPEECH_TEXT_CHARS_MAX} characters and ${SPEECH_SAYINGS_MAX} texts are allowed`,
      )
    }
    return null
  }

  #pushTo(state: UtteranceState, pcm: Int16Array): void {
    if (state.ended || state.outcome !== null || this.#utterances.get(state.id) !== state) return
    if (this.#port === null || state.samples + pcm.length > SPEECH_UTTERANCE_SAMPLES_MAX) {
      this.stats.samplesDropped += pcm.length
      return
    }
    state.samples += pcm.length
    const copy = pcm.slice()
    const port = this.#recogniser ?? this.#port
    port.postMessage({ type: 'frame', id: state.id, pcm: copy } satisfies SpeechRequest, [copy.buffer])
  }

  #endOf(state: UtteranceState): Promise<Recognised> {
    return new Promise((resolve, reject) => {
      if (state.outcome instanceof GatewayError) {
        reject(state.outcome)
      } else if (state.outcome !== null || this.#utterances.get(state.id) !== state) {
        resolve(state.outcome ?? { text: '' })
      } else {
        state.resolve = resolve
        state.reject = reject
        if (!state.ended) this.#post({ type: 'utterance-end', id: state.id })
        state.ended = true
      }
    })
  }

  #abandon(state: UtteranceState): void {
    if (!this.#utterances.delete(state.id)) return
    this.#post({ type: 'utterance-abandon', id: state.id })
    this.#unrefWhenIdle()
    state.resolve?.({ text: '' })
  }

  #post(request: SpeechRequest): void {
    if (this.#port === null) return
    if (this.#speaking.size + this.#utterances.size > 0) {
      this.#port.ref()
      this.#recogniser?.ref()
    }
    const speaks = request.type === 'speak' || request.type === 'cancel' || request.type === 'prepare'
    ;(speaks ? this.#port : (this.#recogniser ?? this.#port)).postMessage(request)
  }

  /** Allows the thread to end while no result is pending. */
  #unrefWhenIdle(): void {
    if (this.#speaking.size + this.#utterances.size > 0) return
    this.#port?.unref()
    this.#recogniser?.unref()
  }

  #adopt(port: MessagePort): void {
    const first = receiveMessageOnPort(port)?.message as SpeechReply | undefined
    this.#port = port
    this.#recogniser = first?.type === 'recogniser' ? first.port : null
    for (const one of [port, this.#recogniser]) {
      one?.on('message', (reply: SpeechReply) => this.#receive(reply))
      one?.on('close', () => {
        if (this.#port === one || this.#recogniser === one) this.#fault()
      })
      one?.unref()
    }
  }

  #receive(reply: SpeechReply): void {
    switch (reply.type) {
      case 'speech': {
        const state = this.#speaking.get(reply.id)
        if (state === undefined) return
        this.stats.sentences++
        state.onChunk({ pcm: reply.pcm, sampleRateHz: reply.sampleRateHz, text: reply.text, last: reply.last })
        return
      }
      case 'spoken': {
        const state = this.#speaking.get(reply.id)
        this.#speaking.delete(reply.id)
        state?.resolve()
        break
      }
      case 'partial': {
        const state = this.#utterances.get(reply.id)
        if (state !== undefined && !state.ended)
          state.onPartial({ text: reply.text, fit: reply.fit ?? 1, wordMs: reply.wordMs ?? [], ofMs: reply.ofMs })
        return
      }
      case 'heard':
        this.#settle(reply.id, { text: reply.text, fit: reply.fit ?? 1, wordMs: reply.wordMs ?? [] })
        break
      case 'failed': {
        const error = new GatewayError(reply.code, reply.message, { retryable: reply.code === 'SPEECH_BUSY' })
        const state = this.#speaking.get(reply.id)
        this.#speaking.delete(reply.id)
        state?.reject(error)
        this.#settle(reply.id, error)
        break
      }
      case 'recogniser':
        // A recogniser's port may come only in the first message, which `#adopt` has received. So this port is not
        // used.
        reply.port.close()
        return
    }
    this.#unrefWhenIdle()
  }

  #settle(id: number, outcome: Recognised | GatewayError): void {
    const state = this.#utterances.get(id)
    if (state === undefined) return
    this.#utterances.delete(id)
    state.outcome = outcome
    if (outcome instanceof GatewayError && !state.ended) state.onLost()
    if (outcome instanceof GatewayError) state.reject?.(outcome)
    else state.resolve?.(outcome)
  }

  /** Handles the death of the worker, which closed the port. */
  #fault(): void {
    this.#closePorts()
    if (this.#closed) return
    this.stats.faults++
    const { reopen } = this.#options
    if (reopen !== undefined && this.stats.faults <= SPEECH_REOPENS_MAX) this.#reopening = this.#openAgain(reopen)
    this.#options.onFault?.()
    const error = new GatewayError('SPEECH_FAULT', DIED, { retryable: this.alive })
    for (const state of this.#speaking.values()) state.reject(error)
    this.#speaking.clear()
    for (const id of [...this.#utterances.keys()]) this.#settle(id, error)
  }

  async #openAgain(reopen: () => Promise<MessagePort>): Promise<boolean> {
    let port: MessagePort
    // The main thread may notice the worker's death later than this thread. Without a pause, it would place the session
    // on the dead worker.
    await new Promise((resolve) => setTimeout(resolve, REOPEN_PAUSE_MS * this.stats.faults))
    try {
      port = await reopen()
    } catch {
      // No session is available, so the next request rejects.
      this.#reopening = null
      return false
    }
    this.#reopening = null
    if (this.#closed) {
      port.close()
      return false
    }
    this.stats.reopened++
    this.#adopt(port)
    return true
  }
}

/** A caller's utterance that is being recognised while it is spoken. */
export interface Utterance {
  /**
   * Adds samples, 8 kHz mono. They are copied before the method returns. Samples after the maximum duration of an
   * utterance are dropped and counted.
   */
  push(pcm: Int16Array): void
  /**
   * Ends the utterance. Resolves with the words; the text is empty if no words match the grammar. Rejects with
   * SPEECH_BUSY (no decoder became free; retryable) or SPEECH_FAULT (the worker died; retryable). Rejects with
   * AGENT_INVALID if the grammar cannot be used, for example because a word is in no dictionary.
   */
  end(): Promise<Recognised>
  /**
   * Drops the result and frees the decoder. Idempotent. It may be called after `end`, which then resolves without
   * words.
   */
  abandon(): void
}

interface SpeechClientOptions {
  /** Port from `SpeechPool.openSession`. The client owns and closes the port. */
  readonly port: MessagePort
  /** Names that are spoken in another way than they are written. If absent, all names are spoken as written. */
  readonly pronunciations?: readonly Pronunciation[]
  /**
   * Requests another session from the main thread, after this session's worker has died. If absent, every request after
   * the first fault rejects with SPEECH_FAULT.
   */
  readonly reopen?: () => Promise<MessagePort>
  /** Called at each fault, before pending requests reject. */
  readonly onFault?: () => void
}

interface SpeakingState {
  readonly id: number
  readonly onChunk: (chunk: SpeechChunk) => void
  readonly resolve: () => void
  readonly reject: (error: GatewayError) => void
}

interface UtteranceOptions {
  readonly spare?: boolean
  readonly check?: DigitCheck | null
  readonly onLost?: () => void
}

interface UtteranceState {
  readonly id: number
  readonly onLost: () => void
  readonly onPartial: (soFar: PartlyRecognised) => void
  samples: number
  ended: boolean
  /** Result that arrived before `end` was called; otherwise null. */
  outcome: Recognised | GatewayError | null
  resolve: ((heard: Recognised) => void) | null
  reject: ((error: GatewayError) => void) | null
}
