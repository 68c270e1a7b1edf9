import { BlockList } from 'node:net'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { SETTINGS } from '../../src/config/settings.js'
import { AFTER_DRAIN_MS, isSecretName, opsStatus, repositoryFile, settingValue } from './deploy-files.js'

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string }
  readonly periodSeconds: number
  readonly failureThreshold: number
}

interface Container {
  readonly env: readonly {
    readonly name: string
    readonly value?: string
    readonly valueFrom?: { readonly fieldRef: { readonly fieldPath: string } }
  }[]
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[]
  readonly startupProbe: Probe
  readonly readinessProbe: Probe
  readonly livenessProbe: Probe
  readonly lifecycle: { readonly preStop: { readonly exec: { readonly command: readonly [string, string] } } }
  readonly resources: { readonly requests: Record<string, string>; readonly limits: Record<string, string> }
  readonly securityContext: Record<string, unknown>
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[]
}

interface Pod {
  readonly terminationGracePeriodSeconds: number
  readonly automountServiceAccountToken: boolean
  readonly securityContext: Record<string, unknown>
  readonly containers: readonly [Container]
  readonly volumes?: unknown
}

interface Claim {
  readonly metadata: { readonly name: string }
  readonly spec: {
    readonly accessModes: readonly string[]
    readonly resources: { readonly requests: { readonly storage: string } }
  }
}

interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly spec: {
    readonly serviceName?: string
    readonly template?: {
      readonly metadata: { readonly labels: unknown }
      readonly spec: Pod
    }
    readonly selector: { readonly matchLabels?: unknown }
    readonly publishNotReadyAddresses?: boolean
    readonly ports?: readonly { readonly name: string; readonly port: number }[]
    readonly volumeClaimTemplates?: readonly Claim[]
    readonly podMetricsEndpoints?: readonly {
      readonly port: string
      readonly path: string
      readonly authorization: { readonly credentials: { readonly name: string; readonly key: string } }
    }[]
  }
  readonly metadata: { readonly name: string }
}

const documents = parseAllDocuments(repositoryFile('deploy/kubernetes.yaml'))
const manifests = new Map(
  documents.map((document) => {
    if ('errors' in document && document.errors.length > 0) throw document.errors[0] as Error
    const manifest = document.toJS() as Manifest
    return [manifest.kind, manifest]
  }),
)
const set = manifests.get('StatefulSet') as Manifest
const pod = set.spec.template?.spec as Pod
const container = pod.containers[0]
const portOf = (name: string): number | undefined => container.ports.find((port) => port.name === name)?.containerPort
/** Kubernetes puts `$(NAME)` of an earlier variable into a later one; what a pod gets from its own fields stands for itself. */
const FIELDS: Readonly<Record<string, string>> = { 'metadata.name': 'mkondo-0', 'metadata.namespace': 'default' }
const env = new Map<string, string>()
for (const { name, value, valueFrom } of container.env) {
  const text = value ?? FIELDS[valueFrom?.fieldRef.fieldPath ?? ''] ?? ''
  env.set(
    name,
    text.replace(/\$\((\w+)\)/g, (_, earlier: string) => env.get(earlier) ?? ''),
  )
}

t.test('a pod has time to let its calls finish', async (t) => {
  const drainMs = settingValue('DRAIN_TIMEOUT', env.get('DRAIN_TIMEOUT') ?? '')
  t.type(drainMs, 'number')
  const [program, preStopS] = container.lifecycle.preStop.exec.command
  t.equal(program, 'sleep')
  const needed = Number(drainMs) + Number(preStopS) * 1000 + AFTER_DRAIN_MS
  t.ok(pod.terminationGracePeriodSeconds * 1000 >= needed, `${pod.terminationGracePeriodSeconds} s for ${needed} ms`)
})

t.test('probes ask for routes that are there, and liveness is the patient one', async (t) => {
  const { startupProbe, readinessProbe, livenessProbe } = container
  const found = await opsStatus(
    t,
    [startupProbe, readinessProbe, livenessProbe].map((probe) => probe.httpGet.path),
  )
  t.same(
    [...found],
    [
      ['/healthz', 200],
      ['/readyz', 200],
    ],
  )
  t.equal(readinessProbe.httpGet.path, '/readyz')
  t.equal(livenessProbe.httpGet.path, '/healthz', 'nothing that depends on load or on others')
  t.ok(livenessProbe.periodSeconds * livenessProbe.failureThreshold >= 60)
  t.ok(
    readinessProbe.periodSeconds * readinessProbe.failureThreshold <=
      Number(container.lifecycle.preStop.exec.command[1]),
  )
  t.equal(portOf('ops'), SETTINGS.opsPort.fallback)
  t.equal(portOf('public'), SETTINGS.port.fallback)
  for (const probe of [startupProbe, readinessProbe, livenessProbe]) t.equal(probe.httpGet.port, 'ops')
})

t.test('each variable is a setting with a value that it takes, and no secret stands here', async (t) => {
  for (const [name, value] of env) {
    if (name === 'POD_NAMESPACE') continue
    t.notOk(isSecretName(name), name)
    t.not(settingValue(name, value), undefined, `${name}=${value}`)
  }
  t.equal(manifests.has('Secret'), false)
})

t.test('the pod is not root, writes to its data folder only and talks to no API server', async (t) => {
  t.match(pod.securityContext, { runAsNonRoot: true, runAsUser: 10001, seccompProfile: { type: 'RuntimeDefault' } })
  t.match(repositoryFile('Dockerfile'), new RegExp(`^USER ${String(pod.securityContext['runAsUser'])}:`, 'm'))
  t.match(container.securityContext, {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  })
  t.equal(pod.automountServiceAccountToken, false)
  t.same(
    container.volumeMounts.map(({ mountPath }) => mountPath),
    ['/data'],
  )
})

t.test('CPU is asked for and not limited: one core for the sockets, one for each media worker', async (t) => {
  t.equal(Number(container.resources.requests['cpu']), 1 + Number(env.get('MEDIA_WORKERS')))
  t.equal(container.resources.limits['cpu'], undefined)
  t.equal(container.resources.requests['memory'], container.resources.limits['memory'])
})

t.test('each pod is a node with a name of its own, which the others and the balancer find by DNS', async (t) => {
  const service = manifests.get('Service') as Manifest
  t.equal(env.get('NODE_NAME'), 'mkondo-0', 'the name of the pod, the same after each start')
  t.match(env.get('NODE_URL'), /^https:\/\/[\w.]+\/n\/\{node\}$/)
  t.equal(
    new URL(env.get('NODE_URL') ?? '').origin,
    env.get('PUBLIC_URL'),
    'one certificate, and one name for the carrier',
  )
  const internal = new URL(env.get('INTERNAL_URL') ?? '')
  t.equal(internal.hostname, `mkondo-0.${service.metadata.name}.default.svc.cluster.local`)
  t.equal(internal.port, env.get('INTERNAL_PORT'))
  t.equal(String(portOf('internal')), env.get('INTERNAL_PORT'))
  const balancer = repositoryFile('deploy/haproxy-fleet.cfg')
  t.ok(balancer.includes(` ${service.metadata.name}.default.svc.cluster.local:${portOf('public') ?? 0}\n`))
  t.ok(balancer.includes(`concat(.${service.metadata.name}.default.svc.cluster.local)`))
})

t.test('what a pod keeps is on a volume of its own that holds what its settings let it keep', async (t) => {
  t.equal(pod.volumes, undefined)
  const claims = set.spec.volumeClaimTemplates ?? []
  t.same(
    claims.map(({ metadata }) => metadata.name),
    container.volumeMounts.map(({ name }) => name),
  )
  const [claim] = claims
  t.same(claim?.spec.accessModes, ['ReadWriteOnce'])
  const gib = Number(/^(\d+)Gi$/.exec(claim?.spec.resources.requests.storage ?? '')?.[1])
  t.ok(gib * 1024 >= 1.1 * (SETTINGS.recordsKeepMb.fallback + SETTINGS.recordingsKeepMb.fallback), `${gib} GiB`)
})

t.test('Prometheus reads the pods with the token that reads metrics and nothing else', async (t) => {
  const monitor = manifests.get('PodMonitor')
  t.same(monitor?.spec.selector.matchLabels, set.spec.selector.matchLabels)
  const endpoints = monitor?.spec.podMetricsEndpoints ?? []
  t.same(
    endpoints.map(({ path }) => path),
    ['/metrics', '/metrics/calls'],
  )
  for (const { port, authorization } of endpoints) {
    t.type(portOf(port), 'number')
    t.same(authorization.credentials, { name: 'mkondo', key: 'OPS_READ_TOKEN' })
  }
})

t.test('a pod that drains is still found by name, and pods go one at a time', async (t) => {
  const service = manifests.get('Service') as Manifest
  t.equal(service.spec.publishNotReadyAddresses, true)
  t.equal(set.spec.serviceName, service.metadata.name)
  t.same(service.spec.selector, set.spec.selector.matchLabels)
  t.same(set.spec.template?.metadata.labels, set.spec.selector.matchLabels)
  t.same(
    service.spec.ports?.map(({ name, port }) => ({ name, containerPort: port })),
    container.ports,
  )
  t.match(manifests.get('PodDisruptionBudget'), { spec: { maxUnavailable: 1, selector: set.spec.selector } })
})

/** The network policies, as far as the tests read them. */
interface Policy {
  readonly kind: string
  readonly metadata: { readonly name: string }
  readonly spec: {
    readonly podSelector: { readonly matchLabels: Readonly<Record<string, string>> }
    readonly policyTypes: readonly string[]
    readonly ingress: readonly Rule[]
    readonly egress?: readonly Rule[]
  }
}

interface Rule {
  readonly from?: readonly Peer[]
  readonly to?: readonly Peer[]
  readonly ports?: readonly { readonly port: string | number }[]
}

interface Peer {
  readonly podSelector?: { readonly matchLabels: Readonly<Record<string, string>> }
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] }
}

const policies = new Map(
  documents
    .map((document) => document.toJS() as Policy)
    .filter(({ kind }) => kind === 'NetworkPolicy')
    .map((policy) => [policy.metadata.name, policy]),
)
const nameOf = ({ podSelector, ipBlock }: Peer): string =>
  podSelector?.matchLabels['app.kubernetes.io/name'] ?? ipBlock?.cidr ?? 'anything'

/** Who may reach a port; `anyone` for a rule without senders. */
function admitted(policy: Policy | undefined, port: string | number): string[] {
  return (policy?.spec.ingress ?? [])
    .filter(({ ports }) => ports === undefined || ports.some((each) => each.port === port))
    .flatMap(({ from }) => from?.map(nameOf) ?? ['anyone'])
    .sort()
}

t.test(
  'the internal port is for pods, the ops port for the balancer and Prometheus, and Redis for gateways',
  async (t) => {
    const gateways = policies.get('mkondo')
    t.same(gateways?.spec.podSelector, set.spec.selector)
    t.same(admitted(gateways, 'internal'), ['mkondo'])
    t.same(admitted(gateways, 'ops'), ['haproxy', 'prometheus'])
    t.same(admitted(gateways, 'public'), ['haproxy'])
    for (const { name } of container.ports) t.ok(admitted(gateways, name).length > 0, `${name} can be reached`)
    const redis = policies.get('mkondo-redis')
    t.same(redis?.spec.podSelector.matchLabels, { 'app.kubernetes.io/name': 'redis' })
    t.same(admitted(redis, 6379), ['mkondo'])
    t.same(redis?.spec.policyTypes, ['Ingress'])
  },
)

t.test('a pod reaches what it needs, and no private address or metadata service', async (t) => {
  const { egress = [], policyTypes } = policies.get('mkondo')?.spec ?? {}
  t.same(policyTypes, ['Ingress', 'Egress'])
  const reached = egress.flatMap(({ to, ports }) =>
    (to ?? [{}]).map((peer) => `${nameOf(peer)}:${ports?.[0]?.port ?? 'any'}`),
  )
  t.same(reached, [
    `mkondo:${env.get('INTERNAL_PORT') ?? ''}`,
    'anything:53',
    'redis:6379',
    'shop-api:any',
    '0.0.0.0/0:443',
    '::/0:443',
  ])
  const blocks = new BlockList()
  for (const { ipBlock } of egress.flatMap(({ to }) => to ?? []))
    for (const network of ipBlock?.except ?? []) {
      const [address = '', prefix] = network.split('/')
      blocks.addSubnet(address, Number(prefix), address.includes(':') ? 'ipv6' : 'ipv4')
    }
  for (const address of ['10.1.2.3', '172.31.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1', '127.0.0.1'])
    t.ok(blocks.check(address), address)
  for (const address of ['fd00::1', 'fe80::1', '::1']) t.ok(blocks.check(address, 'ipv6'), address)
  t.notOk(blocks.check('203.0.113.9'))
})
