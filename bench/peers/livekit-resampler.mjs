// LiveKit's resampler for Node: soxr, called through a Rust FFI.
import { AudioFrame, AudioResampler, AudioResamplerQuality } from '@livekit/rtc-node'
import { answer, material, time } from './micro-peer.mjs'

const times = []
for (const [from, to] of [
  [16000, 24000],
  [24000, 16000],
]) {
  const resampler = new AudioResampler(from, to, 1, AudioResamplerQuality.MEDIUM)
  const frame = new AudioFrame(material(from), from, 1, from / 50)
  // Each call of `push` is synchronous. The first 500 frames are warm-up.
  for (let i = 0; i < 500; i++) resampler.push(frame)
  times.push({
    name: `LiveKit AudioResampler MEDIUM: ${from / 1000} to ${to / 1000} kHz`,
    us: await time(() => void resampler.push(frame)),
  })
}
answer(times)
