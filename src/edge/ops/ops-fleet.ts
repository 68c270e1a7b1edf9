import { csvText } from '../../core/csv.js'
import { jsonObject } from '../../core/json.js'
import type { CallTimelineView, FleetRow, FoundView, ListedCall, LiveCallView } from '../../call/documents/call-view.js'
import { CHART_QUERY_KEYS, chartQuerySchema, chartRange, chartsOf } from '../../call/documents/call-charts.js'
import type { ChartsView } from '../../call/documents/call-charts.js'
import { CALL_SEARCH_KEYS, callSearchSchema, isAlike, isOfNumbers } from '../../call/documents/call-search.js'
import type { CallSearch } from '../../call/documents/call-search.js'
import type { ChartedCalls, FoundCalls } from '../../telemetry/archive/index/call-finder.js'
import { LRUCache } from 'lru-cache'
import type { z } from 'zod'
import { isCallSid } from '../../core/ids.js'
import type { CallRecord } from '../../call/documents/record.js'
import type { ErrorCode } from '../../core/errors.js'
import type { CallSid } from '../../core/ids.js'
import { OPS_LIST_MAX, OPS_PEER_MS, STORE_PATIENCE_MS } from '../../core/limits.js'
import type { NodeRecord } from '../../fleet/store/call-store.js'
import type { FleetNode } from '../../fleet/fleet-node.js'
import { fleetStatus } from '../../fleet/fleet-status.js'
import type { OwnStatus } from '../../fleet/fleet-status.js'
import { errorReply, jsonOf, jsonReply, keptFault, textReply } from '../http/reply.js'
import { subscriberNumber } from '../../sautikit/phone.js'
import { CALL_OUTCOMES } from '../../call/documents/record.js'
import type { Audit, Operator } from './ops-audit.js'
import type { Reply } from '../http/reply.js'
import { isFound } from './ops-api.js'
import type { CallCommand, CallView, OpsApi } from './ops-api.js'
import type { EndedSession } from './ops-session.js'
import type { EdgeOptions, PublishOrder } from '../options.js'
import { outcomeSchema, requestSchema, SEARCH_CHARS_MAX } from './ops-requests.js'
import type { NodeCommand, OpsRequest, CallRequest } from './ops-requests.js'

type FleetApiOptions = Pick<EdgeOptions, 'fleet' | 'finder' | 'log' | 'wallClock'>

/** Allowed query parameters: for a list of calls, for a search of ended ones, for charts, and `part` of a recording. */
const QUERIES = ['limit', 'search', 'format', 'part', 'cursor', 'over', 'by', ...CALL_SEARCH_KEYS] as const
/** Each is empty where the query does not have it. */
export type OpsQuery = Readonly<Record<(typeof QUERIES)[number], string>>

export function queryOf(read: (name: string) => string): OpsQuery {
  return Object.fromEntries(QUERIES.map((name) => [name, read(name)])) as OpsQuery
}

/**
 * The operator's API over all nodes of a fleet: any node answers for the calls of every other, and passes commands on.
 * A node that does not answer is named. Every command leaves a line in the log, at the node that got it and at the node
 * that carried it out.
 */
export class FleetApi {
  readonly #options: FleetApiOptions
  readonly #audit: Audit
  readonly #here: OpsApi
  readonly #onSessionEnded: (session: EndedSession) => void
  readonly #hear: (callSid: string, id: string, operator: Operator) => Reply
  readonly #edits: EditsHere
  /** By listener. */
  readonly #hearsFrom = new LRUCache<string, string>({ max: LISTENERS_KNOWN_MAX })

  /**
   * @param onSessionEnded  another node has ended a session of the console
   * @param hear  gives the sound of a live call of this node to a listener at another
   * @param edits  of this node's agents, for an operator at another
   */
  constructor(
    options: FleetApiOptions,
    audit: Audit,
    here: OpsApi,
    onSessionEnded: (session: EndedSession) => void,
    hear: (callSid: string, id: string, operator: Operator) => Reply,
    edits: EditsHere,
  ) {
    this.#options = options
    this.#audit = audit
    this.#onSessionEnded = onSessionEnded
    this.#hear = hear
    this.#edits = edits
    this.#here = here
    options.fleet?.node.onRequest('ops', (request, from) => this.#asked(request, from))
  }

  // --- the fleet ----------------------------------------------------------------------------------------------

  /** `GET /api/fleet` */
  async status(): Promise<Reply> {
    const { fleet } = this.#options
    if (fleet === undefined) return NO_FLEET
    const { node, storeHome } = fleet
    const others = node.others()
    const own = new Map<string, OwnStatus>([[node.name, this.#ownStatus(node)]])
    for (const [name, reply] of await this.#askOthers({ what: 'status' }))
      if (reply?.status === 200) own.set(name, reply.body as OwnStatus)
    return jsonReply(fleetStatus({ self: node.record, others, own, store: storeHome, alerts: node.alerts }))
  }

  #ownStatus({ clockAheadMs }: FleetNode): OwnStatus {
    return { notReady: this.#here.notReady, clockDifferenceMs: clockAheadMs }
  }

  /** `POST /api/drain`, `/api/cordon` and `/api/uncordon`; the body may name a `node`. */
  async commandNode(command: NodeCommand, body: Uint8Array, operator: Operator): Promise<Reply> {
    const target = nodeNamed(body)
    if (target === undefined)
      return errorReply(400, 'BAD_REQUEST', 'the body is empty or a JSON object with "node", the name of a node')
    const node = this.#options.fleet?.node
    const [name, reply] =
      target === null || target === node?.name
        ? [node?.name ?? null, this.#here.commandNode(command)]
        : await this.#commandOther(node, target, { what: 'node-command', command, operator })
    this.#audit({ command, node: name }, reply, operator)
    return reply
  }

  /** Ends sessions of the console at the other nodes, which accept the same cookies. */
  async sessionsEnded(sessions: readonly EndedSession[]): Promise<void> {
    const asked = sessions.map((session) => this.#askOthers({ what: 'session-ended', ...session }))
    const silent = (await Promise.all(asked)).flat().flatMap(([name, reply]) => (reply?.status === 200 ? [] : [name]))
    if (silent.length > 0)
      this.#options.log.warn({ nodes: silent }, 'a session of the console was ended, but not at these nodes')
  }

  async #commandOther(
    node: FleetNode | undefined,
    target: string,
    request: OpsRequest,
  ): Promise<readonly [string | null, Reply]> {
    const others = node?.others() ?? []
    const other = others.find(({ name }) => name === target)
    if (node === undefined || other === undefined) {
      const names = [...(node === undefined ? [] : [node.name]), ...others.map(({ name }) => name)]
      return [null, errorReply(404, 'NOT_FOUND', `there is no node of that name; nodes are: ${names.join(', ')}`)]
    }
    const asked = await this.#ask(node, other, request)
    return [other.name, asked === null ? unanswered(other.name) : jsonReply(asked.body, asked.status)]
  }

  // --- calls --------------------------------------------------------------------------------------------------

  /**
   * `GET /api/fleet/calls`: live and ended calls of all nodes, newest first, at most `limit` of each; of the ended ones
   * those with `outcome`, where one is named; of `number`, one of ours, where one is named; about `search`. With `format=csv`
   * the ended ones, for a spreadsheet.
   * @param allowed  to whose calls the token is limited; null: to none
   */
  async list(query: OpsQuery, allowed: ReadonlySet<string> | null = null): Promise<Reply> {
    if (query.search.length > SEARCH_CHARS_MAX)
      return errorReply(400, 'BAD_REQUEST', `search has at most ${SEARCH_CHARS_MAX} characters`)
    if (!['', 'json', 'csv'].includes(query.format)) return errorReply(400, 'BAD_REQUEST', 'format is json or csv')
    const search = query.search.trim() === '' ? null : query.search
    const limit = limitOf(query)
    if (limit === null) return BAD_LIMIT
    const named = outcomeSchema.safeParse(query.outcome === '' ? null : query.outcome)
    if (!named.success) return errorReply(400, 'BAD_REQUEST', `outcome is one of ${CALL_OUTCOMES.join(', ')}`)
    const outcome = named.data
    const numbers = numbersAsked(query, allowed)
    if (numbers !== null && 'status' in numbers) return numbers
    const lists = await this.#ofAllNodes<NodeCalls>({ what: 'list', limit, outcome, numbers, search })
    if ('status' in lists) return lists
    const newest = (of: 'live' | 'ended'): readonly ListedCall[] =>
      lists
        .flatMap(([name, calls]) => (calls?.[of] ?? []).map((call) => ({ ...call, node: name })))
        // A node that runs an earlier version sends all of its ended calls.
        .filter((call) => of === 'live' || outcome === null || call.outcome === outcome)
        .filter((call) => isOfNumbers(call, numbers))
        .filter((call) => of === 'live' || search === null || isFound(call, search))
        .sort((a, b) => (a.startedAt < b.startedAt ? 1 : -1))
        .slice(0, limit)
    if (query.format === 'csv') return textReply(csvOf(newest('ended')), 'text/csv; charset=utf-8')
    return jsonReply({
      live: newest('live'),
      ended: newest('ended'),
      nodes: lists.map(([name, calls]) => ({ name, answered: calls !== null })),
    })
  }

  /**
   * `GET /api/find`: ended calls of all nodes, of this run and earlier ones, newest first. A page goes as far back as every
   * node that answers has looked.
   * @param allowed  to whose calls the token is limited; null: to none
   */
  async find(query: OpsQuery, allowed: ReadonlySet<string> | null): Promise<Reply> {
    const read = callSearchSchema.safeParse(given(query, CALL_SEARCH_KEYS))
    if (!read.success) return badQuery(read.error)
    const limit = limitOf(query)
    if (limit === null) return BAD_LIMIT
    const [, id = '', node = '', lacks = ''] = CURSOR.exec(query.cursor) ?? []
    if (id === '' && query.cursor !== '')
      return errorReply(400, 'BAD_REQUEST', 'cursor is what the answer before says, as it is')
    const cursor = id === '' ? null : { id: Number(id), node: node === '' ? BEYOND_ALL : node }
    const numbers = allowed === null ? null : [...allowed]
    const request: OpsRequest = { what: 'find', search: read.data, cursor, limit, numbers }
    const pages = await this.#ofAllNodes<FoundCalls>(request)
    return 'status' in pages ? pages : jsonReply(pageOf(pages, { limit, search: read.data, numbers, lacks }))
  }

  /**
   * `GET /api/charts`: figures of the ended calls of all nodes over a day, a week or a month, by agent or version; of
   * `number`, one of ours, where one is named.
   * @param allowed  to whose calls the token is limited; null: to none
   */
  async charts(query: OpsQuery, allowed: ReadonlySet<string> | null): Promise<Reply> {
    const read = chartQuerySchema.safeParse(given(query, CHART_QUERY_KEYS))
    if (!read.success) return badQuery(read.error)
    const numbers = numbersAsked(query, allowed)
    if (numbers !== null && 'status' in numbers) return numbers
    const range = chartRange(read.data, this.#options.wallClock())
    const request: OpsRequest = { what: 'chart', range, numbers }
    const answers = await this.#ofAllNodes<ChartedCalls>(request)
    if ('status' in answers) return answers
    const groups = answers.flatMap(([, answer]) => answer?.groups ?? [])
    return jsonReply({ ...chartsOf(range, groups), nodes: nodesOf(answers) } satisfies ChartsView)
  }

  /** The live calls of all nodes for the console: what a list needs, each with its node. */
  async liveRows(): Promise<LiveRows> {
    const here = this.#here.rows(OPS_LIVE_ROWS_MAX)
    const rows: FleetRow[] = here.map((row) => ({ ...row, node: this.#options.fleet?.node.name ?? null }))
    const silent: string[] = []
    const all = { what: 'list', limit: OPS_LIST_MAX, outcome: null, numbers: null, search: null } as const
    for (const [node, reply] of await this.#askOthers(all))
      if (reply?.status !== 200) silent.push(node)
      else rows.push(...(reply.body as NodeCalls).live.map((row) => ({ ...row, node })))
    return { rows, silent: silent.sort() }
  }

  /** A call for those who watch it; null when it is on no node. */
  async watched(sid: CallSid): Promise<WatchedCall | null> {
    const here = this.#here.watched(sid)
    if (here !== null) return { ...here, elsewhere: false }
    const [call, timeline] = await Promise.all([
      this.call(sid),
      this.#ofCall({ what: 'view', callSid: sid, view: 'timeline', part: null }),
    ])
    if (call.status !== 200 || timeline.status !== 200) return null
    return {
      call: jsonOf(call) as WatchedCall['call'],
      timeline: jsonOf(timeline) as CallTimelineView,
      elsewhere: true,
    }
  }

  /** `GET /api/calls/{sid}` */
  call(sid: string): Promise<Reply> {
    return this.#ofCall({ what: 'call', callSid: sid, left: false })
  }

  /** Answers about a call for a token that may be limited to some numbers: of the calls of others it is refused. */
  async ofNumbers(sid: string, numbers: ReadonlySet<string> | null, answer: () => Promise<Reply>): Promise<Reply> {
    if (numbers === null) return answer()
    const call = await this.call(sid)
    if (call.status !== 200) return call
    const found = jsonOf(call) as Pick<CallRecord, 'number'>
    return isOfNumbers(found, [...numbers]) ? answer() : NOT_ITS_NUMBER
  }

  /** @param part  of a recording: a number from 1; empty: the newest */
  async view(sid: string, view: CallView, part: string, operator: Operator): Promise<Reply> {
    if (!/^(?:|[1-9]\d?)$/.test(part))
      return errorReply(400, 'BAD_REQUEST', 'part is the number of a part of the recording, from 1')
    const reply = await this.#ofCall({ what: 'view', callSid: sid, view, part: part === '' ? null : Number(part) })
    if (FILES.includes(view) && reply.status === 200 && isCallSid(sid))
      this.#audit({ command: view, call_sid: sid }, reply, operator)
    return reply
  }

  /** `POST /api/calls`: at this node. */
  async place(body: Uint8Array, operator: Operator): Promise<Reply> {
    const reply = await this.#here.place(body)
    const placed = jsonOf(reply) as { readonly callSid?: unknown }
    const sid = typeof placed.callSid === 'string' ? placed.callSid : null
    this.#audit({ command: 'call', call_sid: sid }, reply, operator)
    return reply
  }

  /**
   * The sound of a call of another node, for somebody who listens here.
   * @param id  of the listener; the node that has answered for it is asked again
   */
  async heard(sid: string, id: string, operator: Operator): Promise<Reply> {
    const node = this.#options.fleet?.node
    if (node === undefined) return NO_FLEET
    const request = { what: 'hear', callSid: sid, id, operator } as const
    const at = node.others().find(({ name }) => name === this.#hearsFrom.get(id))
    const asked = at === undefined ? null : await this.#ask(node, at, request)
    if (asked !== null && !isNoCall(asked)) return jsonReply(asked.body, asked.status)
    const [name, reply] = await this.#elsewhere(node, request)
    if (name !== null) this.#hearsFrom.set(id, name)
    return reply
  }

  /** `POST /api/calls/{sid}/hangup` and `/escalate` */
  command(sid: string, command: CallCommand, body: Uint8Array, operator: Operator): Promise<Reply> {
    const text = new TextDecoder().decode(body)
    return this.#ofCall({ what: 'call-command', callSid: sid, command, body: text, operator })
  }

  async #ofCall(request: CallRequest): Promise<Reply> {
    const node = this.#options.fleet?.node
    const { callSid: sid } = request
    const here = !isCallSid(sid) || node === undefined || (await this.#here.has(sid))
    const [name, reply] = here
      ? [node?.name ?? null, await this.#answer(request)]
      : await this.#elsewhere(node, request)
    if (request.what === 'call-command')
      this.#audit({ command: request.command, node: name, call_sid: sid }, reply, request.operator)
    return reply
  }

  /** The owner is asked first; then, or when it is not known, all others at once. */
  async #elsewhere(node: FleetNode, request: CallRequest): Promise<readonly [string | null, Reply]> {
    const others = node.others()
    const entry = await node.store.read(request.callSid).catch(() => null)
    const owner = others.find(({ name }) => name === entry?.owner.node)
    const silent: string[] = []
    const tried = async (other: NodeRecord): Promise<readonly [string, Reply] | null> => {
      const reply = await this.#ask(node, other, request)
      if (reply === null) silent.push(other.name)
      return reply === null || isNoCall(reply) ? null : [other.name, jsonReply(reply.body, reply.status)]
    }
    const byOwner = owner === undefined ? null : await tried(owner)
    if (byOwner !== null) return byOwner
    const rest = await Promise.all(others.filter((other) => other !== owner).map(tried))
    const found = rest.find((reply) => reply !== null)
    if (found !== undefined) return found
    if (silent.length > 0) return [owner?.name ?? null, unanswered(silent.join(', '))]
    return [null, errorReply(404, 'CALL_UNKNOWN', 'no node has a call of that SID, live or lately ended')]
  }

  // --- between nodes ------------------------------------------------------------------------------------------

  async #ask(
    node: FleetNode,
    { name, incarnation }: NodeRecord,
    request: OpsRequest,
    answerMs = ['find', 'chart'].includes(request.what) ? FIND_PEER_MS : OPS_PEER_MS,
  ): Promise<PeerReply | null> {
    const asked = await node.ask({ node: name, incarnation }, 'ops', request, answerMs)
    // Both ends are authenticated, and run this program.
    return asked.result === 'answered' ? (asked.answer as PeerReply) : null
  }

  /** Answer of each other node, by name; null: none. */
  async #askOthers(request: OpsRequest, answerMs?: number): Promise<readonly (readonly [string, PeerReply | null])[]> {
    const node = this.#options.fleet?.node
    if (node === undefined) return []
    const asked = node
      .others()
      .map(async (other) => [other.name, await this.#ask(node, other, request, answerMs)] as const)
    return Promise.all(asked)
  }

  /** As `#askOthers`, with the answers as replies. */
  async askAll(request: OpsRequest, answerMs?: number): Promise<readonly (readonly [string, Reply | null])[]> {
    const answers = await this.#askOthers(request, answerMs)
    return answers.map(([name, reply]) => [name, reply === null ? null : jsonReply(reply.body, reply.status)] as const)
  }

  /**
   * The answers of all nodes that keep calls by their names, beginning with this one's own; null for one that did not answer,
   * or whose index cannot be read. Where no node has an answer, the fault of this one. Where one is too busy, its refusal:
   * pages without its calls would leave them out, though it answers a moment later.
   */
  async #ofAllNodes<T>(request: OpsRequest): Promise<readonly (readonly [string | null, T | null])[] | Reply> {
    // Its list is made before the others answer: a call that moves meanwhile is then listed twice rather than not at all.
    const [own, others] = await Promise.all([this.#answer(request), this.#askOthers(request)])
    const replies = [[this.#options.fleet?.node.name ?? null, toPeer(own)] as const, ...others]
    const busy = replies.find(([, reply]) => isRefused(reply, 'CAPACITY'))
    if (busy !== undefined) return tooBusy(busy[0])
    const answers = replies
      .filter(([, reply]) => reply?.status !== 404)
      .map(([name, reply]) => [name, reply?.status === 200 ? (reply.body as T) : null] as const)
    const isOwnFault = own.status !== 404 && answers.every(([, answer]) => answer === null)
    return isOwnFault || answers.length === 0 ? own : answers
  }

  async #asked(body: unknown, from: string): Promise<PeerReply> {
    const request = requestSchema.safeParse(body)
    if (!request.success) return toPeer(errorReply(400, 'BAD_REQUEST', 'this node does not know that request'))
    const reply = await this.#answer(request.data, from)
    const { data } = request
    if ((data.what === 'call-command' || data.what === 'node-command') && !isNoCall(toPeer(reply))) {
      const call_sid = data.what === 'call-command' ? data.callSid : null
      this.#audit({ command: data.command, call_sid, via: from }, reply, data.operator)
    }
    return toPeer(reply)
  }

  /** This node's own answer. @param from  the node that asks; null: this one */
  async #answer(request: OpsRequest, from: string | null = null): Promise<Reply> {
    const here = this.#here
    switch (request.what) {
      case 'status':
        return this.#options.fleet === undefined ? NO_FLEET : jsonReply(this.#ownStatus(this.#options.fleet.node))
      case 'list':
        return jsonReply(here.newest(request.limit, request.outcome, request.numbers, request.search))
      case 'find': {
        const { finder, fleet } = this.#options
        if (finder === undefined) return NOTHING_TO_FIND
        const { search, cursor, limit, numbers } = request
        // Calls with the same id are in the order of their nodes.
        const before = cursor === null ? null : cursor.id + ((fleet?.node.name ?? '') > cursor.node ? 1 : 0)
        return finder.find(search, before, limit, numbers).then((page) => jsonReply(page), keptFault)
      }
      case 'chart': {
        const { finder } = this.#options
        if (finder === undefined) return NOTHING_TO_FIND
        return finder.chart(request.range, request.numbers).then((groups) => jsonReply(groups), keptFault)
      }
      case 'call': {
        const reply = await here.call(request.callSid)
        const left = request.left ? this.#options.fleet?.left(request.callSid) : undefined
        if (reply.status !== 404 || left === undefined) return reply
        const { endReason, resumed } = left
        return jsonReply({ endReason, resumed, isLeft: true } satisfies RecordThere)
      }
      case 'view': {
        const reply = await here.view(request.callSid, request.view, request.part)
        const self = this.#options.fleet?.node.record
        return from !== null && self !== undefined && typeof reply.body !== 'string'
          ? fileElsewhere(request, self)
          : reply
      }
      case 'call-command':
        return here.command(request.callSid, request.command, new TextEncoder().encode(request.body))
      case 'node-command':
        return here.commandNode(request.command)
      case 'hear':
        return this.#hear(request.callSid, request.id, request.operator)
      case 'edited':
        return this.#edits.here()
      case 'publish-agent':
        return this.#edits.publishHere(request, request.operator, from)
      case 'session-ended':
        this.#onSessionEnded(request)
        return jsonReply({})
    }
  }
}

/** Live calls of this node that a watcher gets; of each other node it gets OPS_LIST_MAX. */
const OPS_LIVE_ROWS_MAX = 10_000

/** The first search of a node starts the thread of its index, and indexes what is new. */
const FIND_PEER_MS = 5000
/** Most listeners for which the node of their call is remembered; for more, it is searched again. */
const LISTENERS_KNOWN_MAX = 64

/** A node's answer to another: the status of the HTTP answer, and the JSON of its body. */
interface PeerReply {
  readonly status: Reply['status']
  readonly body: unknown
}

/** This node's part of editing agents. @see EditorApi */
interface EditsHere {
  readonly here: () => Promise<Reply>
  readonly publishHere: (order: PublishOrder, operator: Operator, via: string | null) => Promise<Reply>
}

/**
 * Says whether another node has a call, live or as a record: the first node that says so counts, and no other is waited for.
 * A live owner that is a run of this node that is gone may still be taken over. Of two nodes with a record each may ask the other,
 * and one keeps it: the one to which the stream came, else the store's owner of the call, or who had it later, or the first by name.
 * @param ours  record of the call here
 * @param leftAtWallMs  when an earlier run of this node wrote ours down for the last time; null: it is of this run. Where the store
 *   knows nothing of the call any more, one that is not left counts; and where it knows that the call was over long afterwards,
 *   these files are of before its end (a snapshot of DATA_DIR), and whoever ended it has made its record
 */
export async function recordAt(
  node: FleetNode,
  callSid: CallSid,
  ours: Pick<CallRecord, 'endReason' | 'resumed'>,
  leftAtWallMs: number | null = null,
): Promise<'elsewhere' | 'nowhere' | 'unknown'> {
  const isLeft = leftAtWallMs !== null
  // A node that has just been started, and has not seen a heartbeat, asks nobody: it does not know of the others.
  const seen = node.clockAheadMs !== null
  // No caller waits for it, and the next look is 5 s away.
  const reading = node.store.patient.read(callSid).catch(() => undefined)
  const isTheirs = async (name: string, theirs: RecordThere): Promise<boolean> => {
    const { endReason, resumed = [], isLeft: isLeftThere = false } = theirs
    if (endReason !== 'socket-never-came') {
      const entry = await reading
      // The next look reads it again: the other node may be able to, and goes by it.
      if (entry === undefined) return false
      // The call was decided by those who were there.
      if (entry === null && isLeft !== isLeftThere) return isLeft
      if (entry?.owner.node === name || entry?.owner.node === node.name) return entry.owner.node === name
    }
    return resumed.length === ours.resumed.length ? name < node.name : resumed.length > ours.resumed.length
  }
  const asking = node.others().map(async ({ name, incarnation }) => {
    const request: OpsRequest = { what: 'call', callSid, left: true }
    const asked = await node.ask({ node: name, incarnation }, 'ops', request, STORE_PATIENCE_MS)
    // Both ends are authenticated, and run this program.
    const { status, body } = asked.result === 'answered' ? (asked.answer as PeerReply) : { status: 0, body: {} }
    const theirs = body as RecordThere
    const has = status === 200 && (counts(theirs, ours) ?? (await isTheirs(name, theirs)))
    return { result: asked.result, has }
  })
  const found = asking.map(async (answer) => (await answer).has || Promise.reject(new Error('not there')))
  if (await Promise.any(found).catch(() => false)) return 'elsewhere'
  const [entry, answers] = await Promise.all([reading, Promise.all(asking)])
  if (
    leftAtWallMs !== null &&
    ours.endReason === 'process-died' &&
    entry?.overAtMs !== undefined &&
    !node.isThisRun(entry.owner) &&
    entry.overAtMs - leftAtWallMs > LEFT_BEFORE_MS
  )
    return 'elsewhere'
  const sure = seen && entry !== undefined && (entry === null || entry.phase === 'over')
  return sure && answers.every(({ result }) => result === 'answered') ? 'nowhere' : 'unknown'
}

/**
 * Longest time, in ms, from the last writing of a call's files to its death: OPEN_RECORD_EVERY_MS after a change of the
 * call, by a clock that may be 30 s beside the store's.
 */
const LEFT_BEFORE_MS = 60_000

/** Another node's record of a call; of a live one the parts have no end reason. `isLeft`: an earlier run has left it there. */
type RecordThere = Partial<Pick<CallRecord, 'endReason' | 'resumed'>> & { readonly isLeft?: boolean }

/** @returns whether another node's call or record counts more than ours; null where each may lose to the other */
function counts({ endReason }: RecordThere, ours: Pick<CallRecord, 'endReason'>): boolean | null {
  const came = (reason: typeof endReason): boolean => reason !== 'socket-never-came' && reason !== 'not-taken'
  if (endReason !== undefined && came(endReason) === came(ours.endReason)) return null
  return came(endReason)
}

interface LiveRows {
  readonly rows: readonly FleetRow[]
  /** Nodes that did not answer. */
  readonly silent: readonly string[]
}

/** A live call's view or an ended one's record, with its timeline. */
export interface WatchedCall {
  readonly call: LiveCallView | CallRecord
  readonly timeline: CallTimelineView
  /** True if it is on another node. */
  readonly elsewhere: boolean
}

/** Calls of one node, newest first. */
interface NodeCalls {
  readonly live: readonly ListedCall[]
  readonly ended: readonly ListedCall[]
}

const LIST_DEFAULT = 50

/** @returns null for one that is not allowed */
function limitOf({ limit }: OpsQuery): number | null {
  const asked = limit === '' ? LIST_DEFAULT : Number(limit)
  return Number.isInteger(asked) && asked >= 1 && asked <= OPS_LIST_MAX ? asked : null
}

/** The given ones of these parameters in a query. */
function given(query: OpsQuery, keys: readonly (keyof OpsQuery)[]): Partial<OpsQuery> {
  return Object.fromEntries(keys.filter((key) => query[key] !== '').map((key) => [key, query[key]]))
}

function badQuery({ issues: [issue] }: z.ZodError): Reply {
  return errorReply(400, 'BAD_REQUEST', `${issue?.path.join('.') ?? 'the query'}: ${issue?.message ?? ''}`)
}

/** The numbers of ours to which an answer is limited, as asked for and as allowed; null: to none. */
function numbersAsked(query: OpsQuery, allowed: ReadonlySet<string> | null): string[] | null | Reply {
  const number = subscriberNumber(query.number)
  if (number === null && query.number !== '')
    return errorReply(400, 'BAD_REQUEST', 'number is one of our own, such as +254720000101, with its + as %2B')
  if (number !== null && allowed?.has(number) === false) return NOT_ITS_NUMBER
  return number !== null ? [number] : allowed === null ? null : [...allowed]
}

/**
 * The nodes that were asked, and whether all of their records are indexed.
 * @param lacks  of a cursor: a node that left a page out is missing in the whole, however it answers the next
 */
function nodesOf(
  answers: readonly (readonly [string | null, { readonly current: boolean } | null])[],
  lacks = '',
): FoundView['nodes'] {
  const nodes = new Map(
    answers.map(([name, answer]) => [name, { answered: answer !== null, current: answer?.current ?? false }]),
  )
  for (const [, mark, text = ''] of lacks.matchAll(/,([-~])([^,]*)/g)) {
    const name = text === '' ? null : text
    nodes.set(name, { answered: mark !== '-' && nodes.get(name)?.answered !== false, current: false })
  }
  return [...nodes].map(([name, node]) => ({ name, ...node }))
}

const BAD_LIMIT: Reply = errorReply(400, 'BAD_REQUEST', `limit is a whole number from 1 to ${OPS_LIST_MAX}`)

/**
 * Where a page ends, `ID` or `ID:NODE`, and what it and those before it lack: `,-NODE` for a node that did not answer, `,~NODE` for
 * one that had not indexed all of its records, and `,*` for calls of numbers that are shown alike.
 */
const CURSOR = /^([0-9]{1,16})(?::([A-Za-z0-9._-]{1,63}))?((?:,(?:[-~][A-Za-z0-9._-]{0,63}|\*))*)$/

/** In the order of nodes after all of them. */
const BEYOND_ALL = '\uffff'

const NOTHING_TO_FIND: Reply = errorReply(404, 'NOT_FOUND', 'this process keeps nothing of its calls (KEEP_CALLS)')

interface PageWanted {
  readonly limit: number
  readonly search: CallSearch
  /** Numbers of ours to whose calls the asker is limited; null: to none. */
  readonly numbers: readonly string[] | null
  /** Marks of the cursor: what the pages before it lack. */
  readonly lacks: string
}

/** The newest of what the nodes have found, down to where each of them has looked. */
function pageOf(
  pages: readonly (readonly [string | null, FoundCalls | null])[],
  { limit, search, numbers, lacks }: PageWanted,
): FoundView {
  const lookedTo = Math.max(0, ...pages.map(([, page]) => page?.next ?? 0))
  const found = pages
    .flatMap(([node, page]) => (page?.hits ?? []).map((hit) => ({ ...hit, node })))
    .filter(({ id, row }) => id >= lookedTo && isOfNumbers(row, numbers))
    .sort((a, b) => b.id - a.id || ((a.node ?? '') < (b.node ?? '') ? -1 : 1))
  const shown = found.slice(0, limit)
  const last = shown.at(-1)
  const cursor = found.length > limit && last !== undefined ? `${last.id}:${last.node ?? ''}` : String(lookedTo)
  const calls = shown.map(({ row, node }) => ({ ...row, node }))
  const nodes = nodesOf(pages, lacks)
  const alike = lacks.includes('*') || calls.some((call) => isAlike(search, call))
  const marks = nodes.flatMap(({ name, answered, current }) =>
    current ? [] : [`,${answered ? '~' : '-'}${name ?? ''}`],
  )
  return { calls, cursor: cursor === '0' ? null : `${cursor}${marks.join('')}${alike ? ',*' : ''}`, nodes, alike }
}

const NOT_ITS_NUMBER: Reply = errorReply(
  403,
  'FORBIDDEN',
  'this token has the right to the calls of its own numbers only, and this is none of them',
)

const NO_FLEET: Reply = errorReply(404, 'NOT_FOUND', 'this process is not a node of a fleet')

function unanswered(nodes: string): Reply {
  return errorReply(
    504,
    'NODE_SILENT',
    `these nodes do not answer: ${nodes}; a command may have been carried out all the same`,
  )
}

function tooBusy(node: string | null): Reply {
  const why = `too many searches for calls wait${node === null ? '' : ` at node ${node}`}; ask again`
  return errorReply(503, 'CAPACITY', why, { headers: [['Retry-After', '1']] })
}

function isNoCall(reply: PeerReply): boolean {
  return isRefused(reply, 'CALL_UNKNOWN')
}

function isRefused(reply: PeerReply | null, code: ErrorCode): boolean {
  return (reply?.body as { error?: { code?: unknown } } | null | undefined)?.error?.code === code
}

/** A JSON answer. */
function toPeer(reply: Reply): PeerReply {
  return { status: reply.status, body: jsonOf(reply) }
}

/** Views that are files of a caller's own words: fetched from their own node, and audited. */
const FILES: readonly CallView[] = ['recording.wav', 'carrier-recording', 'journal.jsonl']

/** A file is megabytes: it is fetched from its own node, which says here where that is. */
function fileElsewhere(
  { callSid, view, part }: Extract<OpsRequest, { what: 'view' }>,
  { name, opsUrl }: NodeRecord,
): Reply {
  const where =
    opsUrl === null
      ? 'ask its ops port on its own machine, from where alone it is reached'
      : `ask ${opsUrl}/api/calls/${callSid}/${view}${part === null ? '' : `?part=${part}`}`
  return errorReply(409, 'OTHER_NODE', `node ${name} has this file: ${where}`)
}

/** Null: none is named. Undefined: not a body that may come. */
function nodeNamed(body: Uint8Array): string | null | undefined {
  if (body.byteLength === 0) return null
  const value = jsonObject(body)
  if (value === null) return undefined
  const { node = null } = value
  return node === null || typeof node === 'string' ? node : undefined
}

/** Ended calls as a table, a column for each field of any of them. */
function csvOf(calls: readonly ListedCall[]): string {
  const names = [...new Set(calls.flatMap(({ fields = {} }) => Object.keys(fields)))].sort()
  const columns = [
    'startedAt',
    'callSid',
    'agent',
    'number',
    'direction',
    'outcome',
    'endReason',
    'durationMs',
  ] as const
  const rows = calls.map((call) => [
    ...columns.map((column) => call[column] ?? ''),
    call.summary ?? '',
    ...names.map((name) => call.fields?.[name] ?? ''),
  ])
  return csvText([[...columns, 'summary', ...names], ...rows])
}
