import t from 'tap'
import { check, isTrue } from '../../bench/checks.js'
import { machineMs } from '../../bench/kit/process.js'
import { figuresOf } from '../../bench/turns/cascade.js'
import { htmlReport, ticksTo } from '../../bench/html.js'
import { machineCharges, throwBall } from '../../bench/kit/charges.js'
import { encode, newHistogram } from '../../bench/kit/histogram.js'
import { benchProgress } from '../../bench/kit/progress.js'
import { parseOptions } from '../../bench/options.js'
import { lineThrough, TimeLeft } from '../../bench/plan.js'
import { collectionsBy } from '../../bench/protocol.js'
import type { GeneratorResult, Level } from '../../bench/protocol.js'
import type { BenchResults, CaseOptions, CaseResult, Speed } from '../../bench/results.js'
import { type Subject, SUBJECTS } from '../../bench/subjects.js'
import { terminalReport } from '../../bench/terminal.js'
import { framesInMessage, stoodStill, untruths } from '../../bench/truth.js'

const empty = encode(newHistogram())

function speed(cpuMs: number): Speed {
  const ms = { count: 10, p50: 5, p95: 8, p99: 12.5, p999: 15, max: 16 }
  return {
    server: { cores: 0.2, mainCores: 0.1, otherCores: [0.1] },
    generatorCores: 0.3,
    backendCores: 0.1,
    cpuMsPerCallSecond: cpuMs,
    mainMsPerCallSecond: cpuMs / 2,
    cpuUsPerFrame: cpuMs * 20,
    framesPerSecond: 10_000,
    addedMs: ms,
    wholeMs: ms,
    addedHdr: empty,
    gapMs: null,
    stopMs: { ...ms, p99: 87 },
    stopHdr: empty,
    heldMs: ms,
    bargeIns: { tried: 10, stopped: 10, cleared: 10, resumed: 10 },
    heapBytesPerFrame: { main: 100, workers: 200 },
  }
}

function run(subject: string, level: Level, cpuMs: number | null): CaseResult {
  return {
    options: {
      subject,
      level,
      calls: 200,
      workers: 1,
      processes: 1,
      messageMs: null,
      generators: 1,
      seconds: 5,
      seed: 1,
      memory: true,
      profileDir: null,
      pin: false,
      steady: false,
      edgeTls: false,
      lineEchoPercent: 0,
      track: 'inbound_track',
      truthEvery: 1,
      dutyPercent: 100,
      latenessMsMax: 5,
    },
    verdict: cpuMs === null ? 'untrue' : 'held',
    reasons: cpuMs === null ? ['7 gaps over 40 ms'] : [],
    callsOpen: 200,
    speed: cpuMs === null ? null : speed(cpuMs),
    truth: null,
    backend: null,
    pauses: null,
    lateness: null,
    memory: {
      points: [
        { calls: 0, rssBytes: 90e6, heapUsedBytes: 1 },
        { calls: 50, rssBytes: 95e6, heapUsedBytes: 1 },
        { calls: 200, rssBytes: 110e6, heapUsedBytes: 1 },
      ],
      bytesPerCall: 100_000,
    },
  }
}

function results(cases: readonly CaseResult[]): BenchResults {
  return {
    version: 3,
    micro: [],
    cases,
    capacities: [],
    scale: [],
    messages: [],
    idle: [],
    few: [],
    growth: [],
    notes: ['L2 mkondo: 400 calls did not hold on this machine; 200 did'],
    skipped: [{ name: 'fastify', why: 'fastify is not installed' }],
    checks: check(cases, []),
    provenance: {
      at: '2026-01-01T00:00:00.000Z',
      command: 'npm run bench -- <script>',
      commit: 'abc',
      machine: {
        os: 'Linux',
        cpu: 'a CPU',
        cores: 2,
        memoryGib: 8,
        loadAtStart: 0,
        charges: { sleepUs: 33.4, wakeUs: 15.6, coldReadNs: 68 },
      },
      versions: { node: '20', ws: '8' },
    },
  }
}

t.test('a run with untrue audio shows its fault only', async (t) => {
  const text = terminalReport(results([run('mkondo', 'L2', 1.1), run('naive-bridge', 'L2', null)]))
  t.match(text, /untrue: naive-bridge with 200 calls: 7 gaps over 40 ms/)
  t.notMatch(text, /^naive-bridge/m)
  t.match(text, /^mkondo +200 +1\.10/m)
  t.match(text, /skipped: fastify: fastify is not installed/)
  t.match(text, /note: L2 mkondo: 400 calls did not hold on this machine; 200 did/)
})

t.test("both reports show the machine's costs above its figures", async (t) => {
  const charged =
    /it charges 33 us of CPU for a sleep of 1 ms, 16 us for waking a thread, and 68 ns for a read that no cache has/
  const one = results([run('mkondo', 'L2', 1.1)])
  t.match(terminalReport(one), charged)
  t.match(htmlReport(one), charged)
})

t.test('runs with fewer calls are reported separately', async (t) => {
  const fewer = run('mkondo', 'L2', 3)
  const cases = [
    { ...fewer, options: { ...fewer.options, calls: 50 } },
    run('mkondo', 'L2', 1.1),
    run('mkondo', 'L2', 1.3),
    run('mkondo', 'L2', 1.2),
  ]
  t.match(terminalReport(results(cases)), /^mkondo +200 +1\.20 +1\.10-1\.30/m)
})

t.test('the checks compare subjects of one run', async (t) => {
  const cases = [
    run('mkondo', 'L0', 0.5),
    run('uws-echo', 'L0', 0.4),
    run('ws-sketch', 'L0', 0.8),
    run('mkondo', 'L2', 1.0),
    run('openai-twilio', 'L2', 4),
    run('mkondo', 'L3', 1.3),
  ]
  const byName = new Map(check(cases, []).map((one) => [one.name, one]))
  t.match(byName.get('L0: CPU against raw uWebSockets.js'), { measured: '1.25 x', ok: true })
  t.match(byName.get('L2: CPU of the OpenAI transport, at lighter work, against ours'), {
    measured: '4.00 x',
    ok: true,
  })
  t.match(byName.get('L2: CPU of the naive bridge against ours'), { measured: 'not measured', ok: null })
  t.match(byName.get('L2: memory per call, by slope'), { measured: '100.00 KB', ok: true })
  t.match(byName.get('L3: barge-in stop, p99'), { measured: '87.00 ms', ok: true })
})

t.test('the HTML report stands alone and escapes what it shows', async (t) => {
  const html = htmlReport(results([run('mkondo', 'L2', 1.1), run('mkondo', 'L3', 1.3)]))
  t.notMatch(html, /<script|https?:|src=|@import/)
  t.match(html, /&#60;script&#62;/)
  for (const title of ['Added latency against calls', 'CPU of the server per call', 'Memory of the server', 'Barge-in'])
    t.match(html, title)
  t.notMatch(html, /NaN|undefined|Infinity/)
})

t.test('axes have round steps that reach the largest value', async (t) => {
  for (const max of [0.003, 1, 7, 19.9, 20, 1234]) {
    const ticks = ticksTo(max)
    t.ok((ticks.at(-1) as number) >= max && ticks.length >= 2 && ticks.length <= 12, `${max}: ${ticks.join(' ')}`)
  }
})

t.test('a quick run skips measurements that would end too late', async (t) => {
  const quick = new TimeLeft(true, 1000)
  t.ok(quick.mayBegin('L0 mkondo', 100_000))
  t.same(quick.notes(), [])
  t.notOk(quick.mayBegin('L3 mkondo', 152_000))
  t.match(quick.notes(), [/left out: L3 mkondo$/])
  t.ok(new TimeLeft(false, 0).mayBegin('L3 mkondo', 1e9), 'any other takes what it takes')
})

t.test('the cost per call is the slope of a line', async (t) => {
  t.match(
    lineThrough([
      [500, 600],
      [1000, 1100],
      [2000, 2100],
    ]),
    { slope: 1, atZero: 100, rSquared: 1 },
  )
  t.equal(lineThrough([[500, 600]]), null)
  const bent = lineThrough([
    [500, 500],
    [1000, 1000],
    [2000, 4000],
  ])
  t.ok(bent !== null && bent.slope > 2 && bent.rSquared > 0.9 && bent.rSquared < 0.99)
})

t.test('wrong options are refused with the allowed values', async (t) => {
  t.throws(() => parseOptions(['--calls', '0']), /--calls is '0'; allowed is a whole number from 1 to 5000/)
  t.throws(() => parseOptions(['--calls', '1e9']), /--calls/)
  t.throws(
    () => parseOptions(['--level', 'L9']),
    /--level is 'L9'; allowed: L0, L1, L2, L2-prod, L2-prod-repeat, L2-cascade, L3/,
  )
  t.throws(() => parseOptions(['--ramp', '--level', 'L2-cascade']), /--ramp looks for added latency/)
  t.throws(() => parseOptions(['--subject', 'x']), /--subject is 'x'; allowed: mkondo/)
  t.throws(() => parseOptions(['--seconds', '100000']), /--seconds/)
  t.throws(() => parseOptions(['extra']), /extra/)
  t.throws(() => parseOptions(['--message-ms', '50']), /--message-ms is '50'; allowed: 20, 40, 60, 80, 100/)
  t.throws(() => parseOptions(['--processes', '0']), /--processes is '0'; allowed is a whole number from 1 to 16/)
  t.throws(() => parseOptions(['--line-echo', '50']), /--line-echo is '50'; allowed: 0, 30, 100/)
  t.throws(() => parseOptions(['--track', 'outbound']), /--track is 'outbound'; allowed: inbound_track, both_tracks/)
  t.match(parseOptions(['--growth', '--duty', '20']), { growth: true, dutyPercent: 20, cases: false, ramp: false })
  t.match(parseOptions(['--message-lengths']), {
    messages: true,
    cases: false,
    ramp: false,
    scale: false,
    micro: false,
  })
  t.match(parseOptions(['--scale', '--processes', '2']), { scale: true, cases: false, processes: 2 })
  t.equal(parseOptions(['--help']), null)
  t.match(parseOptions(['--quick']), { quick: true, cases: true, ramp: true, micro: true, seconds: 4 })
  t.match(parseOptions(['--level', 'L2', '--calls', '50', '--seconds', '20']), {
    levels: ['L2'],
    calls: 50,
    callsAsked: true,
    cases: true,
    ramp: false,
    micro: false,
  })
})

t.test('a peer with untrue audio does not fail the run', async (t) => {
  const [ours, wrong, peer, wrongPeer] = [
    run('mkondo', 'L2', 1.1),
    run('mkondo', 'L2', null),
    run('uws-echo', 'L0', 0.4),
    run('naive-bridge', 'L2', null),
  ]
  t.ok(isTrue([ours, wrongPeer]))
  t.match(terminalReport(results([ours, wrongPeer])), /untrue: naive-bridge with 200 calls/)
  t.notOk(isTrue([ours, wrong, peer]), 'one of ours was not true')
  t.ok(isTrue([peer, wrongPeer]))
  t.notOk(isTrue([wrongPeer]), 'nothing was measured')
  t.ok(isTrue([]))
})

t.test('a cascade is compared with L2-prod of the same run', async (t) => {
  const row = (cases: readonly CaseResult[]) => check(cases, []).find(({ name }) => name.startsWith('L2-cascade'))
  const prod = run('mkondo', 'L2-prod', 4)
  t.match(row([prod, run('mkondo', 'L2-cascade', 5.2)]), { measured: '1.30 x', ok: true })
  t.match(row([prod, run('mkondo', 'L2-cascade', 5.3)]), { ok: false })
  t.match(row([run('mkondo', 'L2-cascade', 5)]), { measured: 'not measured', ok: null })
})

t.test('silence before the last sound gives a negative share', async (t) => {
  const offsetMs = machineMs() - performance.now()
  // The quiet of 600 ms is over 450 ms after the last sound, and the services take 570 ms of the 600 that follow.
  const turns = [0, 10_000, 20_000].map((stoppedMs) => ({ stoppedMs, heardMs: stoppedMs + 1050 }))
  const ends = [450, 10_450, 20_450].map((atMs) => atMs - offsetMs)
  const { answered, afterEnd, share, whole } = figuresOf([{ caller: { turns }, ends }], true)
  t.equal(answered, 2, 'the first is not counted')
  const rounded = [afterEnd, share, whole].map((part) => Math.round(part?.p50 ?? NaN))
  t.strictSame(rounded, [30, -120, 600])
})

t.test("the fixed cost of few calls is the line's intercept", async (t) => {
  const calls = (count: number, cpuMs: number): CaseResult => {
    const one = run('mkondo', 'L2', cpuMs)
    return { ...one, options: { ...one.options, level: 'L2-prod', calls: count } }
  }
  const few = [calls(10, 5), calls(40, 3.5)] // 50 and 140 ms a second: 3 for each call, and 20
  const idle = [{ backend: 'openai', rssBytes: 140e6, cpuMsPerSecond: 8 }]
  const checks = check([], [], idle, few)
  t.match(
    checks.filter(({ measured }) => measured !== 'not measured'),
    [
      { measured: '140.00 MB', ok: true },
      { measured: '8.00 ms/s', ok: null },
      { measured: '20.00 ms/s', ok: true },
    ],
  )
  t.match(terminalReport({ ...results([]), idle, few, checks }), /^10 calls at L2-prod +- +50 +12.5 +1\/1$/m)
  t.match(
    check([], [], [], few.slice(1)),
    checks.map(() => ({ measured: 'not measured' })),
    'not from one number',
  )
})

const CLEAR = '\r\u001b[K'

t.test('a terminal shows the current measurement below permanent lines', (t) => {
  let shown = ''
  const write = (text: unknown): boolean => {
    shown += String(text)
    return true
  }
  const { say, show, end } = benchProgress({ write, isTTY: true })
  show('20 calls for 40 s')
  t.equal(shown, `${CLEAR}bench: 20 calls for 40 s, 0 s`)
  shown = ''
  say('p99 12 ms')
  t.equal(shown, `${CLEAR}p99 12 ms\n${CLEAR}bench: 20 calls for 40 s, 0 s`)
  shown = ''
  end()
  t.equal(shown, CLEAR, 'what follows is printed on an empty line')
  t.end()
})

t.test('without a terminal a bench prints only the permanent lines', (t) => {
  let shown = ''
  const { say, show, end } = benchProgress({ write: (text: unknown) => (shown += String(text)) !== '' })
  show('20 calls for 40 s')
  say('p99 12 ms')
  end()
  t.equal(shown, 'p99 12 ms\n')
  t.end()
})

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

t.test('one lost frame without a stall makes a run untrue', async (t) => {
  t.same(untruths(gateway, options, [heard(0)], null, false), [])
  t.match(untruths(gateway, options, [heard(1)], null, false), [
    /of 2500 frames 1 were lost and 0 added, and nothing had stood still/,
  ])
})

t.test('after a stall at most 12 frames may be lost', async (t) => {
  t.same(untruths(gateway, options, [heard(12)], null, true), [])
  t.match(untruths(gateway, options, [heard(13)], null, true), [/13 were lost/])
})

t.test('a stall is a pause longer than one frame', async (t) => {
  const pauses = (loopMaxMs: number) => ({
    gcMaxMs: 1,
    gcMs: 1,
    loopMaxMs,
    collections: collectionsBy(() => 0),
    stops: [],
  })
  const late = (max: number) => ({ count: 1, p50: 1, p95: 1, p99: 1, p999: 1, max })
  t.notOk(stoodStill(pauses(25), late(3)))
  t.ok(stoodStill(pauses(45), late(3)), 'the server')
  t.ok(stoodStill(pauses(25), late(25)), 'the generator')
  t.ok(stoodStill(null, late(3)), 'a peer that does not say')
})

t.test('levels with a backend use the configured message length', async (t) => {
  t.equal(framesInMessage(gateway, { level: 'L2', messageMs: 100 }), 5)
  t.equal(framesInMessage(gateway, { level: 'L2', messageMs: null }), 3)
  t.equal(framesInMessage(gateway, { level: 'L0', messageMs: 100 }), 1)
  t.equal(framesInMessage(gateway, { level: 'L2-prod', messageMs: null }), null, 'it follows the call')
})

t.test('sleeping, waking and cold reads are measured, not assumed', async (t) => {
  const { sleepUs, wakeUs, coldReadNs } = await machineCharges()
  // A sleep takes a system call at least; a thread that spun in place of sleeping would be charged the whole
  // millisecond.
  t.ok(sleepUs > 0.5 && sleepUs < 1000, `${sleepUs} us a sleep`)
  t.ok(wakeUs > 0.1 && wakeUs < 1000, `${wakeUs} us a wake`)
  // More than a read that a cache has, less than a page from a disk.
  t.ok(coldReadNs > 1 && coldReadNs < 5000, `${coldReadNs} ns a read`)
})

t.test('two threads throw the ball in turn', async (t) => {
  const ball = new Int32Array(new SharedArrayBuffer(4))
  throwBall(ball, 0, 1)
  t.equal(Atomics.load(ball, 0), 1, 'the first throw waits for nobody')
  throwBall(ball, 1, 1)
  t.equal(Atomics.load(ball, 0), 2, 'the partner throws when it has come')
})
