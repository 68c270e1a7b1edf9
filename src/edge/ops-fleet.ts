import { z } from 'zod'
import { isCallSid } from '../core/ids.js'
import { OPS_LIST_MAX, OPS_PEER_MS } from '../core/limits.js'
import type { NodeRecord } from '../fleet/call-store.js'
import type { FleetNode } from '../fleet/fleet-node.js'
import { fleetStatus } from '../fleet/fleet-status.js'
import type { OwnStatus } from '../fleet/fleet-status.js'
import { errorReply, jsonReply } from './http-exchange.js'
import type { Reply } from './http-exchange.js'
import { CALL_COMMANDS, CALL_VIEWS, OpsApi } from './ops-api.js'
import type { CallCommand, CallView, ListedCall } from './ops-api.js'
import type { EdgeOptions } from './options.js'

type FleetApiOptions = Pick<EdgeOptions, 'fleet' | 'storeHome' | 'log'>

/** Commands for a whole node. */
export const NODE_COMMANDS = ['drain', 'cordon', 'uncordon'] as const
type NodeCommand = (typeof NODE_COMMANDS)[number]

/** Who gave a command. */
const operatorSchema = z.object({
  /** `none`: the port needs none. */
  token: z.enum(['OPS_TOKEN', 'none']),
  address: z.string().max(64),
})
export type Operator = z.output<typeof operatorSchema>

const callSid = z.string().max(64)
/** What a node asks another for, on behalf of an operator. */
const requestSchema = z.discriminatedUnion('what', [
  z.object({ what: z.literal('status') }),
  z.object({ what: z.literal('list'), limit: z.int().min(1).max(OPS_LIST_MAX) }),
  z.object({ what: z.literal('call'), callSid }),
  z.object({ what: z.literal('view'), callSid, view: z.enum(CALL_VIEWS) }),
  z.object({
    what: z.literal('call-command'),
    callSid,
    command: z.enum(CALL_COMMANDS),
    body: z.string(),
    operator: operatorSchema,
  }),
  z.object({ what: z.literal('node-command'), command: z.enum(NODE_COMMANDS), operator: operatorSchema }),
])
type OpsRequest = z.output<typeof requestSchema>
type CallRequest = Extract<OpsRequest, { readonly callSid: string }>

/** A node's answer to another: the status of the HTTP answer, and the JSON of its body. */
interface PeerReply {
  readonly status: Reply['status']
  readonly body: unknown
}

/**
 * The operator's API over all nodes of a fleet: any node answers for the calls of every other, and passes commands on.
 * A node that does not answer is named. Every command leaves a line in the log, at the node that got it and at the node
 * that carried it out.
 */
export class FleetApi {
  readonly #options: FleetApiOptions
  readonly #here: OpsApi

  constructor(options: FleetApiOptions, here: OpsApi) {
    this.#options = options
    this.#here = here
    options.fleet?.onRequest('ops', (request, from) => this.#asked(request, from))
  }

  // --- the fleet ----------------------------------------------------------------------------------------------

  /** `GET /api/fleet` */
  async status(): Promise<Reply> {
    const { fleet, storeHome } = this.#options
    if (fleet === undefined || storeHome === undefined) return NO_FLEET
    const own = new Map<string, OwnStatus>([[fleet.name, this.#ownStatus(fleet)]])
    const others = fleet.nodes().filter(({ name }) => name !== fleet.name)
    await Promise.all(
      others.map(async (node) => {
        const reply = await this.#ask(fleet, node, { what: 'status' })
        if (reply?.status === 200) own.set(node.name, reply.body as OwnStatus)
      }),
    )
    return jsonReply(
      fleetStatus({
        self: fleet.name,
        nodes: fleet.nodes(),
        suspects: fleet.suspects(),
        own,
        store: storeHome,
        alerts: fleet.alerts,
      }),
    )
  }

  #ownStatus(fleet: FleetNode): OwnStatus {
    return { notReady: this.#here.notReady, clockDifferenceMs: fleet.clockDifferenceMs }
  }

  /** `POST /api/drain`, `/api/cordon` and `/api/uncordon`; the body may name a `node`. */
  async commandNode(command: NodeCommand, body: Uint8Array, operator: Operator): Promise<Reply> {
    const { fleet } = this.#options
    const target = nodeNamed(body)
    if (target === undefined)
      return errorReply(400, 'BAD_REQUEST', 'the body is empty or a JSON object with "node", the name of a node')
    if (target === null || target === fleet?.name) {
      const reply = this.#here.commandNode(command)
      this.#audit({ command, node: fleet?.name ?? null, call_sid: null, status: reply.status }, operator)
      return reply
    }
    const node = fleet?.nodes().find(({ name }) => name === target)
    if (fleet === undefined || node === undefined) {
      const names = fleet?.nodes().map(({ name }) => name) ?? []
      return errorReply(404, 'NOT_FOUND', `there is no node of that name; nodes are: ${names.join(', ')}`)
    }
    const asked = await this.#ask(fleet, node, { what: 'node-command', command, operator })
    const reply = asked === null ? unanswered(node.name) : jsonReply(asked.body, asked.status)
    this.#audit({ command, node: node.name, call_sid: null, status: reply.status }, operator)
    return reply
  }

  // --- calls --------------------------------------------------------------------------------------------------

  /** `GET /api/fleet/calls`: live and ended calls of all nodes, newest first, at most `limit` of each. */
  async list(limitText: string | undefined): Promise<Reply> {
    const { fleet } = this.#options
    const limit = limitText === undefined || limitText === '' ? LIST_DEFAULT : Number(limitText)
    if (!Number.isInteger(limit) || limit < 1 || limit > OPS_LIST_MAX)
      return errorReply(400, 'BAD_REQUEST', `limit is a whole number from 1 to ${OPS_LIST_MAX}`)
    if (fleet === undefined) return NO_FLEET
    const lists = await Promise.all(
      fleet.nodes().map(async (node): Promise<readonly [string, NodeCalls | null]> => {
        if (node.name === fleet.name) return [node.name, this.#here.newest(limit)]
        const reply = await this.#ask(fleet, node, { what: 'list', limit })
        return [node.name, reply?.status === 200 ? (reply.body as NodeCalls) : null]
      }),
    )
    const newest = (of: 'live' | 'ended'): readonly ListedCall[] =>
      lists
        .flatMap(([node, calls]) => (calls?.[of] ?? []).map((call) => ({ ...call, node })))
        .sort((a, b) => (a.startedAt < b.startedAt ? 1 : -1))
        .slice(0, limit)
    return jsonReply({
      live: newest('live'),
      ended: newest('ended'),
      nodes: lists.map(([name, calls]) => ({ name, answered: calls !== null })),
    })
  }

  /** `GET /api/calls/{sid}` */
  call(sid: string | undefined): Promise<Reply> {
    return this.#ofCall({ what: 'call', callSid: sid ?? '' })
  }

  view(sid: string | undefined, view: CallView): Promise<Reply> {
    return this.#ofCall({ what: 'view', callSid: sid ?? '', view })
  }

  /** `POST /api/calls/{sid}/hangup` and `/escalate` */
  async command(sid: string | undefined, command: CallCommand, body: Uint8Array, operator: Operator): Promise<Reply> {
    const request: CallRequest = {
      what: 'call-command',
      callSid: sid ?? '',
      command,
      body: new TextDecoder().decode(body),
      operator,
    }
    return this.#ofCall(request)
  }

  async #ofCall(request: CallRequest): Promise<Reply> {
    const { fleet } = this.#options
    const { callSid: sid } = request
    const ours = !isCallSid(sid) || fleet === undefined || (await this.#here.has(sid))
    const [node, reply] = ours
      ? [fleet?.name ?? null, await this.#answer(request)]
      : await this.#elsewhere(fleet, request)
    if (request.what === 'call-command')
      this.#audit({ command: request.command, node, call_sid: sid, status: reply.status }, request.operator)
    return reply
  }

  /** The owner is asked first; then, or when it is not known, all others at once. */
  async #elsewhere(fleet: FleetNode, request: CallRequest): Promise<readonly [string | null, Reply]> {
    const others = fleet.nodes().filter(({ name }) => name !== fleet.name)
    const entry = await fleet.store.read(request.callSid).catch(() => null)
    const owner = others.find(({ name }) => name === entry?.owner.node)
    const silent: string[] = []
    const tried = async (node: NodeRecord): Promise<readonly [string, Reply] | null> => {
      const reply = await this.#ask(fleet, node, request)
      if (reply === null) silent.push(node.name)
      return reply === null || isNoCall(reply) ? null : [node.name, jsonReply(reply.body, reply.status)]
    }
    const byOwner = owner === undefined ? null : await tried(owner)
    if (byOwner !== null) return byOwner
    const rest = await Promise.all(others.filter((node) => node !== owner).map(tried))
    const found = rest.find((reply) => reply !== null)
    if (found !== undefined) return found
    if (silent.length > 0) return [owner?.name ?? null, unanswered(silent.join(', '))]
    return [null, errorReply(404, 'CALL_UNKNOWN', 'no node has a call of that SID, live or lately ended')]
  }

  // --- between nodes ------------------------------------------------------------------------------------------

  async #ask(fleet: FleetNode, { name, incarnation }: NodeRecord, request: OpsRequest): Promise<PeerReply | null> {
    const asked = await fleet.ask({ node: name, incarnation, nonce: '' }, 'ops', request, OPS_PEER_MS)
    // Both ends are authenticated, and run this program.
    return asked.result === 'answered' ? (asked.answer as PeerReply) : null
  }

  async #asked(body: unknown, from: string): Promise<PeerReply> {
    const request = requestSchema.safeParse(body)
    if (!request.success) return toPeer(errorReply(400, 'BAD_REQUEST', 'this node does not know that request'))
    const reply = await this.#answer(request.data)
    const { data } = request
    const { fleet } = this.#options
    if (data.what === 'call-command' || data.what === 'node-command') {
      const sid = data.what === 'call-command' ? data.callSid : null
      const line = { command: data.command, node: fleet?.name ?? null, call_sid: sid, status: reply.status, via: from }
      if (!isNoCall(toPeer(reply))) this.#audit(line, data.operator)
    }
    return toPeer(reply)
  }

  /** This node's own answer. */
  async #answer(request: OpsRequest): Promise<Reply> {
    const here = this.#here
    switch (request.what) {
      case 'status':
        return this.#options.fleet === undefined ? NO_FLEET : jsonReply(this.#ownStatus(this.#options.fleet))
      case 'list':
        return jsonReply(here.newest(request.limit))
      case 'call':
        return here.call(request.callSid)
      case 'view':
        return here.view(request.callSid, request.view)
      case 'call-command':
        return here.command(request.callSid, request.command, new TextEncoder().encode(request.body))
      case 'node-command':
        return here.commandNode(request.command)
    }
  }

  #audit(fields: AuditFields, { token, address }: Operator): void {
    this.#options.log.component('audit').info({ ...fields, token_kind: token, address }, 'An operator gave a command')
  }
}

interface AuditFields {
  readonly command: NodeCommand | CallCommand
  /** The node that it is for; null where none has the call. */
  readonly node: string | null
  readonly call_sid: string | null
  /** Of the HTTP answer. */
  readonly status: number
  /** The node that passed it on. */
  readonly via?: string
}

/** Calls of one node, newest first. */
export interface NodeCalls {
  readonly live: readonly ListedCall[]
  readonly ended: readonly ListedCall[]
}

const LIST_DEFAULT = 50

const NO_FLEET: Reply = errorReply(404, 'NOT_FOUND', 'this process is not a node of a fleet')

function unanswered(nodes: string): Reply {
  return errorReply(
    504,
    'NODE_SILENT',
    `these nodes do not answer: ${nodes}; a command may have been carried out all the same`,
  )
}

function isNoCall({ status, body }: PeerReply): boolean {
  return status === 404 && (body as { error?: { code?: unknown } } | null)?.error?.code === 'CALL_UNKNOWN'
}

/** A recording is megabytes of audio: it is fetched from its own node. */
function toPeer({ status, body, contentType }: Reply): PeerReply {
  if (typeof body === 'string' && contentType.startsWith('application/json'))
    return { status, body: JSON.parse(body) as unknown }
  return toPeer(
    errorReply(
      409,
      'OTHER_NODE',
      "another node has this recording: ask that node's ops port (GET /api/fleet has its URL)",
    ),
  )
}

/** Null: none is named. Undefined: not a body that may come. */
function nodeNamed(body: Uint8Array): string | null | undefined {
  if (body.byteLength === 0) return null
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(body))
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    const { node = null } = value as { node?: unknown }
    return node === null || typeof node === 'string' ? node : undefined
  } catch {
    return undefined // what is not JSON is answered like any other wrong body
  }
}
