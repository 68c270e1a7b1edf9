import t from 'tap'
import { LineEcho, hasLineEcho } from '../../bench/generator/line-echo.js'
import { FrameReader, lineFor, maskedFrame, OPCODE } from '../../bench/generator/lines.js'

const F = 320

t.test('what was played comes back 180 ms later and 20 dB softer; what was thrown away does not', (t) => {
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

t.test('a share of the callers has an echo, spread over all', (t) => {
  const callers = Array.from({ length: 100 }, (_, caller) => caller)
  for (const percent of [0, 30, 100]) t.equal(callers.filter((caller) => hasLineEcho(caller, percent)).length, percent)
  t.equal(callers.slice(0, 10).filter((caller) => hasLineEcho(caller, 30)).length, 3)
  t.end()
})

t.test('samples are put on top of those of a masked frame, and its number stays', (t) => {
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
