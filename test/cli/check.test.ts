import { execFile } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { onlyUws } from '../support/only-uws.js'

const FOLDER = t.testdir()
const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

const check = (env: Readonly<Record<string, string>>, ...args: string[]) => checkWith([], env, ...args)

function checkWith(
  nodeOptions: readonly string[],
  env: Readonly<Record<string, string>>,
  ...args: string[]
): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [...nodeOptions, MAIN, 'check', ...args],
      { env: { PATH: process.env['PATH'] ?? '', DATA_DIR: mkdtempSync(join(FOLDER, 'data-')), ...env } },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr })
      },
    )
  })
}

t.test('settings with which a gateway would start pass the check', async (t) => {
  const { code, output } = await check({ PORT: '0', OPS_PORT: '0' }, '--with-shop')
  t.equal(code, 0, output)
  t.match(output, /ok +agents: order-status on embedded/)
  t.match(output, /unsigned ones are accepted/)
})

t.test('a Node for which there is no native module is found before a start', async (t) => {
  const { code, output } = await checkWith(await onlyUws([]), { PORT: '0', OPS_PORT: '0' }, '--with-shop')
  t.equal(code, 2, output)
  t.match(output, /NOT OK +no uWebSockets\.js for Node [\d.]+ .*npm install @btc-vision/)
})

t.test('each tool is tried with its sample: what reads is sent, what acts is not', async (t) => {
  const { code, output } = await check({ PORT: '0', OPS_PORT: '0' }, '--with-shop', '--tools')
  t.equal(code, 0, output)
  t.match(output, /ok +support: verification: the account of sample\.from has every answer/)
  t.match(
    output,
    /ok +support: getAccount: GET 127\.0\.0\.1:\d+\/api\/accounts answered in \d+ ms with plan, status, balanceKes/,
  )
  t.match(output, /ok +support: open_ticket: POST 127\.0\.0\.1:\d+\/api\/tickets, not sent \(\d+ characters of JSON\)/)
  t.match(output, /ok +support: knowledge: \d+ passages/)
  t.match(output, /ok +order-status: lookup_order: GET .*answered/)
  t.notMatch(output, /Amina|23917386|254700000001/, 'nothing that the answers hold is shown')

  const down = await check({ PORT: '0', OPS_PORT: '0', SHOP_API_URL: 'http://127.0.0.1:1' }, '--tools')
  t.equal(down.code, 2)
  t.match(
    down.output,
    /NOT OK +support: getAccount: GET 127\.0\.0\.1:1\/api\/accounts: .*could not be reached: ECONNREFUSED/,
  )
})

t.test('a node of a fleet: its internal port is looked at, and who reaches it', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as AddressInfo
  const { code, output } = await check(
    {
      PORT: '0',
      OPS_PORT: '0',
      REDIS_URL: 'redis://:hunter2@127.0.0.1:1',
      NODE_URL: 'http://127.0.0.1:8080',
      TOKEN_SECRET: 'a-secret-of-the-fleet',
      INTERNAL_PORT: String(port),
    },
    '--with-shop',
  )
  t.equal(code, 2, output)
  t.match(output, `NOT OK  INTERNAL_PORT 127.0.0.1:${port}: EADDRINUSE`)
  t.match(output, /LOOK AT INTERNAL_HOST is '127\.0\.0\.1': only nodes on this machine reach this one/)
  t.notMatch(output, /hunter2/)
})

t.test('what would stop a start, or every call, is found before a caller finds it', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as AddressInfo
  const { code, output } = await check({
    PORT: String(port),
    HOST: '127.0.0.1',
    OPS_PORT: '0',
    OPS_HOST: '0.0.0.0',
    PUBLIC_URL: 'https://gw.example.com',
    SHOP_API_URL: 'http://127.0.0.1:1',
  })
  t.equal(code, 2)
  t.match(output, new RegExp(`NOT OK +PORT 127.0.0.1:${port}: EADDRINUSE`))
  t.match(output, /NOT OK +SHOP_API_URL 127\.0\.0\.1:1 does not answer/)
  t.match(output, /NOT OK +PUBLIC_URL is 'https:\/\/gw\.example\.com' without SAUTIKIT_WEBHOOK_SECRETS/)
  t.match(output, /NOT OK +OPS_HOST is '0\.0\.0\.0' without OPS_TOKEN/)
})

t.test('every mistake of the settings has its line, and none is checked further', async (t) => {
  const folder = t.testdir({ 'mine.yaml': 'maxCall: 5\nopsPort: many\n' })
  const { code, output } = await check({ PORT: 'x', MAX_CALL: '5' }, '--config', `${folder}/mine.yaml`)
  t.equal(code, 2)
  t.match(output.trim().split('\n'), [
    /^mkondo: \S+mine\.yaml:1:1: unknown setting 'maxCall'; did you mean maxCalls\?$/,
    /^mkondo: MAX_CALL is not a setting; did you mean MAX_CALLS\?/,
    /^mkondo: PORT is 'x'; allowed/,
    /^mkondo: \S+mine\.yaml:2:1: opsPort is 'many'; allowed/,
  ])
  t.equal(output.trim().split('\n').length, 4)
})
