import { SPEECH_MS_PER_CHARACTER } from '../../call/spoken/transcript.js'
import { samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import { pronounced } from '../../speech/spoken/pronunciations.js'
import { spokenForm } from '../../speech/spoken/spoken-form.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import type { ServiceList } from './service-list.js'
import { markedText } from './conversation.js'
import type { SpokenSentence } from './conversation.js'
import { Sentences } from './sentences.js'
import { ServiceFault } from './service-fault.js'
import type { SpeechManner, TextToSpeech, Utterance } from './service.js'

interface SpeakingListener {
  audio(pcm: Int16Array, sampleRateHz: SampleRateHz): void
  /** The voice refused the text as it was wished, and speaks it plainly (`SpeechManner.plain`). */
  refusesWishes?(): void
  /** These sentences sound or have sounded. Called before the first samples of each, and when one has grown. */
  sounds(sentence: SpokenSentence): void
}

/**
 * One answer's way through the voice: its text is cut into the pieces that the service wants, and given to it while it is
 * being written. If the service fails in the middle, the next one goes on with the words that were not spoken yet.
 */
export class Speaking {
  /** Resolves when all was delivered; rejects with ServiceFault, after `cancel` with any error. */
  readonly done: Promise<void>
  audioMs = 0
  readonly #voices: ServiceList<TextToSpeech>
  readonly #listener: SpeakingListener
  #manner: SpeechManner
  #sentences = new Sentences()
  #ended = false
  #cut = false
  #cancelled = false
  #failures = 0
  #run: Run | null = null
  /** The last one, whose sound may still be played. */
  #delivered: Run | null = null
  #resolve: () => void = () => undefined
  #reject: (error: unknown) => void = () => undefined

  constructor(voices: ServiceList<TextToSpeech>, manner: SpeechManner, listener: SpeakingListener) {
    this.#voices = voices
    this.#manner = manner
    this.#listener = listener
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Whoever waits for it does so later.
    this.done.catch(() => undefined)
    this.#begin()
  }

  /** @returns what of it, and of what was held before, is speech */
  write(text: string): string {
    const speech = this.#sentences.add(text)
    this.#pass()
    return speech
  }

  /** Another model goes on with the text. */
  goOn(): void {
    this.#sentences.goOn()
  }

  /** Nothing was written that can be spoken. */
  get wordless(): boolean {
    return this.#sentences.wordless
  }

  /** As if nothing had been written. */
  reset(): void {
    const { unit } = this.#sentences
    this.#sentences = new Sentences()
    this.#sentences.unit = unit
  }

  /** No text follows. @param cut  it broke off, and ends at its last whole clause */
  end(cut = false): void {
    this.#ended = true
    this.#cut = cut
    this.#pass()
  }

  /**
   * Takes effect at once: no more of it is delivered, and `done` rejects unless all was delivered.
   * @param playedMs  how much of its sound the caller heard; null where that is not known
   * @param heard  called later with the heard words of its last sentence, by a voice that knows
   */
  cancel(playedMs: number | null, heard?: (sentence: SpokenSentence, words: string) => void): void {
    this.#cancelled = true
    this.#reject(new Error('cancelled'))
    const run = this.#run ?? this.#delivered
    this.#run = null
    this.#delivered = null
    const sentence = run?.current ?? null
    // When two services spoke an answer, this one knows the second part.
    const ownMs = playedMs === null || run === null ? null : Math.max(0, playedMs - (this.audioMs - run.audioMs))
    run?.speech?.cancel(ownMs, (words) => {
      if (sentence !== null) heard?.(sentence, words)
    })
  }

  #begin(): void {
    const voice = this.#voices.current
    if (voice !== null) return this.#use(voice)
    this.#voices.open(false).then(
      (opened) => {
        if (!this.#cancelled && this.#run === null) this.#use(opened)
      },
      (error: unknown) => this.#reject(error),
    )
  }

  #use(voice: TextToSpeech): void {
    this.#sentences.unit = voice.input === 'words' ? 'words' : 'sentences'
    const run = new Run(voice, this.#manner.language, this.#listener)
    this.#run = run
    const over = (): boolean => this.#run !== run
    run.speech = voice.begin(this.#manner, {
      clause: (index) => {
        if (!over()) run.begin(index)
      },
      audio: (pcm, sampleRateHz) => {
        if (over()) return
        const ms = samplesToMs(pcm.length, sampleRateHz)
        run.sounds(ms)
        this.audioMs += ms
        this.#listener.audio(pcm, sampleRateHz)
      },
      marks: (marks) => {
        if (!over() && run.current !== null) (run.current.marks ??= []).push(...marks)
      },
      done: () => {
        if (over()) return
        if (run.current !== null) run.current.open = false
        this.#voices.worked(voice)
        this.#run = null
        this.#delivered = run
        if (this.#manner.plain === true) this.#listener.refusesWishes?.()
        this.#resolve()
      },
      failed: (fault, lost) => {
        if (!over()) this.#failed(run, fault, lost)
      },
    })
    this.#pass()
  }

  /** Gives the service what was written, as far as it makes whole pieces. */
  #pass(): void {
    const run = this.#run
    if (run?.speech == null) return
    const pieces = this.#sentences.pieces()
    if (this.#ended) pieces.push(...this.#sentences.flush(this.#cut))
    for (const piece of pieces) {
      const { language, pronunciations = [] } = this.#manner
      const spoken = spokenForm(pronounced(piece, pronunciations, language), language)
      run.add(piece, spoken)
      run.speech.text(piece.endsWith(' ') ? `${spoken} ` : spoken)
      if (this.#run !== run) return
    }
    if (!this.#ended || run.ended) return
    run.ended = true
    run.speech.end()
  }

  #failed(run: Run, fault: VendorFault, lost: boolean): void {
    this.#run = null
    // A wish never costs the work: what a service refuses may be refused for what is optional in it.
    if (fault.code === 'bad_request' && !lost && run.voice.wishes?.(this.#manner) === true) {
      this.#manner = { ...this.#manner, plain: true }
      this.#sentences.unread(run.takeUnspoken())
      return this.#use(run.voice)
    }
    const more = this.#voices.failed(run.voice, fault, lost)
    this.#sentences.unread(run.takeUnspoken())
    if (more && ++this.#failures <= this.#voices.count) this.#begin()
    else this.#reject(new ServiceFault(fault))
  }
}

/** One utterance of one service. */
class Run {
  readonly voice: TextToSpeech
  readonly #language: string
  readonly #listener: SpeakingListener
  speech: Utterance | null = null
  ended = false
  audioMs = 0
  /** The sentence that sounds; a flow of words is one sentence that grows. */
  current: SpokenSentence | null
  readonly #flow: SpokenSentence | null
  #flows = false
  /** Pieces of a flow: the words of its pieces as they are written, and as they are spoken. */
  readonly #pieces: { readonly written: readonly string[]; readonly spoken: readonly string[] }[] = []
  /** Clauses that a service was given, and the one that sounds. */
  readonly #given: SpokenSentence[] = []
  #at = -1

  constructor(voice: TextToSpeech, language: string, listener: SpeakingListener) {
    this.voice = voice
    this.#language = language
    this.#listener = listener
    this.#flow = voice.input === 'clauses' ? null : { text: '', ms: 0, open: true }
    this.current = this.#flow
  }

  add(piece: string, spoken: string): void {
    this.#pieces.push({ written: wordsOf(piece), spoken: wordsOf(spoken) })
    if (this.#flow === null) return void this.#given.push({ text: piece, ms: 0 })
    this.#flow.text += /\S$/.test(this.#flow.text) ? ` ${piece}` : piece
    if (this.#flows) this.#listener.sounds(this.#flow)
  }

  /** The clause with this number begins to sound. */
  begin(index: number): void {
    this.#at = index
    this.current = this.#given[index] ?? null
    if (this.current !== null) this.#listener.sounds(this.current)
  }

  /** So much more of what sounds is delivered. */
  sounds(ms: number): void {
    if (this.#flow !== null && !this.#flows) {
      this.#flows = true
      this.#listener.sounds(this.#flow)
    }
    if (this.current !== null) this.current.ms += ms
    this.audioMs += ms
  }

  /** Words of the text whose spoken form begins with that number of words; a number that was cut counts as not spoken. */
  #written(spoken: number): number {
    let [written, left] = [0, spoken]
    for (const piece of this.#flow === null ? this.#pieces.slice(this.#at, this.#at + 1) : this.#pieces) {
      if (left < piece.spoken.length) return written + this.#beginning(piece.written, piece.spoken.slice(0, left))
      written += piece.written.length
      left -= piece.spoken.length
    }
    return written
  }

  /** Words that are spoken as these begin. */
  #beginning(written: readonly string[], spoken: readonly string[]): number {
    for (let count = Math.min(written.length, spoken.length); count > 0; count--) {
      const alone = wordsOf(spokenForm(written.slice(0, count).join(' '), this.#language))
      if (alone.length <= spoken.length && alone.every((word, i) => word === spoken[i])) return count
    }
    return 0
  }

  /** Cuts what sounded to the words that were spoken. @returns the rest of what was given */
  takeUnspoken(): string {
    const rest: string[] = []
    if (this.current !== null) {
      const sentence = this.current
      const words = wordsOf(sentence.text)
      const spoken = sentence.marks === undefined ? wordsIn(sentence, words) : this.#written(wordCount(sentence))
      rest.push(words.slice(spoken).join(' '))
      sentence.text = words.slice(0, spoken).join(' ')
      sentence.open = false
    }
    rest.push(...this.#given.slice(this.#at + 1).map(({ text }) => text))
    return rest.filter((text) => text !== '').join(' ')
  }
}

function wordsOf(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '')
}

function wordsIn({ ms, text }: SpokenSentence, words: readonly string[]): number {
  return Math.min(words.length, Math.floor((words.length * ms) / Math.max(1, text.length * SPEECH_MS_PER_CHARACTER)))
}

/** Words of which the service gave the whole sound. */
function wordCount({ marks = [], ms }: SpokenSentence): number {
  const text = markedText(marks, ms)
  return text === '' ? 0 : text.split(/\s+/).length
}
