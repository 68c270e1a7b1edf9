import t from 'tap'
import { KEY, OUR_NUMBER, simulatedApi } from '../support/carrier-api.js'
import { command } from '../support/command.js'

const numbers = (origin: string, argv: readonly string[], env: Record<string, string> = {}) =>
  command(['numbers', ...argv], {
    env: { SAUTIKIT_API_URL: origin, SAUTIKIT_API_KEY: KEY, PUBLIC_URL: 'https://gw.example', ...env },
  })

t.test('numbers are listed, claimed by number and led to an agent', async (t) => {
  const { server, workspace } = await simulatedApi(t)
  t.match(await numbers(server.origin, ['list']), { code: 0, out: /NUMBER +ID .*\n\+254700000000 +num_1/ })
  t.match(
    await numbers(server.origin, ['list', '--available']),
    { code: 0, out: /\+254700000129 +inv_30 +KES 500\.00 +voice/ },
    'all pages',
  )
  const claimed = await numbers(server.origin, ['claim', '+254700000104', '--json'])
  t.match(claimed, { code: 0 })
  const { id } = JSON.parse(claimed.out) as { id: string }
  t.match(await numbers(server.origin, ['route', '+254700000104', '--agent', 'order-status']), {
    code: 0,
    out: '+254700000104 leads to https://gw.example/voice/order-status\n',
  })
  t.match(
    workspace.numbers.find((number) => number.id === id),
    { voiceUrl: 'https://gw.example/voice/order-status', eventsUrl: 'https://gw.example/events' },
  )
  await numbers(server.origin, ['route', 'num_1', '--url', 'https://elsewhere.example/voice'])
  t.match(workspace.numbers[0], { e164: OUR_NUMBER, voiceUrl: 'https://elsewhere.example/voice', eventsUrl: null })
})

t.test("a key without scope: the carrier's code and message, and not the key", async (t) => {
  const { server } = await simulatedApi(t, { keys: { [KEY]: ['numbers.read'] } })
  const refused = await numbers(server.origin, ['claim', 'inv_1'])
  t.match(refused, {
    code: 1,
    err: /403 \(api_key\.scope_denied: this API key lacks the scope numbers\.claim\)/,
  })
  t.notMatch(refused.err, KEY)
  t.match(await numbers(server.origin, ['list'], { SAUTIKIT_API_KEY: 'tsk_wrong_0000' }), {
    code: 1,
    err: /api_key\.invalid/,
  })
})

t.test("an idempotency key of one's own claims once", async (t) => {
  const { server, workspace } = await simulatedApi(t)
  const first = await numbers(server.origin, ['claim', 'inv_1', '--key', 'mine', '--json'])
  t.equal((await numbers(server.origin, ['claim', 'inv_1', '--key', 'mine', '--json'])).out, first.out)
  t.equal(workspace.numbers.length, 2)
})

t.test('wrong usage is said before anything is asked', async (t) => {
  const { server } = await simulatedApi(t)
  const wrong: [readonly string[], RegExp][] = [
    [[], /list, claim, route/],
    [['sell'], /unknown command 'sell'/],
    [['claim'], /missing required argument 'number'/],
    [['list', 'x'], /too many arguments/],
    [['route', 'num_1'], /--agent or --url/],
    [['route', 'num_1', '--agent', 'a', '--url', 'https://x.example'], /cannot be used with/],
    [['route', 'num_1', '--url', 'ftp://x'], /an http or https address/],
    [['list', '--nonsense'], /nonsense/],
  ]
  for (const [argv, message] of wrong)
    t.match(await numbers(server.origin, argv), { code: 2, out: '', err: message }, argv.join(' '))
  t.match(await numbers(server.origin, ['route', 'num_1', '--agent', 'a'], { PUBLIC_URL: '' }), {
    code: 2,
    err: /PUBLIC_URL/,
  })
  t.match(await numbers(server.origin, ['list'], { SAUTIKIT_API_KEY: '' }), {
    code: 2,
    err: /SAUTIKIT_API_KEY/,
  })
  t.same(server.seen, [])
  t.match(await numbers(server.origin, ['--help']), { code: 0, out: /claim \[options\] <number>/ })
})

t.test('a number that is not there is exit code 1, with where to look', async (t) => {
  const { server } = await simulatedApi(t)
  t.match(await numbers(server.origin, ['route', '+254700009999', '--url', 'https://x.example']), {
    code: 1,
    err: /no such number/,
  })
  t.match(await numbers(server.origin, ['claim', '+254700009999']), { code: 1, err: /cannot be claimed/ })
})

t.test('a number is never led to an agent that is not there', async (t) => {
  const { server, workspace } = await simulatedApi(t)
  const refused = await numbers(server.origin, ['route', 'num_1', '--agent', 'nosuch'])
  t.match(refused, {
    code: 2,
    err: /^mkondo: numbers route: --agent is 'nosuch'; allowed, from \S+agents \(AGENTS_DIR of this machine\): order-status, support; .*--url https:\/\/gw\.example\/voice\/nosuch\n$/,
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
    t.match(await numbers(server.origin, ['route', 'num_1', '--agent', agent], { AGENTS_DIR: dir }), { code: 0 }, agent)
    t.match(workspace.numbers[0], { voiceUrl: `https://gw.example/voice/${agent}` })
  }
  t.match(await numbers(server.origin, ['route', 'num_1', '--agent', 'order-status'], { AGENTS_DIR: dir }), {
    code: 2,
    err: /: coded, mine;/,
  })
  t.match(await numbers(server.origin, ['route', 'num_1', '--agent', 'mine'], { AGENTS_DIR: `${dir}/none` }), {
    code: 2,
    err: /none/,
  })
})
