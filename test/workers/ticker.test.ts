import t from 'tap'
import { Ticker } from '../../src/workers/ticker.js'

/**
 * A clock that stands still until it is moved, and the timers that tickers set on it: a step goes to when the next one
 * is due, and `lateMs` past it, as on a thread that was blocked.
 */
class Stage {
  nowMs: number
  #timers: { readonly run: () => void; readonly atMs: number }[] = []

  constructor(startMs: number) {
    this.nowMs = startMs
  }

  readonly clock = (): number => this.nowMs

  /** Runs `work`, which may set timers of this stage and no others. */
  within(work: () => void): void {
    const real = globalThis.setTimeout
    const staged = (run: () => void, ms: number): object => {
      const timer = { run, atMs: this.nowMs + ms }
      this.#timers.push(timer)
      return timer
    }
    globalThis.setTimeout = staged as unknown as typeof setTimeout
    try {
      work()
    } finally {
      globalThis.setTimeout = real
    }
  }

  step(lateMs = 0): void {
    const next = this.#timers.reduce((first, timer) => (timer.atMs < first.atMs ? timer : first))
    this.#timers = this.#timers.filter((timer) => timer !== next)
    this.nowMs = Math.max(this.nowMs, next.atMs) + lateMs
    this.within(next.run)
  }

  get waiting(): number {
    return this.#timers.length
  }
}

t.test('a tick that takes too long is counted, and those after it are on time again', async (t) => {
  const stage = new Stage(1003)
  const ticks: number[] = []
  const lateness: number[] = []
  const ticker = new Ticker({ periodMs: 10 }, stage.clock, (nowMs, latenessMs) => {
    ticks.push(nowMs)
    lateness.push(latenessMs)
  })
  stage.within(() => {
    ticker.start()
    ticker.start()
  })
  t.equal(stage.waiting, 1, 'started twice is started once')
  for (const lateMs of [0, 0.5, 47, 0, 0]) stage.step(lateMs)
  t.same(ticks, [1010, 1020.5, 1077, 1080, 1090], 'missed ticks are not made up in a burst')
  t.same(lateness, [0, 0.5, 47, 0, 0])
  t.equal(ticker.missed, 4, 'those due at 1040, 1050, 1060 and 1070')
  t.ok(ticker.running)
  ticker.stop()
  t.notOk(ticker.running)
})

t.test('a callback that throws does not stop the clock', async (t) => {
  const stage = new Stage(0)
  let runs = 0
  const ticker = new Ticker({ periodMs: 2 }, stage.clock, () => {
    runs++
    if (runs === 1) throw new Error('one bad tick')
  })
  stage.within(() => ticker.start())
  // The error goes to whoever watches the thread.
  t.throws(() => stage.step(), { message: 'one bad tick' })
  stage.step()
  t.equal(runs, 2)
})

t.test('a shorter period counts at once, also for the tick that is waited for; a longer one after it', async (t) => {
  const stage = new Stage(1000)
  const ticks: number[] = []
  const ticker = new Ticker({ periodMs: 5, phaseMs: 2.5 }, stage.clock, (nowMs) => {
    ticks.push(nowMs)
    ticker.periodMs = ticks.length < 4 ? 50 : 5
  })
  stage.within(() => ticker.start())
  for (let i = 0; i < 3; i++) stage.step()
  t.same(ticks, [1002.5, 1007.5, 1057.5])
  stage.nowMs = 1061
  stage.within(() => {
    ticker.periodMs = 5
  })
  stage.step()
  stage.step()
  t.same(ticks.slice(3), [1062.5, 1067.5])
  ticker.stop()
})

t.test('two tickers of one clock keep the distance of their phases, whenever each was started', async (t) => {
  for (const [phaseMs, startAfterMs] of [
    [0, 0],
    [0, 3],
    [5, 7],
    [5, 2],
  ] as const) {
    const stage = new Stage(1000.25 + startAfterMs)
    const ticks: number[] = []
    const ticker = new Ticker({ periodMs: 10, phaseMs }, stage.clock, (nowMs) => ticks.push(nowMs % 10))
    stage.within(() => ticker.start())
    for (let i = 0; i < 5; i++) stage.step(i % 2)
    t.same(
      ticks,
      [0, 1, 0, 1, 0].map((lateMs) => phaseMs + lateMs),
      `phase ${phaseMs}, started ${startAfterMs} ms later`,
    )
  }
})

t.test('on the timers of the thread no tick comes early', async (t) => {
  let firstDueMs = 0
  const lastMs = await new Promise<number>((resolve) => {
    let ticks = 0
    const ticker = new Ticker(
      { periodMs: 10 },
      () => performance.now(),
      (nowMs) => {
        if (++ticks < 12) return
        ticker.stop()
        resolve(nowMs)
      },
    )
    firstDueMs = (Math.floor(performance.now() / 10) + 1) * 10
    ticker.start()
  })
  // A timer may be a millisecond early by the clock. Any tick may be late, so the time runs from when the first was due.
  t.ok(lastMs - firstDueMs >= 109, '12 ticks take 110 ms')
})
