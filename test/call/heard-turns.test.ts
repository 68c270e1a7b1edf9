import t from 'tap'
import type { BackendEvent } from '../../src/call/backend-events.js'
import { HeardTurns, isSilentTurn, type AgentTurn } from '../../src/call/turns/heard-turns.js'
import { PlayoutLedger } from '../../src/call/turns/playout-ledger.js'
import { msToSamples } from '../../src/core/units.js'

const RATE_HZ = 16_000
const LEAD_MS = 100

/** A call whose playout sends in real time with a lead; `now` is the only clock. */
class Call {
  nowMs = 1000
  readonly ledger = new PlayoutLedger({ sampleRateHz: RATE_HZ })
  readonly told: AgentTurn[] = []
  readonly heard = new HeardTurns(
    this.ledger,
    () => 'model',
    (turn) => this.told.push(turn),
  )
  #queued = 0
  #sent = 0
  #endMs = 0

  queue(itemId: string, ms: number, sound = true): void {
    this.ledger.appended(itemId, msToSamples(ms, RATE_HZ), sound)
    this.#queued += msToSamples(ms, RATE_HZ)
  }

  audio(generation: number, ms: number, sound: boolean): void {
    this.queue(`item-${generation}`, ms, sound)
    this.heard.audio(`item-${generation}`, generation, this.nowMs)
  }

  event(event: BackendEvent, isWanted = true): void {
    if (event.type === 'turn-done') this.ledger.finished(`item-${event.generation}`)
    this.heard.event(event, isWanted, this.nowMs)
  }

  words(generation: number, text: string, isWanted = true): void {
    const of = { role: 'agent', final: true, itemId: `item-${generation}`, generation } as const
    this.event({ type: 'transcript', text, ...of }, isWanted)
  }

  done(generation: number, more: { status?: 'completed' | 'cancelled'; silentMs?: number } = {}): void {
    this.event({ type: 'turn-done', generation, status: 'completed', ...more })
  }

  pass(ms: number): void {
    for (const untilMs = this.nowMs + ms; this.nowMs < untilMs;) {
      this.nowMs += 20
      while (this.#sent < this.#queued && this.#endMs < this.nowMs + LEAD_MS) {
        this.#sent += Math.min(320, this.#queued - this.#sent)
        this.#endMs = Math.max(this.#endMs, this.nowMs) + 20
      }
      const report = { sentSamples: this.#sent, playoutEndMs: this.#endMs, lastSentAtMs: this.nowMs }
      this.ledger.report(report, this.nowMs)
      for (const input of this.ledger.poll(this.nowMs))
        if (input.type === 'item-heard') this.heard.itemHeard(input.itemId, this.nowMs)
    }
  }

  cut(): void {
    this.#sent = this.#queued
    this.#endMs = this.nowMs
    this.ledger.cleared(this.#queued, this.nowMs)
    this.heard.cut(this.nowMs)
  }

  /** Claimed and heard milliseconds of the turns so far, and whether they are silent. */
  get figures(): (readonly [number, number, boolean])[] {
    return this.told.map((turn) => [Math.round(turn.claimedMs), Math.round(turn.heardMs), isSilentTurn(turn)] as const)
  }
}

const TEXT = 'Your order is on its way to Nakuru, and it comes tomorrow.' // 58 characters: 2.3 s at least

t.test('a turn is reported once the caller has heard it', async (t) => {
  const call = new Call()
  call.event({ type: 'turn-start', generation: 1 })
  call.audio(1, 3000, true)
  call.words(1, TEXT)
  call.done(1)
  call.pass(2800)
  t.same(call.told, [])
  call.pass(600)
  t.same(call.figures, [[3000, 3000, false]])
  t.match(call.told, [{ generation: 1, by: 'model', atMs: 1000 }])
  call.words(1, TEXT)
  call.done(1)
  t.equal(call.told.length, 1, 'once')
})

t.test('words without audio are a silent turn', async (t) => {
  const call = new Call()
  call.words(1, TEXT)
  call.done(1)
  t.same(call.figures, [[58 * 40, 0, true]])
  call.done(2)
  t.equal(call.told.length, 1, 'nothing is claimed')
  call.words(2, TEXT)
  t.equal(call.told.length, 2, 'words that come late are')
})

t.test('words count only if the turn has little audio', async (t) => {
  const call = new Call()
  call.audio(1, 180, true)
  call.audio(2, 1500, true)
  for (const generation of [1, 2]) {
    call.words(generation, TEXT)
    call.done(generation)
  }
  call.pass(3000)
  t.same(call.figures, [
    [58 * 40, 180, true],
    [1500, 1500, false],
  ])
})

t.test('silence that was not played counts as claimed', async (t) => {
  const call = new Call()
  call.done(1, { silentMs: 4000 })
  call.done(2, { status: 'cancelled', silentMs: 1200 })
  t.same(call.figures, [
    [4000, 0, true],
    [1200, 0, true],
  ])
})

t.test('a click before silence is a silent turn', async (t) => {
  const call = new Call()
  call.audio(1, 20, true)
  call.audio(1, 2980, false)
  call.done(1)
  call.pass(4000)
  t.same(call.figures, [[3000, 20, true]])
})

t.test('silence after fully heard words is not claimed', async (t) => {
  const call = new Call()
  call.audio(1, 350, true)
  call.audio(1, 1500, false)
  call.words(1, 'Sawa.')
  call.done(1)
  call.pass(3000)
  t.same(call.figures, [[350, 350, false]])
})

t.test('words beside a tool call are not claimed', async (t) => {
  const call = new Call()
  call.words(1, TEXT)
  call.event({ type: 'tool-call', callId: 't1', name: 'lookup_order', args: {}, generation: 1 })
  call.done(1)
  t.same(call.told, [])
})

t.test('late words are counted when they are final', async (t) => {
  const call = new Call()
  call.done(1)
  const words = { type: 'transcript', role: 'agent', itemId: 'item-1', generation: 1 } as const
  call.event({ ...words, text: 'Your order', final: false })
  t.same(call.told, [])
  call.event({ ...words, text: TEXT, final: true })
  t.same(call.figures, [[58 * 40, 0, true]])
})

t.test('a turn that is half silence is not silent', async (t) => {
  const call = new Call()
  for (let i = 0; i < 10; i++) call.audio(1, 150, i % 2 === 0)
  call.done(1)
  call.pass(4000)
  t.same(call.figures, [[1500, 750, false]])
})

t.test('speech cut off by an interruption is not claimed', async (t) => {
  const call = new Call()
  call.audio(1, 8000, true)
  call.words(1, TEXT.repeat(4))
  call.done(1)
  call.pass(2000)
  call.cut()
  const [[claimedMs, heardMs, silent] = []] = call.figures
  t.equal(heardMs, claimedMs)
  t.ok(
    (claimedMs ?? 0) > 1800 && (claimedMs ?? 0) < 2000,
    `${claimedMs} ms: without the lead, which the carrier flushed`,
  )
  t.equal(silent, false)
  call.done(1, { status: 'cancelled' })
  call.words(1, TEXT)
  call.pass(3000)
  t.equal(call.told.length, 1, 'what comes of it later is dead')
})

t.test('an interruption before the first sound claims nothing', async (t) => {
  const call = new Call()
  call.words(1, TEXT)
  call.cut()
  call.audio(2, 1500, true)
  call.done(2)
  call.cut()
  t.same(call.figures, [])
})

t.test('an interrupted silent turn stays silent', async (t) => {
  const call = new Call()
  call.audio(1, 20, true)
  call.audio(1, 8000, false)
  call.pass(2500)
  call.cut()
  t.match(call.figures, [[Number, 20, true]])
})

t.test('a response that the call does not play is unclaimed', async (t) => {
  const call = new Call()
  call.words(1, TEXT)
  call.event({ type: 'turn-done', generation: 1, status: 'completed' }, false)
  t.same(call.told, [])
})

t.test("the gateway's phrases are reported as turns", async (t) => {
  const call = new Call()
  call.heard.announced('gw-1', call.nowMs)
  call.queue('gw-1', 1500)
  call.ledger.finished('gw-1')
  call.pass(2000)
  t.match(call.told, [{ generation: null, by: 'gateway', claimedMs: 1500, heardMs: 1500 }])
  call.heard.announced('gw-2', call.nowMs)
  call.heard.announceFailed('gw-2')
  call.cut()
  t.equal(call.told.length, 1, 'but not one that failed, which the call knows')
})

t.test('the number of unfinished turns is bounded', async (t) => {
  const call = new Call()
  for (let generation = 1; generation <= 100; generation++) call.words(generation, TEXT)
  for (let generation = 1; generation <= 100; generation++) call.done(generation)
  t.ok(call.told.length < 40)
})
