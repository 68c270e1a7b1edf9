import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { selfSigned } from '../../bench/kit/self-signed.js'
import { environmentOf } from '../../src/cli/serve/serve-plans.js'
import { loadConfig } from '../../src/config/load-config.js'
import { packageRoot } from '../../src/config/package-root.js'
import { SETTINGS } from '../../src/config/settings.js'
import type { Setting } from '../../src/core/setting.js'
import { internalTls, publicTls } from '../../src/config/tls-files.js'
import { GatewayError } from '../../src/core/errors.js'
import { NODE_NAME, nodeNameOf } from '../../src/fleet/node-name.js'
import { VENDORS, VENDOR_SETTINGS } from '../../src/vendors/list.js'

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
  t.match(config, {
    port: 8080,
    host: '127.0.0.1',
    opsPort: 9464,
    opsHost: '127.0.0.1',
    insecure: false,
    drainTimeoutMs: 900_000,
    webhookSecrets: [],
    publicUrl: null,
  })
  t.ok(config.mediaWorkers >= 1)
  t.end()
})

t.test('a wrong setting is reported with the allowed values', (t) => {
  t.equal(complaint({ PORT: 'eighty' }), "PORT is 'eighty'; allowed: a whole number from 0 to 65535")
  t.equal(complaint({ PORT: '70000' }), "PORT is '70000'; allowed: a whole number from 0 to 65535")
  t.match(complaint({ PUBLIC_URL: 'gateway.example.com' }), /^PUBLIC_URL is 'gateway\.example\.com'; allowed: a URL/)
  t.match(complaint({ PUBLIC_URL: 'https://gateway.example.com/path' }), /without a path$/)
  t.match(complaint({ DRAIN_TIMEOUT: 'soon' }), /^DRAIN_TIMEOUT is 'soon'; allowed: a time such as/)
  t.match(complaint({ LOG_LEVEL: 'loud' }), /^LOG_LEVEL is 'loud'; allowed: one of trace/)
  t.match(complaint({ CARRIER_RECORDINGS: 'perhaps' }), /allowed: true or false/)
  t.match(complaint({ NODE_NAME: 'gw 1' }), /^NODE_NAME is 'gw 1'; allowed: 1 to 63 characters of A-Z a-z 0-9 \. _ -$/)
  t.match(complaint({ INTERNAL_URL: 'http://gw-1:9465/path' }), /^INTERNAL_URL is '.*'; allowed: .* without a path/)
  t.match(
    complaint({ RECOVERY_PER_MINUTE: '601' }),
    /^RECOVERY_PER_MINUTE is '601'; allowed: a whole number from 0 to 600$/,
  )
  t.match(complaint({ REDIS_PREFIX: 'a b' }), /^REDIS_PREFIX is 'a b'; allowed: 1 to 64 characters of/)
  t.end()
})

t.test('editing agents requires a token and a watched folder', (t) => {
  const whole = { AGENTS_EDIT: 'true', AGENTS_DIR: 'agents', OPS_TOKEN: 'ops-token-of-a-test' }
  t.equal(loadConfig({}, null).agentsEdit, false)
  t.equal(loadConfig(whole, null).agentsEdit, true)
  t.equal(
    complaint({ AGENTS_EDIT: 'true', AGENTS_WATCH: 'false' }),
    "AGENTS_EDIT is 'true' without AGENTS_DIR and AGENTS_WATCH and OPS_TOKEN; allowed: false, or true with all of them",
  )
  t.match(complaint({ ...whole, OPS_TOKEN: '' }), /without OPS_TOKEN;/)
  t.end()
})

t.test('trusted proxies are addresses and networks, and never every address', (t) => {
  t.same(loadConfig({}, null).trustedProxies, [])
  t.same(loadConfig({ TRUSTED_PROXIES: '10.0.0.0/8, 192.0.2.7,2001:db8::/32' }, null).trustedProxies, [
    '10.0.0.0/8',
    '192.0.2.7',
    '2001:db8::/32',
  ])
  for (const wrong of ['10.0.0.0/33', '0.0.0.0/0', '::/0', 'proxy.example.com', '10.0.0.0/8;192.0.2.7', ',']) {
    t.match(
      complaint({ TRUSTED_PROXIES: wrong }),
      /^TRUSTED_PROXIES is '.*'; allowed: addresses and networks such as 10\.0\.0\.0\/8/,
    )
  }
  t.match(complaint({ TRUSTED_PROXIES: Array(65).fill('10.0.0.1').join(',') }), /at most 64$/)
  t.match(complaint({ SAUTIKIT_WEBHOOK_SECRETS: Array(17).fill('whsec_one_1').join(',') }), /is set to .*at most 16$/)
  t.equal(loadConfig({ SAUTIKIT_BARE_SIGNATURES: 'true' }, null).bareSignatures, true)
  t.equal(loadConfig({}, null).bareSignatures, false, 'nobody takes them without being asked')
  t.end()
})

t.test('a wrong secret is named but not shown', (t) => {
  const line = complaint({ SAUTIKIT_WEBHOOK_SECRETS: 'short' })
  t.match(line, /^SAUTIKIT_WEBHOOK_SECRETS is set to 5 characters \(not shown\); allowed/)
  t.notMatch(line, /short/)
  t.notMatch(complaint({ OPS_TOKEN: 'hunter2' }), /hunter2/)
  t.end()
})

t.test('an API key with invalid characters is refused and hidden', (t) => {
  for (const key of ['nyumba-ya-ufunguo-ü', 'nyumba ya ufunguo', 'ufunguo\u0007wetu']) {
    const said = complaint({ GOOGLE_SPEECH_API_KEY: key })
    t.match(said, /^GOOGLE_SPEECH_API_KEY .*allowed: an API key in ASCII without spaces/)
    t.notMatch(said, /ufunguo/)
  }
  t.end()
})

t.test('durations, lists and URLs are parsed and normalised', (t) => {
  const config = loadConfig(
    {
      DRAIN_TIMEOUT: '15m',
      SAUTIKIT_WEBHOOK_SECRETS: 'whsec_one_1, whsec_two_2',
      SHOP_API_URL: 'http://127.0.0.1:4000/',
      PUBLIC_URL: 'https://gw.example.com/',
      LOG_LEVEL: 'warn,edge=debug',
    },
    null,
  )
  t.equal(config.drainTimeoutMs, 900_000)
  t.same(config.webhookSecrets, ['whsec_one_1', 'whsec_two_2'])
  t.equal(config.shopApiUrl, 'http://127.0.0.1:4000')
  t.equal(config.publicUrl, 'https://gw.example.com')
  t.same(config.logLevel, { level: 'warn', components: { edge: 'debug' } })
  t.equal(loadConfig({ DRAIN_TIMEOUT: '90' }, null).drainTimeoutMs, 90_000)
  t.end()
})

t.test('NO_AGENT_SAY takes one text for each language', (t) => {
  const say = [
    { verb: 'say', language: 'en-KE', text: 'Closed, sorry: call later.' },
    { verb: 'say', language: 'sw-KE', text: 'Imefungwa.' },
  ]
  t.same(loadConfig({ NO_AGENT_SAY: 'en-KE: Closed, sorry: call later. sw-KE: Imefungwa.' }, null).noAgentSay, say)
  const file = join(
    t.testdir({ 'mkondo.yaml': 'noAgentSay: ["en-KE: Closed, sorry: call later.", "sw-KE: Imefungwa."]' }),
    'mkondo.yaml',
  )
  t.same(loadConfig({}, file).noAgentSay, say)
  t.match(loadConfig({}, null).noAgentSay, [{ language: 'en-KE' }, { language: 'sw-KE' }], 'two by default')
  for (const wrong of ['Closed.', 'en: Closed.', 'en-KE:', 'en-KE: a\nb', `en-KE: ${'a'.repeat(501)}`])
    t.match(
      complaint({ NO_AGENT_SAY: wrong }),
      /^NO_AGENT_SAY is .*; allowed: texts with their language/s,
      wrong.slice(0, 20),
    )
  t.end()
})

t.test('the environment overrides the file unless a variable is empty', (t) => {
  const file = join(t.testdir(), 'mkondo.yaml')
  writeFileSync(file, 'port: 8000\nopsPort: 9000\nsautikitWebhookSecrets: [whsec_one_1, whsec_two_2]\n')
  const config = loadConfig({ PORT: '8001', OPS_PORT: '' }, file)
  t.equal(config.port, 8001)
  t.equal(config.opsPort, 9000)
  t.same(config.webhookSecrets, ['whsec_one_1', 'whsec_two_2'])
  t.end()
})

t.test('a broken settings file is reported with its line', (t) => {
  const folder = t.testdir({
    'broken.yaml': 'port: 8000\n  host: [',
    'unknown.yaml': 'prot: 8000\n',
    'nested.yaml': 'port: {a: 1}\n',
  })
  t.match(complaint({}, join(folder, 'broken.yaml')), /broken\.yaml:\d+:\d+: /)
  t.match(complaint({}, join(folder, 'unknown.yaml')), /unknown setting 'prot'; allowed: port, host/)
  t.match(complaint({}, join(folder, 'nested.yaml')), /'port' has an unusable value/)
  t.match(complaint({}, join(folder, 'absent.yaml')), /does not exist/)
  t.end()
})

t.test('all mistakes of file and environment are reported together', (t) => {
  const file = join(
    t.testdir({
      'mkondo.yaml':
        'port: eighty\nmaxCall: 5\nopsToken: hunter2\nmaxCalls: 5\nhost: {a: 1}\nmediaWorkers: 900\nhostt: x\n',
    }),
    'mkondo.yaml',
  )
  const lines = complaint(
    { DRAIN_TIMEOUT: 'soon', MAX_CALL: '5', REDIS_URL: 'rdis://:hunter2@store', MEDIA_WORKERS: '2' },
    file,
  ).split('\n')
  t.match(lines, [
    `${file}:2:1: unknown setting 'maxCall'; did you mean maxCalls?`,
    `${file}:5:1: setting 'host' has an unusable value; allowed: a text, a number, true, false, or a list of texts`,
    `${file}:7:1: unknown setting 'hostt'; did you mean host?`,
    /^MAX_CALL is not a setting; did you mean MAX_CALLS\?/,
    `${file}:1:1: port is 'eighty'; allowed: a whole number from 0 to 65535`,
    `${file}:3:1: opsToken is set to 7 characters (not shown); allowed: at least 16 characters without spaces`,
    /^REDIS_URL is set to 21 characters \(not shown\); allowed: redis:/,
    /^DRAIN_TIMEOUT is 'soon'/,
  ])
  t.equal(lines.length, 8, 'a value of the file that the environment replaces is not looked at')
  t.notMatch(lines.join(), /hunter2/)
  t.end()
})

t.test('a broken file is reported without any value', (t) => {
  const file = join(
    t.testdir({ 'mkondo.yaml': 'port: 1\nport: 2\nopsToken: "hunter2" hunter3\nhost: @hunter4\n' }),
    'mkondo.yaml',
  )
  const said = complaint({ PORT: 'eighty' }, file)
  for (const line of [2, 3, 4]) t.match(said, `${file}:${line}:`)
  t.match(said, /^PORT is 'eighty'/m)
  t.notMatch(said, /hunter/)
  const alias = join(t.testdir({ 'mkondo.yaml': 'opsToken: *hunter2\nport: &a 1\n' }), 'mkondo.yaml')
  t.equal(
    complaint({}, alias),
    `${alias}:1:1: setting 'opsToken' has an unusable value; allowed: a text, a number, true, false, or a list of texts`,
  )
  t.end()
})

t.test('a mistyped variable is reported with the nearest setting', (t) => {
  const slips: Readonly<Record<string, string>> = {
    MAX_CALL: 'MAX_CALLS',
    MAXCALLS: 'MAX_CALLS',
    max_calls: 'MAX_CALLS',
    MAX_CALSL: 'MAX_CALLS',
    OPS_TOKEM: 'OPS_TOKEN',
    OSP_TOKEN: 'OPS_TOKEN',
    PUBLC_URL: 'PUBLIC_URL',
    SAUTKIT_API_KEY: 'SAUTIKIT_API_KEY',
    OPENAPI_API_KEY: 'OPENAI_API_KEY',
    INSECUR: 'INSECURE',
    SAUTIKIT_WEBHOOK_SECRET: 'SAUTIKIT_WEBHOOK_SECRETS',
    SAUTIKIT_SECRETS: '?',
    MKONDO_MAX_CALLS: 'MAX_CALLS',
    MKONDO_XYZ: '?',
  }
  for (const [given, meant] of Object.entries(slips)) {
    const said = complaint({ [given]: 'hunter2' })
    t.match(
      said,
      meant === '?' ? `${given} is not a setting; ` : `${given} is not a setting; did you mean ${meant}?`,
      given,
    )
    t.notMatch(said, /hunter2/)
  }
  t.equal(
    complaint({ MAX_CALL: '5', MAX_CALLS: '5' }),
    'accepted',
    "a near namesake beside the setting itself is another program's",
  )
  t.match(
    complaint({ SAUTIKIT_API_KEYS: 'x', SAUTIKIT_API_KEY: 'key-of-a-test' }),
    /^SAUTIKIT_API_KEYS is not a setting/,
    'but no other program has our prefix',
  )
  t.end()
})

t.test('variables of other programs are ignored', (t) => {
  const foreign = [
    'PATH',
    'HOME',
    'HOSTNAME',
    'HOSTS',
    'PORTS',
    'POST',
    'USER',
    'SHELL',
    'LANG',
    'TERM',
    'TZ',
    'PWD',
    'OLDPWD',
    'NODE_ENV',
    'NODE_OPTIONS',
    'NODE_PATH',
    'OPENAI_ORG_ID',
    'OPENAI_PROJECT_ID',
    'OPENAI_API_BASE',
    'GEMINI_API_VERSION',
    'GOOGLE_API_KEY',
    'CRM_API_KEY',
    'LM_API_KEY',
    'STS_API_KEY',
    'TLS_URL',
    'OP_TOKEN',
    'CODE_URL',
    'OPS_PORTS',
    'OTEL_SERVICE_NAME',
    'OTEL_EXPORTER_OTLP_HEADERS',
    'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT',
    'REDIS_HOST',
    'REDIS_PORT',
    'LOG_FORMAT',
    'DATA_PATH',
    'XDG_DATA_DIRS',
    'SHOP_API_KEY',
    'SHOP_API_PORT',
    'MKONDO_SERVICE_HOST',
    'MKONDO_SERVICE_PORT_OPS',
    'MKONDO_PORT',
    'MKONDO_PORT_8080_TCP',
    'MKONDO_PORT_8080_TCP_ADDR',
    'BENCH_PROFILE_DIR',
    'POD_NAME',
    'HTTPS_PROXY',
    'npm_config_registry',
    'UWS_HTTP_MAX_HEADERS_SIZE',
  ]
  t.equal(complaint(Object.fromEntries(foreign.map((name) => [name, 'x']))), 'accepted')
  t.equal(complaint({ MAX_CALL: '' }), 'accepted', 'an empty variable counts as unset')
  t.end()
})

t.test('TOKEN_SECRET takes two secrets while one is replaced', (t) => {
  const [old, next] = ['the secret of yesterday', 'the secret of tomorrow']
  t.same(loadConfig({}, null).tokenSecrets, [])
  t.same(loadConfig({ TOKEN_SECRET: old }, null).tokenSecrets, [old])
  t.same(loadConfig({ TOKEN_SECRET: `${next}, ${old}` }, null).tokenSecrets, [next, old])
  for (const wrong of [`${old},${next},a third one of them`, `${old},short`, 'short', ',']) {
    const line = complaint({ TOKEN_SECRET: wrong })
    t.match(
      line,
      /^TOKEN_SECRET is set to \d+ characters \(not shown\); allowed: a secret of at least 16 characters, or two/,
    )
    t.notMatch(line, /yesterday|tomorrow|short/)
  }
  t.end()
})

t.test('a node without a name is named after its host', (t) => {
  t.match(loadConfig({}, null).nodeName, NODE_NAME)
  t.equal(nodeNameOf('gw-1.example.com'), 'gw-1.example.com')
  t.equal(nodeNameOf('Büro PC'), 'B-ro-PC')
  t.equal(nodeNameOf('x'.repeat(80)).length, 60, 'with room for the number of a process')
  t.equal(nodeNameOf(''), 'node')
  t.end()
})

t.test('certificates of nodes are complete or absent, and match', (t) => {
  const [mine, other] = [selfSigned('gw-1'), selfSigned('gw-2')]
  const folder = t.testdir({
    'cert.pem': mine.cert,
    'key.pem': mine.key,
    'ca.pem': mine.cert + other.cert,
    'other.pem': other.key,
    'text.pem': 'no PEM',
  })
  const tls = (cert: string, key: string, ca: string) => {
    const path = (name: string): string => (name === '' ? '' : join(folder, name))
    try {
      return internalTls(
        loadConfig({ INTERNAL_TLS_CERT: path(cert), INTERNAL_TLS_KEY: path(key), INTERNAL_TLS_CA: path(ca) }, null),
      )
    } catch (thrown) {
      return thrown instanceof GatewayError && thrown.code === 'CONFIG_INVALID' ? thrown.message : thrown
    }
  }
  t.equal(tls('', '', ''), null)
  t.same(tls('cert.pem', 'key.pem', 'ca.pem'), { ...mine, ca: mine.cert + other.cert })
  t.match(
    tls('cert.pem', '', ''),
    /^INTERNAL_TLS_KEY and INTERNAL_TLS_CA is not set, but another of the three is; allowed: all/,
  )
  t.match(
    tls('absent.pem', 'key.pem', 'ca.pem'),
    /^INTERNAL_TLS_CERT is '.*absent\.pem', which cannot be read \(ENOENT\); allowed: a file with a certificate/,
  )
  t.match(tls('cert.pem', 'key.pem', 'text.pem'), /^INTERNAL_TLS_CA is '.*text\.pem', which is not PEM; allowed: /)
  t.match(
    tls('cert.pem', 'other.pem', 'ca.pem'),
    /^INTERNAL_TLS_KEY is '.*other\.pem' with the certificate .*; allowed: the key of that certificate/,
  )
  t.end()
})

t.test('TLS of the public port needs a matching key', (t) => {
  const [mine, other] = [selfSigned(), selfSigned()]
  const folder = t.testdir({ 'cert.pem': mine.cert, 'key.pem': mine.key, 'other.pem': other.key, 'text.pem': 'no PEM' })
  const tls = (cert: string, key: string) => {
    const path = (name: string): string => (name === '' ? '' : join(folder, name))
    try {
      return publicTls(loadConfig({ TLS_CERT: path(cert), TLS_KEY: path(key) }, null))
    } catch (thrown) {
      return thrown instanceof GatewayError && thrown.code === 'CONFIG_INVALID' ? thrown.message : thrown
    }
  }
  t.equal(tls('', ''), null)
  t.match(tls('cert.pem', 'key.pem'), { certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') })
  t.match(tls('', 'key.pem'), /^TLS_CERT is not set, but TLS_KEY is; allowed: both, or none/)
  t.match(tls('absent.pem', 'key.pem'), /^TLS_CERT is '.*absent\.pem', which cannot be read \(ENOENT\); allowed: /)
  t.match(
    tls('cert.pem', 'text.pem'),
    /^TLS_KEY is '.*text\.pem', which is not PEM; allowed: a file with a private key/,
  )
  t.match(tls('cert.pem', 'other.pem'), /^TLS_KEY is '.*other\.pem' with the certificate .*; allowed: the key of that/)
  t.end()
})

const all = Object.values(SETTINGS) as readonly Setting<unknown>[]

/** Variables of the settings that are no vendor's. */
const own = Object.entries(SETTINGS).flatMap(([name, { env }]) => (name in VENDOR_SETTINGS ? [] : [env]))
/** Variables of settings that a vendor declares. */
const envsOf = (settings: object): string[] =>
  Object.keys(settings).map((name) => SETTINGS[name as keyof typeof SETTINGS].env)

t.test('.env.example has each setting with its default', async (t) => {
  const file = readFileSync(join(packageRoot(), '.env.example'), 'utf8')
  const written = [...file.matchAll(/^# ([A-Z_]+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value] as const)
  const ofVendors = VENDORS.flatMap(({ settings }) => envsOf(settings))
  t.same(
    written.map(([name]) => name),
    [...own, ...ofVendors],
  )
  t.same(loadConfig(Object.fromEntries(written), null), loadConfig({}, null))
})

const rowsOf = (page: string): string[] =>
  readFileSync(join(packageRoot(), page), 'utf8')
    .split('\n')
    .filter((line) => /^\| `[A-Z_]+` \|/.test(line))

t.test('docs/CONFIGURATION.md has each setting of the gateway once', async (t) => {
  const rows = rowsOf('docs/CONFIGURATION.md')
  t.same(
    rows.map((row) => /^\| `(\w+)`/.exec(row)?.[1]),
    own,
  )
  for (const line of rows) t.equal(line.replaceAll('\\|', '').split('|').length, 7, line)
})

t.test("a vendor's page lists each of its settings once", async (t) => {
  for (const { folder, settings } of VENDORS) {
    const rows = rowsOf(`src/vendors/${folder}/README.md`)
    t.same(
      rows.map((row) => /^\| `(\w+)`/.exec(row)?.[1]),
      envsOf(settings),
      folder,
    )
    for (const line of rows) t.equal(line.replaceAll('\\|', '').split('|').length, 7, line)
  }
})

t.test('generated files are identical on every machine', async (t) => {
  for (const { env, fallback, defaultText } of [
    SETTINGS.nodeName,
    SETTINGS.mediaWorkers,
  ] as readonly Setting<unknown>[])
    t.ok(defaultText !== undefined && defaultText !== String(fallback), env)
})

t.test('each setting is explained in full sentences that stand alone', async (t) => {
  for (const { env, help } of all) {
    t.match(help, /^[A-Z][^]*\.\)?$/, `${env}: a sentence`)
    t.ok(help.split(' ').length >= 5, `${env}: more than a name`)
    t.notMatch(help, /\b(?:the same$|its key|its model\b|as above|see above|beside it)/i, env)
  }
})

t.test('a text setting keeps every character of its YAML', (t) => {
  const file = join(t.testdir(), 'mkondo.yaml')
  const load = (yaml: string) => {
    writeFileSync(file, yaml)
    return loadConfig({}, file)
  }
  for (const token of [
    '00123456789012345678',
    '1e10000000000000',
    '0o17777777777777',
    '0xdeadbeefdeadbeef',
    '+12345678901234567',
    '.5000000000000000',
  ])
    t.equal(load(`opsToken: ${token}\n`).opsToken, token, token)
  t.equal(load('nodeName: 007\n').nodeName, '007')
  t.same(load('outboundPrefixes: [+254, +255]\n').outboundPrefixes, ['+254', '+255'])
  t.same(load('outboundPrefixes:\n  - +256 # Uganda\n').outboundPrefixes, ['+256'])
  t.equal(load('\ufeffopsPort: 9000\n').opsPort, 9000)
  t.equal(load('opsPort: 0x2328\n').opsPort, 9000, 'a number may be written as YAML has it')
  t.equal(load('carrierRecordings: False\n').carrierRecordings, false)
  for (const cut of ['opsToken: 1234567890123456 #7890', 'opsToken: 1234567890\n  1234567890'])
    t.throws(() => load(`${cut}\n`), {
      message: /setting 'opsToken' is cut at '#' or at the end of its line; put its value in quotes/,
    })
  t.end()
})

t.test("an environment file's first variable is read despite a BOM", (t) => {
  const file = join(t.testdir(), '.env')
  const text = 'OPS_TOKEN=0012345678901234\r\nNODE_NAME=007\r\n'
  for (const bytes of [Buffer.from(text), Buffer.from(`\ufeff${text}`), Buffer.from(`\ufeff${text}`, 'utf16le')]) {
    writeFileSync(file, bytes)
    t.match(environmentOf({}, file), { OPS_TOKEN: '0012345678901234', NODE_NAME: '007' })
  }
  t.end()
})
