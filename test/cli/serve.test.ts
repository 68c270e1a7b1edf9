import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { loadConfig } from '../../src/config/load-config.js'
import { packageRoot } from '../../src/config/package-root.js'
import { parseCallSid } from '../../src/core/ids.js'
import { startGateway } from '../../src/gateway/gateway.js'
import { createLog } from '../../src/telemetry/log.js'
import { until } from '../support/until.js'
import { mkondo, takesCalls } from './mkondo-process.js'
import { reexport } from '../support/module-beside.js'
import { portOf } from '../support/port-of.js'

/** An agent that needs no speech worker, which takes two seconds to start. */
const LIGHT = {
  'light.yaml': JSON.stringify({
    version: 1,
    name: 'light',
    instructions: 'Beep.',
    backend: 'module:./scripted.mjs',
  }),
  'scripted.mjs': reexport(new URL('../grafana/scripted-backend.js', import.meta.url)),
}

t.test('a start that fails prints one line, code 2', async (t) => {
  const port = await portOf(t, createServer())
  const agents = t.testdir({
    broken: { 'a.yaml': 'version: 1\nname: a\ninstructions: Help.\nstream:\n  outputSamplingRate: 44100\n' },
    light: LIGHT,
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
      const run = mkondo(['serve', '--with-shop'], {
        AGENTS_DIR: `${agents}/light`,
        ...env,
        DATA_DIR: `${agents}/data-${name}`,
      })
      t.equal(await run.exit, 2, `${name}: exit code`)
      t.match(run.lines.at(-1) ?? '', line, `${name}: the line`)
      t.equal(run.lines.length, 1, `${name}: one line (${run.lines.join(' / ')})`)
    }),
  )
  const unknown = mkondo(['sreve'])
  t.equal(await unknown.exit, 2)
  t.match(unknown.lines.join(' '), /unknown command 'sreve'; did you mean serve\? \(see mkondo --help\)/)
})

t.test('SIGTERM during the start stops the process afterwards [2]', async (t) => {
  const folder = t.testdir({
    agents: {
      'light.mjs': `import { isMainThread } from 'node:worker_threads'
if (isMainThread && !globalThis.asked) process.kill(process.pid, 'SIGTERM')
globalThis.asked = true
export default ${LIGHT['light.yaml']}
`,
      'scripted.mjs': LIGHT['scripted.mjs'],
    },
  })
  const DATA_DIR = join(folder, 'data')
  const run = mkondo(['serve', '--with-shop'], {
    AGENTS_DIR: join(folder, 'agents'),
    DATA_DIR,
    PORT: '0',
    OPS_PORT: '0',
  })
  t.equal(await run.exit, 0)
  t.match(run.lines.at(-1) ?? '', /"msg":"stopped"/)
})

t.test('SIGHUP has no effect on a single process', async (t) => {
  const folder = t.testdir({ light: LIGHT })
  const run = mkondo(['serve', '--with-shop'], {
    AGENTS_DIR: `${folder}/light`,
    DATA_DIR: `${folder}/data`,
    PORT: '0',
    OPS_PORT: '0',
    LOG_LEVEL: 'info',
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent("Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '24.22.0' } })")}`,
  })
  await takesCalls(run)
  t.notMatch(run.lines.join('\n'), 'CA keys', 'only `mkondo check` warns about the version of Node')
  run.child.kill('SIGHUP')
  await until(() => run.lines.some((line) => line.includes('SIGHUP has no effect')), 10_000, 'the line that says so')
  run.child.kill('SIGTERM')
  t.equal(await run.exit, 0, 'it ends when stopped')
})

t.test('edited agents reach new calls, not live ones [1]', async (t) => {
  const yaml = await readFile(join(packageRoot(), 'agents/order-status.yaml'), 'utf8')
  const folder = t.testdir({ agents: { 'order-status.yaml': yaml }, data: {} })
  const dir = join(folder, 'agents')
  const file = join(dir, 'order-status.yaml')
  const gateway = await startGateway({
    config: {
      ...loadConfig({ SPEECH_DECODERS: '1' }, null),
      agentsDir: dir,
      port: 0,
      opsPort: 0,
      host: '127.0.0.1',
      dataDir: join(folder, 'data'),
    },
    env: { SHOP_API_URL: 'http://127.0.0.1:1' },
    log: createLog({ level: 'silent' }),
  })
  t.teardown(() => gateway.stop(0))
  const { calls } = gateway
  const running = calls.prepare({
    callSid: parseCallSid('HD_000000000001'),
    agent: 'order-status',
    from: '+254700000001',
    to: '+254709000000',
    direction: 'inbound',
  })
  const before = running.continuation('after-stream')

  await writeFile(
    file,
    yaml
      .replace('afterCall:\n  hangup: true', 'afterCall:\n  say: See you soon.\n  hangup: true')
      .replace('name: order-status\n  track', 'name: edited\n  track'),
  )
  await until(() => calls.agent('order-status')?.stream.name === 'edited', 15_000, 'the edit')
  t.match(calls.agent('order-status')?.afterCall(), [{ verb: 'say', text: 'See you soon.' }, { verb: 'hangup' }])
  t.same(running.continuation('after-stream'), before, 'the live call keeps its agent')

  await writeFile(file, `${yaml}\nnonsense: 1\n`)
  await writeFile(join(dir, 'second.yaml'), 'version: 1\nname: second\ninstructions: Be brief.\nbackend: openai\n')
  await writeFile(join(dir, 'third.yaml'), 'version: 1\nname: third\ninstructions: Be brief.\n')
  await until(() => calls.agent('third') !== undefined, 15_000, 'another agent')
  t.equal(calls.agent('order-status')?.stream.name, 'edited', 'a broken edit changes nothing')
  t.equal(calls.agent('second'), undefined, "an agent without its backend's key is not loaded")
})
