import t from 'tap'
import { CALL_SLAB_CALLS, CallMemoryPool } from '../../src/workers/call-memory.js'
import { SharedCall } from '../../src/workers/shared-call.js'

t.test('calls that live at once do not touch each other, nor the ones after them', (t) => {
  const pool = new CallMemoryPool()
  const lent = Array.from({ length: CALL_SLAB_CALLS + 3 }, () => pool.take())
  const calls = lent.map(({ buffer, at }) => new SharedCall(buffer, at))
  const out = new Int16Array(320)
  calls.forEach((call, i) => {
    call.outbound.write(new Int16Array(320).fill(i + 1))
    call.inbound.write(new Uint8Array(640).fill(i & 0xff), i)
  })
  calls.forEach((call, i) => {
    t.equal(call.outbound.peek(out, 320), 320)
    t.ok(out.every((sample) => sample === i + 1))
    t.ok(call.inbound.next()?.every((byte) => byte === (i & 0xff)))
  })
  t.equal(pool.lent, CALL_SLAB_CALLS + 3)
  pool.give(lent[5] as (typeof lent)[number])
  const again = pool.take()
  t.same(again.at, lent[5]?.at, 'memory that was touched already is used first')
  const next = new SharedCall(again.buffer, again.at)
  t.equal(next.outbound.available(), 0)
  t.equal(next.inbound.next(), null)
  t.ok(next.words.every((word) => word === 0))
  t.equal(calls[6]?.outbound.written, 320)
  t.end()
})
