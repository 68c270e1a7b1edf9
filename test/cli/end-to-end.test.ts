import t from 'tap'
import { readFile } from 'node:fs/promises'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { startShopApi } from '../../examples/shop-api/server.js'
import { replayJournal } from '../../src/call/replay.js'
import { startGateway } from '../../src/cli/gateway.js'
import type { Gateway } from '../../src/cli/gateway.js'
import { loadConfig } from '../../src/config/load-config.js'
import { createLog } from '../../src/telemetry/log.js'
import { simulateOneCall } from '../support/simulated.js'

/** A whole gateway on free ports, with the demo shop behind it. */
async function whole(env: Readonly<Record<string, string>> = {}): Promise<{ gateway: Gateway; at: { port: number; opsPort: number; shopUrl: string }; close: () => Promise<void> }> {
  const shop = await startShopApi({ port: 0, host: '127.0.0.1' })
  const config = { ...loadConfig(env, null), port: 0, opsPort: 0, host: '127.0.0.1', shopApiUrl: shop.url }
  const gateway = await startGateway({ config, env: { SHOP_API_URL: shop.url }, log: createLog({ level: 'silent' }) })
  return {
    gateway,
    at: { port: gateway.publicPort, opsPort: gateway.opsPort, shopUrl: shop.url },
    close: async () => {
      await gateway.stop(0)
      await shop.close()
    },
  }
}

t.test('three callers hear the right status of the right order, and the journal of their calls runs again', async (t) => {
  const dataDir = t.testdir()
  const { at, close } = await whole({ JOURNAL_CALLS: 'true', DATA_DIR: dataDir })
  t.teardown(close)
  const [knows, relies, interrupts] = await Promise.all([
    simulateOneCall({ ...at, args: ['--from', '+254700000009', '--order', '4127'] }),
    simulateOneCall({ ...at, args: ['--from', '+254700000001', '--voice', 'awb'] }),
    simulateOneCall({ ...at, args: ['--from', '+254700000001', '--order', '4127', '--interrupt'] }),
  ])
  for (const [name, run] of Object.entries({ knows, relies, interrupts })) {
    t.equal(run.code, 0, `${name}: ${run.calls[0]?.goal.why ?? run.output}`)
    t.equal(run.calls[0]?.outcome, 'deflected', `${name}: outcome`)
    t.same(run.calls[0]?.complaints, [], `${name}: nothing a carrier would stumble over`)
  }
  t.equal(interrupts.calls[0]?.bargeIns.some((bargeIn) => bargeIn.committed === true), true, 'the agent was interrupted')
  t.match(relies.calls[0]?.toolCalls[0]?.args, { callerNumber: /…/ }, 'the caller\'s number is masked in what an operator sees')

  const journals = await readdir(join(dataDir, 'journals'))
  t.equal(journals.length, 3)
  for (const name of journals) {
    const lines = (await readFile(join(dataDir, 'journals', name), 'utf8')).split('\n')
    const replayed = replayJournal(lines)
    t.equal(replayed.outputs.at(-1)?.output.type, 'ended', `${name} runs again to its end`)
  }

  const metrics = await (await fetch(`http://127.0.0.1:${at.opsPort}/metrics`)).text()
  t.match(metrics, /mkondo_calls_total\{agent="order-status",outcome="deflected"\} 3/)
  t.match(metrics, /mkondo_turn_response_seconds_bucket\{[^}]*\} \d+ # \{call_sid="HD_/, 'exemplars name calls')
})

t.test('keys work where words do not', async (t) => {
  const { at, close } = await whole()
  t.teardown(close)
  const script = join(t.testdir({
    'keys.yaml': [
      'version: 1', 'name: presses the keys', 'order: "4127"', 'steps:',
      '  - press: "4127#"', '  - answer: {}', '  - say: No, thank you.', '  - hangup: true',
    ].join('\n'),
  }), 'keys.yaml')
  const run = await simulateOneCall({ ...at, args: ['--from', '+254700000009', '--script', script] })
  t.equal(run.code, 0, run.calls[0]?.goal.why ?? run.output)
})

t.test('twenty callers at once all hear their answer', async (t) => {
  const { at, gateway, close } = await whole({ SPEECH_DECODERS: '10' })
  t.teardown(close)
  const run = await simulateOneCall({ ...at, args: ['--from', '+254700000001', '--order', '4127', '--calls', '20', '--timeout', '150'] })
  const missed = run.calls.filter((call) => !call.goal.reached)
  t.same(missed.map((call) => `${call.callSid}: ${call.goal.why}`), [])
  t.equal(run.calls.length, 20)
  t.equal(gateway.calls.free, gateway.calls.capacity, 'every slot is free again')
})
