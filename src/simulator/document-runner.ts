import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../core/errors.js'
import type { CallControl } from './call-control.js'
import type { SimulatedHuman } from './call-options.js'
import { runStream } from './stream-verb.js'
import { beep, ringingTone } from './tones.js'
import type { Verb } from './voice-document.js'
import type { CallerVoice } from './voices.js'

/** Documents that one call may fetch: a gateway that redirects in circles must end too. */
const DOCUMENTS_MAX = 20
const GIVE_UP_MS = 20_000
const GET_DIGITS_TIMEOUT_S = 5
const RECORD_S_MAX = 60
const POLL_MS = 50
const PLAY_TIMEOUT_MS = 5000
const PLAY_BYTES_MAX = 10 * 1024 * 1024
/** The carrier's own voice, and the voice of the human that a Dial reaches. */
const CARRIER_VOICE: CallerVoice = 'kal'
export const HUMAN_VOICE: CallerVoice = 'awb'
export const DEFAULT_HUMAN: SimulatedHuman = { outcome: 'answered', ringMs: 2000, talkMs: 2000, greeting: 'Hello, how can I help you?' }

/** What follows a verb: the next one, another document, or the end. */
type Then = { readonly type: 'next' } | { readonly type: 'document'; readonly verbs: readonly Verb[] } | { readonly type: 'end' }
const NEXT: Then = { type: 'next' }
const END: Then = { type: 'end' }

/** Runs a document and every document that follows from it; returns when the call is over or nothing is left to do. */
export async function runDocument(call: CallControl, first: readonly Verb[]): Promise<void> {
  let verbs = first
  for (let documents = 0; documents < DOCUMENTS_MAX; documents++) {
    const then = await runVerbs(call, verbs)
    if (then.type !== 'document' || call.ended) return
    verbs = then.verbs
  }
  call.complain(`more than ${DOCUMENTS_MAX} documents in one call`)
}

async function runVerbs(call: CallControl, verbs: readonly Verb[]): Promise<Then> {
  for (const verb of verbs) {
    if (call.ended) return END
    call.noteVerb(verb.name, verb.name === 'Say' ? verb.text : undefined)
    const then = await runVerb(call, verb)
    if (then.type !== 'next') return then
  }
  return END
}

async function runVerb(call: CallControl, verb: Verb): Promise<Then> {
  switch (verb.name) {
    case 'Say': return say(call, verb.text, CARRIER_VOICE)
    case 'Play': return play(call, verb.text)
    case 'GetDigits': return getDigits(call, verb)
    case 'Dial': return dial(call, verb)
    case 'Conference': return conference(call, verb)
    case 'Record': return record(call, verb)
    case 'Redirect': return redirect(call, verb)
    case 'Stream': return stream(call, verb)
    case 'Reject':
      call.end('document', `rejected (${verb.attributes['reason'] ?? 'rejected'})`)
      return END
    default:
      call.end('document', 'Hangup')
      return END
  }
}

async function say(call: CallControl, text: string, voice: CallerVoice): Promise<Then> {
  call.answer()
  const { leg } = call.caller
  const pcm = await call.options.caller.speech.speak(text, voice, leg.sampleRateHz).catch((thrown: unknown) => {
    call.complain(`the carrier could not say a text: ${messageOf(thrown)}`)
    return new Int16Array(0)
  })
  await Promise.race([leg.play(pcm), call.ending])
  leg.stopPlaying()
  return NEXT
}

/** The file is fetched, so that a wrong URL is noticed; what is in it is not what a gateway is tested for. */
async function play(call: CallControl, url: string): Promise<Then> {
  call.answer()
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(PLAY_TIMEOUT_MS) })
    if (!response.ok) throw new Error(`answered with ${response.status}`)
    const bytes = Math.min(PLAY_BYTES_MAX, (await response.arrayBuffer()).byteLength)
    // Taken for s16 mono at 16 kHz: good enough for how long a caller has to listen.
    await Promise.race([sleep(bytes / 32, undefined, { ref: false }), call.ending])
  } catch (thrown) {
    call.complain(`Play could not fetch its url: ${messageOf(thrown)}`)
  }
  return NEXT
}

async function getDigits(call: CallControl, verb: Verb): Promise<Then> {
  call.answer()
  for (const inner of verb.children) {
    if (call.ended) return END
    await (inner.name === 'Say' ? say(call, inner.text, CARRIER_VOICE) : play(call, inner.text))
  }
  const timeoutMs = seconds(verb, 'timeout', GET_DIGITS_TIMEOUT_S) * 1000
  const most = Number(verb.attributes['maxDigits'] ?? verb.attributes['numDigits'] ?? '0')
  const finishOn = verb.attributes['finishOnKey'] ?? '#'
  let digits = ''
  let untilMs = performance.now() + timeoutMs
  while (!call.ended && performance.now() < untilMs && (most === 0 || digits.length < most)) {
    const key = call.takeKey()
    if (key === null) await Promise.race([sleep(POLL_MS), call.ending])
    else if (key === finishOn) break
    else {
      digits += key
      untilMs = performance.now() + timeoutMs
    }
  }
  if (call.ended) return END
  return documentOr(await call.postVoice({ callSessionState: 'Answered', isActive: '1', Digits: digits }), END)
}

async function dial(call: CallControl, verb: Verb): Promise<Then> {
  call.answer()
  const human = call.options.human ?? DEFAULT_HUMAN
  const listed = verb.attributes['phoneNumbers']?.split(',') ?? []
  const numbers = [...listed, ...verb.children.map((child) => child.text), verb.text].map((number) => number.trim()).filter((number) => number !== '')
  if (numbers.length === 0) call.complain('Dial names nobody')
  const { leg } = call.caller
  const ringMs = Math.min(human.ringMs, seconds(verb, 'timeout', 60) * 1000)
  await Promise.race([leg.play(ringingTone(ringMs, leg.sampleRateHz)), call.ending])
  leg.stopPlaying()
  if (call.ended) return END
  const outcome = human.ringMs > ringMs ? 'no-answer' : human.outcome
  call.dials.push({ numbers, outcome })
  call.emit({ type: 'dialled', numbers, outcome })
  if (outcome === 'answered') {
    if (human.greeting !== null) await say(call, human.greeting, HUMAN_VOICE)
    await Promise.race([sleep(human.talkMs, undefined, { ref: false }), call.ending])
  }
  if (call.ended || call.options.dialEdge === 'none') return call.ended ? END : NEXT
  const state = call.options.dialEdge === 'outcome' ? DIAL_STATES[outcome] : 'DialCompleted'
  return documentOr(await call.postVoice({ callSessionState: state, isActive: '1', dialCallStatus: outcome }), NEXT)
}

const DIAL_STATES: Readonly<Record<SimulatedHuman['outcome'], string>> = {
  'answered': 'DialCompleted', 'busy': 'Busy', 'no-answer': 'NoAnswer', 'declined': 'Failed',
}

/** The leg waits in the room until the room closes or someone ends the call. */
async function conference(call: CallControl, verb: Verb): Promise<Then> {
  call.answer()
  await call.stayInRoom(verb.text.trim(), verb.attributes['endOnExit'] === 'true')
  return call.ended ? END : NEXT
}

async function record(call: CallControl, verb: Verb): Promise<Then> {
  call.answer()
  const { leg } = call.caller
  if (verb.attributes['playBeep'] !== 'false') await Promise.race([leg.play(beep(leg.sampleRateHz)), call.ending])
  const startedMs = performance.now()
  const untilMs = startedMs + Math.min(RECORD_S_MAX, seconds(verb, 'maxLength', RECORD_S_MAX)) * 1000
  const silenceMs = seconds(verb, 'timeout', GET_DIGITS_TIMEOUT_S) * 1000
  let spokenMs = startedMs
  while (!call.ended && performance.now() < untilMs && performance.now() - spokenMs < silenceMs) {
    if (leg.mouth.speaking) spokenMs = performance.now()
    if (call.takeKey() === (verb.attributes['finishOnKey'] ?? '#')) break
    await Promise.race([sleep(POLL_MS), call.ending])
  }
  const action = verb.attributes['action']
  if (call.ended || action === undefined) return call.ended ? END : NEXT
  const durationS = String(Math.round((performance.now() - startedMs) / 1000))
  return documentOr(await call.postForDocument('action', action, { callSessionState: 'Answered', isActive: '1', durationInSeconds: durationS }), NEXT)
}

async function redirect(call: CallControl, verb: Verb): Promise<Then> {
  const document = await call.postForDocument('redirect', verb.text, { callSessionState: 'Answered', isActive: '1' })
  return document === null ? END : { type: 'document', verbs: document }
}

/** After the socket's end the platform goes on in one of the three ways that were documented or seen. */
async function stream(call: CallControl, verb: Verb): Promise<Then> {
  const end = await runStream(call, verb)
  if (call.ended) return END
  if (end === 'in-background') return NEXT
  const behaviour = call.options.afterStream ?? 'continues'
  if (behaviour === 'continues') return NEXT
  if (behaviour === 'reposts') {
    const state = end === 'stopped' ? 'StreamStopped' : 'StreamError'
    const document = await call.postVoice({ callSessionState: state, isActive: '1' })
    if (document !== null && document.length > 0) return { type: 'document', verbs: document }
  }
  await Promise.race([sleep(call.options.giveUpMs ?? GIVE_UP_MS, undefined, { ref: false }), call.ending])
  call.end('caller', 'gave up on a silent line after the stream')
  return END
}

function documentOr(document: readonly Verb[] | null, otherwise: Then): Then {
  return document === null || document.length === 0 ? otherwise : { type: 'document', verbs: document }
}

function seconds(verb: Verb, name: string, otherwise: number): number {
  const value = Number(verb.attributes[name] ?? '')
  return Number.isFinite(value) && value > 0 ? value : otherwise
}
