import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { comesUp, until } from '../support/until.js'
import { spawnOwn } from '../support/spawn-own.js'

const root = packageRoot()

t.test('an edited source file is built and served again', async (t) => {
  const folder = t.testdir()
  for (const name of [
    'src',
    'scripts',
    'examples',
    'agents',
    'schema',
    'package.json',
    'package-lock.json',
    'tsconfig.json',
    'dist',
  ])
    cpSync(join(root, name), join(folder, name), { recursive: true, preserveTimestamps: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  let log = ''
  const child = spawnOwn(process.execPath, ['scripts/dev.mjs'], {
    cwd: folder,
    env: { ...process.env, PORT: '0', OPS_PORT: '0', DATA_DIR: join(folder, 'data') },
  })
  t.teardown(() => child.kill('SIGKILL'))
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (log += chunk.toString()))
  const ports = (): number[] =>
    [...log.matchAll(/taking calls[^\n]*|"ops_port":(\d+)[^\n]*taking calls/g)].map(([line]) =>
      Number(/"ops_port":(\d+)/.exec(line)?.[1]),
    )
  const health = async (): Promise<string> => (await fetch(`http://127.0.0.1:${ports().at(-1) ?? 0}/healthz`)).text()
  await comesUp(
    child,
    () => ports().length === 1,
    120_000,
    'a gateway that takes calls',
    () => log,
  )
  t.equal(await health(), 'ok\n')

  const source = join(folder, 'src', 'edge', 'ops', 'ops-api.ts')
  const text = readFileSync(source, 'utf8')
  t.match(text, "textReply('ok\\n'")
  writeFileSync(source, text.replace("textReply('ok\\n'", "textReply('edited\\n'"))
  await until(() => ports().length === 2, 120_000, 'the gateway to start again')
  t.equal(await health(), 'edited\n')

  writeFileSync(source, 'export const = nothing')
  await until(() => log.includes('does not build; the gateway goes on as it was'), 120_000, 'the build to fail')
  t.equal(await health(), 'edited\n')
  const ended = new Promise((resolve) => child.once('close', resolve))
  child.kill('SIGTERM')
  t.equal(await ended, 0)
})

t.test('the list of packages is CycloneDX for this package', async (t) => {
  const file = join(t.testdir(), 'sbom.json')
  const run = spawnSync(process.execPath, ['scripts/sbom.mjs', file], { cwd: root, encoding: 'utf8' })
  t.equal(run.status, 0, run.stderr)
  t.ok(existsSync(file))
  const bom = JSON.parse(readFileSync(file, 'utf8')) as {
    readonly components: readonly { readonly name: string; readonly licenses?: readonly unknown[] }[]
  }
  t.match(bom, { bomFormat: 'CycloneDX', metadata: { component: { name: 'mkondo' } } })
  const names = bom.components.map(({ name }) => name)
  t.ok(names.includes('pino') && !names.includes('typescript'), 'what is installed, not what builds it')
  t.ok(bom.components.every(({ licenses = [] }) => licenses.length > 0))
})
