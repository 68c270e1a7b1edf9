import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { until } from '../support/until.js'
import { mkondo } from './mkondo-process.js'

t.test('a broken agent and a port in use each end with one line and code 2', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as AddressInfo
  const agents = t.testdir({
    broken: { 'a.yaml': 'version: 1\nname: a\ninstructions: Help.\nstream:\n  outputSamplingRate: 44100\n' },
  })
  const cases: readonly (readonly [string, Record<string, string>, RegExp])[] = [
    [
      'agent',
      { AGENTS_DIR: `${agents}/broken`, PORT: '0', OPS_PORT: '0' },
      /^mkondo: .*a\.yaml:5:\d+: .*8000, 16000 or auto/,
    ],
    [
      'port',
      { PORT: String(port), HOST: '127.0.0.1', OPS_PORT: '0', LOG_LEVEL: 'error' },
      new RegExp(`^mkondo: .*PORT.*${port}`),
    ],
    ['ops port', { OPS_PORT: String(port), PORT: '0', LOG_LEVEL: 'error' }, new RegExp(`^mkondo: .*OPS_PORT.*${port}`)],
  ]
  await Promise.all(
    cases.map(async ([name, env, line]) => {
      const run = mkondo(['serve', '--with-shop'], { ...env, DATA_DIR: `${agents}/data-${name}` })
      t.equal(await run.exit, 2, `${name}: exit code`)
      t.match(run.lines.at(-1) ?? '', line, `${name}: the line`)
      t.equal(run.lines.length, 1, `${name}: one line (${run.lines.join(' / ')})`)
    }),
  )
  const unknown = mkondo(['sreve'])
  t.equal(await unknown.exit, 2)
  t.match(unknown.lines.join(' '), /unknown command 'sreve'; did you mean serve\? \(see mkondo --help\)/)
})

t.test('a single process that is told to reload goes on', async (t) => {
  const run = mkondo(['serve', '--with-shop'], { PORT: '0', OPS_PORT: '0', DATA_DIR: t.testdir({}), LOG_LEVEL: 'info' })
  await until(() => run.lines.some((line) => line.includes('"msg":"taking calls"')), 60_000, 'it to take calls')
  run.child.kill('SIGHUP')
  await until(() => run.lines.some((line) => line.includes('SIGHUP has no effect')), 10_000, 'the line that says so')
  run.child.kill('SIGTERM')
  t.equal(await run.exit, 0, 'until it is stopped')
})
