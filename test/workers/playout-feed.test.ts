import t from 'tap'
import { PlayoutFeed } from '../../src/workers/playout-feed.js'
import { OUTBOUND_RING_SAMPLES, SharedCall, Word, allocateSharedCall } from '../../src/workers/shared-call.js'
import { PLAYOUT_BACKLOG_MS_MAX } from '../../src/core/limits.js'

const ramp = (length: number, from = 0): Int16Array => Int16Array.from({ length }, (_, i) => (from + i) & 0x7fff)

t.test('an answer longer than the ring waits and follows without a gap', (t) => {
  const shared = new SharedCall(allocateSharedCall())
  const feed = new PlayoutFeed(shared, 16000)
  const total = OUTBOUND_RING_SAMPLES * 3 + 123
  feed.begin('a')
  for (let at = 0; at < total; at += 4800) feed.append(ramp(Math.min(4800, total - at), at))
  feed.finish('a')
  t.equal(feed.position, total)
  t.equal(shared.words[Word.more], 1, 'more is to come than lies in the ring')
  const out = new Int16Array(320)
  let seen = 0
  let wrong = 0
  while (seen < total) {
    const count = shared.outbound.peek(out, 320)
    for (let i = 0; i < count; i++) if (out[i] !== ((seen + i) & 0x7fff)) wrong++
    shared.outbound.consume(count)
    seen += count
    feed.refill()
    if (count === 0) break
  }
  t.equal(seen, total)
  t.equal(wrong, 0)
  t.equal(shared.words[Word.more], 0, 'a dry ring is now the end')
  t.end()
})

t.test('a clear leaves nothing to play, wakes a paused playout and counts', (t) => {
  const shared = new SharedCall(allocateSharedCall())
  const feed = new PlayoutFeed(shared, 8000)
  feed.begin('a')
  feed.append(ramp(OUTBOUND_RING_SAMPLES + 500))
  feed.pause()
  t.equal(shared.words[Word.paused], 1)
  feed.clear()
  t.equal(shared.outbound.available(), 0)
  t.equal(feed.pendingMs, 0)
  t.equal(shared.words[Word.paused], 0)
  t.equal(shared.words[Word.clears], 1)
  t.equal(shared.words[Word.more], 0)
  t.end()
})

t.test('speech beyond the bound is dropped and counted', (t) => {
  const shared = new SharedCall(allocateSharedCall())
  const feed = new PlayoutFeed(shared, 8000)
  const second = ramp(8000)
  for (let i = 0; i < PLAYOUT_BACKLOG_MS_MAX / 1000 + 10; i++) feed.append(second)
  t.ok(feed.droppedSamples > 0)
  t.ok(feed.pendingMs <= PLAYOUT_BACKLOG_MS_MAX + 5000)
  t.end()
})
