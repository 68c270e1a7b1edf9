import t from 'tap'
import fc from 'fast-check'
import { TEXT_FRAME_BYTES_MAX } from '../../src/core/limits.js'
import { KILL_AUDIO, TEXT_FRAME_MESSAGES_MAX, parseStreamText } from '../../src/sautikit/stream-messages.js'
import type { StreamText } from '../../src/sautikit/stream-messages.js'
import { anyText } from '../support/any-text.js'

const SID = 'HD_0a8d5911d055'
type Metadata = Extract<StreamText, { type: 'metadata' }>

/** The metadata of a first frame that holds nothing else. */
function metadata(frame: unknown): Metadata {
  const text = typeof frame === 'string' ? frame : JSON.stringify(frame)
  const [message, ...others] = parseStreamText(text, true)
  if (message?.type !== 'metadata' || others.length > 0) throw new Error(`not metadata: ${JSON.stringify(message)}`)
  return message
}

t.test('the first frame is parsed in every shape', (t) => {
  const cases: readonly (readonly [string, unknown, string | null])[] = [
    ['ids on top', { sessionId: SID, streamSid: 'ST_1', callerNumber: '254700000001' }, SID],
    ...['callSid', 'sessionId', 'call_sid', 'call_id', 'CallSid', 'callId'].map(
      (name) => [name, { [name]: SID }, SID] as const,
    ),
    ['ids in metadata', { metadata: { callSid: SID, a: 1 } }, SID],
    ['ids in openMetadata', { streamSid: 'ST_1', openMetadata: { call_id: SID } }, SID],
    ['openMetadata as a string of JSON', { openMetadata: `{"callSid":"${SID}"}` }, SID],
    ['openMetadata as words', { streamSid: 'ST_1', openMetadata: 'hello' }, null],
    ['metadata as words', { streamSid: 'ST_1', metadata: 'hello' }, null],
    ['ids in headers', { headers: { callSid: SID, 'X-Tenant': 'shop' } }, SID],
    ['headers as a string of JSON', { headers: `{"x":"y","o":{},"callSid":"${SID}"}` }, SID],
    ["the carrier's word before ours", { callSid: SID, openMetadata: { callSid: 'HD_other' } }, SID],
    ['an unusable id', { callSid: '../x', streamSid: 'a b' }, null],
    ['with a type', { type: 'metadata', callSid: SID }, SID],
    ['an event name', { event: 'start', callSid: SID }, SID],
    ['no key we know', { customer: 7 }, null],
    ['an empty object', {}, null],
  ]
  for (const [name, frame, callSid] of cases) t.equal(metadata(frame).callSid, callSid, name)
  for (const opaque of ['hello', 'order 8842', '[1,2]', '"x"', '42', '{"half":', '{not json}', 'null'])
    t.strictSame(metadata(opaque), { type: 'metadata', callSid: null }, opaque)
  t.end()
})

t.test('several objects in one frame are several messages', (t) => {
  const mark = '{"type":"mark","data":{"name":"m}{1","event":"playout"}}'
  const first = parseStreamText(`{"callSid":"${SID}","openMetadata":"}{\\"{"}${mark} \n {"type":"x"}`, true)
  t.strictSame(
    first.map((message) => message.type),
    ['metadata', 'mark', 'unknown'],
  )
  t.match(first[0], { callSid: SID })
  t.match(first[1], { name: 'm}{1', event: 'playout' })
  t.strictSame(parseStreamText(`${mark}${mark}`, false).length, 2)
  t.strictSame(
    parseStreamText(`${mark}{"callSid":"${SID}"}`, true).map((message) => message.type),
    ['mark', 'metadata'],
  )
  t.strictSame(
    parseStreamText(`${mark}oops`, false).map((message) => message.type),
    ['mark', 'garbage'],
  )
  t.strictSame(
    parseStreamText('{}'.repeat(TEXT_FRAME_MESSAGES_MAX + 5), false).map((message) => message.type),
    [...Array.from({ length: TEXT_FRAME_MESSAGES_MAX }, () => 'unknown'), 'garbage'],
  )
  t.end()
})

t.test('marks, digits and unknown types are distinguished', (t) => {
  const cases: readonly (readonly [unknown, StreamText])[] = [
    [
      { type: 'mark', data: { name: 'm1', event: 'playout' } },
      { type: 'mark', name: 'm1', event: 'playout' },
    ],
    [
      { type: 'mark', data: { name: 'm1', event: 'cleared' } },
      { type: 'mark', name: 'm1', event: 'cleared' },
    ],
    [
      { type: 'mark', data: { name: 'm1', event: 'other' } },
      { type: 'unknown', name: 'mark' },
    ],
    [{ type: 'mark' }, { type: 'unknown', name: 'mark' }],
    [
      { event: 'dtmf', dtmf: '5', duration: '1600' },
      { type: 'dtmf', digit: '5' },
    ],
    [
      { event: 'dtmf', dtmf: { digit: '#' } },
      { type: 'dtmf', digit: '#' },
    ],
    [
      { type: 'dtmf', data: { digit: 'a' } },
      { type: 'dtmf', digit: 'A' },
    ],
    [
      { type: 'dtmf', digit: 7 },
      { type: 'dtmf', digit: '7' },
    ],
    [
      { type: 'dtmf', digit: '77' },
      { type: 'unknown', name: 'dtmf' },
    ],
    [
      { type: 'transcription', text: 'x' },
      { type: 'unknown', name: 'transcription' },
    ],
    [{ type: 'a b\u0000'.repeat(100) }, { type: 'unknown', name: 'ab'.repeat(32) }],
    [{ hello: 1 }, { type: 'unknown', name: '' }],
    [{ type: { type: 'mark' } }, { type: 'unknown', name: '' }],
  ]
  for (const [frame, expected] of cases)
    t.strictSame(parseStreamText(JSON.stringify(frame), false), [expected], JSON.stringify(frame))
  t.strictSame(parseStreamText('hello', false), [{ type: 'garbage' }])
  t.strictSame(parseStreamText('[{"type":"dtmf","digit":"1"}]', false), [{ type: 'garbage' }])
  for (const blank of ['', ' \r\n']) t.strictSame(parseStreamText(blank, true), [])
  t.end()
})

t.test('an oversized or too deep frame is rejected', (t) => {
  const padded = (size: number): string => `{"callSid":"${SID}","a":"${'x'.repeat(size - 36)}"}`
  t.equal(padded(100).length, 100)
  t.equal(metadata(padded(TEXT_FRAME_BYTES_MAX)).callSid, SID, 'the largest')
  t.strictSame(parseStreamText(padded(TEXT_FRAME_BYTES_MAX + 1), true), [{ type: 'garbage' }])
  t.strictSame(
    parseStreamText('é'.repeat(TEXT_FRAME_BYTES_MAX / 2 + 1), true),
    [{ type: 'garbage' }],
    'bytes count, not characters',
  )
  const nested = (depth: number): string => `{"callSid":"${SID}","a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
  t.equal(metadata(nested(8)).callSid, SID, 'the deepest')
  t.strictSame(parseStreamText(nested(9), true), [{ type: 'garbage' }])
  t.strictSame(parseStreamText('{"a":'.repeat(1500), true), [{ type: 'garbage' }])
  t.match(
    metadata({ callSid: SID, openMetadata: '{"a":'.repeat(20) }),
    { callSid: SID },
    'also inside a string it only costs the string',
  )
  t.end()
})

t.test('a SID from a prototype is ignored', (t) => {
  t.equal(metadata(`{"headers":{"__proto__":"x","a":"b"},"__proto__":{"callSid":"${SID}"}}`).callSid, null)
  t.equal(({} as Record<string, unknown>)['a'], undefined)
  t.end()
})

t.test("a flush has the form that the carrier's PBX reads", (t) => {
  t.strictSame(JSON.parse(KILL_AUDIO), { type: 'killAudio' })
  t.end()
})

t.test('no frame makes the parser throw', (t) => {
  const types = new Set(['metadata', 'mark', 'dtmf', 'unknown', 'garbage'])
  const piece = fc.oneof(
    fc.json({ maxDepth: 5 }),
    anyText(30),
    fc.constantFrom(
      '{',
      '}',
      '"',
      '\\',
      '[',
      ']',
      '{}',
      '{"type":"mark"',
      '{"type":"dtmf","digit":"1"}',
      '{"headers":',
      '"__proto__":',
      '\\"',
    ),
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), fc.boolean(), (pieces, isFirst) => {
      const messages = parseStreamText(pieces.join(''), isFirst)
      return (
        messages.length <= TEXT_FRAME_MESSAGES_MAX + 1 &&
        messages.every((message) => types.has(message.type)) &&
        messages.filter((message) => message.type === 'metadata').length <= (isFirst ? 1 : 0)
      )
    }),
    { numRuns: 1000 },
  )
  t.pass('1,000 frames')
  t.end()
})

t.test('concatenated objects are separated where they were joined', (t) => {
  const object = fc.dictionary(anyText(6), anyText(12), { maxKeys: 4 })
  fc.assert(
    fc.property(fc.array(object, { minLength: 1, maxLength: 10 }), fc.constantFrom('', ' ', '\n'), (objects, gap) => {
      const frame = objects.map((value) => JSON.stringify({ ...value, type: 'note' })).join(gap)
      return (
        parseStreamText(frame, false).every((message) => message.type === 'unknown' && message.name === 'note') &&
        parseStreamText(frame, false).length === objects.length
      )
    }),
    { numRuns: 1000 },
  )
  t.pass('1,000 frames')
  t.end()
})
