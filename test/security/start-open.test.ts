import { execFile } from 'node:child_process'
import { createInterface } from 'node:readline'
import t from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { exposureOf, isLoopback } from '../../src/config/exposure.js'
import { loadConfig } from '../../src/config/load-config.js'
import { repositoryFile } from '../deploy/deploy-files.js'
import { newSid, post, ringing, startGateway } from '../edge/gateway.js'
import { MKONDO } from '../cli/mkondo-process.js'
import { spawnOwn } from '../support/spawn-own.js'

const OPS_TOKEN = 'ops-token-of-a-test-1'
const READ_TOKEN = 'read-token-of-a-test'
const SECRETS = { SAUTIKIT_WEBHOOK_SECRETS: 'whsec_of_a_test' }

type Env = Readonly<Record<string, string>>

function mkondo(command: string, env: Env): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    // Where it would start after all, it must not stay.
    execFile(
      process.execPath,
      [...MKONDO, command],
      { env: { PATH: process.env['PATH'] ?? '', ...env }, timeout: 30_000 },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code ?? -1), output: stdout + stderr })
      },
    )
  })
}

/** Settings that let strangers in, and the beginning of the line that says so. */
const OPEN: readonly (readonly [attack: string, env: Env, line: RegExp])[] = [
  [
    'anybody drains the gateway',
    { OPS_HOST: '0.0.0.0' },
    /^OPS_HOST is '0\.0\.0\.0' without OPS_TOKEN: .*allowed: a loopback address, or an OPS_TOKEN/,
  ],
  [
    'anybody reaches the ops port by name',
    { OPS_HOST: 'gateway.internal' },
    /^OPS_HOST is 'gateway\.internal' without OPS_TOKEN/,
  ],
  [
    'anybody places calls by the public URL',
    { PUBLIC_URL: 'https://gw.example.com' },
    /^PUBLIC_URL is 'https:\/\/gw\.example\.com' without SAUTIKIT_WEBHOOK_SECRETS/,
  ],
  [
    'anybody places calls by the public URL, behind a balancer',
    { PUBLIC_URL: 'https://gw.example.com', HOST: '0.0.0.0' },
    /^PUBLIC_URL is/,
  ],
  [
    'anybody of the network places calls',
    { HOST: '0.0.0.0' },
    /^HOST is '0\.0\.0\.0' without SAUTIKIT_WEBHOOK_SECRETS: .*allowed: a loopback address/,
  ],
  ['anybody of the network places calls by IPv6', { HOST: '::' }, /^HOST is '::' without/],
  [
    'a token for metrics alone leaves the rest open',
    { OPS_READ_TOKEN: READ_TOKEN },
    /^OPS_READ_TOKEN is set without OPS_TOKEN/,
  ],
  [
    'whoever reads metrics ends calls',
    { OPS_TOKEN, OPS_READ_TOKEN: OPS_TOKEN },
    /^OPS_READ_TOKEN is the same as OPS_TOKEN/,
  ],
  [
    'whoever reaches the internal port is another node',
    { INTERNAL_HOST: '0.0.0.0' },
    /^INTERNAL_HOST is '0\.0\.0\.0' without TOKEN_SECRET/,
  ],
]

t.test('an exposed gateway does not start without INSECURE', async (t) => {
  for (const [attack, env, line] of OPEN) {
    const { open, refused } = exposureOf(loadConfig(env, null))
    t.equal(open.length, 1, attack)
    t.match(open[0], line, attack)
    t.equal(refused, true, attack)
    t.notMatch(open[0], new RegExp(`${OPS_TOKEN}|${READ_TOKEN}`), 'no secret is shown')
    t.match(
      exposureOf(loadConfig({ ...env, INSECURE: 'true' }, null)),
      { open: [line], refused: false },
      `${attack}: INSECURE`,
    )
  }
  const closed: readonly Env[] = [
    {},
    { HOST: 'localhost' },
    { HOST: '127.1.2.3' },
    { HOST: '::1' },
    { HOST: '0.0.0.0', ...SECRETS },
    { PUBLIC_URL: 'https://gw.example.com', ...SECRETS },
    { OPS_HOST: '0.0.0.0', OPS_TOKEN },
    { INTERNAL_HOST: '0.0.0.0', TOKEN_SECRET: 'a-secret-of-the-fleet' },
    { INTERNAL_HOST: '::1' },
    { OPS_TOKEN, OPS_READ_TOKEN: READ_TOKEN },
  ]
  for (const env of closed) t.same(exposureOf(loadConfig(env, null)), { open: [], refused: false }, JSON.stringify(env))
})

t.test('only addresses of this machine count as loopback', async (t) => {
  for (const host of [
    '127.0.0.1',
    '127.255.255.254',
    '::1',
    '0:0:0:0:0:0:0:1',
    '::ffff:127.0.0.1',
    'localhost',
    'LOCALHOST',
    'gw.localhost',
  ]) {
    t.ok(isLoopback(host), host)
  }
  for (const host of [
    '0.0.0.0',
    '::',
    '::ffff:0.0.0.0',
    '10.0.0.1',
    '128.0.0.1',
    'fe80::1',
    'notlocalhost',
    'localhost.example',
    '127.0.0.1.example',
    '',
  ]) {
    t.notOk(isLoopback(host), host)
  }
})

t.test('serve and check refuse exposure with exit code 2', async (t) => {
  const ports = { PORT: '0', OPS_PORT: '0', SHOP_API_URL: 'http://127.0.0.1:1' }
  const env = { ...ports, HOST: '0.0.0.0', OPS_HOST: '0.0.0.0' }
  const served = await mkondo('serve', env)
  t.equal(served.code, 2)
  const lines = served.output.trim().split('\n')
  t.match(lines, [/^mkondo: HOST is '0\.0\.0\.0'.*INSECURE=true/, /^mkondo: OPS_HOST is '0\.0\.0\.0'.*INSECURE=true/])
  t.equal(lines.length, 2, 'each thing that is open has its line, and nothing was started')
  const checked = await mkondo('check', env)
  t.equal(checked.code, 2)
  for (const line of exposureOf(loadConfig(env, null)).open) t.match(checked.output, `NOT OK  ${line}`)
  const insecure = await mkondo('check', { ...env, INSECURE: 'true' })
  t.match(insecure.output, /LOOK AT HOST is '0\.0\.0\.0'/)
  t.notMatch(insecure.output, /NOT OK +(HOST|OPS_HOST) is/)
})

t.test('a gateway that starts exposed logs a warning', async (t) => {
  const child = spawnOwn(process.execPath, [...MKONDO, 'serve'], {
    env: {
      PATH: process.env['PATH'] ?? '',
      PORT: '0',
      OPS_PORT: '0',
      OPS_HOST: '0.0.0.0',
      INSECURE: 'true',
      SHOP_API_URL: 'http://127.0.0.1:1',
      DATA_DIR: t.testdir({}),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  for await (const line of createInterface(child.stdout)) {
    t.match(
      JSON.parse(line),
      { level: 'warn', open: [/^OPS_HOST is '0\.0\.0\.0' without OPS_TOKEN/] },
      'its first line',
    )
    break
  }
})

t.test('unsigned webhooks at a public URL need INSECURE', async (t) => {
  const closed = await startGateway(t, { publicUrl: 'https://gw.example.com' })
  t.match(await post(`${closed.url}/voice/order-status`, { form: ringing(newSid()) }), {
    status: 401,
    code: 'WEBHOOK_UNSIGNED',
  })
  const open = await startGateway(t, { publicUrl: 'https://gw.example.com', insecure: true })
  t.equal((await post(`${open.url}/voice/order-status`, { form: ringing(newSid()) })).status, 200)
})

interface Compose {
  readonly services: { readonly gateway: { readonly environment: Readonly<Record<string, string>> } }
}

interface PodSpec {
  readonly kind: string
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly containers: readonly { readonly env: readonly { readonly name: string; readonly value?: string }[] }[]
      }
    }
  }
}

const compose = (parse(repositoryFile('deploy/compose.yaml')) as Compose).services.gateway.environment

/** NAME=value pairs of one line. */
function pairs(line: string): Record<string, string> {
  return Object.fromEntries([...line.matchAll(/(\w+)=(\S*)/g)].map(([, name = '', value = '']) => [name, value]))
}

const pod =
  (
    parseAllDocuments(repositoryFile('deploy/kubernetes.yaml'))
      .map((document) => document.toJS() as PodSpec)
      .find(({ kind }) => kind === 'StatefulSet') as PodSpec
  ).spec.template.spec.containers[0]?.env ?? []

/** Settings of each shipped way to deploy, without its secrets. */
const SHIPPED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  Dockerfile: pairs(/^ENV (.*HOST.*)$/m.exec(repositoryFile('Dockerfile'))?.[1] ?? ''),
  'mkondo.service': pairs(/^Environment=(.*)$/m.exec(repositoryFile('deploy/systemd/mkondo.service'))?.[1] ?? ''),
  'compose.yaml': Object.fromEntries(Object.entries(compose).filter(([, value]) => !value.includes('${'))),
  'kubernetes.yaml': Object.fromEntries(
    pod.flatMap(({ name, value }) =>
      value === undefined
        ? []
        : [[name, value.replace(/\$\((?:POD|NODE)_NAME\)/, 'mkondo-0').replace('$(POD_NAMESPACE)', 'voice')]],
    ),
  ),
}

t.test('each shipped deployment is refused without its secrets', async (t) => {
  for (const [file, env] of Object.entries(SHIPPED)) {
    t.equal(env['HOST'], '0.0.0.0', `${file} sets HOST`)
    t.equal(env['INSECURE'], undefined, `${file} is not open on purpose`)
    const { NODE_ENV: _, ...settings } = env
    t.equal(exposureOf(loadConfig(settings, null)).refused, true, `${file} without secrets`)
    const secrets = {
      SAUTIKIT_WEBHOOK_SECRETS: 'whsec_of_a_test',
      OPS_TOKEN: 'ops-token-of-a-test-1',
      OPS_READ_TOKEN: 'read-token-of-a-test',
      TOKEN_SECRET: 'a-token-secret-of-a-test',
    }
    t.same(exposureOf(loadConfig({ ...settings, ...secrets }, null)).open, [], `${file} with them`)
  }
})

t.test('no secret is derived from another', async (t) => {
  for (const name of ['OPS_TOKEN', 'OPS_READ_TOKEN', 'TOKEN_SECRET', 'SAUTIKIT_WEBHOOK_SECRETS']) {
    t.match(
      compose[name],
      new RegExp(`^\\$\\{${name}:\\?[^$]+\\}$`),
      `${name} is asked for by its own name, and has no default`,
    )
  }
  const prometheus = repositoryFile('deploy/prometheus/prometheus.yml')
  const files = [...prometheus.matchAll(/credentials_file: (\S+)/g)].map(([, file]) => file)
  t.same(
    files,
    ['/etc/prometheus/ops-read-token', '/etc/prometheus/ops-read-token'],
    'Prometheus has the token that reads',
  )
  t.match(repositoryFile('.gitignore'), 'deploy/prometheus/ops-read-token')
})

t.test('the compose file has no default password', async (t) => {
  const text = repositoryFile('deploy/compose.yaml')
  const variables = [...text.matchAll(/\$\{(\w*(?:TOKEN|SECRET|PASSWORD)\w*)([^}]*)\}/g)]
  t.same([...new Set(variables.map(([, name = '']) => name))].sort(), [
    'GRAFANA_PASSWORD',
    'OPS_READ_TOKEN',
    'OPS_TOKEN',
    'REDIS_PASSWORD',
    'SAUTIKIT_WEBHOOK_SECRETS',
    'TOKEN_SECRET',
  ])
  for (const [whole, name = '', rest] of variables) {
    t.match(rest, /^:\?/, `${whole} has no default`)
    t.match(text, new RegExp(`^#.*\\b${name}\\b`, 'm'), `and the first lines say how ${name} is made`)
  }
  t.match(text, /GF_SECURITY_ADMIN_PASSWORD: \$\{GRAFANA_PASSWORD:\?/)
  t.match(text, /--requirepass,? *\n? *['"]?\$\{REDIS_PASSWORD:\?/)
})
