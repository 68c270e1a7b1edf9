import { z } from 'zod'
import { CALLER_EXPECTATIONS } from '../../call/backend-events.js'
import { spokenSchema as spoken } from '../../call/spoken/localized-text.js'
import { allowedNames } from '../file/faults.js'

/** Maximum number of states in an `offline:` block. */
const DIALOGUE_STATES_MAX = 200
/** Maximum number of steps in one state. */
const DIALOGUE_STEPS_MAX = 40
/** Maximum number of phrases in one list of an `offline:` block. */
const DIALOGUE_PHRASES_MAX = 100

/**
 * The `offline:` block of an agent: a complete dialogue as data, for the embedded backend (docs/OFFLINE-AGENT.md). This
 * file checks shape and names; `offline-check.ts` has further checks for the loader.
 */

const NAME = /^[a-z][a-z0-9-]{0,39}$/
const name = z.string().regex(NAME, 'a name is lower-case letters, digits and hyphens, and begins with a letter')
/** Path of a value: a name, then fields, indices, or `[]` for every element, such as `mine.orders[].orderNumber`. */
export const PATH = /^[A-Za-z_][A-Za-z0-9_-]*(\[\])?(\.[A-Za-z0-9_-]+(\[\])?)*$/
const path = z.string().regex(PATH, 'a path is names separated by dots, for example mine.orders[].orderNumber')
/**
 * A target: a state, `@repeat` (repeat the question), `@listen` (only listen again), or `@return` (return from an
 * interjection).
 */
const target = z
  .string()
  .regex(/^(@repeat|@listen|@return|[a-z][a-z0-9-]{0,39})$/, 'a state, @repeat, @listen or @return')
const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()])
const phrase = z.string().min(1).max(300)
const phraseWord = z.string().regex(/^[a-z][a-z'-]*$/, 'a word is small letters, apostrophes and hyphens')
const ENGLISH_DIGITS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine']
const CORRECTION_WORDS = ['no', 'sorry', 'wait']
const key = z.string().regex(/^[0-9]$/, 'a key is one of 0-9; * and # have their own meaning')

export type OfflineCondition =
  | { readonly exists: string }
  | { readonly equals: readonly [string, string | number | boolean | null] }
  | { readonly oneOf: readonly [string, readonly (string | number | boolean | null)[]] }
  | { readonly count: readonly [string, number] }
  | { readonly atLeast: readonly [string, number] }
  | { readonly not: OfflineCondition }
  | { readonly all: readonly OfflineCondition[] }
  | { readonly any: readonly OfflineCondition[] }

const condition: z.ZodType<OfflineCondition> = z.lazy(() =>
  z.union([
    z.strictObject({ exists: path }),
    z.strictObject({ equals: z.tuple([path, scalar]) }),
    z.strictObject({ oneOf: z.tuple([path, z.array(scalar).max(50)]) }),
    // The count of a list is its length. The count of a number is the number itself.
    z.strictObject({ count: z.tuple([path, z.number().int()]) }),
    z.strictObject({ atLeast: z.tuple([path, z.number().int()]) }),
    z.strictObject({ not: condition }),
    z.strictObject({ all: z.array(condition).min(1).max(20) }),
    z.strictObject({ any: z.array(condition).min(1).max(20) }),
  ]),
)

const when = condition.optional()
const toolCall = {
  tool: z.string().regex(/^[A-Za-z_][A-Za-z0-9_-]{0,63}$/),
  args: z.record(z.string(), scalar).default({}),
  /** True if the tool only reads. It may then run again if its result was lost because a worker died. */
  repeatable: z.boolean().default(false),
}

const listen = z.strictObject({
  /** Slots whose value the caller may say here or enter on the keypad. */
  slots: z.array(name).max(8).default([]),
  /** Target for each intent or slot. The targets in the `on` of the whole dialogue also apply here. */
  on: z.record(name, target).default({}),
  /**
   * With `digits`, every DTMF digit belongs to the expected number, even if the digit has another meaning elsewhere in
   * the dialogue.
   */
  keys: z.enum(['any', 'digits']).default('any'),
  /**
   * Kind of answer that is expected. It determines how long the agent waits for the caller (docs/VAD.md). Default: a
   * kind that follows from `on` and `slots`.
   */
  expects: z.enum(CALLER_EXPECTATIONS).exclude(['more-digits']).optional(),
  /** Text that is spoken if the caller was not understood. */
  retry: spoken.optional(),
  /** Target after too many answers that were not understood. */
  missed: target.optional(),
})

const step = z.union([
  z.strictObject({ say: spoken, when }),
  /** Starts a tool and continues without its result. Its result is stored under the name in `save`. */
  z.strictObject({ start: z.strictObject({ ...toolCall, save: name }), when }),
  /** Runs a tool and waits for its result. */
  z.strictObject({ call: z.strictObject({ ...toolCall, save: name.optional(), failed: target.optional() }), when }),
  /** Waits for the result of a started tool, if it has not arrived yet. */
  z.strictObject({ await: name, when }),
  /** Stores a value: a text in one or several languages, another value, or the value at a path. */
  z.strictObject({ set: z.record(name, z.union([scalar, z.strictObject({ path }), spoken])), when }),
  /** Stores the elements of a list whose fields have one of the given values. */
  z.strictObject({
    pick: z.strictObject({ from: path, where: z.record(z.string(), z.array(scalar).max(50)), save: name }),
    when,
  }),
  /** Deletes values, so that the caller is asked for these values again. */
  z.strictObject({ forget: z.array(path).min(1).max(20), when }),
  /** Allows, from now on, every value of a slot's type, not only known values. */
  z.strictObject({ widen: name, when }),
  /** Reads days and times for these slots from the caller's last words, if the words contain any. */
  z.strictObject({ take: z.array(name).min(1).max(8), when }),
  z.strictObject({ goto: target, when }),
  z.strictObject({ listen }),
  /** Ends the dialogue. After this step, only the `on` of the whole dialogue applies. */
  z.strictObject({ stop: z.literal(true) }),
])

const state = z.strictObject({
  /** True for an interjection. `@return` then returns to the state before the interjection. */
  aside: z.boolean().default(false),
  /**
   * Stage of the agent to which this state belongs. If the dialogue enters the state, the call enters the stage
   * (docs/STAGES.md).
   */
  stage: name.optional(),
  steps: z.array(step).min(1).max(DIALOGUE_STEPS_MAX),
})

const phrases = z.array(phrase).min(1).max(DIALOGUE_PHRASES_MAX)
/**
 * Phrases in other languages, for typed words and for recognisers of all languages. The offline recogniser does not use
 * these phrases.
 */
const typed = phrases.exactOptional()

const clockTime = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$|^24:00$/, 'a time is HH:MM, for example 08:00')

const slot = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('digits'),
    min: z.number().int().min(1).max(20),
    max: z.number().int().min(1).max(20),
    /** True if the value proves the caller's identity. Transcripts then show dots instead of its digits. */
    secret: z.boolean().default(false),
    /**
     * Paths of known values, such as the caller's orders, that the caller most likely means. At first the grammar
     * accepts only these values.
     */
    known: z.array(path).max(4).default([]),
    /** Phrases around the value; `<…>` is the slot itself. The value alone is always accepted. */
    phrases: z.array(phrase).max(DIALOGUE_PHRASES_MAX).default([]),
  }),
  z.strictObject({
    type: z.literal('choice'),
    options: z.record(name, z.strictObject({ phrases, typed, key: key.optional() })),
    phrases: z.array(phrase).max(DIALOGUE_PHRASES_MAX).default([]),
  }),
  /**
   * A day, as `2026-11-27`: "tomorrow", "on Friday", "tarehe tano Desemba". Words that may mean two days are not
   * understood.
   */
  z.strictObject({ type: z.literal('date'), phrases: z.array(phrase).max(DIALOGUE_PHRASES_MAX).default([]) }),
  /**
   * A time of day, as `10:00`. If words may mean two times ("at four", "saa kumi"), the time that is between `from` and
   * `to` is used.
   */
  z.strictObject({
    type: z.literal('time'),
    from: clockTime.default('00:00'),
    to: clockTime.default('24:00'),
    phrases: z.array(phrase).max(DIALOGUE_PHRASES_MAX).default([]),
  }),
  /**
   * Any words (a name, a message) that do not match another expected answer. They are typed, or come from a recogniser
   * that knows all words. The offline recogniser does not know all words.
   */
  z.strictObject({ type: z.literal('text'), phrases: z.array(z.never()).max(0).default([]) }),
])

/** Words for one answer: a list of phrases, or the phrases of an intent. */
const answer = z.union([phrases, z.strictObject({ phrases, typed })], {
  error: 'must be a list of phrases, or { phrases, typed }',
})

/** Converts an answer to its long form. */
export function answerOf(given: z.infer<typeof answer>): { phrases: string[]; typed?: string[] } {
  return Array.isArray(given) ? { phrases: given } : given
}

/** Returns the path of an answer's phrases. */
export function pathOfAnswer({ callBack }: OfflineDialogue, said: 'yes' | 'no'): readonly string[] {
  return ['callBack', said, ...(Array.isArray(callBack[said]) ? [] : ['phrases'])]
}

/**
 * Dialogue of the embedded backend in a call back to a caller whose call was interrupted. The dialogue first asks if
 * the caller wants to continue.
 */
const callBack = z.strictObject({
  yes: answer.default({
    phrases: ['yes', 'yeah', 'yep', 'sure', 'okay', 'yes please', 'go on', 'yes [let us] go on'],
    typed: ['[ndiyo] tuendelee', '[sawa] endelea'],
  }),
  no: answer.default({
    phrases: ['no', 'nope', 'no thanks', 'no thank you', 'not now', 'wrong number', 'it was not me'],
    typed: ['si sasa', 'sio sasa', 'umekosea namba', 'namba si yangu', 'sio mimi', 'si mimi'],
  }),
  /** Text that is spoken after a yes, instead of the greeting, if the dialogue does not define `takeover`. */
  goOn: spoken.default({ en: 'All right. How can I help you?', sw: 'Sawa. Nikusaidie nini?' }),
  /** Text that is spoken after a no, before the call ends. */
  goodbye: spoken.default({ en: 'All right. Goodbye.', sw: 'Sawa. Kwaheri.' }),
})

/** Default phrases about a number that is too short or too long. */
export const NUMBER_TEXTS = {
  more: {
    en: '{{part | spell | default:Yes}}, and then?',
    sw: '{{part | spell | default:Ndiyo}}, halafu?',
  },
  tooMany: {
    en: '{{part | spell | default:That}} is too many digits.',
    sw: '{{part | spell | default:Hizo}} ni tarakimu nyingi mno.',
  },
} as const

/** Checks only the shape. The loader checks all other rules after it has read the whole agent. */
export const offlineShape = z.strictObject({
  version: z.literal(1),
  /** Voice of the embedded synthesiser. The agent's `voice.embedded` has precedence. */
  voice: z.enum(['slt', 'rms', 'awb', 'kal']).optional(),
  /**
   * Pronunciations, in ARPAbet phones, of words that are not in the CMU dictionary: `pikipiki: P IH K IH P IH K IH`.
   */
  words: z
    .record(
      z.string().regex(/^[a-z][a-z'-]*$/),
      z.string().regex(/^[A-Z]{1,2}( [A-Z]{1,2})*$/, 'ARPAbet phones without stress digits'),
    )
    .default({}),
  /** Words for the digits 0 to 9. */
  digits: z.array(phraseWord).length(10, 'the ten words for the digits 0 to 9').default(ENGLISH_DIGITS),
  /** Words that are ignored before and after a phrase. */
  around: z
    .strictObject({
      before: z.array(phraseWord).max(20),
      after: z.array(phraseWord).max(20),
      /** Words that announce a correction. The digits after such a word replace the digits before it. */
      correction: z.array(phraseWord).max(20).default(CORRECTION_WORDS),
    })
    .default({ before: ['hello', 'hi', 'um'], after: ['please'], correction: CORRECTION_WORDS }),
  /** Tables that map a value to its words, for `{{order.status | map:status}}`. */
  maps: z.record(name, z.record(z.string(), spoken)).default({}),
  intents: z.record(name, z.strictObject({ phrases, typed, keys: z.array(key).max(10).default([]) })),
  slots: z.record(name, slot).default({}),
  /** Intents and slots that apply in every state. */
  on: z.record(name, target).default({}),
  /** Text that is spoken if the caller was not understood. `retry` of a `listen` has precedence. */
  retry: spoken.default({ en: 'Sorry, I did not catch that.', sw: 'Samahani, sikusikia vizuri.' }),
  /**
   * Text that is spoken if a number is too short and no further digits come. `part` contains the digits so far; it is
   * empty for secret digits.
   */
  more: spoken.default(NUMBER_TEXTS.more),
  /**
   * Text that is spoken before `retry` if a number has more digits than its slot accepts. `part` contains the digits.
   */
  tooMany: spoken.default(NUMBER_TEXTS.tooMany),
  /** Number of answers in a row that are not understood, after which the dialogue continues with `missed`. */
  misses: z.number().int().min(1).max(5).default(2),
  missed: target,
  start: name,
  /** First state after a failover from another backend. Default: `start`. */
  takeover: name.optional(),
  /** First state of a call that the agent places. Default: `start`. */
  outbound: name.optional(),
  callBack: callBack.prefault({}),
  states: z.record(name, state),
})

export type OfflineDialogue = z.infer<typeof offlineShape>
export type OfflineStep = z.infer<typeof step>
export type OfflineListen = z.infer<typeof listen>
export type OfflineSlot = z.infer<typeof slot>

/** Value that a `set` step stores under a name. */
export type SetValue = Extract<OfflineStep, { set: unknown }>['set'][string]

/** True if a value has a path; false for a text in several languages. */
export function isPathValue(value: object): value is { readonly path: string } {
  return 'path' in value
}

/** True if a step ends a state. Later steps of the list then never run. */
function isLast(one: OfflineStep): boolean {
  return 'listen' in one || 'stop' in one || ('goto' in one && one.when === undefined)
}

/**
 * Finds names of states, intents and slots that do not exist, phrases that cannot be parsed, and steps that never run.
 */
export function looseEnds(
  dialogue: OfflineDialogue,
  report: (at: readonly (string | number)[], message: string) => void,
): void {
  const states = Object.keys(dialogue.states)
  if (states.length > DIALOGUE_STATES_MAX)
    report(['states'], `${states.length} states; allowed are ${DIALOGUE_STATES_MAX}`)
  const checkTarget = (at: readonly (string | number)[], goal: string): void => {
    if (!goal.startsWith('@') && !Object.hasOwn(dialogue.states, goal))
      report(at, `there is no state named ${goal}; ${allowedNames(goal, states)}`)
  }
  const checkSlot = (at: readonly (string | number)[], slotName: string): void => {
    if (!Object.hasOwn(dialogue.slots, slotName))
      report(at, `there is no slot named ${slotName}; ${allowedNames(slotName, Object.keys(dialogue.slots))}`)
  }
  const checkOn = (at: readonly (string | number)[], on: Readonly<Record<string, string>>): void => {
    for (const [event, goal] of Object.entries(on)) {
      if (!Object.hasOwn(dialogue.intents, event) && !Object.hasOwn(dialogue.slots, event)) {
        report(
          [...at, event],
          `there is no intent or slot named ${event}; ${allowedNames(event, [...Object.keys(dialogue.intents), ...Object.keys(dialogue.slots)])}`,
        )
      }
      checkTarget([...at, event], goal)
    }
  }
  const checkPhrases = (at: readonly (string | number)[], sources: readonly string[], own: string | null): void => {
    for (const [i, source] of sources.entries()) {
      try {
        for (const used of slotsOf(parsePhrase(source))) {
          if (own !== null && used !== own) report([...at, i], `a phrase of slot ${own} may only name <${own}>`)
          checkSlot([...at, i], used)
        }
      } catch (error) {
        report([...at, i], error instanceof Error ? error.message : String(error))
      }
    }
  }

  checkTarget(['start'], dialogue.start)
  if (dialogue.takeover !== undefined) checkTarget(['takeover'], dialogue.takeover)
  if (dialogue.outbound !== undefined) checkTarget(['outbound'], dialogue.outbound)
  checkTarget(['missed'], dialogue.missed)
  checkOn(['on'], dialogue.on)
  for (const said of ['yes', 'no'] as const) {
    const { phrases: sources, typed: others = [] } = answerOf(dialogue.callBack[said])
    checkPhrases(pathOfAnswer(dialogue, said), sources, '')
    checkPhrases(['callBack', said, 'typed'], others, '')
  }
  for (const [intent, { phrases: sources, typed: others = [] }] of Object.entries(dialogue.intents)) {
    checkPhrases(['intents', intent, 'phrases'], sources, null)
    checkPhrases(['intents', intent, 'typed'], others, null)
  }
  for (const [slotName, definition] of Object.entries(dialogue.slots)) {
    if (Object.hasOwn(dialogue.intents, slotName)) report(['slots', slotName], `${slotName} is an intent too`)
    checkPhrases(['slots', slotName, 'phrases'], definition.phrases, slotName)
    if (definition.type === 'digits' && definition.max < definition.min)
      report(['slots', slotName, 'max'], 'max is less than min')
    if (definition.type === 'time' && definition.to <= definition.from)
      report(['slots', slotName, 'to'], 'to is not after from')
    if (definition.type !== 'choice') continue
    for (const [option, { phrases: sources, typed: others = [] }] of Object.entries(definition.options)) {
      checkPhrases(['slots', slotName, 'options', option, 'phrases'], sources, '')
      checkPhrases(['slots', slotName, 'options', option, 'typed'], others, '')
    }
  }
  for (const [stateName, { steps }] of Object.entries(dialogue.states)) {
    for (const [i, one] of steps.entries()) {
      const at = ['states', stateName, 'steps', i]
      const last = i === steps.length - 1
      if (isLast(one) && !last) report(at, 'the steps after this one never run')
      if (last && !isLast(one)) report(at, 'the last step of a state is listen, stop, or a goto without a condition')
      if ('goto' in one) checkTarget([...at, 'goto'], one.goto)
      if ('call' in one && one.call.failed !== undefined) checkTarget([...at, 'call', 'failed'], one.call.failed)
      if ('widen' in one) checkSlot([...at, 'widen'], one.widen)
      for (const [j, taken] of ('take' in one ? one.take : []).entries()) {
        checkSlot([...at, 'take', j], taken)
        const type = dialogue.slots[taken]?.type
        if (type !== undefined && type !== 'date' && type !== 'time')
          report([...at, 'take', j], `slot ${taken} has the type ${type}; allowed are date and time`)
      }
      if (!('listen' in one)) continue
      checkOn([...at, 'listen', 'on'], one.listen.on)
      if (one.listen.missed !== undefined) checkTarget([...at, 'listen', 'missed'], one.listen.missed)
      for (const [j, slotName] of one.listen.slots.entries()) {
        checkSlot([...at, 'listen', 'slots', j], slotName)
        if (!Object.hasOwn(one.listen.on, slotName) && !Object.hasOwn(dialogue.on, slotName)) {
          report([...at, 'listen', 'slots', j], `on does not say where ${slotName} leads`)
        }
      }
    }
  }
}

/** Schema of one `offline:` block. */
export const offlineSchema = offlineShape.superRefine((dialogue, context) => {
  looseEnds(dialogue, (at, message) => {
    context.addIssue({ code: 'custom', path: [...at], message })
  })
})

/**
 * A phrase that callers may say: words, `[optional]`, `(one | other)` and `<slot>`. The recogniser's grammar is built
 * from phrases. Recognised or typed text is compared with the phrases.
 */
export type Phrase =
  | { readonly type: 'word'; readonly word: string }
  | { readonly type: 'slot'; readonly slot: string }
  | { readonly type: 'all'; readonly parts: readonly Phrase[] }
  | { readonly type: 'any'; readonly choices: readonly Phrase[] }
  | { readonly type: 'maybe'; readonly part: Phrase }

const TOKEN = /\s*(\[|\]|\(|\)|\||<([a-z][a-z0-9-]*)>|([a-z][a-z'-]*))/iy
const DEPTH_MAX = 8

/**
 * Parses a phrase. Words may have only letters, apostrophes and hyphens. @throws SyntaxError with the fault and its
 * position
 */
export function parsePhrase(source: string): Phrase {
  const tokens = tokensOf(source)
  let at = 0

  function any(depth: number): Phrase {
    if (depth > DEPTH_MAX)
      throw new SyntaxError(`brackets in ${JSON.stringify(source)} are nested deeper than ${DEPTH_MAX}`)
    const choices = [all(depth)]
    while (tokens[at] === '|') {
      at++
      choices.push(all(depth))
    }
    const [only] = choices
    return choices.length === 1 && only !== undefined ? only : { type: 'any', choices }
  }

  function all(depth: number): Phrase {
    const parts: Phrase[] = []
    for (
      let token = tokens[at];
      token !== undefined && token !== ')' && token !== ']' && token !== '|';
      token = tokens[at]
    ) {
      at++
      if (token === '(') {
        parts.push(any(depth + 1))
        expect(')')
      } else if (token === '[') {
        parts.push({ type: 'maybe', part: any(depth + 1) })
        expect(']')
      } else if (token.startsWith('<')) {
        parts.push({ type: 'slot', slot: token.slice(1, -1) })
      } else {
        parts.push({ type: 'word', word: token })
      }
    }
    if (parts.length === 0) throw new SyntaxError(`an empty choice in ${JSON.stringify(source)}`)
    const [only] = parts
    return parts.length === 1 && only !== undefined ? only : { type: 'all', parts }
  }

  function expect(token: string): void {
    if (tokens[at] !== token) throw new SyntaxError(`a missing ${token} in ${JSON.stringify(source)}`)
    at++
  }

  const phrase = any(0)
  if (at < tokens.length) throw new SyntaxError(`a ${tokens[at]} too many in ${JSON.stringify(source)}`)
  if (canBeEmpty(phrase)) throw new SyntaxError(`${JSON.stringify(source)} may match no words at all`)
  return phrase
}

function tokensOf(source: string): string[] {
  const tokens: string[] = []
  TOKEN.lastIndex = 0
  let end = 0
  for (let found = TOKEN.exec(source); found !== null; found = TOKEN.exec(source)) {
    end = TOKEN.lastIndex
    tokens.push((found[1] ?? '').toLowerCase())
  }
  const rest = source.slice(end).trim()
  if (rest !== '')
    throw new SyntaxError(
      `${JSON.stringify(rest)} in ${JSON.stringify(source)}: digits and signs must be written as words`,
    )
  return tokens
}

function canBeEmpty(phrase: Phrase): boolean {
  switch (phrase.type) {
    case 'word':
    case 'slot':
      return false
    case 'maybe':
      return true
    case 'all':
      return phrase.parts.every(canBeEmpty)
    case 'any':
      return phrase.choices.some(canBeEmpty)
  }
}

/** Returns the words and slots of a phrase, in order. */
function leavesOf(phrase: Phrase): Extract<Phrase, { readonly type: 'word' | 'slot' }>[] {
  switch (phrase.type) {
    case 'maybe':
      return leavesOf(phrase.part)
    case 'all':
      return phrase.parts.flatMap(leavesOf)
    case 'any':
      return phrase.choices.flatMap(leavesOf)
    default:
      return [phrase]
  }
}

/** Returns the slots that a phrase names. */
export function slotsOf(phrase: Phrase): string[] {
  return leavesOf(phrase).flatMap((leaf) => (leaf.type === 'slot' ? [leaf.slot] : []))
}

/** Returns the words of a phrase, without its slots. */
export function wordsOf(phrase: Phrase): string[] {
  return leavesOf(phrase).flatMap((leaf) => (leaf.type === 'word' ? [leaf.word] : []))
}

/**
 * Matches `{{path | filter | …}}` in a text of an offline dialogue. Only this module parses placeholders; the engine
 * fills the placeholders, and the loader checks them.
 */
export const PLACEHOLDER = /\{\{\s*([^{}|]*?)\s*((?:\|[^{}]*)?)\}\}/g

/**
 * Filters that may follow a path. `map` needs the name of a map of the dialogue, `list` a word, `default` words. `day`
 * says a date with its weekday. `clocks` says a time in the Swahili and the English way.
 */
export const FILTERS = ['map', 'list', 'count', 'spell', 'default', 'day', 'clocks'] as const

export interface Filter {
  /** Name of the filter, one of `FILTERS`. */
  readonly name: string
  /** Text after the colon; empty if there is no colon. */
  readonly argument: string
}

/** Parses filters. @param source  text after the path: `| map:status | default:unknown` */
export function filtersOf(source: string): Filter[] {
  return source
    .split('|')
    .map((one) => one.trim())
    .filter((one) => one !== '')
    .map((one) => {
      const colon = one.indexOf(':')
      return colon < 0
        ? { name: one, argument: '' }
        : { name: one.slice(0, colon).trim(), argument: one.slice(colon + 1).trim() }
    })
}
