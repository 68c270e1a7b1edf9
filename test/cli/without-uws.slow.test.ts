import { join } from 'node:path'
import t from 'tap'
import { onlyUws } from '../support/only-uws.js'
import { mkondo } from './mkondo-process.js'

t.test('without the native module agents are made and simulated', async (t) => {
  const NODE_OPTIONS = (await onlyUws([])).join(' ')
  const runs = async (...args: readonly string[]) => {
    const { lines, exit } = mkondo(args, { NODE_OPTIONS })
    return { code: await exit, output: lines.join('\n') }
  }
  const folder = join(t.testdir(), 'my-line')
  t.match(await runs('init', folder, '--yes'), { code: 0 })
  t.match(await runs('simulate', join(folder, 'scenarios'), '--agents', join(folder, 'agents')), {
    code: 0,
    output: /^2 passed/m,
  })
  const spoken = ['--agents', join(folder, 'agents'), '--mode', 'audio']
  t.match(
    await runs('simulate', join(folder, 'scenarios/first-call.yaml'), ...spoken),
    { code: 1, output: /no uWebSockets\.js for Node/ },
    'a spoken call goes through a gateway',
  )
  const shipped = await runs('simulate', '--filter', 'order-status/relies-on-caller-id')
  t.match(
    shipped,
    { code: 0, output: /skipped .*no uWebSockets\.js for Node/ },
    'scenarios that need a gateway are skipped',
  )
  for (const name of ['double', 'call', 'replay', 'calls']) t.match(await runs(name, '--help'), { code: 0 })
})
