import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import createModule from 'soundswallower'
import { GatewayError } from '../core/errors.js'
import { earGrammar, type EarGrammar, type EarVocabulary } from './ear-vocabulary.js'
import { orderIn } from './heard-facts.js'
import { guessPhones } from './spoken-words.js'

/** The part of the recogniser that is used here; its own types need a package that is not installed. */
interface Decoder {
  initialize(): Promise<unknown>
  lookup_word(word: string): string | null
  add_words(...words: (readonly [string, string])[]): void
  set_grammar(jsgf: string): void
  start(): void
  process_audio(pcm: Float32Array, noSearch: boolean, wholeUtterance: boolean): number
  stop(): void
  get_text(): string
  get_alignment(options: object): { readonly w?: readonly AlignedWord[] }
  delete(): void
}

interface AlignedWord {
  readonly t: string
  /** Seconds. */
  readonly d: number
  /** How well the sound fits the word, frame by frame; 0 to 1. */
  readonly p: number
}

interface Recogniser {
  get_model_path(name: string): string
  readonly Decoder: new (config: Readonly<Record<string, string | number>>) => Decoder
}

/** The bundled model is the 8 kHz telephone model: the ear always listens at 8 kHz. */
export const EAR_RATE_HZ = 8000
/** Chosen by measurement: digit strings go from 70 % to 95 % exact at this word insertion penalty. */
const WORD_INSERTION_PENALTY = 0.001
/**
 * The package's own beams reject what is not in the grammar, which is wanted, and now and then the only sentence of a
 * small one, which is not: with numbers that are known beforehand the ear looks wider.
 */
const WIDE_BEAMS = { beam: 1e-80, wbeam: 1e-60, pbeam: 1e-80 }
/** Sentences of the grammar fit with 0.82-0.93, others that get through with 0.73-0.80 (30 sentences, flite slt, phone band). */
const FIT_MIN = 0.8
/** Shorter pieces are clicks and breaths. */
const PIECE_SAMPLES_MIN = EAR_RATE_HZ * 0.12

/** Listens to one piece of speech at a time, synchronously: for a worker thread. */
export interface Ear {
  /**
   * The words of `pcm` (8 kHz), or an empty string when they are none that the agent is known to say: the grammar is
   * closed, so silence means "not sure".
   */
  hear(pcm: Int16Array): string
  close(): void
}

/** Loads model and grammar: 0.2-0.5 s and about 30 MB, twice that when order numbers are known. */
export async function loadEar(vocabulary: EarVocabulary): Promise<Ear> {
  const folder = dirname(createRequire(import.meta.url).resolve('soundswallower'))
  // The package's types refer to Emscripten's; see `Recogniser`.
  const create = createModule as unknown as (options: { modelBase: string }) => Promise<Recogniser>
  const recogniser = await create({ modelBase: join(folder, 'model/') })
  const anyOrder = await loadDecoder(recogniser, earGrammar(vocabulary, 'any-order'), {})
  const knownOrders = vocabulary.orders.length === 0 ? null : await loadDecoder(recogniser, earGrammar(vocabulary, 'known-orders'), WIDE_BEAMS)
  return {
    hear(pcm) {
      if (pcm.length < PIECE_SAMPLES_MIN) return ''
      const samples = Float32Array.from(pcm, (sample) => sample / 32_768)
      const text = decode(anyOrder, samples)
      const order = orderIn(text.split(' '))
      if (order === null || knownOrders === null || vocabulary.orders.includes(order)) return text
      const second = decode(knownOrders, samples)
      const known = orderIn(second.split(' '))
      return known !== null && soundsLike(known, order) ? second : text
    },
    close() {
      anyOrder.delete()
      knownOrders?.delete()
    },
  }
}

async function loadDecoder(recogniser: Recogniser, grammar: EarGrammar, beams: Readonly<Record<string, number>>): Promise<Decoder> {
  const decoder = new recogniser.Decoder({
    hmm: recogniser.get_model_path('en-us'), samprate: EAR_RATE_HZ, loglevel: 'FATAL', wip: WORD_INSERTION_PENALTY,
    ...beams,
  })
  await decoder.initialize()
  const guessed = grammar.words.filter((word) => !decoder.lookup_word(word))
    .map((word) => [word, guessPhones(word)] as const).filter(([, phones]) => phones !== '')
  if (guessed.length > 0) decoder.add_words(...guessed)
  try {
    decoder.set_grammar(grammar.jsgf)
  } catch (cause) {
    throw new GatewayError('SPEECH_FAULT', 'the recogniser refused the grammar of what the agent says', { cause })
  }
  return decoder
}

function decode(decoder: Decoder, samples: Float32Array): string {
  decoder.start()
  decoder.process_audio(samples, false, true)
  decoder.stop()
  const text = decoder.get_text().replace(/\(\d+\)/g, '').trim()
  return text === '' || fitOf(decoder.get_alignment({}).w ?? []) < FIT_MIN ? '' : text
}

/** Geometric mean over the frames of all words, silences aside. */
function fitOf(words: readonly AlignedWord[]): number {
  let sum = 0
  let seconds = 0
  for (const { t, d, p } of words) {
    if (t.startsWith('(NULL') || t.startsWith('<')) continue
    sum += d * Math.log(Math.max(p, 1e-6))
    seconds += d
  }
  return seconds === 0 ? 0 : Math.exp(sum / seconds)
}

/** Digits that the recogniser takes for each other on a phone line, as seen in 60 spoken numbers. */
const ALIKE = new Set(['19', '91', '45', '54', '59', '95', '20', '02', '15', '51'])

/**
 * Whether `heard` may be a mishearing of `known`: all digits equal but those that sound alike, of which there are two
 * at most, or one other digit. Someone at a real phone would not tell those apart either.
 */
export function soundsLike(known: string, heard: string): boolean {
  if (known.length !== heard.length) return false
  let cost = 0
  for (let i = 0; i < known.length; i++) {
    if (known[i] !== heard[i]) cost += ALIKE.has(`${known[i] ?? ''}${heard[i] ?? ''}`) ? 1 : 2
  }
  return cost <= 2
}
