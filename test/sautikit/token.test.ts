import t from 'tap'
import fc from 'fast-check'
import { parseCallSid } from '../../src/core/ids.js'
import { checkToken, mintToken } from '../../src/sautikit/token.js'
import type { TokenClaims } from '../../src/sautikit/token.js'

const SECRETS = ['a-secret-shared-by-the-fleet']
const T = 1751000000
const CLAIMS: TokenClaims = {
  callSid: parseCallSid('HD_0a8d5911d055'),
  purpose: 'audio',
  expiresAtS: T + 60,
  nonce: 'q83vEjRWeJA',
  epoch: 3,
}
const TOKEN = mintToken(SECRETS, CLAIMS)

t.test('a token tells its call to any process with the secret, until it expires', (t) => {
  t.strictSame(checkToken(SECRETS, TOKEN, { purpose: 'audio', nowS: T }), { result: 'ok', ...CLAIMS })
  t.equal(checkToken(SECRETS, TOKEN, { purpose: 'audio', nowS: T + 60 }).result, 'ok')
  t.equal(checkToken(SECRETS, TOKEN, { purpose: 'audio', nowS: T + 61 }).result, 'expired')
  t.end()
})

t.test('while a secret is replaced the first one signs, and tokens of both are accepted', (t) => {
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

t.test('a token of the format before is not accepted', (t) => {
  const before = TOKEN.replace(/^(a\.[^.]+)\.3\./, '$1.')
  t.equal(before.split('.').length, 5)
  t.equal(checkToken(SECRETS, before, { purpose: 'audio', nowS: T }).result, 'malformed')
  t.end()
})

t.test('a token needs no escaping in a URL and is short', (t) => {
  t.equal(encodeURIComponent(TOKEN), TOKEN)
  t.ok(TOKEN.length <= 64, `${TOKEN.length} characters`)
  t.end()
})

t.test('the result names what is wrong with a token', (t) => {
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

t.test('a token cannot be altered in any character', (t) => {
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

t.test('claims come back as they were made', (t) => {
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

t.test('a mistake of ours is not signed', (t) => {
  t.throws(() => mintToken([], CLAIMS), /secret/)
  t.throws(() => checkToken([], TOKEN, { purpose: 'audio', nowS: T }), /secret/)
  t.throws(() => mintToken(SECRETS, { ...CLAIMS, nonce: 'a.b' }), /alphabets/)
  t.throws(() => mintToken(SECRETS, { ...CLAIMS, expiresAtS: T + 0.5 }), /whole second/)
  t.throws(() => mintToken(SECRETS, { ...CLAIMS, epoch: -1 }), /whole number/)
  t.throws(() => checkToken([...SECRETS, ''], TOKEN, { purpose: 'audio', nowS: T }), /secret/)
  t.end()
})
