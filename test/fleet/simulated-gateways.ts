import { createHash } from 'node:crypto'
import { campaignSchema } from '../../src/campaigns/campaign.js'
import type { Row } from '../../src/campaigns/campaign.js'
import { rowSchema } from '../../src/campaigns/campaign.js'
import type { PlacedStanding } from '../../src/campaigns/campaigns.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { parseCallSid } from '../../src/core/ids.js'
import { RESUMES_MAX } from '../../src/core/limits.js'
import type { WebhookAnswer } from '../../src/edge/public/rejections.js'
import type { ProvenWebhook } from '../../src/fleet/proven-webhook.js'
import type { PeerResult } from '../../src/fleet/peers.js'
import type { HttpRequest } from '../../src/http/http-client.js'
import type { Message } from '../../src/messages/message.js'
import { CarrierApiError } from '../../src/sautikit-api/http.js'
import { parseWebhook } from '../../src/sautikit/webhook.js'
import { seededRandom } from '../../src/carrier/random.js'
import type { MediaSink } from '../../src/workers/main/live-call.js'
import { endedCall } from '../support/record.js'
import { GatewayNode, simulatedAgent } from './model/gateway-node.js'
import type { World } from './model/gateway-node.js'
import { ModelRedis } from './model/redis.js'
import { handlersOf, installSeams, oneMemory } from './model/seams.js'
import { VirtualTime } from './model/virtual-time.js'
import { Violation } from './seeds.js'
import type { Tally } from './seeds.js'

/** Faults begin before; then all is repaired, and at the end everything must be accounted for. */
const FAULTS_MS = 35_000
/** Of so many rows' calls, one ends at a node that does not know the order. */
const UNTOLD_EVERY = 3
const HEAL_MS = 50_000
const SETTLED_MS = 120_000
/** How long a caller is kept: nobody is silent, or hung up on, sooner. */
const KEPT_MS = 15_000
/** The balancer gives a node this long, and a new caller's less; it asks so many in turn. */
const BALANCER_MS = 2000
const BALANCER_TRIES = 3
const BALANCER_NEW_MS = 500
const BALANCER_NEW_TRIES = 9
/** How long the carrier takes to see that a machine is gone, or a process. */
const STREAM_TIMEOUT_MS = 5000
const WORDS_MS = 3000
/** The order of a call's messages. */
const RANKS = ['call.started', 'tool.waiting.done', 'call.ended', 'call.analysed'] as const
const ROWS = 3
const CAMPAIGN = 'renewals'

interface Call {
  readonly sid: string
  streamAt: GatewayNode | null
  /** Counts its streams. */
  stream: number
  ended: string | null
  /** Since when its caller hears neither the agent nor words; null: they do. */
  silentMs: number | null
  /** Streams that ended with their node, or because that stood still. */
  losses: number
  /** Redis had its state when its stream was last lost, and has not lost it since. */
  kept: boolean
}

interface Told {
  readonly message: Message
  readonly acceptedMs: number
  readonly by: GatewayNode
  /** When it first came to the receiver, and how often. */
  deliveredMs: number | null
  deliveries: number
}

interface Charge {
  readonly callSid: string
  readonly waitId: string
  taken: boolean
  heard: boolean
}

/**
 * Two or three gateways with their real code (claims, routing, recovery, live calls with their waits and kept states, the
 * outbox, owed analyses, campaigns, the do-not-call list), over the real client of Redis and one model of it, a carrier with
 * callers, and a receiver of messages. One seed decides everything.
 */
export class SimulatedGateways {
  readonly #time: VirtualTime
  readonly #redis: ModelRedis
  readonly #tally: Tally
  readonly #trace: string[] | null
  readonly #nodes: GatewayNode[] = []
  readonly #hostsDown = new Set<string>()
  readonly #calls: Call[] = []
  readonly #told = new Map<string, Told>()
  /** By call: the node that has its record. */
  readonly #records = new Map<string, string>()
  readonly #charges = new Map<string, Charge>()
  /** By label of the try. */
  readonly #rung = new Map<string, { readonly to: string; readonly callSid: string }>()
  /** Numbers whose call ended while no node was there to learn of it, or at one that died before it could write it down. */
  readonly #unknown = new Set<string>()
  /** Nodes that have learnt of the end of a row's call, by its number. */
  readonly #learnt = new Map<string, GatewayNode>()
  /** Records of rows' calls that are over, by call, with their node; null: no node has it. */
  readonly #rowRecords = new Map<string, { readonly node: GatewayNode | null; readonly record: CallRecord }>()
  readonly #doNotCall = new Map<string, number>()
  readonly #world: World
  readonly #answerFaults: number
  readonly #size: number
  readonly #rolling: boolean
  /** Redis came back without what it had been given since. */
  #lostSinceMs = Infinity
  #lostUntilMs = -Infinity
  #hasCampaign = false
  #failure: Error | null = null
  #runs = 0

  constructor(seed: number, tally: Tally, trace: string[] | null) {
    const random = seededRandom(seed)
    this.#time = new VirtualTime(random)
    this.#tally = tally
    this.#trace = trace
    this.#answerFaults = this.#chance(0.5) ? 0.002 + random() * 0.03 : 0
    this.#size = this.#between(2, 3)
    this.#rolling = this.#chance(0.15)
    const log = (line: () => string): void => this.#log(line)
    this.#redis = new ModelRedis(this.#time, {
      cluster: seed % 20 === 0,
      fault: () => {
        if (this.#time.nowMs > HEAL_MS || this.#time.nowMs < 3000 || !this.#chance(this.#answerFaults)) return null
        const fault = this.#chance(0.6) ? 'answer lost' : 'answered late'
        this.#tally.add(fault)
        return fault
      },
      log,
    })
    this.#world = {
      time: this.#time,
      redis: this.#redis,
      log,
      charged: (node, callSid, key) => this.#charged(node, callSid, key),
      heardOutcome: (node, callSid, callId) => this.#heardOutcome(node, callSid, callId),
      accepted: (by, message) => this.#accepted(by, message),
      rings: (node, label, to) => this.#rings(node, label, to),
      standing: (callSid) => this.#standing(callSid),
      undecided: new Map(),
      kept: new Map(),
      ended: (node, record) => this.#log(() => `${node.id} ends ${record.callSid}: ${record.endReason}`),
      recorded: (node, { callSid, endReason }) => this.#recorded(node, callSid, endReason),
      carrier: {
        getCall: (sid) =>
          this.#rest(() => ({
            status: this.#find(sid)?.ended === null ? 'in-progress' : 'completed',
            answeredAt: null,
          })),
        hangup: (sid) =>
          this.#rest(() => {
            const call = this.#find(sid)
            if (call !== undefined) this.#hungUp(call, 'by REST')
          }),
      },
    }
  }

  /** @throws Violation */
  async run(): Promise<void> {
    const definition = await simulatedAgent()
    const restore = [
      oneMemory(),
      this.#redis.install(),
      installSeams(this.#time, {
        listens: (listener) => {
          const node = this.#time.current as GatewayNode
          listeners.set(node, listener)
          return node.url
        },
        ask: (url, incarnation, name, body, answerMs) => this.#ask(url, incarnation, name, body, answerMs),
        send: (request) => this.#receive(request),
      }),
    ]
    const starts = (name: string): void => {
      const node = new GatewayNode(this.#world, name, this.#runs++)
      this.#nodes.push(node)
      this.#log(() => `${node.id} starts`)
      node.onDeath = () => this.#dies(node, false)
      this.#time.after(0, node, () => {
        this.#time.hold(() => node.connects || !node.alive)
        node.start(definition).catch((thrown: unknown) => this.#fault(thrown))
      })
    }
    this.#starts = starts
    for (let i = 0; i < this.#size; i++) this.#time.at(i * 100, null, () => starts(`n${i}`))
    this.#time.at(2000, null, () => this.#campaign())
    const calls = this.#between(2, 4)
    for (let i = 0; i < calls; i++)
      this.#time.at(3000 + this.#time.random() * 15_000, null, () => this.#rings1(`HD_simulated${i}`))
    if (this.#rolling) for (let i = 0; i < 5; i++) this.#time.at(10_000 + i * 7500, null, () => this.#roll())
    else
      for (let i = this.#between(1, 3); i > 0; i--)
        this.#time.at(6000 + this.#time.random() * (FAULTS_MS - 6000), null, () => this.#somethingFails())
    this.#time.at(HEAL_MS, null, () => this.#heal())
    try {
      await this.#time.run(SETTLED_MS, () => this.#failure)
      this.#account()
    } finally {
      for (const one of restore.reverse()) one()
    }
  }

  #starts: (name: string) => void = () => undefined

  #chance(share: number): boolean {
    return this.#time.random() < share
  }

  #between(low: number, high: number): number {
    return low + Math.floor(this.#time.random() * (high - low + 1))
  }

  #pick<T>(of: readonly T[]): T | null {
    return of[Math.floor(this.#time.random() * of.length)] ?? null
  }

  #log(line: () => string): void {
    this.#trace?.push(`${(this.#time.nowMs / 1000).toFixed(3).padStart(8)} ${line()}`)
  }

  #fail(what: string): void {
    this.#log(() => `VIOLATION: ${what}`)
    this.#failure ??= new Violation(what)
  }

  #fault(thrown: unknown): void {
    this.#failure ??= thrown instanceof Error ? thrown : new Error(String(thrown))
  }

  get #up(): GatewayNode[] {
    return this.#nodes.filter((node) => node.alive && node.ready)
  }

  #find(sid: string): Call | undefined {
    return this.#calls.find((call) => call.sid === sid)
  }

  // --- between nodes ----------------------------------------------------------------------------------------

  #delayMs(): number {
    return 1 + this.#time.random() * 8
  }

  #ask(url: string, incarnation: string, name: string | null, body: unknown, answerMs: number): Promise<PeerResult> {
    const from = this.#time.current as GatewayNode
    return new Promise((resolve) => {
      let over = false
      const answer = (result: PeerResult): void => {
        if (over) return
        over = true
        resolve(result)
      }
      this.#time.after(answerMs, from, () => answer({ result: 'silent', reason: 'timeout' }))
      if (!from.sends() || this.#hostsDown.has(url)) return
      const text = JSON.stringify(body)
      this.#time.after(this.#delayMs(), null, () => {
        const to = this.#nodes.find((node) => node.alive && node.url === url)
        const back = (result: PeerResult): void => {
          this.#time.after(this.#delayMs(), from, () => answer(JSON.parse(JSON.stringify(result)) as PeerResult))
        }
        const run = to?.fleet?.node.incarnation
        const handlers = to === undefined ? undefined : handlersOf.get(listeners.get(to) ?? {})
        if (to === undefined || run === undefined || handlers === undefined)
          return back({ result: 'refused', reason: 'connection-refused', answeredBy: null })
        if (run !== incarnation) return back({ result: 'refused', reason: 'another-incarnation', answeredBy: run })
        this.#time.after(0, to, () => {
          const asker = { node: from.name, incarnation: from.fleet?.node.incarnation ?? '' }
          to.fleet?.node.heard(asker.node, asker.incarnation)
          if (name === null) return back({ result: 'answered', answer: null })
          const handler = handlers.get(name)
          if (handler === undefined) return back({ result: 'failed', reason: 'fault' })
          Promise.resolve(handler(JSON.parse(text), asker)).then(
            (result) => {
              if (to.sends()) back({ result: 'answered', answer: result ?? null })
            },
            () => back({ result: 'failed', reason: 'fault' }),
          )
        })
      })
    })
  }

  // --- messages ---------------------------------------------------------------------------------------------

  #accepted(by: GatewayNode, message: Message): void {
    if (this.#told.has(message.id)) return
    this.#log(() => `${by.id}: ${message.id} is accepted`)
    this.#told.set(message.id, {
      message,
      acceptedMs: this.#time.nowMs,
      by,
      deliveredMs: null,
      deliveries: 0,
      ...this.#early.get(message.id),
    })
  }

  #recorded(node: GatewayNode, callSid: string, endReason: string): void {
    this.#log(() => `${node.id} has the record of ${callSid}: ${endReason}`)
    const before = this.#records.get(callSid)
    this.#records.set(callSid, node.id)
    if (before !== undefined && this.#lostUntilMs < 0)
      this.#fail(`${callSid} has two records, of ${before} and of ${node.id}`)
  }

  /** Deliveries of messages whose sender has not said yet that it has them. */
  readonly #early = new Map<string, Pick<Told, 'deliveredMs' | 'deliveries'>>()

  #receive({ headers }: HttpRequest): Promise<{ readonly statusCode: number }> {
    const from = this.#time.current as GatewayNode
    return new Promise((resolve, reject) => {
      if (!from.sends()) return
      const id = headers['webhook-id'] ?? ''
      this.#time.after(this.#delayMs(), null, () => {
        const busy = this.#time.nowMs < HEAL_MS && this.#chance(0.03)
        if (!busy) this.#delivered(id, from)
        const isLost = !busy && this.#time.nowMs < HEAL_MS && this.#chance(0.02)
        this.#time.after(this.#delayMs(), from, () => {
          if (isLost) reject(Object.assign(new Error('reset'), { code: 'ECONNRESET' }))
          else resolve({ statusCode: busy ? 503 : 200 })
        })
      })
    })
  }

  #delivered(id: string, from: GatewayNode): void {
    this.#log(() => `${from.id}: ${id} is delivered`)
    const told = this.#told.get(id) ?? this.#early.get(id)
    if (told === undefined) return void this.#early.set(id, { deliveredMs: this.#time.nowMs, deliveries: 1 })
    told.deliveries++
    if (told.deliveredMs !== null) return
    told.deliveredMs = this.#time.nowMs
    const { message } = this.#told.get(id) ?? {}
    if (message === undefined) return
    for (const other of this.#told.values())
      if (
        other.message.callSid === message.callSid &&
        other.deliveredMs === null &&
        rankOf(other.message) < rankOf(message) &&
        other.by === (this.#told.get(id) as Told).by &&
        !this.#mayBeLost(other)
      )
        this.#fail(`${message.id} is delivered before ${other.message.id}`)
  }

  #mayBeLost({ acceptedMs }: Pick<Told, 'acceptedMs'>): boolean {
    return acceptedMs >= this.#lostSinceMs && acceptedMs <= this.#lostUntilMs
  }

  // --- campaigns --------------------------------------------------------------------------------------------

  #campaign(): void {
    const node = this.#pick(this.#up)
    const { campaigns } = node ?? {}
    if (node === null || campaigns == null) return
    const campaign = campaignSchema.parse({
      ...{ name: CAMPAIGN, agent: 'order-status', window: '00:00-23:59', timeZone: 'Africa/Nairobi', tries: 1 },
      ...{ version: 1, id: CAMPAIGN, state: 'running', why: null, rows: ROWS, perMinute: 6000, errorPercent: 100 },
      createdAt: new Date(this.#time.wallClock()).toISOString(),
    })
    const rows = Array.from({ length: ROWS }, (_, i) =>
      rowSchema.parse({
        ...{
          id: `row${i}`,
          campaign: CAMPAIGN,
          agent: 'order-status',
          to: `+25471234567${i}`,
          from: null,
          variables: {},
        },
        ...{ externalId: null, timeZone: null, tries: [], result: null },
        dueMs: this.#time.wallClock() + this.#time.random() * FAULTS_MS,
      }),
    )
    this.#time.after(0, node, () => {
      const added = node.queue
        ?.add(CAMPAIGN, rows)
        .then(() => campaigns.keep(campaign))
        .then(() => {
          this.#hasCampaign = true
        })
      added?.catch(() => this.#log(() => 'the campaign is refused'))
    })
    this.#time.after(this.#time.random() * FAULTS_MS, null, () => this.#wantsNoCalls(rows[0] as Row))
  }

  #wantsNoCalls({ to }: Row): void {
    const node = this.#pick(this.#up)
    if (node === null) return
    this.#time.after(0, node, () => {
      const added = node.doNotCall?.add(to, 'caller', this.#time.wallClock()).then(() => {
        this.#log(() => `${node.id}: ${to} is on the do-not-call list`)
        this.#doNotCall.set(to, this.#time.nowMs)
      })
      added?.catch(() => this.#log(() => 'the do-not-call list is not reached'))
    })
  }

  #rings(node: GatewayNode, label: string, to: string): Promise<{ readonly callSid: string }> {
    return new Promise((resolve, reject) => {
      if (!node.sends()) return
      this.#time.after(this.#delayMs(), null, () => {
        const known = this.#rung.get(label)
        const call = known ?? { to, callSid: `HD_row${this.#rung.size}_00000` }
        if (known === undefined) this.#ring(node, label, call)
        const lost = this.#time.nowMs < HEAL_MS && this.#chance(0.05)
        this.#time.after(this.#delayMs(), node, () => {
          if (lost) reject(new CarrierApiError('no answer', { network: true }))
          else resolve(call)
        })
      })
    })
  }

  #ring(node: GatewayNode, label: string, call: { readonly to: string; readonly callSid: string }): void {
    const { to, callSid } = call
    this.#tally.add('row rung')
    this.#log(() => `${node.id} rings ${to}: ${label}`)
    if ([...this.#rung.values()].some((other) => other.to === to)) this.#fail(`${to} is rung twice`)
    this.#rung.set(label, call)
    const wanted = this.#doNotCall.get(to)
    if (wanted !== undefined && this.#time.nowMs > wanted + 1000 && wanted < this.#lostSinceMs)
      this.#fail(`${to} is rung, ${Math.round(this.#time.nowMs - wanted)} ms after it was put on the do-not-call list`)
    this.#time.after(this.#between(2000, 9000), null, () => {
      const owner = node.alive ? node : this.#pick(this.#up)
      const timeline = [{ name: 'stream-opened', atMs: 20, detail: '' }]
      const record = endedCall({ callSid, durationMs: 5000, timeline, outbound: null })
      this.#rowRecords.set(callSid, { node: owner, record })
      if (owner === null) return void this.#unknown.add(to)
      this.#learnt.set(to, owner)
      // A node that did not know the order tells its row nothing: the row has its outcome from the record.
      if (this.#rowRecords.size % UNTOLD_EVERY === 0) return this.#tally.add('row untold')
      const outbound = { clientRequestId: label, result: 'person' } as NonNullable<typeof record.outbound>
      this.#time.after(0, owner, () => owner.campaigns?.ended({ ...record, outbound }))
    })
  }

  #standing(callSid: string): PlacedStanding {
    const over = this.#rowRecords.get(callSid)
    if (over === undefined) return 'lives'
    return over.node?.alive === true ? [over.record] : []
  }

  // --- tools that wait --------------------------------------------------------------------------------------

  #charged(node: GatewayNode, callSid: string, key: string): void {
    this.#tally.add('charged')
    this.#log(() => `${node.id} charges for ${callSid}`)
    if (this.#charges.has(key)) return this.#fail(`${callSid} is charged twice`)
    const waitId = createHash('sha256').update(key).digest('base64url').slice(0, 22)
    const charge: Charge = { callSid, waitId, taken: false, heard: false }
    this.#charges.set(key, charge)
    this.#time.after(2000 + this.#time.random() * 20_000, null, () => this.#outcome(charge, 40))
  }

  /** The API posts until it learns that its outcome was taken. */
  #outcome(charge: Charge, tries: number): void {
    const { callSid, waitId } = charge
    const news = { status: 'succeeded' as const, result: { paid: true } }
    const webhook: ProvenWebhook = {
      ...{
        route: 'continue',
        callSid: parseCallSid(callSid),
        clientRequestId: null,
        heldSinceMs: null,
        agent: null,
        host: 'gateway',
      },
      content: { waitId, news } as never,
    }
    this.#post(webhook, 'an outcome', (answer) => {
      const status = answer === null ? 0 : answer.status
      if (status === 200) {
        charge.taken = true
        return this.#log(() => `the outcome of ${callSid} is taken`)
      }
      if (status >= 400 && status < 500) return this.#log(() => `the outcome of ${callSid} is answered ${status}`)
      if (tries > 1) this.#time.after(2000, null, () => this.#outcome(charge, tries - 1))
    })
  }

  #heardOutcome(node: GatewayNode, callSid: string, how: string): void {
    this.#log(() => `${node.id}: the outcome of ${callSid} is given: ${how}`)
    for (const charge of this.#charges.values()) if (charge.callSid === callSid) charge.heard = true
  }

  // --- the carrier ------------------------------------------------------------------------------------------

  #rest<T>(answer: () => T): Promise<T> {
    const from = this.#time.current as GatewayNode
    return new Promise((resolve) => {
      if (!from.sends()) return
      this.#time.after(20, null, () => {
        const result = answer()
        this.#time.after(20, from, () => resolve(result))
      })
    })
  }

  /** Through the balancer: to a node that takes the connection; where its answer is late to another one. */
  #post(
    webhook: ProvenWebhook,
    what: string,
    done: (answer: { status: number; body: string } | null) => void,
    tries = BALANCER_TRIES,
    waitMs = BALANCER_MS,
  ): void {
    // It knows of a machine that is gone, and of a node that drains.
    const open = this.#up.filter((node) => !node.stops && !this.#hostsDown.has(node.url))
    const node = this.#pick(open.length > 0 ? open : this.#up)
    let over = false
    const again = (): void => {
      if (over) return
      over = true
      if (tries > 1) this.#post(webhook, what, done, tries - 1, waitMs)
      else done(null)
    }
    this.#time.after(waitMs, null, again)
    if (node === null) return
    this.#time.after(this.#delayMs(), node, () => {
      this.#log(() => `${node.id} is asked: ${what}`)
      void node.answer(structuredClone(webhook)).then((answer) => {
        if (!node.sends()) return
        this.#time.after(this.#delayMs(), null, () => {
          if (over) return
          over = true
          done(plain(answer))
        })
      })
    })
  }

  #voice(call: Call, state: string): ProvenWebhook {
    const fields = {
      CallSid: call.sid,
      From: '+254700000001',
      To: '+254709000000',
      Direction: 'inbound',
      CallStatus: state,
    }
    const body = Buffer.from(new URLSearchParams(fields).toString())
    const content = parseWebhook('application/x-www-form-urlencoded', body)
    const head = {
      callSid: content.callSid,
      clientRequestId: null,
      heldSinceMs: null,
      agent: 'order-status',
      host: 'gateway',
    }
    return { ...head, route: 'voice', content }
  }

  #rings1(sid: string): void {
    const call: Call = { sid, streamAt: null, stream: 0, ended: null, silentMs: null, losses: 0, kept: false }
    this.#calls.push(call)
    const rings = (answer: { readonly body: string } | null): void => this.#document(call, answer)
    this.#post(this.#voice(call, 'ringing'), `${sid} rings`, rings, BALANCER_NEW_TRIES, BALANCER_NEW_MS)
    if (!this.#rolling && this.#chance(0.5))
      this.#time.after(8000 + this.#time.random() * 40_000, null, () => this.#leaves(call))
    if (this.#chance(0.6)) this.#time.after(4000 + this.#time.random() * 15_000, null, () => this.#asks(call))
  }

  /** The caller wants what takes longer. */
  #asks(call: Call): void {
    const node = call.streamAt
    if (node?.alive === true) this.#time.after(0, node, () => node.sessions.get(call.sid)?.charge())
  }

  #leaves(call: Call): void {
    if (call.ended !== null) return
    const at = call.streamAt
    this.#end(call, 'the caller left')
    if (at?.alive === true) this.#time.after(20, at, () => at.calls?.find(call.sid)?.detach(1000))
    this.#post(this.#voice(call, 'completed'), `${call.sid} is completed`, () => undefined)
  }

  #end(call: Call, why: string): void {
    this.#log(() => `${call.sid} is over: ${why}`)
    call.ended = why
    call.streamAt = null
    call.silentMs = null
  }

  /** Handles an answer as the carrier does. */
  #document(call: Call, answer: { readonly body: string } | null): void {
    if (call.ended !== null || call.streamAt !== null) return
    if (answer === null) {
      if (call.stream === 0) return this.#end(call, 'no answer to its first webhook')
      return this.#hungUp(call, 'no node answered')
    }
    const stream = /<Stream[^>]* url="wss?:\/\/(n\d)/.exec(answer.body)?.[1]
    if (stream !== undefined) return void this.#time.after(30, null, () => this.#open(call, stream))
    if (call.stream === 0 && !/<Say|<Play/.test(answer.body)) this.#fail(`${call.sid} rings, and hears nothing`)
    const redirect = /<Redirect[^>]*>([^<]+)</.exec(answer.body)?.[1]
    if (redirect === undefined)
      return this.#hungUp(call, /<(Say|Play)/.test(answer.body) ? 'words, and no way back' : 'a document')
    this.#tally.add('kept with words')
    this.#log(() => `${call.sid} hears words`)
    call.silentMs = null
    this.#time.after(WORDS_MS, null, () => {
      if (call.ended !== null || call.streamAt !== null) return
      this.#silent(call)
      this.#asksOn(call, Number(/since=(\d+)/.exec(redirect)?.[1] ?? NaN))
    })
  }

  #open(call: Call, name: string): void {
    const node = this.#nodes.find((each) => each.alive && each.name === name)
    if (call.ended !== null || call.streamAt !== null) return
    call.streamAt = node ?? null
    const stream = ++call.stream
    if (node === undefined) return void this.#time.after(200, null, () => this.#streamLost(call, stream, false))
    this.#time.after(this.#delayMs(), node, () => {
      const live = node.calls?.find(call.sid)
      const closes = (): void => {
        this.#time.after(20, null, () => this.#streamLost(call, stream, false))
      }
      const sink: MediaSink = { sendAudio: () => true, sendText: () => true, close: closes }
      try {
        if (live === undefined) throw new Error('no such call')
        live.attach(sink)
      } catch {
        return closes()
      }
      call.silentMs = null
      this.#log(() => `${call.sid} streams at ${node.id}`)
      void node.fleet?.node.streamOpened(call.sid, `${call.sid}-${stream}`)
    })
  }

  #silent(call: Call): void {
    const sinceMs = this.#time.nowMs
    call.silentMs = sinceMs
    this.#time.after(KEPT_MS, null, () => {
      if (call.silentMs !== sinceMs || call.ended !== null || !this.#goesOn(call, sinceMs)) return
      this.#fail(`the caller of ${call.sid} has heard nothing for ${KEPT_MS / 1000} s`)
    })
  }

  /** @param lost  with its node, or because that stands still */
  #streamLost(call: Call, stream: number, lost: boolean): void {
    if (call.ended !== null || call.stream !== stream || call.silentMs !== null) return
    const at = call.streamAt
    if (at === null) return
    call.streamAt = null
    if (lost) call.losses++
    call.kept = this.#isKept(call)
    this.#log(() => `${call.sid}: its stream at ${at.id} is over`)
    this.#silent(call)
    this.#lostAtMs.set(call, this.#time.nowMs)
    if (lost && at.alive)
      this.#time.after(0, at, () => at.calls?.find(call.sid)?.detach(1006, { reason: 'socket-lost', detail: 'reset' }))
    this.#time.after(100 + this.#time.random() * 300, null, () => this.#asksOn(call))
  }

  readonly #lostAtMs = new Map<Call, number>()

  /** @param sinceMs  of the address to which its carrier was led; NaN: it was not */
  #asksOn(call: Call, sinceMs = NaN): void {
    const heldSinceMs = Number.isNaN(sinceMs) ? null : sinceMs
    const webhook: ProvenWebhook = {
      ...{ route: 'after-stream', callSid: parseCallSid(call.sid), clientRequestId: null, heldSinceMs, content: null },
      ...{ agent: 'order-status', host: 'gateway' },
    }
    if (call.ended === null && call.streamAt === null)
      this.#post(webhook, `how ${call.sid} goes on`, (answer) => this.#document(call, answer))
  }

  /** The gateway has let a caller go who had not asked for it. */
  #hungUp(call: Call, how: string): void {
    if (call.ended !== null) return
    const lostAtMs = this.#lostAtMs.get(call)
    const goesOn = call.stream > 0 && lostAtMs !== undefined && this.#goesOn(call, lostAtMs)
    this.#end(call, how)
    if (goesOn && this.#time.nowMs - lostAtMs < KEPT_MS)
      this.#fail(
        `the caller of ${call.sid} is hung up on (${how}) ${Math.round(this.#time.nowMs - lostAtMs)} ms after the stream was lost`,
      )
  }

  #isKept({ sid }: Call): boolean {
    const [phase, state] = this.#redis.look('HMGET', `mk:call:${sid}`, 'phase', 'state') as (string | null)[]
    return phase !== null && phase !== 'over' && state !== null
  }

  /** Whether another node could have gone on with a call: Redis has its state, and a node that is well takes it. */
  #goesOn(call: Call, sinceMs: number): boolean {
    const well = this.#nodes.some(
      (node) =>
        node.ready &&
        node.alive &&
        !node.stops &&
        node.readySinceMs < sinceMs - 6000 &&
        node.stillUntilMs < sinceMs - 2000,
    )
    return call.kept && well && call.losses <= RESUMES_MAX
  }

  // --- what fails -------------------------------------------------------------------------------------------

  #dies(node: GatewayNode, host: boolean): void {
    if (!node.alive) return
    this.#tally.add(host ? 'host died' : 'died')
    this.#log(() => `${node.id} ${host ? 'and its host die' : 'dies'}`)
    node.alive = false
    for (const { to, result } of this.#rows())
      if (result === null && this.#learnt.get(to) === node) this.#unknown.add(to)
    if (host) this.#hostsDown.add(node.url)
    this.#closes(node, host ? STREAM_TIMEOUT_MS : 20)
  }

  #closes(node: GatewayNode, afterMs: number): void {
    for (const call of this.#calls) {
      const { stream } = call
      if (call.streamAt === node) this.#time.after(afterMs, null, () => this.#streamLost(call, stream, true))
    }
  }

  #restart(name: string): void {
    this.#hostsDown.delete(`http://${name}:9470`)
    if (!this.#nodes.some((node) => node.alive && node.name === name)) this.#starts(name)
  }

  /** The node with a call is stopped in order, and starts again. */
  #roll(): void {
    const live = this.#calls.find((call) => call.streamAt?.alive === true && call.ended === null)
    const node = live?.streamAt ?? this.#pick(this.#up)
    if (node === null || node === undefined || node.stops || this.#up.filter(({ stops }) => !stops).length < 2) return
    this.#tally.add('stopped in order')
    this.#log(() => `${node.id} is stopped`)
    this.#time.after(0, node, () => {
      void node.stop().then(
        () => {
          this.#log(() => `${node.id} has stopped`)
          this.#closes(node, 20)
          this.#time.after(500, null, () => this.#restart(node.name))
        },
        (thrown: unknown) => this.#fault(thrown),
      )
    })
  }

  #somethingFails(): void {
    const node = this.#pick(this.#up)
    if (node === null) return
    const kind = this.#between(0, 9)
    const backMs = this.#pick([1000, 4000, 15_000]) as number
    if (kind <= 1) {
      const sends = this.#between(1, 25)
      this.#log(() => `${node.id} dies within ${sends} sends`)
      node.diesAfterSends = sends
      this.#time.after(backMs + 2000, null, () => this.#restart(node.name))
    } else if (kind === 2) {
      this.#dies(node, true)
      this.#time.after(backMs + 10_000, null, () => this.#restart(node.name))
    } else if (kind === 3) {
      const ms = this.#pick([800, 3000, 10_000]) as number
      this.#tally.add('node stands still')
      this.#log(() => `${node.id} stands still for ${ms} ms`)
      node.stillUntilMs = this.#time.nowMs + ms
    } else if (kind === 4) this.#roll()
    else if (kind === 5) {
      const ms = this.#pick([400, 1500, 2500, 3500]) as number
      this.#tally.add('redis stands still')
      this.#log(() => `redis stands still for ${ms} ms`)
      this.#redis.standStill(ms)
    } else if (kind === 6) this.#failover(this.#pick([1500, 3300, 6000]) as number)
    else if (kind === 7) {
      // One machine, or one zone.
      this.#tally.add('redis and a node died together')
      this.#failover(this.#pick([1500, 3300, 6000]) as number)
      this.#dies(node, this.#chance(0.5))
      this.#time.after(backMs + 10_000, null, () => this.#restart(node.name))
    } else if (kind === 8) {
      this.#tally.add('redis lost its data')
      this.#log(() => 'redis comes back empty')
      this.#redis.die('refuses', null)
      this.#lost(0)
      this.#time.after(800, null, () => this.#back())
    } else {
      this.#tally.add('slots moved')
      this.#log(() => 'slots move, and connections are cut')
      this.#redis.moveSlots(this.#between(1, 16_000))
      if (this.#chance(0.5)) this.#redis.cutAll()
    }
  }

  /** The master is gone; its replica, which may lack the last writes, takes its place. */
  #failover(afterMs: number): void {
    this.#tally.add('failover')
    const lagMs = this.#chance(0.3) ? this.#between(1, 400) : 0
    const replica = this.#redis.replica()
    this.#log(() => `redis: its replica is ${lagMs} ms behind`)
    this.#time.after(lagMs, null, () => {
      this.#log(() => `redis is gone; its replica takes over after ${afterMs} ms`)
      this.#redis.die(this.#chance(0.5) ? 'silent' : 'refuses', lagMs === 0 ? this.#redis.replica() : replica)
      if (lagMs > 0) this.#lost(this.#time.nowMs - lagMs - 50)
      this.#time.after(afterMs, null, () => this.#back())
    })
  }

  #lost(sinceMs: number): void {
    this.#lostSinceMs = Math.min(this.#lostSinceMs, sinceMs)
    this.#lostUntilMs = this.#time.nowMs
    // Nobody writes the state of a call again that no node has.
    for (const call of this.#calls)
      call.kept &&= this.#isKept(call) || this.#nodes.some(({ alive, calls }) => alive && calls?.find(call.sid) != null)
  }

  #back(): void {
    this.#log(() => 'redis is back')
    this.#redis.comeBack()
  }

  #heal(): void {
    this.#log(() => 'all is repaired')
    for (const node of this.#nodes) node.diesAfterSends = Infinity
    for (let i = 0; i < this.#size; i++) this.#restart(`n${i}`)
  }

  // --- the account ------------------------------------------------------------------------------------------

  #account(): void {
    for (const call of this.#calls) {
      const holders = this.#up.filter((node) => node.calls?.find(call.sid)?.state === 'streaming')
      if (holders.length > 1) throw new Violation(`${call.sid} is at ${holders.map(({ id }) => id).join(' and ')}`)
      if (call.ended !== null && call.stream > 0 && this.#lostUntilMs < 0 && !this.#records.has(call.sid))
        throw new Violation(`${call.sid} is over, and has no record`)
      if (call.ended === null && call.kept && holders.length === 0)
        throw new Violation(`${call.sid} is lost: nobody has it`)
    }
    for (const told of this.#told.values())
      // Also what a Redis that was emptied or a failover has lost: it was on its node's disk.
      if (told.deliveredMs === null)
        throw new Violation(
          `${told.message.id}, accepted by ${told.by.id} at ${(told.acceptedMs / 1000).toFixed(1)} s, was never delivered`,
        )
    const owed = this.#redis.look('XLEN', 'mk:{analyses}')
    if (owed !== 0) throw new Violation(`${JSON.stringify(owed)} analyses are owed for ever`)
    for (const charge of this.#charges.values())
      if (charge.taken && !charge.heard) throw new Violation(`the outcome of ${charge.callSid} was taken, and is lost`)
    if (this.#lostUntilMs > 0) return
    // Its author learnt that it was not kept.
    if (!this.#hasCampaign) return
    for (const { id, to, result } of this.#rows())
      if (result === null && !this.#unknown.has(to)) throw new Violation(`${id} is never called`)
  }

  #rows(): readonly Row[] {
    const rows = this.#redis.look('HVALS', `{rows:${CAMPAIGN}}:rows`) as string[]
    return rows.map((text) => JSON.parse(text) as Row)
  }
}

const listeners = new WeakMap<GatewayNode, object>()

function rankOf({ type }: Message): number {
  return RANKS.findIndex((each) => each === type)
}

function plain(answer: WebhookAnswer): { readonly status: number; readonly body: string } {
  const { status, body } = 'reply' in answer ? answer.reply : answer
  return { status, body: typeof body === 'string' ? body : '' }
}
