import { loadFlite } from '../../src/speech/flite.js'
import { callWithAgent, type Disturbance, type Heard } from '../../bench/echo/agent-call.js'
import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import type { ForkedTrack } from '../../src/media/reframer.js'
import { decodeMuLaw, encodeMuLaw } from '../../src/media/pcm.js'
import { HalfBand } from '../../src/carrier/line.js'
import { loadVads } from './media-modules.js'
import { concatenate, framesOf, pinkNoise, silence } from './tones.js'

const vadBank = await loadVads()
const flite = await loadFlite()
const spoken = new Map<string, Int16Array>()

/**
 * Text in a voice, synthesised once. Samples are dropped without a filter, because the voices have almost no sound
 * above 4 kHz.
 */
export function says(text: string, rate: LegRateHz, voice = 'slt'): Int16Array {
  const key = `${voice} ${rate} ${text}`
  let samples = spoken.get(key)
  if (samples === undefined) {
    const { pcm, sampleRateHz } = flite.speak(text, voice)
    samples = pcm.filter((_, i) => i % (sampleRateHz / rate) === 0)
    spoken.set(key, samples)
  }
  return samples
}

const hisses = new Map<string, readonly Int16Array[]>()

/** Ten seconds of line noise in frames, made once. */
function hissOf(rate: LegRateHz, seed: number): readonly Int16Array[] {
  const key = `${rate} ${seed}`
  const known = hisses.get(key)
  if (known !== undefined) return known
  const made = framesOf(pinkNoise({ sampleRateHz: rate, ms: 10_000, amplitude: 8 }, seed), frameSamples(rate))
  hisses.set(key, made)
  return made
}

const SENTENCES = [
  'Hello, this is the order line. You can ask where your order is, or tell me your order number.',
  'Order four one two seven. Is that right?',
  'Order four one two seven is out for delivery. It should be with you today between four and six in the afternoon.',
  'Is there anything else?',
  'Sorry, I did not catch that. Please say the number once more, or key it in.',
  'I am connecting you to a colleague. Please stay on the line, this may take half a minute or so.',
]

interface Line {
  readonly track: ForkedTrack
  readonly rate: LegRateHz
  /** True: on a leg of 16 kHz, the returning sound went through a telephone of 8 kHz. */
  readonly telephone?: boolean
  readonly gainDb: number
  /** Delay of the carrier in ms for each piece of speech; there are pauses between the pieces. */
  readonly delaysMs: readonly number[]
  readonly seed: number
  readonly caller?: Int16Array
  readonly disturbances?: readonly Disturbance[]
  /** Time in ms of a barge-in as the session handles it: silence at an onset, then speech again. */
  readonly pauseAtMs?: number
}

/** Makes five sentences, and three disturbances between the second and the fourth. */
export function disturbedLine(
  line: Pick<Line, 'track' | 'rate' | 'gainDb'>,
  what: Disturbance['what'],
  ms: number,
): Line {
  return {
    ...line,
    delaysMs: [80, 80, 80, 80, 80],
    seed: 1,
    disturbances: [8500, 14_500, 20_500].map((atMs) => ({ what, atMs, ms })),
  }
}

interface Outcome extends Omit<Heard, 'frames'> {
  readonly heard: Int16Array
}

/**
 * Runs a call in which the agent's voice comes back as echo: a piece of speech every six seconds, each with another
 * delay.
 */
export function call(line: Line): Outcome {
  const { rate } = line
  const F = frameSamples(rate)
  const gain = 10 ** (line.gainDb / 20)
  const noise = hissOf(rate, line.seed)
  const callerFrames = framesOf(line.caller ?? silence(rate, 20), F)
  const mu = new Uint8Array(F)
  const narrow = new Int16Array(F / 2)
  const down = new HalfBand()
  const up = new HalfBand()
  const { frames, ...heard } = callWithAgent({
    track: line.track,
    rate,
    vadBank,
    seed: line.seed,
    pieces: line.delaysMs.map((_, i) => ({
      atMs: 1000 + 6000 * i,
      samples: says(SENTENCES[i % SENTENCES.length] as string, rate),
    })),
    lastMs: line.delaysMs.length * 6000 + 4000,
    delayMsAt: (nowMs) =>
      line.delaysMs[Math.max(0, Math.floor((nowMs - 1000) / 6000))] ?? (line.delaysMs.at(-1) as number),
    fork: (frame, n) => {
      const caller = callerFrames[n] ?? silence(rate, 20)
      const hiss = noise[n % noise.length] as Int16Array
      if (line.telephone === true) {
        down.halve(frame, narrow)
        up.double(narrow, frame)
      }
      const mixed = frame.map((v, i) => clip(v * gain + (caller[i] as number) + (hiss[i] as number)))
      encodeMuLaw(mixed, mu)
      decodeMuLaw(mu, mixed)
      return mixed
    },
    ...(line.disturbances === undefined ? {} : { disturbances: line.disturbances }),
    ...(line.pauseAtMs === undefined ? {} : { pauseAtMs: line.pauseAtMs }),
  })
  return { ...heard, heard: concatenate(...frames) }
}

const clip = (v: number) => Math.max(-32768, Math.min(32767, Math.round(v)))
