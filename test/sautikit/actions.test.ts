import t from 'tap'
import fc from 'fast-check'
import { GatewayError } from '../../src/core/errors.js'
import { EMPTY_RESPONSE, voiceXml } from '../../src/sautikit/actions.js'
import type { SayAction, StreamAction, VoiceAction } from '../../src/sautikit/actions.js'
import { parseXml, type XmlTree } from '../support/xml-tree.js'

function node(
  name: string,
  attributes: Readonly<Record<string, string>> = {},
  text = '',
  children: readonly XmlTree[] = [],
): XmlTree {
  return { name, attributes, children, text }
}

function only(action: VoiceAction): XmlTree {
  const response = parseXml(voiceXml([action]))
  const [child] = response.children
  if (response.name !== 'Response' || response.children.length !== 1 || child === undefined) {
    throw new Error('expected one action')
  }
  return child
}

const STREAM: StreamAction = {
  verb: 'stream',
  url: 'wss://gw.example/audio?token=a.b.c&x=1',
  track: 'inbound_track',
  connect: true,
  samplingRateHz: 16000,
}

t.test("every action is written with the carrier's attributes", (t) => {
  const cases: readonly (readonly [VoiceAction, XmlTree])[] = [
    [
      { verb: 'say', text: 'Karibu', voice: 'woman', language: 'sw-KE' },
      node('Say', { voice: 'woman', language: 'sw-KE' }, 'Karibu'),
    ],
    [
      STREAM,
      node('Stream', {
        url: STREAM.url,
        track: 'inbound_track',
        connect: 'true',
        outputSamplingRate: '16000',
        bidirectionalSamplingRate: '16000',
      }),
    ],
    [
      {
        ...STREAM,
        samplingRateHz: 8000,
        connect: false,
        name: 'order-status',
        openMetadata: '{"a":1}',
        headerMetadata: { 'x-a': '"&<' },
        statusCallback: 'https://gw.example/stream-status?token=t',
        statusEvents: ['stream-started', 'stream-stopped', 'stream-error'],
      },
      node('Stream', {
        name: 'order-status',
        url: STREAM.url,
        track: 'inbound_track',
        connect: 'false',
        outputSamplingRate: '8000',
        bidirectionalSamplingRate: '8000',
        openMetadata: '{"a":1}',
        headerMetadata: '{"x-a":"\\"&<"}',
        statusCallback: 'https://gw.example/stream-status?token=t',
        statusEvents: 'stream-started stream-stopped stream-error',
      }),
    ],
    [{ ...STREAM, headerMetadata: {}, statusEvents: [] }, only(STREAM)],
    [
      { verb: 'dial', numbers: ['+254700000001'], callerId: '+254700000002', timeoutS: 30 },
      node('Dial', { callerId: '+254700000002', timeout: '30' }, '', [node('Number', {}, '+254700000001')]),
    ],
    [
      { verb: 'dial', numbers: ['+254700000001', '+254700000003'], timeoutS: 20 },
      node('Dial', { timeout: '20', phoneNumbers: '+254700000001,+254700000003' }),
    ],
    [
      {
        verb: 'get-digits',
        numDigits: 1,
        timeoutS: 5,
        nested: [{ verb: 'say', text: 'Press 1' }],
      },
      node('GetDigits', { maxDigits: '1', timeout: '5' }, '', [node('Say', {}, 'Press 1')]),
    ],
    [{ verb: 'get-digits', nested: [] }, node('GetDigits')],
    [
      {
        verb: 'conference',
        name: 'room-1',
        startOnEnter: true,
        endOnExit: false,
        beep: false,
      },
      node(
        'Conference',
        {
          startOnEnter: 'true',
          endOnExit: 'false',
          beep: 'false',
        },
        'room-1',
      ),
    ],
    [
      { verb: 'redirect', url: 'http://127.0.0.1:8080/after-stream?token=t', method: 'POST' },
      node('Redirect', { method: 'POST' }, 'http://127.0.0.1:8080/after-stream?token=t'),
    ],
    [{ verb: 'reject' }, node('Reject')],
    [{ verb: 'reject', reason: 'busy' }, node('Reject', { reason: 'busy' })],
    [{ verb: 'hangup' }, node('Hangup')],
  ]
  for (const [action, expected] of cases) t.strictSame(only(action), expected, action.verb)
  t.end()
})

t.test("the usual document matches the carrier's own", (t) => {
  const xml = voiceXml([STREAM, { verb: 'redirect', url: 'https://gw.example/after-stream', method: 'POST' }])
  t.equal(
    xml,
    '<?xml version="1.0" encoding="UTF-8"?><Response>' +
      '<Stream url="wss://gw.example/audio?token=a.b.c&amp;x=1" track="inbound_track" connect="true" ' +
      'outputSamplingRate="16000" bidirectionalSamplingRate="16000"/>' +
      '<Redirect method="POST">https://gw.example/after-stream</Redirect></Response>',
  )
  t.equal(voiceXml([]), '<Response></Response>')
  t.equal(EMPTY_RESPONSE, '<Response></Response>')
  t.end()
})

t.test('the order of the actions is kept', (t) => {
  const actions = Array.from({ length: 50 }, (_, i): SayAction => ({ verb: 'say', text: `sentence ${i}` }))
  t.strictSame(
    parseXml(voiceXml(actions)).children.map((child) => child.text),
    actions.map((action) => action.text),
  )
  t.end()
})

t.test('an action that the carrier would reject is refused', (t) => {
  const say: SayAction = { verb: 'say', text: 'x' }
  const cases: readonly (readonly [string, readonly VoiceAction[], RegExp])[] = [
    ['51 actions', Array.from({ length: 51 }, () => say), /51 actions.*at most 50/],
    ['51 prompts', [{ verb: 'get-digits', nested: Array.from({ length: 51 }, () => say) }], /51 prompts/],
    ['nothing to say', [say, { verb: 'say', text: ' \n' }], /action 2 \(say\) has an empty text/],
    ['only forbidden characters', [{ verb: 'say', text: '\u0000\ufffe' }], /empty text/],
    ['nothing to say inside', [{ verb: 'get-digits', nested: [{ verb: 'say', text: '' }] }], /prompt 1 \(say\)/],
    ['no conference name', [{ verb: 'conference', name: '' }], /empty name/],
    ['nobody to dial', [{ verb: 'dial', numbers: [] }], /no number/],
    ['no E.164', [{ verb: 'dial', numbers: ['+254700000001', '07 00'] }], /number 2 is not E.164/],
    ['two numbers in one', [{ verb: 'dial', numbers: ['+254700000001,+254700000002'] }], /number 1/],
    ['a bad caller', [{ verb: 'dial', numbers: ['+254700000001'], callerId: 'me' }], /callerId/],
    ['no time to ring', [{ verb: 'dial', numbers: ['+254700000001'], timeoutS: 0 }], /timeoutS 0/],
    ['half a digit', [{ verb: 'get-digits', numDigits: 1.5, nested: [] }], /numDigits 1.5/],
    ['not a number', [{ verb: 'get-digits', timeoutS: NaN, nested: [] }], /timeoutS NaN/],
    ['no URL', [{ verb: 'redirect', url: '' }], /url is not an absolute/],
    ['a relative URL', [{ verb: 'redirect', url: '/after-stream' }], /absolute/],
    ['another scheme', [{ verb: 'redirect', url: 'file:///etc/passwd' }], /http or https/],
    ['a space in a URL', [{ verb: 'redirect', url: 'https://a.example/a b' }], /escaped/],
    ['half an escape', [{ verb: 'redirect', url: 'https://a.example/%4' }], /escaped/],
    ['a long URL', [{ verb: 'redirect', url: `https://a.example/${'a'.repeat(4096)}` }], /4096 bytes/],
    ['a stream over http', [{ ...STREAM, url: 'https://gw.example/audio' }], /ws or wss/],
    ['a stream URL without a path', [{ ...STREAM, url: 'wss://gw.example' }], /no path/],
    ['a query straight after the host', [{ ...STREAM, url: 'wss://gw.example?token=1' }], /no path/],
    ['a fragment', [{ ...STREAM, url: 'wss://gw.example/audio#x' }], /fragment/],
    ['a user in the URL', [{ ...STREAM, url: 'wss://me@gw.example/audio' }], /user/],
    ['a long host', [{ ...STREAM, url: `wss://${'a'.repeat(513)}/audio` }], /host is longer than 512/],
    ['a long path', [{ ...STREAM, url: `wss://gw.example/${'a'.repeat(4096)}` }], /longer than 4096/],
    ['much metadata', [{ ...STREAM, openMetadata: 'é'.repeat(4097) }], /8194 bytes; at most 8192/],
    [
      'much metadata together',
      [{ ...STREAM, openMetadata: 'a'.repeat(5000), headerMetadata: { a: 'b'.repeat(5000) } }],
      /at most 8192/,
    ],
    ['a bad callback', [{ ...STREAM, statusCallback: 'ftp://x' }], /statusCallback/],
  ]
  for (const [name, actions, message] of cases) {
    try {
      t.fail(`${name}: ${voiceXml(actions)}`)
    } catch (thrown) {
      if (!(thrown instanceof GatewayError)) throw thrown
      t.equal(thrown.code, 'XML_INVALID', name)
      t.match(thrown.message, message, name)
      t.notMatch(thrown.message, /2547/, `${name}: no number in the message`)
    }
  }
  t.doesNotThrow(() =>
    voiceXml([
      { ...STREAM, url: `wss://${'a'.repeat(500)}.example/${'a'.repeat(4095)}`, openMetadata: 'a'.repeat(8192) },
    ]),
  )
  t.end()
})

/** Part of a text that must come back: everything that XML 1.0 can hold. */
function representable(text: string): string {
  let kept = ''
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0
    const fine =
      code === 0x9 ||
      code === 0xa ||
      code === 0xd ||
      (code >= 0x20 && code <= 0xd7ff) ||
      (code >= 0xe000 && code <= 0xfffd) ||
      code >= 0x10000
    if (fine) kept += character
  }
  return kept
}

const hostileWord = fc.constantFrom(
  '"><Dial><Number>+254700000001</Number></Dial>',
  ']]>',
  '<![CDATA[',
  '<!--',
  '-->',
  '<?x ?>',
  '&amp;',
  '&lt;',
  '&#0;',
  '&#x41;',
  '&nbsp;',
  '&',
  '<',
  '>',
  '"',
  "'",
  '\r',
  '\n',
  '\t',
  '\r\n',
  '\u0000',
  '\u0001',
  '\u001f',
  '\u007f',
  '\u0085',
  '\u2028',
  '\ud800',
  '\udc00',
  '\udc00\ud800',
  '\u{1F600}',
  '\ufffe',
  '\uffff',
  '\ufeff',
  '\u{10FFFF}',
  ' ',
  'habari',
  '</Response>',
  '<!DOCTYPE x [<!ENTITY a "b">]>',
)
/** Any UTF-16 at all, half of it made of pieces that break careless writers. */
const hostileText = fc.oneof(
  fc.array(hostileWord, { minLength: 1, maxLength: 12 }).map((words) => words.join('')),
  fc
    .array(fc.integer({ min: 0, max: 0xffff }), { minLength: 1, maxLength: 30 })
    .map((units) => String.fromCharCode(...units)),
)
const spokenText = hostileText.filter((text) => representable(text).trim() !== '')

t.test('no text or attribute can leave its place', (t) => {
  let cases = 0
  fc.assert(
    fc.property(
      fc.array(fc.tuple(spokenText, hostileText, hostileText), { minLength: 1, maxLength: 3 }),
      hostileText,
      (says, metadata) => {
        const actions: VoiceAction[] = [
          ...says.map(([text, voice, language]): VoiceAction => ({ verb: 'say', text, voice, language })),
          { ...STREAM, name: metadata, openMetadata: metadata, headerMetadata: { [`k${metadata}`]: metadata } },
          { verb: 'conference', name: `x${metadata}` },
        ]
        cases += actions.length
        const expected = [
          ...says.map(([text, voice, language]) =>
            node('Say', { voice: representable(voice), language: representable(language) }, representable(text)),
          ),
          node('Stream', {
            name: representable(metadata),
            url: STREAM.url,
            track: 'inbound_track',
            connect: 'true',
            outputSamplingRate: '16000',
            bidirectionalSamplingRate: '16000',
            openMetadata: representable(metadata),
            headerMetadata: representable(JSON.stringify({ [`k${metadata}`]: metadata })),
          }),
          node('Conference', {}, representable(`x${metadata}`)),
        ]
        const parsed = parseXml(voiceXml(actions))
        return JSON.stringify(parsed) === JSON.stringify(node('Response', {}, '', expected))
      },
    ),
    { numRuns: 1000 },
  )
  t.ok(cases >= 2_500, `${cases} elements compared`)
  t.end()
})

t.test('ten kilobytes of any text survive unchanged', (t) => {
  for (const piece of ['"><Dial>', ']]>', '&amp;', '\u{1F600}', '\r\n', 'a']) {
    const text = `x${piece.repeat(10_240 / piece.length)}`
    t.equal(only({ verb: 'say', text }).text, text, JSON.stringify(piece))
  }
  t.end()
})
