import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { GatewayError } from '../../src/core/errors.js'
import { loadConfig } from '../../src/config/load-config.js'

/** The one line that a wrong setting stops the start with. */
function complaint(env: Record<string, string>, file: string | null = null): string {
  try {
    loadConfig(env, file)
  } catch (thrown) {
    if (thrown instanceof GatewayError && thrown.code === 'CONFIG_INVALID') return thrown.message
    throw thrown
  }
  return 'accepted'
}

t.test('without settings the gateway has its documented defaults', (t) => {
  const config = loadConfig({}, null)
  t.match(config, { port: 8080, host: '127.0.0.1', opsPort: 9464, opsHost: '127.0.0.1', insecure: false, drainTimeoutMs: 900_000, webhookSecrets: [], publicUrl: null })
  t.ok(config.mediaWorkers >= 1)
  t.end()
})

t.test('a wrong setting is named with what it held and what is allowed', (t) => {
  t.equal(complaint({ PORT: 'eighty' }), "PORT is 'eighty'; allowed: a whole number from 0 to 65535")
  t.equal(complaint({ PORT: '70000' }), "PORT is '70000'; allowed: a whole number from 0 to 65535")
  t.match(complaint({ PUBLIC_URL: 'gateway.example.com' }), /^PUBLIC_URL is 'gateway\.example\.com'; allowed: a URL/)
  t.match(complaint({ PUBLIC_URL: 'https://gateway.example.com/path' }), /without a path$/)
  t.match(complaint({ DRAIN_TIMEOUT: 'soon' }), /^DRAIN_TIMEOUT is 'soon'; allowed: a time such as/)
  t.match(complaint({ LOG_LEVEL: 'loud' }), /^LOG_LEVEL is 'loud'; allowed: one of trace/)
  t.match(complaint({ CARRIER_RECORDINGS: 'perhaps' }), /allowed: true or false/)
  t.match(complaint({ REDIS_URL: 'redis://127.0.0.1' }), /^REDIS_URL is set, but/)
  t.end()
})

t.test('a wrong secret is named and not shown', (t) => {
  const line = complaint({ SAUTIKIT_WEBHOOK_SECRETS: 'short' })
  t.match(line, /^SAUTIKIT_WEBHOOK_SECRETS is a secret of 5 characters; allowed/)
  t.notMatch(line, /short/)
  t.notMatch(complaint({ OPS_TOKEN: 'hunter2' }), /hunter2/)
  t.end()
})

t.test('times have units, lists have commas, URLs lose their last slash', (t) => {
  const config = loadConfig({
    DRAIN_TIMEOUT: '15m', SAUTIKIT_WEBHOOK_SECRETS: 'whsec_one_1, whsec_two_2', SHOP_API_URL: 'http://127.0.0.1:4000/',
    PUBLIC_URL: 'https://gw.example.com/', LOG_LEVEL: 'warn,edge=debug',
  }, null)
  t.equal(config.drainTimeoutMs, 900_000)
  t.same(config.webhookSecrets, ['whsec_one_1', 'whsec_two_2'])
  t.equal(config.shopApiUrl, 'http://127.0.0.1:4000')
  t.equal(config.publicUrl, 'https://gw.example.com')
  t.same(config.logLevel, { level: 'warn', rooms: { edge: 'debug' } })
  t.equal(loadConfig({ DRAIN_TIMEOUT: '90' }, null).drainTimeoutMs, 90_000)
  t.end()
})

t.test('the environment wins over the file; an empty variable counts as unset', (t) => {
  const file = join(t.testdir(), 'mkondo.yaml')
  writeFileSync(file, 'port: 8000\nopsPort: 9000\nsautikitWebhookSecrets: [whsec_one_1, whsec_two_2]\n')
  const config = loadConfig({ PORT: '8001', OPS_PORT: '' }, file)
  t.equal(config.port, 8001)
  t.equal(config.opsPort, 9000)
  t.same(config.webhookSecrets, ['whsec_one_1', 'whsec_two_2'])
  t.end()
})

t.test('a broken settings file is said with its line, an unknown key with the known ones', (t) => {
  const folder = t.testdir({ 'broken.yaml': 'port: 8000\n  host: [', 'unknown.yaml': 'prot: 8000\n', 'nested.yaml': 'port: {a: 1}\n' })
  t.match(complaint({}, join(folder, 'broken.yaml')), /broken\.yaml:\d+:\d+: /)
  t.match(complaint({}, join(folder, 'unknown.yaml')), /unknown setting 'prot'; allowed: port, host/)
  t.match(complaint({}, join(folder, 'nested.yaml')), /'port' is not a single value/)
  t.match(complaint({}, join(folder, 'absent.yaml')), /does not exist/)
  t.end()
})
