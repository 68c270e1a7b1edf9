import createSoundSwallower, { type Decoder as NativeDecoder } from 'soundswallower'
import { GatewayError, messageOf } from '../core/errors.js'
import { SPEECH_GRAMMAR_CHARS_MAX } from '../core/limits.js'
import { modelBase } from './dictionary.js'
import { RECOGNISER_RATE_HZ, type DictionaryEntry, type Recognised, type SpeechRefusal } from './speech-protocol.js'

/**
 * Maximum number of utterances in one worker that wait for a decoder. A further utterance is refused with SPEECH_BUSY.
 */
const SPEECH_WAITING_MAX = 16

/**
 * Word insertion penalty: a factor for each additional word. Test: 20 strings of 4 to 6 digits (flite voices, 8 kHz
 * mu-law). With this penalty, 19 strings were recognised correctly; with the default penalty, 14.
 */
const WORD_INSERTION_PENALTY = 0.001
/**
 * Probability of silence between words. With the default of 0.005, the recogniser often hears a wrong digit in place of
 * the silence. Test: 68 numbers of four digits (three flite voices and Allison, 8 and 16 kHz lines). The default adds a
 * digit to 11 numbers and recognises 53 correctly. This value adds a digit to 7 numbers and recognises 56 correctly.
 */
const SILENCE_PROBABILITY = 0.1
/**
 * Additional pronunciations of "five". A line of 3.4 kHz loses most of an F, and a V at the end is weak. With only the
 * dictionary's pronunciation, nearly every "five" of the voice Allison was recognised as "nine".
 *
 * Test: 160 numbers of Allison that were not known in advance (40 numbers as in `npm run bench -- --recognition`). With
 * these pronunciations 133 are right and 14 are recognised as another number; without them, 110 and 31. Of 192 numbers
 * of three flite voices, 171 are right and 9 are recognised as another number; without these pronunciations, 176 and
 * 11.
 *
 * The dialogue's other words (bye, no, yes, please) are recognised as before. The grammar for any digits accepts 31 of
 * 60 sentences that do not belong to it; without these pronunciations it accepts 25.
 */
const TELEPHONE_PRONUNCIATIONS: readonly DictionaryEntry[] = [
  ['five(2)', 'F AY'],
  ['five(3)', 'P AY V'],
  ['five(4)', 'P AY'],
]
/**
 * Limits below which a path of the search is dropped. A limit is a ratio to the probability of the best path. The first
 * limit applies within a word, the second at the word's end. The usual values are the recogniser's defaults. With the
 * wide values, a second of speech needs 1.6 times the CPU time. With values in between, fewer of the dropped words are
 * found. Wider values (1e-100 and 1e-80) need 1.8 times the CPU time and do not find more words.
 */
const BEAMS = { usual: [1e-48, 7e-29], wide: [1e-80, 1e-60] } as const
/**
 * Maximum number of words that are added to a decoder's dictionary. Added words cannot be removed, so a decoder with
 * more words is replaced.
 */
const ADDED_WORDS_MAX = 500

/** Request of an utterance for a decoder. */
export interface DecoderRequest {
  /**
   * Resolves with the decoder. Rejects with SPEECH_BUSY if the queue is full, or with AGENT_INVALID if the grammar
   * cannot be used.
   */
  readonly lease: Promise<LeasedDecoder>
  /** Leaves the queue, and releases a lease that was just granted. Idempotent. */
  cancel(): void
}

/**
 * The decoders of one speech worker. Each decoder is leased for one utterance at a time. The decoders are created in
 * advance, because each decoder needs 190 ms and 28 MB. Each decoder has its own WebAssembly module, so that a failed
 * decoder can be replaced alone. A lease gets a decoder that has already loaded the grammar. If there is none, it gets
 * the decoder that has been unused for the longest time.
 */
export class DecoderSet {
  /** Counters; plain fields. */
  readonly stats = {
    leased: 0,
    waiting: 0,
    /** Number of utterances that got no decoder, or lost it. */
    refused: 0,
  }
  readonly #count: number
  readonly #onRefusal: (why: SpeechRefusal) => void
  readonly #make: () => Promise<Slot>
  readonly #slots: Slot[] = []
  readonly #waiting: Waiter[] = []
  /** Spare leases: each ends as soon as another utterance waits. */
  readonly #spare = new Set<LeasedDecoder>()
  /** Slots whose decoder is being replaced by a new one. */
  readonly #replacing = new Set<Slot>()
  #creating: Promise<void> | null = null
  #uses = 0

  /**
   * @param count  number of decoders that `prepare` creates
   * @param options  `onRefusal`: called for each utterance that gets no decoder, or loses its decoder. `makeDecoder`:
   * replaces the recogniser's own function
   */
  constructor(count: number, options: DecoderSetOptions = {}) {
    this.#count = count
    this.#onRefusal = options.onRefusal ?? (() => undefined)
    const { makeDecoder } = options
    this.#make = makeDecoder === undefined ? makeSlot : async () => slotOf(await makeDecoder())
  }

  /** True if the thread has only one decoder. */
  get isSingle(): boolean {
    return this.#count === 1
  }

  /**
   * Counts an utterance that is not recognised, because no decoder was free.
   * @returns the error for the call of this utterance
   */
  refused(why: SpeechRefusal): GatewayError {
    this.stats.refused++
    this.#onRefusal(why)
    return new GatewayError('SPEECH_BUSY', REFUSALS[why], { retryable: true })
  }

  /**
   * Creates the decoders, once. If it was not called before, the first utterance calls it and waits for a decoder.
   * @throws GatewayError SPEECH_FAULT if the models cannot be loaded; the next call tries again
   */
  prepare(): Promise<void> {
    this.#creating ??= this.#create().catch((thrown: unknown) => {
      this.#creating = null
      throw thrown
    })
    return this.#creating
  }

  async #create(): Promise<void> {
    // The decoders are loaded one after another. Loading is CPU work, so loading in parallel would only need more
    // memory.
    while (this.#slots.length < this.#count) {
      this.#slots.push(await this.#make())
      this.#grant()
      // Other work of the thread, such as speaking a greeting, runs before the next decoder is loaded.
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /**
   * @param spare  true: the lease is granted only if a decoder is free now. It lasts until another utterance needs the
   * decoder. The session then reports SPEECH_BUSY
   */
  request(
    grammar: string,
    words: readonly DictionaryEntry[],
    { spare = false, beam = 'usual' }: { readonly spare?: boolean; readonly beam?: Beam } = {},
  ): DecoderRequest {
    if (spare && this.#slots.every(({ busy }) => busy)) {
      const error = new GatewayError('SPEECH_BUSY', 'no decoder is free', { retryable: true })
      return { lease: Promise.reject(error), cancel: () => undefined }
    }
    if (grammar.length > SPEECH_GRAMMAR_CHARS_MAX) {
      const error = new GatewayError(
        'AGENT_INVALID',
        `a grammar of ${grammar.length} characters; ${SPEECH_GRAMMAR_CHARS_MAX} are allowed`,
      )
      return { lease: Promise.reject(error), cancel: () => undefined }
    }
    if (this.#waiting.length >= SPEECH_WAITING_MAX) {
      return { lease: Promise.reject(this.refused('queue-full')), cancel: () => undefined }
    }
    let waiter: Waiter | null = null
    let cancelled = false
    const lease = new Promise<LeasedDecoder>((resolve, reject) => {
      waiter = { grammar, words, spare, beam, resolve, reject }
      this.#waiting.push(waiter)
    })
    this.#grant()
    this.prepare().catch((thrown: unknown) => {
      // If some decoder could be loaded, utterances only wait longer.
      if (this.#slots.length > 0) return
      for (const { reject } of this.#waiting.splice(0)) reject(thrown as GatewayError)
      this.stats.waiting = 0
    })
    lease.then(
      (granted) => {
        if (cancelled) granted.release()
      },
      () => undefined,
    )
    return {
      lease,
      cancel: () => {
        cancelled = true
        const at = waiter === null ? -1 : this.#waiting.indexOf(waiter)
        if (at >= 0) this.#waiting.splice(at, 1)
        this.stats.waiting = this.#waiting.length
      },
    }
  }

  #grant(): void {
    while (this.#waiting.length > 0) {
      const next = this.#waiting[0]
      const slot = next === undefined ? undefined : this.#pick(next.grammar, next.beam)
      if (next === undefined || slot === undefined) {
        const [spare] = this.#spare
        if (next === undefined || spare === undefined) break
        spare.take()
        continue
      }
      this.#waiting.shift()
      try {
        this.#load(slot, next)
        slot.decoder.start()
      } catch (error) {
        next.reject(
          error instanceof GatewayError ? error : new GatewayError('SPEECH_FAULT', messageOf(error), { cause: error }),
        )
        continue
      }
      next.resolve(this.#leaseOf(slot, next.spare))
    }
    this.stats.waiting = this.#waiting.length
  }

  #pick(grammar: string, beam: Beam): Slot | undefined {
    let best: Slot | undefined
    for (const slot of this.#slots) {
      if (slot.busy) continue
      if (slot.grammar === grammar && slot.beam === beam) return slot
      if (best === undefined || slot.lastUsed < best.lastUsed) best = slot
    }
    return best
  }

  #load(slot: Slot, { grammar, words, beam }: Waiter): void {
    const added = words.filter(([word]) => !slot.words.has(word) && !known(slot.decoder, word))
    if (slot.words.size + added.length > ADDED_WORDS_MAX) {
      void this.#replace(slot)
      throw new GatewayError('SPEECH_BUSY', 'a decoder is being renewed', { retryable: true })
    }
    if (added.length > 0) {
      try {
        addWords(slot.decoder, added)
      } catch (error) {
        throw new GatewayError('AGENT_INVALID', `a word's phones are not ARPAbet: ${messageOf(error)}`, {
          cause: error,
        })
      }
      for (const [word] of added) slot.words.add(word)
    }
    if (slot.grammar === grammar && slot.beam === beam) return
    for (const word of wordsOf(grammar)) {
      if (!slot.words.has(word) && !known(slot.decoder, word)) {
        throw new GatewayError(
          'AGENT_INVALID',
          `the word ${JSON.stringify(word)} of a grammar is not in the dictionary; add it with its ARPAbet phones under offline.words`,
        )
      }
    }
    slot.grammar = ''
    try {
      // The recogniser uses new beams only when the next grammar is set.
      if (slot.beam !== beam) {
        const [within, atEnd] = BEAMS[beam]
        slot.decoder.set_config('beam', within)
        slot.decoder.set_config('pbeam', within)
        slot.decoder.set_config('wbeam', atEnd)
        slot.beam = beam
      }
      slot.decoder.set_grammar(grammar)
    } catch (error) {
      throw new GatewayError('AGENT_INVALID', `the recogniser refuses a grammar: ${messageOf(error)}`, { cause: error })
    }
    slot.grammar = grammar
  }

  #leaseOf(slot: Slot, spare: boolean): LeasedDecoder {
    slot.busy = true
    slot.lastUsed = ++this.#uses
    this.stats.leased++
    let running = true
    let released = false
    let taken = false
    const failed = (error: unknown): GatewayError => {
      running = false
      void this.#replace(slot)
      return new GatewayError('SPEECH_FAULT', `the recogniser failed: ${messageOf(error)}`, {
        retryable: true,
        cause: error,
      })
    }
    const process = (pcm: Float32Array, whole: boolean): void => {
      if (!running) return
      try {
        slot.decoder.process_audio(pcm, false, whole)
      } catch (error) {
        throw failed(error)
      }
    }
    const lease: LeasedDecoder = {
      get isTaken() {
        return taken
      },
      yields: (spares) => {
        if (released || spare) return
        if (spares) {
          this.#spare.add(lease)
          this.#grant()
        } else this.#spare.delete(lease)
      },
      take: () => {
        taken = !released
        lease.release()
      },
      decode: (pcm) => process(pcm, false),
      decodeWhole: (pcm) => process(pcm, true),
      partial: () => {
        if (!running) return { text: '' }
        try {
          return recognisedBy(slot.decoder)
        } catch (error) {
          throw failed(error)
        }
      },
      finish: () => {
        if (!running) return { text: '' }
        running = false
        try {
          slot.decoder.stop()
          return recognisedBy(slot.decoder)
        } catch (error) {
          throw failed(error)
        }
      },
      release: () => {
        if (released) return
        released = true
        this.#spare.delete(lease)
        this.stats.leased--
        if (running) {
          try {
            slot.decoder.stop()
          } catch {
            // The utterance is too short to be ended by the decoder, so the decoder is replaced.
            void this.#replace(slot)
          }
        }
        running = false
        slot.busy = this.#replacing.has(slot)
        this.#grant()
      },
    }
    if (spare) this.#spare.add(lease)
    return lease
  }

  /** Takes a slot out of use until it has a new decoder. */
  async #replace(slot: Slot): Promise<void> {
    if (this.#replacing.has(slot)) return
    this.#replacing.add(slot)
    slot.busy = true
    try {
      const fresh = await this.#make()
      slot.decoder = fresh.decoder
      slot.grammar = ''
      slot.beam = fresh.beam
      slot.words = fresh.words
      slot.busy = false
    } catch {
      // Without a new decoder, the slot stays out of use.
      slot.busy = true
    }
    this.#replacing.delete(slot)
    this.#grant()
  }
}

interface DecoderSetOptions {
  readonly onRefusal?: (why: SpeechRefusal) => void
  readonly makeDecoder?: () => Promise<NativeDecoder>
}

const REFUSALS: Readonly<Record<SpeechRefusal, string>> = {
  'queue-full': `${SPEECH_WAITING_MAX} utterances wait for a decoder`,
  late: 'no decoder became free in time',
  wordless: 'this utterance had no words, and another utterance needed its decoder',
  'first-digit': 'no decoder is free to listen for a first digit',
}

/** A decoder that is reserved for one utterance until it is released. All calls are synchronous. */
export interface LeasedDecoder {
  /** True if another utterance took the decoder. This utterance gets no more words then. */
  readonly isTaken: boolean
  /**
   * Allows or forbids that a waiting utterance takes the decoder, now or later. A spare decoder may always be taken.
   */
  yields(spares: boolean): void
  /** Takes the decoder away and releases it. */
  take(): void
  /**
   * Decodes float samples from -1 to 1 at 8 kHz, after the gain of `level.ts`. Takes about 0.6 ms for 20 ms of speech.
   * @throws GatewayError SPEECH_FAULT
   */
  decode(pcm: Float32Array): void
  /**
   * Decodes a whole utterance, instead of `decode`. This method subtracts the utterance's own mean sound; `decode`
   * subtracts the mean of all callers' earlier utterances.
   * @throws GatewayError SPEECH_FAULT
   */
  decodeWhole(pcm: Float32Array): void
  /** @returns the words so far, during the utterance; empty if no words match @throws GatewayError SPEECH_FAULT */
  partial(): Recognised
  /** Ends the utterance. @returns the words; empty if no words match @throws GatewayError SPEECH_FAULT */
  finish(): Recognised
  /** Releases the decoder in any state. Idempotent. */
  release(): void
}

type Beam = keyof typeof BEAMS

interface Slot {
  decoder: NativeDecoder
  grammar: string
  /** Beam of the grammar. */
  beam: Beam
  words: Set<string>
  busy: boolean
  lastUsed: number
}

interface Waiter {
  readonly grammar: string
  readonly words: readonly DictionaryEntry[]
  readonly spare: boolean
  readonly beam: Beam
  readonly resolve: (lease: LeasedDecoder) => void
  readonly reject: (error: GatewayError) => void
}

const slotOf = (decoder: NativeDecoder): Slot => ({
  decoder,
  grammar: '',
  beam: 'usual',
  words: new Set(),
  busy: false,
  lastUsed: 0,
})

async function makeSlot(): Promise<Slot> {
  const listenersBefore = new Set(process.listeners('uncaughtException'))
  const rejectionsBefore = new Set(process.listeners('unhandledRejection'))
  try {
    const module = await createSoundSwallower({ modelBase: modelBase() } as Parameters<typeof createSoundSwallower>[0])
    const decoder = new module.Decoder({
      samprate: RECOGNISER_RATE_HZ,
      wip: WORD_INSERTION_PENALTY,
      silprob: SILENCE_PROBABILITY,
      loglevel: 'FATAL',
    })
    await decoder.initialize()
    addWords(decoder, TELEPHONE_PRONUNCIATIONS)
    return slotOf(decoder)
  } catch (error) {
    throw new GatewayError('SPEECH_FAULT', `the recogniser's models could not be loaded: ${messageOf(error)}`, {
      cause: error,
    })
  } finally {
    // Emscripten's runtime adds listeners to the process that throw every error again.
    for (const listener of process.listeners('uncaughtException')) {
      if (!listenersBefore.has(listener)) process.removeListener('uncaughtException', listener)
    }
    for (const listener of process.listeners('unhandledRejection')) {
      if (!rejectionsBefore.has(listener)) process.removeListener('unhandledRejection', listener)
    }
  }
}

function addWords(decoder: NativeDecoder, words: readonly DictionaryEntry[]): void {
  decoder.add_words(...words.map(([word, phones]): [string, string] => [word, phones]))
}

function known(decoder: NativeDecoder, word: string): boolean {
  return Boolean(decoder.lookup_word(word))
}

/** The words of a JSGF document: without header, rule names, weights, tags and operators. */
function wordsOf(grammar: string): Set<string> {
  const body = grammar
    .replace(/^#JSGF[^;]*;/, ' ')
    .replace(/\bgrammar\s+[^;]*;/, ' ')
    .replace(/\bpublic\b/g, ' ')
    .replace(/<[^>]*>\s*=?/g, ' ')
    .replace(/\/[\d.eE+-]+\//g, ' ')
    .replace(/\{[^}]*\}/g, ' ')
    .replace(/[()[\]|;=*+]/g, ' ')
  return new Set(body.split(/\s+/).filter((word) => word !== ''))
}

/** Reads the present result of a decoder for an utterance. */
export function recognisedBy(decoder: NativeDecoder): Recognised {
  const text = decoder.get_text().trim()
  if (text === '') return { text, fit: 0, wordMs: [] }
  // The alignment takes only 0.1 ms, because decoding has already aligned the words.
  const words = (decoder.get_alignment({}).w ?? []).filter(({ t: word }) => !/^[(<]/.test(word))
  const wordMs = words.map(({ d: durationS }) => Math.round(durationS * 1000))
  return { text, fit: fitOf(words), wordMs: words.length === text.split(' ').length ? wordMs : [] }
}

/**
 * Match between sound and words. It is the geometric mean of the words' probabilities, weighted by their durations.
 * Silences are left out.
 */
function fitOf(words: readonly { readonly d: number; readonly p: number }[]): number {
  let sum = 0
  let seconds = 0
  for (const { d: durationS, p: fit } of words) {
    sum += durationS * Math.log(Math.max(fit, 1e-6))
    seconds += durationS
  }
  return seconds === 0 ? 0 : Math.exp(sum / seconds)
}
