/** Streams that the carrier cannot open: whenever it says so, the caller hears words, and a human is rung. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import type { ScenarioReport } from '../../src/simulator/scenarios/report.js'
import { command } from '../support/command.js'

const FILES = [
  ['scenarios/order-status/no-stream-can-be-opened.yaml', 'agents', 'continues', [5, 12]],
  ['scenarios/order-status/no-stream-can-be-opened.yaml', 'agents', 'reposts', [9, 35]],
  ['examples/known-caller/scenarios/mkondo-haufunguki.yaml', 'examples/known-caller/agents', 'continues', [20]],
] as const

for (const [file, agents, afterStream, seconds] of FILES)
  t.test(`a failed stream gives words and a human: ${agents}, ${afterStream}`, async (t) => {
    const folder = t.testdir()
    const text = await readFile(join(packageRoot(), file), 'utf8')
    await mkdir(join(folder, 'runs'))
    for (const each of seconds)
      await writeFile(
        join(folder, 'runs', `fails-${each}.yaml`),
        text
          .replace(/streamFailsAfterMs: \d+/, `afterStream: ${afterStream}, streamFailsAfterMs: ${each * 1000}`)
          .replace('stream-error', '[stream-error, socket-never-came]'),
      )
    const options = ['--agents', join(packageRoot(), agents), '--json', '-']
    const { code, out, err } = await command(['simulate', join(folder, 'runs'), ...options])
    t.equal(code, 0, err)
    const { results } = JSON.parse(out) as ScenarioReport
    t.equal(results.length, seconds.length)
    for (const { name, call } of results) {
      t.same(call?.dials, ['answered'], `${name}: a human is rung once`)
      t.ok((call?.durationMs ?? Infinity) < 60_000, `${name}: the silence is bounded`)
    }
  })
