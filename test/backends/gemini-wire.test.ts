import t from 'tap'
import type {
  AudioTranscriptionConfig,
  FunctionDeclaration,
  FunctionResponse,
  LiveClientContent,
  LiveClientMessage,
  LiveClientSetup,
  LiveServerContent,
  LiveServerMessage,
  LiveServerSessionResumptionUpdate,
  SessionResumptionConfig,
  UsageMetadata,
} from '@google/genai'
import { AUDIO_PREFIX, AUDIO_SUFFIX, durationMs, partsOf, rateOf } from '../../src/vendors/gemini/live/wire.js'
import { GeminiReader, parseServerMessage } from '../../src/vendors/gemini/live/reader.js'
import type {
  ClientMessage,
  ServerMessage,
  WireFunction,
  WireFunctionResponse,
  WireSetup,
} from '../../src/vendors/gemini/live/wire.js'
import type { GeminiStats } from '../../src/vendors/gemini/live/reader.js'

/** Compiles only if a value of the first type can be used as one of the second. */
type Fits<Ours extends Theirs, Theirs> = Ours
/** True if every field that we write or read exists in the vendor's type. */
type Named<Ours, Theirs> = keyof Ours extends keyof Theirs ? true : false
type Member<T, K extends string> = T extends Record<K, infer V> ? V : never

export type _Names = Fits<
  [
    Named<WireSetup, LiveClientSetup>,
    Named<NonNullable<WireSetup['realtimeInputConfig']>, NonNullable<LiveClientSetup['realtimeInputConfig']>>,
    Named<
      WireSetup['realtimeInputConfig']['automaticActivityDetection'],
      NonNullable<NonNullable<LiveClientSetup['realtimeInputConfig']>['automaticActivityDetection']>
    >,
    Named<WireSetup['sessionResumption'], SessionResumptionConfig>,
    Named<Required<WireSetup['inputAudioTranscription']>, AudioTranscriptionConfig>,
    Named<NonNullable<ServerMessage['sessionResumptionUpdate']>, LiveServerSessionResumptionUpdate>,
    Named<WireFunction, FunctionDeclaration>,
    Named<WireFunctionResponse, FunctionResponse>,
    Named<ServerMessage, LiveServerMessage>,
    Named<NonNullable<ServerMessage['serverContent']>, LiveServerContent>,
    Named<NonNullable<ServerMessage['usageMetadata']>, UsageMetadata>,
    Named<
      { [K in ClientMessage extends infer M ? (M extends unknown ? keyof M : never) : never]: 1 },
      LiveClientMessage
    >,
  ],
  true[]
>
export type _Values = [
  Fits<Member<ClientMessage, 'clientContent'>, LiveClientContent>,
  Fits<
    { -readonly [K in keyof WireFunctionResponse]: WireFunctionResponse[K] },
    { id?: string; name?: string; response?: object }
  >,
  // We can read what the vendor sends.
  Fits<NonNullable<LiveServerMessage['goAway']>, NonNullable<ServerMessage['goAway']>>,
  Fits<
    NonNullable<LiveServerMessage['sessionResumptionUpdate']>,
    NonNullable<ServerMessage['sessionResumptionUpdate']>
  >,
  Fits<NonNullable<LiveServerMessage['toolCallCancellation']>, NonNullable<ServerMessage['toolCallCancellation']>>,
  Fits<NonNullable<LiveServerMessage['toolCall']>, NonNullable<ServerMessage['toolCall']>>,
  Fits<UsageMetadata, NonNullable<ServerMessage['usageMetadata']>>,
  Fits<LiveServerContent, NonNullable<ServerMessage['serverContent']>>,
]

t.test("the hand-built message of caller audio equals the vendor's", async (t) => {
  const message: LiveClientMessage = { realtimeInput: { audio: { data: 'AAAA', mimeType: 'audio/pcm;rate=16000' } } }
  t.equal(`${AUDIO_PREFIX}AAAA${AUDIO_SUFFIX}`, JSON.stringify(message))
})

t.test('malformed messages and unknown ones are distinguished', async (t) => {
  t.equal(parseServerMessage({ somethingNew: {} }), 'no-member')
  for (const value of [null, 1, 'x', [], { serverContent: null }, { toolCall: [] }, { goAway: 'now' }]) {
    t.equal(parseServerMessage(value), 'no-object', JSON.stringify(value))
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

t.test('audio is equal with and without the JSON parser', async (t) => {
  const stats = { messagesIn: 0, malformedMessages: 0, unknownMessages: 0 } as GeminiStats
  const reader = new GeminiReader(stats)
  const audio = { inlineData: { mimeType: 'audio/pcm;rate=24000', data: 'QUJD'.repeat(400) } }
  for (const parts of [
    [audio],
    [audio, audio],
    [{ text: 'Grüße' }, audio],
    [audio, { inlineData: { mimeType: 'audio/pcm;rate=24000', data: '' } }],
  ]) {
    const message = { serverContent: { modelTurn: { parts } } }
    const bytes = Buffer.from(JSON.stringify(message))
    // Twice: a message that is like the one before goes past the parser as a whole.
    for (const event of [reader.read(bytes), reader.read(bytes)]) {
      const read = partsOf(event ?? {}).map(({ text, inlineData }) =>
        inlineData?.data === ''
          ? { inlineData: { ...inlineData, data: reader.audioOf(event ?? {}, bytes).toString() } }
          : { ...(text === undefined ? {} : { text }), ...(inlineData === undefined ? {} : { inlineData }) },
      )
      t.same(read, parts)
    }
  }
  t.equal(stats.malformedMessages, 0)
})
