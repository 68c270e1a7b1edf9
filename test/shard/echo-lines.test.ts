import t from 'tap'
import { callOver, nameOf, type EchoLine } from '../support/echo-calls.js'
import { whole } from '../support/gateway.js'

// Calls are spoken in real time. Every level, delay and rate: echo-lines.slow.test.ts.
t.setTimeout(120_000)

const LOUD: EchoLine = { rateHz: 8000, softerDb: 10, delayMs: 300 }
const WIDE: EchoLine = { rateHz: 16000, softerDb: 20, delayMs: 80 }

t.test('an agent that comes back out of the caller\'s loudspeaker does not interrupt itself, and the caller still can', async (t) => {
  const { at, close } = await whole()
  t.teardown(close)
  const lines = [LOUD, WIDE]
  const [interrupted, ...quiet] = await Promise.all([callOver(WIDE, at, true), ...lines.map((line) => callOver(line, at))])
  for (const [i, line] of lines.entries()) {
    const run = quiet[i]
    t.equal(run?.code, 0, `${nameOf(line)}: ${run?.calls[0]?.goal.why ?? run?.output}`)
    t.same(run?.calls[0]?.bargeIns.filter((bargeIn) => bargeIn.committed === true), [], `${nameOf(line)}: nobody interrupted the agent`)
  }
  t.equal(interrupted.code, 0, `interrupted: ${interrupted.calls[0]?.goal.why ?? interrupted.output}`)
  t.match(interrupted.calls[0]?.bargeIns.filter((bargeIn) => bargeIn.committed === true), [{ committed: true }], 'one interruption, the caller\'s')
})
