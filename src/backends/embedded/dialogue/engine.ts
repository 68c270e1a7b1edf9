import { textIn, type LocalizedText } from '../../../call/spoken/localized-text.js'
import { STAGE_TOOL, isBuiltIn } from '../../../call/tools/gateway-tools.js'
import type { CallerExpectation } from '../../../call/backend-events.js'
import { sameJson } from '../../../call/tools/tool-ledger.js'
import { endsUnfinished } from '../../../call/turns/turn-words.js'
import { GatewayError } from '../../../core/errors.js'
import { DIALOGUE_KEYS_MAX } from '../../../core/limits.js'
import { isPathValue } from '../../../agents/offline/offline.js'
import type { OfflineDialogue, OfflineListen, OfflineStep, SetValue } from '../../../agents/offline/offline.js'
import { sentencesOf } from '../../../speech/spoken/sentences.js'
import type { DictionaryEntry, DigitCheck } from '../../../speech/speech-protocol.js'
import { digitsOf } from './heard-digits.js'
import { NOISE_WORDS, Understanding, type Expectation, type Meaning } from './understanding.js'
import { fill, holds, picked, valueAt, type Values } from './values.js'
import { fresh } from './dialogue-state.js'
import type { PendingCall, Waiting, DigitSlot, NumberSoFar, DialogueState } from './dialogue-state.js'
import type { HeardBy, HeardEvent, DialogueEvent, DialogueAction, AnsweredCall } from './dialogue-events.js'

/** Maximum number of steps for one event. If there are more steps, the dialogue counts as an endless loop. */
const DIALOGUE_STEPS_PER_EVENT_MAX = 200
/** Maximum number of tool calls of one dialogue that have no result yet. */
const DIALOGUE_CALLS_PENDING_MAX = 8

/** Maximum pause in ms within an entry of DTMF digits. Callers make pauses between groups of digits. */
const KEY_PAUSE_MS = 3000
/**
 * Pause in ms after a part of a number. Together with the silence that ends a turn (`more-digits`), the caller has
 * about 3 s before the agent asks for the remaining digits. A caller who needs longer, for example to read from paper,
 * then hears the digits so far.
 */
const PART_PAUSE_MS = 1800
/**
 * Pause in ms after the request for the remaining digits began; the request itself lasts 2 s. After this pause, the
 * digits so far are discarded.
 */
const ASKED_PAUSE_MS = 8000
/** Additional pause in ms after the end of a turn, if the spoken digits are enough but further digits are possible. */
const LONGER_PAUSE_MS = 100
/**
 * Maximum number of parts of one number, including corrections. If there are more parts, the caller counts as not
 * understood.
 */
const PARTS_MAX = 12
/**
 * Maximum number of texts whose speech is prepared in one state; and maximum number of known values of a slot that are
 * tried for these texts.
 */
const PREDICTED_MAX = 16
const PREDICTED_VALUES_MAX = 3

/**
 * Interprets an `offline:` block. The engine has no side effects: it processes events and returns actions. Another
 * engine can continue from a snapshot of the dialogue's state. The steps of a state run until a step waits for the
 * caller (`listen`) or for a tool (`call`, `await`), or ends the dialogue (`stop`). During every wait, the dialogue
 * also accepts the intents in the `on` of the whole dialogue.
 */
export class DialogueEngine {
  /** Tag of the language of the dialogue's next texts. */
  language: string
  readonly #dialogue: OfflineDialogue
  readonly #understanding: Understanding
  #given: Values
  #answered: AnsweredCall[]
  readonly #words: readonly DictionaryEntry[]
  #state: DialogueState
  /** Tool calls that had no result in the checkpoint. Their results may be lost, because a worker died. */
  readonly #lost: Set<string>
  #actions: DialogueAction[] = []
  #budget = 0

  constructor(options: DialogueOptions) {
    this.language = options.language ?? ''
    this.#dialogue = options.dialogue
    this.#understanding = new Understanding(options.dialogue, options.today)
    this.#given = options.values
    this.#answered = [...options.answered]
    this.#words = [...NOISE_WORDS, ...Object.entries(options.dialogue.words)]
    this.#state = options.resume === null ? fresh(options.dialogue) : structuredClone(options.resume)
    this.#lost = new Set(this.#state.pending.map((call) => call.callId))
    // The dialogue may have been edited since the checkpoint. If its current step no longer exists, the dialogue starts
    // again.
    if (this.#state.waiting.for !== 'start' && this.#step() === undefined) this.#state = fresh(options.dialogue)
  }

  /** Adds values that became known after the call began. */
  know(values: Values): void {
    this.#given = { ...this.#given, ...values }
  }

  get started(): boolean {
    return this.#state.waiting.for !== 'start'
  }

  /** True if the expected digits are a secret that a transcript must not contain. */
  get hidesDigits(): boolean {
    return (
      this.#listen()?.slots.some((name) => {
        const slot = this.#dialogue.slots[name]
        return slot?.type === 'digits' && slot.secret
      }) ?? false
    )
  }

  /** Maximum number of digits in the expected number; null if no number is expected. */
  get digitsMax(): number | null {
    return this.#digitSlot()?.max ?? null
  }

  /** Kind of answer that the caller will most likely give next. */
  get expects(): CallerExpectation {
    const listen = this.#listen()
    if (listen === null) return 'open'
    if (listen.expects !== undefined && listen.expects !== 'digits') return listen.expects
    if (listen.expects === undefined && this.#asksYesOrNo(listen) && this.#state.keys === '') return 'yes-no'
    const slot = this.#digitSlot()
    if (slot === null) return listen.expects ?? 'open'
    return this.#expectsAfterDigits(slot, this.#state.keys)
  }

  /**
   * @returns the kind of answer that the caller will most likely give after `words`. The caller may say a number even
   * if the agent asked for a yes
   */
  expectsAfter(words: string): CallerExpectation {
    const slot = this.#digitSlot()
    const said = digitsOf(words, this.#dialogue.digits)
    if (slot === null || said === '') return this.expects
    return this.#isWhole(said, slot) ? 'digits' : this.#expectsAfterDigits(slot, this.#state.keys + said)
  }

  #expectsAfterDigits(slot: DigitSlot, digits: string): CallerExpectation {
    return digits === '' || this.#isWhole(digits, slot) ? 'digits' : 'more-digits'
  }

  /**
   * @returns a grammar that distinguishes a single digit from other words; null if a number cannot begin here. The
   * usual `grammar` would recognise a single "four" as noise
   */
  loneDigitGrammar(): string | null {
    return this.expects === 'digits' ? this.#understanding.loneDigitGrammar() : null
  }

  /** True if the number is complete, so that no further digit can follow. */
  #isWhole(digits: string, slot: DigitSlot): boolean {
    return digits.length >= slot.max || (digits.length >= slot.min && this.#knownNumbers(slot).includes(digits))
  }

  /** True if the state has at least two intents, and the caller can express each of them in one word. */
  #asksYesOrNo(listen: OfflineListen): boolean {
    const intents = Object.keys(listen.on).flatMap((name) => this.#dialogue.intents[name] ?? [])
    return intents.length >= 2 && intents.every(({ phrases }) => phrases.some((phrase) => /^[a-z'-]+$/i.test(phrase)))
  }

  /** True if the dialogue waits for this result, so that the agent speaks after the result. */
  waitsFor(callId: string): boolean {
    const { waiting } = this.#state
    if (waiting.for === 'result' || waiting.for === 'stage') return waiting.callId === callId
    if (waiting.for !== 'saved') return false
    return this.#state.pending.some((call) => call.callId === callId && call.save === waiting.name)
  }

  /** True until the tool call with this id has its result. */
  runs(callId: string): boolean {
    return this.#state.pending.some((call) => call.callId === callId)
  }

  /** @returns a copy of the dialogue's state */
  snapshot(): DialogueState {
    return structuredClone(this.#state)
  }

  /**
   * @returns the grammar for the recogniser at this point of the dialogue. `check` is set if the caller may say a
   * number. `anyNumber` is true if the caller may say any number, not only a known number
   * @param unfinished  true if earlier words of the caller are still being recognised
   */
  grammar(unfinished = false): {
    readonly jsgf: string
    readonly words: readonly DictionaryEntry[]
    readonly check: DigitCheck | null
    readonly anyNumber: boolean
  } {
    const expected = this.#expectation(true)
    const number = expected.number === null ? null : { ...expected.number, unfinished }
    const anyNumber = number !== null && (expected.known.get(number.slot) ?? []).length === 0
    return {
      jsgf: this.#understanding.grammar({ ...expected, number }),
      words: this.#words,
      check: number === null ? null : this.#understanding.digitCheck(anyNumber),
      anyNumber,
    }
  }

  /**
   * @returns the agent's next texts for each possible answer of the caller, so that their speech can be prepared. Known
   * numbers count as possible answers. Answers are tried on copies of the state
   */
  predicted(): string[] {
    const listen = this.#listen()
    if (listen === null) return []
    const { intents, known } = this.#expectation(true)
    const meanings: Meaning[] = Object.keys(listen.on)
      .filter((name) => intents.includes(name))
      .map((name) => ({ name, slots: {}, corrects: false }))
    for (const slot of listen.slots) {
      for (const value of (known.get(slot) ?? []).slice(0, PREDICTED_VALUES_MAX))
        meanings.push({ name: slot, slots: { [slot]: value }, corrects: false })
    }
    const texts = new Set<string>()
    for (const meaning of meanings) {
      for (const text of this.#try(meaning)) texts.add(text)
    }
    texts.add(this.#retryText(listen))
    return [...texts].filter((text) => text !== '').slice(0, PREDICTED_MAX)
  }

  #try(meaning: Meaning): string[] {
    const state = this.#state
    const answered = this.#answered
    this.#state = structuredClone(state)
    this.#answered = [...answered]
    this.#actions = []
    this.#budget = DIALOGUE_STEPS_PER_EVENT_MAX
    try {
      this.#understood(meaning, 'speech')
      return this.#actions.flatMap((action) => (action.type === 'say' ? [action.text] : []))
    } catch {
      // An error in the dialogue is ignored here. It is reported when a caller reaches it.
      return []
    } finally {
      this.#state = state
      this.#answered = answered
      this.#actions = []
    }
  }

  /** @throws GatewayError AGENT_INVALID if the dialogue loops without waiting */
  handle(event: DialogueEvent): DialogueAction[] {
    this.#actions = []
    this.#budget = DIALOGUE_STEPS_PER_EVENT_MAX
    switch (event.type) {
      case 'start':
        if (!this.started)
          this.#enter(event.takeover ? (this.#dialogue.takeover ?? this.#dialogue.start) : this.#dialogue.start)
        break
      case 'heard':
        this.#heard(event)
        break
      case 'not-heard':
        this.#missed([], event.attempt)
        break
      case 'key':
        this.#key(event.key)
        break
      case 'keys-timeout':
        this.#numberPaused()
        break
      case 'tool-result':
        this.#result(event.callId, event.ok, event.value)
        break
      case 'nudge':
        // Repeats only the last sentence, which is the question, because the caller has heard the earlier sentences.
        if (this.#state.keys !== '' && this.#digitSlot() !== null) this.#askForMore()
        else if (this.#state.waiting.for === 'caller')
          this.#actions.push(...sentencesOf(this.#state.prompt.join(' ')).slice(-1).map(sayOf))
        break
    }
    return this.#actions
  }

  // --- steps ----------------------------------------------------------------------------------------------

  #step(): OfflineStep | undefined {
    const { state, step } = this.#state.place
    return this.#dialogue.states[state]?.steps[step]
  }

  #listen(): OfflineListen | null {
    const step = this.#state.waiting.for === 'caller' ? this.#step() : undefined
    return step !== undefined && 'listen' in step ? step.listen : null
  }

  #values(): Values {
    const { values, slots, heardBy, heardText, heardSure, visits } = this.#state
    return {
      ...this.#given,
      ...values,
      slots,
      visits,
      heard: { by: heardBy, text: heardText ?? '', sure: heardSure ?? true },
    }
  }

  #enter(goal: string): void {
    const state = this.#state
    if (goal === '@listen') {
      state.waiting = { for: 'caller' }
      return
    }
    if (goal === '@repeat') {
      this.#repeat()
      return
    }
    if (goal === '@return') {
      const { origin } = state
      if (origin === null) {
        this.#enter(this.#dialogue.takeover ?? this.#dialogue.start)
        return
      }
      state.origin = null
      state.place = origin.place
      state.prompt = origin.prompt
      if (origin.waiting !== undefined) this.#waitOn(origin.waiting)
      else {
        state.waiting = { for: 'caller' }
        this.#repeat()
      }
      return
    }
    if (this.#dialogue.states[goal]?.aside === true) {
      // If an aside begins within an aside, the dialogue later returns to the step that the first aside interrupted.
      const { place, prompt, waiting } = state
      if (waiting.for === 'caller') state.origin ??= { place, prompt }
      else if (waiting.for !== 'start' && waiting.for !== 'nothing') state.origin ??= { place, prompt, waiting }
    } else {
      state.origin = null
    }
    state.place = { state: goal, step: 0 }
    state.visits[goal] = (state.visits[goal] ?? 0) + 1
    state.misses = 0
    state.prompt = []
    this.#clearKeys()
    const stage = this.#dialogue.states[goal]?.stage
    if (stage === undefined || stage === state.stage) return this.#run()
    // The stage is set before the steps run, because the steps call tools of the stage.
    state.stage = stage
    const callId = this.#emitCall({ name: STAGE_TOOL, args: { stage }, save: null, again: true }, false)
    state.waiting = { for: 'stage', callId }
  }

  /**
   * Returns from an aside to the wait for a tool. If the result arrived during the aside, the dialogue continues at
   * once.
   */
  #waitOn(waiting: Waiting): void {
    const state = this.#state
    const running = state.pending.some((call) =>
      waiting.for === 'saved' ? call.save === waiting.name : 'callId' in waiting && call.callId === waiting.callId,
    )
    state.waiting = waiting
    if (running) return
    if (waiting.for === 'stage') return this.#run()
    state.place = { state: state.place.state, step: state.place.step + 1 }
    this.#run()
  }

  #repeat(): void {
    for (const text of this.#state.prompt) this.#actions.push({ type: 'say', text })
  }

  #run(): void {
    const state = this.#state
    for (;;) {
      if (this.#budget-- <= 0) {
        throw new GatewayError(
          'AGENT_INVALID',
          `the offline dialogue runs in a circle through state ${state.place.state}`,
        )
      }
      const step = this.#step()
      if (step === undefined || 'stop' in step) {
        state.waiting = { for: 'nothing' }
        return
      }
      if ('listen' in step) {
        state.waiting = { for: 'caller' }
        return
      }
      if (step.when === undefined || holds(step.when, this.#values())) {
        if ('goto' in step) {
          this.#enter(step.goto)
          return
        }
        if (this.#waitsAt(step)) return
      }
      state.place = { state: state.place.state, step: state.place.step + 1 }
    }
  }

  /** Runs a step. @returns true if the dialogue waits at this step */
  #waitsAt(step: Exclude<OfflineStep, { listen: unknown } | { stop: true } | { goto: string }>): boolean {
    const state = this.#state
    if ('say' in step) {
      this.#say(this.#worded(step.say))
    } else if ('set' in step) {
      for (const [name, value] of Object.entries(step.set)) state.values[name] = this.#valueOf(value)
    } else if ('pick' in step) {
      state.values[step.pick.save] = picked(this.#values(), step.pick.from, step.pick.where)
    } else if ('forget' in step) {
      for (const path of step.forget) this.#forget(path)
    } else if ('take' in step) {
      Object.assign(state.slots, this.#understanding.momentsIn(state.heardText ?? '', step.take))
    } else if ('widen' in step) {
      this.#widen(step.widen)
    } else if ('start' in step) {
      this.#call(step.start, step.start.save, true)
    } else if ('call' in step) {
      const callId = this.#call(step.call, step.call.save ?? null, false)
      if (callId !== null) {
        state.waiting = { for: 'result', callId }
        return true
      }
    } else if (state.pending.some((call) => call.save === step.await)) {
      state.waiting = { for: 'saved', name: step.await }
      return true
    }
    return false
  }

  #valueOf(value: SetValue): unknown {
    if (typeof value === 'string') return this.#filled(value, false)
    if (typeof value !== 'object' || value === null) return value
    return isPathValue(value) ? (valueAt(this.#values(), value.path) ?? null) : this.#worded(value)
  }

  /** Text of a phrase in the dialogue's language, with values filled in. */
  #worded(phrase: LocalizedText, values = this.#values()): string {
    return fill(textIn(phrase, this.language), values, this.#dialogue.maps, this.language) ?? ''
  }

  #filled(template: string, strict: boolean): string | null {
    return fill(template, this.#values(), this.#dialogue.maps, this.language, strict)
  }

  #say(text: string): void {
    if (text === '') return
    this.#state.prompt = [...this.#state.prompt, text]
    this.#actions.push({ type: 'say', text })
  }

  #forget(path: string): void {
    const [head = '', field] = path.split('.')
    if (head === 'slots' && field !== undefined) delete this.#state.slots[field]
    else if (head === 'visits' && field !== undefined) delete this.#state.visits[field]
    else delete this.#state.values[head]
  }

  #widen(slot: string): void {
    if (!this.#state.widened.includes(slot)) this.#state.widened = [...this.#state.widened, slot]
  }

  // --- tools ----------------------------------------------------------------------------------------------

  /** @returns the id of the tool call; null if the tool call already had its result */
  #call(
    call: {
      readonly tool: string
      readonly args: Readonly<Record<string, string | number | boolean | null>>
      readonly repeatable: boolean
    },
    save: string | null,
    background: boolean,
  ): string | null {
    const { tool: name } = call
    const state = this.#state
    const args: Record<string, unknown> = {}
    for (const [key, template] of Object.entries(call.args)) {
      // If the template's values do not exist, the argument is omitted, because a tool distinguishes a missing argument
      // from an empty argument.
      const value = typeof template === 'string' ? this.#filled(template, true) : template
      if (value !== null && value !== '') args[key] = value
    }
    const known = isBuiltIn(name)
      ? -1
      : this.#answered.findIndex((call) => call.name === name && sameJson(call.args, args))
    const [answer] = known < 0 ? [] : this.#answered.splice(known, 1)
    if (answer !== undefined && answer.ok) {
      if (save !== null) state.values[save] = answer.result
      return null
    }
    if (state.pending.length >= DIALOGUE_CALLS_PENDING_MAX) {
      throw new GatewayError(
        'AGENT_INVALID',
        `${DIALOGUE_CALLS_PENDING_MAX} tool calls are unanswered in state ${state.place.state}`,
      )
    }
    return this.#emitCall({ name, args, save, again: call.repeatable }, background)
  }

  #emitCall(call: Omit<PendingCall, 'callId'>, background: boolean): string {
    const callId = `offline-${++this.#state.calls}`
    this.#state.pending = [...this.#state.pending, { callId, ...call }]
    this.#actions.push({ type: 'call', callId, name: call.name, args: call.args, background })
    return callId
  }

  #result(callId: string, ok: boolean, value: unknown): void {
    const state = this.#state
    const call = state.pending.find((one) => one.callId === callId)
    if (call === undefined) return
    state.pending = state.pending.filter((one) => one !== call)
    const { waiting } = state
    const awaited =
      waiting.for === 'saved' ? waiting.name === call.save : 'callId' in waiting && waiting.callId === callId
    if (!ok && call.again && this.#lost.delete(callId)) {
      const newCallId = this.#emitCall({ name: call.name, args: call.args, save: call.save, again: false }, !awaited)
      if (awaited && 'callId' in waiting) state.waiting = { ...waiting, callId: newCallId }
      return
    }
    // If the stage was not entered, the gateway refuses the stage's tools. The state's steps handle such refusals.
    if (awaited && waiting.for === 'stage') return this.#run()
    if (call.save !== null) state.values[call.save] = ok ? value : null
    // The tool's error is stored for the conditions and texts of the dialogue's failure branch.
    state.values['failure'] = ok ? null : value
    if (!awaited) return
    const step = this.#step()
    if (!ok && step !== undefined && 'call' in step && step.call.failed !== undefined) {
      this.#enter(step.call.failed)
      return
    }
    state.place = { state: state.place.state, step: state.place.step + 1 }
    this.#run()
  }

  // --- the caller -----------------------------------------------------------------------------------------

  #on(): Readonly<Record<string, string>> {
    return { ...this.#dialogue.on, ...(this.#listen()?.on ?? {}) }
  }

  #expectation(spoken: boolean): Expectation {
    const listen = this.#listen()
    const on = this.#on()
    const own = Object.keys(listen?.on ?? {})
    const names = [...own, ...Object.keys(on).filter((name) => !own.includes(name))]
    const known = new Map<string, readonly string[]>()
    if (spoken) {
      for (const [name, slot] of Object.entries(this.#dialogue.slots)) {
        if (slot.type !== 'digits' || this.#state.widened.includes(name)) continue
        const values = slot.known
          .flatMap((path) => this.#knownAt(path))
          .filter((value) => value.length >= slot.min && value.length <= slot.max)
        if (values.length > 0) known.set(name, [...new Set(values)])
      }
    }
    return {
      intents: names.filter((name) => Object.hasOwn(this.#dialogue.intents, name)),
      slots: listen?.slots ?? [],
      known,
      number: this.#numberExpected(listen),
    }
  }

  #numberExpected(listen: OfflineListen | null): Expectation['number'] {
    const slot = this.#digitSlot()
    if (listen === null || slot === null) return null
    const have = this.#state.keys
    return { slot: slot.name, have, partMin: have === '' && this.#asksYesOrNo(listen) ? 2 : 1 }
  }

  #knownAt(path: string): string[] {
    const found = valueAt(this.#values(), path)
    return (Array.isArray(found) ? found : [found]).flatMap((value: unknown) => {
      const text = typeof value === 'number' || typeof value === 'string' ? String(value) : ''
      return /^\d+$/.test(text) ? [text] : []
    })
  }

  #heard({ text, by, unheard, sure = true, attempt = true, keysAfter = 0 }: HeardEvent): void {
    const meaning = this.#understanding.meaningOf(text, this.#expectation(false))
    if (meaning === null) {
      this.#missed(unheard, attempt && (text !== '' || unheard.length === 0))
      return
    }
    const { unfinished = '' } = this.#state
    delete this.#state.unfinished
    if (this.#dialogue.slots[meaning.name]?.type === 'text') {
      const said = `${unfinished} ${meaning.slots[meaning.name] ?? ''}`.trim()
      // After a text such as "It is about", the caller will continue, so the agent waits.
      if (endsUnfinished(said)) this.#state.unfinished = said
      else this.#understood({ ...meaning, slots: { [meaning.name]: said } }, by, sure)
      return
    }
    this.#state.heardText = text
    const slot = this.#digitSlot()
    const digits = slot === null ? undefined : meaning.slots[slot.name]
    if (slot === null || digits === undefined || meaning.name !== slot.name) this.#understood(meaning, by, sure)
    else this.#digitsHeard(slot, { digits, corrects: meaning.corrects, by, sure, keysAfter })
  }

  /** Joins new digits to earlier spoken or DTMF digits. */
  #digitsHeard(
    slot: DigitSlot,
    heard: Pick<HeardEvent, 'by' | 'keysAfter'> & { digits: string; corrects: boolean; sure: boolean },
  ): void {
    const state = this.#state
    const { digits, by } = heard
    const before = this.#number()
    // DTMF digits that arrived while the words were being recognised come after the words.
    const keyed = before.typed.slice(before.typed.length - Math.min(before.typed.length, heard.keysAfter ?? 0))
    const have = state.keys.slice(0, state.keys.length - keyed.length)
    this.#reportKeys({ ...before, typed: before.typed.slice(0, before.typed.length - keyed.length) })
    this.#reportKeys({ ...before, typed: keyed })
    const said = joinedDigits(have, before.last, heard, slot)
    const all = said + keyed
    const number: NumberSoFar = {
      typed: '',
      last: keyed.length > 0 ? keyed.length : digits.length,
      spoken: true,
      sure: heard.sure && (before.sure || said === digits),
      parts: before.parts + 1,
      asked: false,
    }
    state.keys = all
    state.number = number
    if (all.length > slot.max) {
      const text = this.#worded(this.#dialogue.tooMany, this.#valuesWithPart(slot))
      this.#clearKeys()
      this.#missed([], true, text)
    } else if (
      all.length === slot.max ||
      (all.length >= slot.min && (by === 'text' || this.#knownNumbers(slot).includes(all)))
    ) {
      this.#understood({ name: slot.name, slots: { [slot.name]: all }, corrects: false }, by, number.sure)
    } else if (number.parts > PARTS_MAX) {
      this.#clearKeys()
      this.#missed([])
    } else {
      this.#actions.push({ type: 'key-timer', ms: all.length >= slot.min ? LONGER_PAUSE_MS : PART_PAUSE_MS })
    }
  }

  /** Details about the number so far. Checkpoints of earlier versions contain only the digits. */
  #number(): NumberSoFar {
    const { keys, number } = this.#state
    return number ?? { typed: keys, last: keys.length, spoken: false, sure: true, parts: 0, asked: false }
  }

  /** Adds DTMF digits to the transcript. Called when all digits have arrived, or when the caller continues by voice. */
  #reportKeys(number: NumberSoFar): void {
    if (number.typed !== '') this.#actions.push({ type: 'keyed', keys: number.typed })
  }

  #knownNumbers(slot: DigitSlot): readonly string[] {
    return this.#expectation(true).known.get(slot.name) ?? []
  }

  #valuesWithPart(slot: DigitSlot): Values {
    return { ...this.#values(), part: slot.secret ? '' : this.#state.keys }
  }

  #askForMore(): void {
    const slot = this.#digitSlot()
    if (slot === null) return
    this.#state.number = { ...this.#number(), asked: true }
    const text = this.#worded(this.#dialogue.more, this.#valuesWithPart(slot))
    this.#actions.push(sayOf(text), { type: 'key-timer', ms: ASKED_PAUSE_MS })
  }

  /** Handles a pause after some digits of a number. */
  #numberPaused(): void {
    const slot = this.#digitSlot()
    const { keys } = this.#state
    if (slot === null || keys === '' || keys.length >= slot.min || this.#number().asked) this.#submitKeys()
    else this.#askForMore()
  }

  #understood(meaning: Meaning, by: HeardBy, sure = true): void {
    const goal = this.#on()[meaning.name]
    this.#clearKeys()
    this.#state.heardBy = by
    this.#state.heardSure = sure
    Object.assign(this.#state.slots, meaning.slots)
    this.#state.misses = 0
    if (goal !== undefined) this.#enter(goal)
  }

  /**
   * True if the state accepts only free words and can continue without them. A second attempt would not be understood
   * either. Intents that the dialogue accepts everywhere do not count.
   */
  #wantsFreeWords({ slots, on, missed }: OfflineListen): boolean {
    const isFree = (name: string): boolean => this.#dialogue.slots[name]?.type === 'text'
    return missed !== undefined && slots.length > 0 && [...slots, ...Object.keys(on)].every(isFree)
  }

  #retryText(listen: OfflineListen): string {
    return this.#worded(listen.retry ?? this.#dialogue.retry)
  }

  /**
   * @param counts  false for sound that was probably not an answer: sound without words during the question, or sound
   * that did not stop. If such sound counted, a call with only music on the line would be transferred to a human.
   * @param why text that is spoken first, if given
   */
  #missed(unheard: readonly string[], counts = true, why = ''): void {
    const listen = this.#listen()
    // The dialogue waits for a tool, so no answer was expected.
    if (listen === null) return
    if (counts) {
      this.#state.misses++
      this.#actions.push({ type: 'missed' })
    }
    const { misses } = this.#state
    if (counts && (misses >= this.#dialogue.misses || this.#wantsFreeWords(listen))) {
      this.#enter(listen.missed ?? this.#dialogue.missed)
      return
    }
    if (this.#state.keys !== '') {
      // If one part of a number is unclear, the clear parts are kept.
      this.#askForMore()
      return
    }
    if (why !== '') this.#actions.push(sayOf(why))
    // From now on the slots accept any value, because the caller's number may not be a known number.
    for (const slot of listen.slots) this.#widen(slot)
    // This text is not stored as the prompt, because `repeat` repeats only the question. If sentences were interrupted,
    // they contain the question.
    this.#actions.push(
      sayOf(unheard.length > 0 ? this.#worded(this.#dialogue.retry) : this.#retryText(listen)),
      ...unheard.map(sayOf),
    )
  }

  // --- keys -----------------------------------------------------------------------------------------------

  #digitSlot(): DigitSlot | null {
    for (const name of this.#listen()?.slots ?? []) {
      const slot = this.#dialogue.slots[name]
      if (slot?.type === 'digits') return { name, ...slot }
    }
    return null
  }

  #key(key: string): void {
    const state = this.#state
    // The # is ignored if the number was complete without it, because the dialogue has already continued.
    if (key === '#' && state.keys === '') return
    this.#actions.push({ type: 'stop-speaking' })
    const slot = this.#digitSlot()
    if (key === '*') {
      this.#clearKeys()
      return
    }
    if (key === '#') {
      if (slot !== null) this.#submitKeys()
      return
    }
    const meaning = state.keys === '' ? this.#keyMeaning(key, slot !== null) : null
    if (meaning !== null) {
      this.#actions.push({ type: 'keyed', keys: key })
      this.#understood(meaning, 'keys')
      return
    }
    if (slot === null) {
      this.#missed([])
      return
    }
    const number = this.#number()
    state.keys = (state.keys + key).slice(0, DIALOGUE_KEYS_MAX)
    const typed = number.typed + key
    state.number = { ...number, typed, last: typed.length, asked: false }
    if (state.keys.length >= slot.max || this.#knownNumbers(slot).includes(state.keys)) this.#submitKeys()
    else this.#actions.push({ type: 'key-timer', ms: KEY_PAUSE_MS })
  }

  /**
   * If a number is expected, a digit counts as an intent only if the intent applies to the whole dialogue. Digits for a
   * state's intents could be part of the number.
   */
  #keyMeaning(key: string, numberExpected: boolean): Meaning | null {
    const listen = this.#listen()
    if (numberExpected && listen?.keys === 'digits') return null
    const names = numberExpected ? Object.keys(this.#dialogue.on) : Object.keys(this.#on())
    for (const name of names) {
      if (this.#dialogue.intents[name]?.keys.includes(key) === true) return { name, slots: {}, corrects: false }
    }
    if (numberExpected) return null
    for (const name of listen?.slots ?? []) {
      const slot = this.#dialogue.slots[name]
      if (slot?.type !== 'choice') continue
      for (const [option, { key: optionKey }] of Object.entries(slot.options)) {
        if (optionKey === key) return { name, slots: { [name]: option }, corrects: false }
      }
    }
    return null
  }

  #submitKeys(): void {
    const { keys } = this.#state
    const number = this.#number()
    const slot = this.#digitSlot()
    this.#clearKeys()
    if (slot === null || keys === '') return
    this.#reportKeys(number)
    if (keys.length < slot.min) this.#missed([])
    else {
      const meaning = { name: slot.name, slots: { [slot.name]: keys }, corrects: false }
      this.#understood(meaning, number.spoken ? 'speech' : 'keys', number.sure)
    }
  }

  #clearKeys(): void {
    if (this.#state.keys === '') return
    this.#state.keys = ''
    delete this.#state.number
    this.#actions.push({ type: 'key-timer', ms: null })
  }
}

interface DialogueOptions {
  readonly dialogue: OfflineDialogue
  /** Values for templates, such as `caller` and `greeting`, in addition to the dialogue's own values. */
  readonly values: Values
  /** Tool calls that already have results. Each result is used once, instead of a new tool call. */
  readonly answered: readonly AnsweredCall[]
  /** State from a checkpoint; null for a new dialogue. */
  readonly resume: DialogueState | null
  /** Tag of the language of the dialogue's first texts. Default: the first language of the texts. */
  readonly language?: string
  /** Today's date for the caller, such as `2026-11-25`. If it is absent, the dialogue does not understand days. */
  readonly today?: string
}

/**
 * Joins new digits to earlier digits. A complete number or a new beginning replaces the earlier digits. A correction
 * replaces the previous part, and a long correction replaces all digits.
 */
function joinedDigits(
  have: string,
  last: number,
  { digits, corrects }: { readonly digits: string; readonly corrects: boolean },
  { min, max }: DigitSlot,
): string {
  if (corrects) return digits.length >= min ? digits : have.slice(0, have.length - last) + digits
  const whole = digits.length >= min && digits.length <= max
  const both = have + digits
  if (whole && (both.length > max || digits.startsWith(have))) return digits
  return both.length > max && digits.startsWith(have) ? digits : both
}

function sayOf(text: string): DialogueAction {
  return { type: 'say', text }
}
