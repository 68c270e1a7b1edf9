import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { packageRoot } from '../src/config/package-root.js'
import { spawnOwn } from '../test/support/spawn-own.js'
import { cpuBetween, cpuTime } from './kit/process.js'
import type { IdleResult } from './results.js'

/** Maximum time in ms for the start of a gateway on a busy machine. */
const START_MS_MAX = 60_000
/**
 * Time in ms after which the work that follows a start has ended: compiling, and the thread of the index of calls,
 * which starts after 5 s.
 */
const SETTLE_MS = 15_000

const AGENT = (backend: string): string => `version: 1
name: idle
backend: ${backend}
instructions: Help the caller.
greeting: Hello.
`

/**
 * Measures a gateway without calls. It is started in the usual way: `mkondo serve` with one media worker, and one agent
 * with this backend.
 * @throws Error if the gateway does not start
 */
export async function measureIdle(backend: string, seconds: number): Promise<IdleResult> {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-bench-'))
  writeFileSync(join(folder, 'idle.yaml'), AGENT(backend))
  const server = spawnOwn(process.execPath, [join(packageRoot(), 'dist/src/cli/main.js'), 'serve'], {
    env: {
      PATH: process.env['PATH'],
      NODE_ENV: 'production',
      PORT: '0',
      OPS_PORT: '0',
      MEDIA_WORKERS: '1',
      AGENTS_DIR: folder,
      DATA_DIR: join(folder, 'data'),
      OPENAI_API_KEY: 'of-the-bench-and-of-nothing-else',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()))
  try {
    await takesCalls(server)
    await sleep(SETTLE_MS)
    const pid = server.pid as number
    const from = cpuTime(pid)
    await sleep(seconds * 1000)
    const { cores } = cpuBetween(pid, from, cpuTime(pid))
    const status = readFileSync(`/proc/${pid}/status`, 'latin1')
    const rssKb = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]
    return { backend, rssBytes: Number(rssKb) * 1024, cpuMsPerSecond: cores * 1000 }
  } finally {
    server.kill('SIGTERM')
    await ended
    rmSync(folder, { recursive: true, force: true })
  }
}

function takesCalls(server: ReturnType<typeof spawnOwn>): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = ''
    const failed = (why: string): void => reject(new Error(`the idle gateway ${why}: ${said.slice(-500)}`))
    const timer = setTimeout(() => failed('did not start'), START_MS_MAX)
    server.once('exit', () => {
      clearTimeout(timer)
      failed('ended')
    })
    for (const stream of [server.stdout, server.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said = (said + text).slice(-4000)
        if (!said.includes('"taking calls"')) return
        clearTimeout(timer)
        resolve()
      })
    }
  })
}
