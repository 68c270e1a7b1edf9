import t from 'tap'
import type { GeneratorResult } from '../../bench/protocol.js'
import type { CaseOptions } from '../../bench/results.js'
import { SUBJECTS } from '../../bench/subjects.js'
import type { Subject } from '../../bench/subjects.js'
import { framesInMessage, stoodStill, untruths } from '../../bench/truth.js'

const gateway = SUBJECTS.find(({ name }) => name === 'mkondo') as Subject

const options: CaseOptions = {
  subject: 'mkondo',
  level: 'L1',
  calls: 10,
  workers: 1,
  processes: 1,
  messageMs: null,
  generators: 1,
  seconds: 5,
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
  latenessMsMax: 5,
}

function heard(framesLost: number): GeneratorResult {
  return {
    calls: 10,
    callsLost: 0,
    windowMs: 5000,
    framesSent: 2500,
    framesReceived: 2500,
    addedUs: '',
    wholeUs: '',
    latenessUs: '',
    gapUs: '',
    stopUs: '',
    heldUs: '',
    bargeIns: { tried: 0, stopped: 0, cleared: 0, resumed: 0 },
    truth: {
      framesLost,
      framesAdded: 0,
      markersSeen: 100,
      gapsUnasked: 0,
      snrDbMedian: 90,
      blocksPoor: 0,
      blocksSeen: 500,
    },
  }
}

t.test('one frame that is lost while nothing stood still makes a run untrue', async (t) => {
  t.same(untruths(gateway, options, [heard(0)], null, false), [])
  t.match(untruths(gateway, options, [heard(1)], null, false), [
    /of 2500 frames 1 were lost and 0 added, and nothing had stood still/,
  ])
})

t.test('after a stall a few frames may be given up, and no more', async (t) => {
  t.same(untruths(gateway, options, [heard(12)], null, true), [])
  t.match(untruths(gateway, options, [heard(13)], null, true), [/13 were lost/])
})

t.test('a stall is a process that did not run for longer than a frame', async (t) => {
  const pauses = (loopMaxMs: number) => ({ gcMaxMs: 1, gcMs: 1, loopMaxMs })
  const late = (max: number) => ({ count: 1, p50: 1, p95: 1, p99: 1, p999: 1, max })
  t.notOk(stoodStill(pauses(25), late(3)))
  t.ok(stoodStill(pauses(45), late(3)), 'the server')
  t.ok(stoodStill(pauses(25), late(25)), 'the generator')
  t.ok(stoodStill(null, late(3)), 'a peer that does not say')
})

t.test('the length of messages is the setting of levels that have a backend', async (t) => {
  t.equal(framesInMessage(gateway, { level: 'L2', messageMs: 100 }), 5)
  t.equal(framesInMessage(gateway, { level: 'L2', messageMs: null }), 3)
  t.equal(framesInMessage(gateway, { level: 'L0', messageMs: 100 }), 1)
  t.equal(framesInMessage(gateway, { level: 'L2-prod', messageMs: null }), null, 'it follows the call')
})
