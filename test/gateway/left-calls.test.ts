import t from 'tap'
import { LEFT_CALL_LOOKS_MAX } from '../../src/core/limits.js'
import { LeftCalls } from '../../src/gateway/left-calls.js'
import { createLog } from '../../src/telemetry/log.js'
import { endedCall } from '../support/record.js'

const records = ['HD_elsewhere001', 'HD_here00000001', 'HD_lost00000001', 'HD_later0000001', 'HD_never0000001'].map(
  (callSid) => endedCall({ callSid, endReason: 'process-died', outcome: 'failed' }),
)

t.test('of a call that ended here and went on elsewhere, the record there is the only one', async (t) => {
  let waits = 0
  const left = new LeftCalls({
    earlier: [],
    isHere: (callSid) => callSid === 'HD_here00000001',
    recordAt: (callSid) =>
      Promise.resolve(
        callSid === 'HD_elsewhere001' || (callSid === 'HD_later0000001' && waits > 2)
          ? 'elsewhere'
          : callSid === 'HD_lost00000001'
            ? 'nowhere'
            : 'unknown',
      ),
    log: createLog({ level: 'silent' }),
    sleep: () => Promise.resolve(void waits++),
  })
  const decided = new Map<string, boolean>()
  await left.settle(records, (_, callSid, isRecord) => {
    t.notOk(decided.has(callSid), 'once')
    decided.set(callSid, isRecord)
  })
  t.same(Object.fromEntries(decided), {
    HD_elsewhere001: false,
    HD_here00000001: false,
    HD_lost00000001: true,
    HD_later0000001: false,
    HD_never0000001: true,
  })
  t.equal(waits, LEFT_CALL_LOOKS_MAX - 1, 'what stays unknown counts as lost in the end')
})

t.test('a process that ends decides on nothing more: the next start asks again', async (t) => {
  const left: LeftCalls = new LeftCalls({
    earlier: [],
    isHere: () => false,
    recordAt: () => Promise.resolve('unknown'),
    log: createLog({ level: 'silent' }),
    sleep: () => Promise.resolve(left.close()),
  })
  await left.settle(records, () => t.fail('decided'))
  t.end()
})
