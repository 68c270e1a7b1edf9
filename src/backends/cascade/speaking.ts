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
  /**
   * Called before the first samples of each sentence, and when a sentence became longer. So the method gets a sentence
   * only when its speech begins.
   */
  sounds(sentence: SpokenSentence): void
}

/**
 * Passes one answer to the voice in pieces, while the model still writes it. If the service fails during the answer,
 * the next service speaks the remaining words.
 */
export class Speaking {
  /** Resolves when the whole answer was delivered; rejects with ServiceFault, or with any error after `cancel`. */
  readonly done: Promise<void>
  audioMs = 0
  readonly #voices: ServiceList<TextToSpeech>
  readonly #listener: SpeakingListener
  readonly #manner: SpeechManner
  #sentences = new Sentences()
  #ended = false
  #cut = false
  #cancelled = false
  #failures = 0
  #run: Run | null = null
  /** The newest run, even if it is over; its sound may still be playing. */
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
    // A rejection is handled by the code that awaits `done`.
    this.done.catch(() => undefined)
    this.#begin()
  }

  /** @returns the part of the waiting text and of the new text that is to be spoken */
  write(text: string): string {
    const speech = this.#sentences.add(text)
    this.#pass()
    return speech
  }

  /** Continues the text with another model. */
  goOn(): void {
    this.#sentences.goOn()
  }

  /** True if the text so far does not contain words. */
  get wordless(): boolean {
    return this.#sentences.wordless
  }

  /** Starts again as if no text had been written. */
  reset(): void {
    const { unit } = this.#sentences
    this.#sentences = new Sentences()
    this.#sentences.unit = unit
  }

  /**
   * Ends the text.
   * @param cut  true if the text was cut off. Only the text up to its last whole clause is then spoken
   */
  end(cut = false): void {
    this.#ended = true
    this.#cut = cut
    this.#pass()
  }

  /**
   * Cancels the speech at once; no more sound is delivered. If the answer was not completely delivered, `done` rejects.
   * @param playedMs milliseconds of the sound that the caller heard; null if not known
   * @param heard called later with the heard words of the last sentence, if the voice reports them
   */
  cancel(playedMs: number | null, heard?: (sentence: SpokenSentence, words: string) => void): void {
    this.#cancelled = true
    this.#reject(new Error('cancelled'))
    const run = this.#run ?? this.#delivered
    this.#run = null
    this.#delivered = null
    const sentence = run?.current ?? null
    // If two services spoke the answer, the second service knows only its own part.
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
    const { asked } = this.#voices
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
        this.#voices.worked(voice, asked)
        this.#run = null
        this.#delivered = run
        this.#resolve()
      },
      failed: (fault, lost) => {
        if (!over()) this.#failed(run, fault, lost)
      },
    })
    this.#pass()
  }

  /** Sends the service the text so far, in whole pieces. */
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
    const refused = this.#voices.refused(run.voice, fault, lost)
    const more = refused || this.#voices.failed(run.voice, fault, lost)
    this.#sentences.unread(run.takeUnspoken())
    if (more && (refused || ++this.#failures <= this.#voices.count)) this.#begin()
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
  /** The sentence that is being spoken. Continuous speech counts as one sentence, which becomes longer. */
  current: SpokenSentence | null
  readonly #flow: SpokenSentence | null
  #flows = false
  /** Words of each piece of continuous speech, in written and in spoken form. */
  readonly #pieces: { readonly written: readonly string[]; readonly spoken: readonly string[] }[] = []
  /** Clauses that were passed to the service, and index of the clause that is being spoken. */
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

  /** Reports that the clause with this index begins. */
  begin(index: number): void {
    this.#at = index
    this.current = this.#given[index] ?? null
    if (this.current !== null) this.#listener.sounds(this.current)
  }

  /** Adds `ms` to the delivered sound of the current sentence. */
  sounds(ms: number): void {
    if (this.#flow !== null && !this.#flows) {
      this.#flows = true
      this.#listener.sounds(this.#flow)
    }
    if (this.current !== null) this.current.ms += ms
    this.audioMs += ms
  }

  /**
   * @returns the number of written words that correspond to this number of spoken words. A written number counts only
   * if it was spoken completely
   */
  #written(spoken: number): number {
    let [written, left] = [0, spoken]
    for (const piece of this.#flow === null ? this.#pieces.slice(this.#at, this.#at + 1) : this.#pieces) {
      if (left < piece.spoken.length) return written + this.#beginning(piece.written, piece.spoken.slice(0, left))
      written += piece.written.length
      left -= piece.spoken.length
    }
    return written
  }

  /** @returns the number of spoken words at the beginning of these written words */
  #beginning(written: readonly string[], spoken: readonly string[]): number {
    for (let count = Math.min(written.length, spoken.length); count > 0; count--) {
      const alone = wordsOf(spokenForm(written.slice(0, count).join(' '), this.#language))
      if (alone.length <= spoken.length && alone.every((word, i) => word === spoken[i])) return count
    }
    return 0
  }

  /** Shortens the current text to the words that were spoken. @returns the remaining text */
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

/** @returns the number of words whose sound the service delivered completely */
function wordCount({ marks = [], ms }: SpokenSentence): number {
  const text = markedText(marks, ms)
  return text === '' ? 0 : text.split(/\s+/).length
}
