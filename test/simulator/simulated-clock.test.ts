import t from 'tap'
import { SimulatedClock } from '../../src/simulator/simulated-clock.js'

/** Real time in ms that the machine pauses, and time of the clock in ms that is measured after it. */
const PAUSE_MS = 400
const MEASURED_MS = 200
/** The clock may catch up by 50 ms. */
const REAL_MS_MIN = 100

t.test('a paced clock does not catch up with a pause', async (t) => {
  const clock = new SimulatedClock()
  let isOver = (): void => undefined
  void clock.pace(new Promise<void>((resolve) => (isOver = resolve)))
  await clock.step()
  const resumeMs = performance.now() + PAUSE_MS
  while (performance.now() < resumeMs);
  await clock.step()
  const [fromMs, fromRealMs] = [clock.nowMs(), performance.now()]
  while (clock.nowMs() < fromMs + MEASURED_MS) await clock.step()
  const realMs = performance.now() - fromRealMs
  t.ok(realMs > REAL_MS_MIN, `${MEASURED_MS} ms of calls took ${realMs.toFixed(0)} ms`)
  isOver()
})
