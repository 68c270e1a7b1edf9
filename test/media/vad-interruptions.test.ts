import t from 'tap'
import { interruptionsOf } from '../../bench/vad/interruptions.js'
import type { CallerFrame } from '../../src/call/caller-speech.js'

const MINUTE_FRAMES = 3000
/** A minute with a sound of so many frames every two seconds. */
const bursts = (frames: number, doubtful = false): CallerFrame[] =>
  Array.from({ length: MINUTE_FRAMES }, (_, i) => ({ voiced: i % 100 < frames, doubtful }))

t.test('a frame alone is nothing, 40 ms pause the agent, 200 ms take the turn', (t) => {
  t.same(interruptionsOf(bursts(0)), { pausesPerMin: 0, commitsPerMin: 0 })
  t.same(interruptionsOf(bursts(1)), { pausesPerMin: 0, commitsPerMin: 0 })
  t.same(interruptionsOf(bursts(2)), { pausesPerMin: 30, commitsPerMin: 0 })
  t.same(interruptionsOf(bursts(9)), { pausesPerMin: 30, commitsPerMin: 0 })
  t.same(interruptionsOf(bursts(10)), { pausesPerMin: 30, commitsPerMin: 30 })
  t.end()
})

t.test('what is doubtful pauses as soon, and takes the turn after twice as long', (t) => {
  t.same(interruptionsOf(bursts(19, true)), { pausesPerMin: 30, commitsPerMin: 0 })
  t.same(interruptionsOf(bursts(20, true)), { pausesPerMin: 30, commitsPerMin: 30 })
  t.end()
})

t.test('a sound that does not end takes the turn once', (t) => {
  t.same(interruptionsOf(bursts(100)), { pausesPerMin: 1, commitsPerMin: 1 })
  t.end()
})
