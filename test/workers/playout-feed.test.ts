import t from 'tap'
import { FRAME_MS } from '../../src/core/units.js'
import type { LegRateHz } from '../../src/core/units.js'
import { KILL_AUDIO } from '../../src/sautikit/stream-messages.js'
import { PlayoutClock } from '../../src/workers/playout-clock.js'
import { PLAYOUT_BACKLOG_MS_MAX, PlayoutFeed } from '../../src/workers/playout-feed.js'
import {
  OUTBOUND_RING_SAMPLES,
  RECALLED_SAMPLES,
  SharedCall,
  allocateSharedCall,
} from '../../src/workers/shared-call.js'

const ramp = (length: number, from = 0): Int16Array => Int16Array.from({ length }, (_, i) => (from + i) & 0x7fff)

/** Both ends of playout over one memory, and what the carrier gets. */
function line(rateHz: LegRateHz) {
  const shared = new SharedCall(allocateSharedCall())
  const feed = new PlayoutFeed(shared, rateHz)
  const clock = new PlayoutClock(shared, rateHz)
  const sent: number[] = []
  const texts: string[] = []
  const sink = {
    sendAudio: (bytes: Uint8Array) => {
      sent.push(...new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2))
      return true
    },
    sendText: (text: string) => {
      texts.push(text)
    },
    close: () => undefined,
  }
  let nowMs = 0
  const play = (ms: number): void => {
    for (const endMs = nowMs + ms; nowMs < endMs; nowMs += FRAME_MS) {
      clock.pump(nowMs, sink, null)
      feed.refill()
    }
  }
  return { feed, clock, sent, texts, play }
}

t.test('an answer longer than the ring waits and follows without a gap', (t) => {
  const { feed, clock, sent, play } = line(16000)
  const total = OUTBOUND_RING_SAMPLES * 3 + 123
  feed.begin('a')
  for (let at = 0; at < total; at += 4800) feed.append(ramp(Math.min(4800, total - at), at))
  feed.finish('a')
  t.equal(feed.position, total)
  play(total / 16 + 500)
  t.ok(sent.length >= total, 'to its last sample')
  t.same(Int16Array.from(sent).subarray(0, total), ramp(total))
  t.equal(clock.underruns, 0)
  t.equal(feed.pendingMs, 0)
  t.end()
})

t.test('a source that runs dry within an item is an underrun, at its end it is none', (t) => {
  for (const ended of [false, true]) {
    const { feed, clock, play } = line(16000)
    feed.begin('a')
    feed.append(ramp(3200))
    if (ended) feed.finish('a')
    play(600)
    t.equal(clock.underruns, ended ? 0 : 1)
  }
  t.end()
})

t.test('a clear leaves nothing to play, flushes the carrier and ends a pause', (t) => {
  const { feed, sent, texts, play } = line(8000)
  feed.begin('a')
  feed.append(ramp(OUTBOUND_RING_SAMPLES + 500))
  feed.pause()
  play(200)
  t.same(sent, [], 'a pause sends nothing')
  feed.clear()
  t.equal(feed.pendingMs, 0)
  play(200)
  t.same(texts, [KILL_AUDIO])
  t.same(sent, [])
  feed.begin('b')
  feed.append(new Int16Array(1600).fill(1000))
  feed.finish('b')
  play(500)
  t.ok(sent.includes(1000), 'what comes after it is played')
  t.equal(texts.length, 1)
  t.end()
})

t.test('speech beyond the bound is dropped and counted', (t) => {
  const { feed } = line(8000)
  const second = ramp(8000)
  const seconds = PLAYOUT_BACKLOG_MS_MAX / 1000 + 10
  for (let i = 0; i < seconds; i++) feed.append(second)
  const inRing = OUTBOUND_RING_SAMPLES - RECALLED_SAMPLES
  t.equal(feed.pendingMs, PLAYOUT_BACKLOG_MS_MAX + inRing / 8)
  t.equal(feed.droppedSamples, seconds * 8000 - inRing - PLAYOUT_BACKLOG_MS_MAX * 8)
  t.end()
})
