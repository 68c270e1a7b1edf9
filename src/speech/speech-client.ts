import type { Pronunciation } from './spoken/pronunciations.js'
import type { MessagePort } from 'node:worker_threads'
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

/** Characters of one text that is spoken. */
const SPEECH_TEXT_CHARS_MAX = 4000
/** New sessions that one call is given after its speech workers died. */
const SPEECH_REOPENS_MAX = 3

/** One sentence of speech. */
export interface SpeechChunk {
  /** s16 mono; the receiver's to keep. */
  readonly pcm: Int16Array
  readonly sampleRateHz: SampleRateHz
  /** The sentence as it was given. */
  readonly text: string
  /** No chunk follows. */
  readonly last: boolean
}

/** Speech that is being synthesised. */
export interface Speaking {
  /**
   * Resolves after the last chunk, also after `cancel`.
   * Rejects with SPEECH_FAULT (the worker died; retryable) or SPEECH_BUSY (too many or too long texts).
   */
  readonly done: Promise<void>
  /** No chunk arrives after it. Idempotent. */
  cancel(): void
}

/**
 * Multiplied by the number of faults so far. A worker is replaced in about a second, and its sessions wait for the
 * models.
 */
const REOPEN_PAUSE_MS = 50
const DIED = 'the speech worker of this call died'

/**
 * The call's end of a speech session, in the media worker: it sends text and samples to a speech worker and receives
 * speech and words. The port keeps the thread alive only while a result is pending.
 *
 * Several parts of a call may use its client at once (the agent and the gateway's own phrases). Its creator closes it.
 */
export class SpeechClient {
  /** Counters of one call's speech; plain fields. */
  readonly stats = {
    utterances: 0,
    /** Samples beyond the longest utterance, or without a worker. */
    samplesDropped: 0,
    sentences: 0,
    /** Requests refused because too many were under way. */
    refused: 0,
    faults: 0,
    reopened: 0,
  }
  readonly #options: SpeechClientOptions
  readonly #pronunciations: readonly Pronunciation[]
  readonly #speaking = new Map<number, SpeakingState>()
  readonly #utterances = new Map<number, UtteranceState>()
  /** Null while there is no worker: between a fault and the new session, and after the end. */
  #port: MessagePort | null = null
  /** Resolves with true when a new session is open, with false when there will be none. */
  #reopening: Promise<boolean> | null = null
  #nextId = 1
  #closed = false

  constructor(options: SpeechClientOptions) {
    this.#options = options
    this.#pronunciations = options.pronunciations ?? []
    this.#adopt(options.port)
  }

  /** True while the session is open, or a new one is being opened. */
  get alive(): boolean {
    return !this.#closed && (this.#port !== null || this.#reopening !== null)
  }

  /** Resolves with true when a session is open again after a fault, with false when there will be none. */
  async recovered(): Promise<boolean> {
    if (this.#reopening !== null) return this.#reopening
    return this.#port !== null && !this.#closed
  }

  /** Speaks `text` sentence by sentence; the first is delivered while the others are being synthesised. */
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
    // The caller may ignore `done`.
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

  /** A hint that lets the worker synthesise this text ahead of time, when it is idle. Never fails. */
  prepare(text: string, voice: string): void {
    if (text.length <= SPEECH_TEXT_CHARS_MAX)
      this.#post({ type: 'prepare', text, voice, pronunciations: this.#pronunciations })
  }

  /**
   * The caller started to speak; `grammar` is a JSGF document with one public rule.
   * @param onPartial  called with the words so far, about three times a second while the utterance lasts
   * @param options  `spare`: only if a decoder is free, and until another utterance needs it; `check`: where a
   *   number may be said
   * @throws GatewayError SPEECH_BUSY when this call has too many utterances under way, SPEECH_FAULT without a worker.
   */
  startUtterance(
    grammar: string,
    words: readonly DictionaryEntry[] = [],
    onPartial: (soFar: PartlyRecognised) => void = () => undefined,
    { spare = false, check = null }: { readonly spare?: boolean; readonly check?: DigitCheck | null } = {},
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

  /** Ends the session; pending requests resolve empty. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const state of this.#speaking.values()) state.resolve()
    this.#speaking.clear()
    for (const state of this.#utterances.values()) state.resolve?.({ text: '' })
    this.#utterances.clear()
    this.#port?.close()
    this.#port = null
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
    this.#port.postMessage({ type: 'frame', id: state.id, pcm: copy } satisfies SpeechRequest, [copy.buffer])
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
    if (this.#speaking.size + this.#utterances.size > 0) this.#port.ref()
    this.#port.postMessage(request)
  }

  /** A port without a pending result must not keep the thread alive. */
  #unrefWhenIdle(): void {
    if (this.#speaking.size + this.#utterances.size === 0) this.#port?.unref()
  }

  #adopt(port: MessagePort): void {
    this.#port = port
    port.on('message', (reply: SpeechReply) => this.#receive(reply))
    port.on('close', () => {
      if (this.#port === port) this.#fault()
    })
    port.unref()
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
    }
    this.#unrefWhenIdle()
  }

  #settle(id: number, outcome: Recognised | GatewayError): void {
    const state = this.#utterances.get(id)
    if (state === undefined) return
    this.#utterances.delete(id)
    state.outcome = outcome
    if (outcome instanceof GatewayError) state.reject?.(outcome)
    else state.resolve?.(outcome)
  }

  /** The other end closed the port: the worker died. */
  #fault(): void {
    this.#port = null
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
    // The main thread may see the death later than this thread, and would place the session on the dying worker.
    await new Promise((resolve) => setTimeout(resolve, REOPEN_PAUSE_MS * this.stats.faults))
    try {
      port = await reopen()
    } catch {
      // No session is available; the next request rejects.
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
  /** 8 kHz mono samples, copied before return. Samples beyond the longest utterance are dropped and counted. */
  push(pcm: Int16Array): void
  /**
   * The caller stopped. Resolves with the words, empty when none fit the grammar.
   * Rejects with SPEECH_BUSY (no decoder became free; retryable), SPEECH_FAULT (the worker died; retryable) or
   * AGENT_INVALID (the grammar cannot be used, for example a word that is in no dictionary).
   */
  end(): Promise<Recognised>
  /** Drops the result and frees the decoder. Idempotent, safe after `end`, which then resolves without words. */
  abandon(): void
}

interface SpeechClientOptions {
  /** From `SpeechPool.openSession`. The client owns it and closes it. */
  readonly port: MessagePort
  /** Names that are said in another way than they are written; absent: none. */
  readonly pronunciations?: readonly Pronunciation[]
  /**
   * Requests another session from the main thread when this one's worker has died. Without it every request after the
   * first fault rejects with SPEECH_FAULT.
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

interface UtteranceState {
  readonly id: number
  readonly onPartial: (soFar: PartlyRecognised) => void
  samples: number
  ended: boolean
  /** The result, where it arrived before `end` was called. */
  outcome: Recognised | GatewayError | null
  resolve: ((heard: Recognised) => void) | null
  reject: ((error: GatewayError) => void) | null
}
