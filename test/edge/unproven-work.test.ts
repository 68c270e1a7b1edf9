import t from 'tap'
import { UnprovenWork } from '../../src/edge/unproven-work.js'

/** Work on a clock of the test, which a request moves by what it takes. */
function measured() {
  const at = { ms: 1000 }
  const work = new UnprovenWork(() => at.ms)
  return {
    at,
    work,
    stranger: (ms: number) => {
      work.count(() => {
        at.ms += ms
      })
    },
  }
}

t.test('unproven work gets a fifth of the time, and ten milliseconds at once', (t) => {
  const { at, work, stranger } = measured()
  let done = 0
  // Requests of a tenth of a millisecond that come without a pause, and each time that nothing is left, the rest of a tick.
  const fromMs = at.ms
  while (at.ms < fromMs + 10_000) {
    if (work.spent) at.ms += 1
    else {
      stranger(0.1)
      done++
    }
  }
  t.ok(done * 0.1 < 2100, `${(done * 0.1).toFixed(0)} of 10,000 ms`)
  t.ok(done * 0.1 > 1500)
  t.ok(Math.abs(work.totalMs - done * 0.1) < 1)
  t.end()
})

t.test('proven work does not count, and a request that was interrupted counts as a long one', (t) => {
  const { at, work, stranger } = measured()
  work.count(() => {
    at.ms += 50
    work.proved('192.0.2.1')
  })
  t.equal(work.spent, false)
  stranger(50)
  t.equal(work.spent, false, 'not as fifty milliseconds of work')
  for (let i = 0; i < 400; i++) work.connection()
  t.equal(work.spent, true, 'connections count too')
  at.ms += 50
  for (let i = 0; i < 700; i++) work.body(16_000)
  t.equal(work.spent, true, 'and bodies')
  t.end()
})

t.test('an address is known for an hour after a proof', (t) => {
  const { at, work } = measured()
  t.equal(work.isKnown('192.0.2.1'), false)
  work.proved('192.0.2.1')
  t.equal(work.isKnown('192.0.2.1'), true)
  t.equal(work.isKnown('192.0.2.2'), false)
  at.ms += 3_599_000
  t.equal(work.isKnown('192.0.2.1'), true)
  at.ms += 2000
  t.equal(work.isKnown('192.0.2.1'), false)
  t.end()
})
