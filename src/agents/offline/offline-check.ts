import { textsOf } from '../../call/spoken/localized-text.js'
import type { LocalizedText } from '../../call/spoken/localized-text.js'
import { COLLECT_TOOL, END_CALL_TOOL, ESCALATE_TOOL, HANDOVER_TOOL } from '../../call/tools/gateway-tools.js'
import { SPEECH_GRAMMAR_CHARS_MAX } from '../../core/limits.js'
import { allowedNames as allowed, nearest } from '../file/faults.js'
import type { OfflineCondition, OfflineDialogue, OfflineListen, OfflineStep } from './offline.js'
import { businessFactsIn, variablesIn } from '../file/template.js'
import {
  FILTERS,
  answerOf,
  filtersOf,
  isPathValue,
  looseEnds,
  parsePhrase,
  pathOfAnswer,
  PATH,
  PLACEHOLDER,
  slotsOf,
  wordsOf,
} from './offline.js'

/**
 * Abilities of the recogniser and the synthesiser. Both belong to a lower layer, so the code that starts the gateway
 * passes these abilities to the check.
 */
export interface OfflineSpeech {
  /** Returns true if the recogniser's dictionary contains a word. The word is given in small letters. */
  readonly knowsWord: (word: string) => boolean
  /** Phones (ARPAbet) that the dialogue may use for its own words. */
  readonly phones: readonly string[]
  /** Returns the size of the dialogue's grammar for these intents and slots, in characters. */
  readonly grammarChars: (dialogue: OfflineDialogue) => (intents: readonly string[], slots: readonly string[]) => number
  /** Returns the first part of a text that the synthesiser cannot speak; null if it can speak the whole text. */
  readonly unspoken: (text: string) => string | null
}

/** A tool with the properties that a dialogue needs to call it. */
export interface CallableTool {
  /** Names of the tool's arguments; null if only the tool's server knows them. */
  readonly arguments: readonly string[] | null
  /** Arguments that the dialogue must supply. */
  readonly required: readonly string[]
  /** Fields that a result may have; null if every field is possible. */
  readonly fields: readonly string[] | null
  /** True if the tool receives secret digits, so that only `collect_digits` calls it. */
  readonly getsDigits?: boolean
}
type Scalar = string | number | boolean | null

/**
 * Names of values that every dialogue has, with the fields of each value; null if every field is possible. The fields
 * of `slots` and `visits` come from the dialogue.
 */
const GIVEN: Readonly<Record<string, readonly string[] | null>> = {
  greeting: [],
  humans: ['there'],
  part: [],
  heard: ['by', 'text', 'sure'],
  failure: null,
}
/** Names under which the engine itself stores values. A dialogue's value with such a name would be lost. */
const TAKEN = ['heard', 'part', 'failure', 'slots', 'visits']
/** Tools that end the dialogue. */
const ENDING: readonly string[] = [END_CALL_TOOL, ESCALATE_TOOL, HANDOVER_TOOL]

class Check {
  readonly faults: OfflineFault[] = []
  readonly #dialogue: OfflineDialogue
  readonly #tools: ReadonlyMap<string, CallableTool> | null
  readonly #speech: OfflineSpeech | null
  readonly #given: typeof GIVEN
  /**
   * Names under which the dialogue stores values, with the possible fields of each value; null if every field is
   * possible.
   */
  readonly #kept = new Map<string, { readonly path: Path; fields: readonly string[] | null }>()
  /** Names of values that the dialogue reads or waits for. */
  readonly #read = new Set<string>()
  readonly #mapsUsed = new Set<string>()

  constructor(
    dialogue: OfflineDialogue,
    tools: ReadonlyMap<string, CallableTool> | null,
    speech: OfflineSpeech | null,
    callerFields: readonly string[] | null,
  ) {
    this.#given = { ...GIVEN, caller: callerFields === null ? null : ['number', ...callerFields] }
    this.#dialogue = dialogue
    this.#tools = tools
    this.#speech = speech
  }

  run(): void {
    const { states, slots, retry, more, tooMany, maps, callBack } = this.#dialogue
    looseEnds(this.#dialogue, (at, what) => {
      this.#fault(at, what)
    })
    for (const [path, step] of this.#steps()) this.#keeps(path, step)
    for (const [path, step] of this.#steps()) this.#step(path, step)
    for (const [name, slot] of Object.entries(slots)) {
      if (slot.type === 'digits')
        slot.known.forEach((path, i) => {
          this.#path(['slots', name, 'known', i], path)
        })
    }
    this.#text(['retry'], retry)
    for (const name of ['goOn', 'goodbye'] as const) this.#text(['callBack', name], callBack[name])
    this.#text(['more'], more)
    this.#text(['tooMany'], tooMany)
    for (const [map, words] of Object.entries(maps)) {
      for (const [value, phrase] of Object.entries(words))
        for (const text of textsOf(phrase)) this.#spoken(['maps', map, value], text)
    }
    for (const [name, { path }] of this.#kept) {
      if (!this.#read.has(name)) this.#fault(path, `keeps ${name}, which nothing reads`)
    }
    for (const map of Object.keys(maps)) {
      if (!this.#mapsUsed.has(map))
        this.#fault(['maps', map], `is used by no text; a text uses it as {{path | map:${map}}}`, true)
    }
    for (const [name, { steps }] of Object.entries(states)) this.#ways(name, steps)
    this.#reachable()
    this.#circles()
    this.#stops()
    this.#heard()
    this.#words()
    // The grammar is checked only if all phrases can be parsed.
    if (this.faults.length === 0) this.#grammars()
  }

  #fault(path: Path, what: string, key = false): void {
    this.faults.push({ path: ['offline', ...path], key, what })
  }

  /** Returns each step with its path, in the order of the file. */
  *#steps(): Iterable<readonly [Path, OfflineStep]> {
    for (const [name, { steps }] of Object.entries(this.#dialogue.states)) {
      for (const [i, step] of steps.entries()) yield [['states', name, 'steps', i], step]
    }
  }

  // --- values -----------------------------------------------------------------------------------------------------

  #keeps(path: Path, step: OfflineStep): void {
    if ('start' in step) this.#keep([...path, 'start', 'save'], step.start.save, this.#fieldsOf(step.start.tool))
    else if ('call' in step && step.call.save !== undefined)
      this.#keep([...path, 'call', 'save'], step.call.save, this.#fieldsOf(step.call.tool))
    else if ('pick' in step) this.#keep([...path, 'pick', 'save'], step.pick.save, null)
    else if ('set' in step) for (const name of Object.keys(step.set)) this.#keep([...path, 'set', name], name, null)
  }

  #fieldsOf(tool: string): readonly string[] | null {
    return this.#tools?.get(tool)?.fields ?? null
  }

  #keep(path: Path, name: string, fields: readonly string[] | null): void {
    if (TAKEN.includes(name))
      this.#fault(path, `keeps a value as ${name}, a name of the dialogue itself; ${TAKEN.join(', ')} are taken`)
    const before = this.#kept.get(name)
    if (before === undefined) this.#kept.set(name, { path, fields })
    else before.fields = before.fields === null || fields === null ? null : [...before.fields, ...fields]
  }

  /** Checks a path in a condition, a `set`, a `pick`, a slot or a text. */
  #path(at: Path, source: string): void {
    const [first = '', ...rest] = source.split('.')
    const head = first.replace(/\[\]$/, '')
    this.#read.add(head)
    const field = rest[0]?.replace(/\[\]$/, '')
    const fault = this.#headFault(head, field, first.endsWith('[]'))
    if (fault !== null) this.#fault(at, `reads ${source}; ${fault}`)
  }

  #headFault(head: string, field: string | undefined, each: boolean): string | null {
    const { slots, states } = this.#dialogue
    const fieldFault = (fields: readonly string[] | null): string | null => {
      if (
        fields === null ||
        each ||
        (field === undefined ? fields.length === 0 || this.#kept.has(head) : fields.includes(field))
      )
        return null
      return `${head} has ${field === undefined ? 'a value in each of its fields only' : `no field ${field}`}: ${allowed(field ?? '', fields)}`
    }
    if (head === 'slots') return fieldFault(Object.keys(slots))
    if (head === 'visits') return fieldFault(Object.keys(states))
    const kept = this.#kept.get(head)
    if (kept !== undefined) return fieldFault(kept.fields === null || kept.fields.length === 0 ? null : kept.fields)
    if (Object.hasOwn(this.#given, head)) return fieldFault(this.#given[head] ?? null)
    return `no value has the name ${head}: ${allowed(head, [...Object.keys(this.#given), 'slots', 'visits', ...this.#kept.keys()])}`
  }

  #condition(at: Path, condition: OfflineCondition | undefined): void {
    if (condition === undefined) return
    if ('exists' in condition) this.#path([...at, 'exists'], condition.exists)
    else if ('equals' in condition) this.#path([...at, 'equals'], condition.equals[0])
    else if ('oneOf' in condition) this.#path([...at, 'oneOf'], condition.oneOf[0])
    else if ('count' in condition) this.#path([...at, 'count'], condition.count[0])
    else if ('atLeast' in condition) this.#path([...at, 'atLeast'], condition.atLeast[0])
    else if ('not' in condition) this.#condition([...at, 'not'], condition.not)
    else if ('all' in condition)
      condition.all.forEach((one, i) => {
        this.#condition([...at, 'all', i], one)
      })
    else
      condition.any.forEach((one, i) => {
        this.#condition([...at, 'any', i], one)
      })
  }

  // --- texts ------------------------------------------------------------------------------------------------------

  /** Checks spoken words that may contain placeholders. */
  #text(at: Path, phrase: LocalizedText): void {
    for (const text of textsOf(phrase)) {
      this.#template(at, text)
      // Each placeholder is replaced by a number, so that the text can be checked as spoken text.
      this.#spoken(at, text.replace(PLACEHOLDER, ' 0 '))
    }
  }

  #spoken(at: Path, text: string): void {
    const unspoken = this.#speech?.unspoken(text) ?? null
    if (unspoken !== null)
      this.#fault(
        at,
        `has ${JSON.stringify(unspoken)}, which the voice cannot say; it speaks words in the letters a-z, and numbers`,
      )
  }

  #template(at: Path, text: string): void {
    for (const [whole, path = '', filters = ''] of text.matchAll(PLACEHOLDER)) {
      if (path.startsWith('call.variables.')) {
        // A placeholder of this kind is filled before the dialogue begins.
        if (variablesIn(whole).length === 0) this.#fault(at, `has ${whole}; {{call.variables.NAME}} takes no filter`)
      } else if (path.startsWith('business.')) {
        // A placeholder of this kind is filled before the dialogue begins.
        if (businessFactsIn(whole).length === 0) this.#fault(at, `has ${whole}; {{business.NAME}} takes no filter`)
      } else if (PATH.test(path)) this.#path(at, path)
      else
        this.#fault(
          at,
          `has ${whole}; a placeholder is {{path}} or {{path | filter}}, for example {{order.status | map:status}}`,
        )
      for (const { name, argument } of filtersOf(filters)) {
        if (!FILTERS.some((filter) => filter === name))
          this.#fault(at, `has an unknown filter ${name}; ${allowed(name, FILTERS)}`)
        else if (name === 'map') this.#map(at, argument)
      }
    }
    if (/\{\{|\}\}/.test(text.replace(PLACEHOLDER, ''))) this.#fault(at, 'has {{ or }} without its partner')
  }

  #map(at: Path, map: string): void {
    const maps = Object.keys(this.#dialogue.maps)
    this.#mapsUsed.add(map)
    if (!maps.includes(map)) this.#fault(at, `names an unknown map ${map || '(none)'}; ${allowed(map, maps)}`)
  }

  // --- steps ------------------------------------------------------------------------------------------------------

  #step(at: Path, step: OfflineStep): void {
    if ('when' in step) this.#condition([...at, 'when'], step.when)
    if ('say' in step) this.#text([...at, 'say'], step.say)
    else if ('start' in step) this.#call([...at, 'start'], step.start)
    else if ('call' in step) this.#call([...at, 'call'], step.call)
    else if ('await' in step) this.#await([...at, 'await'], step.await)
    else if ('pick' in step) this.#path([...at, 'pick', 'from'], step.pick.from)
    else if ('set' in step) {
      for (const [name, value] of Object.entries(step.set)) {
        if (typeof value !== 'string' && (typeof value !== 'object' || value === null)) continue
        if (typeof value === 'object' && isPathValue(value)) this.#path([...at, 'set', name, 'path'], value.path)
        else for (const text of textsOf(value)) this.#template([...at, 'set', name], text)
      }
    } else if ('forget' in step)
      step.forget.forEach((path, i) => {
        this.#forget([...at, 'forget', i], path)
      })
    else if ('listen' in step && step.listen.retry !== undefined)
      this.#text([...at, 'listen', 'retry'], step.listen.retry)
  }

  #call(
    at: Path,
    { tool: name, args }: { readonly tool: string; readonly args: Readonly<Record<string, Scalar>> },
  ): void {
    for (const [argument, value] of Object.entries(args))
      if (typeof value === 'string') this.#template([...at, 'args', argument], value)
    if (this.#tools === null) return
    const tool = this.#tools.get(name)
    if (tool === undefined) {
      this.#fault(
        [...at, 'tool'],
        `is ${name}, but the agent has no tool of that name; ${allowed(name, [...this.#tools.keys()])}`,
      )
      return
    }
    if (tool.getsDigits === true)
      this.#fault([...at, 'tool'], `is ${name}, which gets sensitive digits: call ${COLLECT_TOOL}, which calls it`)
    for (const argument of Object.keys(args)) {
      if (tool.arguments !== null && !tool.arguments.includes(argument))
        this.#fault(
          [...at, 'args', argument],
          `is not an argument of ${name}; ${allowed(argument, tool.arguments)}`,
          true,
        )
    }
    const missing = tool.required.filter((argument) => !Object.hasOwn(args, argument))
    if (missing.length > 0) this.#fault([...at, 'tool'], `is ${name}, which needs ${missing.join(', ')} under args`)
  }

  #await(at: Path, name: string): void {
    this.#read.add(name)
    const started = [...this.#steps()].flatMap(([, step]) => ('start' in step ? [step.start.save] : []))
    if (!started.includes(name))
      this.#fault(at, `waits for ${name}, but no start step has that name; ${allowed(name, started)}`)
  }

  #forget(at: Path, path: string): void {
    const [head = '', field] = path.split('.')
    const fault = this.#headFault(head, field, false)
    if (fault !== null) this.#fault(at, `forgets ${path}; ${fault}`)
  }

  // --- paths through the dialogue ----------------------------------------------------------------------------------

  /** Returns the targets of a state, without the targets in the `on` of the whole dialogue. */
  #targets(steps: readonly OfflineStep[]): string[] {
    return steps.flatMap((step) => {
      if ('goto' in step) return [step.goto]
      if ('call' in step) return step.call.failed === undefined ? [] : [step.call.failed]
      return 'listen' in step ? [...Object.values(step.listen.on), step.listen.missed ?? this.#dialogue.missed] : []
    })
  }

  #ways(name: string, steps: readonly OfflineStep[]): void {
    const at = ['states', name]
    if (this.#dialogue.states[name]?.aside !== true && this.#targets(steps).includes('@return')) {
      this.#fault(at, 'has @return, which leads back only from a state with aside: true', true)
    }
    for (const [i, step] of steps.entries())
      if ('listen' in step) this.#listen([...at, 'steps', i, 'listen'], step.listen)
    const { on } = steps.flatMap((step) => ('listen' in step ? [step.listen] : []))[0] ?? { on: null }
    if (on === null) return
    // The targets in the `on` of the whole dialogue are added, except for the names that this state itself handles.
    const targets = [...this.#targets(steps), ...Object.values({ ...this.#dialogue.on, ...on })]
    if (targets.every((target) => target === name || target === '@repeat' || target === '@listen')) {
      this.#fault(at, 'is never left: every event in it, and missed, leads back to it', true)
    }
  }

  #listen(at: Path, { on, slots }: OfflineListen): void {
    if (Object.keys(on).length + Object.keys(this.#dialogue.on).length === 0) {
      this.#fault(at, "listens for nothing: neither its own on nor the dialogue's on names an event")
    }
    for (const event of Object.keys(on)) {
      if (Object.hasOwn(this.#dialogue.slots, event) && !slots.includes(event)) {
        this.#fault([...at, 'on', event], `never happens: the slot ${event} is not among this listen's slots`, true)
      }
    }
  }

  #reachable(): void {
    const { states, start, takeover, outbound, missed, on } = this.#dialogue
    const reached = new Set<string>()
    const begun = [takeover, outbound].filter((name) => name !== undefined)
    const next = [start, missed, ...begun, ...Object.values(on)]
    for (let name = next.pop(); name !== undefined; name = next.pop()) {
      const state = Object.hasOwn(states, name) ? states[name] : undefined
      if (state === undefined || reached.has(name)) continue
      reached.add(name)
      next.push(...this.#targets(state.steps))
    }
    for (const name of Object.keys(states))
      if (!reached.has(name)) this.#fault(['states', name], 'is never reached: nothing leads to it', true)
  }

  /** Finds cycles of states that never wait for the caller. */
  #circles(): void {
    const { states } = this.#dialogue
    const next = new Map<string, string>()
    for (const [name, { steps }] of Object.entries(states)) {
      const last = steps.at(-1)
      const passes = steps
        .slice(0, -1)
        .every((step) => 'say' in step || 'set' in step || 'pick' in step || 'forget' in step || 'widen' in step)
      if (passes && last !== undefined && 'goto' in last) next.set(name, last.goto)
    }
    const told = new Set<string>()
    for (const name of next.keys()) {
      const way = [name]
      for (let to = next.get(name); to !== undefined && !way.includes(to); to = next.get(to)) way.push(to)
      if (next.get(way.at(-1) ?? '') !== name || told.has(name)) continue
      for (const one of way) told.add(one)
      const steps = states[name]?.steps.length ?? 1
      this.#fault(
        ['states', name, 'steps', steps - 1, 'goto'],
        `runs in a circle without waiting: ${[...way, name].join(', ')}`,
      )
    }
  }

  /** Checks that the call ends or escalates before a `stop`, because the dialogue is silent after a `stop`. */
  #stops(): void {
    const { states } = this.#dialogue
    const ends = (steps: readonly OfflineStep[]): boolean =>
      steps.some((step) => 'call' in step && ENDING.includes(step.call.tool))
    for (const [name, { steps }] of Object.entries(states)) {
      if (!steps.some((step) => 'stop' in step) || ends(steps)) continue
      if (
        Object.values(states).some(
          (from) => ends(from.steps) && from.steps.some((step) => 'goto' in step && step.goto === name),
        )
      )
        continue
      this.#fault(
        ['states', name, 'steps', steps.length - 1],
        `stops and leaves the caller in silence: nothing before it calls ${ENDING.join(', ')}`,
      )
    }
  }

  // --- words of the caller ----------------------------------------------------------------------------------------

  /** Finds intents and slots that are not named in an `on` or a `listen`. */
  #heard(): void {
    const { intents, slots, on } = this.#dialogue
    const listens = [...this.#steps()].flatMap(([, step]) => ('listen' in step ? [step.listen] : []))
    const events = new Set([...Object.keys(on), ...listens.flatMap((listen) => Object.keys(listen.on))])
    const asked = new Set(listens.flatMap((listen) => listen.slots))
    for (const [name, { phrases }] of Object.entries(intents)) {
      if (!events.has(name)) this.#fault(['intents', name], 'is heard nowhere: no on names it', true)
      else for (const slot of phrases.flatMap((phrase) => slotsOf(parsed(phrase)))) asked.add(slot)
    }
    for (const name of Object.keys(slots)) {
      if (!asked.has(name)) this.#fault(['slots', name], 'is heard nowhere: no listen has it among its slots', true)
    }
    for (const name of Object.keys(on)) {
      if (Object.hasOwn(slots, name) && !listens.some((listen) => listen.slots.includes(name))) {
        this.#fault(['on', name], `never happens: no listen has the slot ${name} among its slots`, true)
      }
    }
  }

  /**
   * Checks words for the recogniser. Its grammar accepts only words in the dictionary, and words that the dialogue
   * itself defines.
   */
  #words(): void {
    const { words, digits, around, intents, slots, callBack } = this.#dialogue
    const twice = digits.findIndex((word, i) => digits.indexOf(word) !== i)
    if (twice >= 0) this.#fault(['digits', twice], `is ${digits[twice] ?? ''}, the word for another digit too`)
    if (this.#speech === null) return
    const { phones } = this.#speech
    for (const [word, sounds] of Object.entries(words)) {
      const wrong = sounds.split(' ').find((sound) => !phones.includes(sound))
      if (wrong !== undefined)
        this.#fault(['words', word], `has an unknown sound ${wrong}; allowed: ${phones.join(', ')}`)
    }
    digits.forEach((word, i) => {
      this.#word(['digits', i], word)
    })
    around.before.forEach((word, i) => {
      this.#word(['around', 'before', i], word)
    })
    around.after.forEach((word, i) => {
      this.#word(['around', 'after', i], word)
    })
    for (const said of ['yes', 'no'] as const)
      this.#phrases(pathOfAnswer(this.#dialogue, said), answerOf(callBack[said]).phrases)
    for (const [name, { phrases }] of Object.entries(intents)) this.#phrases(['intents', name, 'phrases'], phrases)
    for (const [name, slot] of Object.entries(slots)) {
      this.#phrases(['slots', name, 'phrases'], slot.phrases)
      if (slot.type !== 'choice') continue
      for (const [option, { phrases }] of Object.entries(slot.options))
        this.#phrases(['slots', name, 'options', option, 'phrases'], phrases)
    }
  }

  #grammars(): void {
    const grammarChars = this.#speech?.grammarChars(this.#dialogue)
    if (grammarChars === undefined) return
    for (const [at, step] of this.#steps()) {
      if (!('listen' in step)) continue
      const events = Object.keys({ ...this.#dialogue.on, ...step.listen.on })
      const chars = grammarChars(
        events.filter((name) => Object.hasOwn(this.#dialogue.intents, name)),
        step.listen.slots,
      )
      if (chars <= SPEECH_GRAMMAR_CHARS_MAX) continue
      this.#fault(
        [...at, 'listen'],
        `has phrases that make a grammar of ${chars} characters; at most ${SPEECH_GRAMMAR_CHARS_MAX} are allowed`,
      )
    }
  }

  #phrases(at: Path, phrases: readonly string[]): void {
    phrases.forEach((phrase, i) => {
      for (const word of wordsOf(parsed(phrase))) this.#word([...at, i], word)
    })
  }

  #word(at: Path, word: string): void {
    const own = Object.keys(this.#dialogue.words)
    if (own.includes(word) || this.#speech?.knowsWord(word) !== false) return
    const near = nearest(word, own)
    this.#fault(
      at,
      `has the word ${word}, which the recogniser's dictionary lacks${near === null ? '' : `; did you mean ${near}?`}; ` +
        'spell it as English does, or give its sounds under offline.words',
    )
  }
}

interface OfflineFault {
  /** Path in the agent's file: `offline`, `states`, … */
  readonly path: readonly (string | number)[]
  /** True if the key is wrong, not its value. */
  readonly key: boolean
  readonly what: string
}

type Path = readonly (string | number)[]

/**
 * Finds the faults of a dialogue that its schema cannot express. With such a fault a caller would hear silence, or
 * words about a technical problem:
 * - names of states, tools, slots and values that do not exist
 * - words that cannot be recognised or spoken
 * - unused parts and dead ends
 *
 * All faults are reported together.
 * @param tools  tools by name; null if they are unknown, because another part of the agent is broken
 * @param speech  abilities for speech; null if there is no recogniser and no synthesiser; words are then not checked
 * @param callerFields  fields of the caller that a look-up may supply; null if every field is possible
 */
export function offlineFaults(
  dialogue: OfflineDialogue,
  tools: ReadonlyMap<string, CallableTool> | null,
  speech: OfflineSpeech | null,
  callerFields: readonly string[] | null,
): OfflineFault[] {
  const check = new Check(dialogue, tools, speech, callerFields)
  check.run()
  return check.faults
}

function parsed(phrase: string): ReturnType<typeof parsePhrase> {
  try {
    return parsePhrase(phrase)
  } catch {
    // The schema reports this fault at the phrase's position.
    return { type: 'all', parts: [] }
  }
}
