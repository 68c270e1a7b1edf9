import { execFile } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { GeminiDouble } from '../../src/vendors/gemini/live-double.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { SonioxDouble } from '../../src/vendors/soniox/double.js'
import { command } from '../support/command.js'
import { onlyUws } from '../support/only-uws.js'
import { S3_BUCKET, S3_CREDENTIALS, startS3 } from '../support/s3.js'
import { MKONDO } from './mkondo-process.js'
import { portOf } from '../support/port-of.js'

const FOLDER = t.testdir()
const dataDir = (): string => mkdtempSync(join(FOLDER, 'data-'))

async function check(
  env: Readonly<Record<string, string>>,
  ...args: string[]
): Promise<{ code: number; output: string }> {
  const { code, out, err } = await command(['check', ...args], { env: { DATA_DIR: dataDir(), ...env } })
  return { code, output: out + err }
}

/** The same in a process of its own. */
function checkWith(
  nodeOptions: readonly string[],
  env: Readonly<Record<string, string>>,
  ...args: string[]
): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [...nodeOptions, ...MKONDO, 'check', ...args],
      { env: { PATH: process.env['PATH'] ?? '', DATA_DIR: dataDir(), ...env } },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr })
      },
    )
  })
}

t.test('check reads national numbers by COUNTRY', async (t) => {
  const dir = t.testdir({
    'a.yaml': 'version: 1\nname: a\ninstructions: Be brief.\nbackend: embedded\ncaller: { file: callers.csv }\n',
    'callers.csv': 'phone,name\n0392123456,Amina\n',
  })
  const of = async (country: string): Promise<string> => (await check({ AGENTS_DIR: dir, COUNTRY: country })).output
  t.match(await of('KE'), /callers\.csv: line 2: has in phone a number that does not exist in its country/)
  t.notMatch(await of('UG'), /callers\.csv/)
})

t.test('valid settings pass the check', async (t) => {
  const { code, output } = await checkWith([], { PORT: '0', OPS_PORT: '0' }, '--with-shop')
  t.equal(code, 0, output)
  t.match(output, /ok +agents: order-status on embedded/)
  t.match(output, /unsigned ones are accepted/)
})

t.test('check reads --env-file, and the environment takes precedence', async (t) => {
  const file = join(FOLDER, 'check.env')
  await writeFile(file, 'MAX_CALLS=-3\nDRAIN_TIMOUT=5\n')
  const { code, output } = await check({ MAX_CALLS: '3' }, '--with-shop', `--env-file=${file}`)
  t.equal(code, 2)
  t.match(output, /DRAIN_TIMOUT is not a setting; did you mean DRAIN_TIMEOUT\?/)
  t.notMatch(output, /MAX_CALLS/)
})

t.test("check waits for an agent's own backend", async (t) => {
  const folder = await mkdtemp(join(FOLDER, 'own-'))
  await writeFile(
    join(folder, 'own.mjs'),
    `const capabilities = { name: 'own', inputRateHz: 16000, outputRateHz: 16000, serverVad: true, truncate: false, maxSessionMs: null }
     export const createBackend = (sink) => ({
       capabilities,
       connect: () => new Promise((ready) => setTimeout(ready, 500).unref()),
       close: async () => sink.event({ type: 'closed', code: 1000, reason: '', clean: true }),
     })`,
  )
  const agent = { version: 1, name: 'own', instructions: 'x', backend: 'module:./own.mjs' }
  await writeFile(join(folder, 'own.yaml'), JSON.stringify(agent))
  const { code, output } = await checkWith([], { PORT: '0', OPS_PORT: '0', AGENTS_DIR: folder })
  t.equal(code, 0, output)
  t.match(output, /backend module:.* of own is ready/)
})

t.test('check tests a bucket and names its lifecycle rules', async (t) => {
  const s3 = await startS3(t, join(FOLDER, 's3'))
  const env = {
    ...{ PORT: '0', OPS_PORT: '0', STORAGE_URL: s3.url, STORAGE_BUCKET: S3_BUCKET },
    STORAGE_KEYS: Buffer.alloc(32, 1).toString('base64'),
    STORAGE_ACCESS_KEY_ID: S3_CREDENTIALS.accessKeyId,
    STORAGE_SECRET_ACCESS_KEY: S3_CREDENTIALS.secretAccessKey,
  }
  const fine = await check(env, '--with-shop')
  t.equal(fine.code, 0, fine.output)
  t.match(fine.output, /ok +STORAGE_BUCKET calls takes objects; it needs rules for recordings 30d; records 90d/)
  t.equal(s3.objects().size, 0)
  const wrong = await check({ ...env, STORAGE_BUCKET: 'none' }, '--with-shop')
  t.equal(wrong.code, 2)
  t.match(wrong.output, /NOT OK +STORAGE_BUCKET: .*bucket/i)
  t.notMatch(wrong.output, /S3RVER|AQEBAQ/)
})

t.test('a Node without a native module fails the check', async (t) => {
  const { code, output } = await checkWith(await onlyUws([]), { PORT: '0', OPS_PORT: '0' }, '--with-shop')
  t.equal(code, 2, output)
  t.match(
    output,
    /NOT OK +calls need uWebSockets\.js, and no uWebSockets\.js for Node [\d.]+ and glibc \S+ loads; type: npm ci /,
  )
})

t.test('an unsafe Node version is reported but passes', async (t) => {
  const node = (version: string): readonly string[] => [
    '--import',
    `data:text/javascript,${encodeURIComponent(`Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } })`)}`,
  ]
  const env = { PORT: '0', OPS_PORT: '0' }
  const old = await checkWith(node('22.23.3'), env, '--with-shop')
  t.match(old, {
    code: 0,
    output: /LOOK AT Node 22\.23\.3 trusts certificates of eight CA keys .*use 22\.23\.4 or later/,
  })
  t.notMatch((await checkWith(node('22.23.4'), env, '--with-shop')).output, /LOOK AT Node/)
})

t.test('--tools sends reading samples and withholds writing ones', async (t) => {
  const { code, output } = await check({ PORT: '0', OPS_PORT: '0' }, '--with-shop', '--tools')
  t.equal(code, 0, output)
  t.match(output, /ok +support: verification: the account of sample\.from has every answer/)
  t.match(
    output,
    /ok +support: getAccount: GET 127\.0\.0\.1:\d+\/api\/accounts answered in \d+ ms with plan, status, balanceKes/,
  )
  t.match(output, /ok +support: open_ticket: POST 127\.0\.0\.1:\d+\/api\/tickets, not sent \(\d+ characters of JSON\)/)
  t.match(output, /ok +support: knowledge: \d+ passages/)
  t.match(output, /ok +order-status: lookup_order: GET .*answered/)
  t.notMatch(output, /Amina|23917386|254700000001/, 'nothing that the answers hold is shown')

  const down = await check({ PORT: '0', OPS_PORT: '0', SHOP_API_URL: 'http://127.0.0.1:1' }, '--tools')
  t.equal(down.code, 2)
  t.match(
    down.output,
    /NOT OK +support: getAccount: GET 127\.0\.0\.1:1\/api\/accounts: .*could not be reached: ECONNREFUSED/,
  )
})

t.test("check tests a fleet node's internal port and Redis", async (t) => {
  const port = await portOf(t, createServer())
  const { code, output } = await check(
    {
      PORT: '0',
      OPS_PORT: '0',
      REDIS_URL: 'redis://:hunter2@127.0.0.1:1',
      NODE_URL: 'http://127.0.0.1:8080',
      TOKEN_SECRET: 'a-secret-of-the-fleet',
      INTERNAL_PORT: String(port),
    },
    '--with-shop',
  )
  t.equal(code, 2, output)
  t.match(output, `NOT OK  INTERNAL_PORT 127.0.0.1:${port}: EADDRINUSE`)
  t.match(output, /NOT OK +REDIS_URL cannot be used: the connection was refused/)
  t.match(output, /LOOK AT INTERNAL_HOST is '127\.0\.0\.1': only nodes on this machine reach this one/)
  t.notMatch(output, /hunter2/)
})

t.test('check finds faults that would stop a start or calls', async (t) => {
  const port = await portOf(t, createServer())
  const { code, output } = await check({
    PORT: String(port),
    HOST: '127.0.0.1',
    OPS_PORT: '0',
    OPS_HOST: '0.0.0.0',
    PUBLIC_URL: 'https://gw.example.com',
    SHOP_API_URL: 'http://127.0.0.1:1',
  })
  t.equal(code, 2)
  t.match(output, new RegExp(`NOT OK +PORT 127.0.0.1:${port}: EADDRINUSE`))
  t.match(output, /NOT OK +SHOP_API_URL 127\.0\.0\.1:1 does not answer/)
  t.match(output, /NOT OK +PUBLIC_URL is 'https:\/\/gw\.example\.com' without SAUTIKIT_WEBHOOK_SECRETS/)
  t.match(output, /NOT OK +OPS_HOST is '0\.0\.0\.0' without OPS_TOKEN/)
  const two = { PORT: String(port - 2), HOST: '127.0.0.1', OPS_PORT: '0', SHOP_API_URL: 'http://127.0.0.1:1' }
  t.match((await check(two, '--processes', '2')).output, `NOT OK  PORT + 2 127.0.0.1:${port}: EADDRINUSE`)
})

t.test('each wrong setting is one line and ends the check', async (t) => {
  const folder = t.testdir({ 'mine.yaml': 'maxCall: 5\nopsPort: many\n' })
  const { code, output } = await check({ PORT: 'x', MAX_CALL: '5' }, '--config', `${folder}/mine.yaml`)
  t.equal(code, 2)
  t.match(output.trim().split('\n'), [
    /^mkondo: \S+mine\.yaml:1:1: unknown setting 'maxCall'; did you mean maxCalls\?$/,
    /^mkondo: MAX_CALL is not a setting; did you mean MAX_CALLS\?/,
    /^mkondo: PORT is 'x'; allowed/,
    /^mkondo: \S+mine\.yaml:2:1: opsPort is 'many'; allowed/,
  ])
  t.equal(output.trim().split('\n').length, 4)
})

const RIGHT_KEY = 'sk-right-0123456789abcdef'
const WRONG_KEY = 'sk-wrong-0123456789abcdef'

const folder = await mkdtemp(join(tmpdir(), 'mkondo-check-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const [openai, gemini] = await Promise.all([
  OpenAiDouble.start({ key: RIGHT_KEY }),
  GeminiDouble.start({ key: RIGHT_KEY }),
])
t.teardown(() => Promise.all([openai.close(), gemini.close()]))

/** `mkondo check` on the order line with these lines in place of its backend. */
async function checkAgent(
  lines: string,
  env: Readonly<Record<string, string>>,
): Promise<{ code: number; output: string }> {
  const yaml = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
  await writeFile(
    join(folder, 'order-status.yaml'),
    yaml
      .replace(/^backend: .*$/m, lines)
      .replace('  embedded: slt\n', '  embedded: slt\n  cascade: { en: Adrian, sw: Maya }\n'),
  )
  return check(
    {
      AGENTS_DIR: folder,
      DATA_DIR: join(folder, 'data'),
      PORT: '0',
      OPS_PORT: '0',
      OPENAI_BASE_URL: openai.baseUrl,
      GEMINI_BASE_URL: gemini.baseUrl,
      GEMINI_MODEL: 'm',
      ...env,
    },
    '--with-shop',
  )
}

t.test('each backend connects once without generating an answer', async (t) => {
  const { code, output } = await checkAgent('backend: [openai, gemini, embedded]', {
    OPENAI_API_KEY: RIGHT_KEY,
    GEMINI_API_KEY: RIGHT_KEY,
  })
  t.equal(code, 0, output)
  t.match(output, /ok +backend openai of order-status is ready after \d+ ms/)
  t.match(output, /ok +backend gemini of order-status is ready after \d+ ms/)
  t.equal(openai.script.answers + gemini.script.answers, 0)
})

t.test('wrong keys, options and addresses are reported without the key', async (t) => {
  openai.refuseSession = null
  const wrong = await checkAgent('backend: [openai, gemini]', {
    OPENAI_API_KEY: WRONG_KEY,
    GEMINI_API_KEY: RIGHT_KEY,
    GEMINI_BASE_URL: 'http://127.0.0.1:9',
  })
  t.equal(wrong.code, 2, wrong.output)
  t.match(wrong.output, /NOT OK +backend openai of order-status: openai refused the connection: HTTP 401/)
  t.match(wrong.output, /NOT OK +backend gemini of order-status: gemini: no connection \(ECONNREFUSED\)/)
  t.notMatch(wrong.output, WRONG_KEY)
  openai.refuseSession = {
    type: 'invalid_request_error',
    code: 'invalid_value',
    message: 'Invalid voice',
    param: 'session.audio.output.voice',
  }
  const voice = await checkAgent('backend: openai', { OPENAI_API_KEY: RIGHT_KEY })
  openai.refuseSession = null
  t.equal(voice.code, 2, voice.output)
  t.match(voice.output, /NOT OK +backend openai .*invalid_value \(session\.audio\.output\.voice\): Invalid voice/)
})

t.test('valid but doubtful settings are reported and pass', async (t) => {
  const { code, output } = await checkAgent(
    [
      'backend: [openai, embedded]',
      'backends: { openai: { turns: { by: server_vad } }, gemini: { temperature: 1 }, cascade: { tts: { voice: Maya } } }',
      'budget: { maxCost: 0.5, prices: { currency: EUR } }',
    ].join('\n'),
    { OPENAI_API_KEY: RIGHT_KEY, CURRENCY: 'KES' },
  )
  t.equal(code, 0, output)
  t.match(
    output,
    /LOOK AT CURRENCY is KES, and PRICES_FILE has no exchange rate from USD: the whole cost of calls is unknown/,
  )
  t.match(
    output,
    /LOOK AT budget\.maxCost of order-status has no effect with openai: there is no price in EUR for gpt-realtime-2\.1/,
  )
  t.match(output, /LOOK AT order-status: openai detects turns by itself in a list in which the gateway detects turns/)
  t.match(output, /LOOK AT order-status has options for gemini, which it does not use/)
  t.match(
    output,
    /LOOK AT order-status: voice\.cascade has no effect with speech, whose own voice Maya takes precedence/,
  )
})

t.test('check tests the services of a cascade', async (t) => {
  const cascade = await CascadeDouble.start({ key: RIGHT_KEY })
  const soniox = await SonioxDouble.start({ key: RIGHT_KEY })
  t.teardown(() => Promise.all([cascade.close(), soniox.close()]))
  const env = {
    LLM_URL: cascade.baseUrl,
    LLM_API_KEY: RIGHT_KEY,
    TTS_URL: cascade.baseUrl,
    TTS_API_KEY: RIGHT_KEY,
    SONIOX_STT_URL: soniox.baseUrl,
  }
  const wrong = await checkAgent('backend: cascade', { ...env, SONIOX_API_KEY: WRONG_KEY })
  t.equal(wrong.code, 2, wrong.output)
  t.match(wrong.output, /NOT OK +backend cascade of order-status: cascade: stt soniox: HTTP 401/)
  t.match(wrong.output, /LOOK AT order-status: tts speech does not tell when a word sounds/)
  t.notMatch(wrong.output, WRONG_KEY)
})

t.test('a budget without an exchange rate fails the check', async (t) => {
  const cascade = await CascadeDouble.start({ key: RIGHT_KEY })
  t.teardown(() => cascade.close())
  const folder = t.testdir({
    'numbers.yaml':
      "version: 1\nnumbers: { '+254720000101': { agent: order-status, facts: { name: Duka }, budget: { perDay: 100 } } }\n",
    'prices.yaml': 'currency: USD\nexchange: { readOn: 2026-11-20, rates: { KES: 130 } }\n',
  })
  const urls = { STT_URL: cascade.baseUrl, LLM_URL: cascade.baseUrl, TTS_URL: cascade.baseUrl }
  const keys = { STT_API_KEY: RIGHT_KEY, LLM_API_KEY: RIGHT_KEY, TTS_API_KEY: RIGHT_KEY }
  const env = { ...urls, ...keys, CURRENCY: 'KES', NUMBERS_FILE: join(folder, 'numbers.yaml') }
  const unrated = await checkAgent('backend: cascade', env)
  t.equal(unrated.code, 2, unrated.output)
  t.match(unrated.output, /NOT OK .*numbers\.yaml:2:\d+: budget: PRICES_FILE has no exchange rate from USD to KES/)
  const rated = await checkAgent('backend: cascade', { ...env, PRICES_FILE: join(folder, 'prices.yaml') })
  t.equal(rated.code, 0, rated.output)
  t.match(
    rated.output,
    /LOOK AT the budget of a number does not count the models of order-status on cascade: .*no price in USD for [^\n]*; allowed: one in PRICES_FILE, or in budget\.prices of the agent/,
  )
})

t.test('a handover to an agent with missing facts is reported', async (t) => {
  const agent = (name: string, more: string): string => `version: 1\nname: ${name}\nbackend: embedded\n${more}\n`
  const folder = t.testdir({
    agents: {
      'front.yaml': agent('front', 'instructions: Help.\nhandoverTo: { desk: they ask for it }'),
      'desk.yaml': agent('desk', "instructions: 'You answer in {{business.location}}.'"),
    },
    'numbers.yaml': [
      'version: 1',
      'numbers:',
      "  '+254720000101': { agent: front, facts: { name: Duka } }",
      "  '+254720000102': { agent: desk, facts: { name: Duka, location: Gikomba } }\n",
    ].join('\n'),
  })
  const env = { AGENTS_DIR: join(folder, 'agents'), NUMBERS_FILE: join(folder, 'numbers.yaml') }
  t.match(
    (await check(env)).output,
    /LOOK AT front hands over to desk, which reads the facts location: calls of a number/,
  )
})

/** Mistakes of people in their first hour: each is said in one clear line, with exit code 2. */

const AGENT = 'version: 1\nname: a\ninstructions: Help.\n'

t.test("each beginner's mistake is one line with exit code 2", async (t) => {
  const port = await portOf(t, createServer())
  const folder = t.testdir({
    data: {},
    good: { 'a.yaml': AGENT },
    key: { 'a.yaml': `${AGENT}greating: Hello.\n` },
    tab: { 'a.yaml': `${AGENT}silence:\n\tafterMs: 8000\n` },
    model: { 'a.yaml': `${AGENT}backend: openai\n` },
    twice: { 'a.yaml': AGENT, 'b.yaml': AGENT },
    scenario: {
      'x.yaml': 'version: 1\nagent: sales\ncaller: { steps: [{ say: Hello. }] }\nexpect: { outcome: contained }\n',
    },
    settings: { 'key.yaml': 'maxCall: 5\n', 'tab.yaml': 'maxCalls: 5\n\tport: 8080\n' },
  })
  const at = (path: string): string => join(folder, path)
  const env = { PORT: '0', OPS_PORT: '0', DATA_DIR: at('data'), AGENTS_DIR: at('good') }
  const cases: readonly (readonly [string, readonly string[], Readonly<Record<string, string>>, RegExp])[] = [
    [
      'a wrong key in an agent',
      ['check'],
      { AGENTS_DIR: at('key') },
      /a\.yaml:4:1: greating .*did you mean greeting\?/,
    ],
    ['a tab in an agent', ['check'], { AGENTS_DIR: at('tab') }, /a\.yaml:5:1: .*tab/i],
    [
      'a wrong key in the settings',
      ['check', '--config', at('settings/key.yaml')],
      {},
      /key\.yaml:1:1: unknown setting 'maxCall'; did you mean maxCalls\?$/,
    ],
    [
      'a tab in the settings',
      ['check', '--config', at('settings/tab.yaml')],
      {},
      /tab\.yaml:2:1: Tabs are not allowed as indentation$/,
    ],
    ['a misspelt variable', ['check'], { MAX_CALL: '5' }, /MAX_CALL is not a setting; did you mean MAX_CALLS\?/],
    [
      'a certificate without its key',
      ['check'],
      { TLS_CERT: at('good/a.yaml') },
      /TLS_KEY is not set, but TLS_CERT is; allowed: both/,
    ],
    [
      'an invalid certificate',
      ['check'],
      { TLS_CERT: at('good/a.yaml'), TLS_KEY: at('good/a.yaml') },
      /TLS_CERT is '.*a\.yaml', which is not PEM; allowed: a file with a certificate as PEM$/,
    ],
    ['a port in use', ['check'], { PORT: String(port) }, new RegExp(`PORT 127\\.0\\.0\\.1:${port}: EADDRINUSE`)],
    [
      'a model without its key',
      ['check'],
      { AGENTS_DIR: at('model') },
      /agent a uses backend openai, but OPENAI_API_KEY is not set/,
    ],
    ['a name that two agents have', ['check'], { AGENTS_DIR: at('twice') }, /b\.yaml.* a .*a\.yaml/],
    [
      'a scenario of an agent that is not there',
      ['simulate', at('scenario')],
      {},
      /x\.yaml: there is no agent sales; allowed: a$/,
    ],
    ['a file that is not there', ['simulate', at('nothing.yaml')], {}, /nothing\.yaml cannot be read/],
  ]
  for (const [what, argv, more, expected] of cases) {
    const { code, out, err } = await command(argv, { env: { ...env, ...more } })
    t.equal(code, 2, what)
    const said = [...err.trim().split('\n'), ...out.split('\n').filter((line) => line.startsWith('NOT OK'))].filter(
      (line) => line !== '',
    )
    t.equal(said.length, 1, `${what}: one line`)
    t.match(said[0], expected, what)
  }
})
