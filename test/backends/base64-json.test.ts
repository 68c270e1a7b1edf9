import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { decodeBase64, decodedBytes, encodeBase64 } from '../../src/backends/transport/base64.js'
import { AudioCut, AudioMessage, Base64Audio } from '../../src/backends/transport/base64-json.js'
import { bytesOfSamples, decodeMuLaw, encodeMuLaw } from '../../src/media/pcm.js'

const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength })

function collect(): { readonly take: (samples: Int16Array) => void; readonly pcm: () => Int16Array } {
  const samples: number[] = []
  return { take: (piece) => samples.push(...piece), pcm: () => Int16Array.from(samples) }
}

t.test('a message is the JSON that the parser would have written', async (t) => {
  fc.assert(fc.property(bytes(4800), (audio) => {
    const message = new AudioMessage('{"type":"a","audio":"', '"}', 4800)
    const pcm = Buffer.from(audio)
    const text = message.encode(pcm, pcm.length).toString()
    assert.deepEqual(JSON.parse(text), { type: 'a', audio: pcm.toString('base64') })
  }), { numRuns: 100 })
  t.pass()
})

t.test('messages of different lengths do not leak into each other', async (t) => {
  const message = new AudioMessage('{"audio":"', '"}', 100)
  for (const length of [100, 1, 99, 0, 100]) {
    const audio = Buffer.alloc(100, length)
    t.equal(message.encode(audio, length).toString(), `{"audio":"${audio.toString('base64', 0, length)}"}`)
  }
})

t.test('audio comes out of a message as it went in, however the JSON is written', async (t) => {
  const jsonOf = fc.record({
    pcm: fc.int16Array({ minLength: 60, maxLength: 3000 }),
    blanks: fc.constantFrom('', ' ', '\n  '),
    before: fc.record({ type: fc.constant('response.output_audio.delta'), item_id: fc.string(), noise: fc.constantFrom('delta', '"delta":', '\\') }),
    after: fc.dictionary(fc.string(), fc.string()),
  })
  fc.assert(fc.property(jsonOf, ({ pcm, blanks, before, after }) => {
    const audio = Buffer.from(bytesOfSamples(pcm)).toString('base64')
    const head = JSON.stringify(before).slice(0, -1)
    const message = Buffer.from(`${head},"delta"${blanks}:${blanks}"${audio}","after":${JSON.stringify(after)}}`)
    const cut = new AudioCut('delta')
    if (!cut.find(message)) throw new Error('not found')
    const rest = JSON.parse(cut.rest(message)) as Record<string, unknown>
    if (rest['delta'] !== '' || rest['item_id'] !== before.item_id) throw new Error('the rest is not the message')
    const out = collect()
    if (!new Base64Audio('pcm16').decode(message, cut.from, cut.to, out.take)) throw new Error('refused')
    assert.deepEqual(out.pcm(), pcm)
  }), { numRuns: 100 })
  t.pass()
})

t.test('a sample that is cut in two between messages is put together', async (t) => {
  fc.assert(fc.property(fc.int16Array({ minLength: 1, maxLength: 400 }), fc.array(fc.nat(40), { maxLength: 40 }), (pcm, lengths) => {
    const all = Buffer.from(bytesOfSamples(pcm))
    const decoder = new Base64Audio('pcm16')
    const out = collect()
    let at = 0
    for (const length of [...lengths, all.length]) {
      const end = Math.min(all.length, at + length)
      if (!decoder.decodeText(all.toString('base64', at, end), out.take)) throw new Error('refused')
      at = end
    }
    assert.deepEqual(out.pcm(), pcm)
  }), { numRuns: 200 })
  t.pass()
})

t.test('what is no base64 is refused, and what comes after it is whole again', async (t) => {
  const decoder = new Base64Audio('pcm16')
  const out = collect()
  for (const text of ['%%%%', 'AAAA*AAA', 'A', 'AAA\\/', 'AA AA', '=AAA', 'AA=A']) {
    t.notOk(decoder.decodeText(text, out.take), JSON.stringify(text))
  }
  t.equal(out.pcm().length, 0)
  t.ok(decoder.decodeText('AQACAA==', out.take))
  t.same([...out.pcm()], [1, 2])
})

t.test('a long string is decoded in pieces without a seam', async (t) => {
  const pcm = Int16Array.from({ length: 100_001 }, (_, i) => ((i * 7919) % 65536) - 32768)
  const message = Buffer.from(JSON.stringify({ delta: Buffer.from(bytesOfSamples(pcm)).toString('base64') }))
  const cut = new AudioCut('delta')
  t.ok(cut.find(message))
  const out: Int16Array[] = []
  t.ok(new Base64Audio('pcm16').decode(message, cut.from, cut.to, (piece) => out.push(piece.slice())))
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
  t.ok(new Base64Audio({ expand: decodeMuLaw }).decodeText(law.toString('base64'), out.take))
  t.same(out.pcm(), wanted)
})

t.test('only a long string under the key itself is cut out', async (t) => {
  const cut = new AudioCut('delta')
  t.notOk(cut.find(Buffer.from('{"delta":"short"}')))
  t.notOk(cut.find(Buffer.from(`{"delta":12,"other":"${'A'.repeat(400)}"}`)))
  t.notOk(cut.find(Buffer.from(`{"delta":"${'A'.repeat(400)}`)), 'a string that does not end')
  t.notOk(cut.find(Buffer.from(`{"delta":"${'A'.repeat(200)}\\/${'A'.repeat(200)}"}`)), 'escapes are for the parser')
})

t.test('base64 is that of everybody else, both ways, whatever its length, place and padding', async (t) => {
  fc.assert(fc.property(bytes(200), fc.boolean(), fc.nat(7), fc.nat(1), (audio, padded, shift, at) => {
    const pcm = Buffer.from(audio)
    const text = pcm.toString(padded ? 'base64' : 'base64url')
    const message = Buffer.from(`${'x'.repeat(shift)}${text}${'"}'.slice(at)}`)
    assert.equal(decodeBase64(message, shift, shift + text.length, at), pcm.length)
    assert.deepEqual(Buffer.from(decodedBytes.subarray(at, at + pcm.length)), pcm)
    assert.equal(Buffer.from(encodeBase64(pcm, pcm.length)).toString(), pcm.toString('base64'))
  }), { numRuns: 500 })
  t.pass()
})

t.test('a single wrong character anywhere is noticed', async (t) => {
  const good = Buffer.from(Buffer.alloc(32, 0xa5).toString('base64'))
  for (let at = 0; at < good.length - 1; at++) {
    for (let wrong = 0; wrong < 256; wrong++) {
      // A second padding character is no fault.
      if (/[A-Za-z0-9+/_-]/.test(String.fromCharCode(wrong)) || (wrong === 0x3d && at === good.length - 2)) continue
      const bad = Buffer.from(good)
      bad[at] = wrong
      if (decodeBase64(bad, 0, bad.length, 0) !== -1) t.fail(`0x${wrong.toString(16)} at ${at}`)
    }
  }
  t.equal(decodeBase64(good, 0, good.length, 0), 32)
})
