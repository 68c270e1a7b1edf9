import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { FrameScanner } from '../../src/backends/transport/message-lane.js'

const FINAL = 0x80

/** A frame of a server (RFC 6455, 5.2). */
function frame(first: number, payload: Uint8Array): Buffer {
  const { length } = payload
  const header = length < 126 ? Buffer.from([first, length]) : Buffer.alloc(length < 65_536 ? 4 : 10)
  header[0] = first
  if (length >= 65_536) {
    header[1] = 127
    header.writeBigUInt64BE(BigInt(length), 2)
  } else if (length >= 126) {
    header[1] = 126
    header.writeUInt16BE(length, 2)
  }
  return Buffer.concat([header, payload])
}

interface Found {
  readonly messages: string[]
  readonly others: number
}

/** Scans these pieces; every byte is part of exactly one step. */
function scan(pieces: readonly Uint8Array[]): Found {
  const scanner = new FrameScanner()
  const messages: string[] = []
  let others = 0
  for (const piece of pieces) {
    let at = 0
    while (at < piece.length) {
      const next = scanner.next(piece, at, piece.length)
      assert.ok(next > at && next <= piece.length, 'each step goes forward and stays inside')
      if (scanner.whole) {
        assert.ok(scanner.from > at && scanner.to === next)
        messages.push(Buffer.from(piece).toString('latin1', scanner.from, scanner.to))
      } else {
        others += next - at
      }
      at = next
    }
  }
  return { messages, others }
}

t.test('a message in one piece is found, one with a cut anywhere is not, and the next one is', async (t) => {
  for (const length of [0, 1, 125, 126, 300, 65_535, 65_536]) {
    const cutOne = frame(FINAL | 1, Buffer.alloc(length, 'x'))
    const after = frame(FINAL | 2, Buffer.from('whole again'))
    t.same(scan([Buffer.concat([cutOne, after])]).messages.at(-1), 'whole again')
    const step = cutOne.length > 1000 ? 6481 : 1
    for (let cut = 1; cut < cutOne.length; cut += step) {
      const { messages, others } = scan([cutOne.subarray(0, cut), Buffer.concat([cutOne.subarray(cut), after])])
      assert.deepEqual(
        { messages, others },
        { messages: ['whole again'], others: cutOne.length },
        `${length} bytes, cut at ${cut}`,
      )
    }
  }
})

t.test('in any valid frames and any pieces, exactly the messages without a cut are found', async (t) => {
  const one = fc.oneof(
    fc.record({
      kind: fc.constant('message'),
      binary: fc.boolean(),
      length: fc.oneof(fc.nat(3), fc.nat(140), fc.nat(70_000)),
    }),
    fc.record({ kind: fc.constant('control'), binary: fc.boolean(), length: fc.nat(125) }),
    fc.record({ kind: fc.constant('fragments'), binary: fc.boolean(), length: fc.nat(400) }),
  )
  fc.assert(
    fc.property(fc.array(one, { minLength: 1, maxLength: 12 }), fc.array(fc.nat(), { maxLength: 12 }), (list, cuts) => {
      const parts: { readonly bytes: Buffer; readonly text: string | null }[] = list.flatMap(
        ({ kind, binary, length }, i) => {
          const payload = Buffer.alloc(length, 65 + i)
          const opcode = binary ? 2 : 1
          // A message with a 64-bit length never fits in one read.
          if (kind === 'message')
            return [{ bytes: frame(FINAL | opcode, payload), text: length < 65_536 ? payload.toString() : null }]
          if (kind === 'control') return [{ bytes: frame(FINAL | (binary ? 9 : 10), payload), text: null }]
          return [
            { bytes: frame(opcode, payload), text: null },
            { bytes: frame(FINAL | 9, Buffer.from('in between')), text: null },
            { bytes: frame(0, payload), text: null },
            { bytes: frame(FINAL, Buffer.from('last')), text: null },
          ]
        },
      )
      const stream = Buffer.concat(parts.map(({ bytes }) => bytes))
      const places = [0, ...new Set(cuts.map((cut) => cut % stream.length)), stream.length].toSorted((a, b) => a - b)
      const wanted: string[] = []
      let from = 0
      for (const { bytes, text } of parts) {
        const to = from + bytes.length
        if (text !== null && !places.some((place) => place > from && place < to)) wanted.push(text)
        from = to
      }
      assert.deepEqual(scan(places.slice(1).map((place, i) => stream.subarray(places[i], place))).messages, wanted)
    }),
    { numRuns: 500 },
  )
  t.pass()
})

t.test('nothing is found after a close frame, or after bytes that a server must not send', async (t) => {
  const plain = frame(FINAL | 1, Buffer.from('plain'))
  const masked = frame(FINAL | 1, Buffer.alloc(9))
  masked[1] = 0x80 | 5
  const huge = Buffer.from([FINAL | 2, 127, 1, 0, 0, 0, 0, 0, 0, 0])
  const invalid: Readonly<Record<string, Buffer>> = {
    'a close frame': frame(FINAL | 8, Buffer.from([3, 232])),
    'a mask': masked,
    'an extension': frame(FINAL | 0x40 | 1, Buffer.from('deflated')),
    'an unknown opcode': frame(FINAL | 3, Buffer.alloc(2)),
    'a continuation of nothing': frame(FINAL, Buffer.alloc(2)),
    'a message inside of another': Buffer.concat([frame(1, Buffer.alloc(2)), frame(FINAL | 1, Buffer.alloc(2))]),
    'a fragmented ping': frame(9, Buffer.alloc(2)),
    'a length of 2 ** 56': huge,
  }
  for (const [what, bytes] of Object.entries(invalid)) {
    t.same(scan([Buffer.concat([plain, bytes, plain]), plain]).messages, ['plain'], what)
    t.same(
      scan([plain, ...Array.from(bytes, (byte) => Uint8Array.of(byte)), plain]).messages,
      ['plain'],
      `${what}, byte by byte`,
    )
  }
  const scanner = new FrameScanner()
  scanner.stop()
  t.equal(scanner.next(plain, 0, plain.length), plain.length)
  t.notOk(scanner.whole)
})
