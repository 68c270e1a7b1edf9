import { LRUCache } from 'lru-cache'
import { GatewayError, messageOf } from '../core/errors.js'
import type { Flite, Speech } from './flite.js'
import { sentencesOf } from './spoken/sentences.js'
import { pronounced } from './spoken/pronunciations.js'
import type { Pronunciation } from './spoken/pronunciations.js'
import { spokenForm } from './spoken/spoken-form.js'

/**
 * Maximum number of sentences in one worker that wait to be synthesised in advance. If there are more, the oldest are
 * dropped.
 */
const SPEECH_PREPARE_MAX = 64

/**
 * Maximum magnitude of a sample that counts as silence: −50 dBFS. The voices' pauses are digital silence, or almost
 * silent.
 */
const SILENCE_LEVEL = 100
/**
 * Duration in ms of silence that stays at the start of a sentence. `TAIL_MS`: duration that stays at its end. The
 * voices have up to 200 ms of silence, which would delay the answer.
 */
const LEAD_MS = 10
const TAIL_MS = 160
/**
 * Factor for the duration of speech. It makes speech slower than the voices' own pace, so that callers understand
 * digits over a telephone line.
 */
const STRETCH = 1.08
/** Language in which all voices speak, for any text. */
const LANGUAGE = 'en'
/** Pause in ms after which a preparation is tried again if the worker was busy. */
const PREPARE_RETRY_MS = 40

interface SynthesisSink {
  /** Receives one sentence. The samples belong to the receiver. */
  sentence(speech: Speech, text: string, last: boolean): void
  done(): void
  failed(error: GatewayError): void
}

interface SynthesisManner {
  readonly voice: string
  readonly pronunciations: readonly Pronunciation[]
}

interface SynthesisText extends SynthesisManner {
  readonly text: string
}

interface Job {
  readonly sentences: readonly string[]
  readonly manner: SynthesisManner
  readonly sink: SynthesisSink
  next: number
}

/** Counters; plain fields. */
interface SynthesiserStats {
  sentencesMade: number
  sentencesFromCache: number
}

/**
 * Synthesises for all calls of one speech worker, one sentence in each turn of the event loop, so that callers' audio
 * can be decoded between two sentences. The first sentence of a text has priority over later sentences, because a
 * caller waits for it. A later sentence has time while the earlier sentences are played.
 */
export class Synthesiser {
  readonly stats: SynthesiserStats = { sentencesMade: 0, sentencesFromCache: 0 }
  readonly #flite: Flite
  /** True if no caller of this worker is speaking. Texts are prepared only then. */
  readonly #quiet: () => boolean
  readonly #cache: LRUCache<string, Speech>
  readonly #jobs: Job[] = []
  readonly #prepare: { readonly key: string; readonly text: string; readonly manner: SynthesisManner }[] = []
  #scheduled = false
  #timer: NodeJS.Timeout | null = null

  constructor(flite: Flite, options: { readonly cacheBytes: number; readonly quiet: () => boolean }) {
    this.#flite = flite
    this.#quiet = options.quiet
    this.#cache = new LRUCache({
      maxSize: Math.max(1, options.cacheBytes),
      sizeCalculation: (speech) => Math.max(1, speech.pcm.byteLength),
    })
  }

  /** @returns a function that ends the job. After its call the sink gets no more sentences. Idempotent */
  speak({ text, ...manner }: SynthesisText, sink: SynthesisSink): () => void {
    const job: Job = { sentences: sentencesOf(text), manner, sink, next: 0 }
    this.#jobs.push(job)
    this.#schedule()
    return () => {
      const at = this.#jobs.indexOf(job)
      if (at >= 0) this.#jobs.splice(at, 1)
    }
  }

  /**
   * Synthesises the sentences of `text` into the cache while the worker is idle. If more than SPEECH_PREPARE_MAX
   * sentences wait, the oldest are dropped.
   */
  prepare({ text, ...manner }: SynthesisText): void {
    for (const sentence of sentencesOf(text)) {
      const key = keyOf(sentence, manner)
      if (this.#cache.has(key) || this.#prepare.some((waiting) => waiting.key === key)) continue
      this.#prepare.push({ key, text: sentence, manner })
      if (this.#prepare.length > SPEECH_PREPARE_MAX) this.#prepare.shift()
    }
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#step()
      if (this.#jobs.length > 0) this.#schedule()
      else if (this.#prepare.length > 0) this.#prepareLater()
    })
  }

  #prepareLater(): void {
    if (this.#timer !== null) return
    this.#timer = setTimeout(
      () => {
        this.#timer = null
        this.#schedule()
      },
      this.#quiet() ? 0 : PREPARE_RETRY_MS,
    )
    this.#timer.unref()
  }

  #step(): void {
    let job: Job | undefined
    for (const candidate of this.#jobs) {
      if (job === undefined || candidate.next < job.next) job = candidate
    }
    if (job !== undefined) this.#speakNext(job)
    else if (this.#prepare.length > 0 && this.#quiet()) this.#prepareNext()
  }

  #speakNext(job: Job): void {
    const text = job.sentences[job.next++]
    const last = job.next >= job.sentences.length
    if (last) this.#jobs.splice(this.#jobs.indexOf(job), 1)
    try {
      if (text !== undefined) {
        const speech = this.#make(text, job.manner)
        job.sink.sentence({ pcm: speech.pcm.slice(), sampleRateHz: speech.sampleRateHz }, text, last)
      }
    } catch (error) {
      const at = this.#jobs.indexOf(job)
      if (at >= 0) this.#jobs.splice(at, 1)
      job.sink.failed(asFault(error))
      return
    }
    if (last) job.sink.done()
  }

  #prepareNext(): void {
    const next = this.#prepare.shift()
    if (next === undefined || this.#cache.has(next.key)) return
    try {
      this.#make(next.text, next.manner)
    } catch {
      // The error is reported when a call requests this sentence, not during the preparation.
    }
  }

  #make(text: string, manner: SynthesisManner): Speech {
    const key = keyOf(text, manner)
    const kept = this.#cache.get(key)
    if (kept !== undefined) {
      this.stats.sentencesFromCache++
      return kept
    }
    const speech = trimmed(
      this.#flite.speak(spokenForm(pronounced(text, manner.pronunciations, LANGUAGE)), manner.voice, {
        stretch: STRETCH,
      }),
    )
    this.stats.sentencesMade++
    this.#cache.set(key, speech)
    return speech
  }
}

function keyOf(sentence: string, { voice, pronunciations }: SynthesisManner): string {
  return `${voice}\n${pronounced(sentence, pronunciations, LANGUAGE)}`
}

function asFault(error: unknown): GatewayError {
  return error instanceof GatewayError ? error : new GatewayError('SPEECH_FAULT', messageOf(error), { cause: error })
}

/** Trims silence at both ends. At the start it would delay the answer; at the end it would add a pause. */
function trimmed(speech: Speech): Speech {
  const { pcm, sampleRateHz } = speech
  let first = 0
  while (first < pcm.length && Math.abs(pcm[first] as number) < SILENCE_LEVEL) first++
  if (first === pcm.length) return speech
  let last = pcm.length - 1
  while (last > first && Math.abs(pcm[last] as number) < SILENCE_LEVEL) last--
  const from = Math.max(0, first - (LEAD_MS * sampleRateHz) / 1000)
  const to = Math.min(pcm.length, last + 1 + (TAIL_MS * sampleRateHz) / 1000)
  return { pcm: pcm.slice(from, to), sampleRateHz }
}
