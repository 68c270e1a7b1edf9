import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, getDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { loadConfig } from '../../src/config/load-config.js'
import { startGateway } from '../../src/gateway/gateway.js'
import { startParts } from '../../src/gateway/parts/part.js'
import type { Part } from '../../src/gateway/parts/part.js'
import { createLog } from '../../src/telemetry/log.js'

const ORDER = { drainTimeoutMs: 5, byCommand: false }

function noted(names: readonly string[], faults: Partial<Record<string, 'start' | 'stop'>> = {}) {
  const events: string[] = []
  const parts = names.map((name): Part => ({
    name,
    start: () => {
      if (faults[name] === 'start') throw new Error(`no ${name}`)
      events.push(`+${name}`)
    },
    stop: ({ drainTimeoutMs }) => {
      if (faults[name] === 'stop') throw new Error(`${name} hangs`)
      events.push(`-${name} ${drainTimeoutMs}`)
    },
  }))
  return { events, parts }
}

t.test('parts start in order and stop once in reverse', async (t) => {
  const { events, parts } = noted(['disk', 'calls', 'ports'])
  const stop = await startParts(parts, createLog({ level: 'silent' }))
  await stop(ORDER)
  await stop(ORDER)
  t.same(events, ['+disk', '+calls', '+ports', '-ports 5', '-calls 5', '-disk 5'])
})

t.test('a part that fails to start stops the earlier parts', async (t) => {
  const { events, parts } = noted(['disk', 'calls', 'ports', 'files'], { ports: 'start' })
  await t.rejects(startParts(parts, createLog({ level: 'silent' })), { message: 'no ports' })
  t.same(events, ['+disk', '+calls', '-calls 0', '-disk 0'])
})

t.test('a part that fails to stop does not block others', async (t) => {
  const lines: string[] = []
  const { events, parts } = noted(['disk', 'calls', 'ports'], { calls: 'stop' })
  const stop = await startParts(parts, createLog({ destination: { write: (line: string) => void lines.push(line) } }))
  await stop(ORDER)
  t.same(events.slice(3), ['-ports 5', '-disk 5'])
  t.match(
    lines.map((line) => JSON.parse(line) as unknown),
    [{ part: 'calls', msg: 'a part of the gateway could not be stopped' }],
  )
})

t.test('a gateway that fails to start leaves nothing open', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'mkondo-parts-'))
  t.teardown(() => rm(dataDir, { recursive: true, force: true }))
  const messagesFile = join(dataDir, 'messages.yaml')
  const attemptMs = getDefaultAutoSelectFamilyAttemptTimeout()
  const start = (opsPort: number, file: string | null) =>
    startGateway({
      config: { ...loadConfig({}, null), dataDir, host: '127.0.0.1', port: 0, opsPort, messagesFile: file },
      env: { SHOP_API_URL: 'http://127.0.0.1:9' },
      log: createLog({ level: 'silent' }),
    })
  await writeFile(messagesFile, 'receivers: [nobody]\n')
  await t.rejects(start(0, messagesFile), { code: 'CONFIG_INVALID', message: /messages\.yaml/ })
  t.equal(getDefaultAutoSelectFamilyAttemptTimeout(), attemptMs, 'connections are made as before')

  const other = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => other.once('listening', resolve))
  await t.rejects(start((other.address() as AddressInfo).port, null), { code: 'PORT_IN_USE' })
  await new Promise((resolve) => other.close(resolve))
  t.equal(getDefaultAutoSelectFamilyAttemptTimeout(), attemptMs)

  const gateway = await start(0, null)
  await gateway.stop(0)
})
