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
  readonly env: readonly { readonly name: string; readonly value?: string }[]
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
  readonly volumes: readonly { readonly name: string }[]
}

interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly spec: {
    readonly serviceName?: string
    readonly template?: {
      readonly metadata: { readonly labels: unknown; readonly annotations: Record<string, string> }
      readonly spec: Pod
    }
    readonly selector: { readonly matchLabels?: unknown }
    readonly publishNotReadyAddresses?: boolean
    readonly ports?: readonly { readonly port: number }[]
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
const env = new Map(container.env.map(({ name, value }) => [name, value]))

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
  const opsPort = container.ports.find(({ name }) => name === 'ops')?.containerPort
  t.equal(opsPort, SETTINGS.opsPort.fallback)
  t.equal(container.ports.find(({ name }) => name === 'public')?.containerPort, SETTINGS.port.fallback)
  for (const probe of [startupProbe, readinessProbe, livenessProbe]) t.equal(probe.httpGet.port, 'ops')
  t.equal(set.spec.template?.metadata.annotations['prometheus.io/port'], String(opsPort))
})

t.test('each variable is a setting with a value that it takes, and no secret stands here', async (t) => {
  for (const [name, value] of env) {
    if (name === 'POD_NAME') continue
    t.notOk(isSecretName(name), name)
    t.not(settingValue(name, (value ?? '').replace('$(POD_NAME)', 'mkondo-0')), undefined, `${name}=${value}`)
  }
  t.match(env.get('PUBLIC_URL'), '$(POD_NAME)', 'each pod has a name of its own, or the audio socket finds another pod')
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
  t.same(
    pod.volumes.map(({ name }) => name),
    container.volumeMounts.map(({ name }) => name),
  )
})

t.test('CPU is asked for and not limited: one core for the sockets, one for each media worker', async (t) => {
  t.equal(Number(container.resources.requests['cpu']), 1 + Number(env.get('MEDIA_WORKERS')))
  t.equal(container.resources.limits['cpu'], undefined)
  t.equal(container.resources.requests['memory'], container.resources.limits['memory'])
})

t.test('a pod that drains is still found by name, and pods go one at a time', async (t) => {
  const service = manifests.get('Service') as Manifest
  t.equal(service.spec.publishNotReadyAddresses, true)
  t.equal(set.spec.serviceName, service.metadata.name)
  t.same(service.spec.selector, set.spec.selector.matchLabels)
  t.same(set.spec.template?.metadata.labels, set.spec.selector.matchLabels)
  t.same(
    service.spec.ports?.map(({ port }) => port),
    container.ports.map(({ containerPort }) => containerPort),
  )
  t.match(manifests.get('PodDisruptionBudget'), { spec: { maxUnavailable: 1, selector: set.spec.selector } })
})
