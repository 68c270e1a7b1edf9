import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { KEY } from '../support/carrier-api.js'
import { whole } from '../support/gateway.js'
import { simulateOneCall } from '../support/simulated.js'
import { freePort } from '../support/free-ports.js'

t.test('mkondo call with the REST API beside it: a human joins the live call, and the gateway ends it', async (t) => {
  const port = await freePort()
  const gateway = await whole({ SAUTIKIT_API_URL: `http://127.0.0.1:${port}`, SAUTIKIT_API_KEY: KEY }, (yaml) =>
    yaml
      .replace(/strategies: \[[^\]]*\]/, 'strategies: [supervision, callback]')
      .replace(/announce: .*/, 'announce: I connect you.'),
  )
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-call-api-'))
  t.teardown(async () => {
    await gateway.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const script = join(folder, 'zero.yaml')
  writeFileSync(
    script,
    'version: 1\nname: presses zero for a person\npatienceMs: 3000\nsteps:\n  - press: "0"\n    interruptAfterMs: 300\n  - wait: 15000\n  - hangup: true\n',
  )
  const { calls, output } = await simulateOneCall({
    port: gateway.at.port,
    opsPort: gateway.at.opsPort,
    args: [
      '--script',
      script,
      '--after-stream',
      'holds',
      '--api-port',
      String(port),
      '--api-key',
      KEY,
      '--timeout',
      '40',
    ],
  })
  t.match(output, /dialled|a human/i)
  const record = gateway.gateway.calls.record(calls[0]?.callSid ?? '')
  t.match(record?.escalation, { strategy: 'supervision', outcome: 'answered' })
})
