import t from 'tap'
import type {
  BuiltInVoice,
  ClientEvent as VendorClientEvent,
  ServerEvent as VendorServerEvent,
  SessionConfig,
} from 'openai/resources/live/live'
import type {
  ResponseCompletedEvent,
  ResponseCreatedEvent,
  ResponseFailedEvent,
  ResponseFunctionToolCall,
  ResponseIncompleteEvent,
  ResponseOutputItemDoneEvent,
} from 'openai/resources/responses/responses'
import type { LIVE_VOICES } from '../../src/vendors/openai/options.js'
import { contextParts } from '../../src/vendors/openai/live/session-start.js'
import { APPEND_PREFIX, APPEND_SUFFIX } from '../../src/vendors/openai/live/wire.js'
import { LiveReader, noLiveStats, parseLiveEvent } from '../../src/vendors/openai/live/reader.js'
import type { ClientEvent, LiveSessionConfig, ServerEvent } from '../../src/vendors/openai/live/wire.js'

/** Compiles only if a value of the first type can be used as one of the second. */
type Fits<Ours extends Theirs, Theirs> = Ours
/** Without `readonly`, which the vendor's types do not have. */
type Plain<T> = T extends readonly (infer E)[]
  ? T extends [infer Only]
    ? [Plain<Only>]
    : Plain<E>[]
  : T extends object
    ? { -readonly [K in keyof T]: Plain<T[K]> }
    : T
type Vendor = { readonly [T in VendorServerEvent['type']]: Extract<VendorServerEvent, { type: T }> }
type Read<T extends ServerEvent['type']> = Extract<ServerEvent, { readonly type: T }>

// The vendor accepts what we send.
export type _Client = Fits<Plain<ClientEvent>, Plain<VendorClientEvent>>
export type _Session = Fits<Plain<LiveSessionConfig>, Plain<SessionConfig>>
// Its voices are ours, all of them.
export type _Voices = [
  Fits<(typeof LIVE_VOICES)[number], BuiltInVoice>,
  Fits<BuiltInVoice, (typeof LIVE_VOICES)[number]>,
]
// We can read what the vendor sends.
export type _Server = [
  Fits<Vendor['session.started'], Read<'session.started'>>,
  Fits<Vendor['session.output_audio.delta'], Read<'session.output_audio.delta'>>,
  Fits<Vendor['session.input_transcript.delta'], Read<'session.input_transcript.delta'>>,
  Fits<Vendor['session.output_transcript.delta'], Read<'session.output_transcript.delta'>>,
  Fits<Vendor['session.delegation.created'], Read<'session.delegation.created'>>,
  Fits<Vendor['session.usage.updated'], Read<'session.usage.updated'>>,
  Fits<Vendor['session.closed'], Read<'session.closed'>>,
  Fits<Vendor['error'], Read<'error'>>,
  // The nested events of the Responses API.
  Fits<
    ResponseCreatedEvent | ResponseCompletedEvent | ResponseFailedEvent | ResponseIncompleteEvent,
    Read<'response.event'>['event']
  >,
  Fits<ResponseOutputItemDoneEvent['item']['type'], string>,
  Fits<keyof NonNullable<Read<'response.event'>['event']['item']>, keyof ResponseFunctionToolCall>,
]

t.test("the hand-built message of caller audio equals the vendor's", async (t) => {
  const event: VendorClientEvent = { type: 'session.input_audio.append', audio: 'AAAA' }
  t.equal(`${APPEND_PREFIX}AAAA${APPEND_SUFFIX}`, JSON.stringify(event))
})

t.test('unused, unknown and malformed events are distinguished', async (t) => {
  t.equal(parseLiveEvent({ type: 'transport.dtmf.received', event: '4' }), 'unused')
  t.equal(parseLiveEvent({ type: 'session.commentary.appended' }), 'unused')
  t.equal(parseLiveEvent({ type: 'session.of.tomorrow' }), 'unknown')
  for (const value of [
    null,
    'x',
    {},
    { type: 1 },
    { type: 'session.output_audio.delta' },
    { type: 'session.output_transcript.delta', delta: 'x', start_ms: '0', end_ms: 1 },
    { type: 'response.event', event: null },
    { type: 'session.closed', reason: 'expired' },
  ]) {
    t.equal(parseLiveEvent(value), 'malformed', JSON.stringify(value))
  }
})

t.test('audio that bypasses the parser is read as an event', async (t) => {
  const stats = noLiveStats()
  const reader = new LiveReader(stats)
  for (const [type, delta] of [
    ['session.output_audio.delta', 'QUJD'.repeat(400)],
    ['session.output_audio.delta', 'REVG'.repeat(500)],
    ['session.output_transcript.delta', 'words '.repeat(200)],
    ['session.output_audio.delta', 'short'],
    ['session.output_audio.delta', 'QUJD'.repeat(300)],
  ] as const) {
    const bytes = Buffer.from(JSON.stringify({ event_id: `e${delta.length}`, type, start_ms: 0, end_ms: 1, delta }))
    const event = reader.read(bytes)
    t.equal(event?.type, type)
    t.equal(event?.type === 'session.output_audio.delta' ? reader.audioOf(event, bytes).toString() : delta, delta)
  }
  t.equal(reader.read(Buffer.from('{"type":')), null)
  t.match(stats, { messagesIn: 6, malformedMessages: 1, unknownEvents: 0 })
})

t.test('a text over 500 tokens is split between sentences', async (t) => {
  t.same(contextParts('Short.'), { parts: ['Short.'], cut: false })
  const long = 'The parcel left Nakuru in the morning. '.repeat(60).trim()
  const split = contextParts(long)
  t.equal(split.cut, false)
  t.equal(split.parts.join(' '), long)
  for (const part of split.parts) {
    t.ok(part.length <= 1250, `${part.length} characters`)
    t.ok(part.endsWith('.'))
  }
  const amharic = 'ሰላም '.repeat(400)
  for (const part of contextParts(amharic).parts) t.ok(part.length <= 600, 'a sign of another script is a token')
  const endless = contextParts('word '.repeat(4000))
  t.equal(endless.parts.length, 4)
  t.equal(endless.cut, true)
})
