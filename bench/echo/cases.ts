import { loadFlite } from '../../src/speech/flite.js'
import { FRAME_MS, frameSamples, msToSamples, samplesToMs, type LegRateHz } from '../../src/core/units.js'
import type { ForkedTrack } from '../../src/media/reframer.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { atSpeechLevel, convertRate, dbToGain, type EchoPhone, HalfBand, PhoneLine } from '../../src/carrier/line.js'
import { seededRandom } from '../../src/carrier/random.js'
import { type Material, readRecording, recordings } from '../material.js'
import { callWithAgent, type Disturbance, type Heard, type Piece } from './agent-call.js'

/** Kinds of leg. `tel` is a telephone of 8 kHz that is connected to a leg of 16 kHz, as in most calls. */
export const LEGS = ['8', '16', 'tel'] as const
type Leg = (typeof LEGS)[number]

/** Voices of the agent and of the caller. */
export interface Voices {
  readonly agent: Material | 'slt'
  readonly caller: Material
}

/** Cases with which settings were chosen. */
export const TUNING: readonly Voices[] = [
  { agent: 'slt', caller: 'june' },
  { agent: 'june', caller: 'june' },
]
/** Cases that are used only for the tables, not for choosing settings. */
export const HELD_OUT: readonly Voices[] = [
  { agent: 'allison', caller: 'carlo' },
  { agent: 'carlo', caller: 'allison' },
]

export interface EchoCase {
  readonly leg: Leg
  readonly track: ForkedTrack
  readonly phone: EchoPhone
  readonly echoDb: number
  readonly delayMs: number
  /** Level of the caller relative to the echo in dB; null for a silent caller. */
  readonly callerOverEchoDb: number | null
  readonly voices: Voices
  readonly seed: number
}

const DISTURBED_AT_MS = [8000, 13_500, 19_000, 24_500]
const AGENT_PIECES = 4
const CALLER_STARTS_IN_PIECE = 3
const GAP_MS = 1200
const SENTENCE_S = [2.2, 7] as const
const AGENT_SENTENCE_S = [4, 12] as const
const CALLER_AFTER_MS = 900
const NETWORK_MS = 20
const HISS_DB = 45

const SAYS = [
  'Hello, this is the order line. You can ask where your order is, or tell me your order number.',
  'Order four one two seven is out for delivery. It should be with you today between four and six in the afternoon.',
  'Sorry, I did not catch that. Please say the number once more, or key it in on your telephone, and I will look again.',
  'I am connecting you to a colleague. Please stay on the line, this may take half a minute or so.',
]

const found = new Map<string, Promise<readonly Int16Array[]>>()

/** Sentences of one voice at the level of speech. They are spread evenly over all sentences of the voice. */
function sentences(voice: Voices['agent'], rate: LegRateHz, [leastS, mostS]: readonly [number, number]) {
  const key = `${voice} ${rate} ${leastS}`
  let all = found.get(key)
  if (all === undefined) {
    all = voice === 'slt' ? synthesised(rate) : recorded(voice, rate, leastS, mostS)
    found.set(key, all)
  }
  return all
}

async function synthesised(rate: LegRateHz): Promise<readonly Int16Array[]> {
  const flite = await loadFlite()
  return SAYS.map((text) => {
    const { pcm, sampleRateHz } = flite.speak(text, 'slt')
    return atSpeechLevel(convertRate(pcm, sampleRateHz, rate), rate)
  })
}

const SENTENCES_MAX = 40

async function recorded(voice: Material, rate: LegRateHz, leastS: number, mostS: number) {
  const names = recordings(voice).filter((name) => !/monkeys|beep|tone|silence|dictate/.test(name))
  const all: Int16Array[] = []
  for (const name of names) {
    // The narrow-band file is fast to read, so it is used to find the duration.
    const seconds = (await readRecording(voice, name, 8000)).length / 8000
    if (seconds < leastS || seconds > mostS) continue
    if (all.length === SENTENCES_MAX) break
    all.push(atSpeechLevel(trimmed(await readRecording(voice, name, rate)), rate))
  }
  return all
}

/** Samples without the silence at both ends. */
function trimmed(pcm: Int16Array): Int16Array {
  const loud = (v: number) => Math.abs(v) > 500
  return pcm.subarray(pcm.findIndex(loud), pcm.findLastIndex(loud) + 1)
}

interface EchoOutcome extends Heard {
  /** Media time in ms at which the caller began; NaN without a caller. */
  readonly callerAtMs: number
  readonly callerEndMs: number
}

/**
 * Places one call of about 30 s. The agent continues to speak while the caller speaks.
 * @param disturbed  disturbance of the audio, every 5.5 s from the eighth second on
 */
export async function placeEchoCall(
  one: EchoCase,
  vadBank: VadBank,
  disturbed: Omit<Disturbance, 'atMs'> | null = null,
): Promise<EchoOutcome> {
  const rate = one.leg === '8' ? 8000 : 16000
  const lineRate = one.leg === '16' ? 16000 : 8000
  const random = seededRandom(one.seed)
  const agentSays = await sentences(one.voices.agent, rate, AGENT_SENTENCE_S)
  const callerSays = await sentences(one.voices.caller, lineRate, SENTENCE_S)
  const pieces: Piece[] = []
  let atMs = 1000
  for (let i = 0; i < AGENT_PIECES; i++) {
    const samples = agentSays[(one.seed * 7 + i * 3) % agentSays.length] as Int16Array
    pieces.push({ atMs, samples })
    atMs += samplesToMs(samples.length, rate) + GAP_MS + 300 * random()
  }
  const over = pieces[CALLER_STARTS_IN_PIECE - 1] as Piece
  const callerAtMs = one.callerOverEchoDb === null ? NaN : over.atMs + CALLER_AFTER_MS + 300 * random()
  const says = callerSays[(one.seed * 5) % callerSays.length] as Int16Array
  const callerEndMs = callerAtMs + samplesToMs(says.length, lineRate)
  const gain = dbToGain(one.echoDb + (one.callerOverEchoDb ?? 0))
  const line = new PhoneLine({
    sampleRateHz: lineRate,
    echo: { levelDb: one.echoDb, delayMs: one.delayMs, phone: one.phone },
    snrDb: HISS_DB,
    seed: one.seed,
  })
  const F = frameSamples(lineRate)
  const up = new HalfBand()
  const down = new HalfBand()
  const callerFrom = Number.isNaN(callerAtMs) ? Infinity : msToSamples(callerAtMs, lineRate)
  const heard = callWithAgent({
    track: one.track,
    rate,
    vadBank,
    pieces,
    lastMs: atMs + 1500,
    seed: one.seed,
    delayMsAt: () => NETWORK_MS,
    disturbances: DISTURBED_AT_MS.flatMap((atMs) => (disturbed === null ? [] : [{ atMs, ...disturbed }])),
    fork: (played, n) => {
      const spoken = new Int16Array(F)
      for (let i = 0; i < F; i++) spoken[i] = gain * (says[n * F + i - callerFrom] ?? 0)
      line.up(spoken)
      const agent = lineRate === rate ? played.slice() : new Int16Array(F)
      if (lineRate !== rate) down.halve(played, agent)
      line.down(agent)
      const forked = new Int16Array(played.length)
      if (lineRate === rate) forked.set(spoken)
      else up.double(spoken, forked)
      // The carrier mixes the audio that it plays to the caller into the forked audio.
      if (one.track === 'both_tracks')
        for (let i = 0; i < forked.length; i++) forked[i] = clip((forked[i] as number) + (played[i] as number))
      return forked
    },
  })
  return { ...heard, callerAtMs, callerEndMs: callerEndMs + FRAME_MS }
}

const clip = (v: number) => Math.max(-32_768, Math.min(32_767, v))
