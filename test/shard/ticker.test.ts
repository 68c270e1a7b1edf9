import t from 'tap'
import { Ticker } from '../../src/shard/ticker.js'

t.test('a tick that takes too long is counted, and those after it are on time again', async (t) => {
  const started = performance.now()
  const ticks: number[] = []
  const ticker = new Ticker({ periodMs: 10 }, () => performance.now(), () => {
    ticks.push(performance.now() - started)
    if (ticks.length === 3) {
      const until = performance.now() + 45
      while (performance.now() < until) { /* a blocked thread */ }
    }
    if (ticks.length === 12) ticker.stop()
  })
  ticker.start()
  ticker.start()
  await new Promise<void>((resolve) => {
    const look = setInterval(() => {
      if (ticker.running) return
      clearInterval(look)
      resolve()
    }, 5)
  })
  t.equal(ticks.length, 12, 'started twice is started once')
  t.ok(ticker.missed >= 3, `the blocked ticks are counted (${ticker.missed})`)
  // 12 ticks and at least 3 missed ones: the last is due 140 ms after the first or later, never earlier.
  t.ok((ticks.at(-1) as number) - (ticks[0] as number) >= 138, 'missed ticks are not made up in a burst')
})

t.test('a callback that throws does not stop the clock', (t) => {
  // The next tick is scheduled before the callback runs; the error goes to whoever watches the thread.
  let runs = 0
  const errors: string[] = []
  const onError = (error: Error): void => void errors.push(error.message)
  process.once('uncaughtException', onError)
  const ticker = new Ticker({ periodMs: 2 }, () => performance.now(), () => {
    runs++
    if (runs === 1) throw new Error('one bad tick')
    ticker.stop()
    t.equal(runs, 2)
    t.same(errors, ['one bad tick'])
    t.end()
  })
  ticker.start()
})

t.test('two tickers of one clock keep the distance of their phases, whenever each was started', async (t) => {
  const distances = await Promise.all([[0, 0], [0, 3], [5, 7]].map(async ([phaseMs, startAfterMs]) => {
    const ticks: number[] = []
    await new Promise((resolve) => setTimeout(resolve, startAfterMs))
    await new Promise<void>((resolve) => {
      const ticker = new Ticker({ periodMs: 10, phaseMs: phaseMs as number }, () => performance.now(), (nowMs) => {
        ticks.push((((nowMs - (phaseMs as number)) % 10) + 15) % 10 - 5)
        if (ticks.length < 21) return
        ticker.stop()
        resolve()
      })
      ticker.start()
    })
    // From the place on the clock where the tick belongs; the median, because a busy machine is late now and then.
    return ticks.toSorted((a, b) => a - b)[10] as number
  }))
  for (const distance of distances) t.ok(Math.abs(distance) < 3, `${distance.toFixed(2)} ms from its place`)
})
