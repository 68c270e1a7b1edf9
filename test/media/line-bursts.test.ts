import t from 'tap'
import { CallerPath } from '../../src/media/caller-path.js'
import { loadVads } from '../support/media-modules.js'

const vadBank = await loadVads()

/** `lineBurstMs` after each packet of silence, by the times at which they come. */
function burstsOf(arrivalsMs: readonly number[], packetMs = 20): number[] {
  const path = new CallerPath({ sampleRateHz: 16_000, track: 'inbound_track', vadBank })
  const packet = new Uint8Array(32 * packetMs)
  const bursts = arrivalsMs.map((ms) => {
    path.push(packet, ms)
    while (path.pull(ms)) {
      // Only the times count.
    }
    return path.lineBurstMs
  })
  path.release()
  return bursts
}

/** Packets of a line that stalls for `stallMs` before each of `atMs`, and catches up at once. */
const stalling = (ms: number, stallMs: number, atMs: readonly number[]): number[] =>
  Array.from({ length: ms / 20 }, (_, i) => {
    const dueMs = 20 * (i + 1)
    return atMs.find((end) => dueMs > end - stallMs && dueMs < end) ?? dueMs
  })

t.test('a steady line has no bursts at any packet length', (t) => {
  for (const packetMs of [20, 60, 100]) {
    const arrivals = Array.from({ length: 400 }, (_, i) => packetMs * (i + 1) + (i % 3) * 5)
    t.same(new Set(burstsOf(arrivals, packetMs)), new Set([0]), `${packetMs} ms`)
  }
  t.end()
})

t.test('two bursts are needed and expire after 20 s', (t) => {
  const bursts = burstsOf(stalling(40_000, 200, [5000, 9000]))
  const at = (ms: number): number => bursts[ms / 20 - 1] as number
  t.equal(at(8000), 0, 'a single burst does not count')
  t.ok(at(9100) >= 160 && at(9100) <= 200, `${at(9100)} ms`)
  t.equal(at(24_000), at(9100))
  t.equal(at(32_000), 0)
  t.end()
})

t.test('the second longest of several bursts counts', (t) => {
  const arrivals = stalling(20_000, 300, [4000])
  const short = stalling(20_000, 100, [8000, 12_000])
  const bursts = burstsOf(arrivals.map((ms, i) => Math.max(ms, short[i] as number)))
  t.ok((bursts.at(-1) as number) >= 60 && (bursts.at(-1) as number) <= 100, `${bursts.at(-1)} ms`)
  t.end()
})

t.test('lost audio is not a burst', (t) => {
  for (const lostMs of [100, 150, 200, 600]) {
    const lost = Array.from({ length: 1500 }, (_, i) => 20 * (i + 1) + lostMs * Math.floor(i / 300))
    t.same(new Set(burstsOf(lost)), new Set([0]), `${lostMs} ms`)
  }
  t.end()
})
