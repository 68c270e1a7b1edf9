import { FRAME_MS, frameSamples, msToSamples } from '../../src/core/units.js'
import type { LegRateHz, SampleRateHz } from '../../src/core/units.js'
import { G711, bytesOfSamples, samplesOf } from '../../src/media/pcm.js'
import { ResamplerBank } from '../../src/media/resample/resampler.js'
import { seededRandom } from '../../src/carrier/random.js'
import { loadMediaAssets } from '../../src/workers/shared/media-assets.js'
import type { Coding } from '../protocol.js'
import { MARKER_HZ, TALK_EVERY_FRAMES, TALK_FRAMES, TALK_PEAK, TONE_PEAK, speechFrames, toneFrame } from './signal.js'

/**
 * Shape of a call at L2-prod, which is repeated: 2 s of the caller, 2 s of the agent, 1 s of silence. The caller's turn
 * begins and ends with a tone of one frame, so that the model can measure how much of the turn it received. The agent's
 * answer is always the same, so that the generator can compare every sample.
 */
/**
 * Silence in ms after which the model ends a turn, as OpenAI's `server_vad` does by default. The second constant is the
 * time in ms that the model then thinks.
 */
export const END_OF_TURN_MS = 500
export const THINK_MS = 300
/** Times in ms of a cascade's recogniser, language model and voice. A cascade ends turns itself. */
export const SERVICES_MS = { stt: 50, llm: 150, tts: 100 } as const
export const ANSWER_MS = 2000
/**
 * Duration in ms of a message of the model. For the audio of its realtime translation, OpenAI documents frames of 200
 * ms. For its other realtime models it does not document a size; these send audio faster than real time. Here they send
 * four times as fast as real time.
 */
export const DELTA_MS = 200
export const DELTA_EVERY_MS = 50
/** Duration in ms of a caller's turn, as the model measures it. */
export const TURN_MS = TALK_FRAMES * FRAME_MS

const MODEL_RATE_HZ = 24_000
export const ANSWER_WORDS =
  'Your order is on its way to you, and it should be there this afternoon between four and six.'
/** Peak of the noise of a quiet line: -60 dBFS or less. */
const NOISE_PEAK = 30

/** The caller's frames of one period, starting with the first frame of the turn. */
export async function callerFrames(rateHz: LegRateHz): Promise<readonly Int16Array[]> {
  const beep = toneFrame(rateHz, MARKER_HZ).map((sample) => (sample * TALK_PEAK) / TONE_PEAK)
  const words = await speechFrames(rateHz, TURN_MS - 2 * FRAME_MS, undefined, TALK_PEAK)
  const random = seededRandom(1)
  const noise = Array.from({ length: TALK_EVERY_FRAMES - TALK_FRAMES }, () =>
    Int16Array.from({ length: frameSamples(rateHz) }, () => Math.round((2 * random() - 1) * NOISE_PEAK)),
  )
  return [beep, ...words, beep, ...noise]
}

/** Agent's answer in the form in which the model sends it: bytes of PCM at 24 kHz, or of G.711. */
export async function modelAnswer(coding: Coding): Promise<Uint8Array> {
  if (coding === 'pcm') return bytesOfSamples(through(await resamplers(), await spoken(16_000), 16_000, MODEL_RATE_HZ))
  const narrow = await spoken(8000)
  const coded = new Uint8Array(narrow.length)
  G711[coding].encode(narrow, coded)
  return coded
}

/** Agent's answer in the form in which the caller hears it if nothing is lost. G.711 is passed on unchanged. */
export async function answerToHear(rateHz: LegRateHz, coding: Coding): Promise<Int16Array> {
  const said = await modelAnswer(coding)
  if (coding === 'pcm') return through(await resamplers(), samplesOf(said), MODEL_RATE_HZ, rateHz)
  const heard = new Int16Array(said.length)
  G711[coding].decode(said, heard)
  return heard
}

/**
 * Agent's answer in the form in which the voice of a cascade sends it, at the rate of the leg. The caller hears the
 * same samples.
 */
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
