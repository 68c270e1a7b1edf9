import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { googleHeaders } from '../../src/vendors/google/account.js'
import { loadConfig } from '../../src/config/load-config.js'
import { backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { maskText } from '../../src/telemetry/redact.js'
import { accountFile, serviceAccount } from '../support/service-account.js'

const account = serviceAccount('key-of-the-first-account')
const MINUTE_MS = 60_000

interface Claims {
  readonly iat: number
  readonly exp: number
}

function claimsOf(headers: Readonly<Record<string, string>>): Claims {
  const [, body = ''] = (headers['authorization'] ?? '').replace('Bearer ', '').split('.')
  return JSON.parse(Buffer.from(body, 'base64url').toString()) as Claims
}

t.test("an account's token is kept and renewed in time", async (t) => {
  let nowMs = Date.UTC(2026, 10, 28, 9)
  const headers = () => googleHeaders({ apiKey: 'not-used-beside-an-account', account }, () => nowMs)
  const first = headers()
  t.same(Object.keys(first), ['authorization'])
  const { iat, exp } = claimsOf(first)
  t.equal(exp - iat, 3600)
  t.ok(iat * 1000 <= nowMs - 59_000, 'a clock that is up to a minute ahead makes no token of the future')
  nowMs += 53 * MINUTE_MS
  t.same(headers(), first)
  nowMs += 2 * MINUTE_MS
  const second = headers()
  t.not(second['authorization'], first['authorization'])
  t.ok(claimsOf(second).exp * 1000 > nowMs + 50 * MINUTE_MS)
  nowMs -= 3 * 60 * MINUTE_MS
  t.ok(claimsOf(headers()).iat * 1000 <= nowMs)
})

t.test('each account has its own token', async (t) => {
  const other = serviceAccount('key-of-the-second-account')
  const [one, two] = [account, other].map((each) => googleHeaders({ apiKey: null, account: each }))
  t.not(one?.['authorization'], two?.['authorization'])
  t.same(googleHeaders({ apiKey: 'a-key-of-a-test' }), { 'x-goog-api-key': 'a-key-of-a-test' })
})

t.test("a service account's file configures the voice without logged keys", async (t) => {
  const path = accountFile(t.testdir(), account)
  const { tts } = backendSettings(loadConfig({ GOOGLE_SPEECH_CREDENTIALS: path }, null)).cascade
  t.match(tts['google'], { apiKey: null, account: { email: account.email, keyId: account.keyId } })
  const [, secret = 'none'] = account.privateKey.split('\n')
  for (const shown of [account.privateKey, JSON.stringify(tts['google']), `refused: ${account.privateKey}`])
    t.notMatch(maskText(shown), secret)
})

const read = (path: string): unknown => backendSettings(loadConfig({ GOOGLE_SPEECH_CREDENTIALS: path }, null))

t.test('a wrong service account file is refused without its content', async (t) => {
  const folder = t.testdir()
  const path = accountFile(folder, account, { type: 'authorized_user' })
  t.throws(() => read(path), {
    code: 'CONFIG_INVALID',
    message: /account\.json:2 type: must be service_account/,
  })
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  for (const key of [
    privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    account.privateKey.slice(0, 300),
  ]) {
    accountFile(folder, account, { private_key: key })
    const refused = (): unknown => read(path)
    t.throws(refused, { message: /account\.json:5 private_key: must be an RSA key as PEM without a passphrase/ })
    try {
      refused()
    } catch (thrown) {
      t.notMatch(String(thrown), key.split('\n')[1])
    }
  }
  t.throws(() => read(`${path}.not`), { message: /GOOGLE_SPEECH_CREDENTIALS is .*ENOENT/ })
})
