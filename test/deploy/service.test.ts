import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { BlockList } from 'node:net'
import { dirname, join } from 'node:path'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { packageRoot } from '../../src/config/package-root.js'
import { SETTINGS } from '../../src/config/settings.js'
import { ERRORS, HTTP_ERRORS } from '../../src/core/error-codes.js'
import { startGateway } from '../edge/gateway.js'
import {
  AFTER_DRAIN_MS,
  hasProgram,
  isSecretName,
  opsStatus,
  PROGRAMS,
  repositoryFile,
  settingValue,
  spanMs,
} from './deploy-files.js'

const unit = repositoryFile('deploy/systemd/mkondo.service')
const directives = [...unit.matchAll(/^([A-Z]\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value] as const)
const valueOf = (name: string): string => directives.findLast(([known]) => known === name)?.[1] ?? ''

t.test('systemd waits longer than the drain takes', async (t) => {
  const environment = valueOf('Environment')
    .split(' ')
    .map((pair) => pair.split('='))
  const drain = environment.find(([name]) => name === 'DRAIN_TIMEOUT')?.[1] ?? ''
  const drainMs = settingValue('DRAIN_TIMEOUT', drain)
  t.type(drainMs, 'number')
  t.ok(
    spanMs(valueOf('TimeoutStopSec')) >= Number(drainMs) + AFTER_DRAIN_MS,
    `${valueOf('TimeoutStopSec')} for ${drain}`,
  )
  t.ok(spanMs(valueOf('TimeoutStopSec')) >= SETTINGS.drainTimeoutMs.fallback + AFTER_DRAIN_MS)
  t.equal(valueOf('KillSignal'), 'SIGTERM')
  t.equal(valueOf('KillMode'), 'mixed', 'one signal, to the process itself: a second one would cut calls')
  t.notMatch(valueOf('ExecStart'), /npm|sh -c/, 'nothing between systemd and the process')
  for (const [name = '', value = ''] of environment) {
    if (name === 'UV_THREADPOOL_SIZE') t.equal(value, '64')
    else if (name !== 'NODE_ENV') t.not(settingValue(name, value), undefined, `${name}=${value} is a setting`)
  }
})

t.test('a reload sends SIGHUP to the main process', async (t) => {
  t.equal(valueOf('ExecReload'), '/bin/kill -HUP $MAINPID')
  t.match(repositoryFile('deploy/README.md'), /systemctl reload mkondo/)
})

t.test('systemd restarts after a crash, not after a settings mistake', async (t) => {
  t.equal(valueOf('Restart'), 'on-failure', 'an operator who drains it wants it stopped')
  t.equal(valueOf('RestartPreventExitStatus'), '2')
})

t.test('the unit keeps only the rights that the gateway needs', async (t) => {
  t.ok(Number(valueOf('LimitNOFILE')) >= 3 * 20_000, 'three descriptors a call at the most calls that MAX_CALLS allows')
  for (const [name, value] of [
    ['NoNewPrivileges', 'yes'],
    ['ProtectSystem', 'strict'],
    ['DynamicUser', 'yes'],
    ['CapabilityBoundingSet', ''],
    ['UMask', '0077'],
  ] as const) {
    t.ok(
      directives.some(([known, given]) => known === name && given === value),
      `${name}=${value}`,
    )
  }
  t.notOk(
    directives.some(([name]) => name === 'MemoryDenyWriteExecute'),
    'V8 compiles as it runs',
  )
})

t.test('the example environment has only settings and no secret', async (t) => {
  const lines = repositoryFile('deploy/systemd/mkondo.env.example').split('\n')
  const pairs = lines.flatMap((line) => {
    const match = /^#?([A-Z][A-Z_]+)=(.*)$/.exec(line)
    return match === null ? [] : [[match[1] as string, match[2] as string] as const]
  })
  const settings = new Map<string, { secret?: boolean }>(
    Object.values(SETTINGS).map((setting) => [setting.env, setting]),
  )
  t.ok(pairs.length >= 6)
  for (const [name, value] of pairs) {
    t.ok(settings.has(name), `${name} is a setting`)
    if (settings.get(name)?.secret === true) t.equal(value, '', `${name} is left empty`)
    else if (value !== '') t.not(settingValue(name, value), undefined, `${name}=${value}`)
  }
})

t.test('systemd-analyze accepts the unit', async (t) => {
  if (!hasProgram(t, 'systemd-analyze', 'systemd')) return
  // The program that the unit starts must be there for the check, wherever Node is installed here.
  const folder = join(t.testdir({}), 'units')
  mkdirSync(folder)
  const file = join(folder, 'mkondo.service')
  writeFileSync(file, unit.replace('/usr/bin/node', process.execPath))
  const verified = spawnSync('systemd-analyze', ['verify', '--man=no', file], { encoding: 'utf8', env: PROGRAMS })
  t.equal(verified.status, 0, verified.stderr)
  t.notMatch(verified.stderr, /mkondo\.service/)
})

t.test('each kernel setting exists and is explained', async (t) => {
  const text = repositoryFile('deploy/sysctl.conf')
  const blocks = text.split(/\n\n+/)
  const settings = blocks.flatMap((block) =>
    block
      .split('\n')
      .filter((line) => /^[a-z]/.test(line))
      .map((line) => ({ line, block })),
  )
  t.same(
    settings.map(({ line }) => line.split(' = ')[0]),
    [
      'net.ipv4.tcp_wmem',
      'net.ipv4.tcp_notsent_lowat',
      'net.ipv4.tcp_migrate_req',
      'net.ipv4.tcp_slow_start_after_idle',
      'net.ipv4.tcp_thin_linear_timeouts',
      'net.core.default_qdisc',
      'net.ipv4.tcp_congestion_control',
    ],
  )
  for (const { line, block } of settings) {
    t.match(line, /^[a-z0-9_.]+ = (\d+( \d+ \d+)?|fq|bbr)$/)
    t.match(block, /^# /, `${line} has its reason`)
  }
  const most = Number(/tcp_wmem = \d+ \d+ (\d+)/.exec(text)?.[1])
  const [highestRateBytesPerS, longestStuckS] = [32_000, 3]
  t.ok(most <= highestRateBytesPerS * longestStuckS, 'a stuck socket shows within three seconds of 16 kHz audio')
})

const root = packageRoot()
const closures = readdirSync(join(root, 'docs/closures')).map((name) => `docs/closures/${name}`)

t.test('each file and folder named by the documents exists', async (t) => {
  const documents = [
    'README.md',
    'CONTRIBUTING.md',
    'deploy/README.md',
    'docs/ARCHITECTURE.md',
    'docs/FLEET.md',
    'docs/CLOSURES.md',
    ...closures,
    'docs/ERRORS.md',
  ]
  // Paths are given from the repository, from src/, or from the folder of the document.
  const bases = ['', 'src', 'docs', 'docs/closures', 'deploy', 'src/backends', 'test']
  for (const document of documents) {
    const source = repositoryFile(document)
    const named = [
      ...source.matchAll(
        /`((?:\.\.\/)?[\w.-]+(?:\/[\w.-]+)*(?:\/|\.(?:ts|md|json|yaml|cfg|conf|cjs|service|example)))`/g,
      ),
      ...source.matchAll(/\]\((?!https?:)([^)#]+)/g),
    ]
    t.ok(named.length > 3, document)
    for (const [, path = ''] of named) {
      const file = path.replace(/^\.\.\//, '')
      t.ok(
        [...bases, dirname(document)].some((base) => existsSync(join(root, base, file))),
        `${document} names ${path}`,
      )
    }
  }
})

interface Place {
  readonly path?: string | readonly string[]
  readonly pathNot?: string
  readonly dependencyTypesNot?: readonly string[]
}

const { forbidden } = createRequire(import.meta.url)(join(root, '.dependency-cruiser.cjs')) as {
  readonly forbidden: readonly { readonly from: Place; readonly to: Place }[]
}

t.test('ARCHITECTURE.md and the linter list the same layers', async (t) => {
  const layers = [
    ...repositoryFile('docs/ARCHITECTURE.md').matchAll(/^\| (`src\/[\w-]+`(?:, `src\/[\w-]+`)*)/gm),
  ].flatMap(([, names = '']) => names.split(', ').map((name) => name.replace(/`|src\//g, '')))
  const linted = /const layers = \[([^\]]+)\]/.exec(repositoryFile('.dependency-cruiser.cjs'))?.[1] ?? ''
  t.same(
    layers,
    [...linted.matchAll(/'([\w-]+)'/g)].map(([, layer]) => layer),
  )
  const folders = readdirSync(join(root, 'src'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
  for (const folder of folders) {
    t.ok(layers.includes(folder), `${folder} has its row`)
    const [, imports = ''] = /\*\*May import\*\*: ([^(\n]*)/.exec(repositoryFile(`src/${folder}/README.md`)) ?? []
    const named = [...imports.matchAll(/`([\w-]+)`/g)].map(([, layer = '']) => layer).filter((name) => name !== 'src')
    const allowed = layers.slice(0, layers.indexOf(folder)).filter((layer) => !isForbidden(folder, layer))
    t.same(named, allowed, `src/${folder}/README.md says what it may import`)
  }
})

/** True if the import law closes one folder of src/ to another, for types too. */
function isForbidden(from: string, to: string): boolean {
  const covers = ({ path, pathNot }: Place, folder: string): boolean => {
    const file = `src/${folder}/a-file.ts`
    const found = [path ?? []].flat().some((one) => new RegExp(one).test(file))
    return found && !(pathNot !== undefined && new RegExp(pathNot).test(file))
  }
  // A rule about a face leaves the files of the face open.
  const closed = forbidden.filter(
    ({ to: place }) => place.dependencyTypesNot === undefined && place.pathNot === undefined,
  )
  return closed.some((rule) => covers(rule.from, from) && covers(rule.to, to))
}

t.test('each setting and error code named by the documents exists', async (t) => {
  const known = new Set<string>([
    ...Object.values(SETTINGS).map(({ env }) => env),
    ...[...Object.values(ERRORS), HTTP_ERRORS].flatMap(Object.keys),
  ])
  // Named to say that they are not served, or belonging to others.
  const others = new Set([
    'NODE_URL',
    'REDIS_URL',
    'POD_NAME',
    'NAMESPACE',
    'NAME',
    'BASE',
    'FILE',
    'SPECIFIER',
    'SIGTERM',
    'YAML',
    'OTEL_EXPORTER_OTLP_HEADERS',
    'NO_COLOR',
    'OTEL_SERVICE_NAME',
    'OTEL_RESOURCE_ATTRIBUTES',
    'HEAD',
    'UV_THREADPOOL_SIZE',
    'NODE_EXTRA_CA_CERTS',
    'GRAFANA_PASSWORD',
    'REDIS_PASSWORD',
  ])
  for (const document of [
    'README.md',
    'CHANGELOG.md',
    'deploy/README.md',
    'docs/ARCHITECTURE.md',
    'docs/FLEET.md',
    'docs/CLOSURES.md',
    ...closures,
    'docs/ERRORS.md',
  ]) {
    for (const [, name = ''] of repositoryFile(document).matchAll(/`([A-Z][A-Z_]{3,})(?:=[^`]*)?`/g)) {
      t.ok(known.has(name) || others.has(name), `${document} names ${name}`)
    }
  }
})

interface Instruction {
  readonly word: string
  readonly rest: string
}

/** Instructions with continued lines joined and comments gone, stage by stage. */
function stagesOf(dockerfile: string): Instruction[][] {
  const stages: Instruction[][] = [[]]
  const joined = dockerfile.replace(/^\s*#.*\n/gm, '').replace(/\\\n/g, ' ')
  for (const line of joined.split('\n').filter((text) => text.trim() !== '')) {
    const match = /^(\w+)\s+(.*)$/.exec(line.trim())
    if (match === null) throw new Error(`no instruction: ${line}`)
    const instruction = { word: (match[1] as string).toUpperCase(), rest: match[2] as string }
    if (instruction.word === 'FROM') stages.push([])
    ;(stages.at(-1) as Instruction[]).push(instruction)
  }
  return stages
}

const stages = stagesOf(repositoryFile('Dockerfile'))
const all = stages.flat()
const last = stages.at(-1) as Instruction[]
const lastOf = (word: string): string => last.findLast((instruction) => instruction.word === word)?.rest ?? ''

/** Paths of one COPY from the build's context; none when it copies from a stage. */
function sourcesOf(copy: Instruction): string[] {
  const words = copy.rest.split(/\s+/)
  return words.some((word) => word.startsWith('--from='))
    ? []
    : words.filter((word) => !word.startsWith('--')).slice(0, -1)
}

const sources = all.filter(({ word }) => word === 'COPY' || word === 'ADD').flatMap(sourcesOf)

t.test('everything that the image copies is in the repository', async (t) => {
  t.ok(sources.length >= 8, `${sources.length} sources`)
  for (const source of sources) t.ok(existsSync(join(packageRoot(), source)), source)
})

t.test('.dockerignore admits exactly the copied files', async (t) => {
  const lines = repositoryFile('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
  t.equal(lines[0], '*', 'all is left out first')
  const letIn = lines.slice(1).flatMap((line) => (line.startsWith('!') ? [line.slice(1)] : []))
  const leftOut = lines.slice(1).filter((line) => !line.startsWith('!'))
  t.ok(leftOut.every((line) => letIn.some((folder) => line.startsWith(`${folder}/`))))
  t.same([...letIn].sort(), [...new Set(sources)].sort())
})

t.test('the image is built in stages from a configurable base', async (t) => {
  t.match(all.find(({ word }) => word === 'ARG')?.rest, /^BASE=node:24-trixie-slim$/)
  const froms = all.filter(({ word }) => word === 'FROM').map(({ rest }) => rest)
  t.ok(froms.length >= 2, 'more than one stage')
  t.ok(froms.every((from) => from.startsWith('${BASE}')))
  t.ok(
    last.filter(({ word }) => word === 'RUN').every(({ rest }) => !rest.includes('npm')),
    'the last stage installs nothing',
  )
  const dist = last.find(({ word, rest }) => word === 'COPY' && rest.includes('dist'))
  t.match(dist?.rest, /^--from=build /)
})

t.test('the image runs unprivileged and drains on its stop signal', async (t) => {
  const [user] = lastOf('USER').split(':')
  t.match(user, /^[1-9]\d*$/, 'a number, so that runAsNonRoot can see that it is not root')
  t.equal(lastOf('STOPSIGNAL'), 'SIGTERM')
  const entry = JSON.parse(lastOf('ENTRYPOINT')) as string[]
  t.equal(entry[0], 'node', 'no shell and no npm between the signal and the process')
  const main = (JSON.parse(repositoryFile('package.json')) as { bin: { mkondo: string } }).bin.mkondo
  t.same(entry.slice(1), [main])
  t.same(JSON.parse(lastOf('CMD')), ['serve'])
  t.match(lastOf('ENV'), `DATA_DIR=${lastOf('VOLUME')}`)
})

t.test("the image's health check uses an existing route", async (t) => {
  const check = lastOf('HEALTHCHECK')
  const path = /\}(\/\w+)`/.exec(check)?.[1] ?? ''
  t.equal((await opsStatus(t, [path])).get(path), 200)
  t.match(check, new RegExp(`OPS_PORT \\|\\| ${SETTINGS.opsPort.fallback}\\b`))
  t.same(lastOf('EXPOSE').split(' ').map(Number), [SETTINGS.port.fallback, SETTINGS.opsPort.fallback])
  const [, command] = /CMD (\[.*\])$/.exec(check) ?? []
  const [, , script] = JSON.parse(command ?? '[]') as string[]
  const gateway = await startGateway(t)
  const run = (opsPort: number): Promise<number | null> =>
    new Promise((resolve) => {
      spawn(process.execPath, ['-e', script ?? ''], { env: { OPS_PORT: String(opsPort) }, stdio: 'ignore' }).once(
        'exit',
        resolve,
      )
    })
  t.equal(await run(gateway.edge.opsPort), 0, 'healthy')
  t.equal(await run(1), 1, 'not there')
})

t.test('the image has no secret and only known settings', async (t) => {
  for (const { word, rest } of all.filter(({ word }) => word === 'ENV' || word === 'ARG')) {
    for (const [, name = '', value = ''] of rest.matchAll(/(\w+)=(\S*)/g)) {
      t.notOk(isSecretName(name), `${word} ${name}`)
      if (word === 'ENV' && name !== 'NODE_ENV' && name !== 'UV_THREADPOOL_SIZE')
        t.not(settingValue(name, value), undefined, `${name}=${value} is a setting`)
    }
  }
  t.match(lastOf('ENV'), 'UV_THREADPOOL_SIZE=64', 'also for Kubernetes and the compose file, which use the image')
  t.notMatch(repositoryFile('Dockerfile'), /npmrc.*(auth|token)|https?:\/\/[^\s/]*@/i)
  t.equal(
    lastOf('ENV').includes('OPS_HOST'),
    false,
    'the ops port stays on loopback until somebody opens it, with a token',
  )
})

t.test('the image keeps the uWebSockets.js binary for its Node', async (t) => {
  const run = stages.flat().find(({ rest }) => rest.includes('uws_*.node'))?.rest ?? ''
  const pattern = /node -p '([^']+)'/.exec(run)?.[1]
  t.ok(pattern)
  const name = spawnSync(process.execPath, ['-p', pattern ?? ''], { encoding: 'utf8' }).stdout.trim()
  t.ok(existsSync(join(packageRoot(), 'node_modules/uWebSockets.js/dist/bin', name)), name)
  t.match(run, "import('./dist/src/edge/http/uws.js')", 'and the build tries it')
})

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

t.test('the probes use existing routes, and liveness ignores load', async (t) => {
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

t.test('each variable of the pod is a setting without secrets', async (t) => {
  for (const [name, value] of env) {
    if (name === 'POD_NAMESPACE') continue
    t.notOk(isSecretName(name), name)
    t.not(settingValue(name, value), undefined, `${name}=${value}`)
  }
  t.equal(manifests.has('Secret'), false)
})

t.test('the pod is unprivileged and writes only to its volume', async (t) => {
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

t.test('the pod requests CPU without a limit', async (t) => {
  t.equal(Number(container.resources.requests['cpu']), 1 + Number(env.get('MEDIA_WORKERS')))
  t.equal(container.resources.limits['cpu'], undefined)
  t.equal(container.resources.requests['memory'], container.resources.limits['memory'])
})

t.test('each pod is a node that others find by DNS', async (t) => {
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

t.test('each pod has a volume large enough for its data', async (t) => {
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

t.test('Prometheus reads the pods with the metrics-only token', async (t) => {
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

t.test('a draining pod stays in DNS while pods roll singly', async (t) => {
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

t.test('network policies admit only the intended peers to each port', async (t) => {
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
})

t.test('a pod reaches its services but no private address', async (t) => {
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
