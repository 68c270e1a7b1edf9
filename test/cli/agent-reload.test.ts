import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { startGateway } from '../../src/gateway/gateway.js'
import { loadConfig } from '../../src/config/load-config.js'
import { parseCallSid } from '../../src/core/ids.js'
import { createLog } from '../../src/telemetry/log.js'
import { until } from '../support/host.js'

t.setTimeout(60_000)

t.test('an edit of the agents folder is what new calls get, and calls that run keep what they have', async (t) => {
  const yaml = await readFile(join(packageRoot(), 'agents/order-status.yaml'), 'utf8')
  const folder = t.testdir({ agents: { 'order-status.yaml': yaml }, data: {} })
  const dir = join(folder, 'agents')
  const file = join(dir, 'order-status.yaml')
  const gateway = await startGateway({
    config: {
      ...loadConfig({}, null),
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
  t.same(running.continuation('after-stream'), before, 'the call that runs goes on as it began')

  await writeFile(file, `${yaml}\nnonsense: 1\n`)
  await writeFile(join(dir, 'second.yaml'), 'version: 1\nname: second\ninstructions: Be brief.\nbackend: openai\n')
  await writeFile(join(dir, 'third.yaml'), 'version: 1\nname: third\ninstructions: Be brief.\n')
  await until(() => calls.agent('third') !== undefined, 15_000, 'another agent')
  t.equal(calls.agent('order-status')?.stream.name, 'edited', 'a broken edit changes nothing')
  t.equal(calls.agent('second'), undefined, 'nor does one whose backend has no key')
})
