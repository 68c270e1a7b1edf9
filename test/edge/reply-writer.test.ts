import t from 'tap'
import { OPS_STREAM_STALLED_MS, UnsentReplies } from '../../src/edge/reply-writer.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'

const MB = 1024 * 1024

function replies() {
  const time = { nowMs: 0 }
  const unsent = new UnsentReplies({
    clock: () => time.nowMs,
    log: createLog({ level: 'silent' }),
    metrics: new Metrics({ version: '0.0.0', processMetrics: false }),
  })
  const cut: string[] = []
  const reply = (name: string) => ({ cut: () => void cut.push(name) })
  return { time, unsent, cut, reply }
}

t.test('a reader that takes nothing is cut off after a while, one that takes a little is not', (t) => {
  const { time, unsent, cut, reply } = replies()
  const [slow, deaf] = [reply('slow'), reply('deaf')]
  unsent.waits(slow, 1000)
  unsent.waits(deaf, 2000)
  time.nowMs = OPS_STREAM_STALLED_MS - 1000
  unsent.waits(slow, 900)
  unsent.sweep(time.nowMs)
  t.same(cut, [])
  t.equal(unsent.bytes, 2900)
  time.nowMs = OPS_STREAM_STALLED_MS + 1
  unsent.sweep(time.nowMs)
  t.same(cut, ['deaf'])
  t.match(unsent.cuts, { stalled: 1, crowded: 0 })
  unsent.done(slow)
  t.equal(unsent.bytes, 0)
  t.end()
})

t.test('where too much waits, or too many, the one without progress for the longest time is cut off', (t) => {
  const { unsent, cut, reply } = replies()
  const first = reply('first')
  unsent.waits(first, 15 * MB)
  unsent.waits(reply('second'), 15 * MB)
  unsent.waits(first, 14 * MB)
  unsent.waits(reply('third'), 10 * MB)
  t.same(cut, ['second'])
  unsent.waits(reply('huge'), 100 * MB)
  t.same(cut, ['second', 'first', 'third'], 'one alone may be as large as it is')
  for (let count = 0; count < 256; count++) unsent.waits(reply(`small ${count}`), 1)
  t.equal(cut.at(-1), 'huge')
  t.equal(unsent.bytes, 256)
  unsent.waits(reply('one more'), 1)
  t.equal(cut.at(-1), 'small 0')
  t.end()
})
