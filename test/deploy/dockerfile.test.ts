import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { SETTINGS } from '../../src/config/settings.js'
import { startGateway } from '../edge/gateway.js'
import { isSecretName, opsStatus, repositoryFile, settingValue } from './deploy-files.js'

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

t.test('everything that is copied passes .dockerignore, and nothing else gets into the build', async (t) => {
  const lines = repositoryFile('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
  t.equal(lines[0], '*', 'all is left out first')
  const letIn = lines.slice(1).map((line) => line.replace(/^!/, ''))
  t.ok(lines.slice(1).every((line) => line.startsWith('!')))
  t.same([...letIn].sort(), [...new Set(sources)].sort())
})

t.test('what runs is built elsewhere, from a base that can be chosen', async (t) => {
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

t.test('it runs as an unprivileged user, stops by the signal that drains, and keeps data in one folder', async (t) => {
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

t.test('its health check asks for a route that is there, on the port that is the default', async (t) => {
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

t.test('no secret is in it, and every setting in it is one', async (t) => {
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

t.test('the one binary that is kept is the one that this Node loads', async (t) => {
  const run = stages.flat().find(({ rest }) => rest.includes('uws_*.node'))?.rest ?? ''
  const pattern = /node -p '([^']+)'/.exec(run)?.[1]
  t.ok(pattern)
  const name = spawnSync(process.execPath, ['-p', pattern ?? ''], { encoding: 'utf8' }).stdout.trim()
  t.ok(existsSync(join(packageRoot(), 'node_modules/uWebSockets.js/dist/bin', name)), name)
  t.match(run, "import('./dist/src/edge/uws.js')", 'and the build tries it')
  const args = new Map(
    all.filter(({ word }) => word === 'ARG').map(({ rest }) => rest.split(/=(.*)/s) as [string, string]),
  )
  t.match(
    repositoryFile('src/edge/uws.ts'),
    `npm install ${args.get('UWS')} `,
    'the version that a missing one is asked for',
  )
  t.match(args.get('UWS_INTEGRITY'), /^sha512-[\w+/]{86}==$/)
})
