import { assertNever } from '../../core/assert.js'
import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallKernel } from '../call-kernel.js'
import { DigitCollection, maskedDigits, readBack, KEY_LATE_MS } from '../tools/digit-collection.js'
import type { Collection, CollectionStep } from '../tools/digit-collection.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { CallInput } from '../events.js'
import type { FactOf } from '../facts.js'
import type { Keypad } from '../resources/keypad.js'
import { CUT_OFF, UNCERTAIN } from '../tools/tool-ledger.js'
import { SecretNumbers } from '../tools/private-keys.js'
import { COLLECT_TOOL } from '../tools/gateway-tools.js'

/**
 * Interval, in milliseconds, at which the end of an entry is checked again while the caller speaks. The caller may
 * finish first.
 */
const DIGITS_POLL_MS = 500
/**
 * Maximum time that the first question of a call waits for the model's greeting, in milliseconds. If the model greets,
 * it greets within a second.
 */
const FIRST_WORDS_MS = 2000
const FIRST_WORDS_POLL_MS = 50
/**
 * Time after a takeover in which the model can ask for secret digits again, in milliseconds. After this time the model
 * may receive digits and words again.
 */
const PRIVATE_AFTER_TAKEOVER_MS = 8000

const HEARS = [
  'stream-open',
  'agent-sounds',
  'conversation-begins',
  'line',
  'agent-promised',
  'recording-found',
  'call-ends',
  'dialogue-keys',
  'model-replaced',
  'agent-words',
  'caller-said',
  'tool-refused',
  'tools-taken-back',
  'tool-settled',
  'own-tool-settled',
] as const

/**
 * Entry of DTMF digits that a tool needs from the caller, and the privacy of the line during the entry.
 *
 * During the entry the caller hears the gateway, and the backend's speech is not played. `DigitCollection` acts on each
 * digit and each word.
 *
 *     collect_digits --> the question is asked
 *     collected, the model may have them   --> the digits are the result
 *     collected, secret                    --> the named tool runs; its answer is the result
 *     failed, abandoned for another reason --> an error as result
 *     secret: private from before the question until PRIVATE_TAIL_MS after the last digit
 *
 * If only digits are private (guarded), the first digit makes the line private:
 *
 *     open    --the agent asks for a secret number in words; its collect_digits ends or is refused-->     guarded
 *     guarded --the number has reached its tool; another number or digit is asked for; KEYS_PRIVATE_MS--> open
 */
export class Digits extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['collectDigits', 'digitsFault'] as const
  // Entry for `collect_digits`.
  #collection: DigitCollection | null = null
  /** True if private digits arrived while no entry was running. */
  #keyedUnasked = false
  readonly #secretNumbers: SecretNumbers
  /** Time of the last digit of a complete entry, or of a later digit; -Infinity after new speech of the agent. */
  #lastKeyAtMs = -Infinity
  /** Latest time at which the question begins, because it waits for the model's greeting. Null after the question. */
  #asksByMs: number | null = null

  constructor(call: CallKernel) {
    super(call)
    this.#secretNumbers = new SecretNumbers(call.options.collections)
  }

  due(name: DeadlineName): void {
    if (name === 'digits') this.#due()
    else if (name === 'private') this.#privateOver()
    else if (name === 'private-keys') this.#keypad.guard(this.#keypad.dialogue === 'secret')
  }

  hear(fact: FactOf<typeof HEARS>): void {
    switch (fact.type) {
      case 'stream-open':
        return this.#streamOpens()
      case 'agent-sounds':
        // From now on, digits answer the words that the caller hears now.
        this.#lastKeyAtMs = -Infinity
        return
      case 'conversation-begins':
        if (this.#keypad.private) this.#keypad.privateFor(PRIVATE_AFTER_TAKEOVER_MS)
        return
      case 'line':
        if (fact.to === 'escalating' || fact.to === 'closing' || fact.to === 'bridged') this.#abandon()
        // A human is on the line, so the line stays private only for PRIVATE_TAIL_MS.
        if (fact.to === 'bridged' && this.#keypad.private) this.#keypad.privateFor()
        return
      case 'agent-promised':
      case 'recording-found':
        return this.#abandon()
      case 'call-ends':
        return this.#drop()
      case 'dialogue-keys':
        return this.#dialogueKeys(fact.keys)
      case 'model-replaced':
        // The new backend may be a model, not a dialogue.
        this.#keypad.dialogueTakes(null)
        return
      case 'agent-words':
        return this.#agentSays(fact.text, fact.by === 'model')
      case 'caller-said':
        return fact.final ? this.#words(fact.text) : undefined
      case 'tool-refused':
        return this.#refused(fact.name, fact.args)
      case 'tools-taken-back':
        if (this.#collection !== null && fact.callIds.includes(this.#collection.callId)) this.#abandon()
        return
      case 'tool-settled':
        if (this.#collection !== null && fact.callId === this.#collection.toolCallId) this.#collection.answered = true
        return
      case 'own-tool-settled':
        return fact.callId === this.#collection?.toolCallId ? this.#over(fact.ok, fact.value, fact.error) : undefined
      default:
        return
    }
  }

  get #keypad(): Keypad {
    return this.call.keypad
  }

  checkpoint(): Pick<CallCheckpoint, 'privateKeys'> {
    return this.#keypad.isPrivate() ? { privateKeys: this.#keypad.private ? 'pressed' : 'asked' } : {}
  }

  get busy(): boolean {
    return this.#collection !== null
  }

  input(input: CallInput): boolean {
    return input.type === 'dtmf' && this.#digit(input.digit)
  }

  itemOver(itemId: string): void {
    if (itemId === this.#collection?.itemId) this.#asked()
  }

  /**
   * Keeps the line private if it was private when the previous worker was lost. The line stays private until the model
   * had time to ask again.
   */
  #streamOpens(): void {
    if (this.#keypad.private)
      this.#keypad.privateFor(this.call.options.backendReadyTimeoutMs + PRIVATE_AFTER_TAKEOVER_MS)
    if (this.#keypad.guarded) this.#keypad.guard(true)
  }

  /** Drops the entry without an answer, because the call ends. */
  #drop(): void {
    this.#collection = null
    this.#hold()
    this.call.floor.open('digits')
  }

  /** Takes the grants of input and keypad during the entry. The keypad is free while the tool processes the digits. */
  #hold(): void {
    const collection = this.#collection
    this.call.input.grants.set('digits', collection !== null)
    this.call.keypad.grants.set('digits', collection !== null && !collection.running)
  }

  #collectionOf(tool: string, { name }: Readonly<Record<string, unknown>>): Collection | null {
    if (tool !== COLLECT_TOOL) return null
    return this.call.options.collections.find((one) => one.name === name) ?? null
  }

  /** @returns the reason why the caller cannot be asked for digits; null if the caller can be asked */
  digitsFault(args: Readonly<Record<string, unknown>>): string | null {
    if (this.#collection !== null) return 'The caller is entering something already. Wait for it.'
    const names = this.call.options.collections.map((one) => one.name)
    if (this.#collectionOf(COLLECT_TOOL, args) === null) return `name must be one of ${names.join(', ') || '(none)'}.`
    const { with: other = {} } = args
    return typeof other !== 'object' || other === null || Array.isArray(other) ? 'with must be an object.' : null
  }

  collectDigits(callId: string, args: Readonly<Record<string, unknown>>): void {
    const spec = this.#collectionOf(COLLECT_TOOL, args)
    if (spec === null) return
    this.#collection = new DigitCollection(spec, callId, { ...(args['with'] as object | undefined) }, this.call.nowMs)
    this.#keyedUnasked = false
    this.#keypad.guard(spec.secretFor !== null)
    this.#keypad.makePrivate(spec.secretFor !== null)
    this.call.wait.callerActs()
    this.#hold()
    this.call.mark('digits', spec.name)
    this.#asksByMs = this.call.talk.greetingMs === null ? this.call.nowMs + FIRST_WORDS_MS : -Infinity
    this.#askFirst()
  }

  /** Waits for the greeting, then asks the question. The greeting may come after the tool call in the same response. */
  #askFirst(): void {
    if (this.#collection === null || this.#asksByMs === null) return
    if (this.call.agentSpeech.responding !== null && this.call.nowMs < this.#asksByMs)
      return this.call.in('digits', FIRST_WORDS_POLL_MS)
    this.#asksByMs = null
    this.call.floor.close('digits')
    this.#ask('say', false)
  }

  /** @param cut  true if the caller has acted, so that the current speech is not needed */
  #ask(what: 'say' | 'again' | 'confirm', cut: boolean): void {
    const collection = this.#collection
    if (collection === null) return
    const { say, again, confirm, firstMs } = collection.spec
    const texts =
      what === 'confirm'
        ? [this.call.text(confirm).replaceAll('{{digits}}', readBack(collection.entry))]
        : [what === 'again' ? this.call.text(again) : '', this.call.text(say)]
    const text = texts.join(' ').trim()
    if (cut) this.call.talk.stopAgent()
    collection.itemId = this.call.talk.announce(text, 'tool')
    this.call.in('digits', this.call.talk.wordsMs(text) + firstMs)
  }

  /** Notes that the question was heard, or will not be heard. */
  #asked(): void {
    if (this.#collection === null) return
    this.#collection.itemId = null
    this.call.in('digits', this.#collection.spec.firstMs)
  }

  /** @returns true if the digit belongs to an entry, or must not reach the backend */
  #digit(digit: string): boolean {
    const collection = this.#collection
    // A late digit belongs to the previous entry, because the caller has not heard the agent since that entry was
    // complete.
    const late = this.call.nowMs - this.#lastKeyAtMs < KEY_LATE_MS
    if (late) this.#lastKeyAtMs = this.call.nowMs
    if (late && collection !== null && !collection.running) {
      this.#keypad.pressed()
      this.call.mark('digits-late')
      return true
    }
    if (collection === null || collection.running || this.call.line.state !== 'live') {
      if (this.#keypad.isPrivate(digit)) this.#privateKey()
      return this.#keypad.dialogue === 'secret' && collection === null ? false : this.#keypad.private || late
    }
    this.call.talk.callerActive()
    this.call.tell({ type: 'understood', endsHold: true })
    if (collection.itemId !== null) this.call.talk.stopAgent()
    collection.itemId = null
    this.#step(collection.key(digit))
    return true
  }

  /** Handles a private digit outside of an entry. */
  #privateKey(): void {
    const call = this.call
    if (this.#collection === null && this.#keypad.guarded) {
      this.#keyedUnasked = this.#keypad.dialogue === null
      call.talk.digitInterrupts()
      call.talk.callerActive()
      call.tell({ type: 'understood', endsHold: true })
      this.#keypad.guard(true)
      if (!this.#keypad.private) this.#keypad.makePrivate(true)
      this.#keypad.privateFor()
    } else this.#keypad.pressed()
  }

  /** Takes a notice of a dialogue without a model: the next question is secret, or is open. */
  #dialogueKeys(keys: 'open' | 'secret'): void {
    const before = this.#keypad.dialogue
    this.#keypad.dialogueTakes(keys)
    if (keys === 'secret' || before === 'secret') this.#keypad.guard(keys === 'secret')
  }

  /**
   * Handles the refusal of a tool call that asks for a secret number. The model may now ask for the number in words.
   */
  #refused(tool: string, args: Readonly<Record<string, unknown>>): void {
    const secret = this.call.options.collections.some(
      (one) => one.secretFor !== null && (one === this.#collectionOf(tool, args) || one.secretFor.tool === tool),
    )
    if (secret) this.#keypad.guard(true)
  }

  /**
   * Handles words of the agent. While a dialogue asks for a secret, the dialogue's words do not end the privacy,
   * because these words may resemble a question for another number.
   * @param opens  true for the model's words; after the gateway's own words the line stays private
   */
  #agentSays(words: string, opens: boolean): void {
    if (this.#secretNumbers.none && !this.#keypad.guarded) return
    const asked = this.#secretNumbers.asked(words)
    if (asked === 'secret') this.#keypad.guard(true)
    else if (asked === 'other' && opens && !this.#keypad.private && this.#keypad.dialogue !== 'secret')
      this.#keypad.guard(false)
  }

  /**
   * Ends the privacy of the line. The model did not receive the digits, so it is informed that the caller pressed
   * digits.
   */
  #privateOver(): void {
    const call = this.call
    this.#keypad.makePrivate(false)
    if (!this.#keyedUnasked) return
    this.#keyedUnasked = false
    if (call.line.state !== 'live' || !call.model.usable) return
    const names = call.options.collections.flatMap(({ name, secretFor }) => (secretFor === null ? [] : [name]))
    const next =
      names.length === 0
        ? 'Go on without them.'
        : `They are lost: where you need ${names.join(' or ')}, call ${COLLECT_TOOL}, which asks the caller and has your tool get them.`
    call.model.tell(
      `The caller has keyed in digits that are secret, so that you do not get them. ${next}`,
      call.talk.allQuiet,
    )
  }

  #words(text: string): void {
    const collection = this.#collection
    if (collection === null || collection.running || !collection.spec.speech) return
    this.#step(collection.words(text))
  }

  #due(): void {
    const collection = this.#collection
    if (collection === null || collection.running) return
    if (this.#asksByMs !== null) return this.#askFirst()
    if (this.call.nowMs >= collection.untilMs)
      return this.#over(false, { error: 'The caller took too long to enter this.' }, 'too long')
    const speaks =
      this.call.callerSpeech.speaking || this.call.transcript.callerOpen || this.call.talk.bargeIn.undecided
    if (speaks && collection.spec.speech) return this.call.in('digits', DIGITS_POLL_MS)
    this.#step(collection.overdue(), false)
  }

  #step(step: CollectionStep, acted = true): void {
    const collection = this.#collection
    if (collection === null) return
    switch (step.type) {
      case 'nothing':
        return
      case 'wait':
        return this.call.deadlines.set('digits', Math.min(this.call.nowMs + step.ms, collection.untilMs))
      case 'ask':
        this.call.mark('digits-asked', step.what)
        return this.#ask(step.what, acted)
      case 'collected': {
        this.call.clear('digits')
        if (step.by === 'keypad') this.#lastKeyAtMs = this.call.nowMs
        this.call.mark('digits-collected', step.by)
        if (step.by === 'keypad') this.call.talk.callerStopped(this.call.nowMs, true)
        if (collection.spec.secretFor !== null) return this.#runSecretTool(collection, collection.spec.secretFor)
        const { entry: digits, masked } = collection
        const { by } = step
        return this.#over(true, { digits, by }, undefined, { digits: masked, by })
      }
      case 'failed': {
        const { error, said } = step
        return this.#over(false, { error, ...(said === undefined ? {} : { said }) }, 'no digits')
      }
      default:
        return assertNever(step)
    }
  }

  /** Runs the tool with masked digits. The worker inserts the real digits into the tool's arguments. */
  #runSecretTool(
    collection: DigitCollection,
    { tool: name, argument }: { readonly tool: string; readonly argument: string },
  ): void {
    const { toolCallId: callId, toolArgs, entry } = collection
    const args = { ...toolArgs, [argument]: maskedDigits(entry) }
    const decision = this.call.effects.ledger.call(callId, name, args)
    if (decision.type !== 'run') {
      const error = 'error' in decision ? decision.error : 'This was done already.'
      return this.#over(false, { error }, error)
    }
    collection.running = true
    this.#hold()
    this.call.mark('tool-start', name)
    const { occurrence } = decision
    this.call.out({ type: 'run-tool', callId, name, args, occurrence, secret: { argument, digits: entry.length } })
    this.#keypad.privateFor()
    this.call.ask('watchTool', true, callId)
  }

  /** @param recorded  value that records contain instead of the result */
  #over(ok: boolean, value: unknown, error?: string, recorded?: unknown): void {
    const collection = this.#collection
    if (collection === null) return
    this.#collection = null
    this.call.clear('digits')
    if (this.#keypad.private) this.#keypad.privateFor()
    // A caller who was too slow or was interrupted may continue to press digits, so these digits stay private.
    this.#keypad.guard(collection.spec.secretFor !== null && !collection.running)
    this.#hold()
    this.call.floor.open('digits')
    this.call.ask('answerTool', collection.callId, ok, value, error, recorded)
  }

  /** Ends the entry because the call continues in another way and does not need the digits. */
  #abandon(): void {
    const collection = this.#collection
    if (collection === null || collection.answered) return
    // An effect whose request was sent continues. Its end gets a separate log entry.
    if (collection.running && this.call.effects.ledger.isEffect(collection.toolCallId))
      return this.#over(false, { error: CUT_OFF }, UNCERTAIN)
    if (collection.running) this.call.ask('cancelTools', [collection.toolCallId])
    this.#over(false, { error: 'The caller did not finish: the call went on in another way.' }, 'abandoned')
  }
}
