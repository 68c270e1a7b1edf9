import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { certificateFinding } from '../../src/cli/doctor/reach.js'
import { loadConfig } from '../../src/config/load-config.js'
import { backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { familiesFinding, serviceFamilies } from '../../src/cli/families.js'
import { formOf, formsOfText, questionsOf, settingsOf } from '../../src/cli/doctor/wire-facts.js'
import type { CallFacts, PostFacts } from '../../src/cli/doctor/wire-facts.js'
import { withVariables } from '../../src/cli/serve/env-file.js'
import { PROGRAMS, hasProgram, repositoryFile } from '../deploy/deploy-files.js'
import { KEY, simulatedApi } from '../support/carrier-api.js'
import { command } from '../support/command.js'
import { comesUp, until } from '../support/until.js'
import { mkondo } from './mkondo-process.js'
import { freePort } from '../support/free-ports.js'
import { portOf } from '../support/port-of.js'
import { spawnOwn } from '../support/spawn-own.js'

/** Settings of a doctor on free ports, whose PUBLIC_URL leads to it. */
async function settings(): Promise<Record<string, string>> {
  const port = String(await freePort())
  return { PORT: port, OPS_PORT: '0', PUBLIC_URL: `http://127.0.0.1:${port}`, SAUTIKIT_API_KEY: KEY }
}

t.test('each wrong setting is reported before the carrier is asked', async (t) => {
  const { server } = await simulatedApi(t)
  const taken = String(await portOf(t, createServer()))
  const env = { ...(await settings()), SAUTIKIT_API_URL: server.origin }
  const cases: readonly (readonly [string, readonly string[], Readonly<Record<string, string>>, RegExp])[] = [
    ['no PUBLIC_URL', [], { PUBLIC_URL: '' }, /PUBLIC_URL is not set; set it to the origin/],
    ['a path in PUBLIC_URL', [], { PUBLIC_URL: 'https://x.example/voice' }, /PUBLIC_URL is 'https:.*without a path/],
    ['no key', [], { SAUTIKIT_API_KEY: '' }, /SAUTIKIT_API_KEY is not set; .*--by-hand/],
    [
      'a key that cannot be one',
      [],
      { SAUTIKIT_API_KEY: 'short' },
      /SAUTIKIT_API_KEY is set to 5 characters \(not shown\); allowed:/,
    ],
    ['a misspelt variable', [], { SAUTIKIT_WEBHOOK_SECRET: 'whsec_1' }, /did you mean SAUTIKIT_WEBHOOK_SECRETS\?/],
    ['a port in use', [], { PORT: taken }, new RegExp(`PORT: port ${taken} .*in use`)],
    ['an ops port in use', [], { OPS_PORT: taken }, new RegExp(`OPS_PORT: port ${taken} .*in use`)],
    [
      'a folder that is not there',
      ['--write', '/nowhere/at/all/.env'],
      {},
      /--write: there is no folder \/nowhere\/at\/all$/,
    ],
    ['an agent that is not there', ['--agent', 'nosuch'], {}, /--agent is 'nosuch'; allowed, from .*order-status/],
    ['two numbers at once', ['--number', '1', '--claim', '2'], {}, /cannot be used with/],
    ['an agent for a number that is led by hand', ['--by-hand', '--agent', 'support'], {}, /cannot be used with/],
    ['no time to wait', ['--wait', '5'], {}, /--wait is "5"; allowed: a whole number from 10 to 3600/],
    ['an unknown option', ['--numbr', '1'], {}, /unknown option '--numbr'; did you mean --number\?/],
  ]
  for (const [what, argv, more, expected] of cases) {
    const { code, out, err } = await command(['doctor', ...argv], { env: { ...env, ...more } })
    t.equal(code, 2, what)
    t.equal(out, '', `${what}: nothing is begun`)
    const lines = err.trim().split('\n')
    t.equal(lines.length, 1, `${what}: one line`)
    t.match(lines[0], expected, what)
  }
  t.same(server.seen, [])
})

t.test('the doctor neither guesses nor claims a number', async (t) => {
  const number = (id: string, e164: string) => ({ id, e164, status: 'active', voiceUrl: null, eventsUrl: null })
  const two = await simulatedApi(t, {
    with: { owned: [number('num_1', '+254700000001'), number('num_2', '+254700000002')] },
  })
  const none = await simulatedApi(t, { with: { owned: [] } })
  const env = await settings()
  const doctor = (
    origin: string,
    argv: readonly string[],
    ask: ((question: string) => Promise<string>) | null = null,
  ) => command(['doctor', '--no-reach', ...argv], { env: { ...env, SAUTIKIT_API_URL: origin }, ask })
  t.match(await doctor(two.server.origin, []), { code: 2, err: /the workspace has 2 numbers; --number says which/ })
  t.match(await doctor(two.server.origin, ['--number', '+254700009999']), { code: 2, err: /no such number/ })
  t.match(await doctor(none.server.origin, []), { code: 2, err: /has no number yet; --claim NUMBER takes one/ })
  let asked = ''
  const no = (question: string): Promise<string> => {
    asked = question
    return Promise.resolve('n')
  }
  t.match(await doctor(none.server.origin, [], no), { code: 2 })
  t.match(asked, /^The workspace has no number\. Claim \+254700000100 for KES 500\.00 a month\? \[y\/N\] $/)
  t.same(none.workspace.numbers, [])
  const refused = await simulatedApi(t, { keys: { [KEY]: ['numbers.read'] } })
  const said = await doctor(refused.server.origin, [])
  t.equal(said.code, 1)
  t.match(said.out, /^NOT OK +number: .*403 \(api_key\.scope_denied/m)
})

t.test('an unusable Redis is reported and no call is placed', async (t) => {
  const { server } = await simulatedApi(t)
  const env = {
    ...{ ...(await settings()), SAUTIKIT_API_URL: server.origin, TOKEN_SECRET: 'a-secret-of-the-fleet' },
    ...{ REDIS_URL: `redis://:siri@127.0.0.1:${await freePort()}`, NODE_URL: 'https://voice.example.com/n/gw-1' },
  }
  const { code, out } = await command(['doctor', '--no-reach'], { env })
  t.equal(code, 1)
  t.match(out, /^NOT OK +REDIS_URL cannot be used: the connection was refused$/m)
  t.notMatch(out, /siri/)
})

t.test("a stopped doctor restores the number's route", async (t) => {
  const before = 'https://elsewhere.example/voice'
  const { server, workspace } = await simulatedApi(t, {
    with: { owned: [{ id: 'num_1', e164: '+254700000001', status: 'active', voiceUrl: before, eventsUrl: null }] },
  })
  const stop = new AbortController()
  const running = command(['doctor', '--number', '254 700 000 001'], {
    env: { ...(await settings()), SAUTIKIT_API_URL: server.origin },
    signal: stop.signal,
  })
  await until(
    () => workspace.numbers[0]?.voiceUrl?.includes('/voice/doctor-') === true,
    10_000,
    'the number to lead here',
  )
  stop.abort()
  const { code, out } = await running
  t.equal(code, 1)
  t.match(out, /NOT OK +call: stopped\nok +number: \+254700000001 leads to https:\/\/elsewhere\.example\/voice\n$/)
  t.equal(workspace.numbers[0]?.voiceUrl, before)
})

// --- PUBLIC_URL ---------------------------------------------------------------------------------------------

/** The doctor's finding about a PUBLIC_URL before it goes on. */
async function reached(t: Test, publicUrl: string): Promise<string> {
  const { server } = await simulatedApi(t)
  const { code, out } = await command(['doctor'], {
    env: { ...(await settings()), PUBLIC_URL: publicUrl, SAUTIKIT_API_URL: server.origin },
  })
  t.equal(code, 1, publicUrl)
  t.same(server.seen, [], 'the carrier is not asked for anything')
  return out
}

t.test('a wrong PUBLIC_URL is reported with its fault', async (t) => {
  t.match(
    await reached(t, 'https://nowhere.invalid'),
    /NOT OK +DNS: nowhere\.invalid has no address \(E\w+\); set its A or AAAA record/,
  )
  t.match(
    await reached(t, `https://127.0.0.1:${await freePort()}`),
    /LOOK AT +DNS: .* not a public address[^]*NOT OK +TLS: nothing listens there \(ECONNREFUSED\)/,
  )
  const answering = async (listener: RequestListener): Promise<string> =>
    reached(t, `http://127.0.0.1:${await portOf(t, createServer(listener))}`)
  t.match(
    await answering((_request, response) => response.writeHead(404).end('nothing here')),
    /NOT OK +webhooks: PUBLIC_URL does not lead to this process: another server answers \(404\); route it to port \d+ \(PORT\)/,
  )
  t.match(
    await answering((_request, response) => response.writeHead(301, { location: 'https://x.example/' }).end()),
    /a redirect \(301\), which the carrier does not follow/,
  )
  t.match(
    await reached(t, `http://127.0.0.1:${await freePort()}`),
    /NOT OK +webhooks: PUBLIC_URL cannot be reached from here \(ECONNREFUSED\)/,
  )
})

t.test('a proxy without WebSocket upgrades is reported', async (t) => {
  const env = await settings()
  const { server } = await simulatedApi(t)
  const proxy = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      void fetch(`http://127.0.0.1:${env['PORT'] ?? ''}${request.url ?? ''}`, {
        method: 'POST',
        headers: { 'x-mkondo-doctor': String(request.headers['x-mkondo-doctor']) },
        body: Buffer.concat(chunks),
      }).then(async (answer) => response.writeHead(answer.status).end(await answer.text()))
    })
  })
  proxy.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n'))
  const { code, out } = await command(['doctor'], {
    env: { ...env, PUBLIC_URL: `http://127.0.0.1:${await portOf(t, proxy)}`, SAUTIKIT_API_URL: server.origin },
  })
  t.equal(code, 1)
  t.match(out, /ok +webhooks: PUBLIC_URL leads to this process/)
  t.match(
    out,
    /NOT OK +audio: the socket cannot be opened through PUBLIC_URL \(.*400\); the proxy must forward WebSocket upgrades/,
  )
})

/** A certificate of its own authority for `localhost`. */
function certificate(t: Test): { readonly folder: string; readonly key: string; readonly cert: string } {
  const folder = t.testdir({ certs: {} })
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const made = spawnSync('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30'],
    ...[
      '-subj',
      '/O=Test Authority/CN=localhost',
      '-addext',
      'subjectAltName=DNS:localhost',
      '-keyout',
      key,
      '-out',
      cert,
    ],
  ])
  t.equal(made.status, 0, String(made.stderr))
  writeFileSync(join(folder, 'certs', 'both.pem'), readFileSync(cert, 'utf8') + readFileSync(key, 'utf8'))
  return { folder, key, cert }
}

t.test('a certificate the carrier would refuse is reported with advice', async (t) => {
  if (!hasProgram(t, 'openssl', 'openssl')) return
  const { key, cert } = certificate(t)
  const server = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) })
  t.match(
    await reached(t, `https://localhost:${await portOf(t, server)}`),
    /NOT OK +TLS: the certificate is self-signed; use one of a public authority \(DEPTH_ZERO_SELF_SIGNED_CERT\)/,
  )
  const of = (days: number) =>
    certificateFinding(
      {
        valid_to: new Date(days * 86_400_000).toUTCString(),
        issuer: { O: 'Authority', CN: 'R1', C: 'KE', ST: '', L: '', OU: '' },
      },
      'TLSv1.3',
      0,
    )
  t.same(of(80), { ok: true, what: 'TLS: TLSv1.3, certificate of Authority, 80 days left' })
  t.same(of(3), { ok: null, what: 'TLS: TLSv1.3, certificate of Authority, 3 days left: renew it' })
})

t.test('the doctor is reached through the shipped haproxy with TLS', async (t) => {
  if (!hasProgram(t, 'haproxy', 'haproxy') || !hasProgram(t, 'openssl', 'openssl')) return
  const { folder, cert } = certificate(t)
  const [port, own, ops] = [await freePort(), await freePort(), await freePort()]
  const config = repositoryFile('deploy/haproxy.cfg')
    .replace(/bind :443 ssl crt \S+/, `bind 127.0.0.1:${port} ssl crt ${join(folder, 'certs')}/`)
    .replace(/maxconn \d+/, 'maxconn 200')
    .replace(/server (gw-1) \S+:8080/g, `server $1 127.0.0.1:${own}`)
    .replace(/server (gw-2) \S+:8080/g, `server $1 127.0.0.1:${await freePort()}`)
    .replace('check port 9464 inter 2s', `check port ${ops} inter 200ms`)
  mkdirSync(join(folder, 'haproxy'))
  const file = join(folder, 'haproxy', 'haproxy.cfg')
  writeFileSync(file, config)
  const haproxy = spawnOwn('haproxy', ['-db', '-f', file], { stdio: 'ignore', env: PROGRAMS })
  t.teardown(() => haproxy.kill('SIGKILL'))
  const doctor = mkondo(['doctor', '--by-hand'], {
    PORT: String(own),
    OPS_PORT: String(ops),
    PUBLIC_URL: `https://localhost:${port}`,
    NODE_EXTRA_CA_CERTS: cert,
  })
  await comesUp(
    doctor.child,
    () => doctor.lines.some((line) => line.startsWith('Now call')),
    20_000,
    'a doctor that waits for the call',
    () => doctor.lines.join('\n'),
  )
  doctor.child.kill('SIGTERM')
  t.equal(await doctor.exit, 1)
  const text = doctor.lines.join('\n')
  t.match(text, /^ok +TLS: TLSv1\.3, certificate of Test Authority, (?:29|30) days left$/m)
  t.match(text, /^ok +webhooks: PUBLIC_URL leads to this process/m)
  t.match(text, /^ok +audio: the socket opens through PUBLIC_URL/m)
  t.match(text, new RegExp(`^  voice   https://localhost:${port}/voice/doctor-[0-9a-f]{32}$`, 'm'))
})

// --- what follows from a call -------------------------------------------------------------------------------

t.test("the doctor's report keeps only the form of values", (t) => {
  const forms: readonly (readonly [string, unknown, string])[] = [
    ['callerNumber', '+254711222333', '+<12 digits>'],
    ['callerNumber', '0711222333', '<10 digits>'],
    ['sessionId', 'HD_0a8d5911d055', 'HD_<12 hex>'],
    ['callSessionState', 'Ringing', 'Ringing'],
    ['status', '+254711222333', '+<12 digits>'],
    ['callSessionState', 'call from 254711222333', '<22 characters>'],
    ['isActive', '1', '1'],
    ['isActive', true, 'true'],
    ['cost', 350, '<number>'],
    ['name', 'Wanjiku', '<7 characters>'],
    ['occurred_at', '2026-11-20T08:00:00Z', '<time>'],
    ['url', 'wss://gw.example/audio?t=secret', '<url>'],
    ['digits', '', '<empty>'],
  ]
  for (const [name, value, form] of forms) t.equal(formOf(name, value), form, `${name} ${String(value)}`)
  t.same(formsOfText('{"event":"start","headers":"{\\"pin\\":\\"1234\\"}","media":{"rate":16000}}'), {
    event: 'start',
    'headers.pin': '<4 digits>',
    'media.rate': '<number>',
  })
  t.same(formsOfText('call of Wanjiku'), { '(no JSON)': '<15 characters>' })
  t.end()
})

const post = (form: PostFacts['signature']['form'], secret: number | null): PostFacts => ({
  atMs: 0,
  url: 'voice',
  contentType: null,
  state: 'ringing',
  signature: { form, secret },
  fields: {},
})
const call = (posts: readonly PostFacts[], seen: CallFacts['afterStream']['seen'] = 'unknown'): CallFacts => ({
  track: 'inbound_track',
  posts,
  stream: null,
  afterStream: { seen, askedBy: null, askedAfterMs: null, hangUp: null },
})

t.test('the doctor asks the open questions of PROTOCOL.md', (t) => {
  const [, rows = ''] =
    /## 8\. Open questions\n[^|]*\|[^\n]*\n\|[-|]+\n((?:\|.*\n)+)/.exec(repositoryFile('docs/PROTOCOL.md')) ?? []
  t.same(
    questionsOf([]).map(({ question }) => question),
    rows
      .trimEnd()
      .split('\n')
      .map((row) => row.split('|')[1]?.trim()),
  )
  t.ok(questionsOf([]).every(({ answer }) => answer === null))
  t.ok(
    questionsOf([call([post('dated', 1)])]).some(
      ({ answer }) => answer === 'yes (t=…,v1=…), with secret 1 of SAUTIKIT_WEBHOOK_SECRETS',
    ),
  )
  t.end()
})

t.test('settings follow only from observed behaviour', (t) => {
  t.same(settingsOf([call([])], []), {})
  t.same(settingsOf([call([post('dated', 2)], 'holds')], ['route:put']), {
    SAUTIKIT_AFTER_STREAM: 'holds',
    SAUTIKIT_BARE_SIGNATURES: 'false',
    SAUTIKIT_API_PATHS: 'route:put',
  })
  t.same(settingsOf([call([post('dated', 1), post('bare', 1)])], []), { SAUTIKIT_BARE_SIGNATURES: 'true' })
  t.same(settingsOf([call([post('dated', 1), post('none', null)])], []), {}, 'unsigned posts would be refused')
  t.same(settingsOf([call([post('bare', null)])], []), {}, 'a matching secret is needed first')
  t.same(
    settingsOf([call([], 'continues'), call([])], []),
    { SAUTIKIT_AFTER_STREAM: 'continues' },
    'a call without findings does not hide an earlier finding',
  )
  t.end()
})

t.test('variables are replaced in place in an environment file', (t) => {
  t.equal(withVariables('', { A: '1' }), 'A=1\n')
  t.equal(withVariables('# x\nA=0\nB=2', { A: '1', C: '3' }), '# x\nA=1\nB=2\nC=3\n')
  t.equal(
    withVariables('# A=0\nexport A=0\n', { A: '1' }),
    '# A=0\nA=1\n',
    'an active line is replaced before a comment',
  )
  t.equal(withVariables('# A=learn\nAB=0\n', { A: '1' }), 'A=1\nAB=0\n')
  t.end()
})

t.test('a service that answers over one IP family is reported', async (t) => {
  const port = await portOf(t, createServer())
  const url = new URL(`http://service.test:${port}`)
  const at =
    (...addresses: readonly string[]) =>
    () =>
      Promise.resolve(addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })))
  t.match(await familiesFinding('api', url, at('::1', '127.0.0.1')), {
    ok: null,
    what: /^api: service\.test answers over only one address family: IPv4 in \d+ ms, IPv6 not \([A-Z]+\); .* 1500 ms/,
  })
  t.match(await familiesFinding('api', url, at('127.0.0.1')), {
    ok: true,
    what: /^api: service\.test answers over IPv4 in \d+ ms$/,
  })
  t.equal(await familiesFinding('api', new URL(`http://127.0.0.1:${port}`), at('127.0.0.1')), null)
  t.equal(await familiesFinding('api', url, () => Promise.reject(new Error('no such name'))), null)
  t.equal(await familiesFinding('api', new URL(`http://localhost:${port}`), at('::1', '127.0.0.1')), null)
})

t.test('each speech service host is tried over both families', async (t) => {
  const port = await portOf(t, createServer())
  const settings = backendSettings(
    loadConfig(
      {
        REALTIME_URL: `http://models.test:${port}/v1`,
        LLM_URL: `http://models.test:${port}/v1`,
        OPENAI_API_KEY: 'a-key-of-a-test-and-of-nothing-else',
        SONIOX_API_KEY: 'a-key-of-a-test-and-of-nothing-else',
        AZURE_SPEECH_KEY: 'a-key-of-a-test-and-of-nothing-else',
        AZURE_SPEECH_REGION: 'westeurope',
        GOOGLE_SPEECH_API_KEY: 'a-key-of-a-test-and-of-nothing-else',
      },
      null,
    ),
  )
  const asked: string[] = []
  const findings = await serviceFamilies(settings, (host) => {
    asked.push(host)
    const addresses = host === 'models.test' ? ['::1', '127.0.0.1'] : []
    return Promise.resolve(addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })))
  })
  t.same(asked.toSorted(), [
    'api.openai.com',
    'models.test',
    'speech.googleapis.com',
    'stt-rt.soniox.com',
    'texttospeech.googleapis.com',
    'tts-rt.soniox.com',
    'westeurope.stt.speech.microsoft.com',
    'westeurope.tts.speech.microsoft.com',
  ])
  t.match(findings, [{ ok: null, what: /^self-hosted: models\.test answers over only one address family/ }])
})
