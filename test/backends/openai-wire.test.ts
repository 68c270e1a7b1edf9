import t from 'tap'
import type {
  RealtimeAudioConfigInput,
  RealtimeClientEvent,
  RealtimeServerEvent,
  RealtimeSessionCreateRequest,
} from 'openai/resources/realtime/realtime'
import { APPEND_PREFIX, APPEND_SUFFIX } from '../../src/vendors/self-hosted/realtime/wire.js'
import { EventReader, parseServerEvent } from '../../src/vendors/self-hosted/realtime/event-reader.js'
import type {
  ClientEvent,
  ServerEvent,
  SessionConfig,
  TurnDetection,
} from '../../src/vendors/self-hosted/realtime/wire.js'
import type { OpenAiStats } from '../../src/vendors/self-hosted/realtime/event-reader.js'

/** Compiles only if a value of the first type can be used as one of the second. */
type Fits<Ours extends Theirs, Theirs> = Ours
/** Without `readonly`, which the vendor's types do not have. */
type Plain<T> = T extends readonly (infer E)[]
  ? Plain<E>[]
  : T extends object
    ? { -readonly [K in keyof T]: Plain<T[K]> }
    : T

type Vendor = { readonly [T in RealtimeServerEvent['type']]: Extract<RealtimeServerEvent, { type: T }> }
/** The type that we read for one event. It must be able to hold what the vendor sends. */
type Read<T extends ServerEvent['type']> = Extract<ServerEvent, { readonly type: T }>

// The vendor accepts what we send.
export type _Client = Fits<Plain<ClientEvent>, Plain<RealtimeClientEvent>>
export type _Session = Fits<
  Omit<Plain<SessionConfig>, 'audio' | 'tools'>,
  Omit<Plain<RealtimeSessionCreateRequest>, 'audio' | 'tools'>
>
export type _Turns = Fits<TurnDetection, NonNullable<RealtimeAudioConfigInput['turn_detection']>>
export type _Transcription = Fits<
  Plain<NonNullable<NonNullable<NonNullable<SessionConfig['audio']>['input']>['transcription']>>,
  Plain<NonNullable<RealtimeAudioConfigInput['transcription']>>
>

// We can read what the vendor sends. We also accept `null` where the vendor's types exclude it, so only this direction
// is checked.
export type _Server = [
  Fits<Vendor['response.output_audio.delta'], Read<'response.output_audio.delta'>>,
  Fits<Vendor['response.output_audio.done'], Read<'response.output_audio.done'>>,
  Fits<Vendor['response.output_audio_transcript.delta'], Read<'response.output_audio_transcript.delta'>>,
  Fits<Vendor['response.output_audio_transcript.done'], Read<'response.output_audio_transcript.done'>>,
  Fits<Vendor['response.output_text.delta'], Read<'response.output_text.delta'>>,
  Fits<Vendor['response.output_text.done'], Read<'response.output_text.done'>>,
  Fits<Vendor['response.function_call_arguments.done'], Read<'response.function_call_arguments.done'>>,
  Fits<
    Vendor['conversation.item.input_audio_transcription.completed'],
    Read<'conversation.item.input_audio_transcription.completed'>
  >,
  Fits<
    Vendor['conversation.item.input_audio_transcription.failed'],
    Read<'conversation.item.input_audio_transcription.failed'>
  >,
  Fits<Vendor['input_audio_buffer.speech_started'], Read<'input_audio_buffer.speech_started'>>,
  Fits<Vendor['input_audio_buffer.speech_stopped'], Read<'input_audio_buffer.speech_stopped'>>,
  Fits<Vendor['rate_limits.updated'], Read<'rate_limits.updated'>>,
  Fits<Vendor['error']['error'], Read<'error'>['error']>,
  Fits<keyof Read<'response.done'>['response'], keyof Vendor['response.done']['response']>,
  Fits<
    Read<'response.done'>['type'] | Read<'response.created'>['type'] | Read<'session.updated'>['type'],
    RealtimeServerEvent['type']
  >,
]

t.test("the hand-built message of caller audio equals the vendor's", async (t) => {
  const event: RealtimeClientEvent = { type: 'input_audio_buffer.append', audio: 'AAAA' }
  t.equal(`${APPEND_PREFIX}AAAA${APPEND_SUFFIX}`, JSON.stringify(event))
})

t.test('a beta event is read under its current name', async (t) => {
  t.match(parseServerEvent({ type: 'response.audio.delta', item_id: 'i', delta: '' }), {
    type: 'response.output_audio.delta',
  })
  t.match(parseServerEvent({ type: 'response.audio_transcript.done', item_id: 'i', transcript: 'x' }), {
    type: 'response.output_audio_transcript.done',
  })
  t.match(parseServerEvent({ type: 'conversation.item.created', item: {} }), { type: 'conversation.item.added' })
})

t.test('malformed and unknown events are distinguished', async (t) => {
  t.equal(parseServerEvent({ type: 'rate_limits.updated' }), 'malformed')
  t.equal(parseServerEvent({ type: 'conversation.item.done' }), 'ignored')
  for (const type of ['mcp_list_tools.failed', 'response.mcp_call_arguments.delta', 'response.mcp_call.completed'])
    t.equal(parseServerEvent({ type }), 'hosted-mcp')
  for (const type of ['output_audio_buffer.started', 'input_audio_buffer.dtmf_event_received'])
    t.equal(parseServerEvent({ type }), 'sip')
  t.equal(parseServerEvent({ type: 'response.new_feature' }), 'unknown')
  t.equal(parseServerEvent({ type: 'toString' }), 'unknown')
  for (const value of [
    null,
    1,
    'x',
    [],
    {},
    { type: 1 },
    { type: 'response.output_audio.delta' },
    { type: 'error', error: null },
    { type: 'response.done', response: 'x' },
    { type: 'response.output_audio.delta', item_id: 1, delta: 'x' },
  ]) {
    t.equal(parseServerEvent(value), 'malformed', JSON.stringify(value))
  }
})

t.test('a long delta is read equally with and without parser', async (t) => {
  const stats = { messagesIn: 0, malformedMessages: 0 } as OpenAiStats
  const reader = new EventReader(stats)
  const read = (message: string): ServerEvent | null => {
    const bytes = Buffer.from(message)
    const event = reader.read(bytes)
    return event?.type === 'response.output_audio.delta'
      ? { ...event, delta: reader.audioOf(event, bytes).toString() }
      : event
  }
  const text = 'Grüße und "mehr" '.repeat(100)
  // Again and again: a message that is like the one before goes past the parser as a whole.
  for (const [type, item_id, delta] of [
    ['response.output_audio.delta', 'i1', 'QUJD'.repeat(400)],
    ['response.output_audio.delta', 'i1', 'REVG'.repeat(500)],
    ['response.output_audio_transcript.delta', 'i1', text],
    ['response.output_audio.delta', 'i1', 'QUJD'.repeat(300)],
    ['response.output_audio.delta', 'i2', 'QUJD'.repeat(300)],
    ['response.output_audio.delta', 'i2', 'short'],
    ['response.output_audio.delta', 'i2', `${'QUJD'.repeat(300)}\\`],
    ['response.output_audio.delta', 'i2', `${'QUJD'.repeat(300)}"`],
    ['response.output_audio.delta', 'i2', 'REVG'.repeat(400)],
  ] as const) {
    for (const event_id of ['e1', 'e2', 'event3', 'e"', 'e\\']) {
      const event = { type, event_id, response_id: 'r1', item_id, output_index: 0, content_index: 0, delta }
      // The id of a message is nowhere read.
      t.same({ ...read(JSON.stringify(event)), event_id: '' }, { ...event, event_id: '' })
    }
  }
  t.equal(
    read(`{"type":"response.audio.delta","item_id":"i1","delta":"${'QUJD'.repeat(400)}"}`)?.type,
    'response.output_audio.delta',
  )
  t.equal(read(`{"type":"response.output_audio.delta","delta":"${'QUJD'.repeat(400)}"`), null, 'cut short')
  t.equal(stats.malformedMessages, 1)
})
