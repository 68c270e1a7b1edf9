import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { AudioCut, Base64Audio } from '../../src/backends/transport/base64-audio.js'
import { decodeBase64, decodedBytes, encodeBase64 } from '../../src/backends/transport/base64.js'
import { bytesOfSamples, decodeMuLaw, encodeMuLaw } from '../../src/media/pcm.js'

function collect(): { readonly take: (samples: Int16Array) => void; readonly pcm: () => Int16Array } {
  const samples: number[] = []
  return { take: (piece) => samples.push(...piece), pcm: () => Int16Array.from(samples) }
}

t.test('a sample split between two messages is put together', async (t) => {
  fc.assert(
    fc.property(
      fc.int16Array({ minLength: 1, maxLength: 400 }),
      fc.array(fc.nat(40), { maxLength: 40 }),
      (pcm, lengths) => {
        const all = Buffer.from(bytesOfSamples(pcm))
        const decoder = new Base64Audio('pcm16')
        const out = collect()
        let at = 0
        for (const length of [...lengths, all.length]) {
          const end = Math.min(all.length, at + length)
          if (!decoder.decode(all.toString('base64', at, end), out.take)) throw new Error('refused')
          at = end
        }
        assert.deepEqual(out.pcm(), pcm)
      },
    ),
    { numRuns: 200 },
  )
  t.pass()
})

t.test('invalid base64 is refused, and the next text is decoded', async (t) => {
  const decoder = new Base64Audio('pcm16')
  const out = collect()
  for (const text of ['%%%%', 'AAAA*AAA', 'A', 'AAA\\/', 'AA AA', '=AAA', 'AA=A']) {
    t.notOk(decoder.decode(text, out.take), JSON.stringify(text))
  }
  t.equal(out.pcm().length, 0)
  t.ok(decoder.decode('AQACAA==', out.take))
  t.same([...out.pcm()], [1, 2])
})

t.test('a long string is decoded in pieces without a gap', async (t) => {
  const pcm = Int16Array.from({ length: 100_001 }, (_, i) => ((i * 7919) % 65536) - 32768)
  const out: Int16Array[] = []
  t.ok(
    new Base64Audio('pcm16').decode(Buffer.from(bytesOfSamples(pcm)).toString('base64'), (piece) =>
      out.push(piece.slice()),
    ),
  )
  t.ok(out.every((piece) => piece.length <= 12_288))
  const whole = new Int16Array(pcm.length)
  let at = 0
  for (const piece of out) {
    whole.set(piece, at)
    at += piece.length
  }
  t.equal(at, pcm.length)
  t.ok(whole.every((sample, i) => sample === pcm[i]))
})

t.test('mu-law is expanded', async (t) => {
  const pcm = Int16Array.from({ length: 999 }, (_, i) => Math.round(8000 * Math.sin(i / 7)))
  const law = Buffer.alloc(999)
  encodeMuLaw(pcm, law)
  const wanted = new Int16Array(999)
  decodeMuLaw(law, wanted)
  const out = collect()
  t.ok(new Base64Audio({ expand: decodeMuLaw }).decode(law.toString('base64'), out.take))
  t.same(out.pcm(), wanted)
})

t.test('base64 is decoded in both alphabets, with and without padding', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (audio, padded) => {
      const out = collect()
      const text = Buffer.from(audio).toString(padded ? 'base64' : 'base64url')
      if (!new Base64Audio({ expand: decodeMuLaw }).decode(text, out.take)) throw new Error('refused')
      const wanted = new Int16Array(audio.length)
      decodeMuLaw(audio, wanted)
      assert.deepEqual(out.pcm(), wanted)
    }),
    { numRuns: 500 },
  )
  t.pass()
})

t.test('a single wrong character is found at any position', async (t) => {
  const good = Buffer.from(Buffer.alloc(32, 0xa5).toString('base64'))
  const decodes = (chars: Buffer): boolean => new Base64Audio('pcm16').decode(chars.toString('latin1'), () => undefined)
  for (let at = 0; at < good.length - 1; at++) {
    for (let wrong = 0; wrong < 256; wrong++) {
      // A second padding character is no fault.
      if (/[A-Za-z0-9+/_-]/.test(String.fromCharCode(wrong)) || (wrong === 0x3d && at === good.length - 2)) continue
      const bad = Buffer.from(good)
      bad[at] = wrong
      if (decodes(bad)) t.fail(`0x${wrong.toString(16)} at ${at}`)
    }
  }
  t.ok(decodes(good))
})

t.test('audio is cut out of messages in any JSON layout', async (t) => {
  const jsonOf = fc.record({
    pcm: fc.int16Array({ minLength: 250, maxLength: 3000 }),
    blanks: fc.constantFrom('', ' ', '\n  '),
    before: fc.record({ item_id: fc.string(), noise: fc.constantFrom('delta', '"delta":', '\\') }),
    after: fc.dictionary(fc.string(), fc.string()),
  })
  fc.assert(
    fc.property(jsonOf, ({ pcm, blanks, before, after }) => {
      const audio = Buffer.from(bytesOfSamples(pcm)).toString('base64')
      const head = JSON.stringify(before).slice(0, -1)
      const message = Buffer.from(`${head},"delta"${blanks}:${blanks}"${audio}","after":${JSON.stringify(after)}}`)
      const cut = new AudioCut('delta')
      assert.equal(cut.find(message), true)
      assert.deepEqual(JSON.parse(cut.rest(message)), { ...before, delta: '', after: { ...after } })
      assert.equal(cut.bytes(message).toString(), audio)
    }),
    { numRuns: 100 },
  )
  t.pass()
})

t.test('only a long string without escapes is cut out', async (t) => {
  const cut = new AudioCut('delta')
  t.notOk(cut.find(Buffer.from(`{"delta":"short","other":"${'A'.repeat(800)}"}`)))
  t.notOk(cut.find(Buffer.from(`{"delta":12,"other":"${'A'.repeat(800)}"}`)))
  t.notOk(cut.find(Buffer.from(`{"delta":"${'A'.repeat(800)}`)), 'a string that does not end')
  t.notOk(cut.find(Buffer.from(`{"delta":"${'A'.repeat(600)}\\/${'A'.repeat(600)}"}`)), 'escapes are for the parser')
})

t.test('bytes are encoded as base64 and masked by RFC 6455', async (t) => {
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

t.test('any part of a message is decoded to any position', async (t) => {
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

t.test('text with characters outside ASCII is not base64', async (t) => {
  t.equal(decodeBase64('AAAAAAAAAAAAAAAAAAA\u0141', 0, 20, 0), -1)
})
