import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import type { BargeInOptions } from '../../src/call/turns/barge-in.js'
import { FRAME_MS, type LegRateHz } from '../../src/core/units.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { atSpeechLevel, dbToGain, SPEECH_LEVEL_DBFS } from '../../src/carrier/line.js'
import { type Material, missingMaterial, readRecording, recordings, spread } from '../material.js'
import { joined, resampled, throughLine, truthOf } from './corpus.js'
import { TalkingAgent } from './interruptions.js'
import { framesOf } from './score.js'

/**
 * Measures which sounds make a call's session take the floor from the agent. The sounds are from recorded people, on
 * three lines.
 */
export const SPEAKERS = ['allison', 'june', 'carlo'] as const satisfies readonly Material[]
type Speaker = (typeof SPEAKERS)[number]
const LINES = ['8 kHz', '16 kHz', 'tel'] as const
type Line = (typeof LINES)[number]

/** Number of sentences and number of short sounds of each speaker, spread over the names of the recordings. */
const SENTENCES = 16
const SHORT_SOUNDS = 20
const SENTENCE_MS = [1200, 6000] as const
/**
 * Minimum and maximum duration in ms of a short sound, such as "mm-hm" or "okay", from its first loud sample to its
 * last.
 */
const SHORT_MS = [150, 560] as const
/** Time in ms for which the agent has spoken when somebody starts to speak. */
const INTO_ANSWER_MS = 1500
/** Time in ms in which a caller must get the turn. Otherwise the caller counts as not heard. */
const GIVEN_UP_MS = 3000
const ROOM_MS = 60_000
/** Number of calls with a television for each speaker. */
const ROOMS = 2
/** Pause in ms between two sentences on television. */
const TV_GAP_MS = 250
/** Duration in ms for which the television is on before the caller first speaks. */
const BEFORE_MS = 4000

/** Earlier rule without backchannels and levels, for comparison. */
export const PLAIN: BargeInOptions = { ...DEFAULT_CALL_OPTIONS.bargeIn, backchannel: null, quieterDb: null }

interface InterruptionRow {
  readonly line: Line
  /** Number of dB by which the caller's interruption is softer than the caller's earlier speech. */
  readonly softerDb: number
  readonly calls: number
  readonly committed: number
  /** Time to the agent's last sample, from the detector's onset. `stopTrueP95Ms`: the same time from the true onset. */
  readonly stopP95Ms: number
  readonly stopTrueP95Ms: number
  /** Time from the true onset until the caller gets the turn. */
  readonly commitMedianMs: number
  readonly commitP95Ms: number
}

interface ShortSoundRow {
  readonly line: Line
  readonly sounds: number
  readonly paused: number
  readonly committed: number
  /** Duration in ms for which a paused agent was silent. */
  readonly silentMedianMs: number
}

interface RoomRow {
  readonly line: Line
  readonly belowDb: number
  readonly minutes: number
  readonly pausesPerMin: number
  readonly commitsPerMin: number
}

interface SpeakerRow {
  readonly speaker: Speaker
  readonly line: Line
  /**
   * `tenthDb`: level that a tenth of the voiced frames exceeds, in dB above the RMS of all voiced frames.
   * `hundredthDb`: level that a hundredth exceeds.
   */
  readonly tenthDb: number
  readonly hundredthDb: number
}

export interface Floor {
  readonly interruptions: readonly InterruptionRow[]
  readonly shortSounds: readonly ShortSoundRow[]
  readonly rooms: readonly RoomRow[]
  readonly speakers: readonly SpeakerRow[]
}

/** @throws Error if Debian's recordings are not installed */
export async function measureFloor(vadBank: VadBank, bargeIn: BargeInOptions): Promise<Floor> {
  const missing = missingMaterial(...SPEAKERS)
  if (missing !== null) throw new Error(`apt-get install --no-install-recommends ${missing}`)
  const interruptions: InterruptionRow[] = []
  const shortSounds: ShortSoundRow[] = []
  const rooms: RoomRow[] = []
  const speakers: SpeakerRow[] = []
  const names = new Map<Speaker, Names>()
  for (const speaker of SPEAKERS) names.set(speaker, await namesOf(speaker))
  for (const line of LINES) {
    const people = new Map<Speaker, People>()
    for (const [speaker, chosen] of names) people.set(speaker, await peopleOf(speaker, chosen, rateOf(line)))
    const bench = new FloorBench(line, people, vadBank, bargeIn)
    for (const softerDb of [0, 10]) interruptions.push(bench.interruptions(softerDb))
    shortSounds.push(bench.shortSounds())
    for (const belowDb of [15, 20]) rooms.push(bench.room(belowDb))
    for (const speaker of SPEAKERS) speakers.push(bench.speaker(speaker))
  }
  return { interruptions, shortSounds, rooms, speakers }
}

/** Speech of one person at `SPEECH_LEVEL_DBFS`, without the silence before and after it. */
interface People {
  readonly sentences: readonly Float64Array[]
  readonly short: readonly Float64Array[]
}

const rateOf = (line: Line): LegRateHz => (line === '16 kHz' ? 16_000 : 8000)

/** Names of recordings, chosen by their length: whole sentences, and the shortest words. */
interface Names {
  readonly sentences: readonly string[]
  readonly short: readonly string[]
}

export async function namesOf(speaker: Speaker): Promise<Names> {
  const lengths: { readonly name: string; readonly ms: number }[] = []
  for (const name of recordings(speaker))
    if (!/tone|beep|silence/.test(name))
      lengths.push({ name, ms: ((await spokenBy(speaker, name, 8000)).length * 1000) / 8000 })
  const within = ([least, most]: readonly [number, number], count: number): string[] => {
    const found = lengths.filter(({ ms }) => ms >= least && ms <= most)
    return spread(found, count).map(({ name }) => name)
  }
  return { sentences: within(SENTENCE_MS, SENTENCES), short: within(SHORT_MS, SHORT_SOUNDS) }
}

export async function peopleOf(speaker: Speaker, { sentences, short }: Names, rateHz: LegRateHz): Promise<People> {
  const read = (names: readonly string[]): Promise<Float64Array[]> =>
    Promise.all(names.map((name) => spokenBy(speaker, name, rateHz)))
  return { sentences: await read(sentences), short: await read(short) }
}

/** A recording from its first loud frame to its last loud frame, at `SPEECH_LEVEL_DBFS`. */
async function spokenBy(speaker: Speaker, name: string, rateHz: LegRateHz): Promise<Float64Array> {
  const pcm = Float64Array.from(atSpeechLevel(await readRecording(speaker, name, rateHz), rateHz))
  const speech = truthOf(pcm, rateHz)
  const frame = (rateHz * FRAME_MS) / 1000
  return pcm.subarray(Math.max(0, speech.indexOf(true)) * frame, (speech.lastIndexOf(true) + 1) * frame)
}

interface Call {
  readonly sound: Float64Array
  /** Time at which the caller's first sentence is over. From then on, the agent answers it. */
  readonly answersAtMs: number
}

class FloorBench {
  readonly #line: Line
  readonly #people: ReadonlyMap<Speaker, People>
  readonly #vadBank: VadBank
  readonly #bargeIn: BargeInOptions

  constructor(line: Line, people: ReadonlyMap<Speaker, People>, vadBank: VadBank, bargeIn: BargeInOptions) {
    this.#line = line
    this.#people = people
    this.#vadBank = vadBank
    this.#bargeIn = bargeIn
  }

  /** Measures callers who speak a whole sentence over the agent. */
  interruptions(softerDb: number): InterruptionRow {
    const stops: number[] = []
    const trueStops: number[] = []
    const commits: number[] = []
    let calls = 0
    for (const { sentences } of this.#people.values()) {
      sentences.forEach((sentence, i) => {
        calls++
        const first = sentences[(i + 1) % sentences.length] as Float64Array
        const { sound, answersAtMs } = this.#answered(first, [
          this.#quiet(INTO_ANSWER_MS),
          scaled(sentence, -softerDb),
          this.#quiet(GIVEN_UP_MS),
        ])
        const agent = this.#run({ sound, answersAtMs })
        const fromMs = answersAtMs + INTO_ANSWER_MS
        const pausedMs = agent.pausesAtMs.find((atMs) => atMs > fromMs)
        const committedMs = agent.commitsAtMs.find((atMs) => atMs > fromMs)
        if (pausedMs === undefined || committedMs === undefined || committedMs > fromMs + GIVEN_UP_MS) return
        const record = agent.session.log.bargeIns.at(-1)
        if (record?.stopMs != null) stops.push(record.stopMs)
        trueStops.push(pausedMs - fromMs)
        commits.push(committedMs - fromMs)
      })
    }
    return {
      line: this.#line,
      softerDb,
      calls,
      committed: commits.length,
      stopP95Ms: quantile(stops, 0.95),
      stopTrueP95Ms: quantile(trueStops, 0.95),
      commitMedianMs: quantile(commits, 0.5),
      commitP95Ms: quantile(commits, 0.95),
    }
  }

  /** Measures the shortest words of these people, spoken over an agent who has more to say. */
  shortSounds(): ShortSoundRow {
    let [sounds, paused, committed] = [0, 0, 0]
    const silences: number[] = []
    for (const { sentences, short } of this.#people.values()) {
      short.forEach((sound, i) => {
        sounds++
        const first = sentences[i % sentences.length] as Float64Array
        const call = this.#answered(first, [this.#quiet(INTO_ANSWER_MS), sound, this.#quiet(GIVEN_UP_MS)])
        const agent = this.#run(call)
        const [pausedMs] = agent.pausesAtMs.filter((atMs) => atMs > call.answersAtMs)
        if (pausedMs === undefined) return
        paused++
        if (agent.commitsAtMs.some((atMs) => atMs > call.answersAtMs)) committed++
        else silences.push(Math.min(...agent.resumesAtMs.filter((atMs) => atMs > pausedMs)) - pausedMs)
      })
    }
    return { line: this.#line, sounds, paused, committed, silentMedianMs: quantile(silences, 0.5) }
  }

  /** Measures a television that is on before the caller speaks. The two other speakers speak on television. */
  room(belowDb: number): RoomRow {
    let [minutes, pauses, commits] = [0, 0, 0]
    for (const [speaker, { sentences }] of this.#people) {
      const others = [...this.#people].filter(([name]) => name !== speaker).map(([, people]) => people.sentences)
      const programme = Array.from({ length: SENTENCES }, (_, i) =>
        others.map((one) => one[i % one.length] as Float64Array),
      ).flat()
      const tv = joined(programme.flatMap((sentence) => [sentence, this.#quiet(TV_GAP_MS)]))
      for (const first of sentences.slice(0, ROOMS)) {
        const { sound, answersAtMs } = this.#answered(first, [this.#quiet(ROOM_MS)])
        const gain = dbToGain(-belowDb)
        const agent = this.#run({
          sound: sound.map((value, i) => value + gain * (tv[i % tv.length] as number)),
          answersAtMs,
        })
        pauses += agent.pausesAtMs.filter((atMs) => atMs > answersAtMs).length
        commits += agent.commitsAtMs.filter((atMs) => atMs > answersAtMs).length
        minutes += ROOM_MS / 60_000
      }
    }
    return { line: this.#line, belowDb, minutes, pausesPerMin: pauses / minutes, commitsPerMin: commits / minutes }
  }

  /** Measures how much louder a person's loudest frames are. */
  speaker(speaker: Speaker): SpeakerRow {
    const sentences = this.#people.get(speaker)?.sentences ?? []
    const levels = this.#frames(joined(sentences.flatMap((sentence) => [sentence, this.#quiet(500)])))
      .filter(({ voiced }) => voiced)
      .map(({ levelDbfs }) => levelDbfs)
    return {
      speaker,
      line: this.#line,
      tenthDb: quantile(levels, 0.9) - SPEECH_LEVEL_DBFS,
      hundredthDb: quantile(levels, 0.99) - SPEECH_LEVEL_DBFS,
    }
  }

  #quiet(ms: number): Float64Array {
    return new Float64Array((ms * rateOf(this.#line)) / 1000)
  }

  /** Call of a caller whose first sentence is understood and answered. */
  #answered(first: Float64Array, then: readonly Float64Array[]): Call {
    const asked = joined([this.#quiet(BEFORE_MS), first, this.#quiet(1000)])
    const answersAtMs = Math.floor((asked.length * 1000) / rateOf(this.#line) / FRAME_MS) * FRAME_MS
    return { sound: joined([asked, ...then]), answersAtMs }
  }

  #run({ sound, answersAtMs }: Call): TalkingAgent {
    const agent = new TalkingAgent({ bargeIn: this.#bargeIn })
    agent.listen()
    for (const frame of this.#frames(sound)) {
      if (agent.nowMs === answersAtMs) {
        agent.understood('Where is my order?')
        agent.talk()
      }
      agent.frame(frame)
    }
    return agent
  }

  #frames(sound: Float64Array): ReturnType<typeof framesOf> {
    const rateHz = rateOf(this.#line)
    const onLine = throughLine(sound, rateHz, rateHz === 8000)
    if (this.#line !== 'tel') return framesOf(onLine, rateHz, this.#vadBank)
    const wide = throughLine(resampled(Float64Array.from(onLine), 8000, 16_000), 16_000, false)
    return framesOf(wide, 16_000, this.#vadBank)
  }
}

function scaled(sound: Float64Array, db: number): Float64Array {
  const gain = dbToGain(db)
  return sound.map((value) => gain * value)
}

export function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? NaN
}
