import t from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { exposureOf } from '../../src/config/exposure.js'
import { loadConfig } from '../../src/config/load-config.js'
import { repositoryFile } from '../deploy/deploy-files.js'

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

/** What each shipped way to deploy sets by itself, without its secrets. */
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

t.test('each shipped deployment listens to other machines by name, and is refused without its secrets', async (t) => {
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

t.test('no secret is made out of another: who reads metrics cannot forge a token, nor end calls', async (t) => {
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

t.test('nothing in the compose file has a password that everybody knows', async (t) => {
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
