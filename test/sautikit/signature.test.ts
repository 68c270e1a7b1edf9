import t from 'tap'
import fc from 'fast-check'
import { mayVerify, verifySignature } from '../../src/sautikit/signature.js'
import { signBody } from '../support/sign-body.js'
import type { SignatureResult } from '../../src/sautikit/signature.js'

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

t.test('the published vectors verify, and signing makes them', (t) => {
  t.equal(check(`t=${T},v1=${V1}`), 'ok')
  t.equal(check(BARE, { acceptBare: true }), 'ok')
  t.equal(signBody({ body: BODY, secret: SECRET, timestampS: T }), `t=${T},v1=${V1}`)
  t.equal(signBody({ body: BODY, secret: SECRET, timestampS: null }), BARE)
  t.end()
})

t.test('header forms that a proxy or a rotation may make are read', (t) => {
  t.equal(check(` v1=${V1.toUpperCase()} , t=${T} `), 'ok', 'order, case and spaces')
  t.equal(check(`t=${T},v1=${OTHER},v1=${V1}`), 'ok', 'several v1')
  t.equal(check(`t=${T},v0=abc,v1=${V1},v2=zzz`), 'ok', 'versions we do not know')
  t.equal(check(`t=${T},v1=${V1}`, { secrets: ['old', SECRET, 'next'] }), 'ok', 'several secrets')
  t.end()
})

t.test('the result names what is wrong with a signature', (t) => {
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

t.test('a signature is good for five minutes either way and stale after', (t) => {
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

t.test('a bare signature over a body that ends in a dot and digits may be a dated one, and is refused', (t) => {
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

t.test('a secret that signed with a time is remembered, and refused without one', (t) => {
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

t.test('which header may verify is known without a secret', (t) => {
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

t.test('whatever is signed verifies, and no longer with one bit changed', (t) => {
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
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.string({ unit: fc.constantFrom('t', '=', 'v', '1', ',', 'a', '0', ' ') }),
      ),
      (header) => check(header) !== 'ok',
    ),
    { numRuns: 1000 },
  )
  t.pass('1,000 headers')
  t.end()
})
