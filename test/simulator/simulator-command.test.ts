import t from 'tap'
import { run as mkondo } from '../../src/cli/program.js'
import { PROCESS_TERMINAL } from '../../src/cli/terminal.js'
import { until } from '../support/host.js'

async function run(argv: readonly string[]) {
  const printed: string[] = []
  const print = (text: string) => printed.push(text)
  const stop = new AbortController()
  const done = mkondo(['simulator', ...argv], {
    ...PROCESS_TERMINAL,
    out: print,
    err: print,
    env: {},
    signal: stop.signal,
  })
  return { printed, stop, done }
}

t.test('a carrier to test against runs until it is stopped', async (t) => {
  const { printed, stop, done } = await run([
    '--port',
    '0',
    '--key',
    'k-all',
    '--key',
    'k-read=numbers.read',
    '--number',
    '+254700000077',
  ])
  await until(() => printed.some((line) => line.includes('REST API')), 10_000, 'the simulator')
  const origin = /http:\S+/.exec(printed.join(''))?.[0] ?? ''
  const ask = (path: string, key: string, method = 'GET') =>
    fetch(origin + path, { method, headers: { authorization: `Bearer ${key}` } })
  t.match(await (await ask('/v1/numbers', 'k-read')).json(), { numbers: [{ e164: '+254700000077' }] })
  t.equal((await ask('/v1/calls', 'k-read')).status, 403)
  t.equal((await ask('/v1/numbers', 'k-none')).status, 401)
  t.equal((await ask('/v1/nothing', 'k-all')).status, 404)
  t.equal((await ask('/v1/numbers', 'k-all', 'DELETE')).status, 405)
  const fault = await fetch(`${origin}/simulator/faults`, {
    method: 'POST',
    headers: { authorization: 'Bearer k-all' },
    body: JSON.stringify({ match: 'GET /v1/numbers', status: 429, retryAfterS: 7, times: 1 }),
  })
  t.equal(fault.status, 201)
  const limited = await ask('/v1/numbers', 'k-all')
  t.same([limited.status, limited.headers.get('retry-after')], [429, '7'])
  t.equal((await ask('/v1/numbers', 'k-all')).status, 200)
  stop.abort()
  t.equal(await done, 0)
  await t.rejects(ask('/v1/numbers', 'k-all'), 'and its port is free again')
})

t.test('wrong usage is 2, with what is allowed', async (t) => {
  for (const argv of [
    ['--port', 'x'],
    ['--callee', '+254700000001=ghost'],
    ['--number', '1'],
    ['--ring', '-1'],
    ['--what'],
  ]) {
    const { printed, done } = await run(argv)
    t.equal(await done, 2, argv.join(' '))
    t.match(printed.join(''), /see mkondo simulator --help/)
  }
  const help = await run(['--help'])
  t.equal(await help.done, 0)
  t.match(help.printed.join(''), /SAUTIKIT_API_URL/)
})
