import fc from 'fast-check'
import t from 'tap'
import { FrameReader, MASK, maskedFrame, OPCODE, patchMasked } from '../../bench/generator/lines.js'
import { Wheel } from '../../bench/generator/caller.js'
import { machineMs } from '../../bench/kit/process.js'

function unmask(frame: Buffer): Buffer {
  const header = (frame[1] as number) === 0xfe ? 8 : 6
  return Buffer.from(frame.subarray(header).map((byte, i) => byte ^ (MASK[i & 3] as number)))
}

function serverFrame(opcode: number, payload: Uint8Array): Buffer {
  const length = payload.length
  const header =
    length <= 125 ? Buffer.from([0x80 | opcode, length]) : Buffer.from([0x80 | opcode, 126, length >> 8, length & 0xff])
  return Buffer.concat([header, payload])
}

t.test('frames are masked: the payload is not on the wire as it is, and comes out as it was', async (t) => {
  const payload = Buffer.alloc(640, 1)
  const frame = maskedFrame(OPCODE.binary, payload)
  t.equal(frame[0], 0x82)
  t.equal(frame[1], 0x80 | 126, 'the mask bit is set')
  t.notOk(frame.includes(payload.subarray(0, 8)))
  t.same(unmask(frame), payload)
  patchMasked(frame, 8, 320, 0xdeadbeef)
  t.equal(unmask(frame).readUInt32LE(320), 0xdeadbeef, 'a number can be written into a masked frame')
  t.throws(() => maskedFrame(OPCODE.binary, new Uint8Array(65536)), RangeError)
})

t.test('server frames are found however the bytes were cut', async () => {
  const messages = fc.array(
    fc.tuple(fc.constantFrom(OPCODE.text, OPCODE.binary, OPCODE.ping), fc.uint8Array({ maxLength: 900 })),
    { minLength: 1, maxLength: 8 },
  )
  fc.assert(
    fc.property(messages, fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 20 }), (sent, cuts) => {
      const got: [number, Buffer][] = []
      const reader = new FrameReader((opcode, bytes, from, to) =>
        got.push([opcode, Buffer.from(bytes.subarray(from, to))]),
      )
      const all = Buffer.concat(sent.map(([opcode, payload]) => serverFrame(opcode, payload)))
      let at = 0
      for (let i = 0; at < all.length; i++) {
        const piece = Buffer.from(all.subarray(at, at + (cuts[i % cuts.length] as number)))
        at += piece.length
        reader.push(piece)
        piece.fill(0xff) // the socket's buffer is used again
      }
      return (
        got.length === sent.length &&
        got.every(
          ([opcode, payload], i) => opcode === sent[i]?.[0] && payload.equals(Buffer.from(sent[i]?.[1] as Uint8Array)),
        )
      )
    }),
  )
})

t.test('a server that masks or fragments is not taken for one that works', async (t) => {
  t.throws(() => new FrameReader(() => undefined).push(Buffer.from([0x82, 0x81, 0, 0, 0, 0, 1])), /masks/)
  t.throws(() => new FrameReader(() => undefined).push(Buffer.from([0x02, 0x01, 1])), /fragments/)
})

t.test('the wheel turns every 20 ms for each of its spokes and never skips a turn', async (t) => {
  const wheel = new Wheel()
  const due: number[][] = [[], [], []]
  for (const times of due) wheel.add({ due: (dueMs) => times.push(dueMs) })
  wheel.start()
  await new Promise((resolve) => setTimeout(resolve, 150))
  // This thread is held up: the turns are made up for, with the times at which they were due.
  for (const until = machineMs() + 70; machineMs() < until;) {
    /* busy */
  }
  await new Promise((resolve) => setTimeout(resolve, 60))
  wheel.stop()
  for (const times of due) {
    t.ok(times.length >= 10)
    t.ok(
      times.every((time, i) => i === 0 || Math.abs(time - (times[i - 1] as number) - 20) < 1e-6),
      'each due exactly 20 ms after the one before',
    )
  }
  t.equal(new Set(due.map((times) => (times[0] as number) % 20)).size, 3, 'spread over the turn')
})
