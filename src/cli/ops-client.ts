import { loadConfig } from '../config/load-config.js'
import type { Config } from '../config/settings.js'
import { GatewayError, messageOf } from '../core/errors.js'

const TIMEOUT_MS = 15_000
const BODY_CHARS_MAX = 16 * 1024 * 1024
/** A journal. With the audio of both sides at 16 kHz it has 5 MB a minute (base64). */
const FILE_CHARS_MAX = 64 * 1024 * 1024

/** An answer of the ops port; `body` is its JSON. */
interface OpsAnswer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

/** URL of this machine's ops port by these settings. */
export function opsUrlOf(config: Config): string {
  const host = config.opsHost === '0.0.0.0' || config.opsHost === '::' ? '127.0.0.1' : config.opsHost
  return `http://${host.includes(':') ? `[${host}]` : host}:${config.opsPort}`
}

/** The ops port that a command's options, or else the settings, name. */
export function opsClientOf(
  options: { readonly opsUrl?: string; readonly config?: string },
  { env }: { readonly env: Readonly<Record<string, string | undefined>> },
  timeoutMs = TIMEOUT_MS,
): OpsClient {
  const config = loadConfig(env, options.config ?? null)
  return new OpsClient(options.opsUrl ?? opsUrlOf(config), config.opsToken, timeoutMs)
}

/** The ops port of a running gateway, for commands. */
export class OpsClient {
  readonly #url: string
  readonly #token: string | null
  readonly #timeoutMs: number

  /** @param url  such as http://127.0.0.1:9464 */
  constructor(url: string, token: string | null, timeoutMs = TIMEOUT_MS) {
    this.#timeoutMs = timeoutMs
    this.#url = url.replace(/\/+$/, '')
    this.#token = token
  }

  /** @throws GatewayError when no gateway answers there, or it refuses the token */
  get(path: string): Promise<OpsAnswer> {
    return this.#ask('GET', path, null)
  }

  post(path: string, body: Readonly<Record<string, unknown>>): Promise<OpsAnswer> {
    return this.#ask('POST', path, body)
  }

  /** A file: the text of an answer with status 200; of any other its JSON. */
  async text(path: string): Promise<string | OpsAnswer> {
    const { response, text } = await this.#fetch('GET', path, null, FILE_CHARS_MAX)
    return response.status === 200 ? text : this.#answer(response, text)
  }

  async #ask(method: string, path: string, body: object | null): Promise<OpsAnswer> {
    const { response, text } = await this.#fetch(method, path, body, BODY_CHARS_MAX)
    return this.#answer(response, text)
  }

  async #fetch(
    method: string,
    path: string,
    body: object | null,
    charsMax: number,
  ): Promise<{ readonly response: Response; readonly text: string }> {
    try {
      const response = await fetch(this.#url + path, {
        method,
        redirect: 'error',
        signal: AbortSignal.timeout(this.#timeoutMs),
        headers: {
          ...(this.#token === null ? {} : { authorization: `Bearer ${this.#token}` }),
          'content-type': 'application/json',
        },
        body: body === null ? null : JSON.stringify(body),
      })
      return { response, text: (await response.text()).slice(0, charsMax) }
    } catch (thrown) {
      const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause.message : messageOf(thrown)
      throw new GatewayError('CALL_FAULT', `no gateway answers at ${this.#url} (--ops-url): ${cause}`)
    }
  }

  #answer(response: Response, text: string): OpsAnswer {
    const value = objectOf(text)
    if (value === null)
      throw new GatewayError(
        'CALL_FAULT',
        `${this.#url} answered ${response.status} without JSON; allowed: the address of a gateway's ops port (--ops-url)`,
      )
    if (response.status === 401 || response.status === 403) throw refusalOf(value, response.status)
    return { status: response.status, body: value }
  }
}

/** The gateway's refusal as an error. */
export function refusalOf(body: Readonly<Record<string, unknown>>, status: number): GatewayError {
  const error = body['error'] as { code?: unknown; message?: unknown } | undefined
  const code = typeof error?.code === 'string' ? error.code : 'CALL_FAULT'
  const message = typeof error?.message === 'string' ? error.message : `the gateway answered ${status}`
  return new GatewayError('CALL_FAULT', `${code}: ${message}`)
}

function objectOf(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}
