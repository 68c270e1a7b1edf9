import { fileURLToPath } from 'node:url'
import t from 'tap'
import { runCase } from '../../bench/case.js'
import type { CaseOptions } from '../../bench/results.js'
import { SUBJECTS } from '../../bench/subjects.js'
import type { Subject } from '../../bench/subjects.js'
import { measureShare } from '../../bench/turns/share.js'
import { measureTakeovers } from '../../bench/turns/takeovers.js'

// These tests check that the bench measures what it says, in real time. They do not check speed.

const options: CaseOptions = {
  subject: 'test',
  level: 'L0',
  calls: 8,
  workers: 1,
  processes: 1,
  messageMs: null,
  generators: 2,
  seconds: 2,
  seed: 1,
  memory: false,
  profileDir: null,
  pin: false,
  steady: false,
  edgeTls: false,
  lineEchoPercent: 0,
  track: 'inbound_track',
  truthEvery: 1,
  dutyPercent: 100,
  // Tests run on busy machines: this one does not check speed.
  latenessMsMax: 1000,
}

const subjectOf = (name: string): Subject => SUBJECTS.find((subject) => subject.name === name) as Subject

const liar: Subject = {
  ...subjectOf('uws-echo'),
  name: 'liar',
  file: () => fileURLToPath(new URL('../support/lying-echo.js', import.meta.url)),
}

t.test('an honest echo returns every frame and has CPU figures', async (t) => {
  const result = await runCase(subjectOf('uws-echo'), options)
  t.equal(result.callsOpen, 8)
  t.match(result.truth, { framesLost: 0, framesAdded: 0, blocksPoor: 0 })
  t.ok((result.truth?.markersSeen ?? 0) > 8)
  t.ok((result.truth?.snrDbMedian ?? 0) > 60)
  // A machine that stood still for 40 ms has made a gap; then, and only then, there is no speed.
  t.equal(result.speed !== null, result.verdict === 'held', result.reasons.join('; '))
  if (result.speed !== null) t.ok(result.speed.server.cores > 0 && result.speed.generatorCores > 0)
})

t.test('an echo that drops frames has no speed', async (t) => {
  const result = await runCase(liar, options)
  t.equal(result.verdict, 'untrue')
  t.equal(result.speed, null)
  t.match(result.reasons.join('; '), /frames \d+ were lost/)
  t.ok((result.truth?.framesLost ?? 0) >= 8)
})

t.test("a failed server start is reported with the server's output", async (t) => {
  const broken: Subject = {
    ...liar,
    file: () => fileURLToPath(new URL('../support/no-such-server.js', import.meta.url)),
  }
  const result = await runCase(broken, options)
  t.equal(result.verdict, 'failed')
  t.match(result.reasons[0], /ended with code 1/)
})

t.test('the second backend gets each sample once and in order', async (t) => {
  const lines: string[] = []
  const result = await measureTakeovers({ takeovers: 4, calls: 4 }, (line) => lines.push(line))
  t.equal(result.done, 4)
  t.equal(result.samplesWrong, 0)
  t.equal(result.audioLostMs, 0)
  t.ok(result.samplesChecked >= 4 * 16 * 800, `${result.samplesChecked} samples were looked at`)
  t.ok((result.gap?.p50 ?? 0) >= 100, 'a service that needs 150 ms for a session cannot take over in less')
  t.equal(lines.length, 1)
})

t.test("a caller's turns are matched with their own session's answers", async (t) => {
  const result = await measureShare(
    { turns: 'gateway', messageMs: null, streamSilence: false, calls: 2, seconds: 10 },
    () => undefined,
  )
  t.ok(result.answered >= 1, `${result.answered} turns were answered`)
  t.equal(result.unanswered, 0)
  const { inbound, outbound, share } = result
  t.ok(inbound !== null && outbound !== null && share !== null)
  t.ok((share?.max ?? 0) >= Math.max(inbound?.p50 ?? 0, outbound?.p50 ?? 0), 'the share has both ways in it')
})
