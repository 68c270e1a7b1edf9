import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { simulateOneCall } from '../support/simulated.js'
import { until } from '../support/host.js'

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

interface Run {
  readonly child: ChildProcess
  readonly lines: string[]
  readonly exit: Promise<number | null>
}

/** Runs the built command with nothing of our own environment but what a shell has. */
function mkondo(args: readonly string[], env: Readonly<Record<string, string>> = {}): Run {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', ...env }, stdio: ['ignore', 'pipe', 'pipe'],
  })
  const lines: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => lines.push(...text.split('\n').filter((line) => line !== '')))
  }
  return { child, lines, exit: new Promise((resolve) => child.once('exit', (code) => resolve(code))) }
}

// Calls are spoken in real time.
t.setTimeout(170_000)

t.test('a wrong setting, a broken agent, a missing key and a port in use each end with one line and code 2', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as AddressInfo
  const agents = t.testdir({
    broken: { 'a.yaml': 'version: 1\nname: a\ninstructions: Help.\nstream:\n  outputSamplingRate: 44100\n' },
    keyed: { 'a.yaml': 'version: 1\nname: a\ninstructions: Help.\nbackend: openai\n' },
  })
  const cases: readonly (readonly [string, Record<string, string>, RegExp])[] = [
    ['setting', { PORT: 'eighty' }, /^mkondo: PORT is 'eighty'; allowed: a whole number/],
    ['agent', { AGENTS_DIR: `${agents}/broken`, PORT: '0', OPS_PORT: '0' }, /^mkondo: .*a\.yaml:5:\d+: .*8000 or 16000/],
    ['key', { AGENTS_DIR: `${agents}/keyed`, PORT: '0', OPS_PORT: '0' }, /^mkondo: agent a asks for backend openai, but OPENAI_API_KEY is not set/],
    ['port', { PORT: String(port), HOST: '127.0.0.1', OPS_PORT: '0', LOG_LEVEL: 'error' }, new RegExp(`^mkondo: .*PORT.*${port}`)],
    ['ops port', { OPS_PORT: String(port), PORT: '0', LOG_LEVEL: 'error' }, new RegExp(`^mkondo: .*OPS_PORT.*${port}`)],
  ]
  await Promise.all(cases.map(async ([name, env, line]) => {
    const run = mkondo(['serve', '--with-shop'], { ...env, DATA_DIR: `${agents}/data-${name}` })
    t.equal(await run.exit, 2, `${name}: exit code`)
    t.match(run.lines.at(-1) ?? '', line, `${name}: the line`)
    t.equal(run.lines.length, 1, `${name}: one line (${run.lines.join(' / ')})`)
  }))
  const unknown = mkondo(['sreve'])
  t.equal(await unknown.exit, 2)
  t.match(unknown.lines.join(' '), /unknown command 'sreve'; allowed: serve, call/)
})

t.test('SIGTERM lets the call that is under way come to its end, and then the process exits with 0', async (t) => {
  const run = mkondo(['serve', '--with-shop'], { PORT: '0', OPS_PORT: '0', HOST: '127.0.0.1', DATA_DIR: t.testdir() })
  t.teardown(() => run.child.kill('SIGKILL'))
  await until(() => run.lines.some((line) => line.includes('taking calls')), 20_000, 'the gateway to start')
  const ready = JSON.parse(run.lines.find((line) => line.includes('taking calls')) ?? '{}') as { port: number; ops_port: number; shop: string }
  const call = simulateOneCall({ port: ready.port, opsPort: ready.ops_port, shopUrl: ready.shop, args: ['--from', '+254700000001'] })
  await until(() => run.lines.some((line) => line.includes('stream opened')), 10_000, 'the stream')
  run.child.kill('SIGTERM')
  await until(() => run.lines.some((line) => line.includes('stopping')), 5000, 'the drain to begin')
  const health = await fetch(`http://127.0.0.1:${ready.ops_port}/readyz`)
  t.equal(health.status, 503, 'no longer ready')
  const report = await call
  t.equal(report.code, 0, `the caller got the answer: ${report.output}`)
  t.equal(await run.exit, 0)
  const lines = run.lines.join('\n')
  t.notMatch(lines, /254700000001/, 'no number in the log')
  t.notMatch(lines, /out for delivery/i, 'none of what was said in the log')
})
