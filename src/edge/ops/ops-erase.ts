import { z } from 'zod'
import type { DocumentOf } from '../../call/documents/document.js'
import { CALL_SID } from '../../core/ids.js'
import type { CallSid } from '../../core/ids.js'
import { ERASE_PEER_MS, EXPORT_CALLS_MAX, OPS_PEER_MS } from '../../core/limits.js'
import type { NodeRecord } from '../../fleet/store/call-store.js'
import type { FleetNode } from '../../fleet/fleet-node.js'
import { messageViewSchema } from '../../messages/outbox.js'
import { subscriberNumber } from '../../sautikit/phone.js'
import { eachErased } from '../../telemetry/archive/erasure.js'
import type { ErasedCounts } from '../../telemetry/archive/erasure.js'
import { errorReply, jsonReply } from '../http/reply.js'
import type { Reply } from '../http/reply.js'
import { operatorSchema } from './ops-audit.js'
import type { Audit, Operator } from './ops-audit.js'
import type { EdgeOptions, ErasureHere, ErasureTarget } from '../options.js'

/** Body of `POST /api/export`. */
export const exportSchema = z.strictObject({
  number: z.string().max(64).describe("The caller's number, E.164."),
  masked: z
    .boolean()
    .default(false)
    .describe('Include calls whose record has a masked number that may be this number.'),
})
/** Body of `POST /api/erase`. */
export const eraseSchema = z.union([
  z.strictObject({
    sid: z
      .string()
      .regex(CALL_SID)
      .transform((sid) => sid as CallSid)
      .describe('SID of an ended call.'),
  }),
  exportSchema,
])

/**
 * Request from one node to another. `live`: asks if a matching call is live at the other node, and erases no data.
 * `find`: an export.
 */
export const eraseRequestSchema = z.object({
  what: z.enum(['live', 'erase', 'find']),
  target: eraseSchema,
  operator: operatorSchema,
})
type EraseRequest = z.output<typeof eraseRequestSchema>

const countSchema = z.int().min(0)
export const eraseAnswerSchema = z.object({
  live: countSchema,
  erased: z.object(eachErased(() => countSchema.default(0))).nullable(),
  uncertain: countSchema,
  unlooked: z.array(z.string()).default([]),
  found: z
    .object({
      callSids: z.array(z.string().max(64)).max(EXPORT_CALLS_MAX),
      more: countSchema,
      messages: z.array(messageViewSchema).max(EXPORT_CALLS_MAX).default([]),
      rows: z.array(z.looseObject({})).default([]),
    })
    .nullable()
    .default(null),
})
type EraseAnswer = DocumentOf<typeof eraseAnswerSchema>

/**
 * Handles `POST /api/erase`: erases the data of a call, or of all calls of a number, at all nodes. First every node is
 * asked if one of these calls is live. If a call is live, no data is erased at any node. The answer and the log have
 * counts of the erased data, and no names.
 *
 * Handles `POST /api/export`: lists the ended calls of a number at all nodes, for a copy of a caller's data.
 */
export class EraseApi {
  readonly #erasure: ErasureHere | undefined
  /** This node in its fleet; null without a fleet. */
  readonly #node: FleetNode | null
  readonly #audit: Audit

  constructor({ erasure, fleet }: Pick<EdgeOptions, 'fleet' | 'erasure'>, audit: Audit) {
    this.#erasure = erasure
    this.#node = fleet?.node ?? null
    this.#audit = audit
    this.#node?.onRequest('erase', (request, from) => this.#asked(request, from))
  }

  /** @param order  undefined if the body is not valid */
  async erase(order: ErasureTarget | undefined, operator: Operator): Promise<Reply> {
    const target = targetOf(order)
    const [erasure, node] = [this.#erasure, this.#node]
    const done = (reply: Reply, erased?: Readonly<Record<string, number>>): Reply => {
      this.#audit({ command: 'erase', call_sid: sidOf(target), erased }, reply, operator)
      return reply
    }
    if (target === null) return done(BAD_TARGET)
    if (erasure === undefined) return done(NOTHING_KEPT)

    const others = node?.others() ?? []
    const asked = await this.#askAll(node, others, { what: 'live', target, operator }, OPS_PEER_MS)
    const live = erasure.live(target) + sum(asked.answers.map((answer) => answer.live))
    if (live > 0) return done(stillLive(target, live))
    const silent = others.filter((other) => asked.silent.includes(other.name))
    if (node !== null && 'sid' in target && (await ownedBySilent(node, target.sid, silent)))
      return done(
        errorReply(
          504,
          'NODE_SILENT',
          `this call may be live at a node that does not answer: ${asked.silent.join(', ')}`,
        ),
      )

    const answering = others.filter((other) => !silent.includes(other))
    const here = await erasure.erase(target).catch((thrown: unknown) => {
      done(errorReply(500, 'INTERNAL', 'not everything could be erased'))
      throw thrown
    })
    const there = await this.#askAll(node, answering, { what: 'erase', target, operator }, ERASE_PEER_MS)
    const kept = node === null ? 0 : await eraseKept(erasure, target, [node, ...answering])
    const all = [here, ...there.answers]
    const erased = { ...added(all.flatMap((answer) => answer.erased ?? [])), keptStates: kept ?? 0 }
    const without = [...asked.silent, ...there.silent]
    const unlooked = unlookedOf(all, kept === null ? [STORE_SILENT] : [])
    const complete = without.length === 0 && unlooked.length === 0
    const uncertain = sum(all.map((answer) => answer.uncertain))
    if (complete && 'sid' in target && sum(Object.values(erased)) === 0)
      return done(errorReply(404, 'CALL_UNKNOWN', 'no node stores data of a call of that SID'))
    return done(jsonReply({ erased, uncertain, complete, silent: without, storeDown: kept === null, unlooked }), erased)
  }

  /**
   * Lists the calls of a number at all nodes, and its data in campaigns and in the memory of callers.
   * @param order  undefined if the body is not valid
   */
  async export(order: z.output<typeof exportSchema> | undefined, operator: Operator): Promise<Reply> {
    const target = targetOf(order)
    const [erasure, node] = [this.#erasure, this.#node]
    const done = (reply: Reply, calls?: number): Reply => {
      this.#audit({ command: 'export', calls }, reply, operator)
      return reply
    }
    if (target === null || 'sid' in target) return done(BAD_NUMBER)
    if (erasure === undefined) return done(NOTHING_KEPT)
    const others = node?.others() ?? []
    // This quick question finds silent nodes. Nodes that answer it get more time, because they read an archive.
    const asked = await this.#askAll(node, others, { what: 'live', target, operator }, OPS_PEER_MS)
    const answering = others.filter(({ name }) => !asked.silent.includes(name))
    const live = erasure.live(target) + sum(asked.answers.map((answer) => answer.live))
    const [here, campaigns, remembered, there] = await Promise.all([
      erasure.find(target),
      erasure.campaignsOf(target.number),
      // Null if the store did not answer.
      erasure.rememberedOf(target.number).catch(() => null),
      this.#askAll(node, answering, { what: 'find', target, operator }, ERASE_PEER_MS),
    ]).catch((thrown: unknown) => {
      done(errorReply(500, 'INTERNAL', 'not everything could be read'))
      throw thrown
    })
    const found = [here, ...there.answers.flatMap((answer) => answer.found ?? [])]
    const callSids = [...new Set(found.flatMap((each) => each.callSids))]
    const silent = [...asked.silent, ...there.silent]
    const uncertain = here.uncertain + sum(there.answers.map((answer) => answer.uncertain))
    const more = sum(found.map((each) => each.more))
    const unlooked = unlookedOf([campaigns, ...there.answers], remembered === null ? [STORE_SILENT] : [])
    const complete = silent.length === 0 && more === 0 && unlooked.length === 0
    // If nodes share a queue, each of them finds its rows. So repeated rows are removed.
    const rows = distinct([...campaigns.rows, ...there.answers.flatMap((answer) => answer.found?.rows ?? [])])
    // Every node of a fleet lists all dead messages of the fleet. So repeated messages are removed.
    const messages = [...new Map(found.flatMap((each) => each.messages).map((each) => [each.key, each])).values()]
    const { doNotCall } = campaigns
    const answer = {
      ...{ callSids, live, uncertain, more, rows, doNotCall, remembered, messages, complete, silent, unlooked },
    }
    return done(jsonReply(answer), callSids.length)
  }

  async #askAll(
    node: FleetNode | null,
    others: readonly NodeRecord[],
    request: EraseRequest,
    answerMs: number,
  ): Promise<{ readonly answers: readonly EraseAnswer[]; readonly silent: readonly string[] }> {
    const answers: EraseAnswer[] = []
    const silent: string[] = []
    await Promise.all(
      others.map(async ({ name, incarnation }) => {
        const asked = await node?.ask({ node: name, incarnation }, 'erase', request, answerMs)
        const answer = asked?.result === 'answered' ? eraseAnswerSchema.safeParse(asked.answer) : null
        if (answer?.success === true) answers.push(answer.data)
        else silent.push(name)
      }),
    )
    return { answers, silent }
  }

  /** Answers another node. Throws if the erasure throws; the node that asked then counts this node as silent. */
  async #asked(body: unknown, from: string): Promise<EraseAnswer | null> {
    const read = eraseRequestSchema.safeParse(body)
    const erasure = this.#erasure
    if (!read.success || erasure === undefined) return null
    const { what, target, operator } = read.data
    if (what === 'live') return { live: erasure.live(target), erased: null, uncertain: 0, unlooked: [], found: null }
    if (what === 'find') {
      if ('sid' in target) return null
      const { uncertain, ...calls } = await erasure.find(target)
      const { rows, unlooked } = await erasure.campaignsOf(target.number)
      const found = { ...calls, rows: rows.map((row) => ({ ...row })) }
      this.#audit({ command: 'export', via: from, calls: found.callSids.length }, { status: 200 }, operator)
      return { live: 0, erased: null, uncertain, unlooked: [...unlooked], found }
    }
    const { erased, uncertain, unlooked } = await erasure.erase(target)
    const line = { command: 'erase', call_sid: sidOf(target), via: from, erased: { ...erased } }
    this.#audit(line, { status: 200 }, operator)
    return { live: 0, erased, uncertain, unlooked: [...unlooked], found: null }
  }
}

const NOTHING_KEPT: Reply = errorReply(404, 'NOT_FOUND', 'this process stores no data of its calls')

const BAD_TARGET: Reply = errorReply(
  400,
  'BAD_REQUEST',
  'the body is a JSON object with "sid" (the SID of a call), or with "number" (E.164) and perhaps "masked" (true or false)',
)

const BAD_NUMBER: Reply = errorReply(
  400,
  'BAD_REQUEST',
  'the body is a JSON object with "number" (E.164), and perhaps "masked" (true or false)',
)

function sidOf(target: ErasureTarget | null): CallSid | null {
  return target !== null && 'sid' in target ? target.sid : null
}

/** @returns the target with its number as E.164; null if the number is not a subscriber's number */
function targetOf(target: ErasureTarget | undefined): ErasureTarget | null {
  if (target === undefined) return null
  if ('sid' in target) return target
  const number = subscriberNumber(target.number)
  return number === null ? null : { ...target, number }
}

function stillLive(target: ErasureTarget, live: number): Reply {
  return errorReply(
    409,
    'CALL_LIVE',
    'sid' in target
      ? 'this call is live: nothing is erased; end it (POST /api/calls/{sid}/hangup), then erase it'
      : `${live} of the calls of that number are live: nothing is erased; erase again when they have ended`,
  )
}

async function ownedBySilent(node: FleetNode, callSid: CallSid, silent: readonly NodeRecord[]): Promise<boolean> {
  const entry = await node.store.read(callSid).catch(() => null)
  return entry !== null && entry.phase !== 'over' && silent.some(({ name }) => name === entry.owner.node)
}

/** @returns the number of erased states; null if the store did not answer */
async function eraseKept(
  erasure: ErasureHere,
  target: ErasureTarget,
  nodes: readonly { readonly name: string }[],
): Promise<number | null> {
  try {
    return await erasure.eraseKept(
      target,
      nodes.map(({ name }) => name),
    )
  } catch {
    return null
  }
}

const STORE_SILENT = "the fleet's store"

/** Stores that a node could not read, each listed once. */
function unlookedOf(parts: readonly { readonly unlooked: readonly string[] }[], more: readonly string[]): string[] {
  return [...new Set([...more, ...parts.flatMap(({ unlooked }) => unlooked)])]
}

/** Removes repeated rows, by campaign and id. */
function distinct(rows: readonly object[]): readonly object[] {
  const keyOf = (row: { readonly campaign?: unknown; readonly id?: unknown }): string =>
    JSON.stringify([row.campaign, row.id])
  return [...new Map(rows.map((row) => [keyOf(row), row])).values()]
}

function added(counts: readonly ErasedCounts[]): ErasedCounts {
  return eachErased((kind) => sum(counts.map((count) => count[kind])))
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0)
}
