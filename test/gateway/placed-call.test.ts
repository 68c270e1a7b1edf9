import t from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { parseCallSid } from '../../src/core/ids.js'
import type { FleetNode } from '../../src/fleet/fleet-node.js'
import { placedStanding } from '../../src/gateway/placed-call.js'
import type { PlacedStanding } from '../../src/campaigns/campaigns.js'
import { CarrierApiError } from '../../src/sautikit-api/http.js'
import type { LiveCall, PlacedCall } from '../../src/workers/main/live-call.js'
import { endedCall } from '../support/record.js'

const SID = parseCallSid('HD_placed000001')
const LABEL = 'row-reminders-r1-1'
const TALK = endedCall({ callSid: SID, durationMs: 12_000, timeline: [{ name: 'stream-opened', atMs: 9, detail: '' }] })
const OTHER_RUN = { node: 'gw-2', incarnation: 'a' }

/** Where the call stands; a status of 0 is a node that does not answer. */
interface Facts {
  readonly live?: boolean
  readonly waits?: boolean
  readonly here?: CallRecord
  readonly undecided?: boolean
  /** Owner in the store; null: the store does not know the call. */
  readonly owner?: { readonly node: string; readonly incarnation: string } | null
  readonly answers?: readonly { readonly status: number; readonly body?: object }[]
  /** The carrier's status of the call; null: it does not know it. */
  readonly status?: string | null | Error
}

function standing({ answers = [], status = 'completed', owner = null, ...facts }: Facts): Promise<PlacedStanding> {
  const others = answers.map((_, i) => ({ name: `gw-${i + 2}`, incarnation: 'a' }))
  const node = {
    clockAheadMs: 0,
    others: () => others,
    isThisRun: ({ node }: { readonly node: string }) => node === 'gw-1',
    store: { patient: { read: () => Promise.resolve(owner && { phase: 'live', owner }) } },
    ask: ({ node }: { readonly node: string }) => {
      const answer = answers[others.findIndex(({ name }) => name === node)]
      if (answer === undefined || answer.status === 0) return Promise.resolve({ result: 'failed' })
      return Promise.resolve({ result: 'answered', answer })
    },
  } as unknown as FleetNode
  return placedStanding(
    {
      node,
      calls: { find: () => (facts.live === true ? ({} as LiveCall) : undefined) },
      outbound: { find: () => (facts.waits === true ? ({} as PlacedCall) : undefined) },
      recordHere: () => Promise.resolve(facts.here),
      isUndecided: () => facts.undecided === true,
      carrier: {
        getCall: () => {
          if (status instanceof Error) return Promise.reject(status)
          if (status === null) return Promise.reject(new CarrierApiError('no such call', { status: 404 }))
          return Promise.resolve({ status, answeredAt: null })
        },
      },
    },
    SID,
    LABEL,
  )
}

t.test('a placed call lives at a node or the carrier', async (t) => {
  const live = { status: 200, body: { callSid: SID, state: 'after' } }
  t.equal(await standing({ live: true }), 'lives')
  t.equal(await standing({ waits: true }), 'lives', 'it rings')
  t.equal(await standing({ waits: true, owner: { node: 'gw-1', incarnation: 'a' } }), 'lives')
  t.equal(await standing({ answers: [{ status: 404 }, live] }), 'lives', 'a human talks to them, without a stream')
  t.equal(await standing({ answers: [live], waits: true, owner: OTHER_RUN }), 'lives')
  t.equal(await standing({ answers: [{ status: 404 }], status: 'in-progress' }), 'lives', 'the carrier has its leg')
})

t.test('a placed call is unknown while its node is silent [1]', async (t) => {
  t.equal(await standing({ answers: [{ status: 404 }, { status: 0 }] }), 'unknown')
  t.equal(await standing({ answers: [{ status: 503, body: {} }] }), 'unknown')
  t.equal(await standing({ undecided: true }), 'unknown')
  t.equal(await standing({ here: TALK, status: 'shimmering' }), 'unknown', "a strange word of the carrier's")
  t.equal(await standing({ answers: [{ status: 200, body: { endReason: 'process-died', isLeft: true } }] }), 'unknown')
  t.equal(await standing({ answers: [{ status: 200, body: { endReason: 'strange' } }] }), 'unknown')
  const gone = { node: 'gw-9', incarnation: 'z' }
  t.equal(await standing({ answers: [{ status: 200, body: TALK }], owner: gone }), 'unknown', 'it may be recovered')
  await t.rejects(standing({ here: TALK, status: new CarrierApiError('down', { network: true }) }))
})

t.test('an ended placed call gets the records of all nodes', async (t) => {
  const { callSid, endReason, durationMs, escalation, outbound, timeline } = TALK
  const read = { callSid, endReason, durationMs, escalation, outbound, timeline }
  t.same(await standing({ here: TALK }), [TALK])
  t.same(await standing({ here: TALK, status: null }), [TALK], 'the carrier has forgotten it')
  t.same(await standing({ answers: [{ status: 404 }] }), [])
  t.same(await standing({ answers: [{ status: 200, body: TALK }] }), [read])
  t.same(await standing({ answers: [{ status: 200, body: TALK }], waits: true, owner: OTHER_RUN }), [read])
  t.same(await standing({ answers: [{ status: 200, body: TALK }, { status: 0 }] }), [read], 'a conversation is enough')
  const earlier = { ...TALK, outbound: { result: 'answered', ringMs: 900, clientRequestId: LABEL } }
  t.match(await standing({ answers: [{ status: 200, body: earlier }] }), [{ outbound: { result: 'person' } }])
})
