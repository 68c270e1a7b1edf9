import t from 'tap'
import type { MainThings } from '../../src/workers/main/call/main-part.js'
import { CallParty } from '../../src/workers/main/call/parts/party.js'
import { promisedCall } from '../../src/workers/main/kept-call.js'
import { keptCall, keptState } from '../support/kept-call.js'

for (const [transcript, facts] of [
  ['full', { order: 'order 4127', paid: true }],
  ['masked', { order: 'order ####', paid: true }],
  ['none', {}],
] as const)
  t.test(`a call recalls only what records may keep (${transcript})`, async (t) => {
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

t.test('a promised call back keeps neither memory nor personal fields', (t) => {
  const { session } = keptCall()
  if (session === null) throw new Error('no session')
  const caller = {
    source: 'lookup_customer',
    of: 'customers',
    state: 'found',
    from: 'tool',
    ms: 100,
    values: { balance: 120 },
    earlier: { last_plan: 'fibre' },
  } as const
  for (const policy of ['masked', 'none'] as const) {
    const kept = promisedCall(keptState(keptCall({ session: { ...session, caller } })), policy)
    t.notMatch(JSON.stringify(kept), /fibre|balance/)
    t.equal(kept.kept.session?.greeted, true)
  }
  t.end()
})
