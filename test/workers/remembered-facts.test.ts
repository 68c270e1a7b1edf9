import t from 'tap'
import type { NewCall } from '../../src/workers/main/live-call.js'
import type { HostedAgent, MainThreadContext } from '../../src/workers/main/main-thread-context.js'
import { CallParty } from '../../src/workers/main/call-party.js'

for (const [transcript, facts] of [
  ['full', { order: 'order 4127', paid: true }],
  ['masked', { order: 'order ####', paid: true }],
  ['none', {}],
] as const)
  t.test(`a call recalls no more than records keep now (${transcript})`, async (t) => {
    const earlier = { endedWallMs: 1, outcome: 'contained', facts: { order: 'order 4127', paid: true } }
    const context = { transcript, callerMemory: { recall: () => Promise.resolve(earlier) } }
    const call = { direction: 'inbound', from: '+254700000001', to: '+254709000000' }
    const hosted = { definition: { name: 'support' } }
    const party = new CallParty(
      call as unknown as NewCall,
      () => hosted as unknown as HostedAgent,
      context as unknown as MainThreadContext,
    )
    t.same(await party.recalled(), { ...earlier, facts })
  })
