import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { callRecordSchema } from '../../src/call/documents/record.js'
import { command } from '../support/command.js'
import { reexport } from '../support/module-beside.js'
import { until } from '../support/until.js'
import { endsWith, mkondo, takesCalls } from './mkondo-process.js'
import type { Run } from './mkondo-process.js'
import { SAME_CALLER } from '../support/same-caller.js'
import { silentCall } from '../support/silent-call.js'

/**
 * `mkondo serve`, killed with SIGKILL in the middle of calls, and started again on the same DATA_DIR. Its agents have a
 * backend without a recogniser, so that nothing here waits for speech.
 */
const BACKEND = new URL('../grafana/scripted-backend.js', import.meta.url).href

const folder = mkdtempSync(join(tmpdir(), 'mkondo-killed-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const dataDir = join(folder, 'data')
mkdirSync(join(folder, 'agents'))
writeFileSync(join(folder, 'agents', 'scripted.mjs'), reexport(BACKEND))
writeFileSync(
  join(folder, 'agents', 'light.yaml'),
  JSON.stringify({
    version: 1,
    name: 'light',
    instructions: 'Beep.',
    backend: 'module:./scripted.mjs',
    greeting: 'Beep.',
    recording: { enabled: true, consent: null },
  }),
)

/** On the folder of this file, and gone with it. */
function here(args: readonly string[], env: Readonly<Record<string, string>> = {}): Run {
  const run = mkondo(args, {
    HOST: '127.0.0.1',
    PORT: '0',
    OPS_PORT: '0',
    AGENTS_DIR: join(folder, 'agents'),
    DATA_DIR: dataDir,
    MEDIA_WORKERS: '1',
    ...SAME_CALLER,
    ...env,
  })
  endsWith(t, run)
  return run
}

interface Serving extends Run {
  readonly url: string
  get(path: string): Promise<Response>
}

async function serving(env: Readonly<Record<string, string>> = {}): Promise<Serving> {
  const run = here(['serve'], env)
  const { port, ops_port: opsPort } = await takesCalls(run)
  return { ...run, url: `http://127.0.0.1:${port}`, get: (path) => fetch(`http://127.0.0.1:${opsPort}${path}`) }
}

const openRecord = (callSid: string): string => {
  try {
    return readFileSync(join(dataDir, 'records', 'open', `${callSid}.json`), 'utf8')
  } catch {
    return ''
  }
}
const recordLines = (): CallRecord[] =>
  readdirSync(join(dataDir, 'records'))
    .filter((name) => name.startsWith('calls-'))
    .flatMap((name) =>
      readFileSync(join(dataDir, 'records', name), 'utf8')
        .split('\n')
        .filter((line) => line !== ''),
    )
    .map((line) => JSON.parse(line) as CallRecord)

t.test('a killed process leaves records of its calls [1]', async (t) => {
  const first = await serving({ RECORDS_TRANSCRIPT: 'masked' })
  await silentCall(first.url, 'HD_killed000001')
  await silentCall(first.url, 'HD_killed000002')
  const over = await silentCall(first.url, 'HD_over00000001')
  await until(
    () => /"beep"/.test(openRecord('HD_killed000001')) && /"beep"/.test(openRecord('HD_over00000001')),
    20_000,
    'the greeting to be written down',
  )
  t.notMatch(openRecord('HD_killed000001'), /254700000001/, 'numbers are masked in open records too')
  over.close(1000)
  await until(() => openRecord('HD_over00000001') === '', 10_000, 'the end of the third call')

  await t.test('a second gateway cannot use the same DATA_DIR [3]', async (t) => {
    const line = `DATA_DIR is '${dataDir}', which another gateway is using; allowed: a folder of its own for each gateway`
    const second = here(['serve'])
    const check = here(['check'])
    t.equal(await second.exit, 2)
    t.same(second.lines, [`mkondo: ${line}`])
    t.equal(await check.exit, 2)
    t.match(check.lines.join('\n'), `NOT OK  ${line}`)
  })

  first.child.kill('SIGKILL')
  await first.exit
  const again = await serving({ RECORDS_TRANSCRIPT: 'none' })
  const record = callRecordSchema.parse(await (await again.get('/api/calls/HD_killed000001')).json())
  t.match(record, {
    outcome: 'failed',
    endReason: 'process-died',
    agent: 'light',
    direction: 'inbound',
    backend: 'scripted',
    transcript: [{ role: 'agent', text: 'beep' }],
    recording: 'recordings/HD_killed000001.wav',
  })
  t.match(record.endDetail, /^the gateway process died; what is here was written down at 20\d\d-/)
  t.ok(record.durationMs > 0 && record.timeline.some(({ name }) => name === 'socket'))
  const listed = (await (await again.get('/api/calls')).json()) as { ended: { callSid: string; endReason: string }[] }
  t.same(listed.ended.map(({ callSid, endReason }) => `${callSid} ${endReason}`).sort(), [
    'HD_killed000001 process-died',
    'HD_killed000002 process-died',
    'HD_over00000001 caller-hung-up',
  ])
  t.match(
    await (await again.get('/metrics')).text(),
    /mkondo_calls_total\{agent="light",backend="scripted",outcome="failed"\} 2\b/,
  )
  t.equal((await again.get('/api/calls/HD_killed000001/recording.wav')).status, 200)
  t.equal(again.lines.filter((line) => line.includes('call was live when an earlier process died')).length, 2)
  t.same(
    recordLines()
      .map(({ callSid }) => callSid)
      .sort(),
    ['HD_killed000001', 'HD_killed000002', 'HD_over00000001'],
    'one record per call',
  )

  const wordless = await silentCall(again.url, 'HD_wordless0001')
  const view = async (): Promise<string> => (await again.get('/api/calls/HD_wordless0001')).text()
  let shown = ''
  await until(
    () => {
      void view().then((text) => {
        shown = text
      })
      return shown.includes('"beep"') && openRecord('HD_wordless0001').includes('"first-frame"')
    },
    20_000,
    'a greeting, and an open record after it',
  )
  t.match(
    JSON.parse(openRecord('HD_wordless0001')),
    { transcript: [], endReason: 'process-died' },
    'RECORDS_TRANSCRIPT=none holds for open records too',
  )
  wordless.close(1000)
  await until(() => openRecord('HD_wordless0001') === '', 10_000, 'its end')
  again.child.kill('SIGTERM')
  t.equal(await again.exit, 0)
  t.same(readdirSync(join(dataDir, 'records', 'open')), [])
})

t.test('serve and check refuse an unusable DATA_DIR [2]', async (t) => {
  const line =
    /DATA_DIR is '\/proc\/x', which cannot be made or written \(ENOENT\); allowed: a folder that this user may make and write, or none, with KEEP_CALLS=false/
  const check = (env: Readonly<Record<string, string>> = {}) =>
    command(['check'], {
      env: {
        PORT: '0',
        OPS_PORT: '0',
        AGENTS_DIR: join(folder, 'agents'),
        DATA_DIR: '/proc/x',
        ...SAME_CALLER,
        ...env,
      },
    })
  const serve = here(['serve'], { DATA_DIR: '/proc/x' })
  const { code, out } = await check()
  t.equal(code, 2)
  t.match(out, line)
  const unkept = await check({ KEEP_CALLS: 'false' })
  t.equal(unkept.code, 0, unkept.out + unkept.err)
  t.equal(await serve.exit, 2)
  t.equal(serve.lines.length, 1)
  t.match(serve.lines[0], line)
})
