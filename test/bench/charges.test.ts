import t from 'tap'
import { machineCharges, throwBall } from '../../bench/kit/charges.js'

t.test('sleeping, waking and cold reads are measured, not assumed', async (t) => {
  const { sleepUs, wakeUs, coldReadNs } = await machineCharges()
  // A sleep takes a system call at least; a thread that spun in place of sleeping would be charged the whole
  // millisecond.
  t.ok(sleepUs > 0.5 && sleepUs < 1000, `${sleepUs} us a sleep`)
  t.ok(wakeUs > 0.1 && wakeUs < 1000, `${wakeUs} us a wake`)
  // More than a read that a cache has, less than a page from a disk.
  t.ok(coldReadNs > 1 && coldReadNs < 5000, `${coldReadNs} ns a read`)
})

t.test('the ball is thrown in turn', async (t) => {
  const ball = new Int32Array(new SharedArrayBuffer(4))
  throwBall(ball, 0, 1)
  t.equal(Atomics.load(ball, 0), 1, 'the first throw waits for nobody')
  throwBall(ball, 1, 1)
  t.equal(Atomics.load(ball, 0), 2, 'the partner throws when it has come')
})
