import fc from 'fast-check'
import t from 'tap'
import { parseCallSid } from '../../src/core/ids.js'
import { mayVerify, type SignatureResult, verifySignature } from '../../src/sautikit/signature.js'
import { handshakeMetadata, offersSubprotocol } from '../../src/sautikit/stream-messages.js'
import { checkToken, mintToken, type TokenClaims } from '../../src/sautikit/token.js'
import { signBody } from '../support/sign-body.js'
import { anyText } from '../support/any-text.js'

const SECRET = 'whsec_test_only'
const BODY = new TextEncoder().encode('{"kind":"call.completed","event_id":"evt_1"}')
const T = 1751000000
const V1 = '2b7745e15963caed3cf3b60d400915624bb5d780b9b30bb24232275ec4740e82'
const BARE = '77bbf4495337d6aac7a7e2b48b89663b47ba75a2a670f7e0b1f4e9fc83c02c40'
const OTHER = 'f'.repeat(64)

function check(
  header: string | undefined,
  options: {
    secrets?: readonly string[]
    nowS?: number
    body?: Uint8Array
    skewS?: number
    acceptBare?: boolean
  } = {},
): SignatureResult {
  return verifySignature({ header, body: BODY, secrets: [SECRET], nowS: T, ...options })
}

t.test('the published vectors verify and are reproduced', (t) => {
  t.equal(check(`t=${T},v1=${V1}`), 'ok')
  t.equal(check(BARE, { acceptBare: true }), 'ok')
  t.equal(signBody({ body: BODY, secret: SECRET, timestampS: T }), `t=${T},v1=${V1}`)
  t.equal(signBody({ body: BODY, secret: SECRET, timestampS: null }), BARE)
  t.end()
})

t.test('headers changed by a proxy or a rotation are parsed', (t) => {
  t.equal(check(` v1=${V1.toUpperCase()} , t=${T} `), 'ok', 'order, case and spaces')
  t.equal(check(`t=${T},v1=${OTHER},v1=${V1}`), 'ok', 'several v1')
  t.equal(check(`t=${T},v0=abc,v1=${V1},v2=zzz`), 'ok', 'versions we do not know')
  t.equal(check(`t=${T},v1=${V1}`, { secrets: ['old', SECRET, 'next'] }), 'ok', 'several secrets')
  t.end()
})

t.test("the result names the signature's fault", (t) => {
  const cases: readonly (readonly [string | undefined, SignatureResult])[] = [
    [undefined, 'missing'],
    ['', 'missing'],
    ['  ', 'missing'],
    ['hello', 'malformed'],
    [`t=${T}`, 'malformed'],
    [`v1=${V1}`, 'malformed'],
    [`t=x,v1=${V1}`, 'malformed'],
    [`t=-1,v1=${V1}`, 'malformed'],
    [`t=1e9,v1=${V1}`, 'malformed'],
    [`t=${T},t=${T},v1=${V1}`, 'malformed'],
    [`t=${T},v1=${V1.slice(1)}`, 'malformed'],
    [`t=${T},v1=${V1}0`, 'malformed'],
    [`t=${T},v1=`, 'malformed'],
    [`t=${T},v1`, 'malformed'],
    [BARE.slice(2), 'malformed'],
    [`${BARE},${BARE}`, 'malformed'],
    [`t=${T},${`v1=${OTHER},`.repeat(8)}v1=${V1}`, 'malformed'],
    [`t=${T},v1=${V1},${'x=y,'.repeat(1000)}z=z`, 'malformed'],
    [`t=${T},v1=${OTHER}`, 'mismatch'],
    [`t=${T + 1},v1=${V1}`, 'mismatch'],
    [`t=${T},v1=${BARE}`, 'mismatch'],
    [`t=0${T},v1=${V1}`, 'mismatch'],
  ]
  for (const [header, result] of cases) t.equal(check(header), result, header ?? 'no header')
  t.equal(check(`t=${T},v1=${V1}`, { body: BODY.subarray(1) }), 'mismatch', 'another body')
  t.equal(check(`t=${T},v1=${V1}`, { secrets: [] }), 'mismatch', 'no secret')
  t.equal(
    check(signBody({ body: BODY, secret: '', timestampS: T }), { secrets: [''] }),
    'mismatch',
    'an empty secret signs nothing',
  )
  for (const header of [BARE, V1, OTHER])
    t.equal(check(header), 'bare-refused', 'the bare form where nobody asked for it')
  for (const header of [V1, OTHER]) t.equal(check(header, { acceptBare: true }), 'mismatch', 'a bare form of nothing')
  t.end()
})

t.test('a signature is valid for five minutes either way', (t) => {
  const header = `t=${T},v1=${V1}`
  for (const [nowS, result] of [
    [T - 301, 'stale'],
    [T - 300, 'ok'],
    [T + 300, 'ok'],
    [T + 301, 'stale'],
  ] as const) {
    t.equal(check(header, { nowS }), result, String(nowS - T))
  }
  t.equal(check(header, { nowS: T + 11, skewS: 10 }), 'stale')
  t.equal(check(`t=${T},v1=${OTHER}`, { nowS: T + 9999 }), 'mismatch', 'a wrong guess learns nothing about the clock')
  t.equal(check(BARE, { nowS: T + 9999, acceptBare: true }), 'ok', 'the bare form has no time')
  t.end()
})

t.test('a bare signature that could be dated is refused', (t) => {
  const checkBare = (text: string): SignatureResult => {
    const body = new TextEncoder().encode(text)
    return check(signBody({ body, secret: SECRET, timestampS: null }), { body, acceptBare: true })
  }
  for (const text of ['a=b.1', 'a=b.123456789012', `{"a":1}.${T}`, '.1751000000', 'a=1.5', 'a=b.1790000000000000000']) {
    t.equal(checkBare(text), 'bare-ambiguous', text)
  }
  for (const text of ['', '.', '5', '1751000000', 'a=b.', 'a=b.5x', 'a=b.5 ', 'a=b.-5', '{"a":1.5}', 'a=b,5'])
    t.equal(checkBare(text), 'ok', text)
  t.end()
})

t.test('a dated signature excludes bare ones of its secret', (t) => {
  const datedSecrets = new Set<string>()
  const options = { secrets: ['other', SECRET], acceptBare: true, datedSecrets }
  t.equal(check(BARE, options), 'ok')
  t.equal(check(`t=${T},v1=${OTHER}`, options), 'mismatch')
  t.same([...datedSecrets], [], 'a guess teaches nothing')
  t.equal(check(`t=${T},v1=${V1}`, options), 'ok')
  t.same([...datedSecrets], [SECRET])
  t.equal(check(BARE, options), 'bare-refused')
  t.end()
})

t.test('a header is prechecked without a secret', (t) => {
  for (const [header, nowS, acceptBare, may] of [
    [`t=${T},v1=${OTHER}`, T, false, true],
    [`t=${T},v1=${OTHER}`, T + 301, false, false],
    [undefined, T, true, false],
    ['nonsense', T, true, false],
    [OTHER, T, false, false],
    [OTHER, T, true, true],
  ] as const)
    t.equal(mayVerify({ header, nowS, acceptBare }), may, header ?? 'no header')
  t.end()
})

t.test('a signature verifies until one bit changes', (t) => {
  const arbitrary = fc.tuple(fc.uint8Array({ maxLength: 300 }), fc.string({ minLength: 1 }), fc.boolean(), fc.nat())
  fc.assert(
    fc.property(arbitrary, ([body, secret, bare, at]) => {
      const header = signBody({ body, secret, timestampS: bare ? null : T })
      const ambiguous = bare && /\.[0-9]+$/.test(Buffer.from(body).toString('latin1'))
      const good =
        verifySignature({ header, body, secrets: ['another', secret], nowS: T, acceptBare: true }) ===
        (ambiguous ? 'bare-ambiguous' : 'ok')
      const changed = Uint8Array.from([...body, 0])
      const i = at % changed.length
      changed[i] = (changed[i] ?? 0) ^ (1 << (at % 8))
      return (
        good &&
        ['mismatch', 'bare-ambiguous'].includes(
          verifySignature({ header, body: changed, secrets: [secret], nowS: T, acceptBare: true }),
        )
      )
    }),
    { numRuns: 1000 },
  )
  t.pass('1,000 bodies')
  t.end()
})

t.test('no header makes the check throw', (t) => {
  fc.assert(
    fc.property(
      fc.oneof(anyText(), fc.string({ unit: fc.constantFrom('t', '=', 'v', '1', ',', 'a', '0', ' ') })),
      (header) => check(header) !== 'ok',
    ),
    { numRuns: 1000 },
  )
  t.pass('1,000 headers')
  t.end()
})

const SECRETS = ['a-secret-shared-by-the-fleet']
const CLAIMS: TokenClaims = {
  callSid: parseCallSid('HD_0a8d5911d055'),
  purpose: 'audio',
  expiresAtS: T + 60,
  nonce: 'q83vEjRWeJA',
  epoch: 3,
}
const TOKEN = mintToken(SECRETS, CLAIMS)

t.test('a token identifies its call until it expires', (t) => {
  t.strictSame(checkToken(SECRETS, TOKEN, { purpose: 'audio', nowS: T }), { result: 'ok', ...CLAIMS })
  t.equal(checkToken(SECRETS, TOKEN, { purpose: 'audio', nowS: T + 60 }).result, 'ok')
  t.equal(checkToken(SECRETS, TOKEN, { purpose: 'audio', nowS: T + 61 }).result, 'expired')
  t.end()
})

t.test('tokens of both secrets are accepted during a replacement', (t) => {
  const want = { purpose: 'audio', nowS: T } as const
  const old = SECRETS[0] ?? ''
  const next = 'the-secret-that-follows-it'
  const both = mintToken([next, old], CLAIMS)
  t.equal(checkToken([next], both, want).result, 'ok')
  t.equal(checkToken([old], both, want).result, 'mismatch')
  for (const token of [TOKEN, both]) t.strictSame(checkToken([next, old], token, want), { result: 'ok', ...CLAIMS })
  t.equal(checkToken([next, 'a third one'], TOKEN, want).result, 'mismatch', 'and none after the rotation')
  t.end()
})

t.test('a token of the earlier format is refused', (t) => {
  const before = TOKEN.replace(/^(a\.[^.]+)\.3\./, '$1.')
  t.equal(before.split('.').length, 5)
  t.equal(checkToken(SECRETS, before, { purpose: 'audio', nowS: T }).result, 'malformed')
  t.end()
})

t.test('a token is short and needs no escaping in URLs', (t) => {
  t.equal(encodeURIComponent(TOKEN), TOKEN)
  t.ok(TOKEN.length <= 64, `${TOKEN.length} characters`)
  t.end()
})

t.test("the result names the token's fault", (t) => {
  const want = { purpose: 'audio', nowS: T } as const
  for (const nothing of [undefined, null, '']) t.equal(checkToken(SECRETS, nothing, want).result, 'missing')
  for (const junk of [
    'x',
    TOKEN.slice(1),
    `${TOKEN}A`,
    TOKEN.replace('.', ','),
    `x${TOKEN.slice(1)}`,
    'a'.repeat(10_000),
    '....',
  ]) {
    t.equal(checkToken(SECRETS, junk, want).result, 'malformed', junk.slice(0, 20))
  }
  t.equal(checkToken(['another secret'], TOKEN, want).result, 'mismatch')
  t.equal(checkToken(SECRETS, `s${TOKEN.slice(1)}`, { purpose: 'stream-status', nowS: T }).result, 'mismatch')
  t.equal(checkToken(SECRETS, TOKEN, { purpose: 'after-stream', nowS: T }).result, 'wrong-purpose')
  t.equal(checkToken(SECRETS, TOKEN, { ...want, callSid: 'HD_other' }).result, 'wrong-call')
  t.equal(checkToken(SECRETS, TOKEN, { ...want, callSid: CLAIMS.callSid }).result, 'ok')
  t.equal(checkToken(SECRETS, TOKEN, { ...want, nowS: T + 999, callSid: 'HD_other' }).result, 'wrong-call')
  t.end()
})

t.test('a token with any character changed is refused', (t) => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.'
  for (let i = 0; i < TOKEN.length; i++) {
    for (const letter of alphabet) {
      if (letter === TOKEN[i]) continue
      const { result } = checkToken(SECRETS, TOKEN.slice(0, i) + letter + TOKEN.slice(i + 1), {
        purpose: 'audio',
        nowS: T,
      })
      if (result !== 'mismatch' && result !== 'malformed') t.fail(`character ${i} as ${letter}: ${result}`)
    }
  }
  t.pass('every change is noticed, also in the spare bits of the last character')
  t.end()
})

t.test('claims are returned unchanged', (t) => {
  const word = fc.stringMatching(/^[A-Za-z0-9_-]{8,32}$/)
  fc.assert(
    fc.property(
      word,
      word,
      fc.constantFrom('audio', 'stream-status', 'after-stream'),
      fc.integer({ min: T, max: 2 ** 40 }),
      fc.integer({ min: 0, max: 2 ** 40 }),
      (sid, nonce, purpose, expiresAtS, epoch) => {
        const claims = { callSid: parseCallSid(sid), nonce, purpose, expiresAtS, epoch } as const
        const checked = checkToken(SECRETS, mintToken(SECRETS, claims), { purpose, nowS: T, callSid: sid })
        return (
          checked.result === 'ok' &&
          checked.callSid === sid &&
          checked.nonce === nonce &&
          checked.expiresAtS === expiresAtS &&
          checked.epoch === epoch
        )
      },
    ),
    { numRuns: 1000 },
  )
  t.pass('1,000 tokens')
  t.end()
})

t.test('invalid claims or secrets are not signed', (t) => {
  t.throws(() => mintToken([], CLAIMS), /secret/)
  t.throws(() => checkToken([], TOKEN, { purpose: 'audio', nowS: T }), /secret/)
  t.throws(() => mintToken(SECRETS, { ...CLAIMS, nonce: 'a.b' }), /alphabets/)
  t.throws(() => mintToken(SECRETS, { ...CLAIMS, expiresAtS: T + 0.5 }), /whole second/)
  t.throws(() => mintToken(SECRETS, { ...CLAIMS, epoch: -1 }), /whole number/)
  t.throws(() => checkToken([...SECRETS, ''], TOKEN, { purpose: 'audio', nowS: T }), /secret/)
  t.end()
})

t.test('the offered subprotocol is echoed as it is', (t) => {
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

t.test('a handshake without metadata yields none', (t) => {
  // Headers that the PBX's own client sends, and no others.
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
  t.equal(handshakeMetadata(headers), null)
  t.end()
})

t.test('header metadata excludes secrets and proxy headers', (t) => {
  const others = [
    ['Authorization', 'Basic x'],
    ['Cookie', 'a=b'],
    ['X-Forwarded-For', '192.0.2.1'],
    ['x-empty', undefined],
  ] as const
  t.equal(handshakeMetadata(others), null)
  t.strictSame(handshakeMetadata([...others, ['X-Tenant', 'shop']]), { type: 'metadata', callSid: null })
  const named = handshakeMetadata([['X-Tenant', 'shop'], ['X-Sautikit-Call-Sid', 'HD_0a8d5911d055'], ...others])
  t.equal(named?.callSid, 'HD_0a8d5911d055')
  for (const name of ['callSid', 'call-sid', 'session_id', 'x-call-id']) {
    t.equal(handshakeMetadata([[name, 'HD_1']])?.callSid, 'HD_1', name)
  }
  t.equal(handshakeMetadata([['call-sid', 'a b']])?.callSid, null)
  t.end()
})
