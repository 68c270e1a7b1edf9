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

/** Steps that one event may run before the dialogue counts as running in a circle. */
const DIALOGUE_STEPS_PER_EVENT_MAX = 200
/** Tool calls of one dialogue that may be unanswered. */
const DIALOGUE_CALLS_PENDING_MAX = 8

/** A longer pause ends an entry; callers pause between groups of digits. */
const KEY_PAUSE_MS = 3000
/**
 * After a part of a number: with the end of the turn before it (`more-digits`) about 3 s of quiet, after which the caller
 * is asked to go on. Who looks a number up on paper needs longer, and hears what is kept.
 */
const PART_PAUSE_MS = 1800
/** From the question on, which takes 2 s to say. Then the part is forgotten. */
const ASKED_PAUSE_MS = 8000
/** After a spoken number that is complete but may be longer, and the end of the turn before it. */
const LONGER_PAUSE_MS = 100
/** Parts of one number, corrections included: a caller who is heard wrongly this often is not understood. */
const PARTS_MAX = 12
/** Texts that are prepared in one state, and known values of a slot that are tried for them. */
const PREDICTED_MAX = 16
const PREDICTED_VALUES_MAX = 3

/**
 * Interprets an `offline:` block. Pure: it takes events and returns actions. Another engine can continue from a
 * snapshot of its state. The steps of a state run until one of them waits for the caller (`listen`), waits for a tool
 * (`call`, `await`), or ends the dialogue (`stop`). The intents under the dialogue's own `on` are accepted during every
 * wait.
 */
export class DialogueEngine {
  /** Tag of the language that its next texts are said in. */
  language: string
  readonly #dialogue: OfflineDialogue
  readonly #understanding: Understanding
  #given: Values
  #answered: AnsweredCall[]
  readonly #words: readonly DictionaryEntry[]
  #state: DialogueState
  /** Calls without a result in the checkpoint: the result may be lost with a worker. */
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
    // The dialogue may have been edited since the checkpoint. If its place no longer exists, the dialogue starts again.
    if (this.#state.waiting.for !== 'start' && this.#step() === undefined) this.#state = fresh(options.dialogue)
  }

  /** More is known of the call than at its beginning. */
  know(values: Values): void {
    this.#given = { ...this.#given, ...values }
  }

  get started(): boolean {
    return this.#state.waiting.for !== 'start'
  }

  /** True where the caller's digits are a secret that no transcript may hold. */
  get hidesDigits(): boolean {
    return (
      this.#listen()?.slots.some((name) => {
        const slot = this.#dialogue.slots[name]
        return slot?.type === 'digits' && slot.secret
      }) ?? false
    )
  }

  /** The most digits of the number that is listened for; null if none is. */
  get digitsMax(): number | null {
    return this.#digitSlot()?.max ?? null
  }

  /** The caller's most likely next answer. */
  get expects(): CallerExpectation {
    const listen = this.#listen()
    if (listen === null) return 'open'
    if (listen.expects !== undefined && listen.expects !== 'digits') return listen.expects
    if (listen.expects === undefined && this.#asksYesOrNo(listen) && this.#state.keys === '') return 'yes-no'
    const slot = this.#digitSlot()
    if (slot === null) return listen.expects ?? 'open'
    return this.#expectsAfterDigits(slot, this.#state.keys)
  }

  /** The same once the caller has said `words`, and goes on or not. Who is asked for a yes may say a number. */
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
   * A grammar that tells a lone digit from other single words where a number may begin, null elsewhere. `grammar` cannot:
   * its noise fits a lone "four" better than the word does.
   */
  loneDigitGrammar(): string | null {
    return this.expects === 'digits' ? this.#understanding.loneDigitGrammar() : null
  }

  /** No digit can follow. */
  #isWhole(digits: string, slot: DigitSlot): boolean {
    return digits.length >= slot.max || (digits.length >= slot.min && this.#knownNumbers(slot).includes(digits))
  }

  /** Each of its own intents can be said in one word. */
  #asksYesOrNo(listen: OfflineListen): boolean {
    const intents = Object.keys(listen.on).flatMap((name) => this.#dialogue.intents[name] ?? [])
    return intents.length >= 2 && intents.every(({ phrases }) => phrases.some((phrase) => /^[a-z'-]+$/i.test(phrase)))
  }

  /** True when the dialogue waits for this result: the result makes it speak. */
  waitsFor(callId: string): boolean {
    const { waiting } = this.#state
    if (waiting.for === 'result' || waiting.for === 'stage') return waiting.callId === callId
    if (waiting.for !== 'saved') return false
    return this.#state.pending.some((call) => call.callId === callId && call.save === waiting.name)
  }

  /** True while the result of this call has not come. */
  runs(callId: string): boolean {
    return this.#state.pending.some((call) => call.callId === callId)
  }

  /** A copy of its state. */
  snapshot(): DialogueState {
    return structuredClone(this.#state)
  }

  /**
   * The grammar for the recogniser at this point of the dialogue.
   * @param unfinished  something that the caller said before is still being recognised
   * @returns `check` where a number may be said; `anyNumber`: not only a known one
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
   * The texts that would follow each answer of the caller, known numbers included, so that their speech can be
   * prepared. Every answer is tried on a copy of the state, up to the first tool call that it needs.
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
      // An error of the dialogue is reported when a caller reaches it.
      return []
    } finally {
      this.#state = state
      this.#answered = answered
      this.#actions = []
    }
  }

  /** @throws GatewayError AGENT_INVALID when the dialogue loops without waiting */
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
        if (this.#listen() !== null) this.#say(this.#worded(this.#dialogue.retry))
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
        // Only the last sentence, which is the question: the caller heard the rest.
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
      // An aside within an aside returns to where the first one started.
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
    // Before the steps: the tools that they call are those of the stage.
    state.stage = stage
    const callId = this.#emitCall({ name: STAGE_TOOL, args: { stage }, save: null, again: true }, false)
    state.waiting = { for: 'stage', callId }
  }

  /** Returns from an aside to the wait for a tool; continues at once when the result has arrived meanwhile. */
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

  /** Carries out a step. @returns true when it waits there */
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

  /** The text of a phrase in the dialogue's language, with its values. */
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

  /** @returns the call's id, or null when its result was already known */
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
      // Left out when its values do not exist: tools distinguish a missing argument from an empty one.
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
    // Where the call did not go to the stage, its tools are refused, and their steps say what follows.
    if (awaited && waiting.for === 'stage') return this.#run()
    if (call.save !== null) state.values[call.save] = ok ? value : null
    // The tool's error, for conditions and texts of the failure path.
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
      // "It is about": the caller goes on, and is not asked anything meanwhile.
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

  /** Digits join those that the caller has given before, by voice or by key. */
  #digitsHeard(
    slot: DigitSlot,
    heard: Pick<HeardEvent, 'by' | 'keysAfter'> & { digits: string; corrects: boolean; sure: boolean },
  ): void {
    const state = this.#state
    const { digits, by } = heard
    const before = this.#number()
    // Keys that came while the words were recognised come after them.
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

  /** How the number so far came; older checkpoints have only its keys. */
  #number(): NumberSoFar {
    const { keys, number } = this.#state
    return number ?? { typed: keys, last: keys.length, spoken: false, sure: true, parts: 0, asked: false }
  }

  /** Keys stand in the transcript once they are all there, or the caller goes on by voice. */
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

  /** Nothing came after some digits for a while. */
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
   * It asks for nothing but free words, and goes on without them: asked again, they would not be heard either. What the
   * dialogue takes everywhere, as a goodbye, is not asked for.
   */
  #wantsFreeWords({ slots, on, missed }: OfflineListen): boolean {
    const isFree = (name: string): boolean => this.#dialogue.slots[name]?.type === 'text'
    return missed !== undefined && slots.length > 0 && [...slots, ...Object.keys(on)].every(isFree)
  }

  #retryText(listen: OfflineListen): string {
    return this.#worded(listen.retry ?? this.#dialogue.retry)
  }

  /**
   * @param counts  it can have been an answer. Sound without words over our question, or that went on and on, is hardly
   *   the caller's, and its misses would bring a human to hold music.
   * @param why     said first, if given
   */
  #missed(unheard: readonly string[], counts = true, why = ''): void {
    const listen = this.#listen()
    // During a tool call nothing is expected of the caller.
    if (listen === null) return
    if (counts) this.#state.misses++
    const { misses } = this.#state
    if (counts && (misses >= this.#dialogue.misses || this.#wantsFreeWords(listen))) {
      this.#enter(listen.missed ?? this.#dialogue.missed)
      return
    }
    if (this.#state.keys !== '') {
      // An unclear part does not cancel the clear ones.
      this.#askForMore()
      return
    }
    if (why !== '') this.#actions.push(sayOf(why))
    // The number may not be among the known ones.
    for (const slot of listen.slots) this.#widen(slot)
    // Not part of the prompt: `repeat` repeats the question, not this. Interrupted sentences hold the question already.
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
    // A # after a number that was complete without it is ignored: the answer to that number has started.
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
   * Where a number is expected, only keys of the dialogue's own intents count. Keys of a state would conflict with its
   * digits.
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
  /** Values that templates see besides the dialogue's own: `caller`, `greeting`. */
  readonly values: Values
  /** Calls whose results are used, once each, instead of calling again. */
  readonly answered: readonly AnsweredCall[]
  /** From a checkpoint. */
  readonly resume: DialogueState | null
  /** Tag of the language that its texts are said in at first. Default: the first that they have. */
  readonly language?: string
  /** The day where the caller is, as `2026-11-25`. Default: no day is understood. */
  readonly today?: string
}

/**
 * Digits after those before. A caller who begins again, or says the whole number, means it instead; a correction is
 * meant for the part before, or for everything if it is long enough.
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
