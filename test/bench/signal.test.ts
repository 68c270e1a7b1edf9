import t from 'tap'
import { areaUnder, CUES, stopsOf } from '../../bench/endpointing/prosody.js'
import { hasLineEcho, LineEcho } from '../../bench/generator/line-echo.js'
import { FrameReader, lineFor, maskedFrame, OPCODE } from '../../bench/generator/lines.js'
import {
  hear,
  MARKER_HZ,
  sineTable,
  speechFrames,
  TONE_HZ,
  TONE_PEAK,
  toneFrame,
  toneSnrDb,
} from '../../bench/generator/signal.js'
import { readRecording, recordings } from '../../bench/material.js'
import { levelDbfs } from '../../src/media/pcm.js'
import { hasMaterial } from '../support/material.js'

for (const rateHz of [8000, 16000] as const) {
  t.test(`at ${rateHz} Hz tone, marker, silence and speech are distinguished`, async (t) => {
    const tone = toneFrame(rateHz, TONE_HZ)
    const marker = toneFrame(rateHz, MARKER_HZ)
    const last = tone.length - rateHz / 500
    for (let at = 0; at <= last; at++) {
      if (hear(tone, at, rateHz) !== 'tone') t.fail(`tone at ${at}`)
      if (hear(marker, at, rateHz) !== 'marker') t.fail(`marker at ${at}`)
    }
    t.equal(
      hear(
        tone.map((sample) => sample / 20),
        0,
        rateHz,
      ),
      'silence',
      '26 dB under the tone is silence',
    )
    const clicks = tone.map((_, i) => (i % 7 === 0 ? TONE_PEAK : 0))
    t.equal(hear(clicks, 0, rateHz), 'other')
  })

  t.test(`at ${rateHz} Hz the SNR matches the added noise`, async (t) => {
    const tone = toneFrame(rateHz, TONE_HZ)
    const sines = sineTable(rateHz)
    t.ok(toneSnrDb(tone, sines) > 65, 'rounding to 16 bits is all there is')
    let state = 7
    const noisy = tone.map((sample) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0
      return sample + Math.round(((state / 2147483648 - 1) * TONE_PEAK * Math.sqrt(1.5)) / 10)
    })
    // Uniform noise of a tenth of the tone's RMS: 20 dB.
    t.ok(Math.abs(toneSnrDb(noisy, sines) - 20) < 1.5, `${toneSnrDb(noisy, sines)} dB`)
    const shifted = new Int16Array(tone.length)
    for (let i = 0; i < tone.length; i++) shifted[i] = tone[(i + 5) % tone.length] as number
    t.ok(toneSnrDb(shifted, sines) > 65, 'a delay is no noise')
    const broken = Int16Array.from(tone, (sample, i) => (i < tone.length / 2 ? sample : 0))
    t.ok(toneSnrDb(broken, sines) < 5, 'half a frame of silence is')
  })
}

t.test("an interruption's words begin loudly and are always identical", async (t) => {
  const [once, again] = await Promise.all([speechFrames(16000, 400), speechFrames(16000, 400)])
  t.equal(once.length, 20)
  t.same(once, again)
  const energy = (frame: Int16Array): number => frame.reduce((sum, sample) => sum + sample * sample, 0) / frame.length
  t.ok(Math.max(...once.slice(0, 6).map(energy)) > TONE_PEAK * TONE_PEAK * 2, 'louder than the tone within 120 ms')
})

const F = 320

t.test('played audio returns as an echo unless it was cleared', (t) => {
  const echo = new LineEcho(16000)
  const heard = (value: number): void => echo.heard(new Int16Array(F).fill(value), F)
  heard(1000)
  heard(2000)
  const back = Array.from({ length: 13 }, (_, n) => {
    if (n === 1) echo.cleared()
    if (n === 2) heard(3000)
    return echo.play()[0]
  })
  t.same(back, [0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 0, 300, 0])
  t.end()
})

t.test('the callers with an echo are spread evenly', (t) => {
  const callers = Array.from({ length: 100 }, (_, caller) => caller)
  for (const percent of [0, 30, 100]) t.equal(callers.filter((caller) => hasLineEcho(caller, percent)).length, percent)
  t.equal(callers.slice(0, 10).filter((caller) => hasLineEcho(caller, 30)).length, 3)
  t.end()
})

t.test('mixing samples into a masked frame keeps its number', (t) => {
  const line = lineFor('socket', true, 16_000)
  const frame = line.frame(
    Int16Array.from({ length: F }, (_, i) => i - 100),
    'call',
  )
  line.number(frame, 70_000)
  const mixed = line.withSamples(frame, new Int16Array(F).fill(-300)) as Buffer
  const out = new Int16Array(F)
  // A server's frames are the same without the mask.
  const bare = Buffer.concat([mixed.subarray(0, 4), mixed.subarray(8)])
  bare[1] = (bare[1] as number) & 0x7f
  for (let i = 4; i < bare.length; i++) bare[i] = (bare[i] as number) ^ (mixed[4 + (i & 3)] as number)
  new FrameReader((_opcode, bytes, from, to) => line.samples(bytes, from, to, out)).push(bare)
  t.same([out[0], out[1], out[319]], [-400, -399, -81])
  t.same([(out[160] as number) & 0xffff, out[161]], [70_000 & 0xffff, 1], 'the number')
  t.equal(
    lineFor('twilio', false, 8000).withSamples(maskedFrame(OPCODE.text, Buffer.from('{}')), new Int16Array(F)),
    null,
  )
  t.end()
})

const RATE_HZ = 8000

/** A hum of three harmonics with a pause of 400 ms after its first second; its pitch falls before the end or before the pause. */
function hummed(highHz: number, falls: 'at the end' | 'in the pause'): Int16Array {
  let phase = 0
  return Int16Array.from({ length: 2.4 * RATE_HZ }, (_, i) => {
    const s = i / RATE_HZ
    const into = s < 1 ? s : s - 1.4
    const falling = s < 1 === (falls === 'in the pause') ? Math.max(0, into - 0.7) : 0
    phase += (2 * Math.PI * highHz * (1 - falling)) / RATE_HZ
    const loud = into < 0 ? 0 : 6000
    return loud * (Math.sin(phase) + 0.5 * Math.sin(2 * phase) + 0.3 * Math.sin(3 * phase))
  })
}

t.test("a falling pitch distinguishes a turn's end from a pause", (t) => {
  const all = (falls: Parameters<typeof hummed>[1]) =>
    [110, 140, 180, 220].flatMap((hz) => stopsOf(hummed(hz, falls), RATE_HZ))
  const stops = all('at the end')
  t.same(
    stops.map(({ ends }) => ends),
    [false, true, false, true, false, true, false, true],
  )
  t.equal(areaUnder(stops, CUES['pitch falls']), 1)
  t.equal(areaUnder(stops, CUES['pitch is low']), 1)
  t.equal(areaUnder(all('in the pause'), CUES['pitch falls']), 0)
  t.equal(
    areaUnder(stops, () => 7),
    0.5,
  )
  t.end()
})

t.test("Debian's recordings are read at both rates", async (t) => {
  if (!hasMaterial(t, 'allison', 'june', 'carlo', 'music')) return
  t.ok(recordings('allison').includes('digits/4'))
  t.equal(recordings('music').length, 5)
  for (const [material, name] of [
    ['allison', 'vm-goodbye'],
    ['june', 'vm-goodbye'],
    ['carlo', 'vm-goodbye'],
  ] as const) {
    const narrow = await readRecording(material, name, 8000)
    const wide = await readRecording(material, name, 16000)
    t.ok(Math.abs(wide.length / 2 - narrow.length) < 8000 / 10, `${material}: the same duration`)
    t.ok(levelDbfs(wide) > -40 && levelDbfs(narrow) > -40, `${material}: somebody speaks`)
  }
})
