import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { ProcessPlan } from '../../src/gateway/process-plan.js'
import { processPlans, sparePlan } from '../../src/gateway/process-plan.js'
import { Supervisor } from '../../src/fleet/supervisor.js'
import type { ProcessReady, Start } from '../../src/fleet/supervisor.js'
import { loadConfig } from '../../src/config/load-config.js'
import { createLog } from '../../src/telemetry/log.js'
import { until } from '../support/until.js'

interface Supervised {
  readonly supervisor: Supervisor<ProcessPlan>
  /** Log lines so far. */
  readonly logged: () => Record<string, unknown>[]
}

/**
 * A supervisor of processes that do as `script` says: the body of a function of the start message, with
 * `ready()`, which gives its process id in place of an ops port, and `fail(message, usage)`.
 */
function supervise(
  t: Test,
  script: string,
  count = 2,
  times: { readonly drainTimeoutMs: number; readonly stopGraceMs?: number } = { drainTimeoutMs: 5000 },
): Supervised {
  const folder = t.testdir()
  const entry = join(folder, 'child.mjs')
  writeFileSync(
    entry,
    `
    process.once('message', async (start) => {
      const { index } = start.plan
      const ready = (sent) => process.send({ type: 'ready', publicPort: 1, opsPort: process.pid, agents: [] }, undefined, undefined, sent)
      const dies = () => process.kill(process.pid, 'SIGKILL')
      const fail = (message, usage) => process.send({ type: 'failed', message, usage }, undefined, undefined, () => process.exit(1))
      process.on('message', () => undefined) // the channel keeps it
      process.on('SIGTERM', () => process.exit(0))
      process.on('SIGQUIT', () => process.exit(1))
      ${script}
    })`,
  )
  const lines: string[] = []
  const supervisor = new Supervisor({
    entry,
    start: startWith(count, times.drainTimeoutMs, process.env),
    ...(times.stopGraceMs === undefined ? {} : { stopGraceMs: times.stopGraceMs }),
    store: null,
    log: createLog({ level: 'info', destination: { write: (line) => void lines.push(line) } }),
  })
  t.teardown(() => {
    supervisor.stopNow()
  })
  return { supervisor, logged: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) }
}

function startWith(count: number, drainTimeoutMs: number, env: NodeJS.ProcessEnv): Start<ProcessPlan> {
  const config = loadConfig({}, null)
  return { plans: processPlans(config, count), spare: sparePlan(config, count), drainTimeoutMs, env }
}

/** Sends a signal to a process of those that were started. */
function killed(ready: readonly ProcessReady[] | null, index: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  process.kill(ready?.[index]?.opsPort as number, signal)
}

t.test('processes that stop in order exit with 0 [3]', async (t) => {
  const { supervisor, logged } = supervise(t, 'ready()')
  const ready = await supervisor.start()
  t.equal(ready?.length, 2)
  killed(ready, 0, 'SIGTERM')
  await until(
    () => logged().some(({ msg, process }) => msg === 'a process has drained and ended' && process === 0),
    5000,
    'the first to be over',
  )
  supervisor.stop()
  t.same(await supervisor.ended, { code: 0, reason: null })
  t.notOk(logged().some(({ level }) => level === 'error'))
})

t.test('a dead process restarts with its restart count [1]', async (t) => {
  const { supervisor, logged } = supervise(t, 'ready(index === 1 && start.restarts === 1 ? dies : undefined)')
  killed(await supervisor.start(), 1)
  await until(
    () => logged().filter(({ msg }) => msg === 'a process accepts calls again').length === 2,
    10_000,
    'two restarts',
  )
  const deaths = logged().filter(({ level }) => level === 'error')
  t.match(
    deaths,
    [
      { process: 1, reason: 'it ended by SIGKILL', restarts: 1, pause_ms: 250 },
      { process: 1, reason: 'it ended by SIGKILL', restarts: 2, pause_ms: 500 },
    ],
    'with a longer pause each time',
  )
  t.equal(deaths.length, 2)
  supervisor.stopNow()
  t.match(await supervisor.ended, { code: 1 })
})

t.test('a process that dies repeatedly ends all others [2]', async (t) => {
  const { supervisor, logged } = supervise(
    t,
    'process.on("SIGHUP", () => process.exit(7)); if (start.restarts > 0) fail("agents/a.yaml:1:1: broken", true); else ready()',
  )
  killed(await supervisor.start(), 1, 'SIGHUP')
  t.same(await supervisor.ended, { code: 2, reason: 'process 1 died 5 times in a row: agents/a.yaml:1:1: broken' })
  t.equal(logged().filter(({ level }) => level === 'fatal').length, 1)
  t.match(
    logged().find(({ level }) => level === 'error'),
    { reason: 'it ended with code 7' },
  )
})

t.test('a process that cannot start ends all with its reason', async (t) => {
  const usage = supervise(t, 'if (index === 0) ready(); else fail(`PORT: port ${index} is in use`, true)', 3)
  t.equal(await usage.supervisor.start(), null)
  const end = await usage.supervisor.ended
  t.equal(end.code, 2)
  t.match(end.reason, /^PORT: port [12] is in use$/)
  const crashed = supervise(t, 'process.exit(3)')
  t.equal(await crashed.supervisor.start(), null)
  t.match(await crashed.supervisor.ended, { code: 1, reason: /^process [01]: it ended with code 3$/ })
})

t.test('a stop during a start is not a failure', async (t) => {
  const starting = noting(t, 'note("started")')
  const start = starting.supervisor.start()
  await until(() => starting.notes().length === 2, 10_000, 'both to be started')
  starting.supervisor.stop()
  t.equal(await start, null)
  t.same(await starting.supervisor.ended, { code: 0, reason: null })
  const waiting = supervise(t, 'ready()')
  killed(await waiting.supervisor.start(), 1)
  await until(() => waiting.logged().some(({ level }) => level === 'error'), 5000, 'the death')
  waiting.supervisor.stop()
  t.same(await waiting.supervisor.ended, { code: 0, reason: null })
})

t.test('a process that exceeds its stop time is killed [7]', async (t) => {
  const { supervisor } = supervise(
    t,
    'if (index === 1) process.removeAllListeners("SIGTERM").on("SIGTERM", () => undefined); ready()',
    2,
    { drainTimeoutMs: 100, stopGraceMs: 200 },
  )
  await supervisor.start()
  const startedMs = performance.now()
  supervisor.stop()
  t.same(await supervisor.ended, { code: 1, reason: null })
  t.ok(performance.now() - startedMs >= 290, 'and not before')
})

/** Which processes take calls, by their log lines: `[index, generation]` in order. */
const ROLLED = `
  const { appendFileSync } = await import('node:fs')
  const note = (what) => appendFileSync(process.env.NOTES, what + ' ' + index + ' ' + process.env.GENERATION + '\\n')
  process.removeAllListeners('SIGTERM').on('SIGTERM', () => { note('drains'); setTimeout(() => { note('ended'); process.exit(0) }, 50) })
`

/** A supervisor whose processes note what they do. */
function noting(
  t: Test,
  script: string,
): Supervised & { readonly notes: () => string[]; readonly next: (generation: string) => Start<ProcessPlan> } {
  const supervised = supervise(t, `${ROLLED}${script}`)
  const file = join(t.testdirName, 'notes')
  writeFileSync(file, '')
  process.env['NOTES'] = file
  process.env['GENERATION'] = 'old'
  return {
    ...supervised,
    notes: () =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== ''),
    next: (generation) => startWith(2, 5000, { ...process.env, GENERATION: generation }),
  }
}

t.test('a roll replaces processes one after another [4]', async (t) => {
  const { supervisor, logged, notes, next } = noting(t, 'note("ready"); ready()')
  await supervisor.start()
  t.equal(await supervisor.roll(next('new')), null)
  t.same(notes().slice(2), [
    'ready 2 new',
    'drains 0 old',
    'ended 0 old',
    'ready 0 new',
    'drains 1 old',
    'ended 1 old',
    'ready 1 new',
    'drains 2 new',
    'ended 2 new',
  ])
  t.equal(await supervisor.roll(next('newer')), null, 'and again')
  t.same(notes().slice(-1), ['ended 2 newer'])
  t.notOk(logged().some(({ level }) => level === 'error'))
  supervisor.stop()
  t.same(await supervisor.ended, { code: 0, reason: null })
})

t.test('a roll whose first process cannot start changes nothing [5]', async (t) => {
  const { supervisor, notes, next } = noting(
    t,
    'if (process.env.GENERATION === "bad") fail("PORT: in use", true); else { note("ready"); ready() }',
  )
  await supervisor.start()
  t.equal(await supervisor.roll(next('bad')), 'PORT: in use')
  t.equal(notes().length, 2, 'nobody drained')
  t.equal(await supervisor.roll(next('good')), null, 'the next roll is another one')
  supervisor.stop()
  t.same(await supervisor.ended, { code: 0, reason: null })
})

t.test('a process dying during a roll restarts as new [6]', async (t) => {
  const { supervisor, notes, next } = noting(
    t,
    'note("ready"); ready(index === 0 && process.env.GENERATION === "new" ? dies : undefined)',
  )
  await supervisor.start()
  const rolled = supervisor.roll(next('new'))
  await until(
    () => notes().filter((line) => line === 'ready 0 new').length > 1,
    10_000,
    'the process that died to be back',
  )
  supervisor.stop()
  t.equal(await rolled, null)
  t.equal((await supervisor.ended).reason, null)
  t.notOk(notes().some((line) => line === 'ready 0 old' && notes().indexOf(line) > 2))
})
