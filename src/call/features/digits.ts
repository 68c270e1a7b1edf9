import { assertNever } from '../../core/assert.js'
import { Feature } from '../call-feature.js'
import type { CallFeature, DeadlineName } from '../call-feature.js'
import type { CallKernel } from '../call-kernel.js'
import { DigitCollection, maskedDigits, PRIVATE_TAIL_MS, readBack, TERMINATOR_LATE_MS } from '../digit-collection.js'
import type { Collection, CollectionStep } from '../digit-collection.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { CallInput } from '../events.js'
import { KEYS_PRIVATE_MS, SecretNumbers } from '../private-keys.js'
import { COLLECT_TOOL } from '../gateway-tools.js'
import { CUT_OFF, UNCERTAIN } from '../tool-ledger.js'

/** A caller who is just speaking when the digits are due is heard first. */
const DIGITS_POLL_MS = 500
/** After a takeover the model has this long to ask for secret digits again, before the line is open to it. */
const PRIVATE_AFTER_TAKEOVER_MS = 8000

/**
 * Digits that a tool asks the caller for, and the privacy of the line meanwhile.
 *
 * While they are collected the caller hears the gateway, not the model: what the backend says is not wanted. `DigitCollection`
 * decides what follows from each key and each word.
 *
 *     collect_digits --> the question is said
 *     collected, the model may have them   --> its result
 *     collected, secret                    --> the tool that is named runs; what it answers is the result
 *     failed, abandoned for another reason --> an error as result
 *     secret: private from before the question until PRIVATE_TAIL_MS after the last key
 *
 * Keys alone are private, and the first of them makes the line private:
 *
 *     open    --the agent's words ask for a secret number; collect_digits ends or is refused without it-->  guarded
 *     guarded --the number has reached its tool; another number or key is asked for; KEYS_PRIVATE_MS-->     open
 */
export class Digits extends Feature implements CallFeature {
  // Digits that `collect_digits` takes.
  collection: DigitCollection | null = null
  /** Digits that only a tool may get are being entered: nothing of the caller is heard. */
  private = false
  /** Such digits were just asked for: keys are private, and what the caller says is heard. */
  #keysGuarded = false
  /** How a dialogue without a model takes keys; null: a model has the call, and gets none that are private. */
  #dialogueKeys: 'open' | 'secret' | null = null
  /** Private keys came that nothing collects. */
  #keyedUnasked = false
  readonly #secretNumbers: SecretNumbers
  #terminator = ''
  #collectedAtMs = -Infinity

  constructor(call: CallKernel) {
    super(call)
    this.#secretNumbers = new SecretNumbers(call.options.collections)
    const { privateKeys, callBack } = call.resume ?? {}
    // Also with an agent that takes no such digits: the one before it has asked. Who is rung back is asked anew.
    this.#keysGuarded = privateKeys !== undefined && callBack !== 'asks'
    // The caller may be entering them at this moment.
    if (this.#keysGuarded && privateKeys === 'pressed') this.#setPrivate(true)
  }

  due(name: DeadlineName): void {
    if (name === 'digits') this.#due()
    else if (name === 'private') this.#privateOver()
    else if (name === 'private-keys') this.#guardKeys(this.#dialogueKeys === 'secret')
  }

  /** Nobody but a tool may have the keys that the caller presses now. The gateway's own questions by key are newer. */
  get privateKeys(): boolean {
    const { callBack, consent, ringBack } = this.call
    const asks = callBack.offer !== null || consent.waiting || ringBack.unconfirmed !== null
    return this.private || (this.#keysGuarded && !asks)
  }

  checkpoint(): Pick<CallCheckpoint, 'privateKeys'> {
    return this.privateKeys ? { privateKeys: this.private ? 'pressed' : 'asked' } : {}
  }

  get busy(): boolean {
    return this.collection !== null
  }

  input(input: CallInput): boolean {
    return input.type === 'dtmf' && this.#digit(input.digit)
  }

  itemOver(itemId: string): void {
    if (itemId === this.collection?.itemId) this.#asked()
  }

  /** A line that was private when the previous worker was lost stays so until the model can have asked again. */
  streamOpens(): void {
    if (this.private) this.call.in('private', this.call.options.backendReadyTimeoutMs + PRIVATE_AFTER_TAKEOVER_MS)
    if (this.#keysGuarded) this.#guardKeys(true)
  }

  conversationBegins(): void {
    if (this.private) this.call.in('private', PRIVATE_AFTER_TAKEOVER_MS)
  }

  /** A human is on the line. */
  bridged(): void {
    if (this.private) this.call.in('private', PRIVATE_TAIL_MS)
  }

  /** The call ends: nobody is answered any more. */
  drop(): void {
    this.collection = null
  }

  #collectionOf(tool: string, { name }: Readonly<Record<string, unknown>>): Collection | null {
    if (tool !== COLLECT_TOOL) return null
    return this.call.options.collections.find((one) => one.name === name) ?? null
  }

  /** @returns why they cannot be asked for; null when they can */
  fault(args: Readonly<Record<string, unknown>>): string | null {
    if (this.collection !== null) return 'The caller is entering something already. Wait for it.'
    const names = this.call.options.collections.map((one) => one.name)
    if (this.#collectionOf(COLLECT_TOOL, args) === null) return `name must be one of ${names.join(', ') || '(none)'}.`
    const { with: other = {} } = args
    return typeof other !== 'object' || other === null || Array.isArray(other) ? 'with must be an object.' : null
  }

  collect(callId: string, args: Readonly<Record<string, unknown>>): void {
    const spec = this.#collectionOf(COLLECT_TOOL, args)
    if (spec === null) return
    this.collection = new DigitCollection(spec, callId, { ...(args['with'] as object | undefined) }, this.call.nowMs)
    this.#terminator = spec.terminator
    this.#keyedUnasked = false
    this.#guardKeys(spec.secretFor !== null)
    this.#setPrivate(spec.secretFor !== null)
    this.call.clear('answer', 'filler', 'closing-cue')
    this.call.agentSpeech.close()
    this.call.mark('digits', spec.name)
    this.#ask('say')
  }

  #ask(what: 'say' | 'again' | 'confirm'): void {
    const collection = this.collection
    if (collection === null) return
    const { say, again, confirm, firstMs } = collection.spec
    const texts =
      what === 'confirm'
        ? [this.call.text(confirm).replaceAll('{{digits}}', readBack(collection.entry))]
        : [what === 'again' ? this.call.text(again) : '', this.call.text(say)]
    const text = texts.join(' ').trim()
    if (what !== 'say') this.call.stopAgent()
    collection.itemId = this.call.announce(text, 'tool')
    this.call.in('digits', this.call.wordsMs(text) + firstMs)
  }

  /** The question was heard, or will not be. */
  #asked(): void {
    if (this.collection === null) return
    this.collection.itemId = null
    this.call.in('digits', this.collection.spec.firstMs)
  }

  /** @returns true when the key belongs to an entry, or must not be heard */
  #digit(digit: string): boolean {
    const collection = this.collection
    const late = digit === this.#terminator && this.call.nowMs - this.#collectedAtMs < TERMINATOR_LATE_MS
    if (collection === null || collection.running || this.call.state !== 'live') {
      if (this.privateKeys) this.#privateKey()
      return this.#dialogueKeys === 'secret' && collection === null ? false : this.private || late
    }
    this.call.callerActive()
    this.call.presence.understood()
    if (collection.itemId !== null) this.call.stopAgent()
    collection.itemId = null
    this.#step(collection.key(digit))
    return true
  }

  /** A key that nobody may have. */
  #privateKey(): void {
    const call = this.call
    if (this.collection === null && this.#keysGuarded) {
      this.#keyedUnasked = this.#dialogueKeys === null
      if (call.options.bargeIn.onDtmf && call.interruptible) call.commitBargeIn('a digit', call.agentSpeech.latest)
      call.callerActive()
      call.presence.understood()
      this.#guardKeys(true)
      if (!this.private) this.#setPrivate(true)
      call.in('private', PRIVATE_TAIL_MS)
    } else if (call.deadlines.isSet('private')) call.in('private', PRIVATE_TAIL_MS)
  }

  /** A dialogue says itself which of its questions are secret. */
  dialogueExpects(keys: 'open' | 'secret'): void {
    const before = this.#dialogueKeys
    this.#dialogueKeys = keys
    if (keys === 'secret' || before === 'secret') this.#guardKeys(keys === 'secret')
  }

  /** Another backend has the call, which may be a model. */
  modelHasTheCall(): void {
    this.#dialogueKeys = null
  }

  /** A tool call was refused with which the model was about to ask for a secret number: it may do so in words. */
  refused(tool: string, args: Readonly<Record<string, unknown>>): void {
    const secret = this.call.options.collections.some(
      (one) => one.secretFor !== null && (one === this.#collectionOf(tool, args) || one.secretFor.tool === tool),
    )
    if (secret) this.#guardKeys(true)
  }

  /** Keys are private from now on, for KEYS_PRIVATE_MS, or are not. */
  #guardKeys(on: boolean): void {
    if (on && this.#dialogueKeys === 'open') return
    if (on) this.call.in('private-keys', KEYS_PRIVATE_MS)
    else this.call.clear('private-keys')
    if (this.#keysGuarded === on) return
    this.#keysGuarded = on
    this.call.mark('private-keys', on ? 'on' : 'off')
    this.call.changed()
  }

  /**
   * While a dialogue asks for a secret its words open nothing: they may sound like those for another number.
   * @param opens  the model's words: what the gateway says of itself, such as that nobody is heard, leaves a question open
   */
  agentSays(words: string, opens: boolean): void {
    if (this.#secretNumbers.none && !this.#keysGuarded) return
    const asked = this.#secretNumbers.asked(words)
    if (asked === 'secret') this.#guardKeys(true)
    else if (asked === 'other' && opens && !this.private && this.#dialogueKeys !== 'secret') this.#guardKeys(false)
  }

  /** The line is open again. The model, which has heard nothing of the keys, must know that there were some. */
  #privateOver(): void {
    const call = this.call
    this.#setPrivate(false)
    if (!this.#keyedUnasked) return
    this.#keyedUnasked = false
    if (call.state !== 'live' || !call.backend.usable) return
    const names = call.options.collections.flatMap(({ name, secretFor }) => (secretFor === null ? [] : [name]))
    const next =
      names.length === 0
        ? 'Go on without them.'
        : `They are lost: where you need ${names.join(' or ')}, call ${COLLECT_TOOL}, which asks the caller and has your tool get them.`
    call.tellModel(
      `The caller has keyed in digits that are secret, so that you do not get them. ${next}`,
      call.allQuiet,
    )
  }

  words(text: string): void {
    const collection = this.collection
    if (collection === null || collection.running || !collection.spec.speech) return
    this.#step(collection.words(text))
  }

  #due(): void {
    const collection = this.collection
    if (collection === null || collection.running) return
    if (this.call.nowMs >= collection.untilMs)
      return this.over(false, { error: 'The caller took too long to enter this.' }, 'too long')
    const speaks = this.call.callerSpeech.speaking || this.call.transcript.callerOpen || this.call.bargeIn.paused
    if (speaks && collection.spec.speech) return this.call.in('digits', DIGITS_POLL_MS)
    this.#step(collection.overdue())
  }

  #step(step: CollectionStep): void {
    const collection = this.collection
    if (collection === null) return
    switch (step.type) {
      case 'nothing':
        return
      case 'wait':
        return this.call.deadlines.set('digits', Math.min(this.call.nowMs + step.ms, collection.untilMs))
      case 'ask':
        this.call.mark('digits-asked', step.what)
        return this.#ask(step.what)
      case 'collected': {
        this.call.clear('digits')
        this.#collectedAtMs = this.call.nowMs
        this.call.mark('digits-collected', step.by)
        if (step.by === 'keypad') this.call.callerStopped(this.call.nowMs, true)
        if (collection.spec.secretFor !== null) return this.#runSecretTool(collection, collection.spec.secretFor)
        const { entry: digits, masked } = collection
        const { by } = step
        return this.over(true, { digits, by }, undefined, { digits: masked, by })
      }
      case 'failed': {
        const { error, said } = step
        return this.over(false, { error, ...(said === undefined ? {} : { said }) }, 'no digits')
      }
      default:
        return assertNever(step)
    }
  }

  /** The worker puts the digits into the tool's arguments; here they are masked. */
  #runSecretTool(
    collection: DigitCollection,
    { tool: name, argument }: { readonly tool: string; readonly argument: string },
  ): void {
    const { toolCallId: callId, toolArgs, entry } = collection
    const args = { ...toolArgs, [argument]: maskedDigits(entry) }
    const decision = this.call.ledger.call(callId, name, args)
    if (decision.type !== 'run') {
      const error = 'error' in decision ? decision.error : 'This was done already.'
      return this.over(false, { error }, error)
    }
    collection.running = true
    this.call.mark('tool-start', name)
    const { occurrence } = decision
    this.call.out({ type: 'run-tool', callId, name, args, occurrence, secret: { argument, digits: entry.length } })
    this.call.in('private', PRIVATE_TAIL_MS)
    this.call.tools.runs(true)
  }

  /** @param recorded  what records have in place of the value */
  over(ok: boolean, value: unknown, error?: string, recorded?: unknown): void {
    const collection = this.collection
    if (collection === null) return
    this.collection = null
    this.call.clear('digits')
    if (this.private) this.call.in('private', PRIVATE_TAIL_MS)
    // A caller who was too slow, or cut short, goes on keying.
    this.#guardKeys(collection.spec.secretFor !== null && !collection.running)
    this.call.agentSpeech.open()
    this.call.tools.result(collection.callId, ok, value, error, 'answered', recorded)
  }

  /** The call goes another way: the digits are not wanted any more. */
  abandon(): void {
    const collection = this.collection
    if (collection === null || collection.answered) return
    // An effect that was sent goes on, and its own entry has its end.
    if (collection.running && this.call.ledger.isEffect(collection.toolCallId))
      return this.over(false, { error: CUT_OFF }, UNCERTAIN)
    if (collection.running) this.call.tools.takeBack([collection.toolCallId])
    this.over(false, { error: 'The caller did not finish: the call went on in another way.' }, 'abandoned')
  }

  #setPrivate(on: boolean): void {
    this.call.clear('private')
    if (this.private === on) return
    this.private = on
    this.call.mark('private', on ? 'on' : 'off')
    this.call.out({ type: 'private', on })
    this.call.changed()
  }
}
