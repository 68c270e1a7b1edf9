import { mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { until } from '../support/until.js'
import { JournalFiles } from '../../src/gateway/journal-files.js'
import { parseCallSid } from '../../src/core/ids.js'
import { createLog } from '../../src/telemetry/log.js'

const sid = (name: string) => parseCallSid(`HD_journal-${name}`)

function logged(): { readonly log: ReturnType<typeof createLog>; readonly lines: () => string[] } {
  const texts: string[] = []
  const log = createLog({ level: 'info', destination: { write: (text) => void texts.push(text) } })
  return {
    log,
    lines: () =>
      texts
        .join('')
        .split('\n')
        .filter((text) => text !== ''),
  }
}

t.test('each call has its own file, which only the gateway may read', async (t) => {
  const folder = join(t.testdir(), 'journals')
  const files = new JournalFiles(folder, logged().log, () => 0)
  files.append(sid('one'), ['{"journal":2}', '{"t":1}'])
  files.append(sid('two'), ['{"journal":2}'])
  files.append(sid('one'), ['{"t":2}'])
  await files.closeAll()
  t.equal(readFileSync(join(folder, `${sid('one')}.jsonl`), 'utf8'), '{"journal":2}\n{"t":1}\n{"t":2}\n')
  t.equal(statSync(join(folder, `${sid('two')}.jsonl`)).mode & 0o777, 0o600)
  t.equal(files.dropped, 0)
})

t.test('a full disk turns journals off for a while, with one line in the log', async (t) => {
  const folder = join(t.testdir(), 'journals')
  mkdirSync(folder)
  for (const name of ['full1', 'full2']) symlinkSync('/dev/full', join(folder, `${sid(name)}.jsonl`))
  const { log, lines } = logged()
  let nowMs = 0
  const files = new JournalFiles(folder, log, () => nowMs)
  files.append(sid('full1'), ['{"journal":2}'])
  files.append(sid('full2'), ['{"journal":2}'])
  const complaints = (): number => lines().filter((line) => /cannot be written/.test(line)).length
  await until(() => complaints() > 0, 10_000, 'the line in the log')
  files.append(sid('full1'), ['{"t":1}'])
  files.append(sid('later'), ['{"journal":2}'])
  t.equal(files.dropped, 2)
  files.close(sid('later'))
  t.equal(complaints(), 1)
  nowMs += 61_000
  files.append(sid('much-later'), ['{"journal":2}'])
  await files.closeAll()
  t.equal(readFileSync(join(folder, `${sid('much-later')}.jsonl`), 'utf8'), '{"journal":2}\n')
})
