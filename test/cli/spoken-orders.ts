import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { replayJournal } from '../../src/call/journal/replay.js'
import type { CallReport } from '../../src/simulator/call-report.js'
import { whole } from '../support/gateway.js'
import { simulateOneCall } from '../support/simulated.js'

/**
 * Callers of the shipped order line, all at once and each with these arguments of `mkondo call`: they hear the right
 * status of the right order, the journal of their calls runs again, and the metrics count them. Returns what was
 * reported of each.
 */
export async function ordersAreHeard<Name extends string>(
  t: Test,
  callers: Readonly<Record<Name, readonly string[]>>,
): Promise<Record<Name, CallReport | undefined>> {
  const names = Object.keys(callers) as Name[]
  const dataDir = t.testdir()
  const { at, close } = await whole({ JOURNAL_CALLS: 'true', DATA_DIR: dataDir, SPEECH_DECODERS: String(names.length) })
  t.teardown(close)
  const runs = await Promise.all(names.map((name) => simulateOneCall({ ...at, args: callers[name] })))
  for (const [i, run] of runs.entries()) {
    t.equal(run.code, 0, `${names[i]}: ${run.calls[0]?.goal.why ?? run.output}`)
    t.equal(run.calls[0]?.outcome, 'contained', `${names[i]}: outcome`)
    t.same(run.calls[0]?.complaints, [], `${names[i]}: nothing a carrier would stumble over`)
  }

  const journals = await readdir(join(dataDir, 'journals'))
  t.equal(journals.length, names.length)
  for (const name of journals) {
    const lines = (await readFile(join(dataDir, 'journals', name), 'utf8')).split('\n')
    const replayed = replayJournal(lines)
    t.equal(replayed.outputs.at(-1)?.output.type, 'ended', `${name} runs again to its end`)
  }

  const metrics = await (await fetch(`http://127.0.0.1:${at.opsPort}/metrics`)).text()
  t.match(
    metrics,
    new RegExp(`mkondo_calls_total\\{agent="order-status",backend="embedded",outcome="contained"\\} ${names.length}`),
  )
  t.match(metrics, /mkondo_turn_response_seconds_bucket\{[^}]*\} \d+ # \{call_sid="HD_/, 'exemplars name calls')
  return Object.fromEntries(names.map((name, i) => [name, runs[i]?.calls[0]])) as Record<Name, CallReport | undefined>
}
