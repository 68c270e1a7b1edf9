import fc from 'fast-check'
import t from 'tap'
import { Escalation } from '../../src/escalation/escalation.js'
import type { EscalationOptions } from '../../src/escalation/escalation.js'
import type { EscalationInput, EscalationOutput } from '../../src/escalation/escalation-events.js'
import type { EscalationSnapshot } from '../../src/call/documents/kept-call.js'
import type { EscalationAttempt } from '../../src/call/documents/record.js'

const failedSay = { verb: 'say', text: 'Nobody can take your call.' } as const
const words = [failedSay, { verb: 'hangup' }]
const redirect = { verb: 'redirect', url: 'https://gw.example/after-stream?t=1', method: 'POST' }
const dial = (number: string) => [
  { verb: 'dial', numbers: [number], timeoutS: 20, callerId: '+254700000009' },
  redirect,
]
const A = '+254700000001'
const B = '+254700000002'

const humans = (...numbers: string[]) => numbers.map((number) => ({ number, hours: null }))

class Rig {
  nowMs = 1000
  machine: Escalation
  readonly log: EscalationOutput[] = []
  readonly #options: EscalationOptions

  constructor(overrides: Partial<EscalationOptions> = {}) {
    this.#options = {
      strategies: ['after-stream-dial'],
      humans: humans(A),
      hours: null,
      caller: '',
      wallOffsetMs: 0,
      callerId: '+254700000009',
      ringTimeoutMs: 20_000,
      redirectUrl: redirect.url,
      failedSay,
      offer: null,
      inConference: false,
      restAvailable: true,
      afterStream: 'unknown',
      mayRing: () => true,
      ...overrides,
    }
    this.machine = new Escalation(this.#options)
  }

  /** The node is lost, and another one, with another clock, goes on with what it had stored. */
  lose(): this {
    const snapshot = JSON.parse(JSON.stringify(this.machine.snapshot(this.nowMs))) as EscalationSnapshot
    this.nowMs += 1_000_000
    this.machine = new Escalation(this.#options, snapshot, this.nowMs)
    return this.in({ type: 'stream-closed' })
  }

  in(...inputs: EscalationInput[]): this {
    for (const input of inputs) this.machine.handle(input, this.nowMs)
    return this.#drain()
  }

  escalate(): this {
    return this.in({ type: 'escalate' })
  }

  carrier(state: Extract<EscalationInput, { type: 'carrier-state' }>['state']): this {
    return this.in({ type: 'carrier-state', state })
  }

  ask(asker: Parameters<Escalation['ask']>[0], digits: string | null = null) {
    const actions = this.machine.ask(asker, this.nowMs, digits)
    this.#drain()
    return actions
  }

  /** Time passes; the machine is called only when it asked for it. */
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

  /** All outputs except single attempts. */
  take(): EscalationOutput[] {
    return this.log.splice(0).filter(({ type }) => type !== 'attempt')
  }

  attempts(): EscalationAttempt[] {
    return this.log.flatMap((output) => (output.type === 'attempt' ? [output.attempt] : []))
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
const settled = (outcome: string, strategy: string | null = 'after-stream-dial') => ({
  type: 'settled',
  strategy,
  outcome,
})

t.test('no document is served while no escalation is pending', async (t) => {
  const rig = new Rig()
  for (const asker of ['after-stream', 'voice', 'stream-status', 'events'] as const) t.same(rig.ask(asker), [])
  t.equal(rig.machine.nextWake(), null)
})

t.test('a carrier that continues with its document gets the Dial [1]', async (t) => {
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

t.test('a carrier gets the Dial before its socket is closed', async (t) => {
  const rig = new Rig().escalate()
  t.same(rig.ask('after-stream'), dial(A))
  rig.in({ type: 'stream-closed' }).run(5000)
  t.equal(rig.machine.state, 'dialing')
})

t.test('a carrier that posts StreamStopped gets the Dial', async (t) => {
  const rig = new Rig().escalate()
  rig.carrier('stream-stopped')
  t.same(rig.ask('voice'), dial(A))
  rig.in({ type: 'stream-closed' })
  t.same(rig.ask('after-stream'), [], 'one Dial document at a time')
  t.same(rig.ask('stream-status'), [])
})

t.test('a silent leg is hung up by REST, with retries [2]', async (t) => {
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
})

t.test('a status callback with the Dial keeps the watchdog running', async (t) => {
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

t.test('a repeated webhook gets the same document once more', async (t) => {
  const rig = new Rig().escalate().in({ type: 'stream-closed' })
  t.same(rig.ask('after-stream'), dial(A))
  rig.run(300)
  t.same(rig.ask('after-stream'), dial(A))
  rig.run(300)
  t.same(rig.ask('after-stream'), [])
})

for (const state of ['busy', 'no-answer', 'failed'] as const) {
  t.test(`a dial ended by ${state} continues with the next number [8]`, async (t) => {
    const rig = new Rig({ humans: humans(A, B) }).escalate().in({ type: 'stream-closed' })
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

t.test('the call is hung up without a request after dialling [9]', async (t) => {
  const rig = new Rig().escalate().in({ type: 'stream-closed' })
  rig.ask('voice')
  rig.run(5000).carrier('busy')
  t.match(rig.take().at(-1), settled('busy'))
  rig.run(3100)
  t.match(rig.take(), [{ type: 'command', command: { type: 'hangup' } }])
})

t.test('a Redirect after a Dial ends the dial', async (t) => {
  const quick = new Rig({ humans: humans(A, B) }).escalate().in({ type: 'stream-closed' })
  quick.ask('after-stream')
  quick.run(8000)
  t.same(quick.ask('after-stream'), dial(B), 'within the ringing time nobody answered')
  quick.run(8000)
  t.same(quick.ask('after-stream'), words)

  const talked = new Rig({ humans: humans(A, B) }).escalate().in({ type: 'stream-closed' })
  talked.ask('after-stream')
  talked.run(90_000)
  t.equal(talked.machine.state, 'bridged', 'no news past the ringing time is good news')
  t.same(talked.ask('after-stream'), [{ verb: 'hangup' }])
  t.match(talked.take().at(-1), settled('answered'))
})

t.test('without a Redirect the Dial document ends in words', async (t) => {
  const rig = new Rig({ redirectUrl: null, callerId: null }).escalate().in({ type: 'stream-closed' })
  t.same(rig.ask('voice'), [{ verb: 'dial', numbers: [A], timeoutS: 20 }, ...words])
})

t.test('an ended call is not dialled', async (t) => {
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

t.test('a caller who hangs up while it rings settles no-answer [11]', async (t) => {
  const rig = new Rig().escalate().in({ type: 'stream-closed' })
  rig.ask('after-stream')
  rig.run(5000).carrier('completed')
  t.match(rig.take().at(-1), settled('no-answer'))
})

t.test('supervision keeps the stream and uses the API [12]', async (t) => {
  const rig = new Rig({ strategies: ['supervision'], humans: humans(A, B) }).escalate()
  t.match(rig.take(), [hold, { type: 'command', command: { type: 'supervise', number: A, requestId: 'esc-1' } }])
  rig.in({ type: 'rest-result', requestId: 'esc-1', ok: true, detail: '' })
  t.same(rig.ask('voice'), [], 'the stream goes on')
  rig.run(3000).in({ type: 'human', event: 'busy' })
  t.match(rig.take(), [{ type: 'command', command: { type: 'supervise', number: B } }], 'held already')
  rig.in({ type: 'human', event: 'joined' })
  t.match(rig.take(), [
    { type: 'step', step: { type: 'bridged', strategy: 'supervision' } },
    settled('answered', 'supervision'),
  ])
  rig.in({ type: 'human', event: 'left' })
  t.match(
    rig.take(),
    [{ type: 'command', command: { type: 'hangup' } }],
    'the caller is not left alone on a silent line',
  )
})

t.test('each failed strategy is followed by the next [15]', async (t) => {
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

t.test('a strategy that needs the stream is skipped after closing', async (t) => {
  const rig = new Rig({ strategies: ['after-stream-dial', 'supervision', 'callback'] })
    .escalate()
    .in({ type: 'stream-closed' })
  rig.take()
  rig.run(3100)
  t.match(rig.take(), [{ type: 'command', command: { type: 'hangup' } }, settled('failed')])
})

t.test('strategies that were not configured are skipped', async (t) => {
  const rig = new Rig({
    strategies: ['conference', 'supervision', 'after-stream-dial'],
    restAvailable: false,
  }).escalate()
  t.match(rig.take(), [closeStream])
  const none = new Rig({ strategies: ['after-stream-dial'], humans: humans() }).escalate()
  t.match(none.take(), [{ type: 'step', step: { type: 'failed', outcome: 'failed' } }, settled('failed', null)])
})

t.test('a call answered into a room is joined there', async (t) => {
  const rig = new Rig({ strategies: ['conference'], inConference: true }).escalate()
  t.match(rig.take(), [hold, { type: 'command', command: { type: 'create-conference-call', number: A } }])
  rig.in({ type: 'rest-result', requestId: 'esc-1', ok: true, detail: '' }, { type: 'human', event: 'joined' })
  t.match(rig.take(), [
    { type: 'step', step: { type: 'bridged', strategy: 'conference' } },
    settled('answered', 'conference'),
  ])
})

const offer = {
  ask: { verb: 'say', text: 'Press 1 for a call back.' },
  confirmed: { verb: 'say', text: 'We will call.' },
  waitS: 6,
} as const
const question = [{ verb: 'get-digits', numDigits: 1, timeoutS: 6, nested: [failedSay, offer.ask] }, { verb: 'hangup' }]

t.test('an unreached caller is offered a call back while streaming', async (t) => {
  const refused = (): Rig => {
    const rig = new Rig({ strategies: ['supervision', 'callback'], offer }).escalate()
    rig.in({ type: 'rest-result', requestId: 'esc-1', ok: false, detail: 'no' })
    return rig
  }
  const yes = refused()
  t.match(yes.take().slice(2), [
    { type: 'step', step: { type: 'offer', outcome: 'failed', closed: false, detail: /API refused: no/ } },
  ])
  t.equal(yes.machine.state, 'offering')
  t.ok(yes.machine.busy)
  yes.run(9000).in({ type: 'callback', accepted: true })
  t.same(
    yes.attempts().map(({ strategy, outcome, ms }) => [strategy, outcome, ms]),
    [['callback', 'answered', 9000]],
  )
  t.match(yes.take(), [settled('answered', 'callback')])
  t.notOk(yes.machine.busy)

  const no = refused()
  no.in({ type: 'callback', accepted: false })
  t.match(no.take().at(-1), settled('failed', 'callback'), 'how it came out is what it was before the question')

  const silent = refused().run(121_000)
  t.match(silent.take().at(-1), settled('failed', 'callback'))
  const gone = refused().in({ type: 'stream-closed' })
  t.match(gone.take().at(-1), settled('failed', 'callback'), 'and a caller who hangs up is not hung up')
})

t.test('words heard on the stream are not repeated later', async (t) => {
  const rig = new Rig({ strategies: ['supervision', 'callback'], offer }).escalate()
  rig.in({ type: 'rest-result', requestId: 'esc-1', ok: false, detail: 'no' }, { type: 'callback', accepted: false })
  rig.run(60_000).in({ type: 'stream-closed' })
  for (const asker of ['after-stream', 'voice'] as const) t.same(rig.ask(asker), [], asker)
})

t.test('after the stream the carrier asks for the call back [7]', async (t) => {
  const failed = (): Rig => {
    const rig = new Rig({ strategies: ['after-stream-dial', 'callback'], offer })
      .escalate()
      .in({ type: 'stream-closed' })
    rig.ask('after-stream')
    rig.run(5000).carrier('busy')
    rig.take()
    return rig
  }
  const yes = failed()
  t.same(yes.ask('after-stream'), question)
  t.ok(yes.machine.busy, 'the call is not forgotten while the caller thinks')
  t.same(yes.ask('voice'), question, 'a request that is repeated')
  yes.run(4000)
  t.same(yes.ask('voice'), [], 'a later edge of the leg asks nothing')
  t.same(yes.ask('voice', '1'), [offer.confirmed, { verb: 'hangup' }])
  t.same(yes.ask('voice', '1'), [offer.confirmed, { verb: 'hangup' }], 'the key again')
  t.same(yes.take(), [{ type: 'callback', asked: 'key' }], 'noted once')
  t.notOk(yes.machine.busy)

  for (const digits of ['2', '']) {
    const no = failed()
    no.ask('after-stream')
    no.run(4000)
    t.same(no.ask('voice', digits), [{ verb: 'hangup' }])
    t.same(no.take(), [])
  }
  const silent = failed()
  silent.ask('after-stream')
  silent.run(100_000)
  t.notOk(silent.machine.busy)
})

t.test('a caller left in silence gets a call back unasked [3]', async (t) => {
  for (const restAvailable of [true, false]) {
    const rig = new Rig({ strategies: ['after-stream-dial', 'callback'], offer, restAvailable })
      .escalate()
      .in({ type: 'stream-closed' })
    rig.take()
    rig.run(3100)
    const command = restAvailable ? [{ type: 'command', command: { type: 'hangup' } }] : []
    t.match(rig.take(), [{ type: 'callback', asked: 'nobody-reached' }, ...command, settled('failed')])
    rig.run(60_000)
    t.same(rig.take(), [])
  }
})

t.test('a stream stays open if the carrier holds the leg [4]', async (t) => {
  const rig = new Rig({
    strategies: ['after-stream-dial', 'callback'],
    offer,
    restAvailable: false,
    afterStream: 'holds',
  }).escalate()
  t.match(rig.take(), [{ type: 'step', step: { type: 'offer' } }])
  const keyed = new Rig({ strategies: ['after-stream-dial', 'supervision'], afterStream: 'holds' }).escalate()
  t.match(keyed.take(), [hold, { type: 'command', command: { type: 'supervise' } }], 'with a key there is a better way')
  // A stream that is already closed cannot be made worse.
  const lost = new Rig({ strategies: ['supervision', 'after-stream-dial'], afterStream: 'holds' })
    .escalate()
    .in({ type: 'stream-closed' })
  t.same(lost.ask('voice'), dial(A))
})

t.test('the caller is warned if the silence may not end [5]', async (t) => {
  const step = (overrides: Partial<EscalationOptions>) => new Rig(overrides).escalate().take()
  t.match(step({ restAvailable: false }), [{ step: { type: 'close-stream', mayBeSilent: true } }])
  t.match(step({ restAvailable: false, afterStream: 'continues' }), [
    { step: { type: 'close-stream', mayBeSilent: false } },
  ])
  t.match(step({ restAvailable: true }), [{ step: { type: 'close-stream', mayBeSilent: false } }])
})

const office = (...days: ('mon' | 'tue' | 'wed' | 'thu' | 'fri')[]) => ({
  timeZone: 'Africa/Nairobi',
  week: Object.fromEntries(days.map((day) => [day, ['08:00-17:00']])),
  holidays: ['12-25'],
})
/** Calendar time at the start of the rig. */
const at = (iso: string) => ({ wallOffsetMs: Date.parse(iso) - 1000 })

t.test('outside opening hours the caller is offered a call back [6]', async (t) => {
  const hours = office('mon', 'tue', 'wed', 'thu', 'fri')
  const open = new Rig({ hours, ...at('2026-11-20T05:00:00Z') }).escalate()
  t.match(open.take(), [closeStream], 'Friday, 08:00 in Nairobi')
  for (const closed of [
    '2026-11-20T04:59:00Z',
    '2026-11-20T14:00:00Z',
    '2026-11-21T08:00:00Z',
    '2026-12-25T08:00:00Z',
  ]) {
    const rig = new Rig({ hours, ...at(closed) }).escalate()
    t.match(
      rig.take(),
      [{ type: 'step', step: { type: 'failed', closed: true, detail: /this hour/ } }, settled('failed', null)],
      closed,
    )
    const asked = new Rig({
      hours,
      strategies: ['supervision', 'after-stream-dial', 'callback'],
      offer,
      ...at(closed),
    }).escalate()
    t.match(asked.take(), [{ type: 'step', step: { type: 'offer', closed: true } }], 'straight to the call back')
  }
})

t.test('only numbers open at this hour are rung, in order', async (t) => {
  const list = [
    { number: A, hours: office('mon') },
    { number: B, hours: office('fri') },
    { number: '+254700000003', hours: null },
  ]
  const rig = new Rig({ strategies: ['supervision'], humans: list, ...at('2026-11-20T08:00:00Z') }).escalate()
  t.match(rig.take()[1], { command: { number: B } })
  rig.run(4000).in({ type: 'human', event: 'declined' })
  t.same(rig.attempts(), [{ strategy: 'supervision', human: 2, outcome: 'declined', detail: '', ms: 4000 }])
  t.match(rig.take(), [{ command: { number: '+254700000003' } }])
  rig.in({ type: 'human', event: 'left' })
  t.match(rig.attempts(), [{ human: 3, outcome: 'no-answer' }], 'a leg that ends without an answer is one')
})

t.test('attempts to reach a human are reported with durations', async (t) => {
  const rig = new Rig({
    strategies: ['supervision', 'after-stream-dial', 'callback'],
    humans: humans(A, B),
    offer,
  }).escalate()
  rig.run(2000).in({ type: 'human', event: 'busy' })
  rig.run(30_100)
  rig.in({ type: 'stream-closed' })
  rig.ask('after-stream')
  rig.run(3000).carrier('busy')
  rig.ask('after-stream')
  rig.run(6000).carrier('answered')
  t.same(
    rig.attempts().map(({ strategy, human, outcome, ms }) => [strategy, human, outcome, ms]),
    [
      ['supervision', 1, 'busy', 2000],
      ['supervision', 2, 'no-answer', 25_000],
      ['after-stream-dial', 1, 'busy', 8100],
      ['after-stream-dial', 2, 'answered', 6000],
    ],
  )
  t.match(rig.take().at(-1), settled('answered'))
})

t.test('a stream lost during supervision falls back to the Dial [13]', async (t) => {
  const rig = new Rig({ strategies: ['supervision', 'after-stream-dial'] }).escalate()
  rig.take()
  rig.in({ type: 'stream-closed' })
  t.same(rig.take(), [])
  t.same(rig.ask('voice'), dial(A))
})

t.test("the next node dials for a lost node's caller [16]", async (t) => {
  const announced = new Rig({ humans: humans(A, B) }).escalate().lose()
  t.same(announced.ask('after-stream'), dial(A), 'the stream was still to be closed')

  const ringing = new Rig({ humans: humans(A, B) }).escalate().in({ type: 'stream-closed' })
  ringing.ask('after-stream')
  ringing.run(8000).lose()
  t.equal(ringing.machine.state, 'dialing')
  ringing.carrier('no-answer')
  t.match(ringing.attempts(), [{ human: 1, outcome: 'no-answer', ms: 8000 }], 'the time between does not count')
  t.same(ringing.ask('after-stream'), dial(B))
  ringing.lose().run(25_000)
  t.equal(ringing.machine.state, 'bridged', 'no news past the ringing time')

  const supervised = new Rig({ strategies: ['supervision', 'after-stream-dial'] }).escalate().lose()
  t.same(supervised.ask('after-stream'), dial(A), 'a human cannot join a stream that is gone')
})

t.test('the next node repeats an unheard farewell and a hang-up', async (t) => {
  const rig = new Rig().escalate().in({ type: 'stream-closed' })
  rig.ask('after-stream')
  rig.carrier('busy').lose()
  t.same(rig.ask('after-stream'), words)

  const hangingUp = new Rig().escalate().in({ type: 'stream-closed' }).run(3000)
  t.match(hangingUp.take().at(-1), { type: 'settled' })
  hangingUp.lose().run(1000)
  t.match(hangingUp.take(), [{ type: 'command', command: { type: 'hangup' } }])
})

t.test('an escalation fails if its session never closes the stream', async (t) => {
  const rig = new Rig().escalate()
  rig.take()
  rig.run(30_100)
  t.match(rig.take(), [{ type: 'step', step: { type: 'failed' } }, settled('failed')])
})

t.test('a repeated escalation request repeats the step', async (t) => {
  const rig = new Rig({ strategies: ['supervision'] }).escalate()
  rig.take()
  rig.escalate()
  t.match(rig.take(), [hold])
  rig.in({ type: 'rest-result', requestId: 'esc-1', ok: false, detail: 'no' })
  rig.take()
  rig.escalate()
  t.match(rig.take(), [hold, { type: 'command', command: { type: 'supervise', requestId: 'esc-2' } }])
})

t.test('without an API a caller left in silence is counted [14]', async (t) => {
  const rig = new Rig({ restAvailable: false }).escalate().in({ type: 'stream-closed' }).run(3100)
  t.equal(rig.machine.callsLeft, 1)
  t.same(rig.ask('voice'), words)
})

t.test('an escalation settles once for any input', async () => {
  const step = fc.oneof(
    fc.record({
      do: fc.constant('carrier' as const),
      state: fc.constantFrom(
        'ringing' as const,
        'answered' as const,
        'stream-stopped' as const,
        'dial-completed' as const,
        'busy' as const,
        'no-answer' as const,
        'failed' as const,
        'completed' as const,
        'unknown' as const,
      ),
    }),
    fc.record({
      do: fc.constant('ask' as const),
      asker: fc.constantFrom('after-stream' as const, 'voice' as const, 'stream-status' as const, 'events' as const),
    }),
    fc.record({ do: fc.constant('closed' as const) }),
    fc.record({ do: fc.constant('rest' as const), n: fc.integer({ min: 1, max: 6 }), ok: fc.boolean() }),
    fc.record({
      do: fc.constant('human' as const),
      event: fc.constantFrom('joined' as const, 'busy' as const, 'declined' as const, 'left' as const),
    }),
    fc.record({ do: fc.constant('callback' as const), accepted: fc.boolean() }),
    fc.record({ do: fc.constant('run' as const), ms: fc.integer({ min: 0, max: 30_000 }) }),
    fc.record({ do: fc.constant('lose' as const) }),
  )
  const ways = fc.shuffledSubarray(['after-stream-dial', 'supervision', 'conference'] as const)
  const strategies = fc
    .tuple(ways, fc.boolean())
    .map(([order, callsBack]) => [...order, ...(callsBack ? ['callback' as const] : [])])
  const afterStream = fc.constantFrom('continues' as const, 'holds' as const, 'unknown' as const)
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 40 }),
      strategies,
      fc.boolean(),
      afterStream,
      (steps, order, restAvailable, behaviour) => {
        const rig = new Rig({
          strategies: order,
          humans: humans(A, B),
          restAvailable,
          inConference: true,
          afterStream: behaviour,
          offer: order.includes('callback') ? offer : null,
        }).escalate()
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
          } else if (action.do === 'lose') {
            rig.lose()
          } else if (action.do === 'closed') {
            rig.in({ type: 'stream-closed' })
          } else if (action.do === 'rest') {
            rig.in({ type: 'rest-result', requestId: `esc-${action.n}`, ok: action.ok, detail: '' })
          } else if (action.do === 'callback') {
            rig.in({ type: 'callback', accepted: action.accepted })
          } else if (action.do === 'human') {
            rig.in({ type: 'human', event: action.event })
          } else {
            rig.run(action.ms)
          }
        }
        rig.run(600_000)
        // Every request is answered in the end.
        for (let n = 1; n <= 20; n++) rig.in({ type: 'rest-result', requestId: `esc-${n}`, ok: true, detail: '' })
        if (rig.machine.nextWake() !== null || rig.machine.busy) throw new Error('still waiting')
        if (rig.machine.state !== 'bridged' && rig.machine.state !== 'failed')
          throw new Error(`still ${rig.machine.state}`)
        if (rig.log.filter(({ type }) => type === 'settled').length !== 1) throw new Error('not settled once')
      },
    ),
    { numRuns: 500 },
  )
})

t.test('a number with too many callers is skipped [10]', async (t) => {
  const asked: string[] = []
  const busy = new Set([A])
  const mayRing = (number: string): boolean => {
    asked.push(number)
    return !busy.has(number)
  }
  const strategies = ['after-stream-dial', 'callback'] as const
  const rig = new Rig({ strategies, humans: humans(A, B), mayRing }).escalate()
  t.match(rig.take(), [closeStream])
  rig.in({ type: 'stream-closed' })
  t.same(rig.ask('after-stream'), dial(B))
  t.same(asked, [A, B], 'each is asked about once, before the stream is closed')

  busy.add(B)
  const full = new Rig({ strategies, humans: humans(A, B), mayRing }).escalate()
  t.match(
    full.take(),
    [
      {
        type: 'step',
        step: {
          type: 'offer',
          outcome: 'busy',
          detail: 'number 2 of 2: too many calls in this minute, or of a range that is never rung',
        },
      },
    ],
    'the stream stays open',
  )
  full.in({ type: 'callback', accepted: false })
  t.match(full.take(), [settled('busy', 'callback')])

  busy.delete(A)
  const later = new Rig({ strategies, humans: humans(A, B), mayRing }).escalate().in({ type: 'stream-closed' })
  t.same(later.ask('after-stream'), dial(A))
  later.take()
  later.carrier('busy')
  t.match(later.take(), [settled('busy')], 'after the stream the next number is full: the words for it, and the offer')
})
