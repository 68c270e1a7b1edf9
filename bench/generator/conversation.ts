import { FRAME_MS, frameSamples, msToSamples } from '../../src/core/units.js'
import type { LegRateHz, SampleRateHz } from '../../src/core/units.js'
import { G711, bytesOfSamples, samplesOf } from '../../src/media/pcm.js'
import { ResamplerBank } from '../../src/media/resample/resampler.js'
import { seededRandom } from '../../src/carrier/random.js'
import { loadMediaAssets } from '../../src/workers/shared/media-assets.js'
import type { Coding } from '../protocol.js'
import { MARKER_HZ, TALK_EVERY_FRAMES, TALK_FRAMES, TALK_PEAK, TONE_PEAK, speechFrames, toneFrame } from './signal.js'

/**
 * The shape of a call at L2-prod, over and over: 2 s of the caller, 2 s of the agent, 1 s of silence. The caller's turn
 * begins and ends with a tone of one frame, so that the model can say how much of it came. The agent's answer is the same
 * each time, so that the generator can compare every sample.
 */
/** Silence after which the model takes a turn for over, as OpenAI's `server_vad` does by default; and how long it thinks. */
export const END_OF_TURN_MS = 500
export const THINK_MS = 300
/** The same of a cascade, which ends turns by itself: what its recogniser, its language model and its voice take of it. */
export const SERVICES_MS = { stt: 50, llm: 150, tts: 100 } as const
export const ANSWER_MS = 2000
/**
 * OpenAI documents frames of 200 ms for the audio of its realtime translation. Its other realtime models send their audio
 * faster than real time and give no size: four times as fast, here.
 */
export const DELTA_MS = 200
export const DELTA_EVERY_MS = 50
/** Duration of a caller's turn, as the model hears it. */
export const TURN_MS = TALK_FRAMES * FRAME_MS

const MODEL_RATE_HZ = 24_000
export const ANSWER_WORDS =
  'Your order is on its way to you, and it should be there this afternoon between four and six.'
/** -60 dBFS and less: a quiet line. */
const NOISE_PEAK = 30

/** A period of the caller's frames, from the first of its turn on. */
export async function callerFrames(rateHz: LegRateHz): Promise<readonly Int16Array[]> {
  const beep = toneFrame(rateHz, MARKER_HZ).map((sample) => (sample * TALK_PEAK) / TONE_PEAK)
  const words = await speechFrames(rateHz, TURN_MS - 2 * FRAME_MS, undefined, TALK_PEAK)
  const random = seededRandom(1)
  const noise = Array.from({ length: TALK_EVERY_FRAMES - TALK_FRAMES }, () =>
    Int16Array.from({ length: frameSamples(rateHz) }, () => Math.round((2 * random() - 1) * NOISE_PEAK)),
  )
  return [beep, ...words, beep, ...noise]
}

/** The agent's answer as the model says it: the bytes of 24 kHz PCM, or of G.711. */
export async function modelAnswer(coding: Coding): Promise<Uint8Array> {
  if (coding === 'pcm') return bytesOfSamples(through(await resamplers(), await spoken(16_000), 16_000, MODEL_RATE_HZ))
  const narrow = await spoken(8000)
  const coded = new Uint8Array(narrow.length)
  G711[coding].encode(narrow, coded)
  return coded
}

/** The same as the caller hears it where nothing is lost: G.711 is passed on as it is. */
export async function answerToHear(rateHz: LegRateHz, coding: Coding): Promise<Int16Array> {
  const said = await modelAnswer(coding)
  if (coding === 'pcm') return through(await resamplers(), samplesOf(said), MODEL_RATE_HZ, rateHz)
  const heard = new Int16Array(said.length)
  G711[coding].decode(said, heard)
  return heard
}

/** The agent's answer as a voice of a cascade says it, at the rate of the leg: the caller hears it sample by sample. */
export async function voiceAnswer(rateHz: LegRateHz): Promise<Int16Array> {
  return spoken(rateHz)
}

async function resamplers(): Promise<ResamplerBank> {
  const { rows, firKernel } = await loadMediaAssets()
  return new ResamplerBank({ rows, kernel: firKernel })
}

function through(bank: ResamplerBank, pcm: Int16Array, fromHz: SampleRateHz, toHz: SampleRateHz): Int16Array {
  const stream = bank.open(fromHz, toHz)
  const out = new Int16Array((pcm.length * toHz) / fromHz)
  const frame = msToSamples(FRAME_MS, fromHz)
  for (let at = 0; at < pcm.length; at += frame)
    out.set(stream.convert(pcm.subarray(at, at + frame)), (at * toHz) / fromHz)
  stream.release()
  return out
}

async function spoken(rateHz: LegRateHz): Promise<Int16Array> {
  const frames = await speechFrames(rateHz, ANSWER_MS, ANSWER_WORDS, TALK_PEAK, 'awb')
  return Int16Array.from(frames.flatMap((frame) => [...frame]))
}
