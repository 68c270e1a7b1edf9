// The library from which the gateway takes its filters, used in the normal way: one instance per stream.
import libsamplerate from '@alexanderolsen/libsamplerate-js'
import { answer, material, time } from './micro-peer.mjs'

const { create, ConverterType } = libsamplerate
const times = []
for (const [from, to] of [
  [16000, 24000],
  [24000, 16000],
]) {
  const converter = await create(1, from, to, { converterType: ConverterType.SRC_SINC_MEDIUM_QUALITY })
  const samples = material(from)
  times.push({
    name: `libsamplerate MEDIUM: ${from / 1000} to ${to / 1000} kHz`,
    us: await time(() => {
      const output = converter.full(Float32Array.from(samples, (sample) => sample / 32768))
      Int16Array.from(output, (value) => Math.max(-32768, Math.min(32767, Math.round(value * 32768))))
    }),
  })
}
answer(times)
