import t from 'tap'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { ChildProgram } from '../../src/exchange/child-process.js'
import { spawnOwn } from '../support/spawn-own.js'
import { until } from '../support/until.js'

const MODULE = new URL('../../src/exchange/child-process.js', import.meta.url).href

/** A program that ends only when it is killed, and says so of itself. */
const STUBBORN = ['-c', `trap '' TERM; echo $$; while :; do sleep 1; done`]

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

t.test('a program ends with its killed parent process', async (t) => {
  const folder = t.testdir({ data: { file: '' } })
  const parent = `
    import { ChildProgram } from ${JSON.stringify(MODULE)}
    const options = { folder: ${JSON.stringify(folder)}, stopMsMax: 200, output: 1 }
    new ChildProgram('/bin/sh', ${JSON.stringify(STUBBORN)}, options)
    console.log('guarded')`
  const owner = spawnOwn(process.execPath, ['--input-type=module', '-e', parent], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines: string[] = []
  createInterface({ input: owner.stdout }).on('line', (line) => void lines.push(line))
  await until(() => lines.length === 2, 20_000, 'a program with its guard')
  const program = Number(lines.find((line) => line !== 'guarded'))
  t.ok(isAlive(program))
  owner.kill('SIGKILL')
  await until(() => !isAlive(program), 20_000, 'the end of the program')
  await until(() => !existsSync(folder), 20_000, 'the end of its folder')
})

t.test('a stubborn program is killed and its folder removed', async (t) => {
  const folder = t.testdir({ data: { file: '' } })
  const program = new ChildProgram('/bin/sh', STUBBORN, { folder, stopMsMax: 200 })
  t.ok(program.isRunning)
  await program.stop()
  t.notOk(program.isRunning)
  t.notOk(existsSync(folder))
})

t.test('a missing program does not run', async (t) => {
  const program = new ChildProgram('/nowhere/program', [], { folder: t.testdir(), stopMsMax: 200 })
  t.notOk(program.isRunning)
  await program.stop()
})
