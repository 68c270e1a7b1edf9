import fc from 'fast-check'
import t from 'tap'
import { Escalation } from '../../src/call/escalation.js'
import type { EscalationInput, EscalationOptions, EscalationOutput } from '../../src/call/escalation-events.js'
import type { EscalationPacket } from '../../src/call/events.js'

const packet: EscalationPacket = {
  version: 1, callSid: 'HD_test', agent: 'support', reason: 'asked', summary: '', identity: null, tried: [], transcript: [],
  at: '2026-01-01T00:00:00.000Z',
}
const failedSay = { verb: 'say', text: 'Nobody can take your call.' } as const
const words = [failedSay, { verb: 'hangup' }]
const redirect = { verb: 'redirect', url: 'https://gw.example/after-stream?t=1', method: 'POST' }
const dial = (number: string) => [
  { verb: 'dial', numbers: [number], timeoutS: 20, callerId: '+254700000009' }, redirect,
]
const A = '+254700000001'
const B = '+254700000002'

class Rig {
  nowMs = 1000
  readonly machine: Escalation
  readonly log: EscalationOutput[] = []

  constructor(overrides: Partial<EscalationOptions> = {}) {
    this.machine = new Escalation({
      strategies: ['after-stream-dial'], numbers: [A], callerId: '+254700000009', ringTimeoutMs: 20_000,
      redirectUrl: redirect.url, failedSay, conferenceRoom: null, restAvailable: true, ...overrides,
    })
  }

  in(...inputs: EscalationInput[]): this {
    for (const input of inputs) this.machine.handle(input, this.nowMs)
    return this.#drain()
  }

  escalate(): this {
    return this.in({ type: 'escalate', packet })
  }

  carrier(state: Extract<EscalationInput, { type: 'carrier-state' }>['state']): this {
    return this.in({ type: 'carrier-state', state })
  }

  ask(asker: Parameters<Escalation['ask']>[0]) {
    const actions = this.machine.ask(asker, this.nowMs)
    this.#drain()
    return actions
  }

  /** Time passes; the machine is called when it asked to be, and not otherwise. */
  run(ms: number): this {
    const endMs = this.nowMs + ms
    for (let wakes = 0; wakes < 1000; wakes++) {
      const wake = this.machine.nextWake()
      if (wake === null || wake.atMs > endMs) break
      this.nowMs = Math.max(this.nowMs, wake.atMs)
      this.in({ type: 'timer' })
    }
    this.nowMs = endMs
    return this
  }

  take(): EscalationOutput[] {
    return this.log.splice(0)
  }

  #drain(): this {
    for (let output = this.machine.pollOutput(); output !== null; output = this.machine.pollOutput()) {
      this.log.push(output)
    }
    return this
  }
}

const closeStream = { type: 'step', step: { type: 'close-stream' } }
const hold = { type: 'step', step: { type: 'hold' } }
const settled = (outcome: string, strategy: string | null = 'after-stream-dial') => (
  { type: 'settled', strategy, outcome }
)

t.test('nobody gets a document while nothing is pending', async (t) => {
  const rig = new Rig()
  for (const asker of ['after-stream', 'voice', 'stream-status', 'events'] as const) t.same(rig.ask(asker), [])
  t.equal(rig.machine.nextWake(), null)
})

t.test('a carrier that goes on with its document gets the Dial there', async (t) => {
  const rig = new Rig().escalate()
  t.match(rig.take(), [closeStream])
  rig.run(1500)
  t.same(rig.ask('voice'), [], 'not while the announcement is being spoken')
  rig.in({ type: 'stream-closed' })
  t.match(rig.machine.nextWake(), { reason: 'continuation', atMs: rig.nowMs + 3000 })
  t.same(rig.ask('after-stream'), dial(A))
  t.equal(rig.machine.state, 'dialing')
  rig.run(4000).carrier('answered')
  t.equal(rig.machine.state, 'bridged')
  t.match(rig.take(), [settled('answered')])
  rig.run(60_000).carrier('dial-completed')
  t.same(rig.ask('voice'), [{ verb: 'hangup' }], 'the human has left')
  rig.carrier('completed')
  t.same(rig.ask('voice'), [])
  t.same(rig.take(), [], 'settled once')
})

t.test('a carrier whose document asks before our socket is seen closed gets the Dial too', async (t) => {
  const rig = new Rig().escalate()
  t.same(rig.ask('after-stream'), dial(A))
  rig.in({ type: 'stream-closed' }).run(5000)
  t.equal(rig.machine.state, 'dialing')
})

t.test('a carrier that posts StreamStopped to the voice URL gets the Dial there', async (t) => {
  const rig = new Rig().escalate()
  rig.carrier('stream-stopped')
  t.same(rig.ask('voice'), dial(A))
  rig.in({ type: 'stream-closed' })
  t.same(rig.ask('after-stream'), [], 'one Dial document at a time')
  t.same(rig.ask('stream-status'), [])
})

t.test('a carrier that holds the leg in silence is asked by REST to hang up, and asked again if that fails', async (t) => {
  const rig = new Rig().escalate().in({ type: 'stream-closed' })
  rig.take()
  rig.run(2990)
  t.same(rig.take(), [])
  rig.run(20)
  t.match(rig.take(), [{ type: 'command', command: { type: 'hangup', requestId: 'esc-1' } }, settled('failed')])
  rig.in({ type: 'rest-result', requestId: 'esc-1', ok: false, detail: '503' }).run(1100)
  t.match(rig.take(), [{ type: 'command', command: { type: 'hangup', requestId: 'esc-2' } }])
  rig.in({ type: 'rest-result', requestId: 'esc-2', ok: false, detail: '503' }).run(1100)
  t.match(rig.take(), [{ command: { requestId: 'esc-3' } }])
  rig.in({ type: 'rest-result', requestId: 'esc-3', ok: false, detail: '503' }).run(10_000)
  t.same(rig.take(), [])
  t.equal(rig.machine.callsLeft, 1)
  t.equal(rig.machine.restFailures, 3)
})

t.test('a status callback may get the Dial, but neither stops the watchdog nor takes it from the next asker', async (t) => {
  const moved = new Rig().escalate().in({ type: 'stream-closed' })
  t.same(moved.ask('events'), [], 'its answer is never read')
  t.same(moved.ask('stream-status'), dial(A))
  t.equal(moved.machine.state, 'pending')
  moved.run(500)
  t.same(moved.ask('after-stream'), dial(A))
  moved.run(5000)
  t.equal(moved.machine.state, 'dialing')

  const ignored = new Rig().escalate().in({ type: 'stream-closed' })
  ignored.ask('stream-status')
  ignored.take()
  ignored.run(3100)
  t.match(ignored.take(), [{ type: 'command', command: { type: 'hangup' } }, settled('failed')])

  const obeyed = new Rig().escalate().in({ type: 'stream-closed' })
  obeyed.ask('stream-status')
  obeyed.run(1000).carrier('ringing').run(5000)
  t.equal(obeyed.machine.state, 'dialing', 'the carrier was seen dialling')
})

t.test('a webhook that is repeated gets the same document once more', async (t) => {
  const rig = new Rig().escalate().in({ type: 'stream-closed' })
  t.same(rig.ask('after-stream'), dial(A))
  rig.run(300)
  t.same(rig.ask('after-stream'), dial(A))
  rig.run(300)
  t.same(rig.ask('after-stream'), [])
})

for (const state of ['busy', 'no-answer', 'failed'] as const) {
  t.test(`a dial that ends with ${state} goes on to the next number, and after the last to words`, async (t) => {
    const rig = new Rig({ numbers: [A, B] }).escalate().in({ type: 'stream-closed' })
    t.same(rig.ask('voice'), dial(A))
    rig.run(5000).carrier(state)
    t.same(rig.ask('voice'), dial(B))
    rig.run(5000).carrier(state)
    rig.take()
    t.same(rig.ask('voice'), words)
    t.same(rig.ask('after-stream'), words, 'whoever asks')
    t.equal(rig.machine.state, 'failed')
    rig.run(30_000)
    t.same(rig.take(), [], 'the carrier hangs up by the document')
  })
}

t.test('after a failed dial that nobody asks about the call is hung up', async (t) => {
  const rig = new Rig().escalate().in({ type: 'stream-closed' })
  rig.ask('voice')
  rig.run(5000).carrier('busy')
  t.match(rig.take().at(-1), settled('busy'))
  rig.run(3100)
  t.match(rig.take(), [{ type: 'command', command: { type: 'hangup' } }])
})

t.test('the Redirect after a Dial says that the dial is over', async (t) => {
  const quick = new Rig({ numbers: [A, B] }).escalate().in({ type: 'stream-closed' })
  quick.ask('after-stream')
  quick.run(8000)
  t.same(quick.ask('after-stream'), dial(B), 'within the ringing time nobody answered')
  quick.run(8000)
  t.same(quick.ask('after-stream'), words)

  const talked = new Rig({ numbers: [A, B] }).escalate().in({ type: 'stream-closed' })
  talked.ask('after-stream')
  talked.run(90_000)
  t.equal(talked.machine.state, 'bridged', 'no news past the ringing time is good news')
  t.same(talked.ask('after-stream'), [{ verb: 'hangup' }])
  t.match(talked.take().at(-1), settled('answered'))
})

t.test('without a Redirect the document itself ends in words', async (t) => {
  const rig = new Rig({ redirectUrl: null, callerId: null }).escalate().in({ type: 'stream-closed' })
  t.same(rig.ask('voice'), [{ verb: 'dial', numbers: [A], timeoutS: 20 }, ...words])
})

t.test('a call that is over is never dialled for', async (t) => {
  for (const state of ['completed', 'failed', 'busy', 'no-answer'] as const) {
    const rig = new Rig().escalate().in({ type: 'stream-closed' })
    rig.carrier(state)
    for (const asker of ['after-stream', 'voice', 'stream-status', 'events'] as const) {
      t.same(rig.ask(asker), [], `${state} ${asker}`)
    }
    t.match(rig.take().at(-1), settled('failed'))
    rig.run(60_000)
    t.same(rig.take(), [], 'and not hung up either')
  }
})

t.test('a caller who gives up while it rings', async (t) => {
  const rig = new Rig().escalate().in({ type: 'stream-closed' })
  rig.ask('after-stream')
  rig.run(5000).carrier('completed')
  t.match(rig.take().at(-1), settled('no-answer'))
})

t.test('supervision keeps the stream and asks the API', async (t) => {
  const rig = new Rig({ strategies: ['supervision'], numbers: [A, B] }).escalate()
  t.match(rig.take(), [hold, { type: 'command', command: { type: 'supervise', number: A, requestId: 'esc-1' } }])
  rig.in({ type: 'rest-result', requestId: 'esc-1', ok: true, detail: '' })
  t.same(rig.ask('voice'), [], 'the stream goes on')
  rig.run(3000).in({ type: 'human', event: 'busy' })
  t.match(rig.take(), [{ type: 'command', command: { type: 'supervise', number: B } }], 'held already')
  rig.in({ type: 'human', event: 'joined' })
  t.match(
    rig.take(),
    [{ type: 'step', step: { type: 'bridged', strategy: 'supervision' } }, settled('answered', 'supervision')],
  )
  rig.in({ type: 'human', event: 'left' })
  t.match(
    rig.take(), [{ type: 'command', command: { type: 'hangup' } }], 'the caller is not left alone on a silent line',
  )
})

t.test('each strategy that fails makes room for the next', async (t) => {
  const rig = new Rig({ strategies: ['supervision', 'after-stream-dial', 'callback'] }).escalate()
  rig.take()
  rig.in({ type: 'rest-result', requestId: 'esc-1', ok: false, detail: 'api_key.scope_denied' })
  t.match(rig.take(), [closeStream])
  t.equal(rig.machine.state, 'pending')

  const rung = new Rig({ strategies: ['supervision', 'after-stream-dial'] }).escalate()
  rung.take()
  rung.in({ type: 'rest-result', requestId: 'esc-1', ok: true, detail: '' })
  rung.run(25_100)
  t.match(rung.take(), [closeStream], 'nobody joined in the ringing time')
})

t.test('a strategy that needs the stream does not follow one that closed it', async (t) => {
  const rig = new Rig({ strategies: ['after-stream-dial', 'supervision', 'callback'] }).escalate().in(
    { type: 'stream-closed' },
  )
  rig.take()
  rig.run(3100)
  t.match(rig.take(), [{ type: 'command', command: { type: 'hangup' } }, settled('failed')])
})

t.test('strategies that were not set up are passed over', async (t) => {
  const rig = new Rig({ strategies: ['conference', 'supervision', 'after-stream-dial'], restAvailable: false }).escalate()
  t.match(rig.take(), [closeStream])
  const none = new Rig({ strategies: ['after-stream-dial'], numbers: [] }).escalate()
  t.match(none.take(), [{ type: 'step', step: { type: 'failed', outcome: 'failed' } }, settled('failed', null)])
})

t.test('a call that was answered into a room is joined there', async (t) => {
  const rig = new Rig({ strategies: ['conference'], conferenceRoom: 'room-1' }).escalate()
  t.match(
    rig.take(), [hold, { type: 'command', command: { type: 'create-conference-call', number: A, room: 'room-1' } }],
  )
  rig.in({ type: 'rest-result', requestId: 'esc-1', ok: true, detail: '', outcome: 'answered' })
  t.match(
    rig.take(),
    [{ type: 'step', step: { type: 'bridged', strategy: 'conference' } }, settled('answered', 'conference')],
  )
})

t.test('a call back is promised by the session\'s words', async (t) => {
  const rig = new Rig({ strategies: ['supervision', 'callback'] }).escalate()
  rig.take()
  rig.in({ type: 'rest-result', requestId: 'esc-1', ok: false, detail: 'no' })
  t.match(
    rig.take(), [{ type: 'step', step: { type: 'failed', detail: /a call back/ } }, settled('failed', 'callback')],
  )
})

t.test('a stream that is lost while a human is called falls back to the Dial, then to hanging up', async (t) => {
  const rig = new Rig({ strategies: ['supervision', 'after-stream-dial'] }).escalate()
  rig.take()
  rig.in({ type: 'stream-closed' })
  t.same(rig.take(), [])
  t.same(rig.ask('voice'), dial(A))
})

t.test('a session that never closes its stream does not hold the escalation', async (t) => {
  const rig = new Rig().escalate()
  rig.take()
  rig.run(30_100)
  t.match(rig.take(), [{ type: 'step', step: { type: 'failed' } }, settled('failed')])
})

t.test('asking for an escalation again repeats the step; after a failure it is a new attempt', async (t) => {
  const rig = new Rig({ strategies: ['supervision'] }).escalate()
  rig.take()
  rig.escalate()
  t.match(rig.take(), [hold])
  rig.in({ type: 'rest-result', requestId: 'esc-1', ok: false, detail: 'no' })
  rig.take()
  rig.escalate()
  t.match(rig.take(), [hold, { type: 'command', command: { type: 'supervise', requestId: 'esc-2' } }])
})

t.test('without an API a caller who cannot be hung up is counted, and still gets words if anybody asks', async (t) => {
  const rig = new Rig({ restAvailable: false }).escalate().in({ type: 'stream-closed' }).run(3100)
  t.equal(rig.machine.callsLeft, 1)
  t.same(rig.ask('voice'), words)
})

t.test('whatever comes, it settles once, never dials for a call that is over, and always gets somewhere', async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('carrier' as const), state: fc.constantFrom(
      'ringing' as const, 'answered' as const, 'stream-stopped' as const, 'dial-completed' as const, 'busy' as const, 'no-answer' as const,
      'failed' as const, 'completed' as const, 'unknown' as const) }),
    fc.record(
      { do: fc.constant('ask' as const), asker: fc.constantFrom('after-stream' as const, 'voice' as const, 'stream-status' as const, 'events' as const) },
    ),
    fc.record({ do: fc.constant('closed' as const) }),
    fc.record({ do: fc.constant('rest' as const), n: fc.integer({ min: 1, max: 6 }), ok: fc.boolean() }),
    fc.record(
      { do: fc.constant('human' as const), event: fc.constantFrom('joined' as const, 'busy' as const, 'declined' as const, 'left' as const) },
    ),
    fc.record({ do: fc.constant('run' as const), ms: fc.integer({ min: 0, max: 30_000 }) }),
  )
  const strategies = fc.shuffledSubarray(['after-stream-dial', 'supervision', 'conference', 'callback'] as const)
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), strategies, fc.boolean(), (steps, order, restAvailable) => {
    const rig = new Rig({ strategies: order, numbers: [A, B], restAvailable, conferenceRoom: 'room' }).escalate()
    let over = false
    for (const action of steps) {
      if (action.do === 'carrier') {
        rig.carrier(action.state)
        over ||= action.state === 'completed'
      } else if (action.do === 'ask') {
        const actions = rig.ask(action.asker)
        if (over && actions.length > 0) throw new Error('a document for a call that is over')
        if (actions.filter(({ verb }) => verb === 'dial').length > 1) throw new Error('two dials in a document')
        if (actions.some(({ verb }) => verb === 'stream')) throw new Error('a second stream')
      } else if (action.do === 'closed') {
        rig.in({ type: 'stream-closed' })
      } else if (action.do === 'rest') {
        rig.in({ type: 'rest-result', requestId: `esc-${action.n}`, ok: action.ok, detail: '' })
      } else if (action.do === 'human') {
        rig.in({ type: 'human', event: action.event })
      } else {
        rig.run(action.ms)
      }
    }
    rig.run(600_000)
    if (rig.machine.nextWake() !== null) throw new Error('still waiting')
    if (rig.machine.state !== 'bridged' && rig.machine.state !== 'failed') throw new Error(`still ${rig.machine.state}`)
    if (rig.log.filter(({ type }) => type === 'settled').length !== 1) throw new Error('not settled once')
  }), { numRuns: 500 })
})
