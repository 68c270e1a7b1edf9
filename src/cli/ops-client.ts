import { setTimeout as sleep } from 'node:timers/promises'
import type { FleetRow } from '../call/documents/call-view.js'
import { jsonObject } from '../core/json.js'
import { loadConfig } from '../config/load-config.js'
import type { Config } from '../config/settings.js'
import { GatewayError, messageOf, networkCauseOf } from '../core/errors.js'
import { shown, type Terminal } from './terminal.js'

const TIMEOUT_MS = 15_000
/**
 * BUSY_TRIES_MAX: maximum number of repeats if a gateway is busy. BUSY_WAIT_MS_MAX: maximum wait in ms before a repeat.
 */
const BUSY_TRIES_MAX = 3
const BUSY_WAIT_MS_MAX = 10_000
const BODY_BYTES_MAX = 16 * 1024 * 1024
/**
 * Maximum size in bytes of a file. A journal with audio of both channels at 16 kHz has 5 MB per minute (base64), a
 * recording 4 MB.
 */
const FILE_BYTES_MAX = 256 * 1024 * 1024

/** URL of the ops port on this machine, according to the settings. */
export function opsUrlOf(config: Config): string {
  const host = config.opsHost === '0.0.0.0' || config.opsHost === '::' ? '127.0.0.1' : config.opsHost
  return `http://${host.includes(':') ? `[${host}]` : host}:${config.opsPort}`
}

/** Options of every command that uses a running gateway. */
export interface OpsOptions {
  readonly json?: true
  readonly opsUrl?: string
  readonly config?: string
}

/** Client for the ops port that a command's options name, or else for the ops port of the settings. */
export function opsClientOf(
  options: Pick<OpsOptions, 'opsUrl' | 'config'>,
  { env }: Pick<Terminal, 'env'>,
  timeoutMs = TIMEOUT_MS,
): OpsClient {
  const config = loadConfig(env, options.config ?? null)
  return new OpsClient(options.opsUrl ?? opsUrlOf(config), config.opsListenToken ?? config.opsToken, timeoutMs)
}

/**
 * Sends a request to a running gateway with `OpsClient.ask`, and prints the answer: as JSON if the option asks for it,
 * otherwise as text.
 * @returns 0
 */
export async function printed<T>(
  options: OpsOptions,
  terminal: Terminal,
  path: string,
  text: (answer: T, url: string) => string,
  body?: object,
): Promise<number> {
  const ops = opsClientOf(options, terminal)
  const answer = await ops.ask<T>(path, body)
  return shown(options, terminal, answer, () => text(answer, ops.url))
}

/** Client of commands for a running gateway's ops port. */
export class OpsClient {
  readonly url: string
  readonly #token: string | null
  readonly #timeoutMs: number
  readonly #wait: (ms: number) => Promise<unknown>

  /** @param url  such as http://127.0.0.1:9464 */
  constructor(
    url: string,
    token: string | null,
    timeoutMs = TIMEOUT_MS,
    wait: (ms: number) => Promise<unknown> = sleep,
  ) {
    this.#timeoutMs = timeoutMs
    this.#wait = wait
    this.url = url.replace(/\/+$/, '')
    this.#token = token
  }

  /** Client for the ops port of another node, which accepts the same tokens. */
  at(url: string): OpsClient {
    return new OpsClient(url, this.#token, this.#timeoutMs, this.#wait)
  }

  /**
   * JSON of a successful answer. If the gateway is busy and says when to repeat, a GET is repeated.
   * @param body  body of a POST, which is sent only once; absent for a GET
   * @throws GatewayError if no gateway answers at the URL, or the gateway refuses
   */
  async ask<T = Readonly<Record<string, unknown>>>(path: string, body?: object): Promise<T> {
    for (let tries = 0; ; tries++) {
      const answer = await this.answer(path, body)
      if (answer.status < 300) return answer.body as T
      const againMs = body === undefined && answer.status === 503 ? answer.againMs : null
      if (againMs === null || tries === BUSY_TRIES_MAX) throw refusalOf(answer.body, answer.status)
      await this.#wait(Math.min(againMs, BUSY_WAIT_MS_MAX))
    }
  }

  /**
   * Sends a request like `ask`, but accepts any status.
   * @throws GatewayError if no gateway answers at the URL, or the gateway refuses the token
   */
  async answer(path: string, body?: object): Promise<OpsAnswer> {
    const { response, bytes } = await this.#fetch(path, body, BODY_BYTES_MAX)
    const answer = this.#answer(response, bytes)
    if (answer.status === 401 || answer.status === 403) throw refusalOf(answer.body, answer.status)
    return answer
  }

  /**
   * Bytes of an answer with status 200; otherwise the JSON of the answer.
   * @throws GatewayError if no gateway answers at the URL, or the file is larger than FILE_BYTES_MAX
   */
  async file(path: string): Promise<Uint8Array | OpsAnswer> {
    const { response, bytes } = await this.#fetch(path, undefined, FILE_BYTES_MAX)
    return response.status === 200 ? bytes : this.#answer(response, bytes)
  }

  async #fetch(
    path: string,
    body: object | undefined,
    bytesMax: number,
  ): Promise<{ readonly response: Response; readonly bytes: Uint8Array }> {
    let bytes
    let response
    try {
      response = await fetch(this.url + path, {
        method: body === undefined ? 'GET' : 'POST',
        redirect: 'error',
        signal: AbortSignal.timeout(this.#timeoutMs),
        headers: {
          ...(this.#token === null ? {} : { authorization: `Bearer ${this.#token}` }),
          'content-type': 'application/json',
        },
        body: body === undefined ? null : JSON.stringify(body),
      })
      bytes =
        Number(response.headers.get('content-length')) > bytesMax ? null : new Uint8Array(await response.arrayBuffer())
    } catch (thrown) {
      throw new GatewayError('CALL_FAULT', `no gateway answers at ${this.url} (--ops-url): ${networkCauseOf(thrown)}`)
    }
    if (bytes === null || bytes.length > bytesMax)
      throw new GatewayError('CALL_FAULT', `the answer to ${path} is larger than ${bytesMax} bytes`)
    return { response, bytes }
  }

  #answer(response: Response, bytes: Uint8Array): OpsAnswer {
    const value = jsonObject(bytes)
    if (value === null)
      throw new GatewayError(
        'CALL_FAULT',
        `${this.url} answered ${response.status} without JSON; allowed: the address of a gateway's ops port (--ops-url)`,
      )
    const againS = response.headers.get('retry-after') ?? ''
    return { status: response.status, body: value, againMs: /^\d+$/.test(againS) ? Number(againS) * 1000 : null }
  }
}

/** An answer of the ops port; `body` is its JSON. */
interface OpsAnswer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
  /** Time in ms after which the request may be repeated; null if the gateway does not give a time. */
  readonly againMs: number | null
}

/** The newest calls of all nodes, and the names of the nodes that did not answer. */
export async function fleetCalls(
  ops: OpsClient,
  query: string,
): Promise<Readonly<Record<'live' | 'ended', readonly FleetRow[]>> & { readonly silent: readonly string[] }> {
  const { nodes, ...calls } = await ops.ask<
    Readonly<Record<'live' | 'ended', readonly FleetRow[]>> & {
      readonly nodes: readonly { readonly name: string; readonly answered: boolean }[]
    }
  >(`/api/fleet/calls?${query}`)
  return { ...calls, silent: nodes.filter(({ answered }) => !answered).map(({ name }) => name) }
}

/** Columns that identify a row's call: the first columns of every table of a gateway's calls. */
export const CALL_COLUMNS = ['SID', 'NODE', 'STATE', 'AGENT', 'BACKEND', 'WAY', 'FROM'] as const

export function callCells({ callSid, node, state, agent, backend, direction, from }: FleetRow): string[] {
  return [callSid, node ?? '-', state, agent, backend, direction, from]
}

/** Error with the gateway's reason for a refusal. */
export function refusalOf(body: Readonly<Record<string, unknown>>, status: number): GatewayError {
  const error = body['error'] as { code?: unknown; message?: unknown } | undefined
  const code = typeof error?.code === 'string' ? error.code : 'CALL_FAULT'
  const message = typeof error?.message === 'string' ? error.message : `the gateway answered ${status}`
  return new GatewayError('CALL_FAULT', `${code}: ${message}`)
}

/**
 * File of a call (`CALL_VIEWS`) from the node that stores it, or the gateway's refusal.
 * @returns `status` 0 if the node that stores the file does not answer
 * @throws GatewayError if the first gateway does not answer, or the file is too large
 */
export async function fileOfCall(
  ops: OpsClient,
  callSid: string,
  file: string,
): Promise<Uint8Array | { readonly status: number; readonly why: string }> {
  const path = `/api/calls/${callSid}/${file}`
  const first = await ops.file(path)
  if (first instanceof Uint8Array) return first
  const { message } = refusalOf(first.body, first.status)
  const elsewhere = /: ask (http:\/\/\S+?)\/api\/calls\//.exec(message)?.[1]
  if (elsewhere === undefined) return { status: first.status, why: message }
  try {
    const second = await ops.at(elsewhere).file(path)
    if (second instanceof Uint8Array) return second
    return { status: second.status, why: refusalOf(second.body, second.status).message }
  } catch (thrown) {
    return { status: 0, why: messageOf(thrown) }
  }
}

/** The journal of a call. */
export async function journalOf(ops: OpsClient, callSid: string): Promise<string | { readonly why: string }> {
  const file = await fileOfCall(ops, callSid, 'journal.jsonl')
  return file instanceof Uint8Array ? new TextDecoder().decode(file) : file
}
