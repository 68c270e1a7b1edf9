import { CALL_SEARCH_KEYS } from '../call/documents/call-search.js'
import type { CallSearch } from '../call/documents/call-search.js'
import type { CallTimelineView, FleetRow, FoundView } from '../call/documents/call-view.js'
import type { CallOutcome, CallRecord, TimelineMark, TurnRecord } from '../call/documents/record.js'
import { loadConfig } from '../config/load-config.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { OPS_LIST_MAX } from '../core/limits.js'
import type { CarrierCall } from '../sautikit-api/carrier-call.js'
import { allPages, CarrierApiError } from '../sautikit-api/http.js'
import { maskNumber } from '../sautikit/phone.js'
import { carrierApi, requiredCarrierApi } from '../gateway/carrier-side.js'
import { UsageError } from './exit-codes.js'
import { CALL_COLUMNS, callCells, fleetCalls, opsClientOf, printed, refusalOf } from './ops-client.js'
import type { OpsOptions } from './ops-client.js'
import { money, shown, table } from './terminal.js'
import type { Terminal } from './terminal.js'

/** Options of all commands below `mkondo calls`. Each command reads only some of these options. */
export interface CallsOptions extends OpsOptions {
  readonly carrier?: true
  readonly goodbye?: true
}

export interface ListOptions extends CallsOptions {
  readonly limit: number
  readonly outcome?: CallOutcome
  /** One of our own numbers. */
  readonly number?: string
}

export interface FindOptions extends CallsOptions, Partial<Readonly<Record<keyof CallSearch, string>>> {
  readonly limit: number
  readonly cursor?: string
}

// --- timeline -----------------------------------------------------------------------------------------------

/** Width in characters if the output is not a terminal. */
const COLUMNS_DEFAULT = 120

const BAR = '█'
const WAIT = '░'
const POINT = '●'
const NAME_COLUMNS = 24
const TIME_COLUMNS = 9
const BAR_COLUMNS_MIN = 20
const BAR_COLUMNS_MAX = 60
const DETAIL_COLUMNS_MAX = 100

/** `mkondo calls timeline`. */
export function timeline(sid: string, options: CallsOptions, terminal: Terminal): Promise<number> {
  return printed(options, terminal, `/api/calls/${sid}/timeline`, (view: CallTimelineView) =>
    waterfall(view, terminal.columns() ?? COLUMNS_DEFAULT),
  )
}

/** Section of the waterfall: a heading, and below it one period of the call. All bars of a section have one scale. */
interface Section {
  readonly heading: string
  readonly fromMs: number
  readonly toMs: number
  readonly spans: readonly Span[]
}

/** Bar of the waterfall: a duration with a name. */
interface Span {
  readonly name: string
  readonly fromMs: number
  readonly toMs: number
}

/**
 * Waterfall of a call for a terminal. It shows the call's set-up, then each turn from the end of the caller's speech. A
 * bar is a duration, a point is a mark. Times count from the webhook.
 * @param columns width of the terminal
 */
export function waterfall(view: CallTimelineView, columns: number): string {
  const barColumns = Math.max(BAR_COLUMNS_MIN, Math.min(BAR_COLUMNS_MAX, columns - TIME_COLUMNS - NAME_COLUMNS - 16))
  const lines = [heading(view)]
  if (view.timelineDropped > 0)
    lines.push(`${view.timelineDropped} marks between the first and the newest were dropped.`)
  for (const section of sectionsOf(view)) {
    const marks = view.timeline.filter((mark) => mark.atMs >= section.fromMs && mark.atMs < section.toMs)
    const scale = scaleOf(section, marks, barColumns)
    lines.push('', section.heading)
    for (const span of section.spans) lines.push(spanLine(span, scale))
    for (const mark of marks) lines.push(markLine(mark, scale))
  }
  return `${lines.join('\n')}\n`
}

function heading(view: CallTimelineView): string {
  const { callSid, agent, backend, live, startedAt, traceId } = view
  const trace = traceId === null ? '' : `, trace ${traceId}`
  return plain(`${callSid}  ${agent} on ${backend}, ${live ? 'live' : 'ended'}, webhook at ${startedAt}${trace}`)
}

function sectionsOf(view: CallTimelineView): Section[] {
  const zeroMs = view.streamOpenedMs ?? 0
  const stops = view.turns.map((turn) => zeroMs + turn.callerStoppedMs)
  const firstFrame = view.timeline.find((mark) => mark.name === 'first-frame')
  const connect = view.timeline.find((mark) => mark.name === 'backend-connect')
  const ready = view.timeline.find((mark) => mark.name === 'backend-ready')
  const setUp: Section = {
    heading: 'set-up and greeting',
    fromMs: -Infinity,
    toMs: stops[0] ?? Infinity,
    spans: [
      ...(firstFrame === undefined ? [] : [{ name: 'to the first frame', fromMs: 0, toMs: firstFrame.atMs }]),
      ...(connect === undefined || ready === undefined
        ? []
        : [{ name: 'backend connects', fromMs: connect.atMs, toMs: ready.atMs }]),
      ...toolsWithin(view, zeroMs, -Infinity, stops[0] ?? Infinity),
    ],
  }
  const turns = view.turns.map((turn, index): Section => {
    const fromMs = stops[index] as number // `stops` has one entry for each turn
    const toMs = stops[index + 1] ?? Infinity
    return {
      heading: turnHeading(turn, index, fromMs),
      fromMs,
      toMs,
      spans: [...clocksOf(turn, fromMs), ...toolsWithin(view, zeroMs, fromMs, toMs)],
    }
  })
  return [setUp, ...turns]
}

function turnHeading(turn: TurnRecord, index: number, fromMs: number): string {
  const ear = turn.ear === undefined ? '' : `, at the caller ${took(turn.ear.answerMs ?? turn.ear.firstSoundMs)}`
  return `turn ${index + 1}: the caller stopped at ${clock(fromMs).trim()}, first sound ${took(turn.firstSoundMs)}, answer ${took(turn.answerMs)}${ear}`
}

function clocksOf(turn: TurnRecord, fromMs: number): Span[] {
  const span = (name: string, ms: number | null | undefined): Span[] =>
    ms === null || ms === undefined ? [] : [{ name, fromMs, toMs: fromMs + ms }]
  return [
    ...span('first sound', turn.firstSoundMs),
    ...span('first sound, ear', turn.ear?.firstSoundMs),
    ...span('answer', turn.answerMs),
    ...span('answer, ear', turn.ear?.answerMs),
  ]
}

function toolsWithin(view: CallTimelineView, zeroMs: number, fromMs: number, toMs: number): Span[] {
  return view.tools
    .map((tool) => ({
      name: `${tool.name}${tool.ok ? '' : ' (failed)'}`,
      fromMs: zeroMs + tool.startMs,
      toMs: zeroMs + tool.startMs + tool.ms,
    }))
    .filter((span) => span.fromMs >= fromMs && span.fromMs < toMs)
}

interface Scale {
  readonly fromMs: number
  readonly msPerColumn: number
  readonly columns: number
}

/** Scale of a section: from its beginning to the end of its last bar. A section without bars ends at its last mark. */
function scaleOf(section: Section, marks: readonly TimelineMark[], columns: number): Scale {
  const fromMs = Number.isFinite(section.fromMs) ? section.fromMs : 0
  const ends = section.spans.length > 0 ? section.spans.map((span) => span.toMs) : marks.map((mark) => mark.atMs)
  const toMs = Math.max(fromMs + 1, ...ends)
  return { fromMs, msPerColumn: (toMs - fromMs) / columns, columns }
}

function spanLine(span: Span, scale: Scale): string {
  const from = column(span.fromMs, scale)
  const to = Math.max(from + 1, Math.min(scale.columns, Math.ceil((span.toMs - scale.fromMs) / scale.msPerColumn)))
  const bar = `${WAIT.repeat(from)}${BAR.repeat(to - from)}`.padEnd(scale.columns)
  return `${clock(span.fromMs)}  ${fit(span.name)}  ${bar}  ${took(span.toMs - span.fromMs)}`
}

function markLine(mark: TimelineMark, scale: Scale): string {
  const at = column(mark.atMs, scale)
  const beyond = mark.atMs > scale.fromMs + scale.msPerColumn * scale.columns
  const bar = `${' '.repeat(at)}${beyond ? '›' : POINT}`.padEnd(scale.columns)
  const detail = mark.detail === undefined ? '' : plain(mark.detail).slice(0, DETAIL_COLUMNS_MAX)
  return `${clock(mark.atMs)}  ${fit(mark.name)}  ${bar}  ${detail}`.trimEnd()
}

function column(atMs: number, scale: Scale): number {
  return Math.max(0, Math.min(scale.columns - 1, Math.floor((atMs - scale.fromMs) / scale.msPerColumn)))
}

function clock(ms: number): string {
  return `${(ms / 1000).toFixed(3)} s`.padStart(TIME_COLUMNS)
}

function took(ms: number | null): string {
  return ms === null ? 'never' : `${Math.round(ms)} ms`
}

function fit(name: string): string {
  return plain(name).slice(0, NAME_COLUMNS).padEnd(NAME_COLUMNS)
}

/** Replaces characters that a terminal would interpret (escapes, new lines) with a dot. */
function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '·')
}

// --- list ---------------------------------------------------------------------------------------------------

/** `mkondo calls list`. */
export function listCalls(options: ListOptions, terminal: Terminal): Promise<number> {
  return options.carrier === true ? listCarrier(options, terminal) : listGateway(options, terminal)
}

async function listGateway(options: ListOptions, terminal: Terminal): Promise<number> {
  const { limit, outcome, number = '' } = options
  if (limit > OPS_LIST_MAX)
    throw new UsageError(
      `--limit is too large; allowed without --carrier: at most ${OPS_LIST_MAX}, of all nodes together`,
    )
  const query = `limit=${limit}&outcome=${outcome ?? ''}&number=${encodeURIComponent(number)}`
  const { live, ended, silent } = await fleetCalls(opsClientOf(options, terminal), query)
  const all = (outcome === undefined ? [...live, ...ended] : ended).slice(0, limit)
  const text = () =>
    table(
      [...CALL_COLUMNS, ...END_COLUMNS],
      all.map((call) => [...callCells(call), ...endCells(call)]),
      'no calls yet',
    ) + unanswered(silent)
  shown(options, terminal, { calls: all, silent }, text)
  return silent.length > 0 ? 1 : 0
}

/** The last columns of a table of calls. */
const END_COLUMNS = ['TO', 'STARTED', 'SECONDS', 'OUTCOME', 'SERVED', 'REASON'] as const

function endCells({ to, startedAt, durationMs, outcome, served, endReason }: FleetRow): string[] {
  return [to, startedAt, (durationMs / 1000).toFixed(1), outcome ?? '-', served ?? '-', endReason ?? '-']
}

function unanswered(nodes: readonly (string | null)[]): string {
  return nodes.map((name) => `node ${name ?? ''} did not answer\n`).join('')
}

async function listCarrier(options: ListOptions, terminal: Terminal): Promise<number> {
  const { limit } = options
  if (options.outcome !== undefined)
    throw new UsageError("--outcome cannot be used with --carrier: the carrier's list has no outcomes")
  if (options.number !== undefined)
    throw new UsageError('--number cannot be used with --carrier; allowed: the list of the gateway')
  const api = requiredCarrierApi(configOf(options, terminal)).calls
  const { items, complete } = await allPages((cursor) => api.listCalls({ cursor, limit: Math.min(100, limit) }), limit)
  const text = () =>
    table(
      ['SID', 'STATUS', 'WAY', 'OURS', 'THEIRS', 'STARTED', 'SECONDS', 'COST'],
      items.map((call) => [
        call.callSid ?? call.callId ?? '-',
        call.status ?? '-',
        call.direction ?? '-',
        call.localNumber ?? '-',
        maskNumber(call.remoteNumber ?? ''),
        call.startedAt ?? '-',
        String(call.durationS ?? '-'),
        money(call.costMinor, call.costCurrency),
      ]),
      'the carrier has no calls',
    )
  return shown(options, terminal, { calls: items.map(masked), complete }, text)
}

/** The call with its remote number masked, because the operator's screen must not show callers' numbers. */
function masked(call: CarrierCall): CarrierCall {
  return { ...call, remoteNumber: call.remoteNumber === null ? null : maskNumber(call.remoteNumber) }
}

// --- find ---------------------------------------------------------------------------------------------------

/**
 * Runs `mkondo calls find`: reads pages of `GET /api/find` until it has found `--limit` calls.
 * @throws GatewayError if a page cannot be read, even after earlier pages were printed
 */
export async function findCalls(options: FindOptions, terminal: Terminal): Promise<number> {
  const ops = opsClientOf(options, terminal)
  const calls: FleetRow[] = []
  let page: FoundView | null = null
  let stopped: unknown = null
  let cursor: string | null = options.cursor ?? ''
  while (cursor !== null && calls.length < options.limit && stopped === null) {
    const query: URLSearchParams = new URLSearchParams({
      limit: String(Math.min(OPS_LIST_MAX, options.limit - calls.length)),
      cursor,
    })
    for (const key of CALL_SEARCH_KEYS) if (options[key] !== undefined) query.set(key, options[key])
    try {
      // `URLSearchParams` writes a space as a plus sign, which the gateway does not read as a space.
      page = await ops.ask<FoundView>(`/api/find?${query.toString().replaceAll('+', '%20')}`)
      calls.push(...page.calls)
      cursor = page.cursor
    } catch (thrown) {
      if (page === null) throw thrown
      stopped = thrown
    }
  }
  const { nodes = [], alike = false } = page ?? {}
  const silent = nodes.filter(({ answered }) => !answered).map(({ name }) => name)
  const text = () =>
    table(
      ['SID', 'NODE', 'AGENT', 'WAY', 'FROM', ...END_COLUMNS, 'COST'],
      calls.map((call) => [
        ...[call.callSid, call.node ?? '-', call.agent, call.direction, call.from, ...endCells(call)],
        call.cost === null || call.cost === undefined ? '-' : `${call.cost.amount} ${call.cost.currency}`,
      ]),
      'no such calls',
    ) +
    (cursor === null ? '' : `there are more: --cursor ${cursor}\n`) +
    (alike ? 'numbers are masked: these calls may include calls of other numbers with the same visible digits\n' : '') +
    nodes
      .filter(({ answered, current }) => answered && !current)
      .map(
        ({ name }) =>
          `${name === null ? 'the gateway' : `node ${name}`} still indexes its records: more calls may match\n`,
      )
      .join('') +
    unanswered(silent)
  shown(options, terminal, { calls, cursor, nodes, alike }, text)
  if (stopped !== null)
    throw new GatewayError(
      'CALL_FAULT',
      `stopped after ${calls.length} calls (go on with --cursor ${cursor}): ${messageOf(stopped)}`,
    )
  return silent.length > 0 ? 1 : 0
}

// --- show ---------------------------------------------------------------------------------------------------

/** Record of a call, made by the gateway or by the carrier. If the record is missing, `why` is the reason. */
interface Account<T> {
  readonly call: T | null
  readonly why: string | null
}

/** `mkondo calls show`. */
export async function showCall(callSid: string, options: CallsOptions, terminal: Terminal): Promise<number> {
  const carrierAlone = options.carrier === true
  const [gateway, carrier] = await Promise.all([
    carrierAlone
      ? { call: null, why: 'not asked' }
      : accountOf(() => opsClientOf(options, terminal).ask<GatewayAccount>(`/api/calls/${callSid}`)),
    carrierAccount(callSid, options, terminal),
  ])
  const text = () => `${carrierAlone ? '' : gatewayText(gateway)}${carrierText(carrier)}`
  const why = { gateway: gateway.why, carrier: carrier.why }
  shown(options, terminal, { callSid, gateway: gateway.call, carrier: carrier.call, why }, text)
  return gateway.call === null && carrier.call === null ? 1 : 0
}

function configOf(options: CallsOptions, { env }: Terminal) {
  return loadConfig(env, options.config ?? null)
}

function carrierAccount(callSid: string, options: CallsOptions, terminal: Terminal): Promise<Account<CarrierCall>> {
  const config = configOf(options, terminal)
  if (options.carrier === true)
    return requiredCarrierApi(config)
      .calls.getCall(callSid)
      .then((call) => ({ call: masked(call), why: null }))
  const api = carrierApi(config)
  if (api === null) return Promise.resolve({ call: null, why: 'SAUTIKIT_API_KEY is not set' })
  return accountOf(async () => masked(await api.calls.getCall(callSid)))
}

async function accountOf<T>(ask: () => Promise<T>): Promise<Account<T>> {
  try {
    return { call: await ask(), why: null }
  } catch (thrown) {
    return { call: null, why: messageOf(thrown) }
  }
}

/** Record of an ended call, or view of a live call. */
type GatewayAccount = Partial<CallRecord> & { readonly state?: string }

function gatewayText({ call, why }: Account<GatewayAccount>): string {
  if (call === null) return `gateway: ${why ?? 'no account'}\n`
  const lines = [
    `gateway: ${call.outcome ?? call.state ?? 'live'}${call.served == null ? '' : `, caller ${call.served}`}${call.endReason === undefined ? '' : ` (${call.endReason}${call.endDetail ? `: ${call.endDetail}` : ''})`}`,
    `  agent ${call.agent ?? '-'}${call.agentVersion == null ? '' : ` (version ${call.agentVersion})`} on ${call.backend ?? '-'}, ${call.direction ?? '-'}, from ${call.from || 'withheld'} to ${call.to || '-'}`,
    `  started ${call.startedAt ?? '-'}, ${((call.durationMs ?? 0) / 1000).toFixed(1)} s on the stream`,
  ]
  const { outbound, escalation, carrier, toolCalls = [], transcript = [] } = call
  if (outbound != null) lines.push(`  placed by us: ${outbound.result} after ${(outbound.ringMs / 1000).toFixed(1)} s`)
  if (escalation != null)
    lines.push(`  escalation: ${escalation.strategy ?? 'none'}, ${escalation.outcome ?? 'under way'}`)
  if (call.consent != null) lines.push(`  consent: ${call.consent}`)
  if (call.recordingState != null)
    lines.push(`  recording: ${call.recordingState}${call.recording == null ? '' : `, ${call.recording}`}`)
  if (carrier?.recordingState != null)
    lines.push(
      `  the carrier's recording: ${carrier.recordingState}${carrier.recording === null ? '' : `, ${carrier.recording}`}`,
    )
  for (const tool of toolCalls)
    lines.push(`  tool ${tool.name}: ${tool.ok ? 'ok' : (tool.error ?? 'failed')}, ${Math.round(tool.ms)} ms`)
  for (const entry of transcript) lines.push(`  ${entry.role === 'agent' ? 'agent ' : 'caller'}  ${entry.text}`)
  return `${lines.join('\n')}\n`
}

function carrierText({ call, why }: Account<CarrierCall>): string {
  if (call === null) return `carrier: ${why ?? 'no account'}\n`
  return [
    `carrier: ${call.status ?? 'unknown'}, ${call.durationS ?? '-'} s, ${money(call.costMinor, call.costCurrency)}`,
    `  ${call.direction ?? '-'}, ours ${call.localNumber ?? '-'}, theirs ${call.remoteNumber ?? '-'}`,
    `  started ${call.startedAt ?? '-'}, answered ${call.answeredAt ?? '-'}, ended ${call.endedAt ?? '-'}`,
    `  hang-up cause ${call.hangupCause ?? '-'}, failure code ${call.failureCode ?? '-'}\n`,
  ].join('\n')
}

// --- hang up ------------------------------------------------------------------------------------------------

/** `mkondo calls hangup`. */
export async function hangUp(callSid: string, options: CallsOptions, terminal: Terminal): Promise<number> {
  const goodbye = options.goodbye === true
  if (options.carrier === true) {
    if (goodbye) throw new UsageError('--goodbye cannot be used with --carrier: only the agent says goodbye')
    await requiredCarrierApi(configOf(options, terminal)).calls.hangup(callSid)
    return shown(options, terminal, { callSid, by: 'carrier' }, () => `${callSid}: ended at the carrier\n`)
  }
  const { status, body } = await opsClientOf(options, terminal).answer(`/api/calls/${callSid}/hangup`, {
    reason: 'mkondo calls hangup',
    speak: goodbye,
  })
  if (status === 404)
    throw new CarrierApiError(
      'calls hangup: the gateway has no such live call; to end it at the carrier, use --carrier',
      { status: 404 },
    )
  if (status !== 202) throw refusalOf(body, status)
  const how = goodbye ? ' after a goodbye' : ''
  return shown(options, terminal, { callSid, by: 'gateway' }, () => `${callSid}: the gateway ends it${how}\n`)
}

// --- escalate -----------------------------------------------------------------------------------------------

/** `mkondo calls escalate`. */
export async function escalate(callSid: string, options: CallsOptions, terminal: Terminal): Promise<number> {
  await opsClientOf(options, terminal).ask(`/api/calls/${callSid}/escalate`, { reason: 'mkondo calls escalate' })
  return shown(options, terminal, { callSid, by: 'gateway' }, () => `${callSid}: the gateway escalates it to a human\n`)
}
