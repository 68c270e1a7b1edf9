import t from 'tap'
import { numbers } from '../../src/cli/numbers.js'
import { KEY, OUR_NUMBER, simulatedApi } from '../support/carrier-api.js'

async function command(origin: string, argv: readonly string[], env: Record<string, string> = {}) {
  const printed: string[] = []
  const outcome = await numbers(argv, {
    out: (text) => printed.push(text),
    env: { SAUTIKIT_API_URL: origin, SAUTIKIT_API_KEY: KEY, PUBLIC_URL: 'https://gw.example', ...env },
  }).then(
    (code) => ({ code, error: null }),
    (error: unknown) => ({ code: null, error: error as Error & { code?: string } }),
  )
  return { ...outcome, output: printed.join('') }
}

t.test('numbers are listed, claimed by number and led to an agent', async (t) => {
  const { server, workspace } = await simulatedApi(t)
  t.match(await command(server.origin, ['list']), { code: 0, output: /NUMBER +ID .*\n\+254700000000 +num_1/ })
  t.match(
    await command(server.origin, ['list', '--available']),
    { code: 0, output: /\+254700000129 +inv_30 +KES 500\.00 +voice/ },
    'all pages',
  )
  const claimed = await command(server.origin, ['claim', '+254700000104', '--json'])
  t.match(claimed, { code: 0 })
  const { id } = JSON.parse(claimed.output) as { id: string }
  t.match(await command(server.origin, ['route', '+254700000104', '--agent', 'order-status']), {
    code: 0,
    output: '+254700000104 leads to https://gw.example/voice/order-status\n',
  })
  t.match(
    workspace.numbers.find((number) => number.id === id),
    { voiceUrl: 'https://gw.example/voice/order-status', eventsUrl: 'https://gw.example/events' },
  )
  await command(server.origin, ['route', 'num_1', '--url', 'https://elsewhere.example/voice'])
  t.match(workspace.numbers[0], { e164: OUR_NUMBER, voiceUrl: 'https://elsewhere.example/voice', eventsUrl: null })
})

t.test("a key without scope: the carrier's code and message, and not the key", async (t) => {
  const { server } = await simulatedApi(t, { keys: { [KEY]: ['numbers.read'] } })
  const { error } = await command(server.origin, ['claim', 'inv_1'])
  t.match(error, {
    code: 'CARRIER_API',
    message: /403 \(api_key\.scope_denied: this API key lacks the scope numbers\.claim\)/,
  })
  t.notMatch(String(error?.stack), KEY)
  t.match((await command(server.origin, ['list'], { SAUTIKIT_API_KEY: 'tsk_wrong_0000' })).error, {
    message: /api_key\.invalid/,
  })
})

t.test("an idempotency key of one's own claims once", async (t) => {
  const { server, workspace } = await simulatedApi(t)
  const first = await command(server.origin, ['claim', 'inv_1', '--key', 'mine', '--json'])
  t.equal((await command(server.origin, ['claim', 'inv_1', '--key', 'mine', '--json'])).output, first.output)
  t.equal(workspace.numbers.length, 2)
})

t.test('wrong usage is said before anything is asked', async (t) => {
  const { server } = await simulatedApi(t)
  const wrong: [readonly string[], RegExp][] = [
    [[], /list, claim or route/],
    [['sell'], /list, claim or route/],
    [['claim'], /one number or its id/],
    [['list', 'x'], /no further words/],
    [['route', 'num_1'], /--agent or --url/],
    [['route', 'num_1', '--agent', 'a', '--url', 'https://x.example'], /--agent or --url/],
    [['route', 'num_1', '--url', 'ftp://x'], /no http or https/],
    [['list', '--nonsense'], /nonsense/],
  ]
  for (const [argv, message] of wrong)
    t.match((await command(server.origin, argv)).error, { code: 'CONFIG_INVALID', message }, argv.join(' '))
  t.match((await command(server.origin, ['route', 'num_1', '--agent', 'a'], { PUBLIC_URL: '' })).error, {
    code: 'CONFIG_INVALID',
    message: /PUBLIC_URL/,
  })
  t.match((await command(server.origin, ['list'], { SAUTIKIT_API_KEY: '' })).error, {
    code: 'CONFIG_INVALID',
    message: /SAUTIKIT_API_KEY/,
  })
  t.same(server.seen, [])
  t.match(await command(server.origin, ['--help']), { code: 0, output: /mkondo numbers claim/ })
})

t.test('a number that is not there is exit code 1, with where to look', async (t) => {
  const { server } = await simulatedApi(t)
  t.match((await command(server.origin, ['route', '+254700009999', '--url', 'https://x.example'])).error, {
    message: /no such number/,
  })
  t.match((await command(server.origin, ['claim', '+254700009999'])).error, { message: /cannot be claimed/ })
})

t.test('a number is never led to an agent that is not there', async (t) => {
  const { server, workspace } = await simulatedApi(t)
  const refused = await command(server.origin, ['route', 'num_1', '--agent', 'nosuch'])
  t.match(refused.error, {
    code: 'AGENT_UNKNOWN',
    message:
      /^numbers route: --agent is 'nosuch'; agents of \S+agents \(AGENTS_DIR of this machine\) are: order-status, support; .*--url https:\/\/gw\.example\/voice\/nosuch$/,
  })
  t.same(server.seen, [], 'before anything is asked')
  const dir = t.testdir({
    'mine.yaml':
      'version: 1\nname: mine\n# broken, and of a gateway with other variables\ntools: [{http: {url: "{{env.NO_SUCH_URL}}"}}]\n',
    'coded.mjs': 'export default { name: "coded" }\n',
    'broken.yaml': 'name: [',
    'other.txt': 'name: other\n',
  })
  for (const agent of ['mine', 'coded']) {
    t.match(await command(server.origin, ['route', 'num_1', '--agent', agent], { AGENTS_DIR: dir }), { code: 0 }, agent)
    t.match(workspace.numbers[0], { voiceUrl: `https://gw.example/voice/${agent}` })
  }
  t.match((await command(server.origin, ['route', 'num_1', '--agent', 'order-status'], { AGENTS_DIR: dir })).error, {
    message: /are: coded, mine;/,
  })
  t.match((await command(server.origin, ['route', 'num_1', '--agent', 'mine'], { AGENTS_DIR: `${dir}/none` })).error, {
    code: 'AGENT_INVALID',
    message: /none/,
  })
})
