import { execFile } from 'node:child_process'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

function check(env: Readonly<Record<string, string>>, ...args: string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, 'check', ...args], { env: { PATH: process.env['PATH'] ?? '', ...env } }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr })
    })
  })
}

t.test('a set-up that would start is found good', async (t) => {
  const { code, output } = await check({ PORT: '0', OPS_PORT: '0' }, '--with-shop')
  t.equal(code, 0, output)
  t.match(output, /ok +agents: order-status on embedded/)
  t.match(output, /unsigned ones are accepted/)
})

t.test('what would stop a start, or every call, is found before a caller finds it', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as AddressInfo
  const { code, output } = await check({
    PORT: String(port), HOST: '127.0.0.1', OPS_PORT: '0', OPS_HOST: '0.0.0.0', PUBLIC_URL: 'https://gw.example.com', SHOP_API_URL: 'http://127.0.0.1:1',
  })
  t.equal(code, 2)
  t.match(output, new RegExp(`NOT OK +PORT 127.0.0.1:${port}: EADDRINUSE`))
  t.match(output, /NOT OK +SHOP_API_URL 127\.0\.0\.1:1 does not answer/)
  t.match(output, /NOT OK +webhooks: PUBLIC_URL is set but SAUTIKIT_WEBHOOK_SECRETS is not/)
  t.match(output, /NOT OK +ops port: bound to 0\.0\.0\.0 without OPS_TOKEN/)
})
