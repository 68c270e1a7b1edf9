import { extname } from 'node:path'
import { z } from 'zod'
import { jsonOrNull } from '../../core/json.js'
import type { CallTimelineView, ListedCall, LiveCallView } from '../../call/documents/call-view.js'
import { endedRow, timelineOf } from '../../call/documents/call-view.js'
import { isOfNumbers } from '../../call/documents/call-search.js'
import { GatewayError } from '../../core/errors.js'
import type { ErrorCode } from '../../core/errors.js'
import { isCallSid } from '../../core/ids.js'
import type { CallSid } from '../../core/ids.js'
import type { CallOutcome, CallRecord } from '../../call/documents/record.js'
import { liveCount } from '../../workers/main/live-call.js'
import type { LiveCall } from '../../workers/main/live-call.js'
import { errorReply, fileReply, jsonReply, textReply } from '../http/reply.js'
import { outboundOrderSchema } from '../../workers/main/outbound-calls.js'
import type { HttpStatus, Reply } from '../http/reply.js'
import type { Audit, Operator } from './ops-audit.js'
import type { EdgeOptions } from '../options.js'
import type { Admission } from '../public/admission.js'
import type { Refusals } from '../public/rejections.js'

/** Maximum number of live calls, and of ended calls, in one answer. */
const API_CALLS_MAX = 1000
/** Maximum number of messages in one answer. */
const API_MESSAGES_MAX = 1000

/** Views and commands of one call. */
export const CALL_VIEWS = [
  'transcript',
  'timeline',
  'handoff',
  'recording.wav',
  'carrier-recording',
  'journal.jsonl',
] as const
/** Content types of the carrier's recordings, by file extension. */
const AUDIO_TYPES: Readonly<Record<string, string>> = { '.wav': 'audio/wav', '.mp3': 'audio/mpeg', '.ogg': 'audio/ogg' }
export type CallView = (typeof CALL_VIEWS)[number]
export const CALL_COMMANDS = ['hangup', 'escalate', 'whisper'] as const
export type CallCommand = (typeof CALL_COMMANDS)[number]

/** This node's part of the operator's API. Answers are values, so that it can be tested without a server. */
export class OpsApi {
  readonly #options: EdgeOptions
  readonly #audit: Audit
  readonly #refusals: Refusals
  readonly #admission: Admission
  #drainAsked = false

  constructor(options: EdgeOptions, refusals: Refusals, admission: Admission, audit: Audit) {
    this.#options = options
    this.#audit = audit
    this.#admission = admission
    this.#refusals = refusals
  }

  /** Reason why this node refuses new calls; null if it accepts them. */
  get notReady(): string | null {
    const { refusal } = this.#admission
    return refusal === 'capacity' ? 'full' : (refusal ?? this.#options.fleet?.node.notReady ?? null)
  }

  /** Answers `GET /readyz`: the status shows if this process takes a new call. */
  ready(): Reply {
    const { free, capacity } = this.#options.calls
    const why = this.notReady
    const fileFaults = this.#options.fileFaults?.() ?? 0
    return jsonReply(
      {
        ready: why === null,
        ...(why === null ? {} : { reason: why }),
        free,
        capacity,
        ...(fileFaults === 0 ? {} : { fileFaults }),
      },
      why === null ? 200 : 503,
    )
  }

  /** `GET /api/calls`: live calls, then ended calls with the newest first. */
  list(): Reply {
    const { calls } = this.#options
    const live = [...calls.live()].slice(0, API_CALLS_MAX).map((call) => call.view())
    const ended = this.#ended(API_CALLS_MAX)
    return jsonReply({ live, ended, free: calls.free, capacity: calls.capacity, draining: calls.draining })
  }

  /**
   * Newest calls without their words: at most `limit` live calls and `limit` ended calls.
   * @param outcome  outcome of the ended calls; null for any outcome
   * @param numbers  our numbers whose calls are listed; null for all numbers
   * @param search  subject of the ended calls, as for `isFound`; null for any subject
   */
  newest(
    limit: number,
    outcome: CallOutcome | null,
    numbers: readonly string[] | null = null,
    search: string | null = null,
  ): { readonly live: readonly ListedCall[]; readonly ended: readonly ListedCall[] } {
    return { live: this.rows(limit, numbers), ended: this.#ended(limit, outcome, numbers, search) }
  }

  /**
   * Rows of at most `limit` live calls, newest first. @param numbers  our numbers whose calls are listed; null for all
   * numbers
   */
  rows(limit: number, numbers: readonly string[] | null = null): readonly ListedCall[] {
    const live = [...this.#options.calls.live()]
    if (numbers === null)
      return live
        .slice(-limit)
        .reverse()
        .map((call) => call.row())
    const rows = live.map((call) => call.row()).filter((row) => isOfNumbers(row, numbers))
    return rows.slice(-limit).reverse()
  }

  /** A live call of this node with its timeline; null if this node has no live call with that SID. */
  watched(callSid: CallSid): { readonly call: LiveCallView; readonly timeline: CallTimelineView } | null {
    const live = this.#live(callSid)
    return live === undefined ? null : { call: live.view(), timeline: live.timeline() }
  }

  #ended(
    limit: number,
    outcome: CallOutcome | null = null,
    numbers: readonly string[] | null = null,
    search: string | null = null,
  ): readonly ListedCall[] {
    const records = this.#options.calls
      .ended()
      .filter((record) => outcome === null || record.outcome === outcome)
      .filter((record) => isOfNumbers(record, numbers))
    if (search === null) return records.slice(-limit).reverse().map(endedRow)
    const rows = records.filter(({ analysis }) => analysis !== null).map(endedRow)
    return rows
      .filter((row) => isFound(row, search))
      .slice(-limit)
      .reverse()
  }

  /** Answers `GET /api/refusals`: calls and sockets that this process refused recently, with reasons, newest first. */
  refusals(): Reply {
    return jsonReply({ refusals: this.#refusals.newest, dropped: this.#refusals.dropped })
  }

  /**
   * Answers `GET /api/messages`: messages of this process that no receiver has accepted. Dead messages come first. In a
   * fleet the messages of all nodes are listed.
   */
  async messages(): Promise<Reply> {
    const { outbox } = this.#options
    const { waiting = 0, dead = 0 } = outbox ?? {}
    return jsonReply({ waiting, dead, messages: (await outbox?.list(API_MESSAGES_MAX)) ?? [] })
  }

  /** `POST /api/messages/{key}/retry`: tries a message again. */
  async retryMessage(key: string, operator: Operator): Promise<Reply> {
    const found = (await this.#options.outbox?.retry(key)) === true
    const reply = found
      ? jsonReply({ key })
      : errorReply(404, 'NOT_FOUND', 'no such message waits at this process; allowed: a key of GET /api/messages')
    this.#audit({ command: 'retry-message', ...(found ? { key } : {}) }, reply, operator)
    return reply
  }

  /** `GET /api/calls/{sid}`: the view of a live call, or the record of an ended call. */
  async call(callSid: string | undefined): Promise<Reply> {
    const live = this.#live(callSid)
    if (live !== undefined) return jsonReply(live.view())
    if (!isCallSid(callSid)) return noCall()
    const record = await this.#record(callSid)
    return record === undefined ? noCall() : jsonReply(record)
  }

  /** True if this node has a call, live or ended. */
  async has(callSid: CallSid): Promise<boolean> {
    return this.#live(callSid) !== undefined || (await this.#record(callSid)) !== undefined
  }

  /** Record of a call: from memory for a call of this run, from the disk for a call of an earlier run. */
  async #record(callSid: CallSid): Promise<CallRecord | undefined> {
    const { calls, kept } = this.#options
    // The record is not checked: the archive has only records, and records of a later version may have more keys.
    return calls.record(callSid) ?? ((await kept?.('record', callSid)) as CallRecord | undefined)
  }

  /**
   * Answers `GET /api/settings`: this node's settings by their variables. For a secret, the answer shows only if it is
   * set.
   */
  settings(): Reply {
    return jsonReply({ settings: this.#options.settings ?? {} })
  }

  /** `GET /api/backends`: each backend's sessions, faults, takeovers and circuits since the start. */
  backends(): Reply {
    return jsonReply({ backends: this.#options.calls.backends() })
  }

  /** @param part  part of a recording, from 1; null for the newest part @throws GatewayError STORAGE */
  async view(callSid: string | undefined, view: CallView, part: number | null = null): Promise<Reply> {
    if (!isCallSid(callSid)) return noCall()
    const { calls, recording } = this.#options
    const live = this.#live(callSid)
    const record = live === undefined ? await this.#record(callSid) : undefined
    switch (view) {
      case 'transcript': {
        const transcript = live?.view().transcript ?? record?.transcript
        return transcript === undefined ? noCall() : jsonReply({ callSid, transcript })
      }
      case 'timeline':
        if (live !== undefined) return jsonReply(live.timeline())
        return record === undefined ? noCall() : jsonReply(timelineOf(record, calls.traceId(callSid)))
      case 'handoff': {
        const packet = calls.handoff(callSid) ?? (await this.#options.kept?.('handoff', callSid))
        return packet === undefined
          ? errorReply(404, 'NOT_FOUND', 'there is no handoff packet of this call')
          : jsonReply(packet)
      }
      case 'recording.wav': {
        const file = await recording(callSid, part)
        return file === null
          ? errorReply(404, 'NOT_FOUND', 'there is no recording of this call')
          : fileReply(file, 'audio/wav')
      }
      case 'carrier-recording': {
        const file = (await this.#options.carrierRecording?.(callSid)) ?? null
        return file === null
          ? errorReply(404, 'NOT_FOUND', "there is no recording of the carrier's of this call (CARRIER_RECORDINGS)")
          : fileReply(file, AUDIO_TYPES[extname(file.path)] ?? 'application/octet-stream')
      }
      case 'journal.jsonl': {
        const file = (await this.#options.journal?.(callSid)) ?? null
        return file === null
          ? errorReply(404, 'NOT_FOUND', 'there is no journal of this call (JOURNAL_CALLS)')
          : fileReply(file, 'application/jsonl; charset=utf-8')
      }
    }
  }

  /** `POST /api/calls/{sid}/hangup`, `/escalate` and `/whisper`. */
  command(callSid: string | undefined, command: CallCommand, body: Uint8Array): Reply {
    const live = this.#live(callSid)
    if (live === undefined) return noCall()
    if (live.state === 'ended') return errorReply(409, 'CALL_UNKNOWN', 'this call has ended')
    switch (command) {
      case 'hangup': {
        const order = orderIn(body, hangUpSchema).data
        if (order === undefined) return BAD_COMMAND
        live.hangup('operator-hangup', order.reason, order.speak)
        break
      }
      case 'escalate': {
        const order = orderIn(body, escalateSchema).data
        if (order === undefined) return BAD_COMMAND
        live.escalate(order.reason)
        break
      }
      case 'whisper': {
        const order = orderIn(body, whisperSchema).data
        if (order === undefined) return BAD_WHISPER
        if (!live.whisper(order.text)) return NO_MODEL
      }
    }
    return jsonReply({ callSid, command, accepted: true }, 202)
  }

  /** Answers `POST /api/calls`: the carrier rings, and the person who answers talks to the agent. */
  async place(read: z.ZodSafeParseResult<z.output<typeof callOrderSchema>>): Promise<Reply> {
    const { outbound, isDoNotCall, log } = this.#options
    if (!read.success) return errorReply(400, 'BAD_REQUEST', orderFault(read.error))
    if (outbound === undefined) return errorReply(409, 'CALL_REFUSED', 'this gateway places no calls')
    const { ignoreDoNotCall, ...order } = read.data
    const mayRing = async (): Promise<void> => {
      if (!ignoreDoNotCall && (await isDoNotCall?.(order.to)) === true)
        throw new GatewayError(
          'DO_NOT_CALL',
          'the number is on the do-not-call list; allowed: another number, or ignoreDoNotCall (--ignore-do-not-call)',
        )
    }
    try {
      return jsonReply(await outbound.place(order, mayRing), 201)
    } catch (thrown) {
      if (!(thrown instanceof GatewayError)) throw thrown
      log.warn({ err: thrown, agent: order.agent }, 'a call was not placed')
      return errorReply(PLACE_STATUS[thrown.code] ?? 502, thrown.code, thrown.message)
    }
  }

  /**
   * Runs a command. `drain`: this node takes no new calls, finishes its live calls, and ends. `cordon`: it takes no new
   * calls until `uncordon`, and its process stays.
   */
  commandNode(command: 'drain' | 'cordon' | 'uncordon'): Reply {
    const { calls, fleet, onDrain } = this.#options
    const live = liveCount(calls)
    if (command === 'drain') {
      if (!this.#drainAsked && !calls.draining) onDrain()
      this.#drainAsked = true
      return jsonReply({ draining: true, live, node: fleet?.node.name ?? null }, 202)
    }
    if (fleet === undefined) return errorReply(404, 'NOT_FOUND', 'this process is not a node of a fleet')
    if (this.#drainAsked || calls.draining)
      return errorReply(409, 'DRAINING', 'this node drains, and ends after its last call')
    if (command === 'cordon') fleet.node.state = 'cordoned'
    else fleet.node.state = 'open'
    return jsonReply({ cordoned: command === 'cordon', live, node: fleet.node.name })
  }

  #live(callSid: string | undefined): LiveCall | undefined {
    return isCallSid(callSid) ? this.#options.calls.find(callSid) : undefined
  }
}

/** HTTP status by error code. Any other code is the carrier's refusal and gets 502. */
const PLACE_STATUS: Partial<Readonly<Record<ErrorCode, HttpStatus>>> = {
  CALL_REFUSED: 409,
  DO_NOT_CALL: 409,
  AGENT_UNKNOWN: 404,
  CAPACITY: 503,
  DRAINING: 503,
  RATE_LIMITED: 429,
  STORE_DOWN: 503,
}

/** Reads the body of a request by its schema. An empty body is an empty object. */
export function orderIn<Schema extends z.ZodType>(
  body: Uint8Array,
  schema: Schema,
): z.ZodSafeParseResult<z.output<Schema>> {
  return schema.safeParse(body.byteLength === 0 ? {} : jsonOrNull(body))
}

/** Body of `POST /api/calls`. */
export const callOrderSchema = outboundOrderSchema.extend({
  ignoreDoNotCall: z
    .boolean()
    .default(false)
    .describe(
      'Ring the number even if it is on the do-not-call list. If false, a listed number is refused (409, `DO_NOT_CALL`). While the list cannot be read, every number is refused (503).',
    ),
})

/** Maximum length in characters of a reason that an operator gives. */
const REASON_CHARS_MAX = 200

/** Body of `POST /api/calls/{sid}/escalate`. */
export const escalateSchema = z.object({
  reason: z
    .string()
    .transform((reason) => reason.slice(0, REASON_CHARS_MAX))
    .default('an operator asked for it')
    .describe(`Reason, for the record. The first ${REASON_CHARS_MAX} characters are stored.`),
})
/** Body of `POST /api/calls/{sid}/hangup`. */
export const hangUpSchema = escalateSchema.extend({
  speak: z.boolean().default(false).describe('The agent says goodbye first.'),
})

/** Maximum length in characters of one whisper of a supervisor. */
const WHISPER_CHARS_MAX = 500
/** Body of `POST /api/calls/{sid}/whisper`. */
export const whisperSchema = z.strictObject({ text: z.string().trim().min(1).max(WHISPER_CHARS_MAX) })

const BAD_COMMAND: Reply = errorReply(
  400,
  'BAD_REQUEST',
  'the body is empty or a JSON object with "reason" (text) and "speak" (true or false)',
)

const BAD_WHISPER: Reply = errorReply(
  400,
  'BAD_REQUEST',
  `the body is a JSON object with "text" of 1 to ${WHISPER_CHARS_MAX} characters`,
)

const NO_MODEL: Reply = errorReply(
  409,
  'CALL_REFUSED',
  'no model hears this call now: it has no stream, or goes to a human',
)

function noCall(): Reply {
  return errorReply(404, 'CALL_UNKNOWN', 'this process has no call of that SID, live or lately ended')
}

/** @returns the first fault of the body. It quotes no values of the body, because `to` is a person's number */
function orderFault({ issues: [issue] }: z.ZodError): string {
  const at = issue?.path.join('.') ?? ''
  return `the body is a JSON object with "agent" and "to", and perhaps "from", "externalId", "idempotencyKey" (texts), "variables" (texts by name) and "ignoreDoNotCall" (true or false); ${at === '' ? 'it' : at}: ${issue?.message ?? ''}`
}

/** Answers `GET /healthz`: the process runs and answers. The answer does not depend on backends and stores. */
export function healthy(): Reply {
  return textReply('ok\n', 'text/plain; charset=utf-8')
}

/**
 * True if a call matches a search. `intent:refund` searches the field `intent`. Other texts are searched in the summary
 * and all fields. Upper and lower case are equal.
 */
export function isFound(
  { summary = null, fields = {} }: Pick<ListedCall, 'summary' | 'fields'>,
  search: string,
): boolean {
  const wanted = search.trim().toLowerCase()
  const [, name = '', value = ''] = /^(\w+)\s*:\s*(.+)$/.exec(wanted) ?? []
  const values = Object.entries(fields).map(([key, each]) => [key.toLowerCase(), String(each ?? '').toLowerCase()])
  if (name !== '' && values.some(([key, each]) => key === name && each === value)) return true
  return [summary?.toLowerCase() ?? '', ...values.map(([, each = '']) => each)].some((text) => text.includes(wanted))
}
