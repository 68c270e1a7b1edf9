import { createHash } from 'node:crypto'
import { businessValues } from '../../../../agents/file/business.js'
import { HttpTool, fieldsOf } from '../../../../agents/tools/http-tool.js'
import { CallerIdentity } from '../../../../agents/tools/tool.js'
import type { ToolContext } from '../../../../agents/tools/tool.js'
import type { CallCheckpoint } from '../../../../call/documents/checkpoint.js'
import type { KeptWait } from '../../../../call/documents/kept-call.js'
import type { WaitRecord } from '../../../../call/documents/record.js'
import { WAIT_GRACE_MS } from '../../../../core/limits.js'
import type { Handlers } from '../../../shared/by-type.js'
import type { FromCall } from '../../../shared/call-messages.js'
import type { CallAgent } from '../call-agent.js'
import { waitRecords } from '../call-record.js'
import { traceContextOf } from '../call-start.js'
import type { MainDoor } from '../main-door.js'
import type { MainPart, MainThings } from '../main-part.js'
import { waitStatusSchema } from '../../wait-status.js'
import type { WaitAnswer, WaitStatus } from '../../wait-status.js'
import { compared } from '../../waits.js'
import type { ResultShape, Waits } from '../../waits.js'

/** Maximum number of waits of one call in memory. Ended waits count too. If there are more, the oldest is forgotten. */
const WAITS_KEPT_MAX = 64
/** Maximum number of `progress` posts of one wait that are passed to the conversation. */
const PROGRESS_MAX = 20
/** Time in ms between two tries to store an outcome that was not posted again. */
const KEEP_AGAIN_MS = 1000
type Of = Pick<MainThings, 'call' | 'origin' | 'agent' | 'session' | 'effects' | 'context'>

/** A wait, with additional fields that are not stored. */
type Wait = { -readonly [Key in keyof KeptWait]: KeptWait[Key] } & { readonly here: WaitHere }

class WaitHere {
  progress = 0
  nextPollWallMs = 0
  poll: AbortController | null = null
  /**
   * True if nothing remains to be stored for this wait: the outcome survives this process, there is no outcome yet, or
   * the gateway has given up storing it.
   */
  safe = true
  keeping: Promise<boolean> | null = null
  nextKeepWallMs = 0
}

/**
 * Tools of one call whose answers come later. They are on the main thread, so an outcome outlives the media worker and
 * the stream. The kept state lets an outcome outlive the node too.
 *
 *     asked   --its API answers 202--> pending     (an earlier outcome is only stored: it may come before that answer)
 *     asked   --any other answer--> forgotten
 *     asked   --its worker, node or session ends before the answer--> pending: a task may have begun,
 *                 because the request was sent after the wait was stored
 *     pending --outcome, by post or poll--> settled, given to the session until the caller has heard it
 *     pending --waitMs and WAIT_GRACE_MS--> expired
 *     settled, expired --no session, not heard--> sent as a message, once it is stored
 *
 * A post of an outcome is answered when the call's state with the outcome is stored. A death before the answer loses
 * nothing, because the sender posts again. The caller does not wait for the answer.
 *
 * Times are calendar times, as in the tokens of the waits.
 */
export class CallWaits implements MainPart {
  readonly #door: MainDoor
  readonly #of: Of
  readonly #shared: Waits
  readonly #waits = new Map<string, Wait>()
  /** True while a session runs. The session then tells the caller about outcomes. */
  #inSession = false
  #over = false

  constructor(door: MainDoor, of: Of) {
    this.#door = door
    this.#of = of
    this.#shared = of.context.waits
    for (const wait of of.origin.before?.kept.waits ?? []) {
      this.#waits.set(wait.id, { ...wait, here: new WaitHere() })
      if (wait.phase === 'pending') this.#shared.pending++
    }
  }

  readonly messages = {
    'tool-intent': (message) => void this.intended(message),
    'tool-pending': (message) => this.pending(message),
    'tool-settled': ({ key, outcome }) => {
      this.#of.effects.settle(key, outcome)
      this.answered(key)
    },
    wait: (message) => this.session(message),
  } satisfies Handlers<FromCall>

  /** True while the outcome of a wait is unknown, or is not stored yet. */
  get active(): boolean {
    for (const { phase, here } of this.#waits.values()) if (phase === 'pending' || !here.safe) return true
    return false
  }

  /**
   * Decides if a tool may run. The wait is stored before the session gets the decision, so that the wait survives this
   * node.
   */
  async intended(message: Extract<FromCall, { type: 'tool-intent' }>): Promise<void> {
    const { call, effects } = this.#of
    const { key, tool } = message
    const answer = await effects.intend(key, tool)
    const opened = answer.type === 'run' ? this.open(message, call.continueUrl) : null
    if (opened !== null) await this.#saved()
    this.#door.send({ type: 'tool-intent', key, answer: answer.type === 'run' ? { ...answer, ...opened } : answer })
  }

  /**
   * Opens a wait if the tool that is about to run is a waiting tool.
   * @param urlOf  makes the URL for an id, valid for the given number of seconds; null if no URL leads to this gateway
   * @returns the values that the tool's request may read; null if the tool does not wait
   */
  open(
    { key, tool, callId, args }: Extract<FromCall, { type: 'tool-intent' }>,
    urlOf: ((id: string, ttlS: number) => string) | null,
  ): { readonly continueUrl?: string } | null {
    const askedBy = this.#of.agent.place
    const { waits } = this.#of.agent.toolOf(tool, askedBy) ?? {}
    if (waits === undefined) return null
    const id = createHash('sha256').update(key).digest('base64url').slice(0, 22)
    const nowMs = this.#of.context.wallClock()
    const lastMs = waits.for + WAIT_GRACE_MS
    this.#waits.set(id, {
      ...{ id, key, tool, askedBy, callId, args, pendingId: '', phase: 'asked', startedWallMs: nowMs },
      ...{ waitUntilWallMs: nowMs + waits.for, untilWallMs: nowMs + lastMs },
      ...{ status: null, result: null, settledWallMs: null, told: false, sent: false },
      here: new WaitHere(),
    })
    this.#forgetOldest()
    return urlOf === null ? {} : { continueUrl: urlOf(id, Math.ceil(lastMs / 1000)) }
  }

  /** Notes that the API answered the call of the tool with a result. The wait is not needed. */
  answered(key: string): void {
    for (const wait of this.#waits.values()) if (wait.key === key && wait.phase === 'asked') this.#waits.delete(wait.id)
  }

  /** Notes that the API has begun a task. */
  pending({ key, waitMs, id: pendingId }: Extract<FromCall, { type: 'tool-pending' }>): void {
    const wait = [...this.#waits.values()].find((one) => one.key === key && one.phase === 'asked')
    if (wait === undefined) return
    const nowMs = this.#of.context.wallClock()
    wait.pendingId = pendingId
    wait.waitUntilWallMs = nowMs + waitMs
    wait.untilWallMs = Math.min(wait.untilWallMs, wait.waitUntilWallMs + WAIT_GRACE_MS)
    this.#pends(wait)
    this.#door.changed()
  }

  #pends(wait: Wait): void {
    wait.phase = 'pending'
    wait.here.nextPollWallMs = this.#of.context.wallClock() + this.#pollMs(wait)
    this.#shared.pending++
    if (wait.status !== null) this.#settle(wait) // the outcome came before the answer
  }

  /** Takes a posted outcome. Resolves within the time of `saved`; the session receives the outcome at once. */
  async news(id: string, news: WaitStatus): Promise<WaitAnswer> {
    const took = this.#news(id, news)
    const wait = this.#waits.get(id)
    const kept = took === 'conflict' || took === 'late' || wait === undefined || (await this.#keep(wait))
    const answer = kept ? took : 'unkept'
    this.#shared.posts({ result: answer === 'taken' && news.status === 'progress' ? 'progress' : answer }).inc()
    return answer
  }

  #news(id: string, { status, result }: WaitStatus): 'taken' | 'repeated' | 'conflict' | 'late' {
    const wait = this.#waits.get(id)
    if (wait === undefined) return 'late'
    const fields = this.#fieldsOf(wait)
    if (wait.status !== null && wait.status !== 'expired')
      return compared({ status: wait.status, result: wait.result, fields }, { status, result })
    const value = fieldsOf(result, fields)
    if (wait.status === 'expired' || this.#of.context.wallClock() > wait.untilWallMs) return 'late'
    if (status === 'progress') {
      if (++wait.here.progress > PROGRESS_MAX) this.#shared.posts({ result: 'dropped' }).inc()
      else if (wait.phase === 'pending') this.#toSession(wait, status, value)
      return 'taken'
    }
    this.#take(wait, status, value)
    return 'taken'
  }

  #take(wait: Wait, status: 'succeeded' | 'failed', value: unknown): void {
    wait.status = status
    wait.result = value
    wait.here.safe = false
    if (wait.phase === 'pending') this.#settle(wait)
    void this.#keep(wait)
  }

  /** @returns true if the wait's outcome survives this process, or if there is no outcome yet */
  #keep(wait: Wait): Promise<boolean> {
    const { here } = wait
    if (here.safe) return Promise.resolve(true)
    here.nextKeepWallMs = this.#of.context.wallClock() + KEEP_AGAIN_MS
    here.keeping ??= this.#saved().then((kept) => {
      here.keeping = null
      if (kept) this.#isSafe(wait)
      return kept
    })
    return here.keeping
  }

  /** Stores the call's present state; see `CallKeeping.saved`. The promise never rejects. */
  #saved(): Promise<boolean> {
    return this.#of.context.keeper?.saved(this.#of.call.callSid) ?? Promise.resolve(true)
  }

  #isSafe(wait: Wait): void {
    wait.here.safe = true
    if (!this.#inSession) this.#give(wait)
    this.#door.changed()
  }

  #toolOf({ tool, askedBy }: Wait): ReturnType<CallAgent['toolOf']> {
    return this.#of.agent.toolOf(tool, askedBy)
  }

  #fieldsOf(wait: Wait): ResultShape {
    return this.#toolOf(wait)?.result ?? {}
  }

  /** Notes that the outcome of this wait is known. */
  #settle(wait: Wait): void {
    const { key, tool, status, result, startedWallMs } = wait
    const nowMs = this.#of.context.wallClock()
    const ms = nowMs - startedWallMs
    this.#ends(wait, nowMs)
    this.#door.mark('tool-settled', `${tool}: ${String(status)} after ${ms} ms`)
    this.#of.effects.settle(key, { ok: status === 'succeeded', value: result })
    this.#give(wait)
  }

  #ends(wait: Wait, nowMs: number): void {
    wait.phase = 'settled'
    wait.settledWallMs = nowMs
    wait.here.poll?.abort()
    this.#shared.pending--
    this.#shared
      .seconds({ tool: wait.tool, outcome: wait.status ?? 'expired' })
      .observe((nowMs - wait.startedWallMs) / 1000)
  }

  /** Gives the outcome to the session. If no session runs, the receivers of messages get it. */
  #give(wait: Wait): void {
    if (wait.told || wait.phase !== 'settled' || wait.status === null) return
    if (!this.#inSession) return wait.here.safe ? this.#send(wait) : undefined
    if (wait.status !== 'expired') this.#toSession(wait, wait.status, wait.result)
  }

  #toSession({ callId }: Wait, status: WaitStatus['status'], value: unknown): void {
    this.#door.send({ type: 'tool-outcome', callId, status, value })
  }

  #send(wait: Wait): void {
    if (wait.sent || this.#over) return
    wait.sent = true
    const { call, agent, origin } = this.#of
    const { id, tool, status, result, startedWallMs, settledWallMs } = wait
    this.#shared.unheard({
      ...{ id, callSid: call.callSid, agent: agent.definition.name, from: origin.number, to: origin.ours },
      ...{ tool, status: status ?? 'expired', result },
      startedAt: new Date(startedWallMs).toISOString(),
      ms: (settledWallMs ?? startedWallMs) - startedWallMs,
    })
  }

  /** Handles the session's report of a wait. */
  session({ callId, state }: Extract<FromCall, { type: 'wait' }>): void {
    if (state !== 'told') return
    for (const wait of this.#waits.values())
      if (wait.callId === callId && wait.phase === 'settled') {
        wait.told = true
        this.#door.changed()
      }
  }

  /**
   * Gives unheard outcomes to a session that begins.
   * @param checkpoint  state to continue from; null for a new session
   * @returns this checkpoint, with each unanswered tool as a waiting tool
   */
  begun<Checkpoint extends CallCheckpoint | null>(checkpoint: Checkpoint): Checkpoint {
    this.#inSession = true
    this.#unanswered()
    for (const wait of this.#waits.values()) this.#give(wait)
    return checkpoint === null ? checkpoint : { ...checkpoint, ...this.#waitingIn(checkpoint) }
  }

  /** Notes that no session runs any more. */
  ended(): void {
    this.#inSession = false
    this.#unanswered()
    for (const wait of this.#waits.values()) this.#give(wait)
  }

  /** Handles the tool calls whose API has not answered when the session ends: the session cannot receive their answers. */
  #unanswered(): void {
    for (const wait of this.#waits.values()) if (wait.phase === 'asked') this.#pends(wait)
  }

  #waitingIn({ toolsRunning, waits = [] }: CallCheckpoint): Pick<CallCheckpoint, 'toolsRunning' | 'waits'> {
    const added = toolsRunning.flatMap((tool) => {
      const wait = [...this.#waits.values()].find(({ callId }) => callId === tool.callId)
      if (wait === undefined) return []
      const untilMs = tool.startMs + wait.waitUntilWallMs - wait.startedWallMs
      return [{ ...tool, untilMs, state: 'waiting' as const }]
    })
    if (added.length === 0) return { toolsRunning }
    const left = toolsRunning.filter(({ callId }) => added.every((wait) => wait.callId !== callId))
    return { toolsRunning: left, waits: [...waits, ...added] }
  }

  /** Ends expired waits, polls the APIs, and tries again to store outcomes. */
  wake(): void {
    if (this.#waits.size === 0) return
    const nowMs = this.#of.context.wallClock()
    for (const wait of this.#waits.values()) {
      if (!wait.here.safe && wait.here.keeping === null && nowMs >= wait.here.nextKeepWallMs) {
        // A wait that has ended is reported to the receivers of messages even if the store does not answer.
        if (nowMs > wait.untilWallMs) this.#isSafe(wait)
        else void this.#keep(wait)
      }
      if (wait.phase !== 'pending') continue
      if (nowMs > wait.untilWallMs) this.#expire(wait, nowMs)
      else if (nowMs >= wait.here.nextPollWallMs && wait.here.poll === null) void this.#poll(wait)
    }
  }

  #expire(wait: Wait, nowMs: number): void {
    wait.status = 'expired'
    this.#ends(wait, nowMs)
    this.#door.mark('tool-settled', `${wait.tool}: no outcome`)
    this.#give(wait)
    this.#door.changed()
  }

  /**
   * Ends the waits although the caller has not heard their outcomes, because the call is forced to its end.
   * @param sends  true: receivers get a message about these waits
   */
  abandon(sends: boolean): void {
    this.#inSession = false
    const nowMs = this.#of.context.wallClock()
    for (const wait of this.#waits.values())
      if (!sends) break
      else if (wait.phase === 'pending') this.#expire(wait, nowMs)
      else if (!wait.here.safe) this.#isSafe(wait)
    this.release()
  }

  /** Frees the waits, because a new `MainThreadCall` continues this call, or because the call is over. */
  release(): void {
    if (this.#over) return
    this.#over = true
    for (const wait of this.#waits.values()) {
      wait.here.poll?.abort()
      if (wait.phase === 'pending') this.#shared.pending--
      const { id, status, result } = wait
      if (status !== null && status !== 'expired')
        this.#shared.over(id, { status, result, fields: this.#fieldsOf(wait) })
    }
    this.#waits.clear()
  }

  inRecord(): { readonly waits: WaitRecord[] } {
    return { waits: waitRecords(this.kept()) }
  }

  keeps(): { readonly waits: KeptWait[] } {
    return { waits: this.kept() }
  }

  kept(): KeptWait[] {
    return [...this.#waits.values()].map(({ here: _, ...kept }) => kept)
  }

  // --- an API that cannot reach the gateway ---------------------------------------------------------------

  #pollMs(wait: Wait): number {
    const { poll } = this.#toolOf(wait)?.waits ?? {}
    return poll === undefined ? Infinity : poll.everyS * 1000
  }

  async #poll(wait: Wait): Promise<void> {
    const pollMs = this.#pollMs(wait)
    wait.here.nextPollWallMs = this.#of.context.wallClock() + pollMs
    if (pollMs === Infinity) return
    const abort = new AbortController()
    wait.here.poll = abort
    const result = await this.#asked(wait, abort.signal)
    wait.here.poll = null
    this.#shared.polls({ result }).inc()
  }

  async #asked(wait: Wait, signal: AbortSignal): Promise<'outcome' | 'pending' | 'failed'> {
    const { call, origin, agent, session, context: services } = this.#of
    const { business, definition: asking } = agent
    const definition = this.#toolOf(wait)
    const url = definition?.waits?.poll?.url
    if (definition === undefined || url === undefined) return 'failed'
    const { allowPrivate, allowHosts, timeoutMs, maxResponseBytes, headers } = definition.http
    const http = { method: 'GET', url, headers, allowPrivate, allowHosts, timeoutMs, maxResponseBytes } as const
    const { waits: _, ...plain } = definition
    const tool = new HttpTool({ ...plain, http, result: {}, idempotent: false }, this.#shared.env, this.#shared.client)
    const language = session.language ?? asking.languages[0] ?? ''
    const context: ToolContext = {
      ...{ callSid: call.callSid, from: origin.number, to: origin.ours, agent: asking.name },
      ...{ idempotencyKey: wait.key, pendingId: wait.pendingId },
      business: business === null ? undefined : businessValues(business, language || 'en', services.wallClock()),
      ...{ language, variables: origin.call.placed?.variables ?? {}, ...traceContextOf(origin.call, services) },
      caller: new CallerIdentity(session.identity),
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    }
    try {
      const news = waitStatusSchema.safeParse(await tool.run(wait.args, context))
      if (signal.aborted || !news.success || news.data.status === 'progress') return 'pending'
      this.#news(wait.id, news.data)
      return 'outcome'
    } catch {
      return 'failed' // The API is polled again.
    }
  }

  #forgetOldest(): void {
    if (this.#waits.size <= WAITS_KEPT_MAX) return
    for (const { id, phase } of this.#waits.values())
      if (phase !== 'pending') {
        this.#waits.delete(id)
        return
      }
  }
}
