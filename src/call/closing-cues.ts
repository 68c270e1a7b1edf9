import { withoutPhrases } from './backchannel.js'

/** Said by callers who are done, English and Swahili; callers mix them, so all count in every call. */
const ENDS = [
  ...["that's all", 'that is all', "that's it", "that'll be all", 'that will be all', 'nothing else', 'nothing more'],
  ...['goodbye', 'good bye', 'bye', 'have a good day', 'have a nice day', 'have a good one', 'talk to you later'],
  ...['hayo tu', 'hiyo tu', 'hilo tu', 'hicho tu', 'hakuna kingine', 'hakuna lingine', 'hakuna mengine'],
  ...['sina kingine', 'sina lingine', 'kwaheri', 'kwa heri', 'baadaye', 'tutaonana', 'siku njema', 'usiku mwema'],
]

/** What may stand beside them. Alone none of these ends anything: "thank you" may be a pause, and "no" an answer. */
const BESIDE = [
  ...['thank you very much', 'thank you so much', 'thank you', 'thanks a lot', 'thanks', 'cheers', 'no', 'nope', 'ok'],
  ...['okay', 'alright', 'all right', 'great', 'fine', 'good', 'perfect', 'well', 'so', 'then', 'for now', 'for today'],
  ...[
    'i think',
    'i guess',
    'you too',
    'you have been very helpful',
    "i'm good",
    'and',
    'oh',
    'yes',
    'yeah',
    'sir',
    'madam',
  ],
  ...[
    'asante sana',
    'asante',
    'ahsante',
    'asanteni',
    'shukran',
    'shukrani',
    'sawa',
    'poa',
    'haya',
    'hapana',
    'la',
    'ni',
  ],
  ...['basi', 'kwa sasa', 'kwa leo', 'ndiyo', 'ndio', 'eeh', 'na wewe pia', 'nawe pia', 'na', 'tu', 'bwana', 'mama'],
]

/** Words with which an agent says goodbye itself. */
const FAREWELL = /\b(good ?bye|bye|kwa ?heri|tutaonana|siku njema)\b/i

/**
 * Whether a caller's words say that the call is over: nothing but closing words, and at least two, because one word never
 * ends a call.
 */
export function isClosing(words: string): boolean {
  const { left, phrases } = withoutPhrases(words, ENDS)
  if (phrases === 0) return false
  return withoutPhrases(left, BESIDE).left === '' && /\S\s+\S/.test(words.trim())
}

/** Whether an agent's words are a goodbye already. */
export function saysGoodbye(words: string): boolean {
  return FAREWELL.test(words)
}
