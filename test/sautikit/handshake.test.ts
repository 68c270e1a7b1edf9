import t from 'tap'
import { handshakeMetadata, offersSubprotocol } from '../../src/sautikit/stream-messages.js'

t.test('the offered subprotocol is found in its list and echoed as it is', (t) => {
  const cases: readonly (readonly [string | undefined, string | null])[] = [
    ['audio.drachtio.org', 'audio.drachtio.org'],
    ['audio.jambonz.org', 'audio.jambonz.org'],
    ['chat, audio.drachtio.org', 'audio.drachtio.org'],
    ['audio.jambonz.org,\taudio.drachtio.org', 'audio.drachtio.org'],
    [undefined, null],
    ['', null],
    ['audio.drachtio.org.evil.example', null],
    ['xaudio.drachtio.org', null],
    ['Audio.Drachtio.org', null],
    ['audio.drachtio.org;q=1', null],
    ['audio drachtio org', null],
    [`audio.drachtio.org,${'x'.repeat(2000)}`, null],
  ]
  for (const [header, expected] of cases) t.equal(offersSubprotocol(header), expected, String(header).slice(0, 60))
  t.end()
})

t.test('a handshake without metadata has none', (t) => {
  // What the PBX's own client sends, and nothing else.
  const headers: readonly (readonly [string, string])[] = [
    ['pragma', 'no-cache'],
    ['cache-control', 'no-cache'],
    ['host', '127.0.0.1'],
    ['origin', 'http://127.0.0.1'],
    ['upgrade', 'websocket'],
    ['connection', 'Upgrade'],
    ['sec-websocket-key', 'x'],
    ['sec-websocket-protocol', 'audio.drachtio.org'],
    ['sec-websocket-version', '13'],
  ]
  t.strictSame(handshakeMetadata(headers), { callSid: null, headers: {} })
  t.end()
})

t.test('metadata that came as headers is kept, secrets and proxy headers are not', (t) => {
  const { callSid, headers } = handshakeMetadata([
    ['X-Tenant', 'shop'],
    ['X-Sautikit-Call-Sid', 'HD_0a8d5911d055'],
    ['Authorization', 'Basic x'],
    ['Cookie', 'a=b'],
    ['X-Forwarded-For', '192.0.2.1'],
    ['x-empty', undefined],
    ['__proto__', 'x'],
  ])
  t.equal(callSid, 'HD_0a8d5911d055')
  t.strictSame(headers, { 'x-tenant': 'shop', 'x-sautikit-call-sid': 'HD_0a8d5911d055' })
  for (const name of ['callSid', 'call-sid', 'session_id', 'x-call-id']) {
    t.equal(handshakeMetadata([[name, 'HD_1']]).callSid, 'HD_1', name)
  }
  t.equal(handshakeMetadata([['call-sid', 'a b']]).callSid, null)
  const many = Array.from({ length: 500 }, (_, i) => [`x-${i}`, 'v'] as const)
  t.equal(Object.keys(handshakeMetadata(many).headers).length, 64)
  t.end()
})
