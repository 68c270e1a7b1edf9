import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { packageRoot } from '../../src/config/package-root.js'
import { BOARDS, boardJson } from '../../grafana/boards.js'
import { SETTINGS } from '../../src/config/settings.js'
import { boards, filled } from './panels.js'

const at = (...path: string[]): string => join(packageRoot(), ...path)
const read = (...path: string[]): string => readFileSync(at(...path), 'utf8')

t.test('the committed dashboards match their source', async (t) => {
  for (const { file, text } of boards)
    t.equal(text, boardJson(BOARDS[file] as never), `${file}: run npm run dashboards and commit it`)
})

t.test('every panel has id, place, unit and description', async (t) => {
  for (const { file, board } of boards) {
    const ids = board.panels.map((panel) => panel.id)
    t.equal(new Set(ids).size, ids.length, `${file}: no id twice`)
    const drawn = board.panels.filter((panel) => panel.type !== 'row')
    for (const panel of drawn) {
      const where = `${file}: ${panel.title}`
      t.ok((panel.description ?? '').length > 5, `${where} says what it shows`)
      if (panel.type === 'text') continue
      t.ok(panel.fieldConfig?.defaults?.unit, `${where} has a unit`)
      t.equal(panel.datasource?.uid, '${datasource}', `${where} takes the chosen data source`)
      t.ok(panel.targets?.every((target) => target.datasource?.uid === '${datasource}'))
    }
    for (const [index, a] of drawn.entries()) {
      t.ok(a.gridPos.x + a.gridPos.w <= 24, `${file}: ${a.title} is within the grid`)
      for (const b of drawn.slice(index + 1)) {
        const apart =
          a.gridPos.x + a.gridPos.w <= b.gridPos.x ||
          b.gridPos.x + b.gridPos.w <= a.gridPos.x ||
          a.gridPos.y + a.gridPos.h <= b.gridPos.y ||
          b.gridPos.y + b.gridPos.h <= a.gridPos.y
        if (!apart) t.fail(`${file}: ${a.title} lies over ${b.title}`)
      }
    }
  }
})

/** Variables that Grafana itself defines. */
const BUILT_IN = { __rate_interval: '1m', __url_time_range: 'from=now-1h&to=now', __range: '1h', __value: 'x' }

t.test('a hostile SID cannot leave its place in a query', async (t) => {
  const hostile = `"} or vector(1) or x{y="${'A'.repeat(10_000)}\n<script>/../?a=b&c#d`
  for (const { file, board } of boards) {
    const variables: Record<string, string> = { ...BUILT_IN }
    for (const variable of board.templating.list)
      variables[variable.name] = variable.name === 'call_sid' ? hostile : 'x'
    for (const panel of board.panels) {
      for (const target of panel.targets ?? []) {
        const expr = filled(target.expr, variables)
        if (!target.expr.includes('call_sid')) continue
        // Each quote of the SID is escaped: the label's value ends where it should.
        t.match(expr, /call_sid="\\"\} or vector\(1\) or x\{y=\\"A{10000}/, `${file}: ${panel.title}`)
      }
      const text = filled(panel.options?.content ?? '', variables)
      for (const link of text.match(/\]\(([^)]*)\)/g) ?? [])
        t.notMatch(link, /["<>\s]/, `${file}: ${panel.title}, links`)
    }
    for (const link of board.links) {
      const url = filled(link.url ?? '', { ...variables, ops_url: 'http://ops', logs_url: 'http://logs/?q=' })
      if (link.type === 'link')
        t.match(new URL(url).href, /%22%7D%20or%20vector/, `${file}: the SID is one part of the address`)
    }
  }
})

/** An alert's page at the address that the operator sets, or else the file. */
const RUNBOOK_URL =
  /^\{\{ with \$externalLabels\.mkondo_docs \}\}\{\{ \. \}\}\/runbooks\/([\w#-]+)\.html\{\{ else \}\}docs\/runbooks\/([\w#-]+)\.md\{\{ end \}\}$/

/** The anchors of a page's headings, as renderers of Markdown make them. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\w -]/g, '')
      .replaceAll(' ', '-'),
  )
}

t.test('every alert has a runbook and every runbook its alert', async (t) => {
  const { groups } = parse(read('deploy', 'prometheus', 'alerts.rules.yml')) as {
    groups: {
      rules: { alert: string; labels: { severity: string }; annotations: { summary: string; runbook_url: string } }[]
    }[]
  }
  const rules = groups.flatMap((group) => group.rules)
  for (const rule of rules) {
    const [, site, file] = RUNBOOK_URL.exec(rule.annotations.runbook_url) ?? []
    const [page = '', anchor] = (file ?? '').split('#')
    t.equal(site, file, `${rule.alert}: the site and the folder have the same page`)
    t.ok(existsSync(at('docs', 'runbooks', `${page}.md`)), `${rule.alert}: ${page}`)
    const text = read('docs', 'runbooks', `${page}.md`)
    t.match(text, new RegExp(`^Alerts: .*\`${rule.alert}\``, 'm'), `${page} names ${rule.alert}`)
    if (anchor !== undefined) t.ok(anchorsOf(text).includes(anchor), `${rule.alert}: #${anchor}`)
    t.ok(['page', 'ticket'].includes(rule.labels.severity))
  }
  const tested = read('deploy', 'prometheus', 'alerts.test.yml')
  for (const rule of rules) t.ok(tested.includes(`alertname: ${rule.alert}\n`), `${rule.alert} is seen to fire`)
})

interface Service {
  readonly image?: string
  readonly environment?: Readonly<Record<string, string>>
  readonly volumes?: readonly string[]
  readonly command?: readonly string[]
  readonly depends_on?: readonly string[]
}

t.test('the compose file starts its services on existing files', async (t) => {
  const compose = parse(read('deploy', 'compose.yaml')) as {
    services: Record<string, Service>
    volumes: Record<string, unknown>
  }
  const { services, volumes } = compose
  t.same(Object.keys(services).sort(), ['gateway', 'grafana', 'prometheus', 'redis'])
  for (const [name, service] of Object.entries(services)) {
    if (name !== 'gateway') t.match(service.image, /:[\w.-]+$/, `${name} has a pinned image`)
    for (const volume of service.volumes ?? []) {
      const [source = ''] = volume.split(':')
      if (source.startsWith('.')) t.ok(existsSync(at('deploy', source)), `${name} mounts ${source}`)
      else t.ok(source in volumes, `${name} mounts a volume that is declared: ${source}`)
    }
    for (const other of service.depends_on ?? []) t.ok(other in services)
  }
  const known = new Set(Object.values(SETTINGS).map((setting) => setting.env))
  for (const name of Object.keys(services['gateway']?.environment ?? {}))
    t.ok(known.has(name), `${name} is a setting of the gateway`)
  t.equal(
    new URL(services['gateway']?.environment?.['REDIS_URL']?.replace(/\$\{[^}]+\}/, 'password') ?? '').hostname,
    'redis',
    'the gateway uses Redis',
  )
  const redis = services['redis']?.command?.join(' ')
  t.match(redis, /--appendonly yes --appendfsync everysec/, 'a restart of Redis loses no call')
  t.match(redis, /--maxmemory \S+ --maxmemory-policy noeviction/, 'and a full one throws none out')
  t.ok(services['prometheus']?.command?.includes('--enable-feature=exemplar-storage'), 'without it no dot names a call')
})

t.test('Prometheus, Grafana and the gateway agree on names and places', async (t) => {
  const { scrape_configs: jobs, rule_files: rules } = parse(read('deploy', 'prometheus', 'prometheus.yml')) as {
    scrape_configs: { job_name: string; metrics_path: string; static_configs: { targets: string[] }[] }[]
    rule_files: string[]
  }
  t.same(
    jobs.map((job) => job.metrics_path),
    ['/metrics', '/metrics/calls'],
  )
  t.ok(jobs.every((job) => job.static_configs[0]?.targets[0] === `gateway:${SETTINGS.opsPort.fallback}`))
  for (const file of rules) t.ok(existsSync(at('deploy', 'prometheus', file)), file)
  const sources = parse(read('grafana', 'provisioning', 'datasources', 'prometheus.yml')) as {
    datasources: {
      type: string
      url: string
      jsonData: { exemplarTraceIdDestinations: { name: string; url: string }[] }
    }[]
  }
  const [source] = sources.datasources
  t.match(source, { type: 'prometheus', url: 'http://prometheus:9090' })
  const [leadsTo] = source?.jsonData.exemplarTraceIdDestinations ?? []
  t.equal(leadsTo?.name, 'call_sid')
  t.ok(
    boards.some(({ board }) => leadsTo?.url.startsWith(`/d/${board.uid}?`)),
    'a dot leads to a dashboard that is there',
  )
  const providers = parse(read('grafana', 'provisioning', 'dashboards', 'mkondo.yml')) as {
    providers: { options: { path: string } }[]
  }
  t.ok(read('deploy', 'compose.yaml').includes(`:${providers.providers[0]?.options.path ?? 'nowhere'}:ro`))
})
