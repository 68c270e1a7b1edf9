import { digitWords, spokenWords } from './spoken-words.js'

/**
 * What an ear listens for. Sentences have slots in one or two braces, such as `{order}`, `{{order.status}}`, `{eta}`; a
 * name that is none of those counts as `{other}`.
 */
export interface EarVocabulary {
  /** Everything the agent may say, as written. */
  readonly sentences: readonly string[]
  /** Order numbers that exist, if known: digits that sound alike are then told apart by them (`ear.ts`). */
  readonly orders: readonly string[]
  /** Spoken forms of each status, by its name in the shop's API. */
  readonly statuses: Readonly<Record<string, readonly string[]>>
  /** Times of arrival as the shop writes them; a few common forms are known besides. */
  readonly etas: readonly string[]
  /** Values of the slots that are none of the above: couriers, reasons, items. */
  readonly others: readonly string[]
}

/** How order lines say their statuses, wherever the agent's definition says nothing of its own. */
export const COMMON_STATUSES: Readonly<Record<string, readonly string[]>> = {
  out_for_delivery: ['out for delivery'],
  delivered: ['delivered', 'has been delivered', 'was delivered'],
  in_transit: ['in transit', 'on its way', 'on the way'],
  shipped: ['shipped', 'has been shipped'],
  processing: ['processing', 'being processed', 'being prepared', 'being packed', 'packed'],
  delayed: ['delayed', 'running late'],
  cancelled: ['cancelled', 'canceled', 'has been cancelled'],
  returned: ['returned', 'on its way back'],
  ready_for_pickup: ['ready for pick up', 'ready for collection', 'ready to collect'],
}

/** Phrases of any order line, for an agent whose definition is not at hand. */
const COMMON_SENTENCES: readonly string[] = [
  'Hello, how can I help you?', 'Welcome.', 'What is your order number?', 'Please tell me your order number.', 'You said {order}.',
  'Is that right?', 'Is that correct?', 'Order {order} is {status}.', 'Your order is {status}.', 'It should arrive {eta}.',
  'Is there anything else I can help you with?', 'Is there anything else?', 'Sorry, I did not catch that.', 'Please say that again.',
  'One moment please.', 'I am connecting you to a colleague.', 'Please stay on the line.', 'Thank you for calling.', 'Goodbye.',
]

// The recogniser copies a rule to each place that names it: what is small here keeps decoding faster than real time.
const ORDER_DIGITS_USUAL = [4, 6] as const
const ORDER_DIGITS_MAX = 12
const ORDERS_MAX = 50
const HOUR = 'one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve'
const DAY = 'today | tomorrow | tonight | yesterday | monday | tuesday | wednesday | thursday | friday | saturday | sunday | next week'
const HALF_DAY = '[ a m | p m | in the ( morning | afternoon | evening ) ]'

/** A grammar and the words in it, for the recogniser. */
export interface EarGrammar {
  readonly jsgf: string
  readonly words: readonly string[]
}

/**
 * Builds the grammar of everything that the agent may say, sentence by sentence, in any order and number. It is closed:
 * what is no such sentence is mostly not recognised at all.
 * @param numbers  whether any number of the usual length may be heard, or only `vocabulary.orders` (at least one)
 */
export function earGrammar(vocabulary: EarVocabulary, numbers: 'any-order' | 'known-orders'): EarGrammar {
  const known = [...new Set(vocabulary.orders)].slice(0, ORDERS_MAX).map(digitWords)
  const statuses = Object.values(vocabulary.statuses).flat().map(jsgfWords).filter(isNotEmpty)
  const others = vocabulary.others.map(jsgfWords).filter(isNotEmpty)
  const etas = vocabulary.etas.map(jsgfWords).filter(isNotEmpty)
  const written = vocabulary.sentences.length > 0 ? vocabulary.sentences : COMMON_SENTENCES
  const sentences = new Set(written.flatMap(sentencesOf))
  const rules = [
    '#JSGF V1.0;', 'grammar agent;',
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
    const rule = part.split(/(\{+[^}]*\}+)/).map((piece) => (piece.startsWith('{') ? slotRule(piece) : jsgfWords(piece)))
      .filter(isNotEmpty).join(' ')
    const sentence = `${loneSlot} ${rule}`.trim()
    // A slot by itself would make its words acceptable anywhere: it is listened for together with what follows.
    loneSlot = /^<\w+>$/.test(sentence) ? sentence : ''
    if (loneSlot === '' && sentence !== '') sentences.push(sentence)
  }
  return sentences
}

/** What a slot may be filled with, by the last name in its path: `{{order.status | map:status}}` is a status. */
function slotRule(slot: string): string {
  const [path = '', ...filters] = slot.replace(/[{}]/g, '').split('|').map((part) => part.trim().toLowerCase())
  const name = path.split('.').at(-1)?.replace(/\W/g, '') ?? ''
  if (filters.includes('count')) return '<hour>'
  if (/^(order|number|ordernumber|digits)$/.test(name)) return path.includes('[]') ? '<order>+ [ and <order> ]' : '<order>'
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
