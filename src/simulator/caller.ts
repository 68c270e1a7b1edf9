import {
  BABBLE_SENTENCES,
  beep,
  convertRate,
  dtmfTones,
  KEY_MS,
  type LineOptions,
  noiseBed,
  OPENING_MS,
  ringingTone,
} from '../carrier/line.js'
import { type CallClock, type CallerFile, CallerLeg, type Utterance } from '../carrier/caller-leg.js'
import { CallerModel, type CallerMove } from './caller-model.js'
import { type CallerScript, filesOf, HOLD_SENTENCE, sentencesOf } from './caller-script.js'
import { AskedCaller, type AskCaller } from './asked-caller.js'
import type { AgentVocabulary } from './vocabulary.js'
import { factsOfTurns } from './spoken-words.js'
import type { CallerEnd, CallerEvents, CallingPerson, HeardPiece, OrderFacts } from '../carrier/caller-end.js'
import { CALLER_VOICES, type CallerVoice } from '../carrier/choices.js'
import { fitToLeg } from '../carrier/caller-voices.js'
import type { PeopleSpeech } from './caller-speech.js'
import { partsOf } from '../carrier/speech-spans.js'
import type { Span } from '../carrier/speech-spans.js'

/**
 * Minimum pause in ms that separates two sentences. The voices pause 280 ms between two sentences, and 200 ms at a
 * comma.
 */
const SENTENCE_PAUSE_MS = 240

/** Reason for hanging up at the call's time limit. */
export const TIME_LIMIT = 'time limit of the simulated call'

export interface CallerOptions {
  readonly script: CallerScript
  readonly voice: CallerVoice
  /** Speaking rate. Default: 1, the voice's own pace. */
  readonly pace?: number
  readonly line: LineOptions
  /** Words of the caller while the call is set up, before the stream opens. Default: no words. */
  readonly earlyWords?: string
  /** True: the caller hears a ringing tone until the stream opens. Default: false. */
  readonly ringsFirst?: boolean
  /**
   * Form of DTMF digits for the carrier: in the sound, or as events with silence in the sound (RFC 4733). Default:
   * `tones`.
   */
  readonly keys?: 'tones' | 'events'
  readonly speech: PeopleSpeech
  readonly vocabulary: AgentVocabulary
  /** Recordings that the script names. */
  readonly files: ReadonlyMap<string, CallerFile>
  readonly record: boolean
  /** Maximum duration of the call in ms. */
  readonly timeoutMs: number
  /** Decides the caller's moves instead of the script's rules and steps. Absent: the script decides. */
  readonly ask?: AskCaller
}

/** A simulated person who calls, or is called. */
export function simulatedPerson(options: CallerOptions): CallingPerson {
  return { speech: options.speech, open: (clock, events) => Caller.ready(options, clock, events) }
}

/** One simulated person on the phone. */
class Caller implements CallerEnd {
  readonly leg: CallerLeg
  readonly heard: HeardPiece[] = []
  readonly #options: CallerOptions
  readonly #clock: CallClock
  readonly #events: CallerEvents
  readonly #model: CallerModel | AskedCaller
  readonly #sounds: Map<string, Int16Array>
  readonly #untilMs: number
  #turn: Promise<HeardPiece>[] = []
  #listening: Promise<unknown> = Promise.resolve()
  #hungUp = false

  /** Synthesises all possible sentences of the caller, then starts the call. The call's clock starts here. */
  static async ready(options: CallerOptions, clock: CallClock, events: CallerEvents): Promise<Caller> {
    const sounds = new Map<string, Int16Array>()
    const rateHz = options.line.sampleRateHz
    for (const text of sentencesOf(options.script))
      sounds.set(text, await options.speech.speak(text, options.voice, rateHz, options.pace))
    for (const name of filesOf(options.script)) {
      const file = options.files.get(name)
      if (file !== undefined) sounds.set(`file ${name}`, fitToLeg(file.pcm, file.sampleRateHz, rateHz))
    }
    if (holds(options.script))
      sounds.set(HOLD, await options.speech.speak(HOLD_SENTENCE, announcerOf(options.voice), rateHz))
    const caller = new Caller(options, { ...options.line, noiseBed: await bedOf(options) }, sounds, clock, events)
    const { earlyWords, ringsFirst = false } = options
    if (ringsFirst) caller.leg.before = ringingTone(options.line.openingMs ?? OPENING_MS, rateHz)
    if (earlyWords !== undefined)
      caller.leg.before = await options.speech.speak(earlyWords, options.voice, rateHz, options.pace)
    return caller
  }

  private constructor(
    options: CallerOptions,
    line: LineOptions,
    sounds: Map<string, Int16Array>,
    clock: CallClock,
    events: CallerEvents,
  ) {
    const nowMs = clock.nowMs()
    this.#options = options
    this.#clock = clock
    this.#sounds = sounds
    this.#events = events
    this.#untilMs = nowMs + options.timeoutMs
    const { script, ask } = options
    this.#model =
      ask === undefined
        ? new CallerModel(script, options.vocabulary.statuses, nowMs)
        : new AskedCaller(
            (heard) => this.#asked(ask, heard),
            script,
            () => clock.nowMs(),
          )
    this.leg = new CallerLeg({ ...line, record: options.record }, clock, {
      onTurnStart: (atMs) => this.#model.agentStarted(atMs),
      onPiece: (piece, pcm) => this.#onPiece(piece, pcm),
      onTurnEnd: () => this.#onAgentStopped(),
      onSpoke: (atMs) => this.#model.finishedSpeaking(atMs),
      onFrame: (frameMs) => this.#onFrame(frameMs),
    })
  }

  /** Facts that this caller heard from the agent: the last status of all turns, with its order and time. */
  facts(): OrderFacts {
    return factsOfTurns(
      this.heard.map(({ text }) => text),
      this.#options.vocabulary,
    )
  }

  /** Ends the leg, whichever side hung up. Resolves when the last speech has been recognised. */
  async end(nowMs: number): Promise<void> {
    this.#hungUp = true
    this.leg.close(nowMs)
    await this.#listening
  }

  #onFrame(nowMs: number): void {
    if (this.#hungUp) return
    if (nowMs >= this.#untilMs) this.#hangUp(TIME_LIMIT)
    const move = this.#hungUp ? null : this.#model.next(nowMs)
    if (move !== null) this.#perform(move)
  }

  /** Speech is synthesised before it is due. */
  async #asked(ask: AskCaller, heard: string): Promise<readonly CallerMove[]> {
    const moves = await ask(heard)
    const { speech, voice, pace, line } = this.#options
    for (const move of moves)
      if (move.type === 'say')
        this.#sounds.set(move.text, await speech.speak(move.text, voice, line.sampleRateHz, pace))
    return moves
  }

  #perform(move: CallerMove): void {
    if (move.type === 'hangup') return this.#hangUp(move.why)
    const utterance = this.#utterance(move)
    this.leg.player.say(utterance)
    this.#events.onSaid?.(utterance.text)
    if (move.type !== 'press') return
    this.#events.onDigits?.(move.keys)
    if (this.#options.keys === 'events') void this.#sendEvents(move.keys)
  }

  /** The event is sent at the end of each DTMF digit. */
  async #sendEvents(keys: string): Promise<void> {
    for (const key of keys) {
      await this.#clock.wait(KEY_MS)
      if (this.#hungUp) return
      this.leg.sendDigit(key)
      await this.#clock.wait(KEY_MS)
    }
  }

  #utterance(move: Exclude<CallerMove, { type: 'hangup' }>): Utterance {
    // A missing file is an empty sound, which ends with the next frame. So the missing file does not stop the script.
    const silence = new Int16Array(0)
    if (move.type === 'press') {
      const tones = dtmfTones(move.keys, this.leg.sampleRateHz)
      return { text: `[keys ${move.keys}]`, pcm: this.#options.keys === 'events' ? tones.fill(0) : tones }
    }
    if (move.type === 'hold')
      return { text: '[on hold]', pcm: looped(this.#sounds.get(HOLD) ?? silence, move.ms, this.leg.sampleRateHz) }
    if (move.type === 'beep') return { text: '[beep]', pcm: beep(this.leg.sampleRateHz) }
    if (move.type === 'play') return { text: `[${move.file}]`, pcm: this.#sounds.get(`file ${move.file}`) ?? silence }
    return { text: move.text, pcm: this.#sounds.get(move.text) ?? silence }
  }

  #hangUp(why: string): void {
    this.#hungUp = true
    this.#events.onHungUp(why)
  }

  #onPiece(piece: Span, pcm: Int16Array): void {
    const index = this.heard.push({ ...piece, text: '' }) - 1
    const listened = this.#words(convertRate(pcm, this.leg.sampleRateHz, this.#options.speech.hearsAtHz).slice())
      .catch(() => '')
      .then((text) => {
        const heard = { ...piece, text }
        this.heard[index] = heard
        if (text !== '') this.#events.onHeard?.(text)
        return heard
      })
    this.#turn.push(listened)
    this.#listening = Promise.all([this.#listening, listened])
  }

  /**
   * Recognises a turn. If the whole turn is not recognised, each of its sentences is recognised separately. So one
   * sentence with unknown words does not hide the rest of the turn.
   */
  async #words(pcm: Int16Array): Promise<string> {
    const { speech } = this.#options
    const parts = partsOf(pcm, speech.hearsAtHz, SENTENCE_PAUSE_MS)
    const text = await speech.hear(pcm)
    if (text !== '' || parts.length < 2) return text
    return (await Promise.all(parts.map((part) => speech.hear(part)))).join(' ').trim()
  }

  #onAgentStopped(): void {
    const turn = this.#turn
    this.#turn = []
    this.#model.agentStopped(this.#clock.nowMs())
    this.#listening = Promise.all([
      this.#listening,
      Promise.all(turn).then((pieces) => {
        if (!this.#hungUp)
          this.#model.heard(
            pieces
              .map((piece) => piece.text)
              .join(' ')
              .trim(),
            this.#clock.nowMs(),
          )
      }),
    ])
  }
}

/** The key of the announcer's sound. */
const HOLD = 'hold'

function holds({ rules, steps }: CallerScript): boolean {
  return [...rules, ...steps].some(({ act }) => act.type === 'hold')
}

/** @returns an announcer with another voice than the caller's */
function announcerOf(voice: CallerVoice): CallerVoice {
  return CALLER_VOICES.find((other) => other !== voice) ?? voice
}

/** Repeats a sound until it is `ms` long. */
function looped(sound: Int16Array, ms: number, rateHz: number): Int16Array {
  const out = new Int16Array(sound.length === 0 ? 0 : (ms * rateHz) / 1000)
  for (let at = 0; at < out.length; at += sound.length) out.set(sound.subarray(0, out.length - at), at)
  return out
}

/** @returns the loop of background noise; null without noise, and for white noise, which needs no loop */
async function bedOf({ line, speech, voice }: CallerOptions): Promise<Float32Array | null> {
  const { noise, sampleRateHz, seed = 1 } = line
  if (noise === undefined || noise === 'white' || typeof line.snrDb !== 'number') return null
  const voices: Int16Array[] = []
  if (noise === 'babble' || noise === 'television') {
    for (const [index, text] of BABBLE_SENTENCES.entries()) {
      const anyone = CALLER_VOICES[index % CALLER_VOICES.length] ?? 'rms'
      voices.push(await speech.speak(text, noise === 'babble' ? anyone : announcerOf(voice), sampleRateHz))
    }
  }
  return noiseBed(noise, sampleRateHz, seed, voices)
}
