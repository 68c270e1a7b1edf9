import t from 'tap'
import type { MainThings } from '../../src/workers/main/main-part.js'
import { CallParty } from '../../src/workers/main/parts/party.js'

for (const [transcript, facts] of [
  ['full', { order: 'order 4127', paid: true }],
  ['masked', { order: 'order ####', paid: true }],
  ['none', {}],
] as const)
  t.test(`a call recalls no more than records keep now (${transcript})`, async (t) => {
    const earlier = { endedWallMs: 1, outcome: 'contained', facts: { order: 'order 4127', paid: true } }
    const context = { transcript, callerMemory: { recall: () => Promise.resolve(earlier) } }
    const call = { direction: 'inbound', from: '+254700000001', to: '+254709000000' }
    const of = {
      origin: { call, number: call.from },
      agent: { hosted: { definition: { name: 'support' } } },
      context,
    }
    const door = { mark: () => undefined, send: () => undefined }
    const party = new CallParty(door, of as unknown as MainThings)
    t.same(await party.recalled(), { ...earlier, facts })
  })
