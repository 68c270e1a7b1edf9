import { spawn } from 'node:child_process'
import t from 'tap'
import { comesUp } from './until.js'

const HOUR_MS = 3_600_000

t.test('a program that ends early fails the wait at once', async (t) => {
  for (const [code, how] of [
    ['console.error("no such folder"); process.exitCode = 3', 'ended with 3'],
    ['console.error("no such folder"); process.kill(process.pid, "SIGKILL")', 'ended with SIGKILL'],
  ] as const) {
    const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    child.stderr.on('data', (text: Buffer) => (said += text.toString()))
    const waited = comesUp(
      child,
      () => false,
      HOUR_MS,
      'a program',
      () => said,
    )
    await t.rejects(waited, { message: new RegExp(`^a program: it ${how}: no such folder`) })
  }
})

t.test('a program may end after it is up', async (t) => {
  const child = spawn(process.execPath, ['-e', 'console.log("up")'], { stdio: ['ignore', 'pipe', 'ignore'] })
  let said = ''
  child.stdout.on('data', (text: Buffer) => (said += text.toString()))
  await t.resolves(comesUp(child, () => said === 'up\n', HOUR_MS, 'a program'))
})
