import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { noteDifferences, UsageDifferences } from '../../src/gateway/usage-differences.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'

const at = '2026-11-29T10:00:00.000Z'
const compared = (model: string, over: number) => ({
  ...{ model, over, overPercent: 5, from: '2026-11-01', to: '2026-11-28', at },
})

/** The metric of a gateway with this folder, with a clock that the test moves. */
function shown(t: Test, folder: string) {
  let nowMs = Date.parse(at)
  let look = (): void => undefined
  let looked = (): void => undefined
  let settled = new Promise<void>((resolve) => (looked = resolve))
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const differences = new UsageDifferences({
    folder,
    gauge: metrics.defineLabelledGauge('usage_differences', 'Differences', ['model'], 'max'),
    wallClock: () => nowMs,
    log: createLog({ level: 'silent' }),
    later: (_, run) => {
      look = run
      looked()
      return () => undefined
    },
  })
  t.teardown(() => differences.close())
  return {
    lines: async () => {
      await settled
      const page = await metrics.registry.metrics()
      return page.split('\n').filter((line) => line.startsWith('mkondo_usage_differences{'))
    },
    look: (afterMs = 60_000) => {
      nowMs += afterMs
      settled = new Promise<void>((resolve) => (looked = resolve))
      look()
    },
  }
}

t.test('a recorded difference is a metric within a minute', async (t) => {
  const folder = t.testdir({})
  const gateway = shown(t, folder)
  t.same(await gateway.lines(), [])
  await noteDifferences(folder, [compared('gpt-realtime-2.1', 3), compared('gpt-9', 2)])
  gateway.look()
  t.same(await gateway.lines(), [
    'mkondo_usage_differences{model="gpt-realtime-2.1"} 3',
    'mkondo_usage_differences{model="gpt-9"} 2',
  ])
  await noteDifferences(folder, [compared('gpt-realtime-2.1', 0)])
  gateway.look()
  t.same(
    await gateway.lines(),
    ['mkondo_usage_differences{model="gpt-realtime-2.1"} 0', 'mkondo_usage_differences{model="gpt-9"} 2'],
    'a model of another file keeps its result',
  )
})

t.test('an old difference is forgotten', async (t) => {
  const folder = t.testdir({})
  await noteDifferences(folder, [compared('gpt-9', 2)])
  const gateway = shown(t, folder)
  t.same(await gateway.lines(), ['mkondo_usage_differences{model="gpt-9"} 2'])
  gateway.look(63 * 86_400_000)
  t.same(await gateway.lines(), [])
})

t.test('at most a hundred models are recorded', async (t) => {
  const folder = t.testdir({})
  await noteDifferences(folder, [compared('old', 1)])
  const many = Array.from({ length: 150 }, (_, i) => compared(`m${i}`, i))
  await noteDifferences(folder, many)
  const { models } = JSON.parse(readFileSync(join(folder, 'usage-differences.json'), 'utf8')) as {
    models: { model: string }[]
  }
  t.equal(models.length, 100)
  t.equal(models[0]?.model, 'm149', 'the largest differences stay')
})

t.test('a damaged file keeps the last values', async (t) => {
  const folder = t.testdir({})
  await noteDifferences(folder, [compared('gpt-9', 2)])
  const gateway = shown(t, folder)
  await gateway.lines()
  writeFileSync(join(folder, 'usage-differences.json'), '{')
  gateway.look()
  t.same(await gateway.lines(), ['mkondo_usage_differences{model="gpt-9"} 2'])
})
