import type { Test } from 'tap'
import { allCallsOn } from '../../src/backends/split.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import type { WorkerDeathCause } from '../../src/workers/main/worker-watchdog.js'
import { createLog } from '../../src/telemetry/log.js'
import { inbound, TestLine, orderStatusAgent } from '../support/host.js'
import { REAL_TIME, startThreads } from '../support/threads.js'
import { until } from '../support/until.js'
import type { HostChanges, TestHost } from '../support/host.js'

export const POISON = `module:${new URL('./poison-backend.js', import.meta.url).href}`

/** A gateway without speech whose calls have the poison backend: a call's SID says what the backend does. */
export async function poisonHost(changes: HostChanges = {}): Promise<TestHost> {
  const definition = await orderStatusAgent()
  return startThreads({
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn(POISON) }]]),
    speech: null,
    maxCalls: 16,
    workerMemoryMb: 64,
    ...changes,
  })
}

export function lineOf(test: TestHost, callSid: string, agent = 'order-status'): TestLine {
  const line = new TestLine(test.host.prepare(inbound(callSid, { agent })), REAL_TIME)
  line.start()
  return line
}

/** Value of one line of /metrics. */
export const counted = async (test: TestHost, series: string): Promise<number> => {
  const line = (await test.metrics.render()).split('\n').find((text) => text.startsWith(`${series} `))
  return Number(line?.split(' ')[1] ?? NaN)
}

/**
 * Three bystanders and a call that makes a deadly mistake: it is moved once and ends, they are moved once and go on.
 * @param causes  one of them; a busy machine takes longer to fill a heap than a worker may be silent
 */
export async function endsAlone(t: Test, mistake: string, ...causes: readonly WorkerDeathCause[]): Promise<void> {
  const lines: string[] = []
  const test = await poisonHost({ log: createLog({ destination: { write: (line: string) => void lines.push(line) } }) })
  t.teardown(() => test.close())
  const bystanders = ['HD_fine1', 'HD_fine2', 'HD_fine3'].map((callSid) => lineOf(test, callSid))
  await until(() => bystanders.every((line) => line.frames.length > 20), 10_000, 'the bystanders to hear their agents')
  const guilty = lineOf(test, `HD_${mistake}`)
  await until(() => guilty.closedWith !== null, 40_000, 'the guilty call to end')
  const endedAtMs = performance.now()

  t.equal(guilty.closedWith, 1011)
  const record = await test.recordOf(guilty.call.callSid)
  t.match(record, { outcome: 'failed', endReason: 'call-fault', rehomes: 1 }, 'tried once more, and then ended')
  const lost = record.timeline.filter((mark) => mark.name === 'worker-lost').map((mark) => mark.detail ?? '')
  t.equal(lost.length, 2)
  t.match(lost[0], /suspected: this call/)
  const counts = await Promise.all(
    causes.map((cause) => counted(test, `mkondo_media_worker_ends_total{cause="${cause}"}`)),
  )
  t.equal(
    counts.reduce((sum, count) => sum + count, 0),
    2,
    `counted as ${causes.join(' or ')}`,
  )

  const died = lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ msg }) => msg === 'a media worker died')
  t.match(
    died,
    [
      { call_sid: `HD_${mistake}`, calls: 4 },
      { call_sid: `HD_${mistake}`, calls: 1 },
    ],
    'the log names the call both times',
  )
  t.notMatch(lines.join(''), /254700000001/)

  // Its second death was on a worker of its own.
  await until(
    () => bystanders.every((line) => line.soundSince(endedAtMs)),
    10_000,
    'the bystanders to be heard after it all',
  )
  for (const line of bystanders) {
    t.equal(line.closedWith, null)
    t.equal(line.call.view().rehomes, 1, `${line.call.callSid} was moved once, not twice`)
    line.call.hangup('operator-hangup', 'the test is over', false)
    const fine = await test.recordOf(line.call.callSid)
    t.equal(fine.endReason, 'operator-hangup')
    t.match(fine.timeline.find((mark) => mark.name === 'worker-lost')?.detail, new RegExp(`suspected: HD_${mistake};`))
  }
  t.equal(test.host.free, test.host.capacity)
}
