import t from 'tap'
import fc from 'fast-check'
import {
  HOLD_BACK_FIRST_SAMPLES,
  HOLD_BACK_SAMPLES,
  MARKS_WAITING_MAX,
  PlayoutQueue,
} from '../../src/simulator/playout-queue.js'

function bytes(samples: number, value = 1000): Buffer {
  return Buffer.from(new Int16Array(samples).fill(value).buffer)
}

/** Plays until nothing comes; returns how many samples were heard. */
function playOut(queue: PlayoutQueue, frame = 320): number {
  let heard = 0
  for (let i = 0; i < 1000; i++) {
    const { samples } = queue.tick(new Int16Array(frame))
    if (samples === 0) break
    heard += samples
  }
  return heard
}

void t.test('nothing is heard before 1,280 samples came', (t) => {
  const queue = new PlayoutQueue()
  queue.push(bytes(HOLD_BACK_FIRST_SAMPLES - 1))
  t.equal(playOut(queue), 0)
  queue.push(bytes(1))
  t.equal(playOut(queue), HOLD_BACK_FIRST_SAMPLES)
  t.end()
})

void t.test('of 500 ms in 20 ms frames 480 are heard, and silence pushes the rest out', (t) => {
  const queue = new PlayoutQueue()
  for (let i = 0; i < 25; i++) queue.push(bytes(320))
  t.equal(playOut(queue) / 16, 480)
  t.equal(queue.heldSamples, 320)
  for (let i = 0; i < 2; i++) queue.push(bytes(320, 0))
  t.equal(playOut(queue), 640, 'the tail and 20 ms of the silence')
  t.end()
})

void t.test('killAudio takes effect at the next tick and takes new audio with it, but not what is held back', (t) => {
  const queue = new PlayoutQueue()
  queue.push(bytes(1280 * 2, 7))
  queue.push(bytes(300, 9))
  queue.kill()
  queue.push(bytes(640, 11))
  const out = new Int16Array(320)
  t.equal(queue.tick(out).samples, 0, 'all that was released is gone, the burst after killAudio included')
  t.equal(queue.samplesFlushed, 2560 + 940)
  queue.push(bytes(300, 13))
  queue.kill()
  queue.tick(out)
  queue.push(bytes(340, 15))
  t.equal(queue.tick(out).samples, 320, 'audio after the tick plays')
  t.equal(out[0], 13, 'led by what was held back')
  t.end()
})

void t.test('a mark is told when it is reached, and passes any sample of -1 for itself', (t) => {
  const queue = new PlayoutQueue()
  queue.push(bytes(1280, 5))
  queue.mark('one')
  queue.push(bytes(640, -1))
  const marks: string[] = []
  let heard = 0
  for (let i = 0; i < 7; i++) {
    const tick = queue.tick(new Int16Array(320))
    marks.push(...tick.marks)
    heard += tick.samples
  }
  t.same(marks, ['one'])
  t.equal(heard, 1280 + 640)
  queue.mark('two')
  t.same(queue.kill(), ['two'], 'killAudio clears waiting marks')
  for (let i = 0; i < MARKS_WAITING_MAX; i++) t.ok(queue.mark(`m${i}`))
  t.notOk(queue.mark('one too many'))
  t.equal(queue.marksRefused, 1)
  t.end()
})

void t.test('however the bytes are cut, the same samples come out', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: -32_768, max: 32_767 }), { minLength: 1, maxLength: 400 }),
      fc.array(fc.integer({ min: 1, max: 33 })),
      (samples, cuts) => {
        const queue = new PlayoutQueue()
        const all = Buffer.concat([Buffer.from(Int16Array.from(samples).buffer), bytes(HOLD_BACK_FIRST_SAMPLES)])
        let at = 0
        for (const cut of cuts) {
          queue.push(all.subarray(at, at + cut))
          at += cut
        }
        if (at < all.length) queue.push(all.subarray(at))
        const out = new Int16Array(samples.length)
        queue.tick(out)
        return out.every((sample, index) => sample === samples[index])
      },
    ),
  )
  t.end()
})

void t.test('later audio waits for 640 samples', (t) => {
  const queue = new PlayoutQueue()
  queue.push(bytes(HOLD_BACK_FIRST_SAMPLES))
  playOut(queue)
  queue.push(bytes(HOLD_BACK_SAMPLES - 1))
  t.equal(playOut(queue), 0)
  queue.push(bytes(1))
  t.equal(playOut(queue), HOLD_BACK_SAMPLES)
  t.end()
})
