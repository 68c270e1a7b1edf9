import t from 'tap'
import { interruptionsOf } from '../../bench/vad/interruptions.js'
import type { CallerFrame } from '../../src/call/frame-figures.js'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'

const MINUTE_FRAMES = 3000
/** A minute with a sound of so many frames every two seconds. */
const bursts = (frames: number, doubtful = false): CallerFrame[] =>
  Array.from({ length: MINUTE_FRAMES }, (_, i) => ({
    voiced: i % 100 < frames,
    doubtful,
    levelDbfs: -20,
    pitchHz: 0,
    early: false,
  }))
const { bargeIn } = DEFAULT_CALL_OPTIONS
const unheld = { putOnHold: null }
const withoutBackchannels = { ...unheld, bargeIn: { ...bargeIn, backchannel: null } }

t.test('a frame alone is nothing, 40 ms pause the agent, more than a backchannel takes the turn', (t) => {
  t.same(interruptionsOf(bursts(0)), { pausesPerMin: 0, commitsPerMin: 0 })
  t.same(interruptionsOf(bursts(1)), { pausesPerMin: 0, commitsPerMin: 0 })
  t.same(interruptionsOf(bursts(2)), { pausesPerMin: 30, commitsPerMin: 0 })
  t.same(interruptionsOf(bursts(29)), { pausesPerMin: 30, commitsPerMin: 0 })
  t.same(interruptionsOf(bursts(30), unheld), { pausesPerMin: 30, commitsPerMin: 30 })
  t.end()
})

t.test('for an agent without backchannels 200 ms take the turn, and a second of what is doubtful', (t) => {
  t.same(interruptionsOf(bursts(9), withoutBackchannels), { pausesPerMin: 30, commitsPerMin: 0 })
  t.same(interruptionsOf(bursts(10), withoutBackchannels), { pausesPerMin: 30, commitsPerMin: 30 })
  t.same(interruptionsOf(bursts(49, true), withoutBackchannels), { pausesPerMin: 30, commitsPerMin: 0 })
  t.same(interruptionsOf(bursts(50, true), withoutBackchannels), { pausesPerMin: 30, commitsPerMin: 30 })
  t.end()
})

t.test(
  'sounds that come again and again without words interrupt no more once the agent knows that it is on hold',
  (t) => {
    const { pausesPerMin, commitsPerMin } = interruptionsOf(bursts(30))
    t.ok(commitsPerMin > 5 && commitsPerMin <= 10, `${commitsPerMin} commits`)
    t.equal(pausesPerMin, commitsPerMin)
    t.end()
  },
)

t.test('a sound that does not end takes the turn once', (t) => {
  t.same(interruptionsOf(bursts(100)), { pausesPerMin: 1, commitsPerMin: 1 })
  t.end()
})
