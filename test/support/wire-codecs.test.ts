import t from 'tap'
import { rmsOf } from '../../src/carrier/line.js'
import { hasFfmpeg } from './ffmpeg.js'
import { WIRE_CODECS } from './wire-codecs.js'

const FRAMES = 50
const LOUD_FROM = 20
const LOUD_UNTIL = 30

/** Silence with a tone of 200 ms in it. */
const pcm = Int16Array.from({ length: FRAMES * 160 }, (_, i) => {
  const isLoud = i >= LOUD_FROM * 160 && i < LOUD_UNTIL * 160
  return isLoud ? 8000 * Math.sin((2 * Math.PI * 500 * i) / 8000) : 0
})

t.test('every wire codec keeps sound in its place', (t) => {
  if (!hasFfmpeg(t)) return void t.end()
  for (const [name, codec] of Object.entries(WIRE_CODECS)) {
    const payloads = codec.encode(pcm)
    t.ok(payloads.length === FRAMES || payloads.length === FRAMES + 1, `${name}: ${payloads.length} payloads`)
    const heard = codec.decode(payloads)
    t.equal(heard.length, payloads.length * 160, `${name}: 20 ms each`)
    const loud = payloads.flatMap((_, i) => (rmsOf(heard.subarray(i * 160, (i + 1) * 160)) > 2500 ? [i] : []))
    // A codec delays sound by up to 7 ms.
    t.same([loud[0], loud.length >= 9 && loud.length <= 11], [LOUD_FROM, true], `${name}: ${loud.join(' ')}`)
    t.ok(Math.abs(rmsOf(heard.subarray(22 * 160, 29 * 160)) - 5657) < 1200, `${name}: as loud as it was`)
  }
  t.end()
})
