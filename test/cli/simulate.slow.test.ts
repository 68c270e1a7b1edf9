import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import type { ScenarioReport } from '../../src/simulator/scenarios/report.js'
import { command } from '../support/command.js'
import { KEYPAD_AGENTS, KEYS_AND_WORDS } from '../support/keypad-agent.js'
import { whole } from '../support/gateway.js'

// Three calls of 10 to 30 s in real time, at once.
t.setTimeout(300_000)
t.jobs = 2

const folder = await mkdtemp(join(tmpdir(), 'mkondo-spoken-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const shipped = join(packageRoot(), 'scenarios')

async function simulate(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ code: number; text: string; report: ScenarioReport }> {
  const json = join(await mkdtemp(join(folder, 'report-')), 'report.json')
  const { code, out, err } = await command(['simulate', shipped, '--json', json, ...argv], { env })
  return { code, text: out + err, report: JSON.parse(await readFile(json, 'utf8')) as ScenarioReport }
}

t.test('the shipped scenarios that are spoken pass against a gateway of their own', { buffered: true }, async (t) => {
  const { code, text, report } = await simulate([
    '--filter',
    '/relies-on|opening-hours/',
    '--jobs',
    '2',
    '--record',
    join(folder, 'wav'),
  ])
  t.equal(code, 0, text)
  t.same(
    report.results.map((result) => result.mode),
    ['audio', 'audio'],
  )
  t.same((await readdir(join(folder, 'wav'))).sort(), [
    'order-status-relies-on-caller-id.wav',
    'support-opening-hours.wav',
  ])
})

t.test('and against one that runs already; what needs no sound is skipped there', { buffered: true }, async (t) => {
  const { at, close } = await whole()
  t.teardown(close)
  const argv = [
    '--url',
    `http://127.0.0.1:${at.port}`,
    '--ops-url',
    `http://127.0.0.1:${at.opsPort}`,
    '--filter',
    'keys',
  ]
  const { code, text, report } = await simulate(argv, { SHOP_API_URL: at.shopUrl })
  t.equal(code, 0, text)
  t.match(report.results, [{ name: 'keys-in-a-noisy-street', status: 'passed', call: { backend: 'embedded' } }])
})

t.test('a caller who keys a secret code in as sound has the tool that gets it', { buffered: true }, async (t) => {
  const file = join(await mkdtemp(join(folder, 'keypad-')), 'keys-and-words.yaml')
  await writeFile(file, KEYS_AND_WORDS)
  const { code, out, err } = await command(['simulate', file, '--mode', 'audio', '--agents', KEYPAD_AGENTS])
  t.equal(code, 0, out + err)
})
