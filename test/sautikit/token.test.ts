import t from 'tap'
import fc from 'fast-check'
import { parseCallSid } from '../../src/core/ids.js'
import { checkToken, mintToken } from '../../src/sautikit/token.js'
import type { TokenClaims } from '../../src/sautikit/token.js'

const SECRET = 'a-secret-shared-by-the-fleet'
const T = 1751000000
const CLAIMS: TokenClaims = {
  callSid: parseCallSid('HD_0a8d5911d055'),
  purpose: 'audio',
  expiresAtS: T + 60,
  nonce: 'q83vEjRWeJA',
}
const TOKEN = mintToken(SECRET, CLAIMS)

t.test('a token tells its call to any process with the secret, until it expires', (t) => {
  t.strictSame(checkToken(SECRET, TOKEN, { purpose: 'audio', nowS: T }), { result: 'ok', ...CLAIMS })
  t.equal(checkToken(SECRET, TOKEN, { purpose: 'audio', nowS: T + 60 }).result, 'ok')
  t.equal(checkToken(SECRET, TOKEN, { purpose: 'audio', nowS: T + 61 }).result, 'expired')
  t.end()
})

t.test('a token needs no escaping in a URL and is short', (t) => {
  t.equal(encodeURIComponent(TOKEN), TOKEN)
  t.ok(TOKEN.length <= 64, `${TOKEN.length} characters`)
  t.end()
})

t.test('the result names what is wrong with a token', (t) => {
  const want = { purpose: 'audio', nowS: T } as const
  for (const nothing of [undefined, null, '']) t.equal(checkToken(SECRET, nothing, want).result, 'missing')
  for (const junk of [
    'x',
    TOKEN.slice(1),
    `${TOKEN}A`,
    TOKEN.replace('.', ','),
    `x${TOKEN.slice(1)}`,
    'a'.repeat(10_000),
    '....',
  ]) {
    t.equal(checkToken(SECRET, junk, want).result, 'malformed', junk.slice(0, 20))
  }
  t.equal(checkToken('another secret', TOKEN, want).result, 'mismatch')
  t.equal(checkToken(SECRET, `s${TOKEN.slice(1)}`, { purpose: 'stream-status', nowS: T }).result, 'mismatch')
  t.equal(checkToken(SECRET, TOKEN, { purpose: 'after-stream', nowS: T }).result, 'wrong-purpose')
  t.equal(checkToken(SECRET, TOKEN, { ...want, callSid: 'HD_other' }).result, 'wrong-call')
  t.equal(checkToken(SECRET, TOKEN, { ...want, callSid: CLAIMS.callSid }).result, 'ok')
  t.equal(checkToken(SECRET, TOKEN, { ...want, nowS: T + 999, callSid: 'HD_other' }).result, 'wrong-call')
  t.end()
})

t.test('a token cannot be altered in any character', (t) => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.'
  for (let i = 0; i < TOKEN.length; i++) {
    for (const letter of alphabet) {
      if (letter === TOKEN[i]) continue
      const { result } = checkToken(SECRET, TOKEN.slice(0, i) + letter + TOKEN.slice(i + 1), {
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
      (sid, nonce, purpose, expiresAtS) => {
        const claims = { callSid: parseCallSid(sid), nonce, purpose, expiresAtS } as const
        const checked = checkToken(SECRET, mintToken(SECRET, claims), { purpose, nowS: T, callSid: sid })
        return (
          checked.result === 'ok' &&
          checked.callSid === sid &&
          checked.nonce === nonce &&
          checked.expiresAtS === expiresAtS
        )
      },
    ),
    { numRuns: 1000 },
  )
  t.pass('1,000 tokens')
  t.end()
})

t.test('a mistake of ours is not signed', (t) => {
  t.throws(() => mintToken('', CLAIMS), /secret/)
  t.throws(() => checkToken('', TOKEN, { purpose: 'audio', nowS: T }), /secret/)
  t.throws(() => mintToken(SECRET, { ...CLAIMS, nonce: 'a.b' }), /alphabets/)
  t.throws(() => mintToken(SECRET, { ...CLAIMS, expiresAtS: T + 0.5 }), /whole second/)
  t.end()
})
