import t from 'tap'
import { loadFlite } from '../../src/backends/embedded/flite.js'
import { frameSamples, samplesToMs, type LegRateHz } from '../../src/core/units.js'
import { CallerPath } from '../../src/media/caller-path.js'
import { bytesOfSamples, decodeMuLaw, encodeMuLaw } from '../../src/media/pcm.js'
import { Playout, type SampleSource } from '../../src/media/playout.js'
import { PlayoutQueue } from '../../src/simulator/playout-queue.js'
import { loadVads } from '../support/media-modules.js'
import { concatenate, framesOf, pinkNoise, seededRandom, silence } from '../support/tones.js'

const vadBank = await loadVads()
const flite = await loadFlite()
const ONSET_FRAMES = 2

const spoken = new Map<string, Int16Array>()

/** Every other sample is enough for these tests: the voices have next to nothing above 4 kHz. Each text is synthesised once. */
function says(text: string, rate: LegRateHz, voice = 'slt'): Int16Array {
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
  'Is there anything else?', 'Sorry, I did not catch that. Please say the number once more, or key it in.',
  'I am connecting you to a colleague. Please stay on the line, this may take half a minute or so.',
]

interface Line {
  readonly rate: LegRateHz
  readonly gainDb: number
  /** The carrier's delay, for each piece of speech; between them there are pauses. */
  readonly delaysMs: readonly number[]
  readonly seed: number
  readonly caller?: Int16Array
  /** Barge-in as the session does it: silence at an onset, and on again. */
  readonly pauseAtMs?: number
}

interface Outcome {
  readonly onsetsAtMs: number[]
  readonly heard: Int16Array
  readonly echoDelayMs: number | null
}

/**
 * A call on a mixed line, by a clock of its own: our playout, the carrier's queue with its hold-back and a tick of
 * its own phase, its delay on the way back, and the caller's path.
 */
function call(line: Line): Outcome {
  const { rate } = line
  const random = seededRandom(line.seed)
  const F = frameSamples(rate)
  const path = new CallerPath({ sampleRateHz: rate, track: 'both_tracks', vadBank })
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
    consume: (samples) => { for (const sample of waiting.splice(0, samples)) taken.push(sample) },
  }
  const out = new Int16Array(playout.outSamplesMax)
  const onsetsAtMs: number[] = []
  const heard: Int16Array[] = []
  const back: { readonly dueMs: number, readonly frame: Int16Array }[] = []
  const gain = 10 ** (line.gainDb / 20)
  const noise = framesOf(pinkNoise({ sampleRateHz: rate, ms: 10_000, amplitude: 8 }, line.seed), F)
  const callerFrames = framesOf(line.caller ?? silence(rate, 20), F)
  const lastMs = line.delaysMs.length * 6000 + 4000
  let referenced = 0
  let row = 0
  let carrierMs = 13 * random()
  let frames = 0
  let delayMs = line.delaysMs[0] as number
  const mu = new Uint8Array(F)
  for (let now = 0; now < lastMs; now += 5) {
    // A piece of speech every six seconds, and with it another delay.
    if (now % 6000 === 1000) {
      const piece = now / 6000 | 0
      delayMs = line.delaysMs[piece] ?? delayMs
      if (piece < line.delaysMs.length) for (const s of says(SENTENCES[piece % SENTENCES.length] as string, rate)) waiting.push(s)
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
    while (back.length > 0 && (back[0]?.dueMs ?? Infinity) <= now) path.push(bytesOfSamples(back.shift()?.frame as Int16Array), now)
    while (path.pull(now)) {
      heard.push(path.frame.slice())
      row = path.voiced ? row + 1 : 0
      if (row === ONSET_FRAMES) onsetsAtMs.push(path.mediaMs)
    }
  }
  const { echoDelayMs } = path
  path.release()
  return { onsetsAtMs, heard: concatenate(...heard), echoDelayMs }
}

const clip = (v: number) => Math.max(-32768, Math.min(32767, Math.round(v)))

for (const rate of [8000, 16000] as const) {
  for (const gainDb of [0, -10, -20, -30]) {
    t.test(`${rate} Hz, ${gainDb} dB: an agent on a mixed line does not interrupt himself, whatever the delay`, (t) => {
      for (const [i, delaysMs] of [
        [20, 20, 20, 20, 20], [400, 400, 400, 400], [20, 60, 40, 80, 50], [20, 400, 20, 200, 380],
      ].entries()) {
        t.same(call({ rate, gainDb, delaysMs, seed: 10 + i }).onsetsAtMs, [], `delays ${delaysMs.join(', ')} ms`)
      }
      t.end()
    })
  }

  t.test(`${rate} Hz: nor after he was held silent in mid-word and went on`, (t) => {
    for (let seed = 1; seed <= 4; seed++) {
      const outcome = call({ rate, gainDb: 0, delaysMs: [100, 120], seed, pauseAtMs: 2000 + 110 * seed })
      t.same(outcome.onsetsAtMs, [])
      t.ok(outcome.heard.length > 0)
    }
    t.end()
  })

  t.test(`${rate} Hz: a caller as loud as the agent interrupts him within 300 ms`, (t) => {
    const interruption = says('No, wait a moment please, that is the wrong order.', rate, 'rms')
    // A voice rises slowly: from its first breath on.
    const startsAt = interruption.findIndex((v) => Math.abs(v) > 300)
    for (const [i, delayMs] of [20, 150, 400].entries()) {
      const atMs = 8400 + 170 * i
      const caller = concatenate(silence(rate, atMs), interruption)
      const { onsetsAtMs } = call({ rate, gainDb: 0, delaysMs: [delayMs, delayMs], seed: 20 + i, caller })
      const tookMs = (onsetsAtMs[0] ?? Infinity) - atMs - samplesToMs(startsAt, rate)
      // Within a frame: the carrier's tick and the voice's beginning fall where they fall.
      t.ok(tookMs > -20 && tookMs <= 300, `${tookMs.toFixed(0)} ms at a delay of ${delayMs} ms`)
    }
    t.end()
  })
}

t.test('of the mixed line the backend hears the caller alone', (t) => {
  const { heard, onsetsAtMs } = call({ rate: 16000, gainDb: 0, delaysMs: [60, 60], seed: 5 })
  t.same(onsetsAtMs, [])
  // From the second sentence on: the first 100 ms of a call are spent on finding our own speech in it.
  const rest = heard.subarray(16 * 7000, 16 * 11_000)
  const rms = Math.sqrt(rest.reduce((sum, v) => sum + v * v, 0) / rest.length)
  t.ok(rms < 100, `${rms.toFixed(0)} rms of an agent at about 4000`)
  t.end()
})
