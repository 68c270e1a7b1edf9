import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { command } from '../support/command.js'

/** What people get wrong in their first hour: each is said in one clear line, with exit code 2. */

const AGENT = 'version: 1\nname: a\ninstructions: Help.\n'

t.test('each mistake of the first hour is one line that names it, and exit code 2', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as AddressInfo
  const folder = t.testdir({
    data: {},
    good: { 'a.yaml': AGENT },
    key: { 'a.yaml': `${AGENT}greating: Hello.\n` },
    tab: { 'a.yaml': `${AGENT}silence:\n\tafterMs: 8000\n` },
    model: { 'a.yaml': `${AGENT}backend: openai\n` },
    twice: { 'a.yaml': AGENT, 'b.yaml': AGENT },
    scenario: {
      'x.yaml': 'version: 1\nagent: sales\ncaller: { steps: [{ say: Hello. }] }\nexpect: { outcome: contained }\n',
    },
    settings: { 'key.yaml': 'maxCall: 5\n', 'tab.yaml': 'maxCalls: 5\n\tport: 8080\n' },
  })
  const at = (path: string): string => join(folder, path)
  const env = { PORT: '0', OPS_PORT: '0', DATA_DIR: at('data'), AGENTS_DIR: at('good') }
  const cases: readonly (readonly [string, readonly string[], Readonly<Record<string, string>>, RegExp])[] = [
    [
      'a wrong key in an agent',
      ['check'],
      { AGENTS_DIR: at('key') },
      /a\.yaml:4:1: greating .*did you mean greeting\?/,
    ],
    ['a tab in an agent', ['check'], { AGENTS_DIR: at('tab') }, /a\.yaml:5:1: .*tab/i],
    [
      'a wrong key in the settings',
      ['check', '--config', at('settings/key.yaml')],
      {},
      /key\.yaml:1:1: unknown setting 'maxCall'; did you mean maxCalls\?$/,
    ],
    [
      'a tab in the settings',
      ['check', '--config', at('settings/tab.yaml')],
      {},
      /tab\.yaml:2:1: Tabs are not allowed as indentation$/,
    ],
    ['a misspelt variable', ['check'], { MAX_CALL: '5' }, /MAX_CALL is not a setting; did you mean MAX_CALLS\?/],
    [
      'a certificate without its key',
      ['check'],
      { TLS_CERT: at('good/a.yaml') },
      /TLS_KEY is not set, but TLS_CERT is; allowed: both/,
    ],
    [
      'a certificate that is none',
      ['check'],
      { TLS_CERT: at('good/a.yaml'), TLS_KEY: at('good/a.yaml') },
      /TLS_CERT is '.*a\.yaml', which is not PEM; allowed: a file with a certificate as PEM$/,
    ],
    ['a port in use', ['check'], { PORT: String(port) }, new RegExp(`PORT 127\\.0\\.0\\.1:${port}: EADDRINUSE`)],
    [
      'a model without its key',
      ['check'],
      { AGENTS_DIR: at('model') },
      /agent a uses backend openai, but OPENAI_API_KEY is not set/,
    ],
    ['a name that two agents have', ['check'], { AGENTS_DIR: at('twice') }, /b\.yaml.* a .*a\.yaml/],
    [
      'a scenario of an agent that is not there',
      ['simulate', at('scenario')],
      {},
      /x\.yaml: there is no agent sales; allowed: a$/,
    ],
    ['a file that is not there', ['simulate', at('nothing.yaml')], {}, /nothing\.yaml cannot be read/],
  ]
  for (const [what, argv, more, expected] of cases) {
    const { code, out, err } = await command(argv, { env: { ...env, ...more } })
    t.equal(code, 2, what)
    const said = [...err.trim().split('\n'), ...out.split('\n').filter((line) => line.startsWith('NOT OK'))].filter(
      (line) => line !== '',
    )
    t.equal(said.length, 1, `${what}: one line`)
    t.match(said[0], expected, what)
  }
})
