import createSoundSwallower, { type Decoder as NativeDecoder } from 'soundswallower'
import { GatewayError, messageOf } from '../core/errors.js'
import { SPEECH_GRAMMAR_CHARS_MAX } from '../core/limits.js'
import { modelBase } from './dictionary.js'
import { RECOGNISER_RATE_HZ, type DictionaryEntry, type Recognised } from './speech-protocol.js'

/** Utterances that wait for a decoder in one worker; more are refused with SPEECH_BUSY. */
const SPEECH_WAITING_MAX = 16

/**
 * Word insertion penalty. Of 20 strings of 4-6 digits (flite voices, 8 kHz mu-law) 19 were right with it, 14 with the
 * default.
 */
const WORD_INSERTION_PENALTY = 0.001
/**
 * Probability of silence between words. At the default of 0.005 a digit out of ten costs less than the silence in which
 * it is found: of 68 numbers of four digits (three flite voices and Allison, 8 and 16 kHz lines) 11 got another digit, and
 * 53 were right; with this 7 and 56.
 */
const SILENCE_PROBABILITY = 0.1
/**
 * "Five" as it arrives over a line of 3.4 kHz, where most of an F is above the band, and a V at the end is weak. With its
 * dictionary form alone nearly every "five" of Allison was heard as "nine". Of her 160 free numbers (40 numbers as in
 * `npm run bench -- --recognition`) 110 were right and 31 another number, with these 133 and 14; of 192 of three flite
 * voices 176 and 11, with these 171 and 9. The dialogue's other words (bye, no, yes, please) are heard as before;
 * of 60 sentences outside the grammar of any digits it accepts 31, without these 25.
 */
const TELEPHONE_PRONUNCIATIONS: readonly DictionaryEntry[] = [
  ['five(2)', 'F AY'],
  ['five(3)', 'P AY V'],
  ['five(4)', 'P AY'],
]
/**
 * Paths whose probability falls below this part of the best one's are given up: within a word and at its end. The usual
 * ones are the recogniser's own. With the wide ones a second of speech takes 1.6 times as long; narrower ones find fewer
 * words again, and 1e-100 and 1e-80 (1.8 times as long) no more.
 */
const BEAMS = { usual: [1e-48, 7e-29], wide: [1e-80, 1e-60] } as const
/** Words that are added to a decoder's dictionary stay there; a decoder with more than this is replaced. */
const ADDED_WORDS_MAX = 500

/** A place in the queue for a decoder. */
export interface DecoderRequest {
  /** Rejects with SPEECH_BUSY when the queue is full, AGENT_INVALID when the grammar cannot be used. */
  readonly lease: Promise<LeasedDecoder>
  /** Leaves the queue; a lease that was granted meanwhile is released. Idempotent. */
  cancel(): void
}

/**
 * The decoders of one speech worker: created before they are needed, because one takes 190 ms and 28 MB, and leased for
 * one utterance at a time. Each has its own WebAssembly module, so that a failed one is replaced without the others. A
 * lease prefers a decoder that has the grammar loaded, then the one that was unused for longest.
 */
export class DecoderSet {
  /** Counters; plain fields. */
  readonly stats = {
    leased: 0,
    waiting: 0,
    /** Utterances that were refused because the queue was full. */
    refused: 0,
  }
  readonly #count: number
  readonly #slots: Slot[] = []
  readonly #waiting: Waiter[] = []
  /** Leases that end when an utterance waits. */
  readonly #spare = new Set<LeasedDecoder>()
  /** Slots whose decoder is being replaced. */
  readonly #replacing = new Set<Slot>()
  #creating: Promise<void> | null = null
  #uses = 0

  /** @param count  how many decoders `prepare` creates */
  constructor(count: number) {
    this.#count = count
  }

  /**
   * Creates the decoders, once. The first utterance does so too, and waits for one.
   * @throws GatewayError SPEECH_FAULT when the models cannot be loaded; the next call tries again
   */
  prepare(): Promise<void> {
    this.#creating ??= this.#create().catch((thrown: unknown) => {
      this.#creating = null
      throw thrown
    })
    return this.#creating
  }

  async #create(): Promise<void> {
    // One after the other: loading is CPU work, and in parallel it would only need more memory.
    while (this.#slots.length < this.#count) {
      this.#slots.push(await makeSlot())
      this.#grant()
      // Requests of sessions meanwhile, such as a greeting, go first.
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /**
   * @param spare  only if a decoder is free now, and until another utterance needs it: its words are empty from then on
   */
  request(
    grammar: string,
    words: readonly DictionaryEntry[],
    { spare = false, beam = 'usual' }: { readonly spare?: boolean; readonly beam?: Beam } = {},
  ): DecoderRequest {
    if (spare && this.#slots.every(({ busy }) => busy)) {
      const error = new GatewayError('SPEECH_BUSY', 'no decoder to spare', { retryable: true })
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
      this.stats.refused++
      const error = new GatewayError('SPEECH_BUSY', `${SPEECH_WAITING_MAX} utterances wait for a decoder`, {
        retryable: true,
      })
      return { lease: Promise.reject(error), cancel: () => undefined }
    }
    let waiter: Waiter | null = null
    let cancelled = false
    const lease = new Promise<LeasedDecoder>((resolve, reject) => {
      waiter = { grammar, words, spare, beam, resolve, reject }
      this.#waiting.push(waiter)
    })
    this.#grant()
    this.prepare().catch((thrown: unknown) => {
      // With one decoder, an utterance only waits longer.
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
        spare.release()
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
      // Taken up with the grammar.
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
            // An utterance that is too short to be ended; the decoder is replaced.
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
      const fresh = await makeSlot()
      slot.decoder = fresh.decoder
      slot.grammar = ''
      slot.beam = fresh.beam
      slot.words = fresh.words
      slot.busy = false
    } catch {
      // The slot stays out of use.
      slot.busy = true
    }
    this.#replacing.delete(slot)
    this.#grant()
  }
}

/** A decoder that is reserved for one utterance until it is released. All calls are synchronous. */
export interface LeasedDecoder {
  /** Float samples within ±1 at 8 kHz, at the level of `level.ts`; about 0.6 ms for 20 ms of speech. @throws GatewayError SPEECH_FAULT */
  decode(pcm: Float32Array): void
  /**
   * Decodes an utterance in one piece, in the place of `decode`: the mean that is subtracted is its own, where `decode`
   * takes that of earlier utterances, of all callers. @throws GatewayError SPEECH_FAULT
   */
  decodeWhole(pcm: Float32Array): void
  /** The words so far, while the utterance goes on; empty when none fit. @throws GatewayError SPEECH_FAULT */
  partial(): Recognised
  /** Ends the utterance; the words, empty when none fit. @throws GatewayError SPEECH_FAULT */
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
    return { decoder, grammar: '', beam: 'usual', words: new Set(), busy: false, lastUsed: 0 }
  } catch (error) {
    throw new GatewayError('SPEECH_FAULT', `the recogniser's models could not be loaded: ${messageOf(error)}`, {
      cause: error,
    })
  } finally {
    // Emscripten's runtime adds process-wide listeners that rethrow every error.
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

/** Result of a decoder for the utterance so far. */
export function recognisedBy(decoder: NativeDecoder): Recognised {
  const text = decoder.get_text().trim()
  if (text === '') return { text, fit: 0, wordMs: [] }
  // Costs 0.1 ms; the alignment is a by-product of decoding.
  const words = (decoder.get_alignment({}).w ?? []).filter(({ t: word }) => !/^[(<]/.test(word))
  const wordMs = words.map(({ d: durationS }) => Math.round(durationS * 1000))
  return { text, fit: fitOf(words), wordMs: words.length === text.split(' ').length ? wordMs : [] }
}

/**
 * How well the sound fits the words: the geometric mean of the words' probabilities, weighted by their durations,
 * without silences.
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
