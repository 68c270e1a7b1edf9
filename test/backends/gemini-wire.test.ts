import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import type {
  FunctionDeclaration, FunctionResponse, LiveClientContent, LiveClientMessage, LiveClientSetup, LiveServerContent, LiveServerMessage, UsageMetadata,
} from '@google/genai'
import { AUDIO_PREFIX, AUDIO_SUFFIX, MessageReader, durationMs, parseServerMessage, partsOf, rateOf } from '../../src/backends/gemini-live/wire.js'
import type { ClientMessage, GeminiStats, ServerMessage, WireFunction, WireFunctionResponse, WireSetup } from '../../src/backends/gemini-live/wire.js'

/** Compiles only where a value of the first type may stand for one of the second. */
type Fits<Ours extends Theirs, Theirs> = Ours
/** Every field that we write or read is one that the vendor has. */
type Named<Ours, Theirs> = keyof Ours extends keyof Theirs ? true : false
type Member<T, K extends string> = T extends Record<K, infer V> ? V : never

export type _Names = Fits<[
  Named<WireSetup, LiveClientSetup>,
  Named<NonNullable<WireSetup['realtimeInputConfig']>, NonNullable<LiveClientSetup['realtimeInputConfig']>>,
  Named<WireSetup['realtimeInputConfig']['automaticActivityDetection'], NonNullable<NonNullable<LiveClientSetup['realtimeInputConfig']>['automaticActivityDetection']>>,
  Named<WireFunction, FunctionDeclaration>,
  Named<WireFunctionResponse, FunctionResponse>,
  Named<ServerMessage, LiveServerMessage>,
  Named<NonNullable<ServerMessage['serverContent']>, LiveServerContent>,
  Named<NonNullable<ServerMessage['usageMetadata']>, UsageMetadata>,
  Named<{ [K in ClientMessage extends infer M ? (M extends unknown ? keyof M : never) : never]: 1 }, LiveClientMessage>,
], true[]>
export type _Values = [
  Fits<Member<ClientMessage, 'clientContent'>, LiveClientContent>,
  Fits<{ -readonly [K in keyof WireFunctionResponse]: WireFunctionResponse[K] }, { id?: string; name?: string; response?: object }>,
  // What the vendor sends can be read.
  Fits<NonNullable<LiveServerMessage['goAway']>, NonNullable<ServerMessage['goAway']>>,
  Fits<NonNullable<LiveServerMessage['sessionResumptionUpdate']>, NonNullable<ServerMessage['sessionResumptionUpdate']>>,
  Fits<NonNullable<LiveServerMessage['toolCallCancellation']>, NonNullable<ServerMessage['toolCallCancellation']>>,
  Fits<NonNullable<LiveServerMessage['toolCall']>, NonNullable<ServerMessage['toolCall']>>,
  Fits<UsageMetadata, NonNullable<ServerMessage['usageMetadata']>>,
  Fits<LiveServerContent, NonNullable<ServerMessage['serverContent']>>,
]

t.test('the message of caller audio, which is never built as an object, is the vendor\'s', async (t) => {
  const message: LiveClientMessage = { realtimeInput: { audio: { data: 'AAAA', mimeType: 'audio/pcm;rate=16000' } } }
  t.equal(`${AUDIO_PREFIX}AAAA${AUDIO_SUFFIX}`, JSON.stringify(message))
})

t.test('malformed messages and unknown ones are distinguished', async (t) => {
  t.equal(parseServerMessage({ somethingNew: {} }), 'unknown')
  for (const value of [null, 1, 'x', [], { serverContent: null }, { toolCall: [] }, { goAway: 'now' }]) {
    t.equal(parseServerMessage(value), 'malformed', JSON.stringify(value))
  }
  t.same(partsOf({ serverContent: { modelTurn: { parts: [null, { text: 'x' }, 1] as never } } }), [{ text: 'x' }])
})

t.test('durations and rates are read from their texts', async (t) => {
  t.equal(durationMs('57.5s'), 57_500)
  t.equal(durationMs('soon'), 0)
  t.equal(durationMs(undefined), 0)
  t.equal(rateOf('audio/pcm;rate=16000'), 16_000)
  t.equal(rateOf('audio/pcm'), 24_000)
  t.equal(rateOf('audio/ogg'), null)
  t.equal(rateOf(undefined), null)
})

const statsOf = (): GeminiStats => ({ messagesIn: 0, malformedMessages: 0, unknownMessages: 0, oversizeMessages: 0 }) as GeminiStats
const audioOf = (bytes: number, of: string): string => Buffer.alloc(bytes, of).toString('base64')

function piece(audio: string, more: object = {}, part: object = {}): string {
  return JSON.stringify({ serverContent: { modelTurn: { parts: [{ inlineData: { mimeType: 'audio/pcm;rate=24000', data: audio }, ...part }] } }, ...more })
}

/** A message as the reader returns it, with its audio put back in. */
function whole(reader: MessageReader, text: string): unknown {
  const data = Buffer.from(text)
  const message = structuredClone(reader.read(data)) as { serverContent?: { modelTurn?: { parts?: { inlineData?: { data?: string } }[] } } } | null
  const audio = data.toString('latin1', reader.from, reader.to)
  if (audio !== '') for (const part of message?.serverContent?.modelTurn?.parts ?? []) if (part.inlineData?.data === '') part.inlineData.data = audio
  return message
}

t.test('audio messages in a row are read as JSON.parse reads them, however they differ', async (t) => {
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

t.test('the JSON around the audio is parsed once for all messages of an answer', async (t) => {
  const reader = new MessageReader(statsOf())
  const first = reader.read(Buffer.from(piece(audioOf(600, 'a'))))
  t.equal(reader.read(Buffer.from(piece(audioOf(2880, 'b')))), first)
  t.equal(reader.read(Buffer.from('{"serverContent":{"outputTranscription":{"text":"hello"}}}'))?.serverContent?.outputTranscription?.text, 'hello')
  const last = Buffer.from(piece(audioOf(1200, 'c')))
  t.equal(reader.read(last), first, 'also after another message in between')
  t.equal(last.toString('latin1', reader.from, reader.to), audioOf(1200, 'c'))
  const other = reader.read(Buffer.from(piece(audioOf(600, 'd')).replace('24000', '16000')))
  t.match(other, { serverContent: { modelTurn: { parts: [{ inlineData: { mimeType: 'audio/pcm;rate=16000' } }] } } })
  t.match(reader.read(Buffer.from(piece(audioOf(600, 'a')))), { serverContent: { modelTurn: { parts: [{ inlineData: { mimeType: 'audio/pcm;rate=24000' } }] } } })
})
