import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { until } from '../support/until.js'

// The blocks of docs/QUICKSTART.md as they stand there, for the double that needs the most variables. That each block has the
// address of its double is in test/documents/blocks.test.ts, calls on the doubles in test/cli/doubles.slow.test.ts.

/** For a command to end, or to say what it is waited for: the machine may be busy. */
const WAIT_MS = 110_000

const root = packageRoot()
const page = readFileSync(join(root, 'docs/QUICKSTART.md'), 'utf8')
const blocks = [...page.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, text = '']) => text)
const blockWith = (text: string): string => {
  const found = blocks.find((block) => block.startsWith(text))
  if (found === undefined) throw new Error(`docs/QUICKSTART.md has no block that begins with ${text}`)
  return found
}

interface Shell {
  printed: string
  /** Null while it runs. */
  code: number | string | null
  readonly end: () => Promise<void>
}

function shell(text: string, env: Readonly<Record<string, string>>): Shell {
  const child = spawn('bash', ['-c', text], {
    cwd: root,
    detached: true,
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', ...env },
  })
  const one: Shell = {
    printed: '',
    code: null,
    end: async () => {
      if (one.code === null && child.pid !== undefined) process.kill(-child.pid, 'SIGTERM')
      await until(() => one.code !== null, WAIT_MS, `the end of ${text}`)
    },
  }
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => (one.printed += String(part)))
  child.once('close', (code, signal) => (one.code = code ?? signal))
  return one
}

t.test("the quickstart's blocks start a double and connect to it", async (t) => {
  const env = { PORT: '0', OPS_PORT: '0', DATA_DIR: t.testdir() }
  const block = blockWith('npx mkondo double cascade &\n')
  const [command = '', ...settings] = block.split('\n')
  const exports = settings.join('\n')
  const double = shell(command.replace(/ &$/, ''), {})
  t.teardown(double.end)
  await until(() => double.printed.includes('export ') || double.code !== null, WAIT_MS, 'the double')
  t.equal(double.code, null, double.printed)

  const check = shell(`${exports}\n${blockWith('npx mkondo check\n')}`, env)
  await until(() => check.code !== null, WAIT_MS, 'mkondo check')
  t.equal(check.code, 0, check.printed)
  t.match(check.printed, /backend .* is ready/)
})
