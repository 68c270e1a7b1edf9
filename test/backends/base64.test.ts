import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { decodeBase64, decodedBytes, encodeBase64 } from '../../src/backends/transport/base64.js'

t.test('bytes of any length are encoded as Node does it, and masked as RFC 6455 says', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer(), (bytes, key) => {
      const keyBytes = [key, key >> 8, key >> 16, key >> 24].map((byte) => byte & 0xff)
      const plain = encodeBase64(Buffer.from(bytes), bytes.length, key).map(
        (byte, i) => byte ^ (keyBytes[i % 4] as number),
      )
      assert.equal(Buffer.from(plain).toString('latin1'), Buffer.from(bytes).toString('base64'))
    }),
    { numRuns: 500 },
  )
  t.pass()
})

t.test('a part of a message is decoded, from any place to any other', async (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.nat(40),
      fc.nat(40),
      fc.constantFrom(0, 1),
      (bytes, before, after, at) => {
        const text = Buffer.from(bytes).toString('base64')
        const message = Buffer.from(`${'!'.repeat(before)}${text}${'!'.repeat(after)}`)
        assert.equal(decodeBase64(message, before, before + text.length, at), bytes.length)
        assert.deepEqual(new Uint8Array(decodedBytes.subarray(at, at + bytes.length)), bytes)
      },
    ),
    { numRuns: 500 },
  )
  t.pass()
})

t.test('a text with characters outside ASCII is no base64', async (t) => {
  t.equal(decodeBase64('AAAAAAAAAAAAAAAAAAA\u0141', 0, 20, 0), -1)
})
