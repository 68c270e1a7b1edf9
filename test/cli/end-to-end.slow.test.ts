import { readFile, readdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { nodeNameOf } from '../../src/fleet/node-name.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { command } from '../support/command.js'
import { whole } from '../support/gateway.js'
import { simulateOneCall } from '../support/simulated.js'

// Callers whom the gateway does not know: echo-lines.slow.test.ts and spoken-callers.slow.test.ts.
const CALLERS = [
  ['--from', '+254700000001', '--voice', 'awb'],
  ['--from', '+254700000001', '--order', '4127', '--interrupt'],
]

t.test("two callers hear their orders' status, and their journals replay", async (t) => {
  const dataDir = t.testdir()
  const { gateway, at, close } = await whole({ JOURNAL_CALLS: 'true', DATA_DIR: dataDir, SPEECH_DECODERS: '2' })
  t.teardown(close)
  const runs = await Promise.all(CALLERS.map((args) => simulateOneCall({ ...at, args })))
  for (const [i, run] of runs.entries()) {
    const caller = CALLERS[i]?.join(' ') ?? ''
    t.equal(run.code, 0, `${caller}: ${run.calls[0]?.goal.why ?? run.output}`)
    t.equal(run.calls[0]?.outcome, 'contained', caller)
    t.same(run.calls[0]?.complaints, [], `${caller}: nothing a carrier would stumble over`)
  }
  const [relies, interrupts] = runs.map(({ calls }) => calls[0])
  t.ok(
    interrupts?.bargeIns.some(({ committed }) => committed),
    'the agent was interrupted',
  )
  t.match(relies?.toolCalls[0]?.args, { callerNumber: /…/ }, "the caller's number is masked in what an operator sees")

  const journals = await readdir(join(dataDir, 'journals'))
  t.equal(journals.length, CALLERS.length)
  for (const name of journals) {
    const lines = (await readFile(join(dataDir, 'journals', name), 'utf8')).split('\n')
    t.equal(replayJournal(lines).outputs.at(-1)?.output.type, 'ended', `${name} runs again to its end`)
  }
  const opsUrl = `http://127.0.0.1:${at.opsPort}`
  const metrics = await (await fetch(`${opsUrl}/metrics`)).text()
  t.match(metrics, /mkondo_calls_total\{agent="order-status",backend="embedded",outcome="contained"\} 2/)
  t.match(metrics, /mkondo_turn_response_seconds_bucket\{[^}]*\} \d+ # \{call_sid="HD_/, 'exemplars name calls')

  t.match(await command(['drain', '--ops-url', opsUrl]), {
    code: 0,
    out: `${nodeNameOf(hostname())} at ${opsUrl} drains; 0 live calls\n`,
    err: '',
  })
  await gateway.stopped // an idle gateway that is drained ends
})

t.test('a caller who changes language is answered in that language', async (t) => {
  const { code, out } = await command(['demo', '--languages', '--json', '-'], {})
  const { missing, transcript } = JSON.parse(out) as { missing: string[]; transcript: { language?: string }[] }
  t.same(missing, [])
  t.equal(transcript.map(({ language }) => language).join(' '), 'en sw sw sw sw sw sw sw sw en en en en')
  t.equal(code, 0)
})
