import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { whole } from '../support/gateway.js'
import { endedCall } from '../support/record.js'
import { command } from '../support/command.js'

const SID = 'HD_erased000001'

t.test('a whole gateway forgets an erased call, in memory and on its disk', async (t) => {
  const folder = t.testdir()
  const put = (text: string, ...path: readonly string[]): void => {
    mkdirSync(join(folder, ...path.slice(0, -1)), { recursive: true })
    writeFileSync(join(folder, ...path), text)
  }
  const record = endedCall({ callSid: SID, from: '+254700000017', rootSid: SID, startedAt: new Date().toISOString() })
  const day = new Date().toISOString().slice(0, 10)
  put(`${JSON.stringify(record)}\n`, 'records', `calls-${day}-0001.jsonl`)
  put(`${JSON.stringify({ callSid: SID, from: '+254700000017' })}\n`, 'records', `handoffs-${day}-0001.jsonl`)
  put('RIFF', 'recordings', `${SID}.wav`)
  put('{}\n', 'journals', `${SID}.jsonl`)
  put('RIFF', 'process-1', 'recordings', `${SID}.2.wav`)
  const lines: string[] = []
  const { at, close } = await whole({ DATA_DIR: folder, JOURNAL_CALLS: 'decisions' }, null, {
    write: (line: string) => void lines.push(line),
  })
  t.teardown(close)
  const ask = async (path: string): Promise<number> =>
    (await fetch(`http://127.0.0.1:${at.opsPort}/api/calls/${SID}${path}`)).status
  const views = ['', '/transcript', '/timeline', '/handoff', '/recording.wav', '/journal.jsonl']
  for (const view of views) t.equal(await ask(view), 200, view)
  const { code, out } = await command([
    ...['erase', '--number', '+254 700 000 017', '--ops-url', `http://127.0.0.1:${at.opsPort}`],
  ])
  t.equal(code, 0)
  t.match(
    out,
    /^erased: 1 call: 1 record, 1 handoff packet, 2 recordings, 0 carrier's recordings, 1 journal, 0 messages, 0 kept states\n$/,
  )
  for (const view of views) t.equal(await ask(view), 404, view)
  t.notOk(existsSync(join(folder, 'recordings', `${SID}.wav`)))
  t.notOk(existsSync(join(folder, 'process-1', 'recordings', `${SID}.2.wav`)), 'also of a process that is gone')
  t.notMatch(lines.join(''), /254700000017|254 700/)
})
