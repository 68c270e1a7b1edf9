import { setTimeout as sleep } from 'node:timers/promises'
import type { WebSocket } from 'ws'
import { AFTER_KILL_SILENCE_MS, PLAYOUT_LEAD_MS_16K, PLAYOUT_TAIL_MS } from '../../core/limits.js'
import { FRAME_MS, msToSamples } from '../../core/units.js'
import { DtmfDetector } from '../../media/dtmf.js'
import { bytesOfSamples, levelDbfs } from '../../media/pcm.js'
import { ChannelLayout, Reframer } from '../../media/reframer.js'
import { KILL_AUDIO, parseStreamText } from '../../sautikit/stream-messages.js'
import { formsOfText } from './wire-facts.js'
import type { AudioFacts, CallFacts, KillFacts, StreamFacts } from './wire-facts.js'

export const RATE_HZ = 16_000
const FRAME_SAMPLES = msToSamples(FRAME_MS, RATE_HZ)
/** No harmonic of speech or ringing stays pure for as long, and no DTMF tone contains it. */
const TONE_HZ = 1000
const TONE_MS = 3000
/** When the tone is stopped: the carrier has played some of it by then, and has most of it still to play. */
const KILL_AFTER_MS = 700
/**
 * A sound that ends before this was stopped, a phone's delay included; half-way between the stop and the end. Counted from
 * the tone's beginning: on a busy machine the stop may be late.
 */
const STOPPED_BEFORE_MS = (KILL_AFTER_MS + TONE_MS) / 2
const TRIES_MAX = 3
/** A wait that ends later than this stood still; what came meanwhile is read in a step more, before the tone is stopped. */
const STOOD_STILL_MS = 50
const READ_STEP_MS = 100
/** Time for the rest of a tone that was not stopped, and for the answer to its mark. */
const TONE_OVER_MS = TONE_MS - KILL_AFTER_MS + 700
/** Frames of the tone that have to come back before its end says anything. */
const TONE_FRAMES_MIN = 10
const TONE_DBFS_MIN = -55
/** Names of text frames that are counted. */
const TEXT_NAMES_MAX = 64
/** How much of a frame's power is at TONE_HZ. */
const TONE_SHARE_MIN = 0.7
/** Sizes of messages that are reported. */
const SIZES_SHOWN = 5
/** Sizes that are counted; more are left out. */
const SIZES_MAX = 1000
/** How long the caller has for a key, and how long we then wait for the same key to come another way. */
const KEY_WAIT_MS = 8000
const KEY_AGAIN_MS = 1200
const MARK = 'doctor'

/** The socket of the stream is closed, so that nothing more can be tried on it. */
export class StreamOver extends Error {}

/** One audio socket of the carrier: plays what we try on it, and notes what comes. */
export class ProbeStream {
  readonly #socket: WebSocket
  readonly #openedMs = performance.now()
  readonly #closed = new AbortController()
  readonly #track: CallFacts['track']
  readonly #layout: ChannelLayout
  readonly #reframer: Reframer
  readonly #left = new Int16Array(FRAME_SAMPLES)
  readonly #right = new Int16Array(FRAME_SAMPLES)
  readonly #dtmf = new DtmfDetector({ sampleRateHz: RATE_HZ })
  readonly #sizes = new Map<number, number>()
  readonly #texts: Record<string, number> = {}
  #firstText: StreamFacts['firstText'] = null
  #messages = 0
  #largestBytes = 0
  #empty = 0
  #odd = 0
  #firstAudioMs: number | null = null
  #lastAudioMs = 0
  #longestGapMs = 0
  #toneFrames = 0
  #lastToneMs = 0
  #markAnswer: { readonly event: 'playout' | 'cleared'; readonly atMs: number } | null = null
  #kill: KillFacts = { seen: 'unknown', by: null, marks: 'unanswered' }
  #keysAsked = false
  readonly #keys = { asTones: 0, asTexts: 0, asPosts: 0 }
  /** The newest key, however it came. */
  #key: string | null = null
  #keyCame: () => void = () => undefined
  #endedBy: 'us' | 'carrier' = 'carrier'

  constructor(socket: WebSocket, track: CallFacts['track']) {
    this.#socket = socket
    this.#track = track
    this.#layout = new ChannelLayout({ sampleRateHz: RATE_HZ, track })
    this.#reframer = new Reframer({ sampleRateHz: RATE_HZ, channels: 1 })
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.#audio(data, performance.now())
      else this.#text(data.toString('utf8'))
    })
    socket.on('error', () => undefined) // `close` follows
    socket.once('close', () => {
      this.#closed.abort()
    })
  }

  /** Aborted when the socket has closed. */
  get closed(): AbortSignal {
    return this.#closed.signal
  }

  get killAudio(): KillFacts {
    return this.#kill
  }

  facts(openedAtMs: number, headers: readonly string[], subprotocols: readonly string[]): StreamFacts {
    return {
      openedAtMs,
      headers,
      subprotocols,
      firstText: this.#firstText,
      texts: { ...this.#texts },
      audio: this.#audioFacts(),
      killAudio: this.#kill,
      keys: { ...this.#keys, asked: this.#keysAsked },
      endedBy: this.#endedBy,
    }
  }

  /** A key that came with a POST to the voice URL. */
  keyPosted(key: string): void {
    this.#keys.asPosts++
    this.#pressed(key)
  }

  close(): void {
    if (!this.#closed.signal.aborted) this.#endedBy = 'us'
    this.#socket.close(1000)
  }

  // --- what is tried ------------------------------------------------------------------------------------------

  /** Speaks at real time, a little ahead; resolves when the caller has heard it. @throws StreamOver */
  async say(pcm: Int16Array): Promise<void> {
    const whole = new Int16Array(pcm.length + msToSamples(PLAYOUT_TAIL_MS, RATE_HZ))
    whole.set(pcm)
    const startedMs = performance.now()
    for (let at = 0; at < whole.length; at += FRAME_SAMPLES) {
      const dueMs = startedMs + (at * 1000) / RATE_HZ - PLAYOUT_LEAD_MS_16K
      if (dueMs > performance.now()) await this.#wait(dueMs - performance.now())
      this.#send(whole.subarray(at, at + FRAME_SAMPLES))
    }
    await this.#wait(startedMs + (whole.length * 1000) / RATE_HZ - performance.now())
  }

  /**
   * Sends a tone of three seconds at once and stops it early. A carrier that answers marks says what it did; else the
   * tone may come back, on `both_tracks` or from the caller's loudspeaker; else the caller has to be asked.
   * @throws StreamOver
   */
  async tryKillAudio(): Promise<void> {
    for (let tries = 1; tries <= TRIES_MAX; tries++) {
      const sentMs = await this.#sendTone()
      // Before the stop only a sample that looks like a mark to the carrier answers it, of speech that it plays late
      // (docs/PROTOCOL.md). That says nothing.
      // Neither does a stop that comes when most of the tone was played.
      const isTooLate = performance.now() - sentMs >= STOPPED_BEFORE_MS
      if ((this.#markAnswer !== null || isTooLate) && tries < TRIES_MAX) {
        await this.#wait(TONE_OVER_MS)
        continue
      }
      this.#markAnswer = null
      this.#socket.send(KILL_AUDIO)
      await this.#wait(TONE_OVER_MS)
      this.#kill = this.#judgeKill(sentMs)
      await this.#wait(AFTER_KILL_SILENCE_MS)
      // Where our speech comes back, too little of the tone did before it was stopped: something stood still.
      const comesBack = this.#toneFrames > 0 || this.#track === 'both_tracks'
      if (this.#kill.seen !== 'unknown' || !comesBack) return
    }
  }

  #judgeKill(sentMs: number): KillFacts {
    const marks = this.#markAnswer === null ? 'unanswered' : 'answered'
    if (this.#markAnswer !== null) {
      const { event, atMs } = this.#markAnswer
      // A mark that is played although most of the tone was still to come: the queue was emptied without its marks.
      const early = atMs - sentMs < STOPPED_BEFORE_MS
      return { seen: event === 'cleared' || early ? 'obeyed' : 'ignored', by: 'marks', marks }
    }
    if (this.#toneFrames < TONE_FRAMES_MIN) return { seen: 'unknown', by: null, marks }
    const stopped = this.#lastToneMs - sentMs < STOPPED_BEFORE_MS
    return { seen: stopped ? 'obeyed' : 'ignored', by: 'echo', marks }
  }

  /** Resolves when it is time to stop it, with the time at which it was sent. @throws StreamOver */
  async #sendTone(): Promise<number> {
    this.#toneFrames = 0
    this.#markAnswer = null
    const tone = toneOf(TONE_MS)
    const sentMs = performance.now()
    for (let at = 0; at < tone.length; at += FRAME_SAMPLES) this.#send(tone.subarray(at, at + FRAME_SAMPLES))
    this.#socket.send(JSON.stringify({ type: 'mark', data: { name: MARK } }))
    // The carrier holds back what is at the end of its queue, the mark too, until more comes.
    this.#send(new Int16Array(msToSamples(PLAYOUT_TAIL_MS, RATE_HZ)))
    let dueMs = sentMs + KILL_AFTER_MS
    await this.#wait(KILL_AFTER_MS)
    while (performance.now() > dueMs + STOOD_STILL_MS && dueMs < sentMs + STOPPED_BEFORE_MS) {
      dueMs = performance.now() + READ_STEP_MS
      await this.#wait(READ_STEP_MS)
    }
    return sentMs
  }

  /**
   * Waits for a key, in whatever way it comes. Where nothing else showed whether the tone was stopped, the caller was
   * asked: 1 for a short tone, 2 for a long one.
   * @throws StreamOver
   */
  async askForKey(question: Int16Array): Promise<void> {
    this.#keysAsked = true
    this.#key = null
    const came = new Promise<void>((resolve) => {
      this.#keyCame = resolve
    })
    await this.say(question)
    await Promise.race([came, this.#wait(KEY_WAIT_MS)])
    await this.#wait(KEY_AGAIN_MS)
    const key = this.#key as string | null
    if (this.#kill.seen === 'unknown' && (key === '1' || key === '2'))
      this.#kill = { ...this.#kill, seen: key === '1' ? 'obeyed' : 'ignored', by: 'caller' }
  }

  async #wait(ms: number): Promise<void> {
    try {
      await sleep(Math.max(0, ms), undefined, { signal: this.#closed.signal })
    } catch {
      throw new StreamOver('the carrier has closed the audio socket')
    }
  }

  #send(samples: Int16Array): void {
    // A copy: the socket keeps what it sends until it is written.
    this.#socket.send(Buffer.from(bytesOfSamples(samples)))
  }

  // --- what comes ---------------------------------------------------------------------------------------------

  #audio(bytes: Buffer, nowMs: number): void {
    this.#messages++
    if (bytes.length === 0) this.#empty++
    if (bytes.length % 2 === 1) this.#odd++
    this.#largestBytes = Math.max(this.#largestBytes, bytes.length)
    if (this.#sizes.has(bytes.length) || this.#sizes.size < SIZES_MAX)
      this.#sizes.set(bytes.length, (this.#sizes.get(bytes.length) ?? 0) + 1)
    if (this.#firstAudioMs === null) this.#firstAudioMs = nowMs
    else this.#longestGapMs = Math.max(this.#longestGapMs, nowMs - this.#lastAudioMs)
    this.#lastAudioMs = nowMs
    this.#layout.observe(bytes.length, nowMs)
    if (this.#layout.channels !== 0) this.#reframer.setChannels(this.#layout.channels)
    this.#reframer.push(bytes)
    while (this.#reframer.next(this.#left, this.#right)) {
      this.#frame(this.#left, nowMs)
      if (this.#reframer.channels === 2 && isTone(this.#right)) this.#toneHeard(nowMs)
    }
  }

  #frame(frame: Int16Array, nowMs: number): void {
    if (isTone(frame)) this.#toneHeard(nowMs)
    const key = this.#dtmf.detect(frame, levelDbfs(frame))
    if (key === null) return
    this.#keys.asTones++
    this.#pressed(key)
  }

  #toneHeard(nowMs: number): void {
    this.#toneFrames++
    this.#lastToneMs = nowMs
  }

  #text(text: string): void {
    const isFirst = this.#firstText === null
    for (const message of parseStreamText(text, isFirst)) {
      if (message.type === 'metadata') {
        this.#firstText = { beforeAudio: this.#messages === 0, fields: formsOfText(text) }
        continue
      }
      const name = message.type === 'unknown' ? message.name || '(no type)' : message.type
      if (name in this.#texts || Object.keys(this.#texts).length < TEXT_NAMES_MAX)
        this.#texts[name] = (this.#texts[name] ?? 0) + 1
      if (message.type === 'mark' && message.name === MARK)
        this.#markAnswer ??= { event: message.event, atMs: performance.now() }
      if (message.type === 'dtmf') {
        this.#keys.asTexts++
        this.#pressed(message.digit)
      }
    }
  }

  #pressed(key: string): void {
    this.#key = key
    this.#keyCame()
  }

  #audioFacts(): AudioFacts {
    const sizes = [...this.#sizes].sort((a, b) => b[1] - a[1] || a[0] - b[0])
    return {
      messages: this.#messages,
      sizes: sizes.slice(0, SIZES_SHOWN).map(([bytes, messages]) => ({ bytes, messages })),
      largestBytes: this.#largestBytes,
      emptyMessages: this.#empty,
      oddMessages: this.#odd,
      firstAfterMs: this.#firstAudioMs === null ? null : Math.round(this.#firstAudioMs - this.#openedMs),
      channels: this.#layout.channels === 2 ? 2 : 1,
      longestGapMs: Math.round(this.#longestGapMs),
    }
  }
}

/** The tone that is stopped. No sample is -1: while a mark waits, the carrier takes such a sample for the mark. */
function toneOf(ms: number): Int16Array {
  const pcm = new Int16Array(msToSamples(ms, RATE_HZ))
  for (let i = 0; i < pcm.length; i++) {
    const sample = Math.round(6000 * Math.sin((2 * Math.PI * TONE_HZ * i) / RATE_HZ))
    pcm[i] = sample === -1 ? 0 : sample
  }
  return pcm
}

/** True if most of a frame's power is at TONE_HZ (one Goertzel filter over the frame). */
function isTone(frame: Int16Array): boolean {
  if (levelDbfs(frame) < TONE_DBFS_MIN) return false
  const coefficient = 2 * Math.cos((2 * Math.PI * TONE_HZ) / RATE_HZ)
  let last = 0
  let before = 0
  let energy = 0
  for (const sample of frame) {
    const next = sample + coefficient * last - before
    before = last
    last = next
    energy += sample * sample
  }
  const power = last * last + before * before - coefficient * last * before
  // A pure tone of n samples has a power of energy · n / 2.
  return power / ((energy * frame.length) / 2) > TONE_SHARE_MIN
}
