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
import type { Log } from '../telemetry/log.js'
import { answerOf } from '../workers/main/outbound-calls.js'
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

/** Interval at which this node searches for campaigns that were created or changed at other nodes, in milliseconds. */
const LOOK_MS = 2000
/**
 * Interval at which each campaign is checked, in milliseconds. The campaign may be over, or be old enough to delete.
 */
const SWEEP_MS = 10 * 60_000
/** Interval at which this node asks another node about the end of a call, in milliseconds. */
const OUTCOME_LOOK_MS = 2000
/** Maximum number of attempts to store an outcome for another node, OUTCOME_LOOK_MS apart: one minute in total. */
const PUBLISH_TRIES_MAX = 30
/**
 * Time after which an outcome is not expected any more, in milliseconds. It does not apply to a call that is known to
 * be in progress.
 */
const OUTCOME_MS_MAX = 3 * 3_600_000
/**
 * Interval at which a placed call without an outcome is checked, in milliseconds. A node of an earlier version may
 * never report an outcome.
 */
const STANDING_LOOK_MS = 10_000
/**
 * Maximum number of consecutive checks that find an ended call without a record. These checks take one minute. In this
 * time a restarted node reports its calls.
 */
const RECORDLESS_LOOKS_MAX = 6
/**
 * Time after a try in which the same order may be sent to the carrier again, in milliseconds. The carrier remembers the
 * idempotency key of an order for a day.
 */
const SAME_ORDER_MS_MAX = 3_600_000
const SAME_ORDER_PAUSE_MS = 5000
/**
 * Time for which the store keeps the claim and the outcome of a try, in milliseconds. After this time a row whose call
 * seems in progress is over.
 */
const CLAIM_MS = 24 * 3_600_000
/** Pause after a temporary refusal by the gateway or by the carrier, in milliseconds. */
const REFUSED_PAUSE_MS = 5000
const WALLET_PAUSE_MS = 60_000
/** Maximum number of call backs whose turns run simultaneously; most of them wait for their time. */
const CALL_BACKS_AT_ONCE = 100

/**
 * Maximum wait for the answer to a request for a call back, in milliseconds. This maximum is less than the session's
 * wait (call-back-offer.ts).
 */
const PROMISE_PATIENCE_MS = 2000
/** Maximum number of attempts to store a promised call back: half an hour in total. */
const PROMISE_TRIES = 180
/** Pause between two of these attempts, in milliseconds. */
const PROMISE_PAUSE_MS = 10_000
/**
 * Maximum number of promised call backs that are not in the queue yet. Further call backs are refused, and their
 * callers hear the refusal.
 */
const PROMISES_MAX = 1000

/**
 * Places the calls of campaigns and the promised call backs. `scheduler.ts` decides about each row from the queue. The
 * turn of a row ends when its call ends.
 *
 * A row is never called twice. Before a try, its label is claimed in the fleet's store, and the row is marked as being
 * called. If the process dies, the claim and the mark remain. The next process then finds out how the call ended. That
 * process orders the call again only under the same label, because the carrier recognises a repeated label. If the
 * result stays unknown, the row is over as `uncertain`.
 */
export class Campaigns {
  readonly #options: CampaignsOptions
  readonly #later: (ms: number, run: () => void) => void
  readonly #known = new Map<string, Campaign>()
  readonly #served = new Set<string>()
  /** Functions by label. Each receives the outcome of a call that this process placed. */
  readonly #outcomes = new Map<string, (outcome: Outcome) => void>()
  /** Newest results of each campaign at this node, the oldest first. */
  readonly #newest = new Map<string, TryResult[]>()
  /** Number of promised call backs that are not in the queue yet; at most PROMISES_MAX. */
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

  /**
   * Returns the reason why a call back would be refused now; null if it would be stored. Resolves within
   * PROMISE_PATIENCE_MS.
   */
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
   * Stores a call back that a caller wants, with the conversation so far. A repeated request replaces the call back. If
   * the store is unavailable, the call back is stored within half an hour.
   * @returns the refusal; null if the call back is stored. Resolves within PROMISE_PATIENCE_MS
   */
  async promise(state: KeptState, order: CallBackOrder): Promise<CallBackRefusal | null> {
    const { log } = this.#options
    const row = callBackRow(state, order, this.#options)
    if (row === null || 'why' in row) return row
    if (this.#promising >= PROMISES_MAX) {
      log.error(
        { call_sid: state.kept.callSid },
        'a promised call back could not be stored: too many wait for the store',
      )
      return refusalOf('not-kept', 'The call back could not be noted; nobody will call. Tell the caller so.')
    }
    return this.#patiently(this.#keptInTime(row, order.wantedAt !== undefined))
  }

  async #keptInTime(row: Row, wanted: boolean): Promise<CallBackRefusal | null> {
    const { log } = this.#options
    this.#promising++
    try {
      // Each attempt writes the same row, so a lost answer is harmless.
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

  /**
   * The waiting caller gets an answer in time. If the store is unavailable, the request is not refused, because the
   * attempts continue.
   */
  #patiently(asked: Promise<CallBackRefusal | null>): Promise<CallBackRefusal | null> {
    return Promise.race([asked, this.#pause(PROMISE_PATIENCE_MS)])
  }

  /** @returns the refusal; null if the row is in the queue */
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
    // If the person's data was erased in the meantime, receivers must not get this data.
    if (await turn.stands()) this.#options.told({ type: 'campaign.row', row: next.row })
    // The caller's words are not stored longer than needed.
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

  /**
   * Reserves the line of the row's number for this row. While the call that promised a call back is in progress, the
   * line counts as busy.
   */
  async #lineHeld(row: Row): Promise<LineStanding> {
    const { claims, lines } = this.#options
    const { kept } = (row.recovers ?? {}) as Partial<KeptState> // from `promise`, as JSON
    if (kept !== undefined) {
      const standing = await claims.read(kept.callSid)
      if (standing !== null && standing.phase !== 'over') return 'busy'
    }
    return lines.hold(row.to, holderOf(row))
  }

  /**
   * True if this node cannot use the row's agent now. The agent's file has a mistake, is not on this node yet, or was
   * removed.
   */
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
    // An earlier process had already begun this try, but could not mark the row.
    if (isBegun) return this.#follow(policy, calling, begun, turn)
    const waiting = this.#outcomeOf(label)
    const placed = isMine ? await this.#place(policy, calling, label, human) : { pauseMs: 0 }
    if (isOrdered(placed))
      return this.#settle(policy, calling, begun, await this.#outcomeOfPlaced(begun, placed, waiting))
    this.#outcomes.delete(label)
    if (placed === 'unknown') return this.#follow(policy, calling, begun, turn)
    if (placed === 'failed') return this.#settle(policy, calling, begun, { ...UNKNOWN, result: 'failed' })
    if (placed === 'not-allowed' && human !== null) return this.#settle(policy, calling, begun, NOT_TAKEN)
    if (placed === 'not-allowed') return { next: 'done', row: { ...row, result: 'not-allowed' } }
    await this.#options.lines.released(row.to, holderOf(row))
    // The phone did not ring, so this try may begin again.
    await claims.settle(keyOf(label), FREE, CLAIM_MS)
    await turn.save(row)
    return { next: 'hold', row, untilMs: wallClock() + placed.pauseMs }
  }

  /** @returns the order if the carrier has accepted it; `unknown` if the phone may ring */
  async #place(
    policy: Policy | null,
    row: Row,
    label: string,
    human: string | null,
  ): Promise<Ordered | 'unknown' | 'failed' | 'not-allowed' | { readonly pauseMs: number }> {
    const { place, walletEmpty, log } = this.#options
    const { agent, to, from, variables, externalId, recovers } = row
    try {
      const order = {
        agent: human === null ? agent : promiserOf(agent, recovers),
        variables,
        clientRequestId: label,
        leaveMessage: policy?.leaveMessage ?? true,
        ...(from === null ? {} : { from }),
        ...(externalId === null ? {} : { externalId }),
        ...(human === null ? { to, ...this.#earlier(recovers) } : { to: human, joins: to }),
      }
      return await place(order)
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

  /** Returns the conversation to continue; empty if another version of this program stored it in another form. */
  #earlier(recovers: unknown): Pick<OutboundOrder, 'recovers'> {
    if (recovers === null) return {}
    try {
      return { recovers: promisingCall(recovers as KeptState, this.#options.wallClock()) }
    } catch (thrown) {
      this.#options.log.warn({ err: thrown }, 'a call back begins anew: the earlier call cannot be read')
      return {}
    }
  }

  /** Follows a try that this process or a dead process has begun. It is not known yet if the phone rang. */
  async #follow(policy: Policy | null, row: Row, begun: Try, turn: RowTurn): Promise<Next> {
    const { wallClock } = this.#options
    const { label, atMs } = begun
    const waiting = this.#outcomeOf(label)
    for (;;) {
      const outcome = await Promise.race([waiting, this.#pause(SAME_ORDER_PAUSE_MS)])
      if (outcome !== null) return this.#settle(policy, row, begun, outcome)
      const ageMs = wallClock() - atMs
      if (ageMs > OUTCOME_MS_MAX) return this.#settle(policy, row, begun, UNKNOWN)
      if (!(await turn.stands())) {
        this.#outcomes.delete(label)
        return { next: 'later', row, atMs: row.dueMs }
      }
      if (this.#isAgentLost(row)) continue
      // The earlier process may never have ordered the call. If the line is busy, the reason may be this call, so the
      // loop waits without a time limit.
      if ((await this.#lineHeld(row)) !== 'free') continue
      // The carrier does not call twice for one label. After a long time, however, it may have deleted the label.
      if (ageMs > SAME_ORDER_MS_MAX) return this.#settle(policy, row, begun, UNKNOWN)
      const human = begun.human ? this.#options.humanFirst(promiserOf(row.agent, row.recovers), row.from) : null
      if (begun.human && human === null) return this.#settle(policy, row, begun, UNKNOWN)
      const again = await this.#place(policy, row, label, human)
      if (again === 'failed' || again === 'not-allowed') return this.#settle(policy, row, begun, UNKNOWN)
      if (isOrdered(again)) return this.#settle(policy, row, begun, await this.#outcomeOfPlaced(begun, again, waiting))
    }
  }

  /**
   * Returns the outcome of a call that the carrier has accepted. Usually the call's node reports the outcome. If that
   * node died or runs an older version, the outcome is in the call's record.
   */
  async #outcomeOfPlaced({ label, atMs }: Try, { callSid }: Ordered, waiting: Promise<Outcome>): Promise<Outcome> {
    const { standing, wallClock, log } = this.#options
    for (let recordless = 0; ;) {
      const outcome = await Promise.race([waiting, this.#pause(STANDING_LOOK_MS)])
      if (outcome !== null) return outcome
      const stands = callSid === null ? 'unknown' : await standing(callSid, label).catch(() => 'unknown' as const)
      if (typeof stands === 'string') {
        recordless = 0
        if (wallClock() - atMs > (stands === 'unknown' ? OUTCOME_MS_MAX : CLAIM_MS)) return UNKNOWN
        continue
      }
      // If the order was repeated, another node may have a record of this order without a conversation.
      const [record] = [...stands].sort((a, b) => b.durationMs - a.durationMs || rankOf(b) - rankOf(a))
      if (record !== undefined) {
        log.info({ call_sid: callSid }, 'the outcome of a call of a row is read from its record')
        return outcomeOf(record)
      }
      if (++recordless >= RECORDLESS_LOOKS_MAX) return UNKNOWN
    }
  }

  async #settle(policy: Policy | null, row: Row, begun: Try, outcome: Outcome): Promise<Next> {
    this.#outcomes.delete(begun.label)
    await this.#options.lines.released(row.to, holderOf(row))
    // The process is ending. The next process, or another node, finds out how the call ended.
    if (this.#closed && outcome === UNKNOWN) return { next: 'later', row, atMs: row.dueMs }
    const { wallClock, random, counted } = this.#options
    const { joined = null, ...ended } = outcome
    // If the human did not answer, the person was not called yet. The agent calls the person at once.
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

  /** Pauses a campaign with too many failures, because more calls would not remove the cause. */
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

  /** Takes the record of a call that has ended on this node. */
  ended(record: CallRecord): void {
    const label = record.outbound?.clientRequestId
    if (label?.startsWith('row-') !== true) return
    const outcome = outcomeOf(record)
    this.#outcomes.get(label)?.(outcome)
    // Another node may wait for this outcome. If this node dies before it writes the row, the next node also reads the
    // outcome.
    this.#publish(label, outcome)
  }

  /**
   * Publishes an outcome. If the store is unavailable, for example during a failover, the write is repeated, because
   * only this node has the outcome.
   */
  #publish(label: string, outcome: Outcome, tries = 1): void {
    const { claims, log } = this.#options
    const value = JSON.stringify(outcome)
    claims
      .once(keyOf(label), value, CLAIM_MS)
      .then(() => claims.settle(keyOf(label), value, CLAIM_MS))
      .catch((thrown: unknown) => {
        if (tries < PUBLISH_TRIES_MAX && !this.#closed)
          return this.#later(OUTCOME_LOOK_MS, () => this.#publish(label, outcome, tries + 1))
        log.warn({ err: thrown }, 'the outcome of a call could not be stored for another node')
      })
  }

  /** Resolves when the record exists, on this node or on another node. */
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

  /** Writes a campaign, and applies it on this node at once. */
  async keep(campaign: Campaign): Promise<void> {
    await this.#options.queue.keep(campaign)
    await this.#serve(campaign)
    await this.#options.queue.wake(campaign.id)
  }

  /** Continues campaigns of earlier processes and of other nodes, and repeats this check at an interval. */
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

  /** Deletes a campaign. This node stops using it at once; other nodes notice the deletion later. */
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

  /** Marks campaigns that are over. Deletes campaigns that ended long ago, because their rows contain personal data. */
  async #sweep(campaigns: readonly Campaign[]): Promise<void> {
    const { queue, wallClock, keepMs, log } = this.#options
    const beforeMs = wallClock() - keepMs
    // Call backs count towards the limits for a week, even if other data is deleted sooner. The caller's words are
    // deleted sooner.
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

/**
 * Interval at which the gateway searches for the missing agent of a row, in milliseconds. The agent's file may be
 * repaired, or another node may take the row.
 */
const AGENT_LOOK_MS = 5 * 60_000
/** Time in milliseconds after which a row is over if its agent still cannot be used. */
const AGENT_LOST_MS_MAX = 24 * 3_600_000

const CALLING = 'calling'
const FREE = 'free'

interface CampaignsOptions {
  readonly queue: RowQueue
  readonly doNotCall: DoNotCall
  readonly place: (order: OutboundOrder) => Promise<Ordered>
  /** Returns the state of the call that was placed under the given label. */
  readonly standing: (callSid: string, label: string) => Promise<PlacedStanding>
  /** Claims of the fleet, so that only one node begins a try. */
  readonly claims: Pick<CallStore, 'once' | 'settle' | 'read'>
  /**
   * Returns the agent; undefined if the agent is unknown, or if it reads a fact that this number does not have.
   * @param from  the gateway's number that calls
   */
  readonly agent: (name: string, from?: string) => AgentDefinition | undefined
  /**
   * Returns the human who is called before the person, in call backs of this agent from this number; null without such
   * a human.
   */
  readonly humanFirst: (agent: string, from: string | null) => string | null
  readonly lines: Pick<BusyLines, 'hold' | 'released'>
  /** Value of OUTBOUND_PREFIXES. */
  readonly prefixes: readonly string[]
  readonly callBackLimits: CallBackLimits
  readonly slots: () => { readonly capacity: number; readonly free: number }
  /** Returns the balance of the carrier's wallet, in minor units; null if unknown. */
  readonly walletMinor: () => number | null
  /** Called if the carrier refused a call because the wallet is empty. */
  readonly walletEmpty: () => void
  /** Returns true if the calling number has used up its daily budget. */
  readonly budgetSpent: (number: string) => boolean
  /** Value of OUTBOUND_PER_MINUTE. */
  readonly perMinute: number
  /** Time for which an ended campaign or call back is stored: RECORDS_KEEP_DAYS. */
  readonly keepMs: number
  /** Returns calendar time. */
  readonly wallClock: () => number
  /** Returns a random number from 0 to 1. */
  readonly random: () => number
  readonly log: Log
  /** Counts a try that is over, or a row that waits, for metrics. */
  readonly counted: (agent: string, what: TryResult | 'held', why?: WaitReason) => void
  /** Reports a row that is over, or a campaign that changed. Does not wait. */
  readonly told: (news: CampaignStatus) => void
  /** Timer for tests. The default is a real timer, which does not keep the process alive. */
  readonly later?: (ms: number, run: () => void) => void
}

/** Campaign status for receivers. */
export type CampaignStatus =
  | { readonly type: 'campaign.row'; readonly row: Row }
  | { readonly type: 'campaign.paused'; readonly campaign: Campaign }

/** An order that the carrier has accepted. `callSid` is null if the carrier's answer does not name the call. */
interface Ordered {
  readonly callSid: string | null
}

function isOrdered(placed: Ordered | string | { readonly pauseMs: number }): placed is Ordered {
  return typeof placed !== 'string' && 'callSid' in placed
}

/** Parts of a record that show a row's outcome. */
export type PlacedRecord = Pick<
  CallRecord,
  'callSid' | 'endReason' | 'durationMs' | 'escalation' | 'outbound' | 'timeline'
>

/**
 * State of a placed call. `lives`: the phone rings, a node owns the call, or the carrier has its leg. `unknown`: a node
 * that may own the call does not answer. Otherwise the records of the ended call.
 */
export type PlacedStanding = 'lives' | 'unknown' | readonly PlacedRecord[]

/**
 * Returns the rank of a record among records of calls with equal duration. The record of the node that placed the order
 * is first.
 */
function rankOf({ outbound }: PlacedRecord): number {
  return outbound === null ? 0 : 1
}

function outcomeOf(record: PlacedRecord): Outcome {
  const { callSid, durationMs, escalation } = record
  const joined =
    escalation === null ? null : escalation.outcome === null ? 'unknown' : escalation.outcome === 'answered'
  return { result: answerOf(record), callSid, durationMs, joined }
}

interface Outcome {
  readonly result: TryResult
  readonly callSid: string | null
  readonly durationMs: number
  /**
   * True if the human who answered was connected to the person. Null if a connection was not requested; absent in
   * outcomes of earlier builds.
   */
  readonly joined?: boolean | 'unknown' | null
}

const UNKNOWN: Outcome = { result: 'uncertain', callSid: null, durationMs: 0 }
/** Outcome of a try in which the human could not be called. */
const NOT_TAKEN: Outcome = { result: 'failed', callSid: null, durationMs: 0 }

/** Result of a call that should connect a human to the caller. */
function resultOfJoining(joined: NonNullable<Outcome['joined']> | null): TryResult {
  if (joined === true) return 'person'
  return joined === false ? 'no-answer' : 'uncertain'
}

/** Returns the name under which a row reserves its number's line. */
function holderOf({ campaign, id }: Row): string {
  return `${campaign} ${id}`
}

function keyOf(label: string): string {
  return `try:${label}`
}
