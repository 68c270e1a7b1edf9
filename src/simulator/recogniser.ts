import createSoundSwallower, { type Decoder } from 'soundswallower'
import { GatewayError } from '../core/errors.js'
import { recognisedBy } from '../speech/decoder-set.js'
import { modelBase } from '../speech/dictionary.js'
import { RECOGNISER_RATE_HZ } from '../speech/speech-protocol.js'
import { digitWords, guessPhones, orderIn, spokenWords } from './spoken-words.js'
import type { AgentVocabulary } from './vocabulary.js'

type RecogniserModule = Awaited<ReturnType<typeof createSoundSwallower>>

/**
 * Word insertion penalty, chosen by measurement. With this penalty, 95 % of digit strings are recognised exactly;
 * without it, 70 %.
 */
const WORD_INSERTION_PENALTY = 0.001
/**
 * The package's default beams reject sounds outside the grammar. With a small grammar they sometimes also reject the
 * right sentence. So the search for known numbers uses wider beams.
 */
const WIDE_BEAMS = { beam: 1e-80, wbeam: 1e-60, pbeam: 1e-80 }
/**
 * Minimum score of a recognised sentence. Sentences of the grammar score 0.82-0.93, other accepted sounds 0.73-0.80 (30
 * sentences, flite slt, phone band).
 */
const FIT_MIN = 0.8
/** Minimum number of samples of a piece; shorter pieces are clicks and breaths. */
const PIECE_SAMPLES_MIN = RECOGNISER_RATE_HZ * 0.12

/** Recognises one piece of speech at a time. Synchronous: use it on a worker thread. */
interface Recogniser {
  /**
   * @returns the words of `pcm` (8 kHz). The grammar is closed: the text is empty for a sound that is not a possible
   * sentence of the agent
   */
  hear(pcm: Int16Array): string
  close(): void
}

/** Loads model and grammar: 0.2-0.5 s and about 30 MB, twice that when order numbers are known. */
export async function loadRecogniser(vocabulary: AgentVocabulary): Promise<Recogniser> {
  const recogniser = await createSoundSwallower({ modelBase: modelBase() } as Parameters<
    typeof createSoundSwallower
  >[0])
  const anyOrder = await loadDecoder(recogniser, agentGrammar(vocabulary, 'any-order'), {})
  const knownOrders =
    vocabulary.orders.length === 0
      ? null
      : await loadDecoder(recogniser, agentGrammar(vocabulary, 'known-orders'), WIDE_BEAMS)
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

async function loadDecoder(
  recogniser: RecogniserModule,
  grammar: AgentGrammar,
  beams: Readonly<Record<string, number>>,
): Promise<Decoder> {
  const decoder = new recogniser.Decoder({
    hmm: recogniser.get_model_path('en-us'),
    samprate: RECOGNISER_RATE_HZ,
    loglevel: 'FATAL',
    wip: WORD_INSERTION_PENALTY,
    ...beams,
  })
  await decoder.initialize()
  const guessed = grammar.words
    .filter((word) => !decoder.lookup_word(word))
    .map((word): [string, string] => [word, guessPhones(word)])
    .filter(([, phones]) => phones !== '')
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
  const { text, fit = 0 } = recognisedBy(decoder)
  return fit < FIT_MIN ? '' : text.replace(/\(\d+\)/g, '')
}

/** Pairs of digits that the recogniser confuses on a phone line, as seen in 60 spoken numbers. */
const ALIKE = new Set(['19', '91', '45', '54', '59', '95', '20', '02', '15', '51'])

/**
 * True if `heard` may be a misrecognition of `known`, for example by a person on a phone line. At most two digits
 * differ and sound alike, or only one digit differs.
 */
export function soundsLike(known: string, heard: string): boolean {
  if (known.length !== heard.length) return false
  let cost = 0
  for (let i = 0; i < known.length; i++) {
    if (known[i] !== heard[i]) cost += ALIKE.has(`${known[i] ?? ''}${heard[i] ?? ''}`) ? 1 : 2
  }
  return cost <= 2
}

/** Sentences of any order line, for an agent whose definition is not available. */
const COMMON_SENTENCES: readonly string[] = [
  'Hello, how can I help you?',
  'Welcome.',
  'What is your order number?',
  'Please tell me your order number.',
  'You said {order}.',
  'Is that right?',
  'Is that correct?',
  'Order {order} is {status}.',
  'Your order is {status}.',
  'It should arrive {eta}.',
  'Is there anything else I can help you with?',
  'Is there anything else?',
  'Sorry, I did not catch that.',
  'Please say that again.',
  'One moment please.',
  'I am connecting you to a colleague.',
  'Please stay on the line.',
  'Thank you for calling.',
  'Goodbye.',
]

// The recogniser copies a rule to each place that names it, so small rules keep decoding faster than real time.
const ORDER_DIGITS_USUAL = [4, 6] as const
const ORDER_DIGITS_MAX = 12
const ORDERS_MAX = 50
const HOUR = 'one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve'
const DAY =
  'today | tomorrow | tonight | yesterday | monday | tuesday | wednesday | thursday | friday | saturday | sunday | next week'
const HALF_DAY = '[ a m | p m | in the ( morning | afternoon | evening ) ]'

/** A grammar and the words in it, for the recogniser. */
interface AgentGrammar {
  readonly jsgf: string
  readonly words: readonly string[]
}

/**
 * Builds the grammar of the agent's sentences, in any order and number. Other sentences are mostly not recognised.
 * @param numbers  any number of the usual length, or only `vocabulary.orders`
 */
export function agentGrammar(vocabulary: AgentVocabulary, numbers: 'any-order' | 'known-orders'): AgentGrammar {
  const known = [...new Set(vocabulary.orders)].slice(0, ORDERS_MAX).map(digitWords)
  const statuses = Object.values(vocabulary.statuses).flat().map(jsgfWords).filter(isNotEmpty)
  const others = vocabulary.others.map(jsgfWords).filter(isNotEmpty)
  const etas = vocabulary.etas.map(jsgfWords).filter(isNotEmpty)
  const written = vocabulary.sentences.length > 0 ? vocabulary.sentences : COMMON_SENTENCES
  const sentences = new Set(written.flatMap(sentencesOf))
  const rules = [
    '#JSGF V1.0;',
    'grammar agent;',
    '<digit> = zero | one | two | three | four | five | six | seven | eight | nine;',
    `<order> = ${numbers === 'any-order' ? anyOrderRule(vocabulary.orders) : known.join(' | ')};`,
    `<status> = ${[...new Set(statuses)].join(' | ')};`,
    `<other> = ${others.length > 0 ? [...new Set(others)].join(' | ') : 'something'};`,
    `<hour> = ${HOUR};`,
    `<day> = ${DAY};`,
    `<span> = between <hour> and <hour> ${HALF_DAY} | ( by | before | after | at ) <hour> ${HALF_DAY};`,
    `<eta> = ${[...new Set(etas), '[ on | by ] <day> [ <span> ]', '<span>'].join(' | ')};`,
    `<sentence> = ${[...sentences].join('\n  | ')};`,
    'public <turn> = <sentence>+;',
  ]
  return { jsgf: `${rules.join('\n')}\n`, words: wordsOf(rules.slice(2).join('\n')) }
}

function anyOrderRule(orders: readonly string[]): string {
  const lengths = orders.length > 0 ? orders.map((order) => order.length) : [...ORDER_DIGITS_USUAL]
  const fewest = Math.min(...lengths)
  const most = Math.min(ORDER_DIGITS_MAX, Math.max(...lengths))
  return `${'<digit> '.repeat(fewest)}${'[ <digit> '.repeat(most - fewest)}${']'.repeat(most - fewest)}`.trim()
}

function sentencesOf(text: string): string[] {
  const sentences: string[] = []
  let loneSlot = ''
  for (const part of text.split(/[.;?!]+(?=\s|$)(?![^{]*\}\})/)) {
    const rule = part
      .split(/(\{+[^}]*\}+)/)
      .map((piece) => (piece.startsWith('{') ? slotRule(piece) : jsgfWords(piece)))
      .filter(isNotEmpty)
      .join(' ')
    const sentence = `${loneSlot} ${rule}`.trim()
    // A slot without other words would allow the slot's words at any position. So the slot is joined with the next
    // sentence.
    loneSlot = /^<\w+>$/.test(sentence) ? sentence : ''
    if (loneSlot === '' && sentence !== '') sentences.push(sentence)
  }
  return sentences
}

/** The rule for a slot's values, by the last name in its path: `{{order.status | map:status}}` is a status. */
function slotRule(slot: string): string {
  const [path = '', ...filters] = slot
    .replace(/[{}]/g, '')
    .split('|')
    .map((part) => part.trim().toLowerCase())
  const name = path.split('.').at(-1)?.replace(/\W/g, '') ?? ''
  if (filters.includes('count')) return '<hour>'
  if (name === 'part') return '<digit>+'
  if (/^(order|number|ordernumber|digits)$/.test(name))
    return path.includes('[]') ? '<order>+ [ and <order> ]' : '<order>'
  if (name.includes('status')) return '<status>'
  if (/eta|arriv|when|window|date/.test(name)) return '<eta>'
  return '<other>'
}

function jsgfWords(text: string): string {
  return spokenWords(text).join(' ')
}

function isNotEmpty(text: string): boolean {
  return text !== ''
}

function wordsOf(rules: string): string[] {
  const words = rules.replace(/<[^>]*>|\bpublic\b/g, ' ').match(/[a-z']+/g) ?? []
  return [...new Set(words)]
}
