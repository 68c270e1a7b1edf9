import t from 'tap'
import { CUES, areaUnder, stopsOf } from '../../bench/endpointing/prosody.js'

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

t.test('a voice stops in its pause and at its end, and a pitch that falls there tells them apart', (t) => {
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
