import t from 'tap'
import { FrameHistogram } from '../../src/telemetry/frame-histogram.js'
import { createLog } from '../../src/telemetry/log.js'
import { LOAD_ADMIT_SAMPLES, LOAD_REFUSE_SAMPLES, LoadGate } from '../../src/workers/load-gate.js'
import type { LoadSample } from '../../src/workers/load-gate.js'
import { LoadWatch } from '../../src/workers/load-watch.js'

const IDLE: LoadSample = { tickSlack: null, ticksLate: null, memoryUsed: null, throttled: null }

function handle(gate: LoadGate, samples: number, sample: Partial<LoadSample>): void {
  for (let i = 0; i < samples; i++) gate.handle({ ...IDLE, ...sample })
}

t.test('each kind of load refuses calls under its own name, after seconds of it', async (t) => {
  for (const [sample, overload] of [
    [{ tickSlack: 0.05 }, 'tick-slack'],
    [{ ticksLate: 0.5 }, 'tick-slack'],
    [{ memoryUsed: 0.95 }, 'memory'],
    [{ throttled: 0.5 }, 'cpu-throttling'],
  ] as const) {
    const gate = new LoadGate()
    handle(gate, LOAD_REFUSE_SAMPLES - 1, sample)
    t.equal(gate.overload, null, `${overload}: not yet`)
    handle(gate, 1, sample)
    t.equal(gate.overload, overload)
  }
})

t.test('a burst that ends in time refuses nobody', async (t) => {
  const gate = new LoadGate()
  for (let i = 0; i < 10; i++) {
    handle(gate, LOAD_REFUSE_SAMPLES - 1, { tickSlack: 0 })
    handle(gate, 1, { tickSlack: 0.5 })
  }
  t.equal(gate.overload, null)
})

t.test('calls are accepted again only well within the bound, and not after a short relief', async (t) => {
  const gate = new LoadGate()
  handle(gate, LOAD_REFUSE_SAMPLES, { memoryUsed: 0.91 })
  handle(gate, 100, { memoryUsed: 0.88 })
  t.equal(gate.overload, 'memory', 'below the bound that refuses, above the one that admits')
  handle(gate, LOAD_ADMIT_SAMPLES - 1, { memoryUsed: 0.8 })
  handle(gate, 1, { memoryUsed: 0.88 })
  t.equal(gate.overload, 'memory', 'the relief was too short')
  handle(gate, LOAD_ADMIT_SAMPLES, { memoryUsed: 0.8 })
  t.equal(gate.overload, null)
})

t.test('what is not measured is no load: a process without calls takes calls again', async (t) => {
  const gate = new LoadGate()
  handle(gate, LOAD_REFUSE_SAMPLES, { tickSlack: 0, ticksLate: 1 })
  t.equal(gate.overload, 'tick-slack')
  handle(gate, LOAD_ADMIT_SAMPLES, IDLE)
  t.equal(gate.overload, null)
})

t.test(
  'the watch measures the busiest thread, the memory and the throttled periods since its last sample',
  async (t) => {
    let nowMs = 0
    const threads = [0, 1].map(() => ({ lateness: new FrameHistogram(), busy: new FrameHistogram() }))
    const cgroup = {
      cpu: { periods: 0, throttledPeriods: 0, throttledSeconds: 0 },
      memory: { usedBytes: 0, limitBytes: 2 ** 40 },
      look: async () => undefined,
    }
    const lines: Record<string, unknown>[] = []
    const watch = new LoadWatch({
      ticks: threads,
      clock: () => nowMs,
      log: createLog({
        destination: { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
      }),
      cgroup,
    })
    t.teardown(() => watch.close())
    const second = async (busyMs: readonly [number, number], throttled: number): Promise<void> => {
      nowMs += 1000
      cgroup.cpu = {
        ...cgroup.cpu,
        periods: cgroup.cpu.periods + 10,
        throttledPeriods: cgroup.cpu.throttledPeriods + throttled,
      }
      for (const [index, thread] of threads.entries()) {
        for (let tick = 0; tick < 200; tick++) {
          thread.lateness.observeMs(0.1)
          thread.busy.observeMs((busyMs[index] as number) / 200)
        }
      }
      await watch.sample()
    }
    for (let i = 0; i < LOAD_REFUSE_SAMPLES; i++) await second([100, 800], 2)
    t.equal(watch.overload, null)
    for (let i = 0; i < LOAD_REFUSE_SAMPLES; i++) await second([100, 950], 2)
    t.equal(watch.overload, 'tick-slack', 'one thread without slack is enough')
    t.match(lines, [{ level: 'warn', overload: 'tick-slack', throttled: 0.2 }])
    for (let i = 0; i < LOAD_ADMIT_SAMPLES; i++) await second([100, 100], 8)
    t.equal(watch.overload, 'cpu-throttling', 'one reason after the other')
    for (let i = 0; i < LOAD_ADMIT_SAMPLES; i++) await second([100, 100], 0)
    t.equal(watch.overload, null)
    cgroup.memory = { usedBytes: 1, limitBytes: process.memoryUsage.rss() }
    for (let i = 0; i < LOAD_REFUSE_SAMPLES; i++) await second([100, 100], 0)
    t.equal(watch.overload, 'memory', 'the memory of the process counts where the figure of its group is smaller')
  },
)
