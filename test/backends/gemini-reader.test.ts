import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { MessageReader } from '../../src/backends/gemini-live/wire.js'
import type { GeminiStats } from '../../src/backends/gemini-live/wire.js'

const statsOf = (): GeminiStats => ({ messagesIn: 0, malformedMessages: 0, unknownMessages: 0, oversizeMessages: 0 }) as GeminiStats
const audioOf = (bytes: number, of: string): string => Buffer.alloc(bytes, of).toString('base64')

function piece(audio: string, more: object = {}, part: object = {}): string {
  return JSON.stringify({ serverContent: { modelTurn: { parts: [{ inlineData: { mimeType: 'audio/pcm;rate=24000', data: audio }, ...part }] } }, ...more })
}

/** A message as the reader gives it, with its sound put back in. */
function whole(reader: MessageReader, text: string): unknown {
  const data = Buffer.from(text)
  const message = structuredClone(reader.read(data)) as { serverContent?: { modelTurn?: { parts?: { inlineData?: { data?: string } }[] } } } | null
  const audio = data.toString('latin1', reader.from, reader.to)
  if (audio !== '') for (const part of message?.serverContent?.modelTurn?.parts ?? []) if (part.inlineData?.data === '') part.inlineData.data = audio
  return message
}

t.test('pieces of sound that follow each other are what the parser says, however they differ', async (t) => {
  const one = fc.tuple(
    fc.nat(900), fc.constantFrom('abc', 'mkondo', '\u0000'),
    fc.constantFrom({}, {}, {}, { usageMetadata: { promptTokenCount: 3 } }, { serverContent: { turnComplete: true } }),
    fc.constantFrom({}, {}, { thought: true }, { text: 'words "in quotes"' }, { text: 'x'.repeat(600) }),
    fc.constantFrom('', '', '', '\\/AA', '%', '"'),
  )
  fc.assert(fc.property(fc.array(one, { minLength: 2, maxLength: 12 }), fc.boolean(), (list, pretty) => {
    const reader = new MessageReader(statsOf())
    for (const [bytes, of, more, part, odd] of list) {
      const value = JSON.parse(piece(audioOf(bytes, of) + (odd === '\\/AA' ? '/AA' : odd), more, part)) as unknown
      const text = JSON.stringify(value, null, pretty ? 2 : 0).replaceAll(odd === '\\/AA' ? '/' : '\u0001', '\\/')
      assert.deepEqual(whole(reader, text), JSON.parse(text), text)
    }
  }), { numRuns: 300 })
  t.pass()
})

t.test('what is around the sound is parsed once for all pieces of an answer', async (t) => {
  const reader = new MessageReader(statsOf())
  const first = reader.read(Buffer.from(piece(audioOf(600, 'a'))))
  t.equal(reader.read(Buffer.from(piece(audioOf(2880, 'b')))), first)
  t.equal(reader.read(Buffer.from('{"serverContent":{"outputTranscription":{"text":"hello"}}}'))?.serverContent?.outputTranscription?.text, 'hello')
  const last = Buffer.from(piece(audioOf(1200, 'c')))
  t.equal(reader.read(last), first, 'also when something else came in between')
  t.equal(last.toString('latin1', reader.from, reader.to), audioOf(1200, 'c'))
  const other = reader.read(Buffer.from(piece(audioOf(600, 'd')).replace('24000', '16000')))
  t.match(other, { serverContent: { modelTurn: { parts: [{ inlineData: { mimeType: 'audio/pcm;rate=16000' } }] } } })
  t.match(reader.read(Buffer.from(piece(audioOf(600, 'a')))), { serverContent: { modelTurn: { parts: [{ inlineData: { mimeType: 'audio/pcm;rate=24000' } }] } } })
})
