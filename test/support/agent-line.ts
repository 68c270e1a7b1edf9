import { loadFlite } from '../../src/speech/flite.js'
import { frameSamples, samplesToMs, type LegRateHz } from '../../src/core/units.js'
import type { ForkedTrack } from '../../src/media/reframer.js'
import { CallerPath } from '../../src/media/caller-path.js'
import { bytesOfSamples, decodeMuLaw, encodeMuLaw } from '../../src/media/pcm.js'
import { Playout, type SampleSource } from '../../src/media/playout/playout.js'
import { HalfBand } from '../../src/simulator/line.js'
import { PlayoutQueue } from '../../src/simulator/playout-queue.js'
import { loadVads } from './media-modules.js'
import { concatenate, framesOf, pinkNoise, seededRandom, silence } from './tones.js'

const vadBank = await loadVads()
const flite = await loadFlite()
/** As in the session: two frames of voice begin a segment, 200 ms of voice stop the agent, 600 ms of silence end it. */
const ONSET_FRAMES = 2
const COMMIT_FRAMES = 10
const END_FRAMES = 30

const spoken = new Map<string, Int16Array>()

/**
 * A text in a voice, synthesised once. Samples are dropped without a filter: the voices have almost nothing above 4
 * kHz.
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
  /** Of a leg of 16 kHz: what comes back went through a telephone of 8 kHz. */
  readonly telephone?: boolean
  readonly gainDb: number
  /** The carrier's delay, for each piece of speech; between them there are pauses. */
  readonly delaysMs: readonly number[]
  readonly seed: number
  readonly caller?: Int16Array
  /** Barge-in as the session does it: silence at an onset, and on again. */
  readonly pauseAtMs?: number
}

interface Outcome {
  /** Media time of the frames with which a row of voice began, and a segment had enough of it to stop the agent. */
  readonly onsetsAtMs: number[]
  readonly commitsAtMs: number[]
  readonly digits: string
  readonly heard: Int16Array
  readonly echoDelayMs: number | null
}

/**
 * A call whose agent comes back on the caller's side, by a clock of its own: our playout, the carrier's queue with its
 * hold-back and a tick of its own phase, its delay on the way back, and the caller's path.
 */
export function call(line: Line): Outcome {
  const { rate } = line
  const random = seededRandom(line.seed)
  const F = frameSamples(rate)
  const path = new CallerPath({ sampleRateHz: rate, track: line.track, vadBank })
  const playout = new Playout({ sampleRateHz: rate })
  const queue = new PlayoutQueue()
  const waiting: number[] = []
  const taken: number[] = []
  const source: SampleSource = {
    available: () => waiting.length,
    peek: (out, samples) => {
      const count = Math.min(samples, waiting.length)
      for (let i = 0; i < count; i++) out[i] = waiting[i] as number
      return count
    },
    consume: (samples) => {
      for (const sample of waiting.splice(0, samples)) taken.push(sample)
    },
  }
  const out = new Int16Array(playout.outSamplesMax)
  const onsetsAtMs: number[] = []
  const heard: Int16Array[] = []
  const back: { readonly dueMs: number; readonly frame: Int16Array }[] = []
  const gain = 10 ** (line.gainDb / 20)
  const noise = framesOf(pinkNoise({ sampleRateHz: rate, ms: 10_000, amplitude: 8 }, line.seed), F)
  const callerFrames = framesOf(line.caller ?? silence(rate, 20), F)
  const lastMs = line.delaysMs.length * 6000 + 4000
  const commitsAtMs: number[] = []
  let referenced = 0
  let row = 0
  let quiet = Infinity
  let voiced = 0
  let digits = ''
  let carrierMs = 13 * random()
  let frames = 0
  let delayMs = line.delaysMs[0] as number
  const mu = new Uint8Array(F)
  const narrow = new Int16Array(F / 2)
  const down = new HalfBand()
  const up = new HalfBand()
  for (let now = 0; now < lastMs; now += 5) {
    // A piece of speech every six seconds, and with it another delay.
    if (now % 6000 === 1000) {
      const piece = (now / 6000) | 0
      delayMs = line.delaysMs[piece] ?? delayMs
      if (piece < line.delaysMs.length)
        for (const s of says(SENTENCES[piece % SENTENCES.length] as string, rate)) waiting.push(s)
    }
    if (now === line.pauseAtMs) playout.pause(now)
    if (now === (line.pauseAtMs ?? NaN) + 700) playout.resume(now)
    if (now % 10 === 0) {
      const jitteredMs = now + 4 * random()
      const samples = playout.pump(jitteredMs, source, out)
      if (samples > 0) queue.push(bytesOfSamples(out.slice(0, samples)))
    }
    if (now >= carrierMs) {
      carrierMs += 20
      const frame = new Int16Array(F)
      queue.tick(frame)
      const caller = callerFrames[frames] ?? silence(rate, 20)
      const hiss = noise[frames++ % noise.length] as Int16Array
      if (line.telephone === true) {
        down.halve(frame, narrow)
        up.double(narrow, frame)
      }
      const mixed = frame.map((v, i) => clip(v * gain + (caller[i] as number) + (hiss[i] as number)))
      encodeMuLaw(mixed, mu)
      decodeMuLaw(mu, mixed)
      back.push({ dueMs: Math.max(back.at(-1)?.dueMs ?? 0, now + delayMs + 3 * random()), frame: mixed })
    }
    if (now % 10 !== 5) continue
    for (; referenced + F <= taken.length; referenced += F) {
      const endMs = playout.speechEndMs - samplesToMs(taken.length - referenced, rate)
      path.playedReference(Int16Array.from(taken.slice(referenced, referenced + F)), endMs)
    }
    while (back.length > 0 && (back[0]?.dueMs ?? Infinity) <= now)
      path.push(bytesOfSamples(back.shift()?.frame as Int16Array), now)
    while (path.pull(now)) {
      heard.push(path.frame.slice())
      digits += path.digit ?? ''
      row = path.voiced ? row + 1 : 0
      quiet = path.voiced ? 0 : quiet + 1
      if (row === ONSET_FRAMES) onsetsAtMs.push(path.mediaMs)
      if (quiet > END_FRAMES) voiced = 0
      else if (path.voiced && (voiced > 0 || row === ONSET_FRAMES)) voiced = Math.max(voiced + 1, row)
      if (path.voiced && voiced === COMMIT_FRAMES) commitsAtMs.push(path.mediaMs)
    }
  }
  const { echoDelayMs } = path
  path.release()
  return { onsetsAtMs, commitsAtMs, digits, heard: concatenate(...heard), echoDelayMs }
}

const clip = (v: number) => Math.max(-32768, Math.min(32767, Math.round(v)))
