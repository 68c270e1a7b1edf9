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
/**
 * Frequency in Hz of the test tone. Speech and ringing are never a pure tone of this frequency for so long, and DTMF
 * does not contain it.
 */
const TONE_HZ = 1000
const TONE_MS = 3000
/**
 * Time in ms after which the tone is stopped. The carrier has then played a part of the tone, and still has most of it
 * in its queue.
 */
const KILL_AFTER_MS = 700
/**
 * Time in ms from the tone's beginning in which a stopped tone must end. It is half-way between the stop and the tone's
 * normal end, to allow for a phone's delay. The time counts from the beginning, because on a busy machine the stop may
 * be late.
 */
const STOPPED_BEFORE_MS = (KILL_AFTER_MS + TONE_MS) / 2
const TRIES_MAX = 3
/**
 * Delay in ms of a timer from which this process counts as paused. After a pause the process first reads waiting
 * messages, then stops the tone.
 */
const STOOD_STILL_MS = 50
const READ_STEP_MS = 100
/**
 * Time in ms to wait after the order to stop the tone. It is enough for the rest of a tone that does not stop, and for
 * the answer to the tone's mark.
 */
const TONE_OVER_MS = TONE_MS - KILL_AFTER_MS + 700
/** Minimum number of the tone's frames that must come back before the tone's end can be judged. */
const TONE_FRAMES_MIN = 10
const TONE_DBFS_MIN = -55
/** Maximum number of different text-frame names that are counted. */
const TEXT_NAMES_MAX = 64
/** Minimum share of a frame's power at TONE_HZ from which the frame counts as a part of the tone. */
const TONE_SHARE_MIN = 0.7
/** Number of message sizes in the report. */
const SIZES_SHOWN = 5
/** Maximum number of different message sizes that are counted. Further sizes are left out. */
const SIZES_MAX = 1000
/**
 * KEY_WAIT_MS: time in ms for the caller to press a DTMF key. KEY_AGAIN_MS: time in ms to wait until a pressed key is
 * reported over a second channel too.
 */
const KEY_WAIT_MS = 8000
const KEY_AGAIN_MS = 1200
const MARK = 'doctor'

/** Error if the stream's socket is closed: the remaining tests cannot run. */
export class StreamOver extends Error {}

/** One audio socket of the carrier. Runs the tests on the socket, and records the carrier's messages. */
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
  /** Newest DTMF digit; it may come over any channel. */
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

  /** Aborted when the socket closes. */
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

  /** Notes a DTMF digit that came with a POST to the voice URL. */
  keyPosted(key: string): void {
    this.#keys.asPosts++
    this.#pressed(key)
  }

  close(): void {
    if (!this.#closed.signal.aborted) this.#endedBy = 'us'
    this.#socket.close(1000)
  }

  // --- tests --------------------------------------------------------------------------------------------------

  /**
   * Sends speech slightly ahead of real time. Resolves when the caller has heard the speech.
   * @throws StreamOver
   */
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
   * Sends a whole tone of three seconds and soon orders the carrier to stop it. If the carrier answers marks, its
   * answers show whether the tone stopped. Otherwise this shows in the returned audio, which contains the tone on
   * `both_tracks` or from the caller's loudspeaker. If the tone does not come back, `askForKey` asks the caller.
   * @throws StreamOver
   */
  async tryKillAudio(): Promise<void> {
    for (let tries = 1; tries <= TRIES_MAX; tries++) {
      const sentMs = await this.#sendTone()
      // An answer to the mark before the stop proves nothing: the carrier may have played late speech that contains a
      // sample like a mark (docs/PROTOCOL.md). A stop after most of the tone was played proves nothing either.
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
      // If our tone comes back and the result is still unknown, the test runs again. This process had probably paused,
      // so it received too little of the tone before the stop.
      const comesBack = this.#toneFrames > 0 || this.#track === 'both_tracks'
      if (this.#kill.seen !== 'unknown' || !comesBack) return
    }
  }

  #judgeKill(sentMs: number): KillFacts {
    const marks = this.#markAnswer === null ? 'unanswered' : 'answered'
    if (this.#markAnswer !== null) {
      const { event, atMs } = this.#markAnswer
      // True if the mark was answered early, although the tone's end could not be played yet: the carrier has emptied
      // its queue but kept the mark.
      const early = atMs - sentMs < STOPPED_BEFORE_MS
      return { seen: event === 'cleared' || early ? 'obeyed' : 'ignored', by: 'marks', marks }
    }
    if (this.#toneFrames < TONE_FRAMES_MIN) return { seen: 'unknown', by: null, marks }
    const stopped = this.#lastToneMs - sentMs < STOPPED_BEFORE_MS
    return { seen: stopped ? 'obeyed' : 'ignored', by: 'echo', marks }
  }

  /**
   * Sends the tone. Resolves when it is time to stop the tone.
   * @returns the time in ms at which the tone was sent
   * @throws StreamOver
   */
  async #sendTone(): Promise<number> {
    this.#toneFrames = 0
    this.#markAnswer = null
    const tone = toneOf(TONE_MS)
    const sentMs = performance.now()
    for (let at = 0; at < tone.length; at += FRAME_SAMPLES) this.#send(tone.subarray(at, at + FRAME_SAMPLES))
    this.#socket.send(JSON.stringify({ type: 'mark', data: { name: MARK } }))
    // Silence after the tone, because the carrier keeps the end of its queue, and so the mark, until more audio comes.
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
   * Waits for a DTMF digit in any form. If the tests did not show whether the tone stopped, asks for 1 (short tone) or
   * 2 (long tone).
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
    // The bytes are copied, because the socket keeps its argument until it is written.
    this.#socket.send(Buffer.from(bytesOfSamples(samples)))
  }

  // --- received messages --------------------------------------------------------------------------------------

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

/**
 * Samples of the tone that is stopped. The value -1 is avoided, because the carrier treats such a sample as a waiting
 * mark.
 */
function toneOf(ms: number): Int16Array {
  const pcm = new Int16Array(msToSamples(ms, RATE_HZ))
  for (let i = 0; i < pcm.length; i++) {
    const sample = Math.round(6000 * Math.sin((2 * Math.PI * TONE_HZ * i) / RATE_HZ))
    pcm[i] = sample === -1 ? 0 : sample
  }
  return pcm
}

/** True if most of the frame's power is at TONE_HZ, measured with one Goertzel filter. */
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
