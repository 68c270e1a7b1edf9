import t from 'tap'
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { replayJournal } from '../../src/call/replay.js'
import { whole } from '../support/gateway.js'
import { simulateOneCall } from '../support/simulated.js'

// Calls are spoken in real time.
t.setTimeout(170_000)

t.test('three callers hear the right status of the right order, and the journal of their calls runs again', async (t) => {
  const dataDir = t.testdir()
  const { at, close } = await whole({ JOURNAL_CALLS: 'true', DATA_DIR: dataDir })
  t.teardown(close)
  const [knows, relies, interrupts] = await Promise.all([
    simulateOneCall({ ...at, args: ['--from', '+254700000009', '--order', '4127'] }),
    simulateOneCall({ ...at, args: ['--from', '+254700000001', '--voice', 'awb'] }),
    simulateOneCall({ ...at, args: ['--from', '+254700000001', '--order', '4127', '--interrupt'] }),
  ])
  for (const [name, run] of Object.entries({ knows, relies, interrupts })) {
    t.equal(run.code, 0, `${name}: ${run.calls[0]?.goal.why ?? run.output}`)
    t.equal(run.calls[0]?.outcome, 'deflected', `${name}: outcome`)
    t.same(run.calls[0]?.complaints, [], `${name}: nothing a carrier would stumble over`)
  }
  t.equal(interrupts.calls[0]?.bargeIns.some((bargeIn) => bargeIn.committed === true), true, 'the agent was interrupted')
  t.match(relies.calls[0]?.toolCalls[0]?.args, { callerNumber: /…/ }, 'the caller\'s number is masked in what an operator sees')

  const journals = await readdir(join(dataDir, 'journals'))
  t.equal(journals.length, 3)
  for (const name of journals) {
    const lines = (await readFile(join(dataDir, 'journals', name), 'utf8')).split('\n')
    const replayed = replayJournal(lines)
    t.equal(replayed.outputs.at(-1)?.output.type, 'ended', `${name} runs again to its end`)
  }

  const metrics = await (await fetch(`http://127.0.0.1:${at.opsPort}/metrics`)).text()
  t.match(metrics, /mkondo_calls_total\{agent="order-status",outcome="deflected"\} 3/)
  t.match(metrics, /mkondo_turn_response_seconds_bucket\{[^}]*\} \d+ # \{call_sid="HD_/, 'exemplars name calls')
})

t.test('keys work where words do not', async (t) => {
  const { at, close } = await whole()
  t.teardown(close)
  const script = join(t.testdir({
    'keys.yaml': [
      'version: 1', 'name: presses the keys', 'order: "4127"', 'steps:',
      '  - press: "4127#"', '  - say: No, thank you.', '  - hangup: true',
    ].join('\n'),
  }), 'keys.yaml')
  const run = await simulateOneCall({ ...at, args: ['--from', '+254700000009', '--script', script] })
  t.equal(run.code, 0, run.calls[0]?.goal.why ?? run.output)
})
