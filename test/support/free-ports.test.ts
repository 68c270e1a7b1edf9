import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import t from 'tap'

const FILES = 4
const ROWS = 60

t.test('no port is given to two callers or processes', async (t) => {
  const rig = new URL('free-ports.js', import.meta.url).href
  const file = `
    import { freePorts } from '${rig}'
    const rows = await Promise.all(Array.from({ length: ${ROWS} }, () => freePorts(4)))
    console.log(JSON.stringify(rows))
    process.stdin.resume()`
  const given = await Promise.all(
    Array.from({ length: FILES }, async () => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', file], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      t.teardown(() => child.stdin.end())
      for await (const line of createInterface(child.stdout)) return JSON.parse(line) as number[]
      return []
    }),
  )
  const ports = given.flat().flatMap((first) => [first, first + 1, first + 2, first + 3])
  t.equal(ports.length, FILES * ROWS * 4)
  t.equal(new Set(ports).size, ports.length)
})
