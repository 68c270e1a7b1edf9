import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { AudioDelta } from '../../src/backends/openai-realtime/audio-delta.js'
import { MessageReader } from '../../src/backends/openai-realtime/message-reader.js'
import { parseServerEvent } from '../../src/backends/openai-realtime/wire.js'
import type { OpenAiStats } from '../../src/backends/openai-realtime/wire.js'

const audioOf = (bytes: number): string => Buffer.alloc(bytes, 'mkondo').toString('base64')

/** As the vendor's reference shows it, with the ids that its service gives. */
const vendors = (event: string, audio: string): string => `{"type":"response.output_audio.delta","event_id":"${event}",`
  + '"response_id":"resp_CQa4T4nDdP2XkYYSkJHfX","item_id":"item_CQa4TQL7nGPpWGp6s8wYb","output_index":0,"content_index":0,'
  + `"delta":"${audio}"}`

interface Fields { readonly response: unknown; readonly item: unknown; readonly index: unknown; readonly audio: string }

/** What the reader without the parser says; null where it leaves the message to it. */
function quick(reader: AudioDelta, message: Buffer): Fields | null {
  if (!reader.read(message)) return null
  const { response_id: response, item_id: item, content_index: index } = reader.event
  return { response, item, index, audio: message.toString('latin1', reader.from, reader.to) }
}

/** What the parser says of the same; null for anything but a piece of audio. */
function parsed(message: Buffer): Fields | null {
  try {
    const event = parseServerEvent(JSON.parse(message.toString()))
    if (typeof event === 'string' || event.type !== 'response.output_audio.delta') return null
    return { response: event.response_id, item: event.item_id, index: event.content_index ?? 0, audio: event.delta }
  } catch {
    return null
  }
}

t.test('a piece as the vendor writes it is read without the parser, and its ids are not made anew', async (t) => {
  const reader = new AudioDelta()
  const message = Buffer.from(vendors('event_1', audioOf(4800)))
  t.same(quick(reader, message), parsed(message))
  const { response_id: response, item_id: item } = reader.event
  for (const [event, bytes] of [['event_CQa4TnDdP2', 4800], ['e', 2], ['event_3', 0]] as const) {
    const next = Buffer.from(vendors(event, audioOf(bytes)))
    t.same(quick(reader, next), parsed(next), `${bytes} bytes`)
  }
  t.ok(reader.event.response_id === response && reader.event.item_id === item)
  const beta = Buffer.from(`{"type":"response.audio.delta","item_id":"i2","delta":"${audioOf(30)}"}`)
  t.same(quick(reader, beta), { response: undefined, item: 'i2', index: 0, audio: audioOf(30) }, 'nothing is left of the one before')
})

t.test('however it is written, it says what the parser says, or leaves it to the parser', async (t) => {
  // Mostly as it should be, and each thing now and then not.
  const mostly = <T, U>(good: fc.Arbitrary<T>, odd: fc.Arbitrary<U>): fc.Arbitrary<T | U> => fc.oneof({ weight: 12, arbitrary: good }, { weight: 1, arbitrary: odd })
  const id = mostly(fc.constantFrom('item_1', 'item_2', 'é', ''), fc.oneof(fc.constantFrom('a\\b', '"', 'x'.repeat(300)), fc.string()))
  const members = fc.record({
    type: mostly(fc.constantFrom('response.output_audio.delta', 'response.audio.delta'), fc.constantFrom('response.output_text.delta', 'error')),
    item_id: mostly(id, fc.constant(7)), delta: fc.nat(900).map(audioOf), event_id: id, response_id: mostly(id, fc.constant(null)), output_index: fc.nat(9),
    content_index: mostly(fc.nat(3), fc.constantFrom(-1, 1.5, 1e21, 1234567)),
    extra: fc.oneof(fc.string(), fc.nat(), fc.constant({ nested: 1 }), fc.constant(null), fc.constant(true)),
  }, { requiredKeys: ['type', 'item_id', 'delta'] })
  const blank = fc.constantFrom('', '', ' ', '\r\n\t')
  const reader = new AudioDelta()
  let read = 0
  fc.assert(fc.property(members, fc.array(fc.nat(), { maxLength: 8 }), fc.array(blank, { minLength: 6, maxLength: 6 }), (event, order, blanks) => {
    const missing = (order[0] ?? 1) % 40 === 0 ? 'item_id' : ''
    const entries = Object.entries(event).filter(([name]) => name !== missing).toSorted(([a], [b]) => (order[a.length % 8] ?? 0) - (order[b.length % 8] ?? 0))
    const [a, b, c, d, e, f] = blanks
    const text = `${a}{${entries.map(([name, value]) => `${b}"${name}"${c}:${d}${JSON.stringify(value)}`).join(`${e},`)}${f}}${a}`
    const message = Buffer.from(text)
    const said = quick(reader, message)
    if (said === null) return
    read++
    assert.deepEqual(said, parsed(message), text)
  }), { numRuns: 3000 })
  t.ok(read > 500, `${read} were read`)
})

t.test('a message with wrong bytes in it is never taken for one that is right', async (t) => {
  const reader = new AudioDelta()
  const good = Buffer.from(vendors('event_1', audioOf(60)))
  const cut = (message: Buffer): Buffer => Buffer.concat([message.subarray(0, reader.from), message.subarray(reader.to)])
  fc.assert(fc.property(fc.nat(good.length - 1), fc.nat(255), fc.constantFrom('put', 'add', 'take', 'end'), (at, byte, how) => {
    const rest = good.subarray(how === 'add' ? at : at + 1)
    const message = how === 'end' ? good.subarray(0, at) : Buffer.concat([good.subarray(0, at), Buffer.from(how === 'take' ? [] : [byte]), rest])
    const said = quick(reader, message)
    if (said === null) return
    // What is in the audio is the decoder's to judge; the JSON around it has to be right.
    const around = parsed(cut(message))
    assert.deepEqual({ ...said, audio: '' }, around)
  }), { numRuns: 5000 })
  t.pass()
})

t.test('a key that comes twice, an escape in the audio and an end that is none are for the parser', async (t) => {
  const reader = new AudioDelta()
  const audio = audioOf(90)
  const wrong = [
    `{"type":"response.output_audio.delta","item_id":"a","item_id":"b","delta":"${audio}"}`,
    `{"type":"response.output_audio.delta","item_id":"a","delta":"${audio}\\/AA"}`,
    `{"type":"response.output_audio.delta","item_id":"a","delta":"${audio}"}}`,
    `{"type":"response.output_audio.delta","item_id":"a","delta":"${audio}",}`,
    `{"type":"response.output_audio.delta","item_id":"a","delta":"${audio}`,
    `{"type":"response.output_audio.delta","item_id":"a","content_index":01,"delta":"${audio}"}`,
    '{"type":"response.output_audio.delta","item_id":"a"}', '{', '', '[]', '{}',
  ]
  for (const text of wrong) t.notOk(reader.read(Buffer.from(text)), text.slice(0, 80))
})

t.test('the reader of messages gives either kind the same way', async (t) => {
  const stats = { messagesIn: 0, malformedMessages: 0, malformedEvents: 0, unknownEvents: 0, oversizeMessages: 0 } as OpenAiStats
  const reader = new MessageReader(stats)
  const audio = audioOf(600)
  const usual = vendors('event_1', audio)
  const nested = usual.replace('"output_index":0', '"output_index":0,"more":{"nested":[1]}')
  for (const text of [usual, nested]) {
    const message = Buffer.from(text)
    t.match(reader.read(message), { type: 'response.output_audio.delta', response_id: 'resp_CQa4T4nDdP2XkYYSkJHfX', item_id: 'item_CQa4TQL7nGPpWGp6s8wYb', delta: '' })
    t.equal(message.toString('latin1', reader.from, reader.to), audio)
  }
  t.match(reader.read(Buffer.from(usual.replaceAll('/', '\\/').replace(audio, `${audio}\\/A`))), { delta: `${audio}/A` })
  t.equal(reader.to, 0)
  t.same(stats, { messagesIn: 3, malformedMessages: 0, malformedEvents: 0, unknownEvents: 0, oversizeMessages: 0 })
})
