import { FIT_MIN } from '../../src/backends/embedded/embedded-backend.js'
import { NOISE_WORDS } from '../../src/backends/embedded/dialogue/understanding.js'
import { wordsOf } from '../../src/call/words/languages.js'
import { Dictionary } from '../../src/speech/dictionary.js'
import { SpeechClient } from '../../src/speech/speech-client.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { type DictionaryEntry, RECOGNISER_RATE_HZ } from '../../src/speech/speech-protocol.js'
import type { SimulatedClock } from '../../src/simulator/simulated-clock.js'
import { atRate } from '../../src/simulator/vendors/double.js'

/** Delay in ms of the words. A streaming recogniser has this delay. */
const WORDS_LATE_MS = 300
const THREADS = 2
const DECODERS = 6
/** Swahili words, with the sounds by which the English model can recognise them. */
const SWAHILI: readonly DictionaryEntry[] = [
  ['hapana', 'HH AA P AA N AA'],
  ['ndiyo', 'N D IY Y OW'],
  ['ndio', 'N D IY OW'],
  ['sawa', 'S AA W AA'],
  ['haya', 'HH AA Y AA'],
  ['naam', 'N AA AA M'],
  ['poa', 'P OW AA'],
  ['acha', 'AA CH AA'],
  ['subiri', 'S UW B IY R IY'],
  ['simama', 'S IY M AA M AA'],
  ['ngoja', 'NG OW JH AA'],
]

/**
 * Words from the offline recogniser, including its errors. It listens for the short answers, stop words and hesitations
 * in the agent's languages. It writes all other speech as it sounds. It does not know the text of the callers.
 */
export class OfflineWords {
  readonly #pool = new SpeechPool({ threads: THREADS, decodersPerThread: DECODERS })
  readonly #clock: SimulatedClock
  readonly #grammar: string
  readonly #words: readonly DictionaryEntry[]
  /** Number of utterances that were recognised, and number for which no decoder was free. */
  readonly counters = { understood: 0, refused: 0 }

  private constructor(grammar: string, words: readonly DictionaryEntry[], clock: SimulatedClock) {
    this.#clock = clock
    this.#grammar = grammar
    this.#words = words
  }

  static async start(clock: SimulatedClock): Promise<OfflineWords> {
    const dictionary = await Dictionary.load()
    const own = new Map(SWAHILI)
    const phrases = [...new Set(wordsOf('listening', 'yes', 'no', 'wait', 'stop', 'hesitations'))]
      .map((phrase) => phrase.toLowerCase())
      .filter((phrase) => phrase.split(' ').every((word) => own.has(word) || dictionary.has(word)))
    const grammar = [
      '#JSGF V1.0;',
      'grammar bench;',
      'public <Said> = /1/ <Phrase> [<Phrase>] | /1/ <Noise>;',
      `<Phrase> = ${phrases.join(' | ')};`,
      '<Noise> = <Phone> <Phone> <Phone> <Phone>*;',
      `<Phone> = ${NOISE_WORDS.map(([word]) => word).join(' | ')};`,
    ].join('\n')
    const missing = SWAHILI.filter(([word]) => !dictionary.has(word))
    const words = new OfflineWords(`${grammar}\n`, [...NOISE_WORDS, ...missing], clock)
    await words.#pool.ready()
    return words
  }

  /** Words in a piece of sound, at least `WORDS_LATE_MS` later; empty if the recogniser is not sure. */
  async understand(pcm: Int16Array, rateHz: number): Promise<string> {
    const late = this.#clock.wait(WORDS_LATE_MS)
    const text = await this.#recognise(atRate(pcm, rateHz, RECOGNISER_RATE_HZ))
    await late
    return text
  }

  close(): Promise<void> {
    return this.#pool.close()
  }

  async #recognise(pcm: Int16Array): Promise<string> {
    const speech = new SpeechClient({ port: this.#pool.openSession() })
    try {
      const utterance = speech.startUtterance(this.#grammar, this.#words)
      utterance.push(pcm)
      const { text, fit = 1 } = await utterance.end()
      this.counters.understood++
      return fit < FIT_MIN ? '' : asItSounds(text)
    } catch {
      this.counters.refused++
      return ''
    } finally {
      speech.close()
    }
  }
}

const PHONES_IN_WORD = 4
const NOISE = new Map(NOISE_WORDS.map(([word, phone]) => [word, phone.toLowerCase()]))

/** Sounds that are not in the list become words of letters for these sounds. */
function asItSounds(text: string): string {
  const words = text.split(' ').filter((word) => word !== '')
  if (!words.some((word) => NOISE.has(word))) return words.join(' ')
  const phones = words.map((word) => NOISE.get(word) ?? word)
  const written: string[] = []
  for (let at = 0; at < phones.length; at += PHONES_IN_WORD)
    written.push(phones.slice(at, at + PHONES_IN_WORD).join(''))
  return written.join(' ')
}
