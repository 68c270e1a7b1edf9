import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import t from 'tap'
import { until } from './until.js'

const skip = existsSync('/usr/bin/setpriv') ? false : 'util-linux is not installed'

t.test('a killed test file ends its gateway', { skip }, async (t) => {
  const rig = new URL('spawn-own.js', import.meta.url).href
  const program = `process.on('SIGTERM', () => undefined); setTimeout(() => undefined, 60_000)`
  const file = `
    import { spawnOwn } from '${rig}'
    const program = spawnOwn(process.execPath, ['-e', ${JSON.stringify(program)}], { stdio: 'inherit' })
    program.once('spawn', () => console.log(program.pid))
    setInterval(() => undefined, 60_000)`
  const killed = spawn(process.execPath, ['--input-type=module', '-e', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [pid] = (await once(killed.stdout, 'data')) as [Buffer]
  t.teardown(() => {
    try {
      process.kill(Number(pid), 'SIGKILL')
    } catch {
      // The process has ended.
    }
  })
  let isOver = false
  // Both processes have it as their standard output.
  killed.stdout.once('end', () => (isOver = true))
  killed.stdout.resume()
  killed.kill('SIGKILL')
  await until(() => isOver, 10_000, 'the end of the program')
})
