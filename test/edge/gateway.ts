import { connect } from 'node:net'
import type { Socket } from 'node:net'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type { ClientOptions } from 'ws'
import { startEdge } from '../../src/edge/edge.js'
import type { Edge } from '../../src/edge/edge.js'
import { HumanCalls } from '../../src/escalation/human-calls.js'
import type { EdgeOptions } from '../../src/edge/options.js'
import { signBody } from '../support/sign-body.js'
import { CallSeries } from '../../src/telemetry/call-series.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { ScriptedCalls } from './scripted-calls.js'

export const SECRET = 'whsec_test_only'

export interface Gateway {
  readonly edge: Edge
  readonly calls: ScriptedCalls
  readonly metrics: Metrics
  readonly callSeries: CallSeries
  /** `http://127.0.0.1:port` of either port. */
  readonly url: string
  readonly opsUrl: string
  /** Log lines so far. */
  readonly logged: () => Record<string, unknown>[]
  /** Value of one line of /metrics, by its name with labels; 0 when it is not there. */
  readonly metric: (line: string) => Promise<number>
}

/** A real edge on free ports before scripted calls; closed when the test ends. */
export async function startGateway(
  t: Test,
  options: Partial<Omit<EdgeOptions, 'calls'>> & { readonly calls?: ScriptedCalls } = {},
): Promise<Gateway> {
  const lines: string[] = []
  const { calls = new ScriptedCalls() } = options
  const metrics = new Metrics({ version: '0.0.0', processMetrics: false })
  const clock = options.clock ?? (() => performance.now())
  const callSeries = new CallSeries({ clock })
  const edge = await startEdge({
    host: '127.0.0.1',
    port: 0,
    opsHost: '127.0.0.1',
    opsPort: 0,
    opsToken: null,
    shared: false,
    publicUrl: null,
    nodeUrl: null,
    webhookSecrets: [],
    bareSignatures: false,
    tokenOnly: 'learn',
    tokenSecrets: ['token-secret-of-a-test'],
    ownedNumbers: [],
    noAgent: [{ verb: 'say', text: 'Nobody can answer.' }, { verb: 'hangup' }],
    callerLimits: { calls: 1000, perMinute: 1000, withheldPercent: 100, exempt: [] },
    humanCalls: new HumanCalls({ perNumberPerMinute: 1000, fallbacksPerMinute: 1000 }),
    trustedProxies: [],
    clock,
    wallClock: () => Date.now(),
    log: createLog({ level: 'debug', destination: { write: (line) => void lines.push(line) } }),
    metrics,
    callSeries,
    calls,
    onDrain: () => void calls.drain(),
    recording: () => Promise.resolve(null),
    console: new Map(),
    ...options,
  })
  t.teardown(() => edge.close())
  return {
    edge,
    calls,
    metrics,
    callSeries,
    url: `http://127.0.0.1:${edge.publicPort}`,
    opsUrl: `http://127.0.0.1:${edge.opsPort}`,
    logged: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
    metric: async (line) => {
      const found = (await metrics.render()).split('\n').find((candidate) => candidate.startsWith(`${line} `))
      return found === undefined ? 0 : Number(found.slice(line.length + 1).split(' ')[0])
    },
  }
}

export interface Posted {
  readonly status: number
  readonly text: string
  readonly headers: Headers
  /** `error.code` of a JSON answer. */
  readonly code: string | null
}

interface PostOptions {
  readonly form?: Readonly<Record<string, string>>
  readonly json?: unknown
  readonly body?: string | Uint8Array
  readonly headers?: Readonly<Record<string, string>>
  /** Signs with this secret, at this age in seconds. */
  readonly sign?: { readonly secret: string; readonly ageS?: number }
}

export async function post(url: string, options: PostOptions = {}): Promise<Posted> {
  const body =
    options.body ??
    (options.json === undefined ? new URLSearchParams(options.form ?? {}).toString() : JSON.stringify(options.json))
  const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body
  const headers: Record<string, string> = {
    'content-type': options.json === undefined ? 'application/x-www-form-urlencoded' : 'application/json',
    ...options.headers,
  }
  if (options.sign !== undefined) {
    const { secret, ageS = 0 } = options.sign
    headers['x-sautikit-signature'] = signBody({
      body: bytes,
      secret,
      timestampS: Math.floor(Date.now() / 1000) - ageS,
    })
  }
  return toPosted(await fetch(url, { method: 'POST', body: new Uint8Array(bytes), headers }))
}

/** Status of the answer to a request that may get none; 0: its connection was closed instead. */
export async function refusalOf(url: string, options: PostOptions = {}): Promise<number> {
  try {
    return (await post(url, options)).status
  } catch {
    return 0
  }
}

export async function get(url: string, init: RequestInit = {}): Promise<Posted> {
  return toPosted(await fetch(url, init))
}

async function toPosted(response: Response): Promise<Posted> {
  const text = await response.text()
  let code: string | null = null
  if (response.headers.get('content-type')?.startsWith('application/json') === true && text !== '') {
    code = (JSON.parse(text) as { error?: { code: string } }).error?.code ?? null
  }
  return { status: response.status, text, headers: response.headers, code }
}

let calls = 0
/** A SID that no other call of this process has. */
export function newSid(): string {
  return `HD_${(++calls).toString(16).padStart(12, '0')}`
}

export function ringing(sid: string): Record<string, string> {
  return {
    sessionId: sid,
    callerNumber: '+254700000001',
    destinationNumber: '+254700000002',
    callSessionState: 'Ringing',
    direction: 'inbound',
  }
}

/** Value of an attribute in a document, unescaped. */
export function attribute(document: string, name: string): string {
  const value = new RegExp(`${name}="([^"]*)"`).exec(document)?.[1]
  if (value === undefined) throw new Error(`no ${name} in ${document}`)
  return value.replaceAll('&amp;', '&').replaceAll('&quot;', '"').replaceAll('&lt;', '<')
}

/** Text of the Redirect. */
export function redirectUrl(document: string): string {
  return (/<Redirect[^>]*>([^<]*)</.exec(document)?.[1] ?? '').replaceAll('&amp;', '&')
}

/** Rings a call and returns where its audio goes. */
export async function ring(
  gateway: Gateway,
  sid: string = newSid(),
): Promise<{ sid: string; audioUrl: string; document: string }> {
  const answer = await post(`${gateway.url}/voice/order-status`, { form: ringing(sid) })
  if (answer.status !== 200) throw new Error(`voice webhook answered ${answer.status}: ${answer.text}`)
  return { sid, audioUrl: attribute(answer.text, 'url'), document: answer.text }
}

export const SUBPROTOCOL = 'audio.drachtio.org'

/** How a socket ended: refused with a status, or closed with a code. */
export function closeOf(socket: WebSocket): Promise<number> {
  return new Promise((resolve) => socket.once('close', (code) => resolve(code)))
}

/** Opens the audio socket as the carrier's client does; rejects with the status when it is refused. */
export function openSocket(
  url: string,
  protocols: string[] = [SUBPROTOCOL],
  options: ClientOptions = {},
): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, protocols, { perMessageDeflate: false, ...options })
    socket.once('open', () => resolve(socket))
    socket.once('unexpected-response', (_, response) => {
      response.resume()
      reject(new Error(`refused ${response.statusCode ?? 0}`))
      socket.terminate()
    })
    socket.on('error', (error) => reject(error))
  })
}

/** Status of the answer to an upgrade; 101 when it was accepted (and closed again), 0 when the connection was closed. */
export async function upgradeStatus(url: string, protocols: string[] = [SUBPROTOCOL]): Promise<number> {
  try {
    const socket = await openSocket(url, protocols)
    socket.terminate()
    return 101
  } catch (error) {
    const { message } = error as Error
    if (/socket hang up|ECONNRESET/.test(message)) return 0
    const status = /refused (\d+)/.exec(message)?.[1]
    if (status === undefined) throw error
    return Number(status)
  }
}

/** A raw connection that has written `text`; `answer` is all that came back until it was closed. */
export function rawRequest(port: number, text: string): { readonly socket: Socket; readonly answer: Promise<string> } {
  const socket = connect(port, '127.0.0.1')
  socket.write(text)
  let received = ''
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1')
  })
  const answer = new Promise<string>((resolve) => {
    socket.on('close', () => resolve(received))
    socket.on('error', () => socket.destroy())
  })
  return { socket, answer }
}
