import { csvText } from '../../core/csv.js'
import type { CallTimelineView, FleetRow, FoundView, ListedCall, LiveCallView } from '../../call/documents/call-view.js'
import { chartQuerySchema, chartRange, chartsOf } from '../../call/documents/call-charts.js'
import type { ChartsView } from '../../call/documents/call-charts.js'
import { callSearchSchema, isAlike, isOfNumbers } from '../../call/documents/call-search.js'
import type { CallSearch } from '../../call/documents/call-search.js'
import type { ChartedCalls, FoundCalls } from '../../telemetry/archive/index/call-finder.js'
import { LRUCache } from 'lru-cache'
import { z } from 'zod'
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
import { CALL_OUTCOMES, callRecordSchema, neverOpened } from '../../call/documents/record.js'
import { whyOf } from '../../call/why/why.js'
import type { Audit, Operator } from './ops-audit.js'
import type { Reply } from '../http/reply.js'
import { isFound } from './ops-api.js'
import type { CallCommand, CallView, OpsApi } from './ops-api.js'
import type { EndedSession } from './ops-session.js'
import type { EdgeOptions, PublishOrder } from '../options.js'
import { requestSchema, SEARCH_CHARS_MAX } from './ops-requests.js'
import type { NodeCommand, OpsRequest, CallRequest } from './ops-requests.js'

type FleetApiOptions = Pick<EdgeOptions, 'fleet' | 'finder' | 'log' | 'wallClock'>

/** Schema of a whole number in a query, from 1 to `max`. @param error  names the allowed numbers */
const fromOneTo = (max: number, error: string) =>
  z.coerce.number({ error }).int({ error }).min(1, { error }).max(max, { error })

const limitSchema = fromOneTo(OPS_LIST_MAX, `allowed: a whole number from 1 to ${OPS_LIST_MAX}`)
  .default(50)
  .describe('Maximum number of calls.')

const ownNumberSchema = z
  .string()
  .max(SEARCH_CHARS_MAX)
  .transform((text, context) => {
    const number = subscriberNumber(text)
    if (number !== null) return number
    context.addIssue({ code: 'custom', message: 'allowed: a number of ours, such as +254720000101, with its + as %2B' })
    return z.NEVER
  })
  .exactOptional()

/** Query of `GET /api/fleet/calls`. */
export const listQuerySchema = z.strictObject({
  limit: limitSchema.describe('Maximum number of calls in each list.'),
  outcome: z.enum(CALL_OUTCOMES).exactOptional().describe('Only ended calls with this outcome.'),
  number: ownNumberSchema.describe(
    'Only calls of this number of ours. The number must be in NUMBERS_FILE; write its + as %2B.',
  ),
  search: z
    .string()
    .trim()
    .max(SEARCH_CHARS_MAX, { error: `allowed: at most ${SEARCH_CHARS_MAX} characters` })
    .exactOptional()
    .describe(
      'Only ended calls about this subject: a field with its value, such as intent:refund, or a part of the summary or of a value.',
    ),
  format: z
    .enum(['json', 'csv'])
    .default('json')
    .describe('csv: the ended calls as a table, with a column for each field.'),
})

/** Query of `GET /api/find`. */
export const findQuerySchema = callSearchSchema.extend({
  limit: limitSchema,
  cursor: z
    .string()
    .refine((text) => CURSOR.test(text), { error: 'allowed: the cursor of the previous answer, unchanged' })
    .exactOptional()
    .describe('Cursor from the previous answer.'),
})

/** Query of `GET /api/charts`. */
export const chartsQuerySchema = chartQuerySchema.extend({
  number: ownNumberSchema.describe('Only calls of this number of ours. Write its + as %2B.'),
})

/** Query of `GET /api/calls/{sid}/recording.wav`. */
export const partQuerySchema = z.strictObject({
  part: fromOneTo(99, 'allowed: the number of a part of the recording, from 1 to 99')
    .exactOptional()
    .describe('Part of a call that continued with a new stream. Default: the newest part.'),
})

/** Body of `POST /api/drain`, `/api/cordon` and `/api/uncordon`. */
export const nodeSchema = z.object({
  node: z.string().nullable().default(null).describe('Name of the node; null for the node that gets the request.'),
})

/**
 * Operator's API over all nodes of a fleet. Any node answers for the calls of all nodes, and passes commands on to
 * them. The answer names each node that did not answer. Every command leaves a line in the audit logs of two nodes: the
 * node that received it and the node that carried it out.
 */
export class FleetApi {
  readonly #options: FleetApiOptions
  readonly #audit: Audit
  readonly #here: OpsApi
  readonly #onSessionEnded: (session: EndedSession) => void
  readonly #hear: (callSid: string, id: string, operator: Operator) => Reply
  readonly #edits: EditsHere
  /** Node that last returned the sound of a call, by listener. */
  readonly #hearsFrom = new LRUCache<string, string>({ max: LISTENERS_KNOWN_MAX })

  /**
   * @param onSessionEnded  called when another node has ended a session of the console
   * @param hear  returns the sound of a live call of this node for a listener at another node
   * @param edits  edits this node's agents for an operator at another node
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

  /** `POST /api/drain`, `/api/cordon` and `/api/uncordon`. */
  async commandNode(
    command: NodeCommand,
    order: z.output<typeof nodeSchema> | undefined,
    operator: Operator,
  ): Promise<Reply> {
    if (order === undefined)
      return errorReply(400, 'BAD_REQUEST', 'the body is empty or a JSON object with "node", the name of a node')
    const target = order.node
    const node = this.#options.fleet?.node
    const [name, reply] =
      target === null || target === node?.name
        ? [node?.name ?? null, this.#here.commandNode(command)]
        : await this.#commandOther(node, target, { what: 'node-command', command, operator })
    this.#audit({ command, node: name }, reply, operator)
    return reply
  }

  /** Ends sessions of the console at all other nodes, because they accept this node's cookies. */
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
   * Answers `GET /api/fleet/calls`: live and ended calls of all nodes, newest first.
   * @param allowed  numbers of ours to which the token is limited; null without a limit
   */
  async list(
    { limit, number, format, ...query }: z.output<typeof listQuerySchema>,
    allowed: ReadonlySet<string> | null = null,
  ): Promise<Reply> {
    const outcome = query.outcome ?? null
    const search = query.search === undefined || query.search === '' ? null : query.search
    const numbers = numbersAsked(number, allowed)
    if (numbers !== null && 'status' in numbers) return numbers
    const lists = await this.#ofAllNodes<NodeCalls>({ what: 'list', limit, outcome, numbers, search })
    if ('status' in lists) return lists
    const newest = (of: 'live' | 'ended'): readonly ListedCall[] =>
      lists
        .flatMap(([name, calls]) => (calls?.[of] ?? []).map((call) => ({ ...call, node: name })))
        // A node that runs an earlier version sends all of its ended calls, so they are filtered here.
        .filter((call) => of === 'live' || outcome === null || call.outcome === outcome)
        .filter((call) => isOfNumbers(call, numbers))
        .filter((call) => of === 'live' || search === null || isFound(call, search))
        .sort((a, b) => (a.startedAt < b.startedAt ? 1 : -1))
        .slice(0, limit)
    if (format === 'csv') return textReply(csvOf(newest('ended')), 'text/csv; charset=utf-8')
    return jsonReply({
      live: newest('live'),
      ended: newest('ended'),
      nodes: lists.map(([name, calls]) => ({ name, answered: calls !== null })),
    })
  }

  /**
   * Answers `GET /api/find`: ended calls of all nodes, of this run and earlier runs, newest first. A page goes back to
   * a time to which every answering node has searched.
   * @param allowed  numbers of ours, if the token is limited to their calls; null if the token is not limited
   */
  async find(
    { limit, cursor: mark = '', ...search }: z.output<typeof findQuerySchema>,
    allowed: ReadonlySet<string> | null,
  ): Promise<Reply> {
    const [, id = '', node = '', lacks = ''] = CURSOR.exec(mark) ?? []
    const cursor = id === '' ? null : { id: Number(id), node: node === '' ? BEYOND_ALL : node }
    const numbers = allowed === null ? null : [...allowed]
    const request: OpsRequest = { what: 'find', search, cursor, limit, numbers }
    const pages = await this.#ofAllNodes<FoundCalls>(request)
    return 'status' in pages ? pages : jsonReply(pageOf(pages, { limit, search, numbers, lacks }))
  }

  /**
   * Answers `GET /api/charts`: figures of the ended calls of all nodes over a day, a week or a month, by agent or
   * version.
   * @param allowed  numbers of ours, if the token is limited to their calls; null if the token is not limited
   */
  async charts(
    { number, ...query }: z.output<typeof chartsQuerySchema>,
    allowed: ReadonlySet<string> | null,
  ): Promise<Reply> {
    const numbers = numbersAsked(number, allowed)
    if (numbers !== null && 'status' in numbers) return numbers
    const range = chartRange(query, this.#options.wallClock())
    const request: OpsRequest = { what: 'chart', range, numbers }
    const answers = await this.#ofAllNodes<ChartedCalls>(request)
    if ('status' in answers) return answers
    const groups = answers.flatMap(([, answer]) => answer?.groups ?? [])
    return jsonReply({ ...chartsOf(range, groups), nodes: nodesOf(answers) } satisfies ChartsView)
  }

  /** Rows of the live calls of all nodes for the console's list. */
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

  /** Live view or record of a call that is watched, with its timeline; null if no node has the call. */
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
    return this.#ofCall({ what: 'call', callSid: sid, left: false, leaves: false })
  }

  /**
   * Answers `GET /api/calls/{sid}/why`: the account of an ended call (its cause, its waits, unusual values), compared
   * with the calls in this node's index.
   * @param numbers  numbers of ours, if the token is limited to their calls; null if the token is not limited. A
   * limited token gets no comparison, because usual values are calculated from the calls of all numbers
   */
  async why(sid: string, numbers: ReadonlySet<string> | null): Promise<Reply> {
    const call = await this.call(sid)
    if (call.status !== 200) return call
    const body = jsonOf(call)
    const found = callRecordSchema.safeParse(body)
    if (!found.success)
      return typeof (body as { readonly outcome?: unknown }).outcome === 'string'
        ? errorReply(409, 'OTHER_NODE', 'a node of another version wrote this record; ask a node of that version')
        : errorReply(409, 'CALL_LIVE', 'this call is live; allowed: a call that has ended')
    const { agent, startedAt } = found.data
    // If the index cannot be read, the account has no comparison.
    const finder = numbers === null ? this.#options.finder : undefined
    const usual = (await finder?.usual(agent, Date.parse(startedAt)).catch(() => null)) ?? null
    return jsonReply(whyOf(found.data, usual))
  }

  /** Answers about a call. A token that is limited to some numbers is refused if the call belongs to another number. */
  async ofNumbers(sid: string, numbers: ReadonlySet<string> | null, answer: () => Promise<Reply>): Promise<Reply> {
    if (numbers === null) return answer()
    const call = await this.call(sid)
    if (call.status !== 200) return call
    const found = jsonOf(call) as Pick<CallRecord, 'number'>
    return isOfNumbers(found, [...numbers]) ? answer() : NOT_ITS_NUMBER
  }

  /** @param part  part of a recording, from 1; null for the newest part */
  async view(sid: string, view: CallView, part: number | null, operator: Operator): Promise<Reply> {
    const reply = await this.#ofCall({ what: 'view', callSid: sid, view, part })
    if (FILES.includes(view) && reply.status === 200 && isCallSid(sid))
      this.#audit({ command: view, call_sid: sid }, reply, operator)
    return reply
  }

  /** Answers `POST /api/calls`: this node places the call. */
  async place(order: Parameters<OpsApi['place']>[0], operator: Operator): Promise<Reply> {
    const reply = await this.#here.place(order)
    const placed = jsonOf(reply) as { readonly callSid?: unknown }
    const sid = typeof placed.callSid === 'string' ? placed.callSid : null
    this.#audit({ command: 'call', call_sid: sid }, reply, operator)
    return reply
  }

  /**
   * Fetches the sound of a call of another node, for a listener at this node.
   * @param id  id of the listener; the last answering node is asked first
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

  /** Runs `POST /api/calls/{sid}/hangup`, `/escalate` and `/whisper`. The node of the call reads the body. */
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

  /**
   * Asks the call's owner first. If the owner is unknown or does not answer, all other nodes are asked at the same
   * time.
   */
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

  #ask(
    node: FleetNode,
    other: NodeRecord,
    request: OpsRequest,
    answerMs = ['find', 'chart'].includes(request.what) ? FIND_PEER_MS : OPS_PEER_MS,
  ): Promise<PeerReply | null> {
    return askPeer(node, other, request, answerMs)
  }

  /** Answer of each other node, by its name; null if it did not answer. */
  async #askOthers(request: OpsRequest, answerMs?: number): Promise<readonly (readonly [string, PeerReply | null])[]> {
    const node = this.#options.fleet?.node
    if (node === undefined) return []
    const asked = node
      .others()
      .map(async (other) => [other.name, await this.#ask(node, other, request, answerMs)] as const)
    return Promise.all(asked)
  }

  /** Calls `#askOthers`, and makes a reply from each answer. */
  async askAll(request: OpsRequest, answerMs?: number): Promise<readonly (readonly [string, Reply | null])[]> {
    const answers = await this.#askOthers(request, answerMs)
    return answers.map(([name, reply]) => [name, reply === null ? null : jsonReply(reply.body, reply.status)] as const)
  }

  /**
   * Asks all nodes that keep calls.
   * @returns their answers by name, this node first; null for a node that did not answer, or whose index cannot be
   * read. If no node has an answer, the result is the fault of this node. If a node is too busy, the result is its
   * refusal, because the page could not show that this node's calls are missing
   */
  async #ofAllNodes<T>(request: OpsRequest): Promise<readonly (readonly [string | null, T | null])[] | Reply> {
    // This node makes its list before other nodes answer. A call that moves between nodes is then listed twice instead
    // of left out.
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

  /** Answer of this node. @param from  node that asks; null for this node */
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
        // Calls with equal ids are sorted by the names of their nodes.
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
        const { fleet } = this.#options
        if (!request.left || from === null || fleet === undefined) return reply
        const left = fleet.left(request.callSid)
        const there =
          reply.status === 200 ? (jsonOf(reply) as RecordThere) : left && { ...recordPart(left), isLeft: true }
        return there === undefined ? reply : jsonReply(await withDecision(fleet.node, request, from, there))
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

/**
 * Maximum number of this node's live calls in a watcher's list. The list has at most OPS_LIST_MAX calls of each other
 * node.
 */
const OPS_LIVE_ROWS_MAX = 10_000

/**
 * Time limit in ms for a search at another node. The first search takes longer: it starts the thread of the index,
 * which indexes new records.
 */
const FIND_PEER_MS = 5000
/**
 * Maximum number of listeners for which the node of their call is remembered. For other listeners the node is searched
 * again.
 */
const LISTENERS_KNOWN_MAX = 64

/** Answer of a node to another node: the status of the HTTP answer, and the JSON of its body. */
interface PeerReply {
  readonly status: Reply['status']
  readonly body: unknown
}

/** Editing of this node's agents. @see EditorApi */
interface EditsHere {
  readonly here: () => Promise<Reply>
  readonly publishHere: (order: PublishOrder, operator: Operator, via: string | null) => Promise<Reply>
}

/**
 * Finds if another node has a call, live or as a record. The first node with the call decides; the function does not
 * wait for the other answers.
 *
 * Two nodes may each have a record of a call and ask each other. One of them keeps its record. These rules are tried in
 * order:
 * 1. The node with the live call keeps its record.
 * 2. The node to which the stream came keeps its record, then the node whose caller hung up before a stream came.
 * 3. The node that saw the end of the call keeps its record, unless the other node has decided before.
 * 4. The owner of the call in the store keeps its record.
 * 5. The node with the call itself keeps its record, if the other node only rang the person.
 * 6. The node with the later part of the call keeps its record, then the node that is first by name.
 *
 * The store may name an earlier run of this node as the live owner. Such a call may still be taken over.
 * @param ours  record of the call at this node
 * @param leftAtWallMs  calendar time at which an earlier run of this node last wrote our record; null if the record is
 * of this run. If the store no longer knows the call, a record of this run counts. If the store has an end of the call
 * long after this time, our files are older than the end (a snapshot of DATA_DIR). Another node has then made the
 * record.
 * @param isLast  true: no other check follows. If no node can read the store, the records alone decide.
 */
export async function recordAt(
  node: FleetNode,
  callSid: CallSid,
  ours: OurRecord,
  leftAtWallMs: number | null = null,
  isLast = false,
): Promise<'elsewhere' | 'nowhere' | 'unknown'> {
  return node.leftRecords.ask(callSid, () => lookAround(node, callSid, ours, leftAtWallMs, isLast))
}

async function lookAround(
  node: FleetNode,
  callSid: CallSid,
  ours: OurRecord,
  leftAtWallMs: number | null,
  isLast: boolean,
): Promise<'elsewhere' | 'nowhere' | 'unknown'> {
  const isLeft = leftAtWallMs !== null
  // Before its first heartbeat a node does not know the other nodes, so it cannot ask them.
  const seen = node.clockAheadMs !== null
  // The read may be slow, because no caller waits for it and the next check is 5 s away.
  const reading = node.store.patient.read(callSid).then(
    (entry) => {
      node.leftRecords.noteOwner(callSid, entry?.owner.node ?? null)
      return entry
    },
    () => undefined,
  )
  /** Other nodes that are still asking if their own record counts. */
  const deciding = new Set<string>()
  const isTheirs = async (name: string, theirs: RecordThere): Promise<boolean> => {
    const { endReason, resumed = [], isLeft: isLeftThere = false, asks = false } = theirs
    if (endReason === undefined) return true
    if (node.leftRecords.isKeptFor(callSid, name)) return false
    const [there, here] = [weight({ ...theirs, endReason }), weight(ours)]
    if (there !== here && Math.min(there, here) < SAW_MORE) return there > here
    // A record that was made from a dead node's files does not contain the end of the call.
    const [diedThere, diedHere] = [endReason === 'process-died', ours.endReason === 'process-died']
    if (there === here && diedThere !== diedHere) {
      // A decided record stays. A record of an older node also stays, because an older node does not ask. An undecided
      // node may not know our record yet.
      if (diedThere && !isLeftThere && !asks) return true
      if (diedThere && asks) deciding.add(name)
      return resumed.length === ours.resumed.length ? diedHere : resumed.length > ours.resumed.length
    }
    if (there >= SAW_MORE) {
      const entry = await reading
      // If one of the two nodes cannot read the store, it uses the owner that the other node has read.
      const owner = entry?.owner.node ?? theirs.storeOwner ?? (entry === undefined ? undefined : null)
      // The owner has ended the call. An older node may have repeated an order later; its record would hide the end of
      // the call.
      if (owner === name || owner === node.name) return owner === name
      if (there !== here) return there > here
      // The owner is unknown: this node keeps its record until the next check, which reads the store again.
      if (owner === undefined && !isLast) return false
      // If one node had the call in its present run and the other node has only files of an earlier run, the first node
      // knows more.
      if (owner === null && isLeft !== isLeftThere) return isLeft
    }
    return resumed.length === ours.resumed.length ? name < node.name : resumed.length > ours.resumed.length
  }
  const asking = node.others().map(async (other) => {
    const reply = await askForCall(node, other, callSid)
    const has = reply?.status === 200 && (await isTheirs(other.name, reply.body as RecordThere))
    return { answered: reply !== null, has: has ? other : null }
  })
  const found = asking.map(async (answer) => (await answer).has ?? Promise.reject(new Error('not there')))
  const at = await Promise.any(found).catch(() => null)
  if (at !== null) {
    const isLeft = await node.leftRecords.leave(callSid, at.name, async () => {
      const reply = await askForCall(node, at, callSid, true)
      // An older node does not send `keeps`.
      return reply?.status === 200 && (reply.body as RecordThere).keeps !== false
    })
    return isLeft ? 'elsewhere' : 'unknown'
  }
  const [entry, answers] = await Promise.all([reading, Promise.all(asking)])
  if (deciding.size > 0 && !isLast) return 'unknown'
  if (
    leftAtWallMs !== null &&
    ours.endReason === 'process-died' &&
    entry?.overAtMs !== undefined &&
    !node.isThisRun(entry.owner) &&
    entry.overAtMs - leftAtWallMs > LEFT_BEFORE_MS
  )
    return 'elsewhere'
  const sure = seen && entry !== undefined && (entry === null || entry.phase === 'over')
  return sure && answers.every(({ answered }) => answered) ? 'nowhere' : 'unknown'
}

/** Asks another node. @returns null if it has not answered within `answerMs` */
async function askPeer(
  node: FleetNode,
  { name, incarnation }: NodeRecord,
  request: OpsRequest,
  answerMs: number,
): Promise<PeerReply | null> {
  const asked = await node.ask({ node: name, incarnation }, 'ops', request, answerMs)
  // `PEER_ANSWERS` has checked the form.
  return asked.result === 'answered' ? (asked.answer as PeerReply) : null
}

/**
 * Asks another node for a call: live, as a record, or left by an earlier run of the asked node.
 * @param leaves  true: this node drops its record if the asked node keeps a record
 */
function askForCall(node: FleetNode, other: NodeRecord, callSid: CallSid, leaves = false): Promise<PeerReply | null> {
  return askPeer(node, other, { what: 'call', callSid, left: true, leaves }, STORE_PATIENCE_MS)
}

/**
 * Asks all other nodes about a call.
 * @returns `bodies`: views of the live call, and records. `nodes`: all nodes that answered. `isWhole`: every node answered
 */
export async function callElsewhere(
  node: FleetNode,
  callSid: CallSid,
): Promise<{ readonly bodies: readonly unknown[]; readonly nodes: readonly NodeRecord[]; readonly isWhole: boolean }> {
  const others = node.others()
  const answers = await Promise.all(
    others.map(async (other) => ({ other, reply: await askForCall(node, other, callSid) })),
  )
  const heard = answers.filter(({ reply }) => reply !== null && [200, 404].includes(reply.status))
  return {
    bodies: heard.flatMap(({ reply }) => (reply?.status === 200 ? [reply.body] : [])),
    nodes: heard.map(({ other }) => other),
    // Before its first heartbeat this node knows no other node.
    isWhole: node.clockAheadMs !== null && heard.length === others.length,
  }
}

/** True if another node has the live call. */
export async function isLiveElsewhere(node: FleetNode, callSid: CallSid): Promise<boolean> {
  const { bodies } = await callElsewhere(node, callSid)
  return bodies.some((body) => (body as RecordThere).endReason === undefined)
}

/**
 * Maximum time in ms between the last writing of a call's files and the death of its process. Files are written
 * OPEN_RECORD_EVERY_MS after a change of the call, and the clock may differ from the store's clock by 30 s.
 */
const LEFT_BEFORE_MS = 60_000

type OurRecord = Pick<CallRecord, 'endReason' | 'resumed' | 'direction' | 'durationMs'>

/** Another node's record of a call. A live call has no end reason. A record left by an older node lacks more fields. */
interface RecordThere extends Partial<OurRecord> {
  /** True if an earlier run of the other node left the record. */
  readonly isLeft?: boolean
  /**
   * True while the other node asks further nodes if its record counts. Absent if it does not ask, or is an older node.
   */
  readonly asks?: boolean
  /**
   * Owner of the call in the store, as the other node read it, or null. Absent if the store did not answer, or the
   * other node is an older node.
   */
  readonly storeOwner?: string | null
  /** False if the other node drops its record. Absent if it was not asked to drop its record, or is an older node. */
  readonly keeps?: boolean
}

function recordPart({ endReason, resumed, direction, durationMs }: CallRecord): RecordThere {
  return { endReason, resumed, direction, durationMs }
}

/** Adds facts to a record, or to a live call. Another node uses them in `recordAt` to decide about its own record. */
export async function withDecision<There extends RecordThere>(
  node: FleetNode,
  { callSid, leaves }: { readonly callSid: string; readonly leaves: boolean },
  from: string,
  there: There,
): Promise<There & RecordThere> {
  if (leaves) return { ...there, keeps: node.leftRecords.keeps(callSid, from) }
  // A live call needs no decision.
  if (there.endReason === undefined) return there
  const asks = node.leftRecords.asks(callSid) ? { asks: true } : {}
  const storeOwner = await node.store.read(callSid).then(
    (entry) => entry?.owner.node ?? null,
    () => node.leftRecords.ownerOf(callSid),
  )
  return { ...there, ...asks, ...(storeOwner === undefined ? {} : { storeOwner }) }
}

/**
 * Part of the call that a node with this record has seen. 0: the webhook. 1: a hang-up before the stream. 2: a person
 * was rung. 3: the call itself.
 */
function weight(record: Partial<OurRecord> & Pick<OurRecord, 'endReason'>): 0 | 1 | 2 | 3 {
  if (record.endReason === 'socket-never-came') return 0
  return neverOpened(record) ? 1 : record.endReason === 'not-taken' ? 2 : 3
}
/** Minimum weight of a node that saw more of the call than the webhook and the caller's hang-up. */
const SAW_MORE = 2

interface LiveRows {
  readonly rows: readonly FleetRow[]
  /** Nodes that did not answer. */
  readonly silent: readonly string[]
}

/** View of a live call or record of an ended call, with its timeline. */
export interface WatchedCall {
  readonly call: LiveCallView | CallRecord
  readonly timeline: CallTimelineView
  /** True if the call is on another node. */
  readonly elsewhere: boolean
}

/** Rows of one node, newest first. */
interface NodeCalls {
  readonly live: readonly ListedCall[]
  readonly ended: readonly ListedCall[]
}

/**
 * @returns numbers of ours, if query and token limit the answer to the calls of these numbers; null if the answer is
 * not limited
 */
function numbersAsked(number: string | undefined, allowed: ReadonlySet<string> | null): string[] | null | Reply {
  if (number === undefined) return allowed === null ? null : [...allowed]
  return allowed?.has(number) === false ? NOT_ITS_NUMBER : [number]
}

/**
 * Lists the nodes that were asked, and reports if all of their records are indexed.
 * @param lacks  marks of the cursor. A node that was silent on an earlier page is listed as silent again.
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

/**
 * End of a page: `ID` or `ID:NODE`, then a mark for each gap of this page and the pages before it. `,-NODE`: the node
 * did not answer. `,~NODE`: the node had not indexed all of its records. `,*`: records of other numbers may have an
 * equal masked number, so their calls may be in the list.
 */
const CURSOR = /^([0-9]{1,16})(?::([A-Za-z0-9._-]{1,63}))?((?:,(?:[-~][A-Za-z0-9._-]{0,63}|\*))*)$/

/** Text that sorts after the names of all nodes. */
const BEYOND_ALL = '\uffff'

const NOTHING_TO_FIND: Reply = errorReply(404, 'NOT_FOUND', 'this process stores no data of its calls (KEEP_CALLS)')

interface PageWanted {
  readonly limit: number
  readonly search: CallSearch
  /** Numbers of ours, if the token is limited to the calls of these numbers; null if the token is not limited. */
  readonly numbers: readonly string[] | null
  /** Marks of the cursor for the gaps of earlier pages. */
  readonly lacks: string
}

/**
 * Makes a page of the newest calls that the nodes found. The page goes back only to a time that every node has reached
 * in its search.
 */
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
  'this token has the right to the calls of its own numbers only, and this request is about other calls',
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

/** Answer to another node, from a reply with JSON. */
function toPeer(reply: Reply): PeerReply {
  return { status: reply.status, body: jsonOf(reply) }
}

/** Views that are files with a caller's words. They are fetched from the node that has them, and audited. */
const FILES: readonly CallView[] = ['recording.wav', 'carrier-recording', 'journal.jsonl']

/** Refusal with the address of the node that has a file. A file has megabytes, so it is fetched from that node. */
function fileElsewhere(
  { callSid, view, part }: Extract<OpsRequest, { what: 'view' }>,
  { name, opsUrl }: NodeRecord,
): Reply {
  const where =
    opsUrl === null
      ? 'ask its ops port from its own machine; other machines cannot reach this port'
      : `ask ${opsUrl}/api/calls/${callSid}/${view}${part === null ? '' : `?part=${part}`}`
  return errorReply(409, 'OTHER_NODE', `node ${name} has this file: ${where}`)
}

/** Makes a table of ended calls. Each field that a call has gets a column. */
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
