import type { AgentDefinition } from '../agents/file/definition.js'
import { contextZone } from '../agents/tools/call-context.js'
import type { CallBackRefusal } from '../call/events.js'
import type { CallRecord } from '../call/documents/record.js'
import type { KeptState } from '../call/documents/kept-call.js'
import { unrefTimer } from '../core/clock.js'
import { GatewayError } from '../core/errors.js'
import { WEEKDAYS } from '../escalation/hunt-group.js'
import type { BusyLines, LineStanding } from '../fleet/busy-lines.js'
import type { CallStore } from '../fleet/store/call-store.js'
import { CarrierApiError } from '../sautikit-api/http.js'
import type { RingWay } from '../sautikit/ringing.js'
import type { Log } from '../telemetry/log.js'
import type { OutboundOrder } from '../workers/main/outbound-calls.js'
import type { CallBackOrder } from '../workers/main/main-thread-context.js'
import { CALL_BACKS_COUNTED_MS, passedLimit } from './call-back-limits.js'
import type { CallBackLimits, PassedLimit } from './call-back-limits.js'
import { callBackRow, limitRefusal, promiserOf, promisingCall, refusalOf } from './call-back-row.js'
import { CALL_BACKS, lostCampaign, policyOf } from './campaign.js'
import type { Campaign, Policy, Row, Try, TryResult } from './campaign.js'
import type { DoNotCall } from './do-not-call.js'
import { sumOf, type Next, type RowQueue, type RowTurn } from './row-queue.js'
import { ERRORS_OF, afterTry, tooManyErrors, verdictOf } from './scheduler.js'
import type { WaitReason } from './scheduler.js'

/** How often campaigns that other nodes made or changed are looked for. */
const LOOK_MS = 2000
/** How often each campaign is checked: whether it is over, or has been over for too long. */
const SWEEP_MS = 10 * 60_000
/** How often another node is asked whether a call whose record it makes is over. */
const OUTCOME_LOOK_MS = 2000
/** How often a node tries to keep an outcome for another, OUTCOME_LOOK_MS apart: a minute. */
const PUBLISH_TRIES_MAX = 30
/** After this, nobody will say any more how a call went. Longer than any call. */
const OUTCOME_MS_MAX = 3 * 3_600_000
/** How long after a try the carrier is asked for the same call again: it keeps an order's key for a day. */
const SAME_ORDER_MS_MAX = 3_600_000
const SAME_ORDER_PAUSE_MS = 5000
/** The claim of a try, and what became of it, in the store. */
const CLAIM_MS = 24 * 3_600_000
/** After a refusal that is ours or the carrier's, and temporary. */
const REFUSED_PAUSE_MS = 5000
const WALLET_PAUSE_MS = 60_000
/** Call backs at once: most wait for their time. */
const CALL_BACKS_AT_ONCE = 100

/** How long whoever wants a call back waits for the answer: less than their session (call-back-offer.ts). */
const PROMISE_PATIENCE_MS = 2000
/** How often it is tried to keep a promised call back, and the pause between: half an hour in all. */
const PROMISE_TRIES = 180
const PROMISE_PAUSE_MS = 10_000
/** Promised call backs that are on their way into the queue; one more is lost, and said to be. */
const PROMISES_MAX = 1000

/**
 * Calls that this gateway makes of itself: campaigns, and promised call backs. A row comes from the queue, is decided on by
 * `scheduler.ts`, and is called; its turn ends with its call.
 *
 * No row is called twice. Before a try its label is claimed in the fleet's store, and the row says that it is being
 * called. A process that dies leaves both: whoever gets the row asks how that call went, and asks the carrier for it again
 * only under the same label, by which the carrier knows the order. Where nobody can say, the row is over as `uncertain`.
 */
export class Campaigns {
  readonly #options: CampaignsOptions
  readonly #later: (ms: number, run: () => void) => void
  readonly #known = new Map<string, Campaign>()
  readonly #served = new Set<string>()
  /** By label: who waits for the outcome of a call that this process placed. */
  readonly #outcomes = new Map<string, (outcome: Outcome) => void>()
  /** The newest results of each campaign at this node, oldest first. */
  readonly #newest = new Map<string, TryResult[]>()
  /** Call backs that were promised and are not in the queue yet. At most PROMISES_MAX. */
  #promising = 0
  #sweepAtMs = 0
  #closed = false

  constructor(options: CampaignsOptions) {
    this.#options = options
    this.#later = options.later ?? unrefTimer
  }

  async close(waitMs: number): Promise<void> {
    this.#closed = true
    for (const settle of [...this.#outcomes.values()]) settle(UNKNOWN)
    await this.#options.queue.close(waitMs)
  }

  // --- call backs ---------------------------------------------------------------------------------------------

  /** Why a call back would be refused now; null: it would not. Resolves within PROMISE_PATIENCE_MS. */
  async refusal(state: KeptState, order: CallBackOrder): Promise<CallBackRefusal | null> {
    const row = callBackRow(state, order, this.#options)
    if (row === null || 'why' in row) return row
    const asked = this.#against(row).then(async (against) => {
      if (against !== null) return against
      const standing = await this.#options.queue.promise(row, (others) => this.#passed(row, others) ?? 'asked')
      return typeof standing === 'boolean' || standing === 'asked' ? null : limitRefusal(standing)
    })
    return this.#patiently(asked.catch(() => null))
  }

  /**
   * A caller wants a call back: it is kept, with the conversation as it is now; again, with the newest. Where the store is away
   * it is kept later, within half an hour.
   * @returns why it is refused; null: it is kept. Resolves within PROMISE_PATIENCE_MS
   */
  async promise(state: KeptState, order: CallBackOrder): Promise<CallBackRefusal | null> {
    const { log } = this.#options
    const row = callBackRow(state, order, this.#options)
    if (row === null || 'why' in row) return row
    if (this.#promising >= PROMISES_MAX) {
      log.error({ call_sid: state.kept.callSid }, 'a promised call back could not be kept: too many wait for the store')
      return refusalOf('not-kept', 'The call back could not be noted; nobody will call. Tell the caller so.')
    }
    return this.#patiently(this.#keptInTime(row, order.wantedAt !== undefined))
  }

  async #keptInTime(row: Row, wanted: boolean): Promise<CallBackRefusal | null> {
    const { log } = this.#options
    this.#promising++
    try {
      // Again, it is the same row: an answer that was lost does no harm.
      for (let tries = 1; ; tries++) {
        const kept = await this.#kept(row, wanted)
        if (kept !== null && kept !== 'store-down' && tries > 1)
          log.warn({ why: kept.why }, 'a call back that was promised while its store was away is refused')
        if (kept !== 'store-down') return kept
        if (tries >= PROMISE_TRIES) return null
        await this.#pause(PROMISE_PAUSE_MS)
      }
    } finally {
      this.#promising--
    }
  }

  /** Who waits on the line gets an answer in time. A store that is away is no reason to refuse: it is asked again. */
  #patiently(asked: Promise<CallBackRefusal | null>): Promise<CallBackRefusal | null> {
    return Promise.race([asked, this.#pause(PROMISE_PATIENCE_MS)])
  }

  /** @returns why it is refused; null: it is in the queue */
  async #kept(row: Row, wanted: boolean): Promise<CallBackRefusal | null | 'store-down'> {
    const { queue, log } = this.#options
    try {
      const against = await this.#against(row)
      if (against !== null) return against
      const standing = await queue.promise(row, (others) => this.#passed(row, others))
      if (typeof standing === 'string') return limitRefusal(standing)
      if (standing) return null
      await queue.change(CALL_BACKS, (before) =>
        before.id === row.id && before.tries.length === 0 && before.result === null
          ? { ...row, dueMs: wanted ? row.dueMs : before.dueMs }
          : null,
      )
      return null
    } catch (thrown) {
      log.error({ err: thrown, call_sid: row.id.replace(/^back-/, '') }, 'a promised call back could not be kept')
      return 'store-down'
    }
  }

  #passed(row: Row, others: readonly Row[]): PassedLimit | null {
    const { callBackLimits, wallClock } = this.#options
    return passedLimit(row, others, callBackLimits, wallClock())
  }

  async #against({ to }: Row): Promise<CallBackRefusal | null> {
    if (!(await this.#options.doNotCall.has(to))) return null
    return refusalOf('do-not-call', 'The number is on the list of those who want no calls from us; tell them so.')
  }

  // --- the turn of a row --------------------------------------------------------------------------------------

  readonly #work = async (row: Row, turn: RowTurn): Promise<Next> => {
    const next = await this.#turn(row, turn)
    if (row.result !== null || next.next !== 'done') return next
    // Receivers get nothing of a person who was erased meanwhile.
    if (await turn.stands()) this.#options.told({ type: 'campaign.row', row: next.row })
    // The caller's words are not kept longer than needed.
    return { next: 'done', row: { ...next.row, recovers: null } }
  }

  async #turn(row: Row, turn: RowTurn): Promise<Next> {
    const { wallClock, doNotCall, walletMinor, budgetSpent, agent, slots, counted } = this.#options
    if (row.result !== null) return { next: 'done', row }
    const begun = row.tries.at(-1)
    const policy = this.#policyOf(row)
    if (begun?.result === null) return this.#follow(policy, row, begun, turn)
    const from = row.from ?? agent(row.agent)?.outbound.from
    const lost = this.#isAgentLost(row)
    if (policy === null)
      return lost ? this.#withoutAgent(row) : { next: 'done', row: { ...row, result: 'not-allowed' } }
    const facts = {
      doNotCall: await doNotCall.has(row.to),
      line: 'free' as const,
      walletMinor: walletMinor(),
      budgetSpent: from !== undefined && budgetSpent(from),
      ...slots(),
    }
    const unhindered = verdictOf(policy, row, facts, wallClock())
    const verdict =
      unhindered.do !== 'call' || lost
        ? unhindered
        : verdictOf(policy, row, { ...facts, line: await this.#lineHeld(row) }, wallClock())
    switch (verdict.do) {
      case 'end':
        return { next: 'done', row: { ...row, result: verdict.result } }
      case 'wait':
        counted(row.agent, 'held', verdict.why)
        return verdict.all
          ? { next: 'hold', row, untilMs: verdict.untilMs }
          : { next: 'later', row, atMs: verdict.untilMs }
      case 'call':
        return lost ? this.#withoutAgent(row) : this.#call(policy, { ...row, agentLostMs: null }, turn)
    }
  }

  /** Holds the line of a row that may be called. It is busy too while the call in which a call back was promised goes on. */
  async #lineHeld(row: Row): Promise<LineStanding> {
    const { claims, lines } = this.#options
    const { kept } = (row.recovers ?? {}) as Partial<KeptState> // from `promise`, as JSON
    if (kept !== undefined) {
      const standing = await claims.read(kept.callSid)
      if (standing !== null && standing.phase !== 'over') return 'busy'
    }
    return lines.hold(row.to, holderOf(row))
  }

  /** Its agent cannot be used here and now: the file has a mistake, is not on this node yet, or is gone. */
  #isAgentLost({ agent: name, from, recovers }: Row): boolean {
    const { agent } = this.#options
    const calls = agent(name, from ?? undefined)
    return calls === undefined || agent(promiserOf(name, recovers)) === undefined
  }

  #withoutAgent(row: Row): Next {
    const { wallClock, counted } = this.#options
    const agentLostMs = row.agentLostMs ?? wallClock()
    if (wallClock() - agentLostMs > AGENT_LOST_MS_MAX) return { next: 'done', row: { ...row, result: 'not-allowed' } }
    counted(row.agent, 'held', 'agent')
    return { next: 'later', row: { ...row, agentLostMs }, atMs: wallClock() + AGENT_LOOK_MS }
  }

  async #call(policy: Policy, row: Row, turn: RowTurn): Promise<Next> {
    const { claims, wallClock, humanFirst } = this.#options
    const human =
      row.campaign !== CALL_BACKS || row.withoutHuman ? null : humanFirst(promiserOf(row.agent, row.recovers), row.from)
    const label = `row-${row.campaign}-${row.id}-${row.tries.length + 1}${human === null ? '' : 'h'}`
    const standing = await claims.once(keyOf(label), CALLING, CLAIM_MS)
    const isBegun = standing !== null && standing !== FREE
    if (standing === FREE) await claims.settle(keyOf(label), CALLING, CLAIM_MS)
    const begun: Try = { label, atMs: wallClock(), callSid: null, result: null, durationMs: 0, human: human !== null }
    const calling = { ...row, tries: [...row.tries, begun] }
    const isMine = await turn.save(calling)
    // Another run had begun it, and did not come to say so.
    if (isBegun) return this.#follow(policy, calling, begun, turn)
    const waiting = this.#outcomeOf(label)
    const refused = isMine ? await this.#place(policy, calling, label, human) : { pauseMs: 0 }
    if (refused === null) return this.#settle(policy, calling, begun, await waiting)
    this.#outcomes.delete(label)
    if (refused === 'unknown') return this.#follow(policy, calling, begun, turn)
    if (refused === 'failed') return this.#settle(policy, calling, begun, { ...UNKNOWN, result: 'failed' })
    if (refused === 'not-allowed' && human !== null) return this.#settle(policy, calling, begun, NOT_TAKEN)
    if (refused === 'not-allowed') return { next: 'done', row: { ...row, result: 'not-allowed' } }
    await this.#options.lines.released(row.to, holderOf(row))
    // It did not ring: the same try may be begun again.
    await claims.settle(keyOf(label), FREE, CLAIM_MS)
    await turn.save(row)
    return { next: 'hold', row, untilMs: wallClock() + refused.pauseMs }
  }

  /** @returns null: the carrier has taken it. `unknown`: it may ring */
  async #place(
    policy: Policy | null,
    row: Row,
    label: string,
    human: string | null,
  ): Promise<null | 'unknown' | 'failed' | 'not-allowed' | { readonly pauseMs: number }> {
    const { place, walletEmpty, log } = this.#options
    const { agent, to, from, variables, externalId, recovers } = row
    try {
      const way = row.campaign === CALL_BACKS ? 'call-back' : 'campaign'
      const order = {
        agent: human === null ? agent : promiserOf(agent, recovers),
        variables,
        clientRequestId: label,
        leaveMessage: policy?.leaveMessage ?? true,
        ...(from === null ? {} : { from }),
        ...(externalId === null ? {} : { externalId }),
        ...(human === null ? { to, ...this.#earlier(recovers) } : { to: human, joins: to }),
      }
      await place(order, human === null ? way : 'human')
      return null
    } catch (thrown) {
      if (thrown instanceof CarrierApiError) {
        const { status, retryAfterS } = thrown
        if (status === 402) {
          walletEmpty()
          return { pauseMs: WALLET_PAUSE_MS }
        }
        if (status === 429) return { pauseMs: Math.max(REFUSED_PAUSE_MS, (retryAfterS ?? 0) * 1000) }
        if (status >= 400 && status < 500) {
          log.warn({ err: thrown, campaign: row.campaign }, 'the carrier refused a call of a campaign')
          return 'failed'
        }
        return 'unknown'
      }
      if (!(thrown instanceof GatewayError)) throw thrown
      if (thrown.retryable || thrown.code === 'DRAINING') return { pauseMs: REFUSED_PAUSE_MS }
      log.warn({ err: thrown, campaign: row.campaign }, 'a row of a campaign may not be called')
      return 'not-allowed'
    }
  }

  /** The conversation to go on with; none where another version of this program kept it in another shape. */
  #earlier(recovers: unknown): Pick<OutboundOrder, 'recovers'> {
    if (recovers === null) return {}
    try {
      return { recovers: promisingCall(recovers as KeptState, this.#options.wallClock()) }
    } catch (thrown) {
      this.#options.log.warn({ err: thrown }, 'a call back begins anew: the earlier call cannot be read')
      return {}
    }
  }

  /** A try that was begun, by this run or by one that died: nobody knows yet whether it rang. */
  async #follow(policy: Policy | null, row: Row, begun: Try, turn: RowTurn): Promise<Next> {
    const { wallClock } = this.#options
    const { label, atMs } = begun
    const waiting = this.#outcomeOf(label)
    let ordered = false
    for (;;) {
      const ageMs = wallClock() - atMs
      if (ageMs > OUTCOME_MS_MAX) return this.#settle(policy, row, begun, UNKNOWN)
      const outcome = await Promise.race([waiting, this.#pause(ordered ? OUTCOME_LOOK_MS : SAME_ORDER_PAUSE_MS)])
      if (outcome !== null) return this.#settle(policy, row, begun, outcome)
      if (ordered) continue
      // Under the same label the carrier rings nobody twice. After too long it may have forgotten the label.
      if (wallClock() - atMs > SAME_ORDER_MS_MAX) return this.#settle(policy, row, begun, UNKNOWN)
      if (!(await turn.stands())) {
        this.#outcomes.delete(label)
        return { next: 'later', row, atMs: row.dueMs }
      }
      if (this.#isAgentLost(row)) continue
      // The earlier run may never have ordered it. A line that is busy may be with this very call, whose outcome comes.
      if ((await this.#lineHeld(row)) !== 'free') continue
      const human = begun.human ? this.#options.humanFirst(promiserOf(row.agent, row.recovers), row.from) : null
      if (begun.human && human === null) return this.#settle(policy, row, begun, UNKNOWN)
      const again = await this.#place(policy, row, label, human)
      if (again === 'failed' || again === 'not-allowed') return this.#settle(policy, row, begun, UNKNOWN)
      ordered = again === null
    }
  }

  async #settle(policy: Policy | null, row: Row, begun: Try, outcome: Outcome): Promise<Next> {
    this.#outcomes.delete(begun.label)
    await this.#options.lines.released(row.to, holderOf(row))
    // The process ends: the next one, or another node, asks how it went.
    if (this.#closed && outcome === UNKNOWN) return { next: 'later', row, atMs: row.dueMs }
    const { wallClock, random, counted } = this.#options
    const { joined = null, ...ended } = outcome
    // A human who did not take it has not tried the caller: the agent does, at once.
    if (begun.human && joined === null && ended.result !== 'uncertain')
      return { next: 'later', row: { ...row, tries: row.tries.slice(0, -1), withoutHuman: true }, atMs: wallClock() }
    const result = begun.human ? resultOfJoining(joined) : ended.result
    const tried = {
      ...row,
      withoutHuman: false,
      tries: [...row.tries.slice(0, -1), { ...begun, ...ended, result }],
    }
    counted(row.agent, result)
    await this.#watchErrors(row.campaign, result)
    const after = policy === null ? { ...tried, result } : afterTry(policy, tried, result, wallClock(), random())
    return after.result === null ? { next: 'later', row: after, atMs: after.dueMs } : { next: 'done', row: after }
  }

  /** Too many failures: something is wrong, and more calls would not mend it. */
  async #watchErrors(id: string, result: TryResult): Promise<void> {
    const campaign = this.#known.get(id)
    const newest = [...(this.#newest.get(id) ?? []), result].slice(-ERRORS_OF)
    this.#newest.set(id, newest)
    if (campaign?.state !== 'running' || !tooManyErrors(newest, campaign.errorPercent)) return
    this.#newest.delete(id)
    const paused: Campaign = {
      ...campaign,
      state: 'paused',
      why: `${campaign.errorPercent} % of the newest calls failed`,
    }
    this.#options.log.error({ campaign: id }, 'a campaign pauses itself: too many of its calls failed')
    await this.keep(paused)
    this.#options.told({ type: 'campaign.paused', campaign: paused })
  }

  // --- outcomes -----------------------------------------------------------------------------------------------

  /** The record of a call that has ended here. */
  ended(record: CallRecord): void {
    const { outbound, callSid, durationMs, escalation } = record
    const label = outbound?.clientRequestId
    if (outbound === null || label?.startsWith('row-') !== true) return
    const joined =
      escalation === null ? null : escalation.outcome === null ? 'unknown' : escalation.outcome === 'answered'
    const outcome: Outcome = { result: outbound.result, callSid, durationMs, joined }
    const waits = this.#outcomes.get(label)
    if (waits !== undefined) waits(outcome)
    // Where another node waits, it reads this.
    else this.#publish(label, outcome)
  }

  /** A store that is away, as while a replica takes its master's place, is asked again: nobody else knows the outcome. */
  #publish(label: string, outcome: Outcome, tries = 1): void {
    const { claims, log } = this.#options
    const value = JSON.stringify(outcome)
    claims
      .once(keyOf(label), value, CLAIM_MS)
      .then(() => claims.settle(keyOf(label), value, CLAIM_MS))
      .catch((thrown: unknown) => {
        if (tries < PUBLISH_TRIES_MAX && !this.#closed)
          return this.#later(OUTCOME_LOOK_MS, () => this.#publish(label, outcome, tries + 1))
        log.warn({ err: thrown }, 'the outcome of a call could not be kept for another node')
      })
  }

  /** Resolves when a record is made, here or at another node. */
  #outcomeOf(label: string): Promise<Outcome> {
    return new Promise((resolve) => {
      this.#outcomes.set(label, resolve)
      const look = async (): Promise<void> => {
        if (this.#outcomes.get(label) !== resolve || this.#closed) return
        const standing = await this.#options.claims.once(keyOf(label), CALLING, CLAIM_MS).catch(() => null)
        if (standing?.startsWith('{') === true) resolve(JSON.parse(standing) as Outcome)
        else this.#later(OUTCOME_LOOK_MS, () => void look())
      }
      this.#later(OUTCOME_LOOK_MS, () => void look())
    })
  }

  #pause(ms: number): Promise<null> {
    return new Promise((resolve) => this.#later(ms, () => resolve(null)))
  }

  // --- campaigns ----------------------------------------------------------------------------------------------

  #policyOf(row: Row): Policy | null {
    if (row.campaign !== CALL_BACKS) {
      const campaign = this.#known.get(row.campaign)
      return campaign === undefined ? null : policyOf(campaign)
    }
    const definition = this.#options.agent(promiserOf(row.agent, row.recovers))
    if (definition?.callbacks == null) return null
    const { callbacks } = definition
    const { hours, tries, retryBusyMinutes, retryNoAnswerMinutes } = callbacks
    return {
      state: 'running',
      hours: hours ?? {
        timeZone: row.timeZone ?? contextZone(definition),
        week: Object.fromEntries(WEEKDAYS.map((day) => [day, ['08:00-20:00']])),
        holidays: [],
      },
      startAtMs: 0,
      endAtMs: null,
      tries,
      retryMinutes: {
        busy: retryBusyMinutes,
        'no-answer': retryNoAnswerMinutes,
        silence: retryNoAnswerMinutes,
        machine: retryNoAnswerMinutes,
      },
      walletBelowMinor: 0,
      keepFreePercent: 0,
      leaveMessage: true,
    }
  }

  /** Writes a campaign, and notifies this node at once. */
  async keep(campaign: Campaign): Promise<void> {
    await this.#options.queue.keep(campaign)
    await this.#serve(campaign)
    await this.#options.queue.wake(campaign.id)
  }

  /** Goes on with what earlier runs and other nodes have left, and looks for it again and again. */
  async look(): Promise<void> {
    if (this.#closed) return
    const { queue, doNotCall, perMinute, wallClock } = this.#options
    try {
      await doNotCall.look()
      if (!this.#served.has(CALL_BACKS)) {
        await queue.serve(CALL_BACKS, { atOnce: CALL_BACKS_AT_ONCE, perMinute }, this.#work)
        this.#served.add(CALL_BACKS)
      }
      const before = [...this.#known.keys()]
      const campaigns = await queue.campaigns()
      for (const campaign of campaigns) await this.#serve(campaign)
      const ids = new Set(campaigns.map(({ id }) => id))
      for (const id of before) if (!ids.has(id)) await this.#leave(id)
      if (wallClock() >= this.#sweepAtMs) {
        this.#sweepAtMs = wallClock() + SWEEP_MS
        await this.#sweep(campaigns)
      }
    } catch (thrown) {
      this.#options.log.warn({ err: thrown }, 'campaigns could not be read')
    }
    this.#later(LOOK_MS, () => void this.look())
  }

  /** Forgets a campaign, here at once; other nodes notice. */
  async remove(id: string): Promise<void> {
    await this.#leave(id)
    await this.#options.queue.remove(id)
  }

  async #leave(id: string): Promise<void> {
    this.#known.delete(id)
    this.#served.delete(id)
    this.#newest.delete(id)
    await this.#options.queue.unserve(id)
  }

  /** Notices what is over, and forgets what has been over for long: its rows name people. */
  async #sweep(campaigns: readonly Campaign[]): Promise<void> {
    const { queue, wallClock, keepMs, log } = this.#options
    const beforeMs = wallClock() - keepMs
    // They count for a week, however soon all else is deleted; without the caller's words.
    await queue.prune(CALL_BACKS, Math.min(beforeMs, wallClock() - CALL_BACKS_COUNTED_MS))
    if (keepMs < CALL_BACKS_COUNTED_MS)
      await queue.change(CALL_BACKS, (row) =>
        row.result !== null && Object.keys(row.variables).length > 0 && (row.tries.at(-1)?.atMs ?? row.dueMs) < beforeMs
          ? { ...row, variables: {} }
          : null,
      )
    for (const campaign of campaigns) {
      const { id, state, endedAt } = campaign
      if (state === 'draft' || state === 'paused') continue
      const { rows, calling, results } = await queue.counts(id)
      if (rows === 0 && campaign.rows > 0 && state === 'running') {
        log.error({ campaign: id, rows: campaign.rows }, 'a campaign has lost all its rows: it is not begun again')
        await this.keep(lostCampaign(campaign))
        continue
      }
      const over = state === 'stopped' ? calling === 0 : sumOf(results) >= rows
      if (!over) continue
      if (endedAt === null) await this.keep({ ...campaign, endedAt: new Date(wallClock()).toISOString() })
      else if (Date.parse(endedAt) < beforeMs) {
        log.info({ campaign: id }, 'a campaign that was over for RECORDS_KEEP_DAYS is deleted')
        await this.remove(id)
      }
    }
  }

  async #serve(campaign: Campaign): Promise<void> {
    this.#known.set(campaign.id, campaign)
    if (campaign.state === 'draft' || this.#served.has(campaign.id)) return
    this.#served.add(campaign.id)
    await this.#options.queue.serve(campaign.id, campaign, this.#work)
  }
}

/** How often is looked whether the agent of a row can be used: its file is mended, or another node takes the row. */
const AGENT_LOOK_MS = 5 * 60_000
/** A row whose agent is away for longer is over. */
const AGENT_LOST_MS_MAX = 24 * 3_600_000

const CALLING = 'calling'
const FREE = 'free'

interface CampaignsOptions {
  readonly queue: RowQueue
  readonly doNotCall: DoNotCall
  readonly place: (order: OutboundOrder, way: RingWay) => Promise<{ readonly callSid: string | null }>
  /** The fleet's: one node begins a try. */
  readonly claims: Pick<CallStore, 'once' | 'settle' | 'read'>
  /** @param from  our number that calls; undefined too where it has not the facts that the agent reads */
  readonly agent: (name: string, from?: string) => AgentDefinition | undefined
  /** The human who is rung before a call back of that agent, from one of our numbers; null: none. */
  readonly humanFirst: (agent: string, from: string | null) => string | null
  readonly lines: Pick<BusyLines, 'hold' | 'released'>
  /** OUTBOUND_PREFIXES. */
  readonly prefixes: readonly string[]
  readonly callBackLimits: CallBackLimits
  readonly slots: () => { readonly capacity: number; readonly free: number }
  /** Null: not known. */
  readonly walletMinor: () => number | null
  /** The carrier refused a call for want of money. */
  readonly walletEmpty: () => void
  /** True if the number that calls has used up its budget of the day. */
  readonly budgetSpent: (number: string) => boolean
  /** OUTBOUND_PER_MINUTE. */
  readonly perMinute: number
  /** How long a campaign and a call back are kept when they are over: RECORDS_KEEP_DAYS. */
  readonly keepMs: number
  /** Calendar time. */
  readonly wallClock: () => number
  /** From 0 to 1. */
  readonly random: () => number
  readonly log: Log
  /** A try is over, or a row waits: for metrics. */
  readonly counted: (agent: string, what: TryResult | 'held', why?: WaitReason) => void
  /** A row is over, or a campaign changed. Does not wait. */
  readonly told: (news: CampaignStatus) => void
  /** For tests; real timers, which keep no process alive, otherwise. */
  readonly later?: (ms: number, run: () => void) => void
}

/** Campaign status for receivers. */
export type CampaignStatus =
  | { readonly type: 'campaign.row'; readonly row: Row }
  | { readonly type: 'campaign.paused'; readonly campaign: Campaign }

interface Outcome {
  readonly result: TryResult
  readonly callSid: string | null
  readonly durationMs: number
  /** True if who answered was put through to somebody else; null, or absent in one of an earlier build: nobody was asked for. */
  readonly joined?: boolean | 'unknown' | null
}

const UNKNOWN: Outcome = { result: 'uncertain', callSid: null, durationMs: 0 }
/** The human could not be rung. */
const NOT_TAKEN: Outcome = { result: 'failed', callSid: null, durationMs: 0 }

/** Outcome for the caller whom a human was to join. */
function resultOfJoining(joined: NonNullable<Outcome['joined']> | null): TryResult {
  if (joined === true) return 'person'
  return joined === false ? 'no-answer' : 'uncertain'
}

/** A row as holder of its number's line. */
function holderOf({ campaign, id }: Row): string {
  return `${campaign} ${id}`
}

function keyOf(label: string): string {
  return `try:${label}`
}
