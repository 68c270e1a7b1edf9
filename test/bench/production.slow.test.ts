import t from 'tap'
import { runCase } from '../../bench/case.js'
import { RESUMED_MESSAGE_MS_MAX } from '../../bench/protocol.js'
import type { CaseOptions } from '../../bench/results.js'
import { SUBJECTS } from '../../bench/subjects.js'
import type { Subject } from '../../bench/subjects.js'

// A run mostly waits.
t.jobs = 2

const subjectOf = (name: string): Subject => SUBJECTS.find((subject) => subject.name === name) as Subject
const gateway = subjectOf('mkondo')
const options: CaseOptions = {
  subject: 'mkondo',
  level: 'L2-prod',
  calls: 4,
  workers: 1,
  processes: 1,
  messageMs: null,
  generators: 1,
  seconds: 6,
  seed: 1,
  memory: false,
  profileDir: null,
  pin: false,
  steady: false,
  edgeTls: false,
  lineEchoPercent: 30,
  track: 'inbound_track',
  truthEvery: 1,
  dutyPercent: 100,
  latenessMsMax: 1000,
}

for (const name of ['mkondo', 'mkondo-8k-pcma'])
  t.test(`${name} at L2-prod: model and callers hear each other`, { buffered: true }, async (t) => {
    const result = await runCase(subjectOf(name), { ...options, subject: name })
    t.equal(result.callsOpen, 4, result.reasons.join('; '))
    const { turns = 0, turnsWrong = Infinity, appendMsMax = Infinity, ...backend } = result.backend ?? {}
    t.match(backend, { sessions: 4, appendMsMin: 20, cancels: 0, unknown: 0 })
    t.ok(appendMsMax <= RESUMED_MESSAGE_MS_MAX, `the longest message after silence has ${appendMsMax} ms`)
    t.ok(turns >= 4, `${turns} turns`)
    // Each time that the machine stands still a jitter buffer may make a frame up.
    t.ok(turnsWrong <= turns / 2, `${turnsWrong} turns of ${turns} were not whole`)
    t.ok((result.truth?.snrDbMedian ?? 0) > 60)
    t.ok((result.truth?.markersSeen ?? 0) >= 2)
  })

t.test('at L2-cascade turns and answers reach the recogniser and voice', { buffered: true }, async (t) => {
  const result = await runCase(gateway, { ...options, level: 'L2-cascade' })
  t.equal(result.callsOpen, 4, result.reasons.join('; '))
  const { turns = 0, turnsWrong = Infinity, ...backend } = result.backend ?? {}
  t.match(backend, { sessions: 4, answersWrong: 0, unknown: 0 })
  t.ok(turns >= 4, `${turns} turns`)
  t.ok(turnsWrong <= turns / 2, `${turnsWrong} turns of ${turns} were not whole`)
  t.ok((result.truth?.snrDbMedian ?? 0) > 60)
  t.ok((result.truth?.markersSeen ?? 0) >= 2)
})

t.test('at L2-prod-repeat audio over TLS to the model is true', { buffered: true }, async (t) => {
  const result = await runCase(gateway, { ...options, level: 'L2-prod-repeat', seconds: 4, lineEchoPercent: 0 })
  t.equal(result.callsOpen, 4, result.reasons.join('; '))
  t.match(result.backend, { sessions: 4, appendMsMin: 20, appendMsMax: 60, cancels: 0, unknown: 0 })
  const { appends = 0, audioMs = 0 } = result.backend ?? {}
  t.ok(audioMs > 32 * appends, `${appends} messages of ${audioMs / appends} ms on average`)
  // Each time that the machine stands still a jitter buffer may make one frame up for a call.
  t.ok((result.truth?.framesAdded ?? Infinity) <= 4, `${result.truth?.framesAdded} frames were added`)
  t.ok((result.truth?.snrDbMedian ?? 0) > 60)
  t.ok((result.truth?.markersSeen ?? 0) > 4)
})
