import t from 'tap'
import { LegBridge, type CallerLeg } from '../../src/carrier/caller-leg.js'
import { Microphone } from '../../src/carrier/microphone.js'
import { bytesOfSamples } from '../../src/media/pcm.js'

const RATE_HZ = 16_000
const FRAME = 320
const frame = (level: number): Uint8Array => bytesOfSamples(new Int16Array(FRAME).fill(level))

/** First sample of each frame that a microphone plays: one frame every 20 ms. */
function reader(microphone: Microphone, startMs = 0): () => number {
  let nowMs = startMs
  return () => {
    const out = new Int16Array(FRAME)
    microphone.read(out, nowMs)
    nowMs += 20
    return out[0] as number
  }
}

t.test('playing starts after the lead and keeps every sample', (t) => {
  const microphone = new Microphone(RATE_HZ, { leadMs: 40, leadMsMax: 40 })
  const read = reader(microphone)
  microphone.write(frame(1))
  t.equal(read(), 0, 'less than the lead')
  microphone.write(frame(2))
  microphone.write(frame(3).subarray(0, 101))
  microphone.write(frame(3).subarray(101))
  t.same([read(), read(), read(), read()], [1, 2, 3, 0])
  t.end()
})

t.test('the lead grows at gaps and shrinks after 10 s', (t) => {
  const microphone = new Microphone(RATE_HZ, { leadMs: 20, leadMsMax: 60 })
  const read = reader(microphone)
  microphone.write(frame(1))
  t.same([read(), read()], [1, 0], 'a gap')
  microphone.write(frame(2))
  t.equal(read(), 0, 'the lead is 40 ms now')
  microphone.write(frame(3))
  t.equal(read(), 2)
  for (let i = 0; i < 600; i++) {
    microphone.write(frame(900))
    read()
  }
  t.same([read(), read()], [900, 0], 'the sound runs out')
  microphone.write(frame(5))
  microphone.write(frame(6))
  t.equal(read(), 5, 'the lead is 40 ms again, not 60')
  t.end()
})

t.test('audio that waits too long is dropped and counted', (t) => {
  const microphone = new Microphone(RATE_HZ, { leadMs: 20, leadMsMax: 20 })
  for (let i = 1; i <= 61; i++) microphone.write(frame(i))
  t.equal(reader(microphone)(), 60)
  t.equal(microphone.samplesDropped, 59 * FRAME)
  t.end()
})

t.test('delay added by a stall is removed during silence', (t) => {
  const microphone = new Microphone(RATE_HZ, { leadMs: 20, leadMsMax: 200 })
  const read = reader(microphone)
  for (let i = 0; i < 15; i++) microphone.write(frame(0))
  let [written, played] = [0, 0]
  const pass = (level: number, frames: number): void => {
    for (let i = 0; i < frames; i++) {
      microphone.write(frame(level === 0 ? 0 : ++written + level))
      if (read() > level && level > 0) played++
    }
  }
  pass(1000, 150)
  t.equal(played, 135, 'words are 300 ms late')
  pass(0, 100)
  const before = written
  pass(1000, 100)
  t.equal(written - before, 100)
  t.equal(microphone.samplesDropped, 15 * FRAME, 'all that waited, and none of the words')
  microphone.write(frame(500))
  t.equal(read(), 500, 'and nothing waits any more')
  t.end()
})

t.test('a phone without comfort noise does not raise the lead', (t) => {
  const microphone = new Microphone(RATE_HZ, { leadMs: 20, leadMsMax: 200 })
  const read = reader(microphone)
  for (let word = 0; word < 5; word++) {
    for (let i = 0; i < 10; i++) {
      microphone.write(frame(900))
      t.equal(read(), 900)
    }
    for (let i = 0; i < 10; i++) t.equal(read(), 0)
  }
  t.end()
})

t.test('audio that waited for a blocked thread is played completely', (t) => {
  const microphone = new Microphone(RATE_HZ, { leadMs: 20, leadMsMax: 200 })
  const read = reader(microphone)
  for (let i = 1; i <= 50; i++) microphone.write(frame(1000 + i))
  t.same(
    Array.from({ length: 50 }, () => read()),
    Array.from({ length: 50 }, (_, i) => 1001 + i),
  )
  t.equal(microphone.samplesDropped, 0)
  t.end()
})

t.test('people of a bridge hear each other but not themselves', (t) => {
  const bridge = new LegBridge()
  const [a, b, c] = [{}, {}, {}] as [CallerLeg, CallerLeg, CallerLeg]
  const heard = (leg: CallerLeg, spoken: number, agent = 0): number => {
    const out = new Int16Array(FRAME).fill(agent)
    bridge.exchange(leg, new Int16Array(FRAME).fill(spoken), out)
    return out[0] as number
  }
  heard(a, 100)
  heard(b, 20)
  t.equal(heard(a, 100, 5), 25, 'the other, and the own agent')
  t.equal(heard(b, 20), 105, 'the other with the agent of theirs')
  heard(c, 3)
  t.equal(heard(a, 100), 23)
  bridge.leave(b)
  t.equal(heard(a, 100), 3)
  t.end()
})
