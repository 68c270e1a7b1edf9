import t from 'tap'
import {
  MARKER_HZ,
  TONE_HZ,
  TONE_PEAK,
  hear,
  sineTable,
  speechFrames,
  toneFrame,
  toneSnrDb,
} from '../../bench/generator/signal.js'

for (const rateHz of [8000, 16000] as const) {
  t.test(`at ${rateHz} Hz tone, marker, silence and speech are told apart anywhere in a frame`, async (t) => {
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

  t.test(`at ${rateHz} Hz the SNR of the tone is that of what was added to it`, async (t) => {
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

t.test('the words of an interruption begin with the voice, are loud, and are the same each time', async (t) => {
  const [once, again] = await Promise.all([speechFrames(16000, 400), speechFrames(16000, 400)])
  t.equal(once.length, 20)
  t.same(once, again)
  const energy = (frame: Int16Array): number => frame.reduce((sum, sample) => sum + sample * sample, 0) / frame.length
  t.ok(Math.max(...once.slice(0, 6).map(energy)) > TONE_PEAK * TONE_PEAK * 2, 'louder than the tone within 120 ms')
})
