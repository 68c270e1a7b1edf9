import type { AfterStream, CallerVoice, HumanOutcome } from './choices.js'
import type { EndedBy, PlaceCallOptions, SimulatedHuman } from './call-options.js'
import type { Verb } from './voice-document.js'

/** Documents of one call that are run. */
const DOCUMENTS_MAX = 20
/** How long a caller waits in silence before hanging up. */
export const GIVE_UP_MS = 20_000
export const GET_DIGITS_TIMEOUT_S = 5
export const POLL_MS = 50
/** The carrier's own voice, and the voice of the human that a Dial reaches. */
const CARRIER_VOICE: CallerVoice = 'kal'
export const HUMAN_VOICE: CallerVoice = 'awb'
export const DEFAULT_HUMAN: SimulatedHuman = {
  outcome: 'answered',
  ringMs: 2000,
  talkMs: 2000,
  greeting: 'Hello, how can I help you?',
}

/** What follows a verb: the next one, another document, or the end. */
export type Then =
  { readonly type: 'next' } | { readonly type: 'document'; readonly verbs: readonly Verb[] } | { readonly type: 'end' }
export const NEXT: Then = { type: 'next' }
export const END: Then = { type: 'end' }

/** How a Stream verb ended: its socket closed, was never opened, or stays open while the document continues. */
export type StreamEnd = 'stopped' | 'refused' | 'in-background'

/** A call whose documents are run: spoken in real time (carrier.ts), or as text on its own clock (scenarios/). */
export interface DocumentCall {
  readonly ended: boolean
  readonly options: Pick<PlaceCallOptions, 'human' | 'dialEdge' | 'giveUpMs'> & { readonly afterStream?: AfterStream }
  nowMs(): number
  /** Waits in the call's time, at most until the call ends. */
  wait(ms: number): Promise<void>
  /** The leg counts as answered. */
  answer(): void
  end(by: EndedBy, why: string): void
  complain(complaint: string): void
  noteVerb(name: string, text?: string): void
  /** Removes and returns the oldest digit that the caller pressed; null for none. */
  takeDigit(): string | null
  /** Resolves when the caller has heard it, or the call has ended. */
  say(text: string, voice: CallerVoice): Promise<void>
  /** The caller hears a Dial ring. */
  ring(ms: number): Promise<void>
  dialled(numbers: readonly string[], outcome: HumanOutcome): void
  play(url: string): Promise<Then>
  record(verb: Verb): Promise<Then>
  stream(verb: Verb): Promise<StreamEnd>
  stayInRoom(room: string, endOnExit: boolean): Promise<void>
  /** Posts to the voice webhook. @returns its document; null for none */
  postVoice(fields: Readonly<Record<string, string>>): Promise<readonly Verb[] | null>
  postForDocument(
    kind: 'redirect' | 'action',
    url: string,
    fields: Readonly<Record<string, string>>,
  ): Promise<readonly Verb[] | null>
}

/** Runs a document and every document that follows it. Returns when the call has ended or nothing is left to run. */
export async function runDocument(call: DocumentCall, first: readonly Verb[]): Promise<void> {
  let verbs = first
  for (let documents = 0; documents < DOCUMENTS_MAX; documents++) {
    const then = await runVerbs(call, verbs)
    if (then.type !== 'document' || call.ended) return
    verbs = then.verbs
  }
  call.complain(`more than ${DOCUMENTS_MAX} documents in one call`)
}

async function runVerbs(call: DocumentCall, verbs: readonly Verb[]): Promise<Then> {
  for (const verb of verbs) {
    if (call.ended) return END
    call.noteVerb(verb.name, verb.name === 'Say' ? verb.text : undefined)
    const then = await runVerb(call, verb)
    if (then.type !== 'next') return then
  }
  return END
}

async function runVerb(call: DocumentCall, verb: Verb): Promise<Then> {
  switch (verb.name) {
    case 'Say':
      return say(call, verb.text, CARRIER_VOICE)
    case 'Play':
      return call.play(verb.text)
    case 'GetDigits':
      return getDigits(call, verb)
    case 'Dial':
      return dial(call, verb)
    case 'Conference':
      return conference(call, verb)
    case 'Record':
      return call.record(verb)
    case 'Redirect':
      return redirect(call, verb)
    case 'Stream':
      return stream(call, verb)
    case 'Reject':
      call.end('document', `rejected (${verb.attributes['reason'] ?? 'rejected'})`)
      return END
    default:
      call.end('document', 'Hangup')
      return END
  }
}

async function say(call: DocumentCall, text: string, voice: CallerVoice): Promise<Then> {
  call.answer()
  await call.say(text, voice)
  return NEXT
}

/** Collects digits until there are enough, `finishOnKey` is pressed, or none comes for the timeout. */
async function getDigits(call: DocumentCall, verb: Verb): Promise<Then> {
  call.answer()
  for (const inner of verb.children) {
    if (call.ended) return END
    await (inner.name === 'Say' ? say(call, inner.text, CARRIER_VOICE) : call.play(inner.text))
  }
  const timeoutMs = seconds(verb, 'timeout', GET_DIGITS_TIMEOUT_S) * 1000
  const most = Number(verb.attributes['maxDigits'] ?? verb.attributes['numDigits'] ?? '0')
  const finishOn = verb.attributes['finishOnKey'] ?? '#'
  let digits = ''
  let untilMs = call.nowMs() + timeoutMs
  while (!call.ended && call.nowMs() < untilMs && (most === 0 || digits.length < most)) {
    const digit = call.takeDigit()
    if (digit === null) await call.wait(POLL_MS)
    else if (digit === finishOn) break
    else {
      digits += digit
      untilMs = call.nowMs() + timeoutMs
    }
  }
  if (call.ended) return END
  return documentOr(await call.postVoice({ callSessionState: 'Answered', isActive: '1', Digits: digits }), END)
}

async function dial(call: DocumentCall, verb: Verb): Promise<Then> {
  call.answer()
  const human = call.options.human ?? DEFAULT_HUMAN
  const listed = verb.attributes['phoneNumbers']?.split(',') ?? []
  const numbers = [...listed, ...verb.children.map((child) => child.text), verb.text]
    .map((number) => number.trim())
    .filter((number) => number !== '')
  if (numbers.length === 0) call.complain('Dial names nobody')
  const ringMs = Math.min(human.ringMs, seconds(verb, 'timeout', 60) * 1000)
  await call.ring(ringMs)
  if (call.ended) return END
  const outcome = human.ringMs > ringMs ? 'no-answer' : human.outcome
  call.dialled(numbers, outcome)
  if (outcome === 'answered') {
    if (human.greeting !== null) await say(call, human.greeting, HUMAN_VOICE)
    await call.wait(human.talkMs)
  }
  if (call.ended || call.options.dialEdge === 'none') return call.ended ? END : NEXT
  const state = call.options.dialEdge === 'outcome' ? DIAL_STATES[outcome] : 'DialCompleted'
  return documentOr(await call.postVoice({ callSessionState: state, isActive: '1', dialCallStatus: outcome }), NEXT)
}

const DIAL_STATES: Readonly<Record<HumanOutcome, string>> = {
  answered: 'DialCompleted',
  busy: 'Busy',
  'no-answer': 'NoAnswer',
  declined: 'Failed',
}

/** The leg waits in the room until the room closes or someone ends the call. */
async function conference(call: DocumentCall, verb: Verb): Promise<Then> {
  call.answer()
  await call.stayInRoom(verb.text.trim(), verb.attributes['endOnExit'] === 'true')
  return call.ended ? END : NEXT
}

async function redirect(call: DocumentCall, verb: Verb): Promise<Then> {
  const document = await call.postForDocument('redirect', verb.text, { callSessionState: 'Answered', isActive: '1' })
  return document === null ? END : { type: 'document', verbs: document }
}

/** Runs a Stream verb. After it the carrier continues in one of three ways that were documented or observed. */
async function stream(call: DocumentCall, verb: Verb): Promise<Then> {
  const end = await call.stream(verb)
  if (call.ended) return END
  if (end === 'in-background') return NEXT
  const behaviour = call.options.afterStream ?? 'continues'
  if (behaviour === 'continues') return NEXT
  if (behaviour === 'reposts') {
    const state = end === 'stopped' ? 'StreamStopped' : 'StreamError'
    const document = await call.postVoice({ callSessionState: state, isActive: '1' })
    if (document !== null && document.length > 0) return { type: 'document', verbs: document }
  }
  await call.wait(call.options.giveUpMs ?? GIVE_UP_MS)
  call.end('caller', 'gave up on a silent line after the stream')
  return END
}

export function documentOr(document: readonly Verb[] | null, otherwise: Then): Then {
  return document === null || document.length === 0 ? otherwise : { type: 'document', verbs: document }
}

/** An attribute in seconds. */
export function seconds(verb: Verb, name: string, otherwise: number): number {
  const value = Number(verb.attributes[name] ?? '')
  return Number.isFinite(value) && value > 0 ? value : otherwise
}
