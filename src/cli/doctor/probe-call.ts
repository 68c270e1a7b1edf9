import { setTimeout as sleep } from 'node:timers/promises'
import type { WebSocket } from 'ws'
import type { CallSid } from '../../core/ids.js'
import { SOCKET_WAIT_MS } from '../../core/limits.js'
import { EMPTY_RESPONSE, voiceXml } from '../../sautikit/actions.js'
import type { StreamStatusEvent, VoiceAction } from '../../sautikit/actions.js'
import { decideVoicePost, isTerminal } from '../../sautikit/carrier-state.js'
import type { CarrierEvent, Webhook } from '../../sautikit/webhook.js'
import { AfterStreamBehaviour } from '../../workers/main/after-stream-behaviour.js'
import { ProbeStream, RATE_HZ, StreamOver } from './probe-stream.js'
import { FACTS_POSTS_MAX } from './wire-facts.js'
import type { AfterStreamFacts, CallFacts, PostFacts, PostUrl } from './wire-facts.js'

/** Phrases for the caller, as 16 kHz samples. */
export interface Phrases {
  readonly welcome: Int16Array
  readonly tone: Int16Array
  /** Question about the tone's length. */
  readonly keyForTone: Int16Array
  readonly key: Int16Array
  readonly farewell: Int16Array
}

/** Text of each phrase in `Phrases`. */
export const PHRASES: Readonly<Record<keyof Phrases, string>> = {
  welcome: 'This is Mkondo. Please stay on the line for half a minute.',
  tone: 'You will now hear a tone.',
  keyForTone: 'If the tone was short, press one. If it was long, press two.',
  key: 'Now press five on your keypad, please.',
  farewell: 'Thank you. The line now becomes quiet. If it is still quiet after fifteen seconds, please hang up.',
}

/** Document with the last phrase to the caller, for a carrier that asks for the next document. */
const LAST_WORDS: readonly VoiceAction[] = [{ verb: 'say', text: 'That was all. Goodbye.' }, { verb: 'hangup' }]

/**
 * Time in ms to wait for the carrier's request for the next document. After this time the call is ended, because the
 * caller would not wait longer.
 */
const LATE_MS = 10_000
/** Time limit in ms for the end of a call after our document or the REST API has ended it. */
const END_MS = 10_000
/** Time in ms to wait for the last POST of a call whose caller has hung up. */
const LAST_POST_MS = 2000
/**
 * Maximum duration in ms of a call, longer than the whole script. After this time the command does not wait any more.
 */
const CALL_MS_MAX = 120_000

export interface ProbeCallOptions {
  readonly callSid: CallSid
  readonly track: CallFacts['track']
  readonly phrases: Phrases
  /** URLs of this call for the audio socket, the stream's status and the continuation. Each URL contains a token. */
  readonly urls: { readonly audio: string; readonly status: string; readonly afterStream: string }
  /** Ends the call through the REST API; null if the API is not used. */
  readonly hangUp: (() => Promise<void>) | null
  /** Reports each step to the operator. */
  readonly onStep: (what: string) => void
}

/** One call of the carrier, answered with a script that tests the carrier's behaviour. */
export class ProbeCall {
  /** Observed facts, available when the call has ended or the time limit is over. */
  readonly done: Promise<CallFacts>
  readonly #options: ProbeCallOptions
  readonly #startedMs = performance.now()
  readonly #posts: PostFacts[] = []
  readonly #behaviour = new AfterStreamBehaviour(null)
  #phase: 'waiting' | 'streaming' | 'after' | 'ended' = 'waiting'
  #answered = false
  #served = false
  #stream: ProbeStream | null = null
  #streamFacts: Pick<NonNullable<CallFacts['stream']>, 'openedAtMs' | 'headers' | 'subprotocols'> | null = null
  #streamEnded: () => void = () => undefined
  #closedMs: number | null = null
  #asked: { readonly by: PostUrl; readonly afterMs: number } | null = null
  #hangUp: AfterStreamFacts['hangUp'] = null

  constructor(options: ProbeCallOptions) {
    this.#options = options
    this.done = this.#run()
  }

  get callSid(): CallSid {
    return this.#options.callSid
  }

  get #isOver(): boolean {
    return this.#phase === 'ended'
  }

  get takesSocket(): boolean {
    return this.#phase === 'waiting' && this.#answered
  }

  /** Handles a POST to the voice URL. @returns the document */
  voice(post: Omit<PostFacts, 'atMs' | 'url' | 'state'>, webhook: Webhook): string {
    this.#note(post, 'voice', webhook)
    const { state, kind, direction, sidOfPbx, digits } = webhook
    if (digits !== null && digits !== '') this.#stream?.keyPosted(digits.slice(-1))
    const decided = decideVoicePost({
      state,
      kind,
      direction,
      sidOfPbx,
      served: this.#served,
      known: this.#answered,
      phase: this.#phase,
      unopened: false,
      // The state after our close is treated like a pending escalation, so that the answer to a POST is the next
      // document.
      escalation: this.#phase === 'after' ? (this.#asked === null ? 'pending' : 'none') : 'none',
    })
    if (isTerminal(state)) this.#end()
    else if (kind === null && (state === 'stream-stopped' || decided === 'continue')) this.#askedBy('voice')
    switch (decided) {
      case 'open-stream':
      case 'repeat-document':
        this.#answered = true
        this.#served ||= kind === null
        return this.#document()
      case 'continue':
        return voiceXml(LAST_WORDS)
      default:
        return EMPTY_RESPONSE
    }
  }

  /** Handles a POST to the continuation after the stream. @returns the document */
  afterStream(post: Omit<PostFacts, 'atMs' | 'url' | 'state'>, webhook: Webhook | null): string {
    this.#note(post, 'after-stream', webhook)
    if (webhook?.state === 'completed') {
      this.#end()
      return EMPTY_RESPONSE
    }
    const first = this.#asked === null
    this.#askedBy('after-stream')
    return first ? voiceXml(LAST_WORDS) : EMPTY_RESPONSE
  }

  /** Handles a POST to the events URL, whose answer the carrier does not read. */
  event(post: Omit<PostFacts, 'atMs' | 'url' | 'state'>, event: CarrierEvent): void {
    this.#note(post, 'events', event)
    if (isTerminal(event.state)) this.#end()
  }

  status(post: Omit<PostFacts, 'atMs' | 'url' | 'state'>, event: StreamStatusEvent | 'unknown'): void {
    this.#note(post, 'stream-status', { state: event })
  }

  attach(socket: WebSocket, headers: readonly string[], subprotocols: readonly string[]): void {
    this.#phase = 'streaming'
    this.#streamFacts = { openedAtMs: this.#sinceStart(), headers, subprotocols }
    this.#stream = new ProbeStream(socket, this.#options.track)
    this.#options.onStep('the audio socket is open; the caller hears us now')
    const over = (): void => {
      this.#streamEnded()
    }
    void this.#talk(this.#stream).then(over, (thrown: unknown) => {
      if (!(thrown instanceof StreamOver)) this.#options.onStep(`a step of the call failed: ${String(thrown)}`)
      over()
    })
  }

  /** Stops the call because the command is stopped. */
  abandon(): void {
    this.#stream?.close()
    this.#end()
    this.#streamEnded()
  }

  #document(): string {
    const { track, urls } = this.#options
    return voiceXml([
      {
        verb: 'stream',
        url: urls.audio,
        track,
        connect: true,
        samplingRateHz: RATE_HZ,
        name: 'doctor',
        headerMetadata: { doctor: 'header' },
        openMetadata: '{"doctor":"open"}',
        statusCallback: urls.status,
        statusEvents: ['stream-started', 'stream-stopped', 'stream-error'],
      },
      { verb: 'redirect', method: 'POST', url: urls.afterStream },
    ])
  }

  async #run(): Promise<CallFacts> {
    const streamEnded = new Promise<void>((resolve) => {
      this.#streamEnded = resolve
    })
    const guard = sleep(CALL_MS_MAX, undefined, { ref: false })
    await Promise.race([this.#waitForSocket(), guard])
    if (this.#stream !== null) {
      await Promise.race([streamEnded, guard])
      await this.#afterOurs()
    }
    this.abandon()
    return this.#facts()
  }

  /** Waits until the socket is open, or until the call ends without a socket. */
  async #waitForSocket(): Promise<void> {
    const untilMs = performance.now() + SOCKET_WAIT_MS
    while (this.#phase === 'waiting' && performance.now() < untilMs) await sleep(20)
    if (this.#phase === 'waiting') this.#options.onStep(`no audio socket was opened within ${SOCKET_WAIT_MS / 1000} s`)
  }

  async #talk(stream: ProbeStream): Promise<void> {
    const { phrases, onStep } = this.#options
    await stream.say(phrases.welcome)
    await stream.say(phrases.tone)
    await stream.tryKillAudio()
    onStep(`killAudio: ${stream.killAudio.seen === 'unknown' ? 'the caller is asked' : stream.killAudio.seen}`)
    await stream.askForKey(stream.killAudio.seen === 'unknown' ? phrases.keyForTone : phrases.key)
    await stream.say(phrases.farewell)
    this.#closedMs = performance.now()
    this.#phase = 'after'
    this.#behaviour.closed(this.callSid, this.#closedMs)
    stream.close()
    onStep('we have closed the audio socket; now the carrier may ask how to continue the call')
  }

  /**
   * Waits until the carrier asks for the next document, or until the time limit. Then waits for the end of the call.
   */
  async #afterOurs(): Promise<void> {
    if (this.#closedMs === null) return this.#until(() => false, LAST_POST_MS)
    await this.#until(() => this.#asked !== null, LATE_MS)
    if (this.#isOver) return
    if (this.#asked === null) {
      this.#options.onStep(`no request for ${LATE_MS / 1000} s: the carrier holds the call`)
      const { hangUp } = this.#options
      if (hangUp !== null) {
        try {
          await hangUp()
          this.#hangUp = 'not-ended'
        } catch {
          this.#hangUp = 'refused'
        }
      }
    }
    await this.#until(() => false, END_MS)
    if (this.#isOver && this.#hangUp === 'not-ended') this.#hangUp = 'ended'
  }

  /** Polls until `happened` is true, the call ends, or the time limit is over. */
  async #until(happened: () => boolean, ms: number): Promise<void> {
    const untilMs = performance.now() + ms
    while (!happened() && !this.#isOver && performance.now() < untilMs) await sleep(20)
  }

  #askedBy(by: PostUrl): void {
    if (this.#closedMs === null || this.#asked !== null) return
    const nowMs = performance.now()
    this.#asked = { by, afterMs: Math.round(nowMs - this.#closedMs) }
    this.#behaviour.asked(this.callSid, nowMs)
  }

  #end(): void {
    if (this.#phase === 'ended') return
    this.#behaviour.over(this.callSid, performance.now())
    this.#phase = 'ended'
  }

  #note(
    post: Omit<PostFacts, 'atMs' | 'url' | 'state'>,
    url: PostUrl,
    content: { readonly state: PostFacts['state'] } | null,
  ): void {
    if (this.#posts.length < FACTS_POSTS_MAX)
      this.#posts.push({ atMs: this.#sinceStart(), url, state: content?.state ?? 'unknown', ...post })
  }

  #sinceStart(): number {
    return Math.round(performance.now() - this.#startedMs)
  }

  #facts(): CallFacts {
    const seen = this.#behaviour.known(performance.now())
    return {
      track: this.#options.track,
      posts: this.#posts,
      stream:
        this.#stream === null || this.#streamFacts === null
          ? null
          : this.#stream.facts(this.#streamFacts.openedAtMs, this.#streamFacts.headers, this.#streamFacts.subprotocols),
      afterStream: {
        seen,
        askedBy: this.#asked?.by ?? null,
        askedAfterMs: this.#asked?.afterMs ?? null,
        hangUp: this.#hangUp,
      },
    }
  }
}
